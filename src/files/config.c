#include "files/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "files/collection.h"
#include "files/config_pictures.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20)

int mc_usual_heads(bool visual, int64_t width) {
  return visual && (width == 1280 || width == 1408 || width == 1664) ? 16 : (int)(width / 64);
}

bool mc_heads_fit(int64_t heads, int64_t width) { return heads >= 1 && heads <= width && width % heads == 0; }

typedef struct config {
  const char *path;
  const json_t *root, *visual, *text; /* of the towers: NULL where nothing is said */
  moeclip_tensors *t;
} config;

static moeclip_code unsupported(const config *c, const char *tower, const char *key, moeclip_error *err) {
  const json_t *own = json_object_get(strcmp(tower, "vision") == 0 ? c->visual : c->text, key);
  char *value = mc_json_text(own ? own : json_object_get(c->root, key), JSON_ENCODE_ANY);
  moeclip_code code = mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: the %s tower has \"%.60s\": %.60s, which is not supported", c->path, tower,
                              key, value ? value : "...");
  free(value);
  return code;
}

static moeclip_code note_heads(const config *c, bool visual, int64_t heads, moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(c->t, visual ? "visual.class_embedding" : "ln_final.weight");
  int64_t width = t && t->rank == 1 ? t->shape[0] : 0;
  char number[24];
  if (!mc_heads_fit(heads, width)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: %lld attention heads do not go with the %s tower's width of %lld", c->path,
                   (long long)heads, visual ? "vision" : "text", (long long)width);
  }
  if (heads == mc_usual_heads(visual, width)) return MOECLIP_OK;
  snprintf(number, sizeof number, "%lld", (long long)heads);
  return mc_tensors_note(c->t, visual ? "visual_heads" : "text_heads", number, err);
}

/* --- Hugging Face ------------------------------------------------------------------------------------------------- */

/* A setting of a tower that has the class's default where the file leaves it out. */
static int64_t whole(const json_t *tower, const char *key, int64_t usual) {
  const json_t *v = json_object_get(tower, key);
  return !v ? usual : json_is_integer(v) ? json_integer_value(v) : -1;
}

static moeclip_code huggingface_activation(const config *c, moeclip_error *err) {
  const json_t *both = json_object_get(c->root, "hidden_act");
  const char *of[2];
  for (int i = 0; i < 2; i++) {
    const json_t *own = json_object_get(i ? c->text : c->visual, "hidden_act");
    if (!own) own = both;
    of[i] = own ? json_string_value(own) : "quick_gelu";
    if (!of[i] || (strcmp(of[i], "gelu") != 0 && strcmp(of[i], "quick_gelu") != 0)) {
      return unsupported(c, i ? "text" : "vision", "hidden_act", err);
    }
  }
  if (strcmp(of[0], of[1]) != 0) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: \"hidden_act\" is %s in one tower and %s in the other, which is not supported",
                   c->path, of[0], of[1]);
  }
  return mc_tensors_note(c->t, "activation", of[0], err);
}

static moeclip_code huggingface(config *c, moeclip_error *err) {
  c->visual = json_object_get(c->root, "vision_config");
  c->text = json_object_get(c->root, "text_config");
  if (json_is_object(c->visual) || json_is_object(c->text) || json_object_get(c->root, "hidden_act")) {
    MC_TRY(huggingface_activation(c, err));
  }
  for (int i = 0; i < 2; i++) {
    const json_t *tower = i ? c->text : c->visual, *epsilon = json_object_get(tower, "layer_norm_eps");
    if (!json_is_object(tower)) continue;
    if (epsilon && fabs(json_number_value(epsilon) - 1e-5) > 1e-9) return unsupported(c, i ? "text" : "vision", "layer_norm_eps", err);
    MC_TRY(note_heads(c, !i, whole(tower, "num_attention_heads", i ? 8 : 12), err));
  }
  return MOECLIP_OK;
}

/* --- OpenCLIP ----------------------------------------------------------------------------------------------------- */

