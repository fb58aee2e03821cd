/* `moeclip convert --model`: published checkpoints from and to states. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/convert.h"
#include "cli/provenance.h"
#include "moeclip/published.h"

/* --- the tasks' descriptions ------------------------------------------------------------------------------------- */

#define MAX_DESCRIPTION_BYTES ((size_t)16 << 20)

typedef struct descriptions {
  json_t *json; /* the texts are its */
  moeclip_published_task *tasks;
  size_t n;
} descriptions;

static void descriptions_clear(descriptions *d) {
  for (size_t i = 0; d->tasks && i < d->n; i++) {
    free((void *)(uintptr_t)d->tasks[i].classes);
    free((void *)(uintptr_t)d->tasks[i].templates);
  }
  free(d->tasks);
  json_decref(d->json);
  *d = (descriptions){0};
}

static moeclip_code texts_of(const json_t *array, const char *path, size_t task, const char *key,
                             const char *const **out, size_t *n, moeclip_error *err) {
  *n = json_array_size(array);
  const char **texts = *n > 0 ? mc_alloc(*n, sizeof *texts) : NULL;
  if (*n == 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: task %zu: \"%s\" must be a list of at least one text", path, task,
                   key);
  }
  if (!texts) return mc_fail_memory(err, *n * sizeof *texts, "names");
  *out = texts;
  for (size_t i = 0; i < *n; i++) {
    texts[i] = json_string_value(json_array_get(array, i));
    if (!texts[i]) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: task %zu: entry %zu of \"%s\" is not a text", path, task, i, key);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code read_task(const json_t *object, const char *path, size_t i, moeclip_published_task *t,
                              moeclip_error *err) {
  static const char *const keys[] = {"name", "classes", "templates", "threshold"};
  const char *key;
  json_t *value;
  if (!json_is_object(object)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: entry %zu is not an object {\"name\": ..., \"classes\": [...]}",
                   path, i);
  }
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    size_t k = 0;
    while (k < sizeof keys / sizeof *keys && strcmp(key, keys[k]) != 0) k++;
    if (k == sizeof keys / sizeof *keys) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT,
                     "%s: task %zu: \"%.60s\" is none of \"name\", \"classes\", \"templates\" and "
                     "\"threshold\"",
                     path, i, key);
    }
  }
  const json_t *templates = json_object_get(object, "templates"), *threshold = json_object_get(object, "threshold");
  t->name = json_string_value(json_object_get(object, "name"));
  if (!t->name || !*t->name) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: task %zu has no \"name\"", path, i);
  MC_TRY(texts_of(json_object_get(object, "classes"), path, i, "classes", &t->classes, &t->n_classes, err));
  if (templates) MC_TRY(texts_of(templates, path, i, "templates", &t->templates, &t->n_templates, err));
  if (threshold && !(json_number_value(threshold) > 0)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: task %zu (%s): \"threshold\" must be a number above 0", path, i,
                   t->name);
  }
  t->threshold = json_number_value(threshold);
  return MOECLIP_OK;
}

static moeclip_code descriptions_read(const char *path, descriptions *d, moeclip_error *err) {
  MC_TRY(mc_json_read_given(path, MAX_DESCRIPTION_BYTES, &d->json, err));
  size_t n = json_array_size(d->json);
  if (n == 0) {
    return mc_fail(
        err, MOECLIP_ERROR_FORMAT,
        "%s: must be a list of tasks in the order of learning: [{\"name\": ..., \"classes\": [...], \"templates\": "
        "[...]}]",
        path);
  }
  d->tasks = calloc(n, sizeof *d->tasks);
  if (!d->tasks) return mc_fail_memory(err, n * sizeof *d->tasks, "tasks");
  d->n = n;
  for (size_t i = 0; i < n; i++) MC_TRY(read_task(json_array_get(d->json, i), path, i, &d->tasks[i], err));
  return MOECLIP_OK;
}

static moeclip_code descriptions_write(const moeclip_learner *l, const char *path, moeclip_error *err) {
  json_t *list = json_array();
  for (int t = 0; t < moeclip_learner_tasks(l); t++) {
    moeclip_task_info info;
    moeclip_code code = moeclip_learner_task(l, t, &info, err);
    if (code != MOECLIP_OK) {
      json_decref(list);
      return code;
    }
    mc_json_append(
        &list,
        json_pack("{s:s, s:o, s:o, s:f}", "name", info.name, "classes", mc_json_strings(info.classes, info.n_classes),
                  "templates", mc_json_strings(info.templates, info.n_templates), "threshold", info.threshold));
  }
  char *text = mc_json_text(list, JSON_INDENT(1));
  json_decref(list);
  moeclip_code code =
      text ? mc_file_write(path, text, strlen(text), err) : mc_fail_memory(err, 4096, "the tasks' names");
  free(text);
  return code;
}

