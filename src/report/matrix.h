/*
 * The accuracy matrix of a sequence of tasks (method.md section 5): rows are states of knowledge (row 0 before any
 * task, row k after k tasks), columns are data sets. Arithmetic and pictures only; nothing here reads files.
 */
#ifndef MC_REPORT_MATRIX_H
#define MC_REPORT_MATRIX_H

#include <stdio.h>

typedef struct mc_matrix {
  int n_rows, n_columns;
  const char *const *names; /* [n_columns] */
  const int *tasks; /* [n_columns] number of the column's task in the order of learning, from 0; -1: never learned */
  const char *const *after; /* [n_rows] the task learned last; NULL: none yet */
  const double *accuracy;   /* [n_rows, n_columns], 0 to 1; NaN: not known */
} mc_matrix;

/*
 * Per column and over all columns of learned tasks. With A[i][j] the accuracy on task j after training task i:
 *   transfer of column j >= 1: mean of A[i][j] over i < j: what the column could do before it was taught (not row 0)
 *   average of column j: mean of A[i][j] over all i
 *   last of column j: A[last][j]
 * A column that is never learned counts all rows from 1 on as "before"; it has its own numbers, and is left out of the
 * means. NaN where a number that is needed is not known, or there is none. While tasks are still to come, what there is
 * so far is averaged.
 */
typedef struct mc_summary {
  double transfer, average, last;
  double zero_shot; /* mean of row 0 over the columns of tasks */
} mc_summary;

/* Numbers of one column. */
mc_summary mc_matrix_column(const mc_matrix *m, int column);
/* Means over the columns of tasks (transfer: over those with a task number of 1 and above). */
mc_summary mc_matrix_summary(const mc_matrix *m);

/* Text: one line a row, percent with two decimals, "-" for what is not known. */
void mc_matrix_text(const mc_matrix *m, FILE *f);
/* A picture on its own light ground, so that it reads the same on any page. */
void mc_matrix_svg(const mc_matrix *m, const char *title, FILE *f);

/* Width of UTF-8 text in characters. */
int mc_text_width(const char *s);

#endif
