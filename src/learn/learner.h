/*
 * learn/: the learner: tasks, their state file, learning, classifying, evaluating. The highest folder of the library:
 * includes all others; only report/, serve/ and cli/ (through the public headers) are above it.
 */
#ifndef MC_LEARN_LEARNER_H
#define MC_LEARN_LEARNER_H

#include "model/model.h"
#include "moeclip/learner.h"
#include "select/selector.h"

typedef struct mc_task {
  char *name;
  char **classes, **templates;
  size_t n_classes, n_templates;
  int64_t iterations, images; /* steps it was trained for, pictures in its train split */
} mc_task;

/* Lists of labels with their features, the one used last first. */
typedef struct mc_kept_labels mc_kept_labels;
typedef struct mc_label_cache {
  mc_kept_labels *first;
  size_t n_bytes, max_bytes;
} mc_label_cache;

struct moeclip_learner {
  const struct mc_method *method;  /* method.h */
  moeclip_model *model;
  moeclip_learner_options options; /* alexnet points to own memory */
  mc_adapters *adapters;           /* mixture of experts; else NULL */
  mc_clip *tuned;                  /* the changed weights of a method that changes CLIP's own; else NULL */
  mc_selector *selector;           /* autoencoder t of task t, and number 0; NULL without adapters, or without selector */
  void *own;                       /* what else the method knows; or NULL */
  mc_feature_extractor extractor;  /* what the selector looks at */
  char alexnet_hash[65];           /* SHA-256 of the AlexNet file, or empty */
  mc_task *tasks;
  int n_tasks;
  float **task_features;           /* [2 * n_tasks]: [n_classes, embed] of task t's own classes and templates: 2t through the
                                      task's routers, 2t + 1 by the untouched CLIP; made when first needed, or NULL */
  mc_label_cache labels;           /* features of lists of labels that callers gave */
};

/* What an expert's output is multiplied with (method.md section 2). */
#define MC_EXPERT_SCALE 0.1f

/* "a photo of a {}." */
extern const char *const mc_default_template[1];

/* The router of a task (-1: none). */
static inline int mc_learner_router(const moeclip_learner *l, int task) { return task > 0 && l->options.shared_router ? 0 : task; }

/* The clip that encodes for this learner: the fine-tuned one, or the model's own. */
mc_clip *mc_learner_clip(const moeclip_learner *l);

/* A learner without tasks, adapters or selector, but with what the selector looks at. *out is to be destroyed also when
 * this fails. */
moeclip_code mc_learner_frame(moeclip_model *model, const moeclip_learner_options *options, const char *alexnet,
                              moeclip_learner **out, moeclip_error *err);

/* --- tasks ------------------------------------------------------------------------------------------------------------ */

/* A copy of names and templates (n_templates 0: the default one). */
moeclip_code mc_task_init(mc_task *t, const char *name, const char *const *classes, size_t n_classes,
                          const char *const *templates, size_t n_templates, moeclip_error *err);
void mc_task_clear(mc_task *t);
/* Appends a task, which the learner then owns (also when this fails). */
moeclip_code mc_learner_add_task(moeclip_learner *l, mc_task *t, moeclip_error *err);
/* Makes a learner know nothing, without freeing (of a copy whose parts belong to another), or with. */
void mc_learner_empty(moeclip_learner *l);
void mc_learner_clear_knowledge(moeclip_learner *l);
/* Forgets features that were computed with weights that have changed. */
void mc_learner_drop_features(moeclip_learner *l);

/* --- state file (docs/STATE.md) ------------------------------------------------------------------------------------------ */

/* Everything the learner knows, into a collection: for the state file, and for checkpoints. */
moeclip_code mc_state_store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err);
/* The other way round, into a learner that knows nothing yet. */
moeclip_code mc_state_restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err);
/* The same into a learner that knows something already, which it forgets. On failure it knows what it knew. */
moeclip_code mc_state_replace(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err);
/* The options that a state was made with; alexnet_hash: empty when its selector looks at the model's own tokens. */
moeclip_code mc_state_options(const moeclip_tensors *in, moeclip_learner_options *out, char alexnet_hash[65],
                              moeclip_error *err);
/* To a file with a checksum, and back: a damaged file is refused. */
moeclip_code mc_state_write(moeclip_tensors *t, const char *path, moeclip_error *err);
moeclip_code mc_state_open(const char *path, moeclip_tensors **out, moeclip_error *err);

/* --- features ----------------------------------------------------------------------------------------------------------- */

/* Classes of the first n_tasks tasks together. */
int64_t mc_class_count(const moeclip_learner *l, int n_tasks);

/* The published class-incremental test leaves the routers' noise on, for pictures and texts. */
typedef struct mc_gate_noise { uint64_t seed, step, first_sample; } mc_gate_noise;

/* Class features as section 4 of the method says: of each class all templates, normalised, averaged, normalised.
 * task: whose router (MOECLIP_TASK_NONE: the untouched CLIP). noise: NULL for none. out [n_classes, embed]. */
