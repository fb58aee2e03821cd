#include "data/loader.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/random.h"
#include "image/augment.h"

enum { MAX_SIZE = 4096 }; /* no model looks at larger pictures */

/* In place of a message. What memory was short for is no broken picture, and is not left out. */
static const char no_memory_mark = 0;
#define NO_MEMORY ((char *)(uintptr_t)&no_memory_mark)

typedef struct slot {
  int begin;            /* the first picture's place in its batch */
  int total, remaining; /* pictures of the batch; those not decoded yet */
  uint8_t *pixels;      /* [batch, 3, size, size] */
  size_t *index;        /* [batch] */
  size_t *broken;       /* [batch] */
  char **failure;       /* [batch]: why the picture is broken, or NULL; freed unless it is NO_MEMORY */
} slot;

struct mc_loader {
  mc_image_source source;
  mc_loader_options o;
  size_t each; /* bytes of one picture */
  void (*report)(void *context, const char *item, const char *message);
  void *report_context;
  slot *slots; /* [n_ahead] */
  uint32_t *order;
  uint64_t order_epoch, batches;
  bool order_known;
  uint8_t *reported; /* [count] */
  size_t n_broken, n_usable;
  pthread_mutex_t mutex;
  pthread_cond_t free_slot, done;
  pthread_t *threads;
  int n_started;
  bool stop, held; /* held: the consumer still looks at batch `next - 1` */
  /* The batch whose pictures are handed out, the one that the consumer wants, and one after the last: counted from 0 on in this
   * loader. number_of gives their numbers in the schedule. */
  uint64_t opening, next, last;
  int opened;                   /* pictures of `opening` handed out so far; 0: not opened */
  double waited;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t number_of(const mc_loader *l, uint64_t k) { return l->o.first_batch + k * l->o.stride; }

/* Of batch `number`: all of it is `size` pictures, of which this loader has those from *begin to the returned end. */
static int own_part(const mc_loader *l, uint64_t number, int *begin) {
  size_t at = (size_t)(number % l->batches) * (size_t)l->o.batch, left = l->source.count - at;
  int64_t size = left < (size_t)l->o.batch ? (int64_t)left : l->o.batch;
  *begin = (int)(size * l->o.part / l->o.n_parts);
  return (int)(size * (l->o.part + 1) / l->o.n_parts);
}

/* Called with the mutex held. */
static void open_batch(mc_loader *l, uint64_t number, slot *s) {
  uint64_t epoch = number / l->batches;
  int end = own_part(l, number, &s->begin);
  s->total = s->remaining = end - s->begin;
  size_t at = (size_t)(number % l->batches) * (size_t)l->o.batch + (size_t)s->begin;
  if (l->o.shuffle && (!l->order_known || l->order_epoch != epoch)) {
    mc_philox g;
    mc_philox_init(&g, l->o.seed, MC_STREAM_SHUFFLE, epoch);
    mc_philox_permutation(&g, (uint32_t)l->source.count, l->order);
    l->order_epoch = epoch;
    l->order_known = true;
  }
  for (int i = 0; i < s->total; i++) s->index[i] = l->o.shuffle ? l->order[at + (size_t)i] : at + (size_t)i;
}

static char *decode(mc_loader *l, uint64_t number, int i, size_t index, uint8_t *out) {
  moeclip_image image = {0};
  moeclip_error err = {0};
  moeclip_code code = l->source.load(l->source.context, index, &image, &err);
  if (code == MOECLIP_OK && l->o.augment) {
    mc_philox g;
    uint64_t position = number * (uint64_t)l->o.batch + (uint64_t)i;
    mc_philox_init(&g, l->o.seed, MC_STREAM_AUGMENT, l->o.augment_once ? index : position);
    code = mc_image_augment(&image, l->o.transform.size, l->o.crop_scale_min, &g, out, &err);
  } else if (code == MOECLIP_OK) {
    code = moeclip_image_transform(&image, &l->o.transform, out, &err);
  }
  moeclip_image_clear(&image);
  if (code == MOECLIP_OK) return NULL;
  char *message = code == MOECLIP_ERROR_MEMORY ? NULL : mc_strdup(err.message);
  return message ? message : NO_MEMORY;
}

static void *work(void *context) {
  mc_loader *l = context;
  pthread_mutex_lock(&l->mutex);
  for (;;) {
    while (!l->stop && (l->opening >= l->last || l->opening >= l->next - (l->held ? 1 : 0) + (uint64_t)l->o.n_ahead)) {
      pthread_cond_wait(&l->free_slot, &l->mutex);
    }
    if (l->stop) break;
    uint64_t number = number_of(l, l->opening);
    slot *s = &l->slots[l->opening % (uint64_t)l->o.n_ahead];
    if (l->opened == 0) open_batch(l, number, s);
    int i = l->opened++, place = s->begin + i;
    bool empty = s->total == 0; /* a part of a short batch */
    if (empty || l->opened == s->total) {
      l->opening++;
      l->opened = 0;
    }
    if (empty) {
      pthread_cond_broadcast(&l->done);
      continue;
    }
    pthread_mutex_unlock(&l->mutex);
    char *failure = decode(l, number, place, s->index[i], s->pixels + (size_t)i * l->each);
    pthread_mutex_lock(&l->mutex);
    s->failure[i] = failure;
    if (--s->remaining == 0) pthread_cond_broadcast(&l->done);
  }
  pthread_mutex_unlock(&l->mutex);
  return NULL;
}

moeclip_code mc_loader_create(const mc_image_source *source, const mc_loader_options *options,
                              void (*report)(void *context, const char *item, const char *message),
                              void *report_context, mc_loader **out, moeclip_error *err) {
  *out = NULL;
  if (!(options->crop_scale_min <= 1)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the smallest crop's area, %g, must be at most 1",
                   (double)options->crop_scale_min);
  }
  if (source->count == 0 || source->count > UINT32_MAX || options->batch < 1 || options->transform.size < 1 ||
      options->transform.size > MAX_SIZE) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%zu pictures, batch %d, size %d", source->count, options->batch,
                   options->transform.size);
  }
  mc_loader *l = calloc(1, sizeof *l);
  if (!l) return mc_fail_memory(err, sizeof *l, "a loader");
  l->source = *source;
  l->o = *options;
  if (l->o.n_ahead < 1) l->o.n_ahead = 3;
  if (l->o.n_threads < 1) l->o.n_threads = 1;
  if (l->o.crop_scale_min <= 0) l->o.crop_scale_min = 0.9f;
  if (l->o.stride < 1) l->o.stride = 1;
  if (l->o.n_parts < 1) l->o.n_parts = 1;
  l->report = report;
  l->report_context = report_context;
  l->each = 3 * (size_t)l->o.transform.size * (size_t)l->o.transform.size;
  l->batches = (source->count + (size_t)l->o.batch - 1) / (size_t)l->o.batch;
  uint64_t left = l->batches > options->first_batch ? l->batches - options->first_batch : 0;
  l->last = options->repeat ? UINT64_MAX / 2 : (left + l->o.stride - 1) / l->o.stride;
  pthread_mutex_init(&l->mutex, NULL);
  pthread_cond_init(&l->free_slot, NULL);
  pthread_cond_init(&l->done, NULL);
  l->slots = calloc((size_t)l->o.n_ahead, sizeof *l->slots);
  l->order = mc_alloc(source->count, sizeof *l->order);
  l->reported = calloc(source->count, 1);
  l->threads = calloc((size_t)l->o.n_threads, sizeof *l->threads);
  bool ok = l->slots && l->order && l->reported && l->threads;
  for (int i = 0; ok && i < l->o.n_ahead; i++) {
    slot *s = &l->slots[i];
    s->pixels = mc_aligned_alloc((size_t)l->o.batch, l->each);
    s->index = mc_alloc((size_t)l->o.batch, sizeof *s->index);
    s->broken = mc_alloc((size_t)l->o.batch, sizeof *s->broken);
    s->failure = calloc((size_t)l->o.batch, sizeof *s->failure);
    ok = s->pixels && s->index && s->broken && s->failure;
  }
  moeclip_code code = ok ? MOECLIP_OK : mc_fail_memory(err, (size_t)l->o.batch * l->each, "a loader");
  int refused = 0;
  while (ok && !refused && l->n_started < l->o.n_threads) {
    refused = pthread_create(&l->threads[l->n_started], NULL, work, l);
    l->n_started += !refused;
  }
  /* Fewer threads than asked for give the same batches, only later. */
  if (ok && l->n_started == 0) {
    code = mc_fail(err, MOECLIP_ERROR_MEMORY, "no thread for decoding could be started: %s", strerror(refused));
  }
  if (code != MOECLIP_OK) {
    mc_loader_destroy(l);
    return code;
  }
  *out = l;
  return MOECLIP_OK;
}

