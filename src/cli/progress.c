/* Progress on standard error: a line that is redrawn on a terminal, a line now and then elsewhere. And the signals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define REDRAW_SECONDS 0.1
#define PLAIN_SECONDS 10.0

/* --- signals ------------------------------------------------------------------------------------------------------ */

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) { stop_signal = number; }

void mc_catch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

int mc_stop_signal(void) { return stop_signal; }
void mc_set_stop_signal(int number) { stop_signal = number; }

/* --- the text ----------------------------------------------------------------------------------------------------- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double resident_bytes(void) {
  long pages = 0, all;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f) return 0;
  if (fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
  fclose(f);
  return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void put_time(char *out, size_t n_out, double seconds) {
  long s = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000 : lround(seconds);
  if (s < 3600) {
    snprintf(out, n_out, "%ld:%02ld", s / 60, s % 60);
  } else {
    snprintf(out, n_out, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  }
}

static void put_bar(char *out, size_t n_out, double share) {
  enum { CELLS = 20 };
  int full = (int)(share * CELLS);
  char cells[CELLS + 1];
  for (int i = 0; i < CELLS; i++) cells[i] = i < full ? '#' : '.';
  cells[CELLS] = 0;
  snprintf(out, n_out, "[%s] ", cells);
}

void mc_progress_text(const moeclip_progress *p, int64_t first_step, bool bar, char *out, size_t n_out) {
  double share = p->n_steps > 0 ? (double)p->step / (double)p->n_steps : 0;
  if (share > 1) share = 1;
  char cells[32] = "", loss[32] = "", rate[32] = "", left[40] = "", waited[32] = "", time[24];
  if (bar) put_bar(cells, sizeof cells, share);
  if (!isnan(p->loss)) snprintf(loss, sizeof loss, ", loss %.4f", p->loss);
  if (p->seconds > 0 && p->images > 0) {
    snprintf(rate, sizeof rate, ", %.*f img/s", (double)p->images < 10 * p->seconds ? 1 : 0,
             (double)p->images / p->seconds);
    snprintf(waited, sizeof waited, ", waited %.0f%%", 100 * fmin(1, p->waited_seconds / p->seconds));
  }
  int64_t done = p->step - first_step;
  if (p->step >= p->n_steps) {
    put_time(time, sizeof time, p->seconds);
    snprintf(left, sizeof left, ", took %s", time);
  } else if (done > 0) {
    put_time(time, sizeof time, p->seconds * (double)(p->n_steps - p->step) / (double)done);
    snprintf(left, sizeof left, ", %s left", time);
  }
  snprintf(out, n_out, "%s %s %s%lld/%lld %3.0f%%%s%s%s, %.0f MiB%s", p->phase ? p->phase : "", p->task ? p->task : "",
           cells, (long long)p->step, (long long)p->n_steps, floor(100 * share), loss, rate, left,
           resident_bytes() / 1048576, waited);
}

/* --- showing ------------------------------------------------------------------------------------------------------ */

static int terminal_columns(void) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

/* Cut to the width, and not in the middle of a UTF-8 character, so that the line never breaks. */
static void cut(char *text, int width) {
  size_t n = strlen(text), most = (size_t)width;
  if (n <= most) return;
  while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
  text[most] = 0;
}

/* Names come from the user's folders: whatever would move the cursor becomes a '?'. */
static void make_printable(char *text) {
  for (; *text; text++) {
    if ((unsigned char)*text < 32 || *text == 127) *text = '?';
  }
}

static void show(mc_progress *p, const moeclip_progress *progress) {
  char text[512];
  mc_progress_text(progress, p->first_step, p->terminal, text, sizeof text);
  make_printable(text);
  if (p->terminal) {
    cut(text, terminal_columns() - 1);
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    p->line = true;
  } else {
    fprintf(stderr, "moeclip: %s\n", text);
  }
}

void mc_progress_end(mc_progress *p) {
  if (!p->line) return;
  /* Training is worth keeping on the screen; the many evaluations are not: their results are printed. */
  fputs(strcmp(p->phase, "evaluate") == 0 ? "\r\033[K" : "\n", stderr);
  fflush(stderr);
  p->line = false;
}

static int on_progress(void *context, const moeclip_progress *progress) {
  mc_progress *p = context;
  const char *phase = progress->phase ? progress->phase : "", *task = progress->task ? progress->task : "";
  double t = now();
  if (p->quiet) return stop_signal != 0;
  bool fresh = strncmp(p->phase, phase, sizeof p->phase - 1) != 0 || strncmp(p->task, task, sizeof p->task - 1) != 0 ||
               progress->step < p->last_step;
  if (fresh) {
    mc_progress_end(p);
    snprintf(p->phase, sizeof p->phase, "%s", phase);
    snprintf(p->task, sizeof p->task, "%s", task);
    p->first_step = progress->step > 0 ? progress->step - 1 : 0;
    p->last_shown = p->terminal ? 0 : t;
  }
  bool last = progress->step >= progress->n_steps && progress->step != p->last_step;
  p->last_step = progress->step;
  /* Plain output need not hear of every short evaluation. */
  if (last && !p->terminal && strcmp(phase, "evaluate") == 0 && progress->seconds < PLAIN_SECONDS) last = false;
  if (last || t - p->last_shown >= (p->terminal ? REDRAW_SECONDS : PLAIN_SECONDS)) {
    show(p, progress);
    p->last_shown = t;
  }
  return stop_signal != 0;
}

static void on_broken(void *context, const char *item, const char *message) {
  mc_progress *p = context;
  mc_progress_end(p);
  p->n_broken++;
  bool named = item && strncmp(message, item, strlen(item)) == 0;
  mc_warn("%s%s%s (left out)", named || !item ? "" : item, named || !item ? "" : ": ", message);
}

moeclip_callbacks mc_progress_begin(mc_progress *p, bool quiet) {
  *p = (mc_progress){.quiet = quiet || !mc_is_writer(), .terminal = isatty(STDERR_FILENO) != 0};
  return (moeclip_callbacks){on_progress, on_broken, p};
}
