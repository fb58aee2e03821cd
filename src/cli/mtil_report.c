/* What the multi-domain benchmark found out: a table like the paper's, CSV, and one HTML page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/html.h"
#include "cli/mtil.h"

/* Order I with ViT-B/16, full-shot, in percent (method.md section 8). */
static const struct {
  const char *method;
  double transfer, average, last;
} published[] = {{"zero-shot (published)", 69.4, 65.3, 65.3},
                 {"continual fine-tuning (published)", 44.6, 55.9, 77.3},
                 {"ZSCL (published)", 68.1, 75.4, 83.6},
                 {"MoE-Adapters (published)", 68.9, 76.7, 85.0}};
enum { N_PUBLISHED = sizeof published / sizeof published[0] };
static const char published_note[] = "Published: order I, all eleven data sets, full-shot, ViT-B/16.";

typedef struct reporting {
  const json_t *root;
  const mc_mtil_plan *plan;
  mc_matrix_of matrix;
  mc_summary mean;
} reporting;

/* Nothing is published of the user's own pictures; and these numbers are of the other setting. */
static int n_published(const reporting *r) { return r->plan->o.own.n > 0 || r->plan->across ? 0 : N_PUBLISHED; }

static double part(mc_summary s, int which) { return which == 0 ? s.transfer : which == 1 ? s.average : s.last; }
static const char *const parts[3] = {"Transfer", "Average", "Last"};

static void put_percent(FILE *f, int width, double v) {
  if (isnan(v)) {
    fprintf(f, "%*s", width, "-");
  } else {
    fprintf(f, "%*.1f", width, v);
  }
}

/* --- table.txt --------------------------------------------------------------------------------------------------- */

static void put_table(const void *report, FILE *f) {
  const reporting *r = report;
  const mc_matrix *m = &r->matrix.m;
  fprintf(f, "%-34s", "accuracy in %");
  for (int j = 0; j < m->n_columns; j++) fprintf(f, " %12.12s", m->names[j]);
  fprintf(f, " %8s\n", "mean");
  fprintf(f, "%-34s", "zero-shot");
  for (int j = 0; j < m->n_columns; j++) put_percent(f, 13, 100 * m->accuracy[j]);
  put_percent(f, 9, 100 * r->mean.zero_shot);
  fputc('\n', f);
  for (int k = 0; k < 3; k++) {
    fprintf(f, "%-34s", parts[k]);
    for (int j = 0; j < m->n_columns; j++) put_percent(f, 13, 100 * part(mc_matrix_column(m, j), k));
    put_percent(f, 9, 100 * part(r->mean, k));
    fputc('\n', f);
  }
  fprintf(f, "\n%-34s %9s %9s %9s\n", "means", parts[0], parts[1], parts[2]);
  fprintf(f, "%-34s", "this run");
  for (int k = 0; k < 3; k++) put_percent(f, 10, 100 * part(r->mean, k));
  fputc('\n', f);
  for (int i = 0; i < n_published(r); i++) {
    fprintf(f, "%-34s %9.1f %9.1f %9.1f\n", published[i].method, published[i].transfer, published[i].average,
            published[i].last);
  }
  if (n_published(r) > 0) fprintf(f, "%s\n", published_note);
}

/* --- results.csv ------------------------------------------------------------------------------------------------- */

static void put_csv(const void *report, FILE *f) {
  const reporting *r = report;
  const json_t *rows = json_object_get(r->root, "rows"), *row;
  size_t i;
  fputs("after,set,accuracy,right,pictures,to_zero_shot,to_own_task,seconds\n", f);
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    const char *after = json_string_value(json_object_get(row, "after")), *set;
    json_t *cell;
    json_object_foreach(json_object_get(row, "cells"), set, cell) {
      json_int_t zero = 0, own = 0;
      size_t k;
      const json_t *route;
      json_array_foreach(json_object_get(cell, "routes"), k, route) {
        const char *to = json_string_value(json_object_get(route, "to"));
        json_int_t n = json_integer_value(json_object_get(route, "n"));
        if (k == 0) zero = n;
        if (k > 0 && to && strcmp(to, set) == 0) own = n;
      }
      fprintf(f, "%s,%s,%.6f,%lld,%lld,%lld,%lld,%.3f\n", after ? after : "", set,
              json_number_value(json_object_get(cell, "accuracy")),
              (long long)json_integer_value(json_object_get(cell, "right")),
              (long long)json_integer_value(json_object_get(cell, "n")), (long long)zero, (long long)own,
              json_number_value(json_object_get(cell, "seconds")));
    }
  }
}

