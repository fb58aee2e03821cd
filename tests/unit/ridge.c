/*
 * The analytic method's arithmetic: products and Cholesky's factors against plain loops; a regression that was taught piece by
 * piece against one system of equations of all pictures, solved by elimination, and against the published recursion (Woodbury);
 * its state.
 */
#include "learn/ridge.h"

#include "base/random.h"
#include "check.h"
#include "compute/linear.h"

static moeclip_error err;
static mc_compute *cp;

static double *random_doubles(size_t n, uint64_t index) {
  double *x = malloc(n * sizeof *x);
  mc_philox g;
  mc_philox_init(&g, 815, MC_STREAM_INIT, index);
  for (size_t i = 0; i < n; i++) x[i] = mc_philox_normal(&g);
  return x;
}

static double relative_error(const double *a, const double *b, size_t n) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return sqrt(difference / norm);
}

/* --- products and factors ------------------------------------------------------------------------------------------------ */

static void test_product(int64_t m, int64_t n, int64_t k, int ways) {
  bool trans_a = ways & 1, trans_b = ways & 2, lower = (ways & 4) && m == n;
  int64_t lda = (trans_a ? m : k) + 3, ldb = (trans_b ? k : n) + 1, ldc = n + 2;
  double *a = random_doubles((size_t)(lda * (trans_a ? k : m)), 1), *b = random_doubles((size_t)(ldb * (trans_b ? n : k)), 2);
  double *c = random_doubles((size_t)(ldc * m), 3), *want = random_doubles((size_t)(ldc * m), 3), worst = 0;
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t l = 0; l < k; l++)
        sum += (trans_a ? a[l * lda + i] : a[i * lda + l]) * (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
      want[i * ldc + j] += -0.7 * sum;
    }
  }
  mc_gemm64 g = {.m = m, .n = n, .k = k, .a = a, .lda = lda, .trans_a = trans_a, .b = b, .ldb = ldb, .trans_b = trans_b, .c = c,
                 .ldc = ldc, .alpha = -0.7, .lower = lower};
  REQUIRE_OK(mc_gemm64_run(cp, &g, &err), err);
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < (lower ? i + 1 : ldc); j++) worst = fmax(worst, fabs(c[i * ldc + j] - want[i * ldc + j]));
  }
  CHECK_MSG(worst < 1e-11, "product %d x %d x %d, way %d: %g", (int)m, (int)n, (int)k, ways, worst);
  free(a);
  free(b);
  free(c);
  free(want);
}

/* x of (a) x = b by elimination with pivots, in long double: a [n, n], b [n, m]. */
static double *eliminate(const double *a, const double *b, int64_t n, int64_t m) {
  int64_t width = n + m;
  long double *t = malloc((size_t)(n * width) * sizeof *t);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < n; j++) t[i * width + j] = a[i * n + j];
    for (int64_t j = 0; j < m; j++) t[i * width + n + j] = b[i * m + j];
  }
  for (int64_t k = 0; k < n; k++) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; i++) pivot = fabsl(t[i * width + k]) > fabsl(t[pivot * width + k]) ? i : pivot;
    for (int64_t j = 0; j < width; j++) {
      long double swap = t[k * width + j];
      t[k * width + j] = t[pivot * width + j];
      t[pivot * width + j] = swap;
    }
    for (int64_t i = 0; i < n; i++) {
      long double factor = i == k ? 0 : t[i * width + k] / t[k * width + k];
      for (int64_t j = k; factor != 0 && j < width; j++) t[i * width + j] -= factor * t[k * width + j];
    }
  }
  double *x = malloc((size_t)(n * m) * sizeof *x);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < m; j++) x[i * m + j] = (double)(t[i * width + n + j] / t[i * width + i]);
  }
  free(t);
  return x;
}

/* a = r r^T + I: symmetric, positive definite. */
static double *definite(int64_t n) {
  double *r = random_doubles((size_t)(n * n), 7), *a = calloc((size_t)(n * n), sizeof *a);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < n; j++) {
      for (int64_t k = 0; k < n; k++) a[i * n + j] += r[i * n + k] * r[j * n + k];
    }
    a[i * n + i] += 1;
  }
  free(r);
  return a;
}

