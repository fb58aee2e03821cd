#include "cli/cil_metrics.h"

#include <math.h>

mc_cil_measures mc_cil_measure(const double *r, int n, int stride) {
#define R(i, j) r[(long)(i)*stride + (j)]
  mc_cil_measures m = {0};
  double pairs = 0.5 * n * (n - 1), backward = 0, forward = 0, forgotten = 0;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++) m.accuracy_a += R(i, j) / (0.5 * n * (n + 1));
  }
  /* The package stops one before the diagonal's neighbour. */
  for (int i = 1; i < n; i++) {
    for (int j = 0; j < i - 1; j++) backward += R(i, j) - R(j, j);
  }
  /* "Forward": what was learned earlier, as the package sums it. */
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) forward += R(i, j);
  }
  for (int j = 0; j < n - 2; j++) {
    double best = R(j, j);
    for (int l = j + 1; l < n - 2; l++) best = fmax(best, R(l, j));
    forgotten += best - R(n - 1, j);
  }
  if (n > 1) {
    m.backward_transfer = backward / pairs;
    m.forward_transfer = forward / pairs;
    m.forgetting = forgotten / (n - 1);
  }
  m.positive_backward_transfer = fmax(m.backward_transfer, 0);
  m.remembering = 1 - fabs(fmin(m.backward_transfer, 0));
  return m;
#undef R
}
