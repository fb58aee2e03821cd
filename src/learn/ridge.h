/*
 * Ridge regression from picture features to classes, class after class and picture after picture, with the same answer as if
 * all had come at once. Two forms: features widened by a random projection and ReLU, or a Gaussian kernel on the features
 * themselves. All sums are double. Knows nothing of tasks, names or CLIP.
 *
 * Projection: phi(x) = max(0, x P). What is kept is G = sum phi phi^T and q_c = sum of phi over the pictures of class c, which
 * further pictures are added to, in any order; W = (G + lambda I)^-1 Q is solved for by Cholesky. Kernel: all features are
 * kept, and A = (K + lambda I)^-1 Y is solved for.
 */
#ifndef MC_LEARN_RIDGE_H
#define MC_LEARN_RIDGE_H

#include "compute/compute.h"
#include "moeclip/learner.h"
#include "moeclip/tensors.h"

/* Pictures are added to G so many at a time, however they arrive: then the sums do not depend on how they were cut into
 * batches. */
enum { MC_RIDGE_PIECE = 512 };

typedef struct mc_ridge {
  moeclip_ridge_form form;
  int64_t embed, hidden;       /* hidden: of the projection, else 0 */
  double lambda, gamma;
  int64_t n_classes, n_solved; /* known; with weights. A class is known before its first picture is added */
  int64_t *count;              /* [n_classes] pictures of each */
  /* Projection. */
  double *projection;          /* [embed, hidden], all of them float numbers */
  double *gram;                /* [hidden, hidden], lower triangle: G */
  double *cross;               /* [n_classes, hidden] */
  float *pending;              /* [n_pending, embed] features that are not in the sums yet */
  int64_t *pending_label;      /* [n_pending] */
  int64_t n_pending;
  /* Kernel. */
  double *kept;                /* [n_kept, embed], all of them float numbers */
  int64_t *kept_label;         /* [n_kept] */
  int64_t n_kept, room, most;  /* most: the bound that the caller set */
  /* What was solved for. */
  double *weights;             /* [n_solved, hidden] or [n_solved, n_weighed] */
  int64_t n_weighed;           /* kernel: of the kept pictures, so many first ones had part */
} mc_ridge;

/* Lambda of these options: given, or the form's usual one. */
double mc_ridge_lambda(const moeclip_learner_options *o);

/* Knows nothing. The projection's weights are drawn by seed. */
moeclip_code mc_ridge_create(const moeclip_learner_options *o, int64_t embed, mc_ridge **out, moeclip_error *err);
void mc_ridge_destroy(mc_ridge *r);

/* From now on there are so many classes: the new ones without pictures. */
moeclip_code mc_ridge_classes(mc_ridge *r, int64_t n, moeclip_error *err);
/* features [n, embed] of length 1, label [n] in 0..n_classes - 1. */
moeclip_code mc_ridge_add(mc_compute *cp, mc_ridge *r, const float *features, const int64_t *label, int64_t n,
                          moeclip_error *err);
/* The weights of all classes, from all that was added. */
moeclip_code mc_ridge_solve(mc_compute *cp, mc_ridge *r, moeclip_error *err);
/* out [n, n_solved]: near 1 for the picture's class and near 0 for others, as they were taught. */
moeclip_code mc_ridge_score(mc_compute *cp, const mc_ridge *r, const float *features, int64_t n, double *out,
                            moeclip_error *err);

/* As tensors (docs/STATE.md), and back: all sizes and values are checked. n_classes: of all tasks. */
moeclip_code mc_ridge_store(const mc_ridge *r, moeclip_tensors *out, moeclip_error *err);
moeclip_code mc_ridge_load(const moeclip_learner_options *o, int64_t embed, const moeclip_tensors *in, int64_t n_classes,
                           mc_ridge **out, moeclip_error *err);

#endif
