/*
 * The layers' arithmetic beside matrix products, forward and backward, on plain row-major float arrays.
 * "add" in a comment means that the function adds to what the array holds.
 */
#ifndef MC_COMPUTE_KERNELS_H
#define MC_COMPUTE_KERNELS_H

#include "compute/compute.h"

/* y[i] += x[i]. */
void mc_add(mc_compute *cp, const float *x, int64_t n, float *y);
/* y = x. */
void mc_copy(mc_compute *cp, const float *x, int64_t n, float *y);
/* x[i] *= s. */
void mc_scale(mc_compute *cp, float s, int64_t n, float *x);
/* y[r, :] = x[r, :] + bias, x [rows, d]. */
void mc_add_bias(mc_compute *cp, const float *x, const float *bias, int64_t rows, int64_t d, float *y);
/* out[j] += sum over r of x[r, j]; x [rows, d] with ld elements from row to row. Bias gradients. */
void mc_column_sums(mc_compute *cp, const float *x, int64_t rows, int64_t d, int64_t ld, float *out);

/* Layer norm over the last axis, eps 1e-5. x, y [rows, d]; x's rows are ldx apart; y may be x. mean, rstd [rows] (NULL: not kept). */
void mc_layernorm_forward(mc_compute *cp, const float *x, int64_t ldx, const float *weight, const float *bias,
                          int64_t rows, int64_t d, float *y, float *mean, float *rstd);
/* dx [rows, d], rows lddx apart: added to. dweight, dbias [d]: added to, both NULL for a frozen norm. */
void mc_layernorm_backward(mc_compute *cp, const float *dy, const float *x, int64_t ldx, const float *mean,
                           const float *rstd, const float *weight, int64_t rows, int64_t d, float *dx, int64_t lddx,
                           float *dweight, float *dbias);

typedef enum mc_activation { MC_QUICK_GELU = 0, MC_GELU = 1 } mc_activation;
/* y = act(h) elementwise: v * sigmoid(1.702 v), or v * Phi(v). y may be h. */
void mc_activation_forward(mc_compute *cp, mc_activation kind, const float *h, int64_t n, float *y);
/* dy *= act'(h). */
void mc_activation_backward(mc_compute *cp, mc_activation kind, const float *h, int64_t n, float *dy);

/*
 * Multi-head self-attention of packed projections.
 * qkv [n, t, 3, heads, head_width] (so a row is 3 * width long), context [n, t, heads, head_width].
 * scale is 1 / sqrt(head_width). causal: a token sees itself and earlier ones. The score matrix exists for one head of
 * one sample a thread; backward makes it again from q, k and log_sum [n, heads, t] (NULL in forward: not kept).
 */
typedef struct mc_attention {
  int64_t n, t, heads, head_width;
  bool causal;
} mc_attention;
/* Floats of scratch that forward or backward needs: [threads, ...]. */
size_t mc_attention_scratch(const mc_compute *cp, const mc_attention *a);
moeclip_code mc_attention_forward(mc_compute *cp, const mc_attention *a, const float *qkv, float *context,
                                  float *log_sum, float *scratch, moeclip_error *err);
/* dqkv is written, every element. */
moeclip_code mc_attention_backward(mc_compute *cp, const mc_attention *a, const float *qkv, const float *log_sum,
                                   const float *dcontext, float *dqkv, float *scratch, moeclip_error *err);

/*
 * The same where few tokens ask: q [n, queries, heads, head_width] over kv [n, t, 2, heads, head_width] (keys, then values), context as
 * q. Query i of sample s sees the first visible[s * queries + i] tokens. log_sum [n, heads, queries] (NULL in forward: not kept).
 */
typedef struct mc_few_queries {
  int64_t n, queries, t, heads, head_width;
  const int32_t *visible; /* [n, queries], each 1 to t */
} mc_few_queries;
void mc_few_queries_forward(mc_compute *cp, const mc_few_queries *f, const float *q, const float *kv, float *context, float *log_sum);
/* dq and dkv are written, every element. */
void mc_few_queries_backward(mc_compute *cp, const mc_few_queries *f, const float *q, const float *kv, const float *log_sum,
                             const float *dcontext, float *dq, float *dkv);

/* y[r] = x[r] / |x[r]|, norm [rows] = |x[r]| (at least 1e-12, so that a zero row stays zero). */
void mc_normalize_forward(const float *x, int64_t rows, int64_t d, float *y, float *norm);
/* dx = (dy - y (y . dy)) / norm; dx may be dy. */
void mc_normalize_backward(const float *dy, const float *y, const float *norm, int64_t rows, int64_t d, float *dx);

/* Softmax over each row, in place. x [rows, d]. */
void mc_softmax(float *x, int64_t rows, int64_t d);
/*
 * Cross-entropy with label smoothing: the target is (1 - smoothing) on the label plus smoothing / d everywhere.
 * Returns the sum over rows of the loss; dlogits [rows, d] (NULL: not wanted) gets its gradient times `weight`
 * (1 / batch for the mean). dlogits may be logits.
 */
double mc_cross_entropy(const float *logits, const int32_t *labels, int64_t rows, int64_t d, float smoothing,
                        float weight, float *dlogits);

/* True when all n values are finite. */
bool mc_all_finite(const float *x, int64_t n);

#endif