static void test_cholesky(int64_t n, int64_t m) {
  double *a = definite(n), *b = random_doubles((size_t)(n * m), 8), *want = eliminate(a, b, n, m);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = i + 1; j < n; j++) a[i * n + j] = NAN; /* the upper triangle is not read */
  }
  REQUIRE_OK(mc_cholesky(cp, a, n, &err), err);
  REQUIRE_OK(mc_cholesky_solve(cp, a, n, b, m, &err), err);
  double error = relative_error(b, want, (size_t)(n * m));
  CHECK_MSG(error < 1e-8, "%d unknowns, %d right sides: %g", (int)n, (int)m, error);
  free(a);
  free(b);
  free(want);
}

static void test_not_definite(void) {
  for (int64_t at = 3; at < 250; at += 120) {
    double *a = definite(250);
    a[at * 250 + at] = at == 3 ? NAN : -1;
    CHECK(mc_cholesky(cp, a, 250, &err) == MOECLIP_ERROR_NUMERIC);
    free(a);
  }
}

/* --- the regression ------------------------------------------------------------------------------------------------------ */

enum { EMBED = 12, HIDDEN = 70, N = 1300, CLASSES = 9, TEST = 40 };

static float features[N * EMBED];
static int64_t labels[N];

static void draw_pictures(void) {
  mc_philox g;
  mc_philox_init(&g, 99, MC_STREAM_INIT, 0);
  for (int i = 0; i < N; i++) {
    double length = 0;
    labels[i] = mc_philox_below(&g, CLASSES);
    for (int k = 0; k < EMBED; k++) {
      features[i * EMBED + k] = mc_philox_normal(&g) + (k == labels[i] ? 2 : 0);
      length += features[i * EMBED + k] * features[i * EMBED + k];
    }
    for (int k = 0; k < EMBED; k++) features[i * EMBED + k] /= (float)sqrt(length);
  }
}

static moeclip_learner_options options_of(moeclip_ridge_form form) {
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  o.ridge_form = form;
  o.ridge_hidden = HIDDEN;
  o.ridge_gamma = 0.8;
  o.ridge = 0.05;
  o.seed = 5;
  return o;
}

static mc_ridge *fresh(moeclip_ridge_form form) {
  moeclip_learner_options o = options_of(form);
  mc_ridge *r;
  REQUIRE_OK(mc_ridge_create(&o, EMBED, &r, &err), err);
  return r;
}

/* Teaches the classes from `from` to `to` in batches; as[c]: the number of class c here. Solves after each such task. */
static void teach(mc_ridge *r, int from, int to, const int *as, int batch) {
  static float x[N * EMBED];
  static int64_t y[N];
  int n = 0;
  for (int i = 0; i < N; i++) {
    if (labels[i] < from || labels[i] >= to) continue;
    memcpy(x + n * EMBED, features + i * EMBED, EMBED * sizeof *x);
    y[n++] = as[labels[i]];
  }
  int64_t known = r->n_classes + to - from;
  REQUIRE_OK(mc_ridge_classes(r, known, &err), err);
  for (int at = 0; at < n; at += batch) {
    REQUIRE_OK(mc_ridge_add(cp, r, x + at * EMBED, y + at, n - at < batch ? n - at : batch, &err), err);
  }
  REQUIRE_OK(mc_ridge_solve(cp, r, &err), err);
}

static const int in_order[CLASSES] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

static mc_ridge *taught(moeclip_ridge_form form, int batch) {
  mc_ridge *r = fresh(form);
  teach(r, 0, 4, in_order, batch);
  teach(r, 4, 6, in_order, batch);
  teach(r, 6, 9, in_order, batch);
  CHECK(r->n_solved == CLASSES);
  return r;
}

static double *scores_of(const mc_ridge *r) {
  double *s = malloc(sizeof *s * TEST * CLASSES);
  REQUIRE_OK(mc_ridge_score(cp, r, features, TEST, s, &err), err);
  return s;
}

/* phi(x) of all pictures, by loops. */
static double *phi_of(const mc_ridge *r) {
  double *phi = malloc(sizeof *phi * N * HIDDEN);
  for (int i = 0; i < N; i++) {
    for (int h = 0; h < HIDDEN; h++) {
      double sum = 0;
      for (int k = 0; k < EMBED; k++) sum += features[i * EMBED + k] * r->projection[k * HIDDEN + h];
      phi[i * HIDDEN + h] = sum > 0 ? sum : 0;
    }
  }
  return phi;
}

