#include "base/sha256.h"

#include <string.h>

static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void compress(uint32_t s[8], const uint8_t *p) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++, p += 4) {
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
    uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  memcpy(v, s, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t e = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    uint32_t t1 = v[7] + e + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
    uint32_t a = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    uint32_t t2 = a + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) s[i] += v[i];
}

void mc_sha256_init(mc_sha256 *h) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(h->state, start, sizeof start);
  h->n_bytes = 0;
}

void mc_sha256_add(mc_sha256 *h, const void *data, size_t n_bytes) {
  const uint8_t *p = data;
  size_t held = h->n_bytes % 64;
  h->n_bytes += n_bytes;
  if (held > 0) {
    size_t n = 64 - held < n_bytes ? 64 - held : n_bytes;
    memcpy(h->block + held, p, n);
    p += n;
    n_bytes -= n;
    if (held + n < 64) return;
    compress(h->state, h->block);
  }
  for (; n_bytes >= 64; p += 64, n_bytes -= 64) compress(h->state, p);
  if (n_bytes > 0) memcpy(h->block, p, n_bytes);
}

void mc_sha256_bytes(mc_sha256 *h, uint8_t out[32]) {
  uint64_t n_bits = h->n_bytes * 8;
  size_t held = h->n_bytes % 64;
  h->block[held++] = 0x80;
  if (held > 56) {
    memset(h->block + held, 0, 64 - held);
    compress(h->state, h->block);
    held = 0;
  }
  memset(h->block + held, 0, 56 - held);
  for (int i = 0; i < 8; i++) h->block[56 + i] = (uint8_t)(n_bits >> (56 - 8 * i));
  compress(h->state, h->block);
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

void mc_sha256_hex(mc_sha256 *h, char out[65]) {
  static const char digits[] = "0123456789abcdef";
  uint8_t bytes[32];
  mc_sha256_bytes(h, bytes);
  for (int i = 0; i < 64; i++) out[i] = digits[(bytes[i / 2] >> (i % 2 ? 0 : 4)) & 15];
  out[64] = 0;
}
