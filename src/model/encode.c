#include "model/encode.h"

#include <string.h>

#include "base/memory.h"
#include "model/block.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "activations")

/* Picture -> rows of [3 * patch * patch], the order of conv1's weights, one row a patch. */
static void cut_patches(const float *images, int64_t n, int size, int patch, float *out) {
  int grid = size / patch;
  for (int64_t s = 0; s < n; s++) {
    for (int y = 0; y < grid; y++) {
      for (int x = 0; x < grid; x++) {
        for (int c = 0; c < 3; c++) {
          for (int i = 0; i < patch; i++) {
            memcpy(out, images + ((s * 3 + c) * size + y * patch + i) * (int64_t)size + x * patch,
                   (size_t)patch * sizeof *out);
            out += patch;
          }
        }
      }
    }
  }
}

/* Class token and patches plus positions, into x [n, t, d]. */
static moeclip_code embed_images(mc_compute *cp, mc_clip *c, const float *images, int64_t n, float *x, mc_arena *arena,
                                 moeclip_error *err) {
  const mc_clip_sizes *s = &c->sizes;
  int64_t d = s->visual_width, p = c->n_patches, t = p + 1, in = 3 * s->patch * s->patch;
  mc_arena_mark mark = mc_arena_here(arena);
  float *patches, *projected;
  TAKE(patches, n * p * in);
  TAKE(projected, n * p * d);
  cut_patches(images, n, s->image_size, s->patch, patches);
  const mc_between *cut;
  MC_TRY(mc_put_between(cp, patches, n * p * in, &cut, arena, err));
  MC_TRY(mc_linear(cp, cut, n * p, &c->conv1, NULL, projected, MC_INTO_FLOAT, err));
  for (int64_t i = 0; i < n; i++) {
    float *row = x + i * t * d;
    const float *position = c->visual_position.value;
    for (int64_t j = 0; j < d; j++) row[j] = c->class_embedding.value[j] + position[j];
    for (int64_t j = 0; j < p * d; j++) row[d + j] = projected[i * p * d + j] + position[d + j];
  }
  mc_arena_release(arena, mark);
  return MOECLIP_OK;
}

/* pooled [n, d] -> last norm -> projection -> normalised features [n, embed]. */
static moeclip_code read_out(mc_compute *cp, const mc_param *weight, const mc_param *bias, const mc_param *projection,
                             mc_encoded *e, moeclip_error *err, mc_arena *arena) {
  int64_t d = projection->shape[0], embed = projection->shape[1];
  float *normed, *raw;
  TAKE(e->mean, e->n);
  TAKE(e->rstd, e->n);
  TAKE(e->features, e->n * embed);
  TAKE(e->norm, e->n);
  mc_arena_mark mark = mc_arena_here(arena);
  TAKE(normed, e->n * d);
  TAKE(raw, e->n * embed);
  mc_layernorm_forward(cp, e->pooled, d, weight->value, bias->value, e->n, d, normed, e->mean, e->rstd);
  mc_gemm g = {.m = e->n, .n = embed, .k = d, .a = normed, .lda = d, .b = projection->value, .ldb = embed, .c = raw,
               .ldc = embed};
  MC_TRY(mc_gemm_run(cp, &g, err));
  mc_normalize_forward(raw, e->n, embed, e->features, e->norm);
  mc_arena_release(arena, mark);
  return MOECLIP_OK;
}

