/* Both factors of a product are copied into narrow strips that the inner loop reads in order; Cholesky and the solves are
 * blocks of columns, with nearly all of their work in such products. */
#include "compute/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/vector.h"

enum {
  ROWS = 4,         /* of C that the inner loop holds in registers */
  COLUMNS = 8,
  DEPTH = 256,      /* of k at a time: a strip of B stays in the first cache */
  BLOCK_ROWS = 64,  /* of C that a thread takes at once: its strips of A stay in the second */
  SOLVE_BLOCK = 96  /* columns of a factor at a time */
};

typedef double four __attribute__((vector_size(32), aligned(8), may_alias));

typedef struct product {
  const mc_gemm64 *g;
  int64_t k0, depth;
  double *a, *b; /* strips: [m / ROWS][depth][ROWS], [n / COLUMNS][depth][COLUMNS]; zeros beyond m and n */
} product;

static int64_t strips(int64_t n, int64_t width) { return (n + width - 1) / width; }

/* x: stored [k, n] (or [n, k] when by_rows) -> strips `width` wide. */
static void pack(const double *x, int64_t ld, bool by_rows, int64_t n, int64_t k0, int64_t depth, int64_t width, int64_t strip,
                 double *out) {
  int64_t first = strip * width, count = n - first < width ? n - first : width;
  double *to = out + strip * depth * width;
  if (count < width) memset(to, 0, (size_t)(depth * width) * sizeof *to);
  for (int64_t k = 0; !by_rows && k < depth; k++) {
    memcpy(to + k * width, x + (k0 + k) * ld + first, (size_t)count * sizeof *to);
  }
  for (int64_t i = 0; by_rows && i < count; i++) {
    const double *row = x + (first + i) * ld + k0;
    for (int64_t k = 0; k < depth; k++) to[k * width + i] = row[k];
  }
}

static void pack_a(void *context, int64_t begin, int64_t end) {
  const product *p = context;
  for (int64_t s = begin; s < end; s++) pack(p->g->a, p->g->lda, !p->g->trans_a, p->g->m, p->k0, p->depth, ROWS, s, p->a);
}

static void pack_b(void *context, int64_t begin, int64_t end) {
  const product *p = context;
  for (int64_t s = begin; s < end; s++) pack(p->g->b, p->g->ldb, p->g->trans_b, p->g->n, p->k0, p->depth, COLUMNS, s, p->b);
}

/* tile [ROWS, COLUMNS] = sum over k of a strip of A times a strip of B. */
#define TILE(a, b, depth, tile)                                                   \
  do {                                                                            \
    four sum[ROWS][2] = {{{0}}};                                                  \
    for (int64_t k = 0; k < (depth); k++) {                                       \
      const four *b4 = (const four *)((b) + k * COLUMNS);                         \
      four b0 = b4[0], b1 = b4[1];                                                \
      for (int row = 0; row < ROWS; row++) {                                      \
        double x = (a)[k * ROWS + row];                                           \
        four x4 = {x, x, x, x};                                                   \
        sum[row][0] += x4 * b0;                                                   \
        sum[row][1] += x4 * b1;                                                   \
      }                                                                           \
    }                                                                             \
    for (int row = 0; row < ROWS; row++) {                                        \
      ((four *)((tile) + row * COLUMNS))[0] = sum[row][0];                        \
      ((four *)((tile) + row * COLUMNS))[1] = sum[row][1];                        \
    }                                                                             \
  } while (0)

MC_VECTORISED static void multiply(void *context, int64_t begin, int64_t end) {
  const product *p = context;
  const mc_gemm64 *g = p->g;
  double tile[ROWS * COLUMNS];
  for (int64_t block = begin; block < end; block++) {
    int64_t row0 = block * BLOCK_ROWS, row_end = row0 + BLOCK_ROWS < g->m ? row0 + BLOCK_ROWS : g->m;
    int64_t columns = g->lower && row_end < g->n ? row_end : g->n;
    for (int64_t j = 0; j < columns; j += COLUMNS) {
      int64_t n_columns = g->n - j < COLUMNS ? g->n - j : COLUMNS;
      const double *b = p->b + j / COLUMNS * p->depth * COLUMNS;
      int64_t i = g->lower && j > row0 ? j / ROWS * ROWS : row0; /* above is above the diagonal */
      for (; i < row_end; i += ROWS) {
        int64_t n_rows = g->m - i < ROWS ? g->m - i : ROWS;
        const double *a = p->a + i / ROWS * p->depth * ROWS;
        TILE(a, b, p->depth, tile);
        for (int64_t r = 0; r < n_rows; r++) {
          double *c = g->c + (i + r) * g->ldc + j;
          for (int64_t q = 0; q < n_columns; q++) c[q] += g->alpha * tile[r * COLUMNS + q];
        }
      }
    }
  }
}

