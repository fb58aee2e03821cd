/* Folders of pictures with names of their own: Caltech101, EuroSAT, SUN397, TinyImageNet. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/benchmark.h"

moeclip_code mc_add_pictures(moeclip_dataset *d, const char *folder, const char *prefix, int32_t label, int split,
                             moeclip_error *err) {
  char **names;
  size_t n;
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    if (!mc_is_picture_name(names[i]) || strncmp(names[i], prefix, strlen(prefix)) != 0) continue;
    mc_item item = {.path = mc_format("%s/%s", folder, names[i]), .label = label, .split = split};
    code = item.path ? mc_dataset_add(d, &item, err) : mc_fail_memory(err, strlen(folder), "a file name");
  }
  mc_names_free(names, n);
  return code;
}

/* --- Caltech101 and EuroSAT: a folder a class --------------------------------------------------------------------- */

static moeclip_code class_folders(moeclip_dataset *d, const char *passed_over, moeclip_error *err) {
  char **names;
  size_t n;
  MC_TRY(mc_list_folder(d->path, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *folder = mc_format("%s/%s", d->path, names[i]);
    size_t before = d->n_items;
    if (!folder) {
      code = mc_fail_memory(err, strlen(d->path), "a file name");
    } else if (mc_is_folder(folder) && strcmp(names[i], passed_over) != 0) {
      code = mc_add_pictures(d, folder, "", (int32_t)d->n_classes, MC_SPLIT_UNKNOWN, err);
      if (code == MOECLIP_OK && d->n_items > before) code = mc_dataset_add_class(d, names[i], strlen(names[i]), err);
    }
    free(folder);
  }
  mc_names_free(names, n);
  return code;
}

moeclip_code mc_read_caltech101(moeclip_dataset *d, moeclip_error *err) {
  return class_folders(d, "BACKGROUND_Google", err);
}

moeclip_code mc_read_eurosat(moeclip_dataset *d, moeclip_error *err) { return class_folders(d, "", err); }

/* --- SUN397: ClassName.txt of /a/abbey ---------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b) {
  return strcmp(((const mc_item *)a)->path, ((const mc_item *)b)->path);
}

static moeclip_code sun_class(moeclip_dataset *d, mc_list_file *f, const char *line, moeclip_error *err) {
  /* The class /a/airplane_cabin lies in the folder of its first letter, which is no part of its name. */
  if (line[0] != '/' || !line[1] || line[2] != '/' || !mc_is_inner_path(line + 1)) {
    return mc_list_bad(f, err, "\"%.100s\" is not a class like /a/abbey", line);
  }
  if (d->n_classes >= MC_MAX_BENCHMARK_CLASSES) return mc_list_bad(f, err, "there are too many classes");
  char *folder = mc_format("%s%s", d->path, line);
  if (!folder) return mc_fail_memory(err, strlen(d->path), "a file name");
  size_t before = d->n_items;
  moeclip_code code = mc_add_pictures(d, folder, "sun_", (int32_t)d->n_classes, MC_SPLIT_UNKNOWN, err);
  if (code == MOECLIP_OK && d->n_items == before) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%.400s: there is no picture sun_*.jpg", folder);
  }
  free(folder);
  MC_TRY(mc_list_at(f, code, err));
  return mc_dataset_add_class(d, line + 3, strlen(line + 3), err);
}

moeclip_code mc_read_sun397(moeclip_dataset *d, moeclip_error *err) {
  mc_list_file f;
  moeclip_code code = mc_list_open(&f, d->path, "ClassName.txt", err);
  for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) code = sun_class(d, &f, line, err);
  mc_list_close(&f);
  MC_TRY(code);
  /* The seeded split is one of the sorted list, whatever the order of the classes. */
  if (d->n_items > 1) qsort(d->items, d->n_items, sizeof *d->items, by_path);
  for (size_t i = 1; i < d->n_items; i++) {
    if (strcmp(d->items[i - 1].path, d->items[i].path) == 0) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s/ClassName.txt: the class of %.400s is there twice", d->path,
                     d->items[i].path);
    }
  }
  return MOECLIP_OK;
}

/* --- TinyImageNet: wnids.txt, words.txt --------------------------------------------------------------------------- */

typedef struct tiny_class {
  char *id, *name; /* name NULL: not yet known */
  size_t order;    /* published label, or, behind those, the place in wnids.txt */
} tiny_class;

typedef struct tiny {
  tiny_class *classes;
  size_t n;
  tiny_class **by_id; /* [n] sorted */
} tiny;

static void tiny_clear(tiny *t) {
  for (size_t c = 0; c < t->n; c++) {
    free(t->classes[c].id);
    free(t->classes[c].name);
  }
  free(t->classes);
  free(t->by_id);
}

static int by_id(const void *a, const void *b) {
  return strcmp((*(tiny_class *const *)a)->id, (*(tiny_class *const *)b)->id);
}

static int by_order(const void *a, const void *b) {
  size_t x = ((const tiny_class *)a)->order, y = ((const tiny_class *)b)->order;
  return (x > y) - (x < y);
}

static tiny_class *tiny_find(const tiny *t, const char *id) {
  tiny_class key = {.id = (char *)(uintptr_t)id}, *at = &key;
  tiny_class **found = t->n ? bsearch(&at, t->by_id, t->n, sizeof *t->by_id, by_id) : NULL;
  return found ? *found : NULL;
}

