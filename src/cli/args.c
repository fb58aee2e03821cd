#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/report.h"

int mc_usage_error(const mc_command *command, const char *format, ...) {
  va_list args;
  if (!mc_is_writer()) return MC_EXIT_USAGE; /* every process has the same command line: one says it */
  fprintf(stderr, "moeclip: ");
  if (command) fprintf(stderr, "%s: ", command->name);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  return MC_EXIT_USAGE;
}

/* --- the nearest word --------------------------------------------------------------------------------------------- */

/* How many letters must be put in, taken out, changed or swapped with their neighbour to make b of a. */
static size_t distance(const char *a, const char *b) {
  enum { LONGEST = 63 };
  size_t rows[3][LONGEST + 1], n = strlen(a), m = strlen(b);
  size_t *before = rows[0], *last = rows[1], *now = rows[2];
  if (n > LONGEST || m > LONGEST) return SIZE_MAX;
  for (size_t j = 0; j <= m; j++) last[j] = before[j] = j;
  for (size_t i = 1; i <= n; i++) {
    now[0] = i;
    for (size_t j = 1; j <= m; j++) {
      size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) {
        best = before[j - 2] + 1;
      }
      now[j] = best;
    }
    size_t *spare = before;
    before = last;
    last = now;
    now = spare;
  }
  return last[m];
}

const char *mc_nearest(const char *word, const char *const *candidates, size_t n) {
  const char *best = NULL;
  size_t n_word = strlen(word), least = n_word / 3 + 1;
  for (size_t i = 0; i < n; i++) {
    size_t d = distance(word, candidates[i]);
    if (d < least || (d == least && !best)) {
      best = candidates[i];
      least = d;
    }
  }
  /* Else a word that was begun, or its end: "iter" or "layer". */
  for (size_t i = 0; !best && n_word >= 3 && i < n; i++) {
    if (strstr(candidates[i], word)) best = candidates[i]; /* NOLINT(clang-analyzer-*): none is NULL */
  }
  return best;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

int mc_parse_long(const char *s, int64_t *out) {
  char *end;
  errno = 0;
  long long v = strtoll(s, &end, 10);
  if (end == s || *end || errno || s[strspn(s, "+-0123456789")]) return 0;
  *out = v;
  return 1;
}

int mc_parse_real(const char *s, double *out) {
  char *end;
  double v = strtod(s, &end);
  /* strtod takes "nan", "inf" and hexadecimal too, which nobody means here. */
  if (end == s || *end || !isfinite(v) || s[strspn(s, "+-.0123456789eE")]) return 0;
  *out = v;
  return 1;
}

static int parse_seed(const char *s, uint64_t *out) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(s, &end, 10);
  if (end == s || *end || errno || s[strspn(s, "0123456789")]) return 0;
  *out = v;
  return 1;
}

static int whole_error(const mc_command *c, const mc_option *o, const char *value) {
  if (o->max >= 9e15) {
    return mc_usage_error(c, "--%s: \"%s\" is not a whole number of at least %.0f", o->name, value, o->min);
  }
  return mc_usage_error(c, "--%s: \"%s\" is not a whole number from %.0f to %.0f", o->name, value, o->min, o->max);
}

static int real_error(const mc_command *c, const mc_option *o, const char *value) {
  if (o->max >= 1e15) return mc_usage_error(c, "--%s: \"%s\" is not a number of at least %g", o->name, value, o->min);
  return mc_usage_error(c, "--%s: \"%s\" is not a number from %g to %g", o->name, value, o->min, o->max);
}

static int choose(const mc_option *o, const char *value) {
  int place = 0;
  size_t n = strlen(value);
  for (const char *at = o->choices; *at; place++) {
    size_t length = strcspn(at, "|");
    if (length == n && n > 0 && memcmp(at, value, n) == 0) return place;
    at += length + (at[length] == '|');
  }
  return -1;
}

static int append(mc_list *list, const char *value) {
  const char **items = mc_realloc(list->items, list->n + 1, sizeof *items);
  if (!items) return 0;
  list->items = items;
  items[list->n++] = value;
  return 1;
}

static int store(const mc_command *c, const mc_option *o, const char *value, void *options) {
  void *field = (char *)options + o->offset;
  int64_t whole;
  double real;
  switch (o->kind) {
    case MC_OPT_HEADING: break;
    case MC_OPT_FLAG: *(int *)field = (int)o->min; break;
    case MC_OPT_INT:
    case MC_OPT_LONG:
    case MC_OPT_MEBI:
      if (!mc_parse_long(value, &whole) || (double)whole < o->min || (double)whole > o->max) {
        return whole_error(c, o, value);
      }
      if (o->kind == MC_OPT_INT) *(int *)field = (int)whole;
      if (o->kind == MC_OPT_LONG) *(int64_t *)field = whole;
      if (o->kind == MC_OPT_MEBI) *(size_t *)field = (size_t)whole << 20;
      break;
    case MC_OPT_SEED:
      if (!parse_seed(value, field)) {
        return mc_usage_error(c, "--%s: \"%s\" is not a whole number from 0 to %" PRIu64, o->name, value, UINT64_MAX);
      }
      break;
    case MC_OPT_REAL:
      if (!mc_parse_real(value, &real) || real < o->min || real > o->max) return real_error(c, o, value);
      *(double *)field = real;
      break;
    case MC_OPT_TEXT:
      if (!*value) return mc_usage_error(c, "--%s: the %s is empty", o->name, o->argument);
      *(const char **)field = value;
      break;
    case MC_OPT_LIST:
      if (!*value) return mc_usage_error(c, "--%s: the %s is empty", o->name, o->argument);
      if (!append(field, value)) return mc_usage_error(c, "out of memory");
      break;
    case MC_OPT_CHOICE:
      if (choose(o, value) < 0) {
        return mc_usage_error(c, "--%s: \"%s\" is none of %s", o->name, value, o->choices);
      }
      *(int *)field = (int)o->min + choose(o, value);
      break;
  }
  return MC_EXIT_OK;
}

