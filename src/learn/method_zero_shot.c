/* Zero-shot: tasks are only named, and the untouched CLIP answers. What the others are compared with. */
#include "learn/method.h"

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  (void)l;
  (void)err;
  return MOECLIP_OK;
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  (void)l;
  (void)out;
  (void)err;
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  (void)l;
  (void)in;
  (void)err;
  return MOECLIP_OK;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  (void)run;
  (void)report;
  (void)err;
  return MOECLIP_OK;
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  (void)run;
  (void)done;
  (void)report;
  (void)err;
  return MOECLIP_OK;
}

const mc_method mc_method_zero_shot = {
    .mode = MOECLIP_MODE_ZERO_SHOT,
    .name = "zero-shot",
    .title = "nothing is learned: the untouched CLIP answers",
    .traits = MC_METHOD_NO_PASS,
    .create = create,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .end_task = end_task,
};
