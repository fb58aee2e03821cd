/*
 * Making the selector's model of one domain, an autoencoder (method.md section 4) or Gaussians, and setting its threshold.
 *
 * The threshold, when the user gives none: a seeded tenth of the training pictures (8 to 256 of them) is held out and not
 * trained on. Let a be the 99th percentile of their errors (evaluation transform). Without reference pictures the threshold
 * is 1.1 a. With them, let r be the 5th percentile of the errors that the same model makes on the kept reference
 * pictures: when r > a, the two kinds can be told apart and the threshold lies between, at their geometric mean, though
 * never above 1.5 a; else it is a. Fewer than 16 pictures are all trained on; the margin is then 1.5. When the user gives a
 * rate of false alarms, the threshold is the percentile that it means, without a margin.
 *
 * Gaussians are fitted to one pass over the training pictures (training transform), or to several when those are few: to at
 * least LEAST_SEEN crops.
 */
#include "learn/select_train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/shared_loader.h"
#include "train/watch.h"

enum { MIN_HELD = 8, MAX_HELD = 256, KEPT_REFERENCE = 128, FEW = 16, LEAST_SEEN = 2048 };
static const float WEIGHT_DECAY = 1e-4f;

/* Some pictures of a source. */
typedef struct subset {
  const mc_image_source *of;
  const uint32_t *index;
} subset;

static moeclip_code subset_load(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const subset *s = context;
  return s->of->load(s->of->context, s->index[i], out, err);
}

static moeclip_code subset_name(void *context, size_t i, char *out, size_t n_out) {
  const subset *s = context;
  return s->of->item_name(s->of->context, s->index[i], out, n_out);
}

typedef struct selecting {
  moeclip_learner *l;
  moeclip_comm *comm; /* NULL: alone */
  int task;
  const char *name;
  const moeclip_task_options *options;
  const moeclip_callbacks *callbacks;
  moeclip_learn_report *report;
  uint64_t seed;
  subset trained, held;
  mc_image_source trained_source, held_source;
  bool few;
  const int32_t *labels; /* of all pictures of the source; NULL: one class */
  int64_t n_classes;
  mc_autoencoder autoencoder;
  mc_moments moments;
  mc_gaussian gaussian;
  int32_t *batch_labels; /* [batch] */
  float *features; /* [batch, dim] */
} selecting;

static mc_loader_options loader_options(const selecting *r) {
  const moeclip_task_options *o = r->options;
  return (mc_loader_options){.transform = r->l->extractor.transform, .batch = o->batch,
                             .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(r->l->model->compute),
                             .seed = r->seed};
}

static bool fits_gaussian(const selecting *r) { return r->l->extractor.kind != MC_SELECTOR_AUTOENCODER; }

/* All ranks get all rows of a batch's features, each having computed its own. */
static moeclip_code gather_features(selecting *r, const mc_shared_batch *batch, moeclip_error *err) {
  size_t dim = (size_t)r->l->extractor.dim;
  float *own = r->features + (size_t)batch->begin[moeclip_comm_rank(r->comm)] * dim;
  MC_TRY(moeclip_comm_agree(r->comm, mc_selector_features(r->l, batch->own.pixels, batch->own.n, own, err), err));
  mc_comm_gather_rows(r->comm, r->features, dim * sizeof *own, batch->begin);
  return MOECLIP_OK;
}

static moeclip_code add_to_moments(selecting *r, const mc_shared_batch *batch, moeclip_error *err) {
  int32_t *own = r->batch_labels + batch->begin[moeclip_comm_rank(r->comm)];
  MC_TRY(gather_features(r, batch, err));
  for (int i = 0; i < batch->own.n; i++) own[i] = r->labels ? r->labels[r->trained.index[batch->own.index[i]]] : 0;
  mc_comm_gather_rows(r->comm, r->batch_labels, sizeof *own, batch->begin);
  moeclip_code code = mc_moments_add(r->l->model->compute, &r->moments, r->features, r->batch_labels, batch->n_all, err);
  if (code == MOECLIP_ERROR_NUMERIC) mc_fail_prefix(err, r->name);
  return moeclip_comm_agree(r->comm, code, err);
}

