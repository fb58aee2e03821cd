/* How similar a picture is to words at large: what its cosine with a query is held against (docs/SEARCH.md: why). */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "search/search.h"

enum { MAX_WORDS = 256 };
#define SCALE 20.0 /* docs/SEARCH.md: measured */

/* Things that pictures show, for what no task teaches. */
static const char *const nouns[] = {"person", "dog",      "cat",     "car",      "house",  "tree",    "food",
                                    "plant",  "building", "animal",  "sky",      "water",  "city",    "street",
                                    "flower", "bird",     "clothes", "text",     "number", "pattern", "face",
                                    "sign",   "tool",     "toy",     "furniture"};
enum { N_NOUNS = sizeof nouns / sizeof nouns[0] };

/* The nouns and the classes of all tasks; of very many classes, as many as there is room for, evenly taken. */
static size_t choose_words(const moeclip_learner *l, const char *out[MAX_WORDS]) {
  size_t n = 0, all = 0, at = 0, room = MAX_WORDS - N_NOUNS;
  for (; n < N_NOUNS; n++) out[n] = nouns[n];
  for (int t = 0; t < l->n_tasks; t++) all += l->tasks[t].n_classes;
  for (int t = 0; t < l->n_tasks; t++) {
    for (size_t c = 0; c < l->tasks[t].n_classes; c++, at++) {
      bool take = all <= room || at * room / all != (at + 1) * room / all;
      if (take && n < MAX_WORDS) out[n++] = l->tasks[t].classes[c];
    }
  }
  return n;
}

moeclip_code mc_base_init(mc_base *b, moeclip_learner *l, moeclip_error *err) {
  *b = (mc_base){.learner = l, .embed = (size_t)l->model->clip->sizes.embed};
  b->stride = (b->embed + MC_LANES - 1) / MC_LANES * MC_LANES;
  b->words = calloc((size_t)l->n_tasks + 1, sizeof *b->words);
  b->row = mc_zeros(b->stride, sizeof *b->row);
  return b->words && b->row ? MOECLIP_OK : mc_fail_memory(err, b->stride, "words");
}

void mc_base_clear(mc_base *b) {
  for (int t = -1; b->words && t < b->learner->n_tasks; t++) mc_aligned_free(b->words[t + 1]);
  free(b->words);
  mc_aligned_free(b->row);
  *b = (mc_base){0};
}

/* The words as a task encodes them, when it is first asked for. */
static moeclip_code need_words(mc_base *b, int task, moeclip_error *err) {
  const char *words[MAX_WORDS];
  if (b->words[task + 1]) return MOECLIP_OK;
  b->n_words = choose_words(b->learner, words);
  float *plain = mc_alloc(b->n_words, b->embed * sizeof *plain),
        *padded = mc_zeros(b->n_words, b->stride * sizeof *padded);
  moeclip_code code = plain && padded
                          ? moeclip_learner_encode_texts(b->learner, words, (int)b->n_words, task, plain, err)
                          : mc_fail_memory(err, b->n_words * b->stride * sizeof *padded, "words");
  for (size_t i = 0; code == MOECLIP_OK && i < b->n_words; i++) {
    for (size_t k = 0; k < b->embed; k++) padded[i * b->stride + k] = plain[i * b->embed + k];
  }
  free(plain);
  if (code == MOECLIP_OK) {
    b->words[task + 1] = padded;
  } else {
    mc_aligned_free(padded);
  }
  return code;
}

moeclip_code mc_base_of(mc_base *b, int task, const uint16_t *feature, double *out, moeclip_error *err) {
  double sum = 0;
  float cosine;
  MC_TRY(need_words(b, task, err));
  for (size_t k = 0; k < b->embed; k++) b->row[k] = feature[k];
  for (size_t i = 0; i < b->n_words; i++) {
    mc_dot_rows(b->row, b->words[task + 1] + i * b->stride, 1, (int64_t)b->stride, &cosine);
    sum += exp(SCALE * (double)cosine);
  }
  *out = log(sum / (double)b->n_words) / SCALE;
  return MOECLIP_OK;
}