/* --- both directions --------------------------------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *ending) {
  size_t n = strlen(path), m = strlen(ending);
  return n > m && strcasecmp(path + n - m, ending) == 0;
}

static moeclip_code is_state(const char *path, bool *out, moeclip_error *err) {
  moeclip_tensors *file = NULL;
  MC_TRY(moeclip_tensors_open(path, &file, err));
  *out = moeclip_tensors_metadata(file, "moeclip.format") != NULL;
  moeclip_tensors_destroy(file);
  return MOECLIP_OK;
}

static moeclip_code to_state(moeclip_model *model, const mc_published_choice *c, const char *in, const char *out,
                             moeclip_learner **l, moeclip_error *err) {
  descriptions d = {0};
  moeclip_published_options o;
  moeclip_published_options_defaults(&o);
  moeclip_code code = descriptions_read(c->tasks, &d, err);
  if (code == MOECLIP_OK) {
    o.autochooser = c->autochooser;
    o.alexnet = c->alexnet;
    o.selector_layer = c->selector_layer;
    o.threshold = c->threshold;
    o.tasks = d.tasks;
    o.n_tasks = d.n;
    code = moeclip_learner_from_published(model, in, &o, l, err);
  }
  descriptions_clear(&d);
  return code == MOECLIP_OK ? moeclip_learner_save(*l, out, err) : code;
}

static moeclip_code to_published(moeclip_model *model, const mc_published_choice *c, const char *in, const char *out,
                                 moeclip_learner **l, moeclip_error *err) {
  MC_TRY(moeclip_learner_load(model, in, c->alexnet, l, err));
  if (moeclip_learner_to_published(*l, out, c->autochooser, err) != MOECLIP_OK) {
    return err->code == MOECLIP_ERROR_UNSUPPORTED ? mc_fail_prefix(err, in) : err->code;
  }
  return c->tasks ? descriptions_write(*l, c->tasks, err) : MOECLIP_OK;
}

static int print_report(const mc_published_choice *c, bool from_state, const char *out, const moeclip_learner *l,
                        json_t *provenance) {
  moeclip_learner_options o;
  moeclip_learner_get_options(l, &o);
  int n = moeclip_learner_tasks(l);
  const char *chooser = from_state ? c->autochooser : NULL, *tasks = from_state ? c->tasks : NULL;
  if (provenance) {
    json_t *object =
        json_pack("{s:s, s:s, s:i, s:i, s:s?, s:s?, s:O}", "out", out, "kind", from_state ? "published" : "state", "tasks",
                  n, "experts", o.n_experts, "autochooser", chooser, "descriptions", tasks, "provenance", provenance);
    return mc_json_print(object, false) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  }
  printf("%s: %s of %d task%s\n", out, from_state ? "a published checkpoint" : "a state", n, n == 1 ? "" : "s");
  if (chooser) printf("%s: the autoencoders of the reference set and the tasks\n", chooser);
  if (tasks) printf("%s: the tasks' names, classes, prompts and thresholds\n", tasks);
  return MC_EXIT_OK;
}

/* What the command line lacks or has too much of, once it is known which way it goes. */
static int check_usage(const mc_args *args, const mc_published_choice *c, bool from_state, const char *in,
                       const char *out) {
  if (from_state) {
    if (mc_args_given(args, "threshold") || mc_args_given(args, "selector-layer")) {
      return mc_usage_error(args->command,
                            "%s is a state, which says itself what --threshold and --selector-layer would", in);
    }
    if (!ends_in(out, ".pth") && !ends_in(out, ".pt")) {
      return mc_usage_error(
          args->command, "%s is a state: with --model, OUT is a published checkpoint and must end in .pth or .pt", in);
    }
    return MC_EXIT_OK;
  }
  if (!c->tasks || !c->autochooser) {
    return mc_usage_error(args->command,
                          "%s is not a state: to make one of it, give --tasks FILE and --autochooser FILE too", in);
  }
  if (!ends_in(out, ".safetensors")) {
    return mc_usage_error(args->command, "OUT becomes a state, and must end in .safetensors: %s", out);
  }
  return MC_EXIT_OK;
}

int mc_convert_published(const mc_args *args, const mc_published_choice *choice, bool json) {
  const char *in = args->positional[0], *out = args->positional[1];
  moeclip_model *model = NULL;
  moeclip_learner *l = NULL;
  moeclip_error err;
  bool from_state = false;
  if (is_state(in, &from_state, &err) != MOECLIP_OK) return mc_report(&err);
  int exit_code = check_usage(args, choice, from_state, in, out);
  if (exit_code != MC_EXIT_OK) return exit_code;
  json_t *provenance = json ? mc_provenance(args) : NULL;
  moeclip_code code = json ? mc_provenance_file(provenance, "in", in, &err) : MOECLIP_OK;
  if (code == MOECLIP_OK && json) code = mc_provenance_file(provenance, "model", choice->model, &err);
  if (code == MOECLIP_OK && json && !from_state) code = mc_provenance_file(provenance, "tasks", choice->tasks, &err);
  if (code == MOECLIP_OK && json && !from_state) code = mc_provenance_file(provenance, "autochooser", choice->autochooser, &err);
  if (code == MOECLIP_OK) code = moeclip_model_load(choice->model, NULL, &model, &err);
  if (code == MOECLIP_OK) code = (from_state ? to_published : to_state)(model, choice, in, out, &l, &err);
  exit_code = code == MOECLIP_OK ? print_report(choice, from_state, out, l, provenance) : mc_report(&err);
  json_decref(provenance);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
  return exit_code;
}
