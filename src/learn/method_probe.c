/* The linear probe: logistic regression on the frozen CLIP's picture features, one head a task (docs/METHODS.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/columns.h"
#include "learn/probe.h"
#include "learn/restore.h"

typedef struct probe {
  float *weights;       /* [n_columns, embed + 1] the heads of all finished tasks, one after another; the bias comes last */
  int64_t n_columns;
  float *seen;          /* [n_seen, embed] features of the task on its way */
  int64_t *seen_labels; /* [n_seen] in the task's own classes */
  int64_t n_seen, room;
} probe;

static int64_t width_of(const moeclip_learner *l) { return l->model->clip->sizes.embed + 1; }

/* --- options and state ------------------------------------------------------------------------------------------------- */

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (o->probe_l2 > 0 && isfinite(o->probe_l2)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the linear probe: L2 %g must be above 0", o->probe_l2);
}

static json_t *options_to_json(const moeclip_learner *l) { return json_pack("{s:f}", "l2", l->options.probe_l2); }

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const json_t *l2 = json_object_get(own, "l2");
  o->probe_l2 = json_number_value(l2);
  if (!json_is_number(l2) || !(o->probe_l2 > 0)) *bad = "l2";
}

static char *run_key(const mc_learning *run) { return mc_format("l2 %.9g", run->l->options.probe_l2); }

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  l->own = calloc(1, sizeof(probe));
  return l->own ? MOECLIP_OK : mc_fail_memory(err, sizeof(probe), "a learner");
}

static void forget_seen(probe *p) {
  free(p->seen);
  free(p->seen_labels);
  p->seen = NULL;
  p->seen_labels = NULL;
  p->n_seen = p->room = 0;
}

static void clear(moeclip_learner *l) {
  probe *p = l->own;
  forget_seen(p);
  free(p->weights);
  free(p);
  l->own = NULL;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  const probe *p = l->own;
  int64_t weights[2] = {p->n_columns, width_of(l)}, seen[2] = {p->n_seen, width_of(l) - 1};
  if (p->n_columns > 0) MC_TRY(moeclip_tensors_add(out, "probe.weights", MOECLIP_F32, 2, weights, p->weights, 1, err));
  if (p->n_seen == 0) return MOECLIP_OK;
  MC_TRY(moeclip_tensors_add(out, "probe.pictures", MOECLIP_F32, 2, seen, p->seen, 1, err));
  return moeclip_tensors_add(out, "probe.labels", MOECLIP_I64, 1, seen, p->seen_labels, 1, err);
}

/* Room for as many pictures in all. */
static moeclip_code make_room(probe *p, int64_t n, int64_t embed, moeclip_error *err) {
  if (n <= p->room) return MOECLIP_OK;
  int64_t room = n > 2 * p->room ? n : 2 * p->room;
  float *seen = mc_realloc(p->seen, (size_t)room, (size_t)embed * sizeof *seen);
  if (seen) p->seen = seen;
  int64_t *labels = mc_realloc(p->seen_labels, (size_t)room, sizeof *labels);
  if (labels) p->seen_labels = labels;
  if (!seen || !labels) return mc_fail_memory(err, (size_t)(room * embed) * sizeof *seen, "pictures' features (--max-train)");
  p->room = room;
  return MOECLIP_OK;
}

static bool all_finite(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) return false;
  }
  return true;
}

static moeclip_code restore_seen(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  probe *p = l->own;
  const moeclip_tensor *seen = moeclip_tensors_find(in, "probe.pictures"), *labels = moeclip_tensors_find(in, "probe.labels");
  int64_t embed = width_of(l) - 1;
  if (!seen && !labels) return MOECLIP_OK;
  if (!seen || seen->dtype != MOECLIP_F32 || seen->rank != 2 || seen->shape[0] < 1 || seen->shape[1] != embed) {
    return mc_damaged_tensor(err, "probe.pictures");
  }
  int64_t n = seen->shape[0];
  if (!labels || labels->dtype != MOECLIP_I64 || labels->rank != 1 || labels->shape[0] != n || l->n_tasks == 0) {
    return mc_damaged_tensor(err, "probe.labels");
  }
  MC_TRY(make_room(p, n, embed, err));
  memcpy(p->seen, seen->data, seen->n_bytes);
  memcpy(p->seen_labels, labels->data, labels->n_bytes);
  p->n_seen = n;
  if (!all_finite(p->seen, n * embed)) return mc_damaged_tensor(err, "probe.pictures");
  for (int64_t i = 0; i < n; i++) {
    if (p->seen_labels[i] < 0 || p->seen_labels[i] >= (int64_t)l->tasks[l->n_tasks - 1].n_classes) {
      return mc_damaged_tensor(err, "probe.labels");
    }
  }
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  MC_TRY(create(l, err));
  probe *p = l->own;
  int64_t all = mc_class_count(l, l->n_tasks), finished = mc_class_count(l, l->n_tasks - 1), n = -1;
  MC_TRY(restore_seen(l, in, err));
  if (!moeclip_tensors_find(in, "probe.weights")) return l->n_tasks < 2 ? MOECLIP_OK : mc_damaged_tensor(err, "probe.weights");
  MC_TRY(mc_rows_restore(in, "probe.weights", &n, width_of(l), &p->weights, err));
  if (n != all && n != finished) return mc_damaged_tensor(err, "probe.weights");
  p->n_columns = n;
  return MOECLIP_OK;
}

