/* The checksum that moeclip's own files carry: docs/STATE.md. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "files/collection.h"

#define KEY "moeclip.checksum"

/* What a checkpoint goes on from, beside its tensors. A finished state has none of these. */
static const char *const checkpoint_keys[] = {"checkpoint.run", "checkpoint.step", "checkpoint.task"};

static int by_name(const void *a, const void *b) {
  const moeclip_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static moeclip_code checksum(const moeclip_tensors *t, char out[65], moeclip_error *err) {
  const moeclip_tensor **sorted = mc_alloc(t->n_items, sizeof *sorted);
  const char *text = moeclip_tensors_metadata(t, "moeclip.state");
  mc_sha256 h;
  if (!sorted) return mc_fail_memory(err, t->n_items * sizeof *sorted, "a checksum");
  for (size_t i = 0; i < t->n_items; i++) sorted[i] = &t->items[i];
  if (t->n_items) qsort(sorted, t->n_items, sizeof *sorted, by_name);
  mc_sha256_init(&h);
  mc_sha256_add(&h, text, text ? strlen(text) : 0);
  for (size_t i = 0; i < t->n_items; i++) {
    mc_sha256_add(&h, sorted[i]->name, strlen(sorted[i]->name) + 1);
    mc_sha256_add(&h, sorted[i]->data, sorted[i]->n_bytes);
  }
  for (size_t i = 0; i < sizeof checkpoint_keys / sizeof checkpoint_keys[0]; i++) {
    const char *value = moeclip_tensors_metadata(t, checkpoint_keys[i]);
    if (!value) continue;
    mc_sha256_add(&h, checkpoint_keys[i], strlen(checkpoint_keys[i]) + 1);
    mc_sha256_add(&h, value, strlen(value) + 1);
  }
  mc_sha256_hex(&h, out);
  free(sorted);
  return MOECLIP_OK;
}

moeclip_code mc_tensors_seal(moeclip_tensors *t, moeclip_error *err) {
  char sum[65];
  MC_TRY(checksum(t, sum, err));
  return moeclip_tensors_set_metadata(t, KEY, sum, err);
}

moeclip_code moeclip_tensors_verify(const moeclip_tensors *t, int needed, moeclip_error *err) {
  const char *wanted = moeclip_tensors_metadata(t, KEY);
  char sum[65];
  if (!wanted && !needed) return MOECLIP_OK;
  MC_TRY(checksum(t, sum, err));
  if (wanted && strcmp(wanted, sum) == 0) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "the checksum does not fit: the file was damaged after it was written; %s",
                 moeclip_tensors_metadata(t, "checkpoint.run") ? "take a copy of it, or remove it to start the unfinished part anew"
                                                               : "take a copy of it, or learn again");
}
