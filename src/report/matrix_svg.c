/* The accuracy matrix as a heat map. */
#include <math.h>
#include <string.h>

#include "report/matrix.h"

enum {
  CELL_WIDTH = 64, CELL_HEIGHT = 34, GAP = 2, MARGIN = 20, TITLE = 44, MOST_LABEL = 26 /* characters */, CHARACTER = 7
};

typedef struct layout {
  const mc_matrix *m;
  FILE *f;
  int left, top;      /* of the first cell */
  int width, height;
} layout;

static void put_escaped(FILE *f, const char *s, int most) {
  int n = mc_text_width(s), kept = 0;
  for (; *s; s++) {
    if (((unsigned char)*s & 0xc0) != 0x80 && n > most && kept++ == most - 1) {
      fputs("\xe2\x80\xa6", f); /* an ellipsis */
      return;
    }
    switch (*s) {
      case '&': fputs("&amp;", f); break;
      case '<': fputs("&lt;", f); break;
      case '>': fputs("&gt;", f); break;
      case '"': fputs("&quot;", f); break;
      default: fputc((unsigned char)*s < 32 ? ' ' : *s, f);
    }
  }
}

/* From near white to a deep blue-green, so that more accuracy is darker; in print and to the colour-blind as well. */
static void put_colour(FILE *f, double v) {
  static const double stops[4][3] = {{244, 248, 247}, {178, 216, 210}, {79, 158, 156}, {16, 84, 98}};
  double place = (v < 0 ? 0 : v > 1 ? 1 : v) * 3;
  int k = place >= 3 ? 2 : (int)place;
  double t = place - k;
  fputc('#', f);
  for (int c = 0; c < 3; c++) fprintf(f, "%02x", (unsigned)lround(stops[k][c] + t * (stops[k + 1][c] - stops[k][c])));
}

static void put_cell(const layout *l, int x, int y, double v, const char *row, const char *column, int own) {
  fputs("<g>", l->f);
  fputs("<title>", l->f);
  put_escaped(l->f, column, 1000);
  fputs(", ", l->f);
  put_escaped(l->f, row, 1000);
  if (isnan(v)) {
    fputs(": not known</title>", l->f);
  } else {
    fprintf(l->f, ": %.2f %%</title>", 100 * v);
  }
  fprintf(l->f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\" fill=\"", x, y, CELL_WIDTH - GAP,
          CELL_HEIGHT - GAP);
  if (isnan(v)) {
    fputs("#f1f1ee", l->f);
  } else {
    put_colour(l->f, v);
  }
  fputc('"', l->f);
  if (own) fputs(" stroke=\"#d97706\" stroke-width=\"2\"", l->f);
  fputs("/>", l->f);
  fprintf(l->f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"%s\">", x + (CELL_WIDTH - GAP) / 2,
          y + CELL_HEIGHT / 2 + 4, !isnan(v) && v > 0.72 ? "#ffffff" : "#22302f");
  if (isnan(v)) {
    fputs("\xe2\x80\x93", l->f);
  } else {
    fprintf(l->f, "%.1f", 100 * v);
  }
  fputs("</text></g>\n", l->f);
}

