/* Fine-tuning: all of CLIP's weights, task after task. The baseline that forgets. */
#include <stdlib.h>

#include "base/memory.h"
#include "learn/tuned.h"

moeclip_code mc_tuned_create(moeclip_learner *l, moeclip_error *err) { return mc_model_copy_clip(l->model, &l->tuned, err); }

moeclip_code mc_tuned_store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
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

moeclip_code mc_tuned_restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
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

moeclip_code mc_tuned_begin(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  (void)report;
  return mc_clip_each(run->l->tuned, unfreeze, NULL, err);
}

moeclip_code mc_tuned_end(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  (void)done;
  (void)report;
  return mc_clip_each(run->l->tuned, refreeze, NULL, err);
}

/* --- further weights ----------------------------------------------------------------------------------------------------- */

typedef struct named_tensors {
  moeclip_tensors *out;
  const moeclip_tensors *in;
  const char *prefix;
} named_tensors;

static moeclip_code add_as(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const named_tensors *t = context;
  char *full = mc_format("%s%s", t->prefix, name);
  if (!full) return mc_fail_memory(err, 128, "a name");
  moeclip_code code = moeclip_tensors_add(t->out, full, MOECLIP_F32, p->rank, p->shape, p->value, 1, err);
  free(full);
  return code;
}

static moeclip_code read_as(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const named_tensors *t = context;
  char *full = mc_format("%s%s", t->prefix, name);
  if (!full) return mc_fail_memory(err, 128, "a name");
  moeclip_code code = restore_param((void *)(uintptr_t)t->in, full, p, err);
  free(full);
  return code;
}

moeclip_code mc_tuned_store_as(mc_clip *clip, const char *prefix, moeclip_tensors *out, moeclip_error *err) {
  named_tensors t = {.out = out, .prefix = prefix};
  return mc_clip_each(clip, add_as, &t, err);
}

moeclip_code mc_tuned_restore_as(const moeclip_model *model, const moeclip_tensors *in, const char *prefix, mc_clip **out,
                                 moeclip_error *err) {
  named_tensors t = {.in = in, .prefix = prefix};
  char *one = mc_format("%slogit_scale", prefix);
  *out = NULL;
  if (!one) return mc_fail_memory(err, 128, "a name");
  bool there = moeclip_tensors_find(in, one) != NULL;
  free(one);
  if (!there) return MOECLIP_OK;
  MC_TRY(mc_model_copy_clip(model, out, err));
  moeclip_code code = mc_clip_each(*out, read_as, &t, err);
  if (code == MOECLIP_OK) return code;
  mc_clip_destroy(*out);
  *out = NULL;
  return code;
}

/* Walking over two CLIPs of one shape side by side. */
typedef struct mixing {
  float **from; /* the other one's values, in the order of the walk; NULL: they are being counted or collected */
  size_t n, at;
  double alpha;
} mixing;

static moeclip_code count_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)name;
  (void)p;
  (void)err;
  ((mixing *)context)->n++;
  return MOECLIP_OK;
}

static moeclip_code collect_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mixing *m = context;
  (void)name;
  (void)err;
  m->from[m->at++] = p->value;
  return MOECLIP_OK;
}

static moeclip_code mix_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mixing *m = context;
  (void)name;
  MC_TRY(mc_param_unfreeze(p, err));
  const float *from = m->from[m->at++];
  for (int64_t i = 0; i < p->n; i++) p->value[i] = (float)((1 - m->alpha) * p->value[i] + m->alpha * from[i]);
  mc_param_freeze(p);
  return MOECLIP_OK;
}

moeclip_code mc_tuned_mix(mc_clip *into, mc_clip *from, double alpha, moeclip_error *err) {
  mixing m = {.alpha = alpha};
  MC_TRY(mc_clip_each(from, count_param, &m, err));
  m.from = mc_alloc(m.n, sizeof *m.from);
  if (!m.from) return mc_fail_memory(err, m.n * sizeof *m.from, "an average of weights");
  moeclip_code code = mc_clip_each(from, collect_param, &m, err);
  m.at = 0;
  if (code == MOECLIP_OK) code = mc_clip_each(into, mix_param, &m, err);
  free(m.from);
  return code;
}

moeclip_code mc_tuned_average(const moeclip_model *model, mc_clip *tuned, double alpha, mc_clip **out, moeclip_error *err) {
  *out = NULL;
  MC_TRY(mc_model_copy_clip(model, out, err));
  moeclip_code code = mc_tuned_mix(*out, tuned, alpha, err);
  if (code == MOECLIP_OK) return code;
  mc_clip_destroy(*out);
  *out = NULL;
  return code;
}

moeclip_code mc_tuned_copy(const moeclip_model *model, mc_clip *tuned, mc_clip **out, moeclip_error *err) {
  return mc_tuned_average(model, tuned, 1, out, err); /* 0 times a finite number is 0: the same bits */
}

const mc_method mc_method_finetune = {
    .mode = MOECLIP_MODE_FINETUNE,
    .name = "finetune",
    .title = "all of CLIP's weights, task after task: the baseline that forgets",
    .traits = MC_METHOD_TUNED,
    .create = mc_tuned_create,
    .store = mc_tuned_store,
    .restore = mc_tuned_restore,
    .begin_task = mc_tuned_begin,
    .end_task = mc_tuned_end,
};
