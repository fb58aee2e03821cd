#include "files/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/collection.h"

typedef struct rename_rule { const char *from, *to; } rename_rule;

/* Hugging Face's names outside the layers. A * marks projections, which are transposed. */
static const rename_rule hf_whole[] = {
    {"vision_model.embeddings.class_embedding", "visual.class_embedding"},
    {"vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"},
    {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},
    {"vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"},
    {"vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"},
    {"vision_model.post_layernorm.weight", "visual.ln_post.weight"},
    {"vision_model.post_layernorm.bias", "visual.ln_post.bias"},
    {"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
    {"text_model.final_layer_norm.weight", "ln_final.weight"},
    {"text_model.final_layer_norm.bias", "ln_final.bias"},
    {"visual_projection.weight", "*visual.proj"},
    {"text_projection.weight", "*text_projection"},
    {"vision_model.embeddings.position_ids", NULL},
    {"text_model.embeddings.position_ids", NULL}};

/* Within a layer. q_proj brings k_proj and v_proj with it. */
static const rename_rule hf_layer[] = {
    {"self_attn.out_proj.weight", "attn.out_proj.weight"}, {"self_attn.out_proj.bias", "attn.out_proj.bias"},
    {"self_attn.q_proj.weight", "attn.in_proj_weight"},    {"self_attn.q_proj.bias", "attn.in_proj_bias"},
    {"self_attn.k_proj.weight", NULL},                     {"self_attn.k_proj.bias", NULL},
    {"self_attn.v_proj.weight", NULL},                     {"self_attn.v_proj.bias", NULL},
    {"layer_norm1.weight", "ln_1.weight"},                 {"layer_norm1.bias", "ln_1.bias"},
    {"layer_norm2.weight", "ln_2.weight"},                 {"layer_norm2.bias", "ln_2.bias"},
    {"mlp.fc1.weight", "mlp.c_fc.weight"},                 {"mlp.fc1.bias", "mlp.c_fc.bias"},
    {"mlp.fc2.weight", "mlp.c_proj.weight"},               {"mlp.fc2.bias", "mlp.c_proj.bias"}};

static const rename_rule hf_towers[] = {{"vision_model.encoder.layers.", "visual.transformer.resblocks."},
                                   {"text_model.encoder.layers.", "transformer.resblocks."}};

/* What a CLIP must have, in OpenAI's names. */
static const char *const needed[] = {
    "visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding", "visual.ln_pre.weight",
    "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias", "visual.proj", "token_embedding.weight",
    "positional_embedding", "ln_final.weight", "ln_final.bias", "text_projection", "logit_scale"};
static const char *const needed_in_block[] = {
    "ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight",
    "attn.out_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight",
    "mlp.c_proj.bias"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const char *mc_naming_name(mc_naming naming) {
  switch (naming) {
    case MC_NAMES_OPENAI: return "openai";
    case MC_NAMES_OPENCLIP_TEXT: return "openclip-text";
    case MC_NAMES_HUGGINGFACE: return "huggingface";
  }
  return "unknown";
}

static bool starts(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

static bool any_starts(const moeclip_tensors *t, const char *prefix) {
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    if (starts(moeclip_tensors_at(t, i)->name, prefix)) return true;
  }
  return false;
}

static moeclip_code borrow(moeclip_tensors *out, const char *name, const moeclip_tensor *t, moeclip_error *err) {
  return mc_tensors_put(out, name, strlen(name), t->dtype, t->rank, t->shape, t->data, MOECLIP_ERROR_FORMAT, err);
}

/* [a, b] -> [b, a] */
static moeclip_code put_transposed(moeclip_tensors *out, const char *name, const moeclip_tensor *t,
                                   moeclip_error *err) {
  if (t->rank != 2) return mc_fail(err, MOECLIP_ERROR_FORMAT, "tensor %s: must have 2 dimensions", t->name);
  size_t size = moeclip_dtype_size(t->dtype), a = (size_t)t->shape[0], b = (size_t)t->shape[1];
  int64_t shape[2] = {t->shape[1], t->shape[0]};
  uint8_t *to = mc_aligned_alloc(t->n_bytes, 1);
  if (!to) return mc_fail_memory(err, t->n_bytes, t->name);
  MC_TRY(mc_tensors_own(out, to, err));
  const uint8_t *from = t->data;
  for (size_t i = 0; t->n_bytes > 0 && i < a; i++) {
    for (size_t j = 0; j < b; j++) memcpy(to + (j * a + i) * size, from + (i * b + j) * size, size);
  }
  return mc_tensors_put(out, name, strlen(name), t->dtype, 2, shape, to, MOECLIP_ERROR_FORMAT, err);
}

/* q and the k and v that belong to it, one after the other along the first dimension. */
static moeclip_code put_in_proj(const moeclip_tensors *in, moeclip_tensors *out, const char *name,
                                const moeclip_tensor *q, moeclip_error *err) {
  const moeclip_tensor *part[3] = {q, NULL, NULL};
  size_t at = (size_t)(strstr(q->name, "q_proj") - q->name), n_bytes;
  for (int i = 1; i < 3; i++) {
    char other[MC_MAX_NAME + 1];
    snprintf(other, sizeof other, "%s", q->name);
    other[at] = "qkv"[i];
    part[i] = moeclip_tensors_find(in, other);
    if (!part[i]) return mc_fail(err, MOECLIP_ERROR_FORMAT, "tensor %s is missing", other);
    bool same = part[i]->dtype == q->dtype && part[i]->rank == q->rank &&
                memcmp(part[i]->shape, q->shape, (size_t)q->rank * sizeof *q->shape) == 0;
    if (!same) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "tensor %s: its shape or type is not that of %s", other, q->name);
    }
  }
  int64_t shape[MOECLIP_MAX_RANK];
  memcpy(shape, q->shape, sizeof shape);
  if (q->rank < 1 || q->rank > 2 || shape[0] > INT64_MAX / 3 || !mc_mul_size(q->n_bytes, 3, &n_bytes)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "tensor %s: must have 1 or 2 dimensions", q->name);
  }
  shape[0] *= 3;
  uint8_t *to = mc_aligned_alloc(n_bytes, 1);
  if (!to) return mc_fail_memory(err, n_bytes, name);
  MC_TRY(mc_tensors_own(out, to, err));
  for (size_t i = 0; i < 3 && q->n_bytes > 0; i++) memcpy(to + i * q->n_bytes, part[i]->data, q->n_bytes);
  return mc_tensors_put(out, name, strlen(name), q->dtype, q->rank, shape, to, MOECLIP_ERROR_FORMAT, err);
}

