/*
 * The learner: teaches a model one domain (task) after another, and classifies with all of them.
 *
 *   moeclip_learner_create -> moeclip_learner_learn (once a domain) -> moeclip_learner_save
 *   moeclip_learner_load -> moeclip_learner_classify, moeclip_learner_evaluate
 *
 * The model must outlive the learner. A state file belongs to one backbone and is refused with another.
 */
#ifndef MOECLIP_LEARNER_H
#define MOECLIP_LEARNER_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/dataset.h"
#include "moeclip/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum moeclip_mode {
  MOECLIP_MODE_MOE = 0,  /* mixture-of-experts adapters: the paper's method */
  MOECLIP_MODE_FINETUNE, /* all of CLIP's weights, task after task: the baseline that forgets */
  MOECLIP_MODE_ANALYTIC, /* ridge regression on the frozen CLIP's features, fused with zero-shot: one pass, no training */
  MOECLIP_MODE_ZERO_SHOT, /* nothing is learned: the baseline that forgets nothing */
  MOECLIP_MODE_LINEAR_PROBE, /* logistic regression on the frozen CLIP's features, one a task: a baseline */
  MOECLIP_MODE_WISE_FT, /* fine-tuning, answered with the average of those weights and the untouched ones: a baseline */
  MOECLIP_MODE_LWF,     /* fine-tuning with distillation from the weights before the task: a baseline */
  MOECLIP_MODE_ZSCL,    /* fine-tuning held near the untouched CLIP on a reference set, and averaged along the way: a baseline.
                           Needs moeclip_learner_learn_reference before the first task */
  MOECLIP_MODE_ICARL,   /* fine-tuning with kept pictures of earlier classes, answered by the nearest of their means */
  MOECLIP_MODE_JOINT    /* fine-tuning, for each task anew, on the pictures of all tasks so far: the upper bound. Needs
                           moeclip_task_options.earlier */
} moeclip_mode;
/* "moe", "finetune" ...: as --method takes it and a state holds it; and one line for people. NULL: there is no such mode. Modes
 * are numbered from 0 without a gap. */
MOECLIP_API const char *moeclip_mode_name(moeclip_mode mode);
MOECLIP_API const char *moeclip_mode_title(moeclip_mode mode);
/* 1, and *mode is the one of that name; 0: there is none. */
MOECLIP_API int moeclip_mode_find(const char *name, moeclip_mode *mode);

typedef enum moeclip_selection {
  MOECLIP_SELECT_PER_IMAGE = 0,
  MOECLIP_SELECT_PER_BATCH /* the published code's: one choice for a whole batch, by its mean error */
} moeclip_selection;

/* What the task selector models a domain with (docs/SELECTORS.md). */
typedef enum moeclip_selector_kind {
  MOECLIP_SELECTOR_AUTO = 0,    /* of a new learner: autoencoders with AlexNet, else Gaussians */
  MOECLIP_SELECTOR_AUTOENCODER, /* the paper's: an autoencoder a task, on AlexNet's features or on the image tower's tokens */
  MOECLIP_SELECTOR_GAUSSIAN,    /* one Gaussian a task in the image tower's feature space */
  MOECLIP_SELECTOR_PROTOTYPES   /* a mean for each class, one covariance a task */
} moeclip_selector_kind;
/* "auto", "autoencoder" ...: as --selector takes it and a state holds it. NULL: there is no such kind. */
MOECLIP_API const char *moeclip_selector_kind_name(moeclip_selector_kind kind);

/* How the analytic mode widens features. */
typedef enum moeclip_ridge_form {
  MOECLIP_RIDGE_PROJECTION = 0, /* random projection and ReLU: its size does not depend on the number of pictures */
  MOECLIP_RIDGE_KERNEL          /* Gaussian kernel: keeps every picture's feature, and grows with them */
} moeclip_ridge_form;

