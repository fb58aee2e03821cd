/* iCaRL: fine-tuning on the new pictures and on kept ones of earlier classes, distillation of what was said of those, and
 * answers by the nearest mean of kept pictures (docs/METHODS.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/columns.h"
#include "learn/herding.h"
#include "learn/kept.h"
#include "learn/pass.h"
#include "learn/rehearsal.h"
#include "learn/restore.h"
#include "learn/teacher.h"

enum { MOST_EXEMPLARS = 1 << 20 };

/* l->own */
typedef struct icarl {
  mc_kept exemplars;
  int64_t *labels;   /* [exemplars.n] classes, counted in order of task; not falling: in each class in the order of herding */
  float *means;      /* [n_classes, embed] of the exemplars' features, of length 1; 0 for a class without */
  int64_t n_classes; /* those of all finished tasks */
  mc_clip *before;   /* the weights before the task, while one is learned that is not the first; else NULL */
} icarl;

/* run->scratch */
typedef struct rehearsing {
  mc_rehearsal all;
  mc_teacher teacher;
  mc_image_source own; /* the task's own pictures */
  const int32_t *own_labels;
} rehearsing;

/* --- options and state ------------------------------------------------------------------------------------------------- */

static bool fits(const moeclip_learner_options *o) {
  return o->icarl_weight >= 0 && isfinite(o->icarl_weight) && o->icarl_temperature > 0 && isfinite(o->icarl_temperature) &&
         o->exemplars >= 1 && o->exemplars <= MOST_EXEMPLARS;
}

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (fits(o)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                 "iCaRL: %lld exemplars (1 to %d), weight %g (0 or above), temperature %g (above 0)", (long long)o->exemplars,
                 (int)MOST_EXEMPLARS, o->icarl_weight, o->icarl_temperature);
}

static json_t *options_to_json(const moeclip_learner *l) {
  return json_pack("{s:I, s:f, s:f}", "exemplars", (json_int_t)l->options.exemplars, "weight", l->options.icarl_weight,
                   "temperature", l->options.icarl_temperature);
}

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const json_t *exemplars = json_object_get(own, "exemplars"), *weight = json_object_get(own, "weight");
  const json_t *temperature = json_object_get(own, "temperature");
  o->exemplars = json_integer_value(exemplars);
  o->icarl_weight = json_number_value(weight);
  o->icarl_temperature = json_number_value(temperature);
  if (!json_is_integer(exemplars) || !json_is_number(weight) || !json_is_number(temperature) || !fits(o)) *bad = "icarl";
}

static char *run_key(const mc_learning *run) {
  const moeclip_learner_options *o = &run->l->options;
  return mc_format("exemplars %lld, weight %.9g, temperature %.9g", (long long)o->exemplars, o->icarl_weight,
                   o->icarl_temperature);
}

static moeclip_code create_own(moeclip_learner *l, moeclip_error *err) {
  l->own = calloc(1, sizeof(icarl));
  return l->own ? MOECLIP_OK : mc_fail_memory(err, sizeof(icarl), "a learner");
}

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  MC_TRY(create_own(l, err));
  return mc_tuned_create(l, err);
}

static void clear(moeclip_learner *l) {
  icarl *k = l->own;
  mc_kept_clear(&k->exemplars);
  free(k->labels);
  free(k->means);
  mc_clip_destroy(k->before);
  free(k);
  l->own = NULL;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  const icarl *k = l->own;
  int64_t means[2] = {k->n_classes, l->model->clip->sizes.embed};
  MC_TRY(mc_tuned_store(l, out, err));
  if (k->before) MC_TRY(mc_tuned_store_as(k->before, MC_BEFORE, out, err));
  if (k->n_classes == 0) return MOECLIP_OK;
  MC_TRY(moeclip_tensors_add(out, "icarl.means", MOECLIP_F32, 2, means, k->means, 1, err));
  MC_TRY(mc_kept_store(&k->exemplars, "icarl.pictures", out, err));
  return moeclip_tensors_add(out, "icarl.labels", MOECLIP_I64, 1, &k->exemplars.n, k->labels, 1, err);
}

