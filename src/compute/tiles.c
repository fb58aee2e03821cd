#include "compute/tiles.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

#include "compute/vector.h"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAVE_X86 1
#include <immintrin.h>
#endif

/* --- layouts ------------------------------------------------------------------------------------------------------------------------- */

void mc_tiles_rows(const mc_bfloat16 *x, int64_t ld, int64_t rows, int64_t columns, int64_t m16, int64_t k32, mc_bfloat16 *out) {
  int64_t own = k32 * MC_TILE_K;
  for (int64_t r = 0; r < rows; r++) {
    memcpy(out + r * own, x + r * ld, (size_t)columns * sizeof *x);
    memset(out + r * own + columns, 0, (size_t)(own - columns) * sizeof *x);
  }
  memset(out + rows * own, 0, (size_t)((m16 * MC_TILE_ROWS - rows) * own) * sizeof *x);
}

/* Two rows side by side. */
MC_INLINE void put_pair(const mc_bfloat16 *restrict first, const mc_bfloat16 *restrict second, mc_bfloat16 *restrict out) {
  mc_tile_pair *pairs = (mc_tile_pair *)out;
  MC_EACH_LANE(c) pairs[c] = mc_tile_pair_of(first[c], second[c]);
}

/* What a row that is missing holds. */
static const mc_bfloat16 nothing[MC_TILE_ROWS];

MC_VECTORISED void mc_tiles_of(const mc_bfloat16 *x, int64_t ld, int64_t k, int64_t n, mc_bfloat16 *out) {
  int64_t k32 = mc_tiles_of_k(k), whole = n / MC_TILE_ROWS;
  for (int64_t r = 0; r < k32 * MC_TILE_K; r += 2) {
    const mc_bfloat16 *first = r < k ? x + r * ld : NULL, *second = r + 1 < k ? x + (r + 1) * ld : NULL;
    for (int64_t j = 0; j < whole; j++) {
      put_pair(first ? first + j * MC_TILE_ROWS : nothing, second ? second + j * MC_TILE_ROWS : nothing, mc_tiles_pair(out, k32, r, j));
    }
    for (int64_t c = whole * MC_TILE_ROWS; c < mc_tiles_of_rows(n) * MC_TILE_ROWS; c++) {
      mc_bfloat16 *to = mc_tiles_pair(out, k32, r, whole) + 2 * (c - whole * MC_TILE_ROWS);
      to[0] = first && c < n ? first[c] : 0;
      to[1] = second && c < n ? second[c] : 0;
    }
  }
}

/* A square's two halves, shuffled into each other as cards are. A side is 16: after four shuffles, rows and columns have changed places. */
enum { SQUARE = MC_TILE_ROWS * MC_TILE_ROWS, SHUFFLES = 4 };
MC_INLINE void shuffle_pairs(const uint32_t *restrict in, uint32_t *restrict out) {
  for (int i = 0; i < SQUARE / 2; i++) {
    out[2 * i] = in[i];
    out[2 * i + 1] = in[SQUARE / 2 + i];
  }
}

MC_INLINE void shuffle(const mc_bfloat16 *restrict in, mc_bfloat16 *restrict out) {
  for (int i = 0; i < SQUARE / 2; i++) {
    out[2 * i] = in[i];
    out[2 * i + 1] = in[SQUARE / 2 + i];
  }
}

/* 16 rows of x, `width` columns of each, with zeros where it has none. Copies of a fixed size are no calls. */
MC_INLINE void take_square(mc_bfloat16 *restrict square, int64_t width, const mc_bfloat16 *restrict x, int64_t ld, int64_t rows, int64_t columns) {
  if (rows >= MC_TILE_ROWS && columns >= width) {
    for (int r = 0; r < MC_TILE_ROWS; r++) memcpy(square + r * width, x + r * ld, (size_t)width * sizeof *x);
    return;
  }
  for (int64_t r = 0; r < MC_TILE_ROWS; r++) {
    for (int64_t c = 0; c < width; c++) square[r * width + c] = r < rows && c < columns ? x[r * ld + c] : 0;
  }
}

/* A tile of x turned is a square of pairs: column c of it is row c of x. */
MC_VECTORISED void mc_tiles_of_turned(const mc_bfloat16 *x, int64_t ld, int64_t n, int64_t k, mc_bfloat16 *out) {
  uint32_t square[2][SQUARE];
  int64_t k32 = mc_tiles_of_k(k);
  for (int64_t j = 0; j < mc_tiles_of_rows(n); j++) {
    for (int64_t s = 0; s < k32; s++) {
      take_square((mc_bfloat16 *)square[0], MC_TILE_K, x + j * MC_TILE_ROWS * ld + s * MC_TILE_K, ld, n - j * MC_TILE_ROWS, k - s * MC_TILE_K);
      for (int i = 0; i < SHUFFLES; i++) shuffle_pairs(square[i % 2], square[(i + 1) % 2]);
      memcpy(out + (j * k32 + s) * MC_TILE, square[SHUFFLES % 2], sizeof square[0]);
    }
  }
}

