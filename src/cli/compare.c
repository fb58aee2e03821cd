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

/* What the process does that was forked for the run, to whose end the log is held. */
static void become(const mc_words *w, int log, const char *output, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127); /* it was killed before that */
  int out = output ? open(output, O_WRONLY | O_CREAT | O_TRUNC, 0666) : log;
  if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || fcntl(log, F_SETFD, 0) != 0) _exit(127);
  execv("/proc/self/exe", w->items);
  _exit(127);
}

/* As a process of its own, its output into a file, or into log.txt (NULL); waits for it. *peak: its memory in bytes. */
static moeclip_code spawn(const mc_words *w, const mc_compare_run *r, const char *output, double *peak, moeclip_error *err) {
  struct rusage used = {0};
  int status = 0, file = -1;
  bool told = false;
  char *log = mc_format("%s/log.txt", r->folder);
  if (!log) return mc_fail_memory(err, 256, "a file name");
  moeclip_code code = hold(log, &file, err);
  pid_t parent = getpid(), child = code == MOECLIP_OK ? fork() : -1;
  if (child == 0) become(w, file, output, parent);
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

static moeclip_code learn(const mc_words *w, mc_compare_run *r, json_t *command, moeclip_error *err) {
  double used = 0;
  moeclip_error unwritten = {0};
  MC_TRY(mc_compare_note(r->folder, command, false, r->peak, err));
  moeclip_code code = spawn(w, r, NULL, &used, err);
  if (used > r->peak) r->peak = used; /* a run that was stopped had a peak, too */
  moeclip_code written = mc_compare_note(r->folder, command, code == MOECLIP_OK, r->peak, &unwritten);
  if (code == MOECLIP_OK && (code = written) != MOECLIP_OK) *err = unwritten;
  return code;
}

/* By a process of its own, too, so that the peak of learning stays that of learning. */
static moeclip_code evaluate_without_labels(const mc_words *learned, const mc_compare_run *r, moeclip_error *err) {
  mc_words w = {0};
  uint8_t *data = NULL;
  size_t n = 0;
  double peak;
  bool there = false;
  char *path = mc_format("%s/" MC_COMPARE_NO_LABELS, r->folder), *part = mc_format("%s/" MC_COMPARE_NO_LABELS ".part", r->folder);
  moeclip_code code = path && part ? mc_file_exists(path, &there, err) : mc_fail_memory(err, 256, "a file name");
  if (code == MOECLIP_OK && !there) {
    code = mc_compare_eval_words(learned, &w, err);
    if (code == MOECLIP_OK) code = spawn(&w, r, part, &peak, err);
    if (code == MOECLIP_OK) code = mc_file_read(part, MC_COMPARE_MOST_BYTES, &data, &n, err);
    if (code == MOECLIP_OK) code = mc_file_write(path, data, n, err);
    if (code == MOECLIP_OK) unlink(part);
  }
  mc_words_clear(&w);
  free(data);
  free(path);
  free(part);
  return code;
}

/* The same command goes on with what is there, another one must not. */
static moeclip_code run_one(const mc_args *args, mc_compare_run *r, moeclip_error *err) {
  const mc_compare_options *o = args->options;
  mc_words w = {0};
  bool done = false;
  json_t *command = NULL;
  moeclip_code code = mc_make_folder(r->folder, err);
  if (code == MOECLIP_OK) code = mc_compare_learn_words(args, r, &w, err);
  if (code == MOECLIP_OK && !(command = mc_words_json(&w))) code = mc_fail_memory(err, 4096, "a command");
  if (code == MOECLIP_OK) code = mc_compare_begin(r->folder, command, &done, &r->peak, err);
  if (code == MOECLIP_OK && !o->quiet) mc_warn("%s%s", r->folder, done ? " is done" : "");
  if (code == MOECLIP_OK && !done) code = learn(&w, r, command, err);
  if (code == MOECLIP_OK) code = evaluate_without_labels(&w, r, err);
  json_decref(command);
  mc_words_clear(&w);
  if (code == MOECLIP_OK) code = mc_compare_gather(r, args->n_positional, err);
  return code == MOECLIP_OK ? mc_compare_gather_no_labels(r, args->n_positional, err) : code;
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
    for (size_t m = 0; !ok && m < c->n_methods; m++) ok = mc_compare_is_for(list->items[i], c->method[m], false, &value);
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
