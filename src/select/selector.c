#include "select/selector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The model of one domain, by the selector's kind. */
typedef struct domain {
  bool there;
  mc_autoencoder autoencoder;
  mc_gaussian gaussian;
} domain;

struct mc_selector {
  mc_selector_kind kind;
  int64_t dim, hidden;
  domain reference; /* number 0 */
  domain *tasks;
  double *thresholds;
  int n_tasks;
  uint8_t *kept_bytes; /* [n_kept, dim]: of autoencoders */
  float *kept;         /* [n_kept, dim]: of Gaussians */
  int64_t n_kept;
};

enum { MAX_KEPT = 65536 };

moeclip_code mc_selector_create(mc_selector_kind kind, int64_t dim, int64_t hidden, mc_selector **out, moeclip_error *err) {
  *out = calloc(1, sizeof **out);
  if (!*out) return mc_fail_memory(err, sizeof **out, "the selector");
  (*out)->kind = kind;
  (*out)->dim = dim;
  (*out)->hidden = hidden;
  return MOECLIP_OK;
}

static void domain_clear(domain *d) {
  mc_autoencoder_clear(&d->autoencoder);
  mc_gaussian_clear(&d->gaussian);
}

void mc_selector_destroy(mc_selector *s) {
  if (!s) return;
  domain_clear(&s->reference);
  for (int t = 0; t < s->n_tasks; t++) domain_clear(&s->tasks[t]);
  free(s->tasks);
  free(s->thresholds);
  free(s->kept_bytes);
  free(s->kept);
  free(s);
}

int mc_selector_tasks(const mc_selector *s) { return s->n_tasks; }
bool mc_selector_has_reference(const mc_selector *s) { return s->reference.there; }
double mc_selector_threshold(const mc_selector *s, int task) { return s->thresholds[task]; }
void mc_selector_set_threshold(mc_selector *s, int task, double threshold) { s->thresholds[task] = threshold; }

static const domain *domain_of(const mc_selector *s, int task) { return task < 0 ? &s->reference : &s->tasks[task]; }

const mc_autoencoder *mc_selector_autoencoder(const mc_selector *s, int task) {
  const domain *d = domain_of(s, task);
  return d->there && s->kind == MC_SELECTOR_AUTOENCODER ? &d->autoencoder : NULL;
}

const mc_gaussian *mc_selector_gaussian(const mc_selector *s, int task) {
  const domain *d = domain_of(s, task);
  return d->there && s->kind != MC_SELECTOR_AUTOENCODER ? &d->gaussian : NULL;
}

int64_t mc_selector_numbers(const mc_selector *s, int task) {
  const domain *d = domain_of(s, task);
  const mc_autoencoder *a = &d->autoencoder;
  return a->encoder_weight.n + a->encoder_bias.n + a->decoder_weight.n + a->decoder_bias.n + d->gaussian.mean.n +
         d->gaussian.basis.n + d->gaussian.variance.n;
}

static moeclip_code add(mc_selector *s, int task, const domain *d, double threshold, moeclip_error *err) {
  if ((task != -1 && task != s->n_tasks) || (task == -1 && mc_selector_has_reference(s))) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the model of task %d does not fit a selector of %d tasks", task, s->n_tasks);
  }
  if (task == -1) {
    s->reference = *d;
    return MOECLIP_OK;
  }
  domain *tasks = mc_realloc(s->tasks, (size_t)s->n_tasks + 1, sizeof *tasks);
  if (tasks) s->tasks = tasks;
  double *thresholds = mc_realloc(s->thresholds, (size_t)s->n_tasks + 1, sizeof *thresholds);
  if (thresholds) s->thresholds = thresholds;
  if (!tasks || !thresholds) return mc_fail_memory(err, sizeof *tasks, "the selector");
  s->tasks[s->n_tasks] = *d;
  s->thresholds[s->n_tasks++] = threshold;
  return MOECLIP_OK;
}

