/* Accuracy on a data set's test split, and where its pictures were routed. Several ranks take every so manieth batch each, and add up
 * what they have counted at the end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/loader.h"
#include "learn/method.h"
#include "train/shared_loader.h"
#include "train/watch.h"

typedef struct evaluating {
  moeclip_learner *l;
  moeclip_comm *comm;         /* NULL: alone */
  mc_broken_list broken;      /* of this rank, when not alone */
  const moeclip_dataset *dataset;
  const moeclip_evaluate_options *options;
  const char *const *templates;
  size_t n_templates, n_classes; /* candidates: the data set's classes, or the union that was asked for */
  const char **classes;       /* [n_classes] */
  size_t *group_end;          /* [n_among] of the candidates, those of each group end here; NULL without groups */
  bool **inside;              /* [n_tasks + 1] of [n_classes]: the candidates that each route has; NULL: all of them */
  size_t *right;              /* [the set's classes] which candidate each is; NULL: the same number */
  uint32_t *order;            /* which pictures, when not all; else NULL */
  float **features;           /* [n_tasks + 1] of [n_classes, embed]: by the untouched CLIP, then through each task */
  mc_loader *loader, *second; /* second: the same pictures in the selector's size, when that differs */
  float *pictures;            /* [batch, embed] */
  int32_t *tasks;             /* [batch] */
  bool in_passing;            /* the selector chooses while pictures are encoded */
  float *scores;              /* [batch, n_classes], for a method with scores of its own; else NULL */
  size_t *best;               /* [batch], with them */
  int by_name;                /* who answers when nobody selects */
  mc_dataset_split split;
  mc_image_source all;        /* the whole split */
} evaluating;

static moeclip_code load_chosen(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const evaluating *r = context;
  return r->all.load(r->all.context, r->order ? r->order[i] : i, out, err);
}

static moeclip_code name_chosen(void *context, size_t i, char *out, size_t n_out) {
  const evaluating *r = context;
  return r->all.item_name(r->all.context, r->order ? r->order[i] : i, out, n_out);
}

static void choose_templates(evaluating *r) {
  const moeclip_learner *l = r->l;
  r->templates = r->options->templates;
  r->n_templates = r->options->templates ? r->options->n_templates : 0;
  for (int t = 0; r->n_templates == 0 && t < l->n_tasks; t++) {
    if (strcmp(l->tasks[t].name, moeclip_dataset_name(r->dataset)) == 0) {
      r->templates = (const char *const *)l->tasks[t].templates;
      r->n_templates = l->tasks[t].n_templates;
    }
  }
  /* Without a selector the task is given: the one of the data set's name. */
  r->by_name = MOECLIP_TASK_NONE;
  for (int t = 0; l->adapters && !l->selector && t < l->n_tasks; t++) {
    if (strcmp(l->tasks[t].name, moeclip_dataset_name(r->dataset)) == 0) r->by_name = t;
  }
}

typedef struct sorted_name {
  const char *name;
  size_t at;
} sorted_name;

