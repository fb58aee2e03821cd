/*
 * Reading safetensors: 8 bytes of header length, a JSON object of known and flat form, the data. The header is parsed
 * for exactly that form, so that its depth and memory are bounded by construction.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/collection.h"

#define MAX_HEADER 100000000 /* what the format's own reader allows */

typedef struct parser {
  const uint8_t *begin, *at, *end;
  moeclip_error *err;
} parser;

typedef struct span { size_t begin, end; } span;

static moeclip_code bad(const parser *p, const char *what) {
  return mc_fail(p->err, MOECLIP_ERROR_FORMAT, "damaged safetensors header: %s at byte %zu", what,
                 (size_t)(p->at - p->begin));
}

static void skip_space(parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

/* Takes the character c if it comes next. */
static bool take(parser *p, char c) {
  skip_space(p);
  if (p->at == p->end || *p->at != (uint8_t)c) return false;
  p->at++;
  return true;
}

static bool take_hex4(parser *p, uint32_t *value) {
  if (p->end - p->at < 4) return false;
  *value = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t c = *p->at++;
    uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
    if (digit > 15) return false;
    *value = *value << 4 | digit;
  }
  return true;
}

/* One \ escape, after the backslash, as UTF-8 into out (at most 4 bytes); 0 when it is wrong. */
static size_t take_escape(parser *p, char *out) {
  if (p->at == p->end) return 0;
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  uint8_t c = *p->at++;
  const char *simple = c ? strchr(from, c) : NULL;
  if (simple) {
    *out = to[simple - from];
    return 1;
  }
  uint32_t code, low;
  if (c != 'u' || !take_hex4(p, &code)) return 0;
  if (code >= 0xd800 && code < 0xe000) {
    if (code >= 0xdc00 || p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u') return 0;
    p->at += 2;
    if (!take_hex4(p, &low) || low < 0xdc00 || low >= 0xe000) return 0;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--) {
    out[i] = (char)(0x80 | (code & 0x3f));
    code >>= 6;
  }
  out[0] = (char)((0xf00 >> n & 0xff) | code);
  return n;
}

/* A string: a fresh copy that ends in 0 (free with free). */
static moeclip_code take_string(parser *p, char **out, size_t *n_out) {
  *out = NULL;
  if (!take(p, '"')) return bad(p, "a string was expected");
  const uint8_t *close = p->at;
  while (close < p->end && *close != '"') close += *close == '\\' && p->end - close > 1 ? 2 : 1;
  if (close >= p->end) return bad(p, "a string does not end");
  size_t n = 0, room = (size_t)(close - p->at); /* no escape is shorter than what it stands for */
  char *s = mc_alloc(room + 1, 1);
  if (!s) return mc_fail_memory(p->err, room, "a name");
  size_t used = 1;
  while (used > 0 && p->at < close) {
    uint8_t c = *p->at++;
    used = 1;
    if (c == '\\') {
      used = take_escape(p, s + n);
    } else if (c < 0x20) {
      used = 0;
    } else {
      s[n] = (char)c;
    }
    n += used;
  }
  if (used == 0 || p->at != close || !mc_is_text(s, n)) {
    free(s);
    return bad(p, "a string is not valid UTF-8 or holds a wrong escape or a control character");
  }
  p->at = close + 1;
  s[n] = 0;
  *out = s;
  *n_out = n;
  return MOECLIP_OK;
}

/* A whole number below 2^63, as JSON writes it. */
static moeclip_code take_number(parser *p, int64_t *out) {
  skip_space(p);
  const uint8_t *first = p->at;
  int64_t v = 0;
  while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p->at - '0', &v)) {
      return bad(p, "a number is too large");
    }
    p->at++;
  }
  if (p->at == first || (*first == '0' && p->at - first > 1)) return bad(p, "a whole number was expected");
  *out = v;
  return MOECLIP_OK;
}

