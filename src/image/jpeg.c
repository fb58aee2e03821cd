/* JPEG by libjpeg-turbo, with the settings that Pillow uses (accurate integer DCT, fancy upsampling). */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/decode.h"

/* Encoders write about ten; each scan costs a pass over the whole picture however short it is. */
#define MAX_SCANS 100

typedef struct jpeg_reader {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf escape;
  const mc_image_file *file;
  moeclip_image *out;
  int *orientation;
  moeclip_error *err;
  moeclip_code code;
} jpeg_reader;

static _Noreturn void escape(jpeg_reader *r, moeclip_code code) {
  r->code = code;
  longjmp(r->escape, 1);
}

static void on_error(j_common_ptr jpeg) {
  jpeg_reader *r = jpeg->client_data;
  char message[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, message);
  moeclip_code code = jpeg->err->msg_code == JERR_OUT_OF_MEMORY ? MOECLIP_ERROR_MEMORY : MOECLIP_ERROR_FORMAT;
  escape(r, mc_fail(r->err, code, "%s: damaged JPEG: %s", r->file->name, message));
}

/* Warnings are let pass, as Pillow does (stray bytes between segments are common), but for the one that says that
 * libjpeg has begun to make up the rest of a file that ended too early. */
static void on_message(j_common_ptr jpeg, int level) {
  jpeg_reader *r = jpeg->client_data;
  if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_FORMAT, "%s: damaged JPEG: the file is cut short", r->file->name));
  }
}

static void on_progress(j_common_ptr jpeg) {
  jpeg_reader *r = jpeg->client_data;
  if (r->jpeg.input_scan_number > MAX_SCANS) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_UNSUPPORTED, "%s: a JPEG of more than %d scans", r->file->name, MAX_SCANS));
  }
}

/* A block of 8 x 8 takes at least a bit in Huffman coding, so that a header cannot claim more than its file holds.
 * Arithmetic coding has no such bound; there, less than a bit for 64 blocks is taken for a lie. */
static void check_backing(jpeg_reader *r) {
  uint64_t n_blocks = 0, blocks_per_byte = r->jpeg.arith_code ? 8 * 64 : 8;
  for (int i = 0; i < r->jpeg.num_components; i++) {
    const jpeg_component_info *c = &r->jpeg.comp_info[i];
    n_blocks += (uint64_t)c->width_in_blocks * c->height_in_blocks;
  }
  if (n_blocks / blocks_per_byte > r->file->n_bytes) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_FORMAT, "%s: damaged JPEG: too short for %u x %u pixels", r->file->name,
                      r->jpeg.image_width, r->jpeg.image_height));
  }
}

static void read_header(jpeg_reader *r) {
  struct jpeg_decompress_struct *jpeg = &r->jpeg;
  jpeg_mem_src(jpeg, r->file->data, (unsigned long)r->file->n_bytes);
  jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(jpeg, TRUE);
  moeclip_code code = mc_image_check_size(r->file, jpeg->image_width, jpeg->image_height, r->err);
  if (code != MOECLIP_OK) escape(r, code);
  int n = jpeg->num_components;
  if (n != 1 && n != 3 && n != 4) {
    escape(r, mc_fail(r->err, MOECLIP_ERROR_UNSUPPORTED, "%s: a JPEG of %d components; 1, 3 or 4 are read",
                      r->file->name, n));
  }
  check_backing(r);
  jpeg->out_color_space = n == 4 ? JCS_CMYK : JCS_RGB;
  for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
    if (m->data_length < 6 || memcmp(m->data, "Exif\0", 6) != 0) continue;
    *r->orientation = mc_exif_orientation(m->data, m->data_length);
    break;
  }
}

/* Four inks to RGB in Pillow's arithmetic. The inks are stored inverted, as Adobe's programs do and Pillow assumes. */
static void inks_to_rgb(const uint8_t *inks, size_t n, uint8_t *rgb) {
  for (size_t i = 0; i < n; i++, inks += 4, rgb += 3) {
    uint32_t white = inks[3];
    for (int c = 0; c < 3; c++) {
      uint32_t v = (255u - inks[c]) * white + 128;
      rgb[c] = (uint8_t)(white - ((v + (v >> 8)) >> 8));
    }
  }
}

static void read_pixels(jpeg_reader *r) {
  struct jpeg_decompress_struct *jpeg = &r->jpeg;
  moeclip_image *out = r->out;
  out->width = (int)jpeg->image_width;
  out->height = (int)jpeg->image_height;
  moeclip_code code = mc_image_room(r->file, out->width, out->height, 3, &out->rgb, r->err);
  if (code != MOECLIP_OK) escape(r, code);
  jpeg_start_decompress(jpeg);
  size_t width = (size_t)out->width;
  JSAMPARRAY inks = NULL;
  if (jpeg->out_color_space == JCS_CMYK) {
    inks = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, jpeg->output_width * 4, 1);
  }
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t *row = out->rgb + jpeg->output_scanline * width * 3;
    jpeg_read_scanlines(jpeg, inks ? inks : &row, 1);
    if (inks) inks_to_rgb(inks[0], width, row);
  }
  /* Reads on to the end-of-image marker, which a complete file has. */
  jpeg_finish_decompress(jpeg);
}

/* The reader is not a local of the function that calls setjmp, so that what it holds survives longjmp. */
static void read_picture(jpeg_reader *r) {
  if (setjmp(r->escape) != 0) return;
  jpeg_create_decompress(&r->jpeg);
  r->jpeg.progress = &r->progress;
  read_header(r);
  read_pixels(r);
}

moeclip_code mc_decode_jpeg(const mc_image_file *file, moeclip_image *out, int *orientation, moeclip_error *err) {
  jpeg_reader r = {.file = file, .out = out, .orientation = orientation, .err = err, .code = MOECLIP_OK};
  *out = (moeclip_image){0};
  r.jpeg.err = jpeg_std_error(&r.errors);
  r.errors.error_exit = on_error;
  r.errors.emit_message = on_message;
  r.progress.progress_monitor = on_progress;
  r.jpeg.client_data = &r;
  read_picture(&r);
  jpeg_destroy_decompress(&r.jpeg);
  if (r.code != MOECLIP_OK) moeclip_image_clear(out);
  return r.code;
}
