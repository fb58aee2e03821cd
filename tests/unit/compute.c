/* Matrix products, convolution, pooling, activations and sums over rows against plain loops in double. */
#include "compute/compute.h"

#include "base/random.h"
#include "check.h"
#include "compute/kernels.h"
#include "compute/vector.h"
#include "model/expert_rows.h"

static moeclip_error err;
static mc_compute *cp;

static float *random_floats(size_t n, uint64_t index) {
  float *x = malloc(n * sizeof *x);
  mc_philox g;
  mc_philox_init(&g, 4711, MC_STREAM_INIT, index);
  for (size_t i = 0; i < n; i++) x[i] = mc_philox_normal(&g);
  return x;
}

/* --- products: every way of storing the operands, widths apart, with and without bias, alpha and what was there ------------------ */

static void test_gemm(int64_t m, int64_t n, int64_t k, int64_t apart, int ways) {
  bool trans_a = ways & 1, trans_b = ways & 2, bias = ways & 4, accumulate = ways & 8;
  float alpha = ways & 16 ? 0.37f : 0;
  int64_t lda = (trans_a ? m : k) + apart, ldb = (trans_b ? k : n) + apart, ldc = n + apart;
  size_t n_a = (size_t)(lda * (trans_a ? k : m)), n_b = (size_t)(ldb * (trans_b ? n : k)), n_c = (size_t)(ldc * m);
  float *a = random_floats(n_a, 1), *b = random_floats(n_b, 2), *c = random_floats(n_c, 3), *d = random_floats((size_t)n, 4);
  float *want = malloc(n_c * sizeof *want);
  memcpy(want, c, n_c * sizeof *c);
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t l = 0; l < k; l++) {
        sum += (double)(trans_a ? a[l * lda + i] : a[i * lda + l]) * (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
      }
      want[i * ldc + j] = (float)((alpha != 0 ? alpha : 1) * sum + (bias ? d[j] : 0) + (accumulate ? want[i * ldc + j] : 0));
    }
  }
  mc_gemm g = {.m = m, .n = n, .k = k, .a = a, .lda = lda, .trans_a = trans_a, .b = b, .ldb = ldb, .trans_b = trans_b, .c = c,
               .ldc = ldc, .bias = bias ? d : NULL, .alpha = alpha, .accumulate = accumulate};
  REQUIRE_OK(mc_gemm_run(cp, &g, &err), err);
  double error = check_relative_error(c, want, n_c);
  CHECK_MSG(error <= 1e-6 * sqrt((double)k + 1), "%lld x %lld x %lld, %lld apart, ways %d: error %g", (long long)m, (long long)n,
            (long long)k, (long long)apart, ways, error);
  for (int64_t i = 0; i < m; i++) CHECK(memcmp(c + i * ldc + n, want + i * ldc + n, (size_t)apart * sizeof *c) == 0);
  free(a);
  free(b);
  free(c);
  free(d);
  free(want);
}

/* --- convolution ------------------------------------------------------------------------------------------------------------ */

