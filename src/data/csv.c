/* CSV rows: path,label[,split], or pixels of a square grey picture and then its label. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "data/dataset.h"

/* --- rows --------------------------------------------------------------------------------------------------------- */

void mc_csv_init(mc_csv *c, char *text, size_t n) {
  *c = (mc_csv){.at = text, .end = text + n, .line = 1};
  if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) c->at += 3;
}

void mc_csv_clear(mc_csv *c) {
  free(c->fields);
  *c = (mc_csv){0};
}

static moeclip_code put_field(mc_csv *c, char *field, moeclip_error *err) {
  if (c->n_fields == c->cap_fields) {
    size_t cap = c->cap_fields ? 2 * c->cap_fields : 16;
    char **grown = mc_realloc(c->fields, cap, sizeof *grown);
    if (!grown) return mc_fail_memory(err, cap * sizeof *grown, "a CSV row");
    c->fields = grown;
    c->cap_fields = cap;
  }
  c->fields[c->n_fields++] = field;
  return MOECLIP_OK;
}

/* One field, ended by a 0; *after is the character that ended it: ',' or '\n' (also at the end of the text). */
static moeclip_code take_field(mc_csv *c, char **field, char *after, moeclip_error *err) {
  char *to = c->at;
  size_t line = c->line;
  *field = to;
  if (c->at < c->end && *c->at == '"') {
    c->at++;
    for (;;) {
      if (c->at == c->end) return mc_fail(err, MOECLIP_ERROR_FORMAT, "line %zu: a quoted field does not end", line);
      if (*c->at == '"') {
        if (c->at + 1 < c->end && c->at[1] == '"') {
          c->at++;
        } else {
          c->at++;
          break;
        }
      }
      if (*c->at == '\n') c->line++;
      *to++ = *c->at++;
    }
    if (c->at < c->end && *c->at == '\r') c->at++;
    if (c->at < c->end && *c->at != ',' && *c->at != '\n') {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "line %zu: text after the end of a quoted field", c->line);
    }
  } else {
    while (c->at < c->end && *c->at != ',' && *c->at != '\n') c->at++;
    to = c->at;
    if (to > *field && to[-1] == '\r' && (c->at == c->end || *c->at == '\n')) to--;
  }
  *after = c->at < c->end ? *c->at : '\n';
  if (c->at < c->end) c->at++;
  *to = 0; /* the text has a 0 after its end, so this is inside it */
  if (*after == '\n') c->line++;
  return MOECLIP_OK;
}

moeclip_code mc_csv_next(mc_csv *c, bool *more, moeclip_error *err) {
  for (;;) {
    char after = ',';
    c->n_fields = 0;
    *more = c->at < c->end;
    c->row = c->line;
    if (!*more) return MOECLIP_OK;
    while (after == ',') {
      char *field;
      MC_TRY(take_field(c, &field, &after, err));
      MC_TRY(put_field(c, field, err));
    }
    if (c->n_fields > 1 || c->fields[0][0]) return MOECLIP_OK;
  }
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

#define MAX_CSV ((size_t)1 << 30)
enum { MAX_LABEL = 65535 };

static moeclip_code bad_row(const mc_csv *c, const char *what, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "line %zu: %s", c->row, what);
}

/* A whole number from 0 to `most`, perhaps written as 7.0 or between spaces. */
static bool whole_number(const char *s, long most, long *out) {
  long v = 0;
  while (*s == ' ') s++;
  if (!isdigit((unsigned char)*s)) return false;
  for (; isdigit((unsigned char)*s); s++) {
    v = 10 * v + (*s - '0');
    if (v > most) return false;
  }
  if (*s == '.') {
    s++;
    while (*s == '0') s++;
  }
  while (*s == ' ') s++;
  *out = v;
  return *s == 0;
}

static bool looks_like_number(const char *s) {
  char *end;
  strtod(s, &end);
  while (*end == ' ') end++;
  return end != s && *end == 0;
}

static bool all_numbers(const mc_csv *c) {
  for (size_t i = 0; i < c->n_fields; i++) {
    if (!looks_like_number(c->fields[i])) return false;
  }
  return true;
}

static long square_root(size_t n) {
  long side = 0;
  while ((size_t)side * (size_t)side < n) side++;
  return (size_t)side * (size_t)side == n ? side : 0;
}

