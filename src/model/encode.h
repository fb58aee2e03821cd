/*
 * Pictures and texts to normalised features, and back. Micro-batches are the caller's business: each call handles n
 * samples whose kept activations live in the arena until the caller releases it.
 */
#ifndef MC_MODEL_ENCODE_H
#define MC_MODEL_ENCODE_H

#include "model/tower.h"

/* What one call kept for its backward; arrays in the arena. */
typedef struct mc_encoded {
  int64_t n, t;
  const float *images;  /* the caller's: must stay until backward when conv1 is trained */
  const int32_t *texts; /* likewise; [n, context] */
  int64_t context;
  float *embedded;      /* image tower: before ln_pre [n, t, d]; only when something below the blocks is trained */
  float *pre_mean, *pre_rstd;
  float *pooled;        /* [n, d] the rows that are read out, before the last norm */
  float *mean, *rstd;   /* [n] of the last norm */
  float *features, *norm; /* [n, embed] normalised, and the length before: [n] */
  int32_t *end;         /* text: [n] place of the end-of-text token */
  const int32_t *read;  /* [n] the token that is read from the last block, when the others of it were not computed; else NULL */
  mc_block_kept *kept;
} mc_encoded;

typedef struct mc_encoder {
  mc_clip *clip;
  mc_adapters *adapters;     /* NULL: plain CLIP */
  const mc_routing *routing; /* NULL: plain CLIP; its task array has the call's n entries */
  const mc_tap *tap;         /* or NULL */
  const mc_block_done *done; /* for backward; or NULL */
  const mc_choice *choice;   /* of pictures' tasks; or NULL */
  bool full_context;         /* text: compute all context tokens, also those after the last end-of-text, and all of
                                the last block's (tests) */
} mc_encoder;

/* images [n, 3, size, size] normalised -> features [n, embed]. keep NULL: no backward will follow. */
moeclip_code mc_encode_images(mc_compute *cp, const mc_encoder *e, const float *images, int64_t n, float *features,
                              mc_encoded *keep, mc_arena *arena, moeclip_error *err);
/* texts [n, context] token rows -> features [n, embed]. Only the tokens up to the last end-of-text of the call are
 * computed: under the causal mask the later ones cannot change anything. */
moeclip_code mc_encode_texts(mc_compute *cp, const mc_encoder *e, const int32_t *texts, int64_t n, float *features,
                             mc_encoded *keep, mc_arena *arena, moeclip_error *err);

/* dfeatures [n, embed] (with respect to the normalised features) -> gradients of all trainable parameters, added. */
moeclip_code mc_encode_images_backward(mc_compute *cp, const mc_encoder *e, const mc_encoded *kept,
                                       const float *dfeatures, mc_arena *arena, moeclip_error *err);
moeclip_code mc_encode_texts_backward(mc_compute *cp, const mc_encoder *e, const mc_encoded *kept,
                                      const float *dfeatures, mc_arena *arena, moeclip_error *err);

/* Frozen tokens of an early block: images -> out [n, 1 + patches, d] after block `layer` (0-based), without adapters. */
moeclip_code mc_image_tokens(mc_compute *cp, mc_clip *clip, const float *images, int64_t n, int layer, float *out,
                             mc_arena *arena, moeclip_error *err);

#endif
