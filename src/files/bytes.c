#include "files/bytes.h"

#include <string.h>

#include "base/memory.h"

void mc_bytes_put(mc_bytes *b, const void *data, size_t n) {
  size_t need;
  if (b->failed || n == 0) return;
  if (!mc_add_size(b->n, n, &need) || need > SIZE_MAX / 2) {
    b->failed = true;
    return;
  }
  if (need > b->cap) {
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need) cap *= 2;
    uint8_t *p = mc_realloc(b->data, cap, 1);
    if (!p) {
      b->failed = true;
      return;
    }
    b->data = p;
    b->cap = cap;
  }
  memcpy(b->data + b->n, data, n);
  b->n = need;
}

void mc_bytes_text(mc_bytes *b, const char *text) { mc_bytes_put(b, text, strlen(text)); }

void mc_bytes_u8(mc_bytes *b, uint8_t v) { mc_bytes_put(b, &v, 1); }

void mc_bytes_u16(mc_bytes *b, uint16_t v) {
  uint8_t p[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
  mc_bytes_put(b, p, sizeof p);
}

void mc_bytes_u32(mc_bytes *b, uint32_t v) {
  mc_bytes_u16(b, (uint16_t)v);
  mc_bytes_u16(b, (uint16_t)(v >> 16));
}

void mc_bytes_u64(mc_bytes *b, uint64_t v) {
  mc_bytes_u32(b, (uint32_t)v);
  mc_bytes_u32(b, (uint32_t)(v >> 32));
}
