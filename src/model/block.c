/* One block: attention half and MLP half, forward and backward. */
#include "model/block.h"

#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "activations")

moeclip_code mc_put_between(mc_compute *cp, const float *x, int64_t n, const mc_between **out, mc_arena *arena, moeclip_error *err) {
  *out = x;
  if (!mc_half(cp)) return MOECLIP_OK;
  mc_bfloat16 *rounded;
  TAKE(rounded, n);
  mc_to_bfloat16(cp, x, n, rounded);
  *out = rounded;
  return MOECLIP_OK;
}

/* w in g, for the way forward or back. A frozen weight is packed once; a part of one (last_block.c), which comes with the whole's rounded
 * copy, and a trained one are read as they stand. */
static moeclip_code set_weight(mc_compute *cp, mc_param *w, int back, mc_gemm16 *g, moeclip_error *err) {
  if (!w->grad && !w->half) {
    MC_TRY(mc_param_pack(cp, w, back, err));
    g->packed = w->packed[back];
    return MOECLIP_OK;
  }
  MC_TRY(mc_param_half(cp, w, err));
  g->b = w->half;
  g->ldb = w->n / w->shape[0];
  g->trans_b = !back;
  return MOECLIP_OK;
}

moeclip_code mc_linear(mc_compute *cp, const mc_between *x, int64_t rows, mc_param *w, const mc_param *b, void *y, mc_into into,
                       moeclip_error *err) {
  int64_t out = w->shape[0], in = w->n / out;
  const float *bias = b ? b->value : NULL;
  if (mc_half(cp)) {
    mc_gemm16 g = {.m = rows, .n = out, .k = in, .a = x, .lda = in,
                   .c = into == MC_INTO_BETWEEN ? NULL : y, .c16 = into == MC_INTO_BETWEEN ? y : NULL, .ldc = out, .bias = bias,
                   .accumulate = into == MC_ADD_TO_FLOAT};
    MC_TRY(set_weight(cp, w, 0, &g, err));
    return mc_gemm16_run(cp, &g, err);
  }
  mc_gemm g = {.m = rows, .n = out, .k = in, .a = x, .lda = in, .b = w->value, .ldb = in, .trans_b = true, .c = y, .ldc = out,
               .bias = bias, .accumulate = into == MC_ADD_TO_FLOAT};
  return mc_gemm_run(cp, &g, err);
}

/* w's and b's gradients of y = x w^T + b. */
static moeclip_code weight_gradient(mc_compute *cp, const mc_between *x, const mc_between *dy, int64_t rows, mc_param *w, mc_param *b,
                                    moeclip_error *err) {
  int64_t out = w->shape[0], in = w->n / out;
  w->touched = b->touched = true;
  if (mc_half(cp)) {
    mc_gemm16 g = {.m = out, .n = in, .k = rows, .a = dy, .lda = out, .trans_a = true, .b = x, .ldb = in, .c = w->grad, .ldc = in,
                   .accumulate = true};
    mc_column_sums16(cp, dy, rows, out, b->grad);
    return mc_gemm16_run(cp, &g, err);
  }
  mc_gemm g = {.m = out, .n = in, .k = rows, .a = dy, .lda = out, .trans_a = true, .b = x, .ldb = in, .c = w->grad, .ldc = in,
               .accumulate = true};
  mc_column_sums(cp, dy, rows, out, out, b->grad);
  return mc_gemm_run(cp, &g, err);
}

moeclip_code mc_linear_backward(mc_compute *cp, const mc_between *x, const mc_between *dy, int64_t rows, mc_param *w, mc_param *b,
                                void *dx, mc_into into, moeclip_error *err) {
  int64_t out = w->shape[0], in = w->n / out;
  if (w->grad) MC_TRY(weight_gradient(cp, x, dy, rows, w, b, err));
  if (mc_half(cp)) {
    mc_gemm16 g = {.m = rows, .n = in, .k = out, .a = dy, .lda = out, .c = into == MC_INTO_BETWEEN ? NULL : dx,
                   .c16 = into == MC_INTO_BETWEEN ? dx : NULL, .ldc = in, .accumulate = into == MC_ADD_TO_FLOAT};
    MC_TRY(set_weight(cp, w, 1, &g, err));
    return mc_gemm16_run(cp, &g, err);
  }
  mc_gemm g = {.m = rows, .n = in, .k = out, .a = dy, .lda = out, .b = w->value, .ldb = in, .c = dx, .ldc = in,
               .accumulate = into == MC_ADD_TO_FLOAT};
  return mc_gemm_run(cp, &g, err);
}

void mc_norm_forward(mc_compute *cp, const float *x, int64_t rows, const mc_param *weight, const mc_param *bias, mc_between *y,
                     float *mean, float *rstd) {
  int64_t d = weight->n;
  if (mc_half(cp)) {
    mc_layernorm_forward16(cp, x, d, weight->value, bias->value, rows, d, y, mean, rstd);
  } else {
    mc_layernorm_forward(cp, x, d, weight->value, bias->value, rows, d, y, mean, rstd);
  }
}

void mc_norm_backward(mc_compute *cp, const float *dy, const float *x, int64_t rows, const float *mean,
                          const float *rstd, mc_param *weight, mc_param *bias, float *dx) {
  mc_layernorm_backward(cp, dy, x, weight->n, mean, rstd, weight->value, rows, weight->n, dx, weight->n, weight->grad,
                        bias->grad);
  weight->touched |= weight->grad != NULL;
  bias->touched |= bias->grad != NULL;
}

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