/* All pictures at once: (phi^T phi + lambda I) W = phi^T Y. */
static double *joint_projection(const mc_ridge *r) {
  double *phi = phi_of(r), *a = calloc(HIDDEN * HIDDEN, sizeof *a), *b = calloc(HIDDEN * CLASSES, sizeof *b);
  double *out = calloc(TEST * CLASSES, sizeof *out);
  for (int i = 0; i < N; i++) {
    for (int h = 0; h < HIDDEN; h++) {
      for (int g = 0; g < HIDDEN; g++) a[h * HIDDEN + g] += phi[i * HIDDEN + h] * phi[i * HIDDEN + g];
      b[h * CLASSES + labels[i]] += phi[i * HIDDEN + h];
    }
  }
  for (int h = 0; h < HIDDEN; h++) a[h * HIDDEN + h] += 0.05;
  double *w = eliminate(a, b, HIDDEN, CLASSES);
  for (int i = 0; i < TEST; i++) {
    for (int c = 0; c < CLASSES; c++) {
      for (int h = 0; h < HIDDEN; h++) out[i * CLASSES + c] += phi[i * HIDDEN + h] * w[h * CLASSES + c];
    }
  }
  free(phi);
  free(a);
  free(b);
  free(w);
  return out;
}

/* The published recursion, picture by picture in the order of tasks: M -= M p p^T M / (1 + p^T M p); W += M p (y - p^T W). */
static double *recursive_projection(const mc_ridge *r) {
  double *phi = phi_of(r), *m = calloc(HIDDEN * HIDDEN, sizeof *m), *w = calloc(HIDDEN * CLASSES, sizeof *w), mp[HIDDEN];
  double *out = calloc(TEST * CLASSES, sizeof *out);
  for (int h = 0; h < HIDDEN; h++) m[h * HIDDEN + h] = 1 / 0.05;
  const int cuts[] = {0, 4, 6, 9};
  for (int task = 0; task < 3; task++) {
    for (int i = 0; i < N; i++) {
      if (labels[i] < cuts[task] || labels[i] >= cuts[task + 1]) continue;
      const double *p = phi + i * HIDDEN;
      double below = 1;
      for (int h = 0; h < HIDDEN; h++) {
        mp[h] = 0;
        for (int g = 0; g < HIDDEN; g++) mp[h] += m[h * HIDDEN + g] * p[g];
        below += p[h] * mp[h];
      }
      for (int h = 0; h < HIDDEN; h++) {
        for (int g = 0; g < HIDDEN; g++) m[h * HIDDEN + g] -= mp[h] * mp[g] / below;
      }
      for (int c = 0; c < CLASSES; c++) {
        double residual = c == labels[i];
        for (int h = 0; h < HIDDEN; h++) residual -= p[h] * w[h * CLASSES + c];
        for (int h = 0; h < HIDDEN; h++) w[h * CLASSES + c] += mp[h] / below * residual;
      }
    }
  }
  for (int i = 0; i < TEST; i++) {
    for (int c = 0; c < CLASSES; c++) {
      for (int h = 0; h < HIDDEN; h++) out[i * CLASSES + c] += phi[i * HIDDEN + h] * w[h * CLASSES + c];
    }
  }
  free(phi);
  free(m);
  free(w);
  return out;
}

static double gaussian(int i, int j) {
  double d = 0;
  for (int k = 0; k < EMBED; k++)
    d += ((double)features[i * EMBED + k] - features[j * EMBED + k]) *
         ((double)features[i * EMBED + k] - features[j * EMBED + k]);
  return exp(-0.8 * d);
}

/* All pictures at once: (K + lambda I) A = Y. Only some of the pictures, as elimination is slow. */
enum { FEW = 260 };
static double *joint_kernel(void) {
  double *a = calloc(FEW * FEW, sizeof *a), *b = calloc(FEW * CLASSES, sizeof *b), *out = calloc(TEST * CLASSES, sizeof *out);
  for (int i = 0; i < FEW; i++) {
    for (int j = 0; j < FEW; j++) a[i * FEW + j] = gaussian(i, j) + (i == j ? 0.05 : 0);
    b[i * CLASSES + labels[i]] = 1;
  }
  double *w = eliminate(a, b, FEW, CLASSES);
  for (int i = 0; i < TEST; i++) {
    for (int c = 0; c < CLASSES; c++) {
      for (int j = 0; j < FEW; j++) out[i * CLASSES + c] += gaussian(i, j) * w[j * CLASSES + c];
    }
  }
  free(a);
  free(b);
  free(w);
  return out;
}

