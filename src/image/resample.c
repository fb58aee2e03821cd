#include "image/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#if defined(__x86_64__) && defined(__linux__) && !defined(MOECLIP_ONE_TARGET)
#define VECTORISED __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define VECTORISED
#endif

#define PRECISION 22
#define HALF (1 << (PRECISION - 1))
/* Rows that the horizontal pass handles side by side, and the values whose sums are formed together. */
#define LANES 32
#define BLOCK (8 * LANES)

/* One axis: output i of the part is the sum of k[i][j] * input[first[i] + j], j < count[i]. */
typedef struct axis {
  int n;         /* outputs */
  int begin, end; /* the inputs that any of them reads */
  size_t stride; /* of k */
  int *first, *count;
  int32_t *k;
} axis;

static double bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

static void axis_clear(axis *a) {
  free(a->first);
  free(a->count);
  free(a->k);
}

/* One output's coefficients into k (weights: scratch of the same length). The order of every operation is Pillow's. */
static int fill_output(int n_in, double scale, int at, int *first, double *weights, int32_t *k) {
  double filter_scale = scale < 1 ? 1 : scale, support = 2 * filter_scale, inverse = 1 / filter_scale;
  double center = (at + 0.5) * scale, sum = 0;
  double low = center - support + 0.5, high = center + support + 0.5;
  int begin = low < 0 ? 0 : (int)low, end = high > n_in ? n_in : (int)high;
  for (int i = 0; i < end - begin; i++) {
    weights[i] = bicubic((i + begin - center + 0.5) * inverse);
    sum += weights[i];
  }
  for (int i = 0; i < end - begin; i++) {
    double w = sum != 0 ? weights[i] / sum : weights[i];
    k[i] = (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << PRECISION));
  }
  *first = begin;
  return end - begin;
}

/* n outputs from `from` on, of the n_out that n_in inputs are resized to. To be cleared even when it fails. */
static moeclip_code axis_init(axis *a, int n_in, int n_out, int from, int n, moeclip_error *err) {
  double scale = (double)n_in / n_out, support = ceil(2 * (scale < 1 ? 1 : scale)) * 2 + 1;
  size_t n_k = 0;
  *a = (axis){.n = n, .begin = n_in, .stride = support < n_in ? (size_t)support : (size_t)n_in};
  double *weights = mc_alloc(a->stride, sizeof *weights);
  a->first = mc_alloc((size_t)n, sizeof *a->first);
  a->count = mc_alloc((size_t)n, sizeof *a->count);
  if (mc_mul_size((size_t)n, a->stride, &n_k)) a->k = mc_alloc(n_k, sizeof *a->k);
  bool ok = weights && a->first && a->count && a->k;
  for (int i = 0; ok && i < n; i++) {
    a->count[i] = fill_output(n_in, scale, from + i, &a->first[i], weights, a->k + (size_t)i * a->stride);
    if (a->first[i] < a->begin) a->begin = a->first[i];
    if (a->first[i] + a->count[i] > a->end) a->end = a->first[i] + a->count[i];
  }
  free(weights);
  return ok ? MOECLIP_OK : mc_fail_memory(err, n_k * sizeof *a->k, "a resize");
}

/* out[i] = the sum of k[j] * p[j * stride + i] over j < count, back from fixed point, for i < n (a multiple of LANES).
 * Plain loops over a block that stays in the first cache: compilers vectorise them for every target. */
