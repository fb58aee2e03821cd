#include "compute/internal.h"
#include "compute/tiles.h"
#include "compute/vector.h"

/* The places in the scratch: A turned, B's tiles, the product. */
typedef struct places {
  int64_t m16, n16, k32;
  mc_bfloat16 *a, *b;
  float *product;
} places;

static size_t lay_out(int64_t m, int64_t n, int64_t k, void *scratch, places *x) {
  *x = (places){.m16 = mc_tiles_of_rows(m), .n16 = mc_tiles_of_rows(n), .k32 = mc_tiles_of_k(k)};
  int64_t a = x->m16 * x->k32 * MC_TILE, b = x->n16 * x->k32 * MC_TILE, c = x->m16 * x->n16 * MC_TILE_ROWS * MC_TILE_ROWS;
  x->product = scratch;
  if (scratch) {
    x->a = (mc_bfloat16 *)(x->product + c);
    x->b = x->a + a;
  }
  return (size_t)c * sizeof *x->product + (size_t)(a + b) * sizeof *x->a;
}

size_t mc_gradient16_scratch(int64_t m, int64_t n, int64_t k) {
  places x;
  return lay_out(m, n, k, NULL, &x);
}

MC_VECTORISED static void add_rows(const float *x, int64_t ldx, int64_t m, int64_t n, float *c, int64_t ldc) {
  for (int64_t r = 0; r < m; r++) {
    for (int64_t i = 0; i < n; i++) c[r * ldc + i] += x[r * ldx + i];
  }
}

/* Square by square, so that both sides stay in the first cache. */
MC_VECTORISED static void add_turned(const float *x, int64_t ldx, int64_t m, int64_t n, float *c, int64_t ldc) {
  enum { SIDE = 16 };
  for (int64_t first = 0; first < n; first += SIDE) {
    for (int64_t r = 0; r < m; r += SIDE) {
      int64_t rows = m - r < SIDE ? m - r : SIDE, columns = n - first < SIDE ? n - first : SIDE;
      for (int64_t j = 0; j < columns; j++) {
        for (int64_t i = 0; i < rows; i++) c[(first + j) * ldc + r + i] += x[(r + i) * ldx + first + j];
      }
    }
  }
}

void mc_gradient16_alone(const mc_compute *cp, const mc_gradient16 *g) {
  places x;
  lay_out(g->m, g->n, g->k, g->scratch, &x);
  int64_t ld = x.n16 * MC_TILE_ROWS, own = x.k32 * MC_TILE_K;
  mc_tiles_rows_turned(g->a, g->lda, g->k, g->m, x.m16, x.k32, x.a);
  mc_tiles_of(g->b, g->ldb, g->k, g->n, x.b);
  mc_tiles_multiply(cp->tiles, &(mc_tile_product){x.m16, x.n16, x.k32, x.a, own, x.b, x.product, ld});
  if (g->turned) {
    add_turned(x.product, ld, g->m, g->n, g->c, g->ldc);
  } else {
    add_rows(x.product, ld, g->m, g->n, g->c, g->ldc);
  }
}
