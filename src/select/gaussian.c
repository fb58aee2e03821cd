#include "select/gaussian.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/vector.h"

/* SPARE: directions beside those that are wanted, which make the iteration converge faster. */
enum { SPARE = 8, ITERATIONS = 24, SWEEPS = 60 };
/* Errors stay finite: this far out every domain turns a picture away. */
static const double FARTHEST = 40;

void mc_gaussian_clear(mc_gaussian *g) {
  mc_param_clear(&g->mean);
  mc_param_clear(&g->basis);
  mc_param_clear(&g->variance);
  *g = (mc_gaussian){0};
}

/* --- sums -------------------------------------------------------------------------------------------------------- */

moeclip_code mc_moments_create(mc_moments *m, int64_t dim, int64_t n_classes, moeclip_error *err) {
  *m = (mc_moments){.dim = dim, .n_classes = n_classes};
  size_t n_sum = 0, n_second = 0;
  if (mc_mul_size((size_t)dim, (size_t)n_classes, &n_sum) && mc_mul_size((size_t)dim, (size_t)dim, &n_second)) {
    m->count = calloc((size_t)n_classes, sizeof *m->count);
    m->sum = calloc(n_sum, sizeof *m->sum);
    m->second = calloc(n_second, sizeof *m->second);
  }
  if (m->count && m->sum && m->second) return MOECLIP_OK;
  mc_moments_clear(m);
  return mc_fail_memory(err, n_second * sizeof *m->second, "the selector's sums");
}

void mc_moments_clear(mc_moments *m) {
  free(m->count);
  free(m->sum);
  free(m->second);
  *m = (mc_moments){0};
}

MC_VECTORISED static void add_scaled(double *restrict to, double by, const float *restrict x, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] += by * (double)x[i];
}

typedef struct adding {
  mc_moments *m;
  const float *x;
  int64_t n;
} adding;

static void add_rows(void *context, int64_t begin, int64_t end) {
  const adding *a = context;
  int64_t dim = a->m->dim;
  for (int64_t i = begin; i < end; i++) {
    for (int64_t s = 0; s < a->n; s++) {
      const float *x = a->x + s * dim;
      add_scaled(a->m->second + i * dim + i, x[i], x + i, dim - i);
    }
  }
}

moeclip_code mc_moments_add(mc_compute *cp, mc_moments *m, const float *x, const int32_t *labels, int64_t n, moeclip_error *err) {
  for (int64_t i = 0; i < n * m->dim; i++) {
    if (!isfinite(x[i])) {
      return mc_fail(err, MOECLIP_ERROR_NUMERIC, "a feature that the selector looks at is not finite (%g)", (double)x[i]);
    }
  }
  for (int64_t s = 0; s < n; s++) {
    int64_t c = labels ? labels[s] : 0;
    if (c < 0 || c >= m->n_classes) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "class %lld: there are %lld", (long long)c, (long long)m->n_classes);
    }
    m->count[c]++;
    add_scaled(m->sum + c * m->dim, 1, x + s * m->dim, m->dim);
  }
  adding a = {m, x, n};
  mc_parallel_for(cp, m->dim, 8, add_rows, &a);
  m->n += n;
  return MOECLIP_OK;
}

/* --- the leading directions ---------------------------------------------------------------------------------------- */

typedef struct fitting {
  int64_t dim, n; /* n directions are being found */
  double *covariance; /* [dim, dim], both halves */
  double *q, *z;      /* [n, dim] */
} fitting;

MC_VECTORISED static void add_product(double *restrict to, double by, const double *restrict x, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] += by * x[i];
}

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* z = q C, a row each. */
static void multiply_rows(void *context, int64_t begin, int64_t end) {
  const fitting *f = context;
  for (int64_t r = begin; r < end; r++) {
    double *z = f->z + r * f->dim;
    memset(z, 0, (size_t)f->dim * sizeof *z);
    for (int64_t i = 0; i < f->dim; i++) add_product(z, f->q[r * f->dim + i], f->covariance + i * f->dim, f->dim);
  }
}

/* q = z with rows of length 1 and square to each other (Gram-Schmidt, twice). A row that the others make up becomes 0. */
static void orthonormalise(const fitting *f) {
  memcpy(f->q, f->z, (size_t)(f->n * f->dim) * sizeof *f->q);
  for (int64_t r = 0; r < f->n; r++) {
    double *own = f->q + r * f->dim, before = sqrt(dot(own, own, f->dim));
    for (int twice = 0; twice < 2; twice++) {
      for (int64_t i = 0; i < r; i++) add_product(own, -dot(own, f->q + i * f->dim, f->dim), f->q + i * f->dim, f->dim);
    }
    double length = sqrt(dot(own, own, f->dim)), scale = length > 1e-9 * before ? 1 / length : 0;
    for (int64_t i = 0; i < f->dim; i++) own[i] *= scale;
  }
}

