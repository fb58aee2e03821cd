/* `moeclip learn`: domain after domain, saved, evaluated, and gone on with where it was left. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/evaluate.h"
#include "cli/learn_options.h"
#include "cli/results.h"

typedef struct domain {
  moeclip_dataset *dataset;
  mc_prompts prompts;
  const char *name;
  double rate;
  bool learned; /* is it one of the tasks, or held out? */
} domain;

typedef struct session {
  const mc_args *args;
  const mc_learn_options *o;
  moeclip_model *model;
  moeclip_learner *learner;
  domain *domains; /* [n_domains]: tasks in order, then held-out sets */
  size_t n_domains, n_tasks;
  double *rates;   /* [n_tasks] */
  char *checkpoint, *folder;
  mc_results results;
  mc_progress progress;
  moeclip_callbacks callbacks;
} session;

/* --- before anything is opened ------------------------------------------------------------------------------------ */

static int parse_rates(session *s) {
  const char *at = s->o->rates;
  size_t n = 0;
  s->rates = mc_alloc(s->n_tasks, sizeof *s->rates);
  if (!s->rates) return mc_usage_error(s->args->command, "out of memory");
  for (size_t i = 0; i < s->n_tasks; i++) s->rates[i] = s->o->task.learning_rate;
  if (!at) return MC_EXIT_OK;
  for (;; n++) {
    size_t length = strcspn(at, ",");
    char *word = mc_strndup(at, length);
    double rate;
    bool ok = word && mc_parse_real(word, &rate) && rate > 0;
    free(word);
    if (!ok) {
      return mc_usage_error(s->args->command, "--lr: \"%.*s\" is not a number above 0", (int)length, at);
    }
    if (n < s->n_tasks) s->rates[n] = rate;
    at += length;
    if (!*at++) break;
  }
  n++;
  if (n != 1 && n != s->n_tasks) {
    return mc_usage_error(s->args->command, "--lr: %zu learning rates for %zu domains; give one, or one for each", n,
                          s->n_tasks);
  }
  for (size_t i = n; i < s->n_tasks; i++) s->rates[i] = s->rates[0];
  return MC_EXIT_OK;
}

static int check_usage(session *s) {
  const mc_command *c = s->args->command;
  const mc_learn_options *o = s->o;
  if (!o->files.model) return mc_usage_error(c, "--model is missing: the CLIP to teach");
  if (!o->files.state) return mc_usage_error(c, "--state is missing: the file for what is learned");
  if (o->shots && o->data.max_train) return mc_usage_error(c, "--shots and --max-train exclude each other");
  if (!o->reference && mc_args_given(s->args, "reference-iterations")) {
    return mc_usage_error(c, "--reference-iterations needs --reference");
  }
  if (o->reference && !o->learner.use_selector) return mc_usage_error(c, "--reference is for the selector: not with --no-selector");
  if (o->learner.top_k > o->learner.n_experts) {
    return mc_usage_error(c, "--top-k: %d of %d experts (--experts)", o->learner.top_k, o->learner.n_experts);
  }
  return parse_rates(s);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static moeclip_code differs(const char *option, long long given, long long is, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                 "--%s %lld: the state was made with %lld; leave the option out, or start another state", option, given,
                 is);
}

