#include "train/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/shared_loader.h"
#include "train/step.h"

int64_t mc_one_pass_steps(const moeclip_task_options *o, size_t n) { return ((int64_t)n + o->batch - 1) / o->batch; }

int64_t mc_task_steps(const moeclip_task_options *o, size_t n) {
  return o->epochs > 0 ? o->epochs * mc_one_pass_steps(o, n) : o->iterations + 1;
}

static int64_t steps_of(const mc_task_training *t) {
  return t->one_pass ? mc_one_pass_steps(t->options, t->pictures.count) : mc_task_steps(t->options, t->pictures.count);
}

int64_t mc_task_warmup(const moeclip_task_options *o) {
  if (o->warmup >= 0) return o->warmup;
  return o->iterations / 5 < 100 ? o->iterations / 5 : 100;
}

typedef struct training {
  const mc_task_training *t;
  moeclip_comm *comm; /* NULL: alone */
  mc_adamw *optimizer;
  mc_shared_loader *loader;
  mc_reduction *reduction; /* NULL: alone */
  mc_step_options step_options;
  mc_step_share share;
  float *images;
  int32_t *labels, *texts, *tasks;
  double tail_loss;
  int64_t tail_steps, n_images;
} training;

/* What this rank does without the others. */
static moeclip_code prepare(training *r, moeclip_error *err) {
  const mc_task_training *t = r->t;
  const moeclip_task_options *o = t->options;
  int size = t->clip->sizes.image_size;
  size_t n_pixels = (size_t)o->batch * 3 * (size_t)size * (size_t)size, n_classes = t->n_classes;
  size_t n_tasks = (size_t)o->batch > n_classes ? (size_t)o->batch : n_classes;
  mc_adamw_options adamw = mc_adamw_defaults();
  adamw.weight_decay = (float)o->weight_decay;
  MC_TRY(mc_adamw_create(&adamw, &r->optimizer, err));
  r->images = mc_aligned_alloc(n_pixels, sizeof *r->images);
  r->labels = mc_alloc((size_t)o->batch, sizeof *r->labels);
  if (!r->images || !r->labels) return mc_fail_memory(err, n_pixels * sizeof *r->images, "a batch");
  if (t->one_pass) return MOECLIP_OK;
  MC_TRY(t->adapters ? mc_adapters_each(t->adapters, mc_adamw_add, r->optimizer, err)
                     : mc_clip_each(t->clip, mc_adamw_add, r->optimizer, err));
  if (t->resume) MC_TRY(mc_adamw_load(r->optimizer, t->resume, err));
  MC_TRY(mc_model_prompts(t->model, &t->template, 1, t->classes, n_classes, &r->texts, err));
  r->tasks = mc_alloc(n_tasks, sizeof *r->tasks);
  if (!r->tasks) return mc_fail_memory(err, n_tasks * sizeof *r->tasks, "a batch");
  for (size_t i = 0; i < n_tasks; i++) r->tasks[i] = t->router;
  mc_routing routing = {.task = t->adapters ? r->tasks : NULL, .top_k = t->top_k, .noise = true, .count = true,
                        .dropout = (float)o->dropout, .scale = t->adapters ? t->adapters->sizes.scale : 0,
                        .seed = mc_seed_of(t->seed, (uint64_t)t->task)};
  r->step_options = (mc_step_options){.image_routing = routing, .text_routing = routing,
                                      .smoothing = (float)o->label_smoothing, .balance = (float)o->balance, .kept_bytes = o->kept_bytes};
  return MOECLIP_OK;
}

static moeclip_code start(training *r, moeclip_error *err) {
  const mc_task_training *t = r->t;
  const moeclip_task_options *o = t->options;
  MC_TRY(moeclip_comm_agree(r->comm, prepare(r, err), err));
  if (r->comm && !t->one_pass) {
    MC_TRY(mc_reduction_create(r->comm, t->adapters, t->clip, (int64_t)t->n_classes * t->clip->sizes.embed, &r->reduction, err));
    MC_TRY(mc_reduction_check(r->reduction, err));
    r->share = (mc_step_share){.comm = r->comm, .reduction = r->reduction};
    r->step_options.share = &r->share;
  }
  mc_loader_options loader = {.transform = t->clip->transform,
                              .batch = o->batch,
                              .shuffle = !t->one_pass,
                              .augment = !t->one_pass,
                              .repeat = !t->one_pass,
                              .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(t->model->compute),
                              .augment_once = o->shots_augment_once != 0,
                              .seed = mc_seed_of(t->seed, (uint64_t)t->task),
                              .first_batch = (uint64_t)t->first_step};
  return mc_shared_loader_create(r->comm, &t->pictures, &loader, t->callbacks, &r->loader, err);
}

static moeclip_code say_where(const mc_task_training *t, moeclip_code code, int64_t step, double lr, moeclip_error *err) {
  char where[320];
  if (code != MOECLIP_ERROR_NUMERIC) return code;
  snprintf(where, sizeof where, "task %.200s, step %lld, learning rate %g", t->name, (long long)step, lr);
  return mc_fail_prefix(err, where);
}

moeclip_code mc_gradient_step(mc_training_step *s, double *loss, moeclip_error *err) {
  moeclip_model *m = s->model;
  moeclip_code code = mc_classification_step(m->compute, s->clip, s->adapters, s->options, s->images, s->labels, s->n, s->texts,
                                             s->n_texts, loss, NULL, &m->arena, err);
  if (code == MOECLIP_OK) {
    code = mc_adamw_check(s->optimizer, err);
    if (code != MOECLIP_OK) code = moeclip_comm_agree(m->options.comm, code, err); /* the sums are the same everywhere */
  }
  if (code == MOECLIP_OK) mc_adamw_step(s->optimizer, m->compute, s->learning_rate);
  return code;
}

