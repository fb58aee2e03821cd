/* Manual pages in man(7)'s language, from the tables that the parser and --help read. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/documents.h"
#include "moeclip/version.h"

enum { WIDTH = 78 };

/* One character; roff would read some as commands, or print them as typographer's signs. */
static void put_char(FILE *f, char c, bool verbatim) {
  switch (c) {
    case '\\': fputs("\\e", f); break;
    case '`': fputs("\\(ga", f); break;
    case '^': fputs("\\(ha", f); break;
    case '~': fputs("\\(ti", f); break;
    case '\'': fputs(verbatim ? "\\(aq" : "'", f); break;
    case '-': fputs(verbatim ? "\\-" : "-", f); break;
    default: fputc(c, f);
  }
}

/* A word, or a whole line of an example. In options and examples, a dash is a dash and no hyphen. */
static void put_word(FILE *f, const char *word, size_t n, bool verbatim) {
  for (size_t i = 0; i < n; i++) put_char(f, word[i], verbatim);
}

/* Running text, wrapped; empty lines part paragraphs. */
static void put_text(FILE *f, const char *text) {
  size_t at = 0;
  for (const char *word = text; *word;) {
    size_t n = strcspn(word, " \n");
    if (at > 0 && at + 1 + n > WIDTH) {
      fputc('\n', f);
      at = 0;
    } else if (at > 0 && n > 0) {
      fputc(' ', f);
      at++;
    }
    if (at == 0 && n > 0 && (*word == '.' || *word == '\'')) fputs("\\&", f);
    const char *dash = word + strspn(word, "\"(");
    put_word(f, word, n, *dash == '-' || memchr(word, '/', n));
    at += n;
    word += n;
    if (word[0] == '\n' && word[1] == '\n') {
      fputs("\n.PP\n", f);
      at = 0;
    }
    word += strspn(word, " \n");
  }
  if (at > 0) fputc('\n', f);
}

/* Lines as they are, without the two spaces that examples begin with. */
static void put_examples(FILE *f, const char *text) {
  fputs(".SH EXAMPLES\n.EX\n", f);
  for (const char *line = text; *line;) {
    size_t n = strcspn(line, "\n");
    const char *begin = strncmp(line, "  ", 2) == 0 ? line + 2 : line;
    if (n > 0 && (*begin == '.' || *begin == '\'')) fputs("\\&", f);
    put_word(f, begin, n - (size_t)(begin - line), true);
    fputc('\n', f);
    line += n + (line[n] == '\n');
  }
  fputs(".EE\n", f);
}

/* moeclip-bench-mtil, with what joins the words. */
static void put_page_name(FILE *f, const mc_command *c, const char *dash, bool upper) {
  fprintf(f, "%s", upper ? "MOECLIP" : "moeclip");
  if (c) fputs(dash, f);
  for (const char *at = c ? c->name : ""; *at; at++) {
    if (*at == ' ') {
      fputs(dash, f);
    } else {
      fputc(upper ? toupper((unsigned char)*at) : *at, f);
    }
  }
}

static void put_head(FILE *f, const mc_command *c, const char *summary) {
  fputs(".TH ", f);
  put_page_name(f, c, "-", true);
  fputs(" 1 \"\" \"moeclip " MOECLIP_VERSION "\" \"moeclip\"\n.SH NAME\n", f);
  put_page_name(f, c, "\\-", false);
  fputs(" \\- ", f);
  put_word(f, summary, strlen(summary), false);
  fputs("\n.SH SYNOPSIS\n.B moeclip", f);
  if (c) fprintf(f, " %s", c->name);
  fputc('\n', f);
}

static void put_exit_codes(FILE *f) {
  fputs(".SH EXIT STATUS\n", f);
  for (size_t i = 0; mc_exit_codes[i][0]; i++) {
    fprintf(f, ".TP\n%s\n", mc_exit_codes[i][0]);
    put_text(f, mc_exit_codes[i][1]);
  }
}