moeclip_code mc_class_features(moeclip_learner *l, int task, const char *const *templates, size_t n_templates,
                               const char *const *classes, size_t n_classes, const mc_gate_noise *noise, float *out,
                               moeclip_error *err);

/* The same of a learned task's own classes, kept for the next time. untouched: by CLIP without adapters. *out [n_classes,
 * embed] belongs to the learner until it learns again. */
moeclip_code mc_task_features(moeclip_learner *l, int task, bool untouched, const float **out, moeclip_error *err);

/* Class features of labels that a caller gave, from the cache where they are kept. *out [n_labels, embed] belongs to the cache
 * until that is trimmed; or, where nothing is kept, to the caller: *owned, to be freed. */
moeclip_code mc_label_features(moeclip_learner *l, int task, const char *const *templates, size_t n_templates,
                               const char *const *labels, size_t n_labels, const float **out, float **owned,
                               moeclip_error *err);
void mc_label_cache_clear(mc_label_cache *cache);
/* Down to its bound: the least recently used go. */
void mc_label_cache_trim(mc_label_cache *cache);

/* Where the selector's choice goes when it is made in passing: as mc_route gives them. */
typedef struct mc_chosen {
  int32_t *tasks; /* [n] */
  double *scores; /* [n], or NULL */
  float *errors;  /* [n, 1 + tasks], or NULL */
} mc_chosen;

/* pixels uint8 [n, 3, size, size] of the model -> out [n, embed], each picture through its task's routers. gates [blocks, n,
 * mc_learner_most_experts], zeroed (NULL: not wanted): what the routers chose. */
moeclip_code mc_picture_features(moeclip_learner *l, const uint8_t *pixels, int64_t n, const int32_t *tasks,
                                 const mc_gate_noise *noise, float *gates, float *out, moeclip_error *err);
/* mc_route, picture by picture, and mc_picture_features in one: the same answers, bit for bit. Where mc_routes_in_passing, the selector
 * looks at what the encoding pass computes anyway. */
bool mc_routes_in_passing(const moeclip_learner *l);
moeclip_code mc_choose_and_encode(moeclip_learner *l, const uint8_t *pixels, int64_t n, const mc_chosen *chosen,
                                  const mc_gate_noise *noise, float *gates, float *out, moeclip_error *err);
/* The same without adapters, in pieces, so that memory does not grow with n: uint8 pictures by the learner's own CLIP; and images
 * [n, 3, size, size] normalised, and token rows [n, context], by any CLIP of the model's sizes. out [n, embed]. */
moeclip_code mc_plain_pictures(moeclip_learner *l, const uint8_t *pixels, int64_t n, float *out, moeclip_error *err);
moeclip_code mc_plain_images(moeclip_model *m, mc_clip *clip, const float *images, int64_t n, float *out, moeclip_error *err);
moeclip_code mc_plain_texts(moeclip_model *m, mc_clip *clip, const int32_t *rows, int64_t n, float *out, moeclip_error *err);
/* The most experts that a block of the image tower has; 0 when fine-tuning. */
int mc_learner_most_experts(const moeclip_learner *l);

/* Pictures on their way to features: what classifying, explaining and encoding begin with. */
typedef struct mc_pictures {
  const moeclip_image *images;
  int64_t n;
  int task;                  /* MOECLIP_TASK_AUTO: the selector decides */
  moeclip_selection selection;
  int32_t *tasks;            /* [n] who encodes each */
  double *scores;            /* [n] */
  float *features;           /* [n, embed] */
  float *errors;             /* [n, 1 + tasks] as mc_selector_choose gives them, where wanted and the selector was asked; else NULL */
  float *gates;              /* [blocks, n, mc_learner_most_experts], where wanted and there are adapters; else NULL */
} mc_pictures;
/* images, n, task and selection are set; fills the arrays. why: errors and gates too. Cleared also when this fails. */
moeclip_code mc_pictures_encode(moeclip_learner *l, mc_pictures *p, bool why, moeclip_error *err);
void mc_pictures_clear(mc_pictures *p);
/* Why picture i of p (encoded with `why`) was answered as it was. */
moeclip_code mc_explain(const moeclip_learner *l, const mc_pictures *p, int64_t i, moeclip_explanation *out, moeclip_error *err);

/* The selector's choice for n pictures: pixels uint8 [n, 3, s, s] with s = the extractor's image_size. tasks [n]; scores [n]
 * (may be NULL): smallest error over its threshold. errors [n, 1 + tasks] (may be NULL): as mc_selector_choose gives them. */
moeclip_code mc_route(moeclip_learner *l, const uint8_t *pixels, int64_t n, moeclip_selection selection, int32_t *tasks,
                      double *scores, float *errors, moeclip_error *err);

/* Features that the selector sees, of n pictures: out [n, extractor.dim]. */
moeclip_code mc_selector_features(moeclip_learner *l, const uint8_t *pixels, int64_t n, float *out, moeclip_error *err);

#endif
