/*
 * The bfloat16 path. Products are held against sums in double of the same rounded numbers; layers and whole training steps against the
 * float32 path, within what rounding to 8 bits of mantissa explains. Where the processor has no bfloat16, oneDNN's part is played by the
 * float32 products that stand in for it; everything else is the same code.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "compute/bfloat16.h"
#include "steps.h"
#include "train/step.h"

static moeclip_error err;
static mc_compute *cp, *reference; /* bfloat16 and float32 */
static mc_arena arena;

/* |a - b| / |b|. */
static double distance(const float *a, const float *b, int64_t n) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    size += (double)b[i] * b[i];
  }
  return sqrt(difference / (size + 1e-30));
}

static void test_rounding(void) {
  /* Halves go to the even neighbour; infinity and NaN stay what they are. */
  CHECK(mc_from_bfloat16(mc_round_bfloat16(1.0f)) == 1.0f);
  CHECK(mc_from_bfloat16(mc_round_bfloat16(1.00390625f)) == 1.0f);
  CHECK(mc_from_bfloat16(mc_round_bfloat16(1.01171875f)) == 1.015625f);
  CHECK(mc_from_bfloat16(mc_round_bfloat16(-3.0e38f)) < -2.9e38f);
  CHECK(isinf(mc_from_bfloat16(mc_round_bfloat16(INFINITY))));
  CHECK(isinf(mc_from_bfloat16(mc_round_bfloat16(3.4e38f))));
  union { uint32_t u; float f; } nan = {0x7fffffffu}, negative = {0xffffffffu};
  CHECK(isnan(mc_from_bfloat16(mc_round_bfloat16(nan.f))) && isnan(mc_from_bfloat16(mc_round_bfloat16(negative.f))));
  float x[37];
  mc_bfloat16 one[37], all[37];
  for (int i = 0; i < 37; i++) x[i] = (float)(i * i) * 0.37f - 11.0f;
  mc_to_bfloat16(cp, x, 37, all);
  mc_to_bfloat16_alone(x, 37, one);
  for (int i = 0; i < 37; i++) CHECK(one[i] == all[i] && one[i] == mc_round_bfloat16(x[i]));
}

typedef struct shape {
  int64_t m, n, k, pad;
  bool trans_a, trans_b, into16, bias, accumulate;
} shape;