/* All pages but the one that this is. */
static void put_see_also(FILE *f, const mc_command *self) {
  const char *comma = "";
  fputs(".SH SEE ALSO\n", f);
  if (self) {
    fputs(".BR moeclip (1)", f);
    comma = ",\n";
  }
  for (size_t i = 0; i < mc_n_commands; i++) {
    if (mc_commands[i] == self) continue;
    fprintf(f, "%s.BR ", comma);
    put_page_name(f, mc_commands[i], "\\-", false);
    fputs(" (1)", f);
    comma = ",\n";
  }
  fputc('\n', f);
}

static void put_option(FILE *f, const mc_option *o, const void *options) {
  if (o->kind == MC_OPT_HEADING) {
    fputs(".SS ", f);
    put_word(f, o->name, strlen(o->name), false);
    fputc('\n', f);
    return;
  }
  fputs(".TP\n\\fB\\-\\-", f);
  put_word(f, o->name, strlen(o->name), true);
  fputs("\\fR", f);
  if (o->argument) {
    fputs(" \\fI", f);
    put_word(f, o->argument, strlen(o->argument), true);
    fputs("\\fR", f);
  }
  fputc('\n', f);
  char *text = mc_option_text(o, options);
  if (text) put_text(f, text);
  free(text);
}

int mc_write_manual(FILE *f, const mc_command *c) {
  void *options = calloc(1, c->options_size);
  if (!options) return mc_usage_error(c, "out of memory");
  c->defaults(options);
  put_head(f, c, c->summary);
  put_word(f, c->usage, strlen(c->usage), true);
  fputs("\n.SH DESCRIPTION\n", f);
  put_text(f, c->about);
  fputs(".SH OPTIONS\n", f);
  put_text(f, "Options may stand before or after the arguments, as --name value or --name=value; -- ends them.");
  for (size_t i = 0; i < c->n_options; i++) put_option(f, &c->options[i], options);
  fputs(".TP\n\\fB\\-\\-help\\fR\nShow this as text.\n", f);
  put_exit_codes(f);
  put_examples(f, c->examples);
  put_see_also(f, c);
  free(options);
  return MC_EXIT_OK;
}

int mc_write_program_manual(FILE *f, const char *examples) {
  put_head(f, NULL, "continual learning of CLIP with mixture-of-experts adapters");
  fputs("\\fICOMMAND\\fR [\\fIoptions\\fR] \\fIarguments\\fR\n.SH DESCRIPTION\n", f);
  put_text(f, "Teaches a pre-trained CLIP model one image domain after another without forgetting the earlier ones and "
              "without losing its zero-shot skill. The answer for a picture of a learned domain comes from small "
              "experts that were trained for it; a picture that fits none is answered by the untouched CLIP.");
  fputs(".SH COMMANDS\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    fputs(".TP\n.BR ", f);
    put_page_name(f, mc_commands[i], "\\-", false);
    fputs(" (1)\n", f);
    put_text(f, mc_commands[i]->summary);
  }
  fputs(".TP\n.B help \\fR[\\fICOMMAND\\fR]\nThe help of a command as text.\n"
        ".TP\n.B help \\-\\-man \\fR[\\fICOMMAND\\fR]\nThe source of its manual page.\n"
        ".TP\n.B help \\-\\-completion \\fISHELL\\fR\nA script that completes commands and options in bash, zsh or fish.\n"
        ".TP\n.B help \\-\\-list\nThe commands, one a line.\n"
        ".SH OPTIONS\n.TP\n.B \\-\\-help\nThe commands, and what they are for.\n"
        ".TP\n.B \\-\\-version\nThe version, those of the libraries below, the processor's instructions that are used, and "
        "the\ncompiler.\n", f);
  put_exit_codes(f);
  put_examples(f, examples);
  put_see_also(f, NULL);
  return MC_EXIT_OK;
}
