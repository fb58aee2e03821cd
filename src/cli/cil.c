/* `moeclip bench cil`: step after step on one learner with a shared router. */
#include "cli/provenance.h"
#include "cli/cil.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "moeclip/benchmark_data.h"

typedef struct running {
  mc_cil_plan plan;
  char *state, *checkpoint, *results;
  moeclip_model *model;
  moeclip_learner *learner;
  moeclip_dataset **sets; /* [n_sets] */
  size_t n_sets;
  moeclip_class_of *order; /* [n_classes] in order of learning */
  size_t n_classes;
  int n_steps;
  json_t *root; /* results.json */
  mc_progress progress;
  moeclip_callbacks callbacks;
} running;

/* --- data -------------------------------------------------------------------------------------------------------- */

static moeclip_code open_published(running *r, moeclip_error *err) {
  const mc_cil_options *o = &r->plan.o;
  mc_data_choice choice = o->choice;
  choice.seed = o->learner.seed;
  if (!*r->plan.set)
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--preset %s names no data set; give --set", o->preset);
  if (!moeclip_benchmark_by_name(r->plan.set)) {
    char *argument = mc_format("%s=%s/%s", r->plan.set, o->data, r->plan.set);
    if (!argument) return mc_fail_memory(err, strlen(o->data), "a file name");
    moeclip_code code = mc_dataset_open_named(argument, &choice, &r->sets[0], err);
    free(argument);
    return code;
  }
  return mc_benchmark_open_chosen(o->data, r->plan.set, &choice, &r->sets[0], err);
}

static moeclip_code open_sets(running *r, moeclip_error *err) {
  const mc_cil_options *o = &r->plan.o;
  r->n_sets = o->sets.n ? o->sets.n : 1;
  r->sets = calloc(r->n_sets, sizeof *r->sets);
  if (!r->sets) return mc_fail_memory(err, r->n_sets * sizeof *r->sets, "data sets");
  if (o->sets.n == 0) return open_published(r, err);
  mc_data_choice choice = o->choice;
  choice.seed = o->learner.seed;
  for (size_t i = 0; i < r->n_sets; i++) MC_TRY(mc_dataset_open_named(o->sets.items[i], &choice, &r->sets[i], err));
  return MOECLIP_OK;
}

/* The labels of one data set in the published order. A copy with fewer classes keeps the order of those that it has. */
static moeclip_code published_order(running *r, moeclip_error *err) {
  int named[MC_CIL_MOST_CLASSES], *order = r->plan.order ? r->plan.order : named;
  size_t n = r->plan.n_order, n_classes = moeclip_dataset_classes(r->sets[0]);
  if (!r->plan.order) MC_TRY(moeclip_benchmark_order(r->plan.order_name, named, MC_CIL_MOST_CLASSES, &n, err));
  for (size_t i = 0; i < n; i++) {
    if ((size_t)order[i] < n_classes) r->order[r->n_classes++] = (moeclip_class_of){r->sets[0], order[i]};
  }
  if (r->n_classes == n_classes || r->plan.order) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: has %zu classes, of which the order %s knows %zu",
                 moeclip_dataset_path(r->sets[0]), n_classes, r->plan.order_name, r->n_classes);
}

static moeclip_code order_classes(running *r, moeclip_error *err) {
  size_t n = 0;
  for (size_t i = 0; i < r->n_sets; i++) n += moeclip_dataset_classes(r->sets[i]);
  if (n > MC_CIL_MOST_CLASSES)
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%zu classes: at most %d are possible", n, MC_CIL_MOST_CLASSES);
  r->order = mc_alloc(MC_CIL_MOST_CLASSES, sizeof *r->order);
  if (!r->order) return mc_fail_memory(err, n * sizeof *r->order, "a class order");
  if (r->plan.order || *r->plan.order_name) {
    MC_TRY(published_order(r, err));
  } else {
    for (size_t i = 0; i < r->n_sets; i++) {
      for (size_t c = 0; c < moeclip_dataset_classes(r->sets[i]); c++)
        r->order[r->n_classes++] = (moeclip_class_of){r->sets[i], (int)c};
    }
  }
  size_t base = (size_t)r->plan.o.base, more = (size_t)r->plan.o.increment;
  if (r->n_classes < base) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "there are %zu classes, but the first step alone has %zu (--base)",
                   r->n_classes, base);
  }
  size_t rest = (r->n_classes - base) % more;
  if (rest == 1) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "%zu classes in steps of %zu and then %zu leave a last step of one class, which teaches "
                   "nothing; choose another --base or --increment",
                   r->n_classes, base, more);
  }
  r->n_steps = 1 + (int)((r->n_classes - base + more - 1) / more);
  return MOECLIP_OK;
}

