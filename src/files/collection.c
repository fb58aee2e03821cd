/* The collection behind moeclip_tensors: names, shapes, who owns the data, metadata. */
#include "files/collection.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"

static const struct { const char *name; uint8_t size; } dtypes[] = {
    [MOECLIP_F32] = {"F32", 4}, [MOECLIP_F16] = {"F16", 2}, [MOECLIP_BF16] = {"BF16", 2}, [MOECLIP_F64] = {"F64", 8},
    [MOECLIP_I64] = {"I64", 8}, [MOECLIP_I32] = {"I32", 4}, [MOECLIP_I16] = {"I16", 2},   [MOECLIP_I8] = {"I8", 1},
    [MOECLIP_U8] = {"U8", 1},   [MOECLIP_BOOL] = {"BOOL", 1}};

static bool is_dtype(moeclip_dtype dtype) { return (size_t)dtype < sizeof dtypes / sizeof dtypes[0]; }

size_t moeclip_dtype_size(moeclip_dtype dtype) { return is_dtype(dtype) ? dtypes[dtype].size : 0; }

const char *moeclip_dtype_name(moeclip_dtype dtype) { return is_dtype(dtype) ? dtypes[dtype].name : "?"; }

bool mc_tensor_size(moeclip_dtype dtype, int rank, const int64_t *shape, size_t *elements, size_t *n_bytes) {
  if (!is_dtype(dtype) || rank < 0 || rank > MOECLIP_MAX_RANK) return false;
  size_t n = 1, bytes;
  bool empty = false;
  for (int i = 0; i < rank; i++) {
    if (shape[i] < 0) return false;
    if (shape[i] == 0) {
      empty = true;
    } else if (!mc_mul_size(n, (size_t)shape[i], &n)) {
      return false; /* even beside a 0: nobody multiplies such sizes safely */
    }
  }
  if (!mc_mul_size(n, dtypes[dtype].size, &bytes) || bytes > PTRDIFF_MAX) return false;
  *elements = empty ? 0 : n;
  *n_bytes = empty ? 0 : bytes;
  return true;
}

bool mc_is_text(const char *s, size_t n) {
  const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s;
  while (n > 0) {
    utf8proc_int32_t c;
    utf8proc_ssize_t used = utf8proc_iterate(p, n > 4 ? 4 : (utf8proc_ssize_t)n, &c);
    if (used <= 0 || c == 0) return false;
    p += used;
    n -= (size_t)used;
  }
  return true;
}

/* Makes room for one more item of `size` bytes. */
static bool reserve(void **items, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return true;
  size_t more = *cap ? *cap * 2 : 16;
  void *p = mc_realloc(*items, more, size);
  if (!p) return false;
  *items = p;
  *cap = more;
  return true;
}

/* The collection's address is in the hash so that a file cannot be made whose names all meet in one slot. */
static size_t hash(const moeclip_tensors *t, const char *name, size_t n) {
  uint64_t h = UINT64_C(0xcbf29ce484222325) ^ ((uint64_t)(uintptr_t)t * UINT64_C(0x9e3779b97f4a7c15));
  for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
  h ^= h >> 33;
  h *= UINT64_C(0xff51afd7ed558ccd);
  return (size_t)(h ^ h >> 33);
}

/* The slot that holds the name, or the free one where it belongs. n_slots > n_items always. */
static size_t find_slot(const moeclip_tensors *t, const char *name, size_t n) {
  size_t i = hash(t, name, n) & (t->n_slots - 1);
  while (t->slots[i]) {
    const char *other = t->items[t->slots[i] - 1].name;
    if (strncmp(other, name, n) == 0 && other[n] == 0) break;
    i = (i + 1) & (t->n_slots - 1);
  }
  return i;
}

static moeclip_code rebuild_slots(moeclip_tensors *t, size_t n_slots, moeclip_error *err) {
  size_t *slots = calloc(n_slots, sizeof *slots);
  if (!slots) return mc_fail_memory(err, n_slots * sizeof *slots, "the index of tensors");
  free(t->slots);
  t->slots = slots;
  t->n_slots = n_slots;
  for (size_t i = 0; i < t->n_items; i++) slots[find_slot(t, t->items[i].name, strlen(t->items[i].name))] = i + 1;
  return MOECLIP_OK;
}

