#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/internal.h"

moeclip_code mc_dnnl_fail(moeclip_error *err, dnnl_status_t status, const char *what) {
  moeclip_code code = status == dnnl_out_of_memory ? MOECLIP_ERROR_MEMORY : MOECLIP_ERROR_INTERNAL;
  return mc_fail(err, code, "oneDNN failed to compute %s (status %d)", what, (int)status);
}

moeclip_code mc_compute_create(int n_threads, mc_compute **out, moeclip_error *err) {
  *out = NULL;
  if (n_threads < 0 || n_threads > 4096) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "number of threads %d: 0 (automatic) to 4096 is possible", n_threads);
  }
  mc_compute *cp = calloc(1, sizeof *cp);
  if (!cp) return mc_fail_memory(err, sizeof *cp, "the compute handle");
  cp->n_threads = n_threads ? n_threads : omp_get_max_threads();
  dnnl_status_t status = dnnl_engine_create(&cp->engine, dnnl_cpu, 0);
  if (status == dnnl_success) status = dnnl_stream_create(&cp->stream, cp->engine, dnnl_stream_default_flags);
  if (status != dnnl_success) {
    mc_compute_destroy(cp);
    return mc_dnnl_fail(err, status, "anything: no CPU engine");
  }
  *out = cp;
  return MOECLIP_OK;
}

void mc_compute_destroy(mc_compute *cp) {
  if (!cp) return;
  for (int t = 0; cp->lanes && t < cp->n_threads; t++) {
    mc_compute_destroy(cp->lanes[t].cp);
    mc_arena_clear(&cp->lanes[t].arena);
  }
  free(cp->lanes);
  mc_products_destroy(cp);
  if (cp->stream) dnnl_stream_destroy(cp->stream);
  if (cp->engine && !cp->is_lane) dnnl_engine_destroy(cp->engine);
  mc_aligned_free(cp->copies);
  free(cp);
}

int mc_compute_threads(const mc_compute *cp) { return cp->n_threads; }

void mc_use_threads(const mc_compute *cp) {
  if (omp_get_max_threads() != cp->n_threads) omp_set_num_threads(cp->n_threads);
}

/* beta 0 or 1. */
static dnnl_status_t product(const mc_gemm *g, float beta) {
  return dnnl_sgemm(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', g->m, g->n, g->k, g->alpha == 0 ? 1.0f : g->alpha,
                    g->a, g->lda, g->b, g->ldb, beta, g->c, g->ldc);
}

/* The bias goes into C first: the product is then added to it in one pass. */
static void put_bias(const mc_gemm *g) {
  for (int64_t i = 0; i < g->m; i++) {
    float *row = g->c + i * g->ldc;
    if (g->accumulate) {
      for (int64_t j = 0; j < g->n; j++) row[j] += g->bias[j];
    } else {
      memcpy(row, g->bias, (size_t)g->n * sizeof *row);
    }
  }
}

/*
 * Where an operand's rows lie a large power of two apart, the elements of a column fall into few sets of the cache, and
 * packing them takes longer than the arithmetic (half the speed at 512 floats, a third at 1024). Such an operand is
 * copied to rows a little further apart.
 */
enum { COPY_FLOATS = 1 << 21, COPY_PAD = 16 };

static bool rows_collide(int64_t ld) { return ld >= 512 && ld % 256 == 0; }

typedef struct copy_rows {
  const float *from;
  float *to;
  int64_t n, ld;
} copy_rows;

static void copy_body(void *context, int64_t begin, int64_t end) {
  const copy_rows *c = context;
  for (int64_t r = begin; r < end; r++) memcpy(c->to + r * (c->n + COPY_PAD), c->from + r * c->ld, (size_t)c->n * sizeof *c->to);
}

static void copy_apart(mc_compute *cp, const float *from, int64_t rows, int64_t n, int64_t ld, float *to) {
  copy_rows c = {from, to, n, ld};
  mc_parallel_for(cp, rows, 32, copy_body, &c);
}

static bool copies_ready(mc_compute *cp, size_t n) {
  if (cp->n_copies >= n) return true;
  mc_aligned_free(cp->copies);
  cp->copies = mc_aligned_alloc(n, sizeof *cp->copies);
  cp->n_copies = cp->copies ? n : 0;
  return cp->copies != NULL;
}