static const rename_rule *find_rule(const rename_rule *list, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(list[i].from, name) == 0) return &list[i];
  }
  return NULL;
}

static moeclip_code from_huggingface(const moeclip_tensors *in, const moeclip_tensor *t, moeclip_tensors *out,
                                     moeclip_error *err) {
  const rename_rule *whole = find_rule(hf_whole, COUNT(hf_whole), t->name);
  if (whole && !whole->to) return MOECLIP_OK;
  if (whole && whole->to[0] == '*') return put_transposed(out, whole->to + 1, t, err);
  if (whole) return borrow(out, whole->to, t, err);
  for (size_t i = 0; i < COUNT(hf_towers); i++) {
    if (!starts(t->name, hf_towers[i].from)) continue;
    const char *number = t->name + strlen(hf_towers[i].from);
    size_t n_digits = strspn(number, "0123456789");
    const rename_rule *layer =
        n_digits > 0 && number[n_digits] == '.' ? find_rule(hf_layer, COUNT(hf_layer), number + n_digits + 1) : NULL;
    if (!layer) break;
    if (!layer->to) return MOECLIP_OK;
    char name[MC_MAX_NAME + 1];
    int n = snprintf(name, sizeof name, "%s%.*s.%s", hf_towers[i].to, (int)n_digits, number, layer->to);
    if (n < 0 || (size_t)n >= sizeof name) break;
    if (strstr(layer->from, "q_proj")) return put_in_proj(in, out, name, t, err);
    return borrow(out, name, t, err);
  }
  if (starts(t->name, "vision_model.") || starts(t->name, "text_model.")) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "tensor %s does not belong to a CLIP of Hugging Face's CLIPModel",
                   t->name);
  }
  return borrow(out, t->name, t, err);
}

