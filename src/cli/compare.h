/* `moeclip bench compare`: its options (compare_options.c), running `learn` once for each method, order and seed (compare.c;
 * the command lines: compare_command.c), what a run's folder tells (compare_files.c), and what comes of them in one table and one picture (compare_report.c). */
#ifndef MC_CLI_COMPARE_H
#define MC_CLI_COMPARE_H

#include "cli/cli.h"

typedef struct mc_compare_options {
  const char *model, *out, *methods, *reference;
  int orders; /* 0: as given; 1: and reversed */
  int seeds, quiet, json;
  mc_list rates, with; /* [METHOD=]X; METHOD=WORDS */
  /* Handed to `learn` as they are, where they were given. */
  mc_list heldout, templates, template_files, classes;
  int64_t shots, max_train, max_test, iterations, warmup;
  int batch, threads, precision;
  double smoothing, weight_decay;
} mc_compare_options;

/* One run of `learn`, and what came of it. */
typedef struct mc_compare_run {
  const char *method;
  bool reversed;
  int seed;
  char *folder;                    /* OUT/METHOD-ORDER-SEED */
  double zero_shot, transfer, average, last; /* 0 to 1; NaN: there is none */
  double no_labels;                /* the last, where nothing tells whose classes a picture has (`eval --no-labels`) */
  double heldout, heldout_before;  /* mean over the sets that are never learned, after the last task and before the first; NaN: no set */
  double trained;                  /* numbers, mean over the tasks */
  double seconds;                  /* a task, mean */
  double peak;                     /* bytes */
  json_t *inputs;                  /* of its matrix.json, or NULL */
} mc_compare_run;

int mc_compare_run_all(const mc_args *args);

/* Words of a command line. Zeroed: none. */
typedef struct mc_words {
  char **items; /* [n], NULL-ended */
  size_t n;
  bool failed; /* memory was short */
} mc_words;
void mc_words_clear(mc_words *w);
/* Without the program's name and what only says how to show progress; NULL when memory is short. */
json_t *mc_words_json(const mc_words *w);
/* Is "[METHOD=]VALUE" of this method, or (all_too) of all? *value: what follows. */
bool mc_compare_is_for(const char *text, const char *method, bool all_too, const char **value);
/* To be cleared in every case. */
moeclip_code mc_compare_learn_words(const mc_args *args, const mc_compare_run *run, mc_words *w, moeclip_error *err);
moeclip_code mc_compare_eval_words(const mc_words *learn, mc_words *w, moeclip_error *err);

#define MC_COMPARE_NO_LABELS "no-labels.json"
#define MC_COMPARE_MOST_BYTES ((size_t)64 << 20)

/* Was the run of this folder begun with this command (an array of words)? One of another command is refused. *done: it is at its end;
 * *peak: bytes so far. */
moeclip_code mc_compare_begin(const char *folder, const json_t *command, bool *done, double *peak, moeclip_error *err);
moeclip_code mc_compare_note(const char *folder, json_t *command, bool done, double peak, moeclip_error *err);
/* What came of a run that is done, from its matrix.json: zero_shot to seconds but for no_labels, and inputs. */
moeclip_code mc_compare_gather(mc_compare_run *run, size_t n_tasks, moeclip_error *err);
/* And no_labels, from what `eval --json` printed: an object a line for each task. */
moeclip_code mc_compare_gather_no_labels(mc_compare_run *run, size_t n_tasks, moeclip_error *err);

/* compare.txt, compare.json and compare.svg in the folder; *text (to be freed): what the first holds. runs: all of one method stand
 * together. */
moeclip_code mc_compare_report(const mc_compare_run *runs, size_t n, json_t *provenance, const char *folder, char **text, json_t **json,
                               moeclip_error *err);

#endif
