#include "learn/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/restore.h"

moeclip_code mc_kept_create(mc_kept *k, int64_t n, int size, moeclip_error *err) {
  mc_kept made = {.n = n, .size = size};
  made.pixels = mc_alloc((size_t)n, mc_kept_each(&made));
  if (!made.pixels) return mc_fail_memory(err, (size_t)n * mc_kept_each(&made), "kept pictures");
  *k = made;
  return MOECLIP_OK;
}

void mc_kept_clear(mc_kept *k) {
  free(k->pixels);
  *k = (mc_kept){0};
}

moeclip_code mc_kept_store(const mc_kept *k, const char *name, moeclip_tensors *out, moeclip_error *err) {
  int64_t shape[4] = {k->n, 3, k->size, k->size};
  return k->n > 0 ? moeclip_tensors_add(out, name, MOECLIP_U8, 4, shape, k->pixels, 1, err) : MOECLIP_OK;
}

moeclip_code mc_kept_restore(mc_kept *k, const moeclip_tensors *in, const char *name, int size, int64_t most,
                             moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(in, name);
  *k = (mc_kept){0};
  if (!t) return MOECLIP_OK;
  if (t->dtype != MOECLIP_U8 || t->rank != 4 || t->shape[0] < 1 || t->shape[0] > most || t->shape[1] != 3 ||
      t->shape[2] != size || t->shape[3] != size) {
    return mc_damaged_tensor(err, name);
  }
  MC_TRY(mc_kept_create(k, t->shape[0], size, err));
  memcpy(k->pixels, t->data, t->n_bytes);
  return MOECLIP_OK;
}

static moeclip_code load_kept(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const mc_kept *k = context;
  size_t plane = (size_t)k->size * (size_t)k->size;
  const uint8_t *from = k->pixels + i * mc_kept_each(k);
  *out = (moeclip_image){k->size, k->size, mc_alloc(plane, 3)};
  if (!out->rgb) return mc_fail_memory(err, 3 * plane, "a picture");
  for (size_t at = 0; at < plane; at++) {
    for (size_t c = 0; c < 3; c++) out->rgb[3 * at + c] = from[c * plane + at];
  }
  return MOECLIP_OK;
}

static moeclip_code name_kept(void *context, size_t i, char *out, size_t n_out) {
  (void)context;
  snprintf(out, n_out, "kept picture %zu", i);
  return MOECLIP_OK;
}

mc_image_source mc_kept_source(mc_kept *k) { return (mc_image_source){(size_t)k->n, k, load_kept, name_kept}; }
