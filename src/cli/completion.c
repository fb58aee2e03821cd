/* Completion in bash, zsh and fish, from the tables that the parser and --help read. */
#include <string.h>

#include "cli/cli.h"
#include "cli/documents.h"

/* --- what is told of an option ------------------------------------------------------------------------------------ */

/* What the value of an option is completed with. */
typedef enum value_kind { NO_VALUE, ANY_VALUE, WORDS, FILES, FOLDERS } value_kind;

static value_kind value_of(const mc_option *o) {
  if (o->kind == MC_OPT_FLAG) return NO_VALUE;
  if (o->kind == MC_OPT_CHOICE) return WORDS;
  if (strstr(o->argument, "FILE") || strstr(o->argument, "PATH")) return FILES;
  if (strstr(o->argument, "FOLDER") || strstr(o->argument, "DIR")) return FOLDERS;
  return ANY_VALUE;
}

/* The help up to where the details begin. */
static size_t short_help(const char *help) {
  size_t n = strcspn(help, ":;(");
  const char *stop = strstr(help, ". ");
  if (stop && (size_t)(stop - help) < n) n = (size_t)(stop - help);
  while (n > 0 && strchr(" ,.", help[n - 1])) n--;
  return n;
}

/* "a|b|c" with spaces. */
static void put_choices(FILE *f, const char *choices) {
  for (; *choices; choices++) fputc(*choices == '|' ? ' ' : *choices, f);
}

/* --- commands of two words, "bench mtil" -------------------------------------------------------------------------- */

static size_t first_word(const mc_command *c) { return strcspn(c->name, " "); }

/* Whether an earlier command begins with the same word. */
static bool seen_before(size_t at) {
  size_t n = first_word(mc_commands[at]);
  for (size_t i = 0; i < at; i++) {
    if (first_word(mc_commands[i]) == n && memcmp(mc_commands[i]->name, mc_commands[at]->name, n) == 0) return true;
  }
  return false;
}

/* Calls `put` with the second words of all commands that begin as number `at` does. */
static void each_kind(FILE *f, size_t at, void (*put)(FILE *f, const char *word, const mc_command *c)) {
  size_t n = first_word(mc_commands[at]);
  for (size_t i = at; i < mc_n_commands; i++) {
    const char *name = mc_commands[i]->name;
    if (strncmp(name, mc_commands[at]->name, n) == 0 && name[n] == ' ') put(f, name + n + 1, mc_commands[i]);
  }
}

static void put_bare(FILE *f, const char *word, const mc_command *c) {
  (void)c;
  fprintf(f, "%s ", word);
}

/* --- bash --------------------------------------------------------------------------------------------------------- */

/* All options of a command whose values are of one kind, as a pattern of `case`. */
static void put_bash_kind(FILE *f, const mc_command *c, value_kind kind, const char *name) {
  const char *bar = "        ";
  for (size_t i = 0; i < c->n_options; i++) {
    const mc_option *o = &c->options[i];
    if (o->kind == MC_OPT_HEADING || value_of(o) != kind) continue;
    fprintf(f, "%s--%s", bar, o->name);
    bar = " | ";
  }
  if (bar[0] == ' ' && bar[1] == '|') fprintf(f, ") kind=%s ;;\n", name);
}

static void put_bash_command(FILE *f, const mc_command *c) {
  fprintf(f, "    \"%s\")\n      options=\"", c->name);
  for (size_t i = 0; i < c->n_options; i++) {
    if (c->options[i].kind != MC_OPT_HEADING) fprintf(f, "--%s ", c->options[i].name);
  }
  fputs("--help\"\n      case $previous in\n", f);
  for (size_t i = 0; i < c->n_options; i++) {
    const mc_option *o = &c->options[i];
    if (o->kind != MC_OPT_CHOICE) continue;
    fprintf(f, "        --%s) kind=words words=\"", o->name);
    put_choices(f, o->choices);
    fputs("\" ;;\n", f);
  }
  put_bash_kind(f, c, FILES, "files");
  put_bash_kind(f, c, FOLDERS, "folders");
  put_bash_kind(f, c, ANY_VALUE, "nothing");
  fputs("      esac ;;\n", f);
}

