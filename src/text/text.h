/*
 * text/: CLIP's tokenizer. Decoding and repair (utf8.c, repair.c, entities.c, clean.c, lower.c) turn any bytes into clean
 * lower-case text; pattern.c cuts it into words; bpe.c turns words into ids. Includes base/, utf8proc and zlib only.
 */
#ifndef MC_TEXT_TEXT_H
#define MC_TEXT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Longer texts are refused, which bounds the memory of one encode (about 30 bytes for each byte of text at worst, and
 * three times that for bytes that are no UTF-8). */
#define MC_TEXT_MAX_BYTES ((size_t)1 << 22)

/* --- code points --------------------------------------------------------------------------------------------------- */

/* A growing array of code points; short texts live in `local` and cost no allocation. Not to be moved once initialised.
 * When memory runs out `failed` stays set and further appends do nothing. */
typedef struct mc_codepoints {
  int32_t *at;
  size_t n, capacity;
  bool failed;
  int32_t local[384];
} mc_codepoints;

void mc_codepoints_init(mc_codepoints *c);
void mc_codepoints_clear(mc_codepoints *c);
/* Room for n code points in all; false (and failed) when memory is short. */
bool mc_codepoints_reserve(mc_codepoints *c, size_t n);
void mc_codepoints_append(mc_codepoints *c, const int32_t *at, size_t n);
static inline void mc_codepoints_push(mc_codepoints *c, int32_t cp) {
  if (c->n < c->capacity || mc_codepoints_reserve(c, c->n + 1)) c->at[c->n++] = cp;
}

/* Appends the code points of n bytes of UTF-8. What is no UTF-8 becomes U+FFFD, one for each maximal part of a
 * sequence; surrogate pairs written as two 3-byte sequences are joined. */
void mc_utf8_decode(const char *text, size_t n, mc_codepoints *out);
/* Writes one code point as 1 to 4 bytes; returns how many. */
int mc_utf8_encode(int32_t cp, uint8_t out[4]);

/* --- cleaning ------------------------------------------------------------------------------------------------------ */

/* Decodes, repairs, unescapes, strips, collapses white space to single spaces and lower-cases: CLIP's cleaning. `out` is
 * initialised and empty. */
moeclip_code mc_clean(const char *text, size_t n_bytes, mc_codepoints *out, moeclip_error *err);

/* Appends the repaired form of in[n]: what ftfy.fix_text does, except that of its search for wrong encodings only UTF-8
 * read as Windows-1252 or Latin-1 is undone. */
void mc_repair(const int32_t *in, size_t n, mc_codepoints *out);
/* Undoes UTF-8 read as Windows-1252 or Latin-1 wherever the result can hardly be meant otherwise; appends. */
void mc_undo_mojibake(const int32_t *in, size_t n, mc_codepoints *out);
/* The Windows-1252 byte of a code point (the five unused bytes stand for themselves); -1: it has none. */
int mc_windows_1252_byte(int32_t cp);
/* The character of a byte 0x80..0x9F in Windows-1252. */
int32_t mc_windows_1252_char(int byte);
/* Canonical composition (NFC), in time n log n whatever the text; appends. */
void mc_compose(const int32_t *in, size_t n, mc_codepoints *out);

/* html.unescape as browsers do it; appends. */
void mc_html_unescape(const int32_t *in, size_t n, mc_codepoints *out);
/* Only references that end in a semicolon and are decoded as a whole; &EACUTE; is understood too; appends. */
void mc_html_unescape_strict(const int32_t *in, size_t n, mc_codepoints *out);

/* A named character reference; sorted by name (bytewise) in mc_entities. */
typedef struct mc_entity {
  char name[32];  /* without & and ; */
  int32_t cp[2];  /* cp[1] is 0 when there is one */
  bool bare;      /* also without the semicolon */
} mc_entity;
extern const mc_entity mc_entities[];
extern const size_t mc_n_entities;

/* Unicode lower case with the special cases (final sigma, dotted capital I); appends. */
void mc_lower(const int32_t *in, size_t n, mc_codepoints *out);

/* White space as Python's str.isspace and \s see it. */
bool mc_is_space(int32_t cp);

/* --- words --------------------------------------------------------------------------------------------------------- */

/* The next word of in[n] from *from on: its end is returned and *from set to its start; 0 when there is none. */
size_t mc_pattern_next(const int32_t *in, size_t n, size_t *from);

/* The gzip file of merges that is built into the library. */
const uint8_t *mc_vocabulary_gzip(size_t *n_bytes);

/* Merges: pairs of ids to the id they make. */
typedef struct mc_bpe {
  int n_merges;
  uint32_t mask;       /* slots - 1 */
  uint32_t *pairs;     /* [slots] left << 16 | right; UINT32_MAX: free */
  uint16_t *ids;       /* [slots] */
  uint16_t bytes[256]; /* id of each byte inside a word; 256 more at a word's end */
} mc_bpe;

static inline uint32_t mc_bpe_hash(uint32_t pair) {
  uint32_t h = pair * 0x9E3779B1u;
  return h ^ h >> 15;
}
/* The id that two neighbours make; UINT32_MAX: they do not merge. */
static inline uint32_t mc_bpe_merge(const mc_bpe *b, uint32_t left, uint32_t right) {
  uint32_t pair = left << 16 | right;
  for (uint32_t slot = mc_bpe_hash(pair) & b->mask;; slot = (slot + 1) & b->mask) {
    if (b->pairs[slot] == pair) return b->ids[slot];
    if (b->pairs[slot] == UINT32_MAX) return UINT32_MAX;
  }
}

moeclip_code mc_bpe_init(mc_bpe *b, int n_merges, moeclip_error *err);
void mc_bpe_clear(mc_bpe *b);

/* Working memory for words, kept from word to word; zero-initialise. */
typedef struct mc_bpe_scratch {
  uint8_t *word;
  size_t word_capacity;
  void *memory;
  size_t memory_capacity;
} mc_bpe_scratch;
void mc_bpe_scratch_clear(mc_bpe_scratch *s);

/* Ids of a word of n >= 1 bytes into ids[max]; *n_ids gets how many there are in all. */
moeclip_code mc_bpe_word(const mc_bpe *b, const uint8_t *word, size_t n, mc_bpe_scratch *scratch, int32_t *ids,
                         size_t max, size_t *n_ids, moeclip_error *err);

#endif
