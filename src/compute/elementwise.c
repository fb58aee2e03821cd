#include <math.h>
#include <string.h>

#include "compute/activation.h"

/* Elements a thread takes at a time: large enough to hide the hand-over, small enough to share. */
enum { GRAIN = 1 << 14 };

typedef struct span {
  const float *x;
  float *y;
  float s;
  int64_t d;
} span;

MC_VECTORISED static void add_range(const float *x, float *y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] += x[i];
}

static void add_body(void *context, int64_t begin, int64_t end) {
  const span *s = context;
  add_range(s->x, s->y, begin, end);
}

void mc_add(mc_compute *cp, const float *x, int64_t n, float *y) {
  span s = {.x = x, .y = y};
  mc_parallel_for(cp, n, GRAIN, add_body, &s);
}

static void copy_body(void *context, int64_t begin, int64_t end) {
  const span *s = context;
  memcpy(s->y + begin, s->x + begin, (size_t)(end - begin) * sizeof *s->y);
}

void mc_copy(mc_compute *cp, const float *x, int64_t n, float *y) {
  span s = {.x = x, .y = y};
  mc_parallel_for(cp, n, GRAIN, copy_body, &s);
}

MC_VECTORISED static void scale_range(float scale, float *y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] *= scale;
}

static void scale_body(void *context, int64_t begin, int64_t end) {
  const span *s = context;
  scale_range(s->s, s->y, begin, end);
}

void mc_scale(mc_compute *cp, float scale, int64_t n, float *x) {
  span s = {.y = x, .s = scale};
  mc_parallel_for(cp, n, GRAIN, scale_body, &s);
}

typedef struct rows_bias {
  const float *x, *bias;
  float *y;
  int64_t d;
} rows_bias;

MC_VECTORISED static void add_bias_range(const rows_bias *a, int64_t begin, int64_t end) {
  const float *restrict bias = a->bias;
  for (int64_t r = begin; r < end; r++) {
    const float *x = a->x + r * a->d;
    float *y = a->y + r * a->d;
    for (int64_t j = 0; j < a->d; j++) y[j] = x[j] + bias[j];
  }
}

static void add_bias_body(void *context, int64_t begin, int64_t end) { add_bias_range(context, begin, end); }

void mc_add_bias(mc_compute *cp, const float *x, const float *bias, int64_t rows, int64_t d, float *y) {
  rows_bias a = {x, bias, y, d};
  mc_parallel_for(cp, rows, GRAIN / d + 1, add_bias_body, &a);
}

typedef struct columns {
  const float *x;
  int64_t rows, ld;
  float *out;
} columns;

/* Each thread owns some columns and adds them up from the first row to the last: the order, and so the result, does not
 * depend on the number of threads. */
MC_VECTORISED static void column_sums_range(const columns *c, int64_t begin, int64_t end) {
  for (int64_t r = 0; r < c->rows; r++) {
    const float *x = c->x + r * c->ld;
    for (int64_t j = begin; j < end; j++) c->out[j] += x[j];
  }
}

static void column_sums_body(void *context, int64_t begin, int64_t end) { column_sums_range(context, begin, end); }

void mc_column_sums(mc_compute *cp, const float *x, int64_t rows, int64_t d, int64_t ld, float *out) {
  columns c = {x, rows, ld, out};
  mc_parallel_for(cp, d, 64, column_sums_body, &c);
}

typedef struct activation {
  mc_activation kind;
  const float *h;
  float *y;
} activation;

/* In pieces through a local array, which y cannot overlap: else the compiler must assume that it may, and y may be h. n: at most PIECE,
 * most often a constant. */
enum { PIECE = 64 };

MC_INLINE void forward_piece(mc_activation kind, const float *h, float *y, int64_t n) {
  float v[PIECE];
  mc_row_activation(kind, h, v, n);
  memcpy(y, v, (size_t)n * sizeof *v);
}

MC_INLINE void backward_piece(mc_activation kind, const float *h, float *dy, int64_t n) {
  float v[PIECE];
  mc_row_activation_slope(kind, h, v, n);
  for (int64_t k = 0; k < n; k++) dy[k] *= v[k];
}

MC_VECTORISED static void forward_range(mc_activation kind, const float *h, float *y, int64_t n) {
  for (; n >= PIECE; n -= PIECE, h += PIECE, y += PIECE) forward_piece(kind, h, y, PIECE);
  forward_piece(kind, h, y, n);
}

MC_VECTORISED static void backward_range(mc_activation kind, const float *h, float *dy, int64_t n) {
  for (; n >= PIECE; n -= PIECE, h += PIECE, dy += PIECE) backward_piece(kind, h, dy, PIECE);
  backward_piece(kind, h, dy, n);
}

static void forward_body(void *context, int64_t begin, int64_t end) {
  const activation *a = context;
  forward_range(a->kind, a->h + begin, a->y + begin, end - begin);
}

static void backward_body(void *context, int64_t begin, int64_t end) {
  const activation *a = context;
  backward_range(a->kind, a->h + begin, a->y + begin, end - begin);
}

void mc_activation_forward(mc_compute *cp, mc_activation kind, const float *h, int64_t n, float *y) {
  activation a = {kind, h, y};
  mc_parallel_for(cp, n, GRAIN, forward_body, &a);
}

void mc_activation_backward(mc_compute *cp, mc_activation kind, const float *h, int64_t n, float *dy) {
  activation a = {kind, h, dy};
  mc_parallel_for(cp, n, GRAIN, backward_body, &a);
}

bool mc_all_finite(const float *x, int64_t n) {
  /* x - x is 0 for finite numbers and NaN otherwise; one sum needs no branch. */
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] - x[i];
  return sum == 0;
}