/* Classes learned after `step` steps. */
static size_t classes_after(const running *r, int step) {
  if (step <= 0) return 0;
  size_t n = (size_t)r->plan.o.base + (size_t)(step - 1) * (size_t)r->plan.o.increment;
  return n < r->n_classes ? n : r->n_classes;
}

static moeclip_code select_classes(const running *r, size_t begin, size_t end, const char *name, moeclip_dataset **out,
                                   moeclip_error *err) {
  return moeclip_dataset_select(r->order + begin, end - begin, name, out, err);
}

/* --- results ----------------------------------------------------------------------------------------------------- */

static json_t *describe_run(const running *r) {
  json_t *sets = json_array(), *classes = json_array();
  char seed[32];
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->plan.o.learner.seed);
  for (size_t i = 0; i < r->n_sets; i++) {
    mc_json_append(&sets, json_pack("{s:s, s:s, s:I, s:I}", "name", moeclip_dataset_name(r->sets[i]), "path",
                                          moeclip_dataset_path(r->sets[i]), "train_pictures",
                                          (json_int_t)moeclip_dataset_count(r->sets[i], MOECLIP_TRAIN), "test_pictures",
                                          (json_int_t)moeclip_dataset_count(r->sets[i], MOECLIP_TEST)));
  }
  for (size_t c = 0; c < r->n_classes; c++) {
    mc_json_append(&classes,
                          json_string(moeclip_dataset_class_name(r->order[c].dataset, (size_t)r->order[c].label)));
  }
  json_t *run = json_pack("{s:s, s:s, s:o, s:o, s:o}", "backbone", moeclip_model_fingerprint(r->model), "seed", seed,
                          "settings", mc_cil_plan_json(&r->plan), "sets", sets, "classes", classes);
  if (run && r->plan.o.learner.mode != MOECLIP_MODE_MOE)
    json_object_set_new(run, "learner", mc_describe_run(r->model, r->learner));
  return run;
}

static moeclip_code open_results(running *r, moeclip_error *err) {
  size_t n_learned = (size_t)moeclip_learner_tasks(r->learner);
  MC_TRY(mc_cil_results_open(r->results, describe_run(r), n_learned, &r->root, err));
  if (mc_cil_results_steps(r->root) + 1 >= n_learned) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                 "%s knows %zu steps, but %s has the results of only %zu, and the others cannot be measured "
                 "any more; choose another folder with --out",
                 r->state, n_learned, r->results, mc_cil_results_steps(r->root));
}

/* As of a session (session.c). */
static moeclip_code keep_provenance(running *r, const mc_args *args, moeclip_error *err) {
  if (!mc_is_writer()) return MOECLIP_OK;
  json_t *p = mc_provenance(args);
  const char *model = r->plan.o.files.model;
  moeclip_code code = p ? mc_provenance_file(p, "model", model, err) : mc_fail_memory(err, 4096, "what made a result");
  for (size_t i = 0; code == MOECLIP_OK && i < r->n_sets; i++) code = mc_provenance_dataset(p, r->sets[i], err);
  if (code == MOECLIP_OK) return mc_provenance_keep(r->root, p, err);
  json_decref(p);
  return code;
}

