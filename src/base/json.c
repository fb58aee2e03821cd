#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static void keep_if(int failed, json_t **whole) {
  if (!failed) return;
  json_decref(*whole);
  *whole = NULL;
}

void mc_json_append(json_t **array, json_t *value) { keep_if(json_array_append_new(*array, value) != 0, array); }

void mc_json_set(json_t **object, const char *key, json_t *value) {
  keep_if(json_object_set_new(*object, key, value) != 0, object);
}

char *mc_json_text(const json_t *whole, size_t flags) {
  size_t n = json_dumpb(whole, NULL, 0, flags);
  char *text = n > 0 ? mc_alloc(n + 1, 1) : NULL;
  if (text && json_dumpb(whole, text, n, flags) != n) {
    free(text);
    return NULL;
  }
  if (text) text[n] = 0;
  return text;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

/*
 * jansson 2.14 keeps a token in a buffer that it doubles, and does not look whether that worked: the letter is lost, and where it was
 * a string's closing quote it reads on through whatever lies behind. So the text is read as ["...", TEXT] with a string in front for
 * which the buffer grows to what the longest token takes; where that fails, letters of this one are missing, its quote is far from the
 * sizes at which the buffer grows, and TEXT is read with a buffer that never does.
 */
typedef struct framed {
  const char *text;
  size_t n, padding; /* letters of the string in front */
  size_t at;         /* of the whole */
} framed;

static const char before[] = "[\"", between[] = "\",", after[] = "]";

static size_t framed_give(void *to, size_t most, void *context) {
  framed *f = context;
  const struct { const char *from; size_t n; } parts[] = {{before, 2}, {NULL, f->padding}, {between, 2}, {f->text, f->n}, {after, 1}};
  size_t given = 0, first = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && given < most; first += parts[i++].n) {
    size_t skip = f->at > first ? f->at - first : 0;
    if (skip >= parts[i].n) continue;
    size_t n = parts[i].n - skip < most - given ? parts[i].n - skip : most - given;
    if (parts[i].from) {
      memcpy((char *)to + given, parts[i].from + skip, n);
    } else {
      memset((char *)to + given, 'x', n);
    }
    given += n;
    f->at += n;
  }
  return given;
}

/* Letters of the longest string, number or word, as they stand there. */
static size_t longest_token(const char *text, size_t n) {
  size_t longest = 0, length = 0;
  bool string = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    bool ends = string ? c == '"' : strchr(" \t\r\n,:[]{}\"", c) != NULL;
    length++;
    if (string && c == '\\' && i + 1 < n) {
      length++;
      i++;
    }
    if (length > longest) longest = length;
    if (!ends) continue;
    length = !string && c == '"';
    string = !string && c == '"';
  }
  return longest;
}

/* NULL: damaged, or memory was short. */
static json_t *read_framed(const char *text, size_t n, size_t flags, json_error_t *error) {
  size_t room = 16, longest = longest_token(text, n);
  while (room < longest + 4) room *= 2;
  framed f = {text, n, room / 4 * 3, 0};
  json_t *frame = json_load_callback(framed_give, &f, flags, error), *whole = json_array_get(frame, 1);
  bool good = json_array_size(frame) == 2 && json_string_length(json_array_get(frame, 0)) == f.padding &&
              (flags & JSON_DECODE_ANY || json_is_object(whole) || json_is_array(whole));
  if (good) json_incref(whole);
  json_decref(frame);
  return good ? whole : NULL;
}

json_t *mc_json_read(const char *text, size_t n, size_t flags, json_error_t *error, bool *no_memory) {
  json_t *whole = read_framed(text, n, flags, error);
  *no_memory = false;
  /* Of nested values the frame is one itself. */
  if (whole || json_error_code(error) == json_error_stack_overflow) return whole;
  /* What is wrong with it? Without a word is how jansson fails before its parser begins. */
  json_t *plain = json_loadb(text, n, flags, error);
  *no_memory = plain || !error->text[0] || json_error_code(error) == json_error_out_of_memory;
  json_decref(plain);
  if (*no_memory) return NULL;
  /* Both may have failed for one reason, which jansson can mistake for damage. */
  void *some = mc_alloc(4096, 1);
  *no_memory = !some;
  free(some);
  return NULL;
}

/* advice: what to do, or NULL. */
static moeclip_code read_file(const char *path, size_t most, const char *advice, json_t **out, moeclip_error *err) {
  uint8_t *data = NULL;
  size_t n = 0;
  bool no_memory = false;
  json_error_t why;
  *out = NULL;
  MC_TRY(mc_file_read(path, most, &data, &n, err));
  *out = mc_json_read((const char *)data, n, JSON_REJECT_DUPLICATES, &why, &no_memory);
  free(data);
  if (*out) return MOECLIP_OK;
  if (no_memory) return mc_fail_memory(err, n, path);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: line %d: %s%s%s", path, why.line, why.text, advice ? "; " : "", advice ? advice : "");
}

moeclip_code mc_json_read_given(const char *path, size_t most, json_t **out, moeclip_error *err) {
  return read_file(path, most, NULL, out, err);
}

moeclip_code mc_json_read_file(const char *path, const char *advice, json_t **out, moeclip_error *err) {
  bool there = false;
  *out = NULL;
  MC_TRY(mc_file_exists(path, &there, err));
  return there ? read_file(path, (size_t)256 << 20, advice, out, err) : MOECLIP_OK;
}
