/* One block: attention half and MLP half, forward and backward. */
#include "model/block.h"

#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "activations")

moeclip_code mc_linear(mc_compute *cp, const float *x, int64_t rows, const mc_param *w, const mc_param *b, float *y,
                           bool accumulate, moeclip_error *err) {
  mc_gemm g = {.m = rows, .n = w->shape[0], .k = w->shape[1], .a = x, .lda = w->shape[1], .b = w->value,
               .ldb = w->shape[1], .trans_b = true, .c = y, .ldc = w->shape[0], .bias = b->value,
               .accumulate = accumulate};
  return mc_gemm_run(cp, &g, err);
}

moeclip_code mc_linear_backward(mc_compute *cp, const float *x, const float *dy, int64_t rows, mc_param *w,
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

void mc_norm_forward(mc_compute *cp, const float *x, int64_t rows, const mc_param *weight, const mc_param *bias,
                         float *y, float *mean, float *rstd) {
  mc_layernorm_forward(cp, x, weight->n, weight->value, bias->value, rows, weight->n, y, mean, rstd);
}

void mc_norm_backward(mc_compute *cp, const float *dy, const float *x, int64_t rows, const float *mean,
                          const float *rstd, mc_param *weight, mc_param *bias, float *dx) {
  mc_layernorm_backward(cp, dy, x, weight->n, mean, rstd, weight->value, rows, weight->n, dx, weight->n, weight->grad,
                        bias->grad);
  weight->touched |= weight->grad != NULL;
  bias->touched |= bias->grad != NULL;
}

/* --- the half behind attention: x2 = x1 + mlp(ln_2(x1)) + experts(x1) ------------------------------------------------------------- */

moeclip_code mc_block_mlp_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, int64_t t, float *x,
                                  mc_block_kept *k, bool keep, mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  int64_t rows = p->n * t, d = tower->width, hidden = tower->hidden;
  float *normed, *h, *activated;
  k->x1 = NULL;
  k->routed = routed;
  if (keep) {
    TAKE(k->mean_2, rows);
    TAKE(k->rstd_2, rows);
    TAKE(k->h, rows * hidden);
  }
  /* x holds x1. The experts read it, and add to the output: it must survive until they have. */
  if (keep || routed) {
    TAKE(k->x1, rows * d);
    memcpy(k->x1, x, (size_t)(rows * d) * sizeof *x);
  }
  mc_arena_mark mark = mc_arena_here(arena);
  TAKE(normed, rows * d);
  h = k->h;
  if (!keep) TAKE(h, rows * hidden);
  activated = h;
  if (keep) TAKE(activated, rows * hidden);
  mc_norm_forward(cp, x, rows, &b->ln_2_weight, &b->ln_2_bias, normed, keep ? k->mean_2 : NULL, keep ? k->rstd_2 : NULL);
  MC_TRY(mc_linear(cp, normed, rows, &b->fc_weight, &b->fc_bias, h, false, err));
  mc_activation_forward(cp, tower->activation, h, rows * hidden, activated);
  MC_TRY(mc_linear(cp, activated, rows, &b->proj_weight, &b->proj_bias, x, true, err));
  mc_arena_release(arena, mark);
  if (p->choice && layer == 0) MC_TRY(p->choice->call(p->choice->context, x, p->n, err));
  if (!routed) return MOECLIP_OK;
  return mc_moe_forward(cp, &p->moe[layer], p->routing, p->first_block + layer, p->n, t, k->x1, x, keep ? &k->moe : NULL, arena, err);
}