static void test_projection_equals_joint(void) {
  mc_ridge *r = taught(MOECLIP_RIDGE_PROJECTION, 64), *other = taught(MOECLIP_RIDGE_PROJECTION, 7),
           *all = fresh(MOECLIP_RIDGE_PROJECTION);
  double *s = scores_of(r), *joint = joint_projection(r), *recursive = recursive_projection(r);
  double error = relative_error(s, joint, TEST * CLASSES);
  CHECK_MSG(error < 1e-10, "task by task against all at once: %g", error);
  error = relative_error(s, recursive, TEST * CLASSES);
  CHECK_MSG(error < 1e-7, "against the published recursion: %g", error);
  /* However the pictures came in batches: the same bits. */
  CHECK(memcmp(r->gram, other->gram, HIDDEN * HIDDEN * sizeof(double)) == 0);
  CHECK(memcmp(r->weights, other->weights, HIDDEN * CLASSES * sizeof(double)) == 0);
  /* Tasks in the other order: the same regression, with other numbers for the classes. */
  const int backwards[CLASSES] = {5, 6, 7, 8, 3, 4, 0, 1, 2};
  teach(all, 6, 9, backwards, 50);
  teach(all, 4, 6, backwards, 50);
  teach(all, 0, 4, backwards, 50);
  double *b = scores_of(all), worst = 0;
  for (int i = 0; i < TEST; i++) {
    for (int c = 0; c < CLASSES; c++) worst = fmax(worst, fabs(b[i * CLASSES + backwards[c]] - s[i * CLASSES + c]));
  }
  CHECK_MSG(worst < 1e-10, "tasks in the other order: %g", worst);
  free(b);
  free(s);
  free(joint);
  free(recursive);
  mc_ridge_destroy(r);
  mc_ridge_destroy(other);
  mc_ridge_destroy(all);
}

static void test_kernel_equals_joint(void) {
  mc_ridge *r = fresh(MOECLIP_RIDGE_KERNEL);
  REQUIRE_OK(mc_ridge_classes(r, CLASSES, &err), err);
  for (int at = 0; at < FEW; at += 37) {
    REQUIRE_OK(mc_ridge_add(cp, r, features + at * EMBED, labels + at, FEW - at < 37 ? FEW - at : 37, &err), err);
    if (at % 3 == 0) REQUIRE_OK(mc_ridge_solve(cp, r, &err), err);
  }
  REQUIRE_OK(mc_ridge_solve(cp, r, &err), err);
  double *s = scores_of(r), *joint = joint_kernel(), error = relative_error(s, joint, TEST * CLASSES);
  CHECK_MSG(error < 1e-9, "kernel, piece by piece against all at once: %g", error);
  r->most = FEW + 10;
  CHECK(mc_ridge_add(cp, r, features, labels, 11, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "--ridge-pictures"));
  CHECK(r->n_kept == FEW);
  free(s);
  free(joint);
  mc_ridge_destroy(r);
}

/* Two classes of one name are one class when their columns are added up. */
static void test_columns_add_up(void) {
  const int merged[CLASSES] = {0, 1, 2, 3, 4, 5, 6, 7, 7};
  mc_ridge *apart = taught(MOECLIP_RIDGE_PROJECTION, 64), *one = fresh(MOECLIP_RIDGE_PROJECTION);
  teach(one, 0, 9, merged, 64);
  double *a = scores_of(apart), *b = scores_of(one), worst = 0;
  for (int i = 0; i < TEST; i++) {
    worst = fmax(worst, fabs(a[i * CLASSES + 7] + a[i * CLASSES + 8] - b[i * CLASSES + 7]));
    worst = fmax(worst, fabs(a[i * CLASSES + 3] - b[i * CLASSES + 3]));
  }
  CHECK_MSG(worst < 1e-10, "%g", worst);
  free(a);
  free(b);
  mc_ridge_destroy(apart);
  mc_ridge_destroy(one);
}

/* --- state ---------------------------------------------------------------------------------------------------------------- */

static moeclip_tensors *stored(const mc_ridge *r) {
  moeclip_tensors *t;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_ridge_store(r, t, &err), err);
  return t;
}

