/* Learning one task, whatever the method: checkpoints, resuming, going back after a failure. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "learn/method.h"

static moeclip_code check_options(const moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *o,
                                  moeclip_error *err) {
  if (o->iterations < 1 || o->epochs < 0 || o->batch < 1 || !(o->learning_rate > 0) ||
      !(o->label_smoothing >= 0 && o->label_smoothing < 1) || !(o->dropout >= 0 && o->dropout < 1) || !(o->balance >= 0) ||
      o->selector_iterations < 1 || !(o->weight_decay >= 0)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "iterations %lld and %lld (at least 1), batch %d (at least 1), learning rate %g (above 0), label smoothing "
                   "%g and dropout %g (0 to below 1), weight decay %g and load balance %g (not negative)",
                   (long long)o->iterations, (long long)o->selector_iterations, o->batch, o->learning_rate,
                   o->label_smoothing, o->dropout, o->weight_decay, o->balance);
  }
  if (!(o->selector_false_alarms >= 0 && o->selector_false_alarms < 1) || (o->selector_false_alarms > 0 && !isnan(o->threshold))) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "selector's false alarms %g: 0 to below 1, and not beside a threshold",
                   o->selector_false_alarms);
  }
  if (moeclip_dataset_count(dataset, MOECLIP_TRAIN) == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: there are no training pictures; all %zu are for testing",
                   moeclip_dataset_path(dataset), moeclip_dataset_count(dataset, MOECLIP_TEST));
  }
  if (moeclip_dataset_classes(dataset) < 2) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: a task needs at least 2 classes", moeclip_dataset_path(dataset));
  }
  for (int t = 0; t < l->n_tasks; t++) {
    if (strcmp(l->tasks[t].name, moeclip_dataset_name(dataset)) == 0) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a task named %s was learned already; give this one another name",
                     l->tasks[t].name);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code describe_run(mc_learning *r, moeclip_error *err) {
  const moeclip_task_options *o = r->options;
  r->run_key = mc_format(
      "task %d %s, %zu pictures, %zu classes, iterations %lld, epochs %lld, batch %d, lr %.9g, decay %.9g, smoothing %.9g, "
      "warmup %lld, dropout %.9g, balance %.9g, once %d, selector %lld %.9g, threshold %.9g, alarms %.9g, seed %llu, backbone %s",
      r->l->n_tasks, moeclip_dataset_name(r->dataset), moeclip_dataset_count(r->dataset, MOECLIP_TRAIN),
      moeclip_dataset_classes(r->dataset), (long long)o->iterations, (long long)o->epochs, o->batch, o->learning_rate,
      o->weight_decay, o->label_smoothing, (long long)mc_task_warmup(o), o->dropout, o->balance, o->shots_augment_once,
      (long long)o->selector_iterations, o->selector_learning_rate, o->threshold, o->selector_false_alarms,
      (unsigned long long)r->l->options.seed, moeclip_model_fingerprint(r->l->model));
  if (r->run_key && r->l->method->run_key) {
    char *common = r->run_key, *more = r->l->method->run_key(r);
    r->run_key = more ? mc_format("%s, method %s, %s", common, r->l->method->name, more) : NULL;
    free(common);
    free(more);
  }
  return r->run_key ? MOECLIP_OK : mc_fail_memory(err, 512, "a checkpoint");
}

static moeclip_code write_checkpoint_alone(mc_learning *r, int64_t step, const mc_adamw *optimizer, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  char number[32], task[32];
  snprintf(number, sizeof number, "%lld", (long long)step);
  snprintf(task, sizeof task, "%d", r->l->n_tasks - 1);
  moeclip_code code = moeclip_tensors_create(&t, err);
  if (code == MOECLIP_OK) code = mc_state_store(r->l, t, err);
  if (code == MOECLIP_OK) code = mc_adamw_store(optimizer, t, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "checkpoint.run", r->run_key, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "checkpoint.step", number, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "checkpoint.task", task, err);
  if (code == MOECLIP_OK) code = mc_state_write(t, r->options->checkpoint, err);
  moeclip_tensors_destroy(t);
  return code;
}

static moeclip_code write_checkpoint(void *context, int64_t step, const mc_adamw *optimizer, moeclip_error *err) {
  mc_learning *r = context;
  moeclip_code code = moeclip_comm_rank(r->comm) == 0 ? write_checkpoint_alone(r, step, optimizer, err) : MOECLIP_OK;
  return moeclip_comm_agree(r->comm, code, err);
}

/* Opens the checkpoint when there is one, and takes over the learner's half-trained state from it. */
static moeclip_code resume(mc_learning *r, moeclip_error *err) {
  const char *path = r->options->checkpoint;
  bool there = false;
  moeclip_code code = path ? mc_file_exists(path, &there, err) : MOECLIP_OK;
  moeclip_comm_broadcast(r->comm, &there, sizeof there); /* what rank 0 sees */
  if (code != MOECLIP_OK || !path || !there) return code;
  MC_TRY(mc_state_open(path, &r->resume, err));
  const char *run = moeclip_tensors_metadata(r->resume, "checkpoint.run");
  const char *step = moeclip_tensors_metadata(r->resume, "checkpoint.step");
  const char *task = moeclip_tensors_metadata(r->resume, "checkpoint.task");
  if (task && strtol(task, NULL, 10) < r->l->n_tasks) {
    /* Left behind by a task that was finished and saved since. */
    moeclip_tensors_destroy(r->resume);
    r->resume = NULL;
    return MOECLIP_OK;
  }
  if (!run || !step || strcmp(run, r->run_key) != 0) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "%s: this checkpoint belongs to another run (other data or options); remove it to start anew", path);
  }
  code = mc_state_replace(r->l, r->resume, err);
  r->first_step = strtoll(step, NULL, 10);
  return code == MOECLIP_OK ? code : mc_fail_prefix(err, path);
}

