#include "base/arena.h"

#include "base/memory.h"

enum { CHUNK = 1 << 24 };

struct mc_arena_chunk {
  mc_arena_chunk *next;
  size_t size, used;
  unsigned char *data;
};

void mc_arena_clear(mc_arena *a) {
  for (mc_arena_chunk *c = a->first, *next; c; c = next) {
    next = c->next;
    mc_aligned_free(c->data);
    mc_aligned_free(c);
  }
  *a = (mc_arena){0};
}

static void *take_from(mc_arena_chunk *c, size_t n) {
  void *p = c->data + c->used;
  c->used += n;
  return p;
}

void *mc_arena_take(mc_arena *a, size_t count, size_t size) {
  size_t n;
  if (!mc_mul_size(count, size, &n) || n > SIZE_MAX - 2 * (size_t)CHUNK) return NULL;
  n = (n + 63) / 64 * 64;
  if (a->current && a->current->size - a->current->used >= n) return take_from(a->current, n);
  /* Later chunks are empty: they were released. Take the first that is large enough, and put it next in line. */
  mc_arena_chunk **link = a->current ? &a->current->next : &a->first, **free_link = link;
  while (*free_link && (*free_link)->size < n) free_link = &(*free_link)->next;
  mc_arena_chunk *c = *free_link;
  if (c) {
    *free_link = c->next;
  } else {
    c = mc_aligned_alloc(1, sizeof *c);
    if (!c) return NULL;
    c->size = n > CHUNK ? n : CHUNK;
    c->data = mc_aligned_alloc(c->size, 1);
    if (!c->data) {
      mc_aligned_free(c);
      return NULL;
    }
    a->n_bytes += c->size;
  }
  c->used = 0;
  c->next = *link;
  *link = c;
  a->current = c;
  return take_from(c, n);
}

mc_arena_mark mc_arena_here(const mc_arena *a) {
  return (mc_arena_mark){a->current, a->current ? a->current->used : 0};
}

void mc_arena_release(mc_arena *a, mc_arena_mark mark) {
  a->current = mark.chunk;
  if (mark.chunk) mark.chunk->used = mark.used;
}
