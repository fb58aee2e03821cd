/* CSV files as data sets and as caption pairs; packed ones too. Seeds: seeds/csv. */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/pairs.h"
#include "moeclip/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void try_data_set(const char *path) {
  moeclip_dataset_options o;
  moeclip_dataset *d;
  moeclip_error err = {0};
  moeclip_dataset_options_defaults(&o);
  o.max_per_class[MOECLIP_TRAIN] = 3;
  if (moeclip_dataset_open(path, &o, &d, &err) != MOECLIP_OK) {
    if (d || !err.message[0]) abort();
    return;
  }
  for (int split = 0; split < 2; split++) {
    for (size_t i = 0; i < moeclip_dataset_count(d, split); i++) {
      char name[64];
      moeclip_image image;
      if (moeclip_dataset_item_name(d, split, i, name, sizeof name) != MOECLIP_OK) abort();
      if (!moeclip_dataset_class_name(d, (size_t)moeclip_dataset_label(d, split, i))) abort();
      /* Paths could lead to any file here: only pixels are loaded. */
      if (name[0] && strchr(name, '#') && moeclip_dataset_load(d, split, i, &image, &err) == MOECLIP_OK) {
        moeclip_image_clear(&image);
      }
    }
  }
  moeclip_dataset_destroy(d);
}

static void try_pairs(const char *path) {
  mc_pairs *p;
  moeclip_error err = {0};
  if (mc_pairs_open(path, &p, &err) != MOECLIP_OK) {
    if (p || !err.message[0]) abort();
    return;
  }
  for (size_t i = 0; i < mc_pairs_count(p); i++) {
    if (mc_pairs_captions(p, i) == 0) abort();
    for (size_t k = 0; k < mc_pairs_captions(p, i); k++) {
      if (!mc_pairs_caption(p, i, k)[0]) abort();
    }
  }
  mc_pairs_destroy(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char path[64];
  int fd = memfd_create("input", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  try_data_set(path);
  try_pairs(path);
  close(fd);
  return 0;
}
