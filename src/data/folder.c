/* A folder with one subfolder per class, optionally with train/ and test/ above them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "data/dataset.h"

static moeclip_code walk(moeclip_dataset *d, const char *folder, int32_t label, int32_t split, const mc_folder *above,
                         moeclip_error *err) {
  mc_folder here;
  char **names;
  size_t n;
  bool again;
  MC_TRY(mc_folder_enter(&here, folder, above, &again, err));
  if (again) return MOECLIP_OK;
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]);
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a file name");
    } else if (mc_is_folder(path)) {
      code = walk(d, path, label, split, &here, err);
      free(path);
    } else if (mc_is_picture_name(names[i])) {
      mc_item item = {.path = path, .label = label, .split = split};
      code = mc_dataset_add(d, &item, err);
    } else if (moeclip_picture_kind_of(names[i]) == MOECLIP_PICTURE_UNREAD) {
      mc_dataset_leave_out(d, MOECLIP_LEFT_OUT_KIND, path);
    } else {
      free(path);
    }
  }
  mc_names_free(names, n);
  return code;
}

static int by_name(const void *key, const void *name) { return strcmp(key, *(char *const *)name); }

/* The class folders of one level. The first split that is read (or a set without splits) adds the classes, sorted as the
 * names are; the test split after it finds them. */
static moeclip_code read_classes(moeclip_dataset *d, const char *folder, int32_t split, bool adds, moeclip_error *err) {
  char **names;
  mc_folder here;
  size_t n;
  bool again;
  MC_TRY(mc_folder_enter(&here, folder, NULL, &again, err));
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]);
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a file name");
    } else if (mc_is_folder(path)) {
      size_t before = d->n_items;
      char **known = adds || d->n_classes == 0
                         ? NULL : bsearch(names[i], d->classes, d->n_classes, sizeof *d->classes, by_name);
      code = walk(d, path, (int32_t)(known ? (size_t)(known - d->classes) : d->n_classes), split, &here, err);
      if (code == MOECLIP_OK && d->n_items > before && !known) {
        code = adds ? mc_dataset_add_class(d, names[i], strlen(names[i]), err)
                                     : mc_fail(err, MOECLIP_ERROR_FORMAT,
                                               "%s: the class \"%s\" has no training pictures, only test pictures",
                                               folder, names[i]);
      }
    } else if (moeclip_picture_kind_of(names[i]) != MOECLIP_PICTURE_NONE) {
      mc_dataset_leave_out(d, MOECLIP_LEFT_OUT_LOOSE, path);
      continue;
    }
    free(path);
  }
  mc_names_free(names, n);
  return code;
}

/* The first of the names that is a subfolder, freed by the caller; NULL when there is none. */
static moeclip_code subfolder(const char *folder, const char *const *names, char **out, moeclip_error *err) {
  *out = NULL;
  while (*names && !mc_is_folder_in(folder, *names)) names++;
  if (*names && !(*out = mc_format("%s/%s", folder, *names))) return mc_fail_memory(err, strlen(folder), "a file name");
  return MOECLIP_OK;
}

/* A test folder alone is a set to evaluate on; beside others it may as well be a class of that name. */
static moeclip_code only_subfolder(const char *folder, bool *only, moeclip_error *err) {
  char **names;
  size_t n, n_folders = 0;
  moeclip_code code = mc_list_folder(folder, &names, &n, err);
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) n_folders += mc_is_folder_in(folder, names[i]);
  if (code == MOECLIP_OK) mc_names_free(names, n);
  *only = n_folders == 1;
  return code;
}

moeclip_code mc_read_folder(moeclip_dataset *d, moeclip_error *err) {
  static const char *const trains[] = {"train", "training", "Train", "TRAIN", NULL};
  static const char *const tests[] = {"test", "val", "valid", "validation", "testing", "Test", "TEST", NULL};
  char *train = NULL, *test = NULL;
  bool test_alone = false;
  d->format = "folder";
  moeclip_code code = subfolder(d->path, trains, &train, err);
  if (code == MOECLIP_OK) code = subfolder(d->path, tests, &test, err);
  if (code == MOECLIP_OK && test && !train) code = only_subfolder(d->path, &test_alone, err);
  if (code != MOECLIP_OK) {
    free(train);
    free(test);
    return code;
  }
  if (train && test) {
    code = read_classes(d, train, MOECLIP_TRAIN, true, err);
    if (code == MOECLIP_OK) code = read_classes(d, test, MOECLIP_TEST, false, err);
  } else if (test_alone) {
    code = read_classes(d, test, MOECLIP_TEST, true, err);
  } else {
    code = read_classes(d, d->path, MC_SPLIT_UNKNOWN, true, err);
    if (code == MOECLIP_OK && d->n_classes == 1 && (train || test)) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there are no %s pictures; train/ and test/ folders go together",
                     d->path, train ? "test" : "training");
    }
  }
  d->has_names = true;
  free(train);
  free(test);
  MC_TRY(code);
  if (d->n_items == 0 && d->n_left_out[MOECLIP_LEFT_OUT_KIND]) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there is no JPEG, PNG or WebP picture in its subfolders; others cannot be read, such as %s",
                   d->path, d->left_out[MOECLIP_LEFT_OUT_KIND]);
  }
  if (d->n_items == 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: there is no picture (JPEG, PNG or WebP) in its subfolders; one subfolder a class is needed%s", d->path,
                   d->n_left_out[MOECLIP_LEFT_OUT_LOOSE] ? ", and its pictures lie in none" : "");
  }
  for (size_t c = 0; c < d->n_classes; c++) {
    for (char *s = d->classes[c]; *s; s++) *s = *s == '_' ? ' ' : *s;
  }
  return MOECLIP_OK;
}