/* --- the half behind attention: x2 = x1 + mlp(ln_2(x1)) + experts(x1) ------------------------------------------------------------- */

moeclip_code mc_block_mlp_forward(mc_compute *cp, const mc_tower_pass *p, int layer, bool routed, int64_t t, float *x,
                                  mc_block_kept *k, bool keep, mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  mc_block *b = &tower->blocks[layer];
  int64_t rows = p->n * t, d = tower->width, hidden = tower->hidden;
  mc_between *normed, *h, *activated;
  k->x1 = NULL;
  k->routed = routed;
  if (keep) {
    TAKE(k->mean_2, rows);
    TAKE(k->rstd_2, rows);
    MC_TAKE_BETWEEN(k->h, rows * hidden);
  }
  /* x holds x1. The experts read it, and add to the output: it must survive until they have. */
  if (keep || routed) {
    TAKE(k->x1, rows * d);
    mc_copy(cp, x, rows * d, k->x1);
  }
  mc_arena_mark mark = mc_arena_here(arena);
  MC_TAKE_BETWEEN(normed, rows * d);
  h = k->h;
  if (!keep) MC_TAKE_BETWEEN(h, rows * hidden);
  activated = h;
  if (keep) MC_TAKE_BETWEEN(activated, rows * hidden);
  mc_norm_forward(cp, x, rows, &b->ln_2_weight, &b->ln_2_bias, normed, keep ? k->mean_2 : NULL, keep ? k->rstd_2 : NULL);
  MC_TRY(mc_linear(cp, normed, rows, &b->fc_weight, &b->fc_bias, h, MC_INTO_BETWEEN, err));
  activate(cp, tower->activation, h, rows * hidden, activated);
  MC_TRY(mc_linear(cp, activated, rows, &b->proj_weight, &b->proj_bias, x, MC_ADD_TO_FLOAT, err));
  mc_arena_release(arena, mark);
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
  mc_between *normed = NULL, *dh, *activated = NULL;
  const mc_between *dy;
  float *dnormed;
  mc_copy(cp, dx2, rows * d, dx1); /* the residual */
  if (k->routed) {
    MC_TRY(mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, t, k->x1, dx2, &k->moe, dx1, arena, err));
  }
  TAKE(dnormed, rows * d);
  MC_TAKE_BETWEEN(dh, rows * hidden);
  MC_TRY(mc_put_between(cp, dx2, rows * d, &dy, arena, err));
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

/* --- attention -------------------------------------------------------------------------------------------------------------------- */

static moeclip_code attend(mc_compute *cp, const mc_attention *a, const mc_between *qkv, mc_between *context, float *log_sum,
                           mc_arena *arena, moeclip_error *err) {
  if (mc_half(cp)) {
    char *scratch;
    TAKE(scratch, mc_attention_scratch16(cp, a));
    return mc_attention_forward16(cp, a, qkv, context, log_sum, scratch, err);
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
    return mc_attention_backward16(cp, a, qkv, log_sum, dcontext, dqkv, scratch, err);
  }
  float *scratch;
  TAKE(scratch, mc_attention_scratch(cp, a));
  return mc_attention_backward(cp, a, qkv, log_sum, dcontext, dqkv, scratch, err);
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
    MC_TAKE_BETWEEN(k.qkv, rows * 3 * d);
    TAKE(k.log_sum, rows * tower->n_heads);
    if (b->out_weight.grad) MC_TAKE_BETWEEN(k.context, rows * d);
    mc_copy(cp, x, rows * d, k.x);
  }
  mc_arena_mark mark = mc_arena_here(arena);
  mc_between *normed, *qkv = k.qkv, *context = k.context;
  MC_TAKE_BETWEEN(normed, rows * d);
  if (!qkv) MC_TAKE_BETWEEN(qkv, rows * 3 * d);
  if (!context) MC_TAKE_BETWEEN(context, rows * d);
  mc_norm_forward(cp, x, rows, &b->ln_1_weight, &b->ln_1_bias, normed, k.mean_1, k.rstd_1);
  MC_TRY(mc_linear(cp, normed, rows, &b->in_weight, &b->in_bias, qkv, MC_INTO_BETWEEN, err));
  MC_TRY(attend(cp, &a, qkv, context, k.log_sum, arena, err));
  MC_TRY(mc_linear(cp, context, rows, &b->out_weight, &b->out_bias, x, MC_ADD_TO_FLOAT, err));
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
  float *dx1, *dnormed;
  mc_between *normed = NULL, *dcontext, *dqkv;
  const mc_between *dy;
  mc_attention a = {p->n, p->t, tower->n_heads, d / tower->n_heads, tower->causal};
  TAKE(dx1, rows * d);
  MC_TRY(mc_block_mlp_backward(cp, p, layer, p->t, dx, dx1, arena, err));
  MC_TAKE_BETWEEN(dcontext, rows * d);
  MC_TAKE_BETWEEN(dqkv, rows * 3 * d);
  TAKE(dnormed, rows * d);
  MC_TRY(mc_put_between(cp, dx1, rows * d, &dy, arena, err));
  if (full) {
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
