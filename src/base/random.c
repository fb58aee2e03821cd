#include "base/random.h"

#include <math.h>

void mc_philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
  uint32_t k0 = key[0], k1 = key[1];
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  for (int round = 0; round < MC_PHILOX_ROUNDS; round++, k0 += MC_PHILOX_STEP_0, k1 += MC_PHILOX_STEP_1) {
    mc_philox_round(k0, k1, &c0, &c1, &c2, &c3);
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

uint64_t mc_seed_of(uint64_t seed, uint64_t step) {
  uint64_t z = seed + (step + 1) * UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

void mc_philox_init(mc_philox *g, uint64_t seed, uint32_t stream, uint64_t index) {
  g->key[0] = (uint32_t)seed;
  g->key[1] = (uint32_t)(seed >> 32);
  g->counter[0] = 0;
  g->counter[1] = stream;
  g->counter[2] = (uint32_t)index;
  g->counter[3] = (uint32_t)(index >> 32);
  g->used = 4;
}

uint32_t mc_philox_next(mc_philox *g) {
  if (g->used == 4) {
    mc_philox_block(g->key, g->counter, g->block);
    g->counter[0]++;
    g->used = 0;
  }
  return g->block[g->used++];
}

float mc_philox_uniform(mc_philox *g) { return (float)(mc_philox_next(g) >> 8) * 0x1p-24f; }

float mc_philox_normal(mc_philox *g) {
  /* 1 - u is in (0, 1], so the logarithm is finite. */
  double u = 1.0 - (mc_philox_next(g) >> 8) * 0x1p-24, v = (mc_philox_next(g) >> 8) * 0x1p-24;
  return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t mc_philox_below(mc_philox *g, uint32_t n) {
  uint32_t limit = -n % n; /* numbers under it would be one too many of some remainders */
  for (;;) {
    uint64_t m = (uint64_t)mc_philox_next(g) * n;
    if ((uint32_t)m >= limit) return (uint32_t)(m >> 32);
  }
}

void mc_philox_permutation(mc_philox *g, uint32_t n, uint32_t *p) {
  for (uint32_t i = 0; i < n; i++) p[i] = i;
  for (uint32_t i = 0; i + 1 < n; i++) {
    uint32_t j = i + mc_philox_below(g, n - i), t = p[i];
    p[i] = p[j];
    p[j] = t;
  }
}

void mc_mt19937_init(mc_mt19937 *g, uint32_t seed) {
  g->state[0] = seed;
  for (uint32_t i = 1; i < 624; i++) {
    g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
  }
  g->at = 624;
}

uint32_t mc_mt19937_next(mc_mt19937 *g) {
  if (g->at == 624) {
    for (int i = 0; i < 624; i++) {
      uint32_t y = (g->state[i] & 0x80000000u) | (g->state[(i + 1) % 624] & 0x7fffffffu);
      g->state[i] = g->state[(i + 397) % 624] ^ (y >> 1) ^ ((y & 1) ? 0x9908b0dfu : 0);
    }
    g->at = 0;
  }
  uint32_t y = g->state[g->at++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

void mc_mt19937_permutation(mc_mt19937 *g, uint32_t n, uint32_t *p) {
  for (uint32_t i = 0; i < n; i++) p[i] = i;
  for (uint32_t i = 0; i + 1 < n; i++) {
    uint32_t j = i + mc_mt19937_next(g) % (n - i), t = p[i];
    p[i] = p[j];
    p[j] = t;
  }
}
