#include "learn/learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/method.h"

const char *const mc_default_template[1] = {"a photo of a {}."};

void moeclip_learner_options_defaults(moeclip_learner_options *o) {
  *o = (moeclip_learner_options){.mode = MOECLIP_MODE_MOE,
                                 .n_experts = 22,
                                 .top_k = 2,
                                 .bottleneck = 64,
                                 .freeze_per_task = 2,
                                 .text_adapters = 1,
                                 .use_selector = 1,
                                 .selector_hidden = 100,
                                 .selector_layer = -1,
                                 .dynamic_margin = 0.02,
                                 .dynamic_probe = 40,
                                 .ridge_hidden = 2048,
                                 .ridge_gamma = 1,
                                 .ridge_fusion = 0.9,
                                 .ridge_pictures = 8192,
                                 .probe_l2 = 0.003,
                                 .wise_alpha = 0.5,
                                 .lwf_weight = 1,
                                 .lwf_temperature = 2,
                                 .zscl_weight = 1,
                                 .zscl_temperature = 2,
                                 .zscl_every = 100,
                                 .zscl_pictures = 1024,
                                 .exemplars = 2000,
                                 .icarl_weight = 1,
                                 .icarl_temperature = 2};
}

void moeclip_task_options_defaults(moeclip_task_options *o) {
  *o = (moeclip_task_options){.iterations = 1000, .batch = 64, .learning_rate = 1e-3, .label_smoothing = 0.2, .warmup = -1,
                              .dropout = 0.1, .selector_iterations = 300, .selector_learning_rate = 0.01,
                              .threshold = NAN, .checkpoint_seconds = 60};
}

void moeclip_classify_options_defaults(moeclip_classify_options *o) {
  *o = (moeclip_classify_options){.task = MOECLIP_TASK_AUTO, .top = 5};
}

void moeclip_evaluate_options_defaults(moeclip_evaluate_options *o) {
  *o = (moeclip_evaluate_options){.task = MOECLIP_TASK_AUTO, .batch = 128};
}

mc_clip *mc_learner_clip(const moeclip_learner *l) { return l->tuned ? l->tuned : l->model->clip; }

int64_t mc_class_count(const moeclip_learner *l, int n_tasks) {
  int64_t n = 0;
  for (int t = 0; t < n_tasks; t++) n += (int64_t)l->tasks[t].n_classes;
  return n;
}

/* --- tasks ------------------------------------------------------------------------------------------------------------ */

static void free_strings(char **s, size_t n) {
  for (size_t i = 0; s && i < n; i++) free(s[i]);
  free(s);
}

static char **copy_strings(const char *const *s, size_t n) {
  char **copy = calloc(n + 1, sizeof *copy);
  for (size_t i = 0; copy && i < n; i++) {
    copy[i] = mc_strdup(s[i]);
    if (!copy[i]) {
      free_strings(copy, n);
      return NULL;
    }
  }
  return copy;
}

moeclip_code mc_task_init(mc_task *t, const char *name, const char *const *classes, size_t n_classes,
                          const char *const *templates, size_t n_templates, moeclip_error *err) {
  if (n_templates == 0) {
    templates = mc_default_template;
    n_templates = 1;
  }
  *t = (mc_task){.name = mc_strdup(name), .classes = copy_strings(classes, n_classes),
                 .templates = copy_strings(templates, n_templates), .n_classes = n_classes, .n_templates = n_templates};
  if (t->name && t->classes && t->templates) return MOECLIP_OK;
  mc_task_clear(t);
  return mc_fail_memory(err, n_classes * sizeof(char *), "a task's names");
}

void mc_task_clear(mc_task *t) {
  free(t->name);
  free_strings(t->classes, t->n_classes);
  free_strings(t->templates, t->n_templates);
  *t = (mc_task){0};
}

moeclip_code mc_learner_add_task(moeclip_learner *l, mc_task *t, moeclip_error *err) {
  mc_task *tasks = mc_realloc(l->tasks, (size_t)l->n_tasks + 1, sizeof *tasks);
  if (tasks) l->tasks = tasks;
  float **features = mc_realloc(l->task_features, 2 * ((size_t)l->n_tasks + 1), sizeof *features);
  if (features) l->task_features = features;
  if (!tasks || !features) {
    mc_task_clear(t);
    return mc_fail_memory(err, sizeof *tasks, "a task");
  }
  tasks[l->n_tasks] = *t;
  features[2 * l->n_tasks] = features[2 * l->n_tasks + 1] = NULL;
  l->n_tasks++;
  *t = (mc_task){0};
  return MOECLIP_OK;
}

void mc_learner_drop_features(moeclip_learner *l) {
  for (int i = 0; i < 2 * l->n_tasks; i++) {
    free(l->task_features[i]);
    l->task_features[i] = NULL;
  }
  mc_label_cache_clear(&l->labels);
}

void mc_learner_empty(moeclip_learner *l) {
  l->adapters = NULL;
  l->tuned = NULL;
  l->selector = NULL;
  l->own = NULL;
  l->tasks = NULL;
  l->n_tasks = 0;
  l->task_features = NULL;
  l->labels = (mc_label_cache){.max_bytes = l->labels.max_bytes};
}

void mc_learner_clear_knowledge(moeclip_learner *l) {
  mc_learner_drop_features(l);
  for (int t = 0; t < l->n_tasks; t++) mc_task_clear(&l->tasks[t]);
  free(l->tasks);
  free(l->task_features);
  mc_adapters_destroy(l->adapters);
  mc_clip_destroy(l->tuned);
  mc_selector_destroy(l->selector);
  if (l->own) l->method->clear(l);
  mc_learner_empty(l);
}

int moeclip_learner_tasks(const moeclip_learner *l) { return l->n_tasks; }

int moeclip_learner_blocks(const moeclip_learner *l, int text) {
  return !l->adapters ? 0 : text ? l->adapters->text_layers : l->adapters->visual_layers;
}

moeclip_code moeclip_learner_expert_use(const moeclip_learner *l, int text, int block, uint64_t *counts, uint8_t *frozen,
                                        size_t n_out, size_t *n, moeclip_error *err) {
  if (block < 0 || block >= moeclip_learner_blocks(l, text)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "block %d: %d blocks of the %s tower have experts", block,
                   moeclip_learner_blocks(l, text), text ? "text" : "image");
  }
  const mc_moe *m = text ? &l->adapters->text[block] : &l->adapters->visual[block];
  *n = (size_t)m->n_experts;
  for (size_t e = 0; e < *n && e < n_out; e++) {
    counts[e] = m->counts[e];
    frozen[e] = m->experts[e].frozen;
  }
  return MOECLIP_OK;
}

moeclip_code moeclip_learner_task(const moeclip_learner *l, int task, moeclip_task_info *out, moeclip_error *err) {
  if (task < 0 || task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: %d were learned, numbered from 0", task, l->n_tasks);
  }
  const mc_task *t = &l->tasks[task];
  *out = (moeclip_task_info){.name = t->name, .n_classes = t->n_classes, .classes = (const char *const *)t->classes,
                             .n_templates = t->n_templates, .templates = (const char *const *)t->templates,
                             .iterations = t->iterations, .images = t->images,
                             .threshold = l->selector ? mc_selector_threshold(l->selector, task) : NAN};
  return MOECLIP_OK;
}

void moeclip_learner_get_options(const moeclip_learner *l, moeclip_learner_options *out) { *out = l->options; }