moeclip_code mc_learn_check_state(const mc_args *args, const moeclip_learner *learner, moeclip_error *err) {
  const moeclip_learner_options *o = &((const mc_learn_options *)args->options)->learner;
  moeclip_learner_options is;
  moeclip_learner_get_options(learner, &is);
  const struct { const char *name; long long given, is; } pairs[] = {
      {"experts", o->n_experts, is.n_experts},
      {"top-k", o->top_k, is.top_k},
      {"bottleneck", o->bottleneck, is.bottleneck},
      {"freeze", o->freeze_per_task, is.freeze_per_task},
      {"selector-hidden", o->selector_hidden, is.selector_hidden},
      {"selector-layer", o->selector_layer, is.selector_layer}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (!mc_args_given(args, pairs[i].name) || pairs[i].given == pairs[i].is) continue;
    return differs(pairs[i].name, pairs[i].given, pairs[i].is, err);
  }
  if (mc_args_given(args, "seed") && o->seed != is.seed) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "--seed %llu: the state was made with %llu; leave the option out, or "
                   "start another state", (unsigned long long)o->seed, (unsigned long long)is.seed);
  }
  if (mc_args_given(args, "mode") && o->mode != is.mode) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--mode %s: the state was made with the other mode; leave the option out, "
                   "or start another state",
                   o->mode == MOECLIP_MODE_MOE ? "moe" : "finetune");
  }
  if (mc_args_given(args, "alexnet") && !is.alexnet) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--alexnet: the state's selector was made without; leave the option out, "
                   "or start another state");
  }
  if (mc_args_given(args, "image-only") && is.text_adapters) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "--image-only: the state has adapters in the text tower too; leave the "
                   "option out, or start another state");
  }
  if (mc_args_given(args, "shared-router") && !is.shared_router) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "--shared-router: the state has a router for each task; leave the option out, or "
                   "start another state");
  }
  if (mc_args_given(args, "no-selector") && is.use_selector) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "--no-selector: the state has a selector; leave the option out, or start another "
                   "state");
  }
  return MOECLIP_OK;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static moeclip_code open_learner(session *s, moeclip_error *err) {
  const mc_model_choice *files = &s->o->files;
  if (exists(files->state)) {
    MC_TRY(mc_open_learner(files, &s->model, &s->learner, err));
    moeclip_code code = mc_learn_check_state(s->args, s->learner, err);
    return code == MOECLIP_OK ? code : mc_fail_prefix(err, files->state);
  }
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.n_threads = files->n_threads;
  options.activation = (moeclip_activation)files->activation;
  MC_TRY(moeclip_model_load(files->model, &options, &s->model, err));
  moeclip_learner_options learner = s->o->learner;
  learner.alexnet = files->alexnet;
  return moeclip_learner_create(s->model, &learner, &s->learner, err);
}

static moeclip_code open_domain(session *s, const char *argument, size_t i, moeclip_error *err) {
  mc_data_choice choice = s->o->data;
  moeclip_learner_options learner;
  domain *d = &s->domains[i];
  moeclip_learner_get_options(s->learner, &learner);
  choice.seed = learner.seed;
  if (s->o->shots) choice.max_train = s->o->shots;
  MC_TRY(mc_dataset_open_named(argument, &choice, &d->dataset, err));
  d->name = moeclip_dataset_name(d->dataset);
  d->learned = i < s->n_tasks;
  d->rate = d->learned ? s->rates[i] : 0;
  for (size_t k = 0; k < i; k++) {
    if (strcmp(s->domains[k].name, d->name) != 0) continue;
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "two data sets are named %s; give one another name: NAME=%s", d->name,
                   moeclip_dataset_path(d->dataset));
  }
  return mc_prompts_collect(&s->o->templates, &s->o->template_files, d->name, &d->prompts, err);
}

static moeclip_code open_domains(session *s, moeclip_error *err) {
  size_t n = s->n_tasks + s->o->heldout.n;
  s->domains = calloc(n, sizeof *s->domains);
  if (!s->domains) return mc_fail_memory(err, n * sizeof *s->domains, "data sets");
  s->n_domains = n;
  for (size_t i = 0; i < n; i++) {
    const char *argument = i < s->n_tasks ? s->args->positional[i] : s->o->heldout.items[i - s->n_tasks];
    MC_TRY(open_domain(s, argument, i, err));
  }
  return MOECLIP_OK;
}

