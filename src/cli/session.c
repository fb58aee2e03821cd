/* A session: domain after domain, saved, evaluated, and gone on with where it was left. */
#include "cli/session.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/provenance.h"
#include "report/evaluate.h"

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static moeclip_code open_learner(mc_session *s, moeclip_error *err) {
  const mc_model_choice *files = &s->o->files;
  bool there = false;
  moeclip_code code = mc_file_exists(files->state, &there, err);
  there = mc_writer_says(there);
  MC_TRY(code);
  if (there) {
    MC_TRY(mc_open_learner(files, &s->model, &s->learner, err));
    code = mc_learn_check_state(s->args, s->learner, err);
    return code == MOECLIP_OK ? code : mc_fail_prefix(err, files->state);
  }
  MC_TRY(mc_open_model(files, &s->model, err));
  moeclip_learner_options learner = s->o->learner;
  learner.alexnet = files->alexnet;
  MC_TRY(moeclip_learner_create(s->model, &learner, &s->learner, err));
  if (s->o->method_chosen && !s->o->quiet && mc_is_writer()) {
    mc_warn("%s: a new state, by the method %s (--method chooses another)", files->state, moeclip_mode_name(learner.mode));
  }
  return MOECLIP_OK;
}

static moeclip_code open_domain(mc_session *s, size_t i, moeclip_error *err) {
  mc_domain *d = &s->domains[i];
  d->learned = i < s->n_tasks;
  MC_TRY(s->open_domain(s, i, d, err));
  d->name = moeclip_dataset_name(d->dataset);
  for (size_t k = 0; k < i; k++) {
    if (strcmp(s->domains[k].name, d->name) != 0) continue;
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "two data sets are named %s; give one another name: NAME=%s", d->name,
                   moeclip_dataset_path(d->dataset));
  }
  return MOECLIP_OK;
}

/* The classes of all domains, each with its own prompts. */
static moeclip_code unite(mc_session *s, moeclip_error *err) {
  s->groups = calloc(s->n_domains + 1, sizeof *s->groups);
  if (!s->groups) return mc_fail_memory(err, s->n_domains * sizeof *s->groups, "labels");
  for (size_t i = 0; i < s->n_domains; i++) {
    const mc_domain *d = &s->domains[i];
    size_t n = moeclip_dataset_classes(d->dataset);
    const char **labels = mc_alloc(n, sizeof *labels);
    s->groups[i] = (moeclip_label_group){labels, n, d->n_templates ? d->templates : NULL, d->n_templates};
    if (!labels) return mc_fail_memory(err, n * sizeof *labels, "labels");
    for (size_t c = 0; c < n; c++) labels[c] = moeclip_dataset_class_name(d->dataset, c);
  }
  return MOECLIP_OK;
}

