/* Checked size arithmetic and aligned memory. */
#ifndef MC_BASE_MEMORY_H
#define MC_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b or a + b; false (and *out untouched) when it does not fit. */
static inline bool mc_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool mc_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* 64-byte aligned; NULL when count * size overflows or memory is short; count 0 gives a valid pointer. Release with mc_aligned_free
 * (NULL is fine). */
void *mc_aligned_alloc(size_t count, size_t size);
/* The same but zeroed, and aligned as calloc does: large blocks are fresh pages of the system, which take no memory until they are
 * written (gradients and moments of experts that nothing chooses). */
void *mc_zeros(size_t count, size_t size);
void mc_aligned_free(void *p);

/* malloc(count * size) and realloc with overflow checks; release with free. */
void *mc_alloc(size_t count, size_t size);
void *mc_realloc(void *p, size_t count, size_t size);
/* A copy of the first n bytes of s, with a terminating 0; free with free. NULL when memory is short. */
char *mc_strndup(const char *s, size_t n);
char *mc_strdup(const char *s);
/* sprintf into fresh memory; NULL when memory is short. free with free. */
char *mc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
