/*
 * Merging one word: again and again the pair with the smallest id (the earliest merge) becomes one symbol, leftmost first.
 * Words of ordinary length do this on a small array; longer ones with a heap of pairs over a linked list, in n log n.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/text.h"

#define SHORT_WORD 48

void mc_bpe_scratch_clear(mc_bpe_scratch *s) {
  free(s->word);
  free(s->memory);
  memset(s, 0, sizeof *s);
}

static size_t short_word(const mc_bpe *b, const uint8_t *word, size_t n, int32_t *ids, size_t max) {
  uint32_t at[SHORT_WORD], merged[SHORT_WORD];
  for (size_t i = 0; i < n; i++) at[i] = b->bytes[word[i]] + (i + 1 == n ? 256u : 0u);
  for (size_t i = 0; i + 1 < n; i++) merged[i] = mc_bpe_merge(b, at[i], at[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++) {
      if (merged[i] < merged[best]) best = i;
    }
    if (merged[best] == UINT32_MAX) break;
    at[best] = merged[best];
    n--;
    memmove(at + best + 1, at + best + 2, (n - best - 1) * sizeof *at);
    if (best + 1 < n) memmove(merged + best, merged + best + 1, (n - best - 1) * sizeof *merged);
    if (best + 1 < n) merged[best] = mc_bpe_merge(b, at[best], at[best + 1]);
    if (best > 0) merged[best - 1] = mc_bpe_merge(b, at[best - 1], at[best]);
  }
  for (size_t i = 0; i < n && i < max; i++) ids[i] = (int32_t)at[i];
  return n;
}

/* Pairs waiting to be merged: made id << 32 | place of the left one, smallest first. */
typedef struct heap {
  uint64_t *at;
  size_t n;
} heap;

static void sift_down(heap *h, size_t i) {
  uint64_t value = h->at[i];
  for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
    if (child + 1 < h->n && h->at[child + 1] < h->at[child]) child++;
    if (h->at[child] >= value) break;
    h->at[i] = h->at[child];
  }
  h->at[i] = value;
}

static void heap_push(heap *h, uint64_t value) {
  size_t i = h->n++;
  for (; i > 0 && h->at[(i - 1) / 2] > value; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
  h->at[i] = value;
}

static uint64_t heap_pop(heap *h) {
  uint64_t first = h->at[0];
  h->at[0] = h->at[--h->n];
  if (h->n > 0) sift_down(h, 0);
  return first;
}

#define NONE UINT32_MAX /* as an id: merged into its left neighbour; as a place: no neighbour */

static size_t long_word(const mc_bpe *b, const uint8_t *word, uint32_t n, uint64_t *memory, int32_t *ids, size_t max) {
  /* The heap starts with n - 1 pairs at most, and each of at most n - 1 merges takes one and adds two at most. */
  heap h = {memory, 0};
  uint32_t *at = (uint32_t *)(memory + 2 * (size_t)n), *previous = at + n, *next = previous + n;
  for (uint32_t i = 0; i < n; i++) {
    at[i] = b->bytes[word[i]] + (i + 1 == n ? 256u : 0u);
    previous[i] = i > 0 ? i - 1 : NONE;
    next[i] = i + 1 < n ? i + 1 : NONE;
  }
  for (uint32_t i = 0; i + 1 < n; i++) {
    uint32_t merged = mc_bpe_merge(b, at[i], at[i + 1]);
    if (merged != UINT32_MAX) h.at[h.n++] = (uint64_t)merged << 32 | i;
  }
  for (size_t i = h.n / 2; i-- > 0;) sift_down(&h, i);
  while (h.n > 0) {
    uint64_t first = heap_pop(&h);
    uint32_t merged = (uint32_t)(first >> 32), left = (uint32_t)first;
    /* Left over from before one of the two was merged with another? */
    if (at[left] == NONE || next[left] == NONE) continue;
    uint32_t right = next[left];
    if (mc_bpe_merge(b, at[left], at[right]) != merged) continue;
    at[left] = merged;
    at[right] = NONE;
    next[left] = next[right];
    if (next[left] != NONE) {
      previous[next[left]] = left;
      uint32_t more = mc_bpe_merge(b, merged, at[next[left]]);
      if (more != UINT32_MAX) heap_push(&h, (uint64_t)more << 32 | left);
    }
    if (previous[left] != NONE) {
      uint32_t more = mc_bpe_merge(b, at[previous[left]], merged);
      if (more != UINT32_MAX) heap_push(&h, (uint64_t)more << 32 | previous[left]);
    }
  }
  size_t n_ids = 0;
  for (uint32_t i = 0; i != NONE; i = next[i], n_ids++) {
    if (n_ids < max) ids[n_ids] = (int32_t)at[i];
  }
  return n_ids;
}

moeclip_code mc_bpe_word(const mc_bpe *b, const uint8_t *word, size_t n, mc_bpe_scratch *scratch, int32_t *ids,
                         size_t max, size_t *n_ids, moeclip_error *err) {
  if (n <= SHORT_WORD) {
    *n_ids = short_word(b, word, n, ids, max);
    return MOECLIP_OK;
  }
  size_t n_bytes;
  if (n >= NONE || !mc_mul_size(n, 2 * sizeof(uint64_t) + 3 * sizeof(uint32_t), &n_bytes)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a word of %zu bytes is too long", n);
  }
  if (n_bytes > scratch->memory_capacity) {
    free(scratch->memory);
    scratch->memory_capacity = 0;
    scratch->memory = mc_alloc(n_bytes, 1);
    if (!scratch->memory) return mc_fail_memory(err, n_bytes, "merging a long word");
    scratch->memory_capacity = n_bytes;
  }
  *n_ids = long_word(b, word, (uint32_t)n, scratch->memory, ids, max);
  return MOECLIP_OK;
}
