/* A ridge regression in a collection of tensors, and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/ridge.h"

#define NAME "analytic."

static float *as_float(const double *x, size_t n) {
  float *f = mc_alloc(n, sizeof *f);
  for (size_t i = 0; f && i < n; i++) f[i] = (float)x[i];
  return f;
}

/* Numbers that are floats, kept as doubles. */
static moeclip_code add_floats(moeclip_tensors *out, const char *name, int64_t rows, int64_t columns, const double *x,
                               moeclip_error *err) {
  int64_t shape[2] = {rows, columns};
  if (rows == 0) return MOECLIP_OK;
  float *f = as_float(x, (size_t)(rows * columns));
  if (!f) return mc_fail_memory(err, (size_t)(rows * columns) * sizeof *f, "a state");
  moeclip_code code = moeclip_tensors_add(out, name, MOECLIP_F32, 2, shape, f, 1, err);
  free(f);
  return code;
}

static moeclip_code add(moeclip_tensors *out, const char *name, moeclip_dtype dtype, int64_t rows, int64_t columns,
                        const void *x, moeclip_error *err) {
  int64_t shape[2] = {rows, columns};
  return rows == 0 ? MOECLIP_OK : moeclip_tensors_add(out, name, dtype, columns ? 2 : 1, shape, x, 1, err);
}

/* The lower triangle, row after row. */
static moeclip_code add_triangle(moeclip_tensors *out, const char *name, int64_t n, const double *x, moeclip_error *err) {
  int64_t size = n * (n + 1) / 2, at = 0;
  double *packed = mc_alloc((size_t)size, sizeof *packed);
  if (!packed) return mc_fail_memory(err, (size_t)size * sizeof *packed, "a state");
  for (int64_t i = 0; i < n; at += ++i) memcpy(packed + at, x + i * n, (size_t)(i + 1) * sizeof *x);
  moeclip_code code = moeclip_tensors_add(out, name, MOECLIP_F64, 1, &size, packed, 1, err);
  free(packed);
  return code;
}

moeclip_code mc_ridge_store(const mc_ridge *r, moeclip_tensors *out, moeclip_error *err) {
  MC_TRY(add(out, NAME "counts", MOECLIP_I64, r->n_classes, 0, r->count, err));
  MC_TRY(add(out, NAME "weights", MOECLIP_F64, r->n_solved, r->hidden ? r->hidden : r->n_weighed, r->weights, err));
  if (!r->hidden) {
    MC_TRY(add_floats(out, NAME "pictures", r->n_kept, r->embed, r->kept, err));
    return add(out, NAME "labels", MOECLIP_I64, r->n_kept, 0, r->kept_label, err);
  }
  MC_TRY(add_floats(out, NAME "projection", r->embed, r->hidden, r->projection, err));
  MC_TRY(add_triangle(out, NAME "autocorrelation", r->hidden, r->gram, err));
  MC_TRY(add(out, NAME "crosscorrelation", MOECLIP_F64, r->n_classes, r->hidden, r->cross, err));
  MC_TRY(add(out, NAME "pending", MOECLIP_F32, r->n_pending, r->embed, r->pending, err));
  return add(out, NAME "pending.labels", MOECLIP_I64, r->n_pending, 0, r->pending_label, err);
}

/* --- back --------------------------------------------------------------------------------------------------------------- */

static moeclip_code wrong(moeclip_error *err, const char *name) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: %s has the wrong shape, type or values, or is missing", name);
}

/* The tensor when it is [rows, columns] (columns 0: [rows]); rows -1: any number of up to `most`. NULL: it is not, or missing.
 */
static const moeclip_tensor *find(const moeclip_tensors *in, const char *name, moeclip_dtype dtype, int64_t rows, int64_t most,
                                  int64_t columns) {
  const moeclip_tensor *t = moeclip_tensors_find(in, name);
  if (!t || t->dtype != dtype || t->rank != (columns ? 2 : 1)) return NULL;
  if (rows >= 0 ? t->shape[0] != rows : t->shape[0] < 1 || t->shape[0] > most) return NULL;
  return columns && t->shape[1] != columns ? NULL : t;
}

static bool finite_doubles(const void *data, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double v;
    memcpy(&v, (const char *)data + i * sizeof v, sizeof v);
    if (!isfinite(v)) return false;
  }
  return true;
}

static moeclip_code take_doubles(const moeclip_tensor *t, const char *name, double *to, moeclip_error *err) {
  if (!t || !finite_doubles(t->data, t->n_bytes / sizeof *to)) return wrong(err, name);
  memcpy(to, t->data, t->n_bytes);
  return MOECLIP_OK;
}

static moeclip_code take_floats(const moeclip_tensor *t, const char *name, double *to, moeclip_error *err) {
  if (!t) return wrong(err, name);
  for (size_t i = 0; i < t->n_bytes / sizeof(float); i++) {
    float v;
    memcpy(&v, (const char *)t->data + i * sizeof v, sizeof v);
    if (!isfinite(v)) return wrong(err, name);
    to[i] = v;
  }
  return MOECLIP_OK;
}

static moeclip_code take_labels(const moeclip_tensor *t, const char *name, int64_t below, int64_t *to, moeclip_error *err) {
  if (!t) return wrong(err, name);
  memcpy(to, t->data, t->n_bytes);
  for (size_t i = 0; i < t->n_bytes / sizeof *to; i++) {
    if (to[i] < 0 || to[i] >= below) return wrong(err, name);
  }
  return MOECLIP_OK;
}