static moeclip_code train_step(selecting *r, mc_autoencoder_trainer *trainer, const mc_shared_batch *batch, int64_t step, double lr,
                               double *loss, moeclip_error *err) {
  moeclip_model *m = r->l->model;
  const mc_batch *own = &batch->own;
  if (batch->n_all == 0) return MOECLIP_OK;
  if (!trainer) return add_to_moments(r, batch, err);
  moeclip_code code = mc_selector_features(r->l, own->pixels, own->n, r->features, err);
  MC_TRY(moeclip_comm_agree(r->comm, code, err));
  code = mc_autoencoder_shared_step(m->compute, trainer, r->features, own->n, batch->n_all, lr, loss, &m->arena, err);
  if (code == MOECLIP_ERROR_NUMERIC) {
    char where[320];
    snprintf(where, sizeof where, "the selector of %.200s, step %lld, learning rate %g", r->name, (long long)step, lr);
    return mc_fail_prefix(err, where);
  }
  return code;
}

static moeclip_code train_steps(selecting *r, mc_autoencoder_trainer *trainer, mc_shared_loader *loader, moeclip_error *err) {
  const moeclip_task_options *o = r->options;
  int64_t n_steps = o->selector_iterations + 1, images = 0; /* "plus one": as published */
  if (!trainer) {
    int64_t pass = (int64_t)r->trained_source.count, wanted = ((pass > LEAST_SEEN ? pass : LEAST_SEEN) + o->batch - 1) / o->batch;
    n_steps = o->selector_iterations < wanted ? o->selector_iterations : wanted;
  }
  /* As published, an epoch is one of the whole training set, also when few of its pictures are used. */
  int64_t epoch_steps = (int64_t)mc_shared_loader_batches(loader);
  mc_watch watch;
  mc_watch_begin(&watch, r->callbacks, "selector", r->name, n_steps, 1e9);
  for (int64_t step = 0; step < n_steps; step++) {
    mc_shared_batch batch;
    bool end, stop;
    /* NOLINTNEXTLINE(bugprone-integer-division): whole epochs */
    double loss = NAN, lr = trainer ? o->selector_learning_rate * pow(0.1, (double)(step / epoch_steps / 10)) : NAN;
    MC_TRY(mc_shared_loader_next(loader, &batch, &end, err));
    MC_TRY(train_step(r, trainer, &batch, step, lr, &loss, err));
    images += batch.n_all;
    watch.progress.step = step + 1;
    watch.progress.images = images;
    watch.progress.loss = loss;
    watch.progress.learning_rate = lr;
    watch.progress.waited_seconds = mc_shared_loader_waited(loader);
    mc_watch_step(&watch, &stop);
    if (moeclip_comm_any(r->comm, stop) && step + 1 < n_steps) return moeclip_comm_agree(r->comm, mc_watch_cancelled(&watch, err), err);
  }
  r->report->images += images;
  r->report->broken += mc_shared_loader_broken(loader);
  return MOECLIP_OK;
}

/* Rank 0's numbers are everyone's: other processors may round otherwise. */
static moeclip_code fit(selecting *r, moeclip_error *err) {
  mc_gaussian *g = &r->gaussian;
  moeclip_code code = mc_gaussian_fit(r->l->model->compute, g, &r->moments, (int64_t)r->trained_source.count,
                                      r->l->options.selector_hidden, r->seed, err);
  MC_TRY(moeclip_comm_agree(r->comm, code, err));
  mc_param *params[] = {&g->mean, &g->basis, &g->variance};
  for (int i = 0; i < 3; i++) moeclip_comm_broadcast(r->comm, params[i]->value, (size_t)params[i]->n * sizeof(float));
  return MOECLIP_OK;
}

static moeclip_code train(selecting *r, moeclip_error *err) {
  mc_autoencoder_trainer *trainer = NULL;
  mc_shared_loader *loader = NULL;
  mc_loader_options options = loader_options(r);
  options.shuffle = options.augment = options.repeat = true;
  options.augment_once = r->options->shots_augment_once != 0;
  moeclip_code code;
  if (fits_gaussian(r)) {
    code = mc_moments_create(&r->moments, r->l->extractor.dim, r->n_classes, err);
    r->batch_labels = mc_alloc((size_t)r->options->batch, sizeof *r->batch_labels);
    if (code == MOECLIP_OK && !r->batch_labels) code = mc_fail_memory(err, (size_t)r->options->batch * sizeof(int32_t), "labels");
  } else {
    code = mc_autoencoder_create(&r->autoencoder, r->l->extractor.dim, r->l->options.selector_hidden, r->seed, 0, err);
    if (code == MOECLIP_OK) code = mc_autoencoder_trainer_create(&r->autoencoder, WEIGHT_DECAY, &trainer, err);
  }
  code = moeclip_comm_agree(r->comm, code, err);
  if (code == MOECLIP_OK && trainer) code = mc_autoencoder_trainer_join(trainer, r->comm, err);
  if (code == MOECLIP_OK) code = mc_shared_loader_create(r->comm, &r->trained_source, &options, r->callbacks, &loader, err);
  if (code == MOECLIP_OK) code = train_steps(r, trainer, loader, err);
  if (code == MOECLIP_OK && !trainer) code = fit(r, err);
  mc_shared_loader_destroy(loader);
  mc_autoencoder_trainer_destroy(trainer);
  return code;
}