/* A weight's gradient: a product over many rows of two matrices stored row by row. Copied some rows at a time. */
static dnnl_status_t deep_product(mc_compute *cp, const mc_gemm *g, float beta) {
  bool copy_a = rows_collide(g->lda), copy_b = rows_collide(g->ldb);
  int64_t wider = g->m > g->n ? g->m : g->n, rows = COPY_FLOATS / (wider + COPY_PAD);
  if (rows < 64) rows = 64;
  if (rows > g->k) rows = g->k;
  size_t n_a = copy_a ? (size_t)(rows * (g->m + COPY_PAD)) : 0, n_b = copy_b ? (size_t)(rows * (g->n + COPY_PAD)) : 0;
  if (n_a + n_b == 0 || !copies_ready(cp, n_a + n_b)) return product(g, beta); /* only slower */
  dnnl_status_t status = dnnl_success;
  for (int64_t at = 0; at < g->k && status == dnnl_success; at += rows) {
    mc_gemm part = *g;
    part.k = g->k - at < rows ? g->k - at : rows;
    part.a += at * g->lda;
    part.b += at * g->ldb;
    if (copy_a) {
      copy_apart(cp, part.a, part.k, g->m, g->lda, cp->copies);
      part.a = cp->copies;
      part.lda = g->m + COPY_PAD;
    }
    if (copy_b) {
      copy_apart(cp, part.b, part.k, g->n, g->ldb, cp->copies + n_a);
      part.b = cp->copies + n_a;
      part.ldb = g->n + COPY_PAD;
    }
    mc_use_threads(cp);
    status = product(&part, at > 0 ? 1.0f : beta);
  }
  return status;
}

/*
 * A tall product (many rows: tokens) goes in blocks of rows, each a thread's own. The bias is written just before the
 * block's product is added to it, while the block is in the cache, and the result does not depend on the number of
 * threads. Each block packs B anew, which hundreds of rows of work outweigh; every thread gets as many blocks as any other.
 */
enum { ROWS = 1024, ROW_STEP = 16 };

typedef struct tall {
  const mc_gemm *g;
  int64_t rows; /* of a block */
  dnnl_status_t failure;
} tall;

static int64_t block_rows(const mc_compute *cp, int64_t m) {
  int64_t rounds = (m + ROWS * cp->n_threads - 1) / (ROWS * cp->n_threads), blocks = rounds * cp->n_threads;
  int64_t rows = (m + blocks - 1) / blocks;
  return (rows + ROW_STEP - 1) / ROW_STEP * ROW_STEP;
}

static void tall_body(void *context, int64_t begin, int64_t end) {
  tall *t = context;
  mc_gemm part = *t->g;
  for (int64_t r = begin; r < end; r += t->rows) {
    part.m = end - r < t->rows ? end - r : t->rows;
    part.a = t->g->a + r * part.lda;
    part.c = t->g->c + r * part.ldc;
    if (part.bias) put_bias(&part);
    dnnl_status_t status = product(&part, part.accumulate || part.bias ? 1.0f : 0.0f);
    if (status != dnnl_success) {
#pragma omp atomic write
      t->failure = status;
    }
  }
}

static dnnl_status_t tall_product(mc_compute *cp, const mc_gemm *g) {
  mc_gemm apart = *g;
  tall t = {&apart, block_rows(cp, g->m), dnnl_success};
  if (!g->trans_b && rows_collide(g->ldb) && g->k <= 4 * COPY_FLOATS / g->n &&
      copies_ready(cp, (size_t)(g->k * (g->n + COPY_PAD)))) {
    copy_apart(cp, g->b, g->k, g->n, g->ldb, cp->copies);
    apart.b = cp->copies;
    apart.ldb = g->n + COPY_PAD;
  }
  mc_parallel_for(cp, g->m, t.rows, tall_body, &t);
  return t.failure;
}

moeclip_code mc_gemm_run(mc_compute *cp, const mc_gemm *g, moeclip_error *err) {
  if (g->m == 0 || g->n == 0) return MOECLIP_OK;
  /* Measured on 2 cores (docs/DESIGN.md): dnnl_sgemm is within 5 % of a matmul primitive with packed weights in float32,
   * and needs neither a primitive for each shape nor a copy of the weights. */
  dnnl_status_t status;
  mc_use_threads(cp);
  if (!g->trans_a && g->m >= ROWS) {
    status = tall_product(cp, g);
  } else {
    if (g->bias) put_bias(g);
    float beta = g->accumulate || g->bias ? 1.0f : 0.0f;
    status = g->trans_a && !g->trans_b && g->k >= 256 ? deep_product(cp, g, beta) : product(g, beta);
  }
  return status == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, status, "a matrix product");
}

bool mc_gemm_alone(const mc_gemm *g) {
  if (g->m == 0 || g->n == 0) return true;
  if (g->bias) put_bias(g);
  return product(g, g->accumulate || g->bias ? 1.0f : 0.0f) == dnnl_success;
}

void mc_parallel_units(mc_compute *cp, int64_t n, void (*body)(void *context, int64_t unit, int thread), void *context) {
  mc_use_threads(cp);
  if (n < cp->n_threads || cp->n_threads == 1) {
    for (int64_t i = 0; i < n; i++) body(context, i, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(cp->n_threads)
  for (int64_t i = 0; i < n; i++) body(context, i, omp_get_thread_num());
}

void mc_parallel_for(mc_compute *cp, int64_t n, int64_t grain, void (*body)(void *context, int64_t begin, int64_t end),
                     void *context) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  int64_t n_blocks = (n + grain - 1) / grain;
  if (n_blocks == 1 || cp->n_threads == 1) {
    body(context, 0, n);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(cp->n_threads)
  for (int64_t i = 0; i < n_blocks; i++) {
    int64_t begin = i * grain, end = begin + grain < n ? begin + grain : n;
    body(context, begin, end);
  }
}