static moeclip_code restore_exemplars(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  icarl *k = l->own;
  const moeclip_tensor *labels = moeclip_tensors_find(in, "icarl.labels");
  MC_TRY(mc_kept_restore(&k->exemplars, in, "icarl.pictures", l->model->clip->sizes.image_size, l->options.exemplars, err));
  if (k->exemplars.n == 0) return mc_damaged_tensor(err, "icarl.pictures");
  if (!labels || labels->dtype != MOECLIP_I64 || labels->rank != 1 || labels->shape[0] != k->exemplars.n)
    return mc_damaged_tensor(err, "icarl.labels");
  k->labels = mc_alloc(labels->n_bytes, 1);
  if (!k->labels) return mc_fail_memory(err, labels->n_bytes, "a state");
  memcpy(k->labels, labels->data, labels->n_bytes);
  for (int64_t i = 0; i < k->exemplars.n; i++) {
    if (k->labels[i] < (i > 0 ? k->labels[i - 1] : 0) || k->labels[i] >= k->n_classes) {
      return mc_damaged_tensor(err, "icarl.labels");
    }
  }
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  int64_t all = mc_class_count(l, l->n_tasks), finished = mc_class_count(l, l->n_tasks - 1);
  MC_TRY(create_own(l, err));
  icarl *k = l->own;
  MC_TRY(mc_tuned_restore(l, in, err));
  MC_TRY(mc_tuned_restore_as(l->model, in, MC_BEFORE, &k->before, err));
  if (!moeclip_tensors_find(in, "icarl.means")) return l->n_tasks < 2 ? MOECLIP_OK : mc_damaged_tensor(err, "icarl.means");
  int64_t n = -1;
  MC_TRY(mc_rows_restore(in, "icarl.means", &n, l->model->clip->sizes.embed, &k->means, err));
  if (n != all && n != finished) return mc_damaged_tensor(err, "icarl.means");
  k->n_classes = n;
  return restore_exemplars(l, in, err);
}

/* --- learning ---------------------------------------------------------------------------------------------------------- */

/* The classes of pictures, counted in order of task. *out is freed by the caller. */
static moeclip_code number_classes(size_t n, const int32_t *own, const int64_t *kept, int64_t first, int32_t **out,
                                   moeclip_error *err) {
  *out = mc_alloc(n, sizeof **out);
  if (!*out) return mc_fail_memory(err, n * sizeof **out, "labels");
  for (size_t i = 0; i < n; i++) (*out)[i] = own ? (int32_t)(own[i] + first) : (int32_t)kept[i];
  return MOECLIP_OK;
}

static moeclip_code add_pictures(mc_learning *run, rehearsing *r, moeclip_error *err) {
  icarl *k = run->l->own;
  int32_t *classes = NULL;
  mc_image_source kept = mc_kept_source(&k->exemplars);
  moeclip_code code = number_classes(r->own.count, r->own_labels, NULL, (int64_t)r->all.n_old, &classes, err);
  if (code == MOECLIP_OK) code = mc_rehearsal_add(&r->all, &r->own, classes, err);
  free(classes);
  MC_TRY(code);
  code = number_classes(kept.count, NULL, k->labels, 0, &classes, err);
  if (code == MOECLIP_OK) code = mc_rehearsal_add(&r->all, &kept, classes, err);
  free(classes);
  return code;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  icarl *k = l->own;
  rehearsing *r = run->scratch = calloc(1, sizeof *r);
  if (!r) return mc_fail_memory(err, sizeof *r, "a task");
  if (l->options.exemplars < mc_class_count(l, l->n_tasks)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "iCaRL: %lld exemplars (--exemplars) are fewer than the %lld classes of all tasks",
                   (long long)l->options.exemplars, (long long)mc_class_count(l, l->n_tasks));
  }
  MC_TRY(mc_rehearsal_init(&r->all, l, err));
  r->own = run->pictures;
  r->own_labels = run->labels;
  MC_TRY(add_pictures(run, r, err));
  mc_rehearsal_use(&r->all, run);
  if (run->resume && !k->before && r->all.n_before > 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: the weights before the task are missing");
  }
  if (!run->resume) {
    mc_clip_destroy(k->before);
    k->before = NULL;
    if (r->all.n_before > 0) MC_TRY(mc_tuned_copy(l->model, l->tuned, &k->before, err));
  }
  if (r->all.n_before > 0) {
    MC_TRY(mc_teacher_init(&r->teacher, run, k->before, run->template, run->classes, r->all.n_before, l->options.icarl_weight,
                           l->options.icarl_temperature, err));
  }
  return mc_tuned_begin(run, report, err);
}