moeclip_code mc_gemm64_run(mc_compute *cp, const mc_gemm64 *g, moeclip_error *err) {
  if (g->m <= 0 || g->n <= 0 || g->k <= 0) return MOECLIP_OK;
  int64_t deepest = g->k < DEPTH ? g->k : DEPTH, a_strips = strips(g->m, ROWS), b_strips = strips(g->n, COLUMNS);
  product p = {.g = g, .a = mc_aligned_alloc((size_t)(a_strips * ROWS), (size_t)deepest * sizeof(double)),
               .b = mc_aligned_alloc((size_t)(b_strips * COLUMNS), (size_t)deepest * sizeof(double))};
  moeclip_code code = MOECLIP_OK;
  if (!p.a || !p.b) code = mc_fail_memory(err, (size_t)(g->m + g->n) * (size_t)deepest * sizeof(double), "a product");
  for (p.k0 = 0; code == MOECLIP_OK && p.k0 < g->k; p.k0 += DEPTH) {
    p.depth = g->k - p.k0 < DEPTH ? g->k - p.k0 : DEPTH;
    mc_parallel_for(cp, a_strips, 16, pack_a, &p);
    mc_parallel_for(cp, b_strips, 16, pack_b, &p);
    mc_parallel_for(cp, strips(g->m, BLOCK_ROWS), 1, multiply, &p);
  }
  mc_aligned_free(p.a);
  mc_aligned_free(p.b);
  return code;
}

/* --- Cholesky ----------------------------------------------------------------------------------------------------------- */

/* One block [n, n] within rows of ld. false: not positive definite. */
static bool factor_block(double *a, int64_t ld, int64_t n) {
  for (int64_t j = 0; j < n; j++) {
    double *row = a + j * ld, d = row[j];
    for (int64_t k = 0; k < j; k++) d -= row[k] * row[k];
    if (!(d > 0) || !isfinite(d)) return false;
    row[j] = sqrt(d);
    for (int64_t i = j + 1; i < n; i++) {
      double *below = a + i * ld, s = below[j];
      for (int64_t k = 0; k < j; k++) s -= below[k] * row[k];
      below[j] = s / row[j];
    }
  }
  return true;
}

typedef struct panel {
  double *rows;           /* the rows below a block, [.., n] in rows of ld */
  int64_t ld, n;
  const double *factor_t; /* [n, n]: the block's factor, transposed */
} panel;

/* Each row x of the panel becomes the solution of x' L^T = x. */
MC_VECTORISED static void solve_panel(void *context, int64_t begin, int64_t end) {
  const panel *p = context;
  for (int64_t r = begin; r < end; r++) {
    double *x = p->rows + r * p->ld;
    for (int64_t j = 0; j < p->n; j++) {
      const double *column = p->factor_t + j * p->n; /* L[.., j] */
      double v = x[j] /= column[j];
      for (int64_t k = j + 1; k < p->n; k++) x[k] -= v * column[k];
    }
  }
}

moeclip_code mc_cholesky(mc_compute *cp, double *a, int64_t n, moeclip_error *err) {
  double *transposed = mc_alloc((size_t)SOLVE_BLOCK * SOLVE_BLOCK, sizeof *transposed);
  if (!transposed) return mc_fail_memory(err, sizeof(double) * SOLVE_BLOCK * SOLVE_BLOCK, "a system of equations");
  moeclip_code code = MOECLIP_OK;
  for (int64_t at = 0; code == MOECLIP_OK && at < n; at += SOLVE_BLOCK) {
    int64_t block = n - at < SOLVE_BLOCK ? n - at : SOLVE_BLOCK, below = n - at - block;
    double *corner = a + at * n + at;
    if (!factor_block(corner, n, block)) {
      code = mc_fail(err, MOECLIP_ERROR_NUMERIC,
                     "the system of equations of %lld unknowns is not positive definite at number %lld", (long long)n,
                     (long long)at);
      break;
    }
    for (int64_t i = 0; i < block; i++) {
      for (int64_t j = 0; j <= i; j++) transposed[j * block + i] = corner[i * n + j];
    }
    panel p = {corner + block * n, n, block, transposed};
    mc_parallel_for(cp, below, 16, solve_panel, &p);
    mc_gemm64 g = {.m = below, .n = below, .k = block, .a = p.rows, .lda = n, .b = p.rows, .ldb = n, .trans_b = true,
                   .c = corner + block * n + block, .ldc = n, .alpha = -1, .lower = true};
    code = mc_gemm64_run(cp, &g, err);
  }
  free(transposed);
  return code;
}