/* dfeatures -> dpooled [n, d] (written). */
static moeclip_code read_out_backward(mc_compute *cp, mc_param *weight, mc_param *bias, mc_param *projection,
                                      const mc_encoded *e, const float *dfeatures, float *dpooled, mc_arena *arena,
                                      moeclip_error *err) {
  int64_t d = projection->shape[0], embed = projection->shape[1];
  mc_arena_mark mark = mc_arena_here(arena);
  float *draw, *dnormed, *normed;
  TAKE(draw, e->n * embed);
  TAKE(dnormed, e->n * d);
  TAKE(normed, e->n * d);
  mc_normalize_backward(dfeatures, e->features, e->norm, e->n, embed, draw);
  if (projection->grad) {
    mc_layernorm_forward(cp, e->pooled, d, weight->value, bias->value, e->n, d, normed, NULL, NULL);
    mc_gemm of_weight = {.m = d, .n = embed, .k = e->n, .a = normed, .lda = d, .trans_a = true, .b = draw, .ldb = embed,
                         .c = projection->grad, .ldc = embed, .accumulate = true};
    MC_TRY(mc_gemm_run(cp, &of_weight, err));
    projection->touched = weight->touched = bias->touched = true;
  }
  mc_gemm back = {.m = e->n, .n = d, .k = embed, .a = draw, .lda = embed, .b = projection->value, .ldb = embed,
                  .trans_b = true, .c = dnormed, .ldc = d};
  MC_TRY(mc_gemm_run(cp, &back, err));
  memset(dpooled, 0, (size_t)(e->n * d) * sizeof *dpooled);
  mc_layernorm_backward(cp, dnormed, e->pooled, d, e->mean, e->rstd, weight->value, e->n, d, dpooled, d, weight->grad,
                        bias->grad);
  mc_arena_release(arena, mark);
  return MOECLIP_OK;
}

/* All of the last block's tokens are wanted only by those who look inside. */
static bool reads_one_token(const mc_encoder *e) { return !e->tap && !e->full_context; }

static mc_tower_pass visual_pass(const mc_encoder *e, const mc_encoded *of) {
  return (mc_tower_pass){.tower = &e->clip->visual,
                         .moe = e->adapters ? e->adapters->visual : NULL,
                         .routing = e->routing,
                         .n = of->n,
                         .t = of->t,
                         .kept = of->kept,
                         .tap = e->tap,
                         .read = of->read,
                         .read_out = of->pooled,
                         .done = e->done,
                         .choice = e->choice};
}

static mc_tower_pass text_pass(const mc_encoder *e, const mc_encoded *of) {
  return (mc_tower_pass){.tower = &e->clip->text,
                         .moe = e->adapters && e->adapters->text_layers ? e->adapters->text : NULL,
                         .routing = e->routing,
                         .first_block = e->clip->visual.n_layers,
                         .n = of->n,
                         .t = of->t,
                         .kept = of->kept,
                         .tap = e->tap,
                         .read = of->read,
                         .read_out = of->pooled,
                         .done = e->done};
}

moeclip_code mc_encode_images(mc_compute *cp, const mc_encoder *e, const float *images, int64_t n, float *features,
                              mc_encoded *keep, mc_arena *arena, moeclip_error *err) {
  mc_clip *c = e->clip;
  int64_t d = c->sizes.visual_width, t = c->n_patches + 1;
  mc_encoded of = {.n = n, .t = t, .images = images};
  mc_arena_mark before = mc_arena_here(arena);
  float *x;
  if (reads_one_token(e)) {
    int32_t *class_token;
    TAKE(class_token, n);
    memset(class_token, 0, (size_t)n * sizeof *class_token);
    of.read = class_token;
  }
  if (keep) TAKE(of.kept, c->visual.n_layers);
  TAKE(of.pooled, n * d);
  if (keep && c->conv1.grad) {
    TAKE(of.embedded, n * t * d);
    TAKE(of.pre_mean, n * t);
    TAKE(of.pre_rstd, n * t);
  }
  TAKE(x, n * t * d);
  MC_TRY(embed_images(cp, c, images, n, x, arena, err));
  if (of.embedded) memcpy(of.embedded, x, (size_t)(n * t * d) * sizeof *x);
  mc_layernorm_forward(cp, x, d, c->ln_pre_weight.value, c->ln_pre_bias.value, n * t, d, x, of.pre_mean, of.pre_rstd);
  mc_tower_pass pass = visual_pass(e, &of);
  MC_TRY(mc_tower_forward(cp, &pass, x, arena, err));
  for (int64_t i = 0; !of.read && i < n; i++) memcpy(of.pooled + i * d, x + i * t * d, (size_t)d * sizeof *x);
  MC_TRY(read_out(cp, &c->ln_post_weight, &c->ln_post_bias, &c->visual_proj, &of, err, arena));
  if (features) memcpy(features, of.features, (size_t)(n * c->sizes.embed) * sizeof *features);
  if (keep) {
    *keep = of;
  } else {
    mc_arena_release(arena, before);
  }
  return MOECLIP_OK;
}