static int by_name(const void *a, const void *b) {
  const sorted_name *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* Marks all but the first of names that are the same. */
static bool drop_repeated(const char **names, size_t n) {
  sorted_name *sorted = mc_alloc(n, sizeof *sorted);
  if (!sorted) return false;
  for (size_t i = 0; i < n; i++) sorted[i] = (sorted_name){names[i], i};
  qsort(sorted, n, sizeof *sorted, by_name);
  for (size_t i = 1; i < n; i++) {
    if (strcmp(sorted[i].name, sorted[i - 1].name) == 0) names[sorted[i].at] = NULL;
  }
  free(sorted);
  return true;
}

/* Which candidate each class of the data set is. */
static moeclip_code find_right(evaluating *r, moeclip_error *err) {
  size_t n_own = moeclip_dataset_classes(r->dataset);
  sorted_name *sorted = mc_alloc(r->n_classes, sizeof *sorted);
  r->right = mc_alloc(n_own, sizeof *r->right);
  moeclip_code code = sorted && r->right ? MOECLIP_OK : mc_fail_memory(err, r->n_classes * sizeof *sorted, "labels");
  for (size_t i = 0; code == MOECLIP_OK && i < r->n_classes; i++) sorted[i] = (sorted_name){r->classes[i], i};
  if (code == MOECLIP_OK) qsort(sorted, r->n_classes, sizeof *sorted, by_name);
  for (size_t c = 0; code == MOECLIP_OK && c < n_own; c++) {
    const char *name = moeclip_dataset_class_name(r->dataset, c);
    size_t low = 0, high = r->n_classes;
    while (low < high) {
      size_t middle = low + (high - low) / 2;
      if (strcmp(sorted[middle].name, name) < 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == r->n_classes || strcmp(sorted[low].name, name) != 0) {
      code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: its class \"%.100s\" is not among the labels to choose from",
                     moeclip_dataset_path(r->dataset), name);
    } else {
      r->right[c] = sorted[low].at;
    }
  }
  free(sorted);
  return code;
}

/* The candidates of all groups, each name once. */
static moeclip_code unite(evaluating *r, moeclip_error *err) {
  const moeclip_evaluate_options *o = r->options;
  size_t n = 0, at = 0, kept = 0;
  for (size_t g = 0; g < o->n_among; g++) n += o->among[g].n_labels;
  if (n == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the list of labels to choose from is empty");
  r->classes = mc_alloc(n, sizeof *r->classes);
  r->group_end = mc_alloc(o->n_among, sizeof *r->group_end);
  if (!r->classes || !r->group_end) return mc_fail_memory(err, n * sizeof *r->classes, "labels");
  for (size_t g = 0; g < o->n_among; g++) {
    for (size_t i = 0; i < o->among[g].n_labels; i++) r->classes[at++] = o->among[g].labels[i];
    r->group_end[g] = at;
  }
  if (!drop_repeated(r->classes, n)) return mc_fail_memory(err, n * sizeof(sorted_name), "labels");
  for (size_t g = 0, i = 0; g < o->n_among; g++) {
    for (; i < r->group_end[g]; i++) {
      if (r->classes[i]) r->classes[kept++] = r->classes[i];
    }
    r->group_end[g] = kept;
  }
  r->n_classes = kept;
  return find_right(r, err);
}

static moeclip_code choose_candidates(evaluating *r, moeclip_error *err) {
  if (r->options->among) return unite(r, err);
  r->n_classes = moeclip_dataset_classes(r->dataset);
  r->classes = mc_alloc(r->n_classes, sizeof *r->classes);
  if (!r->classes) return mc_fail_memory(err, r->n_classes * sizeof *r->classes, "class names");
  for (size_t c = 0; c < r->n_classes; c++) r->classes[c] = moeclip_dataset_class_name(r->dataset, c);
  return MOECLIP_OK;
}

static moeclip_code start(evaluating *r, const moeclip_callbacks *callbacks, moeclip_evaluation *out, moeclip_error *err) {
  moeclip_learner *l = r->l;
  const moeclip_evaluate_options *o = r->options;
  size_t n = moeclip_dataset_count(r->dataset, MOECLIP_TEST), embed = (size_t)l->model->clip->sizes.embed;
  if (o->batch < 1 || o->task < MOECLIP_TASK_AUTO || o->task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "batch %d (at least 1), task %d (%d were learned, numbered from 0)", o->batch,
                   o->task, l->n_tasks);
  }
  if (n == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: there are no test pictures", moeclip_dataset_path(r->dataset));
  }
  choose_templates(r);
  MC_TRY(choose_candidates(r, err));
  r->split = (mc_dataset_split){r->dataset, MOECLIP_TEST};
  r->all = mc_dataset_source(&r->split);
  if (o->max_images > 0 && (uint64_t)o->max_images < n) {
    /* The same pictures for every caller: sets are often sorted by class. */
    mc_philox g;
    mc_philox_init(&g, 0, MC_STREAM_SHUFFLE, 0);
    r->order = mc_alloc(n, sizeof *r->order);
    if (!r->order) return mc_fail_memory(err, n * sizeof *r->order, "a choice of pictures");
    mc_philox_permutation(&g, (uint32_t)n, r->order);
    n = (size_t)o->max_images;
  }
  out->n_routes = l->n_tasks + 1;
  out->n_classes = moeclip_dataset_classes(r->dataset);
  out->routed = calloc((size_t)out->n_routes, sizeof *out->routed);
  out->routed_right = calloc((size_t)out->n_routes, sizeof *out->routed_right);
  out->class_n = calloc(out->n_classes + 1, sizeof *out->class_n);
  out->class_right = calloc(out->n_classes + 1, sizeof *out->class_right);
  r->features = calloc((size_t)out->n_routes, sizeof *r->features);
  r->pictures = mc_alloc((size_t)o->batch, embed * sizeof *r->pictures);
  r->tasks = mc_alloc((size_t)o->batch, sizeof *r->tasks);
  if (!out->routed || !out->routed_right || !out->class_n || !out->class_right || !r->features ||
      !r->pictures || !r->tasks) {
    return mc_fail_memory(err, (size_t)o->batch * embed * sizeof *r->pictures, "an evaluation");
  }
  if (o->among && o->within_task) {
    r->inside = calloc((size_t)out->n_routes, sizeof *r->inside);
    if (!r->inside) return mc_fail_memory(err, (size_t)out->n_routes * sizeof *r->inside, "labels");
  }
  if (l->method->score && l->n_tasks > 0 && o->task != MOECLIP_TASK_NONE) {
    r->scores = mc_alloc((size_t)o->batch, r->n_classes * sizeof *r->scores);
    r->best = mc_alloc((size_t)o->batch, sizeof *r->best);
    if (!r->scores || !r->best) return mc_fail_memory(err, (size_t)o->batch * r->n_classes * sizeof *r->scores, "scores");
  }
  mc_image_source source = {n, r, load_chosen, name_chosen};
  mc_loader_options loader = {.transform = l->model->clip->transform, .batch = o->batch,
                              .augment = o->training_crop != 0, .seed = o->seed,
                              .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(l->model->compute),
                              .first_batch = (uint64_t)moeclip_comm_rank(r->comm), .stride = (uint64_t)moeclip_comm_size(r->comm)};
  if (r->comm) {
    MC_TRY(mc_loader_create(&source, &loader, mc_broken_collect, &r->broken, &r->loader, err));
  } else {
    MC_TRY(mc_loader_create(&source, &loader, mc_watch_broken, (void *)(uintptr_t)callbacks, &r->loader, err));
  }
  bool routes = o->task == MOECLIP_TASK_AUTO && l->selector && l->n_tasks > 0;
  r->in_passing = routes && o->selection == MOECLIP_SELECT_PER_IMAGE && mc_routes_in_passing(l);
  if (!routes || mc_transforms_agree(&l->extractor.transform, &loader.transform)) return MOECLIP_OK;
  loader.transform = l->extractor.transform;
  return mc_loader_create(&source, &loader, NULL, NULL, &r->second, err);
}

/* Each group with its own prompts. */
static moeclip_code group_features(evaluating *r, int route, const mc_gate_noise *noise, float *out, moeclip_error *err) {
  size_t begin = 0, embed = (size_t)r->l->model->clip->sizes.embed;
  if (!r->group_end) {
    return mc_class_features(r->l, route, r->templates, r->n_templates, r->classes, r->n_classes, noise, out, err);
  }
  for (size_t g = 0; g < r->options->n_among; begin = r->group_end[g++]) {
    const moeclip_label_group *group = &r->options->among[g];
    MC_TRY(mc_class_features(r->l, route, group->templates, group->templates ? group->n_templates : 0, r->classes + begin,
                             r->group_end[g] - begin, noise, out + begin * embed, err));
  }
  return MOECLIP_OK;
}

/* Class features through one route, made when the first picture takes it. Those that are wanted by all ranks anyway are made
 * beforehand, together. */
static moeclip_code route_features(evaluating *r, int route, const float **out, moeclip_error *err) {
  float **kept = &r->features[route + 1];
  if (!*kept) {
    size_t n = r->n_classes * (size_t)r->l->model->clip->sizes.embed;
    *kept = mc_alloc(n, sizeof **kept);
    if (!*kept) return mc_fail_memory(err, n * sizeof **kept, "class features");
    mc_gate_noise noise = {mc_seed_of(r->options->seed, 1), (uint64_t)route, 0};
    MC_TRY(group_features(r, route, r->options->gate_noise ? &noise : NULL, *kept, err));
  }
  *out = *kept;
  return MOECLIP_OK;
}

static moeclip_code route_batch(evaluating *r, const mc_batch *batch, moeclip_error *err) {
  moeclip_learner *l = r->l;
  const moeclip_evaluate_options *o = r->options;
  const uint8_t *pixels = batch->pixels;
  for (int i = 0; i < batch->n; i++) r->tasks[i] = o->task == MOECLIP_TASK_AUTO ? r->by_name : o->task;
  if (o->task != MOECLIP_TASK_AUTO || !l->selector || l->n_tasks == 0) return MOECLIP_OK;
  if (r->second) {
    mc_batch other;
    bool end;
    MC_TRY(mc_loader_next(r->second, &other, &end, err));
    if (other.n != batch->n) {
      return mc_fail(err, MOECLIP_ERROR_IO, "%s: pictures changed while they were read", moeclip_dataset_path(r->dataset));
    }
    pixels = other.pixels;
  }
  return batch->n ? mc_route(l, pixels, batch->n, o->selection, r->tasks, NULL, NULL, err) : MOECLIP_OK;
}

/* By the method's own scores, not by cosines alone. best [batch->n]. */
static moeclip_code score_batch(evaluating *r, int n, size_t *best, moeclip_error *err) {
  moeclip_learner *l = r->l;
  size_t embed = (size_t)l->model->clip->sizes.embed, n_classes = r->n_classes;
  float scale = expf(mc_learner_clip(l)->logit_scale.value[0]);
  mc_choices choices = {n_classes, r->classes, -1};
  for (int i = 0; i < n; i++) {
    const float *classes;
    MC_TRY(route_features(r, r->tasks[i], &classes, err));
    for (size_t c = 0; c < n_classes; c++) {
      double cosine = 0;
      for (size_t k = 0; k < embed; k++) cosine += (double)r->pictures[(size_t)i * embed + k] * classes[c * embed + k];
      r->scores[(size_t)i * n_classes + c] = scale * (float)cosine;
    }
  }
  MC_TRY(l->method->score(l, r->pictures, n, &choices, r->scores, r->tasks, err));
  for (int i = 0; i < n; i++) {
    const float *scores = r->scores + (size_t)i * n_classes;
    best[i] = 0;
    for (size_t c = 1; c < n_classes; c++) {
      if (scores[c] > scores[best[i]]) best[i] = c;
    }
  }
  return MOECLIP_OK;
}

/* The candidates that are classes of a task. *out NULL: all are meant. */
static moeclip_code classes_within(evaluating *r, int route, const bool **out, moeclip_error *err) {
  *out = NULL;
  if (!r->inside || route < 0) return MOECLIP_OK;
  const mc_task *t = &r->l->tasks[route];
  bool *inside = r->inside[route + 1];
  if (!inside) {
    inside = r->inside[route + 1] = calloc(r->n_classes + 1, sizeof *inside);
    if (!inside) return mc_fail_memory(err, r->n_classes, "labels");
    bool any = false;
    for (size_t c = 0; c < r->n_classes; c++) {
      for (size_t k = 0; k < t->n_classes && !inside[c]; k++) inside[c] = strcmp(t->classes[k], r->classes[c]) == 0;
      any = any || inside[c];
    }
    for (size_t c = 0; !any && c < r->n_classes; c++) inside[c] = true;
  }
  *out = inside;
  return MOECLIP_OK;
}

/* inside: NULL for all. */
static size_t best_class(const float *picture, const float *classes, const bool *inside, size_t n_classes, size_t embed) {
  size_t best = 0;
  double highest = -INFINITY;
  for (size_t c = 0; c < n_classes; c++) {
    double cosine = 0;
    if (inside && !inside[c]) continue;
    for (size_t k = 0; k < embed; k++) cosine += (double)picture[k] * classes[c * embed + k];
    if (cosine > highest) {
      highest = cosine;
      best = c;
    }
  }
  return best;
}

static moeclip_code count_batch(evaluating *r, const mc_batch *batch, moeclip_evaluation *out, moeclip_error *err) {
  size_t embed = (size_t)r->l->model->clip->sizes.embed;
  if (r->scores) MC_TRY(score_batch(r, batch->n, r->best, err));
  for (int i = 0; i < batch->n; i++) {
    const float *classes = NULL;
    const bool *inside = NULL;
    int route = r->tasks[i];
    if (!r->scores) MC_TRY(route_features(r, route, &classes, err));
    if (!r->scores) MC_TRY(classes_within(r, route, &inside, err));
    size_t item = r->order ? r->order[batch->index[i]] : batch->index[i];
    size_t label = (size_t)moeclip_dataset_label(r->dataset, MOECLIP_TEST, item);
    size_t best = r->scores ? r->best[i] : best_class(r->pictures + (size_t)i * embed, classes, inside, r->n_classes, embed);
    bool right = best == (r->right ? r->right[label] : label);
    out->n++;
    out->n_right += right;
    out->routed[route + 1]++;
    out->routed_right[route + 1] += right;
    out->class_n[label]++;
    out->class_right[label] += right;
  }
  return MOECLIP_OK;
}

/* The route that most pictures will take: the task of the set's name, else the untouched CLIP. Each rank makes the features of some
 * classes. (With noise on the gates the random numbers go by the whole, so every rank makes all.) */
static moeclip_code expected_features(evaluating *r, moeclip_error *err) {
  moeclip_learner *l = r->l;
  int route = r->options->task, size = moeclip_comm_size(r->comm), rank = moeclip_comm_rank(r->comm);
  size_t embed = (size_t)l->model->clip->sizes.embed;
  for (int t = 0; route == MOECLIP_TASK_AUTO && t < l->n_tasks; t++) {
    if (strcmp(l->tasks[t].name, moeclip_dataset_name(r->dataset)) == 0) route = t;
  }
  if (route == MOECLIP_TASK_AUTO) route = MOECLIP_TASK_NONE;
  if (!r->comm || r->options->gate_noise || r->group_end) return MOECLIP_OK;
  float *out = mc_alloc(r->n_classes * embed + 1, sizeof *out);
  int64_t *rows = mc_alloc((size_t)size + 1, sizeof *rows);
  r->features[route + 1] = out;
  moeclip_code code = out && rows ? MOECLIP_OK : mc_fail_memory(err, r->n_classes * embed * sizeof *out, "class features");
  if (code == MOECLIP_OK) {
    for (int k = 0; k <= size; k++) rows[k] = mc_comm_share(r->comm, (int64_t)r->n_classes, k);
    code = mc_class_features(l, route, r->templates, r->n_templates, r->classes + rows[rank], (size_t)(rows[rank + 1] - rows[rank]),
                             NULL, out + (size_t)rows[rank] * embed, err);
  }
  code = moeclip_comm_agree(r->comm, code, err);
  if (code == MOECLIP_OK) mc_comm_gather_rows(r->comm, out, embed * sizeof *out, rows);
  free(rows);
  return code;
}

static void tell_broken(void *context, int64_t index, const char *item, const char *message) {
  (void)index;
  mc_watch_broken(context, item, message);
}

static moeclip_code add_up(evaluating *r, const moeclip_callbacks *callbacks, moeclip_evaluation *out, moeclip_error *err) {
  int64_t three[3] = {out->n, out->n_right, out->n_broken};
  if (!r->comm) return MOECLIP_OK;
  mc_comm_total(r->comm, three, 3);
  mc_comm_total(r->comm, out->routed, (size_t)out->n_routes);
  mc_comm_total(r->comm, out->routed_right, (size_t)out->n_routes);
  mc_comm_total(r->comm, out->class_n, out->n_classes);
  mc_comm_total(r->comm, out->class_right, out->n_classes);
  out->n = three[0];
  out->n_right = three[1];
  out->n_broken = three[2];
  MC_TRY(mc_broken_exchange(r->comm, &r->broken, NULL, tell_broken, (void *)(uintptr_t)callbacks, err));
  if (out->n > 0 || out->n_broken == 0) return MOECLIP_OK;
  mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the %lld pictures can be read", (long long)out->n_broken);
  return moeclip_comm_agree(r->comm, MOECLIP_ERROR_FORMAT, err);
}

static moeclip_code run(evaluating *r, const moeclip_callbacks *callbacks, moeclip_evaluation *out, moeclip_error *err) {
  mc_watch watch;
  mc_watch_begin(&watch, callbacks, "evaluate", moeclip_dataset_name(r->dataset), (int64_t)mc_loader_batches(r->loader), 1e9);
  watch.progress.loss = NAN;
  for (;;) {
    mc_batch batch;
    bool end, stop;
    MC_TRY(mc_loader_next(r->loader, &batch, &end, err));
    if (end) break;
    mc_gate_noise noise = {mc_seed_of(r->options->seed, 2), batch.number, 0};
    const mc_gate_noise *wanted = r->options->gate_noise ? &noise : NULL;
    mc_chosen chosen = {.tasks = r->tasks};
    if (r->in_passing) {
      MC_TRY(mc_choose_and_encode(r->l, batch.pixels, batch.n, &chosen, wanted, NULL, r->pictures, err));
    } else {
      MC_TRY(route_batch(r, &batch, err));
      MC_TRY(mc_picture_features(r->l, batch.pixels, batch.n, r->tasks, wanted, NULL, r->pictures, err));
    }
    MC_TRY(count_batch(r, &batch, out, err));
    watch.progress.step++;
    watch.progress.images = out->n;
    watch.progress.waited_seconds = mc_loader_waited(r->loader);
    mc_watch_step(&watch, &stop);
    if (stop) return mc_watch_cancelled(&watch, err);
  }
  out->n_broken = (int64_t)mc_loader_broken(r->loader);
  return MOECLIP_OK;
}

/* The candidates of no_labels. *groups: to be freed; what they point to is the learner's. */
static moeclip_code among_all_tasks(const moeclip_learner *l, moeclip_evaluate_options *o, moeclip_label_group **groups,
                                    moeclip_error *err) {
  size_t n = (size_t)l->n_tasks;
  if (n == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "nothing was learned yet, so there are no classes to choose from without labels");
  }
  if (o->among || o->n_templates) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "without labels, candidates and prompts are those of the tasks: give no others");
  }
  *groups = mc_alloc(n, sizeof **groups);
  if (!*groups) return mc_fail_memory(err, n * sizeof **groups, "labels");
  for (size_t t = 0; t < n; t++) {
    const mc_task *task = &l->tasks[t];
    (*groups)[t] = (moeclip_label_group){(const char *const *)task->classes, task->n_classes, (const char *const *)task->templates,
                                         task->n_templates};
  }
  o->among = *groups;
  o->n_among = n;
  o->within_task = 1;
  return MOECLIP_OK;
}

