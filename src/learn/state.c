/* The learner's state in a collection of tensors, and back (docs/STATE.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "files/collection.h"
#include "learn/learner.h"

#define FORMAT "state 1"

/* --- storing ----------------------------------------------------------------------------------------------------------- */

static json_t *strings_to_json(char *const *s, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) mc_json_append(&array, json_string(s[i]));
  return array;
}

static json_t *task_to_json(const mc_task *t) {
  return json_pack("{s:s, s:o, s:o, s:I, s:I}", "name", t->name, "classes", strings_to_json(t->classes, t->n_classes),
                   "templates", strings_to_json(t->templates, t->n_templates), "iterations", (json_int_t)t->iterations,
                   "images", (json_int_t)t->images);
}

/* By moeclip_selector_kind. A state without a kind was written before there were several, with autoencoders. */
static const char *const kinds[] = {"auto", "autoencoder", "gaussian", "prototypes"};

static char *state_text(moeclip_learner *l) {
  const moeclip_learner_options *o = &l->options;
  json_t *tasks = json_array();
  for (int t = 0; t < l->n_tasks; t++) mc_json_append(&tasks, task_to_json(&l->tasks[t]));
  char seed[32];
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
  json_t *root = json_pack(
      "{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:{s:s, s:b, s:i, s:i, s:s}, s:o}", "mode",
      o->mode == MOECLIP_MODE_FINETUNE ? "finetune" : "moe", "backbone", moeclip_model_fingerprint(l->model), "seed", seed,
      "experts", o->n_experts, "top_k", o->top_k, "bottleneck", o->bottleneck, "freeze_per_task", o->freeze_per_task,
      "text_adapters", o->text_adapters != 0, "shared_router", o->shared_router != 0, "selector", "kind", kinds[o->selector],
      "used", o->use_selector != 0, "hidden", o->selector_hidden, "layer", o->selector_layer, "alexnet",
      l->alexnet_hash, "tasks", tasks);
  if (root && o->dynamic_experts) {
    mc_json_set(&root, "dynamic", json_pack("{s:f, s:I}", "margin", o->dynamic_margin, "probe", (json_int_t)o->dynamic_probe));
  }
  char *text = root ? mc_json_text(root, JSON_COMPACT) : NULL;
  json_decref(root);
  return text;
}

/* One row a block, frozen flags and counts. */
static moeclip_code store_block(const mc_moe *m, const char *tower, int i, moeclip_tensors *out, moeclip_error *err) {
  char name[64];
  int64_t n = m->n_experts;
  uint8_t *frozen = mc_alloc((size_t)n, 1);
  if (!frozen) return mc_fail_memory(err, (size_t)n, "a state");
  for (int e = 0; e < m->n_experts; e++) frozen[e] = m->experts[e].frozen;
  snprintf(name, sizeof name, "frozen.%s.%d", tower, i);
  moeclip_code code = moeclip_tensors_add(out, name, MOECLIP_U8, 1, &n, frozen, 1, err);
  free(frozen);
  snprintf(name, sizeof name, "counts.%s.%d", tower, i);
  return code == MOECLIP_OK ? moeclip_tensors_add(out, name, MOECLIP_I64, 1, &n, m->counts, 1, err) : code;
}

moeclip_code mc_state_store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  char *text = state_text(l);
  if (!text) return mc_fail_memory(err, 4096, "a state");
  moeclip_code code = moeclip_tensors_set_metadata(out, "moeclip.format", FORMAT, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(out, "moeclip.state", text, err);
  free(text);
  MC_TRY(code);
  if (l->tuned) return mc_clip_store(l->tuned, MOECLIP_F32, out, err);
  MC_TRY(mc_adapters_store(l->adapters, out, err));
  for (int i = 0; i < l->adapters->visual_layers; i++) MC_TRY(store_block(&l->adapters->visual[i], "visual", i, out, err));
  for (int i = 0; i < l->adapters->text_layers; i++) MC_TRY(store_block(&l->adapters->text[i], "text", i, out, err));
  return l->selector ? mc_selector_store(l->selector, out, err) : MOECLIP_OK;
}

/* --- files ------------------------------------------------------------------------------------------------------------- */

