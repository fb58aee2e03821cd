/*
 * A tower of transformer blocks, forward and backward (method.md sections 1 and 2):
 *   x1 = x + attention(ln_1(x));  x2 = x1 + mlp(ln_2(x1)) + experts(x1)
 */
#ifndef MC_MODEL_TOWER_H
#define MC_MODEL_TOWER_H

#include "model/clip.h"
#include "model/moe.h"

/*
 * What stands between a block's layers (not the residual stream, which is float): float, or mc_bfloat16 where that is the precision.
 * The name says so and no more.
 */
typedef void mc_between;

/* What backward needs of one block's forward pass; arrays in the arena. M = n * t rows; R = M, but in a last block of which one token
 * a sample is read: then the rows of the tokens that matter (model/last_block.h). */
typedef struct mc_block_kept {
  float *x;                /* [M, d] the block's input */
  float *mean_1, *rstd_1;  /* [M] */
  mc_between *qkv;         /* [M, 3d] */
  float *kv;               /* last block: keys and values alone, [M, 2d] */
  float *q;                /* last block: [R, d] */
  float *log_sum;          /* [n, heads, R / n] */
  mc_between *context;     /* [R, d]; only when out_proj is trained */
  float *x1;               /* [R, d] */
  float *mean_2, *rstd_2;  /* [R] */
  mc_between *h;           /* [R, hidden] before the activation */
  mc_moe_kept moe;
  bool routed;             /* some sample has a task */
} mc_block_kept;

/* Called with each block's output (tests, and features from an early block). */
typedef struct mc_tap {
  void (*call)(void *context, int layer, const float *x /* [n, t, d] */, int64_t n, int64_t t);
  void *context;
  int last_layer; /* stop after this block; -1: run all */
} mc_tap;

/* Called when backward has ended with a block: the gradients of its parameters and experts are complete. block: its number, as
 * for the random streams. */
typedef struct mc_block_done {
  void (*call)(void *context, int block);
  void *context;
} mc_block_done;

/* Called with block 0's output before its experts add theirs, which is what the untouched tower makes of it, x [n, t, d]: fills the
 * routing's tasks, which nobody has read until then. So choosing a task costs no pass of its own. */
typedef struct mc_choice {
  moeclip_code (*call)(void *context, const float *x, int64_t n, moeclip_error *err);
  void *context;
} mc_choice;

typedef struct mc_tower_pass {
  mc_tower *tower;
  mc_moe *moe;                /* [layers], or NULL: no adapters */
  const mc_routing *routing;  /* NULL: no adapters */
  int first_block;            /* number of the tower's block 0 for the random streams */
  int64_t n, t;
  mc_block_kept *kept;        /* [layers], filled by forward, or NULL: no backward will follow */
  const mc_tap *tap;          /* or NULL */
  const int32_t *read;        /* [n]: the one token of each sample that is read from the last block, which then computes what that
                                 token needs and no more; or NULL: all are. Not with a tap */
  float *read_out;            /* [n, d]: gets those rows */
  const mc_block_done *done;  /* or NULL */
  const mc_choice *choice;    /* or NULL. Not in a tower of one block, and not with kept */
} mc_tower_pass;

/* x [n, t, d]: the embedded tokens in, the last block's output out (with `read`: spoiled). */
moeclip_code mc_tower_forward(mc_compute *cp, const mc_tower_pass *pass, float *x, mc_arena *arena, moeclip_error *err);

/*
 * dx [n, t, d]: the gradient of the output in (with `read`: dread [n, d] is, and what dx holds does not matter). Adds the gradients of all trainable parameters. When want_dx, dx is the
 * gradient of the input on return; otherwise the pass ends at the lowest trainable parameter and dx is spoiled.
 */
moeclip_code mc_tower_backward(mc_compute *cp, const mc_tower_pass *pass, const float *dread, float *dx, bool want_dx,
                               mc_arena *arena, moeclip_error *err);

/* Bytes that forward keeps for one sample of t tokens: to size micro-batches. trained: all weights are. */
size_t mc_tower_kept_bytes(const mc_tower *tower, const mc_adapter_sizes *adapters, int64_t t, bool trained, mc_precision precision);

#endif
