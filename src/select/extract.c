/* What the selector looks at: AlexNet's features, or what the untouched image tower makes of a picture. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/activation.h"
#include "select/features.h"
#include "select/selector.h"

MC_VECTORISED static void sigmoid_range(float *x, int64_t begin, int64_t end) {
  mc_row_sigmoid(x + begin, 1, x + begin, end - begin);
}

static void sigmoid_body(void *context, int64_t begin, int64_t end) { sigmoid_range(context, begin, end); }

void mc_sigmoid(mc_compute *cp, float *x, int64_t n) { mc_parallel_for(cp, n, 1 << 13, sigmoid_body, x); }

/* Tokens of an early block still say what a picture looks like (its texture, palette and layout: its domain), later ones more and
 * more what it shows. Gaussians do best on what costs nothing, block 0's. Measured in docs/SELECTORS.md. */
static int layer_by_depth(mc_selector_kind kind, int n_layers) { return kind == MC_SELECTOR_AUTOENCODER ? n_layers / 6 : 0; }

/* Tokens are pooled so that the grid's side is at most this: about as many numbers a picture as AlexNet gives. */
enum { MAX_SIDE = 8 };

static int grid_of(const mc_clip *clip) { return clip->sizes.image_size / clip->sizes.patch; }
static int pool_of(int grid) { return (grid + MAX_SIDE - 1) / MAX_SIDE; }

moeclip_code mc_feature_extractor_init(mc_feature_extractor *x, mc_selector_kind kind, const char *alexnet, mc_clip *clip, int layer,
                                       moeclip_error *err) {
  *x = (mc_feature_extractor){.kind = kind, .clip = clip};
  if (alexnet && kind != MC_SELECTOR_AUTOENCODER) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "AlexNet's features are for a selector of autoencoders alone");
  }
  if (alexnet) {
    moeclip_transform_defaults(&x->transform, MC_ALEXNET_SIZE);
    x->dim = MC_ALEXNET_DIM;
    x->layer = layer;
    return mc_alexnet_load(alexnet, &x->alexnet, err);
  }
  int n_layers = clip->visual.n_layers, grid = grid_of(clip), pool = pool_of(grid), side = (grid + pool - 1) / pool;
  x->layer = layer < 0 ? layer_by_depth(kind, n_layers) : layer;
  if (x->layer > n_layers) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "selector layer %d: the image tower has the blocks 0 to %d, and %d is what it makes "
                   "of a picture in the end", layer, n_layers - 1, n_layers);
  }
  x->transform = clip->transform;
  if (x->layer == n_layers) {
    x->dim = clip->sizes.embed;
  } else {
    x->dim = kind == MC_SELECTOR_AUTOENCODER ? (int64_t)side * side * clip->visual.width : 2 * (int64_t)clip->visual.width;
  }
  return MOECLIP_OK;
}

void mc_feature_extractor_clear(mc_feature_extractor *x) {
  mc_alexnet_destroy(x->alexnet);
  *x = (mc_feature_extractor){0};
}

/* Mean 0 and variance 1 over the width, so that the sigmoid neither saturates nor flattens, whatever the model's scale. */
static void standardise(float *v, int64_t d) {
  double sum = 0, square = 0;
  for (int64_t i = 0; i < d; i++) sum += v[i];
  double mean = sum / (double)d;
  for (int64_t i = 0; i < d; i++) square += (v[i] - mean) * (v[i] - mean);
  float rstd = (float)(1 / sqrt(square / (double)d + 1e-5));
  for (int64_t i = 0; i < d; i++) v[i] = (v[i] - (float)mean) * rstd;
}

typedef struct pooling {
  const float *tokens; /* [n, 1 + grid * grid, d] */
  float *out;          /* [n, side * side, d] */
  int grid, pool, side;
  int64_t d;
} pooling;

static void pool_picture(const pooling *p, int64_t picture) {
  const float *tokens = p->tokens + picture * (1 + (int64_t)p->grid * p->grid) * p->d + p->d; /* without the class token */
  float *out = p->out + picture * (int64_t)p->side * p->side * p->d;
  for (int i = 0; i < p->side * p->side; i++) {
    int top = i / p->side * p->pool, left = i % p->side * p->pool, n = 0;
    float *to = out + (int64_t)i * p->d;
    memset(to, 0, (size_t)p->d * sizeof *to);
    for (int y = top; y < top + p->pool && y < p->grid; y++) {
      for (int x = left; x < left + p->pool && x < p->grid; x++, n++) {
        const float *from = tokens + ((int64_t)y * p->grid + x) * p->d;
        for (int64_t k = 0; k < p->d; k++) to[k] += from[k];
      }
    }
    for (int64_t k = 0; n > 1 && k < p->d; k++) to[k] /= (float)n;
    standardise(to, p->d);
  }
}