/* Chosen once, when a learner is created; kept in its state. */
typedef struct moeclip_learner_options {
  moeclip_mode mode;
  int n_experts;        /* of each block at the start: 22; more are added when too few are left to train */
  int top_k;            /* 2 */
  int bottleneck;       /* 64 */
  int freeze_per_task;  /* most used experts of each block that a finished task freezes: 2 */
  int text_adapters;    /* 1; 0: adapters in the image tower alone */
  int shared_router;    /* 0; 1: one router for all tasks (the paper's ablation); it knows the experts of the start alone */
  int use_selector;     /* 1; 0: no task selector: a data set's pictures go to the task of its name, when evaluating; nothing
                           but a task that the caller names is used to classify */
  int selector_hidden;  /* width of the selector's autoencoders, or the most directions of its Gaussians: 100 */
  int selector_layer;   /* block of the image tower whose tokens the selector sees, from 0; the number of blocks: what the tower
                           makes of a picture in the end; -1: chosen by kind and depth */
  const char *alexnet;  /* torchvision's AlexNet weights for the selector, as in the paper; NULL: the image tower's tokens */
  uint64_t seed;        /* 0 */
  moeclip_selector_kind selector; /* MOECLIP_SELECTOR_AUTO; a learner's own options say which one that became */
  int dynamic_experts;    /* 0; 1: starts with top_k experts whatever n_experts says, freezes all that a task trained, and adds one at a
                             time when those that there are do not suffice for a task (docs/SELECTORS.md). Not with shared_router */
  double dynamic_margin;  /* 0.02: the share of the training loss that one more expert must save in a probe to be added */
  int64_t dynamic_probe;  /* 40: steps of a probe */
  /* Of the analytic mode alone (docs/METHODS.md). */
  moeclip_ridge_form ridge_form; /* MOECLIP_RIDGE_PROJECTION */
  int ridge_hidden;     /* width of the projection: 2048. Memory and the state file hold its square */
  double ridge;         /* lambda, above 0; 0: 0.1 for the projection, 0.001 for the kernel */
  double ridge_gamma;   /* of the kernel exp(-gamma |x - y|^2): 1 */
  double ridge_fusion;  /* beta: weight of the regression in an answer, zero-shot has the rest: 0.9 */
  int64_t ridge_pictures; /* kernel: the most pictures that it may keep: 8192. Learning takes 8 bytes times its square */
  /* Of the baselines of that name. */
  double probe_l2;      /* linear probe: half of it times the weights' squares is added to the sum of the losses; above 0: 0.003 */
  double wise_alpha;    /* WiSE-FT: the fine-tuned weights' share of the average, from 0 to 1: 0.5 */
  double lwf_weight;    /* LwF: of the distillation beside the loss on the labels: 1 */
  double lwf_temperature; /* LwF: 2 */
  double zscl_weight;   /* ZSCL: of the distillation on the reference set beside the loss on the labels: 1 */
  double zscl_temperature; /* ZSCL: 2 */
  int64_t zscl_every;   /* ZSCL: weights are averaged every so many steps: 100; 0: never */
  int64_t zscl_pictures; /* ZSCL: of the reference set, the most that the state keeps, 8-bit at the model's size: 1024 */
  int64_t exemplars;    /* iCaRL: pictures that the state keeps in all, divided over the classes, kept in the same way: 2000 */
  double icarl_weight;  /* iCaRL: of the distillation of earlier classes beside the loss on the labels: 1 */
  double icarl_temperature; /* iCaRL: 2 */
} moeclip_learner_options;
MOECLIP_API void moeclip_learner_options_defaults(moeclip_learner_options *options);
/* 1: a learner of these options has a use for moeclip_learner_learn_reference. */
MOECLIP_API int moeclip_uses_reference(const moeclip_learner_options *options);

typedef struct moeclip_learner moeclip_learner;

MOECLIP_API moeclip_code moeclip_learner_create(moeclip_model *model, const moeclip_learner_options *options,
                                                moeclip_learner **out, moeclip_error *err);
/* alexnet: as in the options, for a state whose selector was made with it; else NULL. */
MOECLIP_API moeclip_code moeclip_learner_load(moeclip_model *model, const char *path, const char *alexnet,
                                              moeclip_learner **out, moeclip_error *err);
MOECLIP_API moeclip_code moeclip_learner_save(moeclip_learner *learner, const char *path, moeclip_error *err);
MOECLIP_API void moeclip_learner_destroy(moeclip_learner *learner);

/* What a run tells while it works. `phase` is "selector", "reference" (ZSCL), "probe" (dynamic experts), "train",
 * "exemplars" (iCaRL) or "evaluate". */
typedef struct moeclip_progress {
  const char *phase;
  const char *task;
  int64_t step, n_steps;       /* steps done, of how many */
  int64_t images;              /* pictures handled in this phase */
  double loss;                 /* of the last step; NaN where there is none */
  double learning_rate;
  double seconds;              /* since the phase began */
  double waited_seconds;       /* of those, how long the compute waited for pictures */
} moeclip_progress;

/* Both are called from the caller's own thread. progress: return non-zero to stop (MOECLIP_ERROR_CANCELLED); a checkpoint is
 * written first where there is one. broken: a picture that could not be read and is left out. */
