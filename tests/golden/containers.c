/* The same tensors in every container: as published, and as moeclip writes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "golden.h"

/* Counts tensors of either side that the other lacks or has with another type, shape or content. */
static size_t count_different(const moeclip_tensors *a, const moeclip_tensors *b) {
  size_t n = 0;
  for (size_t i = 0; i < moeclip_tensors_count(a); i++) {
    const moeclip_tensor *x = moeclip_tensors_at(a, i), *y = moeclip_tensors_find(b, x->name);
    bool same = y && x->dtype == y->dtype && x->rank == y->rank && x->n_bytes == y->n_bytes &&
                memcmp(x->shape, y->shape, (size_t)x->rank * sizeof *x->shape) == 0 &&
                (x->n_bytes == 0 || memcmp(x->data, y->data, x->n_bytes) == 0);
    if (!same) n++;
  }
  for (size_t i = 0; i < moeclip_tensors_count(b); i++) n += !moeclip_tensors_find(a, moeclip_tensors_at(b, i)->name);
  return n;
}

static moeclip_tensors *open_one(golden *g, const char *path) {
  moeclip_tensors *t;
  moeclip_error err;
  if (moeclip_tensors_open(path, &t, &err) == MOECLIP_OK) return t;
  golden_failed(g, "containers", &err);
  return NULL;
}

static void compare(golden *g, const char *item, const moeclip_tensors *a, const moeclip_tensors *b) {
  if (!a || !b) return;
  size_t n = count_different(a, b);
  size_t count = moeclip_tensors_count(a);
  golden_exact(g, item, n == 0 && count > 0, "%zu of %zu tensors differ", n, count);
}

typedef moeclip_code write_function(const moeclip_tensors *t, const char *path, moeclip_error *err);

static void round_trip(golden *g, const char *item, const moeclip_tensors *t, write_function *write, const char *path) {
  moeclip_error err;
  if (!t) return;
  if (write(t, path, &err) != MOECLIP_OK) {
    golden_failed(g, item, &err);
    return;
  }
  moeclip_tensors *again = open_one(g, path);
  compare(g, item, t, again);
  moeclip_tensors_destroy(again);
  unlink(path);
}

static void compare_files(golden *g, const char *reference, const char *other, const char *folder) {
  if (!golden_has(g, reference) || !golden_has(g, other)) return;
  char item[160], path[256];
  moeclip_tensors *a = open_one(g, golden_path(g, reference));
  moeclip_tensors *b = open_one(g, golden_path(g, other));
  snprintf(item, sizeof item, "%s as in safetensors", other);
  compare(g, item, a, b);
  snprintf(path, sizeof path, "%s/file", folder);
  snprintf(item, sizeof item, "%s to safetensors and back", other);
  round_trip(g, item, b, moeclip_tensors_write_safetensors, path);
  snprintf(item, sizeof item, "%s to a checkpoint and back", other);
  round_trip(g, item, b, moeclip_tensors_write_torch, path);
  moeclip_tensors_destroy(a);
  moeclip_tensors_destroy(b);
}

void golden_containers(golden *g) {
  const char *base = getenv("TMPDIR");
  char folder[200];
  snprintf(folder, sizeof folder, "%.150s/moeclip-golden-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(folder)) {
    golden_exact(g, "containers", false, "cannot make the folder %s", folder);
    return;
  }
  compare_files(g, "mtil_model.safetensors", "mtil_checkpoint.pth", folder);
  compare_files(g, "openai_archive_expected_fp16.safetensors", "openai_archive.pt", folder);
  rmdir(folder);
}
