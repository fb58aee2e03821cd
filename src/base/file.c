#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

moeclip_code mc_file_exists(const char *path, bool *there, moeclip_error *err) {
  struct stat st;
  *there = stat(path, &st) == 0;
  if (*there || errno == ENOENT || errno == ENOTDIR) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot examine: %s", path, strerror(errno));
}

char *mc_file_beside(const char *path, const char *name) {
  const char *slash = strrchr(path, '/');
  return mc_format("%.*s%s", slash ? (int)(slash - path + 1) : 0, path, name);
}

static moeclip_code open_regular(const char *path, int *fd, size_t *n_bytes, moeclip_error *err) {
  struct stat st;
  /* Without O_NONBLOCK a named pipe would wait for a writer, for ever. */
  do {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (*fd < 0 && errno == EINTR);
  if (*fd < 0 && errno == ENOMEM) return mc_fail_memory(err, 0, path);
  if (*fd < 0) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  if (fstat(*fd, &st) != 0) {
    mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot examine: %s", path, strerror(errno));
  } else if (!S_ISREG(st.st_mode)) {
    mc_fail(err, MOECLIP_ERROR_IO, "%s: not a regular file%s", path, S_ISDIR(st.st_mode) ? " but a folder" : "");
  } else {
    *n_bytes = (size_t)st.st_size;
    return MOECLIP_OK;
  }
  close(*fd);
  return MOECLIP_ERROR_IO;
}

static moeclip_code read_all(const char *path, int fd, uint8_t *data, size_t n_bytes, moeclip_error *err) {
  for (size_t done = 0; done < n_bytes;) {
    ssize_t got = read(fd, data + done, n_bytes - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
    if (got == 0) return mc_fail(err, MOECLIP_ERROR_IO, "%s: became shorter while it was read", path);
    done += (size_t)got;
  }
  return MOECLIP_OK;
}

moeclip_code mc_mapping_open(const char *path, mc_mapping *out, moeclip_error *err) {
  int fd;
  size_t n = 0;
  *out = (mc_mapping){0};
  MC_TRY(open_regular(path, &fd, &n, err));
  moeclip_code code = MOECLIP_OK;
  if (n > 0) {
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p != MAP_FAILED) {
      *out = (mc_mapping){.data = p, .n_bytes = n, .mapped = 1};
    } else {
      uint8_t *copy = malloc(n);
      code = copy ? read_all(path, fd, copy, n, err) : mc_fail_memory(err, n, path);
      if (code == MOECLIP_OK) {
        *out = (mc_mapping){.data = copy, .n_bytes = n};
      } else {
        free(copy);
      }
    }
  }
  close(fd);
  return code;
}

void mc_mapping_close(mc_mapping *m) {
  if (m->mapped) {
    munmap((void *)(uintptr_t)m->data, m->n_bytes);
  } else {
    free((void *)(uintptr_t)m->data);
  }
  *m = (mc_mapping){0};
}

moeclip_code mc_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *n_bytes, moeclip_error *err) {
  int fd;
  size_t n = 0;
  *data = NULL;
  *n_bytes = 0;
  MC_TRY(open_regular(path, &fd, &n, err));
  moeclip_code code;
  uint8_t *copy = NULL;
  if (n > max_bytes) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: has %zu bytes, at most %zu are taken", path, n, max_bytes);
  } else if (!(copy = mc_alloc(n + 1, 1))) {
    code = mc_fail_memory(err, n, path);
  } else {
    code = read_all(path, fd, copy, n, err);
  }
  close(fd);
  if (code != MOECLIP_OK) {
    free(copy);
    return code;
  }
  copy[n] = 0;
  *data = copy;
  *n_bytes = n;
  return MOECLIP_OK;
}
