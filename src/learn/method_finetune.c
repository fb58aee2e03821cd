/* Fine-tuning: all of CLIP's weights, task after task. The baseline that forgets. */
#include "learn/method.h"

static moeclip_code create(moeclip_learner *l, moeclip_error *err) { return mc_model_copy_clip(l->model, &l->tuned, err); }

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  return mc_clip_store(l->tuned, MOECLIP_F32, out, err);
}

static moeclip_code restore_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mc_param read = {0};
  moeclip_code code = mc_param_read(&read, context, name, p->rank, p->shape, true, err);
  if (code != MOECLIP_OK) {
    mc_param_clear(&read);
    return code;
  }
  mc_param_clear(p);
  *p = read;
  return MOECLIP_OK;
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  MC_TRY(mc_model_copy_clip(l->model, &l->tuned, err));
  return mc_clip_each(l->tuned, restore_param, (void *)(uintptr_t)in, err);
}

static moeclip_code unfreeze(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)context;
  (void)name;
  return mc_param_unfreeze(p, err);
}

static moeclip_code refreeze(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)context;
  (void)name;
  (void)err;
  mc_param_freeze(p);
  return MOECLIP_OK;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  (void)report;
  return mc_clip_each(run->l->tuned, unfreeze, NULL, err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  (void)done;
  (void)report;
  return mc_clip_each(run->l->tuned, refreeze, NULL, err);
}

const mc_method mc_method_finetune = {
    .mode = MOECLIP_MODE_FINETUNE,
    .name = "finetune",
    .title = "all of CLIP's weights, task after task: the baseline that forgets",
    .traits = MC_METHOD_TUNED,
    .create = create,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .end_task = end_task,
};
