/* Pictures to labels: which task answers, and what it says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/method.h"

/* The candidates of one answer: runs of class features with their names. */
typedef struct candidates {
  size_t n;
  const char **name;     /* [n] */
  const float **feature; /* [n] of [embed] */
  float *owned;          /* features that belong to this call, or NULL */
  int64_t first_known;   /* they are the learned classes from this one on, counted in order of task; -1: any labels */
} candidates;

typedef struct classifying {
  moeclip_learner *l;
  const moeclip_classify_options *options;
  candidates *of_route;  /* [n_tasks + 1]: of the untouched CLIP, then of each task; filled when first needed */
} classifying;

static void candidates_clear(candidates *c) {
  free(c->name);
  free(c->feature);
  free(c->owned);
}

static moeclip_code candidates_size(candidates *c, size_t n, moeclip_error *err) {
  c->name = mc_alloc(n, sizeof *c->name);
  c->feature = mc_alloc(n, sizeof *c->feature);
  if (!c->name || !c->feature) return mc_fail_memory(err, n * sizeof *c->name, "labels");
  return MOECLIP_OK;
}

static moeclip_code add_classes(moeclip_learner *l, candidates *c, int task, bool untouched, moeclip_error *err) {
  const float *features;
  size_t embed = (size_t)l->model->clip->sizes.embed;
  MC_TRY(mc_task_features(l, task, untouched, &features, err));
  for (size_t i = 0; i < l->tasks[task].n_classes; i++) {
    c->name[c->n] = l->tasks[task].classes[i];
    c->feature[c->n++] = features + i * embed;
  }
  return MOECLIP_OK;
}

static moeclip_code fill_candidates(classifying *r, int route, candidates *c, moeclip_error *err) {
  moeclip_learner *l = r->l;
  const moeclip_classify_options *o = r->options;
  c->first_known = o->labels ? -1 : 0;
  if (o->labels) {
    size_t embed = (size_t)l->model->clip->sizes.embed;
    const float *features;
    MC_TRY(candidates_size(c, o->n_labels, err));
    MC_TRY(mc_label_features(l, route, o->templates, o->n_templates, o->labels, o->n_labels, &features, &c->owned, err));
    for (; c->n < o->n_labels; c->n++) {
      c->name[c->n] = o->labels[c->n];
      c->feature[c->n] = features + c->n * embed;
    }
    return MOECLIP_OK;
  }
  size_t n = 0;
  for (int t = 0; t < l->n_tasks; t++) n += route < 0 || route == t ? l->tasks[t].n_classes : 0;
  MC_TRY(candidates_size(c, n, err));
  for (int t = 0; t < route; t++) c->first_known += (int64_t)l->tasks[t].n_classes;
  if (route >= 0) return add_classes(l, c, route, false, err);
  for (int t = 0; t < l->n_tasks; t++) MC_TRY(add_classes(l, c, t, true, err));
  return MOECLIP_OK;
}

typedef struct ranked {
  float logit;
  int label;
} ranked;

static int by_logit(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return x->label - y->label;
}

/* Scores of all candidates, logits or shares, -> the best few, with probabilities. */
static void rank(const candidates *c, const float *scores, bool shares, ranked *all, moeclip_answer *out) {
  int n = (int)c->n;
  double sum = 0;
  for (int i = 0; i < n; i++) all[i] = (ranked){scores[i], i};
  qsort(all, (size_t)n, sizeof *all, by_logit);
  for (int i = 0; i < n; i++) sum += shares ? fmax(0, all[i].logit) : exp((double)all[i].logit - all[0].logit);
  for (int i = 0; i < out->n_labels; i++) {
    double part = shares ? fmax(0, all[i].logit) : exp((double)all[i].logit - all[0].logit);
    out->label[i] = all[i].label;
    out->name[i] = c->name[all[i].label];
    out->probability[i] = sum > 0 ? (float)(part / sum) : 0;
  }
}

static void cosines(const classifying *r, const candidates *c, const float *feature, float *scores) {
  int embed = r->l->model->clip->sizes.embed;
  double wanted = r->options->logit_scale;
  float scale = wanted > 0 ? (float)wanted : expf(mc_learner_clip(r->l)->logit_scale.value[0]);
  for (size_t i = 0; i < c->n; i++) {
    double cosine = 0;
    for (int k = 0; k < embed; k++) cosine += (double)feature[k] * c->feature[i][k];
    scores[i] = scale * (float)cosine;
  }
}

/* scores: of the candidates of this route. */
static moeclip_code answer(const classifying *r, int route, const float *scores, bool shares, moeclip_answer *out,
                           moeclip_error *err) {
  const candidates *c = &r->of_route[route + 1];
  int n = (int)c->n, top = r->options->top < n ? r->options->top : n;
  ranked *all = mc_alloc((size_t)n, sizeof *all);
  out->n_labels = top;
  out->label = mc_alloc((size_t)top, sizeof(int));
  out->name = mc_alloc((size_t)top, sizeof(char *));
  out->probability = mc_alloc((size_t)top, sizeof(float));
  bool fits = all && out->label && out->name && out->probability;
  if (fits) rank(c, scores, shares, all, out);
  free(all);
  return fits ? MOECLIP_OK : mc_fail_memory(err, (size_t)n * sizeof *all, "an answer");
}

