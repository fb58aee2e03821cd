/* WebP by libwebp: lossy and lossless, with or without alpha. */
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>

#include "image/decode.h"

static size_t get32(const uint8_t *p) {
  return (size_t)p[3] << 24 | (size_t)p[2] << 16 | (size_t)p[1] << 8 | p[0];
}

static int find_orientation(const mc_image_file *file) {
  for (size_t at = 12; file->n_bytes - at >= 8;) {
    const uint8_t *chunk = file->data + at;
    size_t n = get32(chunk + 4), room = file->n_bytes - at - 8;
    if (n > room) return 1;
    if (memcmp(chunk, "EXIF", 4) == 0) return mc_exif_orientation(chunk + 8, n);
    if (n + (n & 1) > room) return 1; /* chunks are padded to even length */
    at += 8 + n + (n & 1);
  }
  return 1;
}

moeclip_code mc_decode_webp(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err) {
  WebPBitstreamFeatures features;
  *out = (moeclip_image){0};
  if (WebPGetFeatures(file->data, file->n_bytes, &features) != VP8_STATUS_OK) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged WebP: its header is wrong or cut short", file->name);
  }
  MC_TRY(mc_image_check_size(file, (uint64_t)features.width, (uint64_t)features.height, err));
  if (features.has_animation) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: an animated WebP; still ones are read", file->name);
  }
  out->width = features.width;
  out->height = features.height;
  int channels = features.has_alpha ? 4 : 3;
  MC_TRY(mc_image_room(file, out->width, out->height, channels, &out->rgb, err));
  size_t n_pixels = (size_t)out->width * (size_t)out->height, n = n_pixels * (size_t)channels;
  WebPDecoderConfig how;
  VP8StatusCode status = VP8_STATUS_OUT_OF_MEMORY;
  /* libwebp calls some allocations that fail damage: what fails twice is damaged. */
  for (int again = 0; again < 2 && status != VP8_STATUS_OK && WebPInitDecoderConfig(&how); again++) {
    how.output.colorspace = features.has_alpha ? MODE_RGBA : MODE_RGB;
    how.output.is_external_memory = 1;
    how.output.u.RGBA = (WebPRGBABuffer){out->rgb, out->width * channels, n};
    status = WebPDecode(file->data, file->n_bytes, &how);
  }
  if (status != VP8_STATUS_OK) {
    moeclip_image_clear(out);
    if (status == VP8_STATUS_OUT_OF_MEMORY) return mc_fail_memory(err, n, file->name);
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged WebP: the picture cannot be decoded, or is cut short",
                   file->name);
  }
  if (features.has_alpha) out->rgb = mc_over_white(out->rgb, n_pixels);
  *orientation = find_orientation(file);
  return MOECLIP_OK;
}
