/*
 * One block: attention half and MLP half, forward and backward.
 *
 * In bfloat16 the work between two rounds of the experts is cut into groups of samples, and a thread takes a group through all the
 * layers of it, alone: what stands between the layers stays in that core's cache, and no thread waits for another at every product.
 * (float32 products want more rows at a time than that: docs/PERFORMANCE.md.) Where weights are trained, their gradients are sums over
 * all samples, and all threads work on one layer at a time.
 */
#include "model/block.h"

#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "activations")

enum { GROUP_ROWS = 400 };

static void activate(mc_compute *cp, mc_activation kind, const mc_between *h, int64_t n, mc_between *y) {
  if (mc_half(cp)) {
    mc_activation_forward16(cp, kind, h, n, y);
  } else {
    mc_activation_forward(cp, kind, h, n, y);
  }
}

static void activate_backward(mc_compute *cp, mc_activation kind, const mc_between *h, int64_t n, mc_between *dy) {
  if (mc_half(cp)) {
    mc_activation_backward16(cp, kind, h, n, dy);
  } else {
    mc_activation_backward(cp, kind, h, n, dy);
  }
}

static moeclip_code attend(mc_compute *cp, const mc_attention *a, const mc_between *qkv, mc_between *context, float *log_sum,
                           mc_arena *arena, moeclip_error *err) {
  if (mc_half(cp)) {
    char *scratch;
    TAKE(scratch, mc_attention_scratch16(cp, a));
    mc_attention_forward16(cp, a, qkv, context, log_sum, scratch);
    return MOECLIP_OK;
  }
  float *scratch;
  TAKE(scratch, mc_attention_scratch(cp, a));
  return mc_attention_forward(cp, a, qkv, context, log_sum, scratch, err);
}

static moeclip_code attend_backward(mc_compute *cp, const mc_attention *a, const mc_between *qkv, const float *log_sum,
                                    const mc_between *dcontext, mc_between *dqkv, mc_arena *arena, moeclip_error *err) {
  if (mc_half(cp)) {
    char *scratch;
    TAKE(scratch, mc_attention_scratch16(cp, a));
    mc_attention_backward16(cp, a, qkv, log_sum, dcontext, dqkv, scratch);
    return MOECLIP_OK;
  }
  float *scratch;
  TAKE(scratch, mc_attention_scratch(cp, a));
  return mc_attention_backward(cp, a, qkv, log_sum, dcontext, dqkv, scratch, err);
}

/* --- the halves, of n samples; k: what is kept of these ----------------------------------------------------------------------------- */

/* x -> x1 = x + attention(ln_1(x)), in place. */
static moeclip_code attention_forward(mc_compute *cp, const mc_tower *tower, mc_block *b, int64_t n, int64_t t, float *x,
                                      const mc_block_kept *k, mc_arena *arena, moeclip_error *err) {
  int64_t rows = n * t, d = tower->width;
  mc_attention a = {n, t, tower->n_heads, d / tower->n_heads, tower->causal};
  mc_arena_mark mark = mc_arena_here(arena);
  mc_between *normed, *qkv = k->qkv, *context = k->context;
  MC_TAKE_BETWEEN(normed, rows * d);
  if (!qkv) MC_TAKE_BETWEEN(qkv, rows * 3 * d);
  if (!context) MC_TAKE_BETWEEN(context, rows * d);
  if (k->x) mc_copy(cp, x, rows * d, k->x);
  mc_norm_forward(cp, x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, k->mean_1, k->rstd_1);
  MC_TRY(mc_linear(cp, normed, rows, &b->in_weight, &b->in_bias, qkv, MC_INTO_BETWEEN, err));
  MC_TRY(attend(cp, &a, qkv, context, k->log_sum, arena, err));
  MC_TRY(mc_linear(cp, context, rows, &b->out_weight, &b->out_bias, x, MC_ADD_TO_FLOAT, err));
  mc_arena_release(arena, mark);
  return MOECLIP_OK;
}

/* x1 -> x1 + mlp(ln_2(x1)), in place; k->x1, where it is, gets x1. */
static moeclip_code mlp_forward(mc_compute *cp, const mc_tower *tower, mc_block *b, int64_t rows, float *x, const mc_block_kept *k,
                                mc_arena *arena, moeclip_error *err) {
  int64_t d = tower->width, hidden = tower->hidden;
  mc_arena_mark mark = mc_arena_here(arena);
  mc_between *normed, *h = k->h, *activated;
  MC_TAKE_BETWEEN(normed, rows * d);
  MC_TAKE_BETWEEN(activated, rows * hidden);
  if (!h) h = activated;
  if (k->x1) mc_copy(cp, x, rows * d, k->x1);
  mc_norm_forward(cp, x, rows, &b->ln_2_weight, &b->ln_2_bias, normed, k->mean_2, k->rstd_2);
  MC_TRY(mc_linear(cp, normed, rows, &b->fc_weight, &b->fc_bias, h, MC_INTO_BETWEEN, err));
  activate(cp, tower->activation, h, rows * hidden, activated);
  MC_TRY(mc_linear(cp, activated, rows, &b->proj_weight, &b->proj_bias, x, MC_ADD_TO_FLOAT, err));
  mc_arena_release(arena, mark);
  return MOECLIP_OK;
}