moeclip_code mc_state_write(moeclip_tensors *t, const char *path, moeclip_error *err) {
  MC_TRY(mc_tensors_seal(t, err));
  return moeclip_tensors_write_safetensors(t, path, err);
}

static bool ends_in(const char *s, const char *ending) {
  size_t n = strlen(s), n_ending = strlen(ending);
  return n >= n_ending && strcmp(s + n - n_ending, ending) == 0;
}

static moeclip_dtype dtype_of(const char *name) {
  if (strncmp(name, "frozen.", 7) == 0 || strcmp(name, "selector.reference") == 0) return MOECLIP_U8;
  if (strncmp(name, "counts.", 7) == 0) return MOECLIP_I64;
  if (strncmp(name, "optimizer.", 10) == 0 && ends_in(name, ".step")) return MOECLIP_I64;
  return strcmp(name, "selector.thresholds") == 0 ? MOECLIP_F64 : MOECLIP_F32;
}

/* The checksum is of the numbers' bytes alone: read as another type of the same size they would be other numbers. */
static moeclip_code check_dtypes(const moeclip_tensors *t, moeclip_error *err) {
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *x = moeclip_tensors_at(t, i);
    if (x->dtype == dtype_of(x->name)) continue;
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: the tensor %s is of the type %s, not %s", x->name,
                   moeclip_dtype_name(x->dtype), moeclip_dtype_name(dtype_of(x->name)));
  }
  return MOECLIP_OK;
}

moeclip_code mc_state_open(const char *path, moeclip_tensors **out, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  *out = NULL;
  MC_TRY(moeclip_tensors_open(path, &t, err));
  const char *format = moeclip_tensors_metadata(t, "moeclip.format");
  moeclip_code code = MOECLIP_OK;
  if (!format || !moeclip_tensors_metadata(t, "moeclip.state")) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: this is not a learner's state (`moeclip learn` writes those)", path);
  } else if (strcmp(format, FORMAT) != 0) {
    code = mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: a state of the format \"%.40s\"; this moeclip reads \"%s\"", path,
                   format, FORMAT);
  } else {
    code = moeclip_tensors_verify(t, 1, err);
    if (code == MOECLIP_OK) code = check_dtypes(t, err);
    if (code != MOECLIP_OK) mc_fail_prefix(err, path);
  }
  if (code != MOECLIP_OK) {
    moeclip_tensors_destroy(t);
    return code;
  }
  *out = t;
  return MOECLIP_OK;
}

/* --- restoring --------------------------------------------------------------------------------------------------------- */

static moeclip_code wrong(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: %s", what);
}

static moeclip_code parse(const moeclip_tensors *in, json_t **out, moeclip_error *err) {
  const char *text = moeclip_tensors_metadata(in, "moeclip.state");
  json_error_t json_error;
  bool no_memory = false;
  *out = text ? mc_json_read(text, strlen(text), JSON_REJECT_DUPLICATES, &json_error, &no_memory) : NULL;
  if (!text) return wrong(err, "there is no moeclip.state");
  if (no_memory) return mc_fail_memory(err, strlen(text), "a state");
  if (!*out) return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: %s (byte %d)", json_error.text, json_error.position);
  return MOECLIP_OK;
}

/* A whole number of an object, within bounds; adds to *bad when it is not that. */
static int number_of(const json_t *object, const char *key, int least, int most, const char **bad) {
  const json_t *v = json_object_get(object, key);
  json_int_t n = json_integer_value(v);
  if (!json_is_integer(v) || n < least || n > most) {
    *bad = key;
    return least;
  }
  return (int)n;
}

