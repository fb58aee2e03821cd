/* What methods that change all of CLIP's weights have in common: l->tuned, in the state under CLIP's own names (method_finetune.c). */
#ifndef MC_LEARN_TUNED_H
#define MC_LEARN_TUNED_H

#include "learn/method.h"

moeclip_code mc_tuned_create(moeclip_learner *l, moeclip_error *err);
moeclip_code mc_tuned_store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err);
moeclip_code mc_tuned_restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err);
/* begin_task and end_task: all weights can be trained, and no longer. */
moeclip_code mc_tuned_begin(mc_learning *run, moeclip_learn_report *report, moeclip_error *err);
moeclip_code mc_tuned_end(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err);

/* Further weights in a collection, under `prefix` and CLIP's names: those that only checkpoints hold. restore: *out is a fresh
 * CLIP, or NULL when there is none. */
moeclip_code mc_tuned_store_as(mc_clip *clip, const char *prefix, moeclip_tensors *out, moeclip_error *err);
moeclip_code mc_tuned_restore_as(const moeclip_model *m, const moeclip_tensors *in, const char *prefix, mc_clip **out,
                                 moeclip_error *err);

/* into = (1 - alpha) * into + alpha * from, of two CLIPs of one shape. */
moeclip_code mc_tuned_mix(mc_clip *into, mc_clip *from, double alpha, moeclip_error *err);
/* A fresh CLIP of the weights (1 - alpha) of the model's own + alpha of tuned. */
moeclip_code mc_tuned_average(const moeclip_model *m, mc_clip *tuned, double alpha, mc_clip **out, moeclip_error *err);
/* A fresh CLIP with tuned's weights. */
moeclip_code mc_tuned_copy(const moeclip_model *m, mc_clip *tuned, mc_clip **out, moeclip_error *err);

#endif
