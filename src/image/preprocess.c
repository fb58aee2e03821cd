/* CLIP's transforms (method.md section 1) as torchvision does them on Pillow's pictures. */
#include <math.h>

#include "image/decode.h"
#include "image/resample.h"

/* An output's side; keeps every product below within 64 bits. */
static moeclip_code check_side(int size, moeclip_error *err) {
  if (size >= 1 && size <= MC_IMAGE_MAX_SIDE) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a picture cannot be resized to a side of %d: 1 to %d would do", size,
                 MC_IMAGE_MAX_SIDE);
}

static moeclip_code check_picture(const moeclip_image *image, moeclip_error *err) {
  if (image->rgb && image->width >= 1 && image->height >= 1 && image->width <= MC_IMAGE_MAX_SIDE &&
      image->height <= MC_IMAGE_MAX_SIDE) {
    return MOECLIP_OK;
  }
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "an empty or too large picture (%d x %d pixels) cannot be resized",
                 image->width, image->height);
}

static int scaled_long_side(int long_side, int short_side, int size) {
  return (int)((double)((int64_t)size * long_side) / (double)short_side);
}

/* Python's round((side - size) / 2.0): halves go to the even neighbour. */
static int crop_offset(int side, int size) {
  int twice = side - size, half = twice / 2;
  return half + (twice & 1 & half);
}

void moeclip_transform_defaults(moeclip_transform *t, int size) {
  *t = (moeclip_transform){size, 0, {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};
}

moeclip_code moeclip_image_transform(const moeclip_image *image, const moeclip_transform *t, uint8_t *out, moeclip_error *err) {
  MC_TRY(check_side(t->size, err));
  MC_TRY(check_picture(image, err));
  int w = image->width, h = image->height, size = t->size;
  mc_resample r = {.source = image->rgb, .row = (size_t)w * 3, .width = w, .height = h, .planar = true};
  r.to_width = w <= h || t->squash ? size : scaled_long_side(w, h, size);
  r.to_height = w <= h && !t->squash ? scaled_long_side(h, w, size) : size;
  r.part = (mc_rect){crop_offset(r.to_width, size), crop_offset(r.to_height, size), size, size};
  return mc_resample_run(&r, out, err);
}

void moeclip_transform_normalize(const moeclip_transform *t, const uint8_t *in, float *out) {
  size_t n = (size_t)t->size * (size_t)t->size;
  for (size_t c = 0; c < 3; c++) {
    float of[256];
    for (int v = 0; v < 256; v++) of[v] = ((float)v / 255.0f - t->mean[c]) / t->deviation[c];
    for (size_t i = 0; i < n; i++) out[c * n + i] = of[in[c * n + i]];
  }
}

moeclip_code moeclip_image_preprocess(const moeclip_image *image, int size, uint8_t *out, moeclip_error *err) {
  moeclip_transform t;
  moeclip_transform_defaults(&t, size);
  return moeclip_image_transform(image, &t, out, err);
}

void moeclip_image_normalize(const uint8_t *in, int size, float *out) {
  moeclip_transform t;
  moeclip_transform_defaults(&t, size);
  moeclip_transform_normalize(&t, in, out);
}

static int clamp(double v, int limit) { return v < 1 ? 1 : v > limit ? limit : (int)v; }

static mc_rect centred(int width, int height, int crop_width, int crop_height) {
  return (mc_rect){(width - crop_width) / 2, (height - crop_height) / 2, crop_width, crop_height};
}

mc_rect mc_random_crop(int width, int height, float scale_min, float scale_max, mc_philox *g) {
  const double narrowest = 3.0 / 4, widest = 4.0 / 3;
  double area = (double)width * height;
  for (int attempt = 0; attempt < 10; attempt++) {
    double target = area * (scale_min + (double)mc_philox_uniform(g) * ((double)scale_max - scale_min));
    double aspect = exp(log(narrowest) + (double)mc_philox_uniform(g) * (log(widest) - log(narrowest)));
    double w = rint(sqrt(target * aspect)), h = rint(sqrt(target / aspect));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    mc_rect box = {.width = (int)w, .height = (int)h};
    box.y = (int)mc_philox_below(g, (uint32_t)(height - box.height) + 1);
    box.x = (int)mc_philox_below(g, (uint32_t)(width - box.width) + 1);
    return box;
  }
  double aspect = (double)width / height;
  if (aspect < narrowest) return centred(width, height, width, clamp(rint(width / narrowest), height));
  if (aspect > widest) return centred(width, height, clamp(rint(height * widest), width), height);
  return centred(width, height, width, height);
}

static moeclip_code resize(const moeclip_image *image, mc_rect box, int out_width, int out_height, bool planar,
                           uint8_t *out, moeclip_error *err) {
  MC_TRY(check_side(out_width, err));
  MC_TRY(check_side(out_height, err));
  MC_TRY(check_picture(image, err));
  if (box.x < 0 || box.y < 0 || box.width < 1 || box.height < 1 || box.width > image->width - box.x ||
      box.height > image->height - box.y) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the crop of %d x %d at %d, %d is not inside a picture of %d x %d",
                   box.width, box.height, box.x, box.y, image->width, image->height);
  }
  size_t row = (size_t)image->width * 3;
  mc_resample r = {.source = image->rgb + (size_t)box.y * row + (size_t)box.x * 3, .row = row, .width = box.width,
                   .height = box.height, .to_width = out_width, .to_height = out_height, .planar = planar};
  r.part = (mc_rect){0, 0, out_width, out_height};
  return mc_resample_run(&r, out, err);
}

moeclip_code mc_image_resize(const moeclip_image *image, mc_rect box, int out_width, int out_height, uint8_t *out,
                             moeclip_error *err) {
  return resize(image, box, out_width, out_height, false, out, err);
}

moeclip_code mc_image_augment(const moeclip_image *image, int size, float scale_min, mc_philox *g, uint8_t *out,
                              moeclip_error *err) {
  MC_TRY(check_picture(image, err));
  if (!(scale_min > 0 && scale_min <= 1)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a crop's smallest area is a share above 0 and at most 1, not %g",
                   (double)scale_min);
  }
  mc_rect box = mc_random_crop(image->width, image->height, scale_min, 1, g);
  return resize(image, box, size, size, true, out, err);
}