static moeclip_code write_results(running *r, moeclip_error *err) {
  if (!mc_is_writer()) return MOECLIP_OK;
  MC_TRY(mc_cil_summarise(r->root, err));
  char *text = mc_json_text(r->root, JSON_INDENT(1));
  moeclip_code code = text ? mc_file_write(r->results, text, strlen(text), err) : mc_fail_memory(err, 4096, "results");
  free(text);
  return code == MOECLIP_OK ? mc_cil_report(r->root, r->plan.name, r->plan.o.out, err) : code;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

static moeclip_code evaluate(running *r, const moeclip_dataset *d, int task, moeclip_evaluation *out,
                             moeclip_error *err) {
  const char *template = r->plan.template;
  moeclip_evaluate_options o = r->plan.o.evaluate;
  o.task = task >= 0 && r->plan.o.learner.mode != MOECLIP_MODE_MOE ? MOECLIP_TASK_AUTO : task; /* all steps' classes */
  o.templates = &template;
  o.n_templates = 1;
  o.loader_threads = r->plan.o.task.loader_threads;
  o.seed = r->plan.o.learner.seed;
  moeclip_code code = moeclip_learner_evaluate(r->learner, d, &o, &r->callbacks, out, err);
  mc_progress_end(&r->progress);
  return code;
}

static moeclip_code stopped(moeclip_error *err) { return mc_agree(mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped"), err); }

static moeclip_code measure_zero_shot(running *r, moeclip_error *err) {
  moeclip_dataset *all = NULL;
  moeclip_evaluation e = {0};
  if (mc_writer_says(json_is_number(json_object_get(r->root, "zero_shot")))) return MOECLIP_OK;
  moeclip_code code = select_classes(r, 0, r->n_classes, "all classes", &all, err);
  if (code == MOECLIP_OK) code = evaluate(r, all, MOECLIP_TASK_NONE, &e, err);
  if (code == MOECLIP_OK) mc_json_set(&r->root, "zero_shot", mc_json_real(e.accuracy));
  moeclip_evaluation_clear(&e);
  moeclip_dataset_destroy(all);
  return code == MOECLIP_OK ? write_results(r, err) : code;
}

/* Accuracy over all classes seen after `step` steps, by the step that taught them. */
static moeclip_code measure_step(running *r, int step, moeclip_error *err) {
  moeclip_dataset *seen = NULL;
  moeclip_evaluation e = {0};
  moeclip_code code = select_classes(r, 0, classes_after(r, step), "classes so far", &seen, err);
  if (code == MOECLIP_OK) code = evaluate(r, seen, 0, &e, err);
  if (code == MOECLIP_OK) {
    json_t *by_step = json_array(), *classes = json_array();
    for (int k = 1; k <= step; k++) {
      json_int_t right = 0, n = 0;
      for (size_t c = classes_after(r, k - 1); c < classes_after(r, k); c++) {
        right += e.class_right[c];
        n += e.class_n[c];
      }
      mc_json_append(&by_step, json_pack("[I, I]", right, n));
    }
    for (size_t c = classes_after(r, step - 1); c < classes_after(r, step); c++) {
      mc_json_append(&classes, json_string(moeclip_dataset_class_name(seen, c)));
    }
    json_t *one = json_pack("{s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "classes", classes, "accuracy",
                            mc_json_real(e.accuracy), "n", (json_int_t)e.n, "right", (json_int_t)e.n_right, "broken",
                            (json_int_t)e.n_broken, "by_step", by_step, "evaluation_seconds", mc_json_real(e.seconds));
    code = mc_cil_results_add(r->root, one, err);
    if (!r->plan.o.json) {
      printf("step %d of %d: %zu classes, accuracy %.2f %%\n", step, r->n_steps, classes_after(r, step),
             100 * e.accuracy);
      fflush(stdout);
    }
  }
  moeclip_evaluation_clear(&e);
  moeclip_dataset_destroy(seen);
  return code == MOECLIP_OK ? write_results(r, err) : code;
}

static moeclip_code select_step(const running *r, int step, moeclip_dataset **out, moeclip_error *err) {
  char name[32];
  snprintf(name, sizeof name, "step %d", step);
  return select_classes(r, classes_after(r, step - 1), classes_after(r, step), name, out, err);
}

static moeclip_code learn_reference(running *r, moeclip_error *err) {
  moeclip_dataset *d = NULL;
  mc_data_choice choice;
  moeclip_task_options o = r->plan.o.task;
  mc_data_choice_defaults(&choice);
  if (!r->plan.o.reference || moeclip_learner_tasks(r->learner) > 0 || moeclip_learner_has_reference(r->learner))
    return MOECLIP_OK;
  moeclip_code code = mc_agree(mc_dataset_open_named(r->plan.o.reference, &choice, &d, err), err);
  if (code == MOECLIP_OK) code = moeclip_learner_learn_reference(r->learner, d, &o, &r->callbacks, NULL, err);
  mc_progress_end(&r->progress);
  moeclip_dataset_destroy(d);
  return code == MOECLIP_OK ? moeclip_learner_save(r->learner, r->state, err) : code;
}

static moeclip_code learn_step(running *r, int step, moeclip_error *err) {
  const char *template = r->plan.template;
  moeclip_task_options o = r->plan.o.task;
  moeclip_dataset *d = NULL;
  moeclip_learn_report report;
  o.templates = &template;
  o.n_templates = 1;
  o.checkpoint = r->checkpoint;
  moeclip_dataset **earlier = calloc((size_t)step, sizeof(moeclip_dataset *));
  moeclip_code code = earlier ? select_step(r, step, &d, err) : mc_fail_memory(err, (size_t)step * sizeof d, "steps");
  if (r->plan.o.learner.mode == MOECLIP_MODE_JOINT) {
    for (int k = 1; code == MOECLIP_OK && k < step; k++) code = select_step(r, k, &earlier[o.n_earlier++], err);
    o.earlier = (const moeclip_dataset *const *)earlier;
  }
  if (code == MOECLIP_OK) code = moeclip_learner_learn(r->learner, d, &o, &r->callbacks, &report, err);
  for (int k = 0; earlier && k < step; k++) moeclip_dataset_destroy(earlier[k]);
  free(earlier);
  moeclip_dataset_destroy(d);
  mc_progress_end(&r->progress);
  MC_TRY(code);
  /* What only this run knows of the step is written first: once the state is saved, nobody learns the step again. */
  MC_TRY(mc_cil_results_learned(&r->root, step, &report, err));
  MC_TRY(write_results(r, err));
  MC_TRY(moeclip_learner_save(r->learner, r->state, err));
  if (mc_is_writer() && unlink(r->checkpoint) != 0 && errno != ENOENT) mc_warn("%s: cannot remove: %s", r->checkpoint, strerror(errno));
  if (mc_stop_signal_of_any()) return stopped(err);
  return measure_step(r, step, err);
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static moeclip_code open_learner(running *r, bool there, moeclip_error *err) {
  const mc_cil_options *o = &r->plan.o;
  MC_TRY(mc_open_model(&o->files, &r->model, err));
  if (there) {
    moeclip_learner_options is;
    MC_TRY(moeclip_learner_load(r->model, r->state, NULL, &r->learner, err));
    moeclip_learner_get_options(r->learner, &is);
    if (is.mode == o->learner.mode) return MOECLIP_OK;
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: made with --method %s, not %s; choose another folder with --out", r->state,
                   moeclip_mode_name(is.mode), moeclip_mode_name(o->learner.mode));
  }
  return moeclip_learner_create(r->model, &o->learner, &r->learner, err);
}

static moeclip_code open_everything(running *r, const mc_args *args, moeclip_error *err) {
  bool there = false;
  moeclip_code code = mc_file_exists(r->state, &there, err);
  there = mc_writer_says(there);
  MC_TRY(code);
  MC_TRY(mc_make_folder(r->plan.o.out, err));
  MC_TRY(open_sets(r, err));
  MC_TRY(order_classes(r, err));
  MC_TRY(open_learner(r, there, err));
  MC_TRY(open_results(r, err));
  return keep_provenance(r, args, err);
}

static moeclip_code run(running *r, const mc_args *args, moeclip_error *err) {
  MC_TRY(mc_agree(open_everything(r, args, err), err));
  MC_TRY(measure_zero_shot(r, err));
  int known = moeclip_learner_tasks(r->learner);
  if (mc_writer_says(known > (int)mc_cil_results_steps(r->root))) MC_TRY(measure_step(r, known, err));
  MC_TRY(learn_reference(r, err));
  for (int step = known + 1; step <= r->n_steps; step++) {
    if (mc_stop_signal_of_any()) return stopped(err);
    MC_TRY(learn_step(r, step, err));
  }
  return write_results(r, err);
}

static void print_measures(const running *r) {
  char *path = mc_format("%s/table.txt", r->plan.o.out);
  uint8_t *text = NULL;
  size_t n;
  if (path && mc_file_read(path, 1 << 24, &text, &n, NULL) == MOECLIP_OK) fwrite(text, 1, n, stdout);
  free(text);
  free(path);
}

static int finish(running *r, moeclip_code code, const moeclip_error *err) {
  mc_progress_end(&r->progress);
  if (code == MOECLIP_ERROR_CANCELLED && mc_stop_signal_of_any()) {
    mc_warn("%s; give the same command again to go on", err->message);
    return 128 + mc_stop_signal();
  }
  if (code != MOECLIP_OK) return mc_report(err);
  if (r->plan.o.json) return mc_json_print(json_incref(r->root), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  print_measures(r);
  return MC_EXIT_OK;
}

int mc_cil_run(const mc_args *args) {
  running r = {0};
  moeclip_error err = {0};
  int exit_code = mc_cil_plan_make(args, &r.plan);
  if (exit_code == MC_EXIT_OK && r.plan.o.print_preset) {
    exit_code = mc_json_print(mc_cil_plan_json(&r.plan), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  } else if (exit_code == MC_EXIT_OK && (exit_code = mc_ranks_begin(r.plan.o.quiet)) == MC_EXIT_OK) {
    mc_catch_signals();
    r.callbacks = mc_progress_begin(&r.progress, r.plan.o.quiet);
    r.state = mc_format("%s/state.safetensors", r.plan.o.out);
    r.checkpoint = mc_format("%s/state.safetensors.part", r.plan.o.out);
    r.results = mc_format("%s/results.json", r.plan.o.out);
    moeclip_code code = r.state && r.checkpoint && r.results ? run(&r, args, &err) : mc_fail_memory(&err, 256, "file names");
    exit_code = finish(&r, code, &err);
  }
  json_decref(r.root);
  for (size_t i = 0; r.sets && i < r.n_sets; i++) moeclip_dataset_destroy(r.sets[i]);
  moeclip_learner_destroy(r.learner);
  moeclip_model_destroy(r.model);
  mc_cil_plan_clear(&r.plan);
  free(r.sets);
  free(r.order);
  free(r.state);
  free(r.checkpoint);
  free(r.results);
  return exit_code;
}
