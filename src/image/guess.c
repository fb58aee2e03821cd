/* Names what a file seems to be that is not a picture we read, so that the message helps. */
#include <stdbool.h>
#include <string.h>

#include "image/decode.h"

static bool looks_like_text(const uint8_t *data, size_t n) {
  n = n < 256 ? n : 256;
  for (size_t i = 0; i < n; i++) {
    uint8_t c = data[i];
    if (c == 127 || (c < 32 && c != '\n' && c != '\r' && c != '\t' && c != '\f')) return false;
  }
  return n > 0;
}

static const char *guess_box(const uint8_t *brand) {
  static const char heic[][5] = {"heic", "heix", "heim", "heis", "hevc", "mif1", "msf1"};
  if (memcmp(brand, "avif", 4) == 0 || memcmp(brand, "avis", 4) == 0) return "an AVIF picture";
  for (size_t i = 0; i < sizeof heic / sizeof *heic; i++) {
    if (memcmp(brand, heic[i], 4) == 0) return "a HEIC picture";
  }
  return "an MP4 or QuickTime film";
}

const char *mc_image_guess(const uint8_t *data, size_t n) {
  static const struct {
    const char *begin;
    size_t n;
    const char *what;
  } table[] = {
      {"GIF8", 4, "a GIF picture"},
      {"II*\0", 4, "a TIFF picture"},
      {"MM\0*", 4, "a TIFF picture"},
      {"II+\0", 4, "a TIFF picture"},
      {"MM\0+", 4, "a TIFF picture"},
      {"\0\0\0\x0cjP  ", 8, "a JPEG 2000 picture"},
      {"\xff\x4f\xff\x51", 4, "a JPEG 2000 picture"},
      {"\0\0\0\x0cJXL ", 8, "a JPEG XL picture"},
      {"\xff\x0a", 2, "a JPEG XL picture"},
      {"8BPS", 4, "a Photoshop picture"},
      {"\0\0\x01\0", 4, "an icon"},
      {"%PDF", 4, "a PDF document"},
      {"PK\x03\x04", 4, "a ZIP archive"},
      {"\x1f\x8b", 2, "a gzip archive"},
      {"RIFF", 4, "a RIFF file other than WebP"},
      {"P1", 2, "a PNM picture"}, {"P2", 2, "a PNM picture"}, {"P3", 2, "a PNM picture"},
      {"P4", 2, "a PNM picture"}, {"P5", 2, "a PNM picture"}, {"P6", 2, "a PNM picture"},
      {"<svg", 4, "an SVG drawing"},
  };
  if (n >= 12 && memcmp(data + 4, "ftyp", 4) == 0) return guess_box(data + 8);
  /* "BM" alone could begin a text: the header's reserved bytes are 0 too. */
  if (n >= 14 && memcmp(data, "BM", 2) == 0 && memcmp(data + 6, "\0\0\0", 4) == 0) return "a BMP picture";
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    bool pnm = table[i].begin[0] == 'P' && table[i].n == 2;
    if (n < table[i].n || memcmp(data, table[i].begin, table[i].n) != 0) continue;
    if (!pnm || (n > 2 && (data[2] == '\n' || data[2] == ' ' || data[2] == '\r'))) return table[i].what;
  }
  return looks_like_text(data, n) ? "text" : NULL;
}