/* "text.transformer..." -> "transformer...". There text_projection may be a linear layer, [embed, width]. */
static moeclip_code from_openclip_text(const moeclip_tensor *t, moeclip_tensors *out, moeclip_error *err) {
  if (!starts(t->name, "text.") || t->name[5] == 0) return borrow(out, t->name, t, err);
  if (strcmp(t->name, "text.text_projection.weight") == 0) return put_transposed(out, "text_projection", t, err);
  return borrow(out, t->name + 5, t, err);
}

static moeclip_code missing(const char *name, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "is no complete CLIP: tensor %s is missing", name);
}

/* Blocks must be numbered from 0 without a gap, each complete. At least one. */
static moeclip_code check_blocks(const moeclip_tensors *t, const char *tower, moeclip_error *err) {
  char name[256];
  unsigned long n_blocks = 1;
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const char *s = moeclip_tensors_at(t, i)->name;
    if (!starts(s, tower)) continue;
    char *end;
    unsigned long number = strtoul(s + strlen(tower), &end, 10);
    if (*end == '.' && number >= n_blocks && number < 10000) n_blocks = number + 1;
  }
  for (unsigned long b = 0; b < n_blocks; b++) {
    for (size_t i = 0; i < COUNT(needed_in_block); i++) {
      snprintf(name, sizeof name, "%s%lu.%s", tower, b, needed_in_block[i]);
      if (!moeclip_tensors_find(t, name)) return missing(name, err);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code check_complete(const moeclip_tensors *t, moeclip_error *err) {
  if (any_starts(t, "visual.layer1.") || any_starts(t, "visual.trunk.")) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                   "its image tower is not a plain vision transformer; use ViT-B/32, B/16, L/14 or L/14@336");
  }
  for (size_t i = 0; i < COUNT(needed); i++) {
    if (!moeclip_tensors_find(t, needed[i])) return missing(needed[i], err);
  }
  MC_TRY(check_blocks(t, "visual.transformer.resblocks.", err));
  return check_blocks(t, "transformer.resblocks.", err);
}

static moeclip_code recognise(const moeclip_tensors *in, mc_naming *naming, moeclip_error *err) {
  if (any_starts(in, "vision_model.") || any_starts(in, "text_model.")) {
    *naming = MC_NAMES_HUGGINGFACE;
  } else if (any_starts(in, "text.transformer.") || any_starts(in, "text.token_embedding.")) {
    *naming = MC_NAMES_OPENCLIP_TEXT;
  } else if (any_starts(in, "visual.") || any_starts(in, "transformer.resblocks.")) {
    *naming = MC_NAMES_OPENAI;
  } else {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "holds no CLIP in the names of OpenAI, OpenCLIP or Hugging Face: neither visual.conv1.weight nor "
                   "vision_model.embeddings.patch_embedding.weight is there");
  }
  return MOECLIP_OK;
}

moeclip_code mc_names_normalise(const moeclip_tensors *in, moeclip_tensors **out, mc_naming *found,
                                moeclip_error *err) {
  mc_naming naming = MC_NAMES_OPENAI;
  moeclip_tensors *t = NULL;
  *out = NULL;
  MC_TRY(recognise(in, &naming, err));
  MC_TRY(moeclip_tensors_create(&t, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < moeclip_tensors_count(in); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(in, i);
    code = naming == MC_NAMES_HUGGINGFACE     ? from_huggingface(in, tensor, t, err)
           : naming == MC_NAMES_OPENCLIP_TEXT ? from_openclip_text(tensor, t, err)
                                              : borrow(t, tensor->name, tensor, err);
  }
  /* Metadata goes along: it may say which activation the model has. */
  for (size_t i = 0; code == MOECLIP_OK && i < moeclip_tensors_metadata_count(in); i++) {
    const char *key, *value;
    moeclip_tensors_metadata_at(in, i, &key, &value);
    code = moeclip_tensors_set_metadata(t, key, value, err);
  }
  if (code == MOECLIP_OK) code = check_complete(t, err);
  if (code != MOECLIP_OK) {
    moeclip_tensors_destroy(t);
    return code;
  }
  t->container = moeclip_tensors_container(in);
  if (found) *found = naming;
  *out = t;
  return MOECLIP_OK;
}
