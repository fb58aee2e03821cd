#include "data/pairs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "data/dataset.h"

typedef struct pair {
  char *path;
  char **captions; /* [n], at least 1 */
  size_t n;
} pair;

struct mc_pairs {
  pair *items;
  size_t n_items, cap_items;
};

static void pair_clear(pair *p) {
  free(p->path);
  mc_names_free(p->captions, p->n);
}

void mc_pairs_destroy(mc_pairs *p) {
  if (!p) return;
  for (size_t i = 0; i < p->n_items; i++) pair_clear(&p->items[i]);
  free(p->items);
  free(p);
}

/* Takes over path. Empty captions are left out. */
static moeclip_code add(mc_pairs *p, char *path, char *const *captions, size_t n, moeclip_error *err) {
  pair item = {.path = path, .captions = calloc(n + 1, sizeof *item.captions)};
  bool ok = path && item.captions;
  for (size_t i = 0; ok && i < n; i++) {
    if (!captions[i][0]) continue;
    item.captions[item.n] = mc_strdup(captions[i]);
    ok = item.captions[item.n++] != NULL;
  }
  moeclip_code code = MOECLIP_OK;
  if (ok && item.n == 0) code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there is no caption for this picture", path);
  if (ok && code == MOECLIP_OK && p->n_items == p->cap_items) {
    size_t cap = p->cap_items ? 2 * p->cap_items : 256;
    pair *grown = mc_realloc(p->items, cap, sizeof *grown);
    ok = grown != NULL;
    if (ok) {
      p->items = grown;
      p->cap_items = cap;
    }
  }
  if (!ok) code = mc_fail_memory(err, sizeof item, "captions");
  if (code == MOECLIP_OK) {
    p->items[p->n_items++] = item;
  } else {
    pair_clear(&item);
  }
  return code;
}

static bool is_header(const char *first) {
  return strcasecmp(first, "path") == 0 || strcasecmp(first, "file") == 0 || strcasecmp(first, "image") == 0;
}

static moeclip_code read_csv(mc_pairs *p, const char *path, moeclip_error *err) {
  const char *slash = strrchr(path, '/');
  int n_folder = slash ? (int)(slash - path) + 1 : 0;
  uint8_t *text;
  size_t n;
  mc_csv c;
  bool more = true;
  MC_TRY(mc_read_maybe_gzip(path, (size_t)1 << 30, &text, &n, err));
  mc_csv_init(&c, (char *)text, n);
  moeclip_code code = memchr(text, 0, n) ? mc_fail(err, MOECLIP_ERROR_FORMAT, "not a text file") : MOECLIP_OK;
  for (bool first = true; code == MOECLIP_OK; first = false) {
    code = mc_csv_next(&c, &more, err);
    if (code != MOECLIP_OK || !more) break;
    const char *head = c.fields[0];
    if (first && is_header(head)) continue;
    size_t n_captions = 0;
    for (size_t i = 1; i < c.n_fields; i++) n_captions += c.fields[i][0] != 0;
    if (n_captions == 0 || !head[0]) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "line %zu: path,caption[,caption...] is needed", c.row);
    } else {
      char *picture = mc_format("%.*s%s", head[0] == '/' ? 0 : n_folder, path, head);
      code = add(p, picture, c.fields + 1, c.n_fields - 1, err);
    }
  }
  if (code != MOECLIP_OK) mc_fail_prefix(err, path);
  mc_csv_clear(&c);
  free(text);
  return code;
}

