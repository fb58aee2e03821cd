#include "train/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/step.h"

int64_t mc_task_steps(const moeclip_task_options *o, size_t n) {
  int64_t batch = o->batch, an_epoch = ((int64_t)n + batch - 1) / batch;
  return o->epochs > 0 ? o->epochs * an_epoch : o->iterations + 1;
}

int64_t mc_task_warmup(const moeclip_task_options *o) {
  if (o->warmup >= 0) return o->warmup;
  return o->iterations / 5 < 100 ? o->iterations / 5 : 100;
}

typedef struct training {
  const mc_task_training *t;
  mc_adamw *optimizer;
  mc_loader *loader;
  mc_step_options step_options;
  float *images;
  int32_t *labels, *texts, *tasks;
  double tail_loss;
  int64_t tail_steps, n_images;
} training;

static moeclip_code start(training *r, moeclip_error *err) {
  const mc_task_training *t = r->t;
  const moeclip_task_options *o = t->options;
  int size = t->clip->sizes.image_size;
  size_t n_pixels = (size_t)o->batch * 3 * (size_t)size * (size_t)size, n_classes = t->n_classes;
  size_t n_tasks = (size_t)o->batch > n_classes ? (size_t)o->batch : n_classes;
  mc_adamw_options adamw = mc_adamw_defaults();
  adamw.weight_decay = (float)o->weight_decay;
  MC_TRY(mc_adamw_create(&adamw, &r->optimizer, err));
  MC_TRY(t->adapters ? mc_adapters_each(t->adapters, mc_adamw_add, r->optimizer, err)
                     : mc_clip_each(t->clip, mc_adamw_add, r->optimizer, err));
  if (t->resume) MC_TRY(mc_adamw_load(r->optimizer, t->resume, err));
  MC_TRY(mc_model_prompts(t->model, &t->template, 1, t->classes, n_classes, &r->texts, err));
  r->images = mc_aligned_alloc(n_pixels, sizeof *r->images);
  r->labels = mc_alloc((size_t)o->batch, sizeof *r->labels);
  r->tasks = mc_alloc(n_tasks, sizeof *r->tasks);
  if (!r->images || !r->labels || !r->tasks) return mc_fail_memory(err, n_pixels * sizeof *r->images, "a batch");
  for (size_t i = 0; i < n_tasks; i++) r->tasks[i] = t->router;
  mc_routing routing = {.task = t->adapters ? r->tasks : NULL, .top_k = t->top_k, .noise = true, .count = true,
                        .dropout = (float)o->dropout, .scale = t->adapters ? t->adapters->sizes.scale : 0,
                        .seed = mc_seed_of(t->seed, (uint64_t)t->task)};
  r->step_options = (mc_step_options){.image_routing = routing, .text_routing = routing,
                                      .smoothing = (float)o->label_smoothing, .balance = (float)o->balance, .kept_bytes = o->kept_bytes};
  mc_loader_options loader = {.image_size = size, .batch = o->batch, .shuffle = true, .augment = true, .repeat = true,
                              .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(t->model->compute),
                              .augment_once = o->shots_augment_once != 0, .seed = mc_seed_of(t->seed, (uint64_t)t->task),
                              .first_batch = (uint64_t)t->first_step};
  return mc_loader_create(&t->pictures, &loader, mc_watch_broken, (void *)(uintptr_t)t->callbacks, &r->loader, err);
}

static moeclip_code run_step(training *r, const mc_batch *batch, int64_t step, double lr, double *loss,
                             moeclip_error *err) {
  const mc_task_training *t = r->t;
  moeclip_model *m = t->model;
  if (batch->n == 0) return MOECLIP_OK;
  for (int i = 0; i < batch->n; i++) r->labels[i] = t->labels[batch->index[i]];
  mc_normalize_pixels(m->compute, batch->pixels, batch->n, t->clip->sizes.image_size, r->images);
  r->step_options.image_routing.step = r->step_options.text_routing.step = (uint64_t)step;
  moeclip_code code = mc_classification_step(m->compute, t->clip, t->adapters, &r->step_options, r->images, r->labels,
                                             batch->n, r->texts, (int64_t)t->n_classes, loss, NULL, &m->arena, err);
  if (code == MOECLIP_OK) code = mc_adamw_check(r->optimizer, err);
  if (code == MOECLIP_ERROR_NUMERIC) {
    char where[320];
    snprintf(where, sizeof where, "task %.200s, step %lld, learning rate %g", t->name, (long long)step, lr);
    return mc_fail_prefix(err, where);
  }
  if (code == MOECLIP_OK) mc_adamw_step(r->optimizer, m->compute, lr);
  return code;
}

static moeclip_code run(training *r, mc_watch *watch, moeclip_error *err) {
  const mc_task_training *t = r->t;
  const moeclip_task_options *o = t->options;
  int64_t n_steps = mc_task_steps(o, t->pictures.count), warmup = mc_task_warmup(o);
  int64_t total = o->epochs > 0 ? n_steps : o->iterations; /* that the cosine ends with */
  mc_watch_begin(watch, t->callbacks, "train", t->name, n_steps, o->checkpoint_seconds);
  for (int64_t step = t->first_step; step < n_steps; step++) {
    mc_batch batch;
    bool end, stop;
    double loss = NAN, lr = mc_cosine_lr(o->learning_rate, warmup, total, step);
    MC_TRY(mc_loader_next(r->loader, &batch, &end, err));
    MC_TRY(run_step(r, &batch, step, lr, &loss, err));
    r->n_images += batch.n;
    if (isfinite(loss) && step >= n_steps - n_steps / 10 - 1) {
      r->tail_loss += loss;
      r->tail_steps++;
    }
    watch->progress.step = step + 1;
    watch->progress.images = r->n_images;
    watch->progress.loss = loss;
    watch->progress.learning_rate = lr;
    watch->progress.waited_seconds = mc_loader_waited(r->loader);
    mc_watch_step(watch, &stop);
    bool last = step + 1 == n_steps;
    if (t->checkpoint && !last && (stop || mc_watch_checkpoint_due(watch))) {
      MC_TRY(t->checkpoint(t->context, step + 1, r->optimizer, err));
    }
    if (stop && !last) return mc_watch_cancelled(watch, err);
  }
  return MOECLIP_OK;
}

moeclip_code mc_train_task(const mc_task_training *t, moeclip_learn_report *report, moeclip_error *err) {
  training r = {.t = t};
  mc_watch watch = {0};
  moeclip_code code = start(&r, err);
  if (code == MOECLIP_OK) code = run(&r, &watch, err);
  if (code == MOECLIP_OK) {
    report->iterations = mc_task_steps(t->options, t->pictures.count);
    report->images += r.n_images;
    report->broken = (int64_t)mc_loader_broken(r.loader);
    report->trainable = mc_adamw_trainable(r.optimizer);
    report->final_loss = r.tail_steps ? r.tail_loss / (double)r.tail_steps : NAN;
    report->seconds = mc_now() - watch.began;
    report->waited_seconds = mc_loader_waited(r.loader);
  }
  mc_loader_destroy(r.loader);
  mc_adamw_destroy(r.optimizer);
  mc_aligned_free(r.images);
  free(r.labels);
  free(r.texts);
  free(r.tasks);
  return code;
}