/* --- learning ---------------------------------------------------------------------------------------------------------- */

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  probe *p = run->l->own;
  (void)report;
  if (!run->resume) forget_seen(p);
  return make_room(p, (int64_t)run->pictures.count, width_of(run->l) - 1, err);
}

/* Encodes this rank's pictures, and keeps those of all ranks. */
static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  moeclip_learner *l = run->l;
  probe *p = l->own;
  int64_t embed = width_of(l) - 1, first = run->comm ? s->begin[moeclip_comm_rank(run->comm)] : 0;
  *loss = NAN;
  moeclip_code code = make_room(p, p->n_seen + s->n_all, embed, err);
  float *features = p->seen + p->n_seen * embed;
  int64_t *labels = p->seen_labels + p->n_seen;
  if (code == MOECLIP_OK) code = mc_plain_images(s->model, s->clip, s->images, s->n, features + first * embed, err);
  MC_TRY(moeclip_comm_agree(run->comm, code, err));
  for (int64_t i = 0; i < s->n; i++) labels[first + i] = s->labels[i];
  if (run->comm) {
    mc_comm_gather_rows(run->comm, features, (size_t)embed * sizeof *features, s->begin);
    mc_comm_gather_rows(run->comm, labels, sizeof *labels, s->begin);
  }
  p->n_seen += s->n_all;
  return MOECLIP_OK;
}

/* Every rank solves the same, from the same numbers. */
static moeclip_code finish(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  probe *p = l->own;
  int64_t width = width_of(l), classes = (int64_t)l->tasks[l->n_tasks - 1].n_classes, all = p->n_columns + classes;
  size_t n = (size_t)(classes * width);
  if (p->n_seen == 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the pictures of %s can be read", l->tasks[l->n_tasks - 1].name);
  }
  double began = mc_now();
  mc_probe_fit fit;
  float *weights = mc_realloc(p->weights, (size_t)all, (size_t)width * sizeof *weights);
  if (weights) p->weights = weights;
  double *solved = mc_alloc(n, sizeof *solved);
  moeclip_code code = weights && solved ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *solved, "a regression");
  if (code == MOECLIP_OK) {
    code = mc_probe_solve(l->model->compute, p->seen, p->seen_labels, p->n_seen, width - 1, classes, l->options.probe_l2, solved, &fit,
                          err);
  }
  if (code == MOECLIP_OK) {
    for (size_t i = 0; i < n; i++) p->weights[(size_t)(p->n_columns * width) + i] = (float)solved[i];
    p->n_columns = all;
    report->seconds += mc_now() - began;
    report->trainable = (int64_t)n;
    report->final_loss = fit.loss;
  }
  free(solved);
  return code;
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_code code = done ? finish(run, report, err) : MOECLIP_OK;
  forget_seen(run->l->own);
  return code;
}

/* --- answering --------------------------------------------------------------------------------------------------------- */

static moeclip_code score(moeclip_learner *l, const float *features, int64_t n, const mc_choices *c, float *scores, int32_t *tasks,
                          moeclip_error *err) {
  const probe *p = l->own;
  int64_t width = width_of(l), n_columns = 0;
  if (n <= 0 || c->n == 0) return MOECLIP_OK;
  mc_column *columns = mc_alloc((size_t)p->n_columns, sizeof *columns);
  double *head = mc_alloc((size_t)p->n_columns, sizeof *head);
  moeclip_code code = columns && head ? MOECLIP_OK : mc_fail_memory(err, (size_t)p->n_columns * sizeof *columns, "scores");
  if (code == MOECLIP_OK) code = mc_find_columns(l, p->n_columns, c, columns, &n_columns, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
    for (int64_t j = 0; j < n_columns; j++) {
      const float *w = p->weights + columns[j].at * width, *feature = features + i * (width - 1);
      head[j] = w[width - 1];
      for (int64_t k = 0; k < width - 1; k++) head[j] += (double)w[k] * feature[k];
    }
    mc_divide_columns(columns, n_columns, head, c->n, scores + (size_t)i * c->n, &tasks[i]);
  }
  free(columns);
  free(head);
  return code;
}

const mc_method mc_method_linear_probe = {
    .mode = MOECLIP_MODE_LINEAR_PROBE,
    .name = "linear-probe",
    .title = "logistic regression on frozen features, one head a task: a baseline",
    .traits = MC_METHOD_ONE_PASS,
    .check = check,
    .options_to_json = options_to_json,
    .options_of_json = options_of_json,
    .run_key = run_key,
    .create = create,
    .clear = clear,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .step = step,
    .end_task = end_task,
    .score = score,
    .shares = true,
};
