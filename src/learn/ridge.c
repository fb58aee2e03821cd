#include "learn/ridge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "compute/linear.h"

/* As published: a linear layer as PyTorch begins with, without a bias. */
static void draw_projection(mc_ridge *r, uint64_t seed) {
  double bound = 1 / sqrt((double)r->embed);
  mc_philox g;
  mc_philox_init(&g, seed, MC_STREAM_RIDGE, 0);
  for (int64_t i = 0; i < r->embed * r->hidden; i++)
    r->projection[i] = (float)(bound * (2 * (double)mc_philox_uniform(&g) - 1));
}

moeclip_code mc_ridge_create(const moeclip_learner_options *o, int64_t embed, mc_ridge **out, moeclip_error *err) {
  mc_ridge *r = calloc(1, sizeof *r);
  *out = NULL;
  if (!r) return mc_fail_memory(err, sizeof *r, "a learner");
  r->form = o->ridge_form;
  r->embed = embed;
  r->lambda = mc_ridge_lambda(o);
  r->gamma = o->ridge_gamma;
  r->most = o->ridge_pictures;
  if (r->form == MOECLIP_RIDGE_PROJECTION) {
    size_t hidden = (size_t)o->ridge_hidden;
    r->hidden = o->ridge_hidden;
    r->projection = mc_alloc((size_t)embed, hidden * sizeof *r->projection);
    r->gram = mc_zeros(hidden, hidden * sizeof *r->gram);
    r->pending = mc_alloc(MC_RIDGE_PIECE, (size_t)embed * sizeof *r->pending);
    r->pending_label = mc_alloc(MC_RIDGE_PIECE, sizeof *r->pending_label);
    if (!r->projection || !r->gram || !r->pending || !r->pending_label) {
      mc_ridge_destroy(r);
      return mc_fail_memory(err, hidden * hidden * sizeof *r->gram, "the sums of an analytic learner (--ridge-hidden)");
    }
    draw_projection(r, o->seed);
  }
  *out = r;
  return MOECLIP_OK;
}

double mc_ridge_lambda(const moeclip_learner_options *o) {
  if (o->ridge > 0) return o->ridge;
  return o->ridge_form == MOECLIP_RIDGE_KERNEL ? 0.001 : 0.1;
}

void mc_ridge_destroy(mc_ridge *r) {
  if (!r) return;
  free(r->count);
  free(r->projection);
  mc_aligned_free(r->gram);
  free(r->cross);
  free(r->pending);
  free(r->pending_label);
  free(r->kept);
  free(r->kept_label);
  free(r->weights);
  free(r);
}

moeclip_code mc_ridge_classes(mc_ridge *r, int64_t n, moeclip_error *err) {
  size_t width = (size_t)r->hidden, known = (size_t)r->n_classes;
  if (n <= r->n_classes) return MOECLIP_OK;
  int64_t *count = mc_realloc(r->count, (size_t)n, sizeof *count);
  if (count) r->count = count;
  double *cross = count && width ? mc_realloc(r->cross, (size_t)n, width * sizeof *cross) : NULL;
  if (cross) r->cross = cross;
  if (!count || (width && !cross)) return mc_fail_memory(err, (size_t)n * width * sizeof *cross, "classes");
  memset(count + known, 0, ((size_t)n - known) * sizeof *count);
  if (width) memset(cross + known * width, 0, ((size_t)n - known) * width * sizeof *cross);
  r->n_classes = n;
  return MOECLIP_OK;
}

/* --- projection --------------------------------------------------------------------------------------------------------- */

static double *as_double(const float *x, size_t n) {
  double *d = mc_alloc(n, sizeof *d);
  for (size_t i = 0; d && i < n; i++) d[i] = x[i];
  return d;
}

/* *out: fresh, [n, hidden]. */
static moeclip_code project(mc_compute *cp, const mc_ridge *r, const float *features, int64_t n, double **out,
                            moeclip_error *err) {
  size_t n_in = (size_t)(n * r->embed), n_out = (size_t)(n * r->hidden);
  double *x = as_double(features, n_in);
  *out = calloc(n_out + 1, sizeof **out);
  moeclip_code code = x && *out ? MOECLIP_OK : mc_fail_memory(err, n_out * sizeof **out, "projected features");
  mc_gemm64 g = {.m = n, .n = r->hidden, .k = r->embed, .a = x, .lda = r->embed, .b = r->projection, .ldb = r->hidden,
                 .c = *out, .ldc = r->hidden, .alpha = 1};
  if (code == MOECLIP_OK) code = mc_gemm64_run(cp, &g, err);
  for (size_t i = 0; code == MOECLIP_OK && i < n_out; i++) (*out)[i] = (*out)[i] > 0 ? (*out)[i] : 0;
  free(x);
  return code;
}

