/* Files of lines, NAME=PATH, prompts, data sets, tasks by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "moeclip/benchmark_data.h"

#define MAX_LINES_BYTES ((size_t)16 << 20)

/* --- lines -------------------------------------------------------------------------------------------------------- */

/* Cuts text into lines in place, and spaces off their ends. */
static size_t split_lines(char *text, const char **items) {
  size_t n = 0;
  for (char *line = text; line;) {
    char *end = strchr(line, '\n'), *next = end ? end + 1 : NULL;
    if (end) *end = 0;
    line += strspn(line, " \t");
    size_t length = strlen(line);
    while (length > 0 && strchr(" \t\r", line[length - 1])) line[--length] = 0;
    if (length > 0) {
      if (items) items[n] = line;
      n++;
    }
    line = next;
  }
  return n;
}

moeclip_code mc_lines_read(const char *path, mc_lines *out, moeclip_error *err) {
  uint8_t *data;
  size_t n_bytes, n_lines = 1;
  *out = (mc_lines){0};
  MC_TRY(mc_file_read(path, MAX_LINES_BYTES, &data, &n_bytes, err));
  char *text = (char *)data;
  if (memchr(data, 0, n_bytes)) {
    free(data);
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not a text file", path);
  }
  if (n_bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) memset(data, ' ', 3); /* a byte order mark */
  for (size_t i = 0; i < n_bytes; i++) n_lines += data[i] == '\n';
  *out = (mc_lines){.text = text, .items = mc_alloc(n_lines + 1, sizeof *out->items)};
  if (!out->items) {
    mc_lines_clear(out);
    return mc_fail_memory(err, n_lines * sizeof *out->items, path);
  }
  out->n = split_lines(text, out->items);
  out->items[out->n] = NULL;
  if (out->n > 0) return MOECLIP_OK;
  mc_lines_clear(out);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: holds no line of text", path);
}

void mc_lines_clear(mc_lines *l) {
  free(l->text);
  free(l->items);
  *l = (mc_lines){0};
}

mc_named_path mc_named_path_of(const char *argument) {
  const char *equals = strchr(argument, '=');
  size_t n = equals ? (size_t)(equals - argument) : 0;
  /* A path may hold a '=' itself; one that exists is meant as it stands. */
  if (n == 0 || memchr(argument, '/', n) || access(argument, F_OK) == 0) return (mc_named_path){NULL, argument, 0};
  return (mc_named_path){argument, equals + 1, n};
}

