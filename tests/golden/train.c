/* mtil_train_* and cil_train: logits, losses, gradients of step 0, tensors after the last step, experts' counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "train/optimizer.h"
#include "train/step.h"

typedef struct run {
  golden *g;
  const char *name;
  const json_t *settings;
  bool text_noise_first;
  const moeclip_tensors *file;
  mc_compute *cp;
  mc_clip *clip;
  mc_adapters *adapters;
  mc_arena arena;
  double worst;      /* of the tensors compared with one visitor */
  char worst_name[160];
  int n_compared;
  const char *prefix;
} run;

static double setting(const run *r, const char *name) { return json_number_value(json_object_get(r->settings, name)); }

/* Holds every parameter's values (or gradients) against PREFIX + name; absent ones must be frozen. */
static moeclip_code compare(void *context, const char *name, mc_param *p, moeclip_error *err) {
  run *r = context;
  char full[256];
  bool gradients = strstr(r->prefix, "grad") != NULL;
  snprintf(full, sizeof full, "%s%s", r->prefix, name);
  const moeclip_tensor *t = moeclip_tensors_find(r->file, full);
  (void)err;
  if (!t) return MOECLIP_OK;
  size_t n = moeclip_tensor_elements(t);
  float *expected = malloc(n * sizeof *expected), *zero = calloc(n, sizeof *zero);
  moeclip_tensor_to_f32(t, expected);
  const float *is = gradients ? (p->grad ? p->grad : zero) : p->value;
  double error = n == (size_t)p->n ? golden_error(is, expected, n) : 1e9;
  if (!(error <= r->worst)) {
    r->worst = error;
    snprintf(r->worst_name, sizeof r->worst_name, "%s", name);
  }
  r->n_compared++;
  free(expected);
  free(zero);
  return MOECLIP_OK;
}

static void compare_all(run *r, const char *prefix, const char *what, double bound) {
  char item[96];
  size_t n_expected = 0;
  for (size_t i = 0; i < moeclip_tensors_count(r->file); i++) {
    n_expected += strncmp(moeclip_tensors_at(r->file, i)->name, prefix, strlen(prefix)) == 0;
  }
  r->prefix = prefix;
  r->worst = 0;
  r->n_compared = 0;
  r->worst_name[0] = 0;
  mc_adapters_each(r->adapters, compare, r, NULL);
  snprintf(item, sizeof item, "%s %s, worst of %d", r->name, what, r->n_compared);
  golden_item(r->g, item, r->worst, bound);
  if (r->worst > bound) printf("         the worst is %s\n", r->worst_name);
  if ((size_t)r->n_compared != n_expected) {
    golden_exact(r->g, item, false, "%zu tensors in the fixture", n_expected);
  }
}

static moeclip_code mark_frozen(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const json_t *frozen = context;
  (void)err;
  for (size_t i = 0; i < json_array_size(frozen); i++) {
    if (strcmp(json_string_value(json_array_get(frozen, i)), name) == 0) p->touched = true;
  }
  return MOECLIP_OK;
}

/* The list names parameters; an expert is frozen as a whole. touched carries the mark across. */
static void freeze_listed(run *r) {
  mc_adapters *a = r->adapters;
  mc_adapters_each(a, mark_frozen, (void *)(uintptr_t)json_object_get(r->settings, "frozen"), NULL);
  for (int i = 0; i < a->visual_layers + a->text_layers; i++) {
    mc_moe *m = i < a->visual_layers ? &a->visual[i] : &a->text[i - a->visual_layers];
    for (int e = 0; e < m->n_experts; e++) {
      m->experts[e].frozen = m->experts[e].down_weight.touched;
      m->experts[e].down_weight.touched = m->experts[e].down_bias.touched = false;
      m->experts[e].up_weight.touched = m->experts[e].up_bias.touched = false;
    }
  }
}

static float *step_values(run *r, int step, const char *what, size_t *n) {
  char name[64];
  snprintf(name, sizeof name, "step%d.%s", step, what);
  return golden_floats(r->g, r->file, name, n);
}

static int32_t *step_integers(run *r, int step, const char *what, size_t *n) {
  float *values = step_values(r, step, what, n);
  if (!values) return NULL;
  int32_t *integers = malloc((*n + 1) * sizeof *integers);
  for (size_t i = 0; i < *n; i++) integers[i] = (int32_t)values[i];
  free(values);
  return integers;
}

