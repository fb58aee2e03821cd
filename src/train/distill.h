/* Distillation: training is held near what other weights say, of the task's own pictures (a term of the classification step,
 * step.h) or of reference pictures (a step of its own). */
#ifndef MC_TRAIN_DISTILL_H
#define MC_TRAIN_DISTILL_H

#include "train/step.h"

/* What features say of texts: targets [n, k] = softmax of scale * cosine. features [n, embed] and texts [k, embed] of
 * length 1. */
moeclip_code mc_soft_targets(mc_compute *cp, const float *features, int64_t n, const float *texts, int64_t k, int64_t embed,
                             float scale, float *targets, moeclip_error *err);

/* weight * T^2 * the sum over rows of the cross-entropy between targets and softmax(logits / T), both [rows, d]; its gradient
 * is added to dlogits. by_column: the same of the transposed, where logits, targets and dlogits are [d, rows]. */
double mc_soft_cross_entropy(const float *logits, const float *targets, int64_t rows, int64_t d, bool by_column,
                             float temperature, double weight, float *dlogits);

/* Pictures and sentences of no task. Every rank encodes its own pictures and computes the loss of all. */
typedef struct mc_reference_batch {
  const float *images; /* [n, 3, size, size] of this rank, normalised */
  int64_t n;
  const int64_t *begin; /* [ranks + 1]: rank r has the pictures from begin[r] to begin[r + 1]; NULL: alone */
  const float *before;  /* [n_all, embed] what the other weights make of all pictures */
  const float *texts;   /* [n_texts, embed] and of the sentences */
  int64_t n_texts;
  float scale; /* what the other weights multiply cosines with */
  float weight, temperature;
} mc_reference_batch;

/* weight * T^2 * (mean cross-entropy of the pictures over the sentences + of the sentences over the batch's pictures), teacher
 * and student over the same fixed sentences. Adds the gradients of the image tower (and the scale), which stay as they are
 * until the classification step that follows sums them over the ranks with its own. Collective. */
moeclip_code mc_reference_step(mc_compute *cp, mc_clip *clip, const mc_step_options *options, const mc_reference_batch *batch,
                               double *loss, mc_arena *arena, moeclip_error *err);

#endif
