#include "base/json.h"

#include <stdlib.h>

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

json_t *mc_json_read(const char *text, size_t n, size_t flags, json_error_t *error, bool *no_memory) {
  json_error_t second;
  json_t *whole = json_loadb(text, n, flags, error), *again = json_loadb(text, n, flags, &second);
  /* Without a word is how jansson fails before its parser begins. */
  *no_memory = !whole != !again || (!whole && (!error->text[0] || json_error_code(error) == json_error_out_of_memory)) ||
               (whole && !json_equal(whole, again));
  json_decref(again);
  if (!whole && !*no_memory) {
    /* Both may have failed for one reason, which jansson can mistake for damage. */
    void *some = mc_alloc(4096, 1);
    *no_memory = !some;
    free(some);
  }
  if (!*no_memory) return whole;
  json_decref(whole);
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
