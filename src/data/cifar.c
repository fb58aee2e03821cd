/* CIFAR-10 and CIFAR-100 in their binary form. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE };

typedef struct variant {
  const char *format, *files[7];
  int n_train, n_labels; /* the first n_train files train; label bytes before the pixels (the last one counts) */
  int n_classes;
  const char *names;
} variant;

static const variant variants[2] = {
    {"cifar10",
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin",
      "test_batch.bin"},
     5, 1, 10, "batches.meta.txt"},
    {"cifar100", {"train.bin", "test.bin"}, 1, 2, 100, "fine_label_names.txt"},
};

static const variant *find(const char *folder) {
  for (int v = 0; v < 2; v++) {
    for (const char *const *file = variants[v].files; *file; file++) {
      if (mc_is_file_in(folder, *file)) return &variants[v];
    }
  }
  return NULL;
}

bool mc_is_cifar(const char *folder) { return find(folder) != NULL; }

static moeclip_code read_file(moeclip_dataset *d, const variant *v, const char *path, int split, moeclip_error *err) {
  uint8_t *data;
  size_t n, row = (size_t)v->n_labels + PIXELS;
  uint32_t block;
  MC_TRY(mc_file_read(path, (size_t)1 << 31, &data, &n, err));
  MC_TRY(mc_dataset_keep(d, path, data, &block, err));
  if (n == 0 || n % row) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: its %zu bytes are not whole rows of %zu; download it again", path, n,
                   row);
  }
  for (size_t i = 0; i < n / row; i++) {
    const uint8_t *p = data + i * row;
    mc_item item = {.pixels = p + v->n_labels, .label = p[v->n_labels - 1], .split = split, .row = (uint32_t)i};
    item.file = block;
    if (item.label >= v->n_classes) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: row %zu has the label %d; %s has labels from 0 to %d", path, i,
                     (int)item.label, v->format, v->n_classes - 1);
    }
    MC_TRY(mc_dataset_add(d, &item, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_read_cifar(moeclip_dataset *d, moeclip_error *err) {
  const variant *v = find(d->path);
  d->format = v->format;
  d->channels = 3;
  d->width = d->height = SIDE;
  for (int i = 0; v->files[i]; i++) {
    char *path = mc_format("%s/%s", d->path, v->files[i]);
    if (!path) return mc_fail_memory(err, 64, "a file name");
    /* Some of CIFAR-10's training files may be missing; what is there is read. */
    int split = i < v->n_train ? MOECLIP_TRAIN : MOECLIP_TEST;
    moeclip_code code = mc_is_file(path) ? read_file(d, v, path, split, err) : MOECLIP_OK;
    free(path);
    MC_TRY(code);
  }
  bool found;
  MC_TRY(mc_dataset_classes_file(d, v->names, &found, err));
  if (!found) MC_TRY(mc_dataset_classes_file(d, "classes.txt", &found, err));
  return MOECLIP_OK;
}