typedef struct moeclip_callbacks {
  int (*progress)(void *context, const moeclip_progress *progress);
  void (*broken)(void *context, const char *item, const char *message);
  void *context;
} moeclip_callbacks;

typedef struct moeclip_task_options {
  int64_t iterations;        /* 1000 (then one more, as published) */
  int64_t epochs;            /* 0; else so many passes over the training pictures, exactly, in place of `iterations` */
  int batch;                 /* 64 */
  double learning_rate;      /* 1e-3 */
  double weight_decay;       /* 0 */
  double label_smoothing;    /* 0.2 */
  int64_t warmup;            /* steps; -1: 100, at most a fifth of the iterations */
  double dropout;            /* 0.1, of the experts' hidden units */
  double balance;            /* 0: coefficient of the load-balance term, which the published code computes (0.01) and leaves out of
                                its loss */
  int shots_augment_once;    /* few-shot: each picture's crop is drawn once and kept */
  const char *const *templates; /* prompt templates with {} for the class name; NULL: "a photo of a {}." The first trains; all
                                   are averaged when classifying */
  size_t n_templates;
  int64_t selector_iterations; /* 300; for Gaussians the most batches of training pictures they are fitted to */
  double selector_learning_rate; /* 0.01 */
  double threshold;          /* of the selector; NaN: calibrated on training pictures held out for that */
  size_t kept_bytes;         /* memory for the activations of one micro-batch; 0: automatic */
  int loader_threads;        /* decoding threads; 0: as many as compute threads */
  const char *checkpoint;    /* file to write the unfinished task to now and then, and to resume from when it is there;
                                NULL: none. Removed by the caller after it has saved the finished state. */
  double checkpoint_seconds; /* how often: 60 */
  double selector_false_alarms; /* share of a task's own pictures that its selector may turn away, above 0 and below 1: the threshold
                                is set so that this share of the held-out training pictures lies above it; 0: with a margin beyond
                                the 1 % (docs/SELECTORS.md). Not with `threshold` */
  const moeclip_dataset *const *earlier; /* [n_earlier] joint mode: the data sets of the earlier tasks, found by name */
  size_t n_earlier;
} moeclip_task_options;
MOECLIP_API void moeclip_task_options_defaults(moeclip_task_options *options);

/* Numbers (float32) that came with a task. */
typedef struct moeclip_task_parameters {
  int n_experts;    /* new ones in every block */
  int64_t experts;  /* in all blocks of both towers */
  int64_t router;   /* of all blocks; half of them are for training alone (the noise) */
  int64_t selector; /* the task's model in the selector */
} moeclip_task_parameters;

typedef struct moeclip_learn_report {
  int task;                 /* number of the new task */
  int64_t iterations, images, broken;
  int64_t trainable;        /* numbers trained */
  double final_loss;        /* mean of the last tenth */
  double seconds, waited_seconds, selector_seconds;
  double threshold;         /* the selector's */
  int resumed;              /* went on from a checkpoint */
  double exchange_seconds;  /* of `seconds`: in exchanges with other ranks, waiting for them included; 0: alone */
  int64_t exchange_bytes;   /* gradients that are summed over the ranks in a step; 0: alone */
  int exchange_parts;       /* in so many messages */
  double probe_seconds;     /* before `seconds`: finding out how many experts the task needs; 0 unless they are dynamic */
  moeclip_task_parameters parameters; /* that came with the task */
} moeclip_learn_report;

/* Learns the train split of a data set as the next task. On any failure the learner is as it was before. */
MOECLIP_API moeclip_code moeclip_learner_learn(moeclip_learner *learner, const moeclip_dataset *dataset,
                                               const moeclip_task_options *options, const moeclip_callbacks *callbacks,
                                               moeclip_learn_report *report, moeclip_error *err);

/* The reference set: pictures of no task. Before the first task. The selector's "number 0" (MOECLIP_MODE_MOE, optional), or
 * what ZSCL is held to: its sentences are then the names of the set's classes in all of options->templates. Others have no use for one. */
MOECLIP_API moeclip_code moeclip_learner_learn_reference(moeclip_learner *learner, const moeclip_dataset *dataset,
                                                         const moeclip_task_options *options,
                                                         const moeclip_callbacks *callbacks, moeclip_learn_report *report,
                                                         moeclip_error *err);

MOECLIP_API int moeclip_learner_has_reference(const moeclip_learner *learner);

