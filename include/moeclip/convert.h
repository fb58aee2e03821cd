/* From one container, naming or number type to another. */
#ifndef MOECLIP_CONVERT_H
#define MOECLIP_CONVERT_H

#include "moeclip/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a file of tensors calls CLIP's weights: "openai", "openclip-text" or "huggingface"; NULL when it holds no
 * complete CLIP (err then says why). */
MOECLIP_API const char *moeclip_tensors_naming(const moeclip_tensors *t, moeclip_error *err);

typedef struct moeclip_convert_options {
  int openai_names;       /* CLIP's weights get the names that OpenAI and the published checkpoints use; 0 */
  int dtype;              /* of all floating tensors: a moeclip_dtype of MOECLIP_F32, F16, BF16; -1: as they are */
  const char *activation; /* "gelu" or "quick_gelu": noted in the metadata, for moeclip to find; NULL: as it is */
} moeclip_convert_options;
MOECLIP_API void moeclip_convert_options_defaults(moeclip_convert_options *options);

typedef struct moeclip_convert_report {
  size_t n_tensors, n_changed; /* written; of those, how many have another dtype now */
  size_t n_overflows;          /* finite numbers that are too large for the dtype, and became infinite */
  size_t n_metadata_lost;      /* keys that OUT's container cannot hold */
  char lost[64];               /* "KEY: VALUE" of one of those, cut to fit: "activation", which changes what is computed, before others */
  moeclip_container container; /* of OUT */
  const char *naming;          /* of IN where it was looked at, else NULL */
} moeclip_convert_report;

/*
 * IN is any container; OUT's ending says which it becomes: .safetensors, or .pth or .pt. Metadata is kept where the
 * container has a place for it. The dtype of a learner's state cannot be changed (its checksum covers every number).
 * report may be NULL.
 */
MOECLIP_API moeclip_code moeclip_convert(const char *in, const char *out, const moeclip_convert_options *options,
                                         moeclip_convert_report *report, moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