static moeclip_code add_pending(mc_compute *cp, mc_ridge *r, moeclip_error *err) {
  double *phi = NULL;
  int64_t n = r->n_pending, width = r->hidden;
  if (n == 0) return MOECLIP_OK;
  moeclip_code code = project(cp, r, r->pending, n, &phi, err);
  mc_gemm64 g = {.m = width, .n = width, .k = n, .a = phi, .lda = width, .trans_a = true, .b = phi, .ldb = width, .c = r->gram,
                 .ldc = width, .alpha = 1, .lower = true};
  if (code == MOECLIP_OK) code = mc_gemm64_run(cp, &g, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
    double *sum = r->cross + r->pending_label[i] * width;
    for (int64_t k = 0; k < width; k++) sum[k] += phi[i * width + k];
  }
  if (code == MOECLIP_OK) r->n_pending = 0;
  free(phi);
  return code;
}

static moeclip_code add_projected(mc_compute *cp, mc_ridge *r, const float *features, const int64_t *label, int64_t n,
                                  moeclip_error *err) {
  for (int64_t at = 0; at < n;) {
    int64_t space = MC_RIDGE_PIECE - r->n_pending, count = n - at < space ? n - at : space;
    memcpy(r->pending + r->n_pending * r->embed, features + at * r->embed, (size_t)(count * r->embed) * sizeof *features);
    memcpy(r->pending_label + r->n_pending, label + at, (size_t)count * sizeof *label);
    r->n_pending += count;
    at += count;
    if (r->n_pending == MC_RIDGE_PIECE) MC_TRY(add_pending(cp, r, err));
  }
  return MOECLIP_OK;
}

/* --- kernel ------------------------------------------------------------------------------------------------------------- */

static moeclip_code too_many(const mc_ridge *r, int64_t n, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                 "the kernel form would have to keep %lld pictures, and %lld is the most (--ridge-pictures): learn from fewer "
                 "(--shots, --max-train), allow more, or take the projection form, which does not grow",
                 (long long)n, (long long)r->most);
}

static moeclip_code add_kept(mc_ridge *r, const float *features, const int64_t *label, int64_t n, moeclip_error *err) {
  int64_t all = r->n_kept + n;
  if (all > r->most) return too_many(r, all, err);
  if (all > r->room) {
    int64_t room = 2 * r->room > all ? 2 * r->room : all;
    double *kept = mc_realloc(r->kept, (size_t)room, (size_t)r->embed * sizeof *kept);
    if (kept) r->kept = kept;
    int64_t *kept_label = mc_realloc(r->kept_label, (size_t)room, sizeof *kept_label);
    if (kept_label) r->kept_label = kept_label;
    if (!kept || !kept_label) return mc_fail_memory(err, (size_t)(room * r->embed) * sizeof *kept, "pictures' features");
    r->room = room;
  }
  for (int64_t i = 0; i < n * r->embed; i++) r->kept[r->n_kept * r->embed + i] = features[i];
  memcpy(r->kept_label + r->n_kept, label, (size_t)n * sizeof *label);
  r->n_kept = all;
  return MOECLIP_OK;
}

typedef struct gaussian {
  double *k;
  int64_t columns;
  const double *rows_squared, *columns_squared; /* squares of the lengths, which are 1 up to float's rounding */
  double gamma;
} gaussian;

static void to_gaussian(void *context, int64_t begin, int64_t end) {
  const gaussian *g = context;
  for (int64_t i = begin; i < end; i++) {
    double *row = g->k + i * g->columns;
    for (int64_t j = 0; j < g->columns; j++) {
      row[j] = exp(-g->gamma * fmax(0, g->rows_squared[i] + g->columns_squared[j] - 2 * row[j]));
    }
  }
}

static void squares(const double *x, int64_t n, int64_t width, double *out) {
  for (int64_t i = 0; i < n; i++) {
    out[i] = 0;
    for (int64_t k = 0; k < width; k++) out[i] += x[i * width + k] * x[i * width + k];
  }
}

/* k [n, m], zeroed: of x [n, embed] and the first m kept pictures. */
static moeclip_code kernel(mc_compute *cp, const mc_ridge *r, const double *x, int64_t n, int64_t m, double *k,
                           moeclip_error *err) {
  double *squared = mc_alloc((size_t)(n + m), sizeof *squared);
  mc_gemm64 g = {.m = n, .n = m, .k = r->embed, .a = x, .lda = r->embed, .b = r->kept, .ldb = r->embed, .trans_b = true, .c = k,
                 .ldc = m, .alpha = 1};
  if (!squared) return mc_fail_memory(err, (size_t)(n + m) * sizeof *squared, "a kernel");
  moeclip_code code = mc_gemm64_run(cp, &g, err);
  squares(x, n, r->embed, squared);
  squares(r->kept, m, r->embed, squared + n);
  if (code == MOECLIP_OK) mc_parallel_for(cp, n, 8, to_gaussian, &(gaussian){k, m, squared, squared + n, r->gamma});
  free(squared);
  return code;
}

