/*
 * What `learn` finds out, in a folder: matrix.json (everything), matrix.txt, matrix.svg. The JSON is read again when a
 * run goes on, so that what was measured before a state was overwritten is not lost:
 *   {"format": "moeclip matrix 1", "run": {...}, "columns": [{"name", "task", ...}], "learned": {NAME: {...}},
 *    "rows": [{"after": NAME or null, "state": checksum or null, "cells": {NAME: {"accuracy", "n", "right", ...}}}],
 *    "provenance": [{...}] (docs/RESULTS.md; one for each different command that was given),
 *    "transfer", "average", "last", "zero_shot": {"mean": ..., "columns": {NAME: ...}}}
 */
#ifndef MC_REPORT_RESULTS_H
#define MC_REPORT_RESULTS_H

#include "report/report.h"
#include "report/matrix.h"

typedef struct mc_results {
  char *folder;
  json_t *root;
} mc_results;

/*
 * run: what all rows depend on (backbone, seed ...): an existing file of another run is an error. columns: objects with
 * "name" and "same" (what the column's numbers depend on; a column of an older file whose "same" differs is forgotten),
 * in order. tasks: names of the n_tasks in the state, checksum: of the state (NULL without one); rows that belong to
 * another state are forgotten. Steals run and columns.
 */
moeclip_code mc_results_open(const char *folder, json_t *run, json_t *columns, const char *const *tasks, int n_tasks,
                             const char *checksum, mc_results *out, moeclip_error *err);
void mc_results_clear(mc_results *r);

/* Row n_tasks is there from now on. */
moeclip_code mc_results_add_row(mc_results *r, int n_tasks, const char *after, const char *checksum,
                                moeclip_error *err);
bool mc_results_known(const mc_results *r, int row, const char *column);
/* Steals cell. */
moeclip_code mc_results_put(mc_results *r, int row, const char *column, json_t *cell, moeclip_error *err);
/* Steals report. */
moeclip_code mc_results_put_learned(mc_results *r, const char *task, json_t *report, moeclip_error *err);

/* The accuracies as a matrix, in memory of its own; names point into root. Clear it after use. */
typedef struct mc_matrix_of {
  mc_matrix m;
  const char **names, **after;
  int *tasks;
  double *accuracy;
} mc_matrix_of;
moeclip_code mc_matrix_of_results(const json_t *root, mc_matrix_of *out, moeclip_error *err);
void mc_matrix_of_clear(mc_matrix_of *m);

/* The three files. */
moeclip_code mc_results_write(mc_results *r, moeclip_error *err);
/* The matrix as text to f. */
moeclip_code mc_results_print(mc_results *r, FILE *f, moeclip_error *err);

#endif
