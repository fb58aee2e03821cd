#include "train/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Smaller messages cost more for their number than they gain by being early. */
enum { BUCKET_FLOATS = 1 << 20 };
/* MPI counts with int, and a rank receives all ranks' parts: a bucket ends here even within a block. */
enum { BUCKET_MOST = 1 << 28 };

typedef struct entry {
  mc_param *param;
  int key; /* when backward ends with it */
} entry;

typedef struct bucket {
  size_t begin, end; /* entries */
  int last_key;
  mc_comm_sum *sum;
} bucket;

struct mc_reduction {
  moeclip_comm *comm;
  mc_adapters *adapters;
  int visual_layers, text_layers;
  entry *entries;
  size_t n_entries;
  bucket *buckets;
  int n_buckets, n_begun;
  mc_comm_sum *texts;
  int64_t n_texts, *counts; /* [n_counts], the experts' counts of all ranks when they were last summed; then room for as many */
  size_t n_counts;
  bool texts_begun;
};

/* Blocks count from 0 in the image tower, and on in the text tower. */
static int key_of(const mc_reduction *r, int block) {
  int of_text = block - r->visual_layers;
  return of_text < 0 ? r->visual_layers - 1 - block : r->visual_layers + r->text_layers - 1 - of_text;
}

static moeclip_code add(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mc_reduction *r = context;
  int layer;
  if (!p->grad) return MOECLIP_OK;
  entry *grown = mc_realloc(r->entries, r->n_entries + 1, sizeof *grown);
  if (!grown) return mc_fail_memory(err, sizeof *grown, "gradients");
  r->entries = grown;
  entry *e = &r->entries[r->n_entries++];
  *e = (entry){p, r->visual_layers + r->text_layers};
  if (sscanf(name, "visual.transformer.resblocks.%d.", &layer) == 1) {
    e->key = key_of(r, layer);
  } else if (sscanf(name, "transformer.resblocks.%d.", &layer) == 1) {
    e->key = key_of(r, r->visual_layers + layer);
  }
  return MOECLIP_OK;
}

/* Stable, and there are few keys. */
static moeclip_code sort_entries(mc_reduction *r, moeclip_error *err) {
  entry *sorted = mc_alloc(r->n_entries, sizeof *sorted);
  size_t at = 0;
  if (!sorted) return mc_fail_memory(err, r->n_entries * sizeof *sorted, "gradients");
  for (int key = 0; key <= r->visual_layers + r->text_layers; key++) {
    for (size_t i = 0; i < r->n_entries; i++) {
      if (r->entries[i].key == key) sorted[at++] = r->entries[i];
    }
  }
  free(r->entries);
  r->entries = sorted;
  return MOECLIP_OK;
}

static moeclip_code cut(mc_reduction *r, moeclip_error *err) {
  r->buckets = calloc(r->n_entries + 1, sizeof *r->buckets);
  if (!r->buckets) return mc_fail_memory(err, r->n_entries * sizeof *r->buckets, "gradients");
  int64_t n = 0;
  size_t begin = 0;
  for (size_t i = 0; i < r->n_entries; i++) {
    n += r->entries[i].param->n + 1;
    bool last = i + 1 == r->n_entries, block_ends = last || r->entries[i + 1].key != r->entries[i].key;
    if (!last && !(block_ends && n >= BUCKET_FLOATS) && n + r->entries[i + 1].param->n < BUCKET_MOST) continue;
    bucket *b = &r->buckets[r->n_buckets++];
    *b = (bucket){.begin = begin, .end = i + 1, .last_key = r->entries[i].key};
    MC_TRY(mc_comm_sum_create(r->comm, n, &b->sum, err));
    begin = i + 1;
    n = 0;
  }
  return MOECLIP_OK;
}

static mc_moe *block_of(const mc_reduction *r, int i) {
  const mc_adapters *a = r->adapters;
  return i < a->visual_layers ? &a->visual[i] : &a->text[i - a->visual_layers];
}

static int n_blocks(const mc_reduction *r) { return r->adapters ? r->adapters->visual_layers + r->adapters->text_layers : 0; }

static moeclip_code fill(mc_reduction *r, mc_clip *clip, moeclip_error *err) {
  MC_TRY(r->adapters ? mc_adapters_each(r->adapters, add, r, err) : mc_clip_each(clip, add, r, err));
  MC_TRY(sort_entries(r, err));
  MC_TRY(cut(r, err));
  if (r->n_texts) MC_TRY(mc_comm_sum_create(r->comm, r->n_texts, &r->texts, err));
  for (int i = 0; i < n_blocks(r); i++) r->n_counts += (size_t)block_of(r, i)->n_experts;
  r->counts = mc_alloc(2 * r->n_counts, sizeof *r->counts);
  if (!r->counts) return mc_fail_memory(err, 2 * r->n_counts * sizeof *r->counts, "the experts' counts");
  int64_t *at = r->counts;
  for (int i = 0; i < n_blocks(r); i++) {
    for (int e = 0; e < block_of(r, i)->n_experts; e++) *at++ = (int64_t)block_of(r, i)->counts[e];
  }
  return MOECLIP_OK;
}

