/* mtil_eval: every block's output, the features and the logits, for task -1 (plain CLIP) and some tasks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "model/encode.h"

typedef struct block_outputs {
  golden *g;
  const moeclip_tensors *expected;
  const char *prefix;
  double bound;
} block_outputs;

static void compare_block(void *context, int layer, const float *x, int64_t n, int64_t t) {
  const block_outputs *b = context;
  char name[96];
  size_t count;
  snprintf(name, sizeof name, "%s.block%d.output", b->prefix, layer);
  float *expected = golden_floats(b->g, b->expected, name, &count);
  if (!expected) return;
  const moeclip_tensor *tensor = moeclip_tensors_find(b->expected, name);
  bool same = tensor->rank == 3 && tensor->shape[0] == n && tensor->shape[1] == t;
  if (same) {
    golden_item(b->g, name, golden_error(x, expected, count), b->bound);
  } else {
    golden_exact(b->g, name, false, "another shape");
  }
  free(expected);
}

moeclip_code golden_eval_task(golden *g, mc_compute *cp, mc_clip *clip, mc_adapters *adapters, int task, int top_k,
                              const moeclip_tensors *file, moeclip_error *err) {
  /* bfloat16 has 8 bits of mantissa, and 2e-2 is what the fast path promises. */
  bool half = mc_compute_precision(cp) == MC_BFLOAT16;
  double bound = half ? 2e-2 : 1e-5;
  char prefix[32], name[96];
  size_t n_image_values, n_text_values;
  mc_arena arena = {0};
  snprintf(prefix, sizeof prefix, "task%d", task);
  int64_t n_images = moeclip_tensors_find(file, "images")->shape[0], n_texts = moeclip_tensors_find(file, "texts")->shape[0];
  int64_t embed = clip->sizes.embed;
  float *images = golden_floats(g, file, "images", &n_image_values), *ids = golden_floats(g, file, "texts", &n_text_values);
  int32_t *texts = malloc(n_text_values * sizeof *texts);
  int32_t *tasks = malloc((size_t)(n_images + n_texts) * sizeof *tasks);
  float *image_features = malloc((size_t)(n_images * embed) * sizeof(float));
  float *text_features = malloc((size_t)(n_texts * embed) * sizeof(float));
  float *logits = malloc((size_t)(n_images * n_texts) * sizeof(float));
  for (size_t i = 0; i < n_text_values; i++) texts[i] = (int32_t)ids[i];
  for (int64_t i = 0; i < n_images + n_texts; i++) tasks[i] = task;
  mc_routing routing = {.task = tasks, .top_k = top_k, .scale = adapters->sizes.scale};
  block_outputs blocks = {g, file, name, bound};
  mc_tap tap = {compare_block, &blocks, -1};
  mc_encoder encoder = {.clip = clip, .adapters = adapters, .routing = &routing, .tap = &tap, .full_context = true};
  snprintf(name, sizeof name, "%s.visual", prefix);
  moeclip_code code = mc_encode_images(cp, &encoder, images, n_images, image_features, NULL, &arena, err);
  snprintf(name, sizeof name, "%s.text", prefix);
  if (code == MOECLIP_OK) code = mc_encode_texts(cp, &encoder, texts, n_texts, text_features, NULL, &arena, err);
  if (code == MOECLIP_OK) {
    mc_gemm gemm = {.m = n_images, .n = n_texts, .k = embed, .a = image_features, .lda = embed, .b = text_features,
                    .ldb = embed, .trans_b = true, .c = logits, .ldc = n_texts, .alpha = 100};
    code = mc_gemm_run(cp, &gemm, err);
  }
  const struct {
    const char *name;
    const float *values;
  } outputs[] = {{"image_features", image_features}, {"text_features", text_features}, {"logits", logits}};
  for (size_t i = 0; code == MOECLIP_OK && i < 3; i++) {
    size_t count;
    snprintf(name, sizeof name, "%s.%s", prefix, outputs[i].name);
    float *expected = golden_floats(g, file, name, &count);
    if (expected) golden_item(g, name, golden_error(outputs[i].values, expected, count), bound);
    free(expected);
  }
  if (code == MOECLIP_OK) {
    /* What a user gets: text computed only up to the last end-of-text token. */
    encoder.full_context = false;
    encoder.tap = NULL;
    float *cut = malloc((size_t)(n_texts * embed) * sizeof(float));
    code = mc_encode_texts(cp, &encoder, texts, n_texts, cut, NULL, &arena, err);
    snprintf(name, sizeof name, "%s.text_features, cut at the last end", prefix);
    if (code == MOECLIP_OK) golden_item(g, name, golden_error(cut, text_features, (size_t)(n_texts * embed)), half ? bound : 1e-6);
    free(cut);
  }
  mc_arena_clear(&arena);
  free(images);
  free(ids);
  free(texts);
  free(tasks);
  free(image_features);
  free(text_features);
  free(logits);
  return code;
}

/* All tasks that the file has features for. */
static moeclip_code eval_tasks(golden *g, mc_compute *cp, mc_clip *clip, mc_adapters *adapters, int top_k, const moeclip_tensors *file,
                               moeclip_error *err) {
  for (int task = -1; task < adapters->n_routers; task++) {
    char name[64];
    snprintf(name, sizeof name, "task%d.image_features", task);
    if (moeclip_tensors_find(file, name)) MC_TRY(golden_eval_task(g, cp, clip, adapters, task, top_k, file, err));
  }
  return MOECLIP_OK;
}

void golden_eval(golden *g) {
  moeclip_error err;
  moeclip_tensors *model_file = NULL, *file = NULL;
  mc_compute *cp = NULL;
  mc_clip *clip = NULL;
  mc_adapters *adapters = NULL;
  if (!golden_has(g, "mtil_eval.safetensors") || !golden_has(g, "mtil_model.safetensors")) return;
  int top_k = (int)json_integer_value(json_object_get(json_object_get(g->json, "config"), "top_k"));
  mc_adapter_sizes defaults = {.top_k = top_k, .scale = 0.1f};
  moeclip_code code = moeclip_tensors_open(golden_path(g, "mtil_model.safetensors"), &model_file, &err);
  if (code == MOECLIP_OK) code = mc_adapters_load(model_file, &defaults, &adapters, &err);
  if (code == MOECLIP_OK) code = mc_clip_load(model_file, -1, &clip, &err);
  if (code == MOECLIP_OK) code = moeclip_tensors_open(golden_path(g, "mtil_eval.safetensors"), &file, &err);
  if (code == MOECLIP_OK) code = mc_compute_create(0, &cp, &err);
  if (code == MOECLIP_OK) code = eval_tasks(g, cp, clip, adapters, top_k, file, &err);
  if (code == MOECLIP_OK) code = mc_compute_set_precision(cp, MC_BFLOAT16, &err);
  if (code == MOECLIP_OK) {
    printf("the same in bfloat16:\n");
    code = eval_tasks(g, cp, clip, adapters, top_k, file, &err);
  }
  if (code != MOECLIP_OK) golden_failed(g, "mtil_eval", &err);
  mc_compute_destroy(cp);
  mc_clip_destroy(clip);
  mc_adapters_destroy(adapters);
  moeclip_tensors_destroy(file);
}
