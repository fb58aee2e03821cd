/*
 * Gradients summed over the ranks. The parameters lie in one buffer in the order in which backward ends with them: the image tower
 * from its last block down, the text tower, the rest. The buffer is cut into buckets of at least a few MiB; each goes out as soon as
 * backward has ended with its last block, and travels while the next blocks are computed. Behind a bucket's gradients lies a number
 * for each parameter: on how many ranks it was touched.
 */
#ifndef MC_TRAIN_REDUCE_H
#define MC_TRAIN_REDUCE_H

#include "comm/comm.h"
#include "model/encode.h"

typedef struct mc_reduction mc_reduction;

/* Of all parameters of adapters (or clip, when that is NULL) that have a gradient. n_texts: numbers of the texts' feature gradients,
 * which are summed too. Collective; comm must not be NULL. */
moeclip_code mc_reduction_create(moeclip_comm *comm, mc_adapters *adapters, mc_clip *clip, int64_t n_texts, mc_reduction **out,
                                 moeclip_error *err);
void mc_reduction_destroy(mc_reduction *r);

/* For mc_encoder.done: begins what is complete when backward has ended with `block`. */
mc_block_done mc_reduction_hook(mc_reduction *r);
/* The rest, on every rank and whatever it has failed at; then gradients and flags are those of all ranks. */
void mc_reduction_finish(mc_reduction *r);

/* The texts' feature gradients: begun before the first bucket, on every rank. */
void mc_reduction_start_texts(mc_reduction *r, const float *dfeatures);
const float *mc_reduction_wait_texts(mc_reduction *r);

/* Makes the experts' counts those of all ranks. Collective, cannot fail. */
void mc_reduction_counts(mc_reduction *r);
/* Fails everywhere when some rank's parameters are not those of rank 0. Collective. */
moeclip_code mc_reduction_check(mc_reduction *r, moeclip_error *err);

/* Bytes that a rank sends and receives for one step, and buckets that they go in (to know what a network is asked for). */
int64_t mc_reduction_bytes(const mc_reduction *r);
int mc_reduction_buckets(const mc_reduction *r);

#endif
