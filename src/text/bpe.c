#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "text/text.h"

#define N_SYMBOLS 512
#define END_OF_WORD 256

/* --- reading the merges -------------------------------------------------------------------------------------------- */

/* Unpacks the built-in file up to its first n_lines lines. *text is freed by the caller. */
static moeclip_code unpack(size_t n_lines, char **text, size_t *n_text, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  size_t n_gzip, capacity = 0, n = 0, lines = 0;
  const uint8_t *gzip = mc_vocabulary_gzip(&n_gzip);
  char *buffer = NULL;
  z_stream z;
  memset(&z, 0, sizeof z);
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return mc_fail_memory(err, 0, "unpacking the vocabulary");
  z.next_in = (Bytef *)(uintptr_t)gzip;
  z.avail_in = (uInt)n_gzip;
  int status = Z_OK;
  while (lines < n_lines && status == Z_OK) {
    if (n == capacity) {
      capacity += (size_t)1 << 18;
      char *grown = mc_realloc(buffer, capacity, 1);
      if (!grown) {
        code = mc_fail_memory(err, capacity, "unpacking the vocabulary");
        goto done;
      }
      buffer = grown;
    }
    size_t room = capacity - n < 16384 ? capacity - n : 16384;
    z.next_out = (Bytef *)buffer + n;
    z.avail_out = (uInt)room;
    status = inflate(&z, Z_NO_FLUSH);
    size_t end = n + room - z.avail_out;
    for (; n < end; n++) lines += buffer[n] == '\n';
  }
  if (status == Z_MEM_ERROR) code = mc_fail_memory(err, 0, "unpacking the vocabulary");
  else if (lines < n_lines) code = mc_fail(err, MOECLIP_ERROR_INTERNAL, "the built-in vocabulary has fewer than %zu lines", n_lines);
done:
  inflateEnd(&z);
  if (code != MOECLIP_OK) {
    free(buffer);
    return code;
  }
  *text = buffer;
  *n_text = n;
  return MOECLIP_OK;
}

/* Names of symbols, while the merges are read: a hash table over spans of one arena. */
typedef struct names {
  char *arena;
  size_t used, capacity;
  uint32_t *starts; /* [id] */
  uint8_t *lengths; /* [id] */
  uint16_t *slots;  /* id + 1; 0: free */
  uint32_t mask;
} names;

static uint32_t hash_name(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 16777619u;
  return h ^ h >> 15;
}

static int find_name(const names *t, const char *s, size_t n) {
  for (uint32_t slot = hash_name(s, n) & t->mask; t->slots[slot]; slot = (slot + 1) & t->mask) {
    int id = t->slots[slot] - 1;
    if (t->lengths[id] == n && memcmp(t->arena + t->starts[id], s, n) == 0) return id;
  }
  return -1;
}

/* Adds the name a followed by b; false when it does not fit. */
static bool add_name(names *t, int id, const char *a, size_t n_a, const char *b, size_t n_b) {
  size_t n = n_a + n_b;
  if (n > 255 || n > t->capacity - t->used) return false;
  char *s = t->arena + t->used;
  memcpy(s, a, n_a);
  if (n_b > 0) memcpy(s + n_a, b, n_b); /* b may be NULL then */
  t->starts[id] = (uint32_t)t->used;
  t->lengths[id] = (uint8_t)n;
  t->used += n;
  uint32_t slot = hash_name(s, n) & t->mask;
  while (t->slots[slot]) slot = (slot + 1) & t->mask;
  t->slots[slot] = (uint16_t)(id + 1);
  return true;
}

/* The 256 bytes in the vocabulary's order, each under a printable character: those that are printable in Latin-1 stand for
 * themselves and come first, the others follow as U+0100 and on. */
