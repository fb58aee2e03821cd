/*
 * How many new experts a task needs (docs/SELECTORS.md, "Dynamic experts").
 *
 * The criterion is the training loss itself, in short probes that see the same pictures in the same order: first with the experts that
 * there are, all frozen, and a new router; then with one fresh expert in every block beside them; and so on. As long as one more lowers
 * the loss by more than the margin, it is added. Statistics of the pictures alone cannot tell: a domain that looks like an earlier one may
 * have other classes.
 */
#ifndef MC_LEARN_DYNAMIC_H
#define MC_LEARN_DYNAMIC_H

#include "learn/learner.h"
#include "train/task.h"

/* Adds the experts that the newest task needs, and its router. training: of that task. Ends with nothing trained. */
moeclip_code mc_open_dynamic(moeclip_learner *l, const mc_task_training *training, moeclip_error *err);

#endif
