/* PNG by libpng: every colour type and depth to 8-bit RGB. 16-bit values keep their high byte. */
#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "image/decode.h"

/* Deflate can make at most 1032 bytes out of one. */
#define MAX_INFLATION 1032

typedef struct png_reader {
  png_structp png;
  png_infop info;
  jmp_buf escape;
  const mc_image_file *file;
  size_t at; /* next byte to hand to libpng */
  moeclip_image *out;
  png_bytepp rows;
  moeclip_error *err;
  moeclip_code code;
  bool no_memory; /* libpng calls that damage */
} png_reader;

static _Noreturn void escape(png_reader *r, moeclip_code code) {
  r->code = code;
  longjmp(r->escape, 1);
}

static _Noreturn void on_error(png_structp png, png_const_charp message) {
  png_reader *r = png_get_error_ptr(png);
  if (r->no_memory) escape(r, mc_fail_memory(r->err, r->file->n_bytes, r->file->name));
  escape(r, mc_fail(r->err, MOECLIP_ERROR_FORMAT, "%s: damaged PNG: %s", r->file->name, message));
}

static png_voidp on_allocate(png_structp png, png_alloc_size_t n) {
  png_reader *r = png_get_mem_ptr(png);
  void *p = mc_alloc(n, 1);
  if (!p) r->no_memory = true;
  return p;
}

static void on_free(png_structp png, png_voidp p) {
  (void)png;
  free(p);
}

static void on_warning(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t n) {
  png_reader *r = png_get_io_ptr(png);
  if (n > r->file->n_bytes - r->at) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_FORMAT, "%s: damaged PNG: the file is cut short", r->file->name));
  }
  memcpy(to, r->file->data + r->at, n);
  r->at += n;
}

static uint32_t get32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The eXIf chunk may come before or after the pixels; libpng would have to read all of them first. */
static int find_orientation(const mc_image_file *file) {
  for (size_t at = 8; file->n_bytes - at >= 12;) {
    const uint8_t *chunk = file->data + at;
    size_t n = get32(chunk);
    if (n > file->n_bytes - at - 12) return 1;
    if (memcmp(chunk + 4, "eXIf", 4) == 0) {
      bool intact = crc32(0, chunk + 4, (uInt)n + 4) == get32(chunk + 8 + n);
      return intact ? mc_exif_orientation(chunk + 8, n) : 1;
    }
    at += n + 12;
  }
  return 1;
}

/* Before libpng sees anything: the size it is about to believe. */
static moeclip_code check_header(const mc_image_file *file, moeclip_error *err) {
  const uint8_t *d = file->data;
  if (file->n_bytes < 33 || memcmp(d + 12, "IHDR", 4) != 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged PNG: it does not begin with its header", file->name);
  }
  uint64_t width = get32(d + 16), height = get32(d + 20), depth = d[24];
  uint64_t channels = d[25] == 2 ? 3 : d[25] == 4 ? 2 : d[25] == 6 ? 4 : 1;
  MC_TRY(mc_image_check_size(file, width, height, err));
  uint64_t n_raw = (width * channels * depth + 7) / 8 * height;
  if (n_raw / MAX_INFLATION > file->n_bytes) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged PNG: too short for %llu x %llu pixels", file->name,
                   (unsigned long long)width, (unsigned long long)height);
  }
  return MOECLIP_OK;
}

/* To 8-bit RGB or RGBA; returns the channels. */
static int set_transformations(png_reader *r) {
  png_byte type = png_get_color_type(r->png, r->info);
  if (png_get_bit_depth(r->png, r->info) == 16) png_set_strip_16(r->png);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(r->png);
  if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(r->png);
  if (png_get_valid(r->png, r->info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(r->png);
  if (type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA) png_set_gray_to_rgb(r->png);
  png_set_interlace_handling(r->png);
  png_read_update_info(r->png, r->info);
  int channels = png_get_channels(r->png, r->info);
  size_t n_row = png_get_rowbytes(r->png, r->info);
  if ((channels != 3 && channels != 4) || n_row != (size_t)png_get_image_width(r->png, r->info) * (size_t)channels) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_INTERNAL, "%s: libpng does not make RGB of it", r->file->name));
  }
  return channels;
}

static void read_pixels(png_reader *r) {
  moeclip_image *out = r->out;
  png_set_read_fn(r->png, r, on_read);
  /* Texts, profiles and the like change nothing here, and some can be inflated at length. */
  png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_read_info(r->png, r->info);
  int channels = set_transformations(r);
  out->width = (int)png_get_image_width(r->png, r->info);
  out->height = (int)png_get_image_height(r->png, r->info);
  size_t n_rows = (size_t)out->height, n_row = (size_t)out->width * (size_t)channels;
  moeclip_code code = mc_image_room(r->file, out->width, out->height, channels, &out->rgb, r->err);
  if (code != MOECLIP_OK) escape(r, code);
  r->rows = mc_alloc(n_rows, sizeof *r->rows);
  if (!r->rows) escape(r, mc_fail_memory(r->err, n_rows * sizeof *r->rows, r->file->name));
  for (size_t y = 0; y < n_rows; y++) r->rows[y] = out->rgb + y * n_row;
  png_read_image(r->png, r->rows);
  if (channels == 4) out->rgb = mc_over_white(out->rgb, (size_t)out->width * n_rows);
}

/* The reader is not a local of the function that calls setjmp, so that what it holds survives longjmp. */
static void read_picture(png_reader *r) {
  if (setjmp(r->escape) != 0) return;
  r->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, on_error, on_warning, r, on_allocate, on_free);
  if (r->png) r->info = png_create_info_struct(r->png);
  if (!r->info) escape(r, mc_fail_memory(r->err, 0, "a PNG reader"));
  read_pixels(r);
}

moeclip_code mc_decode_png(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err) {
  *out = (moeclip_image){0};
  MC_TRY(check_header(file, err));
  png_reader r = {.file = file, .out = out, .err = err, .code = MOECLIP_OK};
  read_picture(&r);
  png_destroy_read_struct(&r.png, &r.info, NULL);
  free(r.rows);
  if (r.code != MOECLIP_OK) moeclip_image_clear(out);
  *orientation = find_orientation(file);
  return r.code;
}
