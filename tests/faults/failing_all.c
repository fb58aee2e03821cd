/* The program's malloc is everybody's. Spared are libraries that end the process when memory is short (docs/FAULTS.md). */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "failing.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

static void *refuse(void) {
  errno = ENOMEM;
  return NULL;
}

/* Where the spared libraries' code lies. */
static struct {
  uintptr_t begin, end;
} spared[16];
static size_t n_spared;

static int look_at(struct dl_phdr_info *info, size_t n, void *context) {
  static const char *const names[] = {"libdnnl", "libstdc++", "libgomp", "ld-linux"};
  (void)n;
  (void)context;
  for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
    if (!strstr(info->dlpi_name, names[k])) continue;
    for (int i = 0; i < info->dlpi_phnum && n_spared < 16; i++) {
      if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X)) continue;
      spared[n_spared].begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
      spared[n_spared].end = spared[n_spared].begin + info->dlpi_phdr[i].p_memsz;
      n_spared++;
    }
  }
  return 0;
}

__attribute__((constructor)) static void find_spared(void) { dl_iterate_phdr(look_at, NULL); }

static bool fails(const void *caller) {
  for (size_t i = 0; i < n_spared; i++) {
    if ((uintptr_t)caller >= spared[i].begin && (uintptr_t)caller < spared[i].end) return false;
  }
  return failing_now();
}

#define CALLER __builtin_return_address(0)
#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t n) { return fails(CALLER) ? refuse() : __libc_malloc(n); }
EXPORT void *calloc(size_t n, size_t size) { return fails(CALLER) ? refuse() : __libc_calloc(n, size); }
EXPORT void *realloc(void *p, size_t n) { return fails(CALLER) ? refuse() : __libc_realloc(p, n); }
EXPORT void *memalign(size_t alignment, size_t n) { return fails(CALLER) ? refuse() : __libc_memalign(alignment, n); }
EXPORT void *aligned_alloc(size_t alignment, size_t n) { return fails(CALLER) ? refuse() : __libc_memalign(alignment, n); }

EXPORT int posix_memalign(void **out, size_t alignment, size_t n) {
  if (fails(CALLER)) return ENOMEM;
  *out = __libc_memalign(alignment, n);
  return *out ? 0 : ENOMEM;
}
