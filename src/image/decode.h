/* The decoders behind moeclip_image_decode. They share no state and may run on many threads at once. */
#ifndef MC_IMAGE_DECODE_H
#define MC_IMAGE_DECODE_H

#include <stddef.h>

#include "base/status.h"
#include "moeclip/image.h"

#define MC_IMAGE_MAX_SIDE 32768
#define MC_IMAGE_MAX_PIXELS 178956970

/* A picture's file in memory. */
typedef struct mc_image_file {
  const uint8_t *data;
  size_t n_bytes;
  const char *name;    /* for messages */
  uint64_t max_pixels; /* larger pictures are refused */
} mc_image_file;

/* Pixels as stored, before the EXIF orientation (1 to 8) is applied. On failure out->rgb is NULL. */
moeclip_code mc_decode_jpeg(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err);
moeclip_code mc_decode_png(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err);
moeclip_code mc_decode_webp(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err);

/* moeclip_image_decode with another bound on the number of pixels. */
moeclip_code mc_image_decode(const mc_image_file *file, moeclip_image *out, moeclip_error *err);

/* Refuses sizes outside 1..MC_IMAGE_MAX_SIDE and more than file->max_pixels pixels. */
moeclip_code mc_image_check_size(const mc_image_file *file, uint64_t width, uint64_t height, moeclip_error *err);
/* Room for width * height pixels of that many bytes, after mc_image_check_size; release with free. */
moeclip_code mc_image_room(const mc_image_file *file, int width, int height, int channels, uint8_t **out,
                           moeclip_error *err);

/* RGBA to RGB over white, in place: each value is the nearest integer to (v a + 255 (255 - a)) / 255, which is what
 * Pillow's alpha_composite on opaque white gives. Returns the buffer, perhaps moved to a smaller one. */
uint8_t *mc_over_white(uint8_t *rgba, size_t n_pixels);

/* The orientation in EXIF data (a TIFF header and its first directory, with or without "Exif\0\0" in front): 1 to 8.
 * Data that is not understood counts as 1, since a picture is no worse for a broken note about it. */
int mc_exif_orientation(const uint8_t *data, size_t n_bytes);
/* Turns and mirrors the picture as the orientation asks. */
moeclip_code mc_image_orient(moeclip_image *image, int orientation, moeclip_error *err);

/* What unreadable content seems to be ("a GIF picture"), or NULL. */
const char *mc_image_guess(const uint8_t *data, size_t n_bytes);

#endif