static void test_conv(mc_compute *with, double allowed, mc_conv2d c) {
  int64_t out_h = (c.h + 2 * c.pad - c.k) / c.stride + 1, out_w = (c.w + 2 * c.pad - c.k) / c.stride + 1;
  size_t n_y = (size_t)(c.n * c.c_out * out_h * out_w);
  float *x = random_floats((size_t)(c.n * c.c_in * c.h * c.w), 5), *bias = random_floats((size_t)c.c_out, 7);
  float *weight = random_floats((size_t)(c.c_out * c.c_in * c.k * c.k), 6);
  float *y = malloc(n_y * sizeof *y), *want = malloc(n_y * sizeof *want);
  for (int64_t at = 0; at < (int64_t)n_y; at++) {
    int64_t j = at % out_w, i = at / out_w % out_h, o = at / (out_w * out_h) % c.c_out, p = at / (out_w * out_h * c.c_out);
    double sum = bias[o];
    for (int64_t channel = 0; channel < c.c_in; channel++) {
      for (int64_t a = 0; a < c.k; a++) {
        for (int64_t b = 0; b < c.k; b++) {
          int64_t row = i * c.stride + a - c.pad, column = j * c.stride + b - c.pad;
          if (row < 0 || row >= c.h || column < 0 || column >= c.w) continue;
          sum += (double)weight[((o * c.c_in + channel) * c.k + a) * c.k + b] *
                 x[((p * c.c_in + channel) * c.h + row) * c.w + column];
        }
      }
    }
    want[at] = (float)(c.relu && sum < 0 ? 0 : sum);
  }
  c.x = x;
  c.weight = weight;
  c.bias = bias;
  c.y = y;
  REQUIRE_OK(mc_conv2d_run(with, &c, &err), err);
  double error = check_relative_error(y, want, n_y);
  CHECK_MSG(error <= allowed, "kernel %lld, stride %lld, padding %lld: error %g", (long long)c.k, (long long)c.stride,
            (long long)c.pad, error);
  free(x);
  free(bias);
  free(weight);
  free(y);
  free(want);
}

static void test_convolutions(mc_compute *with, double allowed) {
  test_conv(with, allowed, (mc_conv2d){.n = 2, .c_in = 3, .h = 23, .w = 19, .c_out = 8, .k = 11, .stride = 4, .pad = 2, .relu = true});
  test_conv(with, allowed, (mc_conv2d){.n = 1, .c_in = 5, .h = 9, .w = 9, .c_out = 7, .k = 5, .stride = 1, .pad = 2});
  test_conv(with, allowed, (mc_conv2d){.n = 3, .c_in = 16, .h = 13, .w = 13, .c_out = 16, .k = 3, .stride = 1, .pad = 1, .relu = true});
  test_conv(with, allowed, (mc_conv2d){.n = 2, .c_in = 64, .h = 13, .w = 13, .c_out = 32, .k = 3, .stride = 1, .pad = 1});
  test_conv(with, allowed, (mc_conv2d){.n = 1, .c_in = 1, .h = 1, .w = 1, .c_out = 1, .k = 1, .stride = 1});
}

static void test_pool(void) {
  enum { H = 7, W = 9, PLANES = 5, K = 3, STRIDE = 2, OUT_H = 3, OUT_W = 4 };
  float *x = random_floats(PLANES * H * W, 8), y[PLANES * OUT_H * OUT_W];
  mc_maxpool2d(cp, x, PLANES, H, W, K, STRIDE, y);
  for (int at = 0; at < PLANES * OUT_H * OUT_W; at++) {
    int j = at % OUT_W, i = at / OUT_W % OUT_H, p = at / (OUT_W * OUT_H);
    float largest = -INFINITY;
    for (int a = 0; a < K; a++) {
      for (int b = 0; b < K; b++) largest = fmaxf(largest, x[(p * H + i * STRIDE + a) * W + j * STRIDE + b]);
    }
    CHECK(y[at] == largest);
  }
  free(x);
}

/* --- activations: values from far below to far above, also in place, at lengths that end within a piece --------------------------- */

static double activation(mc_activation kind, double x, bool slope) {
  double cdf = 0.5 * erfc(-x * sqrt(0.5)), s = 1 / (1 + exp(-1.702 * x));
  if (kind == MC_GELU) return slope ? cdf + x * exp(-0.5 * x * x) / sqrt(8 * atan(1)) : x * cdf;
  return slope ? s + 1.702 * x * s * (1 - s) : x * s;
}