static moeclip_code method_step(void *context, mc_training_step *s, double *loss, moeclip_error *err) {
  mc_learning *r = context;
  return r->l->method->step(r, s, loss, err);
}

mc_task_training mc_training_of(mc_learning *r) {
  moeclip_learner *l = r->l;
  const mc_task *task = &l->tasks[l->n_tasks - 1];
  return (mc_task_training){.model = l->model,
                            .clip = mc_learner_clip(l),
                            .adapters = l->adapters,
                            .task = l->n_tasks - 1,
                            .router = mc_learner_router(l, l->n_tasks - 1),
                            .top_k = l->options.top_k,
                            .name = task->name,
                            .classes = r->classes,
                            .n_classes = r->n_classes,
                            .template = r->template ? r->template : task->templates[0],
                            .options = r->options,
                            .seed = l->options.seed,
                            .pictures = r->pictures,
                            .labels = r->labels,
                            .callbacks = r->callbacks,
                            .checkpoint = r->options->checkpoint ? write_checkpoint : NULL,
                            .context = r,
                            .resume = r->resume,
                            .first_step = r->first_step,
                            .one_pass = l->method->traits & MC_METHOD_ONE_PASS,
                            .step = l->method->step ? method_step : NULL};
}

static moeclip_code train(mc_learning *r, moeclip_learn_report *report, moeclip_error *err) {
  mc_task_training t = mc_training_of(r);
  return mc_train_task(&t, report, err);
}

static moeclip_code run_task(mc_learning *r, moeclip_learn_report *report, moeclip_error *err) {
  const mc_method *m = r->l->method;
  moeclip_error second;
  moeclip_code code = moeclip_comm_agree(r->comm, m->begin_task(r, report, err), err);
  if (code == MOECLIP_OK && !(m->traits & MC_METHOD_NO_PASS)) code = train(r, report, err);
  moeclip_code ended = m->end_task(r, code == MOECLIP_OK, report, code == MOECLIP_OK ? err : &second);
  return code == MOECLIP_OK ? ended : code;
}

/* What this rank does without the others. */
static moeclip_code prepare(mc_learning *r, moeclip_error *err) {
  size_t n = moeclip_dataset_count(r->dataset, MOECLIP_TRAIN);
  MC_TRY(describe_run(r, err));
  int32_t *labels = mc_alloc(n, sizeof *labels);
  const char **classes = mc_alloc(r->n_classes, sizeof *classes);
  r->labels = r->set_labels = labels;
  r->classes = r->set_classes = classes;
  if (!labels || !classes) return mc_fail_memory(err, n * sizeof *labels + r->n_classes * sizeof *classes, "labels");
  for (size_t i = 0; i < n; i++) labels[i] = moeclip_dataset_label(r->dataset, MOECLIP_TRAIN, i);
  for (size_t i = 0; i < r->n_classes; i++) classes[i] = moeclip_dataset_class_name(r->dataset, i);
  return MOECLIP_OK;
}