/* [n, n, ...] of at most max numbers. */
static moeclip_code take_numbers(parser *p, int64_t *out, int max, int *n_out) {
  *n_out = 0;
  if (!take(p, '[')) return bad(p, "a list of numbers was expected");
  if (take(p, ']')) return MOECLIP_OK;
  do {
    if (*n_out == max) return bad(p, "a list is longer than moeclip takes");
    MC_TRY(take_number(p, &out[*n_out]));
    ++*n_out;
  } while (take(p, ','));
  return take(p, ']') ? MOECLIP_OK : bad(p, "a list does not end");
}

static moeclip_code take_dtype(parser *p, moeclip_dtype *out) {
  char *text;
  size_t n;
  MC_TRY(take_string(p, &text, &n));
  for (int i = MOECLIP_F32; i <= MOECLIP_BOOL; i++) {
    if (strcmp(text, moeclip_dtype_name((moeclip_dtype)i)) == 0) {
      *out = (moeclip_dtype)i;
      free(text);
      return MOECLIP_OK;
    }
  }
  moeclip_code code = mc_fail(p->err, MOECLIP_ERROR_UNSUPPORTED, "elements of type %.40s are not supported", text);
  free(text);
  return code;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, each key once, in any order. */
static moeclip_code take_entry(parser *p, moeclip_dtype *dtype, int *rank, int64_t *shape, int64_t offsets[2]) {
  static const char *const keys[] = {"dtype", "shape", "data_offsets"};
  unsigned seen = 0;
  if (!take(p, '{')) return bad(p, "a tensor's description was expected");
  do {
    char *key;
    size_t n;
    unsigned which = 0;
    MC_TRY(take_string(p, &key, &n));
    while (which < 3 && strcmp(key, keys[which]) != 0) which++;
    free(key);
    if (which == 3 || seen & 1u << which) return bad(p, "a key of a tensor is unknown or there twice");
    seen |= 1u << which;
    if (!take(p, ':')) return bad(p, "a colon is missing");
    int n_offsets = 2;
    MC_TRY(which == 0   ? take_dtype(p, dtype)
           : which == 1 ? take_numbers(p, shape, MOECLIP_MAX_RANK, rank)
                        : take_numbers(p, offsets, 2, &n_offsets));
    if (n_offsets != 2) return bad(p, "data_offsets must be two numbers");
  } while (take(p, ','));
  if (!take(p, '}')) return bad(p, "a tensor's description does not end");
  return seen == 7 ? MOECLIP_OK : bad(p, "a tensor lacks dtype, shape or data_offsets");
}

static moeclip_code take_metadata(parser *p, moeclip_tensors *t) {
  if (!take(p, '{')) return bad(p, "__metadata__ must be an object of strings");
  if (take(p, '}')) return MOECLIP_OK;
  do {
    char *key = NULL, *value = NULL;
    size_t n;
    moeclip_code code = take_string(p, &key, &n);
    if (code == MOECLIP_OK && !take(p, ':')) code = bad(p, "a colon is missing");
    if (code == MOECLIP_OK) code = take_string(p, &value, &n);
    if (code == MOECLIP_OK && t->n_metadata >= 4096) code = bad(p, "more than 4096 entries of metadata");
    if (code == MOECLIP_OK && moeclip_tensors_metadata(t, key)) code = bad(p, "a key of __metadata__ is there twice");
    if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, key, value, p->err);
    free(key);
    free(value);
    MC_TRY(code);
  } while (take(p, ','));
  return take(p, '}') ? MOECLIP_OK : bad(p, "__metadata__ does not end");
}

