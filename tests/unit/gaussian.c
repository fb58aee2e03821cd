/* The selector's Gaussians against closed forms in double: the density of a full covariance (inverted by elimination), the spectrum of
 * a covariance that is known, the nearest of several means; and their files. */
#include "select/gaussian.h"

#include <string.h>

#include "check.h"
#include "select/selector.h"

enum { DIM = 7, N = 400, SEED = 5 };
static moeclip_error err;
static mc_compute *cp;
static mc_arena arena;

/* Correlated numbers around a mean of each class: x = mean + A z with a fixed lower triangular A. */
static void fill(float *x, int32_t *labels, int64_t n, int classes, uint64_t index) {
  mc_philox g;
  mc_philox_init(&g, SEED, MC_STREAM_INIT, index);
  for (int64_t s = 0; s < n; s++) {
    double z[DIM];
    int c = (int)(s % classes);
    if (labels) labels[s] = c;
    for (int i = 0; i < DIM; i++) z[i] = (double)mc_philox_normal(&g);
    for (int i = 0; i < DIM; i++) {
      double value = 3 * sin(1.3 * i + 2 * c) + 5;
      for (int j = 0; j <= i; j++) value += (i == j ? 0.3 + 0.2 * i : 0.4 * cos(i + 3 * j)) * z[j];
      x[s * DIM + i] = (float)value;
    }
  }
}

/* Means of each class and the covariance around them, in double. */
typedef struct by_hand {
  double mean[4][DIM], inverse[DIM][DIM], covariance[DIM][DIM], log_determinant;
  int classes;
} by_hand;

static by_hand sums(const float *x, const int32_t *labels, int64_t n, int classes) {
  by_hand h = {.classes = classes};
  int64_t count[4] = {0};
  for (int64_t s = 0; s < n; s++) {
    int c = labels ? labels[s] : 0;
    count[c]++;
    for (int i = 0; i < DIM; i++) h.mean[c][i] += x[s * DIM + i];
  }
  for (int c = 0; c < classes; c++) {
    for (int i = 0; i < DIM; i++) h.mean[c][i] /= (double)count[c];
  }
  for (int64_t s = 0; s < n; s++) {
    const double *m = h.mean[labels ? labels[s] : 0];
    for (int i = 0; i < DIM; i++) {
      for (int j = 0; j < DIM; j++) h.covariance[i][j] += (x[s * DIM + i] - m[i]) * (x[s * DIM + j] - m[j]) / (double)(n - classes);
    }
  }
  /* Gauss-Jordan; the product of the pivots is the determinant. */
  double a[DIM][2 * DIM] = {{0}};
  for (int i = 0; i < DIM; i++) {
    memcpy(a[i], h.covariance[i], sizeof h.covariance[i]);
    a[i][DIM + i] = 1;
  }
  for (int p = 0; p < DIM; p++) {
    double pivot = a[p][p];
    h.log_determinant += log(pivot);
    for (int j = 0; j < 2 * DIM; j++) a[p][j] /= pivot;
    for (int i = 0; i < DIM; i++) {
      double factor = a[i][p];
      for (int j = 0; i != p && j < 2 * DIM; j++) a[i][j] -= factor * a[p][j];
    }
  }
  for (int i = 0; i < DIM; i++) memcpy(h.inverse[i], a[i] + DIM, sizeof h.inverse[i]);
  return h;
}

static double error_of(const by_hand *h, const float *x) {
  double least = INFINITY;
  for (int c = 0; c < h->classes; c++) {
    double d2 = 0;
    for (int i = 0; i < DIM; i++) {
      for (int j = 0; j < DIM; j++) d2 += (x[i] - h->mean[c][i]) * h->inverse[i][j] * (x[j] - h->mean[c][j]);
    }
    least = fmin(least, d2);
  }
  return exp((least + h->log_determinant) / (2 * DIM));
}

static mc_gaussian fitted(const float *x, const int32_t *labels, int64_t n, int classes, int64_t pictures, int64_t rank) {
  mc_moments m;
  mc_gaussian g;
  REQUIRE_OK(mc_moments_create(&m, DIM, classes, &err), err);
  /* In two parts: sums do not mind. */
  REQUIRE_OK(mc_moments_add(cp, &m, x, labels, n / 3, &err), err);
  REQUIRE_OK(mc_moments_add(cp, &m, x + n / 3 * DIM, labels ? labels + n / 3 : NULL, n - n / 3, &err), err);
  REQUIRE_OK(mc_gaussian_fit(cp, &g, &m, pictures, rank, SEED, &err), err);
  mc_moments_clear(&m);
  return g;
}

