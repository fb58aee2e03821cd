#define _XOPEN_SOURCE 700 /* nftw */
#include "serve/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { MAX_PATH = 1000, MAX_PART = 200, MAX_DEPTH = 10, OPEN_FOLDERS = 32 };

/* --- names -------------------------------------------------------------------------------------------------------- */

static moeclip_code refuse(moeclip_error *err, const char *path, const char *why) {
  json_t *utf8 = strlen(path) < 200 ? json_string(path) : NULL;
  json_decref(utf8);
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the path \"%s\" is refused: %s", utf8 ? path : "(too long or not UTF-8)", why);
}

moeclip_code mc_path_check(const char *path, moeclip_error *err) {
  size_t n = strlen(path);
  int depth = 0;
  if (n == 0) return refuse(err, path, "it is empty");
  if (n > MAX_PATH) return refuse(err, path, "it is too long");
  if (path[0] == '/') return refuse(err, path, "it is not relative");
  if (strchr(path, '\\')) return refuse(err, path, "it has a backslash");
  for (const char *s = path; *s; s++) {
    if ((unsigned char)*s < 32 || *s == 127) return refuse(err, path, "it has a control character");
  }
  json_t *utf8 = json_string(path);
  if (!utf8) return refuse(err, path, "it is not UTF-8");
  json_decref(utf8);
  for (const char *part = path; part; depth++) {
    size_t length = strcspn(part, "/");
    if (length == 0 || length > MAX_PART) return refuse(err, path, "a part of it is empty or too long");
    if (part[0] == '.' && (length == 1 || (length == 2 && part[1] == '.'))) return refuse(err, path, "a part of it is . or ..");
    part = part[length] ? part + length + 1 : NULL;
  }
  return depth <= MAX_DEPTH ? MOECLIP_OK : refuse(err, path, "it is too deep");
}

moeclip_picture_kind mc_path_kind(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  return name[0] == '.' || strstr(path, "__MACOSX") ? MOECLIP_PICTURE_NONE : moeclip_picture_kind_of(name);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static moeclip_code fail_system(moeclip_error *err, const char *path, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_IO, "%.200s: cannot %s: %s", path, what, strerror(errno));
}

moeclip_code mc_path_create(int folder, const char *path, int *fd, moeclip_error *err) {
  char part[MAX_PART + 1];
  int here = dup(folder);
  *fd = -1;
  MC_TRY(mc_path_check(path, err));
  if (here < 0) return fail_system(err, path, "open its folder");
  for (const char *at = path; here >= 0;) {
    size_t n = strcspn(at, "/");
    memcpy(part, at, n);
    part[n] = 0;
    if (!at[n]) break;
    int next = -1;
    if (mkdirat(here, part, 0777) == 0 || errno == EEXIST) {
      next = openat(here, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    close(here);
    here = next;
    at += n + 1;
  }
  if (here < 0) return fail_system(err, path, "make its folder");
  *fd = openat(here, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  moeclip_code code = MOECLIP_OK;
  if (*fd < 0 && errno == EEXIST) {
    code = refuse(err, path, "it is there twice");
  } else if (*fd < 0) {
    code = fail_system(err, path, "create");
  }
  close(here);
  return code;
}

moeclip_code mc_path_write(int fd, const void *data, size_t n, const char *name, moeclip_error *err) {
  const char *at = data;
  while (n > 0) {
    ssize_t put = write(fd, at, n);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_system(err, name, "write");
    at += put;
    n -= (size_t)put;
  }
  return MOECLIP_OK;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  (void)kind;
  (void)at;
  remove(path);
  return 0;
}

void mc_path_remove(const char *folder) { nftw(folder, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS); }

/* --- staying below the root --------------------------------------------------------------------------------------- */

static bool is_below(const char *root, const char *real) {
  size_t n = strlen(root);
  if (n == 1) return true; /* "/" */
  return strncmp(root, real, n) == 0 && (real[n] == '/' || real[n] == 0);
}

static moeclip_code leaves(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%.200s leads out of the folder that --root allows", what);
}

moeclip_code mc_path_below(const char *root, const char *path, char **out, moeclip_error *err) {
  *out = NULL;
  if (strcmp(path, ".") != 0) MC_TRY(mc_path_check(path, err));
  char *joined = mc_format("%s/%s", root, path), *real = joined ? realpath(joined, NULL) : NULL;
  free(joined);
  if (!real) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%.200s\": there is no such folder below the one that --root allows", path);
  }
  if (!is_below(root, real)) {
    free(real);
    return leaves(err, path);
  }
  *out = real;
  return MOECLIP_OK;
}

static moeclip_code check_links(const char *root, const char *folder, int depth, moeclip_error *err) {
  DIR *d = opendir(folder);
  moeclip_code code = MOECLIP_OK;
  if (!d) return fail_system(err, folder, "open");
  for (struct dirent *e; code == MOECLIP_OK && (e = readdir(d));) {
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (e->d_type != DT_LNK && e->d_type != DT_DIR && e->d_type != DT_UNKNOWN) continue;
    if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    char *path = mc_format("%s/%s", folder, e->d_name);
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a path");
    } else if (S_ISLNK(st.st_mode)) {
      char *real = realpath(path, NULL);
      if (!real || !is_below(root, real)) code = leaves(err, e->d_name);
      free(real);
    } else if (S_ISDIR(st.st_mode)) {
      code = depth < 64 ? check_links(root, path, depth + 1, err) : refuse(err, e->d_name, "its folders are nested too deeply");
    }
    free(path);
  }
  closedir(d);
  return code;
}

moeclip_code mc_path_check_links(const char *root, const char *folder, moeclip_error *err) {
  struct stat st;
  if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) return MOECLIP_OK;
  return check_links(root, folder, 0, err);
}

moeclip_code mc_path_check_dataset(const char *root, const moeclip_dataset *d, moeclip_error *err) {
  char name[PATH_MAX], before[PATH_MAX] = "";
  for (int split = 0; split < 2; split++) {
    for (size_t i = 0; i < moeclip_dataset_count(d, (moeclip_split)split); i++) {
      if (moeclip_dataset_item_name(d, (moeclip_split)split, i, name, sizeof name) != MOECLIP_OK) {
        return leaves(err, "a picture");
      }
      char *hash = strrchr(name, '#');
      /* FILE#ROW: a file of many pictures is looked at once. */
      if (hash && access(name, F_OK) != 0) *hash = 0;
      if (strcmp(name, before) == 0) continue;
      memcpy(before, name, sizeof name);
      char *real = realpath(name, NULL);
      bool inside = !real || is_below(root, real); /* what is not there cannot be read either */
      free(real);
      if (!inside) return leaves(err, name);
    }
  }
  return MOECLIP_OK;
}
