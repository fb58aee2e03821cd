/* One block of a tower, and its halves: for tower.c and last_block.c. Arrays and kept as in model/tower.h. */
#ifndef MC_MODEL_BLOCK_H
#define MC_MODEL_BLOCK_H

#include "model/tower.h"

static inline bool mc_block_trains(const mc_block *b) { return b->in_weight.grad != NULL; }

static inline bool mc_half(const mc_compute *cp) { return mc_compute_precision(cp) == MC_BFLOAT16; }
static inline size_t mc_between_bytes(const mc_compute *cp) { return mc_half(cp) ? sizeof(mc_bfloat16) : sizeof(float); }

/* Takes count numbers between layers, as MC_ARENA_TAKE. */
#define MC_TAKE_BETWEEN(pointer, count)                                                                         \
  do {                                                                                                          \
    (pointer) = mc_arena_take(arena, (size_t)(count), mc_between_bytes(cp));                                    \
    if (!(pointer)) return mc_fail_memory(err, (size_t)(count) * mc_between_bytes(cp), "activations");          \
  } while (0)

/* *out: x [n] as it stands between layers; x itself where that is float, else in the arena. */
moeclip_code mc_put_between(mc_compute *cp, const float *x, int64_t n, const mc_between **out, mc_arena *arena, moeclip_error *err);

/* Where a product goes. */
typedef enum mc_into { MC_INTO_BETWEEN, MC_INTO_FLOAT, MC_ADD_TO_FLOAT } mc_into;
/* y[rows, out] = x[rows, in] w^T + b (+ y); w [out, ...]. b NULL: none. */
moeclip_code mc_linear(mc_compute *cp, const mc_between *x, int64_t rows, mc_param *w, const mc_param *b, void *y, mc_into into,
                       moeclip_error *err);
/* dx = dy w; the weights' gradients are added where they are trained, for which x is needed. */
moeclip_code mc_linear_backward(mc_compute *cp, const mc_between *x, const mc_between *dy, int64_t rows, mc_param *w, mc_param *b,
                                void *dx, mc_into into, moeclip_error *err);
void mc_norm_forward(mc_compute *cp, const float *x, int64_t rows, const mc_param *weight, const mc_param *bias, mc_between *y,
                     float *mean, float *rstd);
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