static moeclip_code one_step(run *r, int step, int task, size_t kept_bytes, double *loss, float **logits, size_t *n_logits,
                             moeclip_error *err) {
  size_t n_image_values, n_labels, n_text_values, n_noise;
  int n_visual = r->adapters->visual_layers, n_text = r->adapters->text_layers;
  int64_t size = r->clip->sizes.image_size;
  float *images = step_values(r, step, "images", &n_image_values);
  int32_t *labels = step_integers(r, step, "labels", &n_labels), *texts = step_integers(r, step, "texts", &n_text_values);
  if (!images || !labels || !texts || n_image_values != n_labels * 3 * (size_t)(size * size)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "step %d is not complete in the fixture", step);
  }
  int64_t n_texts = (int64_t)n_text_values / r->clip->sizes.context;
  /* Blocks are numbered image tower first; the fixture's order is another in the multi-domain variant. */
  const float **noise = calloc((size_t)(n_visual + n_text), sizeof *noise);
  for (int i = 0; i < n_visual + n_text; i++) {
    char what[32];
    bool visual = i < n_visual;
    int place = r->text_noise_first ? (visual ? n_text + i : i - n_visual) : i;
    snprintf(what, sizeof what, "noise%d", place);
    noise[i] = step_values(r, step, what, &n_noise);
    if (!noise[i] || n_noise != (visual ? n_labels : (size_t)n_texts) * (size_t)r->adapters->sizes.n_experts) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "step%d.%s has a wrong size", step, what);
    }
  }
  size_t n_tasks = n_labels > (size_t)n_texts ? n_labels : (size_t)n_texts;
  int32_t *tasks = malloc(n_tasks * sizeof *tasks);
  for (size_t i = 0; i < n_tasks; i++) tasks[i] = task;
  mc_routing routing = {.task = tasks, .top_k = r->adapters->sizes.top_k, .scale = r->adapters->sizes.scale,
                        .noise = true, .count = true, .fixed_noise = noise};
  mc_step_options options = {.image_routing = routing, .text_routing = routing,
                             .smoothing = (float)setting(r, "label_smoothing"), .kept_bytes = kept_bytes};
  *n_logits = n_labels * (size_t)n_texts;
  *logits = malloc(*n_logits * sizeof **logits);
  moeclip_code code = mc_classification_step(r->cp, r->clip, r->adapters, &options, images, labels, (int64_t)n_labels,
                                             texts, n_texts, loss, *logits, &r->arena, err);
  for (int i = 0; i < n_visual + n_text; i++) free((void *)(uintptr_t)noise[i]);
  free(noise);
  free(images);
  free(labels);
  free(texts);
  free(tasks);
  return code;
}

static void compare_counts(run *r) {
  double worst = 0;
  for (int i = 0; i < r->adapters->visual_layers + r->adapters->text_layers; i++) {
    bool visual = i < r->adapters->visual_layers;
    const mc_moe *m = visual ? &r->adapters->visual[i] : &r->adapters->text[i - r->adapters->visual_layers];
    char name[64];
    snprintf(name, sizeof name, "activation_count.%s.block%d", visual ? "visual" : "text",
             visual ? i : i - r->adapters->visual_layers);
    float *expected = golden_floats(r->g, r->file, name, NULL);
    for (int e = 0; expected && e < m->n_experts; e++) {
      double difference = (double)m->counts[e] - expected[e];
      if (difference * difference > worst) worst = difference * difference;
    }
    free(expected);
  }
  char item[96];
  snprintf(item, sizeof item, "%s activation counts", r->name);
  golden_item(r->g, item, worst, 0);
}