moeclip_code mc_encode_images_backward(mc_compute *cp, const mc_encoder *e, const mc_encoded *of,
                                       const float *dfeatures, mc_arena *arena, moeclip_error *err) {
  mc_clip *c = e->clip;
  int64_t d = c->sizes.visual_width, n = of->n, t = of->t, in = 3 * c->sizes.patch * c->sizes.patch;
  bool full = c->conv1.grad != NULL;
  mc_arena_mark before = mc_arena_here(arena);
  float *dpooled, *dx;
  TAKE(dpooled, n * d);
  TAKE(dx, n * t * d);
  MC_TRY(read_out_backward(cp, &c->ln_post_weight, &c->ln_post_bias, &c->visual_proj, of, dfeatures, dpooled, arena,
                           err));
  if (!of->read) {
    memset(dx, 0, (size_t)(n * t * d) * sizeof *dx);
    for (int64_t i = 0; i < n; i++) memcpy(dx + i * t * d, dpooled + i * d, (size_t)d * sizeof *dx);
  }
  mc_tower_pass pass = visual_pass(e, of);
  MC_TRY(mc_tower_backward(cp, &pass, dpooled, dx, full, arena, err));
  if (full) {
    float *dembedded, *patches, *dpatches;
    int64_t p = c->n_patches;
    TAKE(dembedded, n * t * d);
    TAKE(patches, n * p * in);
    TAKE(dpatches, n * p * d);
    memset(dembedded, 0, (size_t)(n * t * d) * sizeof *dembedded);
    mc_layernorm_backward(cp, dx, of->embedded, d, of->pre_mean, of->pre_rstd, c->ln_pre_weight.value, n * t, d,
                          dembedded, d, c->ln_pre_weight.grad, c->ln_pre_bias.grad);
    for (int64_t i = 0; i < n; i++) {
      const float *row = dembedded + i * t * d;
      for (int64_t j = 0; j < d; j++) c->class_embedding.grad[j] += row[j];
      for (int64_t j = 0; j < t * d; j++) c->visual_position.grad[j] += row[j];
      memcpy(dpatches + i * p * d, row + d, (size_t)(p * d) * sizeof *row);
    }
    cut_patches(of->images, n, c->sizes.image_size, c->sizes.patch, patches);
    mc_gemm g = {.m = d, .n = in, .k = n * p, .a = dpatches, .lda = d, .trans_a = true, .b = patches, .ldb = in,
                 .c = c->conv1.grad, .ldc = in, .accumulate = true};
    MC_TRY(mc_gemm_run(cp, &g, err));
    c->conv1.touched = c->class_embedding.touched = c->visual_position.touched = true;
    c->ln_pre_weight.touched = c->ln_pre_bias.touched = true;
  }
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* The end-of-text token has the largest id of a row. */
static int32_t end_of_text(const int32_t *row, int64_t context) {
  int32_t best = 0;
  for (int64_t i = 1; i < context; i++) {
    if (row[i] > row[best]) best = (int32_t)i;
  }
  return best;
}

moeclip_code mc_encode_texts(mc_compute *cp, const mc_encoder *e, const int32_t *texts, int64_t n, float *features,
                             mc_encoded *keep, mc_arena *arena, moeclip_error *err) {
  mc_clip *c = e->clip;
  int64_t d = c->sizes.text_width, context = c->sizes.context;
  mc_encoded of = {.n = n, .texts = texts, .context = context};
  mc_arena_mark before = mc_arena_here(arena);
  float *x;
  TAKE(of.end, n);
  for (int64_t i = 0; i < n; i++) {
    of.end[i] = end_of_text(texts + i * context, context);
    if (of.end[i] + 1 > of.t) of.t = of.end[i] + 1;
    for (int64_t j = 0; j < context; j++) {
      int32_t id = texts[i * context + j];
      if (id < 0 || id >= c->sizes.vocabulary) {
        return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "token id %d: the model's vocabulary has %d", (int)id,
                       c->sizes.vocabulary);
      }
    }
  }
  if (e->full_context) of.t = context;
  if (reads_one_token(e)) of.read = of.end;
  if (keep) TAKE(of.kept, c->text.n_layers);
  TAKE(of.pooled, n * d);
  TAKE(x, n * of.t * d);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < of.t; j++) {
      const float *token = c->token_embedding.value + texts[i * context + j] * d;
      const float *position = c->text_position.value + j * d;
      float *row = x + (i * of.t + j) * d;
      for (int64_t q = 0; q < d; q++) row[q] = token[q] + position[q];
    }
  }
  mc_tower_pass pass = text_pass(e, &of);
  MC_TRY(mc_tower_forward(cp, &pass, x, arena, err));
  for (int64_t i = 0; !of.read && i < n; i++) {
    memcpy(of.pooled + i * d, x + (i * of.t + of.end[i]) * d, (size_t)d * sizeof *x);
  }
  MC_TRY(read_out(cp, &c->ln_final_weight, &c->ln_final_bias, &c->text_projection, &of, err, arena));
  if (features) memcpy(features, of.features, (size_t)(n * c->sizes.embed) * sizeof *features);
  if (keep) {
    *keep = of;
  } else {
    mc_arena_release(arena, before);
  }
  return MOECLIP_OK;
}

