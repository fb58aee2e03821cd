/*
 * comm/: several processes that work as one. Includes base/ only; select/, train/ and learn/ include it. Knows nothing of what it
 * carries. The public half is moeclip/comm.h; NULL is one process everywhere.
 *
 * Sums of floats are made in the order of the ranks, whatever the network does: every rank receives all ranks' numbers of one slice
 * of the array, adds them up from rank 0 on, and sends the slice to all. (Of a short array each receives all, which takes one exchange
 * in place of two, and gives the same.) So the same number of ranks gives the same bits, and all
 * ranks have the same ones.
 */
#ifndef MC_COMM_COMM_H
#define MC_COMM_COMM_H

#include <stdbool.h>

#include "base/status.h"
#include "moeclip/comm.h"

/* Part `rank` of n things in `size` parts that differ by at most one: from share(n, rank) to share(n, rank + 1). */
static inline int64_t mc_comm_share(const moeclip_comm *c, int64_t n, int rank) {
  return n * rank / moeclip_comm_size(c);
}

/* own [n_bytes] of every rank -> all [size * n_bytes]. */
void mc_comm_gather(moeclip_comm *c, const void *own, size_t n_bytes, void *all);
/* all: rows of `each` bytes, of which this rank has written those from first[rank] to first[rank + 1]; the others' arrive.
 * first [size + 1]. */
void mc_comm_gather_rows(moeclip_comm *c, void *all, size_t each, const int64_t *first);
/* Sums over all ranks; the doubles in the order of the ranks. */
void mc_comm_total(moeclip_comm *c, int64_t *values, size_t n);
moeclip_code mc_comm_total_f64(moeclip_comm *c, double *values, size_t n, moeclip_error *err);
/* moeclip_comm_agree, and the sum of one value, in one exchange. */
moeclip_code mc_comm_agree_total(moeclip_comm *c, moeclip_code code, double *value, moeclip_error *err);
/* Fails on every rank, naming the first that differs from rank 0: "rank 2 has other WHAT than rank 0". */
moeclip_code mc_comm_same(moeclip_comm *c, uint64_t hash, const char *what, moeclip_error *err);

/* A sum over an array of fixed length that is made again and again. Starting and ending it cannot fail. */
typedef struct mc_comm_sum mc_comm_sum;
moeclip_code mc_comm_sum_create(moeclip_comm *c, int64_t n, mc_comm_sum **out, moeclip_error *err);
void mc_comm_sum_destroy(mc_comm_sum *s);
float *mc_comm_sum_data(mc_comm_sum *s); /* [n] */
/* The sum begins to travel, beside whatever is computed next; the data must not be touched before the wait. All ranks start their
 * sums in the same order. */
void mc_comm_sum_start(mc_comm_sum *s);
void mc_comm_sum_wait(mc_comm_sum *s);
/* Lets sums in flight move on; cheap. */
void mc_comm_progress(moeclip_comm *c);

/* Seconds that this process has spent in exchanges so far, the adding up and the waiting for other ranks included. */
double mc_comm_seconds(const moeclip_comm *c);

/* FNV-1a, for mc_comm_same; begin with hash 0. */
uint64_t mc_comm_hash(uint64_t hash, const void *data, size_t n_bytes);

#endif
