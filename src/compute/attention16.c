/*
 * Attention on bfloat16 projections. One head of one sample is a thread's unit of work: what it reads is laid out as tiles (compute/tiles.h),
 * then a strip of 32 queries at a time has its scores, softmax and mixture while they are in the core's first cache. Scores and softmax are
 * float32, probabilities and their gradients are rounded to be multiplied. Gradients of keys and values are sums over queries: a strip's
 * probabilities and score gradients are kept as tiles, and the products are made turned, so that only [t, head_width] matrices need turning.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "compute/internal.h"
#include "compute/tiles.h"
#include "compute/vector.h"

enum { STRIP = 32 };

/* A head's sizes: t and head_width in tiles of rows, and as what products sum over; dense rows of each. */
typedef struct sizes {
  int64_t t, w, t16, w16, t32, w32, own_t, own_w;
} sizes;

static sizes sizes_of(const mc_attention *a) {
  int64_t t = a->t, w = a->head_width;
  return (sizes){t, w, mc_tiles_of_rows(t), mc_tiles_of_rows(w), mc_tiles_of_k(t), mc_tiles_of_k(w), mc_tiles_of_k(t) * MC_TILE_K,
                 mc_tiles_of_k(w) * MC_TILE_K};
}

/* A thread's places in the scratch. Rows: an A, tiles: a B. */
typedef struct places {
  float *s, *dp;                    /* a strip's, [STRIP, 16 t16] */
  float *out;                       /* [16 t16, own_w], or [16 w16, 16 t16] */
  mc_bfloat16 *rows;                /* a strip's queries or their context's gradient, [STRIP, own_w] */
  mc_bfloat16 *k_turned, *v_turned; /* tiles [t16][w32] */
  mc_bfloat16 *k_tiles, *v_tiles;   /* tiles [w16][t32] */
  mc_bfloat16 *q_turned, *c_turned; /* [16 w16, own_t] */
  mc_bfloat16 *p_tiles, *ds_tiles;  /* tiles [t16][t32] */
  mc_bfloat16 *strip;               /* [STRIP, own_t]: probabilities or score gradients */
} places;

/* The next place in the scratch, on a cache line of its own; where scratch is NULL, only its size counts. */
static void *take(char *scratch, size_t *at, int64_t n, size_t each) {
  void *place = scratch ? scratch + *at : NULL;
  *at += ((size_t)n * each + 63) / 64 * 64;
  return place;
}

/* Lays the places out from `scratch` on; returns their bytes. */
static size_t lay_out(const sizes *z, char *scratch, places *x) {
  int64_t rows = z->t16 * MC_TILE_ROWS, columns = z->w16 * MC_TILE_ROWS;
  size_t at = 0, half = sizeof(mc_bfloat16);
  x->s = take(scratch, &at, STRIP * rows, sizeof *x->s);
  x->dp = take(scratch, &at, STRIP * rows, sizeof *x->dp);
  x->out = take(scratch, &at, rows * z->own_w, sizeof *x->out);
  x->rows = take(scratch, &at, STRIP * z->own_w, half);
  x->k_turned = take(scratch, &at, rows * z->own_w, half);
  x->v_turned = take(scratch, &at, rows * z->own_w, half);
  x->k_tiles = take(scratch, &at, columns * z->own_t, half);
  x->v_tiles = take(scratch, &at, columns * z->own_t, half);
  x->q_turned = take(scratch, &at, columns * z->own_t, half);
  x->c_turned = take(scratch, &at, columns * z->own_t, half);
  x->p_tiles = take(scratch, &at, rows * z->own_t, half);
  x->ds_tiles = take(scratch, &at, rows * z->own_t, half);
  x->strip = take(scratch, &at, STRIP * z->own_t, half);
  return at;
}

