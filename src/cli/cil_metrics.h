/*
 * The measures of class-incremental learning, from R [steps, steps]: R[i][j] is the accuracy on the test pictures of
 * step j's classes after step i, of all classes seen so far; only j <= i is used. They equal those of the `continuum`
 * package, its sums' limits included, which leave some terms out that the papers have.
 */
#ifndef MC_CLI_CIL_METRICS_H
#define MC_CLI_CIL_METRICS_H

typedef struct mc_cil_measures {
  double accuracy_a;        /* mean of R[i][j] over all j <= i (Diaz-Rodriguez and Lomonaco 2018) */
  double forgetting;        /* eq. 3 of Chaudhry et al. 2018 */
  double backward_transfer; /* Lopez-Paz and Ranzato 2017 */
  double positive_backward_transfer, remembering;
  double forward_transfer;
} mc_cil_measures;

/* r [n_steps * stride], row i after step i. The measures of the first n_steps steps; with one step, forgetting and
 * transfers are 0. */
mc_cil_measures mc_cil_measure(const double *r, int n_steps, int stride);

#endif
