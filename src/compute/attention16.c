/*
 * Attention on bfloat16 projections. As in attention.c, one head of one sample is a thread's unit of work; scores and softmax are
 * float32, probabilities and their gradients are rounded to be multiplied. Gradients of keys and values are sums over queries, which are
 * the rows of the large t x t matrices: their products are made transposed, so that only t x head_width matrices need turning.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "compute/bfloat16.h"
#include "compute/internal.h"
#include "compute/vector.h"

/* A thread's places in the scratch. */
typedef struct places {
  float *s, *dp;            /* [t, t] */
  mc_bfloat16 *p, *ds;      /* [t, ld] */
  mc_bfloat16 *turned, *out; /* [w, ld] */
} places;

static int64_t row_length(int64_t t) { return (t + 31) / 32 * 32; }

static size_t bytes_each(const mc_attention *a) {
  size_t t = (size_t)a->t, ld = (size_t)row_length(a->t), w = (size_t)a->head_width;
  return (2 * t * t * sizeof(float) + (2 * t * ld + 2 * w * ld) * sizeof(mc_bfloat16) + 127) / 64 * 64;
}

size_t mc_attention_scratch16(const mc_compute *cp, const mc_attention *a) { return (size_t)cp->n_threads * bytes_each(a); }

static places places_of(const mc_attention *a, void *scratch) {
  size_t t = (size_t)a->t, ld = (size_t)row_length(a->t), w = (size_t)a->head_width;
  places x;
  x.s = (float *)((char *)scratch + (size_t)omp_get_thread_num() * bytes_each(a));
  x.dp = x.s + t * t;
  x.p = (mc_bfloat16 *)(x.dp + t * t);
  x.ds = x.p + t * ld;
  x.turned = x.ds + t * ld;
  x.out = x.turned + w * ld;
  return x;
}

/* Row of products q . k -> probabilities p over the first n of t, 0 behind. Returns log sum exp of the scaled row. */
MC_VECTORISED static float softmax_row(float *restrict s, int64_t n, int64_t t, float scale, mc_bfloat16 *restrict p) {
  float largest = mc_row_max(s, n);
  for (int64_t i = 0; i < n; i++) s[i] = mc_expf((s[i] - largest) * scale);
  float sum = mc_row_sum(s, n), inverse = 1.0f / sum;
  for (int64_t i = 0; i < n; i++) p[i] = mc_round_bfloat16(s[i] * inverse);
  for (int64_t i = n; i < t; i++) p[i] = 0;
  return largest * scale + logf(sum);
}

/* The probabilities that forward had, in s and rounded in p. */
MC_VECTORISED static void probabilities_again(float *restrict s, float log_sum, int64_t n, int64_t t, float scale,
                                              mc_bfloat16 *restrict p) {
  for (int64_t i = 0; i < n; i++) s[i] = mc_expf(s[i] * scale - log_sum);
  for (int64_t i = n; i < t; i++) s[i] = 0;
  for (int64_t i = 0; i < t; i++) p[i] = mc_round_bfloat16(s[i]);
}

/* ds = p * (dp - sum(p * dp)) * scale. */
MC_VECTORISED static void score_gradient(const float *restrict p, const float *restrict dp, int64_t n, float scale,
                                         mc_bfloat16 *restrict ds) {
  float dot = mc_row_dot(p, dp, n);
  for (int64_t i = 0; i < n; i++) ds[i] = mc_round_bfloat16(p[i] * (dp[i] - dot) * scale);
}

/* A square's two halves, shuffled into each other as cards are. SIDE is a power of two: after as many shuffles as it has bits, rows and
 * columns have changed places. */
enum { SIDE = 16, SHUFFLES = 4 };
MC_INLINE void shuffle(const mc_bfloat16 *restrict in, mc_bfloat16 *restrict out) {
  for (int i = 0; i < SIDE * SIDE / 2; i++) {
    out[2 * i] = in[i];
    out[2 * i + 1] = in[SIDE * SIDE / 2 + i];
  }
}

/* from [rows, columns] -> to [columns, rows], with ld* elements from a row to the next. */
MC_VECTORISED static void turn(const mc_bfloat16 *from, int64_t rows, int64_t columns, int64_t ld_from, mc_bfloat16 *to, int64_t ld_to) {
  mc_bfloat16 square[2][SIDE * SIDE];
  int64_t whole_rows = rows / SIDE * SIDE, whole_columns = columns / SIDE * SIDE;
  for (int64_t r = 0; r < whole_rows; r += SIDE) {
    for (int64_t c = 0; c < whole_columns; c += SIDE) {
      for (int i = 0; i < SIDE; i++) memcpy(square[0] + i * SIDE, from + (r + i) * ld_from + c, SIDE * sizeof *from);
      for (int i = 0; i < SHUFFLES; i++) shuffle(square[i % 2], square[(i + 1) % 2]);
      for (int i = 0; i < SIDE; i++) memcpy(to + (c + i) * ld_to + r, square[SHUFFLES % 2] + i * SIDE, SIDE * sizeof *to);
    }
  }
  for (int64_t c = 0; c < columns; c++) {
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; r++) to[c * ld_to + r] = from[r * ld_from + c];
  }
}

