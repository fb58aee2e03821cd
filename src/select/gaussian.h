/*
 * A domain as Gaussians in the frozen image tower's feature space: one mean (of the domain) or several (one a class), and one covariance
 * around them, kept in few numbers: its leading directions, and one variance for all others (probabilistic PCA, Tipping and Bishop
 * 1999). Fitted from sums, so one pass over the pictures is enough, and in double, in an order that no number of threads changes.
 *
 *   d2(x) = min over the means m of (x - m)' C^-1 (x - m), the squared Mahalanobis distance
 *   error(x) = exp((d2(x) + log det C) / (2 dim)), the inverse of the density's geometric mean per number, up to a constant
 *
 * Errors of different domains can be held against each other: the smaller one belongs to the likelier domain. Held against the reference
 * set's, the ratio is the relative Mahalanobis distance (Ren et al. 2021).
 */
#ifndef MC_SELECT_GAUSSIAN_H
#define MC_SELECT_GAUSSIAN_H

#include "base/arena.h"
#include "compute/compute.h"
#include "model/params.h"

typedef struct mc_gaussian {
  int64_t dim, rank, n_means;
  mc_param mean;      /* [n_means, dim] */
  mc_param basis;     /* [rank, dim], rows of length 1 and square to each other; empty with rank 0 */
  mc_param variance;  /* [rank + 1]: along each of them, falling; and along all other directions */
} mc_gaussian;

void mc_gaussian_clear(mc_gaussian *g);

/* Sums of features, over classes. */
typedef struct mc_moments {
  int64_t dim, n_classes, n;
  int64_t *count;        /* [n_classes] */
  double *sum;           /* [n_classes, dim] */
  double *second;        /* [dim, dim]: sum of x x', above the diagonal and on it */
} mc_moments;

moeclip_code mc_moments_create(mc_moments *m, int64_t dim, int64_t n_classes, moeclip_error *err);
void mc_moments_clear(mc_moments *m);
/* x [n, dim]; labels [n] below n_classes, or NULL: all of class 0. Fails when a feature is not finite. */
moeclip_code mc_moments_add(mc_compute *cp, mc_moments *m, const float *x, const int32_t *labels, int64_t n, moeclip_error *err);

/*
 * The Gaussian of the sums; one mean for each class that had pictures. pictures: how many different ones there were (crops of the same
 * one tell nothing new of the covariance). At most `rank` directions are kept, and no more than a quarter of the pictures less the
 * means. The variance of all other directions is raised by (p - k) / (p - k - rank), p pictures and k means: what the
 * directions that were fitted to these very pictures have taken from it.
 */
moeclip_code mc_gaussian_fit(mc_compute *cp, mc_gaussian *g, const mc_moments *m, int64_t pictures, int64_t rank, uint64_t seed,
                             moeclip_error *err);

/* errors [n] of x [n, dim]. */
moeclip_code mc_gaussian_errors(mc_compute *cp, const mc_gaussian *g, const float *x, int64_t n, float *errors, mc_arena *arena,
                                moeclip_error *err);

/* Tensors prefix + "mean", "basis", "variance". */
moeclip_code mc_gaussian_store(const mc_gaussian *g, const char *prefix, moeclip_tensors *out, moeclip_error *err);
/* dim and at most `rank` directions are what the collection must agree with. */
moeclip_code mc_gaussian_load(mc_gaussian *g, const moeclip_tensors *in, const char *prefix, int64_t dim, int64_t rank,
                              moeclip_error *err);

#endif
