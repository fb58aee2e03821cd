#include "serve/archive.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "serve/paths.h"
#include "serve/server.h"

enum { PIECE = 64 << 10, FREE_BYTES = 1 << 20 };

typedef struct extraction {
  zip_t *zip;
  int folder, n_pictures, n_unread;
  const mc_archive_limits *limits;
  uint64_t n_bytes, n_packed;
  char *piece;
} extraction;

static moeclip_code refuse(moeclip_error *err, const char *why) {
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the archive is refused: %s", why);
}

static moeclip_code check_entry(extraction *x, zip_uint64_t i, const zip_stat_t *st, moeclip_error *err) {
  zip_uint8_t system;
  zip_uint32_t attributes;
  if (zip_file_get_external_attributes(x->zip, i, 0, &system, &attributes) == 0 && system == ZIP_OPSYS_UNIX) {
    mode_t mode = (mode_t)(attributes >> 16);
    if ((mode & S_IFMT) != 0 && !S_ISREG(mode) && !S_ISDIR(mode)) {
      return refuse(err, "it holds a link or something else that is no file");
    }
  }
  if ((st->valid & ZIP_STAT_ENCRYPTION_METHOD) && st->encryption_method != ZIP_EM_NONE) return refuse(err, "it is encrypted");
  return MOECLIP_OK;
}

/* Counted while it is unpacked: what the directory says of sizes need not be true. */
static moeclip_code count(extraction *x, uint64_t n, uint64_t of_entry, uint64_t packed, moeclip_error *err) {
  const mc_archive_limits *l = x->limits;
  x->n_bytes += n;
  if (x->n_bytes > l->max_bytes) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the archive is refused: it unpacks to more than %zu bytes", l->max_bytes);
  }
  bool entry = of_entry > FREE_BYTES && (double)of_entry > l->max_ratio * (double)packed;
  bool all = x->n_bytes > 8 * (uint64_t)FREE_BYTES && (double)x->n_bytes > l->max_ratio * (double)x->n_packed;
  if (entry || all) return refuse(err, "it is packed more tightly than pictures can be");
  if (mc_serve_clock() > l->deadline) return refuse(err, "unpacking it took too long");
  return MOECLIP_OK;
}

static moeclip_code unpack(extraction *x, zip_uint64_t i, const zip_stat_t *st, moeclip_error *err) {
  int fd;
  uint64_t n = 0;
  zip_file_t *from = zip_fopen_index(x->zip, i, 0);
  if (!from) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the archive is damaged: %s", zip_strerror(x->zip));
  moeclip_code code = mc_path_create(x->folder, st->name, &fd, err);
  for (zip_int64_t got = 1; code == MOECLIP_OK && got > 0;) {
    got = zip_fread(from, x->piece, PIECE);
    if (got < 0) code = refuse(err, "it is damaged");
    if (got <= 0) break;
    n += (uint64_t)got;
    code = count(x, (uint64_t)got, n, st->comp_size, err);
    if (code == MOECLIP_OK) code = mc_path_write(fd, x->piece, (size_t)got, st->name, err);
  }
  if (fd >= 0) close(fd);
  if (zip_fclose(from) != 0 && code == MOECLIP_OK) code = refuse(err, "it is damaged");
  return code;
}

static moeclip_code extract_entry(extraction *x, zip_uint64_t i, moeclip_error *err) {
  zip_stat_t st;
  const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
  char name[1024];
  if (zip_stat_index(x->zip, i, 0, &st) != 0 || (st.valid & needed) != needed) return refuse(err, "its directory is damaged");
  size_t n = strlen(st.name);
  bool folder = n > 0 && st.name[n - 1] == '/';
  if (n >= sizeof name) return refuse(err, "a name in it is too long");
  memcpy(name, st.name, n + 1);
  if (folder) name[n - 1] = 0;
  MC_TRY(mc_path_check(name, err));
  MC_TRY(check_entry(x, i, &st, err));
  x->n_packed += st.comp_size;
  moeclip_picture_kind kind = folder ? MOECLIP_PICTURE_NONE : mc_path_kind(name);
  x->n_unread += kind == MOECLIP_PICTURE_UNREAD;
  if (kind != MOECLIP_PICTURE) return MOECLIP_OK;
  x->n_pictures++;
  return unpack(x, i, &st, err);
}

moeclip_code mc_archive_extract(const char *path, int folder, const mc_archive_limits *limits, int *n_pictures, int *n_unread,
                                moeclip_error *err) {
  int failure;
  extraction x = {.zip = zip_open(path, ZIP_RDONLY, &failure), .folder = folder, .limits = limits, .piece = malloc(PIECE)};
  moeclip_code code = MOECLIP_OK;
  zip_int64_t n = x.zip ? zip_get_num_entries(x.zip, 0) : 0;
  if (!x.zip) {
    code = refuse(err, "it is not a zip archive, or damaged");
  } else if (!x.piece) {
    code = mc_fail_memory(err, PIECE, "unpacking");
  } else if (n > limits->max_files) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the archive is refused: it holds %lld entries, at most %d are taken",
                   (long long)n, limits->max_files);
  }
  for (zip_int64_t i = 0; code == MOECLIP_OK && i < n; i++) code = extract_entry(&x, (zip_uint64_t)i, err);
  if (x.zip) zip_discard(x.zip);
  free(x.piece);
  *n_pictures = x.n_pictures;
  *n_unread = x.n_unread;
  return code;
}
