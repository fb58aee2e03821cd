#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static moeclip_code open_regular(const char *path, int *fd, size_t *n_bytes, moeclip_error *err) {
  struct stat st;
  /* Without O_NONBLOCK a named pipe would wait for a writer, for ever. */
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
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

struct mc_writer {
  int fd;
  int failure; /* errno of the first failed write */
  char *path, *temporary;
  size_t n_buffered;
  uint8_t buffer[1 << 16];
};

moeclip_code mc_writer_open(const char *path, mc_writer **out, moeclip_error *err) {
  *out = NULL;
  mc_writer *w = calloc(1, sizeof *w);
  if (!w) return mc_fail_memory(err, sizeof *w, "a file writer");
  w->fd = -1;
  w->path = mc_strdup(path);
  w->temporary = mc_format("%s.%ld.tmp", path, (long)getpid());
  if (!w->path || !w->temporary) {
    mc_writer_abort(w);
    return mc_fail_memory(err, strlen(path), "a file name");
  }
  w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (w->fd < 0) {
    mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot create: %s", w->temporary, strerror(errno));
    free(w->temporary);
    w->temporary = NULL;
    mc_writer_abort(w);
    return MOECLIP_ERROR_IO;
  }
  *out = w;
  return MOECLIP_OK;
}

static void put_now(mc_writer *w, const uint8_t *data, size_t n) {
  while (n > 0 && !w->failure) {
    ssize_t put = write(w->fd, data, n);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      w->failure = errno;
      return;
    }
    data += put;
    n -= (size_t)put;
  }
}

static void flush_buffer(mc_writer *w) {
  put_now(w, w->buffer, w->n_buffered);
  w->n_buffered = 0;
}

void mc_writer_put(mc_writer *w, const void *data, size_t n_bytes) {
  if (w->failure || n_bytes == 0) return;
  if (n_bytes > sizeof w->buffer - w->n_buffered) flush_buffer(w);
  if (n_bytes > sizeof w->buffer) {
    put_now(w, data, n_bytes);
  } else {
    memcpy(w->buffer + w->n_buffered, data, n_bytes);
    w->n_buffered += n_bytes;
  }
}

/* The rename is only durable once the folder that holds the name is on disk too. */
static int sync_folder(const char *path) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof folder) return ENAMETOOLONG;
  if (!slash) {
    memcpy(folder, ".", 2);
  } else if (n == 0) {
    memcpy(folder, "/", 2);
  } else {
    memcpy(folder, path, n);
    folder[n] = 0;
  }
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  /* Some file systems cannot fsync a folder; there the rename is as safe as they can make it. */
  int failure = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
  close(fd);
  return failure;
}

moeclip_code mc_writer_commit(mc_writer *w, moeclip_error *err) {
  flush_buffer(w);
  if (!w->failure && fsync(w->fd) != 0) w->failure = errno;
  if (close(w->fd) != 0 && !w->failure) w->failure = errno;
  w->fd = -1;
  if (!w->failure && rename(w->temporary, w->path) != 0) w->failure = errno;
  if (!w->failure) {
    free(w->temporary);
    w->temporary = NULL;
    w->failure = sync_folder(w->path);
  }
  moeclip_code code = MOECLIP_OK;
  if (w->failure) code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot write: %s", w->path, strerror(w->failure));
  mc_writer_abort(w);
  return code;
}

void mc_writer_abort(mc_writer *w) {
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  if (w->temporary) unlink(w->temporary);
  free(w->temporary);
  free(w->path);
  free(w);
}

moeclip_code mc_file_write(const char *path, const void *data, size_t n_bytes, moeclip_error *err) {
  mc_writer *w;
  MC_TRY(mc_writer_open(path, &w, err));
  mc_writer_put(w, data, n_bytes);
  return mc_writer_commit(w, err);
}
