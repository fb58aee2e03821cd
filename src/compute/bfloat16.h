/*
 * The fast path: matrix products of bfloat16 numbers with float32 sums, and the kernels around them whose inputs or outputs are
 * bfloat16. A bfloat16 is the upper half of a float32, rounded to even, kept in 16 bits. Layers as in compute/kernels.h.
 */
#ifndef MC_COMPUTE_BFLOAT16_H
#define MC_COMPUTE_BFLOAT16_H

#include <string.h>

#include "compute/kernels.h"

typedef uint16_t mc_bfloat16;

static inline mc_bfloat16 mc_round_bfloat16(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  /* A NaN stays one: rounding up could carry it into the sign. */
  return (u & 0x7fffffffu) > 0x7f800000u ? (mc_bfloat16)0x7fc0 : (mc_bfloat16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float mc_from_bfloat16(mc_bfloat16 x) {
  uint32_t u = (uint32_t)x << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

/* y = x, rounded. The first spreads the work; the second is for within a unit of work. */
void mc_to_bfloat16(mc_compute *cp, const float *x, int64_t n, mc_bfloat16 *y);
void mc_to_bfloat16_alone(const float *x, int64_t n, mc_bfloat16 *y);
/* Also copies x, which is then read from memory once. */
void mc_copy_to_bfloat16(mc_compute *cp, const float *x, int64_t n, float *copy, mc_bfloat16 *y);

/*
 * A matrix B [k, n] that many products share, in the order that oneDNN reads fastest on this processor. It belongs to the handle that made
 * it, and goes with it or before it.
 */
typedef struct mc_packed16 mc_packed16;
/* value: float32, stored [k, n], or [n, k] when trans_b, row by row. */
moeclip_code mc_packed16_create(mc_compute *cp, const float *value, int64_t k, int64_t n, bool trans_b, mc_packed16 **out,
                                moeclip_error *err);
void mc_packed16_destroy(mc_packed16 *p);

/* C[m,n] = op(A) op(B) + bias (+ C), as mc_gemm. C is float32 in c, or (where c is NULL) rounded to bfloat16 into c16, which cannot be
 * added to. */
typedef struct mc_gemm16 {
  int64_t m, n, k;
  const mc_bfloat16 *a; int64_t lda; bool trans_a;
  const mc_bfloat16 *b; int64_t ldb; bool trans_b;
  const mc_packed16 *packed; /* in place of b, ldb and trans_b; or NULL */
  float *c; mc_bfloat16 *c16; int64_t ldc;
  const float *bias; /* [n], or NULL */
  bool accumulate;
} mc_gemm16;
moeclip_code mc_gemm16_run(mc_compute *cp, const mc_gemm16 *g, moeclip_error *err);
/* The same from within a unit of mc_parallel_units. */
bool mc_gemm16_alone(mc_compute *cp, const mc_gemm16 *g);

/* C[m,n] += A^T B, or, when turned, C[n,m] += B^T A: a weight's gradient, from within a unit of mc_parallel_units. A [k,m] and B [k,n] are
 * rows of numbers that belong together; the wider one is better in B. scratch: mc_gradient16_scratch bytes, at a multiple of 64. */
typedef struct mc_gradient16 {
  int64_t m, n, k;
  const mc_bfloat16 *a; int64_t lda;
  const mc_bfloat16 *b; int64_t ldb;
  float *c; int64_t ldc;
  bool turned;
  void *scratch;
} mc_gradient16;
size_t mc_gradient16_scratch(int64_t m, int64_t n, int64_t k);
void mc_gradient16_alone(const mc_compute *cp, const mc_gradient16 *g);

/* As mc_layernorm_forward, rounded. */
void mc_layernorm_forward16(mc_compute *cp, const float *x, int64_t ldx, const float *weight, const float *bias, int64_t rows, int64_t d,
                            mc_bfloat16 *y, float *mean, float *rstd);
/* y = act(h), y may be h; dy *= act'(h). */
void mc_activation_forward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *y);
void mc_activation_backward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *dy);
/* out[j] += sum over r of x[r, j]; x [rows, d]. */
void mc_column_sums16(mc_compute *cp, const mc_bfloat16 *x, int64_t rows, int64_t d, float *out);

/* As mc_attention_forward and _backward; softmax and sums are float32. scratch: bytes. */
size_t mc_attention_scratch16(const mc_compute *cp, const mc_attention *a);
void mc_attention_forward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, mc_bfloat16 *context, float *log_sum, void *scratch);
void mc_attention_backward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, const float *log_sum,
                             const mc_bfloat16 *dcontext, mc_bfloat16 *dqkv, void *scratch);

#endif