/* The number of the task of that name, or -1. */
static int task_of(const moeclip_learner *learner, const char *name) {
  moeclip_task_info info;
  for (int t = 0; t < moeclip_learner_tasks(learner); t++) {
    if (moeclip_learner_task(learner, t, &info, NULL) == MOECLIP_OK && strcmp(info.name, name) == 0) return t;
  }
  return -1;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static json_t *describe_run(session *s) {
  moeclip_learner_options o;
  char seed[32];
  moeclip_learner_get_options(s->learner, &o);
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o.seed);
  return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:i, s:i}", "backbone",
                   moeclip_model_fingerprint(s->model), "seed", seed, "mode",
                   o.mode == MOECLIP_MODE_MOE ? "moe" : "finetune", "experts", o.n_experts, "top_k", o.top_k,
                   "bottleneck", o.bottleneck, "freeze_per_task", o.freeze_per_task, "text_adapters", o.text_adapters, "shared_router",
                   o.shared_router, "selector", o.use_selector,
                   "selector_hidden", o.selector_hidden, "selector_layer", o.selector_layer);
}

static json_t *describe_training(const session *s, const domain *d) {
  const moeclip_task_options *o = &s->o->task;
  return json_pack("{s:I, s:i, s:f, s:f, s:f, s:I, s:f, s:f, s:b, s:I, s:f, s:o}", "iterations", (json_int_t)o->iterations,
                   "batch", o->batch, "learning_rate", d->rate, "weight_decay", o->weight_decay, "smoothing",
                   o->label_smoothing, "warmup", (json_int_t)o->warmup, "dropout", o->dropout, "balance", o->balance, "shots",
                   s->o->shots > 0, "selector_iterations", (json_int_t)o->selector_iterations,
                   "selector_learning_rate", o->selector_learning_rate, "threshold", mc_json_real(o->threshold));
}

/* "same" is what the accuracies of a column depend on, beside the run and the state. */
static json_t *describe_column(const session *s, const domain *d, json_t *task) {
  json_t *prompts = d->prompts.n ? mc_json_strings(d->prompts.items, d->prompts.n) : json_null();
  json_t *classes = json_array();
  for (size_t c = 0; c < moeclip_dataset_classes(d->dataset); c++) {
    json_array_append_new(classes, json_string(moeclip_dataset_class_name(d->dataset, c)));
  }
  json_t *same = json_pack("{s:I, s:o, s:o}", "test_pictures",
                           (json_int_t)moeclip_dataset_count(d->dataset, MOECLIP_TEST), "classes", classes, "templates",
                           prompts);
  json_t *column =
      json_pack("{s:s, s:o, s:s, s:s, s:I, s:o}", "name", d->name, "task", task, "path",
                moeclip_dataset_path(d->dataset), "format", moeclip_dataset_format(d->dataset), "train_pictures",
                (json_int_t)moeclip_dataset_count(d->dataset, MOECLIP_TRAIN), "same", same);
  if (column && d->learned) json_object_set_new(column, "training", describe_training(s, d));
  return column;
}

static json_t *describe_columns(const session *s) {
  json_t *columns = json_array();
  int next = moeclip_learner_tasks(s->learner);
  for (size_t i = 0; i < s->n_domains; i++) {
    const domain *d = &s->domains[i];
    int task = task_of(s->learner, d->name);
    if (task < 0 && d->learned) task = next++;
    json_array_append_new(columns, describe_column(s, d, task < 0 ? json_null() : json_integer(task)));
  }
  return columns;
}

/* The checksum in the state file, into memory that the caller frees; NULL when there is none. */
static moeclip_code state_checksum(const char *path, char **out, moeclip_error *err) {
  moeclip_tensors *t;
  *out = NULL;
  if (!exists(path)) return MOECLIP_OK;
  MC_TRY(moeclip_tensors_open(path, &t, err));
  const char *s = moeclip_tensors_metadata(t, "moeclip.checksum");
  if (s) *out = mc_strdup(s);
  moeclip_tensors_destroy(t);
  return MOECLIP_OK;
}

