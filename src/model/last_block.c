#include "model/last_block.h"

#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "activations")

int mc_last_block_tokens(const mc_tower_pass *p) {
  for (int64_t s = 0; s < p->n; s++) {
    if (p->read[s] != 0) return 2;
  }
  return 1;
}

/* Row r of the rows that matter: which row of [n, t] it is. */
static int64_t row_of(const mc_tower_pass *p, int tokens, int64_t r) {
  int64_t s = r / tokens;
  return s * p->t + (r % tokens == tokens - 1 ? p->read[s] : 0);
}

/* each: bytes of a number. */
static void gather(const mc_tower_pass *p, int tokens, const void *x, size_t each, void *to) {
  size_t row = (size_t)p->tower->width * each;
  for (int64_t r = 0; r < p->n * tokens; r++) memcpy((char *)to + (size_t)r * row, (const char *)x + (size_t)row_of(p, tokens, r) * row, row);
}

static void scatter_add(const mc_tower_pass *p, int tokens, const float *rows, float *to) {
  int64_t d = p->tower->width;
  for (int64_t r = 0; r < p->n * tokens; r++) {
    float *own = to + row_of(p, tokens, r) * d;
    for (int64_t i = 0; i < d; i++) own[i] += rows[r * d + i];
  }
}

static moeclip_code few_queries(const mc_tower_pass *p, int tokens, mc_few_queries *f, mc_arena *arena, moeclip_error *err) {
  int64_t d = p->tower->width, rows = p->n * tokens;
  int32_t *visible;
  TAKE(visible, rows);
  for (int64_t r = 0; r < rows; r++) {
    visible[r] = (int32_t)(p->tower->causal ? row_of(p, tokens, r) - r / tokens * p->t + 1 : p->t);
  }
  *f = (mc_few_queries){p->n, tokens, p->t, p->tower->n_heads, d / p->tower->n_heads, visible};
  return MOECLIP_OK;
}

/* A part of the packed projection as a parameter of its own: rows [first, first + n) of in_weight. */
static void part_of(mc_block *b, int64_t first, int64_t n, mc_param *weight, mc_param *bias) {
  int64_t d = b->in_weight.shape[1];
  *weight = b->in_weight;
  *bias = b->in_bias;
  weight->value += first * d;
  weight->shape[0] = n;
  weight->n = n * d;
  bias->value += first;
  bias->n = n;
  if (weight->half) weight->half += first * d;
  if (weight->grad) weight->grad += first * d;
  if (bias->grad) bias->grad += first;
}

moeclip_code mc_last_block_forward(mc_compute *cp, const mc_tower_pass *p, bool routed, const float *x, mc_block_kept *kept,
                                   mc_arena *arena, moeclip_error *err) {
  const mc_tower *tower = p->tower;
  int layer = tower->n_layers - 1, tokens = mc_last_block_tokens(p);
  mc_block *b = &tower->blocks[layer];
  int64_t all = p->n * p->t, rows = p->n * tokens, d = tower->width;
  mc_block_kept k = {0};
  mc_few_queries f;
  mc_param weight, bias;
  mc_arena_mark before = mc_arena_here(arena);
  if (kept) {
    TAKE(k.x, all * d);
    TAKE(k.mean_1, all);
    TAKE(k.rstd_1, all);
    TAKE(k.log_sum, rows * tower->n_heads);
    mc_copy(cp, x, all * d, k.x);
  }
  float *context, *x1;
  mc_between *normed, *of_rows;
  const mc_between *mixed;
  TAKE(k.kv, all * 2 * d);
  TAKE(k.q, rows * d);
  TAKE(context, rows * d);
  k.context = context;
  TAKE(x1, rows * d);
  mc_arena_mark mark = mc_arena_here(arena);
  MC_TAKE_BETWEEN(normed, all * d);
  MC_TAKE_BETWEEN(of_rows, rows * d);
  if (mc_half(cp)) MC_TRY(mc_param_half(cp, &b->in_weight, err)); /* of which parts are taken */
  MC_TRY(few_queries(p, tokens, &f, arena, err));
  mc_norm_forward(cp, x, all, &b->ln_1_weight, &b->ln_1_bias, normed, k.mean_1, k.rstd_1);
  part_of(b, d, 2 * d, &weight, &bias);
  MC_TRY(mc_linear(cp, normed, all, &weight, &bias, k.kv, MC_INTO_FLOAT, err));
  gather(p, tokens, normed, mc_between_bytes(cp), of_rows);
  part_of(b, 0, d, &weight, &bias);
  MC_TRY(mc_linear(cp, of_rows, rows, &weight, &bias, k.q, MC_INTO_FLOAT, err));
  mc_few_queries_forward(cp, &f, k.q, k.kv, context, k.log_sum);
  gather(p, tokens, x, sizeof *x, x1);
  MC_TRY(mc_put_between(cp, context, rows * d, &mixed, arena, err));
  MC_TRY(mc_linear(cp, mixed, rows, &b->out_weight, &b->out_bias, x1, MC_ADD_TO_FLOAT, err));
  mc_arena_release(arena, mark);
  MC_TRY(mc_block_mlp_forward(cp, p, layer, routed, tokens, x1, &k, kept != NULL, arena, err));
  for (int64_t s = 0; s < p->n; s++) memcpy(p->read_out + s * d, x1 + (s * tokens + tokens - 1) * d, (size_t)d * sizeof *x1);
  if (kept) {
    *kept = k;
  } else {
    mc_arena_release(arena, before);
  }
  return MOECLIP_OK;
}

