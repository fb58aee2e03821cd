/* What the selector looks at: AlexNet's features, or an early block's image tokens. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/vector.h"
#include "select/features.h"
#include "select/selector.h"

MC_VECTORISED static void sigmoid_range(float *x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) x[i] = 1.0f / (1.0f + mc_expf(-x[i]));
}

static void sigmoid_body(void *context, int64_t begin, int64_t end) { sigmoid_range(context, begin, end); }

void mc_sigmoid(mc_compute *cp, float *x, int64_t n) { mc_parallel_for(cp, n, 1 << 13, sigmoid_body, x); }

/* Tokens of an early block still say what a picture looks like (its texture, palette and layout: its domain), later ones more and
 * more what it shows. Measured in docs/DESIGN.md. */
static int layer_by_depth(int n_layers) { return n_layers / 6; }

/* Tokens are pooled so that the grid's side is at most this: about as many numbers a picture as AlexNet gives. */
enum { MAX_SIDE = 8 };

static int grid_of(const mc_clip *clip) { return clip->sizes.image_size / clip->sizes.patch; }
static int pool_of(int grid) { return (grid + MAX_SIDE - 1) / MAX_SIDE; }

moeclip_code mc_feature_extractor_init(mc_feature_extractor *x, const char *alexnet, mc_clip *clip, int layer,
                                       moeclip_error *err) {
  *x = (mc_feature_extractor){.clip = clip};
  if (alexnet) {
    x->image_size = MC_ALEXNET_SIZE;
    x->dim = MC_ALEXNET_DIM;
    x->layer = layer;
    return mc_alexnet_load(alexnet, &x->alexnet, err);
  }
  x->layer = layer < 0 ? layer_by_depth(clip->visual.n_layers) : layer;
  if (x->layer >= clip->visual.n_layers) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "selector layer %d: the image tower has the blocks 0 to %d", layer,
                   clip->visual.n_layers - 1);
  }
  int grid = grid_of(clip), pool = pool_of(grid), side = (grid + pool - 1) / pool;
  x->image_size = clip->sizes.image_size;
  x->dim = (int64_t)side * side * clip->visual.width;
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

moeclip_code mc_extract(mc_compute *cp, const mc_feature_extractor *x, const uint8_t *pixels, int64_t n, float *out,
                        mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  size_t each = 3 * (size_t)x->image_size * (size_t)x->image_size;
  float *images = mc_arena_take(arena, (size_t)n * each, sizeof *images);
  if (!images) return mc_fail_memory(err, (size_t)n * each * sizeof *images, "pictures");
  mc_normalize_pixels(cp, pixels, n, x->image_size, images);
  moeclip_code code;
  if (x->alexnet) {
    code = mc_alexnet_features(cp, x->alexnet, images, n, out, arena, err);
  } else {
    int grid = grid_of(x->clip), pool = pool_of(grid);
    pooling p = {NULL, out, grid, pool, (grid + pool - 1) / pool, x->clip->visual.width};
    size_t count = (size_t)n * (1 + (size_t)grid * (size_t)grid) * (size_t)p.d;
    float *tokens = mc_arena_take(arena, count, sizeof *tokens);
    code = tokens ? mc_image_tokens(cp, x->clip, images, n, x->layer, tokens, arena, err)
                  : mc_fail_memory(err, count * sizeof *tokens, "tokens");
    p.tokens = tokens;
    if (code == MOECLIP_OK) {
      mc_parallel_for(cp, n, 1, pool_range, &p);
      mc_sigmoid(cp, out, n * x->dim);
    }
  }
  mc_arena_release(arena, mark);
  return code;
}
