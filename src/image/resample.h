/*
 * Pillow's 8-bit bicubic resize (a = -0.5, antialiased): its coefficients in 22-bit fixed point, a horizontal pass that
 * rounds to 8 bits, then a vertical one. Any rectangle of the result can be computed by itself. This is the order of
 * every Pillow up to 12, with which the published numbers were made; 13 begins vertically where that shrinks a picture
 * much more, and so differs there in the rounding (and, for hard edges, the clipping) between the passes.
 */
#ifndef MC_IMAGE_RESAMPLE_H
#define MC_IMAGE_RESAMPLE_H

#include <stdbool.h>

#include "image/augment.h"

typedef struct mc_resample {
  const uint8_t *source; /* the first of width x height RGB pixels */
  size_t row;            /* bytes from one row of the source to the next */
  int width, height;
  int to_width, to_height; /* the whole result */
  mc_rect part;            /* of the result, inside it */
  bool planar;             /* out is [3, part.height, part.width] instead of [part.height, part.width, 3] */
} mc_resample;

moeclip_code mc_resample_run(const mc_resample *r, uint8_t *out, moeclip_error *err);

#endif
