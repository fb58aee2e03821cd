/*
 * The published system's released checkpoints, and a learner: each becomes the other.
 *
 * A release is a folder with two files a data set. X.pth is the whole model after data set X was learned: CLIP's
 * weights and in every block of both towers adaptmlp_list.{e} and, for each task of the sequence, router_list.{t} and
 * w_noise_list.{t}. X_autochooser.pth is the list of autoencoders: number 0 of the reference set, number t + 1 of task
 * t. Neither says what the tasks are called, which classes and prompts they have, or the selector's threshold.
 */
#ifndef MOECLIP_PUBLISHED_H
#define MOECLIP_PUBLISHED_H

#include "moeclip/learner.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_published_task {
  const char *name;
  const char *const *classes; /* in the order of the labels */
  size_t n_classes;
  const char *const *templates; /* with {} for the class name; NULL: "a photo of a {}." */
  size_t n_templates;
  double threshold;           /* of the selector; 0: that of the options */
} moeclip_published_task;

typedef struct moeclip_published_options {
  const char *autochooser;    /* X_autochooser.pth; needed */
  const char *alexnet;        /* torchvision's AlexNet weights, which the published autoencoders look at. NULL: the
                                 image tower's tokens, for autoencoders that moeclip made */
  int selector_layer;         /* without AlexNet: the block whose tokens they look at; -1: chosen by depth */
  const moeclip_published_task *tasks; /* what was learned, in the order of learning */
  size_t n_tasks;             /* 1 to the number of routers in the file */
  double threshold;           /* 0.0655, the published full-shot one (few-shot: 0.06) */
} moeclip_published_options;
MOECLIP_API void moeclip_published_options_defaults(moeclip_published_options *options);

/*
 * A learner that knows tasks 0 to n_tasks - 1 with the routers, experts and autoencoders of the files (any container).
 * Routers and autoencoders of later tasks are left out: before a task was learned, they are as they were made.
 * CLIP's weights in the file must be those of `model`, up to float16's rounding; else MOECLIP_ERROR_MISMATCH, naming a
 * tensor that differs. The file itself can be loaded as the model.
 *
 * The files do not say which experts were frozen or how often each was chosen. All experts are taken for frozen: what the
 * learned tasks rely on then never changes, and a further task gets fresh experts. The counts are 0.
 */
MOECLIP_API moeclip_code moeclip_learner_from_published(moeclip_model *model, const char *path,
                                                        const moeclip_published_options *options, moeclip_learner **out,
                                                        moeclip_error *err);

/*
 * The other way: `path` gets the model, `autochooser` (NULL: not wanted) the autoencoders, both as PyTorch zip files for
 * torch.load(weights_only=True), with the published names, those of tensors that nothing uses among them. There are as
 * many routers as tasks. Names, classes, prompts and thresholds of the tasks have no place in the files.
 *
 * MOECLIP_ERROR_UNSUPPORTED for what the published system cannot express: fine-tuning, adapters in the image tower
 * alone, another activation than quick GELU, attention heads that are not 64 wide, another number of chosen experts than 2,
 * routers of different widths (a narrow one would have to be padded, and there is no padding that keeps an expert from being
 * chosen), and, for the autochooser, a learner without a reference set.
 */
MOECLIP_API moeclip_code moeclip_learner_to_published(moeclip_learner *learner, const char *path,
                                                      const char *autochooser, moeclip_error *err);

/* What a file of published names holds. All 0 when it holds nothing of the kind. */
typedef struct moeclip_published_info {
  int n_experts, n_routers, bottleneck; /* of the first block of the image tower */
  int n_learned;             /* routers that are not zero everywhere, which they are before their task */
  int n_autoencoders;        /* number 0 among them */
  int64_t features, hidden;  /* of the autoencoders: numbers that they look at, and width */
} moeclip_published_info;
MOECLIP_API void moeclip_published_look(const moeclip_tensors *file, moeclip_published_info *out);

#ifdef __cplusplus
}
#endif
#endif