moeclip_code mc_selector_add(mc_selector *s, int task, mc_autoencoder *a, double threshold, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  domain d = {.there = true, .autoencoder = *a};
  if (s->kind != MC_SELECTOR_AUTOENCODER || a->dim != s->dim || a->hidden != s->hidden) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "autoencoder %d of %lld x %lld does not fit a selector of %lld x %lld", task,
                   (long long)a->dim, (long long)a->hidden, (long long)s->dim, (long long)s->hidden);
  }
  if (code == MOECLIP_OK) code = add(s, task, &d, threshold, err);
  if (code != MOECLIP_OK) domain_clear(&d);
  *a = (mc_autoencoder){0};
  return code;
}

moeclip_code mc_selector_add_gaussian(mc_selector *s, int task, mc_gaussian *g, double threshold, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  domain d = {.there = true, .gaussian = *g};
  if (s->kind == MC_SELECTOR_AUTOENCODER || g->dim != s->dim || g->rank > s->hidden) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "Gaussian %d of %lld numbers and %lld directions does not fit a selector of %lld and "
                   "%lld", task, (long long)g->dim, (long long)g->rank, (long long)s->dim, (long long)s->hidden);
  }
  if (code == MOECLIP_OK) code = add(s, task, &d, threshold, err);
  if (code != MOECLIP_OK) domain_clear(&d);
  *g = (mc_gaussian){0};
  return code;
}

/* from: bytes or floats, as the kind keeps them. */
static moeclip_code keep(mc_selector *s, const void *from, int64_t n, moeclip_error *err) {
  size_t each = s->kind == MC_SELECTOR_AUTOENCODER ? 1 : sizeof(float), count = 0, n_bytes = 0;
  if (n < 0 || n > MAX_KEPT || !mc_mul_size((size_t)n, (size_t)s->dim, &count) || !mc_mul_size(count, each, &n_bytes)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%lld reference pictures: 0 to %d are possible", (long long)n, MAX_KEPT);
  }
  void *copy = mc_alloc(n_bytes, 1);
  if (!copy) return mc_fail_memory(err, n_bytes, "reference features");
  if (each > 1 || !from) {
    if (from) memcpy(copy, from, n_bytes);
  } else {
    const float *features = from;
    for (size_t i = 0; i < count; i++) ((uint8_t *)copy)[i] = (uint8_t)lrintf(255.0f * features[i]);
  }
  free(s->kept_bytes);
  free(s->kept);
  s->kept_bytes = each == 1 ? copy : NULL;
  s->kept = each == 1 ? NULL : copy;
  s->n_kept = n;
  return MOECLIP_OK;
}

moeclip_code mc_selector_keep_reference(mc_selector *s, const float *features, int64_t n, moeclip_error *err) {
  return keep(s, features, n, err);
}

int64_t mc_selector_reference(const mc_selector *s) { return s->n_kept; }

void mc_selector_reference_features(const mc_selector *s, int64_t first, int64_t n, float *out) {
  for (int64_t i = 0, at = first * s->dim; i < n * s->dim; i++, at++) {
    out[i] = s->kept ? s->kept[at] : (float)s->kept_bytes[at] / 255.0f;
  }
}

/* --- choosing ------------------------------------------------------------------------------------------------------------ */

/* From errors [1 + tasks] (number 0 first, NaN: there is none) to a task. A NaN wins nothing. */
static int32_t choose(const mc_selector *s, const float *errors, double *score) {
  int32_t best = -1;
  for (int t = 0; t < s->n_tasks; t++) {
    if (!isnan(errors[t + 1]) && (best < 0 || errors[t + 1] < errors[best + 1])) best = t;
  }
  *score = best < 0 ? INFINITY : errors[best + 1] / s->thresholds[best];
  if (best < 0 || errors[0] < errors[best + 1] || !(errors[best + 1] <= s->thresholds[best])) return -1;
  return best;
}

