#include "files/config_pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "files/collection.h"
#include "moeclip/image.h"

enum { BICUBIC = 3 }; /* Pillow's number */

static moeclip_code unsupported(const char *path, const json_t *object, const char *key, moeclip_error *err) {
  char *value = mc_json_text(json_object_get(object, key), JSON_ENCODE_ANY);
  moeclip_code code = mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: pictures are taken with \"%.60s\": %.60s, which is not supported", path,
                              key, value ? value : "...");
  free(value);
  return code;
}

bool mc_config_colours(const json_t *list, bool positive, float out[3]) {
  bool good = json_is_array(list) && json_array_size(list) == 3;
  for (size_t i = 0; good && i < 3; i++) {
    double v = json_number_value(json_array_get(list, i));
    good = json_is_number(json_array_get(list, i)) && fabs(v) < 1e6 && (!positive || v > 1e-6);
    if (good) out[i] = (float)v;
  }
  return good;
}

/* Three numbers under `key`, noted as `as` where they are not the usual ones (but for the digits that somebody left out). */
static moeclip_code note_colours(const char *path, const json_t *object, const char *key, bool positive, const char *as,
                                 const float usual[3], moeclip_tensors *t, moeclip_error *err) {
  const json_t *list = json_object_get(object, key);
  float is[3];
  bool same = true;
  if (!list || json_is_null(list)) return MOECLIP_OK;
  if (!mc_config_colours(list, positive, is)) return unsupported(path, object, key, err);
  for (size_t i = 0; i < 3; i++) same = same && fabsf(is[i] - usual[i]) < 1e-4f;
  if (same) return MOECLIP_OK;
  char *text = mc_json_text(list, JSON_REAL_PRECISION(9));
  moeclip_code code = text ? mc_tensors_note(t, as, text, err) : mc_fail_memory(err, 64, path);
  free(text);
  return code;
}

static moeclip_code note_normalisation(const char *path, const json_t *object, const char *mean, const char *deviation, moeclip_tensors *t,
                                       moeclip_error *err) {
  moeclip_transform usual;
  moeclip_transform_defaults(&usual, 1);
  MC_TRY(note_colours(path, object, mean, false, "image_mean", usual.mean, t, err));
  return note_colours(path, object, deviation, true, "image_std", usual.deviation, t, err);
}

moeclip_code mc_config_openclip_pictures(const char *path, const json_t *preprocess, moeclip_tensors *t, moeclip_error *err) {
  const char *mode = json_string_value(json_object_get(preprocess, "resize_mode"));
  const json_t *interpolation = json_object_get(preprocess, "interpolation");
  const char *by = json_string_value(interpolation);
  MC_TRY(note_normalisation(path, preprocess, "mean", "std", t, err));
  /* "random" is of training alone; OpenCLIP itself takes bicubic for it here. */
  if (interpolation && !json_is_null(interpolation) && (!by || (strcmp(by, "bicubic") != 0 && strcmp(by, "random") != 0))) {
    return unsupported(path, preprocess, "interpolation", err);
  }
  if (!mode || strcmp(mode, "shortest") == 0) return MOECLIP_OK;
  if (strcmp(mode, "squash") != 0) return unsupported(path, preprocess, "resize_mode", err);
  return mc_tensors_note(t, "resize_mode", "squash", err);
}

/* A size's side: a number, {"shortest_edge": n} or {"height": n, "width": n}, which is then *both. -1: another. */
static json_int_t side_of(const json_t *size, bool *both) {
  const json_t *edge = json_object_get(size, "shortest_edge"), *height = json_object_get(size, "height"),
               *width = json_object_get(size, "width");
  *both = height != NULL;
  if (json_is_integer(size)) return json_integer_value(size);
  if (json_is_integer(edge) && json_object_size(size) == 1) return json_integer_value(edge);
  return json_is_integer(height) && json_equal(height, width) ? json_integer_value(height) : -1;
}

moeclip_code mc_config_huggingface_pictures(const char *path, const json_t *root, moeclip_tensors *t, moeclip_error *err) {
  static const char *const always[] = {"do_resize", "do_rescale", "do_normalize"};
  for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
    if (json_is_false(json_object_get(root, always[i]))) return unsupported(path, root, always[i], err);
  }
  const json_t *resample = json_object_get(root, "resample"), *factor = json_object_get(root, "rescale_factor");
  if (json_is_integer(resample) && json_integer_value(resample) != BICUBIC) return unsupported(path, root, "resample", err);
  if (json_is_number(factor) && fabs(json_number_value(factor) * 255 - 1) > 1e-6) return unsupported(path, root, "rescale_factor", err);
  MC_TRY(note_normalisation(path, root, "image_mean", "image_std", t, err));
  const json_t *size = json_object_get(root, "size"), *crop = json_object_get(root, "crop_size");
  bool squash = false, square = false, crops = !json_is_false(json_object_get(root, "do_center_crop"));
  json_int_t side = size ? side_of(size, &squash) : 0, cut = crop ? side_of(crop, &square) : side;
  if (side < 0 || (crops && size && cut != side)) return unsupported(path, root, crops && side > 0 ? "crop_size" : "size", err);
  if (!squash && !crops) return unsupported(path, root, "do_center_crop", err);
  return squash ? mc_tensors_note(t, "resize_mode", "squash", err) : MOECLIP_OK;
}
