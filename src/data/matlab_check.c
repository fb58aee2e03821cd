/* Walks a MATLAB 5 file: every element must lie inside the one around it, and hold what its dimensions promise. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "data/matlab.h"

/* The benchmarks' largest file has 50 thousand arrays in 600 kB. */
enum { HEADER = 128, MAX_ARRAYS = 1 << 19, MAX_DEPTH = 6, MAX_RANK = 4, MAX_FIELDS = 256 };
#define MAX_UNPACKED ((size_t)64 << 20)

enum { MI_INT8 = 1, MI_UINT8, MI_INT16, MI_UINT16, MI_INT32, MI_UINT32, MI_SINGLE, MI_DOUBLE = 9, MI_INT64 = 12,
       MI_UINT64, MI_MATRIX, MI_COMPRESSED, MI_UTF8, MI_UTF16 };
enum { MX_CELL = 1, MX_STRUCT = 2, MX_CHAR = 4, MX_DOUBLE = 6, MX_UINT64 = 15 };

typedef struct walk {
  size_t n_arrays;
  const char *wrong; /* what is wrong; NULL: nothing */
  size_t wrong_at;   /* byte of the (unpacked) element */
} walk;

typedef struct span {
  const uint8_t *begin, *at, *end;
} span;

typedef struct element {
  uint32_t type;
  const uint8_t *data;
  size_t n;
} element;

static bool bad(walk *w, const span *s, const char *what) {
  if (!w->wrong) {
    w->wrong = what;
    w->wrong_at = (size_t)(s->at - s->begin);
  }
  return false;
}

