/* The paper's method: experts and routers in every block, and a selector of the task. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/dynamic.h"
#include "learn/method.h"
#include "learn/select_train.h"

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  const moeclip_learner_options *o = &l->options;
  const mc_clip *clip = l->model->clip;
  mc_adapter_sizes sizes = {.n_experts = o->n_experts, .bottleneck = o->bottleneck, .top_k = o->top_k, .scale = MC_EXPERT_SCALE,
                            .text = o->text_adapters != 0};
  MC_TRY(mc_adapters_create(&sizes, clip->visual.n_layers, clip->visual.width, clip->text.n_layers, clip->text.width, o->seed,
                            &l->adapters, err));
  return o->use_selector ? mc_selector_create(l->extractor.kind, l->extractor.dim, o->selector_hidden, &l->selector, err) : MOECLIP_OK;
}

/* --- state ------------------------------------------------------------------------------------------------------------- */

/* One row a block, frozen flags and counts. */
static moeclip_code store_block(const mc_moe *m, const char *tower, int i, moeclip_tensors *out, moeclip_error *err) {
  char name[64];
  int64_t n = m->n_experts;
  uint8_t *frozen = mc_alloc((size_t)n, 1);
  if (!frozen) return mc_fail_memory(err, (size_t)n, "a state");
  for (int e = 0; e < m->n_experts; e++) frozen[e] = m->experts[e].frozen;
  snprintf(name, sizeof name, "frozen.%s.%d", tower, i);
  moeclip_code code = moeclip_tensors_add(out, name, MOECLIP_U8, 1, &n, frozen, 1, err);
  free(frozen);
  snprintf(name, sizeof name, "counts.%s.%d", tower, i);
  return code == MOECLIP_OK ? moeclip_tensors_add(out, name, MOECLIP_I64, 1, &n, m->counts, 1, err) : code;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  MC_TRY(mc_adapters_store(l->adapters, out, err));
  for (int i = 0; i < l->adapters->visual_layers; i++) MC_TRY(store_block(&l->adapters->visual[i], "visual", i, out, err));
  for (int i = 0; i < l->adapters->text_layers; i++) MC_TRY(store_block(&l->adapters->text[i], "text", i, out, err));
  return l->selector ? mc_selector_store(l->selector, out, err) : MOECLIP_OK;
}

static moeclip_code wrong(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: %s", what);
}

static moeclip_code restore_block(mc_moe *m, const char *tower, int i, const moeclip_tensors *in, moeclip_error *err) {
  char name[64];
  snprintf(name, sizeof name, "frozen.%s.%d", tower, i);
  const moeclip_tensor *frozen = moeclip_tensors_find(in, name);
  if (!frozen || frozen->dtype != MOECLIP_U8 || frozen->n_bytes != (size_t)m->n_experts) return wrong(err, name);
  for (int e = 0; e < m->n_experts; e++) m->experts[e].frozen = ((const uint8_t *)frozen->data)[e] != 0;
  snprintf(name, sizeof name, "counts.%s.%d", tower, i);
  const moeclip_tensor *counts = moeclip_tensors_find(in, name);
  if (!counts || counts->dtype != MOECLIP_I64 || counts->n_bytes != (size_t)m->n_experts * sizeof *m->counts) {
    return wrong(err, name);
  }
  memcpy(m->counts, counts->data, counts->n_bytes);
  return MOECLIP_OK;
}