static moeclip_code open_results(session *s, moeclip_error *err) {
  int n = moeclip_learner_tasks(s->learner);
  const char **tasks = mc_alloc((size_t)n + 1, sizeof *tasks);
  char *checksum = NULL;
  moeclip_task_info info;
  moeclip_code code = tasks ? MOECLIP_OK : mc_fail_memory(err, (size_t)n * sizeof *tasks, "names");
  for (int t = 0; code == MOECLIP_OK && t < n; t++) {
    code = moeclip_learner_task(s->learner, t, &info, err);
    tasks[t] = info.name;
  }
  if (code == MOECLIP_OK) code = state_checksum(s->o->files.state, &checksum, err);
  if (code == MOECLIP_OK) {
    code = mc_results_open(s->folder, describe_run(s), describe_columns(s), tasks, n, n > 0 ? checksum : NULL,
                           &s->results, err);
  }
  free(checksum);
  free(tasks);
  return code;
}

/* --- evaluating --------------------------------------------------------------------------------------------------- */

static moeclip_code stopped(moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
}

static moeclip_code evaluate_cell(session *s, moeclip_learner *learner, const domain *d, int row, moeclip_error *err) {
  moeclip_evaluate_options o = s->o->evaluate;
  moeclip_evaluation e = {0};
  o.templates = d->prompts.n ? d->prompts.items : NULL;
  o.n_templates = d->prompts.n;
  o.loader_threads = s->o->task.loader_threads;
  MC_TRY(moeclip_learner_evaluate(learner, d->dataset, &o, &s->callbacks, &e, err));
  moeclip_code code =
      mc_results_put(&s->results, row, d->name, mc_evaluation_json(&e, learner, d->dataset, false), err);
  moeclip_evaluation_clear(&e);
  return code == MOECLIP_OK && mc_stop_signal() ? stopped(err) : code;
}

/* What is missing of a row. Row 0 of a learner that knows tasks is a new learner's. */
static moeclip_code fill_row(session *s, int row, bool *changed, moeclip_error *err) {
  moeclip_learner *fresh = NULL;
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < s->n_domains; i++) {
    if (mc_results_known(&s->results, row, s->domains[i].name)) continue;
    *changed = true;
    if (row == 0 && moeclip_learner_tasks(s->learner) > 0 && !fresh) {
      moeclip_learner_options o;
      moeclip_learner_options_defaults(&o);
      o.n_experts = o.top_k;
      o.bottleneck = 1;
      code = moeclip_learner_create(s->model, &o, &fresh, err);
    }
    if (code == MOECLIP_OK) code = evaluate_cell(s, fresh ? fresh : s->learner, &s->domains[i], row, err);
  }
  moeclip_learner_destroy(fresh);
  return code;
}

/* Zero-shot and what the learner knows now; written also when the evaluation was stopped in between. */
static moeclip_code measure(session *s, bool print, moeclip_error *err) {
  moeclip_error second;
  bool changed = false;
  int n = moeclip_learner_tasks(s->learner);
  if (!s->o->measure) return MOECLIP_OK;
  moeclip_code code = fill_row(s, 0, &changed, err);
  if (code == MOECLIP_OK && n > 0) code = fill_row(s, n, &changed, err);
  mc_progress_end(&s->progress);
  if (code != MOECLIP_OK) {
    mc_results_write(&s->results, &second);
    return code;
  }
  MC_TRY(mc_results_write(&s->results, err));
  if ((changed || print) && !s->o->json) {
    MC_TRY(mc_results_print(&s->results, stdout, err));
    putchar('\n');
    fflush(stdout);
  }
  return MOECLIP_OK;
}

/* --- learning ----------------------------------------------------------------------------------------------------- */