static moeclip_code options_of(const json_t *root, moeclip_learner_options *o, moeclip_error *err) {
  const char *bad = NULL, *mode = json_string_value(json_object_get(root, "mode"));
  const char *seed = json_string_value(json_object_get(root, "seed"));
  const json_t *selector = json_object_get(root, "selector");
  char *end = NULL;
  moeclip_learner_options_defaults(o);
  if (!mode || (strcmp(mode, "moe") != 0 && strcmp(mode, "finetune") != 0)) return wrong(err, "mode");
  o->mode = strcmp(mode, "finetune") == 0 ? MOECLIP_MODE_FINETUNE : MOECLIP_MODE_MOE;
  if (seed) o->seed = strtoull(seed, &end, 10);
  if (!seed || !*seed || *end) bad = "seed";
  o->n_experts = number_of(root, "experts", 1, 65536, &bad);
  o->top_k = number_of(root, "top_k", 1, 65536, &bad);
  o->bottleneck = number_of(root, "bottleneck", 1, 65536, &bad);
  o->freeze_per_task = number_of(root, "freeze_per_task", 0, 65536, &bad);
  o->text_adapters = json_is_true(json_object_get(root, "text_adapters"));
  o->shared_router = json_is_true(json_object_get(root, "shared_router"));
  o->use_selector = !json_is_false(json_object_get(selector, "used"));
  const json_t *kind = json_object_get(selector, "kind");
  o->selector = kind ? MOECLIP_SELECTOR_AUTO : MOECLIP_SELECTOR_AUTOENCODER;
  for (int i = MOECLIP_SELECTOR_AUTOENCODER; json_is_string(kind) && i <= MOECLIP_SELECTOR_PROTOTYPES; i++) {
    if (strcmp(json_string_value(kind), kinds[i]) == 0) o->selector = (moeclip_selector_kind)i;
  }
  if (o->selector == MOECLIP_SELECTOR_AUTO) bad = "selector kind";
  o->selector_hidden = number_of(selector, "hidden", 1, 65536, &bad);
  o->selector_layer = number_of(selector, "layer", -1, 1000, &bad);
  const json_t *dynamic = json_object_get(root, "dynamic");
  o->dynamic_experts = json_is_object(dynamic);
  if (dynamic) {
    o->dynamic_margin = json_number_value(json_object_get(dynamic, "margin"));
    o->dynamic_probe = number_of(dynamic, "probe", 10, 1000000000, &bad);
  }
  return bad ? wrong(err, bad) : MOECLIP_OK;
}

moeclip_code mc_state_options(const moeclip_tensors *in, moeclip_learner_options *out, char alexnet_hash[65],
                              moeclip_error *err) {
  json_t *root = NULL;
  MC_TRY(parse(in, &root, err));
  moeclip_code code = options_of(root, out, err);
  const char *hash = json_string_value(json_object_get(json_object_get(root, "selector"), "alexnet"));
  snprintf(alexnet_hash, 65, "%s", hash ? hash : "");
  json_decref(root);
  return code;
}

static moeclip_code strings_of(const json_t *array, const char ***out, size_t *n, moeclip_error *err) {
  *n = json_array_size(array);
  *out = mc_alloc(*n, sizeof **out);
  if (!*out) return mc_fail_memory(err, *n * sizeof **out, "a state");
  for (size_t i = 0; i < *n; i++) {
    (*out)[i] = json_string_value(json_array_get(array, i));
    if (!(*out)[i]) return wrong(err, "a name is not a text");
  }
  return MOECLIP_OK;
}

static moeclip_code restore_task(moeclip_learner *l, const json_t *task, moeclip_error *err) {
  const char **classes = NULL, **templates = NULL, *name = json_string_value(json_object_get(task, "name"));
  size_t n_classes = 0, n_templates = 0;
  mc_task t;
  moeclip_code code = name ? MOECLIP_OK : wrong(err, "a task has no name");
  if (code == MOECLIP_OK) code = strings_of(json_object_get(task, "classes"), &classes, &n_classes, err);
  if (code == MOECLIP_OK) code = strings_of(json_object_get(task, "templates"), &templates, &n_templates, err);
  if (code == MOECLIP_OK && n_classes == 0) code = wrong(err, "a task has no classes");
  if (code == MOECLIP_OK) code = mc_task_init(&t, name, classes, n_classes, templates, n_templates, err);
  if (code == MOECLIP_OK) {
    t.iterations = json_integer_value(json_object_get(task, "iterations"));
    t.images = json_integer_value(json_object_get(task, "images"));
    code = mc_learner_add_task(l, &t, err);
  }
  free(classes);
  free(templates);
  return code;
}

