/* Data sets: what every reader's list of pictures becomes. */
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/benchmark.h"
#include "data/loader.h"

void moeclip_dataset_options_defaults(moeclip_dataset_options *o) {
  *o = (moeclip_dataset_options){.train_fraction = 0.8, .split_seed = 42};
}

/* --- building ----------------------------------------------------------------------------------------------------- */

static moeclip_code grow(void **list, size_t n, size_t *cap, size_t size, moeclip_error *err) {
  if (n < *cap) return MOECLIP_OK;
  size_t wanted = *cap ? 2 * *cap : 64;
  void *grown = mc_realloc(*list, wanted, size);
  if (!grown) return mc_fail_memory(err, wanted * size, "a data set");
  *list = grown;
  *cap = wanted;
  return MOECLIP_OK;
}

moeclip_code mc_dataset_add(moeclip_dataset *d, const mc_item *item, moeclip_error *err) {
  void *items = d->items;
  moeclip_code code = d->n_items < INT32_MAX
                          ? grow(&items, d->n_items, &d->cap_items, sizeof *d->items, err)
                          : mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: more than 2^31 pictures", d->path);
  d->items = items;
  if (code != MOECLIP_OK) {
    free(item->path);
    return code;
  }
  d->items[d->n_items++] = *item;
  return MOECLIP_OK;
}

moeclip_code mc_dataset_keep(moeclip_dataset *d, const char *file, uint8_t *data, uint32_t *block, moeclip_error *err) {
  mc_block_of_pixels *grown = mc_realloc(d->blocks, d->n_blocks + 1, sizeof *grown);
  char *name = mc_strdup(file);
  if (grown) d->blocks = grown;
  if (!grown || !name) {
    free(name);
    free(data);
    return mc_fail_memory(err, sizeof *grown, "a data set");
  }
  *block = (uint32_t)d->n_blocks;
  d->blocks[d->n_blocks++] = (mc_block_of_pixels){name, data};
  return MOECLIP_OK;
}

moeclip_code mc_dataset_add_class(moeclip_dataset *d, const char *name, size_t n, moeclip_error *err) {
  void *classes = d->classes;
  moeclip_code code = grow(&classes, d->n_classes, &d->cap_classes, sizeof *d->classes, err);
  d->classes = classes;
  MC_TRY(code);
  d->classes[d->n_classes] = mc_strndup(name, n);
  if (!d->classes[d->n_classes]) return mc_fail_memory(err, n, "a class name");
  d->n_classes++;
  return MOECLIP_OK;
}

void mc_dataset_drop_classes(moeclip_dataset *d) {
  for (size_t i = 0; i < d->n_classes; i++) free(d->classes[i]);
  d->n_classes = 0;
}