static void put_row_label(const layout *l, int y, const char *prefix, const char *name) {
  fprintf(l->f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s", l->left - 10, y + CELL_HEIGHT / 2 + 4, prefix);
  put_escaped(l->f, name, MOST_LABEL);
  fputs("</text>\n", l->f);
}

/* Columns of tasks, a gap, columns that are never learned. */
static int column_x(const layout *l, int j) {
  int apart = l->m->tasks[j] < 0 ? 10 : 0;
  return l->left + j * CELL_WIDTH + apart;
}

static void put_rows(const layout *l) {
  const mc_matrix *m = l->m;
  for (int i = 0; i < m->n_rows; i++) {
    int y = l->top + i * CELL_HEIGHT;
    const char *row = m->after[i] ? m->after[i] : "zero-shot";
    put_row_label(l, y, m->after[i] ? "after " : "", row);
    for (int j = 0; j < m->n_columns; j++) {
      put_cell(l, column_x(l, j), y, m->accuracy[i * m->n_columns + j], row, m->names[j],
               i >= 1 && m->tasks[j] == i - 1);
    }
  }
}

static void put_summary(const layout *l) {
  const mc_matrix *m = l->m;
  static const char *const labels[3] = {"Transfer", "Average", "Last"};
  mc_summary all = mc_matrix_summary(m);
  double means[3] = {all.transfer, all.average, all.last};
  int x_mean = l->left + m->n_columns * CELL_WIDTH + 20;
  fprintf(l->f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"#5b6b69\">mean</text>\n",
          x_mean + (CELL_WIDTH - GAP) / 2, l->top + m->n_rows * CELL_HEIGHT + 8);
  for (int k = 0; k < 3; k++) {
    int y = l->top + (m->n_rows + k) * CELL_HEIGHT + 14;
    put_row_label(l, y, "", labels[k]);
    for (int j = 0; j < m->n_columns; j++) {
      mc_summary c = mc_matrix_column(m, j);
      double v[3] = {c.transfer, c.average, c.last};
      put_cell(l, column_x(l, j), y, v[k], labels[k], m->names[j], 0);
    }
    put_cell(l, x_mean, y, means[k], labels[k], "mean over the tasks", 0);
  }
}

static void put_column_labels(const layout *l) {
  const mc_matrix *m = l->m;
  for (int j = 0; j < m->n_columns; j++) {
    int x = column_x(l, j) + CELL_WIDTH / 2 + 3, y = l->top - 10;
    fprintf(l->f, "<text x=\"%d\" y=\"%d\" transform=\"rotate(-40 %d %d)\"%s>", x, y, x, y,
            m->tasks[j] < 0 ? " font-style=\"italic\"" : "");
    put_escaped(l->f, m->names[j], MOST_LABEL);
    fputs("</text>\n", l->f);
  }
}

static void put_description(const layout *l) {
  const mc_matrix *m = l->m;
  mc_summary all = mc_matrix_summary(m);
  fprintf(l->f, "<desc id=\"d\">Heat map of accuracy in percent: one row before learning and one after each task, one "
                "column for each of %d data sets.", m->n_columns);
  if (!isnan(all.transfer)) fprintf(l->f, " Transfer %.2f.", 100 * all.transfer);
  if (!isnan(all.average)) fprintf(l->f, " Average %.2f.", 100 * all.average);
  if (!isnan(all.last)) fprintf(l->f, " Last %.2f.", 100 * all.last);
  fputs(" An orange border marks a task right after it was learned; data sets in italics are never learned.</desc>\n",
        l->f);
}

static int longest(const char *const *names, int n) {
  int most = 0;
  for (int i = 0; i < n; i++) {
    int width = names[i] ? mc_text_width(names[i]) : 9;
    if (width > most) most = width;
  }
  return most > MOST_LABEL ? MOST_LABEL : most;
}

static void put_head(const layout *l, const char *title) {
  fprintf(l->f,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
          "aria-labelledby=\"t d\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\" "
          "font-size=\"13\" fill=\"#22302f\">\n<title id=\"t\">",
          l->width, l->height, l->width, l->height);
  put_escaped(l->f, title, 1000);
  fputs("</title>\n", l->f);
  put_description(l);
  fprintf(l->f, "<rect width=\"%d\" height=\"%d\" rx=\"12\" fill=\"#ffffff\" stroke=\"#d8dedd\"/>\n", l->width,
          l->height);
  fprintf(l->f, "<text x=\"%d\" y=\"32\" font-size=\"16\" font-weight=\"600\">", MARGIN);
  put_escaped(l->f, title, (l->width - 2 * MARGIN) / 9);
  fputs("</text>\n", l->f);
}

static void put_note(const layout *l) {
  fprintf(l->f, "<text x=\"%d\" y=\"%d\" font-size=\"11\" fill=\"#5b6b69\">accuracy in %%; "
                "<tspan fill=\"#b45309\">orange</tspan>: the task just learned</text>\n",
          MARGIN, l->height - MARGIN + 4);
}

void mc_matrix_svg(const mc_matrix *m, const char *title, FILE *f) {
  int label = (longest(m->after, m->n_rows) + 6) * CHARACTER, slant = longest(m->names, m->n_columns);
  int summary = m->n_rows > 1;
  layout l = {.m = m, .f = f, .left = MARGIN + (label > 90 ? label : 90) + 10,
              .top = MARGIN + TITLE + 10 + (slant * CHARACTER * 2) / 3};
  /* The last column's name leans over the edge of its cell. */
  int lean = (slant * CHARACTER * 3) / 4 + MARGIN, mean = summary ? CELL_WIDTH + 20 + MARGIN : MARGIN;
  l.width = l.left + m->n_columns * CELL_WIDTH + 10 + (lean > mean ? lean : mean);
  if (l.width < 420) l.width = 420;
  l.height = l.top + (m->n_rows + (summary ? 3 : 0)) * CELL_HEIGHT + (summary ? 14 : 0) + 30 + MARGIN;
  put_head(&l, title);
  put_column_labels(&l);
  put_rows(&l);
  if (summary) put_summary(&l);
  put_note(&l);
  fputs("</svg>\n", f);
}