static moeclip_code restore_block(mc_moe *m, const char *tower, int i, const moeclip_tensors *in, moeclip_error *err) {
  char name[64];
  snprintf(name, sizeof name, "frozen.%s.%d", tower, i);
  const moeclip_tensor *frozen = moeclip_tensors_find(in, name);
  if (!frozen || frozen->dtype != MOECLIP_U8 || frozen->n_bytes != (size_t)m->n_experts) return wrong(err, name);
  for (int e = 0; e < m->n_experts; e++) m->experts[e].frozen = ((const uint8_t *)frozen->data)[e] != 0;
  snprintf(name, sizeof name, "counts.%s.%d", tower, i);
  const moeclip_tensor *counts = moeclip_tensors_find(in, name);
  if (!counts || counts->dtype != MOECLIP_I64 || counts->n_bytes != (size_t)m->n_experts * sizeof *m->counts) {
    return wrong(err, name);
  }
  memcpy(m->counts, counts->data, counts->n_bytes);
  return MOECLIP_OK;
}

static moeclip_code restore_adapters(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  const mc_clip *clip = l->model->clip;
  mc_adapter_sizes sizes = {.top_k = l->options.top_k, .scale = MC_EXPERT_SCALE, .seed = l->options.seed};
  MC_TRY(mc_adapters_load(in, &sizes, &l->adapters, err));
  mc_adapters *a = l->adapters;
  bool text_fits = a->text_layers == 0 || (a->text_layers == clip->text.n_layers && a->text[0].width == clip->text.width);
  if (a->visual_layers != clip->visual.n_layers || a->visual[0].width != clip->visual.width || !text_fits) {
    return wrong(err, "its adapters are for a model of another size");
  }
  int wanted = l->options.shared_router && l->n_tasks > 1 ? 1 : l->n_tasks;
  if (a->n_routers != wanted) return wrong(err, "the number of routers is not that of the tasks");
  for (int i = 0; i < a->visual_layers; i++) MC_TRY(restore_block(&a->visual[i], "visual", i, in, err));
  for (int i = 0; i < a->text_layers; i++) MC_TRY(restore_block(&a->text[i], "text", i, in, err));
  return MOECLIP_OK;
}

static moeclip_code restore_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mc_param read = {0};
  moeclip_code code = mc_param_read(&read, context, name, p->rank, p->shape, true, err);
  if (code != MOECLIP_OK) {
    mc_param_clear(&read);
    return code;
  }
  mc_param_clear(p);
  *p = read;
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, const json_t *root, moeclip_error *err) {
  const char *backbone = json_string_value(json_object_get(root, "backbone"));
  const char *own = moeclip_model_fingerprint(l->model);
  if (!backbone || strcmp(backbone, own) != 0) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "this state was learned on another backbone (fingerprint %.32s) than %s (%s); give the model that it was "
                   "learned on", backbone ? backbone : "missing", moeclip_model_path(l->model), own);
  }
  const json_t *tasks = json_object_get(root, "tasks"), *task;
  size_t i;
  if (!json_is_array(tasks)) return wrong(err, "tasks");
  json_array_foreach(tasks, i, task) MC_TRY(restore_task(l, task, err));
  if (l->options.mode == MOECLIP_MODE_FINETUNE) {
    MC_TRY(mc_model_copy_clip(l->model, &l->tuned, err));
    return mc_clip_each(l->tuned, restore_param, (void *)(uintptr_t)in, err);
  }
  MC_TRY(restore_adapters(l, in, err));
  /* A checkpoint is written after the selector has learned the task, so there are always as many autoencoders as tasks. */
  if (!l->options.use_selector) return MOECLIP_OK;
  return mc_selector_load(in, l->extractor.kind, l->extractor.dim, l->options.selector_hidden, l->n_tasks, &l->selector, err);
}

moeclip_code mc_state_restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  json_t *root = NULL;
  MC_TRY(parse(in, &root, err));
  moeclip_code code = restore(l, in, root, err);
  json_decref(root);
  return code;
}

moeclip_code mc_state_replace(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  moeclip_learner fresh = *l, old = *l;
  mc_learner_empty(&fresh);
  moeclip_code code = mc_state_restore(&fresh, in, err);
  if (code == MOECLIP_OK) *l = fresh;
  mc_learner_clear_knowledge(code == MOECLIP_OK ? &old : &fresh);
  return code;
}
