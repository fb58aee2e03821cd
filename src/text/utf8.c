#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/text.h"

void mc_codepoints_init(mc_codepoints *c) {
  c->at = c->local;
  c->n = 0;
  c->capacity = sizeof c->local / sizeof *c->local;
  c->failed = false;
}

void mc_codepoints_clear(mc_codepoints *c) {
  if (c->at != c->local) free(c->at);
  mc_codepoints_init(c);
}

bool mc_codepoints_reserve(mc_codepoints *c, size_t n) {
  if (c->failed) return false;
  if (n <= c->capacity) return true;
  size_t capacity = c->capacity + c->capacity / 2;
  if (capacity < n) capacity = n;
  int32_t *at = mc_realloc(c->at == c->local ? NULL : c->at, capacity, sizeof *at);
  if (!at) {
    c->failed = true;
    return false;
  }
  if (c->at == c->local) memcpy(at, c->local, c->n * sizeof *at);
  c->at = at;
  c->capacity = capacity;
  return true;
}

void mc_codepoints_append(mc_codepoints *c, const int32_t *at, size_t n) {
  size_t total;
  if (n == 0) return;
  if (!mc_add_size(c->n, n, &total) || !mc_codepoints_reserve(c, total)) return;
  memcpy(c->at + c->n, at, n * sizeof *at);
  c->n = total;
}

/* One code point from s[n], n >= 1: its length in bytes into *used. Surrogates are returned as such; -1: no UTF-8, *used is
 * the length of the maximal part that a decoder skips. */
static int32_t decode_one(const uint8_t *s, size_t n, size_t *used) {
  *used = 1;
  if (s[0] < 0x80) return s[0];
  if (s[0] < 0xC2 || s[0] > 0xF4) return -1;
  size_t length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
  int32_t cp = s[0] & (0xFF >> (length + 1));
  uint8_t low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
  uint8_t high = s[0] == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; i++) {
    if (i >= n || s[i] < low || s[i] > high) {
      *used = i;
      return -1;
    }
    cp = cp << 6 | (s[i] & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  *used = length;
  return cp;
}

void mc_utf8_decode(const char *text, size_t n, mc_codepoints *out) {
  const uint8_t *s = (const uint8_t *)text;
  size_t total;
  if (!mc_add_size(out->n, n, &total) || !mc_codepoints_reserve(out, total)) {
    out->failed = true;
    return;
  }
  for (size_t i = 0; i < n;) {
    size_t used, used_low;
    int32_t cp = decode_one(s + i, n - i, &used);
    if (cp >= 0xD800 && cp <= 0xDBFF && i + used < n) {
      int32_t second = decode_one(s + i + used, n - i - used, &used_low);
      if (second >= 0xDC00 && second <= 0xDFFF) {
        cp = 0x10000 + ((cp - 0xD800) << 10) + (second - 0xDC00);
        used += used_low;
      }
    }
    if (cp < 0 || (cp >= 0xD800 && cp <= 0xDFFF)) cp = 0xFFFD;
    out->at[out->n++] = cp; /* each takes at least one byte, so the room reserved is enough */
    i += used;
  }
}

int mc_utf8_encode(int32_t cp, uint8_t out[4]) {
  if (cp < 0x80) {
    out[0] = (uint8_t)cp;
    return 1;
  }
  if (cp < 0x800) {
    out[0] = (uint8_t)(0xC0 | cp >> 6);
    out[1] = (uint8_t)(0x80 | (cp & 0x3F));
    return 2;
  }
  if (cp < 0x10000) {
    out[0] = (uint8_t)(0xE0 | cp >> 12);
    out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
    out[2] = (uint8_t)(0x80 | (cp & 0x3F));
    return 3;
  }
  out[0] = (uint8_t)(0xF0 | cp >> 18);
  out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3F));
  out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
  out[3] = (uint8_t)(0x80 | (cp & 0x3F));
  return 4;
}
