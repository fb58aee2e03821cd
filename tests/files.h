/* Files and folders that a test writes for itself, in a folder of its own that files_end removes. */
#ifndef TESTS_FILES_H
#define TESTS_FILES_H

#include <dirent.h>
#include <png.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"

static char files_root_[64];

/* The path of a file in the test's folder; valid until the eighth call after. */
static inline const char *files_path(const char *format, ...) {
  static char paths[8][512];
  static int at;
  char *path = paths[at++ % 8];
  int n = snprintf(path, sizeof paths[0], "%s/", files_root_);
  va_list args;
  va_start(args, format);
  vsnprintf(path + n, sizeof paths[0] - (size_t)n, format, args);
  va_end(args);
  return path;
}

static inline void files_begin(void) {
  strcpy(files_root_, "/tmp/moeclip-test-XXXXXX");
  if (!mkdtemp(files_root_)) {
    perror(files_root_);
    exit(1);
  }
}

static inline void files_remove_(const char *path) {
  struct stat st;
  DIR *folder = lstat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
  for (const struct dirent *e; folder && (e = readdir(folder));) {
    char *inner = malloc(strlen(path) + strlen(e->d_name) + 2);
    if (!inner || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
      free(inner);
      continue;
    }
    sprintf(inner, "%s/%s", path, e->d_name);
    files_remove_(inner);
    free(inner);
  }
  if (folder) closedir(folder);
  remove(path);
}

static inline void files_end(void) { files_remove_(files_root_); }

/* Creates the folders above a path. */
static inline void files_parents_(const char *path) {
  char folder[512];
  for (const char *slash = path + strlen(files_root_); (slash = strchr(slash, '/')); slash++) {
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    mkdir(folder, 0777);
  }
}

static inline void files_folder(const char *path) {
  files_parents_(path);
  mkdir(path, 0777);
}

static inline void files_write(const char *path, const void *data, size_t n) {
  files_parents_(path);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
    perror(path);
    exit(1);
  }
}

static inline void files_text(const char *path, const char *text) { files_write(path, text, strlen(text)); }

static inline void files_gzip(const char *path, const void *data, size_t n) {
  files_parents_(path);
  gzFile f = gzopen(path, "wb");
  if (!f || gzwrite(f, data, (unsigned)n) != (int)n || gzclose(f) != Z_OK) {
    perror(path);
    exit(1);
  }
}

/* A picture of one colour; `value` is its red, and its green and blue follow from it. */
static inline void files_png(const char *path, int width, int height, int value) {
  files_parents_(path);
  uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
  png_image png = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)width, .height = (png_uint_32)height,
                   .format = PNG_FORMAT_RGB};
  for (int i = 0; rgb && i < width * height; i++) {
    rgb[3 * i] = (uint8_t)value;
    rgb[3 * i + 1] = (uint8_t)(value * 7 + i);
    rgb[3 * i + 2] = (uint8_t)(value * 31 + 3 * i);
  }
  if (!rgb || !png_image_write_to_file(&png, path, 0, rgb, 0, NULL)) {
    fprintf(stderr, "%s: cannot write\n", path);
    exit(1);
  }
  free(rgb);
}

#endif
