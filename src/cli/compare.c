#include "cli/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/provenance.h"

/* --- the command line of a run ------------------------------------------------------------------------------------ */

typedef struct words {
  char **items; /* NULL-ended */
  size_t n;
  bool failed;
} words;

/* Takes the text over. */
static void add(words *w, char *text) {
  char **items = text ? mc_realloc(w->items, w->n + 2, sizeof *items) : NULL;
  if (items) w->items = items;
  if (!items) {
    w->failed = true;
    free(text);
    return;
  }
  w->items[w->n++] = text;
  w->items[w->n] = NULL;
}

static void words_clear(words *w) {
  for (size_t i = 0; i < w->n; i++) free(w->items[i]);
  free(w->items);
}

/* Is it of this method ("METHOD=..."), or of all? *value: what follows. */
static bool is_for(const char *text, const char *method, bool all_too, const char **value) {
  size_t n = strlen(method);
  *value = text;
  if (strncmp(text, method, n) == 0 && text[n] == '=') {
    *value = text + n + 1;
    return true;
  }
  return all_too && !strchr(text, '=');
}

static bool uses_reference(const char *method) {
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  return moeclip_mode_find(method, &o.mode) && moeclip_uses_reference(&o);
}

/* Options that were given and are `learn`'s too, with the values that they were given. */
static void add_shared(words *w, const mc_args *args, const char *method) {
  static const char *const own[] = {"out", "methods", "orders", "seeds", "with", "lr", "json"};
  for (size_t i = 0; i < args->command->n_options; i++) {
    const mc_option *o = &args->command->options[i];
    const char *at = (const char *)args->options + o->offset;
    bool mine = o->kind == MC_OPT_HEADING || !args->given[i];
    mine = mine || (strcmp(o->name, "reference") == 0 && !uses_reference(method));
    for (size_t k = 0; !mine && k < sizeof own / sizeof own[0]; k++) mine = strcmp(own[k], o->name) == 0;
    if (mine) continue;
    if (o->kind == MC_OPT_LIST) {
      const mc_list *list = (const mc_list *)(const void *)at;
      for (size_t k = 0; k < list->n; k++) add(w, mc_format("--%s=%s", o->name, list->items[k]));
      continue;
    }
    if (o->kind == MC_OPT_FLAG) {
      add(w, mc_format("--%s", o->name));
    } else if (o->kind == MC_OPT_TEXT) {
      add(w, mc_format("--%s=%s", o->name, *(const char *const *)(const void *)at));
    } else if (o->kind == MC_OPT_LONG) {
      add(w, mc_format("--%s=%lld", o->name, (long long)*(const int64_t *)(const void *)at));
    } else if (o->kind == MC_OPT_INT) {
      add(w, mc_format("--%s=%d", o->name, *(const int *)(const void *)at));
    } else if (o->kind == MC_OPT_REAL) {
      add(w, mc_format("--%s=%.17g", o->name, *(const double *)(const void *)at));
    } else { /* the one choice there is */
      static const char *const precisions[] = {"auto", "float32", "bfloat16"};
      add(w, mc_format("--%s=%s", o->name, precisions[*(const int *)(const void *)at]));
    }
  }
}

static void add_split(words *w, const char *text) {
  while (*(text += strspn(text, " \t"))) {
    size_t n = strcspn(text, " \t");
    add(w, mc_strndup(text, n));
    text += n;
  }
}

