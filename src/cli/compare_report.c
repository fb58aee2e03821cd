#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/compare.h"

enum { ZERO_SHOT, TRANSFER, AVERAGE, LAST, NO_LABELS, HELDOUT, TRAINED, SECONDS, PEAK, HELDOUT_BEFORE, N_VALUES };

static const char *const keys[N_VALUES] = {"zero_shot", "transfer", "average", "last", "no_labels", "heldout",
                                          "trained", "seconds", "peak_bytes", "heldout_before"};

static double value_of(const mc_compare_run *r, int which) {
  const double values[N_VALUES] = {r->zero_shot, r->transfer, r->average, r->last, r->no_labels, r->heldout,
                                   r->trained, r->seconds, r->peak, r->heldout_before};
  return values[which];
}

/* Over the runs of a method, in one order or in all (order -1). spread: the sample's standard deviation; NaN below two runs. */
typedef struct row {
  const char *method;
  int order, n;
  double mean[N_VALUES], spread[N_VALUES];
} row;

static row summarise(const mc_compare_run *runs, size_t n, const char *method, int order) {
  row r = {.method = method, .order = order};
  for (int k = 0; k < N_VALUES; k++) {
    double sum = 0, squares = 0;
    r.n = 0;
    for (int pass = 0; pass < 2; pass++) {
      for (size_t i = 0; i < n; i++) {
        if (runs[i].method != method || (order >= 0 && runs[i].reversed != (order == 1))) continue;
        double v = value_of(&runs[i], k), off = v - r.mean[k];
        if (pass == 0) {
          sum += v;
          r.n++;
        } else {
          squares += off * off;
        }
      }
      if (pass == 0) r.mean[k] = sum / r.n;
    }
    r.spread[k] = r.n > 1 ? sqrt(squares / (r.n - 1)) : NAN;
  }
  return r;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void put_percent(FILE *f, double mean, double spread) {
  char text[48];
  if (isnan(mean)) {
    snprintf(text, sizeof text, "-");
  } else if (isnan(spread)) {
    snprintf(text, sizeof text, "%.2f", 100 * mean);
  } else {
    snprintf(text, sizeof text, "%.2f +- %.2f", 100 * mean, 100 * spread);
  }
  fprintf(f, "  %15s", text);
}

static const char *order_name(int order) { return order < 0 ? "both" : order ? "reversed" : "given"; }

static void put_text(FILE *f, const row *rows, size_t n) {
  fprintf(f, "%-13s %-9s %4s  %15s  %15s  %15s  %15s  %15s  %12s  %10s  %9s\n", "method", "order", "runs", "Transfer", "Average",
          "Last", "no labels", "held-out", "trained", "s a task", "peak MiB");
  for (size_t i = 0; i < n; i++) {
    const row *r = &rows[i];
    fprintf(f, "%-13s %-9s %4d", r->method, order_name(r->order), r->n);
    for (int k = TRANSFER; k <= HELDOUT; k++) put_percent(f, r->mean[k], r->spread[k]);
    fprintf(f, "  %12.0f  %10.1f  %9.0f\n", r->mean[TRAINED], r->mean[SECONDS], r->mean[PEAK] / 1048576);
  }
  fprintf(f, "\nIn %%: mean over the runs +- standard deviation. Transfer, Average, Last: each picture over its own data set's classes; no labels: the last, "
             "over all that was learned,\nas `classify` answers without --labels; held-out: sets that are never learned, after the last task. trained: numbers trained a task.\n"
             "s a task: training, and the selector where there is one; without evaluating. peak: of the whole run, evaluating included.\n"
             "zero-shot before the first task: %.2f", 100 * rows[0].mean[ZERO_SHOT]);
  if (!isnan(rows[0].mean[HELDOUT_BEFORE])) fprintf(f, "; held-out: %.2f", 100 * rows[0].mean[HELDOUT_BEFORE]);
  fputc('\n', f);
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *rows_json(const row *rows, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) {
    json_t *object = json_pack("{s:s, s:s, s:i}", "method", rows[i].method, "order", order_name(rows[i].order), "runs", rows[i].n);
    for (int k = 0; k < N_VALUES; k++) {
      mc_json_set(&object, keys[k],
                  json_pack("{s:o, s:o}", "mean", mc_json_real(rows[i].mean[k]), "spread", mc_json_real(rows[i].spread[k])));
    }
    mc_json_append(&array, object);
  }
  return array;
}

static json_t *runs_json(const mc_compare_run *runs, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) {
    json_t *object = json_pack("{s:s, s:s, s:i, s:s}", "method", runs[i].method, "order", order_name(runs[i].reversed), "seed",
                               runs[i].seed, "folder", runs[i].folder);
    for (int k = 0; k < N_VALUES; k++) mc_json_set(&object, keys[k], mc_json_real(value_of(&runs[i], k)));
    mc_json_append(&array, object);
  }
  return array;
}

