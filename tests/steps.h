/* What the tests of whole training steps are made of: seeded numbers, a tiny CLIP that is shaken, texts. */
#ifndef TESTS_STEPS_H
#define TESTS_STEPS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/params.h"

enum { STEPS_SEED = 20240607 };

static inline float *steps_floats(int64_t n, uint64_t index, float scale) {
  float *x = malloc((size_t)n * sizeof *x);
  mc_philox g;
  mc_philox_init(&g, STEPS_SEED, MC_STREAM_INIT, index);
  for (int64_t i = 0; i < n; i++) x[i] = scale * mc_philox_normal(&g);
  return x;
}

/* mc_param_visitors. shake moves values far enough from zero that no gradient is lost in rounding; context: a uint64_t that counts. */
static inline moeclip_code steps_shake(void *context, const char *name, mc_param *p, moeclip_error *e) {
  uint64_t *index = context;
  (void)e;
  float scale = strstr(name, "up_proj") ? 0.5f : strstr(name, "router_list") || strstr(name, "w_noise") ? 0.3f : 0.05f;
  float *change = steps_floats(p->n, 5000 + (*index)++, scale);
  for (int64_t i = 0; i < p->n; i++) p->value[i] += strcmp(name, "logit_scale") == 0 ? 0 : change[i];
  free(change);
  return MOECLIP_OK;
}

static inline moeclip_code steps_unfreeze(void *context, const char *name, mc_param *p, moeclip_error *e) {
  (void)context;
  (void)name;
  return mc_param_unfreeze(p, e);
}

/* n rows of tokens of 2 to context - 2 words, zeroed before: start, words, end (the vocabulary's last two are start and end). */
static inline void steps_texts(int32_t *rows, int64_t n, int context, int vocabulary) {
  mc_philox g;
  mc_philox_init(&g, STEPS_SEED, MC_STREAM_INIT, 77);
  for (int64_t i = 0; i < n; i++) {
    int32_t *row = rows + i * context;
    int length = 2 + (int)mc_philox_below(&g, (uint32_t)context - 3);
    row[0] = vocabulary - 2;
    for (int k = 1; k < length; k++) row[k] = (int32_t)mc_philox_below(&g, (uint32_t)vocabulary - 2);
    row[length] = vocabulary - 1;
  }
}

#endif
