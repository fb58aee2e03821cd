/* Answers of methods whose own scores are of taught classes only (method_probe.c, method_icarl.c). */
#ifndef MC_LEARN_COLUMNS_H
#define MC_LEARN_COLUMNS_H

#include "learn/method.h"

/* A taught class that is one of the candidates. */
typedef struct mc_column {
  int64_t at; /* its number among all taught classes, in order of task */
  size_t choice;
  int task;
} mc_column;

/* All pairs of one of the first n_taught classes and the candidate of that name (the first, if there are several). columns
 * [n_taught]. */
moeclip_code mc_find_columns(const moeclip_learner *l, int64_t n_taught, const mc_choices *c, mc_column *columns, int64_t *n,
                             moeclip_error *err);

/* One picture: text logits in, shares out. What texts give to all taught candidates together, their own logits divide. own [n]:
 * of the columns; overwritten. *task: MOECLIP_TASK_NONE or the one that the caller named, whose columns alone count then; who
 * answers. */
void mc_divide_columns(const mc_column *columns, int64_t n, double *own, size_t n_choices, float *scores, int32_t *task);

#endif
