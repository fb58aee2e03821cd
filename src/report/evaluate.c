#include "report/evaluate.h"

#include <math.h>

#include "base/json.h"

static double ratio(int64_t right, int64_t n) { return n > 0 ? (double)right / (double)n : NAN; }

/* Route 0 is the untouched CLIP. */
static const char *route_name(const moeclip_learner *learner, int route) {
  moeclip_task_info info;
  if (route > 0 && moeclip_learner_task(learner, route - 1, &info, NULL) == MOECLIP_OK) return info.name;
  return "zero-shot";
}

static json_t *counts(const char *key, const char *name, int64_t n, int64_t right) {
  return json_pack("{s:s, s:I, s:I, s:o}", key, name, "n", (json_int_t)n, "right", (json_int_t)right, "accuracy",
                   mc_json_real(ratio(right, n)));
}

json_t *mc_evaluation_json(const moeclip_evaluation *e, const moeclip_learner *learner, const moeclip_dataset *dataset,
                           bool per_class) {
  json_t *routes = json_array(), *classes = per_class ? json_array() : NULL;
  for (int r = 0; r < e->n_routes; r++) {
    mc_json_append(&routes, counts("to", route_name(learner, r), e->routed[r], e->routed_right[r]));
  }
  json_t *object = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "accuracy", mc_json_real(ratio(e->n_right, e->n)), "n",
                             (json_int_t)e->n, "right", (json_int_t)e->n_right, "broken", (json_int_t)e->n_broken,
                             "seconds", mc_json_real(e->seconds), "routes", routes);
  for (size_t c = 0; per_class && c < e->n_classes; c++) {
    mc_json_append(&classes,
                          counts("class", moeclip_dataset_class_name(dataset, c), e->class_n[c], e->class_right[c]));
  }
  if (per_class) mc_json_set(&object, "classes", classes);
  return object;
}

static void print_counts(FILE *f, const char *name, int64_t n, int64_t right) {
  if (n > 0) {
    fprintf(f, "    %7.2f %%  %7lld of %-7lld %s\n", 100 * ratio(right, n), (long long)right, (long long)n, name);
  } else {
    fprintf(f, "          - %%  %7d of %-7d %s\n", 0, 0, name);
  }
}

void mc_evaluation_print(const moeclip_evaluation *e, const moeclip_learner *learner, const moeclip_dataset *dataset,
                         bool per_class, FILE *f) {
  fprintf(f, "%s: ", moeclip_dataset_name(dataset));
  if (e->n > 0) {
    fprintf(f, "%.2f %% (%lld of %lld)", 100 * ratio(e->n_right, e->n), (long long)e->n_right, (long long)e->n);
  } else {
    fprintf(f, "no pictures");
  }
  if (e->n_broken > 0) fprintf(f, ", %lld left out", (long long)e->n_broken);
  if (e->seconds > 0) fprintf(f, ", %.1f s, %.0f pictures/s", e->seconds, (double)e->n / e->seconds);
  fputc('\n', f);
  fprintf(f, "  answered by\n");
  for (int r = 0; r < e->n_routes; r++) {
    if (e->routed[r] > 0) print_counts(f, route_name(learner, r), e->routed[r], e->routed_right[r]);
  }
  if (!per_class) return;
  fprintf(f, "  by class\n");
  for (size_t c = 0; c < e->n_classes; c++) {
    print_counts(f, moeclip_dataset_class_name(dataset, c), e->class_n[c], e->class_right[c]);
  }
}