/* Tasks learned so far. */
typedef struct moeclip_task_info {
  const char *name;
  size_t n_classes;
  const char *const *classes;
  size_t n_templates;
  const char *const *templates;
  int64_t iterations, images; /* steps it was trained for; pictures in its train split */
  double threshold;           /* of its selector; NaN without one */
} moeclip_task_info;
MOECLIP_API int moeclip_learner_tasks(const moeclip_learner *learner);
MOECLIP_API moeclip_code moeclip_learner_task(const moeclip_learner *learner, int task, moeclip_task_info *out,
                                              moeclip_error *err);
MOECLIP_API void moeclip_learner_get_options(const moeclip_learner *learner, moeclip_learner_options *out);

/* How the last learned task used the experts of one block: counts [n] of its samples (pictures and texts) that gave each expert a
 * gate above 0, frozen [n] (1: for good). n_out is the arrays' room; *n becomes the number of experts, which may be more. text: of
 * the text tower. Fails for a block that is not there, and when fine-tuning. */
MOECLIP_API moeclip_code moeclip_learner_expert_use(const moeclip_learner *learner, int text, int block, uint64_t *counts,
                                                    uint8_t *frozen, size_t n_out, size_t *n, moeclip_error *err);
/* What came with a task. */
MOECLIP_API moeclip_code moeclip_learner_parameters(const moeclip_learner *learner, int task, moeclip_task_parameters *out,
                                                    moeclip_error *err);

/* Forgets the weights of experts that no answer depends on (docs/SELECTORS.md): a state saved afterwards is smaller, and all answers are
 * the same, bit for bit (but with evaluate's gate_noise, which chooses at random). Later tasks find fresh experts in their place. *n (may
 * be NULL): how many were forgotten. Fails before the first task, and when fine-tuning. */
MOECLIP_API moeclip_code moeclip_learner_prune(moeclip_learner *learner, int64_t *n, moeclip_error *err);

/* Blocks with adapters in a tower. */
MOECLIP_API int moeclip_learner_blocks(const moeclip_learner *learner, int text);

/* Who answers for a picture. */
enum { MOECLIP_TASK_AUTO = -2, MOECLIP_TASK_NONE = -1 /* the untouched CLIP */ };

typedef struct moeclip_answer {
  int task; /* that answered (analytic: that taught the first label); MOECLIP_TASK_NONE: zero-shot by the untouched CLIP */
  int n_labels;        /* labels given back, the most probable first */
  int *label;          /* [n_labels] index into the labels asked for (labels NULL: into the answering task's classes, or into
                          all tasks' classes in order of task when the untouched CLIP answers, and, unless a task was named,
                          always in the analytic mode, where all tasks' classes are candidates) */
  const char **name;   /* [n_labels] */
  float *probability;  /* [n_labels] */
  double score;        /* the selector's error for the nearest task, over that task's threshold: above 1, it was turned away */
} moeclip_answer;

typedef struct moeclip_classify_options {
  const char *const *labels; /* the candidates; NULL: the classes of the task that answers */
  size_t n_labels;
  const char *const *templates; /* for `labels`; NULL: "a photo of a {}." */
  size_t n_templates;
  int task;                  /* MOECLIP_TASK_AUTO, a task's number, or MOECLIP_TASK_NONE */
  int top;                   /* how many labels to give back: 5 */
  double logit_scale;        /* what cosines are multiplied with before the softmax; 0: the model's own (the published test code
                                has 100, which is also where CLIP's training ended) */
  moeclip_selection selection;
} moeclip_classify_options;
MOECLIP_API void moeclip_classify_options_defaults(moeclip_classify_options *options);

/* answers [n]: cleared with moeclip_answers_clear. With no task learned yet, labels are needed. */
MOECLIP_API moeclip_code moeclip_learner_classify(moeclip_learner *learner, const moeclip_image *images, int n,
                                                  const moeclip_classify_options *options, moeclip_answer *answers,
                                                  moeclip_error *err);
MOECLIP_API void moeclip_answers_clear(moeclip_answer *answers, int n);

/* Keeps the features of the label lists that were asked for last, of at most max_bytes in all, so that a list that comes again
 * need not be encoded again; answers stay the same, bit for bit. 0, the default: keeps none. */
MOECLIP_API void moeclip_learner_keep_labels(moeclip_learner *learner, size_t max_bytes);

