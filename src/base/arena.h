/* Memory for one pass: taken piece by piece, given back all at once, and reused without asking the system again. */
#ifndef MC_BASE_ARENA_H
#define MC_BASE_ARENA_H

#include <stddef.h>

typedef struct mc_arena_chunk mc_arena_chunk;

typedef struct mc_arena {
  mc_arena_chunk *first, *current;
  size_t n_bytes; /* of all chunks */
} mc_arena;

/* A zero-filled mc_arena is ready for use. */
void mc_arena_clear(mc_arena *a); /* frees everything */
/* 64-byte aligned, not zeroed; NULL when memory is short or count * size overflows. Never moves. */
void *mc_arena_take(mc_arena *a, size_t count, size_t size);

/* Takes count elements for a pointer, or leaves the function with an error that says what for (which needs base/memory.h). */
#define MC_ARENA_TAKE(pointer, arena, count, what)                                                       \
  do {                                                                                                   \
    (pointer) = mc_arena_take((arena), (size_t)(count), sizeof *(pointer));                              \
    if (!(pointer)) return mc_fail_memory(err, (size_t)(count) * sizeof *(pointer), what);               \
  } while (0)

/* A place to come back to: what was taken after mark is given back by release. */
typedef struct mc_arena_mark { mc_arena_chunk *chunk; size_t used; } mc_arena_mark;
mc_arena_mark mc_arena_here(const mc_arena *a);
void mc_arena_release(mc_arena *a, mc_arena_mark mark);

#endif