MC_VECTORISED void mc_tiles_rows_turned(const mc_bfloat16 *x, int64_t ld, int64_t rows, int64_t columns, int64_t m16, int64_t k32,
                                        mc_bfloat16 *out) {
  mc_bfloat16 square[2][SQUARE];
  int64_t own = k32 * MC_TILE_K;
  for (int64_t c = 0; c < m16 * MC_TILE_ROWS; c += MC_TILE_ROWS) {
    for (int64_t r = 0; r < own; r += MC_TILE_ROWS) {
      take_square(square[0], MC_TILE_ROWS, x + r * ld + c, ld, rows - r, columns - c);
      for (int i = 0; i < SHUFFLES; i++) shuffle(square[i % 2], square[(i + 1) % 2]);
      for (int i = 0; i < MC_TILE_ROWS; i++) {
        memcpy(out + (c + i) * own + r, square[SHUFFLES % 2] + i * MC_TILE_ROWS, MC_TILE_ROWS * sizeof *out);
      }
    }
  }
}

MC_VECTORISED void mc_tiles_round_turned(const float *x, int64_t ldx, int64_t rows, int64_t columns, mc_bfloat16 *out, int64_t ld) {
  mc_bfloat16 square[2][SQUARE];
  for (int64_t c = 0; c < columns; c += MC_TILE_ROWS) {
    for (int64_t r = 0; r < rows; r += MC_TILE_ROWS) {
      int64_t n = rows - r < MC_TILE_ROWS ? rows - r : MC_TILE_ROWS;
      for (int i = 0; i < MC_TILE_ROWS; i++) {
        for (int k = 0; k < MC_TILE_ROWS; k++) square[0][i * MC_TILE_ROWS + k] = mc_round_bfloat16(x[(r + i) * ldx + c + k]);
      }
      for (int i = 0; i < SHUFFLES; i++) shuffle(square[i % 2], square[(i + 1) % 2]);
      for (int64_t i = 0; i < MC_TILE_ROWS && c + i < columns; i++) {
        const mc_bfloat16 *from = square[SHUFFLES % 2] + i * MC_TILE_ROWS;
        mc_bfloat16 *to = out + (c + i) * ld + r;
        if (n == MC_TILE_ROWS) {
          memcpy(to, from, MC_TILE_ROWS * sizeof *to);
        } else {
          for (int64_t k = 0; k < n; k++) to[k] = from[k];
        }
      }
    }
  }
}

/* --- products ------------------------------------------------------------------------------------------------------------------------ */

typedef struct place {
  const mc_bfloat16 *a, *b;
  float *c;
} place;

static place place_of(const mc_tile_product *p, int64_t i, int64_t j) {
  return (place){p->a + i * MC_TILE_ROWS * p->lda, p->b + j * p->k32 * MC_TILE, p->c + i * MC_TILE_ROWS * p->ldc + j * MC_TILE_ROWS};
}

MC_INLINE float widen_bits(uint32_t bits) {
  union { uint32_t u; float f; } x = {bits};
  return x.f;
}

/* Some rows of a tile of C, few enough for their sums to stay in registers. */
enum { PLAIN_ROWS = 4 };
MC_VECTORISED static void plain(const mc_bfloat16 *a, int64_t lda, const mc_bfloat16 *b, int64_t k32, float *c, int64_t ldc) {
  float sum[PLAIN_ROWS][MC_LANES] = {{0}};
  for (int64_t k = 0; k < k32 * MC_TILE_K; k += 2, b += MC_TILE_K) {
    /* Read where they stand: a copy of them would be read before it is written out. */
    const mc_tile_pair *pairs = (const mc_tile_pair *)b;
    float even[MC_LANES], odd[MC_LANES];
    MC_EACH_LANE(i) even[i] = widen_bits(pairs[i] << 16);
    MC_EACH_LANE(i) odd[i] = widen_bits(pairs[i] & 0xffff0000u);
    for (int r = 0; r < PLAIN_ROWS; r++) {
      float x = mc_from_bfloat16(a[r * lda + k]), y = mc_from_bfloat16(a[r * lda + k + 1]);
      MC_EACH_LANE(i) sum[r][i] += x * even[i] + y * odd[i];
    }
  }
  for (int r = 0; r < PLAIN_ROWS; r++) memcpy(c + r * ldc, sum[r], sizeof sum[r]);
}

static void multiply_plain(const mc_tile_product *p) {
  for (int64_t j = 0; j < p->n16; j++) {
    for (int64_t i = 0; i < p->m16; i++) {
      place at = place_of(p, i, j);
      for (int r = 0; r < MC_TILE_ROWS; r += PLAIN_ROWS) plain(at.a + r * p->lda, p->lda, at.b, p->k32, at.c + r * p->ldc, p->ldc);
    }
  }
}

