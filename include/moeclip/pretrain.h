/* Training of all CLIP weights with the symmetric contrastive loss, from (picture, caption) pairs. */
#ifndef MOECLIP_PRETRAIN_H
#define MOECLIP_PRETRAIN_H

#include "moeclip/learner.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_pretrain_options {
  const char *pairs;       /* CSV of path,caption[,caption...]; or a folder of pictures with .txt files or class folders */
  const char *out;         /* the model file to write */
  const char *init;        /* a model to go on from; NULL: a new one of `sizes` */
  moeclip_model_sizes sizes; /* n_parameters is ignored */
  moeclip_dtype dtype;     /* of the file: MOECLIP_F32 or MOECLIP_F16 */
  int64_t epochs;          /* 30 */
  int batch;               /* 256 */
  double learning_rate;    /* 1e-3 */
  double weight_decay;     /* 0.1 */
  int64_t warmup;          /* steps: 200 */
  double scale_min;        /* smallest area of the random crop: 0.6 */
  double clip_norm;        /* of the gradient: 1.0; 0: off */
  uint64_t seed;
  int n_threads, loader_threads;
  size_t kept_bytes;
  const char *checkpoint;  /* as in moeclip_task_options; NULL: OUT.part */
  double checkpoint_seconds;
  moeclip_comm *comm;      /* NULL; else the processes that share the work (moeclip/comm.h) */
  moeclip_precision precision; /* as for a model */
} moeclip_pretrain_options;
MOECLIP_API void moeclip_pretrain_options_defaults(moeclip_pretrain_options *options);

MOECLIP_API moeclip_code moeclip_pretrain(const moeclip_pretrain_options *options, const moeclip_callbacks *callbacks,
                                          moeclip_learn_report *report, moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
