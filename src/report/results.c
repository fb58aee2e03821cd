#include "report/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#define FORMAT "moeclip matrix 1"

static moeclip_code no_memory(moeclip_error *err) { return mc_fail_memory(err, 256, "results"); }

static json_t *rows_of(const mc_results *r) { return json_object_get(r->root, "rows"); }
static json_t *columns_of(const mc_results *r) { return json_object_get(r->root, "columns"); }
static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static json_t *find_column(const json_t *columns, const char *name) {
  size_t i;
  json_t *column;
  json_array_foreach(columns, i, column) {
    const char *s = text_of(column, "name");
    if (s && strcmp(s, name) == 0) return column;
  }
  return NULL;
}

/* --- what an older file may be kept of ---------------------------------------------------------------------------- */

static moeclip_code check_shape(const json_t *root, const char *path, moeclip_error *err) {
  const char *format = text_of(root, "format");
  bool ok = format && strcmp(format, FORMAT) == 0 && json_is_object(json_object_get(root, "run")) &&
            json_is_array(json_object_get(root, "columns")) && json_is_array(json_object_get(root, "rows"));
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(root, "columns"), i, item) ok = ok && text_of(item, "name");
  json_array_foreach(json_object_get(root, "rows"), i, item) {
    const json_t *after = json_object_get(item, "after");
    ok = ok && json_is_object(json_object_get(item, "cells")) && (i == 0 ? json_is_null(after) : json_is_string(after));
  }
  if (ok) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT,
                 "%s: not a file that moeclip learn has written; remove it, or choose another folder with --results",
                 path);
}

static moeclip_code load(const char *path, json_t **out, moeclip_error *err) {
  json_t *root = NULL;
  *out = NULL;
  MC_TRY(mc_json_read_file(path, "remove it, or choose another folder with --results", &root, err));
  if (!root) return MOECLIP_OK;
  moeclip_code code = check_shape(root, path, err);
  if (code == MOECLIP_OK) {
    *out = root;
  } else {
    json_decref(root);
  }
  return code;
}

static moeclip_code check_run(const json_t *old, const json_t *run, const char *path, moeclip_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)run, key, value) {
    if (json_equal(json_object_get(json_object_get(old, "run"), key), value)) continue;
    char *was = mc_json_text(json_object_get(json_object_get(old, "run"), key), JSON_ENCODE_ANY);
    char *is = mc_json_text(value, JSON_ENCODE_ANY);
    mc_fail(err, MOECLIP_ERROR_MISMATCH,
            "%s: holds the results of another run (%s was %.100s, now %.100s); choose another folder for the results",
            path, key, was ? was : "nothing", is ? is : "nothing");
    free(was);
    free(is);
    return MOECLIP_ERROR_MISMATCH;
  }
  return MOECLIP_OK;
}

/* How many rows belong to the state that is there now. */
static size_t rows_to_keep(const json_t *rows, const char *const *tasks, int n_tasks, const char *checksum) {
  size_t n = json_array_size(rows), most = (size_t)n_tasks + 1;
  size_t keep = n < most ? n : most;
  for (size_t i = 1; i < keep; i++) {
    if (strcmp(text_of(json_array_get(rows, i), "after"), tasks[i - 1]) != 0) return 1;
  }
  if (keep == most && keep > 1) {
    /* The state's own row says which state it was measured with. */
    const char *of = text_of(json_array_get(rows, keep - 1), "state");
    if (!of || !checksum || strcmp(of, checksum) != 0) return 1;
  }
  return keep;
}

static void forget_column(json_t *rows, const char *name) {
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) json_object_del(json_object_get(row, "cells"), name);
}

/* New columns first come as they are given; what only the older file has goes to the end. */
static moeclip_code merge_columns(json_t *columns, const json_t *old, json_t *rows, const char *const *tasks,
                                  int n_tasks, moeclip_error *err) {
  size_t i;
  json_t *column;
  json_array_foreach(json_object_get(old, "columns"), i, column) {
    const char *name = text_of(column, "name");
    json_t *now = find_column(columns, name);
    if (now && !json_equal(json_object_get(now, "same"), json_object_get(column, "same"))) {
      mc_warn(
          "%s has changed since it was evaluated (other pictures, classes or prompts): its earlier numbers are left "
          "out",
          name);
      forget_column(rows, name);
    }
    if (now) continue;
    int task = -1;
    for (int t = 0; t < n_tasks; t++) {
      if (strcmp(tasks[t], name) == 0) task = t;
    }
    if (json_object_set_new(column, "task", task < 0 ? json_null() : json_integer(task)) != 0 ||
        json_array_append(columns, column) != 0) {
      return no_memory(err);
    }
  }
  return MOECLIP_OK;
}

