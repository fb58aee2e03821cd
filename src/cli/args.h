/*
 * cli/: the command line. Stands on the public headers and base/ alone; nothing includes it.
 *
 * This header: options. One table per command, from which both the parser and --help come, so that they cannot drift:
 * where a value goes, its range, its default (read from the options after the command's defaults were set).
 */
#ifndef MC_CLI_ARGS_H
#define MC_CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>

typedef enum mc_option_kind {
  MC_OPT_HEADING, /* no option: `name` is a heading in the help */
  MC_OPT_FLAG,    /* int: becomes `min` when given, which is 1 or 0 */
  MC_OPT_INT,     /* int */
  MC_OPT_LONG,    /* int64_t */
  MC_OPT_SEED,    /* uint64_t */
  MC_OPT_REAL,    /* double */
  MC_OPT_MEBI,    /* size_t in bytes, given in MiB */
  MC_OPT_TEXT,    /* const char * */
  MC_OPT_LIST,    /* mc_list: may be given again and again */
  MC_OPT_CHOICE   /* int: min + the place of the word in `choices` ("moe|finetune") */
} mc_option_kind;

typedef struct mc_list {
  const char **items; /* point into argv */
  size_t n;
} mc_list;

typedef struct mc_option {
  mc_option_kind kind;
  const char *name;     /* without the dashes */
  const char *argument; /* what stands for the value in the help, with its unit; NULL for flags */
  const char *help;
  size_t offset;        /* of the field in the command's options */
  double min, max;      /* of a number: both are allowed */
  const char *choices;
  const char *fallback; /* the default in words, where the field's own value would not tell; "": do not show one */
} mc_option;

/* Of the option that every command with a model has. */
#define MC_PRECISION_HELP \
  "of the towers' matrix products; auto: MOECLIP_PRECISION in the environment, else bfloat16 where the processor has AMX"

typedef struct mc_command mc_command;

typedef struct mc_args {
  const mc_command *command;
  void *options;           /* of options_size bytes: defaults, then what was given */
  const char **positional; /* [n_positional] */
  size_t n_positional;
  unsigned char *given;    /* [n_options] how often each was given, at most 255 */
} mc_args;

struct mc_command {
  const char *name, *summary;
  const char *usage;    /* what follows "moeclip NAME" */
  const char *about;    /* paragraphs, split by newlines */
  const char *examples; /* lines as they are */
  const mc_option *options;
  size_t n_options, options_size;
  void (*defaults)(void *options);
  size_t min_positional, max_positional;
  const char *positional; /* what is missing or too much, in words: "a DOMAIN" */
  int (*run)(const mc_args *args);
  int shared; /* 1: several processes that mpirun has started can share its work */
};

/* Exit codes. */
enum { MC_EXIT_OK = 0, MC_EXIT_FAILURE = 1, MC_EXIT_USAGE = 2, MC_EXIT_HELP = -1 };

/* argv begins after the command's name. MC_EXIT_OK; MC_EXIT_USAGE after a message on stderr; MC_EXIT_HELP when --help
 * was asked for (nothing printed yet). Clear *args in every case. */
int mc_args_parse(const mc_command *command, int argc, char **argv, mc_args *args);
void mc_args_clear(mc_args *args);
int mc_args_given(const mc_args *args, const char *name);
/* By the n_name characters of its name; NULL: the command has no such option. */
const mc_option *mc_option_find(const mc_command *c, const char *name, size_t n_name);

/* The command's help into a string that the caller frees; NULL when memory is short. */
char *mc_args_help(const mc_command *command);

/* The candidate that `word` was most probably meant to be, or NULL when none is near. */
const char *mc_nearest(const char *word, const char *const *candidates, size_t n);

/* "moeclip: COMMAND: ..." on stderr; returns MC_EXIT_USAGE. command may be NULL. */
int mc_usage_error(const mc_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whole strings as numbers: 0 when it is none, or not finite. */
int mc_parse_long(const char *s, int64_t *out);
int mc_parse_real(const char *s, double *out);

#endif