static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  rehearsing *r = run->scratch;
  if (r->all.n_before > 0) {
    MC_TRY(mc_teacher_ask(&r->teacher, run, ((icarl *)run->l->own)->before, s, err));
    s->options->distillation = &r->teacher.distillation;
  }
  return mc_gradient_step(s, loss, err);
}

/* --- exemplars --------------------------------------------------------------------------------------------------------- */

/* Of pictures in order, broken ones left out: their features by the present weights, and which they are. Every rank gets all. */
typedef struct encoded {
  moeclip_learner *l;
  float *features; /* [n, embed] */
  int64_t *index;  /* [n] in the source */
  int64_t n;
} encoded;

static moeclip_code encode_batch(void *context, const mc_shared_batch *batch, moeclip_error *err) {
  encoded *out = context;
  moeclip_learner *l = out->l;
  moeclip_comm *comm = l->model->options.comm;
  size_t embed = (size_t)l->model->clip->sizes.embed;
  int64_t first = comm ? batch->begin[moeclip_comm_rank(comm)] : 0;
  float *features = out->features + (size_t)out->n * embed;
  int64_t *index = out->index + out->n;
  moeclip_code code = mc_plain_pictures(l, batch->own.pixels, batch->own.n, features + (size_t)first * embed, err);
  MC_TRY(moeclip_comm_agree(comm, code, err));
  for (int i = 0; i < batch->own.n; i++) index[first + i] = (int64_t)batch->own.index[i];
  if (comm) {
    mc_comm_gather_rows(comm, features, embed * sizeof *features, batch->begin);
    mc_comm_gather_rows(comm, index, sizeof *index, batch->begin);
  }
  out->n += batch->n_all;
  return MOECLIP_OK;
}

static moeclip_code encode_source(mc_learning *run, const mc_image_source *source, encoded *out, moeclip_error *err) {
  const moeclip_task_options *o = run->options;
  size_t embed = (size_t)run->l->model->clip->sizes.embed;
  int64_t n_images;
  out->l = run->l;
  out->features = mc_alloc(source->count, embed * sizeof *out->features);
  out->index = mc_alloc(source->count, sizeof *out->index);
  moeclip_code code =
      out->features && out->index ? MOECLIP_OK : mc_fail_memory(err, source->count * embed * sizeof(float), "features");
  MC_TRY(moeclip_comm_agree(run->comm, code, err));
  /* Broken pictures were told of already. */
  const char *name = run->l->tasks[run->l->n_tasks - 1].name;
  mc_pass pass = {source, o->batch, o->loader_threads, run->callbacks, false, "exemplars", name};
  return mc_pass_over(run->l, &pass, encode_batch, out, &n_images, NULL, err);
}

/* The next exemplars of all tasks. */
typedef struct choice {
  mc_kept pictures; /* room for all */
  int64_t *labels;
} choice;

/* Of earlier classes, the first ones that there still is room for. */
static void shrink(const icarl *k, int64_t most, choice *next) {
  size_t each = mc_kept_each(&k->exemplars);
  int64_t in_class = 0;
  for (int64_t i = 0; i < k->exemplars.n; i++) {
    in_class = i > 0 && k->labels[i] == k->labels[i - 1] ? in_class + 1 : 0;
    if (in_class >= most) continue;
    memcpy(next->pictures.pixels + (size_t)next->pictures.n * each, k->exemplars.pixels + (size_t)i * each, each);
    next->labels[next->pictures.n++] = k->labels[i];
  }
}