moeclip_code mc_dataset_classes_file(moeclip_dataset *d, const char *file, bool *found, moeclip_error *err) {
  uint8_t *text = NULL;
  size_t n;
  const char *slash = strrchr(d->path, '/');
  size_t n_folder = !mc_is_file(d->path) ? strlen(d->path) : slash ? (size_t)(slash - d->path) : 0;
  char *path = n_folder || slash ? mc_format("%.*s/%s", (int)n_folder, d->path, file) : mc_strdup(file);
  if (!path) return mc_fail_memory(err, strlen(d->path), "a file name");
  *found = mc_is_file(path);
  moeclip_code code = *found ? mc_file_read(path, 1 << 24, &text, &n, err) : MOECLIP_OK;
  if (text && memchr(text, 0, n)) code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not a text file", path);
  free(path);
  if (!*found || code != MOECLIP_OK) {
    free(text);
    return code;
  }
  mc_dataset_drop_classes(d);
  /* NOLINTNEXTLINE(clang-analyzer-*): read, so there is text */
  size_t n_mark = strncmp((const char *)text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
  for (const char *line = (const char *)text + n_mark; code == MOECLIP_OK && *line;) {
    size_t length = strcspn(line, "\n"), used = length;
    while (used > 0 && (line[used - 1] == '\r' || line[used - 1] == ' ')) used--;
    if (used) code = mc_dataset_add_class(d, line, used, err);
    line += length + (line[length] == '\n');
  }
  free(text);
  return code;
}

/* Names that were given take the place of all others; numbers stand in where there are none. */
/* Two classes of one name have one text, and no picture could be told to be of this or that one. */
static moeclip_code check_distinct(const moeclip_dataset *d, moeclip_error *err) {
  char **sorted = mc_alloc(d->n_classes, sizeof *sorted);
  const char *twice = NULL;
  if (!sorted) return mc_fail_memory(err, d->n_classes * sizeof *sorted, "names of classes");
  memcpy(sorted, d->classes, d->n_classes * sizeof *sorted);
  qsort(sorted, d->n_classes, sizeof *sorted, mc_by_bytes);
  for (size_t c = 1; c < d->n_classes && !twice; c++) twice = strcmp(sorted[c], sorted[c - 1]) == 0 ? sorted[c] : NULL;
  free(sorted);
  if (!twice) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: two classes are called \"%.200s\"%s", d->path, twice,
                 strcmp(d->format, "folder") == 0 ? " (_ in a folder's name stands for a space)" : "");
}

static moeclip_code name_classes(moeclip_dataset *d, const moeclip_dataset_options *o, moeclip_error *err) {
  int32_t highest = 0;
  for (size_t i = 0; i < d->n_items; i++) highest = d->items[i].label > highest ? d->items[i].label : highest;
  if (o->classes) {
    /* One too few or too many would shift the names of all that follow. */
    if (d->has_names && o->n_classes != d->n_classes) {
      return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: there are %zu classes, but %zu class names were given", d->path,
                     d->n_classes, o->n_classes);
    }
    mc_dataset_drop_classes(d);
    for (size_t i = 0; i < o->n_classes; i++) {
      MC_TRY(mc_dataset_add_class(d, o->classes[i], strlen(o->classes[i]), err));
    }
  }
  if (d->n_classes == 0 && !o->classes) {
    for (int32_t i = 0; i <= highest; i++) {
      char number[16];
      MC_TRY(mc_dataset_add_class(d, number, (size_t)snprintf(number, sizeof number, "%d", (int)i), err));
    }
  }
  if ((size_t)highest >= d->n_classes) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: there are labels up to %d, but only %zu class names", d->path,
                   (int)highest, d->n_classes);
  }
  return check_distinct(d, err);
}

/* --- splitting ---------------------------------------------------------------------------------------------------- */

static moeclip_code split_items(moeclip_dataset *d, const moeclip_dataset_options *o, moeclip_error *err) {
  uint32_t n = (uint32_t)d->n_items;
  uint32_t *order = mc_alloc(n, sizeof *order);
  d->split[0] = mc_alloc(n, sizeof **d->split);
  d->split[1] = mc_alloc(n, sizeof **d->split);
  if (!order || !d->split[0] || !d->split[1]) {
    free(order);
    return mc_fail_memory(err, n * sizeof *order, "a split");
  }
  if (d->items[0].split == MC_SPLIT_UNKNOWN) {
    mc_mt19937 g;
    mc_mt19937_init(&g, o->split_seed);
    mc_mt19937_permutation(&g, n, order);
    size_t n_train = (size_t)(o->train_fraction * n);
    for (uint32_t i = 0; i < n; i++) d->items[order[i]].split = i < n_train ? MOECLIP_TRAIN : MOECLIP_TEST;
    /* The published order of a seeded split is that of the permutation. */
    for (uint32_t i = 0; i < n; i++) {
      int s = d->items[order[i]].split;
      d->split[s][d->n_split[s]++] = order[i];
    }
  } else {
    for (uint32_t i = 0; i < n; i++) {
      int s = d->items[i].split;
      d->split[s][d->n_split[s]++] = i;
    }
  }
  free(order);
  return MOECLIP_OK;
}