#ifdef HAVE_X86

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) static void multiply_avx512(const mc_tile_product *p) {
  for (int64_t j = 0; j < p->n16; j++) {
    for (int64_t i = 0; i < p->m16; i++) {
      place at = place_of(p, i, j);
      __m512 sum[MC_TILE_ROWS];
      for (int r = 0; r < MC_TILE_ROWS; r++) sum[r] = _mm512_setzero_ps();
      for (int64_t k = 0; k < p->k32 * MC_TILE_K; k += 2) {
        __m512i b = _mm512_loadu_si512(at.b + k * MC_TILE_ROWS);
#pragma GCC unroll 16
        for (int r = 0; r < MC_TILE_ROWS; r++) {
          int32_t pair;
          memcpy(&pair, at.a + r * p->lda + k, sizeof pair);
          sum[r] = _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
        }
      }
      for (int r = 0; r < MC_TILE_ROWS; r++) _mm512_storeu_ps(at.c + r * p->ldc, sum[r]);
    }
  }
}

#define AMX __attribute__((target("amx-tile,amx-bf16")))
#define AMX_INLINE AMX static inline __attribute__((always_inline))

/* What LDTILECFG reads: palette 1, eight whole tiles. */
typedef struct tile_setting {
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_setting;

/* Up to 2 x 2 tiles of C at once, which read each tile of A and B twice. */
AMX_INLINE void block(const mc_tile_product *p, int64_t i, int64_t j, bool two_rows, bool two_columns) {
  place at = place_of(p, i, j);
  int64_t lda = p->lda * (int64_t)sizeof *p->a, ldc = p->ldc * (int64_t)sizeof *p->c;
  const mc_bfloat16 *below = at.a + MC_TILE_ROWS * p->lda, *beside = at.b + p->k32 * MC_TILE;
  float *c_below = at.c + MC_TILE_ROWS * p->ldc;
  _tile_zero(0);
  if (two_columns) _tile_zero(1);
  if (two_rows) _tile_zero(2);
  if (two_rows && two_columns) _tile_zero(3);
  for (int64_t k = 0; k < p->k32; k++) {
    _tile_loadd(6, at.b + k * MC_TILE, 64);
    _tile_loadd(4, at.a + k * MC_TILE_K, lda);
    _tile_dpbf16ps(0, 4, 6);
    if (two_columns) {
      _tile_loadd(7, beside + k * MC_TILE, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (two_rows) {
      _tile_loadd(5, below + k * MC_TILE_K, lda);
      _tile_dpbf16ps(2, 5, 6);
    }
    if (two_rows && two_columns) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, at.c, ldc);
  if (two_columns) _tile_stored(1, at.c + MC_TILE_ROWS, ldc);
  if (two_rows) _tile_stored(2, c_below, ldc);
  if (two_rows && two_columns) _tile_stored(3, c_below + MC_TILE_ROWS, ldc);
}

AMX static void multiply_amx(const mc_tile_product *p) {
  tile_setting setting = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    setting.row_bytes[i] = 64;
    setting.rows[i] = MC_TILE_ROWS;
  }
  /* gcc's intrinsics do not tell it that they read memory. */
  __asm__ volatile("" : : "r"(&setting) : "memory");
  _tile_loadconfig(&setting);
  for (int64_t j = 0; j < p->n16; j += 2) {
    bool two_columns = j + 1 < p->n16;
    for (int64_t i = 0; i < p->m16; i += 2) {
      bool two_rows = i + 1 < p->m16;
      if (two_rows && two_columns) {
        block(p, i, j, true, true);
      } else if (two_rows) {
        block(p, i, j, true, false);
      } else if (two_columns) {
        block(p, i, j, false, true);
      } else {
        block(p, i, j, false, false);
      }
    }
  }
  _tile_release();
  __asm__ volatile("" : : : "memory");
}

#endif

mc_tile_kind mc_tiles_best(void) {
#ifdef HAVE_X86
  /* oneDNN asks the system for the tiles' use, too, which Linux wants. */
  int isa = (int)dnnl_get_effective_cpu_isa(), amx = (int)dnnl_cpu_isa_avx512_core_amx, dot = (int)dnnl_cpu_isa_avx512_core_bf16;
  if ((isa & amx) == amx) return MC_TILES_AMX;
  if ((isa & dot) == dot) return MC_TILES_AVX512;
#endif
  return MC_TILES_PLAIN;
}

void mc_tiles_multiply(mc_tile_kind kind, const mc_tile_product *p) {
#ifdef HAVE_X86
  if (kind == MC_TILES_AMX) {
    multiply_amx(p);
    return;
  }
  if (kind == MC_TILES_AVX512) {
    multiply_avx512(p);
    return;
  }
#endif
  (void)kind;
  multiply_plain(p);
}
