/* The learner's state in a collection of tensors, and back (docs/STATE.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "files/collection.h"
#include "learn/method.h"

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

const char *moeclip_selector_kind_name(moeclip_selector_kind kind) {
  static const char *const names[] = {"auto", "autoencoder", "gaussian", "prototypes"};
  return kind >= MOECLIP_SELECTOR_AUTO && kind <= MOECLIP_SELECTOR_PROTOTYPES ? names[kind] : NULL;
}

static char *state_text(moeclip_learner *l) {
  const moeclip_learner_options *o = &l->options;
  json_t *tasks = json_array();
  for (int t = 0; t < l->n_tasks; t++) mc_json_append(&tasks, task_to_json(&l->tasks[t]));
  char seed[32];
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
  json_t *root = json_pack(
      "{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:{s:s, s:b, s:i, s:i, s:s}, s:o}", "mode",
      l->method->name, "backbone", moeclip_model_fingerprint(l->model), "seed", seed,
      "experts", o->n_experts, "top_k", o->top_k, "bottleneck", o->bottleneck, "freeze_per_task", o->freeze_per_task,
      "text_adapters", o->text_adapters != 0, "shared_router", o->shared_router != 0, "selector", "kind",
      moeclip_selector_kind_name(o->selector), "used", o->use_selector != 0, "hidden", o->selector_hidden, "layer", o->selector_layer, "alexnet",
      l->alexnet_hash, "tasks", tasks);
  if (root && o->dynamic_experts) {
    mc_json_set(&root, "dynamic", json_pack("{s:f, s:I}", "margin", o->dynamic_margin, "probe", (json_int_t)o->dynamic_probe));
  }
  if (root && l->method->options_to_json) mc_json_set(&root, l->method->name, l->method->options_to_json(l));
  char *text = root ? mc_json_text(root, JSON_COMPACT) : NULL;
  json_decref(root);
  return text;
}

moeclip_code mc_state_store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  char *text = state_text(l);
  if (!text) return mc_fail_memory(err, 4096, "a state");
  moeclip_code code = moeclip_tensors_set_metadata(out, "moeclip.format", FORMAT, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(out, "moeclip.state", text, err);
  free(text);
  MC_TRY(code);
  return l->method->store(l, out, err);
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
  if (strncmp(name, "frozen.", 7) == 0 || strncmp(name, "dropped.", 8) == 0) return MOECLIP_U8;
  if (strcmp(name, "zscl.pictures") == 0 || strcmp(name, "icarl.pictures") == 0) return MOECLIP_U8;
  if (strncmp(name, "counts.", 7) == 0 || strcmp(name, "probe.labels") == 0 || strcmp(name, "icarl.labels") == 0)
    return MOECLIP_I64;
  if (strncmp(name, "optimizer.", 10) == 0 && ends_in(name, ".step")) return MOECLIP_I64;
  return strcmp(name, "selector.thresholds") == 0 ? MOECLIP_F64 : MOECLIP_F32;
}

/* The checksum is of the numbers' bytes alone: read as another type of the same size they would be other numbers. */
static moeclip_code check_dtypes(const moeclip_tensors *t, moeclip_error *err) {
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *x = moeclip_tensors_at(t, i);
    /* Of these the readers know the types, which depend on what kind the learner is. */
    if (strcmp(x->name, "selector.reference") == 0 || strncmp(x->name, "analytic.", 9) == 0) continue;
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
  const mc_method *method = mc_method_by_name(mode);
  if (!mode) return wrong(err, "mode");
  if (!method) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "a state of the method \"%.40s\", which this moeclip does not have", mode);
  }
  o->mode = method->mode;
  if (seed) o->seed = strtoull(seed, &end, 10);
  if (!seed || !*seed || *end) bad = "seed";
  o->n_experts = number_of(root, "experts", 1, 65536, &bad);
  o->top_k = number_of(root, "top_k", 1, 65536, &bad);
  o->bottleneck = number_of(root, "bottleneck", 1, 65536, &bad);
  o->freeze_per_task = number_of(root, "freeze_per_task", 0, 65536, &bad);
  o->text_adapters = json_is_true(json_object_get(root, "text_adapters"));
  o->shared_router = json_is_true(json_object_get(root, "shared_router"));
  o->use_selector = !json_is_false(json_object_get(selector, "used"));
  const json_t *kind = json_object_get(selector, "kind"); /* none: written before there were several, with autoencoders */
  o->selector = kind ? MOECLIP_SELECTOR_AUTO : MOECLIP_SELECTOR_AUTOENCODER;
  for (int i = MOECLIP_SELECTOR_AUTOENCODER; json_is_string(kind) && i <= MOECLIP_SELECTOR_PROTOTYPES; i++) {
    if (strcmp(json_string_value(kind), moeclip_selector_kind_name(i)) == 0) o->selector = i;
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
  if (method->options_of_json) method->options_of_json(json_object_get(root, method->name), o, &bad);
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

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, const json_t *root, moeclip_error *err) {
  const char *backbone = json_string_value(json_object_get(root, "backbone"));
  const char *own = moeclip_model_fingerprint(l->model);
  if (!backbone || strcmp(backbone, own) != 0) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "this state was learned on another backbone (fingerprint %.32s) than %s (%s); give the model that it was "
                   "learned on, with the same activation", backbone ? backbone : "missing", moeclip_model_path(l->model), own);
  }
  const json_t *tasks = json_object_get(root, "tasks"), *task;
  size_t i;
  if (!json_is_array(tasks)) return wrong(err, "tasks");
  json_array_foreach(tasks, i, task) MC_TRY(restore_task(l, task, err));
  return l->method->restore(l, in, err);
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
