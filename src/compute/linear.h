/*
 * Linear algebra in double precision, for what is solved rather than trained: products, Cholesky's factors, systems of
 * equations. Row-major, as all of compute/. The same numbers on the same machine, whatever the number of threads.
 */
#ifndef MC_COMPUTE_LINEAR_H
#define MC_COMPUTE_LINEAR_H

#include "compute/compute.h"

/* C[m,n] += alpha * op(A) op(B), as mc_gemm in float. op(A) is [m,k]: A is stored [m,k], or [k,m] when trans_a. op(B) is [k,n]:
 * stored [k,n], or [n,k] when trans_b. lower: of C, only what is at or below the diagonal is needed, and what is above may be
 * anything afterwards. */
typedef struct mc_gemm64 {
  int64_t m, n, k;
  const double *a; int64_t lda; bool trans_a;
  const double *b; int64_t ldb; bool trans_b;
  double *c; int64_t ldc;
  double alpha;
  bool lower;
} mc_gemm64;
moeclip_code mc_gemm64_run(mc_compute *cp, const mc_gemm64 *g, moeclip_error *err);

/* a [n, n], symmetric, of which the lower triangle is read -> L of L L^T there; the upper triangle is left with anything. Fails
 * (MOECLIP_ERROR_NUMERIC) when a is not positive definite, or holds what is not a number. */
moeclip_code mc_cholesky(mc_compute *cp, double *a, int64_t n, moeclip_error *err);
/* Solves L L^T X = B. l [n, n] from mc_cholesky; b [n, m] becomes X. */
moeclip_code mc_cholesky_solve(mc_compute *cp, const double *l, int64_t n, double *b, int64_t m, moeclip_error *err);

#endif
