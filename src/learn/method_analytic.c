/* RAIL: ridge regression on the frozen CLIP's picture features, fused with its zero-shot answer (docs/METHODS.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/method.h"
#include "learn/ridge.h"

enum { MOST_HIDDEN = 32768, MOST_PICTURES = 65536 };

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  bool form = o->ridge_form == MOECLIP_RIDGE_PROJECTION || o->ridge_form == MOECLIP_RIDGE_KERNEL;
  if (form && o->ridge_hidden >= 1 && o->ridge_hidden <= MOST_HIDDEN && o->ridge >= 0 && isfinite(o->ridge) &&
      o->ridge_gamma > 0 && isfinite(o->ridge_gamma) && o->ridge_fusion >= 0 && o->ridge_fusion <= 1 &&
      o->ridge_pictures >= 1 && o->ridge_pictures <= MOST_PICTURES) {
    return MOECLIP_OK;
  }
  return mc_fail(
      err, MOECLIP_ERROR_ARGUMENT,
      "the analytic method: form %d (0 or 1), hidden width %d (1 to %d), ridge %g (0 or above), gamma %g (above 0), fusion "
      "%g (0 to 1), kept pictures %lld (1 to %d)",
      (int)o->ridge_form, o->ridge_hidden, (int)MOST_HIDDEN, o->ridge, o->ridge_gamma, o->ridge_fusion,
      (long long)o->ridge_pictures, (int)MOST_PICTURES);
}

/* --- options and state ------------------------------------------------------------------------------------------------- */

static const char *const forms[] = {"projection", "kernel"};

static json_t *options_to_json(const moeclip_learner *l) {
  const moeclip_learner_options *o = &l->options;
  return json_pack("{s:s, s:i, s:f, s:f, s:f, s:I}", "form", forms[o->ridge_form], "hidden", o->ridge_hidden, "ridge",
                   mc_ridge_lambda(o), "gamma", o->ridge_gamma, "fusion", o->ridge_fusion, "pictures",
                   (json_int_t)o->ridge_pictures);
}

static double real_of(const json_t *own, const char *key, const char **bad) {
  const json_t *v = json_object_get(own, key);
  if (!json_is_number(v)) *bad = key;
  return json_number_value(v);
}

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const char *form = json_string_value(json_object_get(own, "form"));
  const json_t *hidden = json_object_get(own, "hidden"), *pictures = json_object_get(own, "pictures");
  json_int_t n_hidden = json_integer_value(hidden), n_pictures = json_integer_value(pictures);
  o->ridge_form = form && strcmp(form, forms[1]) == 0 ? MOECLIP_RIDGE_KERNEL : MOECLIP_RIDGE_PROJECTION;
  if (!form || (strcmp(form, forms[0]) != 0 && strcmp(form, forms[1]) != 0)) *bad = "form";
  if (!json_is_integer(hidden) || n_hidden < 1 || n_hidden > MOST_HIDDEN) *bad = "hidden";
  if (!json_is_integer(pictures) || n_pictures < 1 || n_pictures > MOST_PICTURES) *bad = "pictures";
  o->ridge = real_of(own, "ridge", bad);
  o->ridge_gamma = real_of(own, "gamma", bad);
  o->ridge_fusion = real_of(own, "fusion", bad);
  if (*bad) return;
  o->ridge_hidden = (int)n_hidden;
  o->ridge_pictures = n_pictures;
}

/* What this method knows. */
typedef struct named {
  const char *name; /* belongs to a task */
  int64_t column;
} named;

typedef struct analytic {
  mc_ridge *ridge;
  named *by_name; /* [n_named] all columns with weights, by name and then by column; made when first needed */
  int64_t n_named;
} analytic;

static moeclip_code begin_own(moeclip_learner *l, analytic **out, moeclip_error *err) {
  *out = l->own = calloc(1, sizeof **out);
  return *out ? MOECLIP_OK : mc_fail_memory(err, sizeof **out, "a learner");
}

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  analytic *a;
  l->options.ridge = mc_ridge_lambda(&l->options); /* as a state says it */
  MC_TRY(begin_own(l, &a, err));
  return mc_ridge_create(&l->options, l->model->clip->sizes.embed, &a->ridge, err);
}

static void clear(moeclip_learner *l) {
  analytic *a = l->own;
  mc_ridge_destroy(a->ridge);
  free(a->by_name);
  free(a);
  l->own = NULL;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  const analytic *a = l->own;
  return mc_ridge_store(a->ridge, out, err);
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  analytic *a;
  MC_TRY(begin_own(l, &a, err));
  return mc_ridge_load(&l->options, l->model->clip->sizes.embed, in, mc_class_count(l, l->n_tasks), &a->ridge, err);
}