/* The lines of the text file beside a picture. */
static moeclip_code add_with_text(mc_pairs *p, const char *picture, bool *found, moeclip_error *err) {
  const char *dot = strrchr(picture, '.');
  char *text_path = mc_format("%.*s.txt", (int)(dot - picture), picture), **lines = NULL;
  uint8_t *text = NULL;
  size_t n, n_lines = 1;
  if (!text_path) return mc_fail_memory(err, strlen(picture), "a file name");
  *found = mc_is_file(text_path);
  moeclip_code code = *found ? mc_read_maybe_gzip(text_path, 1 << 20, &text, &n, err) : MOECLIP_OK;
  if (text && memchr(text, 0, n)) code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not a text file", text_path);
  if (!*found || code != MOECLIP_OK) goto done;
  /* NOLINTNEXTLINE(clang-analyzer-*): found and read, so there is text */
  for (const char *s = (const char *)text; *s; s++) n_lines += *s == '\n' || *s == '\r';
  lines = mc_alloc(n_lines, sizeof *lines);
  if (!lines) {
    code = mc_fail_memory(err, n_lines * sizeof *lines, "captions");
    goto done;
  }
  n_lines = 0;
  for (char *line = (char *)text + (strncmp((char *)text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0); *line;) {
    size_t length = strcspn(line, "\r\n");
    char *next = line + length + strspn(line + length, "\r\n");
    line[length] = 0;
    lines[n_lines++] = line;
    line = next;
  }
  code = add(p, mc_strdup(picture), lines, n_lines, err);
done:
  free(text_path);
  free(lines);
  free(text);
  return code;
}

static moeclip_code add_picture(mc_pairs *p, const char *path, char *caption, moeclip_error *err) {
  bool found = false;
  MC_TRY(add_with_text(p, path, &found, err));
  if (found) return MOECLIP_OK;
  if (caption) return add(p, mc_strdup(path), &caption, 1, err);
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: a .txt file of the same name with its captions is missing", path);
}

/* caption: of the class that the folder is, or NULL above the classes. */
static moeclip_code read_folder(mc_pairs *p, const char *folder, char *caption, const mc_folder *above,
                                moeclip_error *err) {
  mc_folder here;
  char **names;
  size_t n;
  bool again;
  MC_TRY(mc_folder_enter(&here, folder, above, &again, err));
  if (again) return MOECLIP_OK;
  MC_TRY(mc_list_folder(folder, &names, &n, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    char *path = mc_format("%s/%s", folder, names[i]), *own = NULL;
    if (!path) {
      code = mc_fail_memory(err, strlen(folder), "a file name");
    } else if (mc_is_folder(path)) {
      if (!caption && !(own = mc_format("a picture of a %s.", names[i]))) {
        code = mc_fail_memory(err, strlen(names[i]), "a caption");
      }
      for (char *s = own; s && *s; s++) *s = *s == '_' ? ' ' : *s;
      if (code == MOECLIP_OK) code = read_folder(p, path, caption ? caption : own, &here, err);
    } else if (mc_is_picture_name(names[i])) {
      code = add_picture(p, path, caption, err);
    }
    free(own);
    free(path);
  }
  mc_names_free(names, n);
  return code;
}

moeclip_code mc_pairs_open(const char *path, mc_pairs **out, moeclip_error *err) {
  *out = NULL;
  mc_pairs *p = calloc(1, sizeof *p);
  if (!p) return mc_fail_memory(err, sizeof *p, "pairs");
  moeclip_code code = mc_is_folder(path) ? read_folder(p, path, NULL, NULL, err) : read_csv(p, path, err);
  if (code == MOECLIP_OK && p->n_items == 0) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there are no pictures with captions", path);
  }
  if (code != MOECLIP_OK) {
    mc_pairs_destroy(p);
    return code;
  }
  *out = p;
  return MOECLIP_OK;
}

size_t mc_pairs_count(const mc_pairs *p) { return p->n_items; }
size_t mc_pairs_captions(const mc_pairs *p, size_t i) { return p->items[i].n; }
const char *mc_pairs_caption(const mc_pairs *p, size_t i, size_t which) { return p->items[i].captions[which]; }

static moeclip_code source_load(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const mc_pairs *p = context;
  return moeclip_image_load(p->items[i].path, out, err);
}

static moeclip_code source_name(void *context, size_t i, char *out, size_t n_out) {
  const mc_pairs *p = context;
  snprintf(out, n_out, "%s", p->items[i].path);
  return MOECLIP_OK;
}

mc_image_source mc_pairs_source(mc_pairs *p) { return (mc_image_source){p->n_items, p, source_load, source_name}; }