static moeclip_code take_tensor(parser *p, const char *name, size_t n_name, const uint8_t *data, size_t n_data,
                                moeclip_tensors *t) {
  moeclip_dtype dtype = MOECLIP_F32;
  int rank = 0;
  int64_t shape[MOECLIP_MAX_RANK], offsets[2];
  int shown = n_name > 200 ? 200 : (int)n_name;
  size_t elements, n_bytes;
  moeclip_code code = take_entry(p, &dtype, &rank, shape, offsets);
  if (code != MOECLIP_OK) {
    char prefix[256];
    memcpy(prefix, "tensor ", 7);
    memcpy(prefix + 7, name, (size_t)shown);
    prefix[7 + shown] = 0;
    mc_fail_prefix(p->err, prefix);
    return code;
  }
  if (offsets[0] > offsets[1] || (uint64_t)offsets[1] > n_data) {
    return mc_fail(p->err, MOECLIP_ERROR_FORMAT,
                   "tensor %.*s: its data_offsets do not lie in the file's %zu bytes of data (cut short?)", shown, name,
                   n_data);
  }
  if (!mc_tensor_size(dtype, rank, shape, &elements, &n_bytes) || n_bytes != (uint64_t)(offsets[1] - offsets[0])) {
    return mc_fail(p->err, MOECLIP_ERROR_FORMAT, "tensor %.*s: its shape and type do not match its data_offsets", shown,
                   name);
  }
  return mc_tensors_put(t, name, n_name, dtype, rank, shape, data + offsets[0], MOECLIP_ERROR_FORMAT, p->err);
}

static int by_begin(const void *a, const void *b) {
  const span *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must cover the data from end to end, each byte once. */
static moeclip_code check_cover(const moeclip_tensors *t, const uint8_t *data, size_t n_data, moeclip_error *err) {
  span *spans = mc_alloc(t->n_items, sizeof *spans);
  if (!spans) return mc_fail_memory(err, t->n_items * sizeof *spans, "the order of tensors");
  for (size_t i = 0; i < t->n_items; i++) {
    size_t begin = (size_t)((const uint8_t *)t->items[i].data - data);
    spans[i] = (span){begin, begin + t->items[i].n_bytes};
  }
  if (t->n_items) qsort(spans, t->n_items, sizeof *spans, by_begin);
  size_t at = 0, i = 0;
  while (i < t->n_items && spans[i].begin == at) at = spans[i++].end;
  bool whole = i == t->n_items && at == n_data;
  free(spans);
  if (whole) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT,
                 "damaged safetensors file: tensors overlap or leave bytes of the data unused near byte %zu of %zu", at,
                 n_data);
}

moeclip_code mc_safetensors_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err) {
  t->container = MOECLIP_SAFETENSORS;
  if (n_bytes < 8) return mc_fail(err, MOECLIP_ERROR_FORMAT, "too short for a safetensors file");
  uint64_t n_header = mc_u64(data);
  if (n_header > MAX_HEADER || n_header > n_bytes - 8) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "a safetensors header of %llu bytes is more than the file has or than the %d that are taken",
                   (unsigned long long)n_header, MAX_HEADER);
  }
  const uint8_t *payload = data + 8 + n_header;
  size_t n_payload = n_bytes - 8 - (size_t)n_header;
  parser p = {data + 8, data + 8, payload, err};
  bool metadata = false;
  if (!take(&p, '{')) return bad(&p, "an object was expected");
  if (!take(&p, '}')) {
    do {
      char *name;
      size_t n_name;
      MC_TRY(take_string(&p, &name, &n_name));
      moeclip_code code;
      if (!take(&p, ':')) {
        code = bad(&p, "a colon is missing");
      } else if (strcmp(name, "__metadata__") != 0) {
        code = take_tensor(&p, name, n_name, payload, n_payload, t);
      } else {
        code = metadata ? bad(&p, "__metadata__ is there twice") : take_metadata(&p, t);
        metadata = true;
      }
      free(name);
      MC_TRY(code);
    } while (take(&p, ','));
    if (!take(&p, '}')) return bad(&p, "the object does not end");
  }
  skip_space(&p);
  if (p.at != p.end) return bad(&p, "something follows the object");
  return check_cover(t, payload, n_payload, err);
}
