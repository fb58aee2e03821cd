/* One step's loss and gradients, cut into micro-batches that fit the memory wanted. */
#ifndef MC_TRAIN_STEP_H
#define MC_TRAIN_STEP_H

#include "train/reduce.h"

/* How several ranks share a step. The functions below are then collective: each rank gives its own pictures (or pairs), of which it
 * may have none, and all end with the same loss and the same gradients, those of the whole batch. Texts of classes are given whole
 * to every rank, and each computes its share of them. A rank that fails takes part to the end, so that none waits for it. */
typedef struct mc_step_share {
  moeclip_comm *comm;
  mc_reduction *reduction;
  const int64_t *begin; /* [ranks + 1]: rank r has the samples from begin[r] to begin[r + 1] of the batch */
} mc_step_share;

/* A further term of the classification loss: what the pictures' features say of fixed texts is held near given probabilities. Its
 * gradient goes to the pictures alone (and to the scale). */
typedef struct mc_distillation {
  const float *texts;   /* [n_texts, embed] of length 1 */
  int64_t n_texts;      /* at least 1, and at most as many as the step's own */
  const float *targets; /* [n, n_texts] of this rank's pictures: at the temperature already */
  float weight, temperature; /* weight * temperature^2 * mean cross-entropy of softmax(logits / temperature) */
} mc_distillation;

typedef struct mc_step_options {
  mc_routing image_routing, text_routing; /* task arrays long enough for the batch and for the texts; first_sample is set
                                             by the step itself */
  float smoothing;      /* label smoothing */
  float balance;        /* coefficient of the load-balance term, added to the loss; 0: off */
  size_t kept_bytes;    /* what the kept activations of one micro-batch may take; 0: 336 MiB; 768 MiB for the contrastive
                           loss, whose pieces are computed twice when they do not fit */
  bool contrastive;     /* set by mc_contrastive_step */
  bool full_context;    /* tests */
  const mc_step_share *share; /* NULL: this process works alone */
  const mc_distillation *distillation; /* NULL: none */
} mc_step_options;

/*
 * Cross-entropy of pictures over class texts: logits[b, c] = exp(logit_scale) * cos(image b, text c).
 * images [n, 3, size, size] normalised, labels [n] in 0..n_texts-1, texts [n_texts, context].
 * Adds the gradients of the mean loss to every trainable parameter. logits [n, n_texts] may be NULL. With other ranks, the
 * gradients of earlier steps must have been used up: what was there before is summed too.
 */
moeclip_code mc_classification_step(mc_compute *cp, mc_clip *clip, mc_adapters *adapters, const mc_step_options *options,
                                    const float *images, const int32_t *labels, int64_t n, const int32_t *texts,
                                    int64_t n_texts, double *loss, float *logits, mc_arena *arena, moeclip_error *err);

/*
 * Symmetric contrastive loss of n (picture, text) pairs: the mean of both directions' cross-entropies over the batch.
 * images [n, 3, size, size], texts [n, context]. Adds the gradients to every trainable parameter.
 * Texts that are the same row are the same class: each counts as right for the pictures of the other.
 */
moeclip_code mc_contrastive_step(mc_compute *cp, mc_clip *clip, const mc_step_options *options, const float *images,
                                 const int32_t *texts, int64_t n, double *loss, mc_arena *arena, moeclip_error *err);

#endif