static void test_activation(mc_activation kind, int64_t n) {
  float *h = malloc((size_t)n * sizeof *h), *y = malloc((size_t)n * sizeof *y), *dy = malloc((size_t)n * sizeof *dy);
  for (int64_t i = 0; i < n; i++) {
    h[i] = 24 * ((float)i / (float)n - 0.5f);
    dy[i] = i % 2 ? 1 : -2;
  }
  mc_activation_forward(cp, kind, h, n, y);
  mc_activation_backward(cp, kind, h, n, dy);
  for (int64_t i = 0; i < n; i++) {
    double x = h[i], want = activation(kind, x, false), slope = activation(kind, x, true) * (i % 2 ? 1 : -2);
    CHECK_MSG(fabs(y[i] - want) <= 3e-7 * fabs(x) + 1e-12, "activation %d of %g: %.9g, not %.9g", kind, x, (double)y[i], want);
    CHECK_MSG(fabs(dy[i] - slope) <= 2e-6, "slope of activation %d at %g: %.9g, not %.9g", kind, x, (double)dy[i], slope);
  }
  mc_activation_forward(cp, kind, h, n, h);
  CHECK(memcmp(h, y, (size_t)n * sizeof *h) == 0);
  free(h);
  free(y);
  free(dy);
}

/* Relative to itself below 0, where 1 + erf(x) would have lost it. */
static void test_normal_cdf(void) {
  for (int i = -13000; i <= 13000; i++) {
    float x = (float)i / 1000, p = mc_normal_cdf(x, expf(-0.5f * x * x));
    double want = 0.5 * erfc(-(double)x * sqrt(0.5)), tail = 4e-7 + 3e-8 * x * x; /* x^2, rounded, stands in an exponent */
    CHECK_MSG(fabs(p - want) <= (x < 0 ? tail * want : 1.5e-7), "at %g: %.9g, not %.9g", (double)x, (double)p, want);
  }
  CHECK(isnan(mc_normal_cdf(NAN, NAN)));
  CHECK(mc_normal_cdf(INFINITY, 0) == 1 && mc_normal_cdf(-INFINITY, 0) == 0);
}

/* --- rows ------------------------------------------------------------------------------------------------------------------------ */

static void test_rows(int64_t n) {
  float *x = random_floats((size_t)n, 8), *y = random_floats((size_t)n, 9);
  double sum = 0, dot = 0, size = 0, largest = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    sum += x[i];
    dot += (double)x[i] * y[i];
    size += fabs((double)x[i]) + fabs((double)x[i] * y[i]);
    largest = fmax(largest, x[i]);
  }
  CHECK(fabs(mc_row_sum(x, n) - sum) <= 1e-6 * size);
  CHECK(fabs(mc_row_dot(x, y, n) - dot) <= 1e-6 * size);
  CHECK(mc_row_max(x, n) == (float)largest);
  free(x);
  free(y);
}

/* --- what stands between an expert's products ------------------------------------------------------------------------------------ */

/* The numbers of mc_philox_block, whatever the processor draws at a time. */
static void test_drop(int64_t n) {
  mc_routing g = {.seed = 12345678901, .step = 7, .first_sample = 1000, .dropout = 0.3f};
  float *x = random_floats((size_t)n + 1, 10), *want = malloc((size_t)(n + 1) * sizeof *want);
  uint32_t below = (uint32_t)((double)g.dropout * 4294967296.0), four[4];
  int64_t n_dropped = 0;
  mc_philox p;
  mc_philox_init(&p, mc_seed_of(g.seed, g.step), MC_STREAM_DROPOUT + 16u * 3, (g.first_sample + 5) * 65536 + 21);
  memcpy(want, x, (size_t)(n + 1) * sizeof *want);
  for (int64_t i = 0; i < n; i++) {
    uint32_t counter[4] = {(uint32_t)(i / 4), p.counter[1], p.counter[2], p.counter[3]};
    mc_philox_block(p.key, counter, four);
    want[i] = four[i % 4] < below ? 0 : x[i] * (1 / (1 - g.dropout));
    n_dropped += four[i % 4] < below;
  }
  mc_expert_drop(&g, 3, 5, 21, n, x);
  CHECK(memcmp(x, want, (size_t)(n + 1) * sizeof *x) == 0);
  CHECK(n < 1000 || llabs(n_dropped - 3 * n / 10) < n / 20);
  free(x);
  free(want);
}

