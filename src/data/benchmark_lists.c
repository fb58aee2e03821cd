/* Lists of pictures: what all readers of them share; Aircraft, DTD, Food, OxfordPet. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/benchmark.h"

#define MAX_LIST_BYTES ((size_t)64 << 20)

/* --- lists -------------------------------------------------------------------------------------------------------- */

moeclip_code mc_list_open(mc_list_file *f, const char *folder, const char *name, moeclip_error *err) {
  uint8_t *data = NULL;
  size_t n;
  *f = (mc_list_file){.path = mc_format("%s/%s", folder, name)};
  if (!f->path) return mc_fail_memory(err, strlen(folder), "a file name");
  MC_TRY(mc_file_read(f->path, MAX_LIST_BYTES, &data, &n, err));
  f->text = f->next = (char *)data;
  if (memchr(data, 0, n)) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not a text file", f->path);
  if (n >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) f->next += 3; /* a byte order mark */
  return MOECLIP_OK;
}

void mc_list_close(mc_list_file *f) {
  free(f->path);
  free(f->text);
  *f = (mc_list_file){0};
}

bool mc_list_next(mc_list_file *f, char **line) {
  while (*f->next) {
    char *begin = f->next, *end = begin + strcspn(begin, "\n");
    f->next = *end ? end + 1 : end;
    f->line++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t')) end--;
    *end = 0;
    if (end == begin) continue;
    *line = begin;
    return true;
  }
  return false;
}

moeclip_code mc_list_bad(const mc_list_file *f, moeclip_error *err, const char *format, ...) {
  char message[512];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s:%zu: %s", f->path, f->line, message);
}

moeclip_code mc_list_at(const mc_list_file *f, moeclip_code code, moeclip_error *err) {
  if (code == MOECLIP_OK || !err) return code;
  char place[400];
  snprintf(place, sizeof place, "%s:%zu", f->path, f->line);
  mc_fail_prefix(err, place);
  return code;
}

bool mc_is_inner_path(const char *path) {
  if (!*path || *path == '/') return false;
  for (const char *part = path; *part;) {
    size_t n = strcspn(part, "/");
    if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) return false;
    part += n;
    if (*part == '/' && !part[1]) return false;
    part += *part == '/';
  }
  return true;
}

moeclip_code mc_add_picture(moeclip_dataset *d, const char *folder, const char *name, const char *ending,
                            int32_t label, int split, moeclip_error *err) {
  if (!mc_is_inner_path(name)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "\"%.200s\" is no name of a picture below %s", name, folder);
  }
  char *path = mc_format("%s/%s%s", folder, name, ending);
  if (!path) return mc_fail_memory(err, strlen(folder), "a file name");
  if (!mc_is_file(path)) {
    mc_fail(err, MOECLIP_ERROR_FORMAT, "the picture %.400s is missing; unpack the pictures again", path);
    free(path);
    return MOECLIP_ERROR_FORMAT;
  }
  mc_item item = {.path = path, .label = label, .split = split};
  return mc_dataset_add(d, &item, err);
}

void mc_sort_classes(moeclip_dataset *d) {
  size_t n = 0;
  if (d->n_classes > 1) qsort(d->classes, d->n_classes, sizeof *d->classes, mc_by_bytes);
  for (size_t i = 0; i < d->n_classes; i++) {
    if (n > 0 && strcmp(d->classes[n - 1], d->classes[i]) == 0) {
      free(d->classes[i]);
    } else {
      d->classes[n++] = d->classes[i];
    }
  }
  d->n_classes = n;
}

int32_t mc_sorted_class(const moeclip_dataset *d, const char *name) {
  if (d->n_classes == 0) return -1;
  char **found = bsearch(&name, d->classes, d->n_classes, sizeof *d->classes, mc_by_bytes);
  return found ? (int32_t)(found - d->classes) : -1;
}

static moeclip_code add_class(moeclip_dataset *d, const char *name, size_t n, moeclip_error *err) {
  if (d->n_classes < MC_MAX_BENCHMARK_CLASSES) return mc_dataset_add_class(d, name, n, err);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "more than %d classes", MC_MAX_BENCHMARK_CLASSES);
}

/* --- Aircraft: ID VARIANT ----------------------------------------------------------------------------------------- */

static int32_t class_number(const moeclip_dataset *d, const char *name) {
  for (size_t c = 0; c < d->n_classes; c++) {
    if (strcmp(d->classes[c], name) == 0) return (int32_t)c;
  }
  return -1;
}

