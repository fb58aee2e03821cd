/*
 * Products of small bfloat16 matrices, laid out as tiles, for kernels that keep what they work on in a core's cache: AMX's tiles where the
 * processor has them, AVX-512's bfloat16 dot products, or plain C. On the calling thread alone.
 *
 * A tile of B holds 32 rows and 16 columns of it, two rows side by side: tile[r][2c + i] = B[2r + i][c], r and c from 0 to 15, as both
 * instructions want it. The tiles of B [k, n] stand column by column: [n16][k32], where n16 = n / 16 and k32 = k / 32, rounded up, with
 * zeros where there is nothing. A is row by row.
 */
#ifndef MC_COMPUTE_TILES_H
#define MC_COMPUTE_TILES_H

#include "compute/bfloat16.h"

enum { MC_TILE_ROWS = 16, MC_TILE_K = 32, MC_TILE = MC_TILE_ROWS * MC_TILE_K };

typedef enum mc_tile_kind { MC_TILES_PLAIN = 0, MC_TILES_AVX512, MC_TILES_AMX } mc_tile_kind;

/* The fastest that the processor has (and that oneDNN's setting of the instruction set allows). */
mc_tile_kind mc_tiles_best(void);

static inline int64_t mc_tiles_of_rows(int64_t n) { return (n + MC_TILE_ROWS - 1) / MC_TILE_ROWS; }
static inline int64_t mc_tiles_of_k(int64_t k) { return (k + MC_TILE_K - 1) / MC_TILE_K; }

/* C[16 m16, 16 n16] = A[16 m16, 32 k32] B. a: all its rows and columns are read; lda, ldc: elements from a row to the next. Results of
 * one kind are the same for any number of rows; those of two kinds differ within rounding. */
typedef struct mc_tile_product {
  int64_t m16, n16, k32;
  const mc_bfloat16 *a; int64_t lda;
  const mc_bfloat16 *b; /* [n16][k32] tiles */
  float *c; int64_t ldc;
} mc_tile_product;
void mc_tiles_multiply(mc_tile_kind kind, const mc_tile_product *p);

/* Two numbers of a tile, side by side, as they stand in memory on a little-endian processor. */
typedef uint32_t __attribute__((may_alias)) mc_tile_pair;
static inline uint32_t mc_tile_pair_of(mc_bfloat16 even, mc_bfloat16 odd) { return (uint32_t)even | (uint32_t)odd << 16; }
_Static_assert(sizeof(mc_tile_pair) == 2 * sizeof(mc_bfloat16), "a pair is two numbers");

/* x [rows, columns], ld elements from a row to the next -> the same with zeros around it, [16 m16, 32 k32], dense: an A. */
void mc_tiles_rows(const mc_bfloat16 *x, int64_t ld, int64_t rows, int64_t columns, int64_t m16, int64_t k32, mc_bfloat16 *out);
/* x [k, n] -> tiles of B = x. */
void mc_tiles_of(const mc_bfloat16 *x, int64_t ld, int64_t k, int64_t n, mc_bfloat16 *out);
/* x [n, k] -> tiles of B = x turned. */
void mc_tiles_of_turned(const mc_bfloat16 *x, int64_t ld, int64_t n, int64_t k, mc_bfloat16 *out);
/* x [rows, columns] -> x turned, with zeros around it, [16 m16, 32 k32], dense: an A. m16 and k32 are of columns and rows. */
void mc_tiles_rows_turned(const mc_bfloat16 *x, int64_t ld, int64_t rows, int64_t columns, int64_t m16, int64_t k32, mc_bfloat16 *out);

/* x [rows, columns] in float32, of which whole tiles are read -> turned and rounded: out [columns, rows]. */
void mc_tiles_round_turned(const float *x, int64_t ldx, int64_t rows, int64_t columns, mc_bfloat16 *out, int64_t ld);

/* The place of rows 2r and 2r + 1, columns 16j on, in tiles of k32 each column. */
static inline mc_bfloat16 *mc_tiles_pair(mc_bfloat16 *tiles, int64_t k32, int64_t row, int64_t j) {
  return tiles + ((j * k32 + row / MC_TILE_K) * MC_TILE_ROWS + row % MC_TILE_K / 2) * MC_TILE_K;
}

#endif
