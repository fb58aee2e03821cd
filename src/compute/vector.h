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

#endif
