/* One block of a tower, and its halves: for tower.c and last_block.c. Arrays and kept as in model/tower.h. */
#ifndef MC_MODEL_BLOCK_H
#define MC_MODEL_BLOCK_H

#include "model/tower.h"

static inline bool mc_block_trains(const mc_block *b) { return b->in_weight.grad != NULL; }

/* y[rows, out] = x[rows, in] w^T + b (+ y). */
moeclip_code mc_linear(mc_compute *cp, const float *x, int64_t rows, const mc_param *w, const mc_param *b, float *y, bool accumulate,
                       moeclip_error *err);
/* dx = dy w (written); the weights' gradients are added where they are trained, for which x is needed. */
moeclip_code mc_linear_backward(mc_compute *cp, const float *x, const float *dy, int64_t rows, mc_param *w, mc_param *b, float *dx,
                                moeclip_error *err);
void mc_norm_forward(mc_compute *cp, const float *x, int64_t rows, const mc_param *weight, const mc_param *bias, float *y, float *mean,
                     float *rstd);
/* dx: added to. */
void mc_norm_backward(mc_compute *cp, const float *dy, const float *x, int64_t rows, const float *mean, const float *rstd,
                      mc_param *weight, mc_param *bias, float *dx);

/* The half behind attention, over n * t rows: x holds x1 and is replaced by the output. keep: fills x1, mean_2, rstd_2, h and moe of
 * *k; else x1 alone, in the arena. */
moeclip_code mc_block_mlp_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, int64_t t, float *x,
                                  mc_block_kept *k, bool keep, mc_arena *arena, moeclip_error *err);
/* dx2 -> dx1 (written), both n * t rows; the residual connection is included. */
moeclip_code mc_block_mlp_backward(mc_compute *cp, const mc_tower_pass *p, int layer, int64_t t, const float *dx2, float *dx1,
                                   mc_arena *arena, moeclip_error *err);

/* x is replaced by the block's output. kept NULL: no backward will follow. */
moeclip_code mc_block_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, float *x, mc_block_kept *kept,
                              mc_arena *arena, moeclip_error *err);
/* dx holds the gradient of the block's output, and then that of its input (unless below is false: then the block's input leads to
 * nothing trainable, and only the block's own parameters get their gradients). */
moeclip_code mc_block_backward(mc_compute *cp, const mc_tower_pass *p, int layer, bool below, float *dx, mc_arena *arena,
                               moeclip_error *err);

#endif