static bool is_meant(mc_named_path p, const char *name) {
  return !p.name || (name && strlen(name) == p.n_name && memcmp(p.name, name, p.n_name) == 0);
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static moeclip_code check_templates(const mc_prompts *p, moeclip_error *err) {
  for (size_t i = 0; i < p->n; i++) {
    if (!strstr(p->items[i], "{}")) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the prompt template \"%s\" has no {} for the class name",
                     p->items[i]);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code collect(const mc_list *texts, const mc_list *files, const char *name, mc_prompts *out,
                            moeclip_error *err) {
  size_t n = texts->n;
  out->files = calloc(files->n + 1, sizeof *out->files);
  if (!out->files) return mc_fail_memory(err, files->n * sizeof *out->files, "templates");
  for (size_t i = 0; i < files->n; i++) {
    mc_named_path p = mc_named_path_of(files->items[i]);
    if (!is_meant(p, name)) continue;
    MC_TRY(mc_lines_read(p.path, &out->files[out->n_files], err));
    n += out->files[out->n_files++].n;
  }
  out->items = mc_alloc(n + 1, sizeof *out->items);
  if (!out->items) return mc_fail_memory(err, n * sizeof *out->items, "templates");
  for (size_t i = 0; i < texts->n; i++) out->items[out->n++] = texts->items[i];
  for (size_t i = 0; i < out->n_files; i++) {
    for (size_t k = 0; k < out->files[i].n; k++) out->items[out->n++] = out->files[i].items[k];
  }
  return check_templates(out, err);
}

moeclip_code mc_prompts_collect(const mc_list *texts, const mc_list *files, const char *name, mc_prompts *out,
                                moeclip_error *err) {
  *out = (mc_prompts){0};
  moeclip_code code = collect(texts, files, name, out, err);
  if (code != MOECLIP_OK) mc_prompts_clear(out);
  return code;
}

void mc_prompts_clear(mc_prompts *p) {
  for (size_t i = 0; i < p->n_files; i++) mc_lines_clear(&p->files[i]);
  free(p->files);
  free(p->items);
  *p = (mc_prompts){0};
}

/* --- data sets ---------------------------------------------------------------------------------------------------- */

void mc_data_choice_defaults(mc_data_choice *c) {
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  *c = (mc_data_choice){.train_fraction = o.train_fraction, .split_seed = (int)o.split_seed, .seed = o.seed};
}

/* The name that moeclip_dataset_open gives by itself: the last part of the path. */
static char *name_of_path(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  size_t begin = n;
  while (begin > 0 && path[begin - 1] != '/') begin--;
  return mc_strndup(path + begin, n - begin);
}

/* Nobody should learn from half of a folder without knowing. */
static void say_left_out(const moeclip_dataset *d) {
  const char *first;
  if (!mc_is_writer()) return;
  size_t n = moeclip_dataset_left_out(d, MOECLIP_LEFT_OUT_KIND, &first);
  if (n) mc_warn("%s: %zu picture%s left out: only JPEG, PNG and WebP can be read", first, n, n == 1 ? "" : "s, this and others,");
  n = moeclip_dataset_left_out(d, MOECLIP_LEFT_OUT_LOOSE, &first);
  if (n) mc_warn("%s: %zu picture%s left out: in no class's subfolder", first, n, n == 1 ? "" : "s, this and others,");
}

/* given: the name on the command line, or NULL; name: what it will be called. */
static moeclip_code open_with_classes(const char *path, const char *given, const char *name,
                                      const mc_data_choice *choice, moeclip_dataset **out, moeclip_error *err) {
  moeclip_dataset_options o;
  mc_lines classes = {0};
  moeclip_dataset_options_defaults(&o);
  o.name = given;
  o.train_fraction = choice->train_fraction;
  o.split_seed = (uint32_t)choice->split_seed;
  o.seed = choice->seed;
  o.max_per_class[MOECLIP_TRAIN] = choice->max_train;
  o.max_per_class[MOECLIP_TEST] = choice->max_test;
  for (size_t i = 0; i < choice->classes.n; i++) {
    mc_named_path p = mc_named_path_of(choice->classes.items[i]);
    if (!is_meant(p, name)) continue;
    mc_lines_clear(&classes); /* the last one that fits wins */
    MC_TRY(mc_lines_read(p.path, &classes, err));
    o.classes = classes.items;
    o.n_classes = classes.n;
  }
  moeclip_code code = moeclip_dataset_open(path, &o, out, err);
  mc_lines_clear(&classes);
  if (code == MOECLIP_OK) say_left_out(*out);
  return code;
}

moeclip_code mc_dataset_open_named(const char *argument, const mc_data_choice *choice, moeclip_dataset **out,
                                   moeclip_error *err) {
  mc_named_path p = mc_named_path_of(argument);
  *out = NULL;
  if (!*p.path) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: there is no path after the =", argument);
  char *name = p.name ? mc_strndup(p.name, p.n_name) : name_of_path(p.path);
  if (!name) return mc_fail_memory(err, strlen(argument), "a name");
  bool plain = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
  moeclip_code code = plain ? mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: give it a name: NAME=%s", argument, p.path)
                            : open_with_classes(p.path, p.name ? name : NULL, name, choice, out, err);
  free(name);
  return code;
}

moeclip_code mc_benchmark_open_chosen(const char *root, const char *set, const mc_data_choice *choice,
                                      moeclip_dataset **out, moeclip_error *err) {
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.seed = choice->seed;
  o.max_per_class[MOECLIP_TRAIN] = choice->max_train;
  o.max_per_class[MOECLIP_TEST] = choice->max_test;
  return moeclip_benchmark_open(root, set, &o, out, err);
}

/* --- learners ----------------------------------------------------------------------------------------------------- */

moeclip_code mc_task_by_name(const moeclip_learner *learner, const char *text, int *out, moeclip_error *err) {
  moeclip_task_info info;
  int n = moeclip_learner_tasks(learner);
  int64_t number;
  if (strcmp(text, "auto") == 0) *out = MOECLIP_TASK_AUTO;
  if (strcmp(text, "none") == 0) *out = MOECLIP_TASK_NONE;
  if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0) return MOECLIP_OK;
  for (int t = 0; t < n; t++) {
    MC_TRY(moeclip_learner_task(learner, t, &info, err));
    if (strcmp(info.name, text) != 0) continue;
    *out = t;
    return MOECLIP_OK;
  }
  if (mc_parse_long(text, &number) && number >= 0 && number < n) {
    *out = (int)number;
    return MOECLIP_OK;
  }
  if (n == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--task %s: no task has been learned yet; say none", text);
  MC_TRY(moeclip_learner_task(learner, n - 1, &info, err));
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                 "--task %s: there is no such task; say auto, none, a name or a number from 0 to %d (%s)", text, n - 1,
                 info.name);
}

moeclip_code mc_open_model(const mc_model_choice *choice, moeclip_model **out, moeclip_error *err) {
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.n_threads = choice->n_threads ? choice->n_threads : moeclip_comm_threads(mc_ranks());
  options.comm = mc_ranks();
  options.activation = (moeclip_activation)choice->activation;
  options.precision = (moeclip_precision)choice->precision;
  return moeclip_model_load(choice->model, &options, out, err);
}

moeclip_code mc_untouched_learner(moeclip_model *model, moeclip_learner **out, moeclip_error *err) {
  moeclip_learner_options small;
  moeclip_learner_options_defaults(&small);
  small.n_experts = small.top_k;
  small.bottleneck = 1;
  small.freeze_per_task = 1;
  return moeclip_learner_create(model, &small, out, err);
}

moeclip_code mc_open_learner(const mc_model_choice *choice, moeclip_model **model, moeclip_learner **learner,
                             moeclip_error *err) {
  MC_TRY(mc_open_model(choice, model, err));
  if (choice->state) return moeclip_learner_load(*model, choice->state, choice->alexnet, learner, err);
  return mc_untouched_learner(*model, learner, err);
}
