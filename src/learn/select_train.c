/*
 * Training one autoencoder of the selector (method.md section 4) and setting its threshold.
 *
 * The threshold, when the user gives none: a seeded tenth of the training pictures (8 to 256 of them) is held out and not
 * trained on. Let a be the 99th percentile of their errors (evaluation transform). Without reference pictures the threshold
 * is 1.1 a. With them, let r be the 5th percentile of the errors that the same autoencoder makes on the kept reference
 * pictures: when r > a, the two kinds can be told apart and the threshold lies between, at their geometric mean, though
 * never above 1.5 a; else it is a. Fewer than 16 pictures are all trained on; the margin is then 1.5.
 */
#include "learn/select_train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/shared_loader.h"
#include "train/watch.h"

enum { MIN_HELD = 8, MAX_HELD = 256, KEPT_REFERENCE = 128, FEW = 16 };
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
  mc_autoencoder autoencoder;
  float *features; /* [batch, dim] */
} selecting;

static mc_loader_options loader_options(const selecting *r) {
  const moeclip_task_options *o = r->options;
  return (mc_loader_options){.image_size = r->l->extractor.image_size, .batch = o->batch,
                             .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(r->l->model->compute),
                             .seed = r->seed};
}

static moeclip_code train_step(selecting *r, mc_autoencoder_trainer *trainer, const mc_shared_batch *batch, int64_t step, double lr,
                               double *loss, moeclip_error *err) {
  moeclip_model *m = r->l->model;
  const mc_batch *own = &batch->own;
  if (batch->n_all == 0) return MOECLIP_OK;
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
  /* As published, an epoch is one of the whole training set, also when few of its pictures are used. */
  int64_t epoch_steps = (int64_t)mc_shared_loader_batches(loader);
  mc_watch watch;
  mc_watch_begin(&watch, r->callbacks, "selector", r->name, n_steps, 1e9);
  for (int64_t step = 0; step < n_steps; step++) {
    mc_shared_batch batch;
    bool end, stop;
    /* NOLINTNEXTLINE(bugprone-integer-division): whole epochs */
    double loss = NAN, lr = o->selector_learning_rate * pow(0.1, (double)(step / epoch_steps / 10));
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

static moeclip_code train(selecting *r, moeclip_error *err) {
  mc_autoencoder_trainer *trainer = NULL;
  mc_shared_loader *loader = NULL;
  mc_loader_options options = loader_options(r);
  options.shuffle = options.augment = options.repeat = true;
  options.augment_once = r->options->shots_augment_once != 0;
  moeclip_code code = mc_autoencoder_create(&r->autoencoder, r->l->extractor.dim, r->l->options.selector_hidden, r->seed, 0, err);
  if (code == MOECLIP_OK) code = mc_autoencoder_trainer_create(&r->autoencoder, WEIGHT_DECAY, &trainer, err);
  code = moeclip_comm_agree(r->comm, code, err);
  if (code == MOECLIP_OK) code = mc_autoencoder_trainer_join(trainer, r->comm, err);
  if (code == MOECLIP_OK) code = mc_shared_loader_create(r->comm, &r->trained_source, &options, r->callbacks, &loader, err);
  if (code == MOECLIP_OK) code = train_steps(r, trainer, loader, err);
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
  int rank = moeclip_comm_rank(r->comm);
  size_t dim = (size_t)r->l->extractor.dim;
  MC_TRY(mc_shared_loader_create(r->comm, &r->held_source, &options, r->callbacks, &loader, err));
  moeclip_code code = MOECLIP_OK;
  while (code == MOECLIP_OK) {
    mc_shared_batch batch;
    bool end = false;
    code = mc_shared_loader_next(loader, &batch, &end, err);
    if (end || code != MOECLIP_OK) break;
    /* Each rank computes its part, and all go on with the whole. */
    float *own = r->features + (size_t)batch.begin[rank] * dim;
    code = moeclip_comm_agree(r->comm, mc_selector_features(r->l, batch.own.pixels, batch.own.n, own, err), err);
    if (code == MOECLIP_OK) mc_comm_gather_rows(r->comm, r->features, dim * sizeof *own, batch.begin);
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
  MC_TRY(mc_autoencoder_errors(m->compute, &r->autoencoder, features, n, list->values + list->n, &m->arena, err));
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
  const uint8_t *kept;
  int64_t n = mc_selector_reference(r->l->selector, &kept), dim = r->l->extractor.dim, batch = r->options->batch;
  list->values = mc_alloc((size_t)n, sizeof *list->values);
  if (!list->values) return mc_fail_memory(err, (size_t)n * sizeof *list->values, "the selector");
  for (int64_t at = 0; at < n; at += batch) {
    int64_t count = n - at < batch ? n - at : batch;
    for (int64_t i = 0; i < count * dim; i++) r->features[i] = (float)kept[at * dim + i] / 255.0f;
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
    double a = percentile(&own, 0.99);
    *threshold = (r->few ? 1.5 : 1.1) * a;
    if (reference.n > 0) {
      double low = percentile(&reference, 0.05), between = low > a ? sqrt(a * low) : a;
      *threshold = between < 1.5 * a ? between : 1.5 * a;
    }
  }
  free(own.values);
  free(reference.values);
  return code;
}

typedef struct kept_features {
  uint8_t *values;
  int64_t n;
} kept_features;

static moeclip_code keep_features(selecting *r, const float *features, int64_t n, void *context, moeclip_error *err) {
  kept_features *kept = context;
  int64_t dim = r->l->extractor.dim;
  (void)err;
  for (int64_t i = 0; i < n && kept->n < KEPT_REFERENCE; i++, kept->n++) {
    for (int64_t k = 0; k < dim; k++) kept->values[kept->n * dim + k] = (uint8_t)lrintf(255.0f * features[i * dim + k]);
  }
  return MOECLIP_OK;
}

static moeclip_code keep_reference(selecting *r, moeclip_error *err) {
  kept_features kept = {mc_alloc(KEPT_REFERENCE, (size_t)r->l->extractor.dim), 0};
  if (!kept.values) return mc_fail_memory(err, KEPT_REFERENCE * (size_t)r->l->extractor.dim, "reference features");
  moeclip_code code = each_held(r, keep_features, &kept, err);
  if (code == MOECLIP_OK) code = mc_selector_keep_reference(r->l->selector, kept.values, kept.n, err);
  free(kept.values);
  return code;
}

/* The ranks must have made the same autoencoder. */
static moeclip_code check_same(selecting *r, moeclip_error *err) {
  const mc_param *params[] = {&r->autoencoder.encoder_weight, &r->autoencoder.encoder_bias, &r->autoencoder.decoder_weight,
                              &r->autoencoder.decoder_bias};
  uint64_t hash = 0;
  if (!r->comm) return MOECLIP_OK;
  for (int i = 0; i < 4; i++) hash = mc_comm_hash(hash, params[i]->value, (size_t)params[i]->n * sizeof(float));
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
  return mc_selector_add(r->l->selector, r->task, &r->autoencoder, threshold, err);
}

moeclip_code mc_train_selector(moeclip_learner *l, int task, const mc_image_source *pictures,
                               const moeclip_task_options *options, const moeclip_callbacks *callbacks,
                               moeclip_learn_report *report, moeclip_error *err) {
  size_t n = pictures->count, n_held = n / 10;
  selecting r = {.l = l, .comm = l->model->options.comm, .task = task,
                 .name = task < 0 ? "reference" : l->tasks[task].name, .options = options, .callbacks = callbacks, .report = report, .few = n < FEW,
                 .seed = mc_seed_of(l->options.seed ^ UINT64_C(0x5e1ec7), (uint64_t)((int64_t)task + 1))};
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
  mc_aligned_free(r.features);
  free(order);
  return code;
}
