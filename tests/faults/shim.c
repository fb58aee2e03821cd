/*
 * LD_PRELOAD: calls on files go wrong on demand. The environment says which:
 *   MOECLIP_SHIM_UNDER  a folder, absolute: only files below it
 *   MOECLIP_SHIM_CALLS  names with a comma after each: "open,write,": only those
 *   MOECLIP_SHIM_DO     kill (SIGKILL before the call), EIO, ENOSPC, EACCES, ENOMEM (the call fails with that), short (reads and writes do
 *                       a few bytes at a time, each time), EINTR (every other call is interrupted)
 *   MOECLIP_SHIM_AT     number of the call that goes wrong, from 1 (short and EINTR: all do); 0: none, only count
 *   MOECLIP_SHIM_ON     1: all calls after it go wrong too
 *   MOECLIP_SHIM_COUNT  a file that gets the number of calls when the process ends
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 4096 };

static atomic_bool watched[FILES];
static atomic_long calls;
static const char *under, *wanted, *what;
static long at, all_after;

#define NEXT(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

__attribute__((constructor)) static void begin(void) {
  const char *number = getenv("MOECLIP_SHIM_AT"), *on = getenv("MOECLIP_SHIM_ON");
  under = getenv("MOECLIP_SHIM_UNDER");
  wanted = getenv("MOECLIP_SHIM_CALLS");
  what = getenv("MOECLIP_SHIM_DO");
  at = number ? strtol(number, NULL, 10) : 0;
  all_after = on && *on == '1';
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("MOECLIP_SHIM_COUNT");
  FILE *f = path ? fopen(path, "w") : NULL;
  if (f) fprintf(f, "%ld\n", atomic_load(&calls));
  if (f) fclose(f);
}

static bool is_under(const char *path) { return under && path && strncmp(path, under, strlen(under)) == 0; }
static bool is_watched(int fd) { return fd >= 0 && fd < FILES && atomic_load(&watched[fd]); }

static bool is_wanted(const char *name) {
  const char *found = wanted ? strstr(wanted, name) : NULL;
  return found && (found == wanted || found[-1] == ',') && found[strlen(name)] == ',';
}

/* 0, or the errno that this call fails with. */
static int go_wrong(const char *name) {
  static const struct {
    const char *name;
    int number;
  } errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EACCES", EACCES}, {"ENOMEM", ENOMEM}};
  if (!what || !is_wanted(name)) return 0;
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (strcmp(what, "EINTR") == 0) return number % 2 ? EINTR : 0;
  if (at == 0 || (number != at && !(all_after && number > at))) return 0;
  if (strcmp(what, "kill") == 0) raise(SIGKILL);
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    if (strcmp(what, errors[i].name) == 0) return errors[i].number;
  }
  return 0;
}

static size_t shorter(const char *name, size_t n) {
  if (!what || strcmp(what, "short") != 0 || !is_wanted(name)) return n;
  size_t most = 1 + (size_t)atomic_fetch_add(&calls, 1) % 7 * 997;
  return n < most ? n : most;
}

#define FAIL_IF(watch, name, value)            \
  do {                                         \
    int error_ = (watch) ? go_wrong(name) : 0; \
    if (error_) {                              \
      errno = error_;                          \
      return value;                            \
    }                                          \
  } while (0)

static int keep(int fd, bool watch) {
  if (fd >= 0 && fd < FILES) atomic_store(&watched[fd], watch);
  return fd;
}

static int open_as(const char *name, const char *path, int flags, mode_t mode) {
  bool watch = is_under(path);
  FAIL_IF(watch, "open", -1);
  return keep(NEXT(name, int (*)(const char *, int, ...))(path, flags, mode), watch);
}

#define MODE_OF(flags)                         \
  va_list args;                                \
  va_start(args, flags);                       \
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0; \
  va_end(args)

int open(const char *path, int flags, ...) {
  MODE_OF(flags);
  return open_as("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags);
  return open_as("open64", path, flags, mode);
}

ssize_t read(int fd, void *to, size_t n) {
  FAIL_IF(is_watched(fd), "read", -1);
  return NEXT("read", ssize_t(*)(int, void *, size_t))(fd, to, is_watched(fd) ? shorter("read", n) : n);
}

ssize_t write(int fd, const void *from, size_t n) {
  FAIL_IF(is_watched(fd), "write", -1);
  return NEXT("write", ssize_t(*)(int, const void *, size_t))(fd, from, is_watched(fd) ? shorter("write", n) : n);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t where) {
  FAIL_IF(is_watched(fd), "read", -1);
  return NEXT("pread64", ssize_t(*)(int, void *, size_t, off64_t))(fd, to, is_watched(fd) ? shorter("read", n) : n, where);
}

ssize_t pwrite64(int fd, const void *from, size_t n, off64_t where) {
  FAIL_IF(is_watched(fd), "write", -1);
  return NEXT("pwrite64", ssize_t(*)(int, const void *, size_t, off64_t))(fd, from, is_watched(fd) ? shorter("write", n) : n, where);
}

int fsync(int fd) {
  FAIL_IF(is_watched(fd), "fsync", -1);
  return NEXT("fsync", int (*)(int))(fd);
}

int fdatasync(int fd) {
  FAIL_IF(is_watched(fd), "fsync", -1);
  return NEXT("fdatasync", int (*)(int))(fd);
}

int ftruncate64(int fd, off64_t n) {
  FAIL_IF(is_watched(fd), "truncate", -1);
  return NEXT("ftruncate64", int (*)(int, off64_t))(fd, n);
}

int flock(int fd, int how) {
  FAIL_IF(is_watched(fd) && !(how & LOCK_NB), "lock", -1);
  return NEXT("flock", int (*)(int, int))(fd, how);
}

int close(int fd) {
  keep(fd, false);
  return NEXT("close", int (*)(int))(fd);
}

int rename(const char *from, const char *to) {
  FAIL_IF(is_under(to), "rename", -1);
  return NEXT("rename", int (*)(const char *, const char *))(from, to);
}

int unlink(const char *path) {
  FAIL_IF(is_under(path), "unlink", -1);
  return NEXT("unlink", int (*)(const char *))(path);
}

int mkdir(const char *path, mode_t mode) {
  FAIL_IF(is_under(path), "mkdir", -1);
  return NEXT("mkdir", int (*)(const char *, mode_t))(path, mode);
}

int access(const char *path, int how) {
  FAIL_IF(is_under(path), "stat", -1);
  return NEXT("access", int (*)(const char *, int))(path, how);
}

int stat(const char *path, struct stat *out) {
  FAIL_IF(is_under(path), "stat", -1);
  return NEXT("stat", int (*)(const char *, struct stat *))(path, out);
}
