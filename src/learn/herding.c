#include "learn/herding.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

moeclip_code mc_herd(const float *x, int64_t d, const int64_t *rows, int64_t n_rows, int64_t n_chosen, int64_t *chosen,
                     moeclip_error *err) {
  double *mean = calloc((size_t)d + 1, sizeof *mean), *sum = calloc((size_t)d + 1, sizeof *sum);
  bool *taken = calloc((size_t)n_rows + 1, sizeof *taken);
  moeclip_code code = mean && sum && taken ? MOECLIP_OK : mc_fail_memory(err, (size_t)(2 * d) * sizeof *mean, "exemplars");
  for (int64_t i = 0; code == MOECLIP_OK && i < n_rows; i++) {
    for (int64_t k = 0; k < d; k++) mean[k] += x[rows[i] * d + k] / (double)n_rows;
  }
  for (int64_t at = 0; code == MOECLIP_OK && at < n_chosen; at++) {
    double least = INFINITY;
    int64_t best = -1;
    for (int64_t i = 0; i < n_rows; i++) {
      double distance = 0;
      if (taken[i]) continue;
      for (int64_t k = 0; k < d; k++) {
        double off = mean[k] - (sum[k] + x[rows[i] * d + k]) / (double)(at + 1);
        distance += off * off;
      }
      if (best >= 0 && !(distance < least)) continue;
      least = distance;
      best = i;
    }
    chosen[at] = best;
    taken[best] = true;
    for (int64_t k = 0; k < d; k++) sum[k] += x[rows[best] * d + k];
  }
  free(mean);
  free(sum);
  free(taken);
  return code;
}
