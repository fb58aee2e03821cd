/* A loader whose batches several ranks share: each decodes its own part, and all know of the others' numbers. */
#ifndef MC_TRAIN_SHARED_LOADER_H
#define MC_TRAIN_SHARED_LOADER_H

#include "comm/comm.h"
#include "data/loader.h"
#include "moeclip/learner.h"

typedef struct mc_shared_batch {
  mc_batch own;
  int64_t n_all;         /* usable pictures of the whole batch */
  const int64_t *begin;  /* [ranks + 1]: of these, rank r has those from begin[r] to begin[r + 1] */
} mc_shared_batch;

typedef struct mc_shared_loader mc_shared_loader;

/* options: of one process; its parts are set here. Broken pictures are told to callbacks (may be NULL) on every rank. Collective. */
moeclip_code mc_shared_loader_create(moeclip_comm *comm, const mc_image_source *source, const mc_loader_options *options,
                                     const moeclip_callbacks *callbacks, mc_shared_loader **out, moeclip_error *err);
/* As mc_loader_next. Collective: a failure of one rank is everyone's. */
moeclip_code mc_shared_loader_next(mc_shared_loader *l, mc_shared_batch *batch, bool *end, moeclip_error *err);
int64_t mc_shared_loader_broken(const mc_shared_loader *l); /* by any rank */
double mc_shared_loader_waited(const mc_shared_loader *l);  /* this rank */
uint64_t mc_shared_loader_batches(const mc_shared_loader *l);
void mc_shared_loader_destroy(mc_shared_loader *l);

/* Broken pictures that a rank has found, to be told to all: the context of mc_broken_collect, which is a loader's report. */
typedef struct mc_broken_list {
  char *text; /* pairs of item and message, each with its end */
  size_t n_bytes;
  bool no_memory;
} mc_broken_list;
void mc_broken_collect(void *context, const char *item, const char *message);
/* Collective. One after another, in the order of the ranks. Empties the list. index [n] (of the own ones; may be NULL) goes along;
 * tell gets -1 without. */
moeclip_code mc_broken_exchange(moeclip_comm *comm, mc_broken_list *own, const size_t *index,
                                void (*tell)(void *context, int64_t index, const char *item, const char *message), void *context,
                                moeclip_error *err);

#endif
