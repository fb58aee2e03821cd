#include "train/shared_loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/watch.h"

struct mc_shared_loader {
  moeclip_comm *comm;
  mc_loader *loader;
  const moeclip_callbacks *callbacks;
  size_t count;
  int64_t *begin; /* [size + 1] */
  mc_broken_list broken;
  uint8_t *seen; /* [count] broken pictures that were told; NULL without other ranks */
  int64_t n_seen, n_usable;
};

/* --- broken pictures ------------------------------------------------------------------------------------------------------ */

enum { LONGEST = 400 };

void mc_broken_collect(void *context, const char *item, const char *message) {
  mc_broken_list *list = context;
  char *pair = mc_format("%.*s%c%.*s", LONGEST, item ? item : "", 0, LONGEST, message);
  size_t n_item = item ? strnlen(item, LONGEST) : 0, n = n_item + 1 + strnlen(message, LONGEST) + 1;
  char *grown = pair ? mc_realloc(list->text, list->n_bytes + n, 1) : NULL;
  if (grown) {
    memcpy(grown + list->n_bytes, pair, n);
    list->text = grown;
    list->n_bytes += n;
  } else {
    list->no_memory = true;
  }
  free(pair);
}

/* All ranks' rows of `each` bytes, of which this one has n. *out is freed by the caller, also after a failure. */
static moeclip_code all_rows(moeclip_comm *comm, const void *own, int64_t n, size_t each, void **out, int64_t *n_all,
                             moeclip_error *err) {
  int size = moeclip_comm_size(comm), rank = moeclip_comm_rank(comm);
  int64_t *numbers = mc_alloc((size_t)size, sizeof *numbers), *begin = mc_alloc((size_t)size + 1, sizeof *begin);
  *out = NULL;
  *n_all = 0;
  moeclip_code code = numbers && begin ? MOECLIP_OK : mc_fail_memory(err, (size_t)size * 8, "messages of other ranks");
  code = moeclip_comm_agree(comm, code, err);
  /* NOLINTBEGIN(clang-analyzer-*): all ranks have what they asked for, or the code says otherwise */
  if (code == MOECLIP_OK) {
    mc_comm_gather(comm, &n, sizeof n, numbers);
    begin[0] = 0;
    for (int r = 0; r < size; r++) begin[r + 1] = begin[r] + numbers[r];
    *n_all = begin[size];
    *out = mc_alloc((size_t)*n_all, each);
    code = moeclip_comm_agree(comm, *out ? MOECLIP_OK : mc_fail_memory(err, (size_t)*n_all * each, "messages of other ranks"), err);
  }
  if (code == MOECLIP_OK) {
    if (n) memcpy((char *)*out + (size_t)begin[rank] * each, own, (size_t)n * each);
    mc_comm_gather_rows(comm, *out, each, begin);
  }
  /* NOLINTEND(clang-analyzer-*) */
  free(numbers);
  free(begin);
  return code;
}

static int64_t count_pairs(const mc_broken_list *l) {
  int64_t n = 0;
  for (size_t i = 0; i < l->n_bytes; i++) n += l->text[i] == 0;
  return n / 2;
}

moeclip_code mc_broken_exchange(moeclip_comm *comm, mc_broken_list *own, const size_t *index,
                                void (*tell)(void *context, int64_t index, const char *item, const char *message), void *context,
                                moeclip_error *err) {
  int64_t n_own = count_pairs(own), n_texts = 0, n_numbers = 0;
  void *texts = NULL, *all_numbers = NULL;
  int64_t *numbers = mc_alloc((size_t)n_own, sizeof *numbers);
  moeclip_code code = numbers && !own->no_memory ? MOECLIP_OK : mc_fail_memory(err, own->n_bytes, "messages about pictures");
  for (int64_t i = 0; code == MOECLIP_OK && i < n_own; i++) numbers[i] = index ? (int64_t)index[i] : -1;
  code = moeclip_comm_agree(comm, code, err);
  if (code == MOECLIP_OK) code = all_rows(comm, numbers, n_own, sizeof *numbers, &all_numbers, &n_numbers, err);
  if (code == MOECLIP_OK) code = all_rows(comm, own->text, (int64_t)own->n_bytes, 1, &texts, &n_texts, err);
  const char *at = texts, *end = at ? at + n_texts : NULL;
  for (int64_t i = 0; code == MOECLIP_OK && i < n_numbers && at < end; i++) {
    const char *item = at, *message = item + strlen(item) + 1;
    tell(context, ((const int64_t *)all_numbers)[i], item, message);
    at = message + strlen(message) + 1;
  }
  free(texts);
  free(all_numbers);
  free(numbers);
  free(own->text);
  *own = (mc_broken_list){0};
  return code;
}