/* Keeps at most `limit` pictures of each class: the first met in one shuffled pass. Their order stays. */
static moeclip_code limit_split(moeclip_dataset *d, int s, int64_t limit, uint64_t seed, moeclip_error *err) {
  uint32_t n = (uint32_t)d->n_split[s];
  uint32_t *order = mc_alloc(n, sizeof *order);
  int64_t *met = calloc(d->n_classes, sizeof *met);
  uint8_t *kept = calloc((size_t)n + 1, 1);
  moeclip_code code = order && met && kept ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *order, "a split");
  if (code == MOECLIP_OK) {
    mc_philox g;
    mc_philox_init(&g, seed, MC_STREAM_SPLIT, (uint64_t)s);
    mc_philox_permutation(&g, n, order);
    for (uint32_t i = 0; i < n; i++) kept[order[i]] = met[d->items[d->split[s][order[i]]].label]++ < limit;
    d->n_split[s] = 0;
    for (uint32_t i = 0; i < n; i++) {
      if (kept[i]) d->split[s][d->n_split[s]++] = d->split[s][i];
    }
  }
  free(order);
  free(met);
  free(kept);
  return code;
}

static moeclip_code finish(moeclip_dataset *d, const moeclip_dataset_options *o, moeclip_error *err) {
  if (d->n_items == 0) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there are no pictures", d->path);
  MC_TRY(name_classes(d, o, err));
  MC_TRY(split_items(d, o, err));
  for (int s = 0; s < 2; s++) {
    if (o->max_per_class[s] > 0) MC_TRY(limit_split(d, s, o->max_per_class[s], o->seed, err));
  }
  return MOECLIP_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* The last part of a path, without the endings of a CSV file. */
static char *name_of(const char *path) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/') begin--;
  static const char *const endings[] = {".gz", ".csv"};
  for (int i = 0; i < 2; i++) {
    size_t n = strlen(endings[i]);
    if (end - begin > n && memcmp(path + end - n, endings[i], n) == 0) end -= n;
  }
  return mc_strndup(path + begin, end - begin);
}

static moeclip_code read_any(moeclip_dataset *d, const void *context, moeclip_error *err) {
  (void)context;
  if (mc_is_file(d->path)) return mc_read_csv(d, err);
  if (!mc_is_folder(d->path)) return mc_fail(err, MOECLIP_ERROR_IO, "%s: there is no such folder or file", d->path);
  if (mc_is_idx(d->path)) return mc_read_idx(d, err);
  if (mc_is_cifar(d->path)) return mc_read_cifar(d, err);
  const moeclip_benchmark_set *set = mc_benchmark_recognise(d->path);
  return set ? mc_benchmark_read(d, set, err) : mc_read_folder(d, err);
}

moeclip_code mc_dataset_open_with(const char *path, const moeclip_dataset_options *options, mc_reader read,
                                  const void *context, moeclip_dataset **out, moeclip_error *err) {
  *out = NULL;
  if (!(options->train_fraction > 0 && options->train_fraction <= 1)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the part for training, %g, must be above 0 and at most 1",
                   options->train_fraction);
  }
  moeclip_dataset *d = calloc(1, sizeof *d);
  if (!d) return mc_fail_memory(err, sizeof *d, "a data set");
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  d->path = mc_strndup(path, n);
  d->name = options->name ? mc_strdup(options->name) : name_of(path);
  moeclip_code code = d->path && d->name ? read(d, context, err) : mc_fail_memory(err, n, "a data set");
  if (code == MOECLIP_OK) code = finish(d, options, err);
  if (code != MOECLIP_OK) {
    moeclip_dataset_destroy(d);
    return code;
  }
  *out = d;
  return MOECLIP_OK;
}

moeclip_code moeclip_dataset_open(const char *path, const moeclip_dataset_options *options, moeclip_dataset **out,
                                  moeclip_error *err) {
  moeclip_dataset_options defaults;
  if (!options) {
    moeclip_dataset_options_defaults(&defaults);
    options = &defaults;
  }
  return mc_dataset_open_with(path, options, read_any, NULL, out, err);
}

