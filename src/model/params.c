#include "model/params.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

moeclip_code mc_param_create(mc_param *p, int rank, const int64_t *shape, moeclip_error *err) {
  *p = (mc_param){.rank = rank, .n = 1, .owned = true};
  for (int i = 0; i < rank; i++) {
    p->shape[i] = shape[i];
    if (shape[i] <= 0 || p->n > ((int64_t)1 << 40) / shape[i]) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a tensor with a side of %lld is not possible", (long long)shape[i]);
    }
    p->n *= shape[i];
  }
  p->value = mc_zeros((size_t)p->n, sizeof *p->value);
  return p->value ? MOECLIP_OK : mc_fail_memory(err, (size_t)p->n * sizeof *p->value, "a parameter");
}

/* The values are about to change. */
static void forget_half(mc_param *p) {
  mc_aligned_free(p->half);
  p->half = NULL;
  for (int i = 0; i < 2; i++) {
    mc_packed16_destroy(p->packed[i]);
    p->packed[i] = NULL;
  }
}

moeclip_code mc_param_pack(mc_compute *cp, mc_param *p, int back, moeclip_error *err) {
  if (p->packed[back]) return MOECLIP_OK;
  int64_t out = p->shape[0], in = p->n / out;
  return mc_packed16_create(cp, p->value, back ? out : in, back ? in : out, !back, &p->packed[back], err);
}

moeclip_code mc_param_half(mc_compute *cp, mc_param *p, moeclip_error *err) {
  if (p->half && !p->grad) return MOECLIP_OK;
  if (!p->half) p->half = mc_aligned_alloc((size_t)p->n, sizeof *p->half);
  if (!p->half) return mc_fail_memory(err, (size_t)p->n * sizeof *p->half, "a parameter as bfloat16");
  mc_to_bfloat16(cp, p->value, p->n, p->half);
  return MOECLIP_OK;
}

void mc_param_clear(mc_param *p) {
  forget_half(p);
  if (p->owned) mc_aligned_free(p->value);
  mc_aligned_free(p->grad);
  *p = (mc_param){0};
}

static void describe(char *out, size_t n_out, int rank, const int64_t *shape) {
  size_t at = (size_t)snprintf(out, n_out, "[");
  for (int i = 0; i < rank && at < n_out; i++) {
    at += (size_t)snprintf(out + at, n_out - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
  }
  if (at < n_out) snprintf(out + at, n_out - at, "]");
}

/* *out: the tensor of that name, if it has that shape. */
static moeclip_code tensor_of_shape(const moeclip_tensors *file, const char *name, int rank, const int64_t *shape,
                                    const moeclip_tensor **out, moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(file, name);
  if (!t) return mc_fail(err, MOECLIP_ERROR_FORMAT, "there is no tensor %s", name);
  bool same = t->rank == rank;
  for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
  *out = t;
  if (same) return MOECLIP_OK;
  char is[128], wanted[128];
  describe(is, sizeof is, t->rank, t->shape);
  describe(wanted, sizeof wanted, rank, shape);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "the tensor %s has the shape %s, not %s", name, is, wanted);
}

moeclip_code mc_param_read(mc_param *p, const moeclip_tensors *file, const char *name, int rank, const int64_t *shape,
                           bool copy, moeclip_error *err) {
  const moeclip_tensor *t;
  MC_TRY(tensor_of_shape(file, name, rank, shape, &t, err));
  if (!copy && t->dtype == MOECLIP_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
    *p = (mc_param){.rank = rank, .n = (int64_t)moeclip_tensor_elements(t), .value = (float *)(uintptr_t)t->data};
    memcpy(p->shape, shape, (size_t)rank * sizeof *shape);
    return MOECLIP_OK;
  }
  MC_TRY(mc_param_create(p, rank, shape, err));
  moeclip_tensor_to_f32(t, p->value);
  return MOECLIP_OK;
}

moeclip_code mc_param_fill(mc_param *p, const moeclip_tensors *file, const char *name, moeclip_error *err) {
  const moeclip_tensor *t;
  MC_TRY(tensor_of_shape(file, name, p->rank, p->shape, &t, err));
  forget_half(p);
  moeclip_tensor_to_f32(t, p->value);
  return MOECLIP_OK;
}

moeclip_code mc_param_unfreeze(mc_param *p, moeclip_error *err) {
  if (!p->grad) forget_half(p);
  size_t n_bytes = (size_t)p->n * sizeof *p->value;
  if (!p->owned) {
    float *copy = mc_aligned_alloc((size_t)p->n, sizeof *copy);
    if (!copy) return mc_fail_memory(err, n_bytes, "a trainable parameter");
    memcpy(copy, p->value, n_bytes);
    p->value = copy;
    p->owned = true;
  }
  if (!p->grad) p->grad = mc_zeros((size_t)p->n, sizeof *p->grad);
  return p->grad ? MOECLIP_OK : mc_fail_memory(err, n_bytes, "a gradient");
}

void mc_param_freeze(mc_param *p) {
  if (p->grad) forget_half(p);
  mc_aligned_free(p->grad);
  p->grad = NULL;
  p->touched = false;
}

void mc_param_zero_grad(mc_param *p) {
  if (p->grad && p->touched) memset(p->grad, 0, (size_t)p->n * sizeof *p->grad);
  p->touched = false;
}

void mc_param_normal(mc_param *p, float scale, mc_philox *g) {
  forget_half(p);
  for (int64_t i = 0; i < p->n; i++) p->value[i] = scale * mc_philox_normal(g);
}

void mc_param_uniform(mc_param *p, float bound, mc_philox *g) {
  forget_half(p);
  for (int64_t i = 0; i < p->n; i++) p->value[i] = bound * (2.0f * mc_philox_uniform(g) - 1.0f);
}
