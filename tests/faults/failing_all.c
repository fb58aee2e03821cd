/* The program's malloc is everybody's. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "failing.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

static void *refuse(void) {
  errno = ENOMEM;
  return NULL;
}

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t n) { return failing_now() ? refuse() : __libc_malloc(n); }
EXPORT void *calloc(size_t n, size_t size) { return failing_now() ? refuse() : __libc_calloc(n, size); }
EXPORT void *realloc(void *p, size_t n) { return failing_now() ? refuse() : __libc_realloc(p, n); }
EXPORT void *memalign(size_t alignment, size_t n) { return failing_now() ? refuse() : __libc_memalign(alignment, n); }
EXPORT void *aligned_alloc(size_t alignment, size_t n) { return failing_now() ? refuse() : __libc_memalign(alignment, n); }

EXPORT int posix_memalign(void **out, size_t alignment, size_t n) {
  if (failing_now()) return ENOMEM;
  *out = __libc_memalign(alignment, n);
  return *out ? 0 : ENOMEM;
}