/* Each picture by the candidates of its route. */
static moeclip_code answer_by_cosine(classifying *r, const mc_pictures *p, moeclip_answer *answers, moeclip_error *err) {
  size_t embed = (size_t)r->l->model->clip->sizes.embed;
  for (int64_t i = 0; i < p->n; i++) {
    candidates *c = &r->of_route[p->tasks[i] + 1];
    if (!c->name) MC_TRY(fill_candidates(r, p->tasks[i], c, err));
    float *scores = mc_alloc(c->n, sizeof *scores);
    if (!scores) return mc_fail_memory(err, c->n * sizeof *scores, "scores");
    cosines(r, c, p->features + (size_t)i * embed, scores);
    answers[i].task = p->tasks[i];
    answers[i].score = p->scores[i];
    moeclip_code code = answer(r, p->tasks[i], scores, false, &answers[i], err);
    free(scores);
    MC_TRY(code);
  }
  return MOECLIP_OK;
}

/* By the method's own scores: it sees all pictures at once, and has no selector, so that they have one route. */
static moeclip_code answer_by_method(classifying *r, mc_pictures *p, moeclip_answer *answers, moeclip_error *err) {
  moeclip_learner *l = r->l;
  size_t embed = (size_t)l->model->clip->sizes.embed;
  int route = p->tasks[0];
  candidates *c = &r->of_route[route + 1];
  MC_TRY(fill_candidates(r, route, c, err));
  float *scores = mc_alloc((size_t)p->n, c->n * sizeof *scores);
  if (!scores) return mc_fail_memory(err, (size_t)p->n * c->n * sizeof *scores, "scores");
  for (int64_t i = 0; i < p->n; i++) cosines(r, c, p->features + (size_t)i * embed, scores + (size_t)i * c->n);
  mc_choices choices = {c->n, c->name, c->first_known};
  moeclip_code code = l->method->score(l, p->features, p->n, &choices, scores, p->tasks, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < p->n; i++) {
    answers[i].task = p->tasks[i];
    answers[i].score = p->scores[i];
    code = answer(r, route, scores + (size_t)i * c->n, l->method->shares, &answers[i], err);
  }
  free(scores);
  return code;
}

static moeclip_code check(const moeclip_learner *l, const moeclip_classify_options *o, moeclip_error *err) {
  if (o->top < 1) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%d labels asked for: at least 1", o->top);
  if (o->task < MOECLIP_TASK_AUTO || o->task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: %d were learned, numbered from 0", o->task, l->n_tasks);
  }
  if (!o->labels && l->n_tasks == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "nothing was learned yet, so the labels to choose from must be given");
  }
  if (o->labels && o->n_labels == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the list of labels is empty");
  return MOECLIP_OK;
}

/* explanations: NULL when not wanted. */
static moeclip_code classify(moeclip_learner *l, const moeclip_image *images, int n, const moeclip_classify_options *options,
                             moeclip_answer *answers, moeclip_explanation *explanations, moeclip_error *err) {
  classifying r = {l, options, calloc((size_t)l->n_tasks + 1, sizeof *r.of_route)};
  mc_pictures p = {.images = images, .n = n, .task = options->task, .selection = options->selection};
  moeclip_code code = r.of_route ? MOECLIP_OK : mc_fail_memory(err, (size_t)l->n_tasks * sizeof *r.of_route, "labels");
  if (code == MOECLIP_OK) code = mc_pictures_encode(l, &p, explanations != NULL, err);
  bool own = l->method->score && l->n_tasks > 0 && options->task != MOECLIP_TASK_NONE;
  if (code == MOECLIP_OK) code = own ? answer_by_method(&r, &p, answers, err) : answer_by_cosine(&r, &p, answers, err);
  for (int i = 0; code == MOECLIP_OK && explanations && i < n; i++) code = mc_explain(l, &p, i, &explanations[i], err);
  mc_pictures_clear(&p);
  for (int t = 0; r.of_route && t <= l->n_tasks; t++) candidates_clear(&r.of_route[t]);
  free(r.of_route);
  mc_label_cache_trim(&l->labels);
  return code;
}

moeclip_code moeclip_learner_explain(moeclip_learner *l, const moeclip_image *images, int n,
                                     const moeclip_classify_options *options, moeclip_answer *answers,
                                     moeclip_explanation *explanations, moeclip_error *err) {
  moeclip_classify_options defaults;
  if (!options) {
    moeclip_classify_options_defaults(&defaults);
    options = &defaults;
  }
  for (int i = 0; i < n; i++) answers[i] = (moeclip_answer){.task = MOECLIP_TASK_NONE};
  for (int i = 0; explanations && i < n; i++) explanations[i] = (moeclip_explanation){.reference_error = NAN};
  MC_TRY(check(l, options, err));
  if (n <= 0) return MOECLIP_OK;
  moeclip_code code = classify(l, images, n, options, answers, explanations, err);
  if (code != MOECLIP_OK) moeclip_answers_clear(answers, n);
  if (code != MOECLIP_OK && explanations) moeclip_explanations_clear(explanations, n);
  return code;
}

moeclip_code moeclip_learner_classify(moeclip_learner *l, const moeclip_image *images, int n,
                                      const moeclip_classify_options *options, moeclip_answer *answers, moeclip_error *err) {
  return moeclip_learner_explain(l, images, n, options, answers, NULL, err);
}

void moeclip_answers_clear(moeclip_answer *answers, int n) {
  for (int i = 0; i < n; i++) {
    free(answers[i].label);
    free(answers[i].name);
    free(answers[i].probability);
    answers[i] = (moeclip_answer){.task = MOECLIP_TASK_NONE};
  }
}
