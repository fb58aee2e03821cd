/*
 * Random numbers.
 * mc_philox: counter based; the same (seed, stream, position) gives the same number whatever thread asks. All training
 * randomness (augmentation, noise, dropout, initial weights, shuffles) comes from it, which is what makes a run
 * repeatable and resumable.
 * mc_mt19937: only for the published seeded splits (method.md section 5).
 */
#ifndef MC_BASE_RANDOM_H
#define MC_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Streams keep the uses of one seed apart. */
enum {
  MC_STREAM_INIT = 1, MC_STREAM_SHUFFLE, MC_STREAM_AUGMENT, MC_STREAM_NOISE, MC_STREAM_DROPOUT, MC_STREAM_SPLIT,
  MC_STREAM_SELECTOR, MC_STREAM_RIDGE
};

typedef struct mc_philox {
  uint32_t key[2];
  uint32_t counter[4];
  uint32_t block[4];
  int used; /* numbers of block already handed out; 4: none left */
} mc_philox;

/* A generator for (seed, stream, index): index is e.g. the step or the image, so that each has its own sequence. */
void mc_philox_init(mc_philox *g, uint64_t seed, uint32_t stream, uint64_t index);
uint32_t mc_philox_next(mc_philox *g);
/* Uniform in [0, 1), 24 bits. */
float mc_philox_uniform(mc_philox *g);
/* Standard normal (Box-Muller). */
float mc_philox_normal(mc_philox *g);
/* Uniform integer in [0, n), without bias; n >= 1. */
uint32_t mc_philox_below(mc_philox *g, uint32_t n);
/* A uniform permutation of 0..n-1 into p. */
void mc_philox_permutation(mc_philox *g, uint32_t n, uint32_t *p);

/* A seed for one step (or task, ...) of a seed's run: splitmix64 of both. */
uint64_t mc_seed_of(uint64_t seed, uint64_t step);

/* A round of Philox 4x32, and how often and with which steps of the key: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
enum { MC_PHILOX_ROUNDS = 10 };
#define MC_PHILOX_STEP_0 0x9E3779B9u
#define MC_PHILOX_STEP_1 0xBB67AE85u
static inline void mc_philox_round(uint32_t k0, uint32_t k1, uint32_t *c0, uint32_t *c1, uint32_t *c2, uint32_t *c3) {
  uint64_t p0 = (uint64_t)0xD2511F53u * *c0, p1 = (uint64_t)0xCD9E8D57u * *c2;
  *c0 = (uint32_t)(p1 >> 32) ^ *c1 ^ k0;
  *c2 = (uint32_t)(p0 >> 32) ^ *c3 ^ k1;
  *c1 = (uint32_t)p1;
  *c3 = (uint32_t)p0;
}

/* The raw block function: four numbers from a key and a counter, for kernels that address elements directly. */
void mc_philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

typedef struct mc_mt19937 {
  uint32_t state[624];
  int at;
} mc_mt19937;
void mc_mt19937_init(mc_mt19937 *g, uint32_t seed);
uint32_t mc_mt19937_next(mc_mt19937 *g);
/* The published seeded permutation: for i = 0..n-2 swap p[i] with p[i + next mod (n - i)]. */
void mc_mt19937_permutation(mc_mt19937 *g, uint32_t n, uint32_t *p);

#endif