void moeclip_dataset_destroy(moeclip_dataset *d) {
  if (!d) return;
  mc_dataset_drop_classes(d);
  for (size_t i = 0; !d->borrowed && i < d->n_items; i++) free(d->items[i].path);
  for (size_t i = 0; i < d->n_blocks; i++) {
    free(d->blocks[i].file);
    free(d->blocks[i].data);
  }
  free(d->classes);
  free(d->items);
  free(d->blocks);
  free(d->split[0]);
  free(d->split[1]);
  for (int why = 0; why < 2; why++) free(d->left_out[why]);
  free(d->path);
  free(d->name);
  free(d);
}

/* --- choosing classes ----------------------------------------------------------------------------------------------- */

/* The pictures of the classes that are of one set. wanted [its classes]: room for the new labels. */
static moeclip_code select_items(moeclip_dataset *d, const moeclip_dataset *of, const moeclip_class_of *classes, size_t n,
                                 int32_t *wanted, moeclip_error *err) {
  for (size_t c = 0; c < of->n_classes; c++) wanted[c] = -1;
  for (size_t i = 0; i < n; i++) {
    if (classes[i].dataset != of) continue;
    int label = classes[i].label;
    bool exists = label >= 0 && (size_t)label < of->n_classes;
    if (!exists || wanted[label] >= 0) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: class %d %s", of->path, label,
                     exists ? "is wanted twice" : "does not exist");
    }
    wanted[label] = (int32_t)i;
  }
  for (int s = 0; s < 2; s++) {
    for (size_t i = 0; i < of->n_split[s]; i++) {
      mc_item item = of->items[of->split[s][i]];
      if (wanted[item.label] < 0) continue;
      item.label = wanted[item.label];
      item.split = s;
      if (!item.of) item.of = of;
      void *items = d->items;
      moeclip_code code = d->n_items < INT32_MAX
                              ? grow(&items, d->n_items, &d->cap_items, sizeof *d->items, err)
                              : mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: more than 2^31 pictures", d->name);
      d->items = items;
      MC_TRY(code);
      d->items[d->n_items++] = item;
    }
  }
  return MOECLIP_OK;
}