/* Of one new class: herding, and the chosen pictures once more. rows, chosen: room for all of the source's pictures. */
static moeclip_code herd_class(const mc_learning *run, const encoded *e, int32_t class, int64_t most, int64_t *rows,
                               int64_t *chosen, choice *next, moeclip_error *err) {
  const rehearsing *r = run->scratch;
  int64_t n = 0, embed = run->l->model->clip->sizes.embed;
  for (int64_t i = 0; i < e->n; i++) {
    if (r->own_labels[e->index[i]] == class) rows[n++] = i;
  }
  int64_t wanted = n < most ? n : most;
  MC_TRY(mc_herd(e->features, embed, rows, n, wanted, chosen, err));
  for (int64_t i = 0; i < wanted; i++) {
    moeclip_image image;
    uint8_t *to = next->pictures.pixels + (size_t)next->pictures.n * mc_kept_each(&next->pictures);
    MC_TRY(r->own.load(r->own.context, (size_t)e->index[rows[chosen[i]]], &image, err));
    moeclip_code code = moeclip_image_transform(&image, &run->l->model->clip->transform, to, err);
    moeclip_image_clear(&image);
    MC_TRY(code);
    next->labels[next->pictures.n++] = (int64_t)r->all.n_old + class;
  }
  return MOECLIP_OK;
}

static moeclip_code herd(mc_learning *run, const encoded *e, choice *next, moeclip_error *err) {
  moeclip_learner *l = run->l;
  int64_t all = mc_class_count(l, l->n_tasks), most = l->options.exemplars / all;
  int size = l->model->clip->sizes.image_size;
  MC_TRY(mc_kept_create(&next->pictures, most * all, size, err));
  next->pictures.n = 0;
  next->labels = mc_alloc((size_t)(most * all), sizeof *next->labels);
  int64_t *rows = mc_alloc((size_t)e->n, sizeof *rows), *chosen = mc_alloc((size_t)most, sizeof *chosen);
  moeclip_code code =
      next->labels && rows && chosen ? MOECLIP_OK : mc_fail_memory(err, (size_t)e->n * sizeof *rows, "exemplars");
  if (code == MOECLIP_OK) shrink(l->own, most, next);
  for (int32_t c = 0; code == MOECLIP_OK && c < (int32_t)l->tasks[l->n_tasks - 1].n_classes; c++) {
    code = herd_class(run, e, c, most, rows, chosen, next, err);
  }
  free(rows);
  free(chosen);
  return code;
}

/* means [classes, embed] of the exemplars, by the present weights. Each rank encodes its share. */
static moeclip_code average(mc_learning *run, const choice *next, float *means, moeclip_error *err) {
  moeclip_learner *l = run->l;
  int64_t n = next->pictures.n, embed = l->model->clip->sizes.embed, all = mc_class_count(l, l->n_tasks);
  int ranks = moeclip_comm_size(run->comm), rank = moeclip_comm_rank(run->comm);
  float *features = mc_alloc((size_t)n, (size_t)embed * sizeof *features), *norm = mc_alloc((size_t)all, sizeof *norm);
  double *sums = calloc((size_t)(all * embed) + 1, sizeof *sums);
  int64_t *begin = mc_alloc((size_t)ranks + 1, sizeof *begin);
  moeclip_code code =
      features && norm && sums && begin ? MOECLIP_OK : mc_fail_memory(err, (size_t)(n * embed) * sizeof *features, "means");
  if (code == MOECLIP_OK) {
    for (int r = 0; r <= ranks; r++) begin[r] = mc_comm_share(run->comm, n, r);
    const uint8_t *own = next->pictures.pixels + (size_t)begin[rank] * mc_kept_each(&next->pictures);
    code = mc_plain_pictures(l, own, begin[rank + 1] - begin[rank], features + begin[rank] * embed, err);
  }
  code = moeclip_comm_agree(run->comm, code, err);
  /* NOLINTBEGIN(clang-analyzer-*): all ranks have what they asked for, or the code says otherwise */
  if (code == MOECLIP_OK) {
    if (run->comm) mc_comm_gather_rows(run->comm, features, (size_t)embed * sizeof *features, begin);
    for (int64_t i = 0; i < n; i++) {
      for (int64_t k = 0; k < embed; k++) sums[next->labels[i] * embed + k] += features[i * embed + k];
    }
    /* The length of the mean does not matter: it is normalised away. */
    for (int64_t i = 0; i < all * embed; i++) means[i] = (float)sums[i];
    mc_normalize_forward(means, all, embed, means, norm);
  }
  /* NOLINTEND(clang-analyzer-*) */
  free(features);
  free(norm);
  free(sums);
  free(begin);
  return code;
}

