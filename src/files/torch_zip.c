/* PyTorch's zip container: checkpoints of torch.save since 1.6, and TorchScript archives. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/torch.h"
#include "files/zip.h"

typedef struct archive {
  mc_zip zip;
  const char *root; /* "name/" before every entry; may be empty */
  size_t n_root;
  size_t inflate_budget;
  const uint8_t **inflated; /* by entry: its content once inflated, so that tensors share it */
} archive;

/* root + folder + name; NULL when there is none or the name is unlikely long. */
static const mc_zip_entry *find_entry(const archive *a, const char *folder, const char *name, size_t n_name) {
  char path[1024];
  size_t n_folder = strlen(folder);
  if (n_name > 256 || a->n_root > 512 || n_folder > 64) return NULL;
  memcpy(path, a->root, a->n_root);
  memcpy(path + a->n_root, folder, n_folder);
  memcpy(path + a->n_root + n_folder, name, n_name);
  return mc_zip_find(&a->zip, path, a->n_root + n_folder + n_name);
}

static const mc_zip_entry *find_plain(const archive *a, const char *name) {
  return find_entry(a, "", name, strlen(name));
}

static moeclip_code find_storage(void *context, mc_text key, uint64_t n_bytes, moeclip_tensors *t, const uint8_t **data,
                                 moeclip_error *err) {
  archive *a = context;
  const mc_zip_entry *e = find_entry(a, "data/", key.bytes, key.n);
  int shown = key.n > 60 ? 60 : (int)key.n;
  if (!e) return mc_fail(err, MOECLIP_ERROR_FORMAT, "the archive has no entry data/%.*s", shown, key.bytes);
  if (e->size < n_bytes) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "entry data/%.*s has %llu bytes where %llu are needed", shown, key.bytes,
                   (unsigned long long)e->size, (unsigned long long)n_bytes);
  }
  size_t i = (size_t)(e - a->zip.entries);
  if (a->inflated[i]) {
    *data = a->inflated[i];
    return MOECLIP_OK;
  }
  if (e->method != 0 && e->size != n_bytes) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "compressed entry data/%.*s has %llu bytes, not the expected %llu", shown,
                   key.bytes, (unsigned long long)e->size, (unsigned long long)n_bytes);
  }
  void *owned;
  MC_TRY(mc_zip_content(&a->zip, e, &a->inflate_budget, data, &owned, err));
  if (owned) {
    MC_TRY(mc_tensors_own(t, owned, err));
    a->inflated[i] = owned;
  }
  return MOECLIP_OK;
}

/* The archive's folder is whatever stands before the first data.pkl that is at most one folder deep. */
static moeclip_code find_root(archive *a, const mc_zip_entry **pickle, moeclip_error *err) {
  for (size_t i = 0; i < a->zip.n_entries; i++) {
    const mc_zip_entry *e = &a->zip.entries[i];
    const char *slash = memchr(e->name, '/', e->n_name);
    size_t n_root = slash ? (size_t)(slash - e->name) + 1 : 0;
    if (mc_text_is((mc_text){e->name + n_root, e->n_name - n_root}, "data.pkl")) {
      a->root = e->name;
      a->n_root = n_root;
      *pickle = e;
      return MOECLIP_OK;
    }
    if (mc_text_is((mc_text){e->name + n_root, e->n_name - n_root}, "model.json")) {
      return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                     "is a TorchScript archive from before PyTorch 1.4; load and save it with a later one");
    }
  }
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "is a zip archive without data.pkl, hence not from PyTorch");
}

static moeclip_code check_byteorder(archive *a, moeclip_error *err) {
  const mc_zip_entry *e = find_plain(a, "byteorder");
  const uint8_t *data;
  void *owned;
  if (!e) return MOECLIP_OK;
  if (e->size > 64) return mc_fail(err, MOECLIP_ERROR_FORMAT, "entry byteorder is too long");
  MC_TRY(mc_zip_content(&a->zip, e, &a->inflate_budget, &data, &owned, err));
  bool little = e->size >= 6 && memcmp(data, "little", 6) == 0;
  free(owned);
  if (little) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "was written on a big-endian machine; save it again on a usual one");
}

static bool has_code(const archive *a) {
  for (size_t i = 0; i < a->zip.n_entries; i++) {
    const mc_zip_entry *e = &a->zip.entries[i];
    if (e->n_name > a->n_root + 5 && memcmp(e->name, a->root, a->n_root) == 0 &&
        memcmp(e->name + a->n_root, "code/", 5) == 0) {
      return true;
    }
  }
  return find_plain(a, "constants.pkl") != NULL;
}

static moeclip_code read_archive(archive *a, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  const mc_zip_entry *e = NULL;
  const uint8_t *data = NULL;
  void *owned = NULL;
  mc_pickle pickle = {0};
  MC_TRY(find_root(a, &e, err));
  MC_TRY(check_byteorder(a, err));
  bool script = has_code(a);
  t->container = script ? MOECLIP_TORCHSCRIPT : MOECLIP_TORCH_ZIP;
  if (e->size > MC_PICKLE_MAX_BYTES) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "data.pkl has %llu bytes; at most %zu are taken",
                   (unsigned long long)e->size, MC_PICKLE_MAX_BYTES);
  }
  MC_TRY(mc_zip_content(&a->zip, e, &a->inflate_budget, &data, &owned, err));
  mc_torch_storages storages = {a, find_storage, mc_torch_copy_budget(n_bytes)};
  moeclip_code code = mc_pickle_read(data, (size_t)e->size, &pickle, err);
  if (code == MOECLIP_OK) code = mc_torch_collect(&pickle, script, &storages, t, err);
  mc_pickle_clear(&pickle);
  free(owned);
  return code;
}

moeclip_code mc_torch_zip_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  archive a = {0};
  t->container = MOECLIP_TORCH_ZIP;
  MC_TRY(mc_zip_open(data, n_bytes, &a.zip, err));
  /* Weights hardly compress; what unpacks to more than this is no checkpoint. */
  if (!mc_mul_size(n_bytes, 32, &a.inflate_budget)) a.inflate_budget = SIZE_MAX / 2;
  if (!mc_add_size(a.inflate_budget, (size_t)16 << 20, &a.inflate_budget)) a.inflate_budget = SIZE_MAX;
  a.inflated = calloc(a.zip.n_entries + 1, sizeof *a.inflated);
  moeclip_code code = a.inflated ? read_archive(&a, n_bytes, t, err)
                                 : mc_fail_memory(err, a.zip.n_entries * sizeof *a.inflated, "an archive's entries");
  free(a.inflated);
  mc_zip_close(&a.zip);
  return code;
}