static moeclip_code restore_projection(mc_ridge *r, const moeclip_tensors *in, moeclip_error *err) {
  int64_t n = r->hidden, size = n * (n + 1) / 2;
  MC_TRY(take_floats(find(in, NAME "projection", MOECLIP_F32, r->embed, 0, n), NAME "projection", r->projection, err));
  const moeclip_tensor *gram = find(in, NAME "autocorrelation", MOECLIP_F64, size, 0, 0);
  if (!gram || !finite_doubles(gram->data, (size_t)size)) return wrong(err, NAME "autocorrelation");
  const char *at = gram->data;
  for (int64_t i = 0; i < n; i++) {
    size_t n_bytes = (size_t)(i + 1) * sizeof *r->gram;
    memcpy(r->gram + i * n, at, n_bytes);
    at += n_bytes;
  }
  if (r->n_classes > 0) {
    MC_TRY(take_doubles(find(in, NAME "crosscorrelation", MOECLIP_F64, r->n_classes, 0, n), NAME "crosscorrelation", r->cross,
                        err));
  }
  if (!moeclip_tensors_find(in, NAME "pending")) return MOECLIP_OK;
  const moeclip_tensor *pending = find(in, NAME "pending", MOECLIP_F32, -1, MC_RIDGE_PIECE - 1, r->embed);
  if (!pending) return wrong(err, NAME "pending");
  r->n_pending = pending->shape[0];
  memcpy(r->pending, pending->data, pending->n_bytes);
  for (int64_t i = 0; i < r->n_pending * r->embed; i++) {
    if (!isfinite(r->pending[i])) return wrong(err, NAME "pending");
  }
  const char *labels = NAME "pending.labels";
  return take_labels(find(in, labels, MOECLIP_I64, r->n_pending, 0, 0), labels, r->n_classes, r->pending_label, err);
}

static moeclip_code restore_kernel(mc_ridge *r, const moeclip_tensors *in, moeclip_error *err) {
  if (!moeclip_tensors_find(in, NAME "pictures")) return MOECLIP_OK;
  const moeclip_tensor *kept = find(in, NAME "pictures", MOECLIP_F32, -1, r->most, r->embed);
  if (!kept) return wrong(err, NAME "pictures");
  r->n_kept = r->room = kept->shape[0];
  r->kept = mc_alloc((size_t)r->n_kept, (size_t)r->embed * sizeof *r->kept);
  r->kept_label = mc_alloc((size_t)r->n_kept, sizeof *r->kept_label);
  if (!r->kept || !r->kept_label) return mc_fail_memory(err, (size_t)(r->n_kept * r->embed) * sizeof *r->kept, "a state");
  MC_TRY(take_floats(kept, NAME "pictures", r->kept, err));
  return take_labels(find(in, NAME "labels", MOECLIP_I64, r->n_kept, 0, 0), NAME "labels", r->n_classes, r->kept_label, err);
}

static moeclip_code restore_weights(mc_ridge *r, const moeclip_tensors *in, moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(in, NAME "weights");
  if (!t) return MOECLIP_OK;
  bool fits = t->dtype == MOECLIP_F64 && t->rank == 2 && t->shape[0] >= 1 && t->shape[0] <= r->n_classes && t->shape[1] >= 1 &&
              (r->hidden ? t->shape[1] == r->hidden : t->shape[1] <= r->n_kept);
  if (!fits) return wrong(err, NAME "weights");
  r->weights = mc_alloc(t->n_bytes, 1);
  if (!r->weights) return mc_fail_memory(err, t->n_bytes, "a state");
  MC_TRY(take_doubles(t, NAME "weights", r->weights, err));
  r->n_solved = t->shape[0];
  r->n_weighed = t->shape[1];
  return MOECLIP_OK;
}

static moeclip_code restore(mc_ridge *r, const moeclip_tensors *in, int64_t n_classes, moeclip_error *err) {
  MC_TRY(mc_ridge_classes(r, n_classes, err));
  if (n_classes > 0) {
    const moeclip_tensor *counts = find(in, NAME "counts", MOECLIP_I64, n_classes, 0, 0);
    MC_TRY(take_labels(counts, NAME "counts", INT64_MAX, r->count, err));
  }
  MC_TRY(r->hidden ? restore_projection(r, in, err) : restore_kernel(r, in, err));
  return restore_weights(r, in, err);
}

moeclip_code mc_ridge_load(const moeclip_learner_options *o, int64_t embed, const moeclip_tensors *in, int64_t n_classes,
                           mc_ridge **out, moeclip_error *err) {
  *out = NULL;
  /* A width that the file only claims must not cost its square in memory. */
  if (o->ridge_form == MOECLIP_RIDGE_PROJECTION) {
    int64_t n = o->ridge_hidden;
    if (!find(in, NAME "autocorrelation", MOECLIP_F64, n * (n + 1) / 2, 0, 0)) return wrong(err, NAME "autocorrelation");
    if (!find(in, NAME "projection", MOECLIP_F32, embed, 0, n)) return wrong(err, NAME "projection");
  }
  if (n_classes > 0 && !find(in, NAME "counts", MOECLIP_I64, n_classes, 0, 0)) return wrong(err, NAME "counts");
  MC_TRY(mc_ridge_create(o, embed, out, err));
  moeclip_code code = restore(*out, in, n_classes, err);
  if (code == MOECLIP_OK) return code;
  mc_ridge_destroy(*out);
  *out = NULL;
  return code;
}
