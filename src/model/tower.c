#include "model/tower.h"

#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count)                                                              \
  do {                                                                                    \
    (pointer) = mc_arena_take(arena, (size_t)(count), sizeof *(pointer));                 \
    if (!(pointer)) return mc_fail_memory(err, (size_t)(count) * sizeof *(pointer), "activations"); \
  } while (0)

static bool any_routed(const mc_tower_pass *p) {
  if (!p->moe || !p->routing) return false;
  for (int64_t s = 0; s < p->n; s++) {
    if (p->routing->task[s] >= 0) return true;
  }
  return false;
}

/* y[rows, out] = x[rows, in] w^T + b (+ y). */
static moeclip_code linear(mc_compute *cp, const float *x, int64_t rows, const mc_param *w, const mc_param *b, float *y,
                           bool accumulate, moeclip_error *err) {
  mc_gemm g = {.m = rows, .n = w->shape[0], .k = w->shape[1], .a = x, .lda = w->shape[1], .b = w->value,
               .ldb = w->shape[1], .trans_b = true, .c = y, .ldc = w->shape[0], .bias = b->value,
               .accumulate = accumulate};
  return mc_gemm_run(cp, &g, err);
}

/* dx = dy w (written); the weights' gradients are added where they are trained, for which x is needed. */
static moeclip_code linear_backward(mc_compute *cp, const float *x, const float *dy, int64_t rows, mc_param *w,
                                    mc_param *b, float *dx, moeclip_error *err) {
  int64_t out = w->shape[0], in = w->shape[1];
  if (w->grad) {
    mc_gemm g = {.m = out, .n = in, .k = rows, .a = dy, .lda = out, .trans_a = true, .b = x, .ldb = in, .c = w->grad,
                 .ldc = in, .accumulate = true};
    MC_TRY(mc_gemm_run(cp, &g, err));
    mc_column_sums(cp, dy, rows, out, out, b->grad);
    w->touched = b->touched = true;
  }
  mc_gemm g = {.m = rows, .n = in, .k = out, .a = dy, .lda = out, .b = w->value, .ldb = in, .c = dx, .ldc = in};
  return mc_gemm_run(cp, &g, err);
}

static void norm_forward(mc_compute *cp, const float *x, int64_t rows, const mc_param *weight, const mc_param *bias,
                         float *y, float *mean, float *rstd) {
  mc_layernorm_forward(cp, x, weight->n, weight->value, bias->value, rows, weight->n, y, mean, rstd);
}

static void norm_backward(mc_compute *cp, const float *dy, const float *x, int64_t rows, const float *mean,
                          const float *rstd, mc_param *weight, mc_param *bias, float *dx) {
  mc_layernorm_backward(cp, dy, x, weight->n, mean, rstd, weight->value, rows, weight->n, dx, weight->n, weight->grad,
                        bias->grad);
  weight->touched |= weight->grad != NULL;
  bias->touched |= bias->grad != NULL;
}

/* x is replaced by the block's output. */
static moeclip_code block_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, float *x,
                                  mc_block_kept *kept, mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  int64_t rows = p->n * p->t, d = tower->width, hidden = tower->hidden;
  mc_attention a = {p->n, p->t, tower->n_heads, d / tower->n_heads, tower->causal};
  mc_block_kept k = {0};
  if (kept) {
    TAKE(k.x, rows * d);
    TAKE(k.mean_1, rows);
    TAKE(k.rstd_1, rows);
    TAKE(k.mean_2, rows);
    TAKE(k.rstd_2, rows);
    TAKE(k.qkv, rows * 3 * d);
    TAKE(k.log_sum, rows * tower->n_heads);
    TAKE(k.x1, rows * d);
    TAKE(k.h, rows * hidden);
    if (b->out_weight.grad) TAKE(k.context, rows * d);
    memcpy(k.x, x, (size_t)(rows * d) * sizeof *x);
  }
  mc_arena_mark mark = mc_arena_here(arena);
  float *normed, *qkv = k.qkv, *context = k.context, *scratch;
  TAKE(normed, rows * d);
  if (!qkv) TAKE(qkv, rows * 3 * d);
  if (!context) TAKE(context, rows * d);
  TAKE(scratch, mc_attention_scratch(cp, &a));
  norm_forward(cp, x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, k.mean_1, k.rstd_1);
  MC_TRY(linear(cp, normed, rows, &b->in_weight, &b->in_bias, qkv, false, err));
  MC_TRY(mc_attention_forward(cp, &a, qkv, context, k.log_sum, scratch, err));
  MC_TRY(linear(cp, context, rows, &b->out_weight, &b->out_bias, x, true, err));
  mc_arena_release(arena, mark);

  /* x now holds x1. The experts read it, and add to the output; it must survive until they have. */
  const float *x1 = x;
  float *h = k.h, *x1_copy = k.x1, *activated;
  if (routed && !x1_copy) TAKE(x1_copy, rows * d);
  if (x1_copy) {
    memcpy(x1_copy, x, (size_t)(rows * d) * sizeof *x);
    x1 = x1_copy;
  }
  mc_arena_mark after_copy = mc_arena_here(arena);
  TAKE(normed, rows * d);
  if (!h) TAKE(h, rows * hidden);
  activated = h;
  if (kept) TAKE(activated, rows * hidden);
  norm_forward(cp, x, rows, &b->ln_2_weight, &b->ln_2_bias, normed, k.mean_2, k.rstd_2);
  MC_TRY(linear(cp, normed, rows, &b->fc_weight, &b->fc_bias, h, false, err));
  mc_activation_forward(cp, tower->activation, h, rows * hidden, activated);
  MC_TRY(linear(cp, activated, rows, &b->proj_weight, &b->proj_bias, x, true, err));
  mc_arena_release(arena, after_copy);
  if (routed) {
    MC_TRY(mc_moe_forward(cp, &p->moe[layer], p->routing, p->first_block + layer, p->n, p->t, x1, x,
                          kept ? &k.moe : NULL, arena, err));
  }
  k.routed = routed;
  if (kept) {
    *kept = k;
  } else {
    mc_arena_release(arena, mark);
  }
  return MOECLIP_OK;
}

