/*
 * compute/: arithmetic on plain row-major arrays: matrix products and convolution through oneDNN, and the small kernels
 * around them. Includes base/ only; model/, select/ and train/ include it. Knows nothing of CLIP.
 *
 * mc_compute holds what oneDNN needs: engine, stream, and the primitives made so far (by shape). One thread may use a
 * handle at a time; the work inside is spread over n_threads.
 */
#ifndef MC_COMPUTE_COMPUTE_H
#define MC_COMPUTE_COMPUTE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"

typedef struct mc_compute mc_compute;

/* n_threads 0: as many as the process may use. */
moeclip_code mc_compute_create(int n_threads, mc_compute **out, moeclip_error *err);
void mc_compute_destroy(mc_compute *cp);
int mc_compute_threads(const mc_compute *cp);

/* What the towers' matrix products take: float32, the reference, or bfloat16 with float32 sums (compute/bfloat16.h). */
typedef enum mc_precision { MC_FLOAT32 = 0, MC_BFLOAT16 } mc_precision;
/* float32 until it is set. bfloat16 works on every processor, but where it has no such instructions slower than float32. */
moeclip_code mc_compute_set_precision(mc_compute *cp, mc_precision precision, moeclip_error *err);
mc_precision mc_compute_precision(const mc_compute *cp);
/* Is bfloat16 known to be the faster of the two on this processor? (docs/PERFORMANCE.md: with AMX's tiles, by far.) */
bool mc_compute_fast_bfloat16(void);

/* A thread's own handle, for a unit of mc_parallel_units that does whole layers: what is called with it runs on that thread alone. Only
 * where bfloat16 was set. arena: for what such a unit needs while it works. */
typedef struct mc_lane {
  mc_compute *cp;
  mc_arena arena;
} mc_lane;
mc_lane *mc_compute_lane(mc_compute *cp, int thread);

/* C[m,n] = alpha * op(A) op(B) + bias (+ C). Row-major with leading dimensions ld* (elements from a row to the next).
 * op(A) is [m,k]: A is stored [m,k], or [k,m] when trans_a. op(B) is [k,n]: stored [k,n], or [n,k] when trans_b. */
typedef struct mc_gemm {
  int64_t m, n, k;
  const float *a; int64_t lda; bool trans_a;
  const float *b; int64_t ldb; bool trans_b;
  float *c; int64_t ldc;
  const float *bias; /* [n], or NULL */
  float alpha;       /* 0 is read as 1 */
  bool accumulate;   /* add to what C holds */
} mc_gemm;
moeclip_code mc_gemm_run(mc_compute *cp, const mc_gemm *g, moeclip_error *err);
/* The same from within a unit of mc_parallel_units: on the calling thread where several work. false: oneDNN failed. */
bool mc_gemm_alone(const mc_gemm *g);

/* 2-D convolution, forward only (AlexNet). x [n, c_in, h, w], weight [c_out, c_in, k, k], bias [c_out],
 * y [n, c_out, (h + 2 pad - k) / stride + 1, ...]. relu: apply max(0, .) to the result. In bfloat16, x and weight
 * are rounded where the processor multiplies such numbers; elsewhere all of it stays float32. */
typedef struct mc_conv2d {
  int64_t n, c_in, h, w, c_out, k, stride, pad;
  const float *x, *weight, *bias;
  float *y;
  bool relu;
} mc_conv2d;
moeclip_code mc_conv2d_run(mc_compute *cp, const mc_conv2d *c, moeclip_error *err);

/* Max pooling k/stride without padding. x [planes, h, w] -> y [planes, (h - k) / stride + 1, ...]. */
void mc_maxpool2d(mc_compute *cp, const float *x, int64_t planes, int64_t h, int64_t w, int k, int stride, float *y);

/* Calls body(context, i) for i in [0, n), spread over the threads in blocks of `grain`. */
void mc_parallel_for(mc_compute *cp, int64_t n, int64_t grain, void (*body)(void *context, int64_t begin, int64_t end),
                     void *context);

/* Calls body(context, unit, thread) for every unit in [0, n): units of unequal length, taken by whichever of the threads (0 to
 * mc_compute_threads - 1) is free. With fewer units than threads they go one after the other, and the products inside use all threads. */
void mc_parallel_units(mc_compute *cp, int64_t n, void (*body)(void *context, int64_t unit, int thread), void *context);

#endif