/* --- picture ------------------------------------------------------------------------------------------------------ */

enum { LEFT = 140, BARS = 420, BAR = 12, N_BARS = NO_LABELS - TRANSFER + 1, GROUP = N_BARS * BAR + 20, TOP = 78, RIGHT = 300 };

/* A whole number with its thousands apart. */
static void put_grouped(FILE *f, double number) {
  char text[64];
  int n = snprintf(text, sizeof text, "%.0f", number);
  for (int i = 0; i < n && i < (int)sizeof text - 1; i++) {
    if (i > 0 && (n - i) % 3 == 0) fputs("\xe2\x80\x89", f); /* a thin space */
    fputc(text[i], f);
  }
}

static const char *const bars[N_BARS] = {"Transfer", "Average", "Last", "no labels"};
static const char *const colours[N_BARS] = {"#b2d8d2", "#4f9e9c", "#105462", "#8a6fb0"};

/* The methods' names are known words: nothing to escape. */
static void put_group(FILE *f, const row *r, int y) {
  fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" font-weight=\"600\">%s</text>\n", LEFT - 10, y + N_BARS * BAR / 2 + 5, r->method);
  for (int k = 0; k < N_BARS; k++) {
    double mean = r->mean[TRANSFER + k], spread = r->spread[TRANSFER + k];
    int top = y + k * BAR;
    if (isnan(mean)) continue;
    fprintf(f, "<g><title>%s, %s: %.2f %%", r->method, bars[k], 100 * mean);
    if (!isnan(spread)) fprintf(f, ", standard deviation %.2f", 100 * spread);
    fprintf(f, "</title><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", LEFT, top, BARS * mean, BAR - 2, colours[k]);
    if (!isnan(spread)) {
      fprintf(f, "<path d=\"M%.1f %dH%.1f\" stroke=\"#d97706\" stroke-width=\"2\"/>", LEFT + BARS * fmax(0, mean - spread),
              top + BAR / 2 - 1, LEFT + BARS * fmin(1, mean + spread));
    }
    double end = fmax(mean, isnan(spread) ? 0 : fmin(1, mean + spread));
    fprintf(f, "<text x=\"%.1f\" y=\"%d\" font-size=\"10\">%.1f</text></g>\n", LEFT + BARS * end + 5, top + BAR - 3, 100 * mean);
  }
  const double numbers[3] = {r->mean[TRAINED], r->mean[SECONDS], r->mean[PEAK] / 1048576};
  for (int k = 0; k < 3; k++) {
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT + BARS + 40 + (k + 1) * 85, y + N_BARS * BAR / 2 + 5);
    if (k == 1) {
      fprintf(f, "%.1f", numbers[k]);
    } else {
      put_grouped(f, numbers[k]);
    }
    fputs("</text>\n", f);
  }
}

