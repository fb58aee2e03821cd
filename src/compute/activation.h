/*
 * Activations of a few floats, for loops that are cut into pieces. The exponential has a loop of its own: with a division behind it, gcc
 * divides once for each way through its bounds. Each becomes part of the clone (MC_VECTORISED) that calls it.
 */
#ifndef MC_COMPUTE_ACTIVATION_H
#define MC_COMPUTE_ACTIVATION_H

#include "compute/kernels.h"
#include "compute/vector.h"

/* y = 1 / (1 + e^(-scale x)); y may be x. */
MC_INLINE void mc_row_sigmoid(const float *x, float scale, float *y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = mc_expf(-scale * x[i]);
  for (int64_t i = 0; i < n; i++) y[i] = 1.0f / (1.0f + y[i]);
}

/* y = act(x): x sigmoid(1.702 x), or x Phi(x), the exact GELU of OpenCLIP's own models. y is not x. */
MC_INLINE void mc_row_activation(mc_activation kind, const float *x, float *y, int64_t n) {
  if (kind == MC_GELU) {
    for (int64_t i = 0; i < n; i++) y[i] = mc_expf(-0.5f * x[i] * x[i]);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * mc_normal_cdf(x[i], y[i]);
  } else {
    for (int64_t i = 0; i < n; i++) y[i] = mc_expf(-1.702f * x[i]);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] / (1.0f + y[i]);
  }
}

/* y = act'(x). */
MC_INLINE void mc_row_activation_slope(mc_activation kind, const float *x, float *y, int64_t n) {
  if (kind == MC_GELU) {
    for (int64_t i = 0; i < n; i++) y[i] = mc_expf(-0.5f * x[i] * x[i]);
    for (int64_t i = 0; i < n; i++) y[i] = mc_normal_cdf(x[i], y[i]) + 0.39894228f * x[i] * y[i];
  } else {
    mc_row_sigmoid(x, 1.702f, y, n);
    for (int64_t i = 0; i < n; i++) y[i] = y[i] + 1.702f * x[i] * y[i] * (1.0f - y[i]);
  }
}

#endif
