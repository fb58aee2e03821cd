/* Making the selector's models from pictures, and setting their thresholds. */
#ifndef MC_LEARN_SELECT_TRAIN_H
#define MC_LEARN_SELECT_TRAIN_H

#include "data/loader.h"
#include "learn/learner.h"

/* Trains or fits the model of `task` (the next one; -1: of the reference set) on `pictures` (labels: of each, below the task's number of
 * classes; NULL for the reference set) and adds it to l->selector. The threshold is options->threshold, or calibrated when that is NaN. Adds to report->images and broken. Same seed, same
 * result. */
moeclip_code mc_train_selector(moeclip_learner *l, int task, const mc_image_source *pictures, const int32_t *labels,
                               const moeclip_task_options *options, const moeclip_callbacks *callbacks,
                               moeclip_learn_report *report, moeclip_error *err);

#endif
