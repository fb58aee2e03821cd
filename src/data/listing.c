/* Folders and whole files. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
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

/* False when it is too long for any file to have it. */
static bool join(char path[PATH_MAX], const char *folder, const char *name) {
  int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
  return n >= 0 && n < PATH_MAX;
}

bool mc_is_folder_in(const char *folder, const char *name) {
  char path[PATH_MAX];
  return join(path, folder, name) && mc_is_folder(path);
}

bool mc_is_file_in(const char *folder, const char *name) {
  char path[PATH_MAX];
  return join(path, folder, name) && mc_is_file(path);
}

bool mc_is_picture_name(const char *name) { return moeclip_picture_kind_of(name) == MOECLIP_PICTURE; }

int mc_by_bytes(const void *a, const void *b) {
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
  if (!dir && errno == ENOMEM) return mc_fail_memory(err, 0, path);
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
    if (code != MOECLIP_OK) break;
    (*names)[*n] = mc_strdup(e->d_name);
    if (!(*names)[(*n)++]) code = mc_fail_memory(err, strlen(e->d_name), "a file name");
  }
  closedir(dir);
  if (code != MOECLIP_OK) {
    mc_names_free(*names, *n);
    *names = NULL;
    *n = 0;
    return code;
  }
  if (*n) qsort(*names, *n, sizeof **names, mc_by_bytes);
  return MOECLIP_OK;
}

moeclip_code mc_folder_enter(mc_folder *f, const char *path, const mc_folder *above, bool *again, moeclip_error *err) {
  struct stat st;
  *again = false;
  if (stat(path, &st) != 0) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot examine: %s", path, strerror(errno));
  *f = (mc_folder){st.st_dev, st.st_ino, above ? above->depth + 1 : 0, above};
  for (; above; above = above->above) *again |= above->device == st.st_dev && above->number == st.st_ino;
  if (f->depth <= MC_MAX_DEPTH) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%s: more than %d folders inside one another", path, MC_MAX_DEPTH);
}

/* --- whole files, perhaps packed ---------------------------------------------------------------------------------- */

typedef struct unpacker {
  const char *path;
  const mc_mapping *file;
  size_t fed; /* bytes of the file given to zlib */
  z_stream z;
  uint8_t *data;
  size_t n, cap;
} unpacker;

/* Room for more: doubled with what was really unpacked, so that a small file cannot make us ask for much. One byte more
 * than `most` tells a stream that ends there from a longer one; one more is for the 0. */
static moeclip_code make_room(unpacker *u, size_t most, moeclip_error *err) {
  if (u->n + 1 < u->cap) return MOECLIP_OK;
  size_t cap = u->cap ? u->cap : 1 << 15;
  cap = cap < most / 2 ? 2 * cap : most + 2;
  uint8_t *grown = realloc(u->data, cap);
  if (!grown) return mc_fail_memory(err, cap, u->path);
  u->data = grown;
  u->cap = cap;
  return MOECLIP_OK;
}

static moeclip_code inflate_some(unpacker *u, bool *end, moeclip_error *err) {
  z_stream *z = &u->z;
  if (z->avail_in == 0 && u->fed < u->file->n_bytes) {
    size_t left = u->file->n_bytes - u->fed;
    z->next_in = (Bytef *)(uintptr_t)(u->file->data + u->fed);
    z->avail_in = left < 1u << 30 ? (uInt)left : 1u << 30;
    u->fed += z->avail_in;
  }
  size_t room = u->cap - 1 - u->n;
  z->next_out = u->data + u->n;
  z->avail_out = room < 1u << 30 ? (uInt)room : 1u << 30;
  uInt before = z->avail_out;
  int status = inflate(z, Z_NO_FLUSH);
  u->n += before - z->avail_out;
  *end = status == Z_STREAM_END;
  if (*end && (z->avail_in > 0 || u->fed < u->file->n_bytes)) {
    /* Several gzip members one after another are one file. */
    const uint8_t *rest = z->avail_in > 0 ? z->next_in : u->file->data + u->fed;
    *end = !(rest[0] == 0x1f && inflateReset(z) == Z_OK);
  }
  if (status == Z_OK || status == Z_STREAM_END) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged gzip file: %s", u->path,
                 z->msg ? z->msg : status == Z_BUF_ERROR ? "it is cut short" : "zlib refuses it");
}

/* Unpacks until the end, or until `enough` bytes. */
static moeclip_code unpack(unpacker *u, size_t most, size_t enough, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  if (inflateInit2(&u->z, 16 + MAX_WBITS) != Z_OK) return mc_fail_memory(err, 1 << 16, "unpacking");
  for (bool end = false; code == MOECLIP_OK && !end && u->n < enough;) {
    code = make_room(u, most, err);
    if (code == MOECLIP_OK) code = inflate_some(u, &end, err);
    if (code == MOECLIP_OK && u->n > most) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: holds more than the %zu bytes that are possible here", u->path,
                     most);
    }
  }
  inflateEnd(&u->z);
  return code;
}

static bool is_packed(const mc_mapping *file) {
  return file->n_bytes >= 2 && file->data[0] == 0x1f && file->data[1] == 0x8b;
}

moeclip_code mc_read_maybe_gzip(const char *path, size_t max_bytes, uint8_t **data, size_t *n, moeclip_error *err) {
  mc_mapping file;
  *data = NULL;
  *n = 0;
  MC_TRY(mc_mapping_open(path, &file, err));
  if (!is_packed(&file)) {
    mc_mapping_close(&file);
    return mc_file_read(path, max_bytes, data, n, err);
  }
  unpacker u = {.path = path, .file = &file};
  moeclip_code code = unpack(&u, max_bytes, SIZE_MAX, err);
  mc_mapping_close(&file);
  if (code != MOECLIP_OK) {
    free(u.data);
    return code;
  }
  u.data[u.n] = 0;
  *data = u.data;
  *n = u.n;
  return MOECLIP_OK;
}

moeclip_code mc_read_start(const char *path, uint8_t *out, size_t n_out, size_t *n, moeclip_error *err) {
  mc_mapping file;
  *n = 0;
  MC_TRY(mc_mapping_open(path, &file, err));
  moeclip_code code = MOECLIP_OK;
  unpacker u = {.path = path, .file = &file};
  const uint8_t *data = file.data;
  size_t n_data = file.n_bytes;
  if (is_packed(&file)) {
    code = unpack(&u, SIZE_MAX / 4, n_out, err);
    data = u.data;
    n_data = u.n;
  }
  if (code == MOECLIP_OK) {
    *n = n_data < n_out ? n_data : n_out;
    if (*n) memcpy(out, data, *n);
  }
  free(u.data);
  mc_mapping_close(&file);
  return code;
}
