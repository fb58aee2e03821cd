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
    float square[MC_LANES] = {0}, mean = mc_row_sum(x, d) / (float)d;
    int64_t i = 0;
    for (; i + MC_LANES <= d; i += MC_LANES) MC_EACH_LANE(k) square[k] += (x[i + k] - mean) * (x[i + k] - mean);
    for (; i < d; i++) square[0] += (x[i] - mean) * (x[i] - mean);
    float rstd = 1.0f / sqrtf(mc_lanes_sum(square) / (float)d + 1e-5f);
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
    float part[MC_LANES] = {0}, dot[MC_LANES] = {0};
    int64_t i = 0;
    for (; i + MC_LANES <= d; i += MC_LANES) {
      MC_EACH_LANE(k) {
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
    float sum_g = mc_lanes_sum(part) / (float)d, sum_gx = mc_lanes_sum(dot) * rstd * rstd / (float)d;
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