/* dx1 += the MLP's part of the gradient of x1; dy: the output's. */
static moeclip_code mlp_backward(mc_compute *cp, const mc_tower *tower, mc_block *b, int64_t rows, const mc_between *dy, float *dx1,
                                 const mc_block_kept *k, mc_arena *arena, moeclip_error *err) {
  int64_t d = tower->width, hidden = tower->hidden;
  mc_arena_mark before = mc_arena_here(arena);
  mc_between *normed = NULL, *dh, *activated = NULL;
  float *dnormed;
  TAKE(dnormed, rows * d);
  MC_TAKE_BETWEEN(dh, rows * hidden);
  if (mc_block_trains(b)) {
    MC_TAKE_BETWEEN(normed, rows * d);
    MC_TAKE_BETWEEN(activated, rows * hidden);
    activate(cp, tower->activation, k->h, rows * hidden, activated);
    mc_norm_forward(cp, k->x1, rows, &b->ln_2_weight, &b->ln_2_bias, normed, NULL, NULL);
  }
  MC_TRY(mc_linear_backward(cp, activated, dy, rows, &b->proj_weight, &b->proj_bias, dh, MC_INTO_BETWEEN, err));
  activate_backward(cp, tower->activation, k->h, rows * hidden, dh);
  MC_TRY(mc_linear_backward(cp, normed, dh, rows, &b->fc_weight, &b->fc_bias, dnormed, MC_INTO_FLOAT, err));
  mc_norm_backward(cp, dnormed, k->x1, rows, k->mean_2, k->rstd_2, &b->ln_2_weight, &b->ln_2_bias, dx1);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* dx1 -> dx, written. */
static moeclip_code attention_backward(mc_compute *cp, const mc_tower *tower, mc_block *b, int64_t n, int64_t t, const float *dx1,
                                       float *dx, const mc_block_kept *k, mc_arena *arena, moeclip_error *err) {
  int64_t rows = n * t, d = tower->width;
  mc_attention a = {n, t, tower->n_heads, d / tower->n_heads, tower->causal};
  mc_arena_mark before = mc_arena_here(arena);
  mc_between *normed = NULL, *dcontext, *dqkv;
  const mc_between *dy;
  float *dnormed;
  MC_TAKE_BETWEEN(dcontext, rows * d);
  MC_TAKE_BETWEEN(dqkv, rows * 3 * d);
  TAKE(dnormed, rows * d);
  MC_TRY(mc_put_between(cp, dx1, rows * d, &dy, arena, err));
  if (mc_block_trains(b)) {
    MC_TAKE_BETWEEN(normed, rows * d);
    mc_norm_forward(cp, k->x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, NULL, NULL);
  }
  MC_TRY(mc_linear_backward(cp, k->context, dy, rows, &b->out_weight, &b->out_bias, dcontext, MC_INTO_BETWEEN, err));
  MC_TRY(attend_backward(cp, &a, k->qkv, k->log_sum, dcontext, dqkv, arena, err));
  MC_TRY(mc_linear_backward(cp, normed, dqkv, rows, &b->in_weight, &b->in_bias, dnormed, MC_INTO_FLOAT, err));
  mc_copy(cp, dx1, rows * d, dx);
  mc_norm_backward(cp, dnormed, k->x, rows, k->mean_1, k->rstd_1, &b->ln_1_weight, &b->ln_1_bias, dx);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* --- groups of samples -------------------------------------------------------------------------------------------------------------- */

typedef struct work {
  const mc_tower *tower;
  mc_block *block;
  int64_t n, t;
  const mc_block_kept *kept; /* of all samples */
  float *x;                  /* forward: in and out */
  const mc_between *dy;      /* backward: the output's gradient */
  float *dx1, *dx;
  moeclip_code (*of)(mc_compute *cp, const struct work *w, int64_t first, int64_t n, mc_arena *arena, moeclip_error *err);
  mc_compute *cp;
  int64_t each; /* samples of a group */
  moeclip_code code; /* of a group that failed, and its message */
  moeclip_error err;
} work;

static mc_between *further(const mc_compute *cp, const mc_between *array, int64_t n) {
  return array ? (char *)(uintptr_t)array + (size_t)n * mc_between_bytes(cp) : NULL;
}

/* What is kept of the samples from `first` on. */
static mc_block_kept kept_from(const mc_compute *cp, const work *w, int64_t first) {
  mc_block_kept k = *w->kept;
  int64_t row = first * w->t, d = w->tower->width;
  float **floats[] = {&k.x, &k.x1, &k.mean_1, &k.rstd_1, &k.mean_2, &k.rstd_2, &k.log_sum};
  const int64_t widths[] = {d, d, 1, 1, 1, 1, w->tower->n_heads};
  for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
    if (*floats[i]) *floats[i] += row * widths[i];
  }
  k.qkv = further(cp, k.qkv, row * 3 * d);
  k.context = further(cp, k.context, row * d);
  k.h = further(cp, k.h, row * w->tower->hidden);
  return k;
}

static void group_unit(void *context, int64_t unit, int thread) {
  work *w = context;
  mc_lane *lane = mc_compute_lane(w->cp, thread);
  moeclip_error err = {0};
  int64_t first = unit * w->each, n = w->n - first < w->each ? w->n - first : w->each;
  moeclip_code code = w->of(lane->cp, w, first, n, &lane->arena, &err);
  if (code == MOECLIP_OK) return;
  mc_arena_clear(&lane->arena);
#pragma omp critical(moeclip_block_failure)
  {
    w->code = code;
    w->err = err;
  }
}

/* Weights are packed by all threads, before each reads them alone. */
static moeclip_code pack(mc_compute *cp, mc_block *b, int back, moeclip_error *err) {
  mc_param *all[] = {&b->in_weight, &b->out_weight, &b->fc_weight, &b->proj_weight};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (!all[i]->half) MC_TRY(mc_param_pack(cp, all[i], back, err));
  }
  return MOECLIP_OK;
}

