/* The mixture of experts of one block: noisy top-k routing, dispatch to the chosen experts alone, and the way back. */
#ifndef MC_MODEL_MOE_H
#define MC_MODEL_MOE_H

#include "base/arena.h"
#include "compute/kernels.h"
#include "model/adapters.h"

/* How one pass through a tower treats its samples. */
typedef struct mc_routing {
  const int32_t *task;    /* [n]: each sample's router; -1: no adapters at all for it */
  int top_k;
  float scale;            /* of an expert's output: 0.1 */
  bool noise;             /* training: noise on the router's logits */
  float dropout;          /* training: of the experts' hidden units; 0: off */
  bool count;             /* add to the experts' counts */
  float balance;          /* training: coefficient of the load-balance term (model/balance.h); 0: off */
  bool tally;             /* add to the sums that the load-balance term is made of */
  uint64_t seed, step;    /* noise and dropout are drawn from (seed, step, block, sample) */
  uint64_t first_sample;  /* number, within the step, of sample 0 of this call */
  float *gates_out;       /* [blocks of the tower, n, gates_experts]: every sample's gates, for whoever asks why; zeroed by the
                             caller. NULL: not wanted */
  int gates_experts;      /* at least as many as any block has */
  int64_t gates_stride;   /* floats from a block to the next: room for n samples */
  const float *const *fixed_noise; /* [blocks] of [n of the step, experts]: instead of drawing (tests); or NULL */
} mc_routing;

/* What backward needs of a forward pass. All arrays are in the arena. */
typedef struct mc_moe_kept {
  int k, n_slots;     /* a slot is a (sample, expert) pair with gate > 0 */
  float *gates;       /* [n, k] */
  int32_t *chosen;    /* [n, k]: expert, or -1 */
  float *eps;         /* [n, experts] noise drawn, NULL without noise */
  int32_t *first;     /* [experts + 1]: where each expert's slots begin */
  int32_t *sample;    /* [n_slots], grouped by expert, samples rising */
  int32_t *place;     /* [n_slots]: which of the sample's k it is */
  int32_t *slot;      /* [n, k]: the slot of each choice, or -1 */
  float *hidden;      /* [n_slots, t, bottleneck] after ReLU and dropout, times the gate and the scale */
} mc_moe_kept;

/*
 * out[n, t, d] += sum over the chosen experts of gate * scale * A_e(x), x [n, t, d]. The router reads token 0 of x.
 * block: number of this block for the random streams (text tower's blocks after the image tower's).
 * kept (NULL: no backward will follow) is filled from the arena; scratch beyond it is given back.
 */
moeclip_code mc_moe_forward(mc_compute *cp, mc_moe *moe, const mc_routing *routing, int block, int64_t n, int64_t t,
                            const float *x, float *out, mc_moe_kept *kept, mc_arena *arena, moeclip_error *err);

/* dout [n, t, d] -> gradients of the trainable experts and routers (added), and dx (added; NULL: not wanted). dout16: the same rounded, where
 * products are bfloat16 and somebody has it already; else NULL. */
moeclip_code mc_moe_backward(mc_compute *cp, mc_moe *moe, const mc_routing *routing, int64_t n, int64_t t,
                             const float *x, const float *dout, const mc_bfloat16 *dout16, const mc_moe_kept *kept, float *dx,
                             mc_arena *arena, moeclip_error *err);

#endif
