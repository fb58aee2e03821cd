/* Training on more than the new task: pictures of several tasks as one source, over the prompts of all their classes
 * (method_icarl.c, method_joint.c). */
#ifndef MC_LEARN_REHEARSAL_H
#define MC_LEARN_REHEARSAL_H

#include "learn/method.h"

typedef struct mc_rehearsal {
  char **prompts; /* [n_prompts] of all tasks' classes, each in its task's first template; two that are the same are one */
  size_t n_prompts;
  size_t n_before;    /* the first of them, those of earlier tasks */
  int32_t *prompt_of; /* [n_classes] of each class, counted in order of task */
  size_t n_classes;
  size_t n_old;           /* classes of earlier tasks */
  mc_image_source *parts; /* [n_parts] */
  size_t n_parts, count;
  int32_t *labels; /* [count] prompts */
} mc_rehearsal;

/* The prompts of all tasks of the learner, the last of which is the new one. Clear it also when this fails. */
moeclip_code mc_rehearsal_init(mc_rehearsal *r, const moeclip_learner *l, moeclip_error *err);
/* Further pictures; classes [part->count] are counted in order of task. */
moeclip_code mc_rehearsal_add(mc_rehearsal *r, const mc_image_source *part, const int32_t *classes, moeclip_error *err);
/* The run then trains on them. They must stay until it ends. */
void mc_rehearsal_use(mc_rehearsal *r, mc_learning *run);
void mc_rehearsal_clear(mc_rehearsal *r);

#endif