static moeclip_code number_row(moeclip_dataset *d, const mc_csv *c, bool label_first, uint8_t *pixels,
                               moeclip_error *err) {
  size_t n = (size_t)d->width * (size_t)d->height;
  char *const *field = c->fields + label_first;
  long v;
  if (c->n_fields != n + 1) return bad_row(c, "not as many numbers as in the first row", err);
  for (size_t i = 0; i < n; i++) {
    if (!whole_number(field[i], 255, &v)) return bad_row(c, "a pixel is not a whole number from 0 to 255", err);
    pixels[i] = (uint8_t)v;
  }
  if (!whole_number(c->fields[label_first ? 0 : n], MAX_LABEL, &v)) {
    return bad_row(c, "the label is not a whole number from 0 to 65535", err);
  }
  mc_item item = {.label = (int32_t)v, .split = MC_SPLIT_UNKNOWN, .pixels = pixels, .row = (uint32_t)d->n_items};
  return mc_dataset_add(d, &item, err);
}

static moeclip_code number_rows(moeclip_dataset *d, mc_csv *c, bool label_first, size_t n_text, moeclip_error *err) {
  size_t n = c->n_fields - 1;
  long side = square_root(n);
  uint32_t block;
  bool found;
  if (!side || side > 4096) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "line %zu: there are %zu numbers: the pixels of a square picture and then its label are needed",
                   c->row, c->n_fields);
  }
  /* A pixel takes at least two characters. */
  size_t room = n_text / 2 + n;
  uint8_t *pixels = malloc(room);
  if (!pixels) return mc_fail_memory(err, room, "pixels");
  MC_TRY(mc_dataset_keep(d, d->path, pixels, &block, err));
  d->channels = 1;
  d->width = d->height = (int)side;
  for (bool more = true; more;) {
    size_t at = d->n_items * n;
    if (at + n > room) return bad_row(c, "more pixels than the text can hold", err);
    MC_TRY(number_row(d, c, label_first, pixels + at, err));
    MC_TRY(mc_csv_next(c, &more, err));
  }
  return mc_dataset_classes_file(d, "classes.txt", &found, err);
}

/* --- paths -------------------------------------------------------------------------------------------------------- */

typedef struct labelled {
  const char *label;
  long number; /* -1: a name */
  size_t item;
} labelled;

/* Numbers by value, then names by byte. */
static int by_label(const void *a, const void *b) {
  const labelled *x = a, *y = b;
  if ((x->number < 0) != (y->number < 0)) return x->number < 0 ? 1 : -1;
  if (x->number != y->number) return x->number < y->number ? -1 : 1;
  return strcmp(x->label, y->label);
}

static moeclip_code number_labels(moeclip_dataset *d, labelled *rows, moeclip_error *err) {
  bool found;
  int32_t label = -1;
  qsort(rows, d->n_items, sizeof *rows, by_label);
  for (size_t i = 0; i < d->n_items; i++) {
    if (i == 0 || strcmp(rows[i].label, rows[i - 1].label) != 0) {
      MC_TRY(mc_dataset_add_class(d, rows[i].label, strlen(rows[i].label), err));
      label++;
    }
    d->items[rows[i].item].label = label;
  }
  d->has_names = true;
  if (rows[d->n_items - 1].number < 0) return MOECLIP_OK;
  MC_TRY(mc_dataset_classes_file(d, "classes.txt", &found, err));
  if (d->n_classes == (size_t)label + 1) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH, "there are %d labels, but classes.txt has %zu names", (int)label + 1,
                 d->n_classes);
}

static int32_t split_of(const char *word) {
  static const char *const tests[] = {"test", "val", "valid", "validation"};
  if (strcasecmp(word, "train") == 0) return MOECLIP_TRAIN;
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    if (strcasecmp(word, tests[i]) == 0) return MOECLIP_TEST;
  }
  return MC_SPLIT_UNKNOWN;
}