static moeclip_code do_work(mc_compute *cp, work *w, int back, mc_arena *arena, moeclip_error *err) {
  int64_t threads = mc_compute_threads(cp), groups = (w->n * w->t + GROUP_ROWS - 1) / GROUP_ROWS;
  if (!mc_half(cp) || threads == 1 || mc_block_trains(w->block) || w->n < threads) return w->of(cp, w, 0, w->n, arena, err);
  groups = (groups + threads - 1) / threads * threads;
  w->each = (w->n + groups - 1) / groups;
  w->cp = cp;
  MC_TRY(pack(cp, w->block, back, err));
  mc_parallel_units(cp, (w->n + w->each - 1) / w->each, group_unit, w);
  if (w->code != MOECLIP_OK && err) *err = w->err;
  return w->code;
}

static moeclip_code forward_group(mc_compute *cp, const work *w, int64_t first, int64_t n, mc_arena *arena, moeclip_error *err) {
  mc_block_kept k = kept_from(cp, w, first);
  float *x = w->x + first * w->t * w->tower->width;
  MC_TRY(attention_forward(cp, w->tower, w->block, n, w->t, x, &k, arena, err));
  return mlp_forward(cp, w->tower, w->block, n * w->t, x, &k, arena, err);
}

static moeclip_code backward_group(mc_compute *cp, const work *w, int64_t first, int64_t n, mc_arena *arena, moeclip_error *err) {
  mc_block_kept k = kept_from(cp, w, first);
  int64_t at = first * w->t * w->tower->width;
  MC_TRY(mlp_backward(cp, w->tower, w->block, n * w->t, further(cp, w->dy, at), w->dx1 + at, &k, arena, err));
  return attention_backward(cp, w->tower, w->block, n, w->t, w->dx1 + at, w->dx + at, &k, arena, err);
}

/* --- the half behind attention, for the last block ---------------------------------------------------------------------------------- */

/* What the MLP keeps, and x1 where the experts read it. */
static moeclip_code take_mlp_kept(mc_compute *cp, const mc_tower *tower, int64_t rows, bool routed, bool keep, mc_block_kept *k,
                                  mc_arena *arena, moeclip_error *err) {
  k->x1 = NULL;
  k->routed = routed;
  if (keep) {
    TAKE(k->mean_2, rows);
    TAKE(k->rstd_2, rows);
    MC_TAKE_BETWEEN(k->h, rows * tower->hidden);
  }
  if (keep || routed) TAKE(k->x1, rows * tower->width);
  return MOECLIP_OK;
}

