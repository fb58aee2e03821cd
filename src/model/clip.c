#include "model/clip.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "files/config.h"

/* One row a parameter of a block: its published name, where it is, its rank and its sides in units of the sizes. */
enum side { SIDE_D = 1, SIDE_3D, SIDE_HIDDEN };
static const struct {
  const char *name;
  size_t offset;
  enum side sides[2];
} block_table[] = {
    {"ln_1.weight", offsetof(mc_block, ln_1_weight), {SIDE_D}},
    {"ln_1.bias", offsetof(mc_block, ln_1_bias), {SIDE_D}},
    {"attn.in_proj_weight", offsetof(mc_block, in_weight), {SIDE_3D, SIDE_D}},
    {"attn.in_proj_bias", offsetof(mc_block, in_bias), {SIDE_3D}},
    {"attn.out_proj.weight", offsetof(mc_block, out_weight), {SIDE_D, SIDE_D}},
    {"attn.out_proj.bias", offsetof(mc_block, out_bias), {SIDE_D}},
    {"ln_2.weight", offsetof(mc_block, ln_2_weight), {SIDE_D}},
    {"ln_2.bias", offsetof(mc_block, ln_2_bias), {SIDE_D}},
    {"mlp.c_fc.weight", offsetof(mc_block, fc_weight), {SIDE_HIDDEN, SIDE_D}},
    {"mlp.c_fc.bias", offsetof(mc_block, fc_bias), {SIDE_HIDDEN}},
    {"mlp.c_proj.weight", offsetof(mc_block, proj_weight), {SIDE_D, SIDE_HIDDEN}},
    {"mlp.c_proj.bias", offsetof(mc_block, proj_bias), {SIDE_D}},
};
enum { BLOCK_PARAMS = sizeof block_table / sizeof *block_table };

/* What to do with one parameter whose name and shape are known. */
typedef moeclip_code (*param_maker)(void *context, const char *name, mc_param *p, int rank, const int64_t *shape,
                                    moeclip_error *err);

static moeclip_code each_block(mc_tower *tower, const char *prefix, param_maker make, void *context,
                               moeclip_error *err) {
  char name[128];
  for (int l = 0; l < tower->n_layers; l++) {
    for (int i = 0; i < BLOCK_PARAMS; i++) {
      int64_t shape[2] = {0};
      int rank = 0;
      for (; rank < 2 && block_table[i].sides[rank]; rank++) {
        enum side s = block_table[i].sides[rank];
        shape[rank] = s == SIDE_D ? tower->width : s == SIDE_3D ? 3 * tower->width : tower->hidden;
      }
      snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s", prefix, l, block_table[i].name);
      MC_TRY(make(context, name, (mc_param *)((char *)&tower->blocks[l] + block_table[i].offset), rank, shape, err));
    }
  }
  return MOECLIP_OK;
}

static moeclip_code each_param(mc_clip *c, param_maker make, void *context, moeclip_error *err) {
  const mc_clip_sizes *s = &c->sizes;
  const struct {
    const char *name;
    mc_param *param;
    int rank;
    int64_t shape[4];
  } single[] = {
      {"visual.conv1.weight", &c->conv1, 4, {s->visual_width, 3, s->patch, s->patch}},
      {"visual.class_embedding", &c->class_embedding, 1, {s->visual_width}},
      {"visual.positional_embedding", &c->visual_position, 2, {c->n_patches + 1, s->visual_width}},
      {"visual.ln_pre.weight", &c->ln_pre_weight, 1, {s->visual_width}},
      {"visual.ln_pre.bias", &c->ln_pre_bias, 1, {s->visual_width}},
      {"visual.ln_post.weight", &c->ln_post_weight, 1, {s->visual_width}},
      {"visual.ln_post.bias", &c->ln_post_bias, 1, {s->visual_width}},
      {"visual.proj", &c->visual_proj, 2, {s->visual_width, s->embed}},
      {"token_embedding.weight", &c->token_embedding, 2, {s->vocabulary, s->text_width}},
      {"positional_embedding", &c->text_position, 2, {s->context, s->text_width}},
      {"ln_final.weight", &c->ln_final_weight, 1, {s->text_width}},
      {"ln_final.bias", &c->ln_final_bias, 1, {s->text_width}},
      {"text_projection", &c->text_projection, 2, {s->text_width, s->embed}},
      {"logit_scale", &c->logit_scale, 0, {0}},
  };
  for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
    MC_TRY(make(context, single[i].name, single[i].param, single[i].rank, single[i].shape, err));
  }
  MC_TRY(each_block(&c->visual, "visual.", make, context, err));
  return each_block(&c->text, "", make, context, err);
}

static int64_t side(const moeclip_tensors *file, const char *name, int rank, int i) {
  const moeclip_tensor *t = moeclip_tensors_find(file, name);
  return t && t->rank == rank ? t->shape[i] : 0;
}