static void drop_failure(slot *s, int i) {
  if (s->failure[i] != NO_MEMORY) free(s->failure[i]);
  s->failure[i] = NULL;
}

static void name_of(const mc_loader *l, size_t index, char *name, size_t n) {
  if (l->source.item_name(l->source.context, index, name, n) != MOECLIP_OK) snprintf(name, n, "#%zu", index);
}

static void report_broken(mc_loader *l, slot *s, int i, mc_batch *batch) {
  size_t index = s->index[i];
  if (!l->reported[index]) {
    char name[512];
    s->broken[batch->n_broken++] = index;
    l->reported[index] = 1;
    l->n_broken++;
    name_of(l, index, name, sizeof name);
    if (l->report) l->report(l->report_context, name, s->failure[i]);
  }
  drop_failure(s, i);
}

moeclip_code mc_loader_next(mc_loader *l, mc_batch *batch, bool *end, moeclip_error *err) {
  *batch = (mc_batch){0};
  *end = false;
  pthread_mutex_lock(&l->mutex);
  if (l->held) {
    l->held = false;
    pthread_cond_broadcast(&l->free_slot);
  }
  if (l->next >= l->last) {
    *end = true;
    pthread_mutex_unlock(&l->mutex);
    return MOECLIP_OK;
  }
  slot *s = &l->slots[l->next % (uint64_t)l->o.n_ahead];
  double began = now();
  while (!(l->opening > l->next && s->remaining == 0)) pthread_cond_wait(&l->done, &l->mutex);
  l->waited += now() - began;
  l->held = true;
  batch->number = number_of(l, l->next++);
  pthread_mutex_unlock(&l->mutex);
  for (int i = 0; i < s->total; i++) {
    if (s->failure[i] == NO_MEMORY) {
      char name[512];
      name_of(l, s->index[i], name, sizeof name);
      return mc_fail(err, MOECLIP_ERROR_MEMORY, "%s: out of memory while it was decoded; use smaller batches or fewer threads", name);
    }
    if (s->failure[i]) {
      report_broken(l, s, i, batch);
      continue;
    }
    if (batch->n != i) {
      memmove(s->pixels + (size_t)batch->n * l->each, s->pixels + (size_t)i * l->each, l->each);
      s->index[batch->n] = s->index[i];
    }
    batch->n++;
  }
  batch->index = s->index;
  batch->broken = s->broken;
  batch->pixels = s->pixels;
  l->n_usable += (size_t)batch->n;
  bool whole = l->o.n_parts == 1 && l->o.stride == 1;
  if (whole && l->n_usable == 0 && l->n_broken == l->source.count) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the %zu pictures can be read", l->source.count);
  }
  return MOECLIP_OK;
}

size_t mc_loader_broken(const mc_loader *l) { return l->n_broken; }
double mc_loader_waited(const mc_loader *l) { return l->waited; }
uint64_t mc_loader_batches(const mc_loader *l) { return l->batches; }

void mc_loader_destroy(mc_loader *l) {
  if (!l) return;
  pthread_mutex_lock(&l->mutex);
  l->stop = true;
  pthread_cond_broadcast(&l->free_slot);
  pthread_mutex_unlock(&l->mutex);
  for (int i = 0; i < l->n_started; i++) pthread_join(l->threads[i], NULL);
  for (int i = 0; l->slots && i < l->o.n_ahead; i++) {
    slot *s = &l->slots[i];
    for (int k = 0; s->failure && k < l->o.batch; k++) drop_failure(s, k);
    free(s->failure);
    free(s->index);
    free(s->broken);
    mc_aligned_free(s->pixels);
  }
  free(l->slots);
  free(l->order);
  free(l->reported);
  free(l->threads);
  pthread_mutex_destroy(&l->mutex);
  pthread_cond_destroy(&l->free_slot);
  pthread_cond_destroy(&l->done);
  free(l);
}
