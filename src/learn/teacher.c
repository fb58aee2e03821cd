#include "learn/teacher.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/distill.h"

moeclip_code mc_teacher_init(mc_teacher *t, const mc_learning *run, mc_clip *before, const char *template,
                             const char *const *classes, size_t n_classes, double weight, double temperature,
                             moeclip_error *err) {
  moeclip_model *m = run->l->model;
  size_t batch = (size_t)run->options->batch;
  int64_t n = (int64_t)n_classes, embed = before->sizes.embed;
  int32_t *rows = NULL;
  *t = (mc_teacher){.texts = mc_alloc(n_classes, (size_t)embed * sizeof *t->texts),
                    .pictures = mc_alloc(batch, (size_t)embed * sizeof *t->pictures),
                    .targets = mc_alloc(batch, n_classes * sizeof *t->targets)};
  if (!t->texts || !t->pictures || !t->targets) return mc_fail_memory(err, batch * n_classes * sizeof *t->targets, "a batch");
  t->distillation = (mc_distillation){
      .texts = t->texts, .n_texts = n, .targets = t->targets, .weight = (float)weight, .temperature = (float)temperature};
  moeclip_code code = mc_model_prompts(m, &template, 1, classes, n_classes, &rows, err);
  if (code == MOECLIP_OK) code = mc_plain_texts(m, before, rows, n, t->texts, err);
  free(rows);
  return code;
}

static moeclip_code ask(mc_teacher *t, mc_clip *before, const mc_training_step *s, moeclip_error *err) {
  MC_TRY(mc_plain_images(s->model, before, s->images, s->n, t->pictures, err));
  return mc_soft_targets(s->model->compute, t->pictures, s->n, t->texts, t->distillation.n_texts, before->sizes.embed,
                         expf(before->logit_scale.value[0]) / t->distillation.temperature, t->targets, err);
}

moeclip_code mc_teacher_ask(mc_teacher *t, mc_learning *run, mc_clip *before, const mc_training_step *s, moeclip_error *err) {
  return moeclip_comm_agree(run->comm, ask(t, before, s, err), err);
}

void mc_teacher_clear(mc_teacher *t) {
  free(t->texts);
  free(t->pictures);
  free(t->targets);
  *t = (mc_teacher){0};
}