/* Stored in the middle of a task and loaded, it goes on to the same bits. */
static void test_state(moeclip_ridge_form form) {
  moeclip_learner_options o = options_of(form);
  mc_ridge *whole = fresh(form), *half = fresh(form), *again;
  for (int k = 0; k < 2; k++) {
    mc_ridge *r = k ? half : whole;
    REQUIRE_OK(mc_ridge_classes(r, 4, &err), err);
    for (int i = 0; i < 600; i++) {
      if (labels[i] < 4) REQUIRE_OK(mc_ridge_add(cp, r, features + i * EMBED, labels + i, 1, &err), err);
    }
    REQUIRE_OK(mc_ridge_solve(cp, r, &err), err);
    REQUIRE_OK(mc_ridge_classes(r, CLASSES, &err), err);
    REQUIRE_OK(mc_ridge_add(cp, r, features + 600 * EMBED, labels + 600, 100, &err), err);
  }
  moeclip_tensors *t = stored(half);
  REQUIRE_OK(mc_ridge_load(&o, EMBED, t, CLASSES, &again, &err), err);
  moeclip_tensors *second = stored(again);
  CHECK(moeclip_tensors_count(t) == moeclip_tensors_count(second));
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *a = moeclip_tensors_at(t, i), *b = moeclip_tensors_find(second, a->name);
    CHECK(b && a->n_bytes == b->n_bytes && memcmp(a->data, b->data, a->n_bytes) == 0);
  }
  REQUIRE_OK(mc_ridge_add(cp, whole, features + 700 * EMBED, labels + 700, 500, &err), err);
  REQUIRE_OK(mc_ridge_add(cp, again, features + 700 * EMBED, labels + 700, 500, &err), err);
  REQUIRE_OK(mc_ridge_solve(cp, whole, &err), err);
  REQUIRE_OK(mc_ridge_solve(cp, again, &err), err);
  size_t width = (size_t)(form == MOECLIP_RIDGE_KERNEL ? whole->n_kept : HIDDEN);
  CHECK(memcmp(whole->weights, again->weights, CLASSES * width * sizeof(double)) == 0);
  mc_ridge *none = NULL;
  CHECK(mc_ridge_load(&o, EMBED, t, CLASSES - 1, &none, &err) == MOECLIP_ERROR_FORMAT && !none);
  CHECK(mc_ridge_load(&o, EMBED + 1, t, CLASSES, &none, &err) == MOECLIP_ERROR_FORMAT && !none);
  o.ridge_hidden = 30000; /* its square is not asked of the system */
  if (form == MOECLIP_RIDGE_PROJECTION)
    CHECK(mc_ridge_load(&o, EMBED, t, CLASSES, &none, &err) == MOECLIP_ERROR_FORMAT && !none);
  moeclip_tensors_destroy(t);
  moeclip_tensors_destroy(second);
  mc_ridge_destroy(whole);
  mc_ridge_destroy(half);
  mc_ridge_destroy(again);
}

/* Labels beyond the classes, and what is not a number, are refused. */
static void test_damaged(moeclip_ridge_form form) {
  moeclip_learner_options o = options_of(form);
  mc_ridge *r = taught(form, 100), *none = NULL;
  REQUIRE_OK(mc_ridge_add(cp, r, features, labels, 3, &err), err);
  double kept = r->weights[5];
  r->weights[5] = NAN;
  moeclip_tensors *t = stored(r);
  CHECK(mc_ridge_load(&o, EMBED, t, CLASSES, &none, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, "weights"));
  moeclip_tensors_destroy(t);
  r->weights[5] = kept;
  *(form == MOECLIP_RIDGE_KERNEL ? &r->kept_label[2] : &r->pending_label[2]) = CLASSES;
  t = stored(r);
  CHECK(mc_ridge_load(&o, EMBED, t, CLASSES, &none, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, "labels") && !none);
  moeclip_tensors_destroy(t);
  mc_ridge_destroy(r);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  for (int ways = 0; ways < 8; ways++) {
    test_product(1, 1, 1, ways);
    test_product(5, 9, 3, ways);
    test_product(131, 131, 300, ways); /* several blocks, each way */
    test_product(70, 23, 17, ways);
  }
  test_cholesky(1, 1);
  test_cholesky(96, 3);
  test_cholesky(97, 70);
  test_cholesky(300, 130);
  test_not_definite();
  draw_pictures();
  test_projection_equals_joint();
  test_kernel_equals_joint();
  test_columns_add_up();
  for (int form = 0; form < 2; form++) {
    test_state((moeclip_ridge_form)form);
    test_damaged((moeclip_ridge_form)form);
  }
  mc_compute_destroy(cp);
  return check_report();
}