moeclip_code moeclip_learner_evaluate(moeclip_learner *l, const moeclip_dataset *dataset,
                                      const moeclip_evaluate_options *options, const moeclip_callbacks *callbacks,
                                      moeclip_evaluation *out, moeclip_error *err) {
  moeclip_evaluate_options o;
  moeclip_evaluate_options_defaults(&o);
  if (options) o = *options;
  moeclip_label_group *groups = NULL;
  evaluating r = {.l = l, .comm = l->model->options.comm, .dataset = dataset, .options = &o};
  *out = (moeclip_evaluation){0};
  moeclip_code code = o.no_labels ? among_all_tasks(l, &o, &groups, err) : MOECLIP_OK;
  if (code == MOECLIP_OK) code = start(&r, callbacks, out, err);
  code = moeclip_comm_agree(r.comm, code, err);
  double began = mc_now();
  if (code == MOECLIP_OK) code = expected_features(&r, err);
  if (code == MOECLIP_OK) code = moeclip_comm_agree(r.comm, run(&r, callbacks, out, err), err);
  if (code == MOECLIP_OK) code = add_up(&r, callbacks, out, err);
  out->accuracy = out->n ? (double)out->n_right / (double)out->n : NAN;
  out->seconds = mc_now() - began;
  mc_loader_destroy(r.loader);
  mc_loader_destroy(r.second);
  for (int t = 0; r.features && t < out->n_routes; t++) free(r.features[t]);
  for (int t = 0; r.inside && t < out->n_routes; t++) free(r.inside[t]);
  free(r.inside);
  free(r.features);
  free(r.broken.text);
  free(r.classes);
  free(r.group_end);
  free(r.right);
  free(r.order);
  free(r.pictures);
  free(r.tasks);
  free(r.scores);
  free(r.best);
  free(groups);
  if (code != MOECLIP_OK) moeclip_evaluation_clear(out);
  return code;
}

void moeclip_evaluation_clear(moeclip_evaluation *e) {
  free(e->routed);
  free(e->routed_right);
  free(e->class_n);
  free(e->class_right);
  *e = (moeclip_evaluation){0};
}
