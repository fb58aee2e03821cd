/* Element types: anything to float32, float32 to the floating types (nearest, ties to even). */
#include <string.h>

#include "files/collection.h"

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static uint32_t bits_of(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
  /* A subnormal counts units of 2^-24, which are the low bits of a float in [0.5, 1). */
  uint32_t small = bits_of(float_of(0x3f000000 | (h & 0x3ff)) - 0.5f);
  uint32_t normal = rest + ((h & 0x7c00) == 0x7c00 ? 0x70000000 : 0x38000000);
  return float_of(sign | (h & 0x7c00 ? normal : small));
}

static uint16_t float_to_half(float f) {
  uint32_t bits = bits_of(f), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  uint32_t half;
  if (rest > 0x7f800000) {
    half = 0x7e00 | (rest >> 13 & 0x3ff); /* NaN stays NaN */
  } else if (rest >= 0x477ff000) {
    half = 0x7c00; /* 65520 and above round to infinity */
  } else if (rest < 0x38800000) {
    /* Below the smallest normal: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded by the sum. */
    half = bits_of(float_of(rest) + 0.5f) - 0x3f000000;
  } else {
    half = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
  }
  return (uint16_t)(sign | half);
}

static uint16_t float_to_bfloat(float f) {
  uint32_t bits = bits_of(f);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

size_t moeclip_tensor_elements(const moeclip_tensor *t) {
  size_t elements, n_bytes;
  return mc_tensor_size(t->dtype, t->rank, t->shape, &elements, &n_bytes) ? elements : 0;
}

/* Data may lie at any address, hence memcpy for each element; compilers make a plain load of it. */
#define CONVERT(type, expression)                     \
  for (size_t i = 0; i < n; i++) {                    \
    type v;                                           \
    memcpy(&v, from + i * sizeof v, sizeof v);        \
    out[i] = (expression);                            \
  }                                                   \
  break

void moeclip_tensor_to_f32(const moeclip_tensor *t, float *out) {
  const uint8_t *from = t->data;
  size_t n = moeclip_tensor_elements(t);
  if (n == 0) return;
  switch (t->dtype) {
    case MOECLIP_F32: memcpy(out, from, n * sizeof *out); break;
    case MOECLIP_F16: CONVERT(uint16_t, half_to_float(v));
    case MOECLIP_BF16: CONVERT(uint16_t, float_of((uint32_t)v << 16));
    case MOECLIP_F64: CONVERT(double, (float)v);
    case MOECLIP_I64: CONVERT(int64_t, (float)v);
    case MOECLIP_I32: CONVERT(int32_t, (float)v);
    case MOECLIP_I16: CONVERT(int16_t, v);
    case MOECLIP_I8: CONVERT(int8_t, v);
    case MOECLIP_U8: CONVERT(uint8_t, v);
    case MOECLIP_BOOL: CONVERT(uint8_t, v != 0);
  }
}

moeclip_code moeclip_f32_to(moeclip_dtype dtype, const float *in, size_t n, void *out, moeclip_error *err) {
  uint8_t *to = out;
  if (n == 0 && dtype <= MOECLIP_F64) return MOECLIP_OK;
  switch (dtype) {
    case MOECLIP_F32: memmove(out, in, n * sizeof *in); return MOECLIP_OK;
    case MOECLIP_F16:
    case MOECLIP_BF16:
      for (size_t i = 0; i < n; i++) {
        uint16_t v = dtype == MOECLIP_F16 ? float_to_half(in[i]) : float_to_bfloat(in[i]);
        memcpy(to + 2 * i, &v, sizeof v);
      }
      return MOECLIP_OK;
    case MOECLIP_F64:
      for (size_t i = 0; i < n; i++) {
        double v = in[i];
        memcpy(to + 8 * i, &v, sizeof v);
      }
      return MOECLIP_OK;
    default: break;
  }
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "float32 is converted to F32, F16, BF16 or F64, not to %s",
                 moeclip_dtype_name(dtype));
}
