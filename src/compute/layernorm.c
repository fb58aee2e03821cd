#include <math.h>

#include "compute/bfloat16.h"
#include "compute/vector.h"

typedef struct norm {
  const float *x, *dy, *weight, *bias;
  const float *mean_in, *rstd_in;
  float *y, *mean, *rstd, *dx, *dweight, *dbias;
  mc_bfloat16 *y16; /* in place of y, or NULL */
  int64_t ldx, lddx, rows, d;
} norm;

MC_VECTORISED static void forward_range(const norm *a, int64_t begin, int64_t end) {
  int64_t d = a->d;
  const float *restrict weight = a->weight, *restrict bias = a->bias;
  for (int64_t r = begin; r < end; r++) {
    const float *x = a->x + r * a->ldx; /* y may be x */
    /* 16 partial sums: the compiler may not reorder a float sum by itself. */
    float part[16] = {0}, square[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
      for (int k = 0; k < 16; k++) part[k] += x[i + k];
    }
    for (; i < d; i++) part[0] += x[i];
    float mean = 0, variance = 0;
    for (int k = 0; k < 16; k++) mean += part[k];
    mean /= (float)d;
    for (i = 0; i + 16 <= d; i += 16) {
      for (int k = 0; k < 16; k++) square[k] += (x[i + k] - mean) * (x[i + k] - mean);
    }
    for (; i < d; i++) square[0] += (x[i] - mean) * (x[i] - mean);
    for (int k = 0; k < 16; k++) variance += square[k];
    float rstd = 1.0f / sqrtf(variance / (float)d + 1e-5f);
    if (a->y16) {
      mc_bfloat16 *restrict y = a->y16 + r * d;
      for (i = 0; i < d; i++) y[i] = mc_round_bfloat16((x[i] - mean) * rstd * weight[i] + bias[i]);
    } else {
      float *y = a->y + r * d;
      for (i = 0; i < d; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    }
    if (a->mean) {
      a->mean[r] = mean;
      a->rstd[r] = rstd;
    }
  }
}

static void forward_body(void *context, int64_t begin, int64_t end) { forward_range(context, begin, end); }

void mc_layernorm_forward(mc_compute *cp, const float *x, int64_t ldx, const float *weight, const float *bias,
                          int64_t rows, int64_t d, float *y, float *mean, float *rstd) {
  norm a = {.x = x, .ldx = ldx, .weight = weight, .bias = bias, .y = y, .mean = mean, .rstd = rstd, .d = d};
  mc_parallel_for(cp, rows, 8192 / d + 1, forward_body, &a);
}

void mc_layernorm_forward16(mc_compute *cp, const float *x, int64_t ldx, const float *weight, const float *bias, int64_t rows, int64_t d,
                            mc_bfloat16 *y, float *mean, float *rstd) {
  norm a = {.x = x, .ldx = ldx, .weight = weight, .bias = bias, .y16 = y, .mean = mean, .rstd = rstd, .d = d};
  mc_parallel_for(cp, rows, 8192 / d + 1, forward_body, &a);
}

MC_VECTORISED static void backward_range(const norm *a, int64_t begin, int64_t end) {
  int64_t d = a->d;
  const float *restrict weight = a->weight;
  for (int64_t r = begin; r < end; r++) {
    const float *restrict x = a->x + r * a->ldx, *restrict dy = a->dy + r * d;
    float *restrict dx = a->dx + r * a->lddx;
    float mean = a->mean_in[r], rstd = a->rstd_in[r];
    /* With xhat = (x - mean) rstd and g = dy weight: dx = rstd (g - mean(g) - xhat mean(g xhat)). */
    float part[16] = {0}, dot[16] = {0}, sum_g = 0, sum_gx = 0;
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
      for (int k = 0; k < 16; k++) {
        float g = dy[i + k] * weight[i + k];
        part[k] += g;
        dot[k] += g * (x[i + k] - mean);
      }
    }
    for (; i < d; i++) {
      float g = dy[i] * weight[i];
      part[0] += g;
      dot[0] += g * (x[i] - mean);
    }
    for (int k = 0; k < 16; k++) {
      sum_g += part[k];
      sum_gx += dot[k];
    }
    sum_g /= (float)d;
    sum_gx *= rstd * rstd / (float)d;
    for (i = 0; i < d; i++) dx[i] += rstd * (dy[i] * weight[i] - sum_g - (x[i] - mean) * sum_gx);
  }
}

static void backward_body(void *context, int64_t begin, int64_t end) { backward_range(context, begin, end); }

/* Each thread owns some columns: the order of the sums does not depend on the threads. */
MC_VECTORISED static void weight_range(const norm *a, int64_t begin, int64_t end) {
  for (int64_t r = 0; r < a->rows; r++) {
    const float *restrict x = a->x + r * a->ldx, *restrict dy = a->dy + r * a->d;
    float mean = a->mean_in[r], rstd = a->rstd_in[r];
    for (int64_t i = begin; i < end; i++) {
      a->dweight[i] += dy[i] * (x[i] - mean) * rstd;
      a->dbias[i] += dy[i];
    }
  }
}

static void weight_body(void *context, int64_t begin, int64_t end) { weight_range(context, begin, end); }

void mc_layernorm_backward(mc_compute *cp, const float *dy, const float *x, int64_t ldx, const float *mean,
                           const float *rstd, const float *weight, int64_t rows, int64_t d, float *dx, int64_t lddx,
                           float *dweight, float *dbias) {
  norm a = {.dy = dy, .x = x, .ldx = ldx, .mean_in = mean, .rstd_in = rstd, .weight = weight, .dx = dx, .lddx = lddx,
            .dweight = dweight, .dbias = dbias, .rows = rows, .d = d};
  if (dweight) mc_parallel_for(cp, d, 64, weight_body, &a);
  mc_parallel_for(cp, rows, 8192 / d + 1, backward_body, &a);
}
