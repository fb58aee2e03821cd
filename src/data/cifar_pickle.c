/* CIFAR-10 and CIFAR-100 as Python pickles: dictionaries with one numpy array of pixels and lists of labels. Nothing of
 * the pickles is run: the array is known by the calls that would make it. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/benchmark.h"
#include "files/pickle.h"

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE };
#define MAX_FILE_BYTES ((size_t)1 << 30)

typedef struct variant {
  const char *meta, *files[7], *names, *labels; /* the last of the files is the test split */
  int n_classes;
} variant;

static const variant variants[2] = {
    {"batches.meta",
     {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"},
     "label_names", "labels", 10},
    {"meta", {"train", "test"}, "fine_label_names", "fine_labels", 100},
};

static moeclip_code read_pickle(const char *path, uint8_t **data, mc_pickle *p, moeclip_error *err) {
  size_t n;
  *p = (mc_pickle){0};
  *data = NULL;
  MC_TRY(mc_file_read(path, MAX_FILE_BYTES, data, &n, err));
  if (mc_pickle_read_up_to(*data, n, MAX_FILE_BYTES, p, err) != MOECLIP_OK) return mc_fail_prefix(err, path);
  return MOECLIP_OK;
}

static bool is_sequence(const mc_value *v) {
  return v && (v->kind == MC_VALUE_LIST || v->kind == MC_VALUE_TUPLE);
}

static const mc_value *item(const mc_value *v, uint32_t i) { return i < v->list.n ? v->list.items[i] : NULL; }
static bool is_text(const mc_value *v) { return v && (v->kind == MC_VALUE_TEXT || v->kind == MC_VALUE_BYTES); }
static bool is_number(const mc_value *v) { return v && (v->kind == MC_VALUE_INT || v->kind == MC_VALUE_BOOL); }

/* numpy's type of unsigned bytes: dtype('u1', ...). */
static bool is_bytes_type(const mc_value *v) {
  return v && v->kind == MC_VALUE_OBJECT && mc_is_global(v->object.callable, "numpy", "dtype") &&
         is_text(item(v->object.arguments, 0)) && (mc_text_is(item(v->object.arguments, 0)->text, "u1") ||
                                                   mc_text_is(item(v->object.arguments, 0)->text, "uint8"));
}

/* _reconstruct(ndarray, (0,), 'b') with the state (version, (rows, PIXELS), type, by columns?, bytes). NULL: it is;
 * else what it is not. */
static const char *array_of(const mc_value *v, size_t *rows, bool *by_columns, const uint8_t **pixels) {
  /* Python 3 writes bytes, and so the array, by a call of a codec in protocols 0 to 2. */
  if (!v) return "there is none (a pickle that Python 3 wrote again must be of protocol 3 or 4)";
  bool made = v->kind == MC_VALUE_OBJECT &&
              (mc_is_global(v->object.callable, "numpy.core.multiarray", "_reconstruct") ||
               mc_is_global(v->object.callable, "numpy._core.multiarray", "_reconstruct"));
  if (!made) return "not a numpy array";
  const mc_value *state = v->object.state;
  if (!state || state->kind != MC_VALUE_TUPLE || state->list.n != 5) return "a numpy array without its state";
  const mc_value *shape = item(state, 1), *order = item(state, 3), *bytes = item(state, 4);
  if (!is_sequence(shape) || shape->list.n != 2 || !is_number(item(shape, 0)) || !is_number(item(shape, 1)) ||
      item(shape, 0)->integer < 1 || item(shape, 1)->integer != PIXELS) {
    return "not an array of rows of 3072 pixels";
  }
  if (!is_bytes_type(item(state, 2))) return "not an array of unsigned bytes";
  if (!is_number(order) || !is_text(bytes)) return "not an array of bytes as numpy 1 wrote it for Python 2";
  size_t n;
  *rows = (size_t)item(shape, 0)->integer;
  *by_columns = order->integer != 0;
  *pixels = (const uint8_t *)bytes->text.bytes;
  if (!mc_mul_size(*rows, PIXELS, &n) || n != bytes->text.n) return "not as many bytes as its shape promises";
  return NULL;
}

static moeclip_code add_rows(moeclip_dataset *d, const variant *v, const char *path, const mc_pickle *p,
                             uint8_t *data, int split, moeclip_error *err) {
  const mc_value *labels = mc_dict_get(p->root, v->labels);
  size_t rows = 0;
  bool by_columns = false;
  const uint8_t *pixels = NULL;
  uint32_t block = 0;
  const char *wrong = "there is no dictionary";
  if (p->root->kind == MC_VALUE_DICT) wrong = array_of(mc_dict_get(p->root, "data"), &rows, &by_columns, &pixels);
  if (wrong) {
    free(data);
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: its \"data\": %s; download it again", path, wrong);
  }
  if (!is_sequence(labels) || labels->list.n != rows) {
    free(data);
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" is not a list with a label for each of its %zu pictures",
                   path, v->labels, rows);
  }
  if (by_columns) {
    uint8_t *turned = mc_alloc(rows, PIXELS);
    for (size_t r = 0; turned && r < rows; r++) {
      for (size_t i = 0; i < PIXELS; i++) turned[r * PIXELS + i] = pixels[i * rows + r];
    }
    free(data);
    if (!turned) return mc_fail_memory(err, rows * PIXELS, path);
    data = turned;
    pixels = turned;
  }
  MC_TRY(mc_dataset_keep(d, path, data, &block, err));
  for (size_t r = 0; r < rows; r++) {
    const mc_value *label = item(labels, (uint32_t)r);
    if (!is_number(label) || label->integer < 0 || label->integer >= v->n_classes) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: row %zu: its label is not a number from 0 to %d", path, r,
                     v->n_classes - 1);
    }
    mc_item picture = {.pixels = pixels + r * PIXELS, .label = (int32_t)label->integer, .split = split,
                       .row = (uint32_t)r, .file = block};
    MC_TRY(mc_dataset_add(d, &picture, err));
  }
  return MOECLIP_OK;
}

