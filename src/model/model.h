/* What a moeclip_model is made of: for the folders above. */
#ifndef MC_MODEL_MODEL_H
#define MC_MODEL_MODEL_H

#include "base/arena.h"
#include "model/encode.h"
#include "moeclip/model.h"
#include "moeclip/tokenizer.h"

struct moeclip_model {
  char *path;
  moeclip_model_options options;
  mc_clip *clip;
  mc_compute *compute;
  moeclip_tokenizer *tokenizer; /* NULL: the vocabulary is too small to be CLIP's (test models) */
  mc_arena arena;
  char fingerprint[33];         /* empty until it was asked for */
};

/* Another set of the same model's parameters, to be changed (fine-tuning). Borrows nothing. */
moeclip_code mc_model_copy_clip(const moeclip_model *model, mc_clip **out, moeclip_error *err);

/* The prompt for a class name: *out is freed by the caller with free. A template without {} is an error. */
moeclip_code mc_fill_template(const char *template, const char *class_name, char **out, moeclip_error *err);

/* Token rows [n_texts, context] of class names put into prompt templates: row i is templates[i / n_classes] filled with
 * classes[i % n_classes]. A template without {} is an error. *rows is freed by the caller with free. */
moeclip_code mc_model_prompts(const moeclip_model *model, const char *const *templates, size_t n_templates,
                              const char *const *classes, size_t n_classes, int32_t **rows, moeclip_error *err);

/* uint8 [n, 3, size, size] -> float32, as t normalises, spread over the threads. */
void mc_normalize_pixels(mc_compute *cp, const uint8_t *pixels, int64_t n, const moeclip_transform *t, float *out);

#endif