static moeclip_code open_domains(mc_session *s, moeclip_error *err) {
  s->domains = calloc(s->n_domains, sizeof *s->domains);
  if (!s->domains) return mc_fail_memory(err, s->n_domains * sizeof *s->domains, "data sets");
  s->sets = mc_alloc(s->n_tasks, sizeof *s->sets);
  if (!s->sets) return mc_fail_memory(err, s->n_tasks * sizeof *s->sets, "data sets");
  for (size_t i = 0; i < s->n_domains; i++) {
    MC_TRY(open_domain(s, i, err));
    if (i < s->n_tasks) s->sets[i] = s->domains[i].dataset;
  }
  return s->across ? unite(s, err) : MOECLIP_OK;
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

static json_t *describe_run(const mc_session *s) {
  json_t *run = mc_describe_run(s->model, s->learner);
  if (s->describe) mc_json_set(&run, "settings", json_incref(s->describe));
  return run;
}

static json_t *describe_training(const mc_session *s, const mc_domain *d) {
  const moeclip_task_options *o = &s->o->task;
  return json_pack("{s:I, s:i, s:f, s:f, s:f, s:I, s:f, s:f, s:b, s:I, s:f, s:o}", "iterations",
                   (json_int_t)o->iterations, "batch", o->batch, "learning_rate", d->rate, "weight_decay",
                   o->weight_decay, "smoothing", o->label_smoothing, "warmup", (json_int_t)o->warmup, "dropout",
                   o->dropout, "balance", o->balance, "shots", s->o->shots > 0, "selector_iterations",
                   (json_int_t)o->selector_iterations, "selector_learning_rate", o->selector_learning_rate, "threshold",
                   mc_json_real(o->threshold));
}

static json_t *describe_column(const mc_session *s, const mc_domain *d, json_t *task) {
  json_t *column = mc_describe_column(d->dataset, d->templates, d->n_templates, task);
  if (column && d->learned) mc_json_set(&column, "training", describe_training(s, d));
  return column;
}

static json_t *describe_columns(const mc_session *s) {
  json_t *columns = json_array();
  int next = moeclip_learner_tasks(s->learner);
  for (size_t i = 0; i < s->n_domains; i++) {
    const mc_domain *d = &s->domains[i];
    int task = task_of(s->learner, d->name);
    if (task < 0 && d->learned) task = next++;
    mc_json_append(&columns, describe_column(s, d, task < 0 ? json_null() : json_integer(task)));
  }
  return columns;
}

static moeclip_code open_results(mc_session *s, moeclip_error *err) {
  int n = moeclip_learner_tasks(s->learner);
  const char **tasks = mc_alloc((size_t)n + 1, sizeof *tasks);
  char *checksum = NULL;
  moeclip_task_info info;
  moeclip_code code = tasks ? MOECLIP_OK : mc_fail_memory(err, (size_t)n * sizeof *tasks, "names");
  for (int t = 0; code == MOECLIP_OK && t < n; t++) {
    code = moeclip_learner_task(s->learner, t, &info, err);
    tasks[t] = info.name;
  }
  if (code == MOECLIP_OK) code = mc_state_file_checksum(s->o->files.state, &checksum, err);
  if (code == MOECLIP_OK) {
    code = mc_results_open(s->folder, describe_run(s), describe_columns(s), tasks, n, n > 0 ? checksum : NULL,
                           &s->results, err);
  }
  free(checksum);
  free(tasks);
  return code;
}

/* What this run was given. The state is no input here: a run that goes on finds its own, and each row names the one that it
 * was measured with. */
static moeclip_code keep_provenance(mc_session *s, moeclip_error *err) {
  const mc_model_choice files = {.model = s->o->files.model, .alexnet = s->o->files.alexnet};
  if (!mc_is_writer()) return MOECLIP_OK;
  json_t *p = mc_provenance(s->args);
  moeclip_code code = p ? mc_provenance_model(p, &files, err) : mc_fail_memory(err, 4096, "what made a result");
  for (size_t i = 0; code == MOECLIP_OK && i < s->n_domains; i++) {
    code = mc_provenance_dataset(p, s->domains[i].dataset, err);
  }
  if (code == MOECLIP_OK && s->open_reference) {
    s->reference_opened = s->open_reference(s, &s->reference, NULL) == MOECLIP_OK; /* if needed, tried again and reported */
    if (s->reference) code = mc_provenance_dataset(p, s->reference, err);
  }
  if (code == MOECLIP_OK) return mc_provenance_keep(s->results.root, p, err);
  json_decref(p);
  return code;
}

/* --- evaluating --------------------------------------------------------------------------------------------------- */

static moeclip_code stopped(moeclip_error *err) { return mc_agree(mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped"), err); }

static moeclip_code evaluate_cell(mc_session *s, moeclip_learner *learner, const mc_domain *d, int row,
                                  moeclip_error *err) {
  moeclip_evaluate_options o = s->o->evaluate;
  moeclip_evaluation e = {0};
  o.templates = d->n_templates ? d->templates : NULL;
  o.n_templates = d->n_templates;
  o.loader_threads = s->o->task.loader_threads;
  o.among = s->groups;
  o.n_among = s->groups ? s->n_domains : 0;
  MC_TRY(moeclip_learner_evaluate(learner, d->dataset, &o, &s->callbacks, &e, err));
  moeclip_code code =
      mc_results_put(&s->results, row, d->name, mc_evaluation_json(&e, learner, d->dataset, false), err);
  moeclip_evaluation_clear(&e);
  return code == MOECLIP_OK && mc_stop_signal_of_any() ? stopped(err) : code;
}

/* What is missing of a row. Row 0 of a learner that knows tasks is a new learner's. */
static moeclip_code fill_row(mc_session *s, int row, bool *changed, moeclip_error *err) {
  moeclip_learner *fresh = NULL;
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < s->n_domains; i++) {
    if (mc_writer_says(mc_results_known(&s->results, row, s->domains[i].name))) continue;
    *changed = true;
    if (row == 0 && moeclip_learner_tasks(s->learner) > 0 && !fresh) {
      code = mc_untouched_learner(s->model, &fresh, err);
    }
    if (code == MOECLIP_OK) code = evaluate_cell(s, fresh ? fresh : s->learner, &s->domains[i], row, err);
  }
  moeclip_learner_destroy(fresh);
  return code;
}

/* Zero-shot and what the learner knows now; written also when the evaluation was stopped in between. */
static moeclip_code measure(mc_session *s, bool print, moeclip_error *err) {
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
static bool checkpoint_is_stale(const mc_session *s) {
  moeclip_tensors *t;
  bool stale = false;
  if (!exists(s->checkpoint) || moeclip_tensors_open(s->checkpoint, &t, NULL) != MOECLIP_OK) return false;
  const char *text = moeclip_tensors_metadata(t, "moeclip.state");
  json_error_t unused;
  bool no_memory;
  json_t *state = text ? mc_json_read(text, strlen(text), JSON_REJECT_DUPLICATES, &unused, &no_memory) : NULL;
  json_t *tasks = json_object_get(state, "tasks");
  size_t n = json_array_size(tasks);
  if (n > 0 && n <= (size_t)moeclip_learner_tasks(s->learner)) {
    moeclip_task_info info;
    const char *name = json_string_value(json_object_get(json_array_get(tasks, n - 1), "name"));
    stale =
        name && moeclip_learner_task(s->learner, (int)n - 1, &info, NULL) == MOECLIP_OK && strcmp(info.name, name) == 0;
  }
  json_decref(state);
  moeclip_tensors_destroy(t);
  return stale;
}

static moeclip_code learn_reference(mc_session *s, moeclip_error *err) {
  moeclip_dataset *dataset = NULL;
  if (!s->open_reference || moeclip_learner_has_reference(s->learner)) return MOECLIP_OK;
  if (s->reference_opened) {
    dataset = s->reference;
    s->reference = NULL;
  } else {
    MC_TRY(s->open_reference(s, &dataset, err));
  }
  if (!dataset) return MOECLIP_OK;
  if (moeclip_learner_tasks(s->learner) > 0) {
    moeclip_dataset_destroy(dataset);
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "--reference: %s holds tasks already and no reference set, which must come first; do without it, "
                   "or start another state",
                   s->o->files.state);
  }
  moeclip_task_options o = s->o->task;
  moeclip_learn_report report;
  o.selector_iterations = s->o->reference_iterations;
  mc_prompts prompts = {0};
  moeclip_code code = mc_prompts_collect(&s->o->templates, &s->o->template_files, moeclip_dataset_name(dataset), &prompts, err);
  o.templates = prompts.n ? prompts.items : NULL;
  o.n_templates = prompts.n;
  if (code == MOECLIP_OK) code = moeclip_learner_learn_reference(s->learner, dataset, &o, &s->callbacks, &report, err);
  mc_prompts_clear(&prompts);
  moeclip_dataset_destroy(dataset);
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK) code = moeclip_learner_save(s->learner, s->o->files.state, err);
  return code;
}

static void print_report(const mc_session *s, const mc_domain *d, const moeclip_learn_report *r) {
  if (s->o->json) return;
  printf("%s: %lld steps%s, %lld pictures, %lld numbers trained", d->name, (long long)r->iterations,
         r->resumed ? " (resumed)" : "", (long long)r->images, (long long)r->trainable);
  if (!isnan(r->final_loss)) printf(", loss %.4f", r->final_loss);
  printf(", %.1f s", r->seconds);
  if (r->selector_seconds > 0) printf(" and %.1f s for the selector", r->selector_seconds);
  if (r->seconds > 0) printf(", waited %.0f %% for pictures", 100 * r->waited_seconds / r->seconds);
  if (!isnan(r->threshold)) printf(", threshold %.5g", r->threshold);
  const moeclip_task_parameters *p = &r->parameters;
  int64_t numbers = p->experts + p->router + p->selector;
  printf(", %d new experts a block, %lld numbers more", p->n_experts, (long long)numbers);
  if (r->broken > 0) printf(", %lld pictures left out", (long long)r->broken);
  printf("\n");
  fflush(stdout);
}

/* What the learning of a task took, into the results. */
static moeclip_code tell_learned(mc_session *s, const mc_domain *d, const moeclip_learn_report *report, moeclip_error *err) {
  json_t *learned = mc_report_json(s->learner, report);
  if (learned) mc_json_set(&learned, "precision", json_string(mc_precision_name(s->model)));
  if (learned && mc_ranks()) {
    mc_json_set(&learned, "exchange",
                        json_pack("{s:i, s:i, s:f, s:I, s:i}", "ranks", moeclip_comm_size(mc_ranks()), "threads",
                                  moeclip_comm_threads(mc_ranks()), "seconds", report->exchange_seconds, "bytes",
                                  (json_int_t)report->exchange_bytes, "messages", report->exchange_parts));
  }
  MC_TRY(mc_results_put_learned(&s->results, d->name, learned, err));
  return mc_results_write(&s->results, err);
}

/* What only this run knows of the task is written first: once the state is saved, nobody learns the task again. Then the state, and then
 * the checkpoint goes: whatever happens in between, nothing is lost. */
static moeclip_code keep_task(mc_session *s, const mc_domain *d, const moeclip_learn_report *report,
                              moeclip_error *err) {
  char *checksum = NULL;
  if (s->o->measure) MC_TRY(tell_learned(s, d, report, err));
  MC_TRY(moeclip_learner_save(s->learner, s->o->files.state, err));
  if (mc_is_writer() && unlink(s->checkpoint) != 0 && errno != ENOENT) {
    mc_warn("%s: cannot remove: %s", s->checkpoint, strerror(errno));
  }
  print_report(s, d, report);
  if (!s->o->measure) return MOECLIP_OK;
  MC_TRY(mc_state_file_checksum(s->o->files.state, &checksum, err));
  moeclip_code code = mc_results_add_row(&s->results, moeclip_learner_tasks(s->learner), d->name, checksum, err);
  free(checksum);
  return code;
}

/* A split by chance can leave a small class without training pictures. */
static moeclip_code say_untrained(const moeclip_dataset *d, moeclip_error *err) {
  size_t n = moeclip_dataset_classes(d), n_without = 0, first = 0;
  if (!mc_is_writer() || n == 0) return MOECLIP_OK;
  bool *has = calloc(n, sizeof *has);
  if (!has) return mc_fail_memory(err, n, "classes");
  for (size_t i = 0; i < moeclip_dataset_count(d, MOECLIP_TRAIN); i++) has[moeclip_dataset_label(d, MOECLIP_TRAIN, i)] = true;
  for (size_t c = n; c-- > 0;) {
    if (has[c]) continue;
    n_without++;
    first = c;
  }
  free(has);
  if (n_without == 0 || n_without == n) return MOECLIP_OK; /* all: refused by the learner */
  mc_warn("%s: %zu of %zu classes %s no training pictures, such as %s: more pictures, or train/ and test/ of your own, give it some",
          moeclip_dataset_path(d), n_without, n, n_without == 1 ? "has" : "have", moeclip_dataset_class_name(d, first));
  return MOECLIP_OK;
}

static moeclip_code learn_domain(mc_session *s, const mc_domain *d, moeclip_error *err) {
  moeclip_task_options o = s->o->task;
  moeclip_learn_report report;
  o.learning_rate = d->rate;
  o.shots_augment_once = s->o->shots > 0;
  o.templates = d->n_templates ? d->templates : NULL;
  o.n_templates = d->n_templates;
  o.checkpoint = s->checkpoint;
  o.earlier = s->sets;
  o.n_earlier = s->n_tasks;
  MC_TRY(mc_agree(say_untrained(d->dataset, err), err));
  moeclip_code code = moeclip_learner_learn(s->learner, d->dataset, &o, &s->callbacks, &report, err);
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK) code = keep_task(s, d, &report, err);
  if (code == MOECLIP_OK && mc_stop_signal_of_any()) return stopped(err);
  return code == MOECLIP_OK ? measure(s, true, err) : code;
}

