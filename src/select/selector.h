/*
 * select/: which task does a picture belong to? Includes base/, comm/, compute/, model/ and their public headers; learn/ includes it.
 *
 * Pictures -> features (mc_extract) -> one small model of the domain per task, which says how far off a picture is (its error): an
 * autoencoder (method.md section 4: DDAS), or Gaussians (select/gaussian.h). The task with the smallest error wins, if that error is
 * not above the task's threshold. Number 0 stands for "no task": it is the model of a reference set, and a picture that it wins goes
 * to the untouched CLIP. All kinds are measured in docs/SELECTORS.md.
 */
#ifndef MC_SELECT_SELECTOR_H
#define MC_SELECT_SELECTOR_H

#include "base/arena.h"
#include "comm/comm.h"
#include "model/model.h"
#include "select/gaussian.h"

/* --- features --------------------------------------------------------------------------------------------------------- */

typedef struct mc_alexnet mc_alexnet;

/* torchvision's AlexNet weights (features.0,3,6,8,10.weight|bias; any container of moeclip/tensors.h). */
moeclip_code mc_alexnet_load(const char *path, mc_alexnet **out, moeclip_error *err);
void mc_alexnet_destroy(mc_alexnet *a);
/* images [n, 3, 224, 224] CLIP-normalised -> out [n, 256*13*13]: the fifth convolution before its ReLU, through a sigmoid. */
enum { MC_ALEXNET_SIZE = 224, MC_ALEXNET_DIM = 256 * 13 * 13 };
moeclip_code mc_alexnet_features(mc_compute *cp, const mc_alexnet *a, const float *images, int64_t n, float *out,
                                 mc_arena *arena, moeclip_error *err);

/* What a domain is modelled with; numbered as moeclip_selector_kind (moeclip/learner.h). */
typedef enum mc_selector_kind {
  MC_SELECTOR_AUTOENCODER = 1,
  MC_SELECTOR_GAUSSIAN,  /* one Gaussian a task */
  MC_SELECTOR_PROTOTYPES /* a mean for each class, one covariance a task */
} mc_selector_kind;

/* What the selector looks at: AlexNet's features, or what the untouched image tower makes of a picture after block `layer`: for
 * autoencoders its patch tokens, pooled to a coarse grid, each standardised, through a sigmoid; for Gaussians the mean and the
 * standard deviation of each number over the patch tokens. layer = number of blocks: the final embedding, times sqrt(embed). */
typedef struct mc_feature_extractor {
  mc_selector_kind kind;
  mc_alexnet *alexnet; /* owned; NULL: the image tower */
  mc_clip *clip;       /* not owned: the untouched CLIP */
  int layer;
  moeclip_transform transform; /* of the pictures that mc_extract takes */
  int64_t dim;         /* numbers a picture */
} mc_feature_extractor;

/* alexnet: path or NULL; autoencoders alone. layer -1: chosen by kind and depth. */
moeclip_code mc_feature_extractor_init(mc_feature_extractor *x, mc_selector_kind kind, const char *alexnet, mc_clip *clip, int layer,
                                       moeclip_error *err);
void mc_feature_extractor_clear(mc_feature_extractor *x);
/* pixels uint8 [n, 3, size, size] of the transform, before normalisation -> out [n, dim], for autoencoders each in (0, 1). */
moeclip_code mc_extract(mc_compute *cp, const mc_feature_extractor *x, const uint8_t *pixels, int64_t n, float *out,
                        mc_arena *arena, moeclip_error *err);

/* Whether the features can be had in passing, from block 0 of the pass that encodes a picture anyway: its output before the experts add
 * theirs is that of the untouched tower. */
bool mc_extracts_in_passing(const mc_feature_extractor *x);
/* tokens [n, 1 + patches, width] after the extractor's block -> out [n, dim]. */
void mc_extract_moments(mc_compute *cp, const mc_feature_extractor *x, const float *tokens, int64_t n, float *out);

/* --- autoencoders ------------------------------------------------------------------------------------------------------- */

/* Linear dim -> hidden, ReLU, linear hidden -> dim, sigmoid. */
typedef struct mc_autoencoder {
  int64_t dim, hidden;
  mc_param encoder_weight, encoder_bias; /* [hidden, dim], [hidden] */
  mc_param decoder_weight, decoder_bias; /* [dim, hidden], [dim] */
} mc_autoencoder;

/* Fresh weights as PyTorch starts linear layers, drawn from (seed, number). */
moeclip_code mc_autoencoder_create(mc_autoencoder *a, int64_t dim, int64_t hidden, uint64_t seed, uint64_t number,
                                   moeclip_error *err);
void mc_autoencoder_clear(mc_autoencoder *a);
/* Mean squared error of making x [n, dim] again, per picture: errors [n]. Keeps the weights as the handle's precision reads them. */
moeclip_code mc_autoencoder_errors(mc_compute *cp, mc_autoencoder *a, const float *x, int64_t n, float *errors,
                                   mc_arena *arena, moeclip_error *err);