/* With all directions but one, the low-rank form is the full covariance: the last variance is the smallest eigenvalue. So many pictures
 * that the correction for directions fitted to them is below the tolerance. */
static void test_density(void) {
  float x[N * DIM], other[N * DIM], errors[N];
  int32_t labels[N];
  for (int classes = 1; classes <= 3; classes += 2) {
    fill(x, labels, N, classes, (uint64_t)classes);
    fill(other, NULL, N, 4, 90);
    for (int i = 0; i < DIM * (N / 2); i++) other[i] += 4; /* near and far */
    mc_gaussian g = fitted(x, classes > 1 ? labels : NULL, N, classes, 1000000000, DIM - 1);
    by_hand h = sums(x, classes > 1 ? labels : NULL, N, classes);
    CHECK(g.rank == DIM - 1 && g.n_means == classes);
    REQUIRE_OK(mc_gaussian_errors(cp, &g, other, N, errors, &arena, &err), err);
    for (int s = 0; s < N; s++) {
      double want = fmin(error_of(&h, other + s * DIM), exp(20)); /* as far as it is told apart */
      CHECK_MSG(fabs(errors[s] - want) <= 2e-3 * want, "%d means, picture %d: error %g, by hand %g", classes, s, (double)errors[s], want);
    }
    mc_gaussian_clear(&g);
  }
}

/* Few directions: each is an eigenvector of the covariance, the largest first, and the rest share what is left of its trace. */
static void test_directions(void) {
  enum { RANK = 3, PICTURES = 101 };
  float x[N * DIM];
  fill(x, NULL, N, 1, 7);
  by_hand h = sums(x, NULL, N, 1);
  mc_gaussian g = fitted(x, NULL, N, 1, PICTURES, RANK);
  double trace = 0, kept = 0;
  CHECK(g.rank == RANK);
  for (int i = 0; i < DIM; i++) trace += h.covariance[i][i];
  for (int r = 0; r < RANK; r++) {
    const float *u = g.basis.value + r * DIM;
    double length = 0, worst = 0, variance = g.variance.value[r];
    for (int i = 0; i < DIM; i++) {
      double product = 0;
      for (int j = 0; j < DIM; j++) product += h.covariance[i][j] * u[j];
      worst = fmax(worst, fabs(product - variance * u[i]));
      length += (double)u[i] * u[i];
    }
    CHECK_MSG(worst <= 1e-4 * variance && fabs(length - 1) < 1e-5, "direction %d: off by %g of %g", r, worst, variance);
    CHECK(r == 0 || g.variance.value[r] <= g.variance.value[r - 1]);
    kept += variance;
  }
  double rest = (trace - kept) / (DIM - RANK) * (PICTURES - 1) / (PICTURES - 1 - RANK);
  CHECK_MSG(fabs(g.variance.value[RANK] - rest) <= 1e-4 * rest, "the rest %g, by hand %g", (double)g.variance.value[RANK], rest);
  CHECK(g.variance.value[RANK] <= g.variance.value[RANK - 1]);
  mc_gaussian_clear(&g);
}

