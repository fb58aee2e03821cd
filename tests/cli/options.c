/* Options: one table for help and parser, values and their ranges, the nearest word; the progress line. */
#include "cli/args.h"

#include <stddef.h>

#include "check.h"
#include "cli/cli.h"

typedef struct things {
  int flag, number, choice;
  int64_t many;
  uint64_t seed;
  double real;
  size_t memory;
  const char *text;
  mc_list list;
} things;

#define AT(field) offsetof(things, field)

static const mc_option table[] = {
    {MC_OPT_HEADING, "Things", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_FLAG, "flag", NULL, "a flag", AT(flag), 1, 0, 0, 0},
    {MC_OPT_INT, "number", "N", "a number", AT(number), 1, 10, 0, 0},
    {MC_OPT_CHOICE, "choice", "a|bc|d", "a choice", AT(choice), -1, 0, "a|bc|d", 0},
    {MC_OPT_LONG, "many", "N", "a large number", AT(many), 0, 9e15, 0, 0},
    {MC_OPT_SEED, "seed", "N", "a seed", AT(seed), 0, 0, 0, 0},
    {MC_OPT_REAL, "real", "X", "a real number", AT(real), 0, 1, 0, 0},
    {MC_OPT_MEBI, "memory", "MiB", "memory", AT(memory), 1, 1024, 0, "automatic"},
    {MC_OPT_TEXT, "text", "TEXT", "words that are long enough for more than one line, so that they must be wrapped",
     AT(text), 0, 0, 0, 0},
    {MC_OPT_LIST, "list", "TEXT", "a list", AT(list), 0, 0, 0, 0},
};

static void defaults(void *p) { *(things *)p = (things){.number = 7, .choice = 0, .real = 0.25, .text = "hello"}; }

static const mc_command command = {.name = "test", .summary = "s", .usage = "X", .about = "a", .examples = "",
                                   .options = table, .n_options = sizeof table / sizeof table[0],
                                   .options_size = sizeof(things), .defaults = defaults, .min_positional = 0,
                                   .max_positional = 2, .positional = "a thing"};

/* Parses the words of a line. */
static int parse(const char *line, mc_args *args, char *copy, size_t n_copy) {
  char *words[32];
  int n = 0;
  snprintf(copy, n_copy, "%s", line);
  for (char *word = strtok(copy, " "); word && n < 32; word = strtok(NULL, " ")) words[n++] = word;
  return mc_args_parse(&command, n, words, args);
}

static int code_of(const char *line) {
  mc_args args;
  char copy[256];
  int code = parse(line, &args, copy, sizeof copy);
  mc_args_clear(&args);
  return code;
}

static void test_values(void) {
  mc_args args;
  char copy[256];
  CHECK(parse("one --flag --number=3 --choice bc --many 9000000000 --seed 18446744073709551615 --real 1e-1 "
              "--memory 3 --text x=y --list p --list=q two", &args, copy, sizeof copy) == MC_EXIT_OK);
  const things *t = args.options;
  CHECK(t->flag == 1 && t->number == 3 && t->choice == 0 && t->many == 9000000000 && t->seed == UINT64_MAX);
  CHECK(t->real == 0.1 && t->memory == 3u << 20 && strcmp(t->text, "x=y") == 0);
  CHECK(t->list.n == 2 && strcmp(t->list.items[0], "p") == 0 && strcmp(t->list.items[1], "q") == 0);
  CHECK(args.n_positional == 2 && strcmp(args.positional[1], "two") == 0);
  CHECK(mc_args_given(&args, "list") == 2 && mc_args_given(&args, "number") && !mc_args_given(&args, "nothing"));
  mc_args_clear(&args);
  CHECK(parse("-- --flag -x", &args, copy, sizeof copy) == MC_EXIT_OK);
  t = args.options;
  CHECK(t->flag == 0 && t->number == 7 && args.n_positional == 2 && strcmp(args.positional[0], "--flag") == 0);
  CHECK(!mc_args_given(&args, "number"));
  mc_args_clear(&args);
}

static void test_refused(void) {
  static const char *const lines[] = {"--number",
                                      "--number 0",
                                      "--number 11",
                                      "--number 1.5",
                                      "--number 3x",
                                      "--number 0x3",
                                      "--number=",
                                      "--choice b",
                                      "--choice",
                                      "--choice a|bc",
                                      "--many -1",
                                      "--many 99999999999999999999",
                                      "--seed -1",
                                      "--seed 1e3",
                                      "--seed 18446744073709551616",
                                      "--real nan",
                                      "--real inf",
                                      "--real 0x1",
                                      "--real 1.01",
                                      "--real -0.1",
                                      "--real 1e999",
                                      "--memory 0",
                                      "--memory 1025",
                                      "--flag=1",
                                      "--numbr 3",
                                      "-n",
                                      "a b c",
                                      "--text=",
                                      "--number 1 --number 2"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    CHECK_MSG(code_of(lines[i]) == MC_EXIT_USAGE, "taken: %s", lines[i]);
  }
  CHECK(code_of("--number 99 --help") == MC_EXIT_USAGE);
  CHECK(code_of("a b c --help") == MC_EXIT_HELP && code_of("-h") == MC_EXIT_HELP);
}

