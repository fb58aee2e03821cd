/*
 * Weights in several files: Hugging Face's model.safetensors.index.json (and pytorch_model.bin.index.json), whose "weight_map" says which
 * of the files beside it holds each tensor. The collection has the tensors of all of them, which it keeps open.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "files/collection.h"

enum { MAX_PARTS = 256, MAX_INDEX = 4 << 20 };

bool mc_is_sharded(const uint8_t *data, size_t n_bytes) {
  /* No header of a safetensors file is as long as the letters after this one would make it. */
  return n_bytes > 1 && data[0] == '{' && (n_bytes < 8 || mc_u64(data) > n_bytes - 8);
}

/* Only what lies beside the index, by its bare name. */
static bool is_bare(const char *name) {
  return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strlen(name) <= 255;
}

/* The files of the map, each once. names: MAX_PARTS places, borrowed from the map. */
static moeclip_code list_parts(const json_t *map, const char **names, size_t *n, moeclip_error *err) {
  const char *key;
  json_t *value;
  *n = 0;
  json_object_foreach((json_t *)(uintptr_t)map, key, value) {
    const char *name = json_string_value(value);
    size_t i = 0;
    if (!is_bare(name)) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "\"weight_map\" has no file beside the index for tensor %.200s", key);
    }
    while (i < *n && strcmp(names[i], name) != 0) i++;
    if (i < *n) continue;
    if (*n == MAX_PARTS) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "\"weight_map\" names more than %d files", MAX_PARTS);
    names[(*n)++] = name;
  }
  return *n > 0 ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_FORMAT, "\"weight_map\" is empty");
}

static moeclip_code add_part(moeclip_tensors *t, const char *path, const char *name, moeclip_error *err) {
  moeclip_tensors *part = NULL;
  char *file = mc_file_beside(path, name);
  if (!file) return mc_fail_memory(err, strlen(path) + strlen(name), "a file name");
  moeclip_code code = mc_tensors_open_file(file, &part, err);
  free(file);
  MC_TRY(code);
  t->parts[t->n_parts++] = part;
  t->container = part->container;
  for (size_t i = 0; i < part->n_items; i++) {
    const moeclip_tensor *p = &part->items[i];
    code = mc_tensors_put(t, p->name, strlen(p->name), p->dtype, p->rank, p->shape, p->data, MOECLIP_ERROR_FORMAT, err);
    if (code != MOECLIP_OK) return mc_fail_prefix(err, name);
  }
  return MOECLIP_OK;
}

/* Each tensor must be where the index has it: else a file is of another model. */
static moeclip_code check_map(const moeclip_tensors *t, const json_t *map, const char *const *names, moeclip_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)map, key, value) {
    size_t i = 0;
    while (strcmp(names[i], json_string_value(value)) != 0) i++;
    if (!moeclip_tensors_find(t->parts[i], key)) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: tensor %.200s is not in it, where \"weight_map\" has it", names[i], key);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code read_map(const char *path, const json_t *map, moeclip_tensors *t, moeclip_error *err) {
  const char *names[MAX_PARTS];
  size_t n = 0;
  if (!json_is_object(map)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "is JSON without the \"weight_map\" that names the files of a model in several parts");
  }
  MC_TRY(list_parts(map, names, &n, err));
  t->parts = mc_alloc(n, sizeof *t->parts);
  if (!t->parts) return mc_fail_memory(err, n * sizeof *t->parts, "a model in several files");
  for (size_t i = 0; i < n; i++) MC_TRY(add_part(t, path, names[i], err));
  return check_map(t, map, names, err);
}

moeclip_code mc_sharded_read(const char *path, const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  json_error_t why;
  bool no_memory = false;
  if (n_bytes > MAX_INDEX) return mc_fail(err, MOECLIP_ERROR_FORMAT, "is JSON of more than %d bytes", MAX_INDEX);
  json_t *root = mc_json_read((const char *)data, n_bytes, JSON_REJECT_DUPLICATES, &why, &no_memory);
  if (!root && no_memory) return mc_fail_memory(err, n_bytes, "the index of a model in several files");
  if (!root) return mc_fail(err, MOECLIP_ERROR_FORMAT, "line %d: %s", why.line, why.text);
  moeclip_code code = read_map(path, json_object_get(root, "weight_map"), t, err);
  json_decref(root);
  return code;
}
