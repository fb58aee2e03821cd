/* The learner's state in a collection of tensors, and back (docs/STATE.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "learn/method.h"

#define FORMAT "state 1"

/* --- storing ----------------------------------------------------------------------------------------------------------- */

static json_t *strings_to_json(char *const *s, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(array, json_string(s[i]));
  return array;
}

static json_t *task_to_json(const mc_task *t) {
  return json_pack("{s:s, s:o, s:o, s:I, s:I}", "name", t->name, "classes", strings_to_json(t->classes, t->n_classes),
                   "templates", strings_to_json(t->templates, t->n_templates), "iterations", (json_int_t)t->iterations,
                   "images", (json_int_t)t->images);
}

static char *state_text(moeclip_learner *l) {
  const moeclip_learner_options *o = &l->options;
  json_t *tasks = json_array();
  for (int t = 0; t < l->n_tasks; t++) json_array_append_new(tasks, task_to_json(&l->tasks[t]));
  char seed[32];
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
  json_t *root =
      json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:{s:b, s:i, s:i, s:s}, s:o}", "mode", l->method->name,
                "backbone", moeclip_model_fingerprint(l->model), "seed", seed, "experts", o->n_experts, "top_k", o->top_k,
                "bottleneck", o->bottleneck, "freeze_per_task", o->freeze_per_task, "text_adapters", o->text_adapters != 0,
                "shared_router", o->shared_router != 0, "selector", "used", o->use_selector != 0, "hidden", o->selector_hidden,
                "layer", o->selector_layer, "alexnet", l->alexnet_hash, "tasks", tasks);
  if (root && l->method->options_to_json) json_object_set_new(root, l->method->name, l->method->options_to_json(l));
  char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
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

/* --- checksum ---------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
  const moeclip_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static moeclip_code checksum(const moeclip_tensors *t, char out[65], moeclip_error *err) {
  size_t n = moeclip_tensors_count(t);
  const moeclip_tensor **sorted = mc_alloc(n, sizeof *sorted);
  const char *text = moeclip_tensors_metadata(t, "moeclip.state");
  mc_sha256 h;
  if (!sorted) return mc_fail_memory(err, n * sizeof *sorted, "a checksum");
  for (size_t i = 0; i < n; i++) sorted[i] = moeclip_tensors_at(t, i);
  qsort(sorted, n, sizeof *sorted, by_name);
  mc_sha256_init(&h);
  mc_sha256_add(&h, text, text ? strlen(text) : 0);
  for (size_t i = 0; i < n; i++) {
    mc_sha256_add(&h, sorted[i]->name, strlen(sorted[i]->name) + 1);
    mc_sha256_add(&h, sorted[i]->data, sorted[i]->n_bytes);
  }
  mc_sha256_hex(&h, out);
  free(sorted);
  return MOECLIP_OK;
}

moeclip_code mc_state_write(moeclip_tensors *t, const char *path, moeclip_error *err) {
  char sum[65];
  MC_TRY(checksum(t, sum, err));
  MC_TRY(moeclip_tensors_set_metadata(t, "moeclip.checksum", sum, err));
  return moeclip_tensors_write_safetensors(t, path, err);
}

moeclip_code mc_state_open(const char *path, moeclip_tensors **out, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  char sum[65] = "";
  *out = NULL;
  MC_TRY(moeclip_tensors_open(path, &t, err));
  const char *format = moeclip_tensors_metadata(t, "moeclip.format"), *wanted = moeclip_tensors_metadata(t, "moeclip.checksum");
  moeclip_code code = MOECLIP_OK;
  if (!format || !moeclip_tensors_metadata(t, "moeclip.state")) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: this is not a learner's state (`moeclip learn` writes those)", path);
  } else if (strcmp(format, FORMAT) != 0) {
    code = mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: a state of the format \"%.40s\"; this moeclip reads \"%s\"", path,
                   format, FORMAT);
  } else {
    code = checksum(t, sum, err);
    if (code == MOECLIP_OK && (!wanted || strcmp(wanted, sum) != 0)) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: the checksum does not fit: the file was damaged after it was written; take a "
                     "copy of it, or learn again", path);
    }
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
  *out = text ? json_loads(text, JSON_REJECT_DUPLICATES, &json_error) : NULL;
  if (!text) return wrong(err, "there is no moeclip.state");
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
  o->selector_hidden = number_of(selector, "hidden", 1, 65536, &bad);
  o->selector_layer = number_of(selector, "layer", -1, 1000, &bad);
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
                   "learned on", backbone ? backbone : "missing", moeclip_model_path(l->model), own);
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