moeclip_code mc_tower_forward(mc_compute *cp, const mc_tower_pass *p, float *x, mc_arena *arena, moeclip_error *err) {
  bool routed = any_routed(p);
  for (int l = 0; l < p->tower->n_layers; l++) {
    MC_TRY(block_forward(cp, p, l, routed, x, p->kept ? &p->kept[l] : NULL, arena, err));
    if (p->tap) {
      p->tap->call(p->tap->context, l, x, p->n, p->t);
      if (l == p->tap->last_layer) break;
    }
  }
  return MOECLIP_OK;
}

static bool trains(const mc_block *b) { return b->in_weight.grad != NULL; }

static bool moe_trains(const mc_tower_pass *p, int layer) { return p->moe && p->kept[layer].routed; }

/* dx holds the gradient of the block's output, and then that of its input (unless below is false: then the block's input
 * leads to nothing trainable, and only the block's own parameters get their gradients). */
static moeclip_code block_backward(mc_compute *cp, const mc_tower_pass *p, int layer, bool below, float *dx,
                                   mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  const mc_block_kept *k = &p->kept[layer];
  int64_t rows = p->n * p->t, d = tower->width, hidden = tower->hidden;
  bool full = trains(b);
  mc_arena_mark before = mc_arena_here(arena);
  if (!below && !full) {
    /* The lowest trained block of a frozen tower: nothing but its experts wants a gradient. */
    if (k->routed) MC_TRY(mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, p->t, k->x1, dx, &k->moe, NULL, arena, err));
    return MOECLIP_OK;
  }
  float *dx2 = dx, *normed, *dnormed, *dh, *activated = NULL;
  /* dx1 starts as dx2 (the residual), and the experts and the MLP add to it: dx2 itself must stay until both have read it. */
  float *dx1;
  TAKE(dx1, rows * d);
  memcpy(dx1, dx2, (size_t)(rows * d) * sizeof *dx1);
  if (k->routed) {
    MC_TRY(mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, p->t, k->x1, dx2, &k->moe, dx1, arena, err));
  }
  mc_arena_mark mark = mc_arena_here(arena);
  TAKE(normed, rows * d);
  TAKE(dnormed, rows * d);
  TAKE(dh, rows * hidden);
  if (full) {
    TAKE(activated, rows * hidden);
    mc_activation_forward(cp, tower->activation, k->h, rows * hidden, activated);
    norm_forward(cp, k->x1, rows, &b->ln_2_weight, &b->ln_2_bias, normed, NULL, NULL);
  }
  MC_TRY(linear_backward(cp, activated, dx2, rows, &b->proj_weight, &b->proj_bias, dh, err));
  mc_activation_backward(cp, tower->activation, k->h, rows * hidden, dh);
  MC_TRY(linear_backward(cp, normed, dh, rows, &b->fc_weight, &b->fc_bias, dnormed, err));
  norm_backward(cp, dnormed, k->x1, rows, k->mean_2, k->rstd_2, &b->ln_2_weight, &b->ln_2_bias, dx1);
  mc_arena_release(arena, mark);

  float *dcontext, *dqkv, *scratch;
  mc_attention a = {p->n, p->t, tower->n_heads, d / tower->n_heads, tower->causal};
  TAKE(normed, rows * d);
  TAKE(dcontext, rows * d);
  TAKE(dqkv, rows * 3 * d);
  TAKE(scratch, mc_attention_scratch(cp, &a));
  if (full) norm_forward(cp, k->x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, NULL, NULL);
  MC_TRY(linear_backward(cp, k->context, dx1, rows, &b->out_weight, &b->out_bias, dcontext, err));
  MC_TRY(mc_attention_backward(cp, &a, k->qkv, k->log_sum, dcontext, dqkv, scratch, err));
  MC_TRY(linear_backward(cp, normed, dqkv, rows, &b->in_weight, &b->in_bias, dcontext, err));
  memcpy(dx, dx1, (size_t)(rows * d) * sizeof *dx);
  norm_backward(cp, dcontext, k->x, rows, k->mean_1, k->rstd_1, &b->ln_1_weight, &b->ln_1_bias, dx);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

moeclip_code mc_tower_backward(mc_compute *cp, const mc_tower_pass *p, float *dx, bool want_dx, mc_arena *arena,
                               moeclip_error *err) {
  int lowest = p->tower->n_layers;
  for (int l = p->tower->n_layers - 1; l >= 0; l--) {
    if (want_dx || trains(&p->tower->blocks[l]) || moe_trains(p, l)) lowest = l;
  }
  for (int l = p->tower->n_layers - 1; l >= lowest; l--) {
    MC_TRY(block_backward(cp, p, l, want_dx || l > lowest, dx, arena, err));
    if (p->done) p->done->call(p->done->context, p->first_block + l);
  }
  return MOECLIP_OK;
}

size_t mc_tower_kept_bytes(const mc_tower *tower, const mc_adapter_sizes *adapters, int64_t t, bool trained) {
  size_t d = (size_t)tower->width, per_token = 5 * d + (size_t)tower->hidden + 8 + (size_t)tower->n_heads;
  if (trained) per_token += d;
  if (adapters) per_token += (size_t)adapters->top_k * (size_t)adapters->bottleneck;
  return per_token * (size_t)t * sizeof(float) * (size_t)tower->n_layers;
}