moeclip_code mc_block_mlp_backward(mc_compute *cp, const mc_tower_pass *p, int layer, int64_t t, const float *dx2, float *dx1,
                                   mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  const mc_block_kept *k = &p->kept[layer];
  int64_t rows = p->n * t, d = tower->width, hidden = tower->hidden;
  mc_arena_mark before = mc_arena_here(arena);
  float *normed = NULL, *dnormed, *dh, *activated = NULL;
  memcpy(dx1, dx2, (size_t)(rows * d) * sizeof *dx1); /* the residual */
  if (k->routed) {
    MC_TRY(mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, t, k->x1, dx2, &k->moe, dx1, arena, err));
  }
  TAKE(dnormed, rows * d);
  TAKE(dh, rows * hidden);
  if (mc_block_trains(b)) {
    TAKE(normed, rows * d);
    TAKE(activated, rows * hidden);
    mc_activation_forward(cp, tower->activation, k->h, rows * hidden, activated);
    mc_norm_forward(cp, k->x1, rows, &b->ln_2_weight, &b->ln_2_bias, normed, NULL, NULL);
  }
  MC_TRY(mc_linear_backward(cp, activated, dx2, rows, &b->proj_weight, &b->proj_bias, dh, err));
  mc_activation_backward(cp, tower->activation, k->h, rows * hidden, dh);
  MC_TRY(mc_linear_backward(cp, normed, dh, rows, &b->fc_weight, &b->fc_bias, dnormed, err));
  mc_norm_backward(cp, dnormed, k->x1, rows, k->mean_2, k->rstd_2, &b->ln_2_weight, &b->ln_2_bias, dx1);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* --- a whole block ---------------------------------------------------------------------------------------------------------------- */

moeclip_code mc_block_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, float *x, mc_block_kept *kept,
                              mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  int64_t rows = p->n * p->t, d = tower->width;
  mc_attention a = {p->n, p->t, tower->n_heads, d / tower->n_heads, tower->causal};
  mc_block_kept k = {0};
  mc_arena_mark before = mc_arena_here(arena);
  if (kept) {
    TAKE(k.x, rows * d);
    TAKE(k.mean_1, rows);
    TAKE(k.rstd_1, rows);
    TAKE(k.qkv, rows * 3 * d);
    TAKE(k.log_sum, rows * tower->n_heads);
    if (b->out_weight.grad) TAKE(k.context, rows * d);
    memcpy(k.x, x, (size_t)(rows * d) * sizeof *x);
  }
  mc_arena_mark mark = mc_arena_here(arena);
  float *normed, *qkv = k.qkv, *context = k.context, *scratch;
  TAKE(normed, rows * d);
  if (!qkv) TAKE(qkv, rows * 3 * d);
  if (!context) TAKE(context, rows * d);
  TAKE(scratch, mc_attention_scratch(cp, &a));
  mc_norm_forward(cp, x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, k.mean_1, k.rstd_1);
  MC_TRY(mc_linear(cp, normed, rows, &b->in_weight, &b->in_bias, qkv, false, err));
  MC_TRY(mc_attention_forward(cp, &a, qkv, context, k.log_sum, scratch, err));
  MC_TRY(mc_linear(cp, context, rows, &b->out_weight, &b->out_bias, x, true, err));
  mc_arena_release(arena, mark);
  MC_TRY(mc_block_mlp_forward(cp, p, layer, routed, p->t, x, &k, kept != NULL, arena, err));
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
  int64_t rows = p->n * p->t, d = tower->width;
  bool full = mc_block_trains(b);
  mc_arena_mark before = mc_arena_here(arena);
  if (!below && !full) {
    /* The lowest trained block of a frozen tower: nothing but its experts wants a gradient. */
    if (!k->routed) return MOECLIP_OK;
    return mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, p->t, k->x1, dx, &k->moe, NULL, arena, err);
  }
  float *dx1, *normed = NULL, *dcontext, *dqkv, *scratch;
  mc_attention a = {p->n, p->t, tower->n_heads, d / tower->n_heads, tower->causal};
  TAKE(dx1, rows * d);
  MC_TRY(mc_block_mlp_backward(cp, p, layer, p->t, dx, dx1, arena, err));
  TAKE(dcontext, rows * d);
  TAKE(dqkv, rows * 3 * d);
  TAKE(scratch, mc_attention_scratch(cp, &a));
  if (full) {
    TAKE(normed, rows * d);
    mc_norm_forward(cp, k->x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, NULL, NULL);
  }
  MC_TRY(mc_linear_backward(cp, k->context, dx1, rows, &b->out_weight, &b->out_bias, dcontext, err));
  MC_TRY(mc_attention_backward(cp, &a, k->qkv, k->log_sum, dcontext, dqkv, scratch, err));
  MC_TRY(mc_linear_backward(cp, normed, dqkv, rows, &b->in_weight, &b->in_bias, dcontext, err));
  memcpy(dx, dx1, (size_t)(rows * d) * sizeof *dx);
  mc_norm_backward(cp, dcontext, k->x, rows, k->mean_1, k->rstd_1, &b->ln_1_weight, &b->ln_1_bias, dx);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}
