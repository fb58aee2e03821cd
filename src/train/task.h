/* Training the parameters of one task: batches -> steps, with checkpoints in between. */
#ifndef MC_TRAIN_TASK_H
#define MC_TRAIN_TASK_H

#include "data/loader.h"
#include "model/model.h"
#include "train/optimizer.h"
#include "train/step.h"
#include "train/watch.h"

/* One step, as whoever decides what a step is sees it. */
typedef struct mc_training_step {
  moeclip_model *model;        /* compute, arena */
  mc_clip *clip;
  mc_adapters *adapters;       /* or NULL */
  int64_t number;              /* from 0 */
  double learning_rate;
  int64_t n;                   /* pictures of this rank's part of the batch; may be 0 */
  const float *images;         /* [n, 3, size, size], normalised */
  const int32_t *labels;       /* [n] */
  const size_t *index;         /* [n] number of the picture in the source */
  int64_t n_all;               /* pictures of the whole batch: at least 1 */
  const int64_t *begin;        /* [ranks + 1]: of these, rank r has those from begin[r] to begin[r + 1] */
  const int32_t *texts;        /* [n_texts, context] the classes in the template; NULL for one pass */
  int64_t n_texts;
  mc_step_options *options;
  mc_adamw *optimizer;
} mc_training_step;

/* The usual one: the classification loss, its gradients, the optimizer's step. */
moeclip_code mc_gradient_step(mc_training_step *s, double *loss, moeclip_error *err);

typedef struct mc_task_training {
  moeclip_model *model;                /* compute, arena, tokenizer */
  mc_clip *clip;                       /* whose towers are used: the model's, or the copy being fine-tuned */
  mc_adapters *adapters;               /* NULL: all of clip's parameters are trained */
  int router, top_k;
  int task;                            /* its number: random numbers are drawn by it */
  const char *name;                    /* for messages */
  const char *phase;                   /* what the progress is called; NULL: "train" */
  const char *const *classes;
  size_t n_classes;
  const char *template;
  const moeclip_task_options *options;
  uint64_t seed;
  mc_image_source pictures;
  const int32_t *labels;               /* [pictures.count] */
  const moeclip_callbacks *callbacks;
  bool one_pass; /* every picture once, in order, as it is when classifying; nothing for an optimizer to train */
  moeclip_code (*step)(void *context, mc_training_step *s, double *loss, moeclip_error *err); /* NULL: mc_gradient_step */
  /* Writes a checkpoint (called by every rank): the caller stores everything it needs to stand here again after `step` steps. */
  moeclip_code (*checkpoint)(void *context, int64_t step, const mc_adamw *optimizer, moeclip_error *err);
  void *context;
  const moeclip_tensors *resume;       /* a checkpoint's tensors, for the optimizer's moments; NULL: from the start */
  int64_t first_step;                  /* of the resumed run */
} mc_task_training;

/* Trains whatever is unfrozen in adapters (or clip). Fills iterations, images, broken, trainable, losses and times. */
moeclip_code mc_train_task(const mc_task_training *t, moeclip_learn_report *report, moeclip_error *err);

/* Optimizer steps of a task with n pictures: the iterations plus one (as published), or whole epochs. */
int64_t mc_task_steps(const moeclip_task_options *o, size_t n);

/* Steps of one pass. */
int64_t mc_one_pass_steps(const moeclip_task_options *o, size_t n);

/* The warm-up that the options mean: their own, or 100 steps, at most a fifth of the run. */
int64_t mc_task_warmup(const moeclip_task_options *o);

#endif