static bool add_bytes(mc_bpe *b, names *t) {
  int id = 0, n_others = 0;
  bool ok = true;
  for (int others = 0; others < 2; others++) {
    for (int byte = 0; byte < 256; byte++) {
      bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      if (printable == (others == 1)) continue;
      uint8_t name[4];
      size_t n = (size_t)mc_utf8_encode(printable ? byte : 0x100 + n_others, name);
      n_others += !printable;
      ok = ok && add_name(t, id, (char *)name, n, NULL, 0);
      ok = ok && add_name(t, id + END_OF_WORD, (char *)name, n, "</w>", 4);
      b->bytes[byte] = (uint16_t)id++;
    }
  }
  return ok;
}

static moeclip_code read_merges(mc_bpe *b, const char *text, size_t n_text, names *t, moeclip_error *err) {
  const char *end = text + n_text, *line = memchr(text, '\n', n_text); /* the first line is a comment */
  for (int rank = 0; rank < b->n_merges; rank++) {
    const char *left = line + 1;
    line = memchr(left, '\n', (size_t)(end - left));
    const char *space = line ? memchr(left, ' ', (size_t)(line - left)) : NULL;
    if (!space) return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the built-in vocabulary's merge %d is damaged", rank);
    size_t n_left = (size_t)(space - left), n_right = (size_t)(line - space - 1);
    int left_id = find_name(t, left, n_left), right_id = find_name(t, space + 1, n_right), id = N_SYMBOLS + rank;
    if (left_id < 0 || right_id < 0 || !add_name(t, id, left, n_left, space + 1, n_right)) {
      return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the built-in vocabulary's merge %d has unknown parts", rank);
    }
    uint32_t pair = (uint32_t)left_id << 16 | (uint32_t)right_id, slot = mc_bpe_hash(pair) & b->mask;
    while (b->pairs[slot] != UINT32_MAX) slot = (slot + 1) & b->mask;
    b->pairs[slot] = pair;
    b->ids[slot] = (uint16_t)id;
  }
  return MOECLIP_OK;
}

moeclip_code mc_bpe_init(mc_bpe *b, int n_merges, moeclip_error *err) {
  moeclip_code code;
  char *text = NULL;
  size_t n_text = 0, n_ids = (size_t)n_merges + N_SYMBOLS, n_slots = 1024;
  names t = {0};
  memset(b, 0, sizeof *b);
  code = unpack((size_t)n_merges + 1, &text, &n_text, err);
  if (code != MOECLIP_OK) goto done;
  while (n_slots < 2 * n_ids) n_slots *= 2;
  b->n_merges = n_merges;
  b->mask = t.mask = (uint32_t)n_slots - 1;
  b->pairs = mc_alloc(n_slots, sizeof *b->pairs);
  b->ids = mc_alloc(n_slots, sizeof *b->ids);
  /* No name is longer than its line; the byte symbols take at most 2 and 6 bytes. */
  t.capacity = n_text + 256 * 8;
  t.arena = mc_alloc(t.capacity, 1);
  t.starts = mc_alloc(n_ids, sizeof *t.starts);
  t.lengths = mc_alloc(n_ids, sizeof *t.lengths);
  t.slots = mc_alloc(n_slots, sizeof *t.slots);
  if (!b->pairs || !b->ids || !t.arena || !t.starts || !t.lengths || !t.slots) {
    code = mc_fail_memory(err, n_slots * 8 + n_ids * 5 + t.capacity, "reading the vocabulary");
    goto done;
  }
  memset(b->pairs, 0xFF, n_slots * sizeof *b->pairs);
  memset(t.slots, 0, n_slots * sizeof *t.slots);
  if (!add_bytes(b, &t)) {
    code = mc_fail(err, MOECLIP_ERROR_INTERNAL, "the vocabulary's byte symbols do not fit");
    goto done;
  }
  code = read_merges(b, text, n_text, &t, err);
done:
  free(text);
  free(t.arena);
  free(t.starts);
  free(t.lengths);
  free(t.slots);
  if (code != MOECLIP_OK) mc_bpe_clear(b);
  return code;
}

void mc_bpe_clear(mc_bpe *b) {
  free(b->pairs);
  free(b->ids);
  memset(b, 0, sizeof *b);
}
