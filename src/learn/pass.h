/* One pass over pictures, each once and prepared as for classifying: those that a method keeps (method_zscl.c, method_icarl.c). */
#ifndef MC_LEARN_PASS_H
#define MC_LEARN_PASS_H

#include "learn/learner.h"
#include "train/shared_loader.h"

typedef struct mc_pass {
  const mc_image_source *source;
  int batch;
  int n_threads; /* that decode; 0: as many as compute */
  const moeclip_callbacks *callbacks;
  bool tells_broken;       /* the callbacks hear of broken pictures, too */
  const char *phase, *name; /* for progress */
} mc_pass;

/* This rank decodes its share of each batch; visit is called on all ranks, and what it returns is the same on all. *n_images: of
 * all batches that were visited; *n_broken (may be NULL): pictures that could not be read. Collective. */
moeclip_code mc_pass_over(moeclip_learner *l, const mc_pass *p,
                          moeclip_code (*visit)(void *context, const mc_shared_batch *batch, moeclip_error *err), void *context,
                          int64_t *n_images, int64_t *n_broken, moeclip_error *err);

#endif
