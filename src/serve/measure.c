/* The accuracy matrix: what the new state can do on all tasks' test pictures, in the results that `moeclip learn` keeps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "report/evaluate.h"
#include "report/results.h"
#include "serve/server.h"

static const char *text_of(const json_t *object, const char *key) { return json_string_value(json_object_get(object, key)); }

static moeclip_code open_results(mc_server *s, moeclip_model *model, const moeclip_learner *learner, json_t *columns,
                                 mc_results *out, moeclip_error *err) {
  int n = moeclip_learner_tasks(learner);
  const char **tasks = mc_alloc((size_t)n + 1, sizeof *tasks);
  char *checksum = NULL, *folder = mc_with_ending(s->o->state, ".results");
  moeclip_task_info info;
  moeclip_code code = tasks && folder ? MOECLIP_OK : mc_fail_memory(err, 256, "results");
  for (int t = 0; code == MOECLIP_OK && t < n; t++) {
    code = moeclip_learner_task(learner, t, &info, err);
    tasks[t] = info.name;
  }
  if (code == MOECLIP_OK) code = mc_state_file_checksum(s->o->state, &checksum, err);
  if (code == MOECLIP_OK) {
    code = mc_results_open(folder, mc_describe_run(model, learner), columns, tasks, n, checksum, out, err);
  } else {
    json_decref(columns);
  }
  free(checksum);
  free(folder);
  free(tasks);
  return code;
}

/* --- evaluating --------------------------------------------------------------------------------------------------- */

/* The set of an earlier task, when it is still what it was: the same classes, and as many test pictures. */
static moeclip_dataset *open_column(const json_t *column) {
  moeclip_dataset *d = NULL;
  mc_learn_ask ask;
  moeclip_dataset_options o;
  const char *path = text_of(column, "path");
  if (!path || access(path, R_OK) != 0) return NULL;
  moeclip_dataset_options_defaults(&o);
  if (mc_learn_ask_parse(json_object_get(column, "served"), INT64_MAX, &ask, NULL) == MOECLIP_OK) {
    o = ask.data;
    if (ask.shots > 0) o.max_per_class[MOECLIP_TRAIN] = ask.shots;
  }
  mc_learn_ask_clear(&ask);
  o.name = text_of(column, "name");
  if (moeclip_dataset_open(path, &o, &d, NULL) != MOECLIP_OK) return NULL;
  const json_t *same = json_object_get(column, "same");
  json_t *now = mc_describe_column(d, NULL, 0, json_null()), *is = json_object_get(now, "same");
  bool fits = json_equal(json_object_get(is, "test_pictures"), json_object_get(same, "test_pictures")) &&
              json_equal(json_object_get(is, "classes"), json_object_get(same, "classes"));
  json_decref(now);
  if (fits && moeclip_dataset_count(d, MOECLIP_TEST) > 0) return d;
  moeclip_dataset_destroy(d);
  return NULL;
}

moeclip_code mc_measure_earlier(mc_server *s, moeclip_model *model, const moeclip_learner *learner, moeclip_dataset ***out,
                                size_t *n, moeclip_error *err) {
  mc_results results;
  size_t i;
  json_t *column;
  *out = NULL;
  *n = 0;
  if (moeclip_learner_tasks(learner) == 0) return MOECLIP_OK;
  MC_TRY(open_results(s, model, learner, json_array(), &results, err));
  const json_t *columns = json_object_get(results.root, "columns");
  *out = calloc(json_array_size(columns) + 1, sizeof **out);
  moeclip_code code = *out ? MOECLIP_OK : mc_fail_memory(err, json_array_size(columns) * sizeof **out, "data sets");
  json_array_foreach(columns, i, column) {
    moeclip_dataset *d = *out && json_is_integer(json_object_get(column, "task")) ? open_column(column) : NULL;
    if (d) (*out)[(*n)++] = d;
  }
  mc_results_clear(&results);
  return code;
}

static moeclip_code evaluate(mc_server *s, const json_t *column, const moeclip_dataset *dataset, moeclip_learner *learner,
                             const moeclip_callbacks *callbacks, json_t **cell, moeclip_error *err) {
  moeclip_evaluate_options o;
  moeclip_evaluation e = {0};
  const json_t *prompts = json_object_get(json_object_get(column, "same"), "templates");
  size_t n = json_array_size(prompts);
  const char **templates = mc_alloc(n + 1, sizeof *templates);
  if (!templates) return mc_fail_memory(err, n * sizeof *templates, "templates");
  moeclip_evaluate_options_defaults(&o);
  o.max_images = s->o->eval_images;
  for (size_t i = 0; i < n; i++) {
    const char *text = json_string_value(json_array_get(prompts, i));
    if (text) templates[o.n_templates++] = text;
  }
  o.templates = o.n_templates ? templates : NULL;
  moeclip_code code = moeclip_learner_evaluate(learner, dataset, &o, callbacks, &e, err);
  if (code == MOECLIP_OK) *cell = mc_evaluation_json(&e, learner, dataset, false);
  moeclip_evaluation_clear(&e);
  free(templates);
  return code;
}