/* The same picture comes to several ranks as the epochs go by: it is told once. */
static void tell_once(void *context, int64_t index, const char *item, const char *message) {
  mc_shared_loader *l = context;
  if (index < 0 || (uint64_t)index >= l->count || l->seen[index]) return;
  l->seen[index] = 1;
  l->n_seen++;
  mc_watch_broken((void *)(uintptr_t)l->callbacks, item, message);
}

/* --- the loader ------------------------------------------------------------------------------------------------------------ */

static moeclip_code create_parts(mc_shared_loader *l, const mc_image_source *source, const mc_loader_options *options,
                                 moeclip_error *err) {
  mc_loader_options own = *options;
  l->begin = calloc((size_t)moeclip_comm_size(l->comm) + 1, sizeof *l->begin);
  if (!l->begin) return mc_fail_memory(err, sizeof *l->begin, "a loader");
  if (!l->comm) {
    return mc_loader_create(source, options, mc_watch_broken, (void *)(uintptr_t)l->callbacks, &l->loader, err);
  }
  l->seen = calloc(source->count + 1, 1);
  if (!l->seen) return mc_fail_memory(err, source->count, "a loader");
  own.part = moeclip_comm_rank(l->comm);
  own.n_parts = moeclip_comm_size(l->comm);
  return mc_loader_create(source, &own, mc_broken_collect, &l->broken, &l->loader, err);
}

moeclip_code mc_shared_loader_create(moeclip_comm *comm, const mc_image_source *source, const mc_loader_options *options,
                                     const moeclip_callbacks *callbacks, mc_shared_loader **out, moeclip_error *err) {
  mc_shared_loader *l = calloc(1, sizeof *l);
  moeclip_code code = l ? MOECLIP_OK : mc_fail_memory(err, sizeof *l, "a loader");
  *out = NULL;
  if (l) {
    l->comm = comm;
    l->callbacks = callbacks;
    l->count = source->count;
    code = create_parts(l, source, options, err);
  }
  code = moeclip_comm_agree(comm, code, err);
  if (code != MOECLIP_OK) {
    mc_shared_loader_destroy(l);
    return code;
  }
  *out = l;
  return MOECLIP_OK;
}

moeclip_code mc_shared_loader_next(mc_shared_loader *l, mc_shared_batch *batch, bool *end, moeclip_error *err) {
  moeclip_code code = mc_loader_next(l->loader, &batch->own, end, err);
  int size = moeclip_comm_size(l->comm);
  if (!l->comm) {
    l->begin[1] = batch->own.n;
  } else {
    /* Into the places from 1 on: pictures, and whether there is something to tell or this rank has failed. */
    int64_t own = batch->own.n * 2 + (l->broken.n_bytes > 0 || l->broken.no_memory || code != MOECLIP_OK), special = 0;
    mc_comm_gather(l->comm, &own, sizeof own, l->begin + 1);
    for (int r = 1; r <= size; r++) {
      special += l->begin[r] & 1;
      l->begin[r] = l->begin[r] / 2 + l->begin[r - 1];
    }
    if (special) {
      MC_TRY(moeclip_comm_agree(l->comm, code, err));
      MC_TRY(mc_broken_exchange(l->comm, &l->broken, batch->own.broken, tell_once, l, err));
    }
    l->n_usable += l->begin[size];
    if (l->n_usable == 0 && l->n_seen == (int64_t)l->count) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "none of the %zu pictures can be read", l->count);
      return moeclip_comm_agree(l->comm, code, err);
    }
  }
  batch->begin = l->begin;
  batch->n_all = l->begin[size];
  return code;
}

int64_t mc_shared_loader_broken(const mc_shared_loader *l) {
  return l->comm ? l->n_seen : (int64_t)mc_loader_broken(l->loader);
}

double mc_shared_loader_waited(const mc_shared_loader *l) { return mc_loader_waited(l->loader); }
uint64_t mc_shared_loader_batches(const mc_shared_loader *l) { return mc_loader_batches(l->loader); }

void mc_shared_loader_destroy(mc_shared_loader *l) {
  if (!l) return;
  mc_loader_destroy(l->loader);
  free(l->broken.text);
  free(l->begin);
  free(l->seen);
  free(l);
}
