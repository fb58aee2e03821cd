/* A model and what it has learned, as one thing that is exchanged as a whole. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "report/report.h"
#include "serve/engine.h"

static json_t *expert_use(const moeclip_learner *learner) {
  json_t *all = json_array();
  for (int text = 0; text < 2; text++) {
    json_t *blocks = mc_experts_json(learner, text), *block;
    size_t b;
    json_array_foreach(blocks, b, block) {
      json_t *entry = json_pack("{s:s, s:i}", "tower", text ? "text" : "image", "block", (int)b);
      json_object_update(entry, block);
      mc_json_append(&all, entry);
    }
    json_decref(blocks);
  }
  return all;
}

static moeclip_code describe(mc_generation *g, moeclip_error *err) {
  json_t *tasks = json_array();
  moeclip_task_info t;
  for (int i = 0; i < g->n_tasks; i++) {
    MC_TRY(moeclip_learner_task(g->learner, i, &t, err));
    json_t *use = i == g->n_tasks - 1 && moeclip_learner_blocks(g->learner, 0) > 0 ? expert_use(g->learner) : json_null();
    mc_json_append(
        &tasks, json_pack("{s:s, s:o, s:o, s:I, s:I, s:o, s:o}", "name", t.name, "classes",
                         mc_json_strings(t.classes, t.n_classes), "templates", mc_json_strings(t.templates, t.n_templates),
                         "iterations", (json_int_t)t.iterations, "images", (json_int_t)t.images, "threshold",
                         mc_json_real(t.threshold), "expert_use", use));
  }
  g->tasks = mc_json_text(tasks, JSON_COMPACT | JSON_REAL_PRECISION(15));
  json_decref(tasks);
  return g->tasks ? MOECLIP_OK : mc_fail_memory(err, 4096, "the list of tasks");
}

/* Without a state, the untouched CLIP: a learner with the smallest adapters there are. */
static moeclip_code open_learner(const mc_serve_options *o, mc_generation *g, moeclip_error *err) {
  bool there;
  MC_TRY(mc_file_exists(o->state, &there, err));
  if (there) return moeclip_learner_load(g->model, o->state, o->alexnet, &g->learner, err);
  moeclip_learner_options small;
  moeclip_learner_options_defaults(&small);
  small.n_experts = small.top_k;
  small.bottleneck = 1;
  small.freeze_per_task = 1;
  return moeclip_learner_create(g->model, &small, &g->learner, err);
}

moeclip_code mc_generation_open(const mc_serve_options *o, mc_generation **out, moeclip_error *err) {
  moeclip_model_options model;
  mc_generation *g = calloc(1, sizeof *g);
  *out = NULL;
  if (!g) return mc_fail_memory(err, sizeof *g, "a learner");
  atomic_init(&g->references, 1);
  moeclip_model_options_defaults(&model);
  model.n_threads = o->n_threads;
  model.activation = (moeclip_activation)o->activation;
  model.precision = (moeclip_precision)o->precision;
  moeclip_code code = moeclip_model_load(o->model, &model, &g->model, err);
  if (code == MOECLIP_OK) code = open_learner(o, g, err);
  if (code == MOECLIP_OK) {
    g->n_tasks = moeclip_learner_tasks(g->learner);
    moeclip_learner_keep_labels(g->learner, o->label_bytes);
    code = describe(g, err);
  }
  if (code != MOECLIP_OK) {
    mc_generation_release(g);
    return code;
  }
  *out = g;
  return MOECLIP_OK;
}

mc_generation *mc_generation_hold(mc_generation *g) {
  atomic_fetch_add(&g->references, 1);
  return g;
}

void mc_generation_release(mc_generation *g) {
  if (!g || atomic_fetch_sub(&g->references, 1) != 1) return;
  moeclip_learner_destroy(g->learner);
  moeclip_model_destroy(g->model);
  free(g->tasks);
  free(g);
}

moeclip_code mc_generation_task(const mc_generation *g, const char *name, int *out, moeclip_error *err) {
  moeclip_task_info info;
  *out = strcmp(name, "none") == 0 ? MOECLIP_TASK_NONE : MOECLIP_TASK_AUTO;
  if (strcmp(name, "none") == 0 || strcmp(name, "auto") == 0) return MOECLIP_OK;
  for (int t = 0; t < g->n_tasks; t++) {
    if (moeclip_learner_task(g->learner, t, &info, NULL) != MOECLIP_OK || strcmp(info.name, name) != 0) continue;
    *out = t;
    return MOECLIP_OK;
  }
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "there is no task named \"%.100s\"; GET /v1/tasks lists those that were learned",
                 name);
}
