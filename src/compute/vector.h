/*
 * Helps the compiler vectorise plain loops. MC_VECTORISED on a function compiles it for several x86 levels and picks one
 * when the program starts; elsewhere it does nothing. Such functions hold no OpenMP pragma (the outlined part would not
 * be cloned) and work on a range that the caller has split.
 *
 * Not with clang before 17: it names what chooses between the versions in a way that two files' collide, and leaves the function
 * itself undefined where another file calls it.
 */
#ifndef MC_COMPUTE_VECTOR_H
#define MC_COMPUTE_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && !defined(MOECLIP_ONE_TARGET) && !(defined(__clang__) && __clang_major__ < 17)
#define MC_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MC_VECTORISED
#endif

/* e^x within 2 units in the last place on [-87, 88], clamped outside; no branches, so that loops over it vectorise.
 * NaN stays NaN. Cody-Waite reduction and the degree-6 Taylor polynomial on [-ln2/2, ln2/2]. */
static inline float mc_expf(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  union { float f; int32_t i; } shifted, power;
  shifted.f = x * 1.44269504f + 12582912.0f; /* the integer part ends up in the low bits */
  float n = shifted.f - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.0f / 720 * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  power.i = (int32_t)((uint32_t)(shifted.i - 0x4b400000 + 127) << 23);
  return p * power.f;
}

/* Phi(x), the share of a normal distribution below x, given e^(-x^2/2): within 1e-7, and within 3e-7 of itself (and e's
 * own error) where x is negative.
 * Phi(-z) e^(z^2/2) is close to a polynomial in 1 / (1 + 0.35 z); this one is the Chebyshev fit of degree 9 on z in [0, 13]. erff() is a
 * call for every number, fifteen times slower. NaN stays NaN. */
static inline float mc_normal_cdf(float x, float e) {
  float t = 1.0f / (1.0f + 0.35f * fabsf(x));
  float p = -0.029520309f * t + 0.14580467f;
  p = p * t - 0.25950867f;
  p = p * t + 0.16349326f;
  p = p * t - 0.026052365f;
  p = p * t + 0.10673018f;
  p = p * t + 0.11953229f;
  p = p * t + 0.13990168f;
  p = p * t + 0.13961923f;
  p = p * t * e;
  return x < 0 ? p : 1.0f - p;
}

/*
 * Sums over a row as MC_LANES sums side by side, since a compiler may not reorder a float's sum by itself: the order, and so the result, is
 * the same at every vector length. MC_EACH_LANE keeps the compiler's vectors along the lanes: gcc would otherwise unroll them and take the
 * loop around them for the one to vectorise, with permutations, seven times slower.
 */
enum { MC_LANES = 16 };
#define MC_EACH_LANE(k) _Pragma("GCC unroll 1") for (int k = 0; k < MC_LANES; k++)
/* These must become part of the clone that calls them. */
#define MC_INLINE static inline __attribute__((always_inline))

MC_INLINE float mc_lanes_sum(const float lane[MC_LANES]) {
  float sum = 0;
  for (int k = 0; k < MC_LANES; k++) sum += lane[k];
  return sum;
}

MC_INLINE float mc_row_sum(const float *x, int64_t n) {
  float lane[MC_LANES] = {0};
  int64_t i = 0;
  for (; i + MC_LANES <= n; i += MC_LANES) MC_EACH_LANE(k) lane[k] += x[i + k];
  for (; i < n; i++) lane[0] += x[i];
  return mc_lanes_sum(lane);
}

MC_INLINE float mc_row_dot(const float *x, const float *y, int64_t n) {
  float lane[MC_LANES] = {0};
  int64_t i = 0;
  for (; i + MC_LANES <= n; i += MC_LANES) MC_EACH_LANE(k) lane[k] += x[i + k] * y[i + k];
  for (; i < n; i++) lane[0] += x[i] * y[i];
  return mc_lanes_sum(lane);
}

/* The largest of x; -infinity where n is 0. */
MC_INLINE float mc_row_max(const float *x, int64_t n) {
  float lane[MC_LANES], largest;
  int64_t i = 0;
  for (int k = 0; k < MC_LANES; k++) lane[k] = -INFINITY;
  for (; i + MC_LANES <= n; i += MC_LANES) MC_EACH_LANE(k) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
  for (; i < n; i++) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  largest = lane[0];
  for (int k = 1; k < MC_LANES; k++) largest = lane[k] > largest ? lane[k] : largest;
  return largest;
}

#endif
