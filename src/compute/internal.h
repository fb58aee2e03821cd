/* What the files of compute/ share. */
#ifndef MC_COMPUTE_INTERNAL_H
#define MC_COMPUTE_INTERNAL_H

#include <oneapi/dnnl/dnnl.h>

#include "compute/compute.h"
#include "compute/tiles.h"

typedef struct mc_products mc_products; /* bfloat16 primitives: gemm16.c */

struct mc_compute {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int n_threads;
  float *copies; /* scratch of matrix products, made on first use */
  size_t n_copies;
  mc_precision precision;
  bool native16;          /* oneDNN has bfloat16 products for this processor */
  mc_tile_kind tiles;     /* likewise: what multiplies them */
  mc_products **products; /* [1 + n_threads]: of all threads together, and of each alone; NULL until bfloat16 is asked for */
  mc_lane *lanes;         /* [n_threads]; likewise, and NULL in a lane */
  bool is_lane;           /* the engine is another handle's */
};

void mc_products_destroy(mc_compute *cp);

/* Puts a oneDNN status into err, naming what was being done. */
moeclip_code mc_dnnl_fail(moeclip_error *err, dnnl_status_t status, const char *what);

/* oneDNN takes its number of threads from the calling thread's OpenMP setting; call before any oneDNN work. */
void mc_use_threads(const mc_compute *cp);

#endif
