/* IDX files of the MNIST family: four files, perhaps packed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

static const char *const prefixes[2] = {"train", "t10k"};

/* The name of a file as it is there, of those that it goes by; false: there is none. */
static bool find(const char *folder, const char *prefix, const char *what, int rank, char name[64]) {
  for (int i = 0; i < 8; i++) {
    snprintf(name, 64, "%s%s-%s%cidx%d-ubyte%s", i & 4 ? "raw/" : "", prefix, what, i & 1 ? '.' : '-', rank, i & 2 ? ".gz" : "");
    if (mc_is_file_in(folder, name)) return true;
  }
  return false;
}

bool mc_is_idx(const char *folder) {
  char name[64];
  return find(folder, prefixes[0], "images", 3, name) || find(folder, prefixes[1], "images", 3, name);
}

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* 2^31: no set of this family comes near it. */
#define MAX_IDX ((size_t)1 << 31)

/* A file of unsigned bytes with `rank` sides; *data is freed with free, *body its first value. The header is read
 * first: a packed file is never unpacked beyond what it promises. */
static moeclip_code read_file(const char *path, int rank, uint8_t **data, const uint8_t **body, uint32_t *sides,
                              moeclip_error *err) {
  uint8_t p[16];
  size_t n, wanted = 1, whole, header = 4 + 4 * (size_t)rank;
  *data = NULL;
  MC_TRY(mc_read_start(path, p, header, &n, err));
  bool ok = n == header && p[0] == 0 && p[1] == 0 && p[2] == 8 && p[3] == rank;
  for (int i = 0; ok && i < rank; i++) {
    sides[i] = big_endian(p + 4 + 4 * i);
    ok = mc_mul_size(wanted, sides[i], &wanted);
  }
  if (!ok || !mc_add_size(wanted, header, &whole) || whole > MAX_IDX) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not an IDX file of unsigned bytes with %d sides (of 2 GiB at most)",
                   path, rank);
  }
  MC_TRY(mc_read_maybe_gzip(path, whole, data, &n, err));
  *body = *data + header;
  if (n == whole) return MOECLIP_OK;
  free(*data);
  *data = NULL;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: its header promises %zu bytes, but there are %zu; download it again",
                 path, whole, n);
}

static moeclip_code add_pictures(moeclip_dataset *d, const char *images_path, const char *labels_path, int split,
                                 moeclip_error *err) {
  uint8_t *images = NULL, *labels = NULL;
  const uint8_t *pixels, *label;
  uint32_t sides[3], n_labels, block;
  MC_TRY(read_file(images_path, 3, &images, &pixels, sides, err));
  MC_TRY(mc_dataset_keep(d, images_path, images, &block, err));
  MC_TRY(read_file(labels_path, 1, &labels, &label, &n_labels, err));
  moeclip_code code = MOECLIP_OK;
  if (n_labels != sides[0]) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: %u labels for the %u pictures of %s", labels_path, n_labels,
                   sides[0], images_path);
  } else if (sides[1] == 0 || sides[2] == 0 || sides[1] > 4096 || sides[2] > 4096 ||
             (d->height && (d->height != (int)sides[1] || d->width != (int)sides[2]))) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: pictures of %u x %u are empty, too large or unlike the other split's",
                   images_path, sides[2], sides[1]);
  }
  d->channels = 1;
  d->height = (int)sides[1];
  d->width = (int)sides[2];
  for (uint32_t i = 0; code == MOECLIP_OK && i < n_labels; i++) {
    mc_item item = {.pixels = pixels + (size_t)i * sides[1] * sides[2], .label = label[i], .split = split, .row = i};
    item.file = block;
    code = mc_dataset_add(d, &item, err);
  }
  free(labels);
  return code;
}

moeclip_code mc_read_idx(moeclip_dataset *d, moeclip_error *err) {
  d->format = "idx";
  for (int split = 0; split < 2; split++) {
    char images_name[64], labels_name[64], *images = NULL, *labels = NULL;
    bool has_images = find(d->path, prefixes[split], "images", 3, images_name);
    bool has_labels = find(d->path, prefixes[split], "labels", 1, labels_name);
    if (has_images) images = mc_format("%s/%s", d->path, images_name);
    if (has_labels) labels = mc_format("%s/%s", d->path, labels_name);
    moeclip_code code = MOECLIP_OK;
    if (has_images != (images != NULL) || has_labels != (labels != NULL)) {
      code = mc_fail_memory(err, strlen(d->path), "a file name");
    } else if (has_images != has_labels) {
      code = mc_fail(err, MOECLIP_ERROR_IO,
                     "%s: of %s-images-idx3-ubyte and %s-labels-idx1-ubyte one is missing (.gz or not)", d->path,
                     prefixes[split], prefixes[split]);
    } else if (images) {
      code = add_pictures(d, images, labels, split, err);
    }
    free(images);
    free(labels);
    MC_TRY(code);
  }
  bool found;
  MC_TRY(mc_dataset_classes_file(d, "classes.txt", &found, err));
  return MOECLIP_OK;
}
