/* What stands between an expert's products: loops over the rows of one slot (one sample at one of its experts). For moe.c. */
#ifndef MC_MODEL_EXPERT_ROWS_H
#define MC_MODEL_EXPERT_ROWS_H

#include "model/moe.h"

/* hidden [n]: ReLU, times the gate. */
void mc_expert_activate(float *hidden, int64_t n, float gate);
/* Drops hidden units of one slot, and scales the others up. Drawn by (step, block, sample, expert), so that the same sample loses the same
 * units however the batch is cut into pieces. */
void mc_expert_drop(const mc_routing *g, int block, int64_t sample, int expert, int64_t n, float *hidden);
/* to [rows, d] += by * bias [d], each row. */
void mc_expert_add_bias(float *to, int64_t rows, int64_t d, const float *bias, float by);

/* <a, b>, both [rows, n]; a row in float32, the rows in double. */
double mc_expert_dot(const float *a, const float *b, int64_t rows, int64_t n);
/* sum [d] = the sum of x's rows [rows, d]. */
void mc_expert_sum_rows(const float *x, int64_t rows, int64_t d, float *sum);
/* back [n] = by * back where hidden > 0, which is where the ReLU passed a unit and dropout kept it; else 0. */
void mc_expert_deactivate(const float *hidden, int64_t n, float by, float *back);
/* to [n] += by * x. */
void mc_expert_add(float *to, const float *x, int64_t n, float by);

#endif