/* A WordNet id and its published label and name. */
static moeclip_code tiny_add(tiny *t, const char *id, const moeclip_benchmark_texts *texts, moeclip_error *err) {
  tiny_class *grown = mc_realloc(t->classes, t->n + 1, sizeof *grown), c = {.id = mc_strdup(id)};
  if (grown) t->classes = grown;
  c.order = texts->n_classes + t->n;
  for (size_t i = 0; i < texts->n_classes; i++) {
    if (strcmp(texts->ids[i], id) != 0) continue;
    c.order = i;
    c.name = mc_strdup(texts->classes[i]);
    if (!c.name) grown = NULL;
  }
  if (!grown || !c.id) {
    free(c.id);
    free(c.name);
    return mc_fail_memory(err, sizeof c, "a class");
  }
  t->classes[t->n++] = c;
  return MOECLIP_OK;
}

static moeclip_code tiny_ids(moeclip_dataset *d, tiny *t, const moeclip_benchmark_texts *texts, moeclip_error *err) {
  mc_list_file f;
  moeclip_code code = mc_list_open(&f, d->path, "wnids.txt", err);
  for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) {
    bool plain = mc_is_inner_path(line) && !strchr(line, '/') && t->n < MC_MAX_BENCHMARK_CLASSES;
    code = plain ? tiny_add(t, line, texts, err) : mc_list_bad(&f, err, "\"%.100s\" is no WordNet id", line);
  }
  if (code == MOECLIP_OK && t->n == 0) code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: holds no WordNet id", f.path);
  if (code == MOECLIP_OK) {
    qsort(t->classes, t->n, sizeof *t->classes, by_order);
    t->by_id = mc_alloc(t->n, sizeof *t->by_id);
    if (!t->by_id) code = mc_fail_memory(err, t->n * sizeof *t->by_id, "classes");
  }
  if (code == MOECLIP_OK) {
    for (size_t c = 0; c < t->n; c++) t->by_id[c] = &t->classes[c];
    qsort(t->by_id, t->n, sizeof *t->by_id, by_id);
    for (size_t c = 1; c < t->n && code == MOECLIP_OK; c++) {
      if (strcmp(t->by_id[c - 1]->id, t->by_id[c]->id) != 0) continue;
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%.100s\" is there twice", f.path, t->by_id[c]->id);
    }
  }
  mc_list_close(&f);
  return code;
}

/* ID, a tabulator, names with commas between them: the first one counts. Only for ids of which none is published. */
static moeclip_code tiny_words(moeclip_dataset *d, tiny *t, moeclip_error *err) {
  mc_list_file f;
  size_t n_unnamed = 0;
  for (size_t c = 0; c < t->n; c++) n_unnamed += !t->classes[c].name;
  if (n_unnamed == 0) return MOECLIP_OK;
  moeclip_code code = mc_list_open(&f, d->path, "words.txt", err);
  for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) {
    char *tab = strchr(line, '\t');
    if (!tab) {
      code = mc_list_bad(&f, err, "\"%.100s\" is not an id, a tabulator and names", line);
      continue;
    }
    *tab = 0;
    tiny_class *c = tiny_find(t, line);
    if (!c || c->name) continue;
    c->name = mc_strndup(tab + 1, strcspn(tab + 1, ","));
    if (!c->name) code = mc_fail_memory(err, strlen(tab + 1), "a class name");
  }
  mc_list_close(&f);
  return code;
}

/* FILE, a tabulator, ID, and a box that does not matter here. */
static moeclip_code tiny_test(moeclip_dataset *d, const tiny *t, moeclip_error *err) {
  mc_list_file f;
  char *images = mc_format("%s/val/images", d->path);
  if (!images) return mc_fail_memory(err, strlen(d->path), "a file name");
  moeclip_code code = mc_list_open(&f, d->path, "val/val_annotations.txt", err);
  for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) {
    char *id = strchr(line, '\t');
    if (id) {
      *id++ = 0;
      id[strcspn(id, "\t")] = 0;
    }
    const tiny_class *c = id ? tiny_find(t, id) : NULL;
    if (!id) {
      code = mc_list_bad(&f, err, "\"%.100s\" is not a picture, a tabulator and an id", line);
    } else if (!c) {
      code = mc_list_bad(&f, err, "the id \"%.100s\" is not in wnids.txt", id);
    } else {
      code = mc_list_at(&f, mc_add_picture(d, images, line, "", (int32_t)(c - t->classes), MOECLIP_TEST, err), err);
    }
  }
  mc_list_close(&f);
  free(images);
  return code;
}

static moeclip_code tiny_train(moeclip_dataset *d, const tiny *t, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  for (size_t c = 0; code == MOECLIP_OK && c < t->n; c++) {
    char *folder = mc_format("%s/train/%s/images", d->path, t->classes[c].id);
    const char *name = t->classes[c].name ? t->classes[c].name : t->classes[c].id;
    code = folder ? mc_add_pictures(d, folder, "", (int32_t)c, MOECLIP_TRAIN, err)
                  : mc_fail_memory(err, strlen(d->path), "a file name");
    free(folder);
    if (code == MOECLIP_OK) code = mc_dataset_add_class(d, name, strlen(name), err);
  }
  return code;
}

moeclip_code mc_read_tinyimagenet(moeclip_dataset *d, moeclip_error *err) {
  moeclip_benchmark_texts texts;
  tiny t = {0};
  MC_TRY(moeclip_benchmark_texts_load("TinyImageNet", &texts, err));
  moeclip_code code = tiny_ids(d, &t, &texts, err);
  if (code == MOECLIP_OK) code = tiny_words(d, &t, err);
  if (code == MOECLIP_OK) code = tiny_train(d, &t, err);
  if (code == MOECLIP_OK) code = tiny_test(d, &t, err);
  tiny_clear(&t);
  moeclip_benchmark_texts_clear(&texts);
  return code;
}
