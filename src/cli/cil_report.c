/* What the class-incremental benchmark found out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cil.h"
#include "cli/html.h"

/* The published logs, ViT-B/16, in percent (method.md section 8). */
static const struct {
  const char *preset, *steps;
  double average, last;
} published[] = {{"cifar100-10", "ten steps of ten classes", 85.21, 77.52},
                 {"cifar100-20", "twenty steps of five classes", 83.72, 76.20},
                 {"cifar100-50", "fifty steps of two classes", 83.77, 75.24},
                 {"tinyimagenet-5", "100 classes, then five steps of 20", 81.12, 76.87},
                 {"tinyimagenet-10", "100 classes, then ten steps of 10", 80.23, 76.35},
                 {"tinyimagenet-20", "100 classes, then twenty steps of 5", 79.96, 75.77}};

static const struct {
  const char *key, *name;
} measures[] = {{"average", "Avg"},
                {"last", "Last"},
                {"accuracy_a", "mean over steps' pairs (A)"},
                {"forgetting", "forgetting"},
                {"backward_transfer", "backward transfer"},
                {"positive_backward_transfer", "positive backward transfer"},
                {"remembering", "remembering"},
                {"forward_transfer", "forward transfer"}};
enum { N_MEASURES = sizeof measures / sizeof measures[0] };

static const json_t *steps_of(const json_t *root) { return json_object_get(root, "steps"); }
static double accuracy_of(const json_t *step) {
  const json_t *v = json_object_get(step, "accuracy");
  return json_is_number(v) ? json_number_value(v) : NAN;
}

/* R [n, n] from what each step knows by step. */
static double *table_of(const json_t *steps, size_t n) {
  double *r = calloc(n * n + 1, sizeof *r);
  for (size_t i = 0; r && i < n; i++) {
    const json_t *by_step = json_object_get(json_array_get(steps, i), "by_step"), *pair;
    size_t j;
    json_array_foreach((json_t *)(uintptr_t)by_step, j, pair) {
      double of = json_number_value(json_array_get(pair, 1));
      if (j < n) r[i * n + j] = of > 0 ? json_number_value(json_array_get(pair, 0)) / of : 0;
    }
  }
  return r;
}

moeclip_code mc_cil_summarise(json_t *root, moeclip_error *err) {
  const json_t *steps = steps_of(root);
  size_t n = json_array_size(steps);
  if (n == 0) return MOECLIP_OK;
  double *r = table_of(steps, n), sum = 0;
  if (!r) return mc_fail_memory(err, n * n * sizeof *r, "the measures");
  for (size_t i = 0; i < n; i++) sum += accuracy_of(json_array_get(steps, i));
  mc_cil_measures m = mc_cil_measure(r, (int)n, (int)n);
  free(r);
  json_t *object =
      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "average", mc_json_real(sum / (double)n), "last",
                mc_json_real(accuracy_of(json_array_get(steps, n - 1))), "accuracy_a", mc_json_real(m.accuracy_a),
                "forgetting", mc_json_real(m.forgetting), "backward_transfer", mc_json_real(m.backward_transfer),
                "positive_backward_transfer", mc_json_real(m.positive_backward_transfer), "remembering",
                mc_json_real(m.remembering), "forward_transfer", mc_json_real(m.forward_transfer));
  return json_object_set_new(root, "measures", object) == 0 ? MOECLIP_OK : mc_fail_memory(err, 256, "the measures");
}

/* --- files ------------------------------------------------------------------------------------------------------- */

typedef struct reporting {
  const json_t *root;
  const char *preset;
} reporting;

static double measure_of(const reporting *r, const char *key) {
  const json_t *v = json_object_get(json_object_get(r->root, "measures"), key);
  return json_is_number(v) ? json_number_value(v) : NAN;
}

static int published_of(const char *preset) {
  for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
    if (strcmp(published[i].preset, preset) == 0) return (int)i;
  }
  return -1;
}

static void put_table(const void *report, FILE *f) {
  const reporting *r = report;
  int p = published_of(r->preset);
  fprintf(f, "%-28s %10s", "percent", "this run");
  fprintf(f, p >= 0 ? " %10s\n" : "\n", "published");
  for (int k = 0; k < N_MEASURES; k++) {
    fprintf(f, "%-28s %10.2f", measures[k].name, 100 * measure_of(r, measures[k].key));
    if (p >= 0 && k < 2) fprintf(f, " %10.2f", k == 0 ? published[p].average : published[p].last);
    fputc('\n', f);
  }
  const json_t *zero = json_object_get(r->root, "zero_shot");
  if (json_is_number(zero)) fprintf(f, "%-28s %10.2f\n", "zero-shot, all classes", 100 * json_number_value(zero));
  if (p >= 0) fprintf(f, "Published: the authors' logs, ViT-B/16, %s.\n", published[p].steps);
}

