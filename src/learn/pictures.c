/* Pictures to features: preprocessing, the selector's choice, the towers. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "learn/learner.h"

typedef struct preprocessing {
  const moeclip_image *images;
  const moeclip_transform *transform;
  uint8_t *pixels;
  moeclip_code *codes; /* [n] */
  moeclip_error *errors;
} preprocessing;

static void preprocess_range(void *context, int64_t begin, int64_t end) {
  const preprocessing *p = context;
  size_t each = 3 * (size_t)p->transform->size * (size_t)p->transform->size;
  for (int64_t i = begin; i < end; i++) {
    p->codes[i] = moeclip_image_transform(&p->images[i], p->transform, p->pixels + (size_t)i * each, &p->errors[i]);
  }
}

/* *pixels: fresh, [n, 3, size, size]. */
static moeclip_code preprocess(moeclip_learner *l, const moeclip_image *images, int64_t n, const moeclip_transform *t, uint8_t **pixels,
                               moeclip_error *err) {
  size_t each = 3 * (size_t)t->size * (size_t)t->size;
  preprocessing p = {images, t, mc_alloc((size_t)n, each), mc_alloc((size_t)n, sizeof *p.codes),
                     mc_alloc((size_t)n, sizeof *p.errors)};
  moeclip_code code = MOECLIP_OK;
  *pixels = p.pixels;
  if (!p.pixels || !p.codes || !p.errors) {
    code = mc_fail_memory(err, (size_t)n * each, "pictures");
  } else {
    mc_parallel_for(l->model->compute, n, 1, preprocess_range, &p);
    for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
      code = p.codes[i];
      if (code != MOECLIP_OK && err) *err = p.errors[i];
    }
  }
  free(p.codes);
  free(p.errors);
  return code;
}

static bool asks_selector(const moeclip_learner *l, const mc_pictures *p) {
  return p->task == MOECLIP_TASK_AUTO && l->selector && l->n_tasks > 0;
}

static moeclip_code choose_and_encode(moeclip_learner *l, mc_pictures *p, const uint8_t *pixels, bool why, moeclip_error *err) {
  uint8_t *own = NULL;
  for (int64_t i = 0; i < p->n; i++) {
    p->tasks[i] = p->task == MOECLIP_TASK_AUTO ? MOECLIP_TASK_NONE : p->task;
    p->scores[i] = NAN;
  }
  if (!asks_selector(l, p)) return mc_picture_features(l, pixels, p->n, p->tasks, NULL, p->gates, p->features, err);
  moeclip_code code = MOECLIP_OK;
  if (why) {
    size_t stride = 1 + (size_t)l->n_tasks;
    p->errors = mc_alloc((size_t)p->n, stride * sizeof *p->errors);
    if (!p->errors) return mc_fail_memory(err, (size_t)p->n * stride * sizeof *p->errors, "the selector's errors");
  }
  if (p->selection == MOECLIP_SELECT_PER_IMAGE && mc_routes_in_passing(l)) {
    mc_chosen chosen = {p->tasks, p->scores, p->errors};
    return mc_choose_and_encode(l, pixels, p->n, &chosen, NULL, p->gates, p->features, err);
  }
  if (!mc_transforms_agree(&l->extractor.transform, &l->model->clip->transform)) {
    code = preprocess(l, p->images, p->n, &l->extractor.transform, &own, err);
  }
  if (code == MOECLIP_OK) code = mc_route(l, own ? own : pixels, p->n, p->selection, p->tasks, p->scores, p->errors, err);
  if (code == MOECLIP_OK) code = mc_picture_features(l, pixels, p->n, p->tasks, NULL, p->gates, p->features, err);
  free(own);
  return code;
}

int mc_learner_most_experts(const moeclip_learner *l) {
  int most = 0;
  for (int i = 0; l->adapters && i < l->adapters->visual_layers; i++) {
    if (l->adapters->visual[i].n_experts > most) most = l->adapters->visual[i].n_experts;
  }
  return most;
}

moeclip_code mc_pictures_encode(moeclip_learner *l, mc_pictures *p, bool why, moeclip_error *err) {
  size_t n = (size_t)p->n, embed = (size_t)l->model->clip->sizes.embed;
  uint8_t *pixels = NULL;
  p->tasks = mc_alloc(n, sizeof *p->tasks);
  p->scores = mc_alloc(n, sizeof *p->scores);
  p->features = mc_alloc(n, embed * sizeof *p->features);
  p->errors = p->gates = NULL;
  moeclip_code code = p->tasks && p->scores && p->features ? MOECLIP_OK : mc_fail_memory(err, n * embed * 4, "features");
  if (code == MOECLIP_OK && why && l->adapters) {
    size_t each = (size_t)l->adapters->visual_layers * (size_t)mc_learner_most_experts(l);
    p->gates = calloc(n, each * sizeof *p->gates);
    if (!p->gates) code = mc_fail_memory(err, n * each * sizeof *p->gates, "gates");
  }
  if (code == MOECLIP_OK) code = preprocess(l, p->images, p->n, &l->model->clip->transform, &pixels, err);
  if (code == MOECLIP_OK) code = choose_and_encode(l, p, pixels, why, err);
  free(pixels);
  return code;
}

void mc_pictures_clear(mc_pictures *p) {
  free(p->tasks);
  free(p->scores);
  free(p->features);
  free(p->errors);
  free(p->gates);
}

moeclip_code moeclip_learner_encode_images(moeclip_learner *l, const moeclip_image *images, int n, int task, int *tasks,
                                           double *scores, float *out, moeclip_error *err) {
  size_t embed = (size_t)l->model->clip->sizes.embed;
  if (task < MOECLIP_TASK_AUTO || task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: %d were learned, numbered from 0", task, l->n_tasks);
  }
  if (n <= 0) return MOECLIP_OK;
  mc_pictures p = {.images = images, .n = n, .task = task, .selection = MOECLIP_SELECT_PER_IMAGE};
  moeclip_code code = mc_pictures_encode(l, &p, false, err);
  for (int i = 0; code == MOECLIP_OK && i < n; i++) {
    if (tasks) tasks[i] = p.tasks[i];
    if (scores) scores[i] = p.scores[i];
  }
  for (size_t i = 0; code == MOECLIP_OK && i < (size_t)n * embed; i++) out[i] = p.features[i];
  mc_pictures_clear(&p);
  return code;
}

moeclip_code moeclip_learner_encode_texts(moeclip_learner *l, const char *const *texts, int n, int task, float *out,
                                          moeclip_error *err) {
  static const char *const as_it_is[] = {"{}"};
  if (task < MOECLIP_TASK_NONE || task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: %d were learned, numbered from 0 (-1: the untouched CLIP)", task,
                   l->n_tasks);
  }
  if (n <= 0) return MOECLIP_OK;
  return mc_class_features(l, task, as_it_is, 1, texts, (size_t)n, NULL, out, err);
}