/* Learned ones in the order of learning, then the others; stable. */
static moeclip_code sort_columns(mc_results *r, moeclip_error *err) {
  json_t *columns = columns_of(r), *sorted = json_array(), *column;
  size_t i, n = json_array_size(columns);
  int64_t last = -1;
  for (size_t k = 0; k < n; k++) {
    json_t *next = NULL;
    json_array_foreach(columns, i, column) {
      json_t *task = json_object_get(column, "task");
      if (!json_is_integer(task) || json_integer_value(task) <= last) continue;
      if (!next || json_integer_value(task) < json_integer_value(json_object_get(next, "task"))) next = column;
    }
    if (!next) break;
    last = json_integer_value(json_object_get(next, "task"));
    json_array_append(sorted, next);
  }
  json_array_foreach(columns, i, column) {
    if (!json_is_integer(json_object_get(column, "task"))) json_array_append(sorted, column);
  }
  if (json_array_size(sorted) != n) {
    json_decref(sorted);
    return no_memory(err);
  }
  return json_object_set_new(r->root, "columns", sorted) == 0 ? MOECLIP_OK : no_memory(err);
}

static moeclip_code take_over(mc_results *r, const char *path, json_t *old, const char *const *tasks, int n_tasks,
                              const char *checksum, moeclip_error *err) {
  json_t *rows = json_object_get(old, "rows");
  MC_TRY(check_run(old, json_object_get(r->root, "run"), path, err));
  size_t n = json_array_size(rows), keep = rows_to_keep(rows, tasks, n_tasks, checksum);
  if (keep < n) {
    mc_warn("%s: %zu of its rows belong to another state and are left out", path, n - keep);
    while (json_array_size(rows) > keep) json_array_remove(rows, json_array_size(rows) - 1);
  }
  MC_TRY(merge_columns(columns_of(r), old, rows, tasks, n_tasks, err));
  json_t *learned = json_object_get(old, "learned"), *made = json_object_get(old, "provenance");
  if (made) json_object_set(r->root, "provenance", made);
  for (int t = 0; t < n_tasks; t++) {
    json_t *report = json_object_get(learned, tasks[t]);
    if (report && json_object_set(json_object_get(r->root, "learned"), tasks[t], report) != 0) return no_memory(err);
  }
  return json_object_set(r->root, "rows", rows) == 0 ? MOECLIP_OK : no_memory(err);
}

moeclip_code mc_results_open(const char *folder, json_t *run, json_t *columns, const char *const *tasks, int n_tasks,
                             const char *checksum, mc_results *out, moeclip_error *err) {
  json_t *old = NULL;
  *out = (mc_results){.folder = mc_strdup(folder),
                      .root = json_pack("{s:s, s:o, s:o, s:{}, s:[]}", "format", FORMAT, "run", run, "columns", columns,
                                        "learned", "rows")};
  char *path = mc_format("%s/matrix.json", folder);
  moeclip_code code = out->folder && out->root && path ? MOECLIP_OK : no_memory(err);
  if (code == MOECLIP_OK) code = load(path, &old, err);
  if (code == MOECLIP_OK && old) code = take_over(out, path, old, tasks, n_tasks, checksum, err);
  /* Rows that cannot be measured any more, because the state has gone on. */
  for (int k = (int)json_array_size(rows_of(out)); code == MOECLIP_OK && k <= n_tasks; k++) {
    code = mc_results_add_row(out, k, k > 0 ? tasks[k - 1] : NULL, k == n_tasks ? checksum : NULL, err);
  }
  if (code == MOECLIP_OK) code = sort_columns(out, err);
  json_decref(old);
  free(path);
  if (code != MOECLIP_OK) mc_results_clear(out);
  return code;
}