static uint32_t little_endian(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The next element, and its padding to 8 bytes. Up to 4 bytes may stand inside the tag itself. */
static bool next(walk *w, span *s, element *out) {
  size_t left = (size_t)(s->end - s->at);
  if (left < 8) return bad(w, s, "it ends too early");
  uint32_t first = little_endian(s->at);
  if (first >> 16) {
    *out = (element){first & 0xffff, s->at + 4, first >> 16};
    if (out->n > 4) return bad(w, s, "a small element is larger than 4 bytes");
    s->at += 8;
    return true;
  }
  *out = (element){first, s->at + 8, little_endian(s->at + 4)};
  if (out->n > left - 8) return bad(w, s, "an element is longer than what holds it");
  size_t padding = first == MI_COMPRESSED ? 0 : (8 - out->n % 8) % 8;
  s->at += 8 + out->n;
  s->at += padding < (size_t)(s->end - s->at) ? padding : (size_t)(s->end - s->at);
  return true;
}

static size_t size_of(uint32_t type) {
  switch (type) {
    case MI_INT8: case MI_UINT8: case MI_UTF8: return 1;
    case MI_INT16: case MI_UINT16: case MI_UTF16: return 2;
    case MI_INT32: case MI_UINT32: case MI_SINGLE: return 4;
    case MI_DOUBLE: case MI_INT64: case MI_UINT64: return 8;
    default: return 0;
  }
}

static bool array(walk *w, const element *e, int depth);

static bool arrays(walk *w, span *s, size_t n, int depth) {
  for (size_t i = 0; i < n; i++) {
    element e;
    if (!next(w, s, &e)) return false;
    if (e.type != MI_MATRIX || e.n == 0) return bad(w, s, "something else stands where an array should");
    if (!array(w, &e, depth + 1)) return false;
  }
  return true;
}

static bool fields(walk *w, span *s, size_t n, int depth) {
  element e;
  size_t n_all;
  if (!next(w, s, &e)) return false;
  size_t length = e.type == MI_INT32 && e.n == 4 ? little_endian(e.data) : 0;
  if (length == 0 || length > 64) return bad(w, s, "a wrong length of field names");
  if (!next(w, s, &e)) return false;
  size_t n_fields = e.n / length;
  if (e.type != MI_INT8 || e.n % length || n_fields == 0 || n_fields > MAX_FIELDS) {
    return bad(w, s, "wrong field names");
  }
  for (size_t i = 0; i < n_fields; i++) {
    if (!memchr(e.data + i * length, 0, length)) return bad(w, s, "a field name does not end");
  }
  if (!mc_mul_size(n, n_fields, &n_all)) return bad(w, s, "too many fields");
  return arrays(w, s, n_all, depth);
}

/* An array's flags, dimensions, name, and values of the kind that the flags tell. */
static bool array(walk *w, const element *array_of, int depth) {
  span s = {array_of->data, array_of->data, array_of->data + array_of->n};
  element e;
  size_t n = 1, n_bytes;
  if (depth > MAX_DEPTH || ++w->n_arrays > MAX_ARRAYS) return bad(w, &s, "more arrays than any benchmark's file has");
  if (!next(w, &s, &e)) return false;
  if (e.type != MI_UINT32 || e.n != 8) return bad(w, &s, "an array without flags");
  uint32_t flags = little_endian(e.data), kind = flags & 0xff;
  if (flags & 0x0800) return bad(w, &s, "an array of complex numbers");
  if (!next(w, &s, &e)) return false;
  if (e.type != MI_INT32 || e.n % 4 || e.n < 8 || e.n > 4 * MAX_RANK) return bad(w, &s, "wrong dimensions");
  for (size_t i = 0; i < e.n / 4; i++) {
    uint32_t side = little_endian(e.data + 4 * i);
    if (side > INT32_MAX || !mc_mul_size(n, side, &n)) return bad(w, &s, "wrong dimensions");
  }
  if (!next(w, &s, &e)) return false;
  if (e.type != MI_INT8 || e.n > 63) return bad(w, &s, "a wrong name");
  bool ok;
  if (kind == MX_CELL) {
    ok = arrays(w, &s, n, depth);
  } else if (kind == MX_STRUCT) {
    ok = fields(w, &s, n, depth);
  } else if (kind == MX_CHAR || (kind >= MX_DOUBLE && kind <= MX_UINT64)) {
    ok = next(w, &s, &e) && mc_mul_size(n, size_of(e.type), &n_bytes);
    if (ok && (size_of(e.type) == 0 || n_bytes != e.n || (kind == MX_CHAR && size_of(e.type) > 2) ||
               (kind != MX_CHAR && (e.type == MI_UTF8 || e.type == MI_UTF16)))) {
      ok = bad(w, &s, "an array's values are not what its dimensions promise");
    }
  } else {
    ok = bad(w, &s, "an array of a kind that the benchmarks' files do not have");
  }
  return ok && (s.at == s.end || bad(w, &s, "something stands behind an array's values"));
}

/* A packed element holds one array. */
static bool unpack(walk *w, const span *s, const element *packed, size_t *room, uint8_t **out, size_t *n) {
  z_stream z = {.next_in = (Bytef *)(uintptr_t)packed->data, .avail_in = (uInt)packed->n};
  size_t cap = 0;
  *out = NULL;
  *n = 0;
  if (inflateInit(&z) != Z_OK) return bad(w, s, "zlib refuses to start");
  int status = Z_OK;
  while (status == Z_OK) {
    if (*n == cap) {
      /* Grown with what was really unpacked. */
      size_t wanted = cap ? 2 * cap : 1 << 14;
      wanted = wanted < *room ? wanted : *room;
      uint8_t *grown = wanted > cap ? realloc(*out, wanted) : NULL;
      if (!grown) break;
      *out = grown;
      cap = wanted;
    }
    z.next_out = *out + *n;
    z.avail_out = (uInt)(cap - *n);
    status = inflate(&z, Z_NO_FLUSH);
    *n = cap - z.avail_out;
  }
  bool whole = status == Z_STREAM_END && z.avail_in == 0;
  inflateEnd(&z);
  *room -= *n;
  return whole || bad(w, s, "a packed element is damaged, or larger than 64 MiB");
}

static bool top(walk *w, span *s, size_t *room) {
  element e;
  if (!next(w, s, &e)) return false;
  if (e.type == MI_MATRIX) return array(w, &e, 0);
  if (e.type != MI_COMPRESSED) return bad(w, s, "something else stands where a variable should");
  uint8_t *data;
  size_t n;
  bool ok = unpack(w, s, &e, room, &data, &n);
  if (ok) {
    span inner = {data, data, data + n};
    ok = next(w, &inner, &e) && (e.type == MI_MATRIX || bad(w, &inner, "a packed element holds no array")) &&
         array(w, &e, 0) && (inner.at == inner.end || bad(w, &inner, "a packed element holds more than an array"));
  }
  free(data);
  return ok;
}

moeclip_code mc_matlab_check(const uint8_t *data, size_t n_bytes, moeclip_error *err) {
  walk w = {0};
  size_t room = MAX_UNPACKED;
  if (n_bytes < HEADER || memcmp(data + 124, "\0\1IM", 4) != 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "not a MATLAB 5 file of the benchmark's makers (little-endian, not version 7.3); download it again");
  }
  span s = {data, data + HEADER, data + n_bytes};
  bool ok = true;
  while (ok && s.at < s.end) ok = top(&w, &s, &room);
  if (ok) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged MATLAB file: %s (near byte %zu); download it again",
                 w.wrong ? w.wrong : "its sizes do not agree", w.wrong_at);
}
