/*
 * Every backward against central differences of its forward. Arithmetic is float32, so the derivative is taken along random
 * directions, the scalar is summed in double, and the tolerance is 2 % of the largest of the two sides (plus what rounding
 * explains).
 */
#include <stdint.h>

#include "base/arena.h"
#include "check.h"
#include "compute/kernels.h"
#include "model/balance.h"
#include "steps.h"
#include "train/distill.h"

enum { SEED = STEPS_SEED };
static moeclip_error err;
static mc_compute *cp;
static mc_arena arena;

static double dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

/* --- layers: L = sum of weights * f(x), checked for one input array ---------------------------------------------------------- */

typedef double (*scalar)(void *context);

/* values [n] of f, gradient [n] as backward gave it. */
static void check_direction(const char *what, scalar f, void *context, float *values, const float *gradient, int64_t n,
                            uint64_t index, double step) {
  for (uint64_t trial = 0; trial < 4; trial++) {
    float *direction = steps_floats(n, 1000 + 10 * index + trial, 1), *before = malloc((size_t)n * sizeof *before);
    memcpy(before, values, (size_t)n * sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = before[i] + (float)step * direction[i];
    double up = f(context);
    for (int64_t i = 0; i < n; i++) values[i] = before[i] - (float)step * direction[i];
    double down = f(context);
    memcpy(values, before, (size_t)n * sizeof *values);
    double measured = (up - down) / (2 * step), claimed = dot(gradient, direction, n);
    double size = sqrt(dot(gradient, gradient, n)), largest = fabs(claimed) > fabs(measured) ? fabs(claimed) : fabs(measured);
    CHECK_MSG(fabs(measured - claimed) <= 0.02 * largest + 0.01 * size + 1e-6,
              "%s: measured %.6g, claimed %.6g (seed %d, direction %d)", what, measured, claimed, (int)SEED, (int)trial);
    free(direction);
    free(before);
  }
}

typedef struct layer {
  int64_t rows, d;
  float *x, *weight, *bias, *y, *mean, *rstd, *upstream;
  mc_activation activation;
  mc_attention attention;
  float *context, *log_sum, *scratch;
  int32_t *labels;
} layer;

static double norm_forward(void *context) {
  layer *l = context;
  mc_layernorm_forward(cp, l->x, l->d, l->weight, l->bias, l->rows, l->d, l->y, l->mean, l->rstd);
  return dot(l->y, l->upstream, l->rows * l->d);
}

static void test_layernorm(void) {
  layer l = {.rows = 7, .d = 24};
  int64_t n = l.rows * l.d;
  l.x = steps_floats(n, 1, 1);
  l.weight = steps_floats(l.d, 2, 1);
  l.bias = steps_floats(l.d, 3, 1);
  l.upstream = steps_floats(n, 4, 1);
  l.y = calloc((size_t)n, sizeof(float));
  l.mean = calloc((size_t)l.rows, sizeof(float));
  l.rstd = calloc((size_t)l.rows, sizeof(float));
  float *dx = calloc((size_t)n, sizeof *dx), *dw = calloc((size_t)l.d, sizeof *dw), *db = calloc((size_t)l.d, sizeof *db);
  norm_forward(&l);
  mc_layernorm_backward(cp, l.upstream, l.x, l.d, l.mean, l.rstd, l.weight, l.rows, l.d, dx, l.d, dw, db);
  check_direction("layer norm, input", norm_forward, &l, l.x, dx, n, 1, 1e-2);
  check_direction("layer norm, weight", norm_forward, &l, l.weight, dw, l.d, 2, 1e-2);
  check_direction("layer norm, bias", norm_forward, &l, l.bias, db, l.d, 3, 1e-2);
  float *all[] = {l.x, l.weight, l.bias, l.upstream, l.y, l.mean, l.rstd, dx, dw, db};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double activation_forward(void *context) {
  layer *l = context;
  mc_activation_forward(cp, l->activation, l->x, l->d, l->y);
  return dot(l->y, l->upstream, l->d);
}

static void test_activation(mc_activation kind) {
  layer l = {.d = 301, .activation = kind};
  l.x = steps_floats(l.d, 5, 2);
  l.upstream = steps_floats(l.d, 6, 1);
  l.y = calloc((size_t)l.d, sizeof(float));
  float *dx = steps_floats(l.d, 6, 1);
  mc_activation_backward(cp, kind, l.x, l.d, dx);
  check_direction(kind == MC_GELU ? "GELU" : "quick GELU", activation_forward, &l, l.x, dx, l.d, 4, 1e-2);
  free(l.x);
  free(l.upstream);
  free(l.y);
  free(dx);
}

static double attention_forward(void *context) {
  layer *l = context;
  REQUIRE_OK(mc_attention_forward(cp, &l->attention, l->x, l->context, l->log_sum, l->scratch, &err), err);
  return dot(l->context, l->upstream, l->rows * l->d);
}

static void test_attention(bool causal, int64_t t) {
  layer l = {.rows = 2 * t, .d = 2 * 64, .attention = {2, t, 2, 64, causal}};
  int64_t n = l.rows * l.d;
  l.x = steps_floats(3 * n, 7, 0.7f);
  l.upstream = steps_floats(n, 8, 1);
  l.context = calloc((size_t)n, sizeof(float));
  l.log_sum = calloc((size_t)(2 * 2 * t), sizeof(float));
  l.scratch = calloc(mc_attention_scratch(cp, &l.attention) + 16, sizeof(float));
  float *dx = calloc((size_t)(3 * n), sizeof *dx);
  attention_forward(&l);
  REQUIRE_OK(mc_attention_backward(cp, &l.attention, l.x, l.log_sum, l.upstream, dx, l.scratch, &err), err);
  check_direction(causal ? "attention, causal" : "attention", attention_forward, &l, l.x, dx, 3 * n, 5 + (uint64_t)t, 1e-2);
  float *all[] = {l.x, l.upstream, l.context, l.log_sum, l.scratch, dx};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double loss_forward(void *context) {
  layer *l = context;
  return mc_cross_entropy(l->x, l->labels, l->rows, l->d, 0.2f, 1.0f, NULL);
}

static double normalize_forward(void *context) {
  layer *l = context;
  mc_normalize_forward(l->x, l->rows, l->d, l->y, l->mean);
  return dot(l->y, l->upstream, l->rows * l->d);
}

static void test_loss_and_normalize(void) {
  int32_t labels[5] = {0, 3, 8, 2, 2};
  layer l = {.rows = 5, .d = 9, .labels = labels};
  int64_t n = 45;
  float *dx = malloc((size_t)n * sizeof *dx);
  l.x = steps_floats(n, 9, 2);
  l.upstream = steps_floats(n, 10, 1);
  l.y = calloc((size_t)n, sizeof(float));
  l.mean = calloc(5, sizeof(float));
  mc_cross_entropy(l.x, labels, l.rows, l.d, 0.2f, 1.0f, dx);
  check_direction("cross-entropy with smoothing", loss_forward, &l, l.x, dx, n, 6, 1e-2);
  normalize_forward(&l);
  mc_normalize_backward(l.upstream, l.y, l.mean, l.rows, l.d, dx);
  check_direction("normalisation", normalize_forward, &l, l.x, dx, n, 7, 1e-2);
  float *all[] = {l.x, l.upstream, l.y, l.mean, dx};
  for (size_t i = 0; i < 5; i++) free(all[i]);
}

/* --- whole steps: every parameter of the towers, experts and routers ---------------------------------------------------------- */

typedef struct model_step {
  mc_clip *clip;
  mc_adapters *adapters; /* NULL: the contrastive step of all weights */
  mc_step_options options;
  float *images;
  int32_t *texts, *labels;
  int64_t n, n_texts;
  int n_checked;
  bool small_steps; /* where the loss is steep, a larger one crosses the kinks of ReLU and top-k */
  bool classes; /* without adapters: the classification step all the same */
  mc_reference_batch *reference; /* else: the step of a reference set */
} model_step;

static double run_step(void *context) {
  model_step *s = context;
  double loss;
  if (s->adapters || s->classes) {
    REQUIRE_OK(mc_classification_step(cp, s->clip, s->adapters, &s->options, s->images, s->labels, s->n, s->texts,
                                      s->n_texts, &loss, NULL, &arena, &err), err);
  } else if (s->reference) {
    REQUIRE_OK(mc_reference_step(cp, s->clip, &s->options, s->reference, &loss, &arena, &err), err);
  } else {
    REQUIRE_OK(mc_contrastive_step(cp, s->clip, &s->options, s->images, s->texts, s->n, &loss, &arena, &err), err);
  }
  return loss;
}

static moeclip_code check_param(void *context, const char *name, mc_param *p, moeclip_error *e) {
  model_step *s = context;
  (void)e;
  if (!p->grad) return MOECLIP_OK;
  /* Every run adds to the gradients: start this parameter's from nothing. */
  memset(p->grad, 0, (size_t)p->n * sizeof *p->grad);
  run_step(s);
  float *gradient = malloc((size_t)p->n * sizeof *gradient), *keep = malloc((size_t)p->n * sizeof *keep);
  memcpy(gradient, p->grad, (size_t)p->n * sizeof *gradient);
  double size = sqrt(dot(gradient, gradient, p->n)), length = 0;
  memcpy(keep, p->value, (size_t)p->n * sizeof *keep);
  /* Along the gradient itself, where the loss moves most, mixed with a random direction. */
  float *direction = steps_floats(p->n, 9000 + (uint64_t)s->n_checked, (float)(0.5 * size / sqrt((double)p->n)));
  for (int64_t i = 0; i < p->n; i++) direction[i] += gradient[i];
  length = sqrt(dot(direction, direction, p->n));
  if (size > 1e-5) {
    double value_size = sqrt(dot(keep, keep, p->n)), step = (s->small_steps ? 5e-5 : 5e-4) * (value_size > 0.3 ? value_size : 0.3) / length;
    for (int64_t i = 0; i < p->n; i++) p->value[i] = keep[i] + (float)(step * direction[i]);
    double up = run_step(s);
    for (int64_t i = 0; i < p->n; i++) p->value[i] = keep[i] - (float)(step * direction[i]);
    double down = run_step(s);
    memcpy(p->value, keep, (size_t)p->n * sizeof *keep);
    double measured = (up - down) / (2 * step), claimed = dot(gradient, direction, p->n);
    CHECK_MSG(fabs(measured - claimed) <= 0.05 * fabs(claimed) + 2e-6 / step, "%s: measured %.6g, claimed %.6g (seed %d)",
              name, measured, claimed, (int)SEED);
    s->n_checked++;
  }
  free(gradient);
  free(keep);
  free(direction);
  return MOECLIP_OK;
}

static void fill_inputs(model_step *s, const mc_clip_sizes *sizes) {
  s->images = steps_floats(s->n * 3 * sizes->image_size * sizes->image_size, 70, 1);
  s->texts = calloc((size_t)(s->n_texts * sizes->context), sizeof *s->texts);
  s->labels = calloc((size_t)s->n, sizeof *s->labels);
  steps_texts(s->texts, s->n_texts, sizes->context, sizes->vocabulary);
  for (int64_t i = 0; i < s->n; i++) s->labels[i] = (int32_t)(i % s->n_texts);
}

static void test_step(bool adapters, size_t kept_bytes, float balance, int heads) {
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 8, 40, 2, 64, 96, 16, MC_QUICK_GELU, heads, heads / 2};
  model_step s = {.n = 6, .n_texts = adapters ? 4 : 6, .small_steps = heads > 0,
                  .options = {.smoothing = 0.1f, .kept_bytes = kept_bytes, .balance = balance}};
  uint64_t index = 0;
  int32_t tasks[6] = {0, 0, 0, 0, 0, 0};
  REQUIRE_OK(mc_clip_create(&sizes, 3, &s.clip, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, steps_shake, &index, &err), err);
  fill_inputs(&s, &sizes);
  if (adapters) {
    mc_adapter_sizes a = {4, 8, 2, 1.0f, true, 0};
    REQUIRE_OK(mc_adapters_create(&a, 2, 64, 2, 64, 5, &s.adapters, &err), err);
    REQUIRE_OK(mc_adapters_add_router(s.adapters, &err), err);
    REQUIRE_OK(mc_adapters_each(s.adapters, steps_shake, &index, &err), err);
    s.adapters->visual[0].experts[1].frozen = true;
    REQUIRE_OK(mc_adapters_train(s.adapters, 0, false, &err), err);
    CHECK(s.adapters->visual[0].experts[1].down_weight.grad == NULL);
    /* The noise is drawn by (seed, step, block, sample), so it is the same in every call; so is the dropout. */
    mc_routing routing = {.task = tasks, .top_k = 2, .scale = 1, .noise = true, .dropout = 0.25f, .seed = 8, .step = 3};
    s.options.image_routing = s.options.text_routing = routing;
  } else {
    REQUIRE_OK(mc_clip_each(s.clip, steps_unfreeze, NULL, &err), err);
  }
  if (adapters) {
    REQUIRE_OK(mc_adapters_each(s.adapters, check_param, &s, &err), err);
    CHECK_MSG(s.n_checked >= 24, "%d parameters had gradients", s.n_checked);
  } else {
    REQUIRE_OK(mc_clip_each(s.clip, check_param, &s, &err), err);
    CHECK_MSG(s.n_checked >= 50, "%d parameters had gradients", s.n_checked);
  }
  mc_adapters_destroy(s.adapters);
  mc_clip_destroy(s.clip);
  free(s.images);
  free(s.texts);
  free(s.labels);
}

static moeclip_code check_finite(void *context, const char *name, mc_param *p, moeclip_error *e) {
  (void)e;
  int64_t n_bad = 0;
  for (int64_t i = 0; p->grad && i < p->n; i++) n_bad += !isfinite(p->grad[i]);
  CHECK_MSG(n_bad == 0, "%s: %lld gradients are not finite", name, (long long)n_bad);
  *(int *)context += p->grad != NULL;
  return MOECLIP_OK;
}

/* Gates from 1e-35 to the smallest float there is, which the scale makes 0. */
static void test_vanishing_gates(void) {
  enum { N = 6, TEXTS = 4, EXPERTS = 4 };
  static const float apart[N] = {80, 87, 95, 101, 102.5f, 103.2f};
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 8, 40, 2, 64, 96, 16, MC_QUICK_GELU, 0, 0};
  model_step s = {.n = N, .n_texts = TEXTS};
  mc_adapter_sizes a = {EXPERTS, 8, 2, 1.0f, true, 0};
  float noise[N * EXPERTS];
  const float *of_block[4] = {noise, noise, noise, noise}; /* the image tower's, then the text tower's */
  int32_t tasks[N] = {0};
  int n_checked = 0;
  uint64_t index = 0;
  REQUIRE_OK(mc_clip_create(&sizes, 3, &s.clip, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, steps_shake, &index, &err), err);
  fill_inputs(&s, &sizes);
  REQUIRE_OK(mc_adapters_create(&a, 2, 64, 2, 64, 5, &s.adapters, &err), err);
  REQUIRE_OK(mc_adapters_add_router(s.adapters, &err), err);
  REQUIRE_OK(mc_adapters_each(s.adapters, steps_shake, &index, &err), err);
  for (int b = 0; b < 2; b++) { /* the noise alone decides: softplus(0) + 0.01 times it */
    mc_router *routers[2] = {&s.adapters->visual[b].routers[0], &s.adapters->text[b].routers[0]};
    for (int side = 0; side < 2; side++) {
      memset(routers[side]->gate.value, 0, (size_t)routers[side]->gate.n * sizeof(float));
      memset(routers[side]->noise.value, 0, (size_t)routers[side]->noise.n * sizeof(float));
    }
  }
  for (int i = 0; i < N; i++) {
    const float row[EXPERTS] = {-apart[i] / (logf(2) + 0.01f), -1000, 0, -1000};
    memcpy(noise + (ptrdiff_t)i * EXPERTS, row, sizeof row);
  }
  REQUIRE_OK(mc_adapters_train(s.adapters, 0, false, &err), err);
  mc_routing routing = {.task = tasks, .top_k = 2, .scale = 0.1f, .noise = true, .fixed_noise = of_block};
  s.options.image_routing = s.options.text_routing = routing;
  CHECK(isfinite(run_step(&s)));
  REQUIRE_OK(mc_adapters_each(s.adapters, check_finite, &n_checked, &err), err);
  CHECK(n_checked >= 24);
  mc_adapters_destroy(s.adapters);
  mc_clip_destroy(s.clip);
  free(s.images);
  free(s.texts);
  free(s.labels);
}

/* The load-balance term by hand: cv^2 of (1, 2, 3) is 1/4, and two experts of equal clean logits and spread, of which one is chosen,
 * have the same chance to beat the other's noisy logit as the normal distribution says. */
static void test_balance(void) {
  const double x[3] = {1, 2, 3}, equal[4] = {5, 5, 5, 5};
  double load[2] = {0, 0}, dx[3];
  CHECK(fabs(mc_cv_squared(x, 3, dx) - 0.25) < 1e-9 && mc_cv_squared(equal, 4, NULL) == 0 && mc_cv_squared(x, 1, NULL) == 0);
  CHECK(fabs(dx[0] + 2 * dx[1] + 3 * dx[2]) < 1e-9); /* scaling all values changes nothing */
  const float clean[2] = {0, 0}, spread[2] = {0, 0}, eps[2] = {1, -1};
  mc_load_forward(&(mc_noisy_logits){2, 1, clean, spread, eps}, load);
  /* Expert 0 stays while 0 + s z > -s, expert 1 gets in when 0 + s z > s; s = softplus(0) + 0.01. */
  CHECK_MSG(fabs(load[0] - 0.841344746) < 1e-7 && fabs(load[1] - 0.158655254) < 1e-7, "loads %g, %g", load[0], load[1]);
}

/* The term's value against its formula, in double, on features that were encoded apart; then its gradients. In several pieces: their
 * losses add up. */
static void test_distillation(size_t kept_bytes) {
  enum { N = 6, TEXTS = 4, EMBED = 16 };
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 8, 40, 2, 64, 96, EMBED, MC_QUICK_GELU, 0, 0};
  model_step s = {.n = N, .n_texts = TEXTS, .classes = true, .options = {.smoothing = 0.1f, .kept_bytes = kept_bytes}};
  float *texts = steps_floats(TEXTS * EMBED, 801, 1), *targets = steps_floats(N * TEXTS, 802, 1), features[N * EMBED], norm[TEXTS];
  mc_distillation d = {texts, TEXTS, targets, 0.7f, 3};
  uint64_t index = 0;
  REQUIRE_OK(mc_clip_create(&sizes, 3, &s.clip, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, steps_shake, &index, &err), err);
  fill_inputs(&s, &sizes);
  mc_normalize_forward(texts, TEXTS, EMBED, texts, norm);
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int j = 0; j < TEXTS; j++) sum += targets[i * TEXTS + j] = expf(targets[i * TEXTS + j]);
    for (int j = 0; j < TEXTS; j++) targets[i * TEXTS + j] = (float)(targets[i * TEXTS + j] / sum);
  }
  double without = run_step(&s), expected = 0;
  s.options.distillation = &d;
  double with = run_step(&s);
  mc_encoder encoder = {.clip = s.clip};
  REQUIRE_OK(mc_encode_images(cp, &encoder, s.images, N, features, NULL, &arena, &err), err);
  for (int i = 0; i < N; i++) {
    double z[TEXTS], sum = 0;
    for (int j = 0; j < TEXTS; j++) {
      z[j] = exp((double)s.clip->logit_scale.value[0]) * dot(features + (ptrdiff_t)i * EMBED, texts + (ptrdiff_t)j * EMBED, EMBED) / 3;
      sum += exp(z[j]);
    }
    for (int j = 0; j < TEXTS; j++) expected -= 0.7 * 9 / N * targets[i * TEXTS + j] * (z[j] - log(sum));
  }
  CHECK_MSG(fabs(with - without - expected) < 1e-4 * expected, "distillation: %.8g, not %.8g", with - without, expected);
  REQUIRE_OK(mc_clip_each(s.clip, steps_unfreeze, NULL, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, check_param, &s, &err), err);
  CHECK_MSG(s.n_checked >= 50, "%d parameters had gradients", s.n_checked);
  mc_clip_destroy(s.clip);
  free(s.images);
  free(s.texts);
  free(s.labels);
  free(texts);
  free(targets);
}