moeclip_code mc_last_block_backward(mc_compute *cp, const mc_tower_pass *p, bool below, const float *dread, float *dx, mc_arena *arena,
                                    moeclip_error *err) {
  const mc_tower *tower = p->tower;
  int layer = tower->n_layers - 1, tokens = mc_last_block_tokens(p);
  mc_block *b = &tower->blocks[layer];
  const mc_block_kept *k = &p->kept[layer];
  int64_t all = p->n * p->t, rows = p->n * tokens, d = tower->width;
  bool full = mc_block_trains(b);
  mc_few_queries f;
  mc_param weight, bias;
  mc_arena_mark before = mc_arena_here(arena);
  float *dx2, *dx1, *dcontext, *dq, *dkv, *dnormed;
  mc_between *of_rows, *normed = NULL;
  const mc_between *context = NULL, *dy, *dq_between, *dkv_between;
  TAKE(dx2, rows * d);
  memset(dx2, 0, (size_t)(rows * d) * sizeof *dx2);
  for (int64_t s = 0; s < p->n; s++) memcpy(dx2 + (s * tokens + tokens - 1) * d, dread + s * d, (size_t)d * sizeof *dx2);
  if (!below && !full) {
    if (k->routed) {
      MC_TRY(mc_moe_backward(cp, &p->moe[layer], p->routing, p->n, tokens, k->x1, dx2, NULL, &k->moe, NULL, arena, err));
    }
    mc_arena_release(arena, before);
    return MOECLIP_OK;
  }
  TAKE(dx1, rows * d);
  MC_TRY(mc_block_mlp_backward(cp, p, layer, tokens, dx2, dx1, arena, err));
  TAKE(dcontext, rows * d);
  TAKE(dq, rows * d);
  TAKE(dkv, all * 2 * d);
  TAKE(dnormed, all * d);
  MC_TAKE_BETWEEN(of_rows, rows * d);
  MC_TRY(few_queries(p, tokens, &f, arena, err));
  MC_TRY(mc_put_between(cp, dx1, rows * d, &dy, arena, err));
  if (full) MC_TRY(mc_put_between(cp, k->context, rows * d, &context, arena, err));
  MC_TRY(mc_linear_backward(cp, context, dy, rows, &b->out_weight, &b->out_bias, dcontext, MC_INTO_FLOAT, err));
  mc_few_queries_backward(cp, &f, k->q, k->kv, k->log_sum, dcontext, dq, dkv);
  MC_TRY(mc_put_between(cp, dq, rows * d, &dq_between, arena, err));
  MC_TRY(mc_put_between(cp, dkv, all * 2 * d, &dkv_between, arena, err));
  if (mc_half(cp)) MC_TRY(mc_param_half(cp, &b->in_weight, err));
  if (full) {
    MC_TAKE_BETWEEN(normed, all * d);
    mc_norm_forward(cp, k->x, all, &b->ln_1_weight, &b->ln_1_bias, normed, NULL, NULL);
    gather(p, tokens, normed, mc_between_bytes(cp), of_rows);
  }
  float *dq_normed = dcontext; /* done with */
  part_of(b, 0, d, &weight, &bias);
  MC_TRY(mc_linear_backward(cp, of_rows, dq_between, rows, &weight, &bias, dq_normed, MC_INTO_FLOAT, err));
  part_of(b, d, 2 * d, &weight, &bias);
  MC_TRY(mc_linear_backward(cp, normed, dkv_between, all, &weight, &bias, dnormed, MC_INTO_FLOAT, err));
  b->in_weight.touched |= full;
  b->in_bias.touched |= full;
  scatter_add(p, tokens, dq_normed, dnormed);
  memset(dx, 0, (size_t)(all * d) * sizeof *dx);
  scatter_add(p, tokens, dx1, dx);
  mc_norm_backward(cp, dnormed, k->x, all, k->mean_1, k->rstd_1, &b->ln_1_weight, &b->ln_1_bias, dx);
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}
