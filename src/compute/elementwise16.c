/* The elementwise kernels whose inputs or outputs are bfloat16; arithmetic is float32. */
#include <math.h>

#include "compute/bfloat16.h"
#include "compute/vector.h"

enum { GRAIN = 1 << 14, PIECE = 64 };

typedef struct job {
  const void *from;
  void *to;
  mc_activation kind;
  int64_t rows, d;
} job;

MC_VECTORISED static void round_range(const float *restrict x, mc_bfloat16 *restrict y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] = mc_round_bfloat16(x[i]);
}

static void round_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  round_range(j->from, j->to, begin, end);
}

void mc_to_bfloat16(mc_compute *cp, const float *x, int64_t n, mc_bfloat16 *y) {
  job j = {.from = x, .to = y};
  mc_parallel_for(cp, n, GRAIN, round_body, &j);
}

void mc_to_bfloat16_alone(const float *x, int64_t n, mc_bfloat16 *y) { round_range(x, y, 0, n); }

MC_VECTORISED static void quick_gelu_range(const mc_bfloat16 *h, mc_bfloat16 *y, int64_t begin, int64_t end) {
  float x[PIECE], v[PIECE];
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < PIECE ? end - i : PIECE;
    for (int64_t k = 0; k < n; k++) x[k] = mc_from_bfloat16(h[i + k]);
    for (int64_t k = 0; k < n; k++) v[k] = x[k] / (1.0f + mc_expf(-1.702f * x[k]));
    for (int64_t k = 0; k < n; k++) y[i + k] = mc_round_bfloat16(v[k]);
  }
}

MC_VECTORISED static void quick_gelu_backward_range(const mc_bfloat16 *h, mc_bfloat16 *dy, int64_t begin, int64_t end) {
  float x[PIECE], v[PIECE];
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < PIECE ? end - i : PIECE;
    for (int64_t k = 0; k < n; k++) x[k] = mc_from_bfloat16(h[i + k]);
    for (int64_t k = 0; k < n; k++) {
      float s = 1.0f / (1.0f + mc_expf(-1.702f * x[k]));
      v[k] = mc_from_bfloat16(dy[i + k]) * (s + 1.702f * x[k] * s * (1.0f - s));
    }
    for (int64_t k = 0; k < n; k++) dy[i + k] = mc_round_bfloat16(v[k]);
  }
}

static void gelu_range(const mc_bfloat16 *h, mc_bfloat16 *y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    float x = mc_from_bfloat16(h[i]);
    y[i] = mc_round_bfloat16(0.5f * x * (1.0f + erff(x * 0.70710678f)));
  }
}

static void gelu_backward_range(const mc_bfloat16 *h, mc_bfloat16 *dy, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    float x = mc_from_bfloat16(h[i]), phi = 0.5f * (1.0f + erff(x * 0.70710678f)), density = 0.39894228f * mc_expf(-0.5f * x * x);
    dy[i] = mc_round_bfloat16(mc_from_bfloat16(dy[i]) * (phi + x * density));
  }
}

static void forward_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  (j->kind == MC_GELU ? gelu_range : quick_gelu_range)(j->from, j->to, begin, end);
}

static void backward_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  (j->kind == MC_GELU ? gelu_backward_range : quick_gelu_backward_range)(j->from, j->to, begin, end);
}

void mc_activation_forward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *y) {
  job j = {.from = h, .to = y, .kind = kind};
  mc_parallel_for(cp, n, GRAIN, forward_body, &j);
}

void mc_activation_backward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *dy) {
  job j = {.from = h, .to = dy, .kind = kind};
  mc_parallel_for(cp, n, GRAIN, backward_body, &j);
}

/* Each thread owns some columns, as in mc_column_sums. */
MC_VECTORISED static void column_sums_range(const job *j, int64_t begin, int64_t end) {
  float *restrict out = j->to;
  for (int64_t r = 0; r < j->rows; r++) {
    const mc_bfloat16 *restrict x = (const mc_bfloat16 *)j->from + r * j->d;
    for (int64_t i = begin; i < end; i++) out[i] += mc_from_bfloat16(x[i]);
  }
}

static void column_sums_body(void *context, int64_t begin, int64_t end) { column_sums_range(context, begin, end); }

void mc_column_sums16(mc_compute *cp, const mc_bfloat16 *x, int64_t rows, int64_t d, float *out) {
  job j = {.from = x, .to = out, .rows = rows, .d = d};
  mc_parallel_for(cp, d, 64, column_sums_body, &j);
}
