/*
 * image/: pictures in memory. Includes base/ only. The public half is moeclip/image.h.
 * The training transform of method.md section 1.
 */
#ifndef MC_IMAGE_AUGMENT_H
#define MC_IMAGE_AUGMENT_H

#include "base/random.h"
#include "base/status.h"
#include "moeclip/image.h"

typedef struct mc_rect { int x, y, width, height; } mc_rect;

/* Random resized crop's rectangle: area scale in [scale_min, scale_max], log-uniform aspect in [3/4, 4/3], ten tries,
 * then the largest centred rectangle within those aspects (what torchvision's RandomResizedCrop does). */
mc_rect mc_random_crop(int width, int height, float scale_min, float scale_max, mc_philox *g);

/* Crops `box` (inside the picture) and resizes it to out_width x out_height exactly as Pillow's Image.resize(BICUBIC)
 * does on the cropped 8-bit picture (up to Pillow 12: resample.h). out: [out_height, out_width, 3]. */
moeclip_code mc_image_resize(const moeclip_image *image, mc_rect box, int out_width, int out_height, uint8_t *out,
                             moeclip_error *err);

/* mc_random_crop with areas from scale_min (in (0, 1]; published: 0.9) to 1, and mc_image_resize to size x size.
 * out: uint8 [3, size, size]. */
moeclip_code mc_image_augment(const moeclip_image *image, int size, float scale_min, mc_philox *g, uint8_t *out,
                              moeclip_error *err);

#endif