/* --- report.html ------------------------------------------------------------------------------------------------- */

static void put_cell(FILE *f, double percent) {
  fputs("<td>", f);
  put_percent(f, 1, percent);
  fputs("</td>", f);
}

static void put_means(const reporting *r, FILE *f) {
  fputs(
      "<h2>Means</h2>\n<table><thead><tr><th></th><th>Transfer</th><th>Average</th><th>Last</th></tr></thead><tbody>\n"
      "<tr class=\"ours\"><td>this run</td>",
      f);
  for (int k = 0; k < 3; k++) put_cell(f, 100 * part(r->mean, k));
  fputs("</tr>\n", f);
  for (int i = 0; i < n_published(r); i++) {
    fprintf(f, "<tr><td>%s</td><td>%.1f</td><td>%.1f</td><td>%.1f</td></tr>\n", published[i].method,
            published[i].transfer, published[i].average, published[i].last);
  }
  fprintf(f, "</tbody></table><p class=\"note\">%s</p>\n", n_published(r) > 0 ? published_note : "");
}

static void put_sets(const reporting *r, FILE *f) {
  const mc_matrix *m = &r->matrix.m;
  fputs("<h2>By data set</h2>\n<div class=\"wide\"><table><thead><tr><th></th>", f);
  for (int j = 0; j < m->n_columns; j++) {
    fputs("<th>", f);
    mc_html_text(f, m->names[j]);
    fputs("</th>", f);
  }
  fputs("</tr></thead><tbody><tr><td>zero-shot</td>", f);
  for (int j = 0; j < m->n_columns; j++) put_cell(f, 100 * m->accuracy[j]);
  fputs("</tr>\n", f);
  for (int k = 0; k < 3; k++) {
    fprintf(f, "<tr><td>%s</td>", parts[k]);
    for (int j = 0; j < m->n_columns; j++) put_cell(f, 100 * part(mc_matrix_column(m, j), k));
    fputs("</tr>\n", f);
  }
  fputs("</tbody></table></div>\n", f);
}

static void put_curves(const reporting *r, FILE *f) {
  const mc_matrix *m = &r->matrix.m;
  double *column = calloc((size_t)m->n_rows + 1, sizeof *column);
  if (!column) return;
  fputs(
      "<h2>Each data set over time</h2>\n<p class=\"note\">Accuracy in % before any task and after each one; the dot: "
      "right after the "
      "set was learned; dashed: zero-shot.</p><div class=\"charts\">\n",
      f);
  for (int j = 0; j < m->n_columns; j++) {
    for (int i = 0; i < m->n_rows; i++) column[i] = m->accuracy[i * m->n_columns + j];
    mc_html_chart(f, m->names[j], column, m->n_rows, m->tasks[j] < 0 ? -1 : m->tasks[j] + 1, column[0], "zero-shot",
                  m->n_rows > 1 && m->after[m->n_rows - 1] ? m->after[m->n_rows - 1] : "");
  }
  fputs("</div>\n", f);
  free(column);
}

static void put_experts(const reporting *r, FILE *f) {
  const json_t *learned = json_object_get(r->root, "learned");
  const mc_matrix *m = &r->matrix.m;
  bool any = false;
  for (int i = 1; i < m->n_rows; i++) {
    const json_t *experts = json_object_get(json_object_get(learned, m->after[i]), "experts");
    if (!experts) continue;
    if (!any) {
      fputs(
          "<h2>Which experts were used</h2>\n<p class=\"note\">A row a block, a column an expert: the darker, the more "
          "of the task's "
          "pictures (or class texts) chose it. Orange: frozen, by this task or an earlier one.</p><div "
          "class=\"charts\">\n",
          f);
    }
    any = true;
    char title[128];
    snprintf(title, sizeof title, "%.90s, image tower", m->after[i]);
    mc_html_experts(f, title, json_object_get(experts, "image"));
    snprintf(title, sizeof title, "%.90s, text tower", m->after[i]);
    mc_html_experts(f, title, json_object_get(experts, "text"));
  }
  if (any) fputs("</div>\n", f);
}