moeclip_code mc_reduction_create(moeclip_comm *comm, mc_adapters *adapters, mc_clip *clip, int64_t n_texts, mc_reduction **out,
                                 moeclip_error *err) {
  mc_reduction *r = calloc(1, sizeof *r);
  moeclip_code code = r ? MOECLIP_OK : mc_fail_memory(err, sizeof *r, "gradients");
  *out = NULL;
  if (r) {
    *r = (mc_reduction){.comm = comm, .adapters = adapters, .visual_layers = clip->visual.n_layers,
                        .text_layers = clip->text.n_layers, .n_texts = n_texts};
    code = fill(r, clip, err);
  }
  code = moeclip_comm_agree(comm, code, err);
  if (code != MOECLIP_OK) {
    mc_reduction_destroy(r);
    return code;
  }
  *out = r;
  return MOECLIP_OK;
}

void mc_reduction_destroy(mc_reduction *r) {
  if (!r) return;
  for (int b = 0; b < r->n_buckets; b++) mc_comm_sum_destroy(r->buckets[b].sum);
  mc_comm_sum_destroy(r->texts);
  free(r->entries);
  free(r->buckets);
  free(r->counts);
  free(r);
}

/* --- a step ---------------------------------------------------------------------------------------------------------------- */

static void begin(mc_reduction *r, const bucket *b) {
  float *at = mc_comm_sum_data(b->sum);
  for (size_t i = b->begin; i < b->end; i++) {
    const mc_param *p = r->entries[i].param;
    if (p->touched) {
      memcpy(at, p->grad, (size_t)p->n * sizeof *at);
    } else {
      memset(at, 0, (size_t)p->n * sizeof *at);
    }
    at += p->n;
  }
  for (size_t i = b->begin; i < b->end; i++) *at++ = r->entries[i].param->touched ? 1.0f : 0.0f;
  mc_comm_sum_start(b->sum);
}

static void on_block(void *context, int block) {
  mc_reduction *r = context;
  int key = key_of(r, block);
  while (r->n_begun < r->n_buckets && r->buckets[r->n_begun].last_key <= key) begin(r, &r->buckets[r->n_begun++]);
  mc_comm_progress(r->comm);
}

mc_block_done mc_reduction_hook(mc_reduction *r) { return (mc_block_done){on_block, r}; }

static void take(mc_reduction *r, const bucket *b) {
  mc_comm_sum_wait(b->sum);
  const float *at = mc_comm_sum_data(b->sum), *flags = at;
  for (size_t i = b->begin; i < b->end; i++) flags += r->entries[i].param->n;
  for (size_t i = b->begin; i < b->end; i++) {
    mc_param *p = r->entries[i].param;
    p->touched = *flags++ > 0;
    if (p->touched) memcpy(p->grad, at, (size_t)p->n * sizeof *at);
    at += p->n;
  }
}

void mc_reduction_finish(mc_reduction *r) {
  while (r->n_begun < r->n_buckets) begin(r, &r->buckets[r->n_begun++]);
  for (int b = 0; b < r->n_buckets; b++) take(r, &r->buckets[b]);
  r->n_begun = 0;
}

void mc_reduction_start_texts(mc_reduction *r, const float *dfeatures) {
  if (r->texts_begun || !r->texts) return;
  float *data = mc_comm_sum_data(r->texts);
  /* A rank that has failed takes part with nothing. */
  if (dfeatures) {
    memcpy(data, dfeatures, (size_t)r->n_texts * sizeof *data);
  } else {
    memset(data, 0, (size_t)r->n_texts * sizeof *data);
  }
  mc_comm_sum_start(r->texts);
  r->texts_begun = true;
}

const float *mc_reduction_wait_texts(mc_reduction *r) {
  mc_comm_sum_wait(r->texts);
  r->texts_begun = false;
  return mc_comm_sum_data(r->texts);
}

/* --- now and then ----------------------------------------------------------------------------------------------------------- */

void mc_reduction_counts(mc_reduction *r) {
  int64_t *known = r->counts, *more = r->counts + r->n_counts, *at = more;
  for (int i = 0; i < n_blocks(r); i++) {
    for (int e = 0; e < block_of(r, i)->n_experts; e++, at++) *at = (int64_t)block_of(r, i)->counts[e] - known[at - more];
  }
  mc_comm_total(r->comm, more, r->n_counts);
  at = known;
  for (int i = 0; i < n_blocks(r); i++) {
    for (int e = 0; e < block_of(r, i)->n_experts; e++, at++) block_of(r, i)->counts[e] = (uint64_t)(*at += more[at - known]);
  }
}

moeclip_code mc_reduction_check(mc_reduction *r, moeclip_error *err) {
  uint64_t hash = 0;
  for (size_t i = 0; i < r->n_entries; i++) {
    hash = mc_comm_hash(hash, r->entries[i].param->value, (size_t)r->entries[i].param->n * sizeof(float));
  }
  return mc_comm_same(r->comm, hash, "parameters (the ranks have drifted apart: take machines and libraries of one kind)", err);
}

int64_t mc_reduction_bytes(const mc_reduction *r) {
  int64_t n = r->n_texts;
  for (size_t i = 0; i < r->n_entries; i++) n += r->entries[i].param->n + 1;
  return n * (int64_t)sizeof(float);
}

int mc_reduction_buckets(const mc_reduction *r) { return r->n_buckets; }