size_t mc_attention_scratch16(const mc_compute *cp, const mc_attention *a) {
  sizes z = sizes_of(a);
  places x;
  return (size_t)cp->n_threads * lay_out(&z, NULL, &x) + 63; /* what the caller gives need not begin with a line */
}

static places places_of(const sizes *z, void *scratch) {
  places x;
  uintptr_t first = ((uintptr_t)scratch + 63) / 64 * 64 - (uintptr_t)scratch;
  lay_out(z, (char *)scratch + first + (size_t)omp_get_thread_num() * lay_out(z, NULL, &x), &x);
  return x;
}

/* A row of products q . k -> probabilities p over the first n places, 0 up to `own`. The row is `padded` long, whole vectors: what is behind
 * n becomes so small that it leaves the sum as it is. Returns log sum exp of the scaled row. */
MC_VECTORISED static float softmax_row(float *restrict s, int64_t n, int64_t padded, float scale, mc_bfloat16 *restrict p, int64_t own) {
  for (int64_t i = n; i < padded; i++) s[i] = -INFINITY;
  float largest = mc_row_max(s, padded);
  for (int64_t i = 0; i < padded; i++) s[i] = mc_expf((s[i] - largest) * scale);
  float sum = mc_row_sum(s, padded), inverse = 1.0f / sum;
  for (int64_t i = 0; i < padded; i++) p[i] = mc_round_bfloat16(s[i] * inverse);
  for (int64_t i = n; i < own; i++) p[i] = 0;
  return largest * scale + logf(sum);
}

/* A row of products q . k and one of dcontext . v -> the probabilities that forward had, and their scores' gradient
 * p * (dp - sum(p * dp)) * scale. Both are 0 behind the first n places, all where n is 0: such a row was never computed. */
MC_INLINE void gradient_row(float *restrict s, float *restrict dp, float log_sum, int64_t n, int64_t padded, float scale) {
  for (int64_t i = 0; n == 0 && i < padded; i++) s[i] = dp[i] = 0;
  for (int64_t i = 0; i < padded; i++) s[i] = mc_expf(s[i] * scale - log_sum);
  for (int64_t i = n; i < padded; i++) s[i] = 0;
  float dot = mc_row_dot(s, dp, padded);
  for (int64_t i = 0; i < padded; i++) dp[i] = s[i] * (dp[i] - dot) * scale;
}

/* Two rows, rounded and side by side, as a tile has them. */
MC_INLINE void put_pair(const float *restrict first, const float *restrict second, mc_bfloat16 *restrict out) {
  mc_tile_pair *pairs = (mc_tile_pair *)out;
  MC_EACH_LANE(c) pairs[c] = mc_tile_pair_of(mc_round_bfloat16(first[c]), mc_round_bfloat16(second[c]));
}

/* Queries `row` and the next of a head, at s and dp: both rows' gradients, put into the tiles and ds. n: places that each sees (0: it is no
 * query, only fills the tile). */
MC_VECTORISED static void gradient_pair(const sizes *z, int64_t row, const int64_t n[2], const float log_sum[2], float scale, float *s,
                                        float *dp, const places *x, mc_bfloat16 *ds) {
  int64_t padded = z->t16 * MC_TILE_ROWS;
  for (int i = 0; i < 2; i++) gradient_row(s + i * padded, dp + i * padded, log_sum[i], n[i], padded, scale);
  for (int64_t j = 0; j < z->t16; j++) {
    const float *p0 = s + j * MC_TILE_ROWS, *d0 = dp + j * MC_TILE_ROWS;
    put_pair(p0, p0 + padded, mc_tiles_pair(x->p_tiles, z->t32, row, j));
    put_pair(d0, d0 + padded, mc_tiles_pair(x->ds_tiles, z->t32, row, j));
  }
  for (int i = 0; i < 2; i++) {
    mc_to_bfloat16_alone(dp + i * padded, padded, ds + i * z->own_t);
    for (int64_t k = padded; k < z->own_t; k++) ds[i * z->own_t + k] = 0;
  }
}