moeclip_code moeclip_tensors_create(moeclip_tensors **out, moeclip_error *err) {
  *out = NULL;
  moeclip_tensors *t = calloc(1, sizeof *t);
  if (!t) return mc_fail_memory(err, sizeof *t, "a collection of tensors");
  moeclip_code code = rebuild_slots(t, 64, err);
  if (code != MOECLIP_OK) {
    moeclip_tensors_destroy(t);
    return code;
  }
  *out = t;
  return MOECLIP_OK;
}

void moeclip_tensors_destroy(moeclip_tensors *t) {
  if (!t) return;
  for (size_t i = 0; i < t->n_items; i++) free((void *)(uintptr_t)t->items[i].name);
  for (size_t i = 0; i < t->n_owned; i++) free(t->owned[i]);
  for (size_t i = 0; i < 2 * t->n_metadata; i++) free(t->metadata[i]);
  free(t->items);
  free(t->slots);
  free(t->owned);
  free(t->metadata);
  for (size_t i = 0; i < t->n_parts; i++) moeclip_tensors_destroy(t->parts[i]);
  free(t->parts);
  mc_mapping_close(&t->mapping);
  free(t);
}

moeclip_code mc_tensors_own(moeclip_tensors *t, void *p, moeclip_error *err) {
  void *list = t->owned;
  if (!reserve(&list, t->n_owned, &t->cap_owned, sizeof *t->owned)) {
    free(p);
    return mc_fail_memory(err, t->cap_owned * sizeof *t->owned, "the list of buffers");
  }
  t->owned = list;
  t->owned[t->n_owned++] = p;
  return MOECLIP_OK;
}

moeclip_code mc_tensors_put(moeclip_tensors *t, const char *name, size_t n_name, moeclip_dtype dtype, int rank,
                            const int64_t *shape, const void *data, moeclip_code blame, moeclip_error *err) {
  int shown = n_name > 200 ? 200 : (int)n_name;
  size_t elements, n_bytes;
  if (n_name == 0 || n_name > MC_MAX_NAME || !mc_is_text(name, n_name)) {
    return mc_fail(err, blame, "a tensor's name must be 1 to %d bytes of UTF-8 without 0", MC_MAX_NAME);
  }
  if (!mc_tensor_size(dtype, rank, shape, &elements, &n_bytes)) {
    return mc_fail(err, blame, "tensor %.*s: its shape or type is out of range (at most %d dimensions)", shown, name,
                   MOECLIP_MAX_RANK);
  }
  if (n_bytes > 0 && !data) return mc_fail(err, blame, "tensor %.*s: has no data", shown, name);
  if (t->n_items >= MC_MAX_TENSORS) return mc_fail(err, blame, "more than %d tensors", MC_MAX_TENSORS);
  size_t slot = find_slot(t, name, n_name);
  if (t->slots[slot]) return mc_fail(err, blame, "tensor %.*s: is there twice", shown, name);
  if (2 * (t->n_items + 1) > t->n_slots) {
    MC_TRY(rebuild_slots(t, 2 * t->n_slots, err));
    slot = find_slot(t, name, n_name);
  }
  void *items = t->items;
  char *copy = mc_strndup(name, n_name);
  if (!copy || !reserve(&items, t->n_items, &t->cap_items, sizeof *t->items)) {
    free(copy);
    return mc_fail_memory(err, (t->n_items + 1) * sizeof *t->items, "the list of tensors");
  }
  t->items = items;
  moeclip_tensor *item = &t->items[t->n_items];
  *item = (moeclip_tensor){.name = copy, .dtype = dtype, .rank = rank, .data = data, .n_bytes = n_bytes};
  for (int i = 0; i < rank; i++) item->shape[i] = shape[i];
  t->slots[slot] = ++t->n_items;
  return MOECLIP_OK;
}