/* --- parsing ------------------------------------------------------------------------------------------------------ */

static int unknown_option(const mc_command *c, const char *name, size_t n_name) {
  char *word = mc_strndup(name, n_name);
  const char **names = mc_alloc(c->n_options + 1, sizeof *names);
  size_t n = 0;
  const char *nearest = NULL;
  if (word && names) {
    for (size_t i = 0; i < c->n_options; i++) {
      if (c->options[i].kind != MC_OPT_HEADING) names[n++] = c->options[i].name;
    }
    names[n++] = "help";
    nearest = mc_nearest(word, names, n);
  }
  if (nearest) {
    mc_usage_error(c, "unknown option --%.*s; did you mean --%s?", (int)n_name, name, nearest);
  } else {
    mc_usage_error(c, "unknown option --%.*s; \"moeclip %s --help\" lists them", (int)n_name, name, c->name);
  }
  free(word);
  free(names);
  return MC_EXIT_USAGE;
}

const mc_option *mc_option_find(const mc_command *c, const char *name, size_t n_name) {
  for (size_t i = 0; i < c->n_options; i++) {
    const mc_option *o = &c->options[i];
    if (o->kind != MC_OPT_HEADING && strlen(o->name) == n_name && memcmp(o->name, name, n_name) == 0) return o;
  }
  return NULL;
}

/* argv[*at] is an option; *at moves to its last word. */
static int take_option(mc_args *args, int argc, char **argv, int *at) {
  const mc_command *c = args->command;
  const char *word = argv[*at];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return MC_EXIT_HELP;
  if (word[1] != '-') {
    return mc_usage_error(c, "unknown option %s; options begin with two dashes (a file of that name: ./%s)", word,
                          word);
  }
  const char *name = word + 2, *equals = strchr(name, '=');
  size_t n_name = equals ? (size_t)(equals - name) : strlen(name);
  const mc_option *o = mc_option_find(c, name, n_name);
  const char *value = equals ? equals + 1 : NULL;
  if (!o) return unknown_option(c, name, n_name);
  if (o->kind == MC_OPT_FLAG && value) return mc_usage_error(c, "--%s takes no value", o->name);
  if (o->kind != MC_OPT_FLAG && !value) {
    if (*at + 1 >= argc) return mc_usage_error(c, "--%s needs a value: %s", o->name, o->argument);
    value = argv[++*at];
  }
  unsigned char *given = &args->given[o - c->options];
  if (*given && o->kind != MC_OPT_LIST && o->kind != MC_OPT_FLAG) {
    return mc_usage_error(c, "--%s is given more than once", o->name);
  }
  if (*given < 255) ++*given;
  return store(c, o, value, args->options);
}

static int check_positional(const mc_args *args) {
  const mc_command *c = args->command;
  if (args->n_positional < c->min_positional) {
    return mc_usage_error(c, "%s is missing; \"moeclip %s --help\" explains", c->positional, c->name);
  }
  if (args->n_positional > c->max_positional) {
    return mc_usage_error(c, "\"%s\" is one argument too many; usage: moeclip %s %s",
                          args->positional[c->max_positional], c->name, c->usage);
  }
  return MC_EXIT_OK;
}

int mc_args_parse(const mc_command *command, int argc, char **argv, mc_args *args) {
  *args = (mc_args){.command = command, .options = calloc(1, command->options_size),
                    .positional = mc_alloc((size_t)argc + 1, sizeof *args->positional),
                    .given = calloc(command->n_options + 1, 1)};
  if (!args->options || !args->positional || !args->given) return mc_usage_error(command, "out of memory");
  command->defaults(args->options);
  int only_arguments = 0, code = MC_EXIT_OK;
  for (int i = 0; code == MC_EXIT_OK && i < argc; i++) {
    if (!only_arguments && strcmp(argv[i], "--") == 0) {
      only_arguments = 1;
    } else if (!only_arguments && argv[i][0] == '-' && argv[i][1]) {
      code = take_option(args, argc, argv, &i);
    } else if (!argv[i][0]) {
      code = mc_usage_error(command, "an argument is empty");
    } else {
      args->positional[args->n_positional++] = argv[i];
    }
  }
  return code == MC_EXIT_OK ? check_positional(args) : code;
}

void mc_args_clear(mc_args *args) {
  for (size_t i = 0; args->options && i < args->command->n_options; i++) {
    const mc_option *o = &args->command->options[i];
    if (o->kind == MC_OPT_LIST) free(((mc_list *)(void *)((char *)args->options + o->offset))->items);
  }
  free(args->options);
  free(args->positional);
  free(args->given);
  *args = (mc_args){0};
}

int mc_args_given(const mc_args *args, const char *name) {
  const mc_option *o = mc_option_find(args->command, name, strlen(name));
  return o ? args->given[o - args->command->options] : 0;
}
