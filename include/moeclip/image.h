/* Pictures: decode, and CLIP's preprocessing (method.md section 1). */
#ifndef MOECLIP_IMAGE_H
#define MOECLIP_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_image {
  int width, height;
  uint8_t *rgb; /* [height, width, 3]; free with moeclip_image_clear */
} moeclip_image;

/* JPEG, PNG or WebP, told by content. EXIF orientation is applied; grey becomes RGB; palettes are expanded; an alpha
 * channel is composed over white; of 16-bit values the high byte is kept (as Pillow does, except that it clips 16-bit
 * greys at 255). Pixels are otherwise those of Pillow. A file that ends too early is an error, but a PNG that lost only
 * what follows its pixels is read. Animated WebP is not read. A picture with a side over 32768 or with more than
 * 178,956,970 pixels is refused before anything of its size is allocated. `name` is used in messages. */
MOECLIP_API moeclip_code moeclip_image_decode(const void *data, size_t n_bytes, const char *name, moeclip_image *out,
                                              moeclip_error *err);
/* The same with a lower bound on the number of pixels. */
MOECLIP_API moeclip_code moeclip_image_decode_at_most(const void *data, size_t n_bytes, const char *name, uint64_t max_pixels,
                                                      moeclip_image *out, moeclip_error *err);
MOECLIP_API moeclip_code moeclip_image_load(const char *path, moeclip_image *out, moeclip_error *err);
MOECLIP_API void moeclip_image_clear(moeclip_image *image);

/* What a file's name says, by its ending in any case: .jpg, .jpeg, .jpe, .jfif, .png or .webp; a picture of a kind that is not read (GIF, BMP, TIFF,
 * HEIC, AVIF, cameras' own ...); or no picture. A name that begins with its only dot has no ending. */
typedef enum moeclip_picture_kind { MOECLIP_PICTURE_NONE = 0, MOECLIP_PICTURE, MOECLIP_PICTURE_UNREAD } moeclip_picture_kind;
MOECLIP_API moeclip_picture_kind moeclip_picture_kind_of(const char *name);

/* How a model takes a picture (moeclip_model_transform): as a square of `size` pixels a side, bicubic, antialiased. */
typedef struct moeclip_transform {
  int size;
  int squash;                   /* 0: the short side becomes size, and the centre is cut out; 1: both sides become size */
  float mean[3], deviation[3];  /* of red, green and blue, where white is 1 */
} moeclip_transform;
/* OpenAI's: the centre, and the mean and deviation of its training pictures. */
MOECLIP_API void moeclip_transform_defaults(moeclip_transform *t, int size);
/* out: uint8 [3, size, size]. */
MOECLIP_API moeclip_code moeclip_image_transform(const moeclip_image *image, const moeclip_transform *t, uint8_t *out, moeclip_error *err);
/* uint8 [3, size, size] to float32 of the same shape: (v / 255 - mean) / deviation. */
MOECLIP_API void moeclip_transform_normalize(const moeclip_transform *t, const uint8_t *in, float *out);

/* Both with OpenAI's transform. */
MOECLIP_API moeclip_code moeclip_image_preprocess(const moeclip_image *image, int size, uint8_t *out,
                                                  moeclip_error *err);
MOECLIP_API void moeclip_image_normalize(const uint8_t *in, int size, float *out);

#ifdef __cplusplus
}
#endif
#endif