static void pool_range(void *context, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) pool_picture(context, i);
}

typedef struct moments {
  const float *tokens; /* [n, 1 + patches, d] */
  float *out;          /* [n, 2 d] */
  int64_t patches, d;
} moments;

MC_VECTORISED static void mean_and_deviation(const float *restrict tokens, int64_t patches, int64_t d, float *restrict out) {
  float *mean = out, *deviation = out + d;
  for (int64_t k = 0; k < 2 * d; k++) out[k] = 0;
  for (int64_t t = 0; t < patches; t++) {
    for (int64_t k = 0; k < d; k++) mean[k] += tokens[t * d + k];
  }
  for (int64_t k = 0; k < d; k++) mean[k] /= (float)patches;
  for (int64_t t = 0; t < patches; t++) {
    for (int64_t k = 0; k < d; k++) deviation[k] += (tokens[t * d + k] - mean[k]) * (tokens[t * d + k] - mean[k]);
  }
  for (int64_t k = 0; k < d; k++) deviation[k] = sqrtf(deviation[k] / (float)patches);
}

static void moments_range(void *context, int64_t begin, int64_t end) {
  const moments *m = context;
  for (int64_t i = begin; i < end; i++) {
    mean_and_deviation(m->tokens + (i * (m->patches + 1) + 1) * m->d, m->patches, m->d, m->out + i * 2 * m->d);
  }
}

void mc_extract_moments(mc_compute *cp, const mc_feature_extractor *x, const float *tokens, int64_t n, float *out) {
  moments m = {tokens, out, x->clip->n_patches, x->clip->visual.width};
  mc_parallel_for(cp, n, 1, moments_range, &m);
}

bool mc_extracts_in_passing(const mc_feature_extractor *x) {
  return x->kind != MC_SELECTOR_AUTOENCODER && x->layer == 0 && x->clip->visual.n_layers > 1;
}

static moeclip_code extract_embedding(mc_compute *cp, const mc_feature_extractor *x, const float *images, int64_t n, float *out,
                                      mc_arena *arena, moeclip_error *err) {
  mc_encoder e = {.clip = x->clip};
  MC_TRY(mc_encode_images(cp, &e, images, n, out, NULL, arena, err));
  float scale = sqrtf((float)x->dim); /* numbers of about the size 1 */
  for (int64_t i = 0; i < n * x->dim; i++) out[i] *= scale;
  if (x->kind == MC_SELECTOR_AUTOENCODER) mc_sigmoid(cp, out, n * x->dim);
  return MOECLIP_OK;
}

static moeclip_code extract_tokens(mc_compute *cp, const mc_feature_extractor *x, const float *images, int64_t n, float *out,
                                   mc_arena *arena, moeclip_error *err) {
  int grid = grid_of(x->clip), pool = pool_of(grid);
  pooling p = {NULL, out, grid, pool, (grid + pool - 1) / pool, x->clip->visual.width};
  float *tokens;
  MC_ARENA_TAKE(tokens, arena, n * (1 + (int64_t)grid * grid) * p.d, "tokens");
  MC_TRY(mc_image_tokens(cp, x->clip, images, n, x->layer, tokens, arena, err));
  if (x->kind != MC_SELECTOR_AUTOENCODER) {
    mc_extract_moments(cp, x, tokens, n, out);
    return MOECLIP_OK;
  }
  p.tokens = tokens;
  mc_parallel_for(cp, n, 1, pool_range, &p);
  mc_sigmoid(cp, out, n * x->dim);
  return MOECLIP_OK;
}

moeclip_code mc_extract(mc_compute *cp, const mc_feature_extractor *x, const uint8_t *pixels, int64_t n, float *out,
                        mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  size_t each = 3 * (size_t)x->transform.size * (size_t)x->transform.size;
  float *images = mc_arena_take(arena, (size_t)n * each, sizeof *images);
  if (!images) return mc_fail_memory(err, (size_t)n * each * sizeof *images, "pictures");
  mc_normalize_pixels(cp, pixels, n, &x->transform, images);
  moeclip_code code;
  if (x->alexnet) {
    code = mc_alexnet_features(cp, x->alexnet, images, n, out, arena, err);
  } else if (x->layer == x->clip->visual.n_layers) {
    code = extract_embedding(cp, x, images, n, out, arena, err);
  } else {
    code = extract_tokens(cp, x, images, n, out, arena, err);
  }
  mc_arena_release(arena, mark);
  return code;
}