/* --- held-out pictures --------------------------------------------------------------------------------------------------- */

/* What to do with the features of some held-out pictures [n, dim]. */
typedef moeclip_code (*features_visitor)(selecting *r, const float *features, int64_t n, void *context, moeclip_error *err);

static moeclip_code each_held(selecting *r, features_visitor visit, void *context, moeclip_error *err) {
  mc_shared_loader *loader;
  mc_loader_options options = loader_options(r);
  MC_TRY(mc_shared_loader_create(r->comm, &r->held_source, &options, r->callbacks, &loader, err));
  moeclip_code code = MOECLIP_OK;
  while (code == MOECLIP_OK) {
    mc_shared_batch batch;
    bool end = false;
    code = mc_shared_loader_next(loader, &batch, &end, err);
    if (end || code != MOECLIP_OK) break;
    /* Each rank computes its part, and all go on with the whole. */
    code = gather_features(r, &batch, err);
    if (code == MOECLIP_OK && batch.n_all) code = visit(r, r->features, batch.n_all, context, err);
    code = moeclip_comm_agree(r->comm, code, err);
  }
  if (!r->few) r->report->broken += mc_shared_loader_broken(loader);
  mc_shared_loader_destroy(loader);
  return code;
}

typedef struct error_list {
  float *values;
  size_t n;
} error_list;

static moeclip_code collect_errors(selecting *r, const float *features, int64_t n, void *context, moeclip_error *err) {
  error_list *list = context;
  moeclip_model *m = r->l->model;
  float *errors = list->values + list->n;
  MC_TRY(fits_gaussian(r) ? mc_gaussian_errors(m->compute, &r->gaussian, features, n, errors, &m->arena, err)
                          : mc_autoencoder_errors(m->compute, &r->autoencoder, features, n, errors, &m->arena, err));
  list->n += (size_t)n;
  return MOECLIP_OK;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* The smallest value that at least `share` of the list does not exceed. */
static double percentile(error_list *list, double share) {
  qsort(list->values, list->n, sizeof *list->values, by_value);
  size_t rank = (size_t)ceil(share * (double)list->n);
  return list->values[rank > 0 ? rank - 1 : 0];
}

static moeclip_code reference_errors(selecting *r, error_list *list, moeclip_error *err) {
  int64_t n = mc_selector_reference(r->l->selector), batch = r->options->batch;
  list->values = mc_alloc((size_t)n, sizeof *list->values);
  if (!list->values) return mc_fail_memory(err, (size_t)n * sizeof *list->values, "the selector");
  for (int64_t at = 0; at < n; at += batch) {
    int64_t count = n - at < batch ? n - at : batch;
    mc_selector_reference_features(r->l->selector, at, count, r->features);
    MC_TRY(collect_errors(r, r->features, count, list, err));
  }
  return MOECLIP_OK;
}

static moeclip_code calibrate(selecting *r, double *threshold, moeclip_error *err) {
  error_list own = {mc_alloc(r->held_source.count, sizeof(float)), 0}, reference = {NULL, 0};
  moeclip_code code = own.values ? each_held(r, collect_errors, &own, err) : mc_fail_memory(err, r->held_source.count, "errors");
  if (code == MOECLIP_OK) code = reference_errors(r, &reference, err);
  if (code == MOECLIP_OK && own.n == 0) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: none of the pictures held out for the selector's threshold can be read", r->name);
  }
  if (code == MOECLIP_OK) {
    double rate = r->options->selector_false_alarms, a = percentile(&own, rate > 0 ? 1 - rate : 0.99);
    *threshold = rate > 0 ? a : (r->few ? 1.5 : 1.1) * a;
    if (reference.n > 0 && rate <= 0) {
      double low = percentile(&reference, 0.05), between = low > a ? sqrt(a * low) : a;
      *threshold = between < 1.5 * a ? between : 1.5 * a;
    }
  }
  free(own.values);
  free(reference.values);
  return code;
}

typedef struct kept_features {
  float *values;
  int64_t n;
} kept_features;