moeclip_code mc_encode_texts_backward(mc_compute *cp, const mc_encoder *e, const mc_encoded *of, const float *dfeatures,
                                      mc_arena *arena, moeclip_error *err) {
  mc_clip *c = e->clip;
  int64_t d = c->sizes.text_width, n = of->n, t = of->t;
  bool full = c->token_embedding.grad != NULL;
  mc_arena_mark before = mc_arena_here(arena);
  float *dpooled, *dx;
  TAKE(dpooled, n * d);
  TAKE(dx, n * t * d);
  MC_TRY(read_out_backward(cp, &c->ln_final_weight, &c->ln_final_bias, &c->text_projection, of, dfeatures, dpooled,
                           arena, err));
  if (!of->read) {
    memset(dx, 0, (size_t)(n * t * d) * sizeof *dx);
    for (int64_t i = 0; i < n; i++) memcpy(dx + (i * t + of->end[i]) * d, dpooled + i * d, (size_t)d * sizeof *dx);
  }
  mc_tower_pass pass = text_pass(e, of);
  MC_TRY(mc_tower_backward(cp, &pass, dpooled, dx, full, arena, err));
  if (full) {
    for (int64_t i = 0; i < n; i++) {
      for (int64_t j = 0; j < t; j++) {
        const float *row = dx + (i * t + j) * d;
        float *token = c->token_embedding.grad + of->texts[i * of->context + j] * d, *position = c->text_position.grad + j * d;
        for (int64_t q = 0; q < d; q++) {
          token[q] += row[q];
          position[q] += row[q];
        }
      }
    }
    c->token_embedding.touched = c->text_position.touched = true;
  }
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

typedef struct tokens_wanted {
  int layer;
  float *out;
  int64_t d;
} tokens_wanted;

static void copy_tokens(void *context, int layer, const float *x, int64_t n, int64_t t) {
  const tokens_wanted *w = context;
  if (layer == w->layer) memcpy(w->out, x, (size_t)(n * t * w->d) * sizeof *x);
}

moeclip_code mc_image_tokens(mc_compute *cp, mc_clip *clip, const float *images, int64_t n, int layer, float *out,
                             mc_arena *arena, moeclip_error *err) {
  tokens_wanted w = {layer, out, clip->sizes.visual_width};
  if (layer < 0 || layer >= clip->visual.n_layers) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "block %d: the image tower has blocks 0 to %d", layer,
                   clip->visual.n_layers - 1);
  }
  mc_tap tap = {copy_tokens, &w, layer};
  mc_encoder e = {.clip = clip, .tap = &tap};
  return mc_encode_images(cp, &e, images, n, NULL, NULL, arena, err);
}
