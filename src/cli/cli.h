/* What the commands share: starting, signals, progress, files of names, data sets. */
#ifndef MC_CLI_CLI_H
#define MC_CLI_CLI_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>

#include "base/status.h"
#include "cli/args.h"
#include "cli/ranks.h"
#include "moeclip/dataset.h"
#include "moeclip/learner.h"
#include "report/report.h"

/* The commands, in the order of the help. */
extern const mc_command *const mc_commands[];
extern const size_t mc_n_commands;
extern const mc_command mc_command_learn, mc_command_eval, mc_command_classify, mc_command_pretrain, mc_command_info,
    mc_command_convert, mc_command_data, mc_command_serve, mc_command_index, mc_command_search,
    mc_command_bench_mtil, mc_command_bench_xtail, mc_command_bench_cil, mc_command_bench_compare, mc_command_prune;

int mc_cli_main(int argc, char **argv);

/* "moeclip: MESSAGE" on stderr; returns the exit code that belongs to the error. */
int mc_report(const moeclip_error *err);

/* --- progress.c --------------------------------------------------------------------------------------------------- */

typedef struct mc_progress {
  bool quiet, terminal;
  bool line;             /* an unfinished line stands on the terminal */
  char phase[32], task[128];
  int64_t first_step, last_step;
  double last_shown;     /* when, in seconds of a clock that only goes forward */
  int64_t n_broken;
} mc_progress;

/* Callbacks that show the progress on stderr and stop when a signal came. p must outlive them. */
moeclip_callbacks mc_progress_begin(mc_progress *p, bool quiet);
/* Ends the line that is being redrawn; before anything else is printed. */
void mc_progress_end(mc_progress *p);
/* One line, without its end, at most n_out - 1 bytes: exposed for the tests. bar: draw one. */
void mc_progress_text(const moeclip_progress *now, int64_t first_step, bool bar, char *out, size_t n_out);

/* SIGINT and SIGTERM ask to stop; a second one stops at once. */
void mc_catch_signals(void);
/* The signal that came, or 0. */
int mc_stop_signal(void);
void mc_set_stop_signal(int number); /* that another process was sent */

/* --- inputs.c ----------------------------------------------------------------------------------------------------- */

/* Lines of a file, without empty ones, that a NULL-ended `items` points into. */
typedef struct mc_lines {
  char *text;
  const char **items;
  size_t n;
} mc_lines;
moeclip_code mc_lines_read(const char *path, mc_lines *out, moeclip_error *err);
void mc_lines_clear(mc_lines *l);

/* "NAME=PATH" or "PATH". name is NULL for the latter; else n_name characters of it count. */
typedef struct mc_named_path {
  const char *name, *path;
  size_t n_name;
} mc_named_path;
mc_named_path mc_named_path_of(const char *argument);

/* Prompt templates from --template and --templates, for one data set or for all. */
typedef struct mc_prompts {
  mc_lines *files;       /* [n_files] */
  const char **items;    /* [n] */
  size_t n, n_files;
} mc_prompts;
/* name: the data set's; NULL takes only what is meant for all. n is 0 when none are given. */
moeclip_code mc_prompts_collect(const mc_list *texts, const mc_list *files, const char *name, mc_prompts *out,
                                moeclip_error *err);
void mc_prompts_clear(mc_prompts *p);

/* How pictures are taken from data sets; the same for all of a command line. */
typedef struct mc_data_choice {
  mc_list classes; /* FILE or NAME=FILE */
  int64_t max_train, max_test;
  double train_fraction;
  int split_seed;
  uint64_t seed;
} mc_data_choice;
void mc_data_choice_defaults(mc_data_choice *c);
moeclip_code mc_dataset_open_named(const char *argument, const mc_data_choice *choice, moeclip_dataset **out,
                                   moeclip_error *err);

/* One of the benchmarks' sets below root; of the choice, the limits and the seed. */
moeclip_code mc_benchmark_open_chosen(const char *root, const char *set, const mc_data_choice *choice,
                                      moeclip_dataset **out, moeclip_error *err);

/* "auto", "none", a task's name or its number. */
moeclip_code mc_task_by_name(const moeclip_learner *learner, const char *text, int *out, moeclip_error *err);

/* What eval and classify work with: the model, and the learner of a state, or a new one that knows nothing. */
typedef struct mc_model_choice {
  const char *model, *state, *alexnet;
  int n_threads;
  int activation, precision;
} mc_model_choice;
moeclip_code mc_open_model(const mc_model_choice *choice, moeclip_model **out, moeclip_error *err);
/* A learner that never learns, with the smallest adapters there are: the untouched CLIP. */
moeclip_code mc_untouched_learner(moeclip_model *model, moeclip_learner **out, moeclip_error *err);
moeclip_code mc_open_learner(const mc_model_choice *choice, moeclip_model **model, moeclip_learner **learner,
                             moeclip_error *err);

#endif
