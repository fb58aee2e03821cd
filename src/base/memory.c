#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mc_aligned_alloc(size_t count, size_t size) {
  size_t n;
  void *p = NULL;
  if (!mc_mul_size(count, size, &n) || n > SIZE_MAX - 64) return NULL;
  /* Rounded up so that vector loads of the last elements stay inside. */
  n = (n + 63) / 64 * 64;
  if (n == 0) n = 64;
  return posix_memalign(&p, 64, n) == 0 ? p : NULL;
}

void *mc_zeros(size_t count, size_t size) {
  size_t n;
  if (!mc_mul_size(count, size, &n) || n > SIZE_MAX - 64) return NULL;
  return calloc((n + 63) / 64 * 64 + (n == 0), 1);
}

void mc_aligned_free(void *p) { free(p); }

void *mc_alloc(size_t count, size_t size) {
  size_t n;
  if (!mc_mul_size(count, size, &n)) return NULL;
  return malloc(n ? n : 1);
}

void *mc_realloc(void *p, size_t count, size_t size) {
  size_t n;
  if (!mc_mul_size(count, size, &n)) return NULL;
  return realloc(p, n ? n : 1);
}

char *mc_strndup(const char *s, size_t n) {
  char *copy = n < SIZE_MAX ? malloc(n + 1) : NULL;
  if (!copy) return NULL;
  memcpy(copy, s, n);
  copy[n] = 0;
  return copy;
}

char *mc_strdup(const char *s) { return mc_strndup(s, strlen(s)); }

char *mc_format(const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *s = n < 0 ? NULL : malloc((size_t)n + 1);
  if (s) vsnprintf(s, (size_t)n + 1, format, again);
  va_end(again);
  return s;
}