/* Blocks are numbered from 0 without gaps. */
static int count_layers(const moeclip_tensors *file, const char *prefix) {
  char name[128];
  for (int l = 0;; l++) {
    snprintf(name, sizeof name, "%stransformer.resblocks.%d.ln_1.weight", prefix, l);
    if (l == 1000 || !moeclip_tensors_find(file, name)) return l;
  }
}

/* What no weight tells. */
static moeclip_code take_metadata(const moeclip_tensors *file, mc_clip_sizes *s, moeclip_error *err) {
  const char *activation = moeclip_tensors_metadata(file, "activation");
  if (activation && strcmp(activation, "gelu") != 0 && strcmp(activation, "quick_gelu") != 0) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "the metadata says activation \"%.60s\": only gelu and quick_gelu are supported",
                   activation);
  }
  if (activation && strcmp(activation, "gelu") == 0) s->activation = MC_GELU;
  for (int i = 0; i < 2; i++) {
    const char *heads = moeclip_tensors_metadata(file, i ? "text_heads" : "visual_heads");
    int width = i ? s->text_width : s->visual_width;
    char *end = NULL;
    long n = heads ? strtol(heads, &end, 10) : 0;
    if (heads && (*end || !mc_heads_fit(n, width))) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "the metadata says \"%.60s\" attention heads, which do not go with a width of %d", heads,
                     width);
    }
    *(i ? &s->text_heads : &s->visual_heads) = (int)n;
  }
  return MOECLIP_OK;
}

moeclip_code mc_clip_sizes_of(const moeclip_tensors *file, mc_clip_sizes *s, moeclip_error *err) {
  static const char *const needed[] = {"visual.conv1.weight",      "visual.positional_embedding",
                                       "visual.proj",              "token_embedding.weight",
                                       "positional_embedding",     "text_projection",
                                       "visual.transformer.resblocks.0.mlp.c_fc.weight",
                                       "transformer.resblocks.0.mlp.c_fc.weight"};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    if (!moeclip_tensors_find(file, needed[i])) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "not a CLIP model with a ViT image tower: there is no tensor %s", needed[i]);
    }
  }
  int64_t n_positions = side(file, "visual.positional_embedding", 2, 0);
  int64_t patch = side(file, "visual.conv1.weight", 4, 2), grid = 0;
  while (n_positions > 1 && grid < 4096 && grid * grid < n_positions - 1) grid++;
  int64_t values[] = {patch * grid,
                      patch,
                      count_layers(file, "visual."),
                      side(file, "visual.conv1.weight", 4, 0),
                      side(file, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2, 0),
                      side(file, "positional_embedding", 2, 0),
                      side(file, "token_embedding.weight", 2, 0),
                      count_layers(file, ""),
                      side(file, "token_embedding.weight", 2, 1),
                      side(file, "transformer.resblocks.0.mlp.c_fc.weight", 2, 0),
                      side(file, "text_projection", 2, 1)};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    if (values[i] <= 0 || values[i] > (1 << 24)) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "the tensors' shapes are not those of a CLIP model");
    }
  }
  if (grid * grid != n_positions - 1) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "visual.positional_embedding has %lld rows, not 1 + a square",
                   (long long)n_positions);
  }
  if (values[3] % 64 || values[8] % 64) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "tower widths %lld and %lld: only multiples of 64 are supported",
                   (long long)values[3], (long long)values[8]);
  }
  *s = (mc_clip_sizes){(int)values[0], (int)values[1], (int)values[2], (int)values[3], (int)values[4], (int)values[5],
                       (int)values[6], (int)values[7], (int)values[8], (int)values[9], (int)values[10], MC_QUICK_GELU, 0, 0};
  return take_metadata(file, s, err);
}

static moeclip_code tower_init(mc_tower *t, int n_layers, int width, int hidden, int heads, bool causal, mc_activation activation,
                               moeclip_error *err) {
  if (!mc_heads_fit(heads, width)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%d attention heads do not go with a tower's width of %d", heads, width);
  }
  *t = (mc_tower){n_layers, width, hidden, heads, causal, activation, calloc((size_t)n_layers, sizeof *t->blocks)};
  return t->blocks ? MOECLIP_OK : mc_fail_memory(err, (size_t)n_layers * sizeof *t->blocks, "the towers");
}

