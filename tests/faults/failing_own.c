/* Linked with --wrap=malloc and so on: see CMakeLists.txt. */
#include <errno.h>
#include <stdlib.h>

#include "failing.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);

static void *refuse(void) {
  errno = ENOMEM;
  return NULL;
}

void *__wrap_malloc(size_t n) { return failing_now() ? refuse() : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return failing_now() ? refuse() : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return failing_now() ? refuse() : __real_realloc(p, n); }
int __wrap_posix_memalign(void **out, size_t alignment, size_t n) {
  return failing_now() ? ENOMEM : __real_posix_memalign(out, alignment, n);
}