static moeclip_code all_steps(run *r, int task, moeclip_error *err) {
  mc_adamw_options options = {(float)setting(r, "beta1"), (float)setting(r, "beta2"), (float)setting(r, "epsilon"),
                              (float)setting(r, "weight_decay"), false};
  mc_adamw *optimizer;
  char item[96];
  freeze_listed(r);
  MC_TRY(mc_adapters_train(r->adapters, task, false, err));
  MC_TRY(mc_adamw_create(&options, &optimizer, err));
  moeclip_code code = mc_adapters_each(r->adapters, mc_adamw_add, optimizer, err);
  int steps = (int)setting(r, "steps");
  const json_t *losses = json_object_get(r->settings, "losses");
  for (int s = 0; code == MOECLIP_OK && s < steps; s++) {
    double loss, again;
    float *logits = NULL, *logits_again = NULL;
    size_t n_logits;
    if (s == 0) {
      /* The same gradients from micro-batches of one picture and one text. */
      code = one_step(r, s, task, 1, &again, &logits_again, &n_logits, err);
      if (code == MOECLIP_OK) compare_all(r, "step0.grad.", "gradients, micro-batches of 1", 1e-4);
      mc_adapters_train(r->adapters, task, false, err);
      mc_adamw_step(optimizer, r->cp, 0); /* only to zero the gradients: below, the optimizer starts anew */
      mc_adamw_destroy(optimizer);
      free(logits_again);
      MC_TRY(mc_adamw_create(&options, &optimizer, err));
      if (code == MOECLIP_OK) code = mc_adapters_each(r->adapters, mc_adamw_add, optimizer, err);
    }
    if (code == MOECLIP_OK) code = one_step(r, s, task, 0, &loss, &logits, &n_logits, err);
    if (code != MOECLIP_OK) break;
    size_t n_expected;
    float *expected = step_values(r, s, "logits", &n_expected), expected_loss = (float)json_number_value(json_array_get(losses, (size_t)s));
    snprintf(item, sizeof item, "%s step %d logits", r->name, s);
    if (expected) golden_item(r->g, item, n_expected == n_logits ? golden_error(logits, expected, n_logits) : 1e9, 1e-5);
    float loss_f = (float)loss;
    snprintf(item, sizeof item, "%s step %d loss", r->name, s);
    golden_item(r->g, item, golden_error(&loss_f, &expected_loss, 1), 1e-5);
    if (s == 0) compare_all(r, "step0.grad.", "gradients", 1e-4);
    code = mc_adamw_check(optimizer, err);
    mc_adamw_step(optimizer, r->cp, mc_cosine_lr(setting(r, "lr"), (int64_t)setting(r, "warmup"),
                                                 (int64_t)setting(r, "total_iterations"), s));
    free(expected);
    free(logits);
  }
  if (code == MOECLIP_OK) {
    compare_all(r, "final.", "tensors after the last step", 1e-4);
    compare_counts(r);
  }
  mc_adamw_destroy(optimizer);
  return code;
}

/* The router that the fixture trained is the one whose gradient is not all zero. */
static int trained_task(const run *r) {
  for (int t = 0; t < r->adapters->n_routers; t++) {
    char name[96];
    snprintf(name, sizeof name, "step0.grad.visual.transformer.resblocks.0.router_list.%d", t);
    const moeclip_tensor *tensor = moeclip_tensors_find(r->file, name);
    const float *g = tensor ? tensor->data : NULL;
    for (size_t i = 0; g && i < moeclip_tensor_elements(tensor); i++) {
      float v;
      memcpy(&v, g + i, sizeof v);
      if (v != 0) return t;
    }
  }
  return 0;
}

static void one_run(golden *g, const char *name, const char *model) {
  char file_name[96];
  moeclip_error err;
  moeclip_tensors *model_file = NULL, *file = NULL;
  run r = {.g = g, .name = name, .settings = json_object_get(g->json, name), .text_noise_first = strstr(name, "cil") == NULL};
  if (!golden_has(g, model)) return;
  const json_t *config = json_object_get(g->json, "config");
  mc_adapter_sizes defaults = {.top_k = (int)json_integer_value(json_object_get(config, "top_k")), .scale = 0.1f};
  snprintf(file_name, sizeof file_name, "%s.safetensors", name);
  moeclip_code code = moeclip_tensors_open(golden_path(g, file_name), &file, &err);
  r.file = file;
  if (code == MOECLIP_OK) code = moeclip_tensors_open(golden_path(g, model), &model_file, &err);
  if (code == MOECLIP_OK) code = mc_adapters_load(model_file, &defaults, &r.adapters, &err);
  if (code == MOECLIP_OK) code = mc_clip_load(model_file, -1, &r.clip, &err);
  if (code == MOECLIP_OK) code = mc_compute_create(0, &r.cp, &err);
  if (code == MOECLIP_OK) code = all_steps(&r, trained_task(&r), &err);
  if (code != MOECLIP_OK) golden_failed(g, name, &err);
  mc_compute_destroy(r.cp);
  mc_clip_destroy(r.clip);
  mc_adapters_destroy(r.adapters);
  moeclip_tensors_destroy(file);
  mc_arena_clear(&r.arena);
}

void golden_train(golden *g) {
  const char *name;
  json_t *settings;
  /* Every run that golden.json describes: "mtil_train_...", "cil_train...". */
  json_object_foreach((json_t *)(uintptr_t)g->json, name, settings) {
    if (strncmp(name, "mtil_train", 10) == 0) one_run(g, name, "mtil_model.safetensors");
    if (strncmp(name, "cil_train", 9) == 0) one_run(g, name, "cil_model.safetensors");
  }
}
