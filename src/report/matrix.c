#include "report/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double at(const mc_matrix *m, int row, int column) {
  return m->accuracy[(size_t)row * (size_t)m->n_columns + (size_t)column];
}

/* Mean of the column's rows first..end-1; NaN when there are none or one is not known. */
static double mean_of_rows(const mc_matrix *m, int column, int first, int end) {
  double sum = 0;
  if (end <= first) return NAN;
  for (int i = first; i < end; i++) sum += at(m, i, column);
  return sum / (end - first);
}

mc_summary mc_matrix_column(const mc_matrix *m, int j) {
  int task = m->tasks[j];
  /* Row i + 1 is A[i]: rows 1..task come before the column's own task. */
  int before = task >= 0 && task + 1 < m->n_rows ? task + 1 : m->n_rows;
  return (mc_summary){.transfer = mean_of_rows(m, j, 1, before),
                      .average = mean_of_rows(m, j, 1, m->n_rows),
                      .last = m->n_rows > 1 ? at(m, m->n_rows - 1, j) : NAN,
                      .zero_shot = m->n_rows > 0 ? at(m, 0, j) : NAN};
}

mc_summary mc_matrix_summary(const mc_matrix *m) {
  mc_summary sum = {0};
  int n = 0, n_transfer = 0;
  for (int j = 0; j < m->n_columns; j++) {
    if (m->tasks[j] < 0) continue;
    mc_summary c = mc_matrix_column(m, j);
    sum.average += c.average;
    sum.last += c.last;
    sum.zero_shot += c.zero_shot;
    n++;
    if (m->tasks[j] < 1) continue;
    sum.transfer += c.transfer;
    n_transfer++;
  }
  return (mc_summary){.transfer = n_transfer ? sum.transfer / n_transfer : NAN,
                      .average = n ? sum.average / n : NAN,
                      .last = n ? sum.last / n : NAN,
                      .zero_shot = n ? sum.zero_shot / n : NAN};
}

/* --- text --------------------------------------------------------------------------------------------------------- */

int mc_text_width(const char *s) {
  int n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

static void put_right(FILE *f, const char *s, int width) {
  int n = mc_text_width(s);
  fprintf(f, "%*s%s", width > n ? width - n : 0, "", s);
}

static void put_percent(FILE *f, double v, int width) {
  char text[32];
  if (isnan(v)) {
    snprintf(text, sizeof text, "-");
  } else {
    snprintf(text, sizeof text, "%.2f", 100 * v);
  }
  put_right(f, text, width);
}

typedef struct text_layout {
  const mc_matrix *m;
  FILE *f;
  int label;    /* width of the first column */
  int *width;   /* [n_columns] */
  int any_task; /* is there a mean to show? */
} text_layout;

static void put_cell(const text_layout *t, int j, double v) {
  /* What is never learned stands apart. */
  if (t->m->tasks[j] < 0 && (j == 0 || t->m->tasks[j - 1] >= 0)) fputs(" |", t->f);
  put_percent(t->f, v, t->width[j] + 2);
}

static void put_label(const text_layout *t, const char *label) {
  fprintf(t->f, "%s%*s", label, t->label - mc_text_width(label), "");
}

static void put_mean(const text_layout *t, double mean) {
  if (t->any_task) {
    fputs(" |", t->f);
    put_percent(t->f, mean, 8);
  }
  fputc('\n', t->f);
}

static double mean_of_tasks(const mc_matrix *m, int row) {
  double sum = 0;
  int n = 0;
  for (int j = 0; j < m->n_columns; j++) {
    if (m->tasks[j] < 0) continue;
    sum += at(m, row, j);
    n++;
  }
  return n ? sum / n : NAN;
}

static void put_head(const text_layout *t) {
  const mc_matrix *m = t->m;
  put_label(t, "accuracy in %");
  for (int j = 0; j < m->n_columns; j++) {
    if (m->tasks[j] < 0 && (j == 0 || m->tasks[j - 1] >= 0)) fputs(" |", t->f);
    put_right(t->f, m->names[j], t->width[j] + 2);
  }
  if (t->any_task) {
    fputs(" |", t->f);
    put_right(t->f, "mean", 8);
  }
  fputc('\n', t->f);
}

static void put_rows(const text_layout *t) {
  const mc_matrix *m = t->m;
  for (int i = 0; i < m->n_rows; i++) {
    if (m->after[i]) {
      int n = fprintf(t->f, "after %s", m->after[i]) - (int)strlen(m->after[i]) + mc_text_width(m->after[i]);
      fprintf(t->f, "%*s", t->label - n, "");
    } else {
      put_label(t, "zero-shot");
    }
    for (int j = 0; j < m->n_columns; j++) put_cell(t, j, at(m, i, j));
    put_mean(t, mean_of_tasks(m, i));
  }
}

static void put_summary(const text_layout *t) {
  const mc_matrix *m = t->m;
  static const char *const labels[3] = {"Transfer", "Average", "Last"};
  mc_summary all = mc_matrix_summary(m);
  double means[3] = {all.transfer, all.average, all.last};
  fputc('\n', t->f);
  for (int k = 0; k < 3; k++) {
    put_label(t, labels[k]);
    for (int j = 0; j < m->n_columns; j++) {
      mc_summary c = mc_matrix_column(m, j);
      double v[3] = {c.transfer, c.average, c.last};
      put_cell(t, j, v[k]);
    }
    put_mean(t, means[k]);
  }
}

void mc_matrix_text(const mc_matrix *m, FILE *f) {
  text_layout t = {.m = m, .f = f, .label = 13, .width = calloc((size_t)m->n_columns + 1, sizeof *t.width)};
  if (!t.width) return;
  for (int i = 0; i < m->n_rows; i++) {
    int n = m->after[i] ? mc_text_width(m->after[i]) + 6 : 9;
    if (n > t.label) t.label = n;
  }
  for (int j = 0; j < m->n_columns; j++) {
    int n = mc_text_width(m->names[j]);
    t.width[j] = n > 6 ? n : 6;
    if (m->tasks[j] >= 0) t.any_task = 1;
  }
  put_head(&t);
  put_rows(&t);
  if (m->n_rows > 1) put_summary(&t);
  free(t.width);
}
