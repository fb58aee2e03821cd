#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/documents.h"
#include "moeclip/version.h"

const mc_command *const mc_commands[] = {&mc_command_learn,    &mc_command_eval,       &mc_command_classify,
                                         &mc_command_pretrain, &mc_command_info,       &mc_command_convert,    &mc_command_prune,
                                         &mc_command_data,     &mc_command_serve,      &mc_command_index,
                                         &mc_command_search,   &mc_command_bench_mtil, &mc_command_bench_xtail,
                                         &mc_command_bench_cil,  &mc_command_bench_compare};
const size_t mc_n_commands = sizeof mc_commands / sizeof mc_commands[0];

static const char examples[] =
    "  moeclip pretrain --pairs pictures/ --out clip.safetensors     a small CLIP of your own, or download one\n"
    "  moeclip learn --model clip.safetensors --state s.safetensors digits=mnist/ birds/\n"
    "  moeclip eval --model clip.safetensors --state s.safetensors digits=mnist/ birds/\n"
    "  moeclip classify --model clip.safetensors --state s.safetensors picture.jpg\n"
    "  moeclip index --model clip.safetensors --state s.safetensors --index i.sqlite pictures/\n"
    "  moeclip search --index i.sqlite \"a red car\"\n"
    "  moeclip serve --model clip.safetensors --state s.safetensors     a page at http://127.0.0.1:8080\n";

static void print_overview(FILE *f) {
  fprintf(f, "moeclip " MOECLIP_VERSION
             ": continual learning of CLIP with mixture-of-experts adapters\n\n"
             "Usage: moeclip COMMAND [options] arguments\n\nCommands:\n");
  for (size_t i = 0; i < mc_n_commands; i++) fprintf(f, "  %-10s  %s\n", mc_commands[i]->name, mc_commands[i]->summary);
  fprintf(f, "  %-10s  %s\n", "help", "this text, or that of a command: moeclip help learn");
  fprintf(f, "\nOptions:\n  --help     this text\n  --version  the version, and those of the libraries below\n\n");
  fprintf(f, "Typical use:\n%s\n\"moeclip COMMAND --help\" explains a command.\n", examples);
  fprintf(f, "\"moeclip help --man [COMMAND]\" writes its manual page, \"moeclip help --completion bash\" (zsh, fish)\n"
             "what completes its options in that shell, \"moeclip help --list\" the commands.\n");
}

/* The command that the words name; *used: how many of them (2 for "bench mtil"). */
static const mc_command *find_command(int argc, char **argv, int *used) {
  for (size_t i = 0; i < mc_n_commands; i++) {
    const char *name = mc_commands[i]->name, *space = strchr(name, ' ');
    size_t n = space ? (size_t)(space - name) : strlen(name);
    if (argc < 1 || strlen(argv[0]) != n || memcmp(argv[0], name, n) != 0) continue;
    if (space && (argc < 2 || strcmp(argv[1], space + 1) != 0)) continue;
    *used = space ? 2 : 1;
    return mc_commands[i];
  }
  return NULL;
}

/* "bench" alone, or with a word that is none of its kinds. true: that was it, and *code is set. */
static bool first_word_only(int argc, char **argv, int *code) {
  bool found = false, asked = argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
  for (size_t i = 0; i < mc_n_commands; i++) {
    const char *space = strchr(mc_commands[i]->name, ' ');
    if (!space || strncmp(argv[0], mc_commands[i]->name, strlen(argv[0])) != 0 ||
        mc_commands[i]->name + strlen(argv[0]) != space)
      continue;
    if (asked && !found) puts("One of these; --help after it explains it:");
    if (asked) printf("  moeclip %-10s  %s\n", mc_commands[i]->name, mc_commands[i]->summary);
    found = true;
  }
  if (!found) return false;
  *code = asked && argc >= 2 ? MC_EXIT_OK : MC_EXIT_USAGE;
  if (!asked)
    *code = mc_usage_error(NULL, "unknown kind of %s: \"%s\"; \"moeclip %s\" lists them", argv[0], argv[1], argv[0]);
  return true;
}

static int unknown_command(const char *name) {
  const char *names[24];
  size_t n = 0;
  for (size_t i = 0; i < mc_n_commands && n < 23; i++) names[n++] = mc_commands[i]->name;
  names[n++] = "help";
  const char *nearest = mc_nearest(name, names, n);
  if (nearest) return mc_usage_error(NULL, "unknown command \"%s\"; did you mean \"%s\"?", name, nearest);
  return mc_usage_error(NULL, "unknown command \"%s\"; \"moeclip help\" lists them", name);
}

