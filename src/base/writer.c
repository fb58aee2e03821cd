/* Whole files out: the old one or the new one, whatever happens in between. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

struct mc_writer {
  int fd;
  int failure; /* errno of the first failed write */
  char *path, *temporary;
  size_t n_buffered;
  uint8_t buffer[1 << 16];
};

/* What whoever gave the command can do about it. */
static const char *advice(int failure) {
  switch (failure) {
    case ENOSPC:
    case EDQUOT: return "; make room there, then try again";
    case EROFS:
    case EACCES:
    case EPERM: return "; allow writing there, or choose another place";
    case ENOENT:
    case ENOTDIR: return "; make its folder first, or choose another place";
    case EISDIR: return "; a folder has that name: choose another";
    case EIO: return "; check the disk, or choose another place";
    default: return "";
  }
}

static moeclip_code fail(const char *path, const char *doing, int failure, moeclip_error *err) {
  if (failure == ENOMEM) return mc_fail(err, MOECLIP_ERROR_MEMORY, "%s: cannot %s: out of memory", path, doing);
  return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot %s: %s%s", path, doing, strerror(failure), advice(failure));
}

static const char *base_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* The folder that holds the path; false when its name is too long. */
static bool folder_of(const char *path, char folder[PATH_MAX]) {
  size_t n = (size_t)(base_of(path) - path);
  if (n >= PATH_MAX) return false;
  memcpy(folder, path, n);
  if (n > 1) n--; /* the slash; alone, it is the root */
  if (n == 0) folder[n++] = '.';
  folder[n] = 0;
  return true;
}

/* --- the temporary file ------------------------------------------------------------------------------------------- */

static bool is_same_file(int folder, const char *name, int fd) {
  struct stat a, b;
  return fstatat(folder, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* Removes a temporary file that nobody has locked. */
static void remove_if_left(int folder, const char *name) {
  int fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat st;
  if (fd < 0) return;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same_file(folder, name, fd)) {
    unlinkat(folder, name, 0);
  }
  close(fd);
}

/* BASE.NUMBER.tmp or BASE.NUMBER.NUMBER.tmp */
static bool is_temporary_of(const char *name, const char *base) {
  size_t n = strlen(base);
  if (strncmp(name, base, n) != 0 || name[n] != '.') return false;
  name += n + 1;
  size_t digits = strspn(name, "0123456789.");
  return digits > 0 && name[0] != '.' && name[digits - 1] == '.' && strcmp(name + digits, "tmp") == 0;
}

static void remove_left_behind(const char *path) {
  char folder[PATH_MAX];
  DIR *d = folder_of(path, folder) ? opendir(folder) : NULL;
  if (!d) return;
  for (const struct dirent *e; (e = readdir(d));) {
    if (is_temporary_of(e->d_name, base_of(path))) remove_if_left(dirfd(d), e->d_name);
  }
  closedir(d);
}

static int lock(int fd) {
  int status;
  do {
    status = flock(fd, LOCK_EX);
  } while (status != 0 && errno == EINTR);
  return status;
}

/* A new file, locked; what cannot be locked there is left as it is. *failure: errno. */
static int create(const char *name, int *failure) {
  struct stat st;
  for (int again = 0; again < 100; again++) {
    int fd;
    do {
      fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    *failure = errno;
    if (fd < 0) return -1;
    /* Between the two calls, another writer may have taken it for one left behind. */
    if (lock(fd) != 0 || fstat(fd, &st) != 0 || st.st_nlink > 0) return fd;
    close(fd);
  }
  *failure = EBUSY;
  return -1;
}

static moeclip_code create_temporary(mc_writer *w, moeclip_error *err) {
  int failure = EEXIST;
  for (int number = 0; failure == EEXIST && number < 1000; number++) {
    free(w->temporary);
    w->temporary = number ? mc_format("%s.%ld.%d.tmp", w->path, (long)getpid(), number)
                          : mc_format("%s.%ld.tmp", w->path, (long)getpid());
    if (!w->temporary) return mc_fail_memory(err, strlen(w->path), "a file name");
    w->fd = create(w->temporary, &failure);
    if (w->fd >= 0) return MOECLIP_OK;
  }
  free(w->temporary);
  w->temporary = NULL;
  return fail(w->path, "create", failure, err);
}

moeclip_code mc_writer_open(const char *path, mc_writer **out, moeclip_error *err) {
  *out = NULL;
  mc_writer *w = calloc(1, sizeof *w);
  if (!w) return mc_fail_memory(err, sizeof *w, "a file writer");
  w->fd = -1;
  w->path = mc_strdup(path);
  moeclip_code code = w->path ? MOECLIP_OK : mc_fail_memory(err, strlen(path), "a file name");
  if (code == MOECLIP_OK) {
    remove_left_behind(path);
    code = create_temporary(w, err);
  }
  if (code != MOECLIP_OK) {
    mc_writer_abort(w);
    return code;
  }
  *out = w;
  return MOECLIP_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_now(mc_writer *w, const uint8_t *data, size_t n) {
  while (n > 0 && !w->failure) {
    ssize_t put = write(w->fd, data, n);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      w->failure = put < 0 ? errno : EIO;
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

static int sync_descriptor(int fd) {
  int status;
  do {
    status = fsync(fd);
  } while (status != 0 && errno == EINTR);
  return status == 0 ? 0 : errno;
}

/* The rename is only durable once the folder that holds the name is on disk too. */
static int sync_folder(const char *path) {
  char folder[PATH_MAX];
  int fd;
  if (!folder_of(path, folder)) return ENAMETOOLONG;
  do {
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno;
  int failure = sync_descriptor(fd);
  close(fd);
  /* Some file systems cannot fsync a folder; there the rename is as safe as they can make it. */
  return failure == EINVAL || failure == ENOTSUP ? 0 : failure;
}

moeclip_code mc_writer_commit(mc_writer *w, moeclip_error *err) {
  flush_buffer(w);
  if (!w->failure) w->failure = sync_descriptor(w->fd);
  /* The lock is held until the file has its name. */
  if (!w->failure && rename(w->temporary, w->path) != 0) w->failure = errno;
  if (!w->failure) {
    free(w->temporary);
    w->temporary = NULL;
    w->failure = sync_folder(w->path);
  }
  moeclip_code code = w->failure ? fail(w->path, "write", w->failure, err) : MOECLIP_OK;
  mc_writer_abort(w);
  return code;
}

void mc_writer_abort(mc_writer *w) {
  if (!w) return;
  if (w->temporary) unlink(w->temporary);
  if (w->fd >= 0) close(w->fd);
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