static moeclip_code add_experts(mc_compute *cp, const mc_tower_pass *p, int layer, int64_t t, float *x, mc_block_kept *k, bool keep,
                                mc_arena *arena, moeclip_error *err) {
  if (!k->routed) return MOECLIP_OK;
  return mc_moe_forward(cp, &p->moe[layer], p->routing, p->first_block + layer, p->n, t, k->x1, x, keep ? &k->moe : NULL, arena, err);
}

/* dx1: the residual connection and the experts. *dy: dx2 as it stands between layers. */
static moeclip_code begin_backward(mc_compute *cp, const mc_tower_pass *p, int layer, int64_t t, const float *dx2, float *dx1,
                                   const mc_between **dy, mc_arena *arena, moeclip_error *err) {
  const mc_block_kept *k = &p->kept[layer];
  int64_t n = p->n * t * p->tower->width;
  mc_bfloat16 *rounded = NULL;
  if (mc_half(cp)) {
    TAKE(rounded, n);
    mc_copy_to_bfloat16(cp, dx2, n, dx1, rounded);
  } else {
    mc_copy(cp, dx2, n, dx1);
  }
  *dy = rounded ? (const mc_between *)rounded : dx2;
  if (!k->routed) return MOECLIP_OK;
  return mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, t, k->x1, dx2, rounded, &k->moe, dx1, arena, err);
}

moeclip_code mc_block_mlp_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, int64_t t, float *x,
                                  mc_block_kept *k, bool keep, mc_arena *arena, moeclip_error *err) {
  MC_TRY(take_mlp_kept(cp, p->tower, p->n * t, routed, keep, k, arena, err));
  MC_TRY(mlp_forward(cp, p->tower, &p->tower->blocks[layer], p->n * t, x, k, arena, err));
  return add_experts(cp, p, layer, t, x, k, keep, arena, err);
}

moeclip_code mc_block_mlp_backward(mc_compute *cp, const mc_tower_pass *p, int layer, int64_t t, const float *dx2, float *dx1,
                                   mc_arena *arena, moeclip_error *err) {
  const mc_between *dy = NULL;
  mc_arena_mark before = mc_arena_here(arena);
  MC_TRY(begin_backward(cp, p, layer, t, dx2, dx1, &dy, arena, err));
  MC_TRY(mlp_backward(cp, p->tower, &p->tower->blocks[layer], p->n * t, dy, dx1, &p->kept[layer], arena, err));
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* --- a whole block ------------------------------------------------------------------------------------------------------------------ */

moeclip_code mc_block_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, float *x, mc_block_kept *kept,
                              mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  int64_t rows = p->n * p->t, d = tower->width;
  mc_block_kept k = {0};
  mc_arena_mark before = mc_arena_here(arena);
  if (kept) {
    TAKE(k.x, rows * d);
    TAKE(k.mean_1, rows);
    TAKE(k.rstd_1, rows);
    MC_TAKE_BETWEEN(k.qkv, rows * 3 * d);
    TAKE(k.log_sum, rows * tower->n_heads);
    if (b->out_weight.grad) MC_TAKE_BETWEEN(k.context, rows * d);
  }
  MC_TRY(take_mlp_kept(cp, tower, rows, routed, kept != NULL, &k, arena, err));
  work w = {.tower = tower, .block = b, .n = p->n, .t = p->t, .kept = &k, .x = x, .of = forward_group};
  MC_TRY(do_work(cp, &w, 0, arena, err));
  if (p->choice && layer == 0) MC_TRY(p->choice->call(p->choice->context, x, p->n, err));
  MC_TRY(add_experts(cp, p, layer, p->t, x, &k, kept != NULL, arena, err));
  if (kept) {
    *kept = k;
  } else {
    mc_arena_release(arena, before);
  }
  return MOECLIP_OK;
}

moeclip_code mc_block_backward(mc_compute *cp, const mc_tower_pass *p, int layer, bool below, float *dx, mc_arena *arena,
                               moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  const mc_block_kept *k = &p->kept[layer];
  mc_arena_mark before = mc_arena_here(arena);
  if (!below && !mc_block_trains(b)) {
    /* The lowest trained block of a frozen tower: nothing but its experts wants a gradient. */
    if (!k->routed) return MOECLIP_OK;
    return mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, p->t, k->x1, dx, NULL, &k->moe, NULL, arena, err);
  }
  const mc_between *dy = NULL;
  float *dx1;
  TAKE(dx1, p->n * p->t * tower->width);
  MC_TRY(begin_backward(cp, p, layer, p->t, dx, dx1, &dy, arena, err));
  work w = {.tower = tower, .block = b, .n = p->n, .t = p->t, .kept = k, .dy = dy, .dx1 = dx1, .dx = dx, .of = backward_group};
  MC_TRY(do_work(cp, &w, 1, arena, err));
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}
