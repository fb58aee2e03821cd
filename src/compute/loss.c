#include <math.h>

#include "compute/kernels.h"

void mc_normalize_forward(const float *x, int64_t rows, int64_t d, float *y, float *norm) {
  for (int64_t r = 0; r < rows; r++) {
    double square = 0;
    for (int64_t i = 0; i < d; i++) square += (double)x[r * d + i] * x[r * d + i];
    norm[r] = (float)sqrt(square);
    if (norm[r] < 1e-12f) norm[r] = 1e-12f;
    for (int64_t i = 0; i < d; i++) y[r * d + i] = x[r * d + i] / norm[r];
  }
}

void mc_normalize_backward(const float *dy, const float *y, const float *norm, int64_t rows, int64_t d, float *dx) {
  for (int64_t r = 0; r < rows; r++) {
    double dot = 0;
    for (int64_t i = 0; i < d; i++) dot += (double)y[r * d + i] * dy[r * d + i];
    for (int64_t i = 0; i < d; i++) dx[r * d + i] = (dy[r * d + i] - y[r * d + i] * (float)dot) / norm[r];
  }
}

void mc_softmax(float *x, int64_t rows, int64_t d) {
  for (int64_t r = 0; r < rows; r++) {
    float *row = x + r * d, largest = row[0];
    double sum = 0;
    for (int64_t i = 1; i < d; i++) largest = row[i] > largest ? row[i] : largest;
    for (int64_t i = 0; i < d; i++) sum += row[i] = expf(row[i] - largest);
    for (int64_t i = 0; i < d; i++) row[i] = (float)(row[i] / sum);
  }
}

double mc_cross_entropy(const float *logits, const int32_t *labels, int64_t rows, int64_t d, float smoothing,
                        float weight, float *dlogits) {
  double loss = 0;
  for (int64_t r = 0; r < rows; r++) {
    const float *row = logits + r * d;
    float largest = row[0];
    for (int64_t i = 1; i < d; i++) largest = row[i] > largest ? row[i] : largest;
    double sum = 0, total = 0;
    for (int64_t i = 0; i < d; i++) {
      sum += exp((double)row[i] - largest);
      total += (double)row[i] - largest;
    }
    double log_sum = log(sum), of_label = (double)row[labels[r]] - largest - log_sum;
    loss -= (1.0 - smoothing) * of_label + smoothing * (total / (double)d - log_sum);
    if (dlogits) {
      for (int64_t i = 0; i < d; i++) {
        double p = exp((double)row[i] - largest) / sum;
        double target = smoothing / (double)d + (i == labels[r] ? 1.0 - smoothing : 0.0);
        dlogits[r * d + i] = (float)(weight * (p - target));
      }
    }
  }
  return loss;
}
