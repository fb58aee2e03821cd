/* The elementwise kernels whose inputs or outputs are bfloat16; arithmetic is float32. */
#include "compute/activation.h"
#include "compute/bfloat16.h"

enum { GRAIN = 1 << 14, IN_CACHE = 1 << 11, PIECE = 64 };

typedef struct job {
  const void *from;
  void *to;
  mc_activation kind;
  int64_t rows, d;
} job;

MC_VECTORISED static void round_range(const float *restrict x, mc_bfloat16 *restrict y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] = mc_round_bfloat16(x[i]);
}

static void round_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  round_range(j->from, j->to, begin, end);
}

void mc_to_bfloat16(mc_compute *cp, const float *x, int64_t n, mc_bfloat16 *y) {
  job j = {.from = x, .to = y};
  mc_parallel_for(cp, n, GRAIN, round_body, &j);
}

typedef struct copying {
  const float *x;
  float *copy;
  mc_bfloat16 *y;
} copying;

static void copy_body(void *context, int64_t begin, int64_t end) {
  const copying *c = context;
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < IN_CACHE ? end - i : IN_CACHE;
    memcpy(c->copy + i, c->x + i, (size_t)n * sizeof *c->x);
    round_range(c->x, c->y, i, i + n);
  }
}

void mc_copy_to_bfloat16(mc_compute *cp, const float *x, int64_t n, float *copy, mc_bfloat16 *y) {
  copying c = {x, copy, y};
  mc_parallel_for(cp, n, GRAIN, copy_body, &c);
}

void mc_to_bfloat16_alone(const float *x, int64_t n, mc_bfloat16 *y) { round_range(x, y, 0, n); }

/* As in elementwise.c. */
MC_INLINE void forward_piece(mc_activation kind, const mc_bfloat16 *h, mc_bfloat16 *y, int64_t n) {
  float x[PIECE], v[PIECE];
  for (int64_t k = 0; k < n; k++) x[k] = mc_from_bfloat16(h[k]);
  mc_row_activation(kind, x, v, n);
  for (int64_t k = 0; k < n; k++) y[k] = mc_round_bfloat16(v[k]);
}

MC_INLINE void backward_piece(mc_activation kind, const mc_bfloat16 *h, mc_bfloat16 *dy, int64_t n) {
  float x[PIECE], v[PIECE];
  for (int64_t k = 0; k < n; k++) x[k] = mc_from_bfloat16(h[k]);
  mc_row_activation_slope(kind, x, v, n);
  for (int64_t k = 0; k < n; k++) dy[k] = mc_round_bfloat16(mc_from_bfloat16(dy[k]) * v[k]);
}

MC_VECTORISED static void forward_range(mc_activation kind, const mc_bfloat16 *h, mc_bfloat16 *y, int64_t n) {
  for (; n >= PIECE; n -= PIECE, h += PIECE, y += PIECE) forward_piece(kind, h, y, PIECE);
  forward_piece(kind, h, y, n);
}

MC_VECTORISED static void backward_range(mc_activation kind, const mc_bfloat16 *h, mc_bfloat16 *dy, int64_t n) {
  for (; n >= PIECE; n -= PIECE, h += PIECE, dy += PIECE) backward_piece(kind, h, dy, PIECE);
  backward_piece(kind, h, dy, n);
}

static void forward_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  forward_range(j->kind, (const mc_bfloat16 *)j->from + begin, (mc_bfloat16 *)j->to + begin, end - begin);
}

static void backward_body(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  backward_range(j->kind, (const mc_bfloat16 *)j->from + begin, (mc_bfloat16 *)j->to + begin, end - begin);
}

void mc_activation_forward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *y) {
  job j = {.from = h, .to = y, .kind = kind};
  mc_parallel_for(cp, n, GRAIN, forward_body, &j);
}

void mc_activation_backward16(mc_compute *cp, mc_activation kind, const mc_bfloat16 *h, int64_t n, mc_bfloat16 *dy) {
  job j = {.from = h, .to = dy, .kind = kind};
  mc_parallel_for(cp, n, GRAIN, backward_body, &j);
}

/* Each thread owns some columns, as in mc_column_sums. */
MC_VECTORISED static void column_sums_range(const job *j, int64_t begin, int64_t end) {
  float *restrict out = j->to;
  for (int64_t r = 0; r < j->rows; r++) {
    const mc_bfloat16 *restrict x = (const mc_bfloat16 *)j->from + r * j->d;
    for (int64_t i = begin; i < end; i++) out[i] += mc_from_bfloat16(x[i]);
  }
}

static void column_sums_body(void *context, int64_t begin, int64_t end) { column_sums_range(context, begin, end); }

void mc_column_sums16(mc_compute *cp, const mc_bfloat16 *x, int64_t rows, int64_t d, float *out) {
  job j = {.from = x, .to = out, .rows = rows, .d = d};
  mc_parallel_for(cp, d, 64, column_sums_body, &j);
}
