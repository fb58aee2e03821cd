/*
 * model/: CLIP and its adapters: parameters, towers forward and backward. Includes base/, files/, compute/, text/ (only for
 * the tokenizer of a loaded model). Knows nothing of data sets, losses or optimizers.
 */
#ifndef MC_MODEL_PARAMS_H
#define MC_MODEL_PARAMS_H

#include <stdbool.h>

#include "base/random.h"
#include "base/status.h"
#include "compute/bfloat16.h"
#include "moeclip/tensors.h"

typedef struct mc_param {
  int rank;
  int64_t shape[4];
  int64_t n;     /* elements */
  float *value;  /* n floats; when not owned, they lie in the file's mapping and are never written */
  float *grad;   /* n floats, or NULL: frozen */
  bool owned;
  mc_bfloat16 *half; /* for the fast path, the values rounded; NULL: not made yet (mc_param_half) */
  mc_packed16 *packed[2]; /* a frozen matrix [out, in] as y = x w^T reads it, and as dx = dy w does; NULL: not made yet */
  bool touched;  /* a gradient arrived in this step (a parameter that none reached is passed over) */
} mc_param;

/* Zero-filled values of a shape. */
moeclip_code mc_param_create(mc_param *p, int rank, const int64_t *shape, moeclip_error *err);
void mc_param_clear(mc_param *p);
/* Values from a tensor of this shape: borrowed when they are aligned float32 and !copy, else converted into own memory.
 * `name` is for messages. */
moeclip_code mc_param_read(mc_param *p, const moeclip_tensors *file, const char *name, int rank, const int64_t *shape,
                           bool copy, moeclip_error *err);
/* The values of a parameter that there is, from the tensor of that name, which must have its shape. */
moeclip_code mc_param_fill(mc_param *p, const moeclip_tensors *file, const char *name, moeclip_error *err);
/* Makes the values writable (copies borrowed ones) and gives the parameter a zeroed gradient. */
moeclip_code mc_param_unfreeze(mc_param *p, moeclip_error *err);
void mc_param_freeze(mc_param *p);
void mc_param_zero_grad(mc_param *p);
/* values = scale * normal, or uniform in [-bound, bound]. */
void mc_param_normal(mc_param *p, float scale, mc_philox *g);
void mc_param_uniform(mc_param *p, float bound, mc_philox *g);

/* p->half gets the values as they are: at once where it has them, as only a frozen parameter's stay the same. */
moeclip_code mc_param_half(mc_compute *cp, mc_param *p, moeclip_error *err);

/* p->packed[back] of a frozen parameter, seen as a matrix of shape[0] rows. */
moeclip_code mc_param_pack(mc_compute *cp, mc_param *p, int back, moeclip_error *err);

/* For walking over all parameters of something, in a fixed order, with their published names. Stops at an error. */
typedef moeclip_code (*mc_param_visitor)(void *context, const char *name, mc_param *p, moeclip_error *err);

#endif