/* Eigenvalues (left on the diagonal of a [n, n]) and vectors (rows of v) of a symmetric matrix, by Jacobi's rotations. */
static void jacobi(double *a, double *v, int64_t n) {
  for (int64_t i = 0; i < n * n; i++) v[i] = i % (n + 1) == 0;
  for (int sweep = 0; sweep < SWEEPS; sweep++) {
    double off = 0, on = 0;
    for (int64_t i = 0; i < n; i++) {
      for (int64_t j = 0; j < n; j++) *(i == j ? &on : &off) += a[i * n + j] * a[i * n + j];
    }
    if (off <= 1e-24 * on) return;
    for (int64_t p = 0; p < n; p++) {
      for (int64_t q = p + 1; q < n; q++) {
        double apq = a[p * n + q];
        if (apq == 0) continue;
        double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
        double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
        for (int64_t k = 0; k < n; k++) {
          double kp = a[k * n + p], kq = a[k * n + q];
          a[k * n + p] = c * kp - s * kq;
          a[k * n + q] = s * kp + c * kq;
        }
        for (int64_t k = 0; k < n; k++) {
          double pk = a[p * n + k], qk = a[q * n + k], pv = v[p * n + k], qv = v[q * n + k];
          a[p * n + k] = c * pk - s * qk;
          a[q * n + k] = s * pk + c * qk;
          v[p * n + k] = c * pv - s * qv;
          v[q * n + k] = s * pv + c * qv;
        }
      }
    }
  }
}

typedef struct direction {
  double variance;
  int64_t number;
} direction;

static int by_variance(const void *a, const void *b) {
  const direction *x = a, *y = b;
  if (x->variance != y->variance) return x->variance < y->variance ? 1 : -1;
  return (x->number > y->number) - (x->number < y->number);
}

/* Subspace iteration, then the best directions within it: q's rows in falling order of variance [n]. */
static moeclip_code leading(mc_compute *cp, fitting *f, uint64_t seed, direction *found, moeclip_error *err) {
  mc_philox g;
  size_t n = (size_t)f->n;
  double *small = mc_alloc(n, n * sizeof *small), *v = mc_alloc(n, n * sizeof *v);
  if (!small || !v) {
    free(small);
    free(v);
    return mc_fail_memory(err, n * n * sizeof *small, "the selector");
  }
  mc_philox_init(&g, seed, MC_STREAM_SELECTOR, 0);
  for (int64_t i = 0; i < f->n * f->dim; i++) f->z[i] = (double)mc_philox_normal(&g);
  for (int i = 0; i < ITERATIONS; i++) {
    orthonormalise(f);
    mc_parallel_for(cp, f->n, 1, multiply_rows, f);
  }
  orthonormalise(f);
  mc_parallel_for(cp, f->n, 1, multiply_rows, f);
  for (int64_t i = 0; i < f->n; i++) {
    for (int64_t j = 0; j < f->n; j++) small[i * f->n + j] = dot(f->z + i * f->dim, f->q + j * f->dim, f->dim);
  }
  jacobi(small, v, f->n);
  for (int64_t i = 0; i < f->n; i++) found[i] = (direction){small[i * (f->n + 1)], i};
  qsort(found, n, sizeof *found, by_variance);
  for (int64_t r = 0; r < f->n; r++) {
    double *row = f->z + r * f->dim;
    memset(row, 0, (size_t)f->dim * sizeof *row);
    for (int64_t i = 0; i < f->n; i++) add_product(row, v[found[r].number * f->n + i], f->q + i * f->dim, f->dim);
  }
  memcpy(f->q, f->z, n * (size_t)f->dim * sizeof *f->q);
  free(small);
  free(v);
  return MOECLIP_OK;
}

/* --- fitting ------------------------------------------------------------------------------------------------------- */

static void fill_means(mc_gaussian *g, const mc_moments *m) {
  float *mean = g->mean.value;
  for (int64_t c = 0; c < m->n_classes; c++) {
    if (m->count[c] == 0) continue;
    for (int64_t i = 0; i < m->dim; i++) *mean++ = (float)(m->sum[c * m->dim + i] / (double)m->count[c]);
  }
}

static void fill_covariance(double *covariance, const mc_moments *m, int64_t k) {
  int64_t d = m->dim;
  double freedom = m->n > k ? (double)(m->n - k) : 1;
  memcpy(covariance, m->second, (size_t)(d * d) * sizeof *covariance);
  for (int64_t c = 0; c < m->n_classes; c++) {
    const double *sum = m->sum + c * d;
    if (m->count[c] == 0) continue;
    for (int64_t i = 0; i < d; i++) add_product(covariance + i * d + i, -sum[i] / (double)m->count[c], sum + i, d - i);
  }
  for (int64_t i = 0; i < d; i++) {
    for (int64_t j = i; j < d; j++) covariance[j * d + i] = covariance[i * d + j] /= freedom;
  }
}

