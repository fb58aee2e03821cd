#include "moeclip/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/decode.h"

/* More than any picture within the bounds needs. */
#define MAX_FILE ((size_t)1 << 30)

moeclip_code mc_image_check_size(const mc_image_file *file, uint64_t width, uint64_t height, moeclip_error *err) {
  if (width == 0 || height == 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged picture: it says that it is %llu x %llu pixels large",
                   file->name, (unsigned long long)width, (unsigned long long)height);
  }
  if (width > MC_IMAGE_MAX_SIDE || height > MC_IMAGE_MAX_SIDE || width * height > file->max_pixels) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                   "%s: a picture of %llu x %llu pixels; at most %d on a side and %llu in all are read", file->name,
                   (unsigned long long)width, (unsigned long long)height, MC_IMAGE_MAX_SIDE,
                   (unsigned long long)file->max_pixels);
  }
  return MOECLIP_OK;
}

moeclip_code mc_image_room(const mc_image_file *file, int width, int height, int channels, uint8_t **out,
                           moeclip_error *err) {
  size_t n_pixels;
  *out = NULL;
  MC_TRY(mc_image_check_size(file, (uint64_t)width, (uint64_t)height, err));
  if (mc_mul_size((size_t)width, (size_t)height, &n_pixels)) *out = mc_alloc(n_pixels, (size_t)channels);
  return *out ? MOECLIP_OK : mc_fail_memory(err, n_pixels * (size_t)channels, file->name);
}

uint8_t *mc_over_white(uint8_t *rgba, size_t n_pixels) {
  const uint8_t *from = rgba;
  uint8_t *to = rgba;
  for (size_t i = 0; i < n_pixels; i++, from += 4, to += 3) {
    uint32_t alpha = from[3], white = 255 * (255 - alpha) + 128;
    for (int c = 0; c < 3; c++) {
      uint32_t v = from[c] * alpha + white;
      to[c] = (uint8_t)((v + (v >> 8)) >> 8); /* a division by 255 that is exact for these numbers */
    }
  }
  uint8_t *smaller = mc_realloc(rgba, n_pixels, 3);
  return smaller ? smaller : rgba;
}

static bool begins(const mc_image_file *file, size_t at, const char *with, size_t n) {
  return file->n_bytes >= at + n && memcmp(file->data + at, with, n) == 0;
}

static moeclip_code fail_unknown(const mc_image_file *file, moeclip_error *err) {
  static const char read[] = "JPEG, PNG and WebP pictures are read";
  if (file->n_bytes == 0) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: is empty; %s", file->name, read);
  const char *what = mc_image_guess(file->data, file->n_bytes);
  if (what) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: seems to be %s; %s", file->name, what, read);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not a picture that is known; %s", file->name, read);
}

moeclip_code mc_image_decode(const mc_image_file *file, moeclip_image *out, moeclip_error *err) {
  int orientation = 1;
  moeclip_code code;
  *out = (moeclip_image){0};
  if (begins(file, 0, "\xff\xd8\xff", 3)) {
    code = mc_decode_jpeg(file, out, &orientation, err);
  } else if (begins(file, 0, "\x89PNG\r\n\x1a\n", 8)) {
    code = mc_decode_png(file, out, &orientation, err);
  } else if (begins(file, 0, "RIFF", 4) && begins(file, 8, "WEBP", 4)) {
    code = mc_decode_webp(file, out, &orientation, err);
  } else {
    code = fail_unknown(file, err);
  }
  if (code == MOECLIP_OK) code = mc_image_orient(out, orientation, err);
  if (code != MOECLIP_OK) moeclip_image_clear(out);
  return code;
}

moeclip_code moeclip_image_decode(const void *data, size_t n_bytes, const char *name, moeclip_image *out,
                                  moeclip_error *err) {
  mc_image_file file = {.data = data, .n_bytes = n_bytes, .name = name, .max_pixels = MC_IMAGE_MAX_PIXELS};
  return mc_image_decode(&file, out, err);
}

moeclip_code moeclip_image_decode_at_most(const void *data, size_t n_bytes, const char *name, uint64_t max_pixels,
                                          moeclip_image *out, moeclip_error *err) {
  uint64_t most = max_pixels < MC_IMAGE_MAX_PIXELS ? max_pixels : MC_IMAGE_MAX_PIXELS;
  mc_image_file file = {.data = data, .n_bytes = n_bytes, .name = name, .max_pixels = most};
  return mc_image_decode(&file, out, err);
}

moeclip_code moeclip_image_load(const char *path, moeclip_image *out, moeclip_error *err) {
  uint8_t *data;
  size_t n_bytes;
  *out = (moeclip_image){0};
  MC_TRY(mc_file_read(path, MAX_FILE, &data, &n_bytes, err));
  moeclip_code code = moeclip_image_decode(data, n_bytes, path, out, err);
  free(data);
  return code;
}

void moeclip_image_clear(moeclip_image *image) {
  if (!image) return;
  free(image->rgb);
  *image = (moeclip_image){0};
}