/* The structure without parameters. */
static moeclip_code frame_create(const mc_clip_sizes *s, mc_clip **out, moeclip_error *err) {
  mc_clip *c = calloc(1, sizeof *c);
  *out = c;
  if (!c) return mc_fail_memory(err, sizeof *c, "a model");
  c->sizes = *s;
  if (!s->visual_heads) c->sizes.visual_heads = mc_usual_heads(true, s->visual_width);
  if (!s->text_heads) c->sizes.text_heads = mc_usual_heads(false, s->text_width);
  moeclip_transform_defaults(&c->transform, s->image_size);
  c->n_patches = (s->image_size / s->patch) * (s->image_size / s->patch);
  MC_TRY(tower_init(&c->visual, s->visual_layers, s->visual_width, s->visual_hidden, c->sizes.visual_heads, false, s->activation,
                    err));
  return tower_init(&c->text, s->text_layers, s->text_width, s->text_hidden, c->sizes.text_heads, true, s->activation, err);
}

static moeclip_code read_param(void *context, const char *name, mc_param *p, int rank, const int64_t *shape,
                               moeclip_error *err) {
  return mc_param_read(p, context, name, rank, shape, false, err);
}

moeclip_code mc_clip_load(moeclip_tensors *file, int activation, mc_clip **out, moeclip_error *err) {
  mc_clip_sizes sizes;
  mc_clip *clip = NULL;
  *out = NULL;
  moeclip_code code = mc_clip_sizes_of(file, &sizes, err);
  if (code == MOECLIP_OK && activation >= 0) sizes.activation = (mc_activation)activation;
  if (code == MOECLIP_OK) code = frame_create(&sizes, &clip, err);
  if (clip) {
    clip->file = file;
  } else {
    moeclip_tensors_destroy(file);
  }
  if (code == MOECLIP_OK) code = mc_transform_read(file, sizes.image_size, &clip->transform, err);
  if (code == MOECLIP_OK) code = each_param(clip, read_param, file, err);
  if (code != MOECLIP_OK) {
    mc_clip_destroy(clip);
    return code;
  }
  *out = clip;
  return MOECLIP_OK;
}

static moeclip_code create_param(void *context, const char *name, mc_param *p, int rank, const int64_t *shape,
                                 moeclip_error *err) {
  (void)context;
  (void)name;
  return mc_param_create(p, rank, shape, err);
}

static void fill(mc_param *p, float v) {
  for (int64_t i = 0; i < p->n; i++) p->value[i] = v;
}

static void init_tower(mc_tower *t, mc_philox *g) {
  float d = (float)t->width, attention = 1 / sqrtf(d), out = attention / sqrtf(2.0f * (float)t->n_layers);
  for (int l = 0; l < t->n_layers; l++) {
    mc_block *b = &t->blocks[l];
    fill(&b->ln_1_weight, 1);
    fill(&b->ln_2_weight, 1);
    mc_param_normal(&b->in_weight, attention, g);
    mc_param_normal(&b->out_weight, out, g);
    mc_param_normal(&b->fc_weight, 1 / sqrtf(2 * d), g);
    mc_param_normal(&b->proj_weight, out, g);
  }
}

moeclip_code mc_clip_create(const mc_clip_sizes *s, uint64_t seed, mc_clip **out, moeclip_error *err) {
  mc_clip *c = NULL;
  *out = NULL;
  if (s->patch < 1 || s->image_size % s->patch || s->visual_width % 64 || s->text_width % 64) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "image size %d must be a multiple of the patch %d, and widths %d and %d multiples of 64",
                   s->image_size, s->patch, s->visual_width, s->text_width);
  }
  moeclip_code code = frame_create(s, &c, err);
  if (code == MOECLIP_OK) code = each_param(c, create_param, NULL, err);
  if (code != MOECLIP_OK) {
    mc_clip_destroy(c);
    return code;
  }
  mc_philox g;
  mc_philox_init(&g, seed, MC_STREAM_INIT, 0);
  float visual = 1 / sqrtf((float)s->visual_width);
  mc_param_normal(&c->conv1, 1 / sqrtf(3.0f * (float)s->patch * (float)s->patch), &g);
  mc_param_normal(&c->class_embedding, visual, &g);
  mc_param_normal(&c->visual_position, visual, &g);
  mc_param_normal(&c->visual_proj, visual, &g);
  mc_param_normal(&c->token_embedding, 0.02f, &g);
  mc_param_normal(&c->text_position, 0.01f, &g);
  mc_param_normal(&c->text_projection, 1 / sqrtf((float)s->text_width), &g);
  fill(&c->ln_pre_weight, 1);
  fill(&c->ln_post_weight, 1);
  fill(&c->ln_final_weight, 1);
  fill(&c->logit_scale, logf(1 / 0.07f));
  init_tower(&c->visual, &g);
  init_tower(&c->text, &g);
  *out = c;
  return MOECLIP_OK;
}

static moeclip_code clear_param(void *context, const char *name, mc_param *p, int rank, const int64_t *shape,
                                moeclip_error *err) {
  (void)context;
  (void)name;
  (void)rank;
  (void)shape;
  (void)err;
  mc_param_clear(p);
  return MOECLIP_OK;
}

