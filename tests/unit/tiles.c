/* Tiles: what is laid out stands where it should, with zeros around it, and every kind of product that the processor has agrees with sums in
 * double. */
#include <stdlib.h>
#include <string.h>

#include "compute/tiles.h"
#include "check.h"

static mc_bfloat16 *numbers(int64_t n, uint32_t seed) {
  mc_bfloat16 *x = malloc((size_t)n * sizeof *x);
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = mc_round_bfloat16((float)(seed >> 8) / 8388608.0f - 1.0f);
  }
  return x;
}

/* Garbage, which must not be left where a layout says zero. */
static mc_bfloat16 *garbage(int64_t n) {
  mc_bfloat16 *x = malloc((size_t)n * sizeof *x);
  memset(x, 0x7f, (size_t)n * sizeof *x);
  return x;
}

static mc_bfloat16 tile_at(const mc_bfloat16 *tiles, int64_t k32, int64_t row, int64_t column) {
  return tiles[((column / 16 * k32 + row / 32) * 16 + row % 32 / 2) * 32 + column % 16 * 2 + row % 2];
}

static void test_layouts(int64_t rows, int64_t columns) {
  int64_t ld = columns + 3, m16 = mc_tiles_of_rows(rows), k32 = mc_tiles_of_k(columns), n16 = mc_tiles_of_rows(columns), r32 = mc_tiles_of_k(rows);
  mc_bfloat16 *x = numbers(rows * ld, 5), *a = garbage(m16 * 16 * k32 * 32), *turned = garbage(n16 * 16 * r32 * 32);
  mc_bfloat16 *b = garbage(r32 * 32 * n16 * 16), *b_turned = garbage(k32 * 32 * m16 * 16);
  int64_t wrong = 0;
  mc_tiles_rows(x, ld, rows, columns, m16, k32, a);
  mc_tiles_rows_turned(x, ld, rows, columns, n16, r32, turned);
  mc_tiles_of(x, ld, rows, columns, b);
  mc_tiles_of_turned(x, ld, rows, columns, b_turned);
  for (int64_t r = 0; r < r32 * 32; r++) {
    for (int64_t c = 0; c < k32 * 32; c++) {
      mc_bfloat16 expected = r < rows && c < columns ? x[r * ld + c] : 0;
      if (r < m16 * 16) wrong += (a[r * k32 * 32 + c] != expected) + (tile_at(b_turned, k32, c, r) != expected);
      if (c < n16 * 16) wrong += (turned[c * r32 * 32 + r] != expected) + (tile_at(b, r32, r, c) != expected);
    }
  }
  CHECK_MSG(wrong == 0, "%lldx%lld: %lld numbers stand wrong", (long long)rows, (long long)columns, (long long)wrong);
  *mc_tiles_pair(b, r32, 2 * ((rows - 1) / 2), n16 - 1) = 77;
  CHECK(tile_at(b, r32, 2 * ((rows - 1) / 2), (n16 - 1) * 16) == 77);
  void *all[] = {x, a, turned, b, b_turned};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void test_round_turned(int64_t rows, int64_t columns) {
  int64_t ld = mc_tiles_of_rows(columns) * 16, to = rows + 5, wrong = 0;
  float *x = malloc((size_t)(mc_tiles_of_rows(rows) * 16 * ld) * sizeof *x);
  mc_bfloat16 *out = garbage(columns * to), *before = garbage(columns * to);
  for (int64_t i = 0; i < mc_tiles_of_rows(rows) * 16 * ld; i++) x[i] = (float)i * 1.7f;
  mc_tiles_round_turned(x, ld, rows, columns, out, to);
  for (int64_t c = 0; c < columns; c++) {
    for (int64_t r = 0; r < to; r++) wrong += out[c * to + r] != (r < rows ? mc_round_bfloat16(x[r * ld + c]) : before[0]);
  }
  CHECK_MSG(wrong == 0, "%lldx%lld: %lld numbers turned wrong", (long long)rows, (long long)columns, (long long)wrong);
  free(x);
  free(out);
  free(before);
}

static void test_product(mc_tile_kind kind, int64_t m16, int64_t n16, int64_t k32) {
  int64_t m = m16 * 16, n = n16 * 16, k = k32 * 32, lda = k + 8, ldc = n + 4;
  mc_bfloat16 *a = numbers(m * lda, 1), *x = numbers(k * n, 2), *b = malloc((size_t)(k * n) * sizeof *b);
  float *c = malloc((size_t)(m * ldc) * sizeof *c), *before;
  double worst = 0;
  memset(c, 0x7f, (size_t)(m * ldc) * sizeof *c);
  before = malloc(sizeof *before);
  memset(before, 0x7f, sizeof *before);
  mc_tiles_of(x, n, k, n, b);
  mc_tiles_multiply(kind, &(mc_tile_product){m16, n16, k32, a, lda, b, c, ldc});
  for (int64_t r = 0; r < m; r++) {
    for (int64_t i = 0; i < n; i++) {
      double sum = 0;
      for (int64_t j = 0; j < k; j++) sum += (double)mc_from_bfloat16(a[r * lda + j]) * (double)mc_from_bfloat16(x[j * n + i]);
      double off = sum - (double)c[r * ldc + i];
      if (!(off < worst && off > -worst)) worst = off < 0 ? -off : off;
    }
    CHECK(memcmp(&c[r * ldc + n], before, sizeof *before) == 0);
  }
  CHECK_MSG(worst < 1e-6 * (double)k, "kind %d, %lldx%lldx%lld: %g", (int)kind, (long long)m, (long long)n, (long long)k, worst);
  void *all[] = {a, x, b, c, before};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

int main(void) {
  test_layouts(197, 64);
  test_layouts(1, 1);
  test_layouts(16, 32);
  test_layouts(17, 80);
  test_layouts(77, 33);
  test_round_turned(64, 197);
  test_round_turned(33, 5);
  for (int kind = MC_TILES_PLAIN; kind <= (int)mc_tiles_best(); kind++) {
    for (int64_t m16 = 1; m16 <= 3; m16++) {
      for (int64_t n16 = 1; n16 <= 3; n16++) test_product((mc_tile_kind)kind, m16, n16, 1 + (m16 + n16) % 3);
    }
    test_product((mc_tile_kind)kind, 2, 13, 7);
  }
  return check_report();
}