VECTORISED static void weighted_sum(const uint8_t *restrict p, size_t stride, const int32_t *restrict k, int count,
                                    size_t n, uint8_t *restrict out) {
  int32_t sum[BLOCK];
  for (size_t at = 0; at < n; at += BLOCK) {
    size_t n_block = n - at < BLOCK ? n - at : BLOCK;
    n_block -= n_block % LANES; /* nothing, but compilers cannot know */
    for (size_t i = 0; i < n_block; i++) sum[i] = HALF;
    int j = 0;
    for (; j + 4 <= count; j += 4) {
      const uint8_t *p0 = p + (size_t)j * stride + at, *p1 = p0 + stride, *p2 = p1 + stride, *p3 = p2 + stride;
      int32_t k0 = k[j], k1 = k[j + 1], k2 = k[j + 2], k3 = k[j + 3];
      for (size_t i = 0; i < n_block; i++) sum[i] += k0 * p0[i] + k1 * p1[i] + k2 * p2[i] + k3 * p3[i];
    }
    for (; j < count; j++) {
      const uint8_t *p0 = p + (size_t)j * stride + at;
      int32_t k0 = k[j];
      for (size_t i = 0; i < n_block; i++) sum[i] += k0 * p0[i];
    }
    for (size_t i = 0; i < n_block; i++) {
      int32_t v = sum[i] >> PRECISION;
      out[at + i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
  }
}

/* LANES rows at once. columns: [inputs, 3, LANES], from the axis's begin on; out: [outputs, 3, LANES]. */
static void resample_columns(const axis *a, const uint8_t *columns, uint8_t *out) {
  for (size_t i = 0; i < (size_t)a->n; i++) {
    weighted_sum(columns + (size_t)(a->first[i] - a->begin) * 3 * LANES, 3 * LANES, a->k + i * a->stride, a->count[i],
                 3 * LANES, out + i * 3 * LANES);
  }
}

/* What one pass leaves for the next. */
typedef struct workspace {
  size_t stride;     /* of rows: the part's width * 3, rounded up to LANES */
  uint8_t *rows;     /* the vertical axis's inputs, resized horizontally; in the result's layout (planar or not) */
  uint8_t *columns;  /* LANES rows of the source, transposed */
  uint8_t *resized;  /* the same after the horizontal pass */
  uint8_t *row;      /* one row of the result */
} workspace;

static void workspace_clear(workspace *w) {
  mc_aligned_free(w->rows);
  mc_aligned_free(w->columns);
  mc_aligned_free(w->resized);
  mc_aligned_free(w->row);
}

static moeclip_code workspace_init(workspace *w, const axis *x, const axis *y, moeclip_error *err) {
  size_t n_out = (size_t)x->n * 3;
  *w = (workspace){.stride = (n_out + LANES - 1) / LANES * LANES};
  w->rows = mc_aligned_alloc((size_t)(y->end - y->begin), w->stride);
  w->columns = mc_zeros((size_t)(x->end - x->begin), 3 * LANES);
  w->resized = mc_aligned_alloc(n_out, LANES);
  w->row = mc_aligned_alloc(w->stride, 1);
  if (w->rows && w->columns && w->resized && w->row) {
    /* The rows' padding is computed with, though never used. */
    for (int i = 0; i < y->end - y->begin; i++) memset(w->rows + (size_t)i * w->stride + n_out, 0, w->stride - n_out);
    return MOECLIP_OK;
  }
  workspace_clear(w);
  return mc_fail_memory(err, (size_t)(y->end - y->begin) * w->stride, "a resize");
}

/* n rows (at most LANES) of n_columns pixels to columns. */
static void transpose(const uint8_t *source, size_t row, int n, size_t n_columns, uint8_t *restrict columns) {
  /* Eight rows at a time, so that a column's bytes are stored as one word. */
  int r = 0;
  for (; r + 8 <= n; r += 8) {
    const uint8_t *p = source + (size_t)r * row;
    for (size_t i = 0; i < n_columns * 3; i++, p++) {
      uint8_t eight[8];
      for (size_t j = 0; j < 8; j++) eight[j] = p[j * row];
      memcpy(columns + i * LANES + r, eight, 8);
    }
  }
  for (; r < n; r++) {
    const uint8_t *p = source + (size_t)r * row;
    for (size_t i = 0; i < n_columns * 3; i++) columns[i * LANES + (size_t)r] = p[i];
  }
}

static void transpose_back(const workspace *w, int n, int width, bool planar, uint8_t *restrict rows) {
  size_t along_x = planar ? 1 : 3, along_c = planar ? (size_t)width : 1;
  for (int r = 0; r < n; r++) {
    uint8_t *to = rows + (size_t)r * w->stride;
    for (size_t c = 0; c < 3; c++) {
      const uint8_t *from = w->resized + c * LANES + r;
      for (size_t x = 0; x < (size_t)width; x++) to[x * along_x + c * along_c] = from[x * 3 * LANES];
    }
  }
}

static void run_passes(const mc_resample *r, const axis *x, const axis *y, const workspace *w, uint8_t *out) {
  for (int at = y->begin; at < y->end; at += LANES) {
    int n = y->end - at < LANES ? y->end - at : LANES;
    transpose(r->source + (size_t)at * r->row + (size_t)x->begin * 3, r->row, n, (size_t)(x->end - x->begin),
              w->columns);
    resample_columns(x, w->columns, w->resized);
    transpose_back(w, n, x->n, r->planar, w->rows + (size_t)(at - y->begin) * w->stride);
  }
  size_t width = (size_t)x->n, height = (size_t)y->n;
  for (size_t i = 0; i < height; i++) {
    weighted_sum(w->rows + (size_t)(y->first[i] - y->begin) * w->stride, w->stride, y->k + i * y->stride, y->count[i],
                 w->stride, w->row);
    if (r->planar) {
      for (size_t c = 0; c < 3; c++) memcpy(out + (c * height + i) * width, w->row + c * width, width);
    } else {
      memcpy(out + i * width * 3, w->row, width * 3);
    }
  }
}

moeclip_code mc_resample_run(const mc_resample *r, uint8_t *out, moeclip_error *err) {
  axis x = {0}, y = {0};
  workspace w = {0};
  moeclip_code code = axis_init(&x, r->width, r->to_width, r->part.x, r->part.width, err);
  if (code == MOECLIP_OK) code = axis_init(&y, r->height, r->to_height, r->part.y, r->part.height, err);
  if (code == MOECLIP_OK) code = workspace_init(&w, &x, &y, err);
  if (code == MOECLIP_OK) {
    run_passes(r, &x, &y, &w, out);
    workspace_clear(&w);
  }
  axis_clear(&y);
  axis_clear(&x);
  return code;
}