static moeclip_code all_errors(mc_compute *cp, mc_selector *s, const float *features, int64_t n, float *errors,
                               float *one, mc_arena *arena, moeclip_error *err) {
  int64_t stride = 1 + s->n_tasks;
  for (int t = -1; t < s->n_tasks; t++) {
    domain *d = t < 0 ? &s->reference : &s->tasks[t];
    if (d->there) {
      MC_TRY(s->kind == MC_SELECTOR_AUTOENCODER ? mc_autoencoder_errors(cp, &d->autoencoder, features, n, one, arena, err)
                                                : mc_gaussian_errors(cp, &d->gaussian, features, n, one, arena, err));
    }
    for (int64_t i = 0; i < n; i++) errors[i * stride + t + 1] = d->there ? one[i] : NAN;
  }
  return MOECLIP_OK;
}

moeclip_code mc_selector_choose(mc_compute *cp, mc_selector *s, const float *features, int64_t n, bool whole_batch,
                                int32_t *tasks, double *scores, float *errors, mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  int64_t stride = 1 + s->n_tasks;
  float *one = mc_arena_take(arena, (size_t)n, sizeof *one), *mean = mc_arena_take(arena, (size_t)stride, sizeof *mean);
  if (!errors) errors = mc_arena_take(arena, (size_t)(n * stride), sizeof *errors);
  if (!one || !mean || !errors) return mc_fail_memory(err, (size_t)(n * stride) * sizeof *errors, "the selector");
  moeclip_code code = all_errors(cp, s, features, n, errors, one, arena, err);
  double score;
  if (code == MOECLIP_OK && whole_batch) {
    for (int64_t t = 0; t < stride; t++) {
      double sum = 0;
      for (int64_t i = 0; i < n; i++) sum += errors[i * stride + t];
      mean[t] = (float)(sum / (double)n);
    }
  }
  for (int64_t i = 0; code == MOECLIP_OK && i < n; i++) {
    tasks[i] = choose(s, whole_batch ? mean : errors + i * stride, &score);
    if (scores) scores[i] = score;
  }
  mc_arena_release(arena, mark);
  return code;
}

/* --- files --------------------------------------------------------------------------------------------------------------- */

/* prefix: "selector." in a state, nothing in a published file. */
static void names_of(char name[4][64], const char *prefix, int number) {
  static const char *const parts[4] = {"encoder.0.weight", "encoder.0.bias", "decoder.0.weight", "decoder.0.bias"};
  for (int i = 0; i < 4; i++) snprintf(name[i], 64, "%s%d.%s", prefix, number, parts[i]);
}

moeclip_code mc_selector_store_autoencoders(const mc_selector *s, const char *prefix, int copy, moeclip_tensors *out,
                                            moeclip_error *err) {
  char name[4][64];
  for (int t = -1; t < s->n_tasks; t++) {
    const mc_autoencoder *a = mc_selector_autoencoder(s, t);
    if (!a) continue;
    const mc_param *params[4] = {&a->encoder_weight, &a->encoder_bias, &a->decoder_weight, &a->decoder_bias};
    names_of(name, prefix, t + 1);
    for (int i = 0; i < 4; i++) {
      MC_TRY(moeclip_tensors_add(out, name[i], MOECLIP_F32, params[i]->rank, params[i]->shape, params[i]->value, copy, err));
    }
  }
  return MOECLIP_OK;
}

