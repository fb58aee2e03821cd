/* --help, from the same tables that the parser reads. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/documents.h"

enum { WIDTH = 80, INDENT = 28 };

/* Prints text wrapped at WIDTH, its lines after the first indented; `at` is the column where it begins. */
static void wrap(FILE *f, const char *text, int at, int indent) {
  int gap = 0; /* spaces that are due before the next word, if that stays on the line */
  for (const char *word = text; *word;) {
    int n = (int)strcspn(word, " \n");
    if (at + gap + n > WIDTH && at > indent) {
      fprintf(f, "\n%*s", indent, "");
      at = indent;
      gap = 0;
    }
    fprintf(f, "%*s%.*s", gap, "", n, word);
    at += gap + n;
    gap = 0;
    for (word += n; *word == ' ' || *word == '\n'; word++) {
      gap++;
      if (*word != '\n') continue;
      fprintf(f, "\n%*s", word[1] == '\n' ? 0 : indent, "");
      at = indent;
      gap = 0;
    }
  }
  fputc('\n', f);
}

/* The word at place `place` of "a|b|c". */
static void put_choice(char *out, size_t n_out, const char *choices, int place) {
  for (; place > 0 && *choices; place--) {
    choices += strcspn(choices, "|");
    choices += *choices == '|';
  }
  snprintf(out, n_out, "%.*s", (int)strcspn(choices, "|"), choices);
}

/* The default in words; empty when there is none to tell. */
static void put_default(char *out, size_t n_out, const mc_option *o, const void *options) {
  const void *field = (const char *)options + o->offset;
  out[0] = 0;
  if (o->fallback) {
    snprintf(out, n_out, "%s", o->fallback);
    return;
  }
  switch (o->kind) {
    case MC_OPT_INT: snprintf(out, n_out, "%d", *(const int *)field); break;
    case MC_OPT_LONG: snprintf(out, n_out, "%" PRId64, *(const int64_t *)field); break;
    case MC_OPT_SEED: snprintf(out, n_out, "%" PRIu64, *(const uint64_t *)field); break;
    case MC_OPT_REAL:
      if (!isnan(*(const double *)field)) snprintf(out, n_out, "%g", *(const double *)field);
      break;
    case MC_OPT_MEBI: snprintf(out, n_out, "%zu", *(const size_t *)field >> 20); break;
    case MC_OPT_TEXT:
      if (*(const char *const *)field) snprintf(out, n_out, "%s", *(const char *const *)field);
      break;
    case MC_OPT_CHOICE: put_choice(out, n_out, o->choices, *(const int *)field - (int)o->min); break;
    default: break;
  }
}

static void put_range(char *out, size_t n_out, const mc_option *o) {
  out[0] = 0;
  if (o->kind != MC_OPT_INT && o->kind != MC_OPT_LONG && o->kind != MC_OPT_REAL && o->kind != MC_OPT_MEBI) return;
  if (o->max >= 1e6) {
    snprintf(out, n_out, "at least %g", o->min);
  } else {
    snprintf(out, n_out, "%g to %g", o->min, o->max);
  }
}

char *mc_option_text(const mc_option *o, const void *options) {
  char value[256], range[128];
  put_default(value, sizeof value, o, options);
  put_range(range, sizeof range, o);
  return mc_format("%s%s%s%s%s%s%s", o->help, *range || *value ? " (" : "", range, *range && *value ? "; " : "",
                   *value ? "default: " : "", value, *range || *value ? ")" : "");
}

static void put_option(FILE *f, const mc_option *o, const void *options) {
  if (o->kind == MC_OPT_HEADING) {
    fprintf(f, "\n%s:\n", o->name);
    return;
  }
  int n = fprintf(f, "  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
  if (n >= INDENT - 1) {
    fprintf(f, "\n%*s", INDENT, "");
  } else {
    fprintf(f, "%*s", INDENT - n, "");
  }
  char *text = mc_option_text(o, options);
  if (text) wrap(f, text, INDENT, INDENT);
  free(text);
}

const char *const mc_exit_codes[][2] = {{"0", "all went well"},
                                        {"1", "something failed; one line on standard error says what"},
                                        {"2", "the command line is wrong"},
                                        {"130, 143", "stopped by Ctrl-C (SIGINT) or SIGTERM"},
                                        {NULL, NULL}};

char *mc_args_help(const mc_command *c) {
  char *text = NULL;
  size_t n = 0;
  void *options = calloc(1, c->options_size);
  FILE *f = options ? open_memstream(&text, &n) : NULL;
  if (!f) {
    free(options);
    return NULL;
  }
  c->defaults(options);
  fprintf(f, "moeclip %s: %s\n\nUsage: moeclip %s %s\n\n", c->name, c->summary, c->name, c->usage);
  wrap(f, c->about, 0, 0);
  for (size_t i = 0; i < c->n_options; i++) {
    if (i == 0 && c->options[0].kind != MC_OPT_HEADING) fprintf(f, "\nOptions:\n");
    put_option(f, &c->options[i], options);
  }
  fprintf(f, "  --help%*sthis text\n", INDENT - 8, "");
  fprintf(f, "\nOptions may stand before or after the arguments, as --name value or\n--name=value; -- ends them.\n");
  fprintf(f, "\nExamples:\n%s\nExit codes:\n", c->examples);
  for (size_t i = 0; mc_exit_codes[i][0]; i++) fprintf(f, "  %s  %s\n", mc_exit_codes[i][0], mc_exit_codes[i][1]);
  free(options);
  if (fclose(f) != 0) {
    free(text);
    return NULL;
  }
  return text;
}
