/* The one note of EXIF that changes what a picture shows: its orientation. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/decode.h"

#define TAG_ORIENTATION 0x0112

static uint32_t get16(const uint8_t *p, bool big) {
  return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, bool big) {
  return big ? get16(p, big) << 16 | get16(p + 2, big) : get16(p + 2, big) << 16 | get16(p, big);
}

int mc_exif_orientation(const uint8_t *data, size_t n_bytes) {
  if (n_bytes >= 6 && memcmp(data, "Exif\0", 6) == 0) {
    data += 6;
    n_bytes -= 6;
  }
  if (n_bytes < 8) return 1;
  bool big = data[0] == 'M';
  if (memcmp(data, big ? "MM" : "II", 2) != 0 || get16(data + 2, big) != 42) return 1;
  size_t at = get32(data + 4, big);
  if (at > n_bytes || n_bytes - at < 2) return 1;
  uint32_t n_entries = get16(data + at, big);
  for (at += 2; n_entries > 0 && n_bytes - at >= 12; at += 12, n_entries--) {
    const uint8_t *entry = data + at;
    if (get16(entry, big) != TAG_ORIENTATION) continue;
    /* One SHORT, by the standard; some cameras write a LONG. */
    uint32_t type = get16(entry + 2, big), count = get32(entry + 4, big);
    if (count != 1 || (type != 3 && type != 4)) return 1;
    uint32_t value = type == 3 ? get16(entry + 8, big) : get32(entry + 8, big);
    return value >= 1 && value <= 8 ? (int)value : 1;
  }
  return 1;
}

moeclip_code mc_image_orient(moeclip_image *image, int orientation, moeclip_error *err) {
  if (orientation <= 1 || orientation > 8) return MOECLIP_OK;
  const ptrdiff_t w = image->width, h = image->height, row = w * 3;
  bool turned = orientation >= 5;
  /* Where the new picture's first pixel is in the old one, and the steps there for one to the right and one down. */
  bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  ptrdiff_t along_x = from_right ? -3 : 3, along_y = from_bottom ? -row : row;
  const uint8_t *first = image->rgb + (from_right ? row - 3 : 0) + (from_bottom ? (h - 1) * row : 0);
  ptrdiff_t step_right = turned ? along_y : along_x, step_down = turned ? along_x : along_y;
  ptrdiff_t new_w = turned ? h : w, new_h = turned ? w : h;
  uint8_t *out = mc_alloc((size_t)(w * h), 3);
  if (!out) return mc_fail_memory(err, (size_t)(w * h) * 3, "a picture");
  uint8_t *to = out;
  for (ptrdiff_t y = 0; y < new_h; y++) {
    const uint8_t *from = first + y * step_down;
    for (ptrdiff_t x = 0; x < new_w; x++, to += 3, from += x < new_w ? step_right : 0) memcpy(to, from, 3);
  }
  free(image->rgb);
  *image = (moeclip_image){.width = (int)new_w, .height = (int)new_h, .rgb = out};
  return MOECLIP_OK;
}
