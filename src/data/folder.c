/* A folder with one subfolder per class, optionally with train/ and test/ above them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "data/dataset.h"

/* Deeper than people sort pictures; ends a walk through links that lead back. */
enum { MAX_DEPTH = 12 };

static moeclip_code walk(moeclip_dataset *d, const char *folder, int32_t label, int32_t split, int depth, moeclip_error *err) {
  char **names;
  size_t n;
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]);
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a file name");
    } else if (mc_is_folder(path)) {
      if (depth < MAX_DEPTH) code = walk(d, path, label, split, depth + 1, err);
      free(path);
    } else if (mc_is_picture_name(names[i])) {
      mc_item item = {.path = path, .label = label, .split = split};
      code = mc_dataset_add(d, &item, err);
    } else {
      free(path);
    }
  }
  mc_names_free(names, n);
  return code;
}

static int32_t class_of(const moeclip_dataset *d, const char *name) {
  for (size_t c = 0; c < d->n_classes; c++) {
    if (strcmp(d->classes[c], name) == 0) return (int32_t)c;
  }
  return -1;
}

/* The class folders of one level. may_add: new classes are possible. */
static moeclip_code read_classes(moeclip_dataset *d, const char *folder, int32_t split, bool may_add, moeclip_error *err) {
  char **names;
  size_t n;
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]);
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a file name");
    } else if (mc_is_folder(path)) {
      size_t before = d->n_items;
      int32_t label = class_of(d, names[i]);
      if (label < 0) label = (int32_t)d->n_classes;
      code = walk(d, path, label, split, 1, err);
      bool has_pictures = d->n_items > before;
      if (code == MOECLIP_OK && has_pictures && label == (int32_t)d->n_classes) {
        code = may_add ? mc_dataset_add_class(d, names[i], strlen(names[i]), err)
                       : mc_fail(err, MOECLIP_ERROR_FORMAT,
                                 "%s: the class \"%s\" is only in the test split; its training pictures are missing", folder,
                                 names[i]);
      }
    }
    free(path);
  }
  mc_names_free(names, n);
  return code;
}

/* The first of the names that is a subfolder; NULL when there is none. */
static char *subfolder(const char *folder, const char *const *names) {
  for (; *names; names++) {
    char *path = mc_format("%s/%s", folder, *names);
    if (path && mc_is_folder(path)) return path;
    free(path);
  }
  return NULL;
}

/* A test folder alone is a set to evaluate on; beside others it may as well be a class of that name. */
static bool only_subfolder(const char *folder) {
  char **names;
  size_t n, n_folders = 0;
  if (mc_list_folder(folder, &names, &n, NULL) != MOECLIP_OK) return false;
  for (size_t i = 0; i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]);
    n_folders += path && mc_is_folder(path);
    free(path);
  }
  mc_names_free(names, n);
  return n_folders == 1;
}

moeclip_code mc_read_folder(moeclip_dataset *d, moeclip_error *err) {
  static const char *const trains[] = {"train", "training", "Train", "TRAIN", NULL};
  static const char *const tests[] = {"test", "val", "valid", "validation", "testing", "Test", "TEST", NULL};
  char *train = subfolder(d->path, trains), *test = subfolder(d->path, tests);
  moeclip_code code;
  d->format = "folder";
  if (train && test) {
    code = read_classes(d, train, MOECLIP_TRAIN, true, err);
    if (code == MOECLIP_OK && d->n_items > 0) code = read_classes(d, test, MOECLIP_TEST, false, err);
  } else if (test && only_subfolder(d->path)) {
    code = read_classes(d, test, MOECLIP_TEST, true, err);
  } else {
    code = read_classes(d, d->path, MC_SPLIT_UNKNOWN, true, err);
  }
  free(train);
  free(test);
  MC_TRY(code);
  if (d->n_items == 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: there is no picture (JPEG, PNG or WebP) in its subfolders; one subfolder for each class is needed", d->path);
  }
  for (size_t c = 0; c < d->n_classes; c++) {
    for (char *s = d->classes[c]; *s; s++) *s = *s == '_' ? ' ' : *s;
  }
  return MOECLIP_OK;
}