/* Adam as PyTorch's: L2 weight decay is added to the gradient. One step on features x [n, dim]; *loss: mean over all. */
typedef struct mc_autoencoder_trainer mc_autoencoder_trainer;
moeclip_code mc_autoencoder_trainer_create(mc_autoencoder *a, float weight_decay, mc_autoencoder_trainer **out,
                                           moeclip_error *err);
void mc_autoencoder_trainer_destroy(mc_autoencoder_trainer *t);
moeclip_code mc_autoencoder_step(mc_compute *cp, mc_autoencoder_trainer *t, const float *x, int64_t n, double lr,
                                 double *loss, mc_arena *arena, moeclip_error *err);

/* With other ranks: joins their trainers of the same autoencoder, before the first step. A step then takes this rank's n rows (it may
 * have none) of the n_all of all ranks, and has the same result everywhere. Both are collective. */
moeclip_code mc_autoencoder_trainer_join(mc_autoencoder_trainer *t, moeclip_comm *comm, moeclip_error *err);
moeclip_code mc_autoencoder_shared_step(mc_compute *cp, mc_autoencoder_trainer *t, const float *x, int64_t n, int64_t n_all, double lr,
                                        double *loss, mc_arena *arena, moeclip_error *err);

/* --- the selector -------------------------------------------------------------------------------------------------------- */

typedef struct mc_selector mc_selector;

/* hidden: units of an autoencoder, or the most directions of a Gaussian. */
moeclip_code mc_selector_create(mc_selector_kind kind, int64_t dim, int64_t hidden, mc_selector **out, moeclip_error *err);
void mc_selector_destroy(mc_selector *s);
int mc_selector_tasks(const mc_selector *s);
bool mc_selector_has_reference(const mc_selector *s); /* number 0 was trained */
/* Takes over *a or *g (also on failure). task: -1 for the reference set's, else mc_selector_tasks(s). */
moeclip_code mc_selector_add(mc_selector *s, int task, mc_autoencoder *a, double threshold, moeclip_error *err);
moeclip_code mc_selector_add_gaussian(mc_selector *s, int task, mc_gaussian *g, double threshold, moeclip_error *err);
double mc_selector_threshold(const mc_selector *s, int task);
void mc_selector_set_threshold(mc_selector *s, int task, double threshold);
/* task -1: number 0. NULL when there is none, or it is of the other kind. */
const mc_autoencoder *mc_selector_autoencoder(const mc_selector *s, int task);
const mc_gaussian *mc_selector_gaussian(const mc_selector *s, int task);
int64_t mc_selector_numbers(const mc_selector *s, int task); /* how many float32 a task takes */

/* Features of held-out reference pictures [n, dim], n in [0, 65536], kept to calibrate later tasks' thresholds. Copied; those of
 * autoencoders as bytes (value * 255, rounded). */
moeclip_code mc_selector_keep_reference(mc_selector *s, const float *features, int64_t n, moeclip_error *err);
int64_t mc_selector_reference(const mc_selector *s); /* how many are kept */
/* Those from `first` on, n of them -> out [n, dim]. */
void mc_selector_reference_features(const mc_selector *s, int64_t first, int64_t n, float *out);

/* features [n, dim] -> tasks [n] (-1: no task), scores [n] (may be NULL): the smallest error of a task over that task's
 * threshold (with no task yet: infinity). errors [n, 1 + tasks] (may be NULL): of number 0 (NaN when there is none) and of
 * each task. whole_batch: the published code's way: one choice for all n, by the mean error. */
moeclip_code mc_selector_choose(mc_compute *cp, mc_selector *s, const float *features, int64_t n, bool whole_batch,
                                int32_t *tasks, double *scores, float *errors, mc_arena *arena, moeclip_error *err);

/* Autoencoders under "selector.{i}.encoder.0.weight" ... as published (i = 0: reference, i = t + 1: task t), Gaussians under
 * "selector.{i}.mean" ..., thresholds as "selector.thresholds" [tasks] float64, kept reference features as "selector.reference". */
moeclip_code mc_selector_store(const mc_selector *s, moeclip_tensors *out, moeclip_error *err);
/* The autoencoders alone, under prefix + "{i}.encoder.0.weight" ... copy 0: the selector must outlive `out`. */
moeclip_code mc_selector_store_autoencoders(const mc_selector *s, const char *prefix, int copy, moeclip_tensors *out,
                                            moeclip_error *err);
/* Reads one of those and adds it as that of `task`, as mc_selector_add does. */
moeclip_code mc_selector_load_autoencoder(mc_selector *s, const moeclip_tensors *in, const char *prefix, int task,
                                          double threshold, moeclip_error *err);
/* kind, dim and hidden are those the collection must agree with. */
moeclip_code mc_selector_load(const moeclip_tensors *in, mc_selector_kind kind, int64_t dim, int64_t hidden, int n_tasks,
                              mc_selector **out, moeclip_error *err);

#endif