static moeclip_code restore_adapters(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  const mc_clip *clip = l->model->clip;
  mc_adapter_sizes sizes = {.top_k = l->options.top_k, .scale = MC_EXPERT_SCALE, .seed = l->options.seed};
  MC_TRY(mc_adapters_load(in, &sizes, &l->adapters, err));
  mc_adapters *a = l->adapters;
  bool text_fits = a->text_layers == 0 || (a->text_layers == clip->text.n_layers && a->text[0].width == clip->text.width);
  if (a->visual_layers != clip->visual.n_layers || a->visual[0].width != clip->visual.width || !text_fits) {
    return wrong(err, "its adapters are for a model of another size");
  }
  int wanted = l->options.shared_router && l->n_tasks > 1 ? 1 : l->n_tasks;
  if (a->n_routers != wanted) return wrong(err, "the number of routers is not that of the tasks");
  for (int i = 0; i < a->visual_layers; i++) MC_TRY(restore_block(&a->visual[i], "visual", i, in, err));
  for (int i = 0; i < a->text_layers; i++) MC_TRY(restore_block(&a->text[i], "text", i, in, err));
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  MC_TRY(restore_adapters(l, in, err));
  /* A checkpoint is written after the selector has learned the task, so there are always as many autoencoders as tasks. */
  if (!l->options.use_selector) return MOECLIP_OK;
  return mc_selector_load(in, l->extractor.kind, l->extractor.dim, l->options.selector_hidden, l->n_tasks, &l->selector, err);
}

/* --- learning ---------------------------------------------------------------------------------------------------------- */

/* Experts and a router for the new task. */
static moeclip_code open_task(moeclip_learner *l, moeclip_error *err) {
  /* A shared router knows the experts of its start alone. */
  if (l->options.shared_router && l->adapters->n_routers > 0) return MOECLIP_OK;
  int needed = l->options.top_k > l->options.freeze_per_task ? l->options.top_k : l->options.freeze_per_task;
  if (mc_adapters_unfrozen(l->adapters) < needed) {
    MC_TRY(mc_adapters_grow(l->adapters, 2 * needed, l->options.seed, err));
  }
  return mc_adapters_add_router(l->adapters, err);
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  int task = l->n_tasks - 1;
  if (!run->resume) {
    if (!l->options.dynamic_experts) MC_TRY(open_task(l, err));
    if (l->selector) {
      double began = mc_now();
      MC_TRY(mc_train_selector(l, task, &run->pictures, run->labels, run->options, run->callbacks, report, err));
      report->selector_seconds = mc_now() - began;
    }
    if (l->options.dynamic_experts) {
      mc_task_training training = mc_training_of(run);
      double began = mc_now();
      MC_TRY(mc_open_dynamic(l, &training, err));
      report->probe_seconds = mc_now() - began;
    }
  }
  /* The counts of a resumed task come from the checkpoint: preparing must not forget them. */
  return mc_adapters_train(l->adapters, mc_learner_router(l, task), run->resume != NULL, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  (void)err;
  mc_adapters_train(l->adapters, -1, true, NULL);
  if (!done) return MOECLIP_OK; /* perhaps before the selector knew the task */
  /* With dynamic experts, all that a task has trained. */
  mc_adapters_freeze_most_used(l->adapters, l->options.dynamic_experts ? l->adapters->sizes.n_experts : l->options.freeze_per_task);
  if (l->selector) report->threshold = mc_selector_threshold(l->selector, l->n_tasks - 1);
  return MOECLIP_OK;
}

static moeclip_code reference(moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *options,
                              const moeclip_callbacks *callbacks, moeclip_learn_report *report, moeclip_error *err) {
  if (!l->selector) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "this learner has no selector, so no reference set");
  mc_dataset_split split = {dataset, MOECLIP_TRAIN};
  mc_image_source pictures = mc_dataset_source(&split);
  return mc_train_selector(l, -1, &pictures, NULL, options, callbacks, report, err);
}

static bool has_reference(const moeclip_learner *l) { return l->selector && mc_selector_has_reference(l->selector); }

const mc_method mc_method_moe = {
    .mode = MOECLIP_MODE_MOE,
    .name = "moe",
    .title = "mixture-of-experts adapters, with a selector of the task",
    .traits = MC_METHOD_ADAPTERS,
    .create = create,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .end_task = end_task,
    .reference = reference,
    .has_reference = has_reference,
};