static moeclip_code fill(mc_compute *cp, mc_gaussian *g, const mc_moments *m, int64_t pictures, uint64_t seed, fitting *f,
                         direction *found, moeclip_error *err) {
  int64_t d = m->dim;
  double trace = 0, kept = 0, k = (double)g->n_means, p = (double)pictures;
  fill_means(g, m);
  fill_covariance(f->covariance, m, g->n_means);
  for (int64_t i = 0; i < d; i++) trace += f->covariance[i * (d + 1)] > 0 ? f->covariance[i * (d + 1)] : 0;
  MC_TRY(leading(cp, f, seed, found, err));
  for (int64_t r = 0; r < g->rank; r++) kept += found[r].variance;
  double rest = (trace - kept) / (double)(d - g->rank), floor = 1e-6 * trace / (double)d + 1e-10;
  if (g->rank > 0) rest *= (p - k) / (p - k - (double)g->rank);
  if (!(rest > floor)) rest = floor;
  for (int64_t r = 0; r < g->rank; r++) {
    g->variance.value[r] = (float)(found[r].variance > rest ? found[r].variance : rest);
    for (int64_t i = 0; i < d; i++) g->basis.value[r * d + i] = (float)f->q[r * d + i];
  }
  g->variance.value[g->rank] = (float)rest;
  return MOECLIP_OK;
}

moeclip_code mc_gaussian_fit(mc_compute *cp, mc_gaussian *g, const mc_moments *m, int64_t pictures, int64_t rank, uint64_t seed,
                             moeclip_error *err) {
  int64_t d = m->dim, means = 0;
  *g = (mc_gaussian){0};
  if (m->n < 1 || pictures < 1) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "there are no pictures for the selector");
  for (int64_t c = 0; c < m->n_classes; c++) means += m->count[c] > 0;
  int64_t most = (pictures - means) / 4;
  if (most > d - 1) most = d - 1;
  rank = rank < most ? rank : most;
  *g = (mc_gaussian){.dim = d, .rank = rank > 0 ? rank : 0, .n_means = means};
  fitting f = {.dim = d, .n = g->rank + SPARE < d ? g->rank + SPARE : d};
  f.covariance = mc_alloc((size_t)d, (size_t)d * sizeof *f.covariance);
  f.q = mc_alloc((size_t)f.n, (size_t)d * sizeof *f.q);
  f.z = mc_alloc((size_t)f.n, (size_t)d * sizeof *f.z);
  direction *found = mc_alloc((size_t)f.n, sizeof *found);
  moeclip_code code = f.covariance && f.q && f.z && found ? MOECLIP_OK : mc_fail_memory(err, (size_t)(d * d) * 8, "the selector");
  if (code == MOECLIP_OK) code = mc_param_create(&g->mean, 2, (int64_t[]){means, d}, err);
  if (code == MOECLIP_OK && g->rank > 0) code = mc_param_create(&g->basis, 2, (int64_t[]){g->rank, d}, err);
  if (code == MOECLIP_OK) code = mc_param_create(&g->variance, 1, (int64_t[]){g->rank + 1}, err);
  if (code == MOECLIP_OK) code = fill(cp, g, m, pictures, seed, &f, found, err);
  if (code != MOECLIP_OK) mc_gaussian_clear(g);
  free(f.covariance);
  free(f.q);
  free(f.z);
  free(found);
  return code;
}

/* --- distances ----------------------------------------------------------------------------------------------------- */

typedef struct measuring {
  const mc_gaussian *g;
  const float *x, *along, *means_along; /* x U' [n, rank], mean U' [n_means, rank] */
  float *errors;
  double log_determinant;
} measuring;

/* Squares of x - m, in pieces that are added in double. */
MC_VECTORISED static float squared_distance(const float *restrict x, const float *restrict m, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (x[i] - m[i]) * (x[i] - m[i]);
  return sum;
}

static double distance(const measuring *s, int64_t picture, int64_t mean) {
  enum { PIECE = 64 };
  const mc_gaussian *g = s->g;
  const float *x = s->x + picture * g->dim, *m = g->mean.value + mean * g->dim, *variance = g->variance.value;
  double all = 0, within = 0, weighted = 0;
  for (int64_t i = 0; i < g->dim; i += PIECE) all += squared_distance(x + i, m + i, g->dim - i < PIECE ? g->dim - i : PIECE);
  for (int64_t r = 0; r < g->rank; r++) {
    double along = (double)s->along[picture * g->rank + r] - s->means_along[mean * g->rank + r];
    within += along * along;
    weighted += along * along / variance[r];
  }
  return (all > within ? all - within : all - all) / variance[g->rank] + weighted; /* not finite: stays so */
}