/* -sum of softmax(t) * log softmax(z), z and t [n] `step` apart. */
static double cross_entropy_of(const double *t, const double *z, int n, int step) {
  double sum_t = 0, sum_z = 0, total = 0;
  for (int j = 0; j < n; j++) {
    sum_t += exp(t[(ptrdiff_t)j * step]);
    sum_z += exp(z[(ptrdiff_t)j * step]);
  }
  for (int j = 0; j < n; j++) total -= exp(t[(ptrdiff_t)j * step]) / sum_t * (z[(ptrdiff_t)j * step] - log(sum_z));
  return total;
}

/* ZSCL's: both directions by the formula, in double, on features that were encoded apart; then the gradients. */
static void test_reference(size_t kept_bytes) {
  enum { N = 6, TEXTS = 4, EMBED = 16 };
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 8, 40, 2, 64, 96, EMBED, MC_QUICK_GELU, 0, 0};
  model_step s = {.n = N, .n_texts = TEXTS, .options = {.kept_bytes = kept_bytes}};
  float *texts = steps_floats(TEXTS * EMBED, 801, 1), *before = steps_floats(N * EMBED, 803, 1), features[N * EMBED], norm[N];
  uint64_t index = 0;
  double z[N * TEXTS], t[N * TEXTS], expected = 0;
  REQUIRE_OK(mc_clip_create(&sizes, 3, &s.clip, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, steps_shake, &index, &err), err);
  fill_inputs(&s, &sizes);
  mc_normalize_forward(texts, TEXTS, EMBED, texts, norm);
  mc_normalize_forward(before, N, EMBED, before, norm);
  mc_encoder encoder = {.clip = s.clip};
  REQUIRE_OK(mc_encode_images(cp, &encoder, s.images, N, features, NULL, &arena, &err), err);
  double scale = exp((double)s.clip->logit_scale.value[0]) / 2;
  mc_reference_batch batch = {s.images, N, NULL, before, texts, TEXTS, (float)(1.5 * 2 * scale), 0.7f, 2};
  s.reference = &batch;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < TEXTS; j++) {
      z[i * TEXTS + j] = scale * dot(features + (ptrdiff_t)i * EMBED, texts + (ptrdiff_t)j * EMBED, EMBED);
      t[i * TEXTS + j] = 1.5 * scale * dot(before + (ptrdiff_t)i * EMBED, texts + (ptrdiff_t)j * EMBED, EMBED);
    }
  }
  for (int i = 0; i < N; i++) expected += 0.7 * 4 / N * cross_entropy_of(t + (ptrdiff_t)i * TEXTS, z + (ptrdiff_t)i * TEXTS, TEXTS, 1);
  for (int j = 0; j < TEXTS; j++) expected += 0.7 * 4 / TEXTS * cross_entropy_of(t + j, z + j, N, TEXTS);
  double is = run_step(&s);
  CHECK_MSG(fabs(is - expected) < 1e-5 * expected, "reference set: %.8g, not %.8g", is, expected);
  REQUIRE_OK(mc_clip_each(s.clip, steps_unfreeze, NULL, &err), err);
  REQUIRE_OK(mc_clip_each(s.clip, check_param, &s, &err), err);
  CHECK_MSG(s.n_checked >= 25, "%d parameters had gradients", s.n_checked);
  mc_clip_destroy(s.clip);
  free(s.images);
  free(s.texts);
  free(s.labels);
  free(texts);
  free(before);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  test_layernorm();
  test_activation(MC_QUICK_GELU);
  test_activation(MC_GELU);
  test_attention(false, 5);
  test_attention(true, 13);
  test_loss_and_normalize();
  test_step(true, 0, 0, 0);
  test_step(true, 1, 0, 0);
  test_step(true, 0, 0.5f, 0);
  test_step(true, 1, 0.5f, 0); /* the sums over the batch, from pieces */
  test_step(false, 0, 0, 0);
  test_step(false, 1, 0, 0);
  test_step(true, 0, 0, 4); /* heads of 16 and 32 numbers in place of one of 64 */
  test_step(false, 1, 0, 4);
  test_distillation(0);
  test_distillation(1);
  test_reference(0);
  test_reference(1);
  test_vanishing_gates();
  test_balance();
  mc_arena_clear(&arena);
  mc_compute_destroy(cp);
  return check_report();
}
