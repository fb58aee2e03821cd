#include "model/model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "files/config.h"
#include "model/precision.h"
#include "moeclip/image.h"

void moeclip_model_options_defaults(moeclip_model_options *options) {
  *options = (moeclip_model_options){.activation = MOECLIP_ACTIVATION_AUTO};
}

/* A folder as it is downloaded: which of its files is the model? */
static moeclip_code refuse_folder(const char *path, moeclip_error *err) {
  static const char *const names[] = {"model.safetensors", "open_clip_model.safetensors", "model.safetensors.index.json",
                                      "pytorch_model.bin", "open_clip_pytorch_model.bin", "pytorch_model.bin.index.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    bool there = false;
    char *file = mc_format("%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", names[i]);
    moeclip_code code = file ? mc_file_exists(file, &there, err) : mc_fail_memory(err, strlen(path), "a file name");
    if (code == MOECLIP_OK && there) code = mc_fail(err, MOECLIP_ERROR_IO, "%s: is a folder; the weights are in %s", path, file);
    free(file);
    if (code != MOECLIP_OK) return code;
  }
  return mc_fail(err, MOECLIP_ERROR_IO, "%s: is a folder; give the file with the weights", path);
}

/* NAME-00001-of-00003.ENDING: weights in several files. */
static bool is_a_part(const char *path) {
  const char *slash = strrchr(path, '/'), *of = strstr(slash ? slash : path, "-of-");
  return of && of > path && isdigit((unsigned char)of[-1]) && isdigit((unsigned char)of[4]);
}

static moeclip_code open_clip(const char *path, int activation, mc_clip **out, moeclip_error *err) {
  moeclip_tensors *file = NULL, *named = NULL;
  mc_naming naming;
  struct stat st;
  if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return refuse_folder(path, err);
  MC_TRY(moeclip_tensors_open(path, &file, err));
  moeclip_code code = mc_names_normalise(file, &named, &naming, err);
  if (code == MOECLIP_OK) {
    code = mc_config_note(path, naming, named, err);
    if (code != MOECLIP_OK) {
      moeclip_tensors_destroy(named);
      moeclip_tensors_destroy(file);
      return code; /* names the configuration */
    }
    code = mc_clip_load(named, activation, out, err);
  }
  if (code != MOECLIP_OK) {
    moeclip_tensors_destroy(file);
    if (code == MOECLIP_ERROR_FORMAT && is_a_part(path)) {
      return mc_fail(err, code, "%s: is only one part of a model in several files; give the .index.json beside it", path);
    }
    return mc_fail_prefix(err, path);
  }
  (*out)->source = file; /* the renamed collection borrows from it */
  return MOECLIP_OK;
}

moeclip_code moeclip_model_load(const char *path, const moeclip_model_options *options, moeclip_model **out,
                                moeclip_error *err) {
  *out = NULL;
  moeclip_model *m = calloc(1, sizeof *m);
  if (!m) return mc_fail_memory(err, sizeof *m, "a model");
  moeclip_code code = MOECLIP_OK;
  if (options) {
    m->options = *options;
  } else {
    moeclip_model_options_defaults(&m->options);
  }
  m->path = mc_strdup(path);
  if (!m->path) code = mc_fail_memory(err, strlen(path), "a file name");
  if (code == MOECLIP_OK) code = open_clip(path, m->options.activation, &m->clip, err);
  if (code == MOECLIP_OK) code = mc_compute_create(m->options.n_threads, &m->compute, err);
  if (m->options.comm) {
    moeclip_code all = moeclip_comm_agree(m->options.comm, code, err);
    if (code == MOECLIP_OK) code = all;
  }
  if (code == MOECLIP_OK) code = mc_set_precision(m->compute, m->options.precision, m->options.comm, err);
  int vocabulary = code == MOECLIP_OK ? m->clip->sizes.vocabulary : 0;
  if (code == MOECLIP_OK && vocabulary >= 514 && vocabulary <= 49408) {
    code = moeclip_tokenizer_create(vocabulary, &m->tokenizer, err);
  }
  if (code != MOECLIP_OK) {
    moeclip_model_destroy(m);
    return code;
  }
  *out = m;
  return MOECLIP_OK;
}

void moeclip_model_destroy(moeclip_model *m) {
  if (!m) return;
  moeclip_tokenizer_destroy(m->tokenizer);
  mc_clip_destroy(m->clip);
  mc_compute_destroy(m->compute);
  mc_arena_clear(&m->arena);
  free(m->path);
  free(m);
}

moeclip_precision moeclip_model_precision(const moeclip_model *model) { return mc_precision_of(model->compute); }

const char *moeclip_model_path(const moeclip_model *model) { return model->path; }

static moeclip_code count_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)name;
  (void)err;
  *(int64_t *)context += p->n;
  return MOECLIP_OK;
}

void moeclip_model_get_sizes(const moeclip_model *model, moeclip_model_sizes *out) {
  const mc_clip_sizes *s = &model->clip->sizes;
  *out = (moeclip_model_sizes){s->image_size, s->patch, s->visual_layers, s->visual_width, s->visual_hidden,
                               s->context, s->vocabulary, s->text_layers, s->text_width, s->text_hidden, s->embed,
                               (moeclip_activation)s->activation, 0, s->visual_heads, s->text_heads};
  mc_clip_each(model->clip, count_param, &out->n_parameters, NULL);
}

void moeclip_model_transform(const moeclip_model *model, moeclip_transform *out) { *out = model->clip->transform; }