static void check_product(const shape *s, bool alone) {
  int64_t lda = (s->trans_a ? s->m : s->k) + s->pad, ldb = (s->trans_b ? s->k : s->n) + s->pad, ldc = s->n + s->pad;
  int64_t n_a = (s->trans_a ? s->k : s->m) * lda, n_b = (s->trans_b ? s->n : s->k) * ldb;
  float *a = steps_floats(n_a, 1, 1), *b = steps_floats(n_b, 2, 1), *bias = steps_floats(s->n, 3, 1), *c = steps_floats(s->m * ldc, 4, 1);
  float *before = malloc((size_t)(s->m * ldc) * sizeof *before);
  mc_bfloat16 *a16 = malloc((size_t)n_a * 2), *b16 = malloc((size_t)n_b * 2), *c16 = calloc((size_t)(s->m * ldc), 2);
  memcpy(before, c, (size_t)(s->m * ldc) * sizeof *before);
  mc_to_bfloat16_alone(a, n_a, a16);
  mc_to_bfloat16_alone(b, n_b, b16);
  mc_gemm16 g = {.m = s->m, .n = s->n, .k = s->k, .a = a16, .lda = lda, .trans_a = s->trans_a, .b = b16, .ldb = ldb, .trans_b = s->trans_b,
                 .c = s->into16 ? NULL : c, .c16 = s->into16 ? c16 : NULL, .ldc = ldc, .bias = s->bias ? bias : NULL,
                 .accumulate = s->accumulate};
  if (alone) {
    CHECK(mc_gemm16_alone(cp, &g));
  } else {
    REQUIRE_OK(mc_gemm16_run(cp, &g, &err), err);
  }
  double worst = 0;
  for (int64_t i = 0; i < s->m; i++) {
    for (int64_t j = 0; j < s->n; j++) {
      double sum = s->bias ? bias[j] : 0;
      for (int64_t k = 0; k < s->k; k++) {
        sum += (double)mc_from_bfloat16(a16[s->trans_a ? k * lda + i : i * lda + k]) * mc_from_bfloat16(b16[s->trans_b ? j * ldb + k : k * ldb + j]);
      }
      if (s->accumulate) sum += before[i * ldc + j];
      double is = s->into16 ? mc_from_bfloat16(c16[i * ldc + j]) : c[i * ldc + j];
      double allowed = 1e-5 * sqrt((double)s->k) + (s->into16 ? fabs(sum) / 256 : 0);
      if (fabs(is - sum) / allowed > worst) worst = fabs(is - sum) / allowed;
    }
    for (int64_t j = s->n; j < ldc; j++) CHECK(c[i * ldc + j] == before[i * ldc + j] && c16[i * ldc + j] == 0); /* between rows: untouched */
  }
  CHECK_MSG(worst <= 1, "%lldx%lldx%lld, transposed %d %d, %s: %.3g of what is allowed", (long long)s->m, (long long)s->n, (long long)s->k,
            s->trans_a, s->trans_b, alone ? "alone" : "together", worst);
  void *all[] = {a, b, bias, c, before, a16, b16, c16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* What stands behind an odd row's end, no number here, is none of the product's business. */
static void test_behind_rows(void) {
  enum { M = 33, N = 64, K = 37, LDA = 48 };
  float *b = steps_floats(K * N, 61, 1), c[M * N];
  mc_bfloat16 a[M * LDA], b16[K * N];
  mc_packed16 *packed;
  int wrong = 0;
  memset(a, 0xff, sizeof a);
  for (int r = 0; r < M; r++) {
    for (int k = 0; k < K; k++) a[r * LDA + k] = mc_round_bfloat16((float)(r % 5) - 2);
  }
  mc_to_bfloat16_alone(b, K * N, b16);
  REQUIRE_OK(mc_packed16_create(cp, b, K, N, false, &packed, &err), err);
  for (int how = 0; how < 2; how++) {
    mc_gemm16 g = {.m = M, .n = N, .k = K, .a = a, .lda = LDA, .b = how ? NULL : b16, .ldb = N, .packed = how ? packed : NULL, .c = c, .ldc = N};
    CHECK(mc_gemm16_alone(cp, &g));
    for (int r = 0; r < M; r++) {
      for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++) sum += (double)mc_from_bfloat16(b16[k * N + i]) * (r % 5 - 2);
        wrong += !(fabs(sum - (double)c[r * N + i]) < 1e-4);
      }
    }
  }
  CHECK_MSG(wrong == 0, "%d of %d numbers", wrong, 2 * M * N);
  mc_packed16_destroy(packed);
  free(b);
}

