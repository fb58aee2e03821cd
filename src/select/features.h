/* What the files of select/ share. */
#ifndef MC_SELECT_FEATURES_H
#define MC_SELECT_FEATURES_H

#include "compute/compute.h"
#include "select/selector.h"

/* x[i] = 1 / (1 + exp(-x[i])). */
void mc_sigmoid(mc_compute *cp, float *x, int64_t n);

/* The gradients of the mean squared error over x [n, dim], into the parameters' grad (written, not added); the parameters must be
 * unfrozen. *loss: the mean over all n * dim. */
moeclip_code mc_autoencoder_gradients(mc_compute *cp, mc_autoencoder *a, const float *x, int64_t n, double *loss,
                                      mc_arena *arena, moeclip_error *err);

#endif
