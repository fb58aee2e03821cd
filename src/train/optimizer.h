/*
 * train/: from batches to gradients to new parameters. Includes base/, compute/, model/, select/, data/; learn/ includes it.
 *
 * AdamW with the published semantics: a parameter that got no gradient in a step is passed over: no decay, no moments, and
 * its own step count stays.
 */
#ifndef MC_TRAIN_OPTIMIZER_H
#define MC_TRAIN_OPTIMIZER_H

#include "compute/compute.h"
#include "model/params.h"

typedef struct mc_adamw_options {
  float beta1, beta2, epsilon, weight_decay;
  bool decay_matrices_only; /* pre-training: no decay of biases, norms and scalars */
} mc_adamw_options;

typedef struct mc_adamw mc_adamw;

/* 0.9, 0.999, 1e-8, 0. */
mc_adamw_options mc_adamw_defaults(void);
moeclip_code mc_adamw_create(const mc_adamw_options *options, mc_adamw **out, moeclip_error *err);
void mc_adamw_destroy(mc_adamw *o);

/* A mc_param_visitor (context: the optimizer): takes on every parameter that has a gradient. It must outlive o. */
moeclip_code mc_adamw_add(void *context, const char *name, mc_param *p, moeclip_error *err);
/* Numbers that the parameters taken on have together. */
int64_t mc_adamw_trainable(const mc_adamw *o);

/* Updates every touched parameter. Then zeroes all gradients. */
void mc_adamw_step(mc_adamw *o, mc_compute *cp, double lr);

/* Fails, naming the parameter, when a gradient is NaN or infinite. */
moeclip_code mc_adamw_check(const mc_adamw *o, moeclip_error *err);
/* Of the parameters themselves, which a step may have made infinite: nothing of that kind is ever written. */
moeclip_code mc_adamw_check_values(const mc_adamw *o, moeclip_error *err);

/* Scales all gradients so that their common L2 norm is at most `limit`. Returns the norm before. */
double mc_adamw_clip(mc_adamw *o, mc_compute *cp, double limit);

/* Moments and step counts, as "optimizer.{name}.m|v|step"; load refuses a collection that lacks one. */
moeclip_code mc_adamw_store(const mc_adamw *o, moeclip_tensors *out, moeclip_error *err);
moeclip_code mc_adamw_load(mc_adamw *o, const moeclip_tensors *in, moeclip_error *err);

/* Linear warm-up, then cosine to 0 (method.md section 3): base * (step + 1) / warmup while step < warmup, then
 * base * (1 + cos(pi (step - warmup) / (total - warmup))) / 2. */
double mc_cosine_lr(double base, int64_t warmup, int64_t total, int64_t step);

#endif
