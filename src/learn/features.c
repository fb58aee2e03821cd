/* Class features and picture features of a learner. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/learner.h"

/* Texts and pictures go through in pieces of this size: memory does not grow with their number. */
enum { PIECE = 64 };

static mc_encoder plain_encoder(const moeclip_learner *l) {
  return (mc_encoder){.clip = mc_learner_clip(l), .adapters = l->adapters};
}

static mc_routing routing_of(const moeclip_learner *l, const int32_t *tasks, const mc_gate_noise *noise, int64_t first) {
  mc_routing r = {.task = tasks, .top_k = l->options.top_k, .scale = l->adapters ? l->adapters->sizes.scale : 0};
  if (!noise) return r;
  r.noise = true;
  r.seed = noise->seed;
  r.step = noise->step;
  r.first_sample = noise->first_sample + (uint64_t)first;
  return r;
}

/* Rows of tokens -> features [n, embed]. */
static moeclip_code encode_rows(moeclip_learner *l, int task, const int32_t *rows, size_t n, const mc_gate_noise *noise,
                                float *out, moeclip_error *err) {
  moeclip_model *m = l->model;
  size_t context = (size_t)m->clip->sizes.context, embed = (size_t)m->clip->sizes.embed;
  mc_encoder encoder = plain_encoder(l);
  int32_t tasks[PIECE];
  for (int i = 0; i < PIECE; i++) tasks[i] = mc_learner_router(l, task);
  for (size_t at = 0; at < n; at += PIECE) {
    mc_routing routing = routing_of(l, tasks, noise, (int64_t)at);
    encoder.routing = task >= 0 ? &routing : NULL;
    size_t count = n - at < PIECE ? n - at : PIECE;
    MC_TRY(mc_encode_texts(m->compute, &encoder, rows + at * context, (int64_t)count, out + at * embed, NULL, &m->arena,
                           err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_class_features(moeclip_learner *l, int task, const char *const *templates, size_t n_templates,
                               const char *const *classes, size_t n_classes, const mc_gate_noise *noise, float *out,
                               moeclip_error *err) {
  size_t embed = (size_t)l->model->clip->sizes.embed, n = n_classes * embed;
  int32_t *rows = NULL;
  if (n_templates == 0) {
    templates = mc_default_template;
    n_templates = 1;
  }
  if (n_classes == 0) return MOECLIP_OK;
  float *one = mc_alloc(n, sizeof *one), *norm = mc_alloc(n_classes, sizeof *norm);
  moeclip_code code = one && norm ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *one, "class features");
  memset(out, 0, n * sizeof *out);
  for (size_t t = 0; code == MOECLIP_OK && t < n_templates; t++) {
    code = mc_model_prompts(l->model, templates + t, 1, classes, n_classes, &rows, err);
    mc_gate_noise own = noise ? *noise : (mc_gate_noise){0};
    own.first_sample += (uint64_t)(t * n_classes);
    if (code == MOECLIP_OK) code = encode_rows(l, task, rows, n_classes, noise ? &own : NULL, one, err);
    for (size_t i = 0; code == MOECLIP_OK && i < n; i++) out[i] += one[i];
    free(rows);
  }
  /* The length of the mean does not matter: it is normalised away. */
  if (code == MOECLIP_OK) mc_normalize_forward(out, (int64_t)n_classes, (int64_t)embed, out, norm);
  free(one);
  free(norm);
  return code;
}

moeclip_code mc_task_features(moeclip_learner *l, int task, bool untouched, const float **out, moeclip_error *err) {
  const mc_task *t = &l->tasks[task];
  float **kept = &l->task_features[2 * task + untouched];
  if (!*kept) {
    size_t n = t->n_classes * (size_t)l->model->clip->sizes.embed;
    float *made = mc_alloc(n, sizeof *made);
    if (!made) return mc_fail_memory(err, n * sizeof *made, "class features");
    moeclip_code code = mc_class_features(l, untouched ? MOECLIP_TASK_NONE : task, (const char *const *)t->templates,
                                          t->n_templates, (const char *const *)t->classes, t->n_classes, NULL, made, err);
    if (code != MOECLIP_OK) {
      free(made);
      return code;
    }
    *kept = made;
  }
  *out = *kept;
  return MOECLIP_OK;
}

/* What mc_choice calls back with: a piece of the pictures. */
typedef struct choosing {
  moeclip_learner *l;
  const mc_chosen *chosen;
  int64_t at;       /* the piece's first picture */
  int32_t *routers; /* of the piece */
} choosing;

static moeclip_code choose_piece(void *context, const float *tokens, int64_t n, moeclip_error *err) {
  const choosing *c = context;
  moeclip_learner *l = c->l;
  mc_compute *cp = l->model->compute;
  mc_arena_mark mark = mc_arena_here(&l->model->arena);
  int32_t *tasks = c->chosen->tasks + c->at;
  double *scores = c->chosen->scores ? c->chosen->scores + c->at : NULL;
  float *errors = c->chosen->errors ? c->chosen->errors + c->at * (1 + l->n_tasks) : NULL, *seen;
  MC_ARENA_TAKE(seen, &l->model->arena, n * l->extractor.dim, "the selector's features");
  mc_extract_moments(cp, &l->extractor, tokens, n, seen);
  moeclip_code code = mc_selector_choose(cp, l->selector, seen, n, false, tasks, scores, errors, &l->model->arena, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) c->routers[i] = mc_learner_router(l, tasks[i]);
  mc_arena_release(&l->model->arena, mark);
  return code;
}

/* tasks: NULL, and the selector chooses in passing. */
static moeclip_code encode_pictures(moeclip_learner *l, const uint8_t *pixels, int64_t n, const int32_t *tasks,
                                    const mc_chosen *chosen, const mc_gate_noise *noise, float *gates, float *out,
                                    moeclip_error *err) {
  moeclip_model *m = l->model;
  int size = m->clip->sizes.image_size;
  size_t each = 3 * (size_t)size * (size_t)size;
  mc_encoder encoder = plain_encoder(l);
  moeclip_code code = MOECLIP_OK;
  for (int64_t at = 0; code == MOECLIP_OK && at < n; at += PIECE) {
    int64_t count = n - at < PIECE ? n - at : PIECE;
    mc_arena_mark mark = mc_arena_here(&m->arena);
    int32_t routers[PIECE];
    for (int64_t i = 0; i < count; i++) routers[i] = tasks ? mc_learner_router(l, tasks[at + i]) : -1;
    mc_routing routing = routing_of(l, routers, noise, at);
    choosing c = {l, chosen, at, routers};
    mc_choice choice = {choose_piece, &c};
    if (gates) {
      routing.gates_experts = mc_learner_most_experts(l);
      routing.gates_stride = n * routing.gates_experts;
      routing.gates_out = gates + at * routing.gates_experts;
    }
    encoder.routing = l->adapters ? &routing : NULL;
    encoder.choice = tasks ? NULL : &choice;
    float *images = mc_arena_take(&m->arena, (size_t)count * each, sizeof *images);
    if (!images) return mc_fail_memory(err, (size_t)count * each * sizeof *images, "pictures");
    mc_normalize_pixels(m->compute, pixels + (size_t)at * each, count, &m->clip->transform, images);
    code = mc_encode_images(m->compute, &encoder, images, count, out + at * m->clip->sizes.embed, NULL, &m->arena, err);
    mc_arena_release(&m->arena, mark);
  }
  return code;
}

moeclip_code mc_picture_features(moeclip_learner *l, const uint8_t *pixels, int64_t n, const int32_t *tasks,
                                 const mc_gate_noise *noise, float *gates, float *out, moeclip_error *err) {
  return encode_pictures(l, pixels, n, tasks, NULL, noise, gates, out, err);
}

bool mc_routes_in_passing(const moeclip_learner *l) {
  return l->adapters && l->selector && l->n_tasks > 0 && mc_extracts_in_passing(&l->extractor);
}

moeclip_code mc_choose_and_encode(moeclip_learner *l, const uint8_t *pixels, int64_t n, const mc_chosen *chosen,
                                  const mc_gate_noise *noise, float *gates, float *out, moeclip_error *err) {
  if (mc_routes_in_passing(l)) return encode_pictures(l, pixels, n, NULL, chosen, noise, gates, out, err);
  MC_TRY(mc_route(l, pixels, n, MOECLIP_SELECT_PER_IMAGE, chosen->tasks, chosen->scores, chosen->errors, err));
  return encode_pictures(l, pixels, n, chosen->tasks, NULL, noise, gates, out, err);
}

moeclip_code mc_plain_pictures(moeclip_learner *l, const uint8_t *pixels, int64_t n, float *out, moeclip_error *err) {
  size_t size = (size_t)l->model->clip->sizes.image_size, embed = (size_t)l->model->clip->sizes.embed;
  int32_t nobody[PIECE];
  for (int i = 0; i < PIECE; i++) nobody[i] = MOECLIP_TASK_NONE;
  for (int64_t at = 0; at < n; at += PIECE) {
    MC_TRY(encode_pictures(l, pixels + (size_t)at * 3 * size * size, n - at < PIECE ? n - at : PIECE, nobody, NULL, NULL, NULL,
                           out + (size_t)at * embed, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_plain_images(moeclip_model *m, mc_clip *clip, const float *images, int64_t n, float *out, moeclip_error *err) {
  mc_encoder encoder = {.clip = clip};
  int64_t size = clip->sizes.image_size;
  for (int64_t at = 0; at < n; at += PIECE) {
    MC_TRY(mc_encode_images(m->compute, &encoder, images + at * 3 * size * size, n - at < PIECE ? n - at : PIECE,
                            out + at * clip->sizes.embed, NULL, &m->arena, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_plain_texts(moeclip_model *m, mc_clip *clip, const int32_t *rows, int64_t n, float *out, moeclip_error *err) {
  mc_encoder encoder = {.clip = clip};
  for (int64_t at = 0; at < n; at += PIECE) {
    MC_TRY(mc_encode_texts(m->compute, &encoder, rows + at * clip->sizes.context, n - at < PIECE ? n - at : PIECE,
                           out + at * clip->sizes.embed, NULL, &m->arena, err));
  }
  return MOECLIP_OK;
}