void mc_results_clear(mc_results *r) {
  json_decref(r->root);
  free(r->folder);
  *r = (mc_results){0};
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

moeclip_code mc_results_add_row(mc_results *r, int n_tasks, const char *after, const char *checksum,
                                moeclip_error *err) {
  if ((int)json_array_size(rows_of(r)) > n_tasks) return MOECLIP_OK;
  json_t *row = json_pack("{s:s?, s:s?, s:{}}", "after", after, "state", checksum, "cells");
  return json_array_append_new(rows_of(r), row) == 0 ? MOECLIP_OK : no_memory(err);
}

static json_t *cell_of(const mc_results *r, int row, const char *column) {
  return json_object_get(json_object_get(json_array_get(rows_of(r), (size_t)row), "cells"), column);
}

bool mc_results_known(const mc_results *r, int row, const char *column) {
  return json_is_number(json_object_get(cell_of(r, row, column), "accuracy"));
}

moeclip_code mc_results_put(mc_results *r, int row, const char *column, json_t *cell, moeclip_error *err) {
  json_t *cells = json_object_get(json_array_get(rows_of(r), (size_t)row), "cells");
  return json_object_set_new(cells, column, cell) == 0 ? MOECLIP_OK : no_memory(err);
}

moeclip_code mc_results_put_learned(mc_results *r, const char *task, json_t *report, moeclip_error *err) {
  return json_object_set_new(json_object_get(r->root, "learned"), task, report) == 0 ? MOECLIP_OK : no_memory(err);
}

/* --- the matrix --------------------------------------------------------------------------------------------------- */

void mc_matrix_of_clear(mc_matrix_of *x) {
  free(x->names);
  free(x->after);
  free(x->tasks);
  free(x->accuracy);
}

moeclip_code mc_matrix_of_results(const json_t *root, mc_matrix_of *x, moeclip_error *err) {
  const mc_results borrowed = {.root = (json_t *)(uintptr_t)root}, *r = &borrowed;
  size_t n_rows = json_array_size(rows_of(r)), n_columns = json_array_size(columns_of(r)), n = 0;
  *x = (mc_matrix_of){0};
  if (mc_mul_size(n_rows, n_columns, &n) && n < 100000000) {
    *x = (mc_matrix_of){.names = calloc(n_columns + 1, sizeof *x->names),
                         .after = calloc(n_rows + 1, sizeof *x->after),
                         .tasks = calloc(n_columns + 1, sizeof *x->tasks),
                         .accuracy = calloc(n + 1, sizeof(double))};
  }
  if (!x->names || !x->after || !x->tasks || !x->accuracy) {
    mc_matrix_of_clear(x);
    return no_memory(err);
  }
  for (size_t j = 0; j < n_columns; j++) {
    const json_t *column = json_array_get(columns_of(r), j), *task = json_object_get(column, "task");
    x->names[j] = text_of(column, "name");
    x->tasks[j] = json_is_integer(task) ? (int)json_integer_value(task) : -1;
  }
  for (size_t i = 0; i < n_rows; i++) {
    x->after[i] = text_of(json_array_get(rows_of(r), i), "after");
    for (size_t j = 0; j < n_columns; j++) {
      const json_t *v = json_object_get(cell_of(r, (int)i, x->names[j]), "accuracy");
      x->accuracy[i * n_columns + j] = json_is_number(v) ? json_number_value(v) : NAN;
    }
  }
  x->m = (mc_matrix){(int)n_rows, (int)n_columns, x->names, x->tasks, x->after, x->accuracy};
  return MOECLIP_OK;
}

static double part_of(mc_summary s, int which) {
  double parts[4] = {s.transfer, s.average, s.last, s.zero_shot};
  return parts[which];
}

static moeclip_code put_summary(mc_results *r, const mc_matrix *m, moeclip_error *err) {
  static const char *const keys[4] = {"transfer", "average", "last", "zero_shot"};
  for (int k = 0; k < 4; k++) {
    json_t *columns = json_object();
    for (int j = 0; j < m->n_columns; j++) {
      mc_json_set(&columns, m->names[j], mc_json_real(part_of(mc_matrix_column(m, j), k)));
    }
    json_t *object =
        json_pack("{s:o, s:o}", "mean", mc_json_real(part_of(mc_matrix_summary(m), k)), "columns", columns);
    if (json_object_set_new(r->root, keys[k], object) != 0) return no_memory(err);
  }
  return MOECLIP_OK;
}

moeclip_code mc_results_print(mc_results *r, FILE *f, moeclip_error *err) {
  mc_matrix_of x;
  MC_TRY(mc_matrix_of_results(r->root, &x, err));
  mc_matrix_text(&x.m, f);
  moeclip_code code = put_summary(r, &x.m, err);
  mc_matrix_of_clear(&x);
  return code;
}

static moeclip_code write_text(const mc_results *r, const char *name, const char *text, size_t n, moeclip_error *err) {
  char *path = mc_format("%s/%s", r->folder, name);
  moeclip_code code = path ? mc_file_write(path, text, n, err) : no_memory(err);
  free(path);
  return code;
}

static moeclip_code write_drawn(const mc_results *r, const mc_matrix *m, bool svg, moeclip_error *err) {
  char *text = NULL, *title = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) return no_memory(err);
  if (svg) {
    title = mc_format("Accuracy, task after task (%s)", text_of(json_object_get(r->root, "run"), "mode"));
    if (title) mc_matrix_svg(m, title, f);
  } else {
    mc_matrix_text(m, f);
  }
  moeclip_code code = fclose(f) == 0 ? MOECLIP_OK : no_memory(err);
  if (code == MOECLIP_OK) code = write_text(r, svg ? "matrix.svg" : "matrix.txt", text, n, err);
  free(title);
  free(text);
  return code;
}

static moeclip_code write_json(const mc_results *r, moeclip_error *err) {
  char *text = mc_json_text(r->root, JSON_INDENT(1));
  if (!text) return no_memory(err);
  char *line = mc_format("%s\n", text);
  moeclip_code code = line ? write_text(r, "matrix.json", line, strlen(line), err) : no_memory(err);
  free(line);
  free(text);
  return code;
}

moeclip_code mc_results_write(mc_results *r, moeclip_error *err) {
  mc_matrix_of x;
  if (!mc_is_writer()) return MOECLIP_OK;
  MC_TRY(mc_make_folder(r->folder, err));
  MC_TRY(mc_matrix_of_results(r->root, &x, err));
  moeclip_code code = put_summary(r, &x.m, err);
  if (code == MOECLIP_OK) code = write_json(r, err);
  if (code == MOECLIP_OK) code = write_drawn(r, &x.m, false, err);
  if (code == MOECLIP_OK) code = write_drawn(r, &x.m, true, err);
  mc_matrix_of_clear(&x);
  return code;
}
