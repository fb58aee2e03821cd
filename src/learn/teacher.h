/* The weights before a task as a teacher of it: what they say of each batch's pictures over fixed texts (method_lwf.c,
 * method_icarl.c). */
#ifndef MC_LEARN_TEACHER_H
#define MC_LEARN_TEACHER_H

#include "learn/tuned.h"

/* The name in checkpoints. */
#define MC_BEFORE "before."

typedef struct mc_teacher {
  float *texts;                 /* [n_texts, embed] by the weights before the task */
  float *pictures;              /* [batch, embed] */
  float *targets;               /* [batch, n_texts] */
  mc_distillation distillation; /* for mc_step_options */
} mc_teacher;

/* Encodes the texts: the classes in the template. Clear it also when this fails. */
moeclip_code mc_teacher_init(mc_teacher *t, const mc_learning *run, mc_clip *before, const char *template,
                             const char *const *classes, size_t n_classes, double weight, double temperature,
                             moeclip_error *err);
/* The targets of this rank's pictures. Collective: a failure of one rank is everyone's. */
moeclip_code mc_teacher_ask(mc_teacher *t, mc_learning *run, mc_clip *before, const mc_training_step *s, moeclip_error *err);
void mc_teacher_clear(mc_teacher *t);

#endif
