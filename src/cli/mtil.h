/* `moeclip bench mtil` and `moeclip bench xtail`: the multi-domain benchmark's settings (mtil_options.c), running it (mtil.c),
 * released checkpoints (mtil_released.c), its report (mtil_report.c). */
#ifndef MC_CLI_MTIL_H
#define MC_CLI_MTIL_H

#include "cli/session.h"

enum { MC_MTIL_MOST_SETS = 32 };

typedef struct mc_mtil_options {
  mc_learn_options learn; /* what a session needs; filled from the preset where nothing was given */
  mc_list own;            /* --set [NAME=]PATH: the user's own, in place of the preset's */
  const char *data, *out, *preset, *sets, *reference, *checkpoints;
  double rate; /* --lr: NaN when not given */
  int print_preset, as_published, eval_only;
} mc_mtil_options;

typedef struct mc_mtil_set {
  char name[64];
  const char *own; /* the argument of --set; NULL: one of the benchmark's */
  double rate;
} mc_mtil_set;

typedef struct mc_mtil_plan {
  mc_mtil_options o; /* with the preset's settings */
  char preset_name[64];
  mc_mtil_set sets[MC_MTIL_MOST_SETS];
  size_t n_sets;
  mc_mtil_set all[MC_MTIL_MOST_SETS]; /* of the preset, also those that --sets left out: a released checkpoint's routers
                                         are in this order */
  size_t n_all;
  bool across;        /* X-TAIL: `bench xtail` */
  char reference[64]; /* the preset's reference set; empty: none */
} mc_mtil_plan;

/* From the command line and the preset that it names (a built-in one's name, or a file). The exit code; a message was
 * printed when it is not 0. */
int mc_mtil_plan_make(const mc_args *args, mc_mtil_plan *out);
/* The plan as a preset file. */
json_t *mc_mtil_plan_json(const mc_mtil_plan *plan);
json_t *mc_mtil_settings_json(const mc_mtil_plan *plan);

int mc_mtil_run(const mc_args *args);

/* Opens set i of the plan below --data, with its published prompts. */
moeclip_code mc_mtil_open_set(const mc_mtil_plan *plan, size_t i, uint64_t seed, mc_domain *out, moeclip_error *err);

/* --checkpoints DIR --eval-only: the matrix of the released checkpoints. Fills results (format of results.h). */
moeclip_code mc_mtil_evaluate_released(const mc_args *args, const mc_mtil_plan *plan, mc_progress *progress,
                                       const moeclip_callbacks *callbacks, mc_results *results, moeclip_error *err);

/* results.csv, table.txt and report.html beside matrix.json, from what that file holds. */
moeclip_code mc_mtil_report(const json_t *matrix, const mc_mtil_plan *plan, const char *folder, moeclip_error *err);

#endif
