/* Folders and whole files. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"

bool mc_is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool mc_is_file(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool mc_is_picture_name(const char *name) {
  static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t m = strlen(endings[i]);
    if (n > m && strcasecmp(name + n - m, endings[i]) == 0) return true;
  }
  return false;
}

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

void mc_names_free(char **names, size_t n) {
  for (size_t i = 0; names && i < n; i++) free(names[i]);
  free(names);
}

moeclip_code mc_list_folder(const char *path, char ***names, size_t *n, moeclip_error *err) {
  size_t cap = 0;
  *names = NULL;
  *n = 0;
  DIR *dir = opendir(path);
  if (!dir) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read the folder: %s", path, strerror(errno));
  moeclip_code code = MOECLIP_OK;
  while (code == MOECLIP_OK) {
    errno = 0;
    const struct dirent *e = readdir(dir);
    if (!e) {
      if (errno) code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read the folder: %s", path, strerror(errno));
      break;
    }
    if (e->d_name[0] == '.') continue;
    if (*n == cap) {
      cap = cap ? 2 * cap : 64;
      char **grown = mc_realloc(*names, cap, sizeof *grown);
      if (grown) *names = grown;
      if (!grown) code = mc_fail_memory(err, cap * sizeof *grown, "a folder's names");
    }
    if (code == MOECLIP_OK && !((*names)[(*n)++] = mc_strdup(e->d_name))) code = mc_fail_memory(err, 256, "a file name");
  }
  closedir(dir);
  if (code != MOECLIP_OK) {
    mc_names_free(*names, *n);
    *names = NULL;
    *n = 0;
    return code;
  }
  if (*n) qsort(*names, *n, sizeof **names, by_bytes);
  return MOECLIP_OK;
}

static moeclip_code too_large(const char *path, size_t max_bytes, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: holds more than the %zu bytes that are possible here", path, max_bytes);
}

moeclip_code mc_read_maybe_gzip(const char *path, size_t max_bytes, uint8_t **data, size_t *n, moeclip_error *err) {
  mc_mapping file;
  *data = NULL;
  *n = 0;
  MC_TRY(mc_mapping_open(path, &file, err));
  bool packed = file.n_bytes >= 2 && file.data[0] == 0x1f && file.data[1] == 0x8b;
  if (!packed) {
    mc_mapping_close(&file);
    return mc_file_read(path, max_bytes, data, n, err);
  }
  z_stream z = {0};
  size_t cap = 0, fed = 0;
  moeclip_code code = MOECLIP_OK;
  int status = inflateInit2(&z, 16 + MAX_WBITS);
  if (status != Z_OK) code = mc_fail_memory(err, 65536, "unpacking");
  /* The room doubles with what was really unpacked: a small file cannot make us ask for much. */
  while (code == MOECLIP_OK && status != Z_STREAM_END) {
    if (*n + 1 >= cap) {
      if (cap > max_bytes) {
        code = too_large(path, max_bytes, err);
        break;
      }
      cap = cap ? 2 * cap : 1 << 16;
      uint8_t *grown = realloc(*data, cap);
      if (!grown) {
        code = mc_fail_memory(err, cap, path);
        break;
      }
      *data = grown;
    }
    if (z.avail_in == 0 && fed < file.n_bytes) {
      z.next_in = (Bytef *)(uintptr_t)(file.data + fed);
      z.avail_in = file.n_bytes - fed < (1u << 30) ? (uInt)(file.n_bytes - fed) : 1u << 30;
      fed += z.avail_in;
    }
    size_t room = cap - 1 - *n;
    z.next_out = *data + *n;
    z.avail_out = room < (1u << 30) ? (uInt)room : 1u << 30;
    uInt before = z.avail_out;
    status = inflate(&z, Z_NO_FLUSH);
    *n += before - z.avail_out;
    if (status == Z_STREAM_END && (z.avail_in > 0 || fed < file.n_bytes)) {
      /* Several gzip members one after another are one file. */
      const uint8_t *rest = z.avail_in > 0 ? z.next_in : file.data + fed;
      if (rest[0] == 0x1f && inflateReset(&z) == Z_OK) status = Z_OK;
    }
    if (status != Z_OK && status != Z_STREAM_END) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged gzip file%s%s", path, z.msg ? ": " : "", z.msg ? z.msg : "");
    }
  }
  inflateEnd(&z);
  mc_mapping_close(&file);
  if (code == MOECLIP_OK && *n > max_bytes) code = too_large(path, max_bytes, err);
  if (code != MOECLIP_OK) {
    free(*data);
    *data = NULL;
    return code;
  }
  (*data)[*n] = 0;
  return MOECLIP_OK;
}
