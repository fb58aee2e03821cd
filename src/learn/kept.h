/* Prepared pictures that a learner keeps, 8-bit at the model's size (method_zscl.c, method_icarl.c). */
#ifndef MC_LEARN_KEPT_H
#define MC_LEARN_KEPT_H

#include "data/loader.h"
#include "moeclip/tensors.h"

typedef struct mc_kept {
  uint8_t *pixels; /* [n, 3, size, size] */
  int64_t n;
  int size;
} mc_kept;

static inline size_t mc_kept_each(const mc_kept *k) { return (size_t)3 * (size_t)k->size * (size_t)k->size; }

/* Room for n of this size; *k was empty. */
moeclip_code mc_kept_create(mc_kept *k, int64_t n, int size, moeclip_error *err);
void mc_kept_clear(mc_kept *k);

/* Nothing is stored of none. restore: at most `most` pictures of this size, or *k stays empty where the tensor is missing. */
moeclip_code mc_kept_store(const mc_kept *k, const char *name, moeclip_tensors *out, moeclip_error *err);
moeclip_code mc_kept_restore(mc_kept *k, const moeclip_tensors *in, const char *name, int size, int64_t most,
                             moeclip_error *err);

/* As pictures to train on; k must outlive it. */
mc_image_source mc_kept_source(mc_kept *k);

#endif