void mc_clip_destroy(mc_clip *c) {
  if (!c) return;
  if (c->visual.blocks && c->text.blocks) each_param(c, clear_param, NULL, NULL);
  free(c->visual.blocks);
  free(c->text.blocks);
  moeclip_tensors_destroy(c->file);
  moeclip_tensors_destroy(c->source);
  free(c);
}

typedef struct visitor {
  mc_param_visitor visit;
  void *context;
} visitor;

static moeclip_code visit_param(void *context, const char *name, mc_param *p, int rank, const int64_t *shape,
                                moeclip_error *err) {
  const visitor *v = context;
  (void)rank;
  (void)shape;
  return v->visit(v->context, name, p, err);
}

moeclip_code mc_clip_each(mc_clip *clip, mc_param_visitor visit, void *context, moeclip_error *err) {
  visitor v = {visit, context};
  return each_param(clip, visit_param, &v, err);
}

typedef struct store {
  moeclip_tensors *out;
  moeclip_dtype dtype;
} store;

static moeclip_code store_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const store *s = context;
  if (s->dtype == MOECLIP_F32) return moeclip_tensors_add(s->out, name, s->dtype, p->rank, p->shape, p->value, 1, err);
  void *converted = mc_alloc((size_t)p->n, moeclip_dtype_size(s->dtype));
  if (!converted) return mc_fail_memory(err, (size_t)p->n * moeclip_dtype_size(s->dtype), name);
  moeclip_code code = moeclip_f32_to(s->dtype, p->value, (size_t)p->n, converted, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_add(s->out, name, s->dtype, p->rank, p->shape, converted, 1, err);
  free(converted);
  return code;
}

static moeclip_code put_number(moeclip_tensors *out, const char *key, int number, moeclip_error *err) {
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  return moeclip_tensors_set_metadata(out, key, text, err);
}

moeclip_code mc_clip_store(mc_clip *clip, moeclip_dtype dtype, moeclip_tensors *out, moeclip_error *err) {
  store s = {out, dtype};
  const mc_clip_sizes *z = &clip->sizes;
  if (z->activation == MC_GELU) MC_TRY(moeclip_tensors_set_metadata(out, "activation", "gelu", err));
  if (z->visual_heads != mc_usual_heads(true, z->visual_width)) MC_TRY(put_number(out, "visual_heads", z->visual_heads, err));
  if (z->text_heads != mc_usual_heads(false, z->text_width)) MC_TRY(put_number(out, "text_heads", z->text_heads, err));
  MC_TRY(mc_transform_store(&clip->transform, out, err));
  return mc_clip_each(clip, store_param, &s, err);
}

/* Eight independent multiply-and-rotate lanes keep up with the memory. */
static void mix(uint64_t lane[8], const float *x, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    uint64_t word[8];
    memcpy(word, x + i, sizeof word);
    for (int k = 0; k < 8; k++) {
      uint64_t v = (lane[k] ^ word[k]) * UINT64_C(0x9E3779B97F4A7C15);
      lane[k] = v ^ (v >> 29);
    }
  }
  for (; i < n; i++) {
    uint32_t word;
    memcpy(&word, x + i, sizeof word);
    uint64_t v = (lane[i % 8] ^ word) * UINT64_C(0xC2B2AE3D27D4EB4F);
    lane[i % 8] = v ^ (v >> 31);
  }
}

static moeclip_code fingerprint_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)err;
  uint64_t lane[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  mix(lane, p->value, p->n);
  mc_sha256_add(context, name, strlen(name) + 1);
  mc_sha256_add(context, p->shape, (size_t)p->rank * sizeof *p->shape);
  mc_sha256_add(context, lane, sizeof lane);
  return MOECLIP_OK;
}

void mc_clip_fingerprint(mc_clip *clip, char out[33]) {
  mc_sha256 h;
  char hex[65];
  mc_sha256_init(&h);
  mc_clip_each(clip, fingerprint_param, &h, NULL);
  /* The usual ones have no word, as before there were others. */
  const mc_clip_sizes *s = &clip->sizes;
  int32_t heads[2] = {s->visual_heads, s->text_heads};
  if (s->activation == MC_GELU) mc_sha256_add(&h, "gelu", 5);
  if (heads[0] != mc_usual_heads(true, s->visual_width) || heads[1] != mc_usual_heads(false, s->text_width)) {
    mc_sha256_add(&h, heads, sizeof heads);
  }
  if (!mc_transform_is_usual(&clip->transform)) {
    uint8_t squash = clip->transform.squash != 0;
    mc_sha256_add(&h, &squash, 1);
    mc_sha256_add(&h, clip->transform.mean, sizeof clip->transform.mean);
    mc_sha256_add(&h, clip->transform.deviation, sizeof clip->transform.deviation);
  }
  mc_sha256_hex(&h, hex);
  memcpy(out, hex, 32);
  out[32] = 0;
}
