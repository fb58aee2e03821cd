/* CLIP's parameters: sizes, loading, saving, making new ones. */
#ifndef MC_MODEL_CLIP_H
#define MC_MODEL_CLIP_H

#include "compute/kernels.h"
#include "model/params.h"
#include "model/transform.h"

typedef struct mc_block {
  mc_param ln_1_weight, ln_1_bias;   /* [d] */
  mc_param in_weight, in_bias;       /* [3d, d], [3d] */
  mc_param out_weight, out_bias;     /* [d, d], [d] */
  mc_param ln_2_weight, ln_2_bias;   /* [d] */
  mc_param fc_weight, fc_bias;       /* [4d, d], [4d] */
  mc_param proj_weight, proj_bias;   /* [d, 4d], [d] */
} mc_block;

typedef struct mc_tower {
  int n_layers, width, hidden, n_heads; /* hidden: width of the MLP, 4d in CLIP's own models */
  bool causal;
  mc_activation activation;
  mc_block *blocks; /* [n_layers] */
} mc_tower;

typedef struct mc_clip_sizes {
  int image_size, patch, visual_layers, visual_width, visual_hidden;
  int context, vocabulary, text_layers, text_width, text_hidden;
  int embed;
  mc_activation activation;
  int visual_heads, text_heads; /* 0: the usual ones (mc_usual_heads) */
} mc_clip_sizes;

typedef struct mc_clip {
  mc_clip_sizes sizes;
  moeclip_transform transform;
  int n_patches; /* (image_size / patch)^2; the image tower has one token more */
  mc_tower visual, text;
  mc_param conv1, class_embedding, visual_position;        /* [d, 3, patch, patch], [d], [1 + n_patches, d] */
  mc_param ln_pre_weight, ln_pre_bias, ln_post_weight, ln_post_bias;
  mc_param visual_proj;                                    /* [d, embed] */
  mc_param token_embedding, text_position;                 /* [vocabulary, d], [context, d] */
  mc_param ln_final_weight, ln_final_bias;
  mc_param text_projection;                                /* [d, embed] */
  mc_param logit_scale;                                    /* [] : the scale is its exponential */
  moeclip_tensors *file, *source;                          /* what borrowed parameters point into; source may be NULL */
} mc_clip;

/* Sizes from a file's tensors, in any of the known namings; reads no values. */
moeclip_code mc_clip_sizes_of(const moeclip_tensors *file, mc_clip_sizes *sizes, moeclip_error *err);

/* Loads a model whose tensors are in the published names (mc_names_normalise gives them). Takes over `file` also when it
 * fails. activation -1: what the metadata says ("activation": "gelu" or "quick_gelu"), else quick GELU. */
moeclip_code mc_clip_load(moeclip_tensors *file, int activation, mc_clip **out, moeclip_error *err);

/* New, random parameters, as CLIP's authors start theirs. */
moeclip_code mc_clip_create(const mc_clip_sizes *sizes, uint64_t seed, mc_clip **out, moeclip_error *err);
void mc_clip_destroy(mc_clip *clip);

/* All parameters in a fixed order. */
moeclip_code mc_clip_each(mc_clip *clip, mc_param_visitor visit, void *context, moeclip_error *err);

/* Puts all parameters into a collection, as dtype (F32, F16 or BF16). */
moeclip_code mc_clip_store(mc_clip *clip, moeclip_dtype dtype, moeclip_tensors *out, moeclip_error *err);

/*
 * 32 hexadecimal digits that depend on every name, shape and float32 value, the activation, the heads and the transform: which backbone a state belongs
 * to. The same for the same values in another container or element type. Fast rather than cryptographic: it guards against mistakes.
 */
void mc_clip_fingerprint(mc_clip *clip, char out[33]);

#endif
