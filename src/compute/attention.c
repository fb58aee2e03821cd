#include <math.h>
#include <omp.h>

#include "compute/internal.h"
#include "compute/kernels.h"
#include "compute/vector.h"

/*
 * One head of one sample is a thread's unit of work. Its t x t scores stay in the thread's cache: the matrix of all
 * heads is never written. dnnl_sgemm called inside a parallel region runs on the calling thread.
 */

size_t mc_attention_scratch(const mc_compute *cp, const mc_attention *a) {
  size_t t = (size_t)a->t;
  return (size_t)cp->n_threads * (2 * t * t + 64);
}

/* Row of scores -> probabilities, over the first n of t; the rest 0. Returns log sum exp of the row. */
MC_VECTORISED static float softmax_row(float *s, int64_t n, int64_t t) {
  float largest = mc_row_max(s, n);
  for (int64_t i = 0; i < n; i++) s[i] = mc_expf(s[i] - largest);
  float sum = mc_row_sum(s, n), inverse = 1.0f / sum;
  for (int64_t i = 0; i < n; i++) s[i] *= inverse;
  for (int64_t i = n; i < t; i++) s[i] = 0;
  return largest + logf(sum);
}

/* Scores -> the probabilities that forward had. */
MC_VECTORISED static void probabilities_again(float *s, float log_sum, int64_t n, int64_t t) {
  for (int64_t i = 0; i < n; i++) s[i] = mc_expf(s[i] - log_sum);
  for (int64_t i = n; i < t; i++) s[i] = 0;
}

/* ds = p * (dp - sum(p * dp)) * scale, in place of dp. */
MC_VECTORISED static void score_gradient(const float *p, float *dp, int64_t n, float scale) {
  float dot = mc_row_dot(p, dp, n);
  for (int64_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - dot) * scale;
}

static dnnl_status_t product(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                             int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc) {
  return dnnl_sgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, 0.0f, c, ldc);
}

moeclip_code mc_attention_forward(mc_compute *cp, const mc_attention *a, const float *qkv, float *context,
                                  float *log_sum, float *scratch, moeclip_error *err) {
  int64_t t = a->t, w = a->head_width, width = a->heads * w;
  float scale = 1.0f / sqrtf((float)w);
  dnnl_status_t failure = dnnl_success;
  mc_use_threads(cp);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    int64_t sample = i / a->heads, head = i % a->heads;
    const float *q = qkv + sample * t * 3 * width + head * w, *k = q + width, *v = k + width;
    float *s = scratch + (size_t)omp_get_thread_num() * (2 * (size_t)(t * t) + 64);
    dnnl_status_t status = product('N', 'T', t, t, w, scale, q, 3 * width, k, 3 * width, s, t);
    for (int64_t r = 0; r < t; r++) {
      float row_log_sum = softmax_row(s + r * t, a->causal ? r + 1 : t, t);
      if (log_sum) log_sum[i * t + r] = row_log_sum;
    }
    if (status == dnnl_success) {
      status = product('N', 'N', t, w, t, 1.0f, s, t, v, 3 * width, context + sample * t * width + head * w, width);
    }
    if (status != dnnl_success) {
#pragma omp atomic write
      failure = status;
    }
  }
  return failure == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, failure, "attention");
}

moeclip_code mc_attention_backward(mc_compute *cp, const mc_attention *a, const float *qkv, const float *log_sum,
                                   const float *dcontext, float *dqkv, float *scratch, moeclip_error *err) {
  int64_t t = a->t, w = a->head_width, width = a->heads * w, ld = 3 * width;
  float scale = 1.0f / sqrtf((float)w);
  dnnl_status_t failure = dnnl_success;
  mc_use_threads(cp);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    int64_t sample = i / a->heads, head = i % a->heads, at = sample * t * ld + head * w;
    const float *q = qkv + at, *k = q + width, *v = k + width;
    const float *dc = dcontext + sample * t * width + head * w;
    float *dq = dqkv + at, *dk = dq + width, *dv = dk + width;
    float *p = scratch + (size_t)omp_get_thread_num() * (2 * (size_t)(t * t) + 64), *dp = p + t * t;
    dnnl_status_t status[5];
    status[0] = product('N', 'T', t, t, w, scale, q, ld, k, ld, p, t);
    for (int64_t r = 0; r < t; r++) probabilities_again(p + r * t, log_sum[i * t + r], a->causal ? r + 1 : t, t);
    status[1] = product('T', 'N', t, w, t, 1.0f, p, t, dc, width, dv, ld);
    status[2] = product('N', 'T', t, t, w, 1.0f, dc, width, v, ld, dp, t);
    /* Masked places have p = 0, which makes their gradient 0. */
    for (int64_t r = 0; r < t; r++) score_gradient(p + r * t, dp + r * t, t, scale);
    status[3] = product('N', 'N', t, w, t, 1.0f, dp, t, k, ld, dq, ld);
    status[4] = product('T', 'N', t, w, t, 1.0f, dp, t, q, ld, dk, ld);
    for (int j = 0; j < 5; j++) {
      if (status[j] != dnnl_success) {
#pragma omp atomic write
        failure = status[j];
      }
    }
  }
  return failure == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, failure, "the gradient of attention");
}
