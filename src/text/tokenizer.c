#include "moeclip/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/text.h"

enum { SMALLEST_VOCABULARY = 514, LARGEST_VOCABULARY = 49408, N_MARKS = 2 };

struct moeclip_tokenizer {
  mc_bpe bpe;
  int vocab_size;
};

moeclip_code moeclip_tokenizer_create(int vocab_size, moeclip_tokenizer **out, moeclip_error *err) {
  if (!out) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "moeclip_tokenizer_create: out is NULL");
  *out = NULL;
  if (vocab_size < SMALLEST_VOCABULARY || vocab_size > LARGEST_VOCABULARY) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a vocabulary of %d tokens: it must have %d to %d", vocab_size,
                   SMALLEST_VOCABULARY, LARGEST_VOCABULARY);
  }
  moeclip_tokenizer *t = calloc(1, sizeof *t);
  if (!t) return mc_fail_memory(err, sizeof *t, "making a tokenizer");
  t->vocab_size = vocab_size;
  moeclip_code code = mc_bpe_init(&t->bpe, vocab_size - SMALLEST_VOCABULARY, err);
  if (code != MOECLIP_OK) {
    free(t);
    return code;
  }
  *out = t;
  return MOECLIP_OK;
}

void moeclip_tokenizer_destroy(moeclip_tokenizer *t) {
  if (!t) return;
  mc_bpe_clear(&t->bpe);
  free(t);
}

int32_t moeclip_tokenizer_start(const moeclip_tokenizer *t) { return t->vocab_size - 2; }
int32_t moeclip_tokenizer_end(const moeclip_tokenizer *t) { return t->vocab_size - 1; }

/* The word's bytes: in `local` if they fit, else in the scratch's memory; NULL when that is short. */
static const uint8_t *word_bytes(const int32_t *at, size_t n, uint8_t *local, size_t n_local, mc_bpe_scratch *scratch,
                                 size_t *n_bytes) {
  uint8_t *bytes = local;
  size_t used = 0;
  if (n > n_local / 4) {
    size_t needed = n * 4; /* n is bounded by what MC_TEXT_MAX_BYTES can become */
    if (needed > scratch->word_capacity) {
      free(scratch->word);
      scratch->word = mc_alloc(needed, 1);
      scratch->word_capacity = scratch->word ? needed : 0;
    }
    bytes = scratch->word;
    if (!bytes) return NULL;
  }
  for (size_t i = 0; i < n; i++) used += (size_t)mc_utf8_encode(at[i], bytes + used);
  *n_bytes = used;
  return bytes;
}

/* Stops after the word that reaches `enough` ids. */
static moeclip_code encode(const moeclip_tokenizer *t, const char *text, int32_t *ids, size_t max, size_t enough,
                           size_t *n, moeclip_error *err) {
  mc_codepoints clean;
  mc_bpe_scratch scratch = {0};
  size_t total = 0;
  mc_codepoints_init(&clean);
  moeclip_code code = mc_clean(text, strlen(text), &clean, err);
  if (code != MOECLIP_OK) goto done;
  for (size_t from = 0, to; total < enough && (to = mc_pattern_next(clean.at, clean.n, &from)) > 0; from = to) {
    uint8_t local[256];
    size_t n_bytes, n_ids, used = total < max ? total : max;
    const uint8_t *word = word_bytes(clean.at + from, to - from, local, sizeof local, &scratch, &n_bytes);
    if (!word) {
      code = mc_fail_memory(err, (to - from) * 4, "encoding a long word");
      goto done;
    }
    code = mc_bpe_word(&t->bpe, word, n_bytes, &scratch, ids ? ids + used : NULL, max - used, &n_ids, err);
    if (code != MOECLIP_OK) goto done;
    total += n_ids;
  }
  *n = total;
done:
  mc_bpe_scratch_clear(&scratch);
  mc_codepoints_clear(&clean);
  return code;
}

moeclip_code moeclip_tokenizer_encode(const moeclip_tokenizer *t, const char *text, int32_t *ids, int max, int *n,
                                      moeclip_error *err) {
  if (!t || !text || !n || max < 0 || (max > 0 && !ids)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "moeclip_tokenizer_encode: tokenizer, text, n and room for max >= 0 ids "
                   "must be given");
  }
  size_t total;
  MC_TRY(encode(t, text, ids, (size_t)max, SIZE_MAX, &total, err));
  *n = (int)total; /* a text of MC_TEXT_MAX_BYTES gives far fewer than INT_MAX */
  return MOECLIP_OK;
}

moeclip_code moeclip_tokenizer_row(const moeclip_tokenizer *t, const char *text, int32_t *row, int context, int *n,
                                   moeclip_error *err) {
  if (!t || !text || !row || context < N_MARKS) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "moeclip_tokenizer_row: tokenizer, text and a row of at least %d places "
                   "must be given", N_MARKS);
  }
  size_t total, room = (size_t)context - N_MARKS;
  MC_TRY(encode(t, text, row + 1, room, room, &total, err));
  if (total > room) total = room;
  row[0] = moeclip_tokenizer_start(t);
  row[total + 1] = moeclip_tokenizer_end(t);
  for (size_t i = total + N_MARKS; i < (size_t)context; i++) row[i] = 0;
  if (n) *n = (int)(total + N_MARKS);
  return MOECLIP_OK;
}
