/* CLIP's byte-pair tokenizer (method.md section 1). The vocabulary is built into the library. */
#ifndef MOECLIP_TOKENIZER_H
#define MOECLIP_TOKENIZER_H

#include <stdint.h>

#include "moeclip/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_tokenizer moeclip_tokenizer;

/*
 * vocab_size: rows of the model's token embedding, 514 to 49408. CLIP's vocabulary is 512 byte symbols, then the merges
 * by rank, then the start and end marks; a smaller vocab_size takes the first vocab_size - 514 merges, so that a small
 * model need not carry CLIP's whole table. 49408 is CLIP's own tokenizer. Immutable once made: any number of threads.
 */
MOECLIP_API moeclip_code moeclip_tokenizer_create(int vocab_size, moeclip_tokenizer **out, moeclip_error *err);
MOECLIP_API void moeclip_tokenizer_destroy(moeclip_tokenizer *t);
MOECLIP_API int32_t moeclip_tokenizer_start(const moeclip_tokenizer *t); /* vocab_size - 2 */
MOECLIP_API int32_t moeclip_tokenizer_end(const moeclip_tokenizer *t);   /* vocab_size - 1 */

/* Ids of `text` (UTF-8; invalid bytes are replaced) without marks, into ids[max]; *n gets how many there are in all,
 * even beyond max. */
MOECLIP_API moeclip_code moeclip_tokenizer_encode(const moeclip_tokenizer *t, const char *text, int32_t *ids, int max,
                                                  int *n, moeclip_error *err);
/* One row [context]: start, ids, end, zeros; a longer text is cut and still ends with the end mark. *n (may be NULL) gets
 * the number of used places, marks included. */
MOECLIP_API moeclip_code moeclip_tokenizer_row(const moeclip_tokenizer *t, const char *text, int32_t *row, int context,
                                               int *n, moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
