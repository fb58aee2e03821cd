#include "base/sha256.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

/* One round; the caller turns the names of the eight words instead of moving them. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                              \
  do {                                                                                                                \
    uint32_t t = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];             \
    d += t;                                                                                                           \
    h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                           \
  } while (0)

static void compress_plain(uint32_t s[8], const uint8_t *p, size_t n_blocks) {
  for (; n_blocks > 0; n_blocks--, p += 64) {
    uint32_t w[64], a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (int i = 0; i < 16; i++) {
      w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
      uint32_t x = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
      uint32_t y = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + x + w[i - 7] + y;
    }
    for (int i = 0; i < 64; i += 8) {
      ROUND(a, b, c, d, e, f, g, h, i);
      ROUND(h, a, b, c, d, e, f, g, i + 1);
      ROUND(g, h, a, b, c, d, e, f, i + 2);
      ROUND(f, g, h, a, b, c, d, e, i + 3);
      ROUND(e, f, g, h, a, b, c, d, i + 4);
      ROUND(d, e, f, g, h, a, b, c, i + 5);
      ROUND(c, d, e, f, g, h, a, b, i + 6);
      ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    s[0] += a;
    s[1] += b;
    s[2] += c;
    s[3] += d;
    s[4] += e;
    s[5] += f;
    s[6] += g;
    s[7] += h;
  }
}

#if defined(__x86_64__)
static bool has_sha_instructions(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}

/* The instructions keep the words as (a, b, e, f) and (c, d, g, h), and do two rounds each. */
__attribute__((target("sha,ssse3,sse4.1"))) static void compress_sha(uint32_t s[8], const uint8_t *p, size_t n_blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)s), 0xb1);
  __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(s + 4)), 0x1b);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
  for (; n_blocks > 0; n_blocks--, p += 64) {
    __m128i m[4], abef_before = abef, cdgh_before = cdgh;
    for (int i = 0; i < 4; i++) m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), swap);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      __m128i now = m[i & 3], sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(k + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
      if (i >= 12) continue;
      __m128i next = m[(i + 1) & 3], after = m[(i + 2) & 3], last = m[(i + 3) & 3];
      __m128i part = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8(last, after, 4));
      m[i & 3] = _mm_sha256msg2_epu32(part, last);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)s, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)(s + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
static bool has_sha_instructions(void) { return false; }
static void compress_sha(uint32_t s[8], const uint8_t *p, size_t n_blocks) { compress_plain(s, p, n_blocks); }
#endif

static void compress(mc_sha256 *h, const uint8_t *p, size_t n_blocks) {
  (h->plain ? compress_plain : compress_sha)(h->state, p, n_blocks);
}

void mc_sha256_init(mc_sha256 *h) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(h->state, start, sizeof start);
  h->n_bytes = 0;
  h->plain = !has_sha_instructions();
}

void mc_sha256_add(mc_sha256 *h, const void *data, size_t n_bytes) {
  const uint8_t *p = data;
  size_t held = h->n_bytes % 64;
  if (n_bytes == 0) return; /* data may be NULL then */
  h->n_bytes += n_bytes;
  if (held > 0) {
    size_t n = 64 - held < n_bytes ? 64 - held : n_bytes;
    memcpy(h->block + held, p, n);
    p += n;
    n_bytes -= n;
    if (held + n < 64) return;
    compress(h, h->block, 1);
  }
  compress(h, p, n_bytes / 64);
  p += n_bytes / 64 * 64;
  n_bytes %= 64;
  if (n_bytes > 0) memcpy(h->block, p, n_bytes);
}

void mc_sha256_bytes(mc_sha256 *h, uint8_t out[32]) {
  uint64_t n_bits = h->n_bytes * 8;
  size_t held = h->n_bytes % 64;
  h->block[held++] = 0x80;
  if (held > 56) {
    memset(h->block + held, 0, 64 - held);
    compress(h, h->block, 1);
    held = 0;
  }
  memset(h->block + held, 0, 56 - held);
  for (int i = 0; i < 8; i++) h->block[56 + i] = (uint8_t)(n_bits >> (56 - 8 * i));
  compress(h, h->block, 1);
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

void mc_sha256_hex(mc_sha256 *h, char out[65]) {
  static const char digits[] = "0123456789abcdef";
  uint8_t bytes[32];
  mc_sha256_bytes(h, bytes);
  for (int i = 0; i < 64; i++) out[i] = digits[(bytes[i / 2] >> (i % 2 ? 0 : 4)) & 15];
  out[64] = 0;
}