static void test_expert_rows(int64_t rows, int64_t n) {
  size_t all = (size_t)(rows * n);
  float *a = random_floats(all, 11), *b = random_floats(all, 12), *x = random_floats(all, 13), *y = random_floats(all, 14);
  float *sum = malloc((size_t)n * sizeof *sum);
  double dot = 0, size = 0;
  memcpy(x, a, all * sizeof *x);
  mc_expert_activate(x, (int64_t)all, 0.5f);
  for (size_t i = 0; i < all; i++) CHECK(x[i] == (a[i] > 0 ? 0.5f * a[i] : 0));
  memcpy(y, b, all * sizeof *y);
  mc_expert_deactivate(x, (int64_t)all, 0.25f, y);
  for (size_t i = 0; i < all; i++) CHECK(y[i] == (a[i] > 0 ? 0.25f * b[i] : 0));
  for (size_t i = 0; i < all; i++) {
    dot += (double)a[i] * b[i];
    size += fabs((double)a[i] * b[i]);
  }
  CHECK(fabs(mc_expert_dot(a, b, rows, n) - dot) <= 1e-6 * size);
  mc_expert_sum_rows(a, rows, n, sum);
  memcpy(y, b, all * sizeof *y);
  mc_expert_add_bias(y, rows, n, a, -2);
  for (int64_t q = 0; q < n; q++) {
    double want = 0, of = 0;
    for (int64_t r = 0; r < rows; r++) {
      want += a[r * n + q];
      of += fabs((double)a[r * n + q]);
      CHECK(fabs(y[r * n + q] - (b[r * n + q] - 2.0 * a[q])) <= 1e-6 * (fabs((double)b[r * n + q]) + 2 * fabs((double)a[q])));
    }
    CHECK(fabs(sum[q] - want) <= 1e-6 * of);
  }
  free(a);
  free(b);
  free(x);
  free(y);
  free(sum);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  for (int ways = 0; ways < 32; ways++) {
    test_gemm(1, 1, 1, 0, ways);
    test_gemm(5, 7, 3, 2, ways);
    test_gemm(67, 33, 129, 5, ways);
    test_gemm(300, 64, 512, 0, ways); /* a large power of two apart: the padded copies */
    test_gemm(1030, 20, 40, 0, ways); /* more than one block of rows */
  }
  test_convolutions(cp, 1e-5);
  mc_compute *half;
  REQUIRE_OK(mc_compute_create(2, &half, &err), err);
  REQUIRE_OK(mc_compute_set_precision(half, MC_BFLOAT16, &err), err);
  test_convolutions(half, 8e-3); /* where the processor has no bfloat16: as above */
  mc_compute_destroy(half);
  mc_conv2d too_small = {.n = 1, .c_in = 1, .h = 2, .w = 2, .c_out = 1, .k = 5, .stride = 1, .pad = 1};
  CHECK(mc_conv2d_run(cp, &too_small, &err) == MOECLIP_ERROR_ARGUMENT);
  test_pool();
  for (int kind = MC_QUICK_GELU; kind <= MC_GELU; kind++) {
    test_activation((mc_activation)kind, 1);
    test_activation((mc_activation)kind, 63);
    test_activation((mc_activation)kind, 40037); /* several threads */
  }
  test_normal_cdf();
  for (int64_t n = 0; n < 70; n++) test_rows(n);
  test_drop(1);
  test_drop(67);
  test_drop(12608);
  test_expert_rows(1, 1);
  test_expert_rows(5, 17);
  test_expert_rows(197, 64);
  mc_compute_destroy(cp);
  return check_report();
}