static void put_csv(const void *report, FILE *f) {
  const reporting *r = report;
  const json_t *steps = steps_of(r->root), *step, *pair;
  size_t i, j;
  fputs("after_step,on_step,accuracy,right,pictures\n", f);
  json_array_foreach((json_t *)(uintptr_t)steps, i, step) {
    fprintf(f, "%zu,all,%.6f,%lld,%lld\n", i + 1, accuracy_of(step),
            (long long)json_integer_value(json_object_get(step, "right")),
            (long long)json_integer_value(json_object_get(step, "n")));
    json_array_foreach(json_object_get(step, "by_step"), j, pair) {
      long long right = (long long)json_integer_value(json_array_get(pair, 0)),
                n = (long long)json_integer_value(json_array_get(pair, 1));
      fprintf(f, "%zu,%zu,%.6f,%lld,%lld\n", i + 1, j + 1, n ? (double)right / (double)n : 0, right, n);
    }
  }
}

static void put_measures(const reporting *r, FILE *f) {
  int p = published_of(r->preset);
  fprintf(f, "<h2>Measures</h2><table><thead><tr><th>percent</th><th>this run</th>%s</tr></thead><tbody>\n",
          p >= 0 ? "<th>published</th>" : "");
  for (int k = 0; k < N_MEASURES; k++) {
    fprintf(f, "<tr%s><td>%s</td><td>%.2f</td>", k < 2 ? " class=\"ours\"" : "", measures[k].name,
            100 * measure_of(r, measures[k].key));
    if (p >= 0 && k < 2) fprintf(f, "<td>%.2f</td>", k == 0 ? published[p].average : published[p].last);
    if (p >= 0 && k >= 2) fputs("<td></td>", f);
    fputs("</tr>\n", f);
  }
  fputs("</tbody></table>\n", f);
  if (p >= 0) fprintf(f, "<p class=\"note\">Published: the authors' logs, ViT-B/16, %s.</p>\n", published[p].steps);
}

static void put_curves(const reporting *r, FILE *f) {
  const json_t *steps = steps_of(r->root), *zero = json_object_get(r->root, "zero_shot");
  size_t n = json_array_size(steps);
  double *values = calloc(n + 1, sizeof *values), *table = table_of(steps, n);
  char last[32], title[64];
  snprintf(last, sizeof last, "step %zu", n);
  if (values && table && n > 0) {
    for (size_t i = 0; i < n; i++) values[i] = accuracy_of(json_array_get(steps, i));
    fputs(
        "<h2>Accuracy over time</h2><p class=\"note\">Over all classes seen so far; dashed: zero-shot over all "
        "classes.</p>"
        "<div class=\"charts\">\n",
        f);
    mc_html_chart(f, "all classes so far", values, (int)n, -1, json_is_number(zero) ? json_number_value(zero) : NAN,
                  "step 1", last);
    fputs(
        "</div><h2>Each step's own classes</h2><p class=\"note\">From the step that taught them (the dot) on.</p><div "
        "class=\"charts\">\n",
        f);
    for (size_t j = 0; j < n; j++) {
      for (size_t i = 0; i < n; i++) values[i] = i >= j ? table[i * n + j] : NAN;
      snprintf(title, sizeof title, "classes of step %zu", j + 1);
      mc_html_chart(f, title, values, (int)n, (int)j, NAN, "step 1", last);
    }
    fputs("</div>\n", f);
  }
  free(values);
  free(table);
}

static void put_page(const void *report, FILE *f) {
  const reporting *r = report;
  const json_t *run = json_object_get(r->root, "run");
  const char *backbone = json_string_value(json_object_get(run, "backbone"));
  char subtitle[256];
  snprintf(subtitle, sizeof subtitle, "%.60s, %zu steps, backbone %.32s", r->preset, json_array_size(steps_of(r->root)),
           backbone ? backbone : "unknown");
  mc_html_begin(f, "Class-incremental benchmark", subtitle);
  put_measures(r, f);
  put_curves(r, f);
  fputs("<h2>Everything else</h2>\n", f);
  mc_html_json(f, "The run: options and hashes", run);
  mc_html_json(f, "The steps", steps_of(r->root));
  mc_html_end(f);
}

moeclip_code mc_cil_report(const json_t *root, const char *preset, const char *folder, moeclip_error *err) {
  reporting r = {root, preset};
  MC_TRY(mc_report_file(&r, put_table, folder, "table.txt", err));
  MC_TRY(mc_report_file(&r, put_csv, folder, "results.csv", err));
  return mc_report_file(&r, put_page, folder, "report.html", err);
}
