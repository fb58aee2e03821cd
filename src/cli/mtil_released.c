/* The matrix of released checkpoints: X.pth and X_autochooser.pth of every data set X are the state after it was
 * learned. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/mtil.h"
#include "cli/provenance.h"
#include "moeclip/benchmark_data.h"
#include "moeclip/published.h"
#include "report/evaluate.h"

typedef struct releasing {
  const mc_args *args;
  const mc_mtil_plan *plan;
  mc_progress *progress;
  const moeclip_callbacks *callbacks;
  mc_results *results;
  moeclip_model *model;
  mc_domain domains[MC_MTIL_MOST_SETS];             /* [n_sets] */
  moeclip_benchmark_texts texts[MC_MTIL_MOST_SETS]; /* [n_all] */
  const char **classes[MC_MTIL_MOST_SETS];          /* [n_all]: of the data set where it is open */
  moeclip_published_task tasks[MC_MTIL_MOST_SETS];  /* [n_all] */
  size_t place[MC_MTIL_MOST_SETS];                  /* [n_sets] of `all` */
} releasing;

/* Names of the tasks in the files: evaluation takes classes and prompts from the data sets, so for a set that is left
 * out it is enough that there are some. */
static moeclip_code describe_task(releasing *r, size_t k, const moeclip_dataset *d, moeclip_error *err) {
  static const char *const unknown[1] = {"unknown"};
  moeclip_published_task *t = &r->tasks[k];
  MC_TRY(moeclip_benchmark_texts_load(r->plan->all[k].name, &r->texts[k], err));
  *t = (moeclip_published_task){.name = r->plan->all[k].name,
                                .classes = r->texts[k].classes,
                                .n_classes = r->texts[k].n_classes,
                                .templates = r->texts[k].templates,
                                .n_templates = r->texts[k].n_templates};
  if (d) {
    t->n_classes = moeclip_dataset_classes(d);
    r->classes[k] = mc_alloc(t->n_classes, sizeof *r->classes[k]);
    if (!r->classes[k]) return mc_fail_memory(err, t->n_classes * sizeof *r->classes[k], "class names");
    for (size_t c = 0; c < t->n_classes; c++) r->classes[k][c] = moeclip_dataset_class_name(d, c);
    t->classes = r->classes[k];
  }
  if (t->n_classes > 0) return MOECLIP_OK;
  t->classes = unknown;
  t->n_classes = 1;
  return MOECLIP_OK;
}

static moeclip_code open_all(releasing *r, moeclip_error *err) {
  const mc_mtil_plan *plan = r->plan;
  for (size_t i = 0; i < plan->n_sets; i++) {
    MC_TRY(mc_mtil_open_set(plan, i, plan->o.learn.learner.seed, &r->domains[i], err));
    r->domains[i].name = moeclip_dataset_name(r->domains[i].dataset);
  }
  for (size_t k = 0; k < plan->n_all; k++) {
    const moeclip_dataset *d = NULL;
    for (size_t i = 0; i < plan->n_sets; i++) {
      if (strcmp(plan->sets[i].name, plan->all[k].name) != 0) continue;
      d = r->domains[i].dataset;
      r->place[i] = k;
    }
    MC_TRY(describe_task(r, k, d, err));
  }
  return mc_open_model(&plan->o.learn.files, &r->model, err);
}

static moeclip_code open_results(releasing *r, moeclip_error *err) {
  const mc_mtil_plan *plan = r->plan;
  const char *names[MC_MTIL_MOST_SETS];
  json_t *columns = json_array();
  for (size_t i = 0; i < plan->n_sets; i++) {
    const moeclip_dataset *d = r->domains[i].dataset;
    names[i] = plan->sets[i].name;
    mc_json_append(&columns, json_pack("{s:s, s:i, s:s, s:{s:I, s:I}}", "name", names[i], "task", (int)i, "path",
                                             moeclip_dataset_path(d), "same", "test_pictures",
                                             (json_int_t)moeclip_dataset_count(d, MOECLIP_TEST), "classes",
                                             (json_int_t)moeclip_dataset_classes(d)));
  }
  json_t *run = json_pack("{s:s, s:s, s:s, s:b, s:o}", "backbone", moeclip_model_fingerprint(r->model), "mode", "moe",
                          "checkpoints", plan->o.checkpoints, "batch_routing",
                          plan->o.learn.evaluate.selection == MOECLIP_SELECT_PER_BATCH, "threshold",
                          mc_json_real(plan->o.learn.task.threshold));
  return mc_results_open(plan->o.out, run, columns, names, (int)plan->n_sets, "released", r->results, err);
}

/* The model, the checkpoints that are read, and the sets. */
static moeclip_code describe(const releasing *r, json_t *p, moeclip_error *err) {
  const mc_mtil_options *o = &r->plan->o;
  MC_TRY(mc_provenance_file(p, "model", o->learn.files.model, err));
  MC_TRY(mc_provenance_file(p, "alexnet", o->learn.files.alexnet, err));
  for (size_t i = 0; i < r->plan->n_sets; i++) {
    static const char *const endings[] = {".pth", "_autochooser.pth"};
    for (int e = 0; e < 2; e++) {
      char *name = mc_format("%s%s", r->plan->all[r->place[i]].name, endings[e]), *path = NULL;
      if (name) path = mc_format("%s/%s", o->checkpoints, name);
      moeclip_code code = path ? mc_provenance_file(p, name, path, err) : mc_fail_memory(err, 256, "a file name");
      free(name);
      free(path);
      MC_TRY(code);
    }
    MC_TRY(mc_provenance_dataset(p, r->domains[i].dataset, err));
  }
  return MOECLIP_OK;
}