static moeclip_code read_file(moeclip_dataset *d, const variant *v, const char *path, int split, moeclip_error *err) {
  mc_pickle p;
  uint8_t *data;
  moeclip_code code = read_pickle(path, &data, &p, err);
  if (code == MOECLIP_OK) {
    code = add_rows(d, v, path, &p, data, split, err); /* takes over data, in which the pixels are */
  } else {
    free(data);
  }
  mc_pickle_clear(&p);
  return code;
}

static moeclip_code read_names(moeclip_dataset *d, const variant *v, const char *path, moeclip_error *err) {
  mc_pickle p;
  uint8_t *data;
  moeclip_code code = read_pickle(path, &data, &p, err);
  const mc_value *names = code == MOECLIP_OK ? mc_dict_get(p.root, v->names) : NULL;
  if (code == MOECLIP_OK && (!is_sequence(names) || names->list.n == 0 || names->list.n > (uint32_t)v->n_classes)) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" is not a list of up to %d names", path, v->names,
                   v->n_classes);
  }
  for (uint32_t i = 0; code == MOECLIP_OK && i < names->list.n; i++) {
    const mc_value *name = item(names, i);
    code = is_text(name) && name->text.n > 0 && name->text.n < 256 && !memchr(name->text.bytes, 0, name->text.n)
               ? mc_dataset_add_class(d, name->text.bytes, name->text.n, err)
               : mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: name %u of \"%s\" is not a text", path, (unsigned)i, v->names);
  }
  mc_pickle_clear(&p);
  free(data);
  return code;
}

moeclip_code mc_read_cifar_pickle(moeclip_dataset *d, moeclip_error *err) {
  const variant *v = NULL;
  char *meta = NULL;
  for (int i = 0; i < 2 && !v; i++) {
    meta = mc_format("%s/%s", d->path, variants[i].meta);
    if (!meta) return mc_fail_memory(err, strlen(d->path), "a file name");
    if (mc_is_file(meta)) {
      v = &variants[i];
    } else {
      free(meta);
    }
  }
  if (!v) return mc_fail(err, MOECLIP_ERROR_IO, "%s: there is no batches.meta or meta file", d->path);
  d->channels = 3;
  d->width = d->height = SIDE;
  moeclip_code code = read_names(d, v, meta, err);
  free(meta);
  for (int i = 0; code == MOECLIP_OK && v->files[i]; i++) {
    char *path = mc_format("%s/%s", d->path, v->files[i]);
    if (!path) return mc_fail_memory(err, strlen(d->path), "a file name");
    /* Half a data set must not pass for a whole one: a missing batch is an error here. */
    code = read_file(d, v, path, v->files[i + 1] ? MOECLIP_TRAIN : MOECLIP_TEST, err);
    free(path);
  }
  return code;
}