static void measure_range(void *context, int64_t begin, int64_t end) {
  const measuring *s = context;
  for (int64_t i = begin; i < end; i++) {
    double least = distance(s, i, 0);
    for (int64_t m = 1; m < s->g->n_means; m++) {
      double other = distance(s, i, m);
      if (other < least) least = other;
    }
    double value = (least + s->log_determinant) / (double)s->g->dim;
    s->errors[i] = (float)exp(0.5 * (value > FARTHEST ? FARTHEST : value));
  }
}

/* y [n, rank] = x basis'. */
static moeclip_code project(mc_compute *cp, const mc_gaussian *g, const float *x, int64_t n, float *y, moeclip_error *err) {
  if (g->rank == 0) return MOECLIP_OK;
  mc_gemm product = {.m = n, .n = g->rank, .k = g->dim, .a = x, .lda = g->dim, .b = g->basis.value, .ldb = g->dim, .trans_b = true,
                     .c = y, .ldc = g->rank};
  return mc_gemm_run(cp, &product, err);
}

moeclip_code mc_gaussian_errors(mc_compute *cp, const mc_gaussian *g, const float *x, int64_t n, float *errors, mc_arena *arena,
                                moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  float *along, *means_along;
  MC_ARENA_TAKE(along, arena, n * g->rank + 1, "the selector");
  MC_ARENA_TAKE(means_along, arena, g->n_means * g->rank + 1, "the selector");
  moeclip_code code = project(cp, g, x, n, along, err);
  if (code == MOECLIP_OK) code = project(cp, g, g->mean.value, g->n_means, means_along, err);
  if (code == MOECLIP_OK) {
    double log_determinant = (double)(g->dim - g->rank) * log((double)g->variance.value[g->rank]);
    for (int64_t r = 0; r < g->rank; r++) log_determinant += log((double)g->variance.value[r]);
    measuring s = {g, x, along, means_along, errors, log_determinant};
    mc_parallel_for(cp, n, 1, measure_range, &s);
  }
  mc_arena_release(arena, mark);
  return code;
}

/* --- files --------------------------------------------------------------------------------------------------------- */

moeclip_code mc_gaussian_store(const mc_gaussian *g, const char *prefix, moeclip_tensors *out, moeclip_error *err) {
  static const char *const parts[] = {"mean", "basis", "variance"};
  const mc_param *params[] = {&g->mean, &g->basis, &g->variance};
  char name[96];
  for (int i = 0; i < 3; i++) {
    if (params[i]->n == 0) continue; /* no directions */
    snprintf(name, sizeof name, "%s%s", prefix, parts[i]);
    MC_TRY(moeclip_tensors_add(out, name, MOECLIP_F32, params[i]->rank, params[i]->shape, params[i]->value, 1, err));
  }
  return MOECLIP_OK;
}

static moeclip_code load(mc_gaussian *g, const moeclip_tensors *in, const char *prefix, int64_t dim, int64_t rank,
                         moeclip_error *err) {
  char mean_name[96], name[96];
  snprintf(mean_name, sizeof mean_name, "%smean", prefix);
  snprintf(name, sizeof name, "%svariance", prefix);
  const moeclip_tensor *mean = moeclip_tensors_find(in, mean_name), *variance = moeclip_tensors_find(in, name);
  if (!mean || mean->rank != 2 || mean->shape[0] < 1 || mean->shape[1] != dim) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s is missing or does not hold means of %lld numbers", mean_name, (long long)dim);
  }
  if (!variance || variance->rank != 1 || variance->shape[0] < 1 || variance->shape[0] - 1 > rank || variance->shape[0] > dim) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s is missing or not for at most %lld directions", name, (long long)rank);
  }
  *g = (mc_gaussian){.dim = dim, .rank = variance->shape[0] - 1, .n_means = mean->shape[0]};
  MC_TRY(mc_param_read(&g->mean, in, mean_name, 2, mean->shape, true, err));
  MC_TRY(mc_param_read(&g->variance, in, name, 1, variance->shape, true, err));
  for (int64_t r = 0; r <= g->rank; r++) {
    if (!(g->variance.value[r] > 0)) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: a variance is not above 0", name);
  }
  snprintf(name, sizeof name, "%sbasis", prefix);
  if (g->rank == 0) return MOECLIP_OK;
  return mc_param_read(&g->basis, in, name, 2, (int64_t[]){g->rank, dim}, true, err);
}

moeclip_code mc_gaussian_load(mc_gaussian *g, const moeclip_tensors *in, const char *prefix, int64_t dim, int64_t rank,
                              moeclip_error *err) {
  *g = (mc_gaussian){0};
  moeclip_code code = load(g, in, prefix, dim, rank, err);
  if (code != MOECLIP_OK) mc_gaussian_clear(g);
  return code;
}
