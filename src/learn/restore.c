#include "learn/restore.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

moeclip_code mc_damaged_tensor(moeclip_error *err, const char *name) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: %s has the wrong shape or values, or is missing", name);
}

moeclip_code mc_rows_restore(const moeclip_tensors *in, const char *name, int64_t *n, int64_t d, float **out,
                             moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(in, name);
  *out = NULL;
  if (!t || t->dtype != MOECLIP_F32 || t->rank != 2 || t->shape[0] < 1 || (*n >= 0 && t->shape[0] != *n) || t->shape[1] != d) {
    return mc_damaged_tensor(err, name);
  }
  *n = t->shape[0];
  *out = mc_alloc(t->n_bytes, 1);
  if (!*out) return mc_fail_memory(err, t->n_bytes, "a state");
  memcpy(*out, t->data, t->n_bytes);
  for (int64_t i = 0; i < *n * d; i++) {
    if (!isfinite((*out)[i])) return mc_damaged_tensor(err, name);
  }
  return MOECLIP_OK;
}
