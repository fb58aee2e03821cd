/*
 * A method of continual learning, as a table of functions. The learner (learn.c, state.c, classify.c, evaluate.c) does what all
 * methods have in common: tasks and their names, the loop over batches, checkpoints and resuming, the state file with its
 * checksum, going back to what was known when a task fails, class features, cosines. The table says what is special. method.c
 * lists all.
 *
 * A task is learned like this; what is in brackets may be NULL in the table:
 *   the task's names are appended to l->tasks, or all knowledge is restored from a checkpoint;
 *   [begin_task];
 *   step for each batch (NULL: the classification loss and AdamW on whatever parameters are trainable), now and then store;
 *   end_task, also after a failure.
 *
 * What a further method may want, and where it has its place:
 *   a copy of earlier weights        begin_task makes it (mc_tuned_copy); l->own or run->scratch holds it; end_task frees it. A checkpoint
 *                                    has it only if `store` puts it there, which it must, as the weights go on changing
 *   another or a further loss        step; it may call mc_gradient_step for the usual part, and do more after it (weight averaging)
 *   exemplars, all tasks at once     begin_task puts another mc_image_source (and labels, and classes) into the run
 *                                    (rehearsal.h); exemplars themselves belong to l->own, and to the state by `store`; all
 *                                    pictures of earlier tasks come from the caller's data sets (options->earlier)
 *   a reference set                  reference, before the first task; what is kept of it belongs to l->own
 *   weights that answer and are not  l->own beside l->tuned (method_wise.c)
 *   those that are trained
 *   answers other than by cosine     score
 */
#ifndef MC_LEARN_METHOD_H
#define MC_LEARN_METHOD_H

#include <jansson.h>

#include "comm/comm.h"
#include "learn/learner.h"
#include "train/task.h"

/* A task on its way. */
typedef struct mc_learning {
  moeclip_learner *l;
  moeclip_comm *comm; /* NULL: alone */
  const moeclip_dataset *dataset;
  const moeclip_task_options *options;
  const moeclip_callbacks *callbacks;
  moeclip_tensors *resume;   /* the checkpoint's tensors, when there is one: the learner was restored from it */
  int64_t first_step;
  double selector_seconds;
  char *run_key;             /* what this run depends on: a checkpoint of another one is refused */
  /* What is trained on: the data set's train split, unless begin_task puts something else here. */
  mc_dataset_split split;
  mc_image_source pictures;
  const int32_t *labels;     /* [pictures.count], in 0..n_classes - 1 */
  const char *const *classes;
  size_t n_classes;
  const char *template;      /* the prompt that trains; NULL: the task's first */
  int32_t *set_labels;       /* the data set's; they stay, and are freed after all */
  const char **set_classes;
  void *scratch;             /* a method's own; end_task frees it */
} mc_learning;

/* The candidates for an answer, as a method sees them. */
typedef struct mc_choices {
  size_t n;
  const char *const *name; /* [n] */
  int64_t first_known; /* they are so many of all tasks' classes, counted in order of task, from this one on; -1: any names */
} mc_choices;

enum {
  MC_METHOD_ADAPTERS = 1, /* l->adapters: experts and routers */
  MC_METHOD_TUNED = 2,    /* l->tuned: a copy of CLIP's weights that changes */
  MC_METHOD_ONE_PASS = 4, /* each picture once, prepared as for classifying; nothing for an optimizer: `step` is needed */
  MC_METHOD_NO_PASS = 8   /* no picture at all: there are no steps */
};

typedef struct mc_method {
  moeclip_mode mode;
  const char *name;  /* on the command line and in the state */
  const char *title; /* one line for people */
  unsigned traits;

  /* The method's own options, all checked here: NULL where it has none. */
  moeclip_code (*check)(const moeclip_learner_options *o, moeclip_error *err);
  /* They go into the state's JSON text under the method's name, and come back from there (other: that object; NULL: missing).
   * *bad is set to the name of what is wrong. */
  json_t *(*options_to_json)(const moeclip_learner *l);
  void (*options_of_json)(const json_t *own, moeclip_learner_options *o, const char **bad);
  /* Task options that the result depends on, beside those of learn.c, into a text that a checkpoint's run_key ends with. */
  char *(*run_key)(const mc_learning *run);

  /* Knowledge. create: that of a learner which knows nothing (options are checked). clear: frees l->own. store adds the tensors
   * that l->adapters, l->tuned or l->own is made of, also in the middle of a task; restore is the way back into a learner whose
   * tasks are there already, and checks every size: the file is not to be trusted. */
  moeclip_code (*create)(moeclip_learner *l, moeclip_error *err);
  void (*clear)(moeclip_learner *l);
  moeclip_code (*store)(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err);
  moeclip_code (*restore)(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err);

  /* Learning. begin_task looks at run->resume: what a checkpoint holds must not be made again. end_task: done is true when all
   * steps were taken; it is called whenever begin_task was, also when that failed half-way. */
  moeclip_code (*begin_task)(mc_learning *run, moeclip_learn_report *report, moeclip_error *err);
  moeclip_code (*step)(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err);
  moeclip_code (*end_task)(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err);
  /* The reference set, before the first task. NULL: the method has no use for one. */
  moeclip_code (*reference)(moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *options,
                            const moeclip_callbacks *callbacks, moeclip_learn_report *report, moeclip_error *err);
  bool (*has_reference)(const moeclip_learner *l); /* where there is `reference` */

  /* Answering. NULL: cosines decide, and the selector (where there is one) who answers. features [n, embed] of pictures; scores
   * [n, c->n]: logit_scale times cosine comes in, the method's own scores go out, the highest wins; tasks [n]:
   * MOECLIP_TASK_NONE or the task that the caller named comes in, who answers goes out. Not called when the caller asks for the
   * untouched CLIP, nor before the first task. */
  moeclip_code (*score)(moeclip_learner *l, const float *features, int64_t n, const mc_choices *c, float *scores,
                        int32_t *tasks, moeclip_error *err);
  bool shares; /* scores are shares of belief, to be normalised by their sum (negative ones count as 0), rather than logits */
} mc_method;

/* The usual training of the run's task, for a method that wants some of it beforehand (learn.c). */
mc_task_training mc_training_of(mc_learning *run);

/* NULL when there is none. */
const mc_method *mc_method_of(moeclip_mode mode);
const mc_method *mc_method_by_name(const char *name);

extern const mc_method mc_method_moe, mc_method_finetune, mc_method_analytic, mc_method_zero_shot, mc_method_linear_probe,
    mc_method_wise_ft, mc_method_lwf, mc_method_zscl, mc_method_icarl, mc_method_joint;

#endif