moeclip_code mc_selector_store(const mc_selector *s, moeclip_tensors *out, moeclip_error *err) {
  char prefix[48];
  MC_TRY(mc_selector_store_autoencoders(s, "selector.", 1, out, err));
  for (int t = -1; t < s->n_tasks; t++) {
    const mc_gaussian *g = mc_selector_gaussian(s, t);
    snprintf(prefix, sizeof prefix, "selector.%d.", t + 1);
    if (g) MC_TRY(mc_gaussian_store(g, prefix, out, err));
  }
  int64_t n = s->n_tasks, shape[2] = {s->n_kept, s->dim};
  if (n > 0) MC_TRY(moeclip_tensors_add(out, "selector.thresholds", MOECLIP_F64, 1, &n, s->thresholds, 1, err));
  bool bytes = s->kept_bytes != NULL;
  const void *kept = bytes ? (const void *)s->kept_bytes : s->kept;
  if (s->n_kept > 0) {
    MC_TRY(moeclip_tensors_add(out, "selector.reference", bytes ? MOECLIP_U8 : MOECLIP_F32, 2, shape, kept, 1, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_selector_load_autoencoder(mc_selector *s, const moeclip_tensors *in, const char *prefix, int task,
                                          double threshold, moeclip_error *err) {
  char name[4][64];
  mc_autoencoder a = {.dim = s->dim, .hidden = s->hidden};
  int64_t encoder[2] = {s->hidden, s->dim}, decoder[2] = {s->dim, s->hidden};
  names_of(name, prefix, task + 1);
  moeclip_code code = mc_param_read(&a.encoder_weight, in, name[0], 2, encoder, true, err);
  if (code == MOECLIP_OK) code = mc_param_read(&a.encoder_bias, in, name[1], 1, encoder, true, err);
  if (code == MOECLIP_OK) code = mc_param_read(&a.decoder_weight, in, name[2], 2, decoder, true, err);
  if (code == MOECLIP_OK) code = mc_param_read(&a.decoder_bias, in, name[3], 1, decoder, true, err);
  if (code != MOECLIP_OK) {
    mc_autoencoder_clear(&a);
    return code;
  }
  return mc_selector_add(s, task, &a, threshold, err);
}

static moeclip_code load_domain(mc_selector *s, const moeclip_tensors *in, int task, double threshold, moeclip_error *err) {
  char prefix[48];
  mc_gaussian g;
  if (s->kind == MC_SELECTOR_AUTOENCODER) return mc_selector_load_autoencoder(s, in, "selector.", task, threshold, err);
  snprintf(prefix, sizeof prefix, "selector.%d.", task + 1);
  MC_TRY(mc_gaussian_load(&g, in, prefix, s->dim, s->hidden, err));
  return mc_selector_add_gaussian(s, task, &g, threshold, err);
}

static moeclip_code load(mc_selector *s, const moeclip_tensors *in, int n_tasks, moeclip_error *err) {
  const moeclip_tensor *thresholds = moeclip_tensors_find(in, "selector.thresholds");
  const moeclip_tensor *kept = moeclip_tensors_find(in, "selector.reference");
  bool autoencoders = s->kind == MC_SELECTOR_AUTOENCODER;
  if (n_tasks > 0 && (!thresholds || thresholds->dtype != MOECLIP_F64 || thresholds->n_bytes != (size_t)n_tasks * 8)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "selector.thresholds is missing or not for %d tasks", n_tasks);
  }
  if (moeclip_tensors_find(in, autoencoders ? "selector.0.encoder.0.weight" : "selector.0.mean")) {
    MC_TRY(load_domain(s, in, -1, 0, err));
  }
  for (int t = 0; t < n_tasks; t++) {
    double threshold;
    memcpy(&threshold, (const uint8_t *)thresholds->data + (size_t)t * 8, 8);
    MC_TRY(load_domain(s, in, t, threshold, err));
  }
  if (!kept) return MOECLIP_OK;
  if (kept->dtype != (autoencoders ? MOECLIP_U8 : MOECLIP_F32) || kept->rank != 2 || kept->shape[1] != s->dim) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "selector.reference does not hold features of %lld numbers", (long long)s->dim);
  }
  MC_TRY(keep(s, NULL, kept->shape[0], err));
  memcpy(autoencoders ? (void *)s->kept_bytes : s->kept, kept->data, kept->n_bytes);
  return MOECLIP_OK;
}

moeclip_code mc_selector_load(const moeclip_tensors *in, mc_selector_kind kind, int64_t dim, int64_t hidden, int n_tasks,
                              mc_selector **out, moeclip_error *err) {
  mc_selector *s = NULL;
  *out = NULL;
  MC_TRY(mc_selector_create(kind, dim, hidden, &s, err));
  moeclip_code code = load(s, in, n_tasks, err);
  if (code != MOECLIP_OK) {
    mc_selector_destroy(s);
    return code;
  }
  *out = s;
  return MOECLIP_OK;
}