/* --- both --------------------------------------------------------------------------------------------------------------- */

moeclip_code mc_ridge_add(mc_compute *cp, mc_ridge *r, const float *features, const int64_t *label, int64_t n,
                          moeclip_error *err) {
  MC_TRY(r->hidden ? add_projected(cp, r, features, label, n, err) : add_kept(r, features, label, n, err));
  for (int64_t i = 0; i < n; i++) r->count[label[i]]++;
  return MOECLIP_OK;
}

/* The system's matrix, fresh, without lambda; and its right sides [*n, n_classes]. */
static moeclip_code system_of(mc_compute *cp, const mc_ridge *r, double **matrix, double **right, int64_t *n,
                              moeclip_error *err) {
  *n = r->hidden ? r->hidden : r->n_kept;
  size_t side = (size_t)*n;
  *matrix = mc_zeros(side, side * sizeof **matrix);
  *right = calloc(side + 1, (size_t)r->n_classes * sizeof **right);
  if (!*matrix || !*right) return mc_fail_memory(err, side * side * sizeof **matrix, "a system of equations");
  if (!r->hidden) {
    for (int64_t i = 0; i < *n; i++) (*right)[i * r->n_classes + r->kept_label[i]] = 1;
    return kernel(cp, r, r->kept, *n, *n, *matrix, err);
  }
  memcpy(*matrix, r->gram, side * side * sizeof **matrix);
  for (int64_t c = 0; c < r->n_classes; c++) {
    for (int64_t k = 0; k < *n; k++) (*right)[k * r->n_classes + c] = r->cross[c * *n + k];
  }
  return MOECLIP_OK;
}

moeclip_code mc_ridge_solve(mc_compute *cp, mc_ridge *r, moeclip_error *err) {
  double *matrix = NULL, *right = NULL, *weights = NULL;
  int64_t n = 0;
  if (r->hidden) MC_TRY(add_pending(cp, r, err));
  moeclip_code code = system_of(cp, r, &matrix, &right, &n, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) matrix[i * n + i] += r->lambda;
  if (code == MOECLIP_OK) code = mc_cholesky(cp, matrix, n, err);
  if (code == MOECLIP_OK) code = mc_cholesky_solve(cp, matrix, n, right, r->n_classes, err);
  if (code == MOECLIP_OK) {
    weights = mc_alloc((size_t)n, (size_t)r->n_classes * sizeof *weights);
    if (!weights) code = mc_fail_memory(err, (size_t)(n * r->n_classes) * sizeof *weights, "weights");
  }
  if (code == MOECLIP_OK) {
    for (int64_t c = 0; c < r->n_classes; c++) {
      for (int64_t k = 0; k < n; k++) weights[c * n + k] = right[k * r->n_classes + c];
    }
    free(r->weights);
    r->weights = weights;
    r->n_solved = r->n_classes;
    r->n_weighed = r->n_kept;
  }
  mc_aligned_free(matrix);
  free(right);
  return code;
}

static moeclip_code score_piece(mc_compute *cp, const mc_ridge *r, const float *features, int64_t n, double *out,
                                moeclip_error *err) {
  int64_t width = r->hidden ? r->hidden : r->n_weighed;
  double *phi = NULL, *x = NULL;
  moeclip_code code;
  if (r->hidden) {
    code = project(cp, r, features, n, &phi, err);
  } else {
    x = as_double(features, (size_t)(n * r->embed));
    phi = calloc((size_t)n + 1, (size_t)width * sizeof *phi);
    code = x && phi ? kernel(cp, r, x, n, width, phi, err) : mc_fail_memory(err, (size_t)(n * width) * sizeof *phi, "a kernel");
  }
  mc_gemm64 g = {.m = n, .n = r->n_solved, .k = width, .a = phi, .lda = width, .b = r->weights, .ldb = width, .trans_b = true,
                 .c = out, .ldc = r->n_solved, .alpha = 1};
  memset(out, 0, (size_t)(n * r->n_solved) * sizeof *out);
  if (code == MOECLIP_OK) code = mc_gemm64_run(cp, &g, err);
  free(x);
  free(phi);
  return code;
}

moeclip_code mc_ridge_score(mc_compute *cp, const mc_ridge *r, const float *features, int64_t n, double *out,
                            moeclip_error *err) {
  const int64_t piece = 128; /* so that memory does not grow with n */
  for (int64_t at = 0; at < n; at += piece) {
    int64_t count = n - at < piece ? n - at : piece;
    MC_TRY(score_piece(cp, r, features + at * r->embed, count, out + at * r->n_solved, err));
  }
  return MOECLIP_OK;
}