static moeclip_code keep_features(selecting *r, const float *features, int64_t n, void *context, moeclip_error *err) {
  kept_features *kept = context;
  int64_t dim = r->l->extractor.dim;
  (void)err;
  for (int64_t i = 0; i < n && kept->n < KEPT_REFERENCE; i++, kept->n++) {
    memcpy(kept->values + kept->n * dim, features + i * dim, (size_t)dim * sizeof *features);
  }
  return MOECLIP_OK;
}

static moeclip_code keep_reference(selecting *r, moeclip_error *err) {
  size_t each = (size_t)r->l->extractor.dim * sizeof(float);
  kept_features kept = {mc_alloc(KEPT_REFERENCE, each), 0};
  if (!kept.values) return mc_fail_memory(err, KEPT_REFERENCE * each, "reference features");
  moeclip_code code = each_held(r, keep_features, &kept, err);
  if (code == MOECLIP_OK) code = mc_selector_keep_reference(r->l->selector, kept.values, kept.n, err);
  free(kept.values);
  return code;
}

/* The ranks must have made the same model. */
static moeclip_code check_same(selecting *r, moeclip_error *err) {
  const mc_param *params[] = {&r->autoencoder.encoder_weight, &r->autoencoder.encoder_bias, &r->autoencoder.decoder_weight,
                              &r->autoencoder.decoder_bias, &r->gaussian.mean, &r->gaussian.basis, &r->gaussian.variance};
  uint64_t hash = 0;
  if (!r->comm) return MOECLIP_OK;
  for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
    if (params[i]->n > 0) hash = mc_comm_hash(hash, params[i]->value, (size_t)params[i]->n * sizeof(float));
  }
  return mc_comm_same(r->comm, hash, "parameters of the selector (the ranks have drifted apart)", err);
}

/* --- all of it ----------------------------------------------------------------------------------------------------------- */

static moeclip_code run(selecting *r, moeclip_error *err) {
  double threshold = r->options->threshold;
  MC_TRY(train(r, err));
  MC_TRY(check_same(r, err));
  if (r->task < 0) {
    MC_TRY(keep_reference(r, err));
  } else if (isnan(threshold)) {
    MC_TRY(calibrate(r, &threshold, err));
  }
  return fits_gaussian(r) ? mc_selector_add_gaussian(r->l->selector, r->task, &r->gaussian, threshold, err)
                          : mc_selector_add(r->l->selector, r->task, &r->autoencoder, threshold, err);
}

moeclip_code mc_train_selector(moeclip_learner *l, int task, const mc_image_source *pictures, const int32_t *labels,
                               const moeclip_task_options *options, const moeclip_callbacks *callbacks,
                               moeclip_learn_report *report, moeclip_error *err) {
  size_t n = pictures->count, n_held = n / 10;
  selecting r = {.l = l, .comm = l->model->options.comm, .task = task,
                 .name = task < 0 ? "reference" : l->tasks[task].name, .options = options, .callbacks = callbacks, .report = report, .few = n < FEW, .n_classes = 1,
                 .seed = mc_seed_of(l->options.seed ^ UINT64_C(0x5e1ec7), (uint64_t)((int64_t)task + 1))};
  if (task >= 0 && labels && l->extractor.kind == MC_SELECTOR_PROTOTYPES) {
    r.labels = labels;
    r.n_classes = (int64_t)l->tasks[task].n_classes;
  }
  if (n > UINT32_MAX) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: too many pictures", r.name);
  uint32_t *order = mc_alloc(n, sizeof *order);
  r.features = mc_aligned_alloc((size_t)options->batch, (size_t)l->extractor.dim * sizeof *r.features);
  moeclip_code code = order && r.features ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *order, "the selector");
  code = moeclip_comm_agree(r.comm, code, err);
  if (code == MOECLIP_OK) {
    mc_philox g;
    mc_philox_init(&g, r.seed, MC_STREAM_SPLIT, 0);
    mc_philox_permutation(&g, (uint32_t)n, order);
    n_held = n_held < MIN_HELD ? MIN_HELD : n_held > MAX_HELD ? MAX_HELD : n_held;
    if (r.few) n_held = 0;
    r.held = (subset){pictures, order};
    r.trained = (subset){pictures, order + n_held};
    r.trained_source = (mc_image_source){n - n_held, &r.trained, subset_load, subset_name};
    r.held_source = (mc_image_source){r.few ? n : n_held, &r.held, subset_load, subset_name};
    code = run(&r, err);
  }
  mc_autoencoder_clear(&r.autoencoder);
  mc_moments_clear(&r.moments);
  mc_gaussian_clear(&r.gaussian);
  free(r.batch_labels);
  mc_aligned_free(r.features);
  free(order);
  return code;
}