static void test_nearest(void) {
  static const char *const words[] = {"iterations", "batch", "selector-layer"};
  CHECK(mc_nearest("iteration", words, 3) == words[0]);
  CHECK(mc_nearest("btach", words, 3) == words[1]);
  CHECK(mc_nearest("layer", words, 3) == words[2]);
  CHECK(mc_nearest("zzz", words, 3) == NULL);
  CHECK(mc_nearest("", words, 3) == NULL);
}

static void test_help_of_table(void) {
  char *help = mc_args_help(&command);
  CHECK(help && strstr(help, "Things:\n") && strstr(help, "(1 to 10; default: 7)"));
  CHECK(help && strstr(help, "default: bc)") && strstr(help, "default: 0.25)") && strstr(help, "automatic)"));
  CHECK(help && strstr(help, "(at least 0; default: 0)") && strstr(help, "  130, 143  "));
  free(help);
}

/* Every option that a command's parser takes is in its help, and every option in the help is taken. */
static void test_help_of_commands(void) {
  for (size_t c = 0; c < mc_n_commands; c++) {
    const mc_command *k = mc_commands[c];
    char *help = mc_args_help(k), name[128];
    size_t n_taken = 0, n_listed = 0;
    if (!help) exit(1);
    for (size_t i = 0; i < k->n_options; i++) {
      const mc_option *o = &k->options[i];
      if (o->kind == MC_OPT_HEADING) continue;
      n_taken++;
      snprintf(name, sizeof name, "\n  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
      CHECK_MSG(strstr(help, name) != NULL, "%s: --%s is not in the help", k->name, o->name);
      CHECK_MSG(o->help && *o->help, "%s: --%s is not explained", k->name, o->name);
      CHECK_MSG((o->kind == MC_OPT_FLAG) == (o->argument == NULL), "%s: --%s: argument", k->name, o->name);
      CHECK_MSG(o->kind != MC_OPT_CHOICE || strcmp(o->argument, o->choices) == 0, "%s: --%s", k->name, o->name);
      CHECK_MSG(!strstr(o->help, "several times") || o->kind == MC_OPT_LIST, "%s: --%s takes one", k->name, o->name);
      for (size_t j = 0; j < i; j++) CHECK(strcmp(k->options[j].name, o->name) != 0);
    }
    for (const char *at = help; (at = strstr(at, "\n  --")); at += 4) n_listed++;
    CHECK_MSG(n_listed == n_taken + 1, "%s: %zu listed, %zu taken", k->name, n_listed, n_taken); /* and --help */
    CHECK(strstr(help, "\nExamples:\n  moeclip ") && strstr(help, "\nExit codes:\n") &&
          strstr(help, "Usage: moeclip "));
    free(help);
  }
}

static void test_progress(void) {
  moeclip_progress p = {.phase = "train", .task = "digits", .step = 500, .n_steps = 1001, .images = 32000, .loss = 0.5,
                        .seconds = 100, .waited_seconds = 25};
  char text[256], bar[256];
  mc_progress_text(&p, 400, false, text, sizeof text);
  CHECK_MSG(strncmp(text, "train digits 500/1001  49%, loss 0.5000, 320 img/s, 8:21 left, ", 63) == 0, "%s", text);
  CHECK(strstr(text, " MiB, waited 25%") != NULL);
  mc_progress_text(&p, 400, true, bar, sizeof bar);
  CHECK(strstr(bar, "[#########...........] 500/1001") != NULL);
  p.step = p.n_steps;
  p.loss = NAN;
  mc_progress_text(&p, 400, false, text, sizeof text);
  CHECK_MSG(strstr(text, "1001/1001 100%, 320 img/s, took 1:40, ") != NULL, "%s", text);
  CHECK(!strstr(text, "loss"));
}

static void test_named_path(void) {
  mc_named_path p = mc_named_path_of("digits=/data/a=b");
  CHECK(p.name && p.n_name == 6 && strcmp(p.path, "/data/a=b") == 0);
  p = mc_named_path_of("/data/a=b");
  CHECK(!p.name && strcmp(p.path, "/data/a=b") == 0);
  p = mc_named_path_of("=x");
  CHECK(!p.name);
  char *s = mc_with_ending("dir.d/s.safetensors", ".results");
  CHECK(s && strcmp(s, "dir.d/s.results") == 0);
  free(s);
  s = mc_with_ending("dir.d/state", ".results");
  CHECK(s && strcmp(s, "dir.d/state.results") == 0);
  free(s);
}

int main(void) {
  test_values();
  test_refused();
  test_nearest();
  test_help_of_table();
  test_help_of_commands();
  test_progress();
  test_named_path();
  return check_report();
}