/* True when the checkpoint is of a task that the state holds: the run was killed after saving, before removing it. */
static bool checkpoint_is_stale(const session *s) {
  moeclip_tensors *t;
  bool stale = false;
  if (!exists(s->checkpoint) || moeclip_tensors_open(s->checkpoint, &t, NULL) != MOECLIP_OK) return false;
  const char *text = moeclip_tensors_metadata(t, "moeclip.state");
  json_t *state = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
  json_t *tasks = json_object_get(state, "tasks");
  size_t n = json_array_size(tasks);
  if (n > 0 && n <= (size_t)moeclip_learner_tasks(s->learner)) {
    moeclip_task_info info;
    const char *name = json_string_value(json_object_get(json_array_get(tasks, n - 1), "name"));
    stale = name && moeclip_learner_task(s->learner, (int)n - 1, &info, NULL) == MOECLIP_OK &&
            strcmp(info.name, name) == 0;
  }
  json_decref(state);
  moeclip_tensors_destroy(t);
  return stale;
}

static moeclip_code learn_reference(session *s, moeclip_error *err) {
  if (!s->o->reference || moeclip_learner_has_reference(s->learner)) return MOECLIP_OK;
  if (moeclip_learner_tasks(s->learner) > 0) {
    return mc_fail(
        err, MOECLIP_ERROR_ARGUMENT,
        "--reference: %s holds tasks already and no reference set, which must come first; leave the option out, "
        "or start another state",
        s->o->files.state);
  }
  moeclip_dataset *dataset;
  mc_data_choice choice;
  mc_data_choice_defaults(&choice);
  MC_TRY(mc_dataset_open_named(s->o->reference, &choice, &dataset, err));
  moeclip_task_options o = s->o->task;
  moeclip_learn_report report;
  o.selector_iterations = s->o->reference_iterations;
  moeclip_code code = moeclip_learner_learn_reference(s->learner, dataset, &o, &s->callbacks, &report, err);
  moeclip_dataset_destroy(dataset);
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK) code = moeclip_learner_save(s->learner, s->o->files.state, err);
  return code;
}

static void print_report(const session *s, const domain *d, const moeclip_learn_report *r) {
  if (s->o->json) return;
  printf("%s: %lld steps%s, %lld pictures, %lld numbers trained, loss %.4f, %.1f s", d->name, (long long)r->iterations,
         r->resumed ? " (resumed)" : "", (long long)r->images, (long long)r->trainable, r->final_loss, r->seconds);
  if (r->selector_seconds > 0) printf(" and %.1f s for the selector", r->selector_seconds);
  if (r->seconds > 0) printf(", waited %.0f %% for pictures", 100 * r->waited_seconds / r->seconds);
  if (!isnan(r->threshold)) printf(", threshold %.5g", r->threshold);
  if (r->broken > 0) printf(", %lld pictures left out", (long long)r->broken);
  printf("\n");
  fflush(stdout);
}

static json_t *report_json(const moeclip_learn_report *r) {
  return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b}", "task", r->task, "iterations",
                   (json_int_t)r->iterations, "images", (json_int_t)r->images, "broken", (json_int_t)r->broken,
                   "trainable", (json_int_t)r->trainable, "final_loss", mc_json_real(r->final_loss), "seconds",
                   mc_json_real(r->seconds), "waited_seconds", mc_json_real(r->waited_seconds), "selector_seconds",
                   mc_json_real(r->selector_seconds), "threshold", mc_json_real(r->threshold), "resumed", r->resumed);
}

/* Saved first, then the checkpoint goes: whatever happens in between, nothing is lost. */
static moeclip_code keep_task(session *s, const domain *d, const moeclip_learn_report *report, moeclip_error *err) {
  char *checksum = NULL;
  MC_TRY(moeclip_learner_save(s->learner, s->o->files.state, err));
  if (unlink(s->checkpoint) != 0 && errno != ENOENT) {
    mc_warn("%s: cannot remove: %s", s->checkpoint, strerror(errno));
  }
  print_report(s, d, report);
  if (!s->o->measure) return MOECLIP_OK;
  MC_TRY(state_checksum(s->o->files.state, &checksum, err));
  moeclip_code code = mc_results_put_learned(&s->results, d->name, report_json(report), err);
  if (code == MOECLIP_OK) {
    code = mc_results_add_row(&s->results, moeclip_learner_tasks(s->learner), d->name, checksum, err);
  }
  free(checksum);
  return code;
}