/* Found out now rather than after an hour of training. */
static moeclip_code check_writable(const char *path, moeclip_error *err) {
  mc_writer *w;
  if (!mc_is_writer()) return MOECLIP_OK;
  MC_TRY(mc_writer_open(path, &w, err));
  mc_writer_abort(w);
  return MOECLIP_OK;
}

static moeclip_code learn_all(mc_session *s, moeclip_error *err) {
  MC_TRY(mc_agree(check_writable(s->o->files.state, err), err));
  MC_TRY(mc_agree(open_learner(s, err), err));
  MC_TRY(mc_agree(open_domains(s, err), err));
  if (s->o->measure) {
    MC_TRY(mc_agree(open_results(s, err), err));
    MC_TRY(mc_agree(keep_provenance(s, err), err));
  }
  if (mc_is_writer() && checkpoint_is_stale(s)) unlink(s->checkpoint);
  MC_TRY(measure(s, false, err));
  MC_TRY(learn_reference(s, err));
  int n_known = 0;
  for (size_t i = 0; i < s->n_tasks; i++) {
    const mc_domain *d = &s->domains[i];
    if (task_of(s->learner, d->name) >= 0) {
      n_known++;
      if (!s->o->quiet) mc_warn("%s is known already", d->name);
      continue;
    }
    if (mc_stop_signal_of_any()) return stopped(err);
    MC_TRY(learn_domain(s, d, err));
  }
  /* Nothing was new: show what there is. */
  return (size_t)n_known == s->n_tasks ? measure(s, true, err) : MOECLIP_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int finish(mc_session *s, moeclip_code code, const moeclip_error *err) {
  mc_progress_end(&s->progress);
  if (code == MOECLIP_OK && s->o->json && s->o->measure) {
    return mc_json_print(json_incref(s->results.root), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  }
  if (code == MOECLIP_OK) return MC_EXIT_OK;
  if (code != MOECLIP_ERROR_CANCELLED || !mc_stop_signal_of_any()) return mc_report(err);
  if (exists(s->checkpoint)) {
    mc_warn("%s; %s keeps the unfinished task: give the same command again to go on", err->message, s->checkpoint);
  } else {
    mc_warn("%s; give the same command again to go on", err->message);
  }
  return 128 + mc_stop_signal();
}

int mc_session_run(mc_session *s) {
  moeclip_error err = {0};
  int exit_code = mc_ranks_begin(s->o->quiet);
  if (exit_code != MC_EXIT_OK) return exit_code;
  mc_catch_signals();
  s->callbacks = mc_progress_begin(&s->progress, s->o->quiet);
  s->checkpoint = mc_format("%s.part", s->o->files.state);
  s->folder = s->o->results ? mc_strdup(s->o->results) : mc_with_ending(s->o->files.state, ".results");
  moeclip_code code = s->checkpoint && s->folder ? learn_all(s, &err) : mc_fail_memory(&err, 256, "file names");
  return s->checkpoint ? finish(s, code, &err) : mc_report(&err);
}

void mc_session_clear(mc_session *s) {
  for (size_t i = 0; s->groups && i < s->n_domains; i++) free((void *)(uintptr_t)s->groups[i].labels);
  free(s->groups);
  mc_results_clear(&s->results);
  for (size_t i = 0; s->domains && i < s->n_domains; i++) {
    moeclip_dataset_destroy(s->domains[i].dataset);
    mc_prompts_clear(&s->domains[i].prompts);
  }
  json_decref(s->describe);
  moeclip_dataset_destroy(s->reference);
  moeclip_learner_destroy(s->learner);
  moeclip_model_destroy(s->model);
  free(s->domains);
  free((void *)(uintptr_t)s->sets);
  free(s->checkpoint);
  free(s->folder);
}
