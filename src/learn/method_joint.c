/* Joint training: for each task, the untouched CLIP is fine-tuned anew on the pictures of all tasks so far. The upper bound,
 * which continual learning would do without (docs/METHODS.md). */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/rehearsal.h"
#include "learn/tuned.h"

/* run->scratch */
typedef struct joint {
  mc_rehearsal all;
  mc_dataset_split *splits;     /* [n_tasks] */
  moeclip_task_options options; /* with the steps of all tasks together */
  const moeclip_task_options *given;
} joint;

static moeclip_code find_set(const mc_learning *run, int task, const moeclip_dataset **out, moeclip_error *err) {
  const moeclip_task_options *o = run->options;
  const mc_task *t = &run->l->tasks[task];
  *out = task + 1 == run->l->n_tasks ? run->dataset : NULL;
  for (size_t i = 0; !*out && i < o->n_earlier; i++) {
    if (strcmp(moeclip_dataset_name(o->earlier[i]), t->name) == 0) *out = o->earlier[i];
  }
  if (!*out) {
    return mc_fail(
        err, MOECLIP_ERROR_ARGUMENT,
        "joint training needs the pictures of every earlier task, and those of %s are not given (learn: name its DOMAIN too; "
        "Python: earlier=[...])",
        t->name);
  }
  bool same = moeclip_dataset_classes(*out) == t->n_classes;
  for (size_t c = 0; same && c < t->n_classes; c++) same = strcmp(moeclip_dataset_class_name(*out, c), t->classes[c]) == 0;
  if (same && (int64_t)moeclip_dataset_count(*out, MOECLIP_TRAIN) == t->images) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                 "%s: not the classes, or not as many training pictures, as when the task %s was learned",
                 moeclip_dataset_path(*out), t->name);
}

static moeclip_code add_task(mc_learning *run, joint *j, int task, int64_t first, moeclip_error *err) {
  const moeclip_dataset *d;
  MC_TRY(find_set(run, task, &d, err));
  j->splits[task] = (mc_dataset_split){d, MOECLIP_TRAIN};
  mc_image_source source = mc_dataset_source(&j->splits[task]);
  int32_t *classes = mc_alloc(source.count, sizeof *classes);
  if (!classes) return mc_fail_memory(err, source.count * sizeof *classes, "labels");
  for (size_t i = 0; i < source.count; i++) classes[i] = (int32_t)(first + moeclip_dataset_label(d, MOECLIP_TRAIN, i));
  moeclip_code code = mc_rehearsal_add(&j->all, &source, classes, err);
  free(classes);
  return code;
}

static moeclip_code gather(mc_learning *run, joint *j, moeclip_error *err) {
  moeclip_learner *l = run->l;
  int64_t first = 0;
  j->splits = mc_alloc((size_t)l->n_tasks, sizeof *j->splits);
  if (!j->splits) return mc_fail_memory(err, (size_t)l->n_tasks * sizeof *j->splits, "data sets");
  MC_TRY(mc_rehearsal_init(&j->all, l, err));
  for (int t = 0; t < l->n_tasks; t++) {
    MC_TRY(add_task(run, j, t, first, err));
    first += (int64_t)l->tasks[t].n_classes;
  }
  return MOECLIP_OK;
}

/* All ranks must have been given the same earlier sets. */
static moeclip_code check_same(const mc_learning *run, const joint *j, moeclip_error *err) {
  return run->comm ? mc_comm_same(run->comm, mc_comm_hash(0, j->all.labels, j->all.count * sizeof *j->all.labels),
                                  "pictures of earlier tasks", err)
                   : MOECLIP_OK;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  joint *j = run->scratch = calloc(1, sizeof *j);
  moeclip_code code = j ? gather(run, j, err) : mc_fail_memory(err, sizeof *j, "a task");
  code = moeclip_comm_agree(run->comm, code, err);
  if (code != MOECLIP_OK || !j) return code;
  MC_TRY(check_same(run, j, err));
  /* As many steps as the other methods took for all these tasks. Passes over all pictures are that already. */
  j->given = run->options;
  j->options = *run->options;
  if (j->options.iterations > INT64_MAX / l->n_tasks - 1) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "too many iterations");
  j->options.iterations = (j->options.iterations + 1) * l->n_tasks - 1;
  run->options = &j->options;
  mc_rehearsal_use(&j->all, run);
  if (!run->resume) {
    mc_clip *fresh = NULL;
    MC_TRY(mc_model_copy_clip(l->model, &fresh, err));
    mc_clip_destroy(l->tuned);
    l->tuned = fresh;
  }
  return mc_tuned_begin(run, report, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  joint *j = run->scratch;
  if (j) {
    if (j->given) run->options = j->given;
    mc_rehearsal_clear(&j->all);
    free(j->splits);
  }
  free(j);
  run->scratch = NULL;
  return mc_tuned_end(run, done, report, err);
}

const mc_method mc_method_joint = {
    .mode = MOECLIP_MODE_JOINT,
    .name = "joint",
    .title = "all of CLIP's weights, anew on all tasks' pictures at once: the upper bound",
    .traits = MC_METHOD_TUNED,
    .create = mc_tuned_create,
    .store = mc_tuned_store,
    .restore = mc_tuned_restore,
    .begin_task = begin_task,
    .end_task = end_task,
};