static moeclip_code command_of(const mc_args *args, const mc_compare_run *r, words *w, moeclip_error *err) {
  const mc_compare_options *o = args->options;
  const char *rate = NULL, *value;
  add(w, mc_strdup("moeclip"));
  add(w, mc_strdup("learn"));
  add(w, mc_format("--method=%s", r->method));
  add(w, mc_format("--seed=%d", r->seed));
  add(w, mc_format("--state=%s/state.safetensors", r->folder));
  add(w, mc_format("--results=%s", r->folder));
  add_shared(w, args, r->method);
  for (size_t i = 0; i < o->rates.n; i++) { /* the method's own goes before the one for all */
    if (!is_for(o->rates.items[i], r->method, true, &value)) continue;
    if (!rate || value != o->rates.items[i]) rate = value;
  }
  if (rate) add(w, mc_format("--lr=%s", rate));
  for (size_t i = 0; i < o->with.n; i++) {
    if (is_for(o->with.items[i], r->method, false, &value)) add_split(w, value);
  }
  add(w, mc_strdup("--"));
  for (size_t i = 0; i < args->n_positional; i++) {
    add(w, mc_strdup(args->positional[r->reversed ? args->n_positional - 1 - i : i]));
  }
  return w->failed ? mc_fail_memory(err, 4096, "a command") : MOECLIP_OK;
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

enum { LOCK_SECONDS = 30 };

/* The run's log, held for as long as this process or the run's own lives. A comparison that was killed takes its run with it, but that
 * may still be writing when the same command is given again. */
static moeclip_code hold(const char *log, int *file, moeclip_error *err) {
  const struct timespec while_ = {0, 20000000};
  *file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (*file < 0) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot be written: %s", log, strerror(errno));
  for (int i = 0; flock(*file, LOCK_EX | LOCK_NB) != 0; i++) {
    moeclip_code code = MOECLIP_OK;
    if (mc_stop_signal()) {
      code = mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
      code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot be locked: %s", log, strerror(errno));
    } else if (i >= LOCK_SECONDS * 50) {
      code = mc_fail(err, MOECLIP_ERROR_IO, "%s: another process is at this run; wait until it has ended, then give the command again", log);
    }
    if (code != MOECLIP_OK) {
      close(*file);
      *file = -1;
      return code;
    }
    nanosleep(&while_, NULL);
  }
  return MOECLIP_OK;
}

/* As a process of its own, its output into log.txt; waits for it. *peak: its memory in bytes. */
static moeclip_code spawn(const words *w, const mc_compare_run *r, double *peak, moeclip_error *err) {
  struct rusage used = {0};
  int status = 0, file = -1;
  bool told = false;
  char *log = mc_format("%s/log.txt", r->folder);
  if (!log) return mc_fail_memory(err, 256, "a file name");
  moeclip_code code = hold(log, &file, err);
  pid_t parent = getpid(), child = code == MOECLIP_OK ? fork() : -1;
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127); /* it was killed before that */
    dup2(file, STDOUT_FILENO);
    execv("/proc/self/exe", w->items);
    _exit(127);
  }
  if (code == MOECLIP_OK && child < 0) code = mc_fail(err, MOECLIP_ERROR_IO, "%s: the run cannot be started: %s", log, strerror(errno));
  if (file >= 0) close(file);
  while (code == MOECLIP_OK && wait4(child, &status, 0, &used) < 0) {
    if (errno != EINTR) code = mc_fail(err, MOECLIP_ERROR_IO, "%s: the run's end is not known: %s", log, strerror(errno));
    if (mc_stop_signal() && !told) kill(child, mc_stop_signal());
    told = mc_stop_signal() != 0;
  }
  *peak = 1024.0 * (double)used.ru_maxrss;
  if (code == MOECLIP_OK && mc_stop_signal()) {
    code = mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
  } else if (code == MOECLIP_OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    code = mc_fail(err, MOECLIP_ERROR_INTERNAL, "%s: this run failed (%s %d); what it said stands above and in log.txt there", r->folder,
                   WIFEXITED(status) ? "exit code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  }
  free(log);
  return code;
}

static json_t *words_json(const words *w) {
  json_t *array = json_array();
  for (size_t i = 1; i < w->n; i++) {
    if (strcmp(w->items[i], "--quiet") != 0) mc_json_append(&array, json_string(w->items[i]));
  }
  return array;
}

/* The same command goes on with what is there, another one must not. */
static moeclip_code run_one(const mc_args *args, mc_compare_run *r, moeclip_error *err) {
  const mc_compare_options *o = args->options;
  words w = {0};
  bool done = false;
  json_t *command = NULL;
  moeclip_code code = mc_make_folder(r->folder, err);
  if (code == MOECLIP_OK) code = command_of(args, r, &w, err);
  if (code == MOECLIP_OK && !(command = words_json(&w))) code = mc_fail_memory(err, 4096, "a command");
  if (code == MOECLIP_OK) code = mc_compare_begin(r->folder, command, &done, &r->peak, err);
  if (code == MOECLIP_OK && !o->quiet) mc_warn("%s%s", r->folder, done ? " is done" : "");
  if (code == MOECLIP_OK && !done) code = mc_compare_note(r->folder, command, false, r->peak, err);
  if (code == MOECLIP_OK && !done) {
    double used = 0;
    moeclip_error unwritten = {0};
    code = spawn(&w, r, &used, err);
    if (used > r->peak) r->peak = used; /* a run that was stopped had a peak, too */
    moeclip_code written = mc_compare_note(r->folder, command, code == MOECLIP_OK, r->peak, &unwritten);
    if (code == MOECLIP_OK && (code = written) != MOECLIP_OK) *err = unwritten;
  }
  json_decref(command);
  words_clear(&w);
  return code == MOECLIP_OK ? mc_compare_gather(r, args->n_positional, err) : code;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

typedef struct comparison {
  const mc_args *args;
  char *methods; /* cut up at the commas */
  const char *method[32];
  size_t n_methods, n_runs;
  mc_compare_run *runs;
} comparison;

static int check_for(const comparison *c, const char *option, const mc_list *list, bool all_too) {
  for (size_t i = 0; i < list->n; i++) {
    const char *value;
    bool ok = all_too && !strchr(list->items[i], '=');
    for (size_t m = 0; !ok && m < c->n_methods; m++) ok = is_for(list->items[i], c->method[m], false, &value);
    if (!ok) return mc_usage_error(c->args->command, "--%s %s: this names none of the methods that are compared", option, list->items[i]);
  }
  return MC_EXIT_OK;
}

static int plan(comparison *c) {
  const mc_command *command = c->args->command;
  const mc_compare_options *o = c->args->options;
  if (!o->model) return mc_usage_error(command, "--model is missing: the CLIP to teach");
  if (!o->out) return mc_usage_error(command, "--out is missing: the folder for the results");
  if (o->shots && o->max_train) return mc_usage_error(command, "--shots and --max-train exclude each other");
  static const char all[] = "zero-shot,linear-probe,analytic,moe,finetune,wise-ft,lwf,";
  c->methods = o->methods ? mc_strdup(o->methods) : mc_format("%s%sicarl,joint", all, o->reference ? "zscl," : "");
  if (!c->methods) return mc_usage_error(command, "out of memory");
  char *rest = NULL;
  for (char *name = strtok_r(c->methods, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
    moeclip_mode mode;
    if (!moeclip_mode_find(name, &mode)) {
      return mc_usage_error(command, "--methods: there is no method \"%s\"; `moeclip learn --help` lists them", name);
    }
    for (size_t i = 0; i < c->n_methods; i++) {
      if (strcmp(c->method[i], name) == 0) return mc_usage_error(command, "--methods: %s stands there twice", name);
    }
    if (c->n_methods == sizeof c->method / sizeof c->method[0]) return mc_usage_error(command, "--methods: too many");
    c->method[c->n_methods++] = name;
  }
  if (c->n_methods == 0) return mc_usage_error(command, "--methods names none");
  int code = check_for(c, "lr", &o->rates, true);
  if (code == MC_EXIT_OK) code = check_for(c, "with", &o->with, false);
  if (code != MC_EXIT_OK) return code;
  c->n_runs = c->n_methods * (size_t)(1 + o->orders) * (size_t)o->seeds;
  c->runs = calloc(c->n_runs, sizeof *c->runs);
  if (!c->runs) return mc_usage_error(command, "out of memory");
  mc_compare_run *r = c->runs;
  for (size_t m = 0; m < c->n_methods; m++) {
    for (int order = 0; order <= o->orders; order++) {
      for (int seed = 1; seed <= o->seeds; seed++, r++) {
        *r = (mc_compare_run){.method = c->method[m], .reversed = order == 1, .seed = seed};
        r->folder = mc_format("%s/%s-%s-%d", o->out, r->method, order ? "reversed" : "given", seed);
        if (!r->folder) return mc_usage_error(command, "out of memory");
      }
    }
  }
  return MC_EXIT_OK;
}

static int run_all(comparison *c) {
  const mc_compare_options *o = c->args->options;
  moeclip_error err = {0};
  char *text = NULL;
  json_t *json = NULL;
  mc_catch_signals();
  moeclip_code code = mc_make_folder(o->out, &err);
  for (size_t i = 0; code == MOECLIP_OK && i < c->n_runs; i++) code = run_one(c->args, &c->runs[i], &err);
  json_t *provenance = code == MOECLIP_OK ? mc_provenance(c->args) : NULL;
  if (provenance && c->runs[0].inputs) mc_json_set(&provenance, "inputs", json_incref(c->runs[0].inputs));
  if (code == MOECLIP_OK) code = mc_compare_report(c->runs, c->n_runs, provenance, o->out, &text, &json, &err);
  json_decref(provenance);
  if (code == MOECLIP_OK && !o->json) fputs(text, stdout);
  if (code == MOECLIP_OK && o->json && !mc_json_print(json_incref(json), true)) code = MOECLIP_ERROR_IO;
  free(text);
  json_decref(json);
  if (code == MOECLIP_OK) return MC_EXIT_OK;
  if (code != MOECLIP_ERROR_CANCELLED) return mc_report(&err);
  mc_warn("stopped; give the same command again to go on");
  return 128 + mc_stop_signal();
}

int mc_compare_run_all(const mc_args *args) {
  comparison c = {.args = args};
  int exit_code = plan(&c);
  if (exit_code == MC_EXIT_OK) exit_code = run_all(&c);
  for (size_t i = 0; c.runs && i < c.n_runs; i++) {
    json_decref(c.runs[i].inputs);
    free(c.runs[i].folder);
  }
  free(c.runs);
  free(c.methods);
  return exit_code;
}