static void put_svg(FILE *f, const row *rows, size_t n) {
  static const char *const heads[3] = {"trained", "s a task", "peak MiB"};
  size_t n_groups = 0;
  int width = LEFT + BARS + RIGHT + 20, at = TOP, most = 0;
  for (size_t i = 0; i < n; i++) {
    bool group = i + 1 == n || rows[i + 1].method != rows[i].method; /* a method's last row is over all its runs */
    n_groups += group;
    if (group && rows[i].n > most) most = rows[i].n;
  }
  int height = TOP + (int)n_groups * GROUP + 44;
  fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
             "aria-labelledby=\"t d\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\" "
             "fill=\"#22302f\">\n<title id=\"t\">Methods compared</title>\n<desc id=\"d\">Bars of Transfer, Average, Last and the last without labels in percent for "
             "each of %zu methods, means over up to %d runs; beside them numbers trained and seconds a task, and peak memory.</desc>\n",
          width, height, width, height, n_groups, most);
  fprintf(f, "<rect width=\"%d\" height=\"%d\" rx=\"12\" fill=\"#ffffff\" stroke=\"#d8dedd\"/>\n"
             "<text x=\"20\" y=\"32\" font-size=\"16\" font-weight=\"600\">Methods compared</text>\n", width, height);
  for (int k = 0; k < N_BARS; k++) {
    fprintf(f, "<rect x=\"%d\" y=\"48\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"59\">%s</text>\n", LEFT + k * 100,
            colours[k], LEFT + k * 100 + 17, bars[k]);
  }
  for (int k = 0; k < 3; k++) {
    fprintf(f, "<text x=\"%d\" y=\"59\" text-anchor=\"end\" fill=\"#5b6b69\">%s</text>\n", LEFT + BARS + 40 + (k + 1) * 85, heads[k]);
  }
  for (int percent = 0; percent <= 100; percent += 20) {
    int x = LEFT + BARS * percent / 100, bottom = TOP + (int)n_groups * GROUP - 14;
    fprintf(f, "<path d=\"M%d %dV%d\" stroke=\"#e3e9e8\"/><text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-size=\"10\" "
               "fill=\"#5b6b69\">%d</text>\n", x, TOP - 6, bottom, x, bottom + 12, percent);
  }
  for (size_t i = 0; i < n; i++) {
    if (i + 1 < n && rows[i + 1].method == rows[i].method) continue;
    put_group(f, &rows[i], at);
    at += GROUP;
  }
  fprintf(f, "<text x=\"20\" y=\"%d\" font-size=\"11\" fill=\"#5b6b69\">accuracy in %%, means over the runs (%d a method)", height - 16, most);
  if (most > 1) fputs("; <tspan fill=\"#b45309\">orange</tspan>: one standard deviation to either side", f);
  fputs("</text>\n</svg>\n", f);
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

static moeclip_code write_text(const char *folder, const char *name, const char *text, moeclip_error *err) {
  char *path = mc_format("%s/%s", folder, name);
  moeclip_code code = path ? mc_file_write(path, text, strlen(text), err) : mc_fail_memory(err, 256, "a file name");
  free(path);
  return code;
}

static char *drawn(void (*put)(FILE *f, const row *rows, size_t n), const row *rows, size_t n) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  if (!f) return NULL;
  put(f, rows, n);
  bool bad = ferror(f);
  if (fclose(f) == 0 && !bad) return text;
  free(text);
  return NULL;
}

moeclip_code mc_compare_report(const mc_compare_run *runs, size_t n, json_t *provenance, const char *folder, char **text, json_t **json,
                               moeclip_error *err) {
  row *rows = mc_alloc(n, 3 * sizeof *rows);
  size_t n_rows = 0;
  char *svg = NULL, *whole = NULL;
  *text = NULL;
  *json = NULL;
  if (!rows) return mc_fail_memory(err, n * sizeof *rows, "a table");
  for (size_t i = 0; i < n; i++) {
    if (i > 0 && runs[i].method == runs[i - 1].method) continue;
    bool both = false;
    for (size_t k = 0; k < n; k++) both = both || (runs[k].method == runs[i].method && runs[k].reversed);
    rows[n_rows++] = summarise(runs, n, runs[i].method, 0);
    if (both) rows[n_rows++] = summarise(runs, n, runs[i].method, 1);
    if (both) rows[n_rows++] = summarise(runs, n, runs[i].method, -1);
  }
  *text = drawn(put_text, rows, n_rows);
  svg = drawn(put_svg, rows, n_rows);
  *json = json_pack("{s:s, s:o, s:o, s:O}", "format", "moeclip comparison 1", "rows", rows_json(rows, n_rows), "runs", runs_json(runs, n),
                    "provenance", provenance);
  whole = *json ? mc_json_text(*json, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) : NULL;
  moeclip_code code = *text && svg && whole ? MOECLIP_OK : mc_fail_memory(err, 65536, "a table");
  if (code == MOECLIP_OK) code = write_text(folder, "compare.txt", *text, err);
  if (code == MOECLIP_OK) code = write_text(folder, "compare.svg", svg, err);
  if (code == MOECLIP_OK) code = write_text(folder, "compare.json", whole, err);
  free(svg);
  free(whole);
  free(rows);
  return code;
}
