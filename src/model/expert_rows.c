#include "model/expert_rows.h"

#include <string.h>

#include "compute/vector.h"

MC_VECTORISED void mc_expert_activate(float *hidden, int64_t n, float gate) {
  for (int64_t i = 0; i < n; i++) hidden[i] = hidden[i] > 0 ? gate * hidden[i] : 0;
}

/* MC_LANES blocks of mc_philox_block at counters [first + k, c[1], c[2], c[3]], in one go. out: [MC_LANES][4]. */
MC_INLINE void philox_lanes(const uint32_t key[2], const uint32_t c[4], uint32_t first, uint32_t *out) {
  uint32_t c0[MC_LANES], c1[MC_LANES], c2[MC_LANES], c3[MC_LANES], k0 = key[0], k1 = key[1];
  for (int k = 0; k < MC_LANES; k++) {
    c0[k] = first + (uint32_t)k;
    c1[k] = c[1];
    c2[k] = c[2];
    c3[k] = c[3];
  }
  for (int round = 0; round < MC_PHILOX_ROUNDS; round++, k0 += MC_PHILOX_STEP_0, k1 += MC_PHILOX_STEP_1) {
    MC_EACH_LANE(k) mc_philox_round(k0, k1, &c0[k], &c1[k], &c2[k], &c3[k]);
  }
  for (int k = 0; k < MC_LANES; k++) {
    out[4 * k] = c0[k];
    out[4 * k + 1] = c1[k];
    out[4 * k + 2] = c2[k];
    out[4 * k + 3] = c3[k];
  }
}

MC_VECTORISED static void drop_below(const mc_philox *p, uint32_t below, float up, int64_t n, float *hidden) {
  uint32_t drawn[4 * MC_LANES];
  for (int64_t i = 0; i < n; i += 4 * MC_LANES) {
    philox_lanes(p->key, p->counter, (uint32_t)(i / 4), drawn);
    int64_t m = n - i < 4 * MC_LANES ? n - i : 4 * MC_LANES;
    for (int64_t k = 0; k < m; k++) hidden[i + k] = drawn[k] < below ? 0 : hidden[i + k] * up;
  }
}

void mc_expert_drop(const mc_routing *g, int block, int64_t sample, int expert, int64_t n, float *hidden) {
  mc_philox p;
  mc_philox_init(&p, mc_seed_of(g->seed, g->step), MC_STREAM_DROPOUT + 16u * (uint32_t)block,
                 (g->first_sample + (uint64_t)sample) * 65536 + (uint64_t)expert);
  drop_below(&p, (uint32_t)((double)g->dropout * 4294967296.0), 1 / (1 - g->dropout), n, hidden);
}

MC_VECTORISED void mc_expert_add(float *restrict to, const float *restrict x, int64_t n, float by) {
  for (int64_t i = 0; i < n; i++) to[i] += by * x[i];
}

void mc_expert_add_bias(float *to, int64_t rows, int64_t d, const float *bias, float by) {
  for (int64_t r = 0; r < rows; r++) mc_expert_add(to + r * d, bias, d, by);
}

MC_VECTORISED double mc_expert_dot(const float *a, const float *b, int64_t rows, int64_t n) {
  double sum = 0;
  for (int64_t r = 0; r < rows; r++) sum += (double)mc_row_dot(a + r * n, b + r * n, n);
  return sum;
}

void mc_expert_sum_rows(const float *x, int64_t rows, int64_t d, float *sum) {
  memset(sum, 0, (size_t)d * sizeof *sum);
  for (int64_t r = 0; r < rows; r++) mc_expert_add(sum, x + r * d, d, 1);
}

MC_VECTORISED void mc_expert_deactivate(const float *restrict hidden, int64_t n, float by, float *restrict back) {
  for (int64_t i = 0; i < n; i++) back[i] = hidden[i] > 0 ? by * back[i] : 0;
}