static moeclip_code aircraft_list(moeclip_dataset *d, mc_list_file *f, const char *images, int split,
                                  moeclip_error *err) {
  for (char *line; mc_list_next(f, &line);) {
    char *space = strchr(line, ' ');
    if (!space) return mc_list_bad(f, err, "\"%.100s\" is not a picture's number, a space and a variant", line);
    *space = 0;
    int32_t label = class_number(d, space + 1);
    if (label < 0) return mc_list_bad(f, err, "the variant \"%.100s\" is not in variants.txt", space + 1);
    MC_TRY(mc_list_at(f, mc_add_picture(d, images, line, ".jpg", label, split, err), err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_read_aircraft(moeclip_dataset *d, moeclip_error *err) {
  /* The published evaluation trains on train alone, without val. */
  static const char *const lists[2] = {"images_variant_train.txt", "images_variant_test.txt"};
  mc_list_file f = {0};
  char *images = mc_format("%s/images", d->path);
  moeclip_code code = images ? mc_list_open(&f, d->path, "variants.txt", err)
                             : mc_fail_memory(err, strlen(d->path), "a file name");
  for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) {
    code = class_number(d, line) < 0 ? mc_list_at(&f, add_class(d, line, strlen(line), err), err)
                                     : mc_list_bad(&f, err, "the variant \"%.100s\" is there twice", line);
  }
  mc_list_close(&f);
  for (int split = 0; code == MOECLIP_OK && split < 2; split++) {
    code = mc_list_open(&f, d->path, lists[split], err);
    if (code == MOECLIP_OK) code = aircraft_list(d, &f, images, split, err);
    mc_list_close(&f);
  }
  free(images);
  return code;
}

/* --- DTD and Food: CLASS/NAME ------------------------------------------------------------------------------------- */

/* Once over the list for the classes' names (adds), once for the pictures. */
static moeclip_code class_list(moeclip_dataset *d, mc_list_file *f, const char *images, const char *ending, int split,
                               bool adds, moeclip_error *err) {
  const char *last = "";
  size_t n_last = 0;
  for (char *line; mc_list_next(f, &line);) {
    size_t n = strcspn(line, "/");
    if (n == 0 || !line[n] || !mc_is_inner_path(line)) {
      return mc_list_bad(f, err, "\"%.100s\" is not a class's folder, a slash and a picture", line);
    }
    if (adds) {
      /* Lists are grouped by class; in one that is not, the repeated names go from time to time. */
      if (d->n_classes == MC_MAX_BENCHMARK_CLASSES) {
        mc_sort_classes(d);
        if (d->n_classes > MC_MAX_BENCHMARK_CLASSES / 2) return mc_list_bad(f, err, "there are too many classes");
      }
      if (n != n_last || memcmp(line, last, n) != 0) MC_TRY(mc_list_at(f, add_class(d, line, n, err), err));
      last = line;
      n_last = n;
      continue;
    }
    line[n] = 0;
    int32_t label = mc_sorted_class(d, line);
    if (label < 0) return mc_list_bad(f, err, "the class \"%.100s\" has no training pictures", line);
    line[n] = '/';
    MC_TRY(mc_list_at(f, mc_add_picture(d, images, line, ending, label, split, err), err));
  }
  return MOECLIP_OK;
}

static moeclip_code class_lists(moeclip_dataset *d, const char *const lists[2], const char *ending,
                                moeclip_error *err) {
  char *images = mc_format("%s/images", d->path);
  if (!images) return mc_fail_memory(err, strlen(d->path), "a file name");
  moeclip_code code = MOECLIP_OK;
  for (int pass = 0; code == MOECLIP_OK && pass < 3; pass++) {
    mc_list_file f;
    int split = pass == 2;
    code = mc_list_open(&f, d->path, lists[split], err);
    if (code == MOECLIP_OK) code = class_list(d, &f, images, ending, split, pass == 0, err);
    mc_list_close(&f);
    if (pass == 0) mc_sort_classes(d);
  }
  free(images);
  return code;
}

moeclip_code mc_read_dtd(moeclip_dataset *d, moeclip_error *err) {
  static const char *const lists[2] = {"labels/train1.txt", "labels/test1.txt"}; /* the first of its ten splits */
  return class_lists(d, lists, "", err);
}

/* {"CLASS": ["CLASS/ID", ...]} */
static moeclip_code food_json(moeclip_dataset *d, const char *file, const char *images, int split, bool adds,
                              moeclip_error *err) {
  mc_list_file f;
  json_t *root = NULL;
  json_error_t wrong;
  bool no_memory = false;
  const char *name;
  json_t *ids, *id;
  size_t i;
  moeclip_code code = mc_list_open(&f, d->path, file, err);
  if (code == MOECLIP_OK) root = mc_json_read(f.next, strlen(f.next), 0, &wrong, &no_memory);
  if (no_memory) {
    code = mc_fail_memory(err, strlen(f.next), f.path);
  } else if (code == MOECLIP_OK && !root) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s:%d: %s", f.path, wrong.line, wrong.text);
  } else if (code == MOECLIP_OK && !json_is_object(root)) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s:1: not an object of lists of pictures by class", f.path);
  }
  if (adds && code == MOECLIP_OK) {
    json_object_foreach(root, name, ids) {
      if (code == MOECLIP_OK) code = add_class(d, name, strlen(name), err);
    }
    mc_sort_classes(d);
  }
  for (size_t c = 0; !adds && code == MOECLIP_OK && c < d->n_classes; c++) {
    json_array_foreach(json_object_get(root, d->classes[c]), i, id) {
      const char *text = json_is_string(id) ? json_string_value(id) : "";
      code = mc_add_picture(d, images, text, ".jpg", (int32_t)c, split, err);
      if (code == MOECLIP_OK) continue;
      char place[400];
      snprintf(place, sizeof place, "%s: %.60s, number %zu", f.path, d->classes[c], i);
      mc_fail_prefix(err, place);
      break;
    }
  }
  json_decref(root);
  mc_list_close(&f);
  return code;
}

moeclip_code mc_read_food(moeclip_dataset *d, moeclip_error *err) {
  static const char *const lists[2] = {"meta/train.txt", "meta/test.txt"};
  static const char *const objects[2] = {"meta/train.json", "meta/test.json"};
  char *text = mc_format("%s/%s", d->path, lists[0]), *images = mc_format("%s/images", d->path);
  bool has_text = text && mc_is_file(text);
  moeclip_code code = text && images ? MOECLIP_OK : mc_fail_memory(err, strlen(d->path), "a file name");
  if (code == MOECLIP_OK && has_text) code = class_lists(d, lists, ".jpg", err);
  for (int pass = 0; code == MOECLIP_OK && !has_text && pass < 3; pass++) {
    code = food_json(d, objects[pass == 2], images, pass == 2, pass == 0, err);
  }
  free(text);
  free(images);
  return code;
}

/* --- OxfordPet: BREED_NUMBER LABEL SPECIES BREED ------------------------------------------------------------------ */

/* american_bulldog -> American Bulldog: the case that the published evaluation gives the names. */
static void title(char *s) {
  bool inside = false;
  for (; *s; s++) {
    if (*s == '_') *s = ' ';
    *s = (char)(inside ? tolower((unsigned char)*s) : toupper((unsigned char)*s));
    inside = isalpha((unsigned char)*s);
  }
}

static moeclip_code pets_line(moeclip_dataset *d, mc_list_file *f, char *line, const char *images, int split,
                              moeclip_error *err) {
  char *space = strchr(line, ' '), *end = NULL;
  long label = space ? strtol(space + 1, &end, 10) : 0;
  if (!space || end == space + 1 || (*end && *end != ' ')) {
    return mc_list_bad(f, err, "\"%.100s\" is not a picture's name and three numbers", line);
  }
  if (label < 1 || label > MC_MAX_BENCHMARK_CLASSES) {
    return mc_list_bad(f, err, "the label %ld is not from 1 to %d", label, MC_MAX_BENCHMARK_CLASSES);
  }
  *space = 0;
  const char *mark = strrchr(line, '_');
  if (!mark || mark == line) return mc_list_bad(f, err, "\"%.100s\" is not BREED_NUMBER", line);
  while (d->n_classes < (size_t)label) MC_TRY(mc_dataset_add_class(d, "", 0, err));
  char *name = mc_strndup(line, (size_t)(mark - line)), **known = &d->classes[label - 1];
  if (!name) return mc_fail_memory(err, strlen(line), "a class name");
  title(name);
  moeclip_code code = MOECLIP_OK;
  if (!**known) {
    free(*known);
    *known = name;
  } else {
    if (strcmp(*known, name) != 0) {
      code = mc_list_bad(f, err, "the label %ld is that of \"%.100s\", not of \"%.100s\"", label, *known, name);
    }
    free(name);
  }
  if (code == MOECLIP_OK) {
    code = mc_list_at(f, mc_add_picture(d, images, line, ".jpg", (int32_t)label - 1, split, err), err);
  }
  return code;
}

moeclip_code mc_read_pets(moeclip_dataset *d, moeclip_error *err) {
  static const char *const lists[2] = {"annotations/trainval.txt", "annotations/test.txt"};
  char *images = mc_format("%s/images", d->path);
  if (!images) return mc_fail_memory(err, strlen(d->path), "a file name");
  moeclip_code code = MOECLIP_OK;
  for (int split = 0; code == MOECLIP_OK && split < 2; split++) {
    mc_list_file f;
    code = mc_list_open(&f, d->path, lists[split], err);
    for (char *line; code == MOECLIP_OK && mc_list_next(&f, &line);) {
      if (*line != '#') code = pets_line(d, &f, line, images, split, err);
    }
    mc_list_close(&f);
  }
  free(images);
  for (size_t c = 0; code == MOECLIP_OK && c < d->n_classes; c++) {
    if (d->classes[c][0]) continue;
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: no picture has the label %zu, but there are labels up to %zu",
                   d->path, c + 1, d->n_classes);
  }
  return code;
}