static moeclip_code select_all(moeclip_dataset *d, const moeclip_class_of *classes, size_t n, moeclip_error *err) {
  for (size_t i = 0; i < n; i++) {
    const moeclip_dataset *of = classes[i].dataset;
    size_t first = 0;
    while (classes[first].dataset != of) first++;
    if (first < i) continue;
    int32_t *wanted = mc_alloc(of->n_classes, sizeof *wanted);
    moeclip_code code = wanted ? select_items(d, of, classes, n, wanted, err)
                               : mc_fail_memory(err, of->n_classes * sizeof *wanted, "a data set");
    free(wanted);
    MC_TRY(code);
  }
  for (size_t i = 0; i < n; i++) {
    const char *name = classes[i].dataset->classes[classes[i].label];
    MC_TRY(mc_dataset_add_class(d, name, strlen(name), err));
  }
  if (d->n_items == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: the chosen classes have no pictures", d->name);
  moeclip_dataset_options o; /* every item knows its split */
  moeclip_dataset_options_defaults(&o);
  return split_items(d, &o, err);
}

moeclip_code moeclip_dataset_select(const moeclip_class_of *classes, size_t n, const char *name, moeclip_dataset **out,
                                    moeclip_error *err) {
  *out = NULL;
  if (n == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: no classes were chosen", name);
  const moeclip_dataset *first = classes[0].dataset;
  moeclip_dataset *d = calloc(1, sizeof *d);
  if (!d) return mc_fail_memory(err, sizeof *d, "a data set");
  *d = (moeclip_dataset){.borrowed = true, .format = first->format, .has_names = true, .path = mc_strdup(first->path),
                         .name = mc_strdup(name)};
  moeclip_code code = d->path && d->name ? select_all(d, classes, n, err) : mc_fail_memory(err, strlen(name), "a data set");
  if (code != MOECLIP_OK) {
    moeclip_dataset_destroy(d);
    return code;
  }
  *out = d;
  return MOECLIP_OK;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

const char *moeclip_dataset_name(const moeclip_dataset *d) { return d->name; }
const char *moeclip_dataset_path(const moeclip_dataset *d) { return d->path; }
const char *moeclip_dataset_format(const moeclip_dataset *d) { return d->format; }
size_t moeclip_dataset_classes(const moeclip_dataset *d) { return d->n_classes; }
const char *moeclip_dataset_class_name(const moeclip_dataset *d, size_t label) {
  return label < d->n_classes ? d->classes[label] : NULL;
}
void mc_dataset_leave_out(moeclip_dataset *d, moeclip_left_out why, char *path) {
  d->n_left_out[why]++;
  if (d->left_out[why]) {
    free(path);
  } else {
    d->left_out[why] = path;
  }
}

size_t moeclip_dataset_left_out(const moeclip_dataset *d, moeclip_left_out why, const char **first) {
  if (first) *first = d->left_out[why];
  return d->n_left_out[why];
}

size_t moeclip_dataset_count(const moeclip_dataset *d, moeclip_split split) { return d->n_split[split]; }

static const mc_item *item_at(const moeclip_dataset *d, moeclip_split split, size_t i) {
  return i < d->n_split[split] ? &d->items[d->split[split][i]] : NULL;
}

int moeclip_dataset_label(const moeclip_dataset *d, moeclip_split split, size_t i) {
  const mc_item *item = item_at(d, split, i);
  return item ? item->label : -1;
}

static moeclip_code outside(const moeclip_dataset *d, moeclip_split split, size_t i, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: picture %zu of %zu", d->path, i, d->n_split[split]);
}

moeclip_code moeclip_dataset_item_name(const moeclip_dataset *d, moeclip_split split, size_t i, char *out,
                                       size_t n_out) {
  const mc_item *item = item_at(d, split, i);
  if (!item) return outside(d, split, i, NULL);
  if (item->path) {
    snprintf(out, n_out, "%s", item->path);
  } else {
    const moeclip_dataset *of = item->of ? item->of : d;
    snprintf(out, n_out, "%s#%u", of->blocks[item->file].file, (unsigned)item->row);
  }
  return MOECLIP_OK;
}

moeclip_code moeclip_dataset_load(const moeclip_dataset *d, moeclip_split split, size_t i, moeclip_image *out,
                                  moeclip_error *err) {
  const mc_item *item = item_at(d, split, i);
  *out = (moeclip_image){0};
  if (!item) return outside(d, split, i, err);
  if (item->path) return moeclip_image_load(item->path, out, err);
  const moeclip_dataset *of = item->of ? item->of : d;
  size_t n = (size_t)of->width * (size_t)of->height;
  uint8_t *rgb = mc_alloc(n, 3);
  if (!rgb) return mc_fail_memory(err, 3 * n, "a picture");
  for (size_t p = 0; p < n; p++) {
    for (size_t c = 0; c < 3; c++) rgb[3 * p + c] = item->pixels[of->channels == 3 ? c * n + p : p];
  }
  *out = (moeclip_image){of->width, of->height, rgb};
  return MOECLIP_OK;
}

static moeclip_code source_load(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const mc_dataset_split *s = context;
  return moeclip_dataset_load(s->dataset, s->split, i, out, err);
}

static moeclip_code source_name(void *context, size_t i, char *out, size_t n_out) {
  const mc_dataset_split *s = context;
  return moeclip_dataset_item_name(s->dataset, s->split, i, out, n_out);
}

mc_image_source mc_dataset_source(mc_dataset_split *of) {
  return (mc_image_source){of->dataset->n_split[of->split], of, source_load, source_name};
}