/* --- learning ---------------------------------------------------------------------------------------------------------- */

/* A checkpoint of the first task comes before there is a state that says these. */
static char *run_key(const mc_learning *run) {
  const moeclip_learner_options *o = &run->l->options;
  return mc_format("form %d, hidden %d, ridge %.9g, gamma %.9g, fusion %.9g, pictures %lld", (int)o->ridge_form, o->ridge_hidden,
                   mc_ridge_lambda(o), o->ridge_gamma, o->ridge_fusion, (long long)o->ridge_pictures);
}

/* What one batch needs. */
typedef struct batch_room {
  float *features;  /* [batch, embed]: of all ranks */
  int64_t *labels;  /* [batch] */
} batch_room;

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  analytic *a = l->own;
  size_t batch = (size_t)run->options->batch, embed = (size_t)a->ridge->embed;
  batch_room *room = run->scratch = calloc(1, sizeof *room);
  (void)report;
  if (room) room->features = mc_alloc(batch, embed * sizeof *room->features);
  if (room) room->labels = mc_alloc(batch, sizeof *room->labels);
  if (!room || !room->features || !room->labels) return mc_fail_memory(err, batch * embed * sizeof *room->features, "a batch");
  return mc_ridge_classes(a->ridge, mc_class_count(l, l->n_tasks), err);
}

/* Encodes this rank's pictures, and takes those of all ranks. */
static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  moeclip_learner *l = run->l;
  analytic *a = l->own;
  batch_room *room = run->scratch;
  int64_t embed = a->ridge->embed, first = run->comm ? s->begin[moeclip_comm_rank(run->comm)] : 0;
  int64_t offset = mc_class_count(l, l->n_tasks - 1);
  *loss = NAN;
  moeclip_code code = mc_plain_images(s->model, s->clip, s->images, s->n, room->features + first * embed, err);
  MC_TRY(moeclip_comm_agree(run->comm, code, err));
  for (int64_t i = 0; i < s->n; i++) room->labels[first + i] = offset + s->labels[i];
  if (run->comm) {
    mc_comm_gather_rows(run->comm, room->features, (size_t)embed * sizeof *room->features, s->begin);
    mc_comm_gather_rows(run->comm, room->labels, sizeof *room->labels, s->begin);
  }
  return mc_ridge_add(s->model->compute, a->ridge, room->features, room->labels, s->n_all, err);
}

static moeclip_code finish(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  analytic *a = l->own;
  int64_t first = mc_class_count(l, l->n_tasks - 1), n = 0;
  for (int64_t c = first; c < a->ridge->n_classes; c++) n += a->ridge->count[c];
  if (n == 0)
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the pictures of %s can be read", l->tasks[l->n_tasks - 1].name);
  free(a->by_name);
  a->by_name = NULL;
  double began = mc_now();
  MC_TRY(mc_ridge_solve(l->model->compute, a->ridge, err));
  report->seconds += mc_now() - began;
  report->trainable = a->ridge->n_classes * (a->ridge->hidden ? a->ridge->hidden : a->ridge->n_weighed);
  return MOECLIP_OK;
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  batch_room *room = run->scratch;
  moeclip_code code = done ? finish(run, report, err) : MOECLIP_OK;
  if (room) {
    free(room->features);
    free(room->labels);
  }
  free(room);
  run->scratch = NULL;
  return code;
}

/* --- answering --------------------------------------------------------------------------------------------------------- */

static int compare_named(const void *x, const void *y) {
  const named *a = x, *b = y;
  int order = strcmp(a->name, b->name);
  return order ? order : a->column < b->column ? -1 : a->column > b->column;
}

static moeclip_code sort_names(const moeclip_learner *l, analytic *a, moeclip_error *err) {
  int64_t n = a->ridge->n_solved, at = 0;
  if (a->by_name) return MOECLIP_OK;
  a->by_name = mc_alloc((size_t)n, sizeof *a->by_name);
  if (!a->by_name) return mc_fail_memory(err, (size_t)n * sizeof *a->by_name, "names");
  for (int t = 0; t < l->n_tasks; t++) {
    for (size_t c = 0; c < l->tasks[t].n_classes && at < n; c++, at++) a->by_name[at] = (named){l->tasks[t].classes[c], at};
  }
  a->n_named = at;
  qsort(a->by_name, (size_t)at, sizeof *a->by_name, compare_named);
  return MOECLIP_OK;
}