/* What there is not, such as the loss of a method without one, is a dash. */
static void put_number(FILE *f, int decimals, const json_t *v) {
  if (json_is_number(v)) {
    fprintf(f, "<td>%.*f</td>", decimals, json_number_value(v));
  } else {
    fputs("<td>-</td>", f);
  }
}

static void put_training(const reporting *r, FILE *f) {
  const json_t *learned = json_object_get(r->root, "learned");
  const mc_matrix *m = &r->matrix.m;
  if (json_object_size(learned) == 0) return;
  fputs(
      "<h2>Training</h2>\n<div class=\"wide\"><table><thead><tr><th></th><th>steps</th><th>pictures</th><th>numbers "
      "trained</th>"
      "<th>loss</th><th>seconds</th><th>selector s</th><th>threshold</th></tr></thead><tbody>\n",
      f);
  for (int i = 1; i < m->n_rows; i++) {
    const json_t *t = json_object_get(learned, m->after[i]);
    if (!t) continue;
    fputs("<tr><td>", f);
    mc_html_text(f, m->after[i]);
    fprintf(f, "</td><td>%lld</td><td>%lld</td><td>%lld</td>", (long long)json_integer_value(json_object_get(t, "iterations")),
            (long long)json_integer_value(json_object_get(t, "images")),
            (long long)json_integer_value(json_object_get(t, "trainable")));
    put_number(f, 4, json_object_get(t, "final_loss"));
    put_number(f, 1, json_object_get(t, "seconds"));
    put_number(f, 1, json_object_get(t, "selector_seconds"));
    put_number(f, 5, json_object_get(t, "threshold"));
    fputs("</tr>\n", f);
  }
  fputs("</tbody></table></div>\n", f);
}

static void put_page(const void *report, FILE *f) {
  const reporting *r = report;
  const json_t *run = json_object_get(r->root, "run");
  const char *backbone = json_string_value(json_object_get(run, "backbone"));
  char subtitle[512];
  snprintf(subtitle, sizeof subtitle, "%.60s, %zu data sets, backbone %.32s, model %.200s", r->plan->preset_name,
           r->plan->n_sets, backbone ? backbone : "unknown", r->plan->o.learn.files.model);
  mc_html_begin(f, r->plan->across ? "Cross-domain benchmark (X-TAIL)" : "Multi-domain benchmark", subtitle);
  put_means(r, f);
  put_sets(r, f);
  fputs("<h2>Accuracy matrix</h2>\n<div class=\"wide\">\n", f);
  mc_matrix_svg(&r->matrix.m, "Accuracy, task after task", f);
  fputs("</div>\n", f);
  put_curves(r, f);
  put_experts(r, f);
  put_training(r, f);
  fputs("<h2>Everything else</h2>\n", f);
  mc_html_json(f, "The run: options and hashes", run);
  mc_html_json(f, "The data sets", json_object_get(r->root, "columns"));
  mc_html_end(f);
}

moeclip_code mc_mtil_report(const json_t *root, const mc_mtil_plan *plan, const char *folder, moeclip_error *err) {
  reporting r = {.root = root, .plan = plan};
  MC_TRY(mc_matrix_of_results(root, &r.matrix, err));
  r.mean = mc_matrix_summary(&r.matrix.m);
  moeclip_code code = mc_report_file(&r, put_table, folder, "table.txt", err);
  if (code == MOECLIP_OK) code = mc_report_file(&r, put_csv, folder, "results.csv", err);
  if (code == MOECLIP_OK) code = mc_report_file(&r, put_page, folder, "report.html", err);
  mc_matrix_of_clear(&r.matrix);
  return code;
}