static moeclip_code run_step(training *r, const mc_shared_batch *batch, int64_t step, double lr, double *loss,
                             moeclip_error *err) {
  const mc_task_training *t = r->t;
  moeclip_model *m = t->model;
  const mc_batch *own = &batch->own;
  if (batch->n_all == 0) return MOECLIP_OK;
  for (int i = 0; i < own->n; i++) r->labels[i] = t->labels[own->index[i]];
  mc_normalize_pixels(m->compute, own->pixels, own->n, &t->clip->transform, r->images);
  r->step_options.image_routing.step = r->step_options.text_routing.step = (uint64_t)step;
  r->share.begin = batch->begin;
  mc_training_step s = {.model = m, .clip = t->clip, .adapters = t->adapters, .number = step, .learning_rate = lr, .n = own->n,
                        .images = r->images, .labels = r->labels, .index = own->index, .n_all = batch->n_all,
                        .begin = batch->begin, .texts = r->texts, .n_texts = (int64_t)t->n_classes,
                        .options = &r->step_options, .optimizer = r->optimizer};
  moeclip_code code = t->step ? t->step(t->context, &s, loss, err) : mc_gradient_step(&s, loss, err);
  return say_where(t, code, step, lr, err);
}

/* The ranks stop at the same step, and rank 0's clock says when a checkpoint is due. */
static moeclip_code checkpoint_or_stop(training *r, mc_watch *watch, int64_t step, bool last, bool stop, moeclip_error *err) {
  const mc_task_training *t = r->t;
  int wanted = (stop ? 1 : 0) | (moeclip_comm_rank(r->comm) == 0 && mc_watch_checkpoint_due(watch) ? 2 : 0);
  wanted = moeclip_comm_any(r->comm, wanted);
  /* The parameters are the same everywhere. */
  if (last || (t->checkpoint && wanted)) {
    moeclip_code code = mc_adamw_check_values(r->optimizer, err);
    MC_TRY(say_where(t, moeclip_comm_agree(r->comm, code, err), step - 1, watch->progress.learning_rate, err));
  }
  if (last) return MOECLIP_OK;
  if (t->checkpoint && wanted) {
    if (r->reduction) {
      MC_TRY(mc_reduction_check(r->reduction, err));
      mc_reduction_counts(r->reduction);
    }
    MC_TRY(t->checkpoint(t->context, step, r->optimizer, err));
  }
  return wanted & 1 ? moeclip_comm_agree(r->comm, mc_watch_cancelled(watch, err), err) : MOECLIP_OK;
}

static moeclip_code run(training *r, mc_watch *watch, moeclip_error *err) {
  const mc_task_training *t = r->t;
  const moeclip_task_options *o = t->options;
  int64_t n_steps = steps_of(t), warmup = mc_task_warmup(o);
  int64_t total = o->epochs > 0 ? n_steps : o->iterations; /* that the cosine ends with */
  mc_watch_begin(watch, t->callbacks, t->phase ? t->phase : "train", t->name, n_steps, o->checkpoint_seconds);
  for (int64_t step = t->first_step; step < n_steps; step++) {
    mc_shared_batch batch;
    bool end, stop;
    double loss = NAN, lr = mc_cosine_lr(o->learning_rate, warmup, total, step);
    MC_TRY(mc_shared_loader_next(r->loader, &batch, &end, err));
    MC_TRY(run_step(r, &batch, step, lr, &loss, err));
    r->n_images += batch.n_all;
    if (isfinite(loss) && step >= n_steps - n_steps / 10 - 1) {
      r->tail_loss += loss;
      r->tail_steps++;
    }
    watch->progress.step = step + 1;
    watch->progress.images = r->n_images;
    watch->progress.loss = loss;
    watch->progress.learning_rate = lr;
    watch->progress.waited_seconds = mc_shared_loader_waited(r->loader);
    mc_watch_step(watch, &stop);
    MC_TRY(checkpoint_or_stop(r, watch, step + 1, step + 1 == n_steps, stop, err));
  }
  if (!r->reduction) return MOECLIP_OK;
  mc_reduction_counts(r->reduction);
  return mc_reduction_check(r->reduction, err);
}

moeclip_code mc_train_task(const mc_task_training *t, moeclip_learn_report *report, moeclip_error *err) {
  training r = {.t = t, .comm = t->model->options.comm};
  mc_watch watch = {0};
  moeclip_code code = start(&r, err);
  double exchanged = mc_comm_seconds(r.comm);
  if (code == MOECLIP_OK) code = run(&r, &watch, err);
  if (code == MOECLIP_OK) {
    report->iterations = steps_of(t);
    report->images += r.n_images;
    report->broken = mc_shared_loader_broken(r.loader);
    report->trainable = mc_adamw_trainable(r.optimizer);
    report->final_loss = r.tail_steps ? r.tail_loss / (double)r.tail_steps : NAN;
    report->seconds = mc_now() - watch.began;
    report->exchange_seconds = mc_comm_seconds(r.comm) - exchanged;
    if (r.reduction) report->exchange_bytes = mc_reduction_bytes(r.reduction);
    if (r.reduction) report->exchange_parts = mc_reduction_buckets(r.reduction);
    report->waited_seconds = mc_shared_loader_waited(r.loader);
  }
  mc_shared_loader_destroy(r.loader);
  mc_reduction_destroy(r.reduction);
  mc_adamw_destroy(r.optimizer);
  mc_aligned_free(r.images);
  free(r.labels);
  free(r.texts);
  free(r.tasks);
  return code;
}