/* A packed matrix gives what the plain one gives, stored either way. */
static void test_packed(int64_t m, int64_t n, int64_t k, bool trans_b) {
  float *a = steps_floats(m * k, 41, 1), *b = steps_floats(n * k, 42, 1), *c = calloc((size_t)(m * n), 4), *expected = calloc((size_t)(m * n), 4);
  mc_bfloat16 *a16 = malloc((size_t)(m * k) * 2), *b16 = malloc((size_t)(n * k) * 2);
  mc_packed16 *packed;
  mc_to_bfloat16_alone(a, m * k, a16);
  mc_to_bfloat16_alone(b, n * k, b16);
  mc_gemm16 g = {.m = m, .n = n, .k = k, .a = a16, .lda = k, .b = b16, .ldb = trans_b ? k : n, .trans_b = trans_b, .c = expected, .ldc = n};
  REQUIRE_OK(mc_gemm16_run(cp, &g, &err), err);
  REQUIRE_OK(mc_packed16_create(cp, b, k, n, trans_b, &packed, &err), err);
  g.packed = packed;
  g.b = NULL;
  g.c = c;
  REQUIRE_OK(mc_gemm16_run(cp, &g, &err), err);
  CHECK_MSG(distance(c, expected, m * n) < 1e-5, "packed %lldx%lldx%lld: %g", (long long)m, (long long)n, (long long)k, distance(c, expected, m * n));
  g.accumulate = true;
  CHECK(mc_gemm16_alone(cp, &g));
  for (int64_t i = 0; i < m * n; i++) expected[i] *= 2;
  CHECK(distance(c, expected, m * n) < 1e-5);
  mc_packed16_destroy(packed);
  void *all[] = {a, b, c, expected, a16, b16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void alone_unit(void *context, int64_t unit, int thread) {
  (void)thread;
  mc_gemm16 *all = context;
  if (!mc_gemm16_alone(cp, &all[unit])) all[unit].m = -1;
}

/* The same product by many units at once gives what it gives alone. */
static void test_units(void) {
  enum { UNITS = 24, M = 33, N = 40, K = 50 };
  float *a = steps_floats(UNITS * M * K, 5, 1), *b = steps_floats(N * K, 6, 1);
  mc_bfloat16 *a16 = malloc(UNITS * M * K * 2), *b16 = malloc(N * K * 2);
  float *c = calloc(UNITS * M * N, sizeof *c), *expected = calloc(M * N, sizeof *expected);
  mc_to_bfloat16_alone(a, UNITS * M * K, a16);
  mc_to_bfloat16_alone(b, N * K, b16);
  mc_gemm16 all[UNITS];
  for (int i = 0; i < UNITS; i++) {
    all[i] = (mc_gemm16){.m = M, .n = N, .k = K, .a = a16 + i * M * K, .lda = K, .b = b16, .ldb = K, .trans_b = true, .c = c + i * M * N, .ldc = N};
  }
  mc_parallel_units(cp, UNITS, alone_unit, all);
  for (int i = 0; i < UNITS; i++) {
    mc_gemm16 one = all[i];
    one.c = expected;
    CHECK(all[i].m == M && mc_gemm16_alone(cp, &one));
    CHECK(distance(c + i * M * N, expected, M * N) < 1e-6);
  }
  void *freed[] = {a, b, a16, b16, c, expected};
  for (size_t i = 0; i < sizeof freed / sizeof *freed; i++) free(freed[i]);
}

static void test_products(void) {
  static const shape shapes[] = {
      {1, 1, 1, 0, false, false, false, false, false},    {5, 7, 3, 0, false, true, false, true, false},
      {64, 48, 96, 0, false, true, false, true, true},    {197, 64, 197, 27, false, false, true, false, false},
      {197, 197, 64, 0, false, true, false, false, false}, {33, 130, 77, 3, true, false, false, false, true},
      {200, 96, 64, 8, false, false, true, true, false},  {64, 197, 197, 27, false, false, true, false, false},
      {17, 64, 300, 0, false, false, false, false, true}, {12, 31, 64, 1, true, true, true, true, false},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    check_product(&shapes[i], false);
    check_product(&shapes[i], true);
    check_product(&shapes[i], false); /* from the primitives that are kept */
  }
}

/* --- layers ------------------------------------------------------------------------------------------------------------------------- */

static void widen(const mc_bfloat16 *x, int64_t n, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = mc_from_bfloat16(x[i]);
}

/* 4 significant bits more than a bfloat16 has would show a wrong formula; sums of rounded numbers stay well below. */
enum { ROWS = 9, WIDTH = 130 };

static void test_layers(void) {
  int64_t n = ROWS * WIDTH;
  float *x = steps_floats(n, 11, 1), *w = steps_floats(WIDTH, 12, 1), *b = steps_floats(WIDTH, 13, 1), *dy = steps_floats(n, 14, 1);
  float *y = calloc((size_t)n, sizeof *y), *z = calloc((size_t)n, sizeof *z), *sums = calloc(WIDTH, sizeof *sums), *sums16 = calloc(WIDTH, sizeof *sums16);
  float mean[ROWS], rstd[ROWS], mean16[ROWS], rstd16[ROWS];
  mc_bfloat16 *x16 = malloc((size_t)n * 2), *y16 = malloc((size_t)n * 2);
  mc_layernorm_forward(cp, x, WIDTH, w, b, ROWS, WIDTH, y, mean, rstd);
  mc_layernorm_forward16(cp, x, WIDTH, w, b, ROWS, WIDTH, y16, mean16, rstd16);
  for (int64_t i = 0; i < n; i++) CHECK(y16[i] == mc_round_bfloat16(y[i]));
  CHECK(memcmp(mean, mean16, sizeof mean) == 0 && memcmp(rstd, rstd16, sizeof rstd) == 0);
  for (int kind = MC_QUICK_GELU; kind <= MC_GELU; kind++) {
    mc_to_bfloat16(cp, x, n, x16);
    widen(x16, n, y);
    mc_activation_forward(cp, (mc_activation)kind, y, n, z);
    mc_activation_forward16(cp, (mc_activation)kind, x16, n, y16);
    widen(y16, n, y);
    CHECK_MSG(distance(y, z, n) < 3e-3, "activation %d: %g", kind, distance(y, z, n));
    memcpy(z, dy, (size_t)n * sizeof *z);
    mc_to_bfloat16(cp, dy, n, y16);
    mc_activation_backward(cp, (mc_activation)kind, x, n, z);
    mc_activation_backward16(cp, (mc_activation)kind, x16, n, y16);
    widen(y16, n, y);
    CHECK_MSG(distance(y, z, n) < 8e-3, "gradient of activation %d: %g", kind, distance(y, z, n));
  }
  widen(x16, n, y);
  mc_column_sums(cp, y, ROWS, WIDTH, WIDTH, sums);
  mc_column_sums16(cp, x16, ROWS, WIDTH, sums16);
  CHECK(distance(sums16, sums, WIDTH) < 1e-6);
  void *all[] = {x, w, b, dy, y, z, sums, sums16, x16, y16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void test_attention(bool causal, int64_t t, int64_t head_width) {
  mc_attention a = {2, t, 3, head_width, causal};
  int64_t n = a.n * t * a.heads * a.head_width;
  float *qkv = steps_floats(3 * n, 21, 0.8f), *dc = steps_floats(n, 22, 1);
  mc_bfloat16 *qkv16 = malloc((size_t)n * 6), *dc16 = malloc((size_t)n * 2), *context16 = malloc((size_t)n * 2), *dqkv16 = malloc((size_t)n * 6);
  float *context = calloc((size_t)n, 4), *dqkv = calloc((size_t)n, 12), *log_sum = calloc((size_t)(a.n * t * a.heads), 4), *log_sum16 = calloc((size_t)(a.n * t * a.heads), 4);
  float *wide = calloc((size_t)n, 12), *scratch = malloc(mc_attention_scratch(cp, &a) * sizeof *scratch);
  void *scratch16 = malloc(mc_attention_scratch16(cp, &a));
  memset(scratch16, 0xff, mc_attention_scratch16(cp, &a)); /* none of it is a number */
  mc_to_bfloat16(cp, qkv, 3 * n, qkv16);
  mc_to_bfloat16(cp, dc, n, dc16);
  widen(qkv16, 3 * n, qkv);
  widen(dc16, n, dc);
  REQUIRE_OK(mc_attention_forward(cp, &a, qkv, context, log_sum, scratch, &err), err);
  mc_attention_forward16(cp, &a, qkv16, context16, log_sum16, scratch16);
  widen(context16, n, wide);
  CHECK_MSG(distance(wide, context, n) < 6e-3, "attention over %lld: %g", (long long)t, distance(wide, context, n));
  CHECK(distance(log_sum16, log_sum, a.n * t * a.heads) < 1e-5);
  REQUIRE_OK(mc_attention_backward(cp, &a, qkv, log_sum, dc, dqkv, scratch, &err), err);
  mc_attention_backward16(cp, &a, qkv16, log_sum16, dc16, dqkv16, scratch16);
  widen(dqkv16, 3 * n, wide);
  CHECK_MSG(distance(wide, dqkv, 3 * n) < 1e-2, "gradient of attention over %lld: %g", (long long)t, distance(wide, dqkv, 3 * n));
  void *all[] = {qkv, dc, qkv16, dc16, context16, dqkv16, context, dqkv, log_sum, log_sum16, wide, scratch, scratch16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* --- whole steps -------------------------------------------------------------------------------------------------------------------- */

/* C += A^T B, either way round, against sums in double. */
static void test_gradient(int64_t m, int64_t n, int64_t k, bool turned) {
  int64_t lda = m + 2, ldb = n + 3, ldc = (turned ? m : n) + 5, rows = turned ? n : m;
  float *a = steps_floats(k * lda, 51, 1), *b = steps_floats(k * ldb, 52, 1), *c = steps_floats(rows * ldc, 53, 1);
  float *before = malloc((size_t)(rows * ldc) * sizeof *before);
  mc_bfloat16 *a16 = malloc((size_t)(k * lda) * 2), *b16 = malloc((size_t)(k * ldb) * 2);
  void *scratch = aligned_alloc(64, (mc_gradient16_scratch(m, n, k) + 63) / 64 * 64);
  double worst = 0;
  int64_t touched = 0;
  memcpy(before, c, (size_t)(rows * ldc) * sizeof *c);
  mc_to_bfloat16_alone(a, k * lda, a16);
  mc_to_bfloat16_alone(b, k * ldb, b16);
  mc_gradient16_alone(cp, &(mc_gradient16){m, n, k, a16, lda, b16, ldb, c, ldc, turned, scratch});
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < ldc; i++) {
      double sum = before[r * ldc + i];
      int64_t of_a = turned ? i : r, of_b = turned ? r : i;
      if (i >= ldc - 5) {
        touched += c[r * ldc + i] != before[r * ldc + i];
        continue;
      }
      for (int64_t j = 0; j < k; j++) sum += (double)mc_from_bfloat16(a16[j * lda + of_a]) * (double)mc_from_bfloat16(b16[j * ldb + of_b]);
      worst = fmax(worst, fabs(sum - (double)c[r * ldc + i]));
    }
  }
  CHECK_MSG(worst < 1e-5 * (double)k && touched == 0, "%lldx%lld over %lld: %g", (long long)m, (long long)n, (long long)k, worst);
  void *all[] = {a, b, c, before, a16, b16, scratch};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

typedef struct run {
  mc_clip *clip;
  mc_adapters *adapters;
  double loss;
} run;

enum { N = 10, CLASSES = 6 };
static const mc_clip_sizes sizes = {32, 8, 3, 64, 256, 12, 50, 3, 64, 256, 32, MC_QUICK_GELU, 2, 2};

static bool of_router(const char *name) { return strstr(name, "router_list") || strstr(name, "w_noise_list"); }

/* Small gates depend on the last bits of a router's input, by as much as its numbers are large: no matter of products. */
static moeclip_code calm_routers(void *context, const char *name, mc_param *p, moeclip_error *e) {
  (void)context;
  (void)e;
  for (int64_t i = 0; of_router(name) && i < p->n; i++) p->value[i] *= 0.1f;
  return MOECLIP_OK;
}

static void make_run(run *r, bool adapters) {
  uint64_t index = 0;
  *r = (run){0};
  REQUIRE_OK(mc_clip_create(&sizes, 3, &r->clip, &err), err);
  REQUIRE_OK(mc_clip_each(r->clip, steps_shake, &index, &err), err);
  if (!adapters) {
    REQUIRE_OK(mc_clip_each(r->clip, steps_unfreeze, NULL, &err), err);
    return;
  }
  /* As many experts as are chosen: a rounded router cannot choose others. */
  mc_adapter_sizes a = {.n_experts = 2, .bottleneck = 16, .top_k = 2, .scale = 0.5f, .text = true};
  REQUIRE_OK(mc_adapters_create(&a, sizes.visual_layers, 64, sizes.text_layers, 64, 5, &r->adapters, &err), err);
  REQUIRE_OK(mc_adapters_add_router(r->adapters, &err), err);
  REQUIRE_OK(mc_adapters_each(r->adapters, steps_shake, &index, &err), err);
  REQUIRE_OK(mc_adapters_each(r->adapters, calm_routers, NULL, &err), err);
  REQUIRE_OK(mc_adapters_train(r->adapters, 0, false, &err), err);
}

static void do_step(run *r, mc_compute *with, size_t kept_bytes) {
  int64_t each = 3 * (int64_t)sizes.image_size * sizes.image_size;
  float *images = steps_floats(N * each, 31, 1);
  int32_t texts[N * 12] = {0}, labels[N], tasks[N] = {0};
  steps_texts(texts, N, sizes.context, sizes.vocabulary);
  for (int i = 0; i < N; i++) labels[i] = i % CLASSES;
  mc_step_options o = {.smoothing = 0.1f, .kept_bytes = kept_bytes};
  o.image_routing = o.text_routing = (mc_routing){.task = tasks, .top_k = 2, .scale = 0.5f, .noise = true, .dropout = 0.1f, .seed = 8, .step = 3};
  if (r->adapters) {
    REQUIRE_OK(mc_classification_step(with, r->clip, r->adapters, &o, images, labels, N, texts, CLASSES, &r->loss, NULL, &arena, &err), err);
  } else {
    REQUIRE_OK(mc_contrastive_step(with, r->clip, &o, images, texts, N, &r->loss, &arena, &err), err);
  }
  free(images);
}

typedef struct gradients {
  const float *of[400];
  char name[400][96];
  int64_t n[400];
  int count;
} gradients;

static moeclip_code list(void *context, const char *name, mc_param *p, moeclip_error *e) {
  gradients *g = context;
  (void)e;
  if (p->grad && g->count < 400) {
    snprintf(g->name[g->count], sizeof g->name[0], "%s", name);
    g->n[g->count] = p->n;
    g->of[g->count++] = p->grad;
  }
  return MOECLIP_OK;
}

static double size_of(const float *x, int64_t n) {
  double size = 0;
  for (int64_t k = 0; k < n; k++) size += (double)x[k] * x[k];
  return size;
}

static void test_step(bool adapters, size_t kept_bytes) {
  run fast, exact;
  gradients a = {.count = 0}, b = {.count = 0};
  make_run(&fast, adapters);
  make_run(&exact, adapters);
  do_step(&fast, cp, kept_bytes);
  do_step(&exact, reference, kept_bytes);
  CHECK_MSG(fabs(fast.loss - exact.loss) < 0.02 * exact.loss, "loss %g, exact %g", fast.loss, exact.loss);
  if (adapters) {
    REQUIRE_OK(mc_adapters_each(fast.adapters, list, &a, &err), err);
    REQUIRE_OK(mc_adapters_each(exact.adapters, list, &b, &err), err);
  } else {
    REQUIRE_OK(mc_clip_each(fast.clip, list, &a, &err), err);
    REQUIRE_OK(mc_clip_each(exact.clip, list, &b, &err), err);
  }
  CHECK(a.count == b.count && a.count > 30);
  double largest = 0, of_routers = 0, worst = 0;
  const char *which = "";
  for (int i = 0; i < b.count; i++) {
    double size = size_of(b.of[i], b.n[i]);
    if (size > largest) largest = size;
    if (of_router(b.name[i]) && size > of_routers) of_routers = size;
  }
  for (int i = 0; i < b.count; i++) {
    double size = size_of(b.of[i], b.n[i]), far = distance(a.of[i], b.of[i], b.n[i]);
    /* A router's gradient is the difference of what two experts give, each rounded: where they are nearly the same, the difference is small
     * and its error is not. So it is measured against the largest of them. */
    if (of_router(b.name[i])) far *= sqrt(size / of_routers);
    /* A down projection's gradient goes through the ReLU: a unit within rounding of zero (one of some 200) has all or nothing. */
    if (strstr(b.name[i], "down_proj")) far /= 2;
    if (size <= 1e-6 * largest || far <= worst) continue;
    worst = far;
    which = b.name[i];
  }
  CHECK_MSG(worst < 0.1, "of %d gradients, that of %s is off by %g of its length", b.count, which, worst);
  mc_adapters_destroy(fast.adapters);
  mc_adapters_destroy(exact.adapters);
  mc_clip_destroy(fast.clip);
  mc_clip_destroy(exact.clip);
}

/* A frozen weight's rounded copy is kept; what a change of the weight makes of it must show. */
static void test_copies(void) {
  mc_param p;
  int64_t sides[2] = {3, 5};
  mc_philox g;
  REQUIRE_OK(mc_param_create(&p, 2, sides, &err), err);
  mc_philox_init(&g, 1, MC_STREAM_INIT, 9);
  mc_param_normal(&p, 1, &g);
  REQUIRE_OK(mc_param_half(cp, &p, &err), err);
  CHECK(p.half[4] == mc_round_bfloat16(p.value[4]));
  REQUIRE_OK(mc_param_pack(cp, &p, 0, &err), err);
  REQUIRE_OK(mc_param_pack(cp, &p, 1, &err), err);
  CHECK(p.packed[0] && p.packed[1]);
  mc_param_normal(&p, 1, &g);
  CHECK(!p.packed[0] && !p.packed[1] && !p.half);
  REQUIRE_OK(mc_param_half(cp, &p, &err), err);
  CHECK(p.half[4] == mc_round_bfloat16(p.value[4]));
  REQUIRE_OK(mc_param_unfreeze(&p, &err), err);
  p.value[4] += 1;
  REQUIRE_OK(mc_param_half(cp, &p, &err), err);
  CHECK(p.half[4] == mc_round_bfloat16(p.value[4]));
  p.value[4] += 1;
  mc_param_freeze(&p);
  REQUIRE_OK(mc_param_half(cp, &p, &err), err);
  CHECK(p.half[4] == mc_round_bfloat16(p.value[4]));
  mc_param_clear(&p);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  REQUIRE_OK(mc_compute_set_precision(cp, MC_BFLOAT16, &err), err);
  REQUIRE_OK(mc_compute_create(2, &reference, &err), err);
  CHECK(mc_compute_precision(cp) == MC_BFLOAT16 && mc_compute_precision(reference) == MC_FLOAT32);
  test_rounding();
  test_products();
  test_packed(40, 96, 64, true);
  test_packed(1, 77, 130, true);
  test_packed(591, 64, 192, false);
  test_packed(12, 33, 50, false);
  test_behind_rows();
  test_units();
  test_layers();
  test_attention(false, 5, 64);
  test_attention(false, 1, 16);
  test_attention(true, 33, 88);
  test_attention(false, 64, 80);
  test_attention(true, 77, 64);
  test_attention(false, 197, 64);
  for (int turned = 0; turned < 2; turned++) {
    test_gradient(64, 192, 394, turned);
    test_gradient(10, 33, 7, turned);
  }
  test_copies();
  test_step(true, 0);
  test_step(true, 1);
  test_step(false, 0);
  test_step(false, 1);
  mc_arena_clear(&arena);
  mc_compute_destroy(cp);
  mc_compute_destroy(reference);
  return check_report();
}
