/*
 * data/: data sets, and the threads that decode and augment beside the compute. Includes base/, image/, files/ (and the
 * public headers of those); train/ and learn/ include it.
 *
 * A loader walks positions 0, 1, 2, ... of a schedule. Position p is picture order_e[p - e*n] of epoch e = p / n, where
 * order_e is the permutation drawn from (seed, MC_STREAM_SHUFFLE, e) (identity without shuffle). An epoch ends with a
 * short batch when n is not a multiple of the batch, as the published code does. What a batch holds depends only on
 * the options and its number, never on the threads, and a loader can start at any batch: that is how runs resume. Several
 * processes share a schedule by parts of each batch (training) or by whole batches (evaluating); each decodes its own share.
 */
#ifndef MC_DATA_LOADER_H
#define MC_DATA_LOADER_H

#include <stdbool.h>

#include "base/status.h"
#include "moeclip/dataset.h"
#include "moeclip/image.h"

/* Anything that pictures can be taken from: a data set's split, or a list of (picture, caption). */
typedef struct mc_image_source {
  size_t count;
  void *context;
  /* From many threads at once. */
  moeclip_code (*load)(void *context, size_t i, moeclip_image *out, moeclip_error *err);
  moeclip_code (*item_name)(void *context, size_t i, char *out, size_t n_out);
} mc_image_source;

/* The source must not outlive d. */
typedef struct mc_dataset_split { const moeclip_dataset *dataset; moeclip_split split; } mc_dataset_split;
mc_image_source mc_dataset_source(mc_dataset_split *of);

typedef struct mc_loader_options {
  moeclip_transform transform; /* of whoever looks at the pictures; its size is the training transform's too */
  int batch;            /* pictures a batch */
  int n_threads;        /* decoding threads; at least 1 */
  int n_ahead;          /* batches decoded ahead; 0: 3 */
  bool shuffle;
  bool augment;         /* the training transform (random resized crop) instead of the evaluation one */
  float crop_scale_min; /* smallest area of the random crop; 0: 0.9, as published */
  bool augment_once;    /* few-shot: a picture's crop is drawn from its index alone, so it is the same every epoch */
  bool repeat;          /* false: ends after one pass */
  uint64_t seed;
  uint64_t first_batch; /* start here (resume) */
  uint64_t stride;      /* from a batch to the next; 0: 1 */
  int part, n_parts;    /* of every batch only this part, from 0, of so many that differ by at most one picture; n_parts 0: all */
} mc_loader_options;

typedef struct mc_batch {
  uint64_t number;       /* of the batch since the schedule's start */
  int n;                 /* pictures that could be decoded; the broken ones are left out (may be 0) */
  const size_t *index;   /* [n] index in the source */
  const uint8_t *pixels; /* [n, 3, size, size], before normalisation */
  int n_broken;          /* pictures of this batch that were found broken for the first time: those that were reported */
  const size_t *broken;  /* [n_broken] index in the source */
} mc_batch;

typedef struct mc_loader mc_loader;

/* report (may be NULL) is called from mc_loader_next's thread, once for each broken picture (not again in later
 * epochs). */
moeclip_code mc_loader_create(const mc_image_source *source, const mc_loader_options *options,
                              void (*report)(void *context, const char *item, const char *message),
                              void *report_context, mc_loader **out, moeclip_error *err);
/* The next batch, valid until the next call; *end is true (and the batch empty) after the last one. Fails when every
 * picture of the source is broken, unless this loader has a part of the schedule only and cannot know. */
moeclip_code mc_loader_next(mc_loader *l, mc_batch *batch, bool *end, moeclip_error *err);
/* Pictures found broken so far, and seconds that mc_loader_next waited for decoding. */
size_t mc_loader_broken(const mc_loader *l);
double mc_loader_waited(const mc_loader *l);
/* Batches in one epoch. */
uint64_t mc_loader_batches(const mc_loader *l);
void mc_loader_destroy(mc_loader *l);

#endif
