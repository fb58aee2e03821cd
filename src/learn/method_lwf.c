/* Learning without forgetting: fine-tuning, held near what the weights before the task say of the task's own pictures. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "learn/teacher.h"

/* l->own: the weights before the task, while one is learned; else NULL. run->scratch: the mc_teacher. */

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (o->lwf_weight >= 0 && isfinite(o->lwf_weight) && o->lwf_temperature > 0 && isfinite(o->lwf_temperature))
    return MOECLIP_OK;
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

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  MC_TRY(mc_tuned_store(l, out, err));
  return l->own ? mc_tuned_store_as(l->own, MC_BEFORE, out, err) : MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  mc_clip *before = NULL;
  MC_TRY(mc_tuned_restore(l, in, err));
  MC_TRY(mc_tuned_restore_as(l->model, in, MC_BEFORE, &before, err));
  l->own = before;
  return MOECLIP_OK;
}

/* --- learning ------------------------------------------------------------------------------------------------------------ */

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  if (!run->resume) {
    mc_clip *before = NULL;
    clear(l);
    MC_TRY(mc_tuned_copy(l->model, l->tuned, &before, err));
    l->own = before;
  } else if (!l->own) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: the weights before the task are missing");
  }
  mc_teacher *t = run->scratch = calloc(1, sizeof *t);
  if (!t) return mc_fail_memory(err, sizeof *t, "a task");
  MC_TRY(mc_teacher_init(t, run, l->own, l->tasks[l->n_tasks - 1].templates[0], run->classes, run->n_classes,
                         l->options.lwf_weight, l->options.lwf_temperature, err));
  return mc_tuned_begin(run, report, err);
}

static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  mc_teacher *t = run->scratch;
  MC_TRY(mc_teacher_ask(t, run, run->l->own, s, err));
  s->options->distillation = &t->distillation;
  return mc_gradient_step(s, loss, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  if (run->scratch) mc_teacher_clear(run->scratch);
  free(run->scratch);
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
