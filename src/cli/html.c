#include "cli/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

static const char style[] =
    "body{font:15px/1.5 system-ui,'Segoe UI',Helvetica,Arial,sans-serif;color:#22302f;background:#f6f7f5;margin:0}"
    "main{max-width:1100px;margin:0 auto;padding:32px 20px 60px}"
    "h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 10px}.sub{color:#5b6b69;margin:0 0 20px}"
    "table{border-collapse:collapse;background:#fff;border:1px solid "
    "#d8dedd;border-radius:8px;font-variant-numeric:tabular-nums}"
    "th,td{padding:5px 11px;text-align:right;border-bottom:1px solid "
    "#e8ecea;white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "thead th{background:#eef2f0;font-weight:600}tr.ours td{font-weight:600;background:#e6f2f0}"
    ".wide{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:14px}"
    "svg{max-width:100%;height:auto}details{background:#fff;border:1px solid #d8dedd;border-radius:8px;padding:8px "
    "14px;margin:10px 0}"
    "pre{overflow-x:auto;font-size:12px}summary{cursor:pointer}.note{color:#5b6b69;font-size:13px}";

void mc_html_text(FILE *f, const char *s) {
  for (; *s; s++) {
    switch (*s) {
      case '&': fputs("&amp;", f); break;
      case '<': fputs("&lt;", f); break;
      case '>': fputs("&gt;", f); break;
      case '"': fputs("&quot;", f); break;
      default: fputc((unsigned char)*s < 32 && *s != '\n' ? ' ' : *s, f);
    }
  }
}

void mc_html_begin(FILE *f, const char *title, const char *subtitle) {
  fputs(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>",
      f);
  mc_html_text(f, title);
  fprintf(f, "</title><style>%s</style></head>\n<body><main>\n<h1>", style);
  mc_html_text(f, title);
  fputs("</h1><p class=\"sub\">", f);
  mc_html_text(f, subtitle);
  fputs("</p>\n", f);
}

void mc_html_end(FILE *f) { fputs("</main></body></html>\n", f); }

void mc_html_json(FILE *f, const char *heading, const json_t *object) {
  char *text = object ? mc_json_text(object, JSON_INDENT(1)) : NULL;
  if (!text) return;
  fputs("<details><summary>", f);
  mc_html_text(f, heading);
  fputs("</summary><pre>", f);
  mc_html_text(f, text);
  fputs("</pre></details>\n", f);
  free(text);
}

/* --- charts ------------------------------------------------------------------------------------------------------ */

enum { WIDTH = 250, HEIGHT = 150, LEFT = 34, RIGHT = 12, TOP = 28, BOTTOM = 26 };

static double chart_x(int i, int n) { return n > 1 ? LEFT + (double)i * (WIDTH - LEFT - RIGHT) / (n - 1) : LEFT; }
static double chart_y(double v) { return TOP + (1 - v) * (HEIGHT - TOP - BOTTOM); }

static void put_axis(FILE *f) {
  for (int k = 0; k <= 2; k++) {
    double y = chart_y(0.5 * k);
    fprintf(f,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e3e8e6\"/><text x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\" "
            "fill=\"#5b6b69\">%d</text>\n",
            LEFT, WIDTH - RIGHT, y, y, LEFT - 5, y + 4, 50 * k);
  }
}

void mc_html_chart(FILE *f, const char *title, const double *values, int n, int mark, double reference,
                   const char *first, const char *last) {
  fprintf(
      f, "<svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" font-size=\"11\" fill=\"#22302f\"><title>",
      WIDTH, HEIGHT, WIDTH, HEIGHT);
  mc_html_text(f, title);
  fprintf(f, ": ");
  for (int i = 0; i < n; i++) fprintf(f, isnan(values[i]) ? "%s-" : "%s%.1f", i ? ", " : "", 100 * values[i]);
  fprintf(f,
          "</title><rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#fff\" stroke=\"#d8dedd\"/><text x=\"%d\" y=\"17\" "
          "font-weight=\"600\" font-size=\"12\">",
          WIDTH, HEIGHT, LEFT);
  mc_html_text(f, title);
  fputs("</text>\n", f);
  put_axis(f);
  if (!isnan(reference)) {
    fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#b45309\" stroke-dasharray=\"4 3\"/>\n",
            LEFT, WIDTH - RIGHT, chart_y(reference), chart_y(reference));
  }
  fputs("<polyline fill=\"none\" stroke=\"#10656b\" stroke-width=\"2\" points=\"", f);
  for (int i = 0; i < n; i++) {
    if (!isnan(values[i])) fprintf(f, "%.1f,%.1f ", chart_x(i, n), chart_y(values[i]));
  }
  fputs("\"/>\n", f);
  if (mark >= 0 && mark < n && !isnan(values[mark])) {
    fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#d97706\"/>\n", chart_x(mark, n), chart_y(values[mark]));
  }
  fprintf(f, "<text x=\"%d\" y=\"%d\" fill=\"#5b6b69\">", LEFT, HEIGHT - 8);
  mc_html_text(f, first);
  fprintf(f, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#5b6b69\">", WIDTH - RIGHT, HEIGHT - 8);
  mc_html_text(f, last);
  fputs("</text></svg>\n", f);
}

/* --- experts ----------------------------------------------------------------------------------------------------- */

static void put_block(FILE *f, const json_t *block, int y) {
  const json_t *counts = json_object_get(block, "counts"), *frozen = json_object_get(block, "frozen"), *count;
  double total = 0;
  size_t e;
  json_array_foreach(counts, e, count) total += (double)json_integer_value(count);
  json_array_foreach(counts, e, count) {
    double share = total > 0 ? (double)json_integer_value(count) / total : 0,
           ink = sqrt(share); /* small shares stay visible */
    bool is_frozen = json_is_true(json_array_get(frozen, e));
    fprintf(f,
            "<rect x=\"%d\" y=\"%d\" width=\"11\" height=\"11\" rx=\"2\" fill=\"#%02x%02x%02x\"%s><title>expert %zu: "
            "%.1f %%%s"
            "</title></rect>\n",
            34 + 13 * (int)e, y, (unsigned)lround(244 - 228 * ink), (unsigned)lround(248 - 164 * ink),
            (unsigned)lround(247 - 149 * ink), is_frozen ? " stroke=\"#d97706\" stroke-width=\"1.5\"" : "", e,
            100 * share, is_frozen ? ", frozen" : "");
  }
}

void mc_html_experts(FILE *f, const char *title, const json_t *blocks) {
  size_t n_blocks = json_array_size(blocks), b, n_experts = 0;
  const json_t *block;
  json_array_foreach((json_t *)(uintptr_t)blocks, b, block) {
    size_t n = json_array_size(json_object_get(block, "counts"));
    n_experts = n > n_experts ? n : n_experts;
  }
  if (n_blocks == 0 || n_experts == 0) return;
  int width = 50 + 13 * (int)n_experts, height = 34 + 13 * (int)n_blocks;
  if (width < 200) width = 200;
  fprintf(f,
          "<svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" font-size=\"10\" "
          "fill=\"#5b6b69\"><title>How often each "
          "expert of each block was chosen: ",
          width, height, width, height);
  mc_html_text(f, title);
  fprintf(f,
          "</title><rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#fff\" stroke=\"#d8dedd\"/><text x=\"12\" y=\"17\" "
          "font-size=\"12\" "
          "font-weight=\"600\" fill=\"#22302f\">",
          width, height);
  mc_html_text(f, title);
  fputs("</text>\n", f);
  json_array_foreach((json_t *)(uintptr_t)blocks, b, block) {
    int y = 25 + 13 * (int)b;
    fprintf(f, "<text x=\"26\" y=\"%d\" text-anchor=\"end\">%zu</text>\n", y + 9, b);
    put_block(f, block, y);
  }
  fputs("</svg>\n", f);
}

moeclip_code mc_report_file(const void *report, void (*put)(const void *report, FILE *f), const char *folder,
                            const char *name, moeclip_error *err) {
  char *text = NULL, *path = mc_format("%s/%s", folder, name);
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (f) put(report, f);
  moeclip_code code = f && fclose(f) == 0 && path ? MOECLIP_OK : mc_fail_memory(err, 4096, "a report");
  if (code == MOECLIP_OK) code = mc_file_write(path, text, n, err);
  free(path);
  free(text);
  return code;
}
