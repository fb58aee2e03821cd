/* Multinomial logistic regression with L2, by L-BFGS in double precision: what the linear probe solves. */
#ifndef MC_LEARN_PROBE_H
#define MC_LEARN_PROBE_H

#include "compute/linear.h"

typedef struct mc_probe_fit {
  int64_t iterations; /* taken */
  double loss;        /* mean cross-entropy, without the penalty */
  double gradient;    /* the largest part of the gradient, over the number of pictures */
} mc_probe_fit;

/*
 * Minimises the sum of the cross-entropies plus l2 / 2 times the sum of the squared weights; the biases (the last column) go free.
 * features [n, embed], labels [n] in 0..n_classes - 1, weights [n_classes, embed + 1]: out. The problem is convex, so that where it
 * begins (at 0) does not matter. Ends when no part of the gradient is above 1e-7 n, or after 2000 iterations.
 */
moeclip_code mc_probe_solve(mc_compute *cp, const float *features, const int64_t *labels, int64_t n, int64_t embed,
                            int64_t n_classes, double l2, double *weights, mc_probe_fit *fit, moeclip_error *err);

#endif