/* Output that could not be written (a full disk, a closed pipe) must not look like success. */
static int finish_output(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fprintf(stderr, "moeclip: standard output could not be written\n");
  return code == MC_EXIT_OK ? MC_EXIT_FAILURE : code;
}

static int print_help(const mc_command *c) {
  char *text = mc_args_help(c);
  if (!text) return mc_usage_error(c, "out of memory");
  fputs(text, stdout);
  free(text);
  return MC_EXIT_OK;
}

/* "help --man", "help --completion", "help --list". */
static int write_document(int argc, char **argv) {
  int used = 0;
  const mc_command *c = find_command(argc - 1, argv + 1, &used);
  if (strcmp(argv[0], "--man") == 0 && argc == 1) return mc_write_program_manual(stdout, examples);
  if (strcmp(argv[0], "--man") == 0 && c && argc == 1 + used) return mc_write_manual(stdout, c);
  if (strcmp(argv[0], "--man") == 0) return mc_usage_error(NULL, "help --man takes one command; \"moeclip help\" lists them");
  if (strcmp(argv[0], "--completion") == 0 && argc == 2) return mc_write_completion(stdout, argv[1]);
  if (strcmp(argv[0], "--completion") == 0) return mc_usage_error(NULL, "help --completion takes a shell: bash, zsh or fish");
  if (strcmp(argv[0], "--list") != 0 || argc > 1) {
    return mc_usage_error(NULL, "help takes a command, --man [COMMAND], --completion SHELL or --list");
  }
  for (size_t i = 0; i < mc_n_commands; i++) puts(mc_commands[i]->name);
  return MC_EXIT_OK;
}

static int run_help(int argc, char **argv) {
  int used = 0, code;
  if (argc > 0 && argv[0][0] == '-') return write_document(argc, argv);
  const mc_command *c = find_command(argc, argv, &used);
  if (argc > (c ? used : 1)) return mc_usage_error(NULL, "help takes one command; \"moeclip help\" lists them");
  if (c) return print_help(c);
  if (argc == 1 && first_word_only(argc, argv, &code)) return MC_EXIT_OK;
  if (argc == 1 && strcmp(argv[0], "help") != 0) return unknown_command(argv[0]);
  print_overview(stdout);
  return MC_EXIT_OK;
}

static int run_command(const mc_command *c, int argc, char **argv) {
  mc_args args;
  int code = mc_args_parse(c, argc, argv, &args);
  if (code == MC_EXIT_HELP) {
    code = print_help(c);
  } else if (code == MC_EXIT_OK) {
    code = mc_ranks_check(c);
    if (code == MC_EXIT_OK) code = c->run(&args);
    mc_ranks_end(code);
  }
  mc_args_clear(&args);
  return code;
}

int mc_cli_main(int argc, char **argv) {
  if (argc < 2) {
    print_overview(stderr);
    return MC_EXIT_USAGE;
  }
  const char *word = argv[1];
  int code;
  if (strcmp(word, "--version") == 0) {
    mc_write_version(stdout);
    code = MC_EXIT_OK;
  } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    code = run_help(0, NULL);
  } else if (strcmp(word, "help") == 0) {
    code = run_help(argc - 2, argv + 2);
  } else if (word[0] == '-') {
    code = mc_usage_error(NULL, "unknown option %s; a command comes first: \"moeclip help\" lists them", word);
  } else {
    int used = 0;
    const mc_command *c = find_command(argc - 1, argv + 1, &used);
    if (c) {
      code = run_command(c, argc - 1 - used, argv + 1 + used);
    } else if (!first_word_only(argc - 1, argv + 1, &code)) {
      code = unknown_command(word);
    }
  }
  return finish_output(code);
}

int mc_report(const moeclip_error *err) {
  /* What all ranks have agreed on names its rank already, and rank 0 says it. */
  bool alone = !mc_ranks() || moeclip_comm_failed(mc_ranks());
  if (!alone) {
    fprintf(stderr, "moeclip: rank %d: %s\n", moeclip_comm_rank(mc_ranks()), err->message);
  } else if (mc_is_writer()) {
    fprintf(stderr, "moeclip: %s\n", err->message);
  }
  return MC_EXIT_FAILURE;
}