/* Why an answer came about. */
typedef struct moeclip_explanation {
  int n_tasks;             /* learned tasks; 0 when the learner has no selector or the task was named by the caller */
  double *error;           /* [n_tasks] how far off the selector's model of each task finds the picture (docs/SELECTORS.md) */
  double *threshold;       /* [n_tasks] the error up to which the task takes a picture */
  double reference_error;  /* of the reference set's model; NaN where there is none */
  int n_blocks, n_experts; /* blocks of the image tower with adapters; experts of a block (the most that any has) */
  float *gate;             /* [n_blocks, n_experts] share of each expert in each block, 0: not chosen; all 0 for the untouched CLIP */
} moeclip_explanation;

/* As moeclip_learner_classify, and why: explanations [n], cleared with moeclip_explanations_clear. */
MOECLIP_API moeclip_code moeclip_learner_explain(moeclip_learner *learner, const moeclip_image *images, int n,
                                                 const moeclip_classify_options *options, moeclip_answer *answers,
                                                 moeclip_explanation *explanations, moeclip_error *err);
MOECLIP_API void moeclip_explanations_clear(moeclip_explanation *explanations, int n);

/*
 * Features in the space where a picture and a text that belong together are close. A picture of a learned task is encoded through that
 * task's adapters, and is to be compared with texts encoded for the same task.
 * task: MOECLIP_TASK_AUTO (the selector decides, picture by picture), MOECLIP_TASK_NONE, or a task's number.
 * tasks [n] (may be NULL): who encoded each picture. scores [n] (may be NULL): as moeclip_answer.score. out: float [n, embed], each
 * of length 1.
 */
MOECLIP_API moeclip_code moeclip_learner_encode_images(moeclip_learner *learner, const moeclip_image *images, int n, int task,
                                                       int *tasks, double *scores, float *out, moeclip_error *err);
/* texts: n UTF-8 strings, encoded as they are (no template). task: MOECLIP_TASK_NONE or a task's number. */
MOECLIP_API moeclip_code moeclip_learner_encode_texts(moeclip_learner *learner, const char *const *texts, int n, int task,
                                                      float *out, moeclip_error *err);

/* Candidates of one data set, with its own prompts. */
typedef struct moeclip_label_group {
  const char *const *labels;
  size_t n_labels;
  const char *const *templates; /* NULL: "a photo of a {}." */
  size_t n_templates;
} moeclip_label_group;

typedef struct moeclip_evaluate_options {
  int task;                  /* MOECLIP_TASK_AUTO: the selector decides (a learner without one: by the data set's name); else everything goes to that task, or to none */
  moeclip_selection selection;
  int batch;                 /* 128 */
  int64_t max_images;        /* 0: the whole test split */
  int gate_noise;            /* 0; 1: the routers' noise stays on, as in the published class-incremental test */
  int training_crop;         /* 0; 1: random crops as in training, as in the published class-incremental test */
  uint64_t seed;             /* of both; 0 */
  const char *const *templates; /* NULL: those of the learned task of the data set's name, else "a photo of a {}." */
  size_t n_templates;
  int loader_threads;
  const moeclip_label_group *among; /* [n_among] NULL: a picture is classified over its data set's own classes. Else over the
                                       union of all of these (a name that comes again counts once, with the prompts of its first
                                       group), which must have all of the data set's classes: the cross-domain setting X-TAIL */
  size_t n_among;
  int within_task; /* 0; 1, with `among`: a picture that the selector gives to a task is classified over that task's classes, as
                      moeclip_learner_classify does without labels */
  int no_labels;   /* 0; 1: as moeclip_learner_classify without labels: among the classes of all tasks, with their prompts, and within_task.
                      Neither `among` nor `templates` goes with it */
} moeclip_evaluate_options;
MOECLIP_API void moeclip_evaluate_options_defaults(moeclip_evaluate_options *options);

typedef struct moeclip_evaluation {
  int64_t n, n_right, n_broken;
  double accuracy;           /* n_right / n */
  int n_routes;              /* tasks + 1 */
  int64_t *routed;           /* [n_routes]: pictures answered by the untouched CLIP, then by each task */
  int64_t *routed_right;     /* [n_routes]: of those, how many rightly */
  size_t n_classes;
  int64_t *class_n, *class_right; /* [n_classes] */
  double seconds;
} moeclip_evaluation;

/* Accuracy on the test split of a data set, over its own classes. Cleared with moeclip_evaluation_clear. */
MOECLIP_API moeclip_code moeclip_learner_evaluate(moeclip_learner *learner, const moeclip_dataset *dataset,
                                                  const moeclip_evaluate_options *options,
                                                  const moeclip_callbacks *callbacks, moeclip_evaluation *out,
                                                  moeclip_error *err);
MOECLIP_API void moeclip_evaluation_clear(moeclip_evaluation *e);

#ifdef __cplusplus
}
#endif
#endif
