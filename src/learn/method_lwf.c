/* Learning without forgetting: fine-tuning, held near what the weights before the task say of the task's own pictures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/tuned.h"

#define BEFORE "before."

/* l->own: the weights before the task, while one is learned; else NULL. run->scratch: this. */
typedef struct teaching {
  float *texts;    /* [classes, embed] the task's classes, by the weights before it */
  float *pictures; /* [batch, embed] */
  float *targets;  /* [batch, classes] */
  mc_distillation distillation;
} teaching;

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (o->lwf_weight >= 0 && isfinite(o->lwf_weight) && o->lwf_temperature > 0 && isfinite(o->lwf_temperature)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "LwF: weight %g (0 or above), temperature %g (above 0)", o->lwf_weight,
                 o->lwf_temperature);
}

static json_t *options_to_json(const moeclip_learner *l) {
  return json_pack("{s:f, s:f}", "weight", l->options.lwf_weight, "temperature", l->options.lwf_temperature);
}

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const json_t *weight = json_object_get(own, "weight"), *temperature = json_object_get(own, "temperature");
  o->lwf_weight = json_number_value(weight);
  o->lwf_temperature = json_number_value(temperature);
  if (!json_is_number(weight) || !(o->lwf_weight >= 0)) *bad = "weight";
  if (!json_is_number(temperature) || !(o->lwf_temperature > 0)) *bad = "temperature";
}

static char *run_key(const mc_learning *run) {
  return mc_format("weight %.9g, temperature %.9g", run->l->options.lwf_weight, run->l->options.lwf_temperature);
}

static void clear(moeclip_learner *l) {
  mc_clip_destroy(l->own);
  l->own = NULL;
}

/* --- state: the weights before the task are in checkpoints alone --------------------------------------------------------- */

static moeclip_code add_before(void *context, const char *name, mc_param *p, moeclip_error *err) {
  char *full = mc_format(BEFORE "%s", name);
  if (!full) return mc_fail_memory(err, 128, "a name");
  moeclip_code code = moeclip_tensors_add(context, full, MOECLIP_F32, p->rank, p->shape, p->value, 1, err);
  free(full);
  return code;
}

static moeclip_code read_before(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mc_param read = {0};
  char *full = mc_format(BEFORE "%s", name);
  if (!full) return mc_fail_memory(err, 128, "a name");
  moeclip_code code = mc_param_read(&read, context, full, p->rank, p->shape, true, err);
  free(full);
  mc_param_clear(code == MOECLIP_OK ? p : &read);
  if (code == MOECLIP_OK) *p = read;
  return code;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  MC_TRY(mc_tuned_store(l, out, err));
  return l->own ? mc_clip_each(l->own, add_before, out, err) : MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  mc_clip *before = NULL;
  MC_TRY(mc_tuned_restore(l, in, err));
  if (!moeclip_tensors_find(in, BEFORE "logit_scale")) return MOECLIP_OK;
  MC_TRY(mc_model_copy_clip(l->model, &before, err));
  l->own = before;
  return mc_clip_each(before, read_before, (void *)(uintptr_t)in, err);
}

/* --- learning ------------------------------------------------------------------------------------------------------------ */