moeclip_code moeclip_tensors_add(moeclip_tensors *t, const char *name, moeclip_dtype dtype, int rank,
                                 const int64_t *shape, const void *data, int copy, moeclip_error *err) {
  size_t elements, n_bytes = 0;
  void *own = NULL;
  if (copy && data && mc_tensor_size(dtype, rank, shape, &elements, &n_bytes) && n_bytes > 0) {
    own = mc_aligned_alloc(n_bytes, 1);
    if (!own) return mc_fail_memory(err, n_bytes, name);
    MC_TRY(mc_tensors_own(t, own, err));
    memcpy(own, data, n_bytes);
    data = own;
  }
  moeclip_code code = mc_tensors_put(t, name, strlen(name), dtype, rank, shape, data, MOECLIP_ERROR_ARGUMENT, err);
  if (code != MOECLIP_OK && own) free(t->owned[--t->n_owned]);
  return code;
}

moeclip_code mc_tensors_strip_prefix(moeclip_tensors *t, const char *prefix, moeclip_error *err) {
  size_t n = strlen(prefix);
  for (size_t i = 0; i < t->n_items; i++) {
    if (strncmp(t->items[i].name, prefix, n) != 0 || t->items[i].name[n] == 0) return MOECLIP_OK;
  }
  for (size_t i = 0; i < t->n_items; i++) {
    char *name = (char *)(uintptr_t)t->items[i].name;
    memmove(name, name + n, strlen(name + n) + 1);
  }
  return rebuild_slots(t, t->n_slots, err);
}

moeclip_container moeclip_tensors_container(const moeclip_tensors *t) { return t->container; }

size_t moeclip_tensors_count(const moeclip_tensors *t) { return t->n_items; }

const moeclip_tensor *moeclip_tensors_at(const moeclip_tensors *t, size_t i) {
  return i < t->n_items ? &t->items[i] : NULL;
}

const moeclip_tensor *moeclip_tensors_find(const moeclip_tensors *t, const char *name) {
  size_t slot = find_slot(t, name, strlen(name));
  return t->slots[slot] ? &t->items[t->slots[slot] - 1] : NULL;
}

const char *moeclip_tensors_metadata(const moeclip_tensors *t, const char *key) {
  for (size_t i = 0; i < t->n_metadata; i++) {
    if (strcmp(t->metadata[2 * i], key) == 0) return t->metadata[2 * i + 1];
  }
  return NULL;
}

size_t moeclip_tensors_metadata_count(const moeclip_tensors *t) { return t->n_metadata; }

void moeclip_tensors_metadata_at(const moeclip_tensors *t, size_t i, const char **key, const char **value) {
  bool there = i < t->n_metadata;
  if (key) *key = there ? t->metadata[2 * i] : NULL;
  if (value) *value = there ? t->metadata[2 * i + 1] : NULL;
}

moeclip_code moeclip_tensors_set_metadata(moeclip_tensors *t, const char *key, const char *value, moeclip_error *err) {
  if (!mc_is_text(key, strlen(key)) || (value && !mc_is_text(value, strlen(value)))) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "metadata must be UTF-8");
  }
  size_t i = 0;
  while (i < t->n_metadata && strcmp(t->metadata[2 * i], key) != 0) i++;
  char **pair = i < t->n_metadata ? t->metadata + 2 * i : NULL;
  if (!value) {
    if (!pair) return MOECLIP_OK;
    free(pair[0]);
    free(pair[1]);
    memmove(pair, pair + 2, 2 * (t->n_metadata - i - 1) * sizeof *pair);
    t->n_metadata--;
    return MOECLIP_OK;
  }
  char *new_value = mc_strdup(value), *new_key = NULL, **list = NULL;
  if (new_value && pair) {
    free(pair[1]);
    pair[1] = new_value;
    return MOECLIP_OK;
  }
  if (new_value && (new_key = mc_strdup(key)) && (list = mc_realloc(t->metadata, 2 * (i + 1), sizeof *list))) {
    t->metadata = list;
    list[2 * i] = new_key;
    list[2 * i + 1] = new_value;
    t->n_metadata++;
    return MOECLIP_OK;
  }
  free(new_key);
  free(new_value);
  return mc_fail_memory(err, strlen(key) + strlen(value), "metadata");
}

moeclip_code mc_tensors_note(moeclip_tensors *t, const char *key, const char *value, moeclip_error *err) {
  return moeclip_tensors_metadata(t, key) ? MOECLIP_OK : moeclip_tensors_set_metadata(t, key, value, err);
}