const char *moeclip_model_fingerprint(moeclip_model *model) {
  if (!model->fingerprint[0]) mc_clip_fingerprint(model->clip, model->fingerprint);
  return model->fingerprint;
}

moeclip_code mc_model_copy_clip(const moeclip_model *model, mc_clip **out, moeclip_error *err) {
  return open_clip(model->path, (int)model->clip->sizes.activation, out, err);
}

typedef struct pixels_job {
  const uint8_t *pixels;
  float *out;
  const moeclip_transform *transform;
} pixels_job;

static void normalize_range(void *context, int64_t begin, int64_t end) {
  const pixels_job *j = context;
  size_t each = 3 * (size_t)j->transform->size * (size_t)j->transform->size;
  for (int64_t i = begin; i < end; i++) {
    moeclip_transform_normalize(j->transform, j->pixels + (size_t)i * each, j->out + (size_t)i * each);
  }
}

void mc_normalize_pixels(mc_compute *cp, const uint8_t *pixels, int64_t n, const moeclip_transform *t, float *out) {
  pixels_job job = {pixels, out, t};
  mc_parallel_for(cp, n, 1, normalize_range, &job);
}

/* Pictures and texts go through in pieces of this size, so that memory does not grow with n. */
enum { PIECE = 32 };

moeclip_code moeclip_encode_images(moeclip_model *m, const uint8_t *pixels, int n, float *out, moeclip_error *err) {
  int size = m->clip->sizes.image_size;
  size_t each = 3 * (size_t)size * (size_t)size;
  mc_encoder encoder = {.clip = m->clip};
  for (int at = 0; at < n; at += PIECE) {
    int count = n - at < PIECE ? n - at : PIECE;
    mc_arena_mark mark = mc_arena_here(&m->arena);
    float *images = mc_arena_take(&m->arena, (size_t)count * each, sizeof *images);
    if (!images) return mc_fail_memory(err, (size_t)count * each * sizeof *images, "pictures");
    mc_normalize_pixels(m->compute, pixels + (size_t)at * each, count, &m->clip->transform, images);
    moeclip_code code = mc_encode_images(m->compute, &encoder, images, count,
                                         out + (size_t)at * (size_t)m->clip->sizes.embed, NULL, &m->arena, err);
    mc_arena_release(&m->arena, mark);
    if (code != MOECLIP_OK) return code;
  }
  return MOECLIP_OK;
}

static moeclip_code need_tokenizer(const moeclip_model *m, moeclip_error *err) {
  if (m->tokenizer) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: its vocabulary of %d is not CLIP's (514 to 49408 entries)", m->path,
                 m->clip->sizes.vocabulary);
}

moeclip_code moeclip_encode_texts(moeclip_model *m, const char *const *texts, int n, float *out, moeclip_error *err) {
  int context = m->clip->sizes.context;
  mc_encoder encoder = {.clip = m->clip};
  MC_TRY(need_tokenizer(m, err));
  int32_t *rows = mc_alloc((size_t)PIECE * (size_t)context, sizeof *rows);
  if (!rows) return mc_fail_memory(err, (size_t)PIECE * (size_t)context * sizeof *rows, "tokens");
  moeclip_code code = MOECLIP_OK;
  for (int at = 0; code == MOECLIP_OK && at < n; at += PIECE) {
    int count = n - at < PIECE ? n - at : PIECE;
    for (int i = 0; code == MOECLIP_OK && i < count; i++) {
      code = moeclip_tokenizer_row(m->tokenizer, texts[at + i], rows + i * context, context, NULL, err);
    }
    if (code == MOECLIP_OK) {
      code = mc_encode_texts(m->compute, &encoder, rows, count, out + (size_t)at * (size_t)m->clip->sizes.embed, NULL,
                             &m->arena, err);
    }
  }
  free(rows);
  return code;
}

moeclip_code mc_fill_template(const char *template, const char *class_name, char **out, moeclip_error *err) {
  const char *hole = strstr(template, "{}");
  *out = NULL;
  if (!hole) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the prompt template \"%s\" has no {} for the class name", template);
  *out = mc_format("%.*s%s%s", (int)(hole - template), template, class_name, hole + 2);
  return *out ? MOECLIP_OK : mc_fail_memory(err, strlen(template) + strlen(class_name), "a prompt");
}

static moeclip_code prompt_row(const moeclip_model *m, const char *template, const char *class_name, int32_t *row,
                               moeclip_error *err) {
  char *text;
  MC_TRY(mc_fill_template(template, class_name, &text, err));
  moeclip_code code = moeclip_tokenizer_row(m->tokenizer, text, row, m->clip->sizes.context, NULL, err);
  free(text);
  return code;
}

moeclip_code mc_model_prompts(const moeclip_model *m, const char *const *templates, size_t n_templates,
                              const char *const *classes, size_t n_classes, int32_t **rows, moeclip_error *err) {
  *rows = NULL;
  MC_TRY(need_tokenizer(m, err));
  size_t n, context = (size_t)m->clip->sizes.context;
  if (!mc_mul_size(n_templates, n_classes, &n) || !mc_mul_size(n, context, &n) || !(*rows = mc_alloc(n, sizeof **rows))) {
    return mc_fail_memory(err, n_templates * n_classes * context * sizeof **rows, "prompts");
  }
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n_templates * n_classes; i++) {
    code = prompt_row(m, templates[i / n_classes], classes[i % n_classes], *rows + i * context, err);
  }
  if (code != MOECLIP_OK) {
    free(*rows);
    *rows = NULL;
  }
  return code;
}