static bool forward_head(mc_compute *cp, const mc_attention *a, int64_t i, const mc_bfloat16 *qkv, mc_bfloat16 *context, float *log_sum,
                         const places *x) {
  int64_t t = a->t, w = a->head_width, width = a->heads * w, ld = 3 * width, own = row_length(t);
  int64_t sample = i / a->heads, head = i % a->heads;
  float scale = 1.0f / sqrtf((float)w);
  const mc_bfloat16 *q = qkv + sample * t * ld + head * w, *k = q + width, *v = k + width;
  mc_gemm16 scores = {.m = t, .n = t, .k = w, .a = q, .lda = ld, .b = k, .ldb = ld, .trans_b = true, .c = x->s, .ldc = t};
  if (!mc_gemm16_alone(cp, &scores)) return false;
  for (int64_t r = 0; r < t; r++) {
    float row = softmax_row(x->s + r * t, a->causal ? r + 1 : t, t, scale, x->p + r * own);
    if (log_sum) log_sum[i * t + r] = row;
  }
  mc_gemm16 mix = {.m = t, .n = w, .k = t, .a = x->p, .lda = own, .b = v, .ldb = ld, .c16 = context + sample * t * width + head * w,
                   .ldc = width};
  return mc_gemm16_alone(cp, &mix);
}

moeclip_code mc_attention_forward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, mc_bfloat16 *context, float *log_sum,
                                    void *scratch, moeclip_error *err) {
  bool failed = false;
  mc_use_threads(cp);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads) if (cp->n_threads > 1)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    places x = places_of(a, scratch);
    if (!forward_head(cp, a, i, qkv, context, log_sum, &x)) {
#pragma omp atomic write
      failed = true;
    }
  }
  return failed ? mc_dnnl_fail(err, dnnl_runtime_error, "attention") : MOECLIP_OK;
}

static bool backward_head(mc_compute *cp, const mc_attention *a, int64_t i, const mc_bfloat16 *qkv, const float *log_sum,
                          const mc_bfloat16 *dcontext, mc_bfloat16 *dqkv, const places *x) {
  int64_t t = a->t, w = a->head_width, width = a->heads * w, ld = 3 * width, own = row_length(t);
  int64_t sample = i / a->heads, head = i % a->heads, at = sample * t * ld + head * w;
  float scale = 1.0f / sqrtf((float)w);
  const mc_bfloat16 *q = qkv + at, *k = q + width, *v = k + width, *dc = dcontext + sample * t * width + head * w;
  mc_bfloat16 *dq = dqkv + at, *dk = dq + width, *dv = dk + width;
  mc_gemm16 scores = {.m = t, .n = t, .k = w, .a = q, .lda = ld, .b = k, .ldb = ld, .trans_b = true, .c = x->s, .ldc = t};
  mc_gemm16 of_p = {.m = t, .n = t, .k = w, .a = dc, .lda = width, .b = v, .ldb = ld, .trans_b = true, .c = x->dp, .ldc = t};
  if (!mc_gemm16_alone(cp, &scores) || !mc_gemm16_alone(cp, &of_p)) return false;
  for (int64_t r = 0; r < t; r++) {
    probabilities_again(x->s + r * t, log_sum[i * t + r], a->causal ? r + 1 : t, t, scale, x->p + r * own);
    /* Masked places have p = 0, which makes their gradient 0. */
    score_gradient(x->s + r * t, x->dp + r * t, t, scale, x->ds + r * own);
  }
  mc_gemm16 of_q = {.m = t, .n = w, .k = t, .a = x->ds, .lda = own, .b = k, .ldb = ld, .c16 = dq, .ldc = ld};
  mc_gemm16 turned = {.m = w, .n = t, .k = t, .a = x->turned, .lda = own, .ldb = own, .c16 = x->out, .ldc = own};
  if (!mc_gemm16_alone(cp, &of_q)) return false;
  turn(dc, t, w, width, x->turned, own);
  turned.b = x->p;
  if (!mc_gemm16_alone(cp, &turned)) return false;
  turn(x->out, w, t, own, dv, ld);
  turn(q, t, w, ld, x->turned, own);
  turned.b = x->ds;
  if (!mc_gemm16_alone(cp, &turned)) return false;
  turn(x->out, w, t, own, dk, ld);
  return true;
}

moeclip_code mc_attention_backward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, const float *log_sum,
                                     const mc_bfloat16 *dcontext, mc_bfloat16 *dqkv, void *scratch, moeclip_error *err) {
  bool failed = false;
  mc_use_threads(cp);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads) if (cp->n_threads > 1)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    places x = places_of(a, scratch);
    if (!backward_head(cp, a, i, qkv, log_sum, dcontext, dqkv, &x)) {
#pragma omp atomic write
      failed = true;
    }
  }
  return failed ? mc_dnnl_fail(err, dnnl_runtime_error, "the gradient of attention") : MOECLIP_OK;
}
