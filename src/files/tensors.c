/* Opening: which container a file is, told by its first bytes. */
#include <string.h>

#include "files/collection.h"

static bool starts(const uint8_t *data, size_t n_bytes, const char *text) {
  size_t n = strlen(text);
  return n_bytes >= n && memcmp(data, text, n) == 0;
}

static moeclip_code read_any(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  if (starts(data, n_bytes, "PK\3\4")) return mc_torch_zip_read(data, n_bytes, t, err);
  if (mc_is_torch_legacy(data, n_bytes)) return mc_torch_legacy_read(data, n_bytes, t, err);
  if (n_bytes > 8 && data[8] == '{') return mc_safetensors_read(data, n_bytes, t, err);
  if (starts(data, n_bytes, "version https://git-lfs")) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull` or download it");
  }
  if (n_bytes >= 262 && memcmp(data + 257, "ustar", 5) == 0) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "is a tar archive; save it again with PyTorch 0.2 or later");
  }
  if (n_bytes >= 2 && data[0] == 0x80 && data[1] <= 5) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "is a pickle that torch.save did not write; use torch.save");
  }
  return mc_fail(err, MOECLIP_ERROR_FORMAT,
                 "is neither a safetensors file nor a PyTorch checkpoint nor a TorchScript archive");
}

/* What filling t ended with: puts the file's name before a message and destroys t. */
static moeclip_code finish(moeclip_code code, moeclip_tensors *t, const char *name, moeclip_tensors **out, moeclip_error *err) {
  if (code == MOECLIP_OK) code = mc_tensors_strip_prefix(t, "module.", err);
  if (code != MOECLIP_OK) {
    mc_fail_prefix(err, name);
    moeclip_tensors_destroy(t);
    return code;
  }
  *out = t;
  return MOECLIP_OK;
}

static moeclip_code open_mapped(const char *path, bool may_be_index, moeclip_tensors **out, moeclip_error *err) {
  moeclip_tensors *t;
  *out = NULL;
  MC_TRY(moeclip_tensors_create(&t, err));
  moeclip_code code = mc_mapping_open(path, &t->mapping, err);
  if (code != MOECLIP_OK) {
    moeclip_tensors_destroy(t);
    return code;
  }
  const mc_mapping *m = &t->mapping;
  bool index = may_be_index && mc_is_sharded(m->data, m->n_bytes);
  code = index ? mc_sharded_read(path, m->data, m->n_bytes, t, err) : read_any(m->data, m->n_bytes, t, err);
  return finish(code, t, path, out, err);
}

moeclip_code mc_tensors_open_file(const char *path, moeclip_tensors **out, moeclip_error *err) {
  return open_mapped(path, false, out, err);
}

moeclip_code moeclip_tensors_open(const char *path, moeclip_tensors **out, moeclip_error *err) {
  return open_mapped(path, true, out, err);
}

moeclip_code moeclip_tensors_from_memory(const void *data, size_t n_bytes, const char *name, moeclip_tensors **out,
                                         moeclip_error *err) {
  moeclip_tensors *t;
  *out = NULL;
  MC_TRY(moeclip_tensors_create(&t, err));
  return finish(read_any(data, n_bytes, t, err), t, name, out, err);
}