/* All ranks must see the same data and have been given the same options. */
static moeclip_code check_same(const mc_learning *r, moeclip_error *err) {
  uint64_t hash = mc_comm_hash(0, r->run_key, strlen(r->run_key));
  hash = mc_comm_hash(hash, r->labels, moeclip_dataset_count(r->dataset, MOECLIP_TRAIN) * sizeof *r->labels);
  for (size_t c = 0; c < moeclip_dataset_classes(r->dataset); c++) {
    const char *name = moeclip_dataset_class_name(r->dataset, c);
    hash = mc_comm_hash(hash, name, strlen(name) + 1);
  }
  return mc_comm_same(r->comm, hash, "training pictures, classes or options", err);
}

static moeclip_code learn(mc_learning *r, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = r->l;
  const moeclip_task_options *o = r->options;
  size_t n = moeclip_dataset_count(r->dataset, MOECLIP_TRAIN);
  MC_TRY(moeclip_comm_agree(r->comm, prepare(r, err), err));
  if (r->comm) MC_TRY(check_same(r, err));
  MC_TRY(moeclip_comm_agree(r->comm, resume(r, err), err));
  report->resumed = r->resume != NULL;
  if (!r->resume) {
    mc_task task;
    MC_TRY(mc_task_init(&task, moeclip_dataset_name(r->dataset), r->classes, r->n_classes, o->templates, o->n_templates, err));
    task.iterations = l->method->traits & MC_METHOD_NO_PASS    ? 0
                      : l->method->traits & MC_METHOD_ONE_PASS ? mc_one_pass_steps(o, n) : mc_task_steps(o, n);
    task.images = (int64_t)n;
    MC_TRY(mc_learner_add_task(l, &task, err));
  }
  report->threshold = report->final_loss = NAN;
  MC_TRY(run_task(r, report, err));
  report->task = l->n_tasks - 1;
  l->tasks[report->task].iterations = report->iterations; /* begin_task may have changed what is trained on */
  MC_TRY(moeclip_learner_parameters(l, report->task, &report->parameters, err));
  mc_learner_drop_features(l); /* experts that were not frozen have changed, for every task that uses them */
  return MOECLIP_OK;
}

moeclip_code moeclip_learner_learn(moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *options,
                                   const moeclip_callbacks *callbacks, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_task_options defaults;
  moeclip_learn_report own;
  moeclip_tensors *before = NULL;
  if (!options) {
    moeclip_task_options_defaults(&defaults);
    options = &defaults;
  }
  if (!report) report = &own;
  *report = (moeclip_learn_report){.task = -1};
  MC_TRY(moeclip_comm_agree(l->model->options.comm, check_options(l, dataset, options, err), err));
  mc_learning r = {.l = l, .comm = l->model->options.comm, .dataset = dataset, .options = options, .callbacks = callbacks,
                   .split = {dataset, MOECLIP_TRAIN}, .n_classes = moeclip_dataset_classes(dataset)};
  r.pictures = mc_dataset_source(&r.split);
  /* What the learner knows now, to go back to if this fails. */
  moeclip_code code = moeclip_tensors_create(&before, err);
  if (code == MOECLIP_OK) code = mc_state_store(l, before, err);
  if (code == MOECLIP_OK) {
    code = learn(&r, report, err);
    if (code != MOECLIP_OK) {
      moeclip_error second;
      if (mc_state_replace(l, before, &second) != MOECLIP_OK && err) {
        code = mc_fail(err, second.code, "%.400s; and then the learner could not be put back: %.400s", err->message,
                       second.message);
      }
    }
  }
  moeclip_tensors_destroy(before);
  moeclip_tensors_destroy(r.resume);
  free(r.set_labels);
  free(r.set_classes);
  free(r.run_key);
  return code;
}