static moeclip_code keep_provenance(const releasing *r, moeclip_error *err) {
  if (!mc_is_writer()) return MOECLIP_OK;
  json_t *p = mc_provenance(r->args);
  moeclip_code code = describe(r, p, err);
  if (code == MOECLIP_OK) return mc_provenance_keep(r->results->root, p, err);
  json_decref(p);
  return code;
}

/* What the files say is known after `all[k]`. */
static moeclip_code load_row(const releasing *r, size_t k, moeclip_learner **out, moeclip_error *err) {
  const mc_mtil_options *o = &r->plan->o;
  moeclip_published_options options;
  moeclip_published_options_defaults(&options);
  char *adapters = mc_format("%s/%s.pth", o->checkpoints, r->plan->all[k].name);
  char *chooser = mc_format("%s/%s_autochooser.pth", o->checkpoints, r->plan->all[k].name);
  options.autochooser = chooser;
  options.alexnet = o->learn.files.alexnet;
  options.tasks = r->tasks;
  options.n_tasks = k + 1;
  if (!isnan(o->learn.task.threshold)) options.threshold = o->learn.task.threshold;
  moeclip_code code = adapters && chooser ? moeclip_learner_from_published(r->model, adapters, &options, out, err)
                                          : mc_fail_memory(err, 256, "a file name");
  free(adapters);
  free(chooser);
  return code;
}

static moeclip_code fill_row(releasing *r, int row, moeclip_learner *learner, moeclip_error *err) {
  for (size_t i = 0; i < r->plan->n_sets; i++) {
    const mc_domain *d = &r->domains[i];
    if (mc_writer_says(mc_results_known(r->results, row, d->name))) continue;
    moeclip_evaluate_options o = r->plan->o.learn.evaluate;
    moeclip_evaluation e = {0};
    o.templates = d->templates;
    o.n_templates = d->n_templates;
    o.loader_threads = r->plan->o.learn.task.loader_threads;
    MC_TRY(moeclip_learner_evaluate(learner, d->dataset, &o, r->callbacks, &e, err));
    moeclip_code code =
        mc_results_put(r->results, row, d->name, mc_evaluation_json(&e, learner, d->dataset, false), err);
    moeclip_evaluation_clear(&e);
    MC_TRY(code);
    if (mc_stop_signal_of_any()) return mc_agree(mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped"), err);
  }
  return MOECLIP_OK;
}

static bool row_is_known(const releasing *r, int row) {
  for (size_t i = 0; i < r->plan->n_sets; i++) {
    if (!mc_writer_says(mc_results_known(r->results, row, r->domains[i].name))) return false;
  }
  return true;
}

/* Row 0: the untouched CLIP. */
static moeclip_code learner_of_row(const releasing *r, int row, moeclip_learner **out, moeclip_error *err) {
  return row > 0 ? load_row(r, r->place[row - 1], out, err) : mc_untouched_learner(r->model, out, err);
}

static moeclip_code run(releasing *r, moeclip_error *err) {
  MC_TRY(mc_agree(open_all(r, err), err));
  MC_TRY(mc_agree(open_results(r, err), err));
  MC_TRY(mc_agree(keep_provenance(r, err), err));
  for (int row = 0; row <= (int)r->plan->n_sets; row++) {
    moeclip_learner *learner = NULL;
    moeclip_error second;
    if (row_is_known(r, row)) continue;
    moeclip_code code = mc_agree(learner_of_row(r, row, &learner, err), err);
    if (code == MOECLIP_OK) code = fill_row(r, row, learner, err);
    moeclip_learner_destroy(learner);
    mc_progress_end(r->progress);
    moeclip_code written = mc_results_write(r->results, code == MOECLIP_OK ? err : &second);
    MC_TRY(code == MOECLIP_OK ? written : code);
  }
  return r->plan->o.learn.json ? MOECLIP_OK : mc_results_print(r->results, stdout, err);
}

moeclip_code mc_mtil_evaluate_released(const mc_args *args, const mc_mtil_plan *plan, mc_progress *progress,
                                       const moeclip_callbacks *callbacks, mc_results *results, moeclip_error *err) {
  releasing *r = calloc(1, sizeof *r);
  if (!r) return mc_fail_memory(err, sizeof *r, "an evaluation");
  *r = (releasing){.args = args, .plan = plan, .progress = progress, .callbacks = callbacks, .results = results};
  moeclip_code code = run(r, err);
  for (size_t i = 0; i < MC_MTIL_MOST_SETS; i++) {
    moeclip_dataset_destroy(r->domains[i].dataset);
    mc_prompts_clear(&r->domains[i].prompts);
    if (r->texts[i].memory) moeclip_benchmark_texts_clear(&r->texts[i]);
    free(r->classes[i]);
  }
  moeclip_model_destroy(r->model);
  free(r);
  return code;
}
