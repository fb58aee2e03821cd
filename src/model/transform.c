#include "model/transform.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/status.h"
#include "files/config_pictures.h"

static moeclip_code read_colours(const moeclip_tensors *file, const char *key, bool positive, float out[3], moeclip_error *err) {
  const char *text = moeclip_tensors_metadata(file, key);
  bool no_memory = false;
  json_error_t why;
  if (!text) return MOECLIP_OK;
  json_t *list = mc_json_read(text, strlen(text), 0, &why, &no_memory);
  if (no_memory) return mc_fail_memory(err, strlen(text), "the metadata");
  bool good = mc_config_colours(list, positive, out);
  json_decref(list);
  return good ? MOECLIP_OK
              : mc_fail(err, MOECLIP_ERROR_FORMAT, "the metadata says \"%s\": %.80s, which is not [red, green, blue]", key, text);
}

moeclip_code mc_transform_read(const moeclip_tensors *file, int size, moeclip_transform *t, moeclip_error *err) {
  moeclip_transform_defaults(t, size);
  const char *mode = moeclip_tensors_metadata(file, "resize_mode");
  if (mode && strcmp(mode, "squash") != 0) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "the metadata says resize_mode \"%.60s\": only squash is supported", mode);
  }
  t->squash = mode != NULL;
  MC_TRY(read_colours(file, "image_mean", false, t->mean, err));
  return read_colours(file, "image_std", true, t->deviation, err);
}

static bool same_colours(const float a[3], const float b[3]) { return a[0] == b[0] && a[1] == b[1] && a[2] == b[2]; }

static moeclip_code store_colours(const char *key, const float is[3], const float usual[3], moeclip_tensors *out, moeclip_error *err) {
  if (same_colours(is, usual)) return MOECLIP_OK;
  json_t *list = json_pack("[f, f, f]", (double)is[0], (double)is[1], (double)is[2]);
  char *text = list ? mc_json_text(list, JSON_REAL_PRECISION(9)) : NULL;
  json_decref(list);
  moeclip_code code = text ? moeclip_tensors_set_metadata(out, key, text, err) : mc_fail_memory(err, 64, "the metadata");
  free(text);
  return code;
}

moeclip_code mc_transform_store(const moeclip_transform *t, moeclip_tensors *out, moeclip_error *err) {
  moeclip_transform usual;
  moeclip_transform_defaults(&usual, t->size);
  if (t->squash) MC_TRY(moeclip_tensors_set_metadata(out, "resize_mode", "squash", err));
  MC_TRY(store_colours("image_mean", t->mean, usual.mean, out, err));
  return store_colours("image_std", t->deviation, usual.deviation, out, err);
}

bool mc_transform_is_usual(const moeclip_transform *t) {
  moeclip_transform usual;
  moeclip_transform_defaults(&usual, t->size);
  return !t->squash && same_colours(t->mean, usual.mean) && same_colours(t->deviation, usual.deviation);
}

bool mc_transforms_agree(const moeclip_transform *a, const moeclip_transform *b) {
  return a->size == b->size && !a->squash == !b->squash;
}
