/* What the folder of a compared run tells: run.json, which says how it was started and whether it is done, and its matrix. */
#include "cli/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

static const char *const advice = "remove its folder to run it again";

moeclip_code mc_compare_begin(const char *folder, const json_t *command, bool *done, double *peak, moeclip_error *err) {
  json_t *known = NULL;
  char *path = mc_format("%s/run.json", folder);
  moeclip_code code = path ? mc_json_read_file(path, advice, &known, err) : mc_fail_memory(err, 256, "a file name");
  if (code == MOECLIP_OK && known && !json_equal(json_object_get(known, "command"), command)) {
    code = mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: this run was made with other options; remove the folder, or take another --out", folder);
  }
  *done = json_is_true(json_object_get(known, "done"));
  *peak = json_number_value(json_object_get(known, "peak_bytes"));
  json_decref(known);
  free(path);
  return code;
}

moeclip_code mc_compare_note(const char *folder, json_t *command, bool done, double peak, moeclip_error *err) {
  json_t *run = json_pack("{s:O, s:b, s:f}", "command", command, "done", done, "peak_bytes", peak);
  char *path = mc_format("%s/run.json", folder), *text = run ? mc_json_text(run, JSON_INDENT(1)) : NULL;
  moeclip_code code = path && text ? mc_file_write(path, text, strlen(text), err) : mc_fail_memory(err, 4096, folder);
  free(text);
  free(path);
  json_decref(run);
  return code;
}

static double mean_of(const json_t *matrix, const char *key) {
  const json_t *mean = json_object_get(json_object_get(matrix, key), "mean");
  return json_is_number(mean) ? json_number_value(mean) : NAN;
}

/* Mean accuracy in a row over the sets that are never learned. */
static double heldout_in(const json_t *matrix, size_t row) {
  const json_t *cells = json_object_get(json_array_get(json_object_get(matrix, "rows"), row), "cells");
  double sum = 0;
  size_t n = 0, i;
  json_t *column;
  json_array_foreach(json_object_get(matrix, "columns"), i, column) {
    const char *name = json_string_value(json_object_get(column, "name"));
    if (!name || !json_is_null(json_object_get(column, "task"))) continue;
    const json_t *accuracy = json_object_get(json_object_get(cells, name), "accuracy");
    sum += json_is_number(accuracy) ? json_number_value(accuracy) : NAN;
    n++;
  }
  return n ? sum / (double)n : NAN;
}

moeclip_code mc_compare_gather(mc_compare_run *r, size_t n_tasks, moeclip_error *err) {
  json_t *matrix = NULL, *task;
  const char *name;
  char *path = mc_format("%s/matrix.json", r->folder);
  moeclip_code code = path ? mc_json_read_file(path, advice, &matrix, err) : mc_fail_memory(err, 256, "a file name");
  json_t *learned = json_object_get(matrix, "learned");
  if (code == MOECLIP_OK && json_object_size(learned) != n_tasks) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: it tells of %zu learned tasks, not of %zu; %s", path, json_object_size(learned), n_tasks,
                   advice);
  }
  if (code == MOECLIP_OK) {
    r->zero_shot = mean_of(matrix, "zero_shot");
    r->transfer = mean_of(matrix, "transfer");
    r->average = mean_of(matrix, "average");
    r->last = mean_of(matrix, "last");
    r->heldout_before = heldout_in(matrix, 0);
    r->heldout = heldout_in(matrix, n_tasks);
    /* What it read is what all of them read. */
    json_decref(r->inputs);
    r->inputs = json_incref(json_object_get(json_array_get(json_object_get(matrix, "provenance"), 0), "inputs"));
    r->trained = r->seconds = 0;
    json_object_foreach(learned, name, task) {
      static const char *const parts[] = {"seconds", "selector_seconds", "probe_seconds"};
      for (int k = 0; k < 3; k++) r->seconds += json_number_value(json_object_get(task, parts[k])) / (double)n_tasks;
      r->trained += json_number_value(json_object_get(task, "trainable")) / (double)n_tasks;
    }
  }
  json_decref(matrix);
  free(path);
  return code;
}

moeclip_code mc_compare_gather_no_labels(mc_compare_run *r, size_t n_tasks, moeclip_error *err) {
  uint8_t *data = NULL;
  size_t n = 0, found = 0, at = 0;
  double sum = 0;
  bool no_memory = false;
  char *path = mc_format("%s/" MC_COMPARE_NO_LABELS, r->folder);
  moeclip_code code = path ? mc_file_read(path, MC_COMPARE_MOST_BYTES, &data, &n, err) : mc_fail_memory(err, 256, "a file name");
  while (code == MOECLIP_OK && at < n && !no_memory) {
    const uint8_t *end = memchr(data + at, '\n', n - at);
    size_t length = end ? (size_t)(end - data) - at : n - at;
    json_error_t why;
    json_t *one = mc_json_read((const char *)data + at, length, JSON_REJECT_DUPLICATES, &why, &no_memory);
    const json_t *accuracy = json_object_get(one, "accuracy");
    if (json_is_number(accuracy)) {
      sum += json_number_value(accuracy);
      found++;
    }
    json_decref(one);
    at += length + 1;
  }
  if (code == MOECLIP_OK && no_memory) code = mc_fail_memory(err, n, path);
  if (code == MOECLIP_OK && found != n_tasks) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: it tells of %zu data sets, not of %zu; %s", path, found, n_tasks, advice);
  }
  if (code == MOECLIP_OK) r->no_labels = sum / (double)n_tasks;
  free(data);
  free(path);
  return code;
}