static moeclip_code keep_exemplars(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  icarl *k = l->own;
  rehearsing *r = run->scratch;
  int64_t all = mc_class_count(l, l->n_tasks);
  double began = mc_now();
  encoded e = {0};
  choice next = {0};
  float *means = mc_alloc((size_t)all, (size_t)l->model->clip->sizes.embed * sizeof *means);
  moeclip_code code = encode_source(run, &r->own, &e, err);
  if (code == MOECLIP_OK) {
    code = means ? herd(run, &e, &next, err) : mc_fail_memory(err, (size_t)all * sizeof *means, "means");
    code = moeclip_comm_agree(run->comm, code, err);
  }
  if (code == MOECLIP_OK && next.pictures.n == 0) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the pictures of %s can be read", l->tasks[l->n_tasks - 1].name);
  }
  if (code == MOECLIP_OK) code = average(run, &next, means, err);
  if (code == MOECLIP_OK) {
    mc_kept_clear(&k->exemplars);
    free(k->labels);
    free(k->means);
    k->exemplars = next.pictures;
    k->labels = next.labels;
    k->means = means;
    k->n_classes = all;
    report->seconds += mc_now() - began;
  } else {
    mc_kept_clear(&next.pictures);
    free(next.labels);
    free(means);
  }
  free(e.features);
  free(e.index);
  return code;
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  icarl *k = run->l->own;
  rehearsing *r = run->scratch;
  moeclip_error second;
  moeclip_code ended = mc_tuned_end(run, done, report, done ? err : &second);
  moeclip_code code = done && ended == MOECLIP_OK ? keep_exemplars(run, report, err) : ended;
  mc_clip_destroy(k->before);
  k->before = NULL;
  if (r) {
    mc_teacher_clear(&r->teacher);
    mc_rehearsal_clear(&r->all);
  }
  free(r);
  run->scratch = NULL;
  return code;
}

/* --- answering --------------------------------------------------------------------------------------------------------- */

/* The nearest mean of length 1 is the one with the largest cosine. */
static moeclip_code score(moeclip_learner *l, const float *features, int64_t n, const mc_choices *c, float *scores,
                          int32_t *tasks, moeclip_error *err) {
  const icarl *k = l->own;
  int64_t embed = l->model->clip->sizes.embed, found = 0, n_columns = 0;
  double scale = exp((double)l->tuned->logit_scale.value[0]);
  if (n <= 0 || c->n == 0) return MOECLIP_OK;
  mc_column *columns = mc_alloc((size_t)k->n_classes, sizeof *columns);
  double *own = mc_alloc((size_t)k->n_classes, sizeof *own);
  moeclip_code code = columns && own ? MOECLIP_OK : mc_fail_memory(err, (size_t)k->n_classes * sizeof *columns, "scores");
  if (code == MOECLIP_OK) code = mc_find_columns(l, k->n_classes, c, columns, &found, err);
  for (int64_t j = 0; code == MOECLIP_OK && j < found; j++) { /* a class none of whose pictures could be read has no mean */
    const float *mean = k->means + columns[j].at * embed;
    bool any = false;
    for (int64_t i = 0; i < embed; i++) any = any || mean[i] > 0 || mean[i] < 0;
    if (any) columns[n_columns++] = columns[j];
  }
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
    for (int64_t j = 0; j < n_columns; j++) {
      const float *mean = k->means + columns[j].at * embed, *feature = features + i * embed;
      own[j] = 0;
      for (int64_t at = 0; at < embed; at++) own[j] += scale * mean[at] * feature[at];
    }
    mc_divide_columns(columns, n_columns, own, c->n, scores + (size_t)i * c->n, &tasks[i]);
  }
  free(columns);
  free(own);
  return code;
}

const mc_method mc_method_icarl = {
    .mode = MOECLIP_MODE_ICARL,
    .name = "icarl",
    .title = "fine-tuning with kept pictures of earlier classes, answered by the nearest of their means: a baseline",
    .traits = MC_METHOD_TUNED,
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
