/* Sets whose labels are in MATLAB files: Flowers, StanfordCars. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/benchmark.h"
#include "data/matlab.h"

/* A label that MATLAB counts from 1, as ours; -1 when it is none. */
static int32_t label_of(double v, size_t n_classes) {
  if (!(v >= 1 && v <= (double)n_classes)) return -1;
  return (double)(int32_t)v == v ? (int32_t)v - 1 : -1;
}

/* --- Flowers ------------------------------------------------------------------------------------------------------ */

static moeclip_code flowers_split(moeclip_dataset *d, const char *ids_path, const char *variable, const double *labels,
                                  size_t n_labels, const char *pictures, int split, moeclip_error *err) {
  double *ids;
  size_t n;
  MC_TRY(mc_matlab_numbers(ids_path, variable, &ids, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    int32_t id = label_of(ids[i], n_labels);
    int32_t label = id < 0 ? -1 : label_of(labels[id], MC_MAX_BENCHMARK_CLASSES);
    char name[32], place[400];
    if (id < 0) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%g is not the number of one of the %zu pictures", ids[i], n_labels);
    } else if (label < 0) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "picture %d has the label %g in imagelabels.mat", (int)id + 1,
                     labels[id]);
    } else {
      snprintf(name, sizeof name, "image_%05d", (int)id + 1);
      code = mc_add_picture(d, pictures, name, ".jpg", label, split, err);
    }
    if (code == MOECLIP_OK) continue;
    snprintf(place, sizeof place, "%s: %s, number %zu", ids_path, variable, i + 1);
    if (err) mc_fail_prefix(err, place);
  }
  free(ids);
  return code;
}

moeclip_code mc_read_flowers(moeclip_dataset *d, moeclip_error *err) {
  static const char *const variables[2] = {"trnid", "tstid"}; /* valid is not used, as published */
  char *labels_path = mc_format("%s/imagelabels.mat", d->path), *ids_path = mc_format("%s/setid.mat", d->path);
  char *pictures = mc_format("%s/jpg", d->path);
  double *labels = NULL;
  size_t n_labels = 0;
  moeclip_code code = labels_path && ids_path && pictures
                          ? mc_matlab_numbers(labels_path, "labels", &labels, &n_labels, err)
                          : mc_fail_memory(err, 64, "a file name");
  for (int split = 0; code == MOECLIP_OK && split < 2; split++) {
    code = flowers_split(d, ids_path, variables[split], labels, n_labels, pictures, split, err);
  }
  free(labels_path);
  free(ids_path);
  free(pictures);
  free(labels);
  return code;
}

/* --- StanfordCars ------------------------------------------------------------------------------------------------- */

static moeclip_code cars_split(moeclip_dataset *d, const char *annotations, const char *folder, int split,
                               moeclip_error *err) {
  double *labels;
  char **names, *pictures = mc_format("%s/%s", d->path, folder);
  size_t n;
  if (!pictures) return mc_fail_memory(err, 64, "a file name");
  moeclip_code code = mc_matlab_table(annotations, "annotations", "class", "fname", &labels, &names, &n, err);
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    int32_t label = label_of(labels[i], d->n_classes);
    char place[400];
    code = label < 0 ? mc_fail(err, MOECLIP_ERROR_FORMAT, "the class %g is not from 1 to %zu, as in cars_meta.mat",
                               labels[i], d->n_classes)
                     : mc_add_picture(d, pictures, names[i], "", label, split, err);
    if (code == MOECLIP_OK) continue;
    snprintf(place, sizeof place, "%s: annotation %zu", annotations, i + 1);
    if (err) mc_fail_prefix(err, place);
  }
  mc_names_free(names, n);
  free(labels);
  free(pictures);
  return code;
}

static moeclip_code cars_classes(moeclip_dataset *d, moeclip_error *err) {
  char *path = mc_format("%s/devkit/cars_meta.mat", d->path), **names = NULL;
  size_t n = 0;
  moeclip_code code = path ? mc_matlab_texts(path, "class_names", &names, &n, err)
                           : mc_fail_memory(err, 64, "a file name");
  if (code == MOECLIP_OK && (n == 0 || n > MC_MAX_BENCHMARK_CLASSES)) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: %zu class names", path, n);
  }
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    size_t length = 0;
    while (names[i][length]) length++;
    code = mc_dataset_add_class(d, names[i], length, err);
  }
  mc_names_free(names, n);
  free(path);
  return code;
}

moeclip_code mc_read_cars(moeclip_dataset *d, moeclip_error *err) {
  char *train = mc_format("%s/devkit/cars_train_annos.mat", d->path);
  char *test = mc_format("%s/cars_test_annos_withlabels.mat", d->path);
  moeclip_code code = train && test ? cars_classes(d, err) : mc_fail_memory(err, 64, "a file name");
  if (code == MOECLIP_OK && !mc_is_file(test)) { /* copies differ in where they have it */
    free(test);
    test = mc_format("%s/devkit/cars_test_annos_withlabels.mat", d->path);
    if (!test) code = mc_fail_memory(err, 64, "a file name");
  }
  if (code == MOECLIP_OK) code = cars_split(d, train, "cars_train", MOECLIP_TRAIN, err);
  if (code == MOECLIP_OK) code = cars_split(d, test, "cars_test", MOECLIP_TEST, err);
  free(train);
  free(test);
  return code;
}