static moeclip_code path_row(moeclip_dataset *d, const mc_csv *c, size_t n_folder, moeclip_error *err) {
  const char *split = c->n_fields > 2 ? c->fields[2] : "";
  mc_item item = {.split = split_of(split)};
  if (c->n_fields < 2 || !c->fields[0][0] || !c->fields[1][0]) return bad_row(c, "path,label is needed", err);
  if (split[0] && item.split == MC_SPLIT_UNKNOWN) return bad_row(c, "the third field is not train or test", err);
  if (d->n_items > 0 && (d->items[0].split == MC_SPLIT_UNKNOWN) != (item.split == MC_SPLIT_UNKNOWN)) {
    return bad_row(c, "either every row says train or test, or none", err);
  }
  bool absolute = c->fields[0][0] == '/';
  item.path = mc_format("%.*s%s", absolute ? 0 : (int)n_folder, d->path, c->fields[0]);
  if (!item.path) return mc_fail_memory(err, strlen(c->fields[0]), "a file name");
  return mc_dataset_add(d, &item, err);
}

static moeclip_code path_rows(moeclip_dataset *d, mc_csv *c, moeclip_error *err) {
  const char *slash = strrchr(d->path, '/');
  size_t n_folder = slash ? (size_t)(slash - d->path) + 1 : 0, cap = 0;
  labelled *rows = NULL;
  moeclip_code code = MOECLIP_OK;
  for (bool more = true; code == MOECLIP_OK && more;) {
    size_t i = d->n_items;
    if (i >= cap) {
      cap = cap ? 2 * cap : 256;
      labelled *grown = mc_realloc(rows, cap, sizeof *grown);
      if (grown) rows = grown;
      if (!grown) code = mc_fail_memory(err, cap * sizeof *grown, "labels");
    }
    if (code == MOECLIP_OK) code = path_row(d, c, n_folder, err);
    if (code == MOECLIP_OK) {
      long number;
      rows[i] = (labelled){c->fields[1], whole_number(c->fields[1], 1000000000, &number) ? number : -1, i};
      code = mc_csv_next(c, &more, err);
    }
  }
  if (code == MOECLIP_OK) code = number_labels(d, rows, err);
  free(rows);
  return code;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static bool one_of(const char *s, const char *const *words) {
  for (; *words; words++) {
    if (strcasecmp(s, *words) == 0) return true;
  }
  return false;
}

static bool is_label_word(const char *s) {
  static const char *const words[] = {"label", "labels", "class", "class_name", "target", NULL};
  return one_of(s, words);
}

/* Is this first row a header? One that begins with a known word, or where the label should be says that it is one. */
static bool is_header(const mc_csv *c) {
  static const char *const words[] = {"path",  "paths",      "file",     "filename", "file_name",
                                      "image", "image_path", "filepath", "picture",  NULL};
  if (c->n_fields < 2 || mc_is_picture_name(c->fields[0])) return false;
  return one_of(c->fields[0], words) || strncasecmp(c->fields[0], "pixel", 5) == 0 || is_label_word(c->fields[0]) ||
         is_label_word(c->fields[1]) || is_label_word(c->fields[c->n_fields - 1]);
}

moeclip_code mc_read_csv(moeclip_dataset *d, moeclip_error *err) {
  uint8_t *text;
  size_t n;
  mc_csv c;
  bool more = false, label_first = false;
  d->format = "csv";
  MC_TRY(mc_read_maybe_gzip(d->path, MAX_CSV, &text, &n, err));
  mc_csv_init(&c, (char *)text, n);
  moeclip_code code = memchr(text, 0, n) ? mc_fail(err, MOECLIP_ERROR_FORMAT, "not a text file")
                                         : mc_csv_next(&c, &more, err);
  if (code == MOECLIP_OK && more && is_header(&c)) {
    label_first = is_label_word(c.fields[0]);
    code = mc_csv_next(&c, &more, err);
  }
  if (code == MOECLIP_OK && !more) code = mc_fail(err, MOECLIP_ERROR_FORMAT, "there is no row");
  if (code == MOECLIP_OK && c.n_fields >= 2 && all_numbers(&c)) {
    code = number_rows(d, &c, label_first, n, err);
  } else if (code == MOECLIP_OK && label_first) {
    code = bad_row(&c, "the label must come after the path", err);
  } else if (code == MOECLIP_OK) {
    code = path_rows(d, &c, err);
  }
  if (code != MOECLIP_OK) mc_fail_prefix(err, d->path);
  mc_csv_clear(&c);
  free(text);
  return code;
}
