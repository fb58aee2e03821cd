/* The layers that a block is made of, in either precision. */
#include "base/memory.h"
#include "model/block.h"

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