static void round_rows(const float *x, int64_t ldx, int64_t rows, int64_t columns, mc_bfloat16 *out, int64_t ld) {
  for (int64_t r = 0; r < rows; r++) mc_to_bfloat16_alone(x + r * ldx, columns, out + r * ld);
}

/* A head of a sample: where it stands in the projections and, as far from their beginning, in their gradients (at), and in the context (at_c).
 * ld, width: elements from a token to the next. */
typedef struct head {
  int64_t ld, width, at, at_c;
  const mc_bfloat16 *q, *k, *v;
} head;

static head head_of(const mc_attention *a, int64_t i, const mc_bfloat16 *qkv) {
  int64_t width = a->heads * a->head_width, at_c = i / a->heads * a->t * width + i % a->heads * a->head_width;
  int64_t at = i / a->heads * a->t * 3 * width + i % a->heads * a->head_width;
  return (head){3 * width, width, at, at_c, qkv + at, qkv + at + width, qkv + at + 2 * width};
}

static int64_t at_most(int64_t x, int64_t most) { return x < most ? x : most; }

/* products = (rows `first` on of x) times a turned matrix. A whole strip is read where it stands, others with zeros around them. */
static void multiply_strip(const mc_compute *cp, const sizes *z, const mc_bfloat16 *x, int64_t ld, int64_t first, const mc_bfloat16 *turned,
                           const places *p, float *products) {
  int64_t rows = at_most(z->t - first, STRIP), m16 = mc_tiles_of_rows(rows);
  bool whole = rows == STRIP && z->w == z->own_w;
  if (!whole) mc_tiles_rows(x + first * ld, ld, rows, z->w, m16, z->w32, p->rows);
  mc_tiles_multiply(cp->tiles, &(mc_tile_product){m16, z->t16, z->w32, whole ? x + first * ld : p->rows, whole ? ld : z->own_w, turned,
                                                  products, z->t16 * MC_TILE_ROWS});
}

/* context: the head's. log_sum: its queries', or NULL. */
static void forward_head(const mc_compute *cp, const mc_attention *a, const sizes *z, const head *h, mc_bfloat16 *context, float *log_sum,
                         const places *x) {
  int64_t padded = z->t16 * MC_TILE_ROWS;
  float scale = 1.0f / sqrtf((float)z->w);
  mc_tiles_of_turned(h->k, h->ld, z->t, z->w, x->k_turned);
  mc_tiles_of(h->v, h->ld, z->t, z->w, x->v_tiles);
  for (int64_t first = 0; first < z->t; first += STRIP) {
    int64_t rows = at_most(z->t - first, STRIP), m16 = mc_tiles_of_rows(rows);
    multiply_strip(cp, z, h->q, h->ld, first, x->k_turned, x, x->s);
    for (int64_t r = 0; r < rows; r++) {
      float of_row = softmax_row(x->s + r * padded, a->causal ? first + r + 1 : z->t, padded, scale, x->strip + r * z->own_t, z->own_t);
      if (log_sum) log_sum[first + r] = of_row;
    }
    memset(x->strip + rows * z->own_t, 0, (size_t)((m16 * MC_TILE_ROWS - rows) * z->own_t) * sizeof *x->strip);
    mc_tiles_multiply(cp->tiles, &(mc_tile_product){m16, z->w16, z->t32, x->strip, z->own_t, x->v_tiles, x->out, z->own_w});
    round_rows(x->out, z->own_w, rows, z->w, context + first * h->width, h->width);
  }
}

void mc_attention_forward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, mc_bfloat16 *context, float *log_sum,
                            void *scratch) {
  sizes z = sizes_of(a);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads) if (cp->n_threads > 1)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    places x = places_of(&z, scratch);
    head h = head_of(a, i, qkv);
    forward_head(cp, a, &z, &h, context + h.at_c, log_sum ? log_sum + i * a->t : NULL, &x);
  }
}

