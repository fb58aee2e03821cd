/* `moeclip bench cil`: the class-incremental benchmark's settings (cil_options.c), running it (cil.c), what results.json
 * says (cil_results.c), its report (cil_report.c). */
#ifndef MC_CLI_CIL_H
#define MC_CLI_CIL_H

#include "cli/cil_metrics.h"
#include "cli/cli.h"

enum { MC_CIL_MOST_CLASSES = 4096 };

typedef struct mc_cil_options {
  mc_model_choice files;
  moeclip_learner_options learner;
  moeclip_task_options task;
  moeclip_evaluate_options evaluate;
  mc_data_choice choice;
  mc_list sets; /* --set [NAME=]PATH: the user's own */
  const char *data, *out, *preset, *template, *reference;
  int64_t base, increment;
  int print_preset, as_published, json, quiet;
} mc_cil_options;

typedef struct mc_cil_plan {
  mc_cil_options o; /* with the preset's settings */
  char name[64], set[64], order_name[64], template[512];
  int *
      order; /* [n_order] labels in order of learning, from the preset or a file; NULL: by order_name, or as they are */
  size_t n_order;
} mc_cil_plan;

/* The exit code; a message was printed when it is not 0. Clear the plan in every case. */
int mc_cil_plan_make(const mc_args *args, mc_cil_plan *out);
void mc_cil_plan_clear(mc_cil_plan *plan);
json_t *mc_cil_plan_json(const mc_cil_plan *plan);

int mc_cil_run(const mc_args *args);

/*
 * What results.json holds: {"format": "moeclip cil 1", "run": {...}, "zero_shot": accuracy, "steps": [{"classes":
 * [names], "accuracy", "n", "right", "by_step": [[right, n], ...], "learned": {...}}], "measures": {"average", "last",
 * "forgetting", ...}}.
 */
/* *root: what the file says, when it is of the same run (taken over), else nothing measured yet; without steps beyond the n_learned that the
 * state knows, which belong to a state that is gone. json_decref it in every case. */
moeclip_code mc_cil_results_open(const char *path, json_t *run, size_t n_learned, json_t **root, moeclip_error *err);
size_t mc_cil_results_steps(const json_t *root);
/* What learning took of a step that is not measured yet; then the measured step, taken over, which that is added to. */
moeclip_code mc_cil_results_learned(json_t **root, int step, const moeclip_learn_report *report, moeclip_error *err);
moeclip_code mc_cil_results_add(json_t *root, json_t *measured, moeclip_error *err);
/* The measures of the steps so far, into root. */
moeclip_code mc_cil_summarise(json_t *root, moeclip_error *err);
/* results.csv, table.txt and report.html. */
moeclip_code mc_cil_report(const json_t *root, const char *preset, const char *folder, moeclip_error *err);

#endif