/* Few pictures, one picture, pictures that are all the same, numbers that are none. */
static void test_extremes(void) {
  float x[12 * DIM], errors[12];
  mc_moments m;
  mc_gaussian g;
  fill(x, NULL, 12, 1, 3);
  g = fitted(x, NULL, 12, 1, 12, 6);
  CHECK(g.rank == 2); /* a quarter of 12 less the mean */
  mc_gaussian_clear(&g);
  for (int s = 1; s < 12; s++) memcpy(x + s * DIM, x, DIM * sizeof *x);
  g = fitted(x, NULL, 12, 1, 1, 6);
  CHECK(g.rank == 0 && g.variance.value[0] > 0);
  x[DIM] += 100;
  x[2 * DIM] = NAN;
  REQUIRE_OK(mc_gaussian_errors(cp, &g, x, 3, errors, &arena, &err), err);
  CHECK(isfinite(errors[0]) && isfinite(errors[1]) && errors[1] > errors[0] && isnan(errors[2]));
  mc_gaussian_clear(&g);
  REQUIRE_OK(mc_moments_create(&m, DIM, 2, &err), err);
  CHECK(mc_gaussian_fit(cp, &g, &m, 5, 3, SEED, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_moments_add(cp, &m, x + 2 * DIM, NULL, 1, &err) == MOECLIP_ERROR_NUMERIC);
  int32_t wrong = 2;
  CHECK(mc_moments_add(cp, &m, x, &wrong, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  mc_moments_clear(&m);
}

/* The result is the same for any number of threads. */
static void test_threads(void) {
  float x[N * DIM];
  mc_compute *before = cp, *one;
  fill(x, NULL, N, 1, 11);
  mc_gaussian a = fitted(x, NULL, N, 1, N, 4);
  REQUIRE_OK(mc_compute_create(1, &one, &err), err);
  cp = one;
  mc_gaussian b = fitted(x, NULL, N, 1, N, 4);
  cp = before;
  CHECK(memcmp(a.basis.value, b.basis.value, 4 * DIM * sizeof(float)) == 0);
  CHECK(memcmp(a.variance.value, b.variance.value, 5 * sizeof(float)) == 0);
  mc_gaussian_clear(&a);
  mc_gaussian_clear(&b);
  mc_compute_destroy(one);
}

static void test_files(void) {
  float x[N * DIM], errors[2][N];
  int32_t tasks[2][N];
  double scores[2][N];
  moeclip_tensors *t;
  mc_selector *s, *back;
  REQUIRE_OK(mc_selector_create(MC_SELECTOR_GAUSSIAN, DIM, 5, &s, &err), err);
  for (int task = -1; task < 2; task++) {
    fill(x, NULL, N, 1, (uint64_t)(20 + task));
    for (int i = 0; i < N * DIM; i++) x[i] += (float)(6 * task);
    mc_gaussian g = fitted(x, NULL, N, 1, N, 5);
    REQUIRE_OK(mc_selector_add_gaussian(s, task, &g, 3, &err), err);
  }
  mc_autoencoder a;
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, 5, 1, 1, &err), err);
  CHECK(mc_selector_add(s, 2, &a, 1, &err) == MOECLIP_ERROR_ARGUMENT); /* of the other kind */
  REQUIRE_OK(mc_selector_keep_reference(s, x, 3, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_selector_store(s, t, &err), err);
  REQUIRE_OK(mc_selector_load(t, MC_SELECTOR_GAUSSIAN, DIM, 5, 2, &back, &err), err);
  REQUIRE_OK(mc_selector_choose(cp, s, x, N, false, tasks[0], scores[0], NULL, &arena, &err), err);
  REQUIRE_OK(mc_selector_choose(cp, back, x, N, false, tasks[1], scores[1], NULL, &arena, &err), err);
  CHECK(memcmp(tasks[0], tasks[1], sizeof tasks[0]) == 0 && memcmp(scores[0], scores[1], sizeof scores[0]) == 0);
  int right = 0;
  for (int i = 0; i < N; i++) right += tasks[0][i] == 1;
  CHECK_MSG(right > 0.95 * N, "%d of %d were sent to their task", right, N);
  mc_selector_reference_features(back, 1, 2, errors[0]);
  CHECK(mc_selector_reference(back) == 3 && memcmp(errors[0], x + DIM, 2 * DIM * sizeof *x) == 0);
  mc_selector_destroy(back);
  /* What does not fit is refused. */
  CHECK(mc_selector_load(t, MC_SELECTOR_GAUSSIAN, DIM + 1, 5, 2, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_GAUSSIAN, DIM, 4, 2, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_GAUSSIAN, DIM, 5, 3, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM, 5, 2, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  for (size_t leave_out = 0; leave_out < moeclip_tensors_count(t); leave_out++) {
    moeclip_tensors *part;
    const char *name = moeclip_tensors_at(t, leave_out)->name;
    REQUIRE_OK(moeclip_tensors_create(&part, &err), err);
    for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
      const moeclip_tensor *one = moeclip_tensors_at(t, i);
      if (i != leave_out) REQUIRE_OK(moeclip_tensors_add(part, one->name, one->dtype, one->rank, one->shape, one->data, 1, &err), err);
    }
    bool optional = strcmp(name, "selector.reference") == 0 || strcmp(name, "selector.0.mean") == 0;
    moeclip_code code = mc_selector_load(part, MC_SELECTOR_GAUSSIAN, DIM, 5, 2, &back, &err);
    CHECK_MSG(code == (optional ? MOECLIP_OK : MOECLIP_ERROR_FORMAT), "without %s: %d", name, (int)code);
    mc_selector_destroy(back);
    moeclip_tensors_destroy(part);
  }
  mc_selector_destroy(s);
  moeclip_tensors_destroy(t);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  test_density();
  test_directions();
  test_extremes();
  test_threads();
  test_files();
  mc_arena_clear(&arena);
  mc_compute_destroy(cp);
  return check_report();
}