static moeclip_code encode_texts(mc_learning *run, teaching *t, moeclip_error *err) {
  moeclip_learner *l = run->l;
  moeclip_model *m = l->model;
  mc_encoder encoder = {.clip = l->own};
  int64_t n = (int64_t)run->n_classes, embed = m->clip->sizes.embed, context = m->clip->sizes.context;
  const int64_t piece = 64; /* so that memory does not grow with the classes */
  const char *template = l->tasks[l->n_tasks - 1].templates[0];
  int32_t *rows = NULL;
  moeclip_code code = mc_model_prompts(m, &template, 1, run->classes, run->n_classes, &rows, err);
  for (int64_t at = 0; code == MOECLIP_OK && at < n; at += piece) {
    code = mc_encode_texts(m->compute, &encoder, rows + at * context, n - at < piece ? n - at : piece, t->texts + at * embed, NULL,
                           &m->arena, err);
  }
  free(rows);
  return code;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  size_t embed = (size_t)l->model->clip->sizes.embed, batch = (size_t)run->options->batch;
  if (!run->resume) {
    mc_clip *before = NULL;
    clear(l);
    MC_TRY(mc_tuned_copy(l->model, l->tuned, &before, err));
    l->own = before;
  } else if (!l->own) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: the weights before the task are missing");
  }
  teaching *t = run->scratch = calloc(1, sizeof *t);
  if (t) t->texts = mc_alloc(run->n_classes, embed * sizeof *t->texts);
  if (t) t->pictures = mc_alloc(batch, embed * sizeof *t->pictures);
  if (t) t->targets = mc_alloc(batch, run->n_classes * sizeof *t->targets);
  if (!t || !t->texts || !t->pictures || !t->targets) return mc_fail_memory(err, batch * embed * sizeof *t->pictures, "a batch");
  t->distillation = (mc_distillation){.texts = t->texts, .targets = t->targets, .weight = (float)l->options.lwf_weight,
                                      .temperature = (float)l->options.lwf_temperature};
  MC_TRY(encode_texts(run, t, err));
  return mc_tuned_begin(run, report, err);
}

/* What the weights before the task say of this batch. */
static moeclip_code ask_teacher(mc_learning *run, const mc_training_step *s, moeclip_error *err) {
  moeclip_learner *l = run->l;
  teaching *t = run->scratch;
  mc_clip *before = l->own;
  mc_encoder encoder = {.clip = before};
  int64_t embed = before->sizes.embed, size = before->sizes.image_size, n_texts = s->n_texts;
  const int64_t piece = 64;
  double scale = exp((double)before->logit_scale.value[0]) / l->options.lwf_temperature;
  for (int64_t at = 0; at < s->n; at += piece) {
    MC_TRY(mc_encode_images(s->model->compute, &encoder, s->images + at * 3 * size * size, s->n - at < piece ? s->n - at : piece,
                            t->pictures + at * embed, NULL, &s->model->arena, err));
  }
  for (int64_t i = 0; i < s->n; i++) {
    float *row = t->targets + i * n_texts;
    double largest = -INFINITY, sum = 0;
    for (int64_t c = 0; c < n_texts; c++) {
      double cosine = 0;
      for (int64_t k = 0; k < embed; k++) cosine += (double)t->pictures[i * embed + k] * t->texts[c * embed + k];
      row[c] = (float)(scale * cosine);
      largest = fmax(largest, row[c]);
    }
    for (int64_t c = 0; c < n_texts; c++) sum += exp(row[c] - largest);
    for (int64_t c = 0; c < n_texts; c++) row[c] = (float)(exp(row[c] - largest) / sum);
  }
  return MOECLIP_OK;
}

static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  teaching *t = run->scratch;
  MC_TRY(moeclip_comm_agree(run->comm, ask_teacher(run, s, err), err));
  s->options->distillation = &t->distillation;
  return mc_gradient_step(s, loss, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  teaching *t = run->scratch;
  if (t) {
    free(t->texts);
    free(t->pictures);
    free(t->targets);
  }
  free(t);
  run->scratch = NULL;
  clear(run->l);
  return mc_tuned_end(run, done, report, err);
}

const mc_method mc_method_lwf = {
    .mode = MOECLIP_MODE_LWF,
    .name = "lwf",
    .title = "fine-tuning with distillation from the weights before the task: a baseline",
    .traits = MC_METHOD_TUNED,
    .check = check,
    .options_to_json = options_to_json,
    .options_of_json = options_of_json,
    .run_key = run_key,
    .create = mc_tuned_create,
    .clear = clear,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .step = step,
    .end_task = end_task,
};
