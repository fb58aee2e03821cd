/* Herding (Rebuffi et al. 2017): so many rows of x whose running mean stays as near as can be to the mean of all. */
#ifndef MC_LEARN_HERDING_H
#define MC_LEARN_HERDING_H

#include "base/status.h"

/* rows [n_rows] of x [?, d]: chosen [n_chosen] becomes the first n_chosen of them in the order of herding (places in `rows`);
 * of rows that are as good as each other the first. n_chosen <= n_rows. */
moeclip_code mc_herd(const float *x, int64_t d, const int64_t *rows, int64_t n_rows, int64_t n_chosen, int64_t *chosen,
                     moeclip_error *err);

#endif