/* Other settings change what a tower computes, unless they say what is usual. */
static bool is_known(const char *key) {
  static const char *const known[] = {"layers",   "width",       "head_width",     "mlp_ratio",  "patch_size", "image_size", "patch_dropout",
                                      "in_chans", "output_tokens", "context_length", "vocab_size", "heads",      "pad_id",     "eos_id",
                                      "bos_id",   "timm_pool",   "timm_proj",      "timm_drop",  "timm_drop_path", "hf_pooler_type",
                                      "hf_proj_type", "hf_model_pretrained", "timm_model_pretrained"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(key, known[i]) == 0) return true;
  }
  return false;
}

static bool is_usual(const json_t *value) {
  static const char *const usual[] = {"", "tok", "argmax", "learnable", "linear"};
  for (size_t i = 0; json_is_string(value) && i < sizeof usual / sizeof *usual; i++) {
    if (strcmp(json_string_value(value), usual[i]) == 0) return true;
  }
  return json_is_null(value) || json_is_false(value) || (json_is_object(value) && json_object_size(value) == 0);
}

static moeclip_code openclip(config *c, moeclip_error *err) {
  const json_t *model = json_object_get(c->root, "model_cfg");
  c->visual = json_object_get(model, "vision_cfg");
  c->text = json_object_get(model, "text_cfg");
  if (!json_is_object(c->visual) || !json_is_object(c->text)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there is no \"model_cfg\" with \"vision_cfg\" and \"text_cfg\" in it", c->path);
  }
  for (int i = 0; i < 2; i++) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)(i ? c->text : c->visual), key, value) {
      if (!is_known(key) && !is_usual(value)) return unsupported(c, i ? "text" : "vision", key, err);
    }
  }
  MC_TRY(mc_config_openclip_pictures(c->path, json_object_get(c->root, "preprocess_cfg"), c->t, err));
  MC_TRY(mc_tensors_note(c->t, "activation", json_is_true(json_object_get(model, "quick_gelu")) ? "quick_gelu" : "gelu", err));
  int64_t head = whole(c->visual, "head_width", 64), width = whole(c->visual, "width", 768);
  MC_TRY(note_heads(c, true, head > 0 && width > 0 ? width / head : 0, err));
  return note_heads(c, false, whole(c->text, "heads", 8), err);
}

/* *root: the configuration of that name beside the file `path`, and *name where it is; NULL: there is none. */
static moeclip_code read_beside(const char *path, const char *which, char **name, json_t **root, moeclip_error *err) {
  bool there = false;
  *root = NULL;
  *name = mc_file_beside(path, which);
  if (!*name) return mc_fail_memory(err, strlen(path) + strlen(which), "a file name");
  MC_TRY(mc_file_exists(*name, &there, err));
  return there ? mc_json_read_given(*name, MAX_CONFIG_BYTES, root, err) : MOECLIP_OK;
}

/* Hugging Face's newer files have it inside the processor's; that one goes first there, too. */
static moeclip_code huggingface_pictures(const char *path, moeclip_tensors *t, moeclip_error *err) {
  static const char *const names[] = {"processor_config.json", "preprocessor_config.json"};
  bool found = false;
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && !found && i < sizeof names / sizeof *names; i++) {
    char *name = NULL;
    json_t *root = NULL;
    code = read_beside(path, names[i], &name, &root, err);
    const json_t *own = i == 0 ? json_object_get(root, "image_processor") : root;
    found = own != NULL;
    if (code == MOECLIP_OK && found) code = mc_config_huggingface_pictures(name, own, t, err);
    json_decref(root);
    free(name);
  }
  return code;
}

moeclip_code mc_config_note(const char *path, mc_naming naming, moeclip_tensors *t, moeclip_error *err) {
  bool hf = naming == MC_NAMES_HUGGINGFACE;
  char *name = NULL;
  json_t *root = NULL;
  moeclip_code code = read_beside(path, hf ? "config.json" : "open_clip_config.json", &name, &root, err);
  if (root) {
    config c = {.path = name, .root = root, .t = t};
    code = hf ? huggingface(&c, err) : openclip(&c, err);
  }
  json_decref(root);
  free(name);
  return hf && code == MOECLIP_OK ? huggingface_pictures(path, t, err) : code;
}