static void put_bash(FILE *f) {
  fputs("# What completes moeclip's options in bash; written by: moeclip help --completion bash\n"
        "_moeclip() {\n"
        "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
        "  local kind= words= options= place=$COMP_CWORD\n"
        "  # --name=value comes as three words.\n"
        "  if [[ $current == = ]]; then\n"
        "    current=\n"
        "  elif [[ $previous == = ]]; then\n"
        "    previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
        "  fi\n"
        "  if [[ $command == help && $place -ge 2 ]]; then\n"
        "    command=${COMP_WORDS[2]}\n"
        "    place=$((place - 1))\n"
        "    case $previous in\n"
        "      --completion) kind=words words=\"bash zsh fish\" ;;\n"
        "      --list) kind=nothing ;;\n"
        "      --man) place=1 ;;\n"
        "    esac\n"
        "  fi\n"
        "  if ((place == 1)) && [[ -z $kind ]]; then\n"
        "    kind=words words=\"", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    if (!seen_before(i)) fprintf(f, "%.*s ", (int)first_word(mc_commands[i]), mc_commands[i]->name);
  }
  fputs("\"\n    if ((COMP_CWORD == 1)); then\n      words+=\"help --help --version\"\n"
        "    elif [[ $previous == help ]]; then\n      words+=\"--man --completion --list\"\n    fi\n  fi\n"
        "  case $command in\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    size_t n = first_word(mc_commands[i]);
    if (!mc_commands[i]->name[n] || seen_before(i)) continue;
    fprintf(f, "    %.*s)\n      if ((place == 2)); then\n        kind=words words=\"", (int)n, mc_commands[i]->name);
    each_kind(f, i, put_bare);
    fprintf(f, "\"\n      fi\n      command+=\" ${COMP_WORDS[2]}\" ;;\n");
  }
  fputs("  esac\n  [[ -n $kind || ${COMP_WORDS[1]} == help ]] || case $command in\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) put_bash_command(f, mc_commands[i]);
  fputs("  esac\n"
        "  if [[ -z $kind && $current == -* ]]; then\n"
        "    kind=words words=$options\n"
        "  fi\n"
        "  COMPREPLY=()\n"
        "  case ${kind:-files} in\n"
        "    words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\") ;;\n"
        "    folders) mapfile -t COMPREPLY < <(compgen -d -- \"$current\") ;;\n"
        "    files) mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n"
        "  esac\n"
        "}\n"
        "complete -o filenames -F _moeclip moeclip\n", f);
}

/* --- zsh ---------------------------------------------------------------------------------------------------------- */

/* Inside single quotes, in a place where brackets and colons mean something. */
static void put_zsh_text(FILE *f, const char *text, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '\'') {
      fputs("'\\''", f);
    } else {
      if (strchr("[]:\\", text[i])) fputc('\\', f);
      fputc(text[i], f);
    }
  }
}

static void put_zsh_option(FILE *f, const mc_option *o) {
  fprintf(f, " \\\n        '%s--%s%s[", o->kind == MC_OPT_LIST ? "*" : "", o->name, o->kind == MC_OPT_FLAG ? "" : "=");
  put_zsh_text(f, o->help, short_help(o->help));
  fputc(']', f);
  if (o->kind != MC_OPT_FLAG) {
    fputc(':', f);
    put_zsh_text(f, o->argument, strlen(o->argument));
    fputc(':', f);
  }
  switch (value_of(o)) {
    case FILES: fputs("_files", f); break;
    case FOLDERS: fputs("_files -/", f); break;
    case WORDS:
      fputc('(', f);
      put_choices(f, o->choices);
      fputc(')', f);
      break;
    default: break;
  }
  fputc('\'', f);
}

static void put_zsh_word(FILE *f, const char *word, const mc_command *c) {
  fprintf(f, "        '%s:", word);
  put_zsh_text(f, c->summary, strlen(c->summary));
  fputs("'\n", f);
}

static void put_zsh(FILE *f) {
  fputs("#compdef moeclip\n"
        "# What completes moeclip's options in zsh; written by: moeclip help --completion zsh\n"
        "_moeclip() {\n"
        "  local command=$words[2]\n"
        "  local -a names\n"
        "  if ((CURRENT == 2)) || [[ $command == help && CURRENT -eq 3 ]]; then\n"
        "    names=(\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    if (seen_before(i)) continue;
    size_t n = first_word(mc_commands[i]);
    bool many = mc_commands[i]->name[n] != 0;
    const char *summary = many ? "one of several; each has its own help" : mc_commands[i]->summary;
    fprintf(f, "      '%.*s:", (int)n, mc_commands[i]->name);
    put_zsh_text(f, summary, strlen(summary));
    fputs("'\n", f);
  }
  fputs("      'help:what a command does'\n    )\n    _describe command names\n    return\n  fi\n  case $command in\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    size_t n = first_word(mc_commands[i]);
    if (!mc_commands[i]->name[n] || seen_before(i)) continue;
    fprintf(f, "    %.*s)\n      if ((CURRENT == 3)); then\n        names=(\n", (int)n, mc_commands[i]->name);
    each_kind(f, i, put_zsh_word);
    fputs("        )\n        _describe kind names\n        return\n      fi\n      command+=\" $words[3]\"\n"
          "      shift words\n      ((CURRENT--)) ;;\n", f);
  }
  fputs("  esac\n  shift words\n  ((CURRENT--))\n  case $command in\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    const mc_command *c = mc_commands[i];
    fprintf(f, "    '%s')\n      _arguments", c->name);
    for (size_t k = 0; k < c->n_options; k++) {
      if (c->options[k].kind != MC_OPT_HEADING) put_zsh_option(f, &c->options[k]);
    }
    fputs(" \\\n        '--help[the help as text]'", f);
    if (c->max_positional > 0) fputs(" \\\n        '*:argument:_files'", f);
    fputs(" ;;\n", f);
  }
  /* Loaded by compinit, the file is the function's first call; sourced, it only makes the function known. */
  fputs("  esac\n}\nif [[ $funcstack[1] == _moeclip ]]; then\n  _moeclip \"$@\"\nelse\n  compdef _moeclip moeclip\nfi\n", f);
}