static moeclip_code fill_row(mc_jobs *j, mc_job *job, const moeclip_dataset *dataset, moeclip_learner *learner,
                             const moeclip_callbacks *callbacks, mc_results *results, moeclip_error *err) {
  int row = moeclip_learner_tasks(learner);
  size_t i;
  json_t *column;
  json_array_foreach(json_object_get(results->root, "columns"), i, column) {
    const char *name = text_of(column, "name");
    json_t *cell = NULL;
    if (!json_is_integer(json_object_get(column, "task")) || mc_results_known(results, row, name)) continue;
    bool own = strcmp(name, job->ask.name) == 0;
    moeclip_dataset *other = own ? NULL : open_column(column);
    const moeclip_dataset *of = own ? dataset : other;
    moeclip_code code = MOECLIP_OK;
    if (of && moeclip_dataset_count(of, MOECLIP_TEST) > 0) {
      code = evaluate(j->s, column, of, learner, callbacks, &cell, err);
    }
    moeclip_dataset_destroy(other);
    MC_TRY(code);
    if (cell) MC_TRY(mc_results_put(results, row, name, cell, err));
    if (mc_job_must_stop(j, job)) return mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
  }
  return MOECLIP_OK;
}

/* --- the matrix as the interface shows it ------------------------------------------------------------------------- */

static json_t *percent(double v) { return isfinite(v) ? json_real(round(10000 * v) / 100) : json_null(); }

static char *matrix_text(const json_t *root) {
  mc_matrix_of x;
  if (mc_matrix_of_results(root, &x, NULL) != MOECLIP_OK) return NULL;
  json_t *columns = json_array(), *rows = json_array();
  for (int c = 0; c < x.m.n_columns; c++) {
    if (x.m.tasks[c] >= 0) mc_json_append(&columns, json_string(x.m.names[c]));
  }
  for (int i = 1; i < x.m.n_rows; i++) {
    json_t *accuracy = json_array();
    for (int c = 0; c < x.m.n_columns; c++) {
      double v = x.m.accuracy[(size_t)i * (size_t)x.m.n_columns + (size_t)c];
      if (x.m.tasks[c] >= 0) mc_json_append(&accuracy, percent(v));
    }
    mc_json_append(&rows, json_pack("{s:s, s:o}", "after", x.m.after[i], "accuracy", accuracy));
  }
  json_t *o = json_pack("{s:o, s:o}", "columns", columns, "rows", rows);
  char *text = o && json_array_size(columns) > 0 ? mc_json_text(o, JSON_COMPACT | JSON_REAL_PRECISION(8)) : NULL;
  json_decref(o);
  mc_matrix_of_clear(&x);
  return text;
}

char *mc_measure_matrix(mc_server *s, moeclip_model *model, const moeclip_learner *learner) {
  mc_results results;
  moeclip_error err;
  char *folder = mc_with_ending(s->o->state, ".results"), *file = folder ? mc_format("%s/matrix.json", folder) : NULL;
  bool there = file && access(file, F_OK) == 0;
  char *text = NULL;
  free(folder);
  free(file);
  if (!there) return NULL;
  if (open_results(s, model, learner, json_array(), &results, &err) != MOECLIP_OK) {
    mc_warn("%s", err.message);
    return NULL;
  }
  text = matrix_text(results.root);
  mc_results_clear(&results);
  return text;
}

/* --- after a task ------------------------------------------------------------------------------------------------- */

static json_t *new_column(const mc_job *job, const moeclip_dataset *dataset, const moeclip_learner *learner) {
  int task = -1;
  moeclip_task_info info;
  for (int t = 0; t < moeclip_learner_tasks(learner); t++) {
    if (moeclip_learner_task(learner, t, &info, NULL) == MOECLIP_OK && strcmp(info.name, job->ask.name) == 0) task = t;
  }
  json_t *column = mc_describe_column(dataset, NULL, 0, json_integer(task));
  mc_json_set(&column, "served", mc_learn_ask_json(&job->ask));
  if (!job->ask.templates || json_object_set(json_object_get(column, "same"), "templates", job->ask.templates) == 0) return column;
  json_decref(column);
  return NULL;
}

moeclip_code mc_measure(mc_jobs *j, mc_job *job, const moeclip_dataset *dataset, moeclip_model *model, moeclip_learner *learner,
                        const moeclip_learn_report *report, const moeclip_callbacks *callbacks, moeclip_error *err) {
  mc_results results;
  json_t *columns = json_array();
  mc_json_append(&columns, new_column(job, dataset, learner));
  MC_TRY(open_results(j->s, model, learner, columns, &results, err));
  moeclip_code code = MOECLIP_OK;
  if (report->task >= 0) code = mc_results_put_learned(&results, job->ask.name, mc_report_json(learner, report), err);
  if (code == MOECLIP_OK) code = fill_row(j, job, dataset, learner, callbacks, &results, err);
  /* What was measured before a failure is worth keeping. */
  moeclip_error second;
  moeclip_code written = mc_results_write(&results, code == MOECLIP_OK ? err : &second);
  char *text = matrix_text(results.root);
  pthread_mutex_lock(&j->mutex);
  free(j->matrix);
  j->matrix = text;
  pthread_mutex_unlock(&j->mutex);
  mc_results_clear(&results);
  return code == MOECLIP_OK ? written : code;
}