/* The gradient of queries, and the tiles that those of keys and values are made of. */
static void backward_strips(const mc_compute *cp, const mc_attention *a, const sizes *z, const head *h, const float *log_sum,
                            const mc_bfloat16 *dc, mc_bfloat16 *dq, const places *x) {
  int64_t padded = z->t16 * MC_TILE_ROWS;
  float scale = 1.0f / sqrtf((float)z->w);
  for (int64_t first = 0; first < z->t; first += STRIP) {
    int64_t rows = at_most(z->t - first, STRIP), m16 = mc_tiles_of_rows(rows);
    multiply_strip(cp, z, h->q, h->ld, first, x->k_turned, x, x->s);
    multiply_strip(cp, z, dc, h->width, first, x->v_turned, x, x->dp);
    for (int64_t r = 0; r < STRIP; r += 2) {
      int64_t seen[2];
      float sums[2];
      for (int i = 0; i < 2; i++) {
        bool is_query = r + i < rows;
        seen[i] = !is_query ? 0 : a->causal ? first + r + i + 1 : z->t;
        sums[i] = is_query ? log_sum[first + r + i] : 0;
      }
      gradient_pair(z, first + r, seen, sums, scale, x->s + r * padded, x->dp + r * padded, x, x->strip + r * z->own_t);
    }
    mc_tiles_multiply(cp->tiles, &(mc_tile_product){m16, z->w16, z->t32, x->strip, z->own_t, x->k_tiles, x->out, z->own_w});
    round_rows(x->out, z->own_w, rows, z->w, dq + first * h->ld, h->ld);
  }
}

/* dc, dq: the head's in the context's and the projections' gradients. */
static void backward_head(const mc_compute *cp, const mc_attention *a, const sizes *z, const head *h, const float *log_sum,
                          const mc_bfloat16 *dc, mc_bfloat16 *dq, const places *x) {
  int64_t padded = z->t16 * MC_TILE_ROWS;
  mc_tiles_of_turned(h->k, h->ld, z->t, z->w, x->k_turned);
  mc_tiles_of_turned(h->v, h->ld, z->t, z->w, x->v_turned);
  mc_tiles_of(h->k, h->ld, z->t, z->w, x->k_tiles);
  mc_tiles_rows_turned(h->q, h->ld, z->t, z->w, z->w16, z->t32, x->q_turned);
  mc_tiles_rows_turned(dc, h->width, z->t, z->w, z->w16, z->t32, x->c_turned);
  backward_strips(cp, a, z, h, log_sum, dc, dq, x);
  mc_tiles_multiply(cp->tiles, &(mc_tile_product){z->w16, z->t16, z->t32, x->c_turned, z->own_t, x->p_tiles, x->out, padded});
  mc_tiles_round_turned(x->out, padded, z->w, z->t, dq + 2 * h->width, h->ld);
  mc_tiles_multiply(cp->tiles, &(mc_tile_product){z->w16, z->t16, z->t32, x->q_turned, z->own_t, x->ds_tiles, x->out, padded});
  mc_tiles_round_turned(x->out, padded, z->w, z->t, dq + h->width, h->ld);
}

void mc_attention_backward16(mc_compute *cp, const mc_attention *a, const mc_bfloat16 *qkv, const float *log_sum,
                             const mc_bfloat16 *dcontext, mc_bfloat16 *dqkv, void *scratch) {
  sizes z = sizes_of(a);
#pragma omp parallel for schedule(static) num_threads(cp->n_threads) if (cp->n_threads > 1)
  for (int64_t i = 0; i < a->n * a->heads; i++) {
    places x = places_of(&z, scratch);
    head h = head_of(a, i, qkv);
    backward_head(cp, a, &z, &h, log_sum + i * a->t, dcontext + h.at_c, dqkv + h.at, &x);
  }
}