static moeclip_code learn_domain(session *s, const domain *d, moeclip_error *err) {
  moeclip_task_options o = s->o->task;
  moeclip_learn_report report;
  o.learning_rate = d->rate;
  o.shots_augment_once = s->o->shots > 0;
  o.templates = d->prompts.n ? d->prompts.items : NULL;
  o.n_templates = d->prompts.n;
  o.checkpoint = s->checkpoint;
  moeclip_code code = moeclip_learner_learn(s->learner, d->dataset, &o, &s->callbacks, &report, err);
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK) code = keep_task(s, d, &report, err);
  if (code == MOECLIP_OK && mc_stop_signal()) return stopped(err);
  return code == MOECLIP_OK ? measure(s, true, err) : code;
}

/* Found out now rather than after an hour of training. */
static moeclip_code check_writable(const char *path, moeclip_error *err) {
  mc_writer *w;
  MC_TRY(mc_writer_open(path, &w, err));
  mc_writer_abort(w);
  return MOECLIP_OK;
}

static moeclip_code learn_all(session *s, moeclip_error *err) {
  MC_TRY(check_writable(s->o->files.state, err));
  MC_TRY(open_learner(s, err));
  MC_TRY(open_domains(s, err));
  if (s->o->measure) MC_TRY(open_results(s, err));
  if (checkpoint_is_stale(s)) unlink(s->checkpoint);
  MC_TRY(measure(s, false, err));
  MC_TRY(learn_reference(s, err));
  int n_known = 0;
  for (size_t i = 0; i < s->n_tasks; i++) {
    const domain *d = &s->domains[i];
    if (task_of(s->learner, d->name) >= 0) {
      n_known++;
      if (!s->o->quiet) mc_warn("%s is known already", d->name);
      continue;
    }
    if (mc_stop_signal()) return stopped(err);
    MC_TRY(learn_domain(s, d, err));
  }
  /* Nothing was new: show what there is. */
  return (size_t)n_known == s->n_tasks ? measure(s, true, err) : MOECLIP_OK;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static int finish(session *s, moeclip_code code, const moeclip_error *err) {
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK && s->o->json && s->o->measure) {
    return mc_json_print(json_incref(s->results.root), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  }
  if (code == MOECLIP_OK) return MC_EXIT_OK;
  if (code != MOECLIP_ERROR_CANCELLED || !mc_stop_signal()) return mc_report(err);
  if (exists(s->checkpoint)) {
    mc_warn("%s; %s keeps the unfinished task: give the same command again to go on", err->message, s->checkpoint);
  } else {
    mc_warn("%s; give the same command again to go on", err->message);
  }
  return 128 + mc_stop_signal();
}

int mc_learn_run(const mc_args *args) {
  const mc_learn_options *o = args->options;
  session s = {.args = args, .o = o, .n_tasks = args->n_positional};
  moeclip_error err = {0};
  int exit_code = check_usage(&s);
  if (exit_code == MC_EXIT_OK) {
    mc_catch_signals();
    s.callbacks = mc_progress_begin(&s.progress, o->quiet);
    s.checkpoint = mc_format("%s.part", o->files.state);
    s.folder = o->results ? mc_strdup(o->results) : mc_with_ending(o->files.state, ".results");
    moeclip_code code = s.checkpoint && s.folder ? learn_all(&s, &err) : mc_fail_memory(&err, 256, "file names");
    exit_code = s.checkpoint ? finish(&s, code, &err) : mc_report(&err);
  }
  mc_results_clear(&s.results);
  for (size_t i = 0; i < s.n_domains; i++) {
    moeclip_dataset_destroy(s.domains[i].dataset);
    mc_prompts_clear(&s.domains[i].prompts);
  }
  moeclip_learner_destroy(s.learner);
  moeclip_model_destroy(s.model);
  free(s.domains);
  free(s.rates);
  free(s.checkpoint);
  free(s.folder);
  return exit_code;
}
