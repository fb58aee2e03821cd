/* The contact sheet of a search, and paths as text. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/html.h"
#include "cli/search.h"

/* --- paths as text ------------------------------------------------------------------------------------------------ */

/* Bytes of the UTF-8 character at s, or 0 when there is none. */
static size_t utf8_length(const unsigned char *s) {
  size_t n = s[0] < 0x80                   ? 1
             : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
             : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
             : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                           : 0;
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
  }
  if (s[0] == 0xe0 && n == 3 && s[1] < 0xa0) return 0; /* overlong, surrogates, above U+10FFFF */
  if (s[0] == 0xed && n == 3 && s[1] >= 0xa0) return 0;
  if (s[0] == 0xf0 && n == 4 && s[1] < 0x90) return 0;
  if (s[0] == 0xf4 && n == 4 && s[1] >= 0x90) return 0;
  return n;
}

char *mc_path_text(const char *path) {
  char *out = mc_alloc(strlen(path) + 1, 3), *to = out;
  for (const unsigned char *s = (const unsigned char *)path; out && *s;) {
    size_t n = utf8_length(s);
    memcpy(to, n ? (const char *)s : "\xef\xbf\xbd", n ? n : 3);
    to += n ? n : 3;
    s += n ? n : 1;
  }
  if (out) *to = 0;
  return out;
}

void mc_json_path(json_t **object, const char *path) {
  json_t *text = json_string(path);
  if (!text) {
    size_t n = strlen(path);
    char *hex = mc_alloc(n + 1, 2);
    for (size_t i = 0; hex && i < n; i++) snprintf(hex + 2 * i, 3, "%02x", (unsigned)(unsigned char)path[i]);
    mc_json_set(object, "path_bytes", hex ? json_string(hex) : NULL);
    free(hex);
    text = json_null();
  }
  mc_json_set(object, "path", text);
}

/* --- links -------------------------------------------------------------------------------------------------------- */

static char *percent_encode(const char *s) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
  char *out = mc_alloc(strlen(s) + 1, 3), *to = out;
  for (; out && *s; s++) {
    if (strchr(plain, *s)) {
      *to++ = *s;
    } else {
      to += sprintf(to, "%%%02X", (unsigned)(unsigned char)*s);
    }
  }
  if (out) *to = 0;
  return out;
}

char *mc_relative_link(const char *folder, const char *path) {
  size_t common = 0, ups = 0, n = strlen(folder);
  while (n > 0 && folder[n - 1] == '/') n--;
  for (size_t i = 0; i <= n; i++) { /* whole parts that both have */
    bool end = i == n || folder[i] == '/';
    if (end && path[i] == '/') common = i;
    if (i == n || folder[i] != path[i]) break;
  }
  for (size_t i = common; i < n; i++) ups += folder[i] == '/';
  char *relative = mc_alloc(3 * ups + strlen(path) + 1, 1);
  if (!relative) return NULL;
  for (size_t i = 0; i < ups; i++) memcpy(relative + 3 * i, "../", 3);
  strcpy(relative + 3 * ups, path + common + 1);
  char *out = percent_encode(relative);
  free(relative);
  return out;
}

/* --- the sheet ---------------------------------------------------------------------------------------------------- */

typedef struct sheet {
  const char *folder;
  const char *const *titles;
  const moeclip_hits *hits;
  size_t n_queries;
  const json_t *provenance;
} sheet;

static const char style[] =
    "<style>.hits{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:172px;background:#fff;border:1px solid "
    "#d8dedd;border-radius:8px;padding:8px;box-sizing:border-box}figure img{width:154px;height:154px;"
    "object-fit:contain;background:#f0f2f0}figcaption{font-size:12px;overflow-wrap:anywhere}</style>\n";

static void put_hit(FILE *f, const sheet *s, const moeclip_hit *hit) {
  char *link = mc_relative_link(s->folder, hit->path), *text = mc_path_text(hit->path);
  if (link && text) {
    const char *slash = strrchr(text, '/');
    fprintf(f, "<figure><a href=\"%s\"><img src=\"%s\" loading=\"lazy\" alt=\"\"></a><figcaption title=\"", link, link);
    mc_html_text(f, text);
    fprintf(f, "\"><b>%.3f</b> ", hit->score);
    mc_html_text(f, hit->task ? hit->task : "no task");
    fputs("<br>", f);
    mc_html_text(f, slash ? slash + 1 : text);
    fputs("</figcaption></figure>\n", f);
  }
  free(link);
  free(text);
}

static void put_sheet(FILE *f, const sheet *s) {
  char subtitle[64];
  snprintf(subtitle, sizeof subtitle, "%zu quer%s", s->n_queries, s->n_queries == 1 ? "y" : "ies");
  mc_html_begin(f, "moeclip search", subtitle);
  fputs(style, f);
  for (size_t q = 0; q < s->n_queries; q++) {
    char *title = mc_path_text(s->titles[q]);
    fputs("<h2>", f);
    mc_html_text(f, title ? title : "");
    fputs("</h2>\n<div class=\"hits\">\n", f);
    free(title);
    for (size_t i = 0; i < s->hits[q].n; i++) put_hit(f, s, &s->hits[q].items[i]);
    fputs(s->hits[q].n ? "</div>\n" : "<p class=\"note\">nothing found</p></div>\n", f);
  }
  char *made = json_dumps(s->provenance, JSON_INDENT(1));
  fputs("<details><summary>How this was made</summary><pre>", f);
  mc_html_text(f, made ? made : "");
  fputs("</pre></details>\n", f);
  free(made);
  mc_html_end(f);
}

static char *folder_of(const char *file) {
  const char *slash = strrchr(file, '/');
  char *folder = slash ? mc_strndup(file, slash == file ? 1 : (size_t)(slash - file)) : mc_strdup("."), *out = NULL;
  if (folder) out = realpath(folder, NULL);
  free(folder);
  return out;
}

moeclip_code mc_search_sheet(const char *file, const char *const *titles, const moeclip_hits *hits, size_t n_queries,
                             const json_t *provenance, moeclip_error *err) {
  char *text = NULL, *folder = folder_of(file);
  size_t n = 0;
  if (!folder) return mc_fail(err, MOECLIP_ERROR_IO, "%s: there is no such folder: %s", file, strerror(errno));
  sheet s = {folder, titles, hits, n_queries, provenance};
  FILE *f = open_memstream(&text, &n);
  if (f) put_sheet(f, &s);
  moeclip_code code = f && fclose(f) == 0 ? MOECLIP_OK : mc_fail_memory(err, 4096, "a contact sheet");
  if (code == MOECLIP_OK) code = mc_file_write(file, text, n, err);
  free(text);
  free(folder);
  return code;
}
