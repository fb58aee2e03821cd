/* WiSE-FT: fine-tuned task after task, and answered with the average of those weights and the untouched ones. */
#include "base/memory.h"
#include "learn/tuned.h"

/* Between tasks l->own holds the fine-tuned weights and l->tuned, which answers, the average. While a task is learned l->tuned is
 * what is fine-tuned, and l->own NULL. The state holds the fine-tuned weights. */

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (o->wise_alpha >= 0 && o->wise_alpha <= 1) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "WiSE-FT: alpha %g must be from 0 to 1", o->wise_alpha);
}

static json_t *options_to_json(const moeclip_learner *l) { return json_pack("{s:f}", "alpha", l->options.wise_alpha); }

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const json_t *alpha = json_object_get(own, "alpha");
  o->wise_alpha = json_number_value(alpha);
  if (!json_is_number(alpha) || !(o->wise_alpha >= 0 && o->wise_alpha <= 1)) *bad = "alpha";
}

static char *run_key(const mc_learning *run) { return mc_format("alpha %.9g", run->l->options.wise_alpha); }

static void clear(moeclip_learner *l) {
  mc_clip_destroy(l->own);
  l->own = NULL;
}

static moeclip_code average(moeclip_learner *l, moeclip_error *err) {
  mc_clip *mean = NULL;
  MC_TRY(mc_tuned_average(l->model, l->tuned, l->options.wise_alpha, &mean, err));
  l->own = l->tuned;
  l->tuned = mean;
  return MOECLIP_OK;
}

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  MC_TRY(mc_tuned_create(l, err));
  return average(l, err);
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  return mc_clip_store(l->own ? l->own : l->tuned, MOECLIP_F32, out, err);
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  MC_TRY(mc_tuned_restore(l, in, err));
  return average(l, err);
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  mc_clip_destroy(l->tuned);
  l->tuned = l->own;
  l->own = NULL;
  return mc_tuned_begin(run, report, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  MC_TRY(mc_tuned_end(run, done, report, err));
  return average(run->l, err);
}

const mc_method mc_method_wise_ft = {
    .mode = MOECLIP_MODE_WISE_FT,
    .name = "wise-ft",
    .title = "fine-tuned weights averaged with the untouched ones: a baseline",
    .traits = MC_METHOD_TUNED,
    .check = check,
    .options_to_json = options_to_json,
    .options_of_json = options_of_json,
    .run_key = run_key,
    .create = create,
    .clear = clear,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .end_task = end_task,
};
