/* Paths in an index: absolute, or relative to its folder. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "search/search.h"

bool mc_is_below(const char *path, const char *folder) {
  size_t n = strlen(folder);
  while (n > 0 && folder[n - 1] == '/') n--;
  return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* How many leading bytes of two absolute paths are whole parts that both have: up to, and without, a '/'. */
static size_t common_parts(const char *a, const char *b) {
  size_t n = 0;
  for (size_t i = 0;; i++) {
    bool end_a = a[i] == 0 || a[i] == '/', end_b = b[i] == 0 || b[i] == '/';
    if (end_a && end_b) n = i;
    if (a[i] != b[i] || a[i] == 0) return n;
  }
}

char *mc_index_stored_path(const moeclip_index *x, const char *absolute) {
  if (!x->relative) return mc_strdup(absolute);
  const char *from = strcmp(x->folder, "/") == 0 ? "" : x->folder;
  size_t n = common_parts(from, absolute), ups = 0;
  for (const char *s = from + n; *s; s++) ups += *s == '/';
  const char *rest = absolute + n + (absolute[n] == '/');
  char *out = mc_alloc(3 * ups + strlen(rest) + 2, 1);
  if (!out) return NULL;
  for (size_t i = 0; i < ups; i++) memcpy(out + 3 * i, "../", 3);
  strcpy(out + 3 * ups, rest);
  if (!*out) strcpy(out, ".");
  size_t length = strlen(out);
  if (length > 1 && out[length - 1] == '/') out[length - 1] = 0; /* "../" alone */
  return out;
}

char *mc_index_absolute_path(const moeclip_index *x, const char *stored, size_t n) {
  if (!x->relative) return mc_strndup(stored, n);
  size_t base = strcmp(x->folder, "/") == 0 ? 0 : strlen(x->folder);
  while (n >= 2 && stored[0] == '.' && stored[1] == '.' && (n == 2 || stored[2] == '/')) {
    size_t skip = n == 2 ? 2 : 3;
    stored += skip;
    n -= skip;
    while (base > 0 && x->folder[--base] != '/') continue;
  }
  if (n == 1 && stored[0] == '.') n = 0;
  char *out = mc_alloc(base + n + 2, 1);
  if (!out) return NULL;
  memcpy(out, x->folder, base);
  size_t at = base;
  if (n > 0 || base == 0) out[at++] = '/';
  memcpy(out + at, stored, n);
  out[at + n] = 0;
  return out;
}

moeclip_code mc_index_column_path(const moeclip_index *x, sqlite3_stmt *s, int column, char **out, moeclip_error *err) {
  const char *stored = sqlite3_column_blob(s, column);
  size_t n = (size_t)sqlite3_column_bytes(s, column);
  *out = NULL;
  if (!stored && sqlite3_errcode(x->db) == SQLITE_NOMEM) return mc_fail_memory(err, n, x->path);
  if (!stored || n > MC_MAX_PATH || memchr(stored, 0, n) || (!x->relative && stored[0] != '/')) {
    return mc_index_damaged(x, "a path", err);
  }
  *out = mc_index_absolute_path(x, stored, n);
  return *out ? MOECLIP_OK : mc_fail_memory(err, n, "a path");
}
