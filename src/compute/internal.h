/* What the files of compute/ share. */
#ifndef MC_COMPUTE_INTERNAL_H
#define MC_COMPUTE_INTERNAL_H

#include <oneapi/dnnl/dnnl.h>

#include "compute/compute.h"

struct mc_compute {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int n_threads;
  float *copies; /* scratch of matrix products, made on first use */
  size_t n_copies;
};

/* Puts a oneDNN status into err, naming what was being done. */
moeclip_code mc_dnnl_fail(moeclip_error *err, dnnl_status_t status, const char *what);

/* oneDNN takes its number of threads from the calling thread's OpenMP setting; call before any oneDNN work. */
void mc_use_threads(const mc_compute *cp);

#endif