/* --- fish --------------------------------------------------------------------------------------------------------- */

static void put_fish_text(FILE *f, const char *text, size_t n) {
  fputc('\'', f);
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '\'' || text[i] == '\\') fputc('\\', f);
    fputc(text[i], f);
  }
  fputc('\'', f);
}

static void put_fish_word(FILE *f, const char *word, const mc_command *c) {
  fprintf(f, "complete -c moeclip -n '__moeclip_only %.*s' -f -a %s -d ", (int)first_word(c), c->name, word);
  put_fish_text(f, c->summary, strlen(c->summary));
  fputc('\n', f);
}

static void put_fish_option(FILE *f, const mc_command *c, const mc_option *o) {
  fprintf(f, "complete -c moeclip -n '__moeclip_begins %s' -l %s ", c->name, o->name);
  switch (value_of(o)) {
    case NO_VALUE: break;
    case ANY_VALUE: fputs("-x ", f); break;
    case WORDS:
      fputs("-x -a '", f);
      put_choices(f, o->choices);
      fputs("' ", f);
      break;
    case FILES: fputs("-r -F ", f); break;
    case FOLDERS: fputs("-x -a '(__fish_complete_directories)' ", f); break;
  }
  fputs("-d ", f);
  put_fish_text(f, o->help, short_help(o->help));
  fputc('\n', f);
}

static void put_fish(FILE *f) {
  fputs("# What completes moeclip's options in fish; written by: moeclip help --completion fish\n"
        "function __moeclip_begins -d 'the command line begins with these words'\n"
        "    set -l words (commandline -opc)\n"
        "    test (count $words) -gt (count $argv); or return 1\n"
        "    test (count $argv) -eq 0; and return 0\n"
        "    for i in (seq (count $argv))\n"
        "        test $words[(math $i + 1)] = $argv[$i]; or return 1\n"
        "    end\n"
        "end\n"
        "function __moeclip_only -d 'the command line is these words so far'\n"
        "    test (count (commandline -opc)) -eq (math (count $argv) + 1); and __moeclip_begins $argv\n"
        "end\n"
        "complete -c moeclip -n __moeclip_only -f -l version -d 'the versions of moeclip and its libraries'\n"
        "complete -c moeclip -n __moeclip_only -f -l help -d 'the commands'\n"
        "complete -c moeclip -n __moeclip_only -f -a help -d 'what a command does'\n"
        "complete -c moeclip -n '__moeclip_only help' -f -l man -d 'a manual page'\n"
        "complete -c moeclip -n '__moeclip_begins help' -x -l completion -a 'bash zsh fish' -d 'for a shell'\n"
        "complete -c moeclip -n '__moeclip_only help' -f -l list -d 'the commands alone'\n", f);
  for (size_t i = 0; i < mc_n_commands; i++) {
    const mc_command *c = mc_commands[i];
    size_t n = first_word(c);
    if (!seen_before(i)) {
      fprintf(f, "complete -c moeclip -n '__moeclip_only; or __moeclip_only help' -f -a %.*s -d ", (int)n, c->name);
      const char *summary = c->name[n] ? "one of several; each has its own help" : c->summary;
      put_fish_text(f, summary, strlen(summary));
      fputc('\n', f);
      each_kind(f, i, put_fish_word);
    }
    for (size_t k = 0; k < c->n_options; k++) {
      if (c->options[k].kind != MC_OPT_HEADING) put_fish_option(f, c, &c->options[k]);
    }
    fprintf(f, "complete -c moeclip -n '__moeclip_begins %s' -l help -d 'the help as text'\n", c->name);
  }
}

int mc_write_completion(FILE *f, const char *shell) {
  if (strcmp(shell, "bash") == 0) {
    put_bash(f);
  } else if (strcmp(shell, "zsh") == 0) {
    put_zsh(f);
  } else if (strcmp(shell, "fish") == 0) {
    put_fish(f);
  } else {
    return mc_usage_error(NULL, "no completion for \"%s\"; there is one for bash, zsh and fish", shell);
  }
  return MC_EXIT_OK;
}
