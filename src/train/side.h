/* What the steps of training are made of: one side of a batch, this rank's pictures or texts, to features and back in pieces
 * that fit the memory wanted; and cosines, forward and backward. */
#ifndef MC_TRAIN_SIDE_H
#define MC_TRAIN_SIDE_H

#include "train/step.h"

/* A side of the step: this rank's pictures or texts, encoded in pieces of at most `piece` samples. */
typedef struct mc_batch_side {
  mc_compute *cp;
  mc_encoder encoder;
  mc_routing routing;
  bool text;
  const float *images;
  const int32_t *texts;
  int64_t n, piece, embed, per_sample; /* per_sample: numbers in one input */
  int64_t first;                       /* number of sample 0 in the step, for the random numbers */
  float *features, *dfeatures;         /* [n, embed] */
  mc_encoded kept;                     /* of the whole, when one piece holds it */
  const mc_block_done *done;           /* told in the last backward pass; or NULL */
} mc_batch_side;

/* Which samples of a side are this rank's, and whether the features of all ranks are wanted. */
typedef struct mc_side_part {
  int64_t n, first;   /* own ones */
  int64_t n_all, row; /* rows of features that are kept, and the place of the own ones among them */
} mc_side_part;

/* Room for features in the arena; nothing is computed yet. */
moeclip_code mc_side_init(mc_batch_side *s, mc_compute *cp, mc_clip *clip, mc_adapters *adapters,
                          const mc_step_options *options, bool text, const void *input, mc_side_part part, mc_arena *arena,
                          moeclip_error *err);
/* Samples from `at` on. first: they are seen for the first time in this step, and count. */
moeclip_code mc_side_encode(mc_batch_side *s, int64_t at, int64_t n, mc_encoded *keep, bool first, mc_arena *arena,
                            moeclip_error *err);
moeclip_code mc_side_back(mc_batch_side *s, int64_t at, const mc_encoded *kept, mc_arena *arena, moeclip_error *err);
/* Features of all samples. When one piece holds them all, what backward needs is kept; else it will be computed again, piece by
 * piece (the random numbers are drawn by sample, so that the second pass sees the same ones). */
moeclip_code mc_side_forward(mc_batch_side *s, mc_arena *arena, moeclip_error *err);
moeclip_code mc_side_backward(mc_batch_side *s, mc_arena *arena, moeclip_error *err);

/* logits [n, m] = scale * a b^T, features [n|m, embed]. */
moeclip_code mc_similarity(mc_compute *cp, const float *a, int64_t n, const float *b, int64_t m, int64_t embed, float scale,
                           float *logits, moeclip_error *err);
/* Gradients of both sides' features, added, from dlogits [n, m]. db NULL: b is fixed. */
moeclip_code mc_similarity_backward(mc_compute *cp, const float *dlogits, const float *a, float *da, int64_t n, const float *b,
                                    float *db, int64_t m, int64_t embed, float scale, moeclip_error *err);
/* logits = exp(s) cos: d loss / d s = sum of dlogits * logits. */
void mc_scale_backward(mc_clip *clip, const float *logits, const float *dlogits, int64_t n);
moeclip_code mc_check_loss(double loss, moeclip_error *err);

#endif
