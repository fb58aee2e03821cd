/*
 * What torch.save wrote before 1.6: five pickles (a magic number, the protocol, the system, the object, the list of
 * storage keys), then for each key the number of elements (8 bytes) and the elements.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/torch.h"

#define MAGIC_BYTES 10
static const uint8_t magic[MAGIC_BYTES] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

typedef struct storage {
  mc_text key;
  const uint8_t *data; /* NULL until it is found */
  size_t element, n_bytes;
} storage;

typedef struct legacy {
  const uint8_t *at;
  size_t n_left;
  storage *storages; /* sorted by key */
  size_t n_storages;
} legacy;

static moeclip_code bad(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: %s", what);
}

bool mc_is_torch_legacy(const uint8_t *data, size_t n_bytes) {
  /* PROTO n, LONG1 10, the number, STOP */
  return n_bytes >= 15 && data[0] == 0x80 && data[2] == 0x8a && data[3] == MAGIC_BYTES &&
         memcmp(data + 4, magic, MAGIC_BYTES) == 0 && data[14] == '.';
}

static moeclip_code next_pickle(legacy *l, mc_pickle *out, moeclip_error *err) {
  MC_TRY(mc_pickle_read(l->at, l->n_left, out, err));
  l->at += out->n_used;
  l->n_left -= out->n_used;
  return MOECLIP_OK;
}

/* Magic number, protocol version, system. */
static moeclip_code read_preamble(legacy *l, moeclip_error *err) {
  for (int i = 0; i < 3; i++) {
    mc_pickle p;
    MC_TRY(next_pickle(l, &p, err));
    const mc_value *little = mc_dict_get(p.root, "little_endian");
    bool version_ok = i != 1 || (p.root->kind == MC_VALUE_INT && p.root->integer == 1001);
    bool order_ok = !little || little->kind != MC_VALUE_BOOL || little->integer;
    mc_pickle_clear(&p);
    if (!version_ok) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "a checkpoint of an unknown protocol");
    if (!order_ok) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "was written on a big-endian machine");
  }
  return MOECLIP_OK;
}

static int by_key(const void *a, const void *b) {
  const storage *x = a, *y = b;
  int order = memcmp(x->key.bytes, y->key.bytes, x->key.n < y->key.n ? x->key.n : y->key.n);
  return order ? order : x->key.n < y->key.n ? -1 : x->key.n > y->key.n;
}

static storage *find(const legacy *l, mc_text key) {
  storage wanted = {.key = key};
  return l->n_storages ? bsearch(&wanted, l->storages, l->n_storages, sizeof wanted, by_key) : NULL;
}

/* Every storage that the object's pickle names. */
static moeclip_code gather(legacy *l, const mc_value *references, moeclip_error *err) {
  uint32_t n = references->list.n;
  l->storages = mc_alloc(n, sizeof *l->storages);
  if (!l->storages) return mc_fail_memory(err, n * sizeof *l->storages, "the list of storages");
  for (uint32_t i = 0; i < n; i++) {
    const mc_value *v = references->list.items[i];
    mc_storage_id id;
    if (v->id->kind != MC_VALUE_TUPLE || v->id->list.n < 5) continue; /* ('module', ...): a class's source code */
    MC_TRY(mc_torch_storage_id(v, &id, err));
    size_t element = id.typed ? moeclip_dtype_size(id.dtype) : 1;
    l->storages[l->n_storages++] = (storage){.key = id.key, .element = element};
  }
  return MOECLIP_OK;
}

/* Sorts the storages and leaves one of each key. */
static moeclip_code unite(legacy *l, moeclip_error *err) {
  size_t n = 0;
  if (l->n_storages) qsort(l->storages, l->n_storages, sizeof *l->storages, by_key);
  for (size_t i = 0; i < l->n_storages; i++) {
    if (n > 0 && by_key(&l->storages[n - 1], &l->storages[i]) == 0) {
      if (l->storages[n - 1].element != l->storages[i].element) return bad(err, "a storage has two types");
    } else {
      l->storages[n++] = l->storages[i];
    }
  }
  l->n_storages = n;
  return MOECLIP_OK;
}

/* Where each storage lies, by the list of keys. */
static moeclip_code place(legacy *l, const mc_value *keys, moeclip_error *err) {
  if (keys->kind != MC_VALUE_LIST) return bad(err, "the list of storages is missing");
  for (uint32_t i = 0; i < keys->list.n; i++) {
    const mc_value *key = keys->list.items[i];
    storage *s = key->kind == MC_VALUE_TEXT ? find(l, key->text) : NULL;
    if (!s || s->data) return bad(err, "a storage is listed that no tensor uses, or twice");
    uint64_t n = l->n_left >= 8 ? mc_u64(l->at) : 0;
    if (l->n_left < 8 || n > (l->n_left - 8) / s->element) {
      return bad(err, "a storage does not lie in the file (cut short?)");
    }
    s->data = l->at + 8;
    s->n_bytes = (size_t)n * s->element;
    l->at += 8 + s->n_bytes;
    l->n_left -= 8 + s->n_bytes;
  }
  return MOECLIP_OK;
}

static moeclip_code find_storage(void *context, mc_text key, uint64_t n_bytes, moeclip_tensors *t, const uint8_t **data,
                                 moeclip_error *err) {
  (void)t;
  const storage *s = find(context, key);
  if (!s || !s->data || s->n_bytes < n_bytes) return bad(err, "a tensor's storage is missing or too short");
  *data = s->data;
  return MOECLIP_OK;
}

moeclip_code mc_torch_legacy_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  legacy l = {.at = data, .n_left = n_bytes};
  mc_pickle object = {0}, keys = {0};
  mc_torch_storages storages = {&l, find_storage, mc_torch_copy_budget(n_bytes)};
  t->container = MOECLIP_TORCH_LEGACY;
  MC_TRY(read_preamble(&l, err));
  moeclip_code code = next_pickle(&l, &object, err);
  if (code == MOECLIP_OK) code = next_pickle(&l, &keys, err);
  if (code == MOECLIP_OK) code = gather(&l, object.references, err);
  if (code == MOECLIP_OK) code = unite(&l, err);
  if (code == MOECLIP_OK) code = place(&l, keys.root, err);
  if (code == MOECLIP_OK) code = mc_torch_collect(&object, false, &storages, t, err);
  mc_pickle_clear(&object);
  mc_pickle_clear(&keys);
  free(l.storages);
  return code;
}
