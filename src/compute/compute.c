#include <omp.h>
#include <stdlib.h>
#include <string.h>

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
  if (cp->stream) dnnl_stream_destroy(cp->stream);
  if (cp->engine) dnnl_engine_destroy(cp->engine);
  free(cp);
}

int mc_compute_threads(const mc_compute *cp) { return cp->n_threads; }

void mc_use_threads(const mc_compute *cp) {
  if (omp_get_max_threads() != cp->n_threads) omp_set_num_threads(cp->n_threads);
}

typedef struct fill_rows {
  float *c;
  int64_t n, ldc;
  const float *bias;
} fill_rows;

static void fill_bias(void *context, int64_t begin, int64_t end) {
  const fill_rows *f = context;
  for (int64_t i = begin; i < end; i++) memcpy(f->c + i * f->ldc, f->bias, (size_t)f->n * sizeof *f->c);
}

static void add_bias(void *context, int64_t begin, int64_t end) {
  const fill_rows *f = context;
  for (int64_t i = begin; i < end; i++) {
    float *row = f->c + i * f->ldc;
    for (int64_t j = 0; j < f->n; j++) row[j] += f->bias[j];
  }
}

moeclip_code mc_gemm_run(mc_compute *cp, const mc_gemm *g, moeclip_error *err) {
  if (g->m == 0 || g->n == 0) return MOECLIP_OK;
  float beta = g->accumulate ? 1.0f : 0.0f;
  if (g->bias) {
    /* The bias goes in first: the product is then added to it in one pass. */
    fill_rows rows = {g->c, g->n, g->ldc, g->bias};
    mc_parallel_for(cp, g->m, 16, g->accumulate ? add_bias : fill_bias, &rows);
    beta = 1.0f;
  }
  mc_use_threads(cp);
  /* Measured on 2 cores (docs/DESIGN.md): dnnl_sgemm is within 5 % of a matmul primitive with packed weights in float32,
   * and needs neither a primitive for each shape nor a copy of the weights. */
  dnnl_status_t status = dnnl_sgemm(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', g->m, g->n, g->k,
                                    g->alpha == 0 ? 1.0f : g->alpha, g->a, g->lda, g->b, g->ldb, beta, g->c, g->ldc);
  return status == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, status, "a matrix product");
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