/* The place in by_name of the first column of that name, or of the next name. */
static int64_t first_of_name(const analytic *a, const char *name) {
  int64_t low = 0, high = a->n_named;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (strcmp(a->by_name[middle].name, name) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* Which columns a choice has: from begin to end in by_name; or, of a known class, its own column alone. */
typedef struct columns_of {
  int64_t begin, end, own; /* own: -1 when known by name */
} columns_of;

static int task_of_column(const moeclip_learner *l, int64_t column) {
  int t = 0;
  for (; t < l->n_tasks - 1 && column >= (int64_t)l->tasks[t].n_classes; t++) column -= (int64_t)l->tasks[t].n_classes;
  return t;
}

static bool learned(const columns_of *c) { return c->own >= 0 || c->begin < c->end; }

/* Pictures of one name that two domains taught are pictures of one class: as ridge regression is linear in its targets, the sum
 * of the two columns is what it would have learned had they been one. */
static double regression_of(const analytic *a, const columns_of *c, const double *row) {
  if (c->own >= 0) return row[c->own];
  double sum = 0;
  for (int64_t k = c->begin; k < c->end; k++) sum += row[a->by_name[k].column];
  return sum;
}

static size_t highest(const float *x, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++) {
    if (x[i] > x[best]) best = i;
  }
  return best;
}

static void to_probabilities(float *logits, size_t n) {
  double largest = logits[highest(logits, n)], sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp(logits[i] - largest);
  for (size_t i = 0; i < n; i++) logits[i] = (float)(exp(logits[i] - largest) / sum);
}

/* One picture: zero-shot logits in, fused shares out. The zero-shot answer says whether the picture is of what was learned. */
static void fuse(const moeclip_learner *l, const columns_of *columns, size_t n, const double *row, float *scores,
                 int32_t *task) {
  const analytic *a = l->own;
  double beta = l->options.ridge_fusion;
  size_t zero_shot = highest(scores, n);
  int asked = *task;
  to_probabilities(scores, n);
  *task = MOECLIP_TASK_NONE;
  if (!learned(&columns[zero_shot])) return;
  for (size_t i = 0; i < n; i++) {
    double taught = learned(&columns[i]) ? regression_of(a, &columns[i], row) : 0;
    scores[i] = (float)((1 - beta) * scores[i] + beta * taught);
  }
  const columns_of *best = &columns[highest(scores, n)];
  if (!learned(best)) return;
  *task = asked >= 0 ? asked : task_of_column(l, best->own >= 0 ? best->own : a->by_name[best->begin].column);
}

static moeclip_code score(moeclip_learner *l, const float *features, int64_t n, const mc_choices *c, float *scores,
                          int32_t *tasks, moeclip_error *err) {
  analytic *a = l->own;
  if (n <= 0 || c->n == 0) return MOECLIP_OK;
  MC_TRY(sort_names(l, a, err));
  int64_t n_solved = a->ridge->n_solved;
  columns_of *columns = mc_alloc(c->n, sizeof *columns);
  double *regression = mc_alloc((size_t)n, (size_t)n_solved * sizeof *regression);
  moeclip_code code =
      columns && regression ? MOECLIP_OK : mc_fail_memory(err, (size_t)(n * n_solved) * sizeof *regression, "scores");
  for (size_t i = 0; code == MOECLIP_OK && i < c->n; i++) {
    columns[i] = (columns_of){0, 0, -1};
    if (c->first_known >= 0) {
      int64_t column = c->first_known + (int64_t)i; /* a checkpoint's newest classes have no weights yet */
      columns[i].own = column < n_solved ? column : -1;
    } else {
      columns[i].begin = columns[i].end = first_of_name(a, c->name[i]);
      while (columns[i].end < a->n_named && strcmp(a->by_name[columns[i].end].name, c->name[i]) == 0) columns[i].end++;
    }
  }
  if (code == MOECLIP_OK) code = mc_ridge_score(l->model->compute, a->ridge, features, n, regression, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
    fuse(l, columns, c->n, regression + i * n_solved, scores + (size_t)i * c->n, &tasks[i]);
  }
  free(columns);
  free(regression);
  return code;
}

const mc_method mc_method_analytic = {
    .mode = MOECLIP_MODE_ANALYTIC,
    .name = "analytic",
    .title = "ridge regression on frozen features, fused with zero-shot: one pass, no training",
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
