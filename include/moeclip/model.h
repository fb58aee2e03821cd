/*
 * A CLIP model: load it, encode pictures and texts. One thread may use a model (and a learner made from it) at a time; the
 * work inside is spread over n_threads.
 */
#ifndef MOECLIP_MODEL_H
#define MOECLIP_MODEL_H

#include <stdint.h>

#include "moeclip/comm.h"
#include "moeclip/error.h"
#include "moeclip/image.h"
#include "moeclip/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum moeclip_activation {
  MOECLIP_ACTIVATION_AUTO = -1,   /* what the file or the configuration beside it says; else quick GELU */
  MOECLIP_ACTIVATION_QUICK_GELU = 0, /* OpenAI's weights */
  MOECLIP_ACTIVATION_GELU = 1     /* most of OpenCLIP's own */
} moeclip_activation;

typedef enum moeclip_precision {
  MOECLIP_PRECISION_AUTO = 0, /* MOECLIP_PRECISION in the environment ("float32", "bfloat16"), else bfloat16 where the processor
                                 has AMX, which makes it several times faster, else float32 */
  MOECLIP_PRECISION_FLOAT32,  /* the reference */
  MOECLIP_PRECISION_BFLOAT16  /* matrix products of rounded numbers with float32 sums; works on every processor, fast on few */
} moeclip_precision;

typedef struct moeclip_model_options {
  int n_threads; /* 0: as many as the process may use */
  moeclip_activation activation;
  moeclip_comm *comm; /* NULL; else the processes that share the learning and evaluating of this model's learners. Must outlive it */
  moeclip_precision precision; /* of the towers; parameters, sums, gradients of weights and the optimizer are float32 always */
} moeclip_model_options;
MOECLIP_API void moeclip_model_options_defaults(moeclip_model_options *options);

typedef struct moeclip_model_sizes {
  int image_size, patch, visual_layers, visual_width, visual_hidden;
  int context, vocabulary, text_layers, text_width, text_hidden;
  int embed;
  moeclip_activation activation;
  int64_t n_parameters;
  int visual_heads, text_heads; /* of attention, each width / heads wide. pretrain: 0 is the usual number, width / 64 */
} moeclip_model_sizes;

typedef struct moeclip_model moeclip_model;

/* PATH: any container of moeclip/tensors.h, in OpenAI's, OpenCLIP's or Hugging Face's names. The activation, the numbers of heads and how
 * pictures are taken, which no weight tells, come from the file's metadata ("activation", "visual_heads", "text_heads", "image_mean",
 * "image_std", "resize_mode"), else from the configuration beside it (Hugging Face's config.json and preprocessor_config.json, OpenCLIP's
 * open_clip_config.json; UNSUPPORTED where that asks for what is not computed here), else they are OpenAI's. float32 safetensors are mapped, not copied. options NULL: defaults. */
MOECLIP_API moeclip_code moeclip_model_load(const char *path, const moeclip_model_options *options, moeclip_model **out,
                                            moeclip_error *err);
MOECLIP_API void moeclip_model_destroy(moeclip_model *model);
MOECLIP_API const char *moeclip_model_path(const moeclip_model *model);
/* What it computes with: MOECLIP_PRECISION_FLOAT32 or _BFLOAT16. */
MOECLIP_API moeclip_precision moeclip_model_precision(const moeclip_model *model);
MOECLIP_API void moeclip_model_get_sizes(const moeclip_model *model, moeclip_model_sizes *out);
/* How it takes pictures. */
MOECLIP_API void moeclip_model_transform(const moeclip_model *model, moeclip_transform *out);
/* 32 hexadecimal digits that depend on all weights, and on what is computed with them: which backbone a learner's state belongs to. */
MOECLIP_API const char *moeclip_model_fingerprint(moeclip_model *model);

/* pixels: uint8 [n, 3, image_size, image_size] (moeclip_image_transform). out: float [n, embed], each of length 1. */
MOECLIP_API moeclip_code moeclip_encode_images(moeclip_model *model, const uint8_t *pixels, int n, float *out,
                                               moeclip_error *err);
/* texts: n UTF-8 strings. out: float [n, embed], each of length 1. */
MOECLIP_API moeclip_code moeclip_encode_texts(moeclip_model *model, const char *const *texts, int n, float *out,
                                              moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
