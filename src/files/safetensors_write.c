/*
 * Writing safetensors. The larger elements come first, then names in byte order: as nothing may lie between tensors,
 * that order is what keeps each on a multiple of its element's size; and it makes the bytes depend on content alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/bytes.h"
#include "files/collection.h"

typedef struct pair { const char *key, *value; } pair;

static int by_size_and_name(const void *a, const void *b) {
  const moeclip_tensor *x = *(const moeclip_tensor *const *)a, *y = *(const moeclip_tensor *const *)b;
  size_t size_x = moeclip_dtype_size(x->dtype), size_y = moeclip_dtype_size(y->dtype);
  if (size_x != size_y) return size_x > size_y ? -1 : 1;
  return strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b) { return strcmp(((const pair *)a)->key, ((const pair *)b)->key); }

static void put_string(mc_bytes *b, const char *s) {
  mc_bytes_u8(b, '"');
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') {
      mc_bytes_u8(b, '\\');
      mc_bytes_u8(b, (uint8_t)*s);
    } else if ((uint8_t)*s < 0x20) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(uint8_t)*s);
      mc_bytes_text(b, escape);
    } else {
      mc_bytes_u8(b, (uint8_t)*s);
    }
  }
  mc_bytes_u8(b, '"');
}

static void put_number(mc_bytes *b, uint64_t v) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)v);
  mc_bytes_text(b, text);
}

static void put_metadata(mc_bytes *b, const pair *pairs, size_t n) {
  mc_bytes_text(b, "\"__metadata__\":{");
  for (size_t i = 0; i < n; i++) {
    if (i > 0) mc_bytes_u8(b, ',');
    put_string(b, pairs[i].key);
    mc_bytes_u8(b, ':');
    put_string(b, pairs[i].value);
  }
  mc_bytes_u8(b, '}');
}

static void put_tensor(mc_bytes *b, const moeclip_tensor *t, uint64_t begin) {
  put_string(b, t->name);
  mc_bytes_text(b, ":{\"dtype\":\"");
  mc_bytes_text(b, moeclip_dtype_name(t->dtype));
  mc_bytes_text(b, "\",\"shape\":[");
  for (int i = 0; i < t->rank; i++) {
    if (i > 0) mc_bytes_u8(b, ',');
    put_number(b, (uint64_t)t->shape[i]);
  }
  mc_bytes_text(b, "],\"data_offsets\":[");
  put_number(b, begin);
  mc_bytes_u8(b, ',');
  put_number(b, begin + t->n_bytes);
  mc_bytes_text(b, "]}");
}

moeclip_code moeclip_tensors_write_safetensors(const moeclip_tensors *t, const char *path, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  mc_bytes header = {0};
  mc_writer *w = NULL;
  uint64_t at = 0;
  const moeclip_tensor **order = mc_alloc(t->n_items, sizeof *order);
  pair *pairs = mc_alloc(t->n_metadata, sizeof *pairs);
  if (!order || !pairs) {
    code = mc_fail_memory(err, t->n_items * sizeof *order, "the order of tensors");
    goto done;
  }
  for (size_t i = 0; i < t->n_items; i++) order[i] = &t->items[i];
  for (size_t i = 0; i < t->n_metadata; i++) pairs[i] = (pair){t->metadata[2 * i], t->metadata[2 * i + 1]};
  if (t->n_items) qsort(order, t->n_items, sizeof *order, by_size_and_name);
  if (t->n_metadata) qsort(pairs, t->n_metadata, sizeof *pairs, by_key);
  if (moeclip_tensors_find(t, "__metadata__")) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: no tensor of a safetensors file can be called __metadata__", path);
    goto done;
  }

  mc_bytes_u64(&header, 0); /* the length, filled in below */
  mc_bytes_u8(&header, '{');
  if (t->n_metadata) put_metadata(&header, pairs, t->n_metadata);
  for (size_t i = 0; i < t->n_items; i++) {
    if (i > 0 || t->n_metadata) mc_bytes_u8(&header, ',');
    put_tensor(&header, order[i], at);
    at += order[i]->n_bytes;
  }
  mc_bytes_u8(&header, '}');
  while (!header.failed && header.n % 8) mc_bytes_u8(&header, ' ');
  if (header.failed) {
    code = mc_fail_memory(err, header.n, "a safetensors header");
    goto done;
  }
  for (size_t i = 0; i < 8; i++) header.data[i] = (uint8_t)((uint64_t)(header.n - 8) >> 8 * i);

  code = mc_writer_open(path, &w, err);
  if (code != MOECLIP_OK) goto done;
  mc_writer_put(w, header.data, header.n);
  for (size_t i = 0; i < t->n_items; i++) mc_writer_put(w, order[i]->data, order[i]->n_bytes);
  code = mc_writer_commit(w, err);

done:
  free(header.data);
  free(order);
  free(pairs);
  return code;
}
