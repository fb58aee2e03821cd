/*
 * The load-balance term of a mixture of experts: coefficient * (cv^2(importance) + cv^2(load)) for each block, where
 * cv^2 is the squared coefficient of variation over the experts, importance_e the sum of expert e's gates over the
 * batch, and load_e the sum of the probabilities that e is among the top k if its noise were drawn again (Shazeer et
 * al. 2017, appendix A).
 */
#ifndef MC_MODEL_BALANCE_H
#define MC_MODEL_BALANCE_H

#include <stdbool.h>

/* Var(x) / (mean(x)^2 + 1e-10) with the unbiased variance; 0 for one value. dx [n] (may be NULL): its gradient. */
double mc_cv_squared(const double *x, int n, double *dx);

/* One sample's router, k < n: clean logits, raw spread (before the softplus) and noise of n experts. */
typedef struct mc_noisy_logits {
  int n, k;
  const float *clean, *spread, *eps;
} mc_noisy_logits;

/* Adds each expert's probability to load [n]. */
void mc_load_forward(const mc_noisy_logits *x, double *load);
/* dload [n] -> added to dclean [n] and dspread [n]. */
void mc_load_backward(const mc_noisy_logits *x, const double *dload, float *dclean, float *dspread);

#endif
