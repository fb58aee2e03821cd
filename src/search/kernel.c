/* Float16 rows, their products with a query, and the best of them. */
#include <stdlib.h>
#include <string.h>

#include "search/search.h"

typedef union bits {
  float f;
  uint32_t u;
} bits;

void mc_to_half(const float *in, size_t n, uint16_t *out) {
  for (size_t i = 0; i < n; i++) {
    bits v = {.f = in[i]};
    uint32_t sign = v.u >> 16 & 0x8000, magnitude = v.u & 0x7fffffff;
    if (magnitude >= 0x3f800000) {
      out[i] = (uint16_t)(sign | 0x3c00); /* a little above 1 by rounding (or, never, NaN) */
    } else if (magnitude < 0x38800000) {
      out[i] = 0;
    } else {
      magnitude += 0xfff + (magnitude >> 13 & 1); /* to nearest, ties to even */
      out[i] = (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
    }
  }
}

/* The exponents differ by 112; no branches, so that loops over it vectorise. */
static inline float widen(uint16_t h) {
  bits v = {.u = (uint32_t)(h & 0x7fff) << 13};
  v.f *= 0x1p112f;
  v.u |= (uint32_t)(h & 0x8000) << 16;
  return v.f;
}

float mc_from_half(uint16_t h) { return widen(h); }

MC_VECTORISED
bool mc_half_bounded(const uint16_t *h, size_t n) {
  uint16_t above = 0;
  for (size_t i = 0; i < n; i++) above |= (uint16_t)((h[i] & 0x7fff) > 0x3c00);
  return above == 0;
}

MC_VECTORISED
void mc_dot_rows(const uint16_t *rows, const float *query, int64_t n, int64_t stride, float *out) {
  for (int64_t i = 0; i < n; i++) {
    const uint16_t *row = rows + i * stride;
    float sum[MC_LANES] = {0};
    for (int64_t i0 = 0; i0 < stride; i0 += MC_LANES) MC_EACH_LANE(k) sum[k] += widen(row[i0 + k]) * query[i0 + k];
    out[i] = mc_lanes_sum(sum);
  }
}

/* --- the best ----------------------------------------------------------------------------------------------------- */

/* The worst of the kept stands at the root. */
static bool worse(mc_best a, mc_best b) { return a.score < b.score || (!(b.score < a.score) && a.row > b.row); }

static void sink(mc_best *items, size_t n, size_t at) {
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= n) return;
    if (child + 1 < n && worse(items[child + 1], items[child])) child++;
    if (!worse(items[child], items[at])) return;
    mc_best swap = items[at];
    items[at] = items[child];
    items[child] = swap;
    at = child;
  }
}

void mc_top_push(mc_top *t, mc_best b) {
  if (t->capacity == 0) return;
  if (t->n == t->capacity) {
    if (!worse(t->items[0], b)) return;
    t->items[0] = b;
    sink(t->items, t->n, 0);
    return;
  }
  size_t at = t->n++;
  for (; at > 0 && worse(b, t->items[(at - 1) / 2]); at = (at - 1) / 2) t->items[at] = t->items[(at - 1) / 2];
  t->items[at] = b;
}

void mc_top_sort(mc_top *t) {
  for (size_t n = t->n; n > 1;) {
    mc_best last = t->items[--n];
    t->items[n] = t->items[0];
    t->items[0] = last;
    sink(t->items, n, 0);
  }
}