typedef struct triangle {
  const double *l; /* the block's factor, in rows of n */
  int64_t n, block;
  double *b;       /* the block's rows, [block, m] */
  int64_t m;
} triangle;

enum { SOLVE_COLUMNS = 64 }; /* right sides that a thread takes at once */

MC_VECTORISED static void solve_down(void *context, int64_t begin, int64_t end) {
  const triangle *t = context;
  int64_t first = begin * SOLVE_COLUMNS, last = end * SOLVE_COLUMNS < t->m ? end * SOLVE_COLUMNS : t->m;
  for (int64_t i = 0; i < t->block; i++) {
    double *row = t->b + i * t->m, d = 1 / t->l[i * t->n + i];
    for (int64_t k = 0; k < i; k++) {
      const double *known = t->b + k * t->m;
      double w = t->l[i * t->n + k];
      for (int64_t c = first; c < last; c++) row[c] -= w * known[c];
    }
    for (int64_t c = first; c < last; c++) row[c] *= d;
  }
}

MC_VECTORISED static void solve_up(void *context, int64_t begin, int64_t end) {
  const triangle *t = context;
  int64_t first = begin * SOLVE_COLUMNS, last = end * SOLVE_COLUMNS < t->m ? end * SOLVE_COLUMNS : t->m;
  for (int64_t i = t->block - 1; i >= 0; i--) {
    double *row = t->b + i * t->m, d = 1 / t->l[i * t->n + i];
    for (int64_t k = i + 1; k < t->block; k++) {
      const double *known = t->b + k * t->m;
      double w = t->l[k * t->n + i];
      for (int64_t c = first; c < last; c++) row[c] -= w * known[c];
    }
    for (int64_t c = first; c < last; c++) row[c] *= d;
  }
}

moeclip_code mc_cholesky_solve(mc_compute *cp, const double *l, int64_t n, double *b, int64_t m, moeclip_error *err) {
  if (n <= 0 || m <= 0) return MOECLIP_OK;
  int64_t last = (n - 1) / SOLVE_BLOCK * SOLVE_BLOCK;
  for (int64_t at = 0; at < n; at += SOLVE_BLOCK) {
    int64_t block = n - at < SOLVE_BLOCK ? n - at : SOLVE_BLOCK;
    triangle t = {l + at * n + at, n, block, b + at * m, m};
    mc_parallel_for(cp, strips(m, SOLVE_COLUMNS), 1, solve_down, &t);
    mc_gemm64 g = {.m = n - at - block, .n = m, .k = block, .a = l + (at + block) * n + at, .lda = n, .b = t.b, .ldb = m,
                   .c = b + (at + block) * m, .ldc = m, .alpha = -1};
    MC_TRY(mc_gemm64_run(cp, &g, err));
  }
  for (int64_t at = last; at >= 0; at -= SOLVE_BLOCK) {
    int64_t block = n - at < SOLVE_BLOCK ? n - at : SOLVE_BLOCK;
    triangle t = {l + at * n + at, n, block, b + at * m, m};
    mc_gemm64 g = {.m = block, .n = m, .k = n - at - block, .a = l + (at + block) * n + at, .lda = n, .trans_a = true,
                   .b = b + (at + block) * m, .ldb = m, .c = t.b, .ldc = m, .alpha = -1};
    MC_TRY(mc_gemm64_run(cp, &g, err));
    mc_parallel_for(cp, strips(m, SOLVE_COLUMNS), 1, solve_up, &t);
  }
  return MOECLIP_OK;
}
