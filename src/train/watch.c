#include "train/watch.h"

#include <time.h>

double mc_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mc_watch_begin(mc_watch *w, const moeclip_callbacks *callbacks, const char *phase, const char *task,
                    int64_t n_steps, double checkpoint_seconds) {
  double now = mc_now();
  *w = (mc_watch){.callbacks = callbacks, .began = now, .last_checkpoint = now, .checkpoint_seconds = checkpoint_seconds};
  w->progress = (moeclip_progress){.phase = phase, .task = task, .n_steps = n_steps};
}

void mc_watch_step(mc_watch *w, bool *stop) {
  w->progress.seconds = mc_now() - w->began;
  *stop = w->callbacks && w->callbacks->progress && w->callbacks->progress(w->callbacks->context, &w->progress) != 0;
}

bool mc_watch_checkpoint_due(mc_watch *w) {
  double now = mc_now();
  if (now - w->last_checkpoint < w->checkpoint_seconds) return false;
  w->last_checkpoint = now;
  return true;
}

moeclip_code mc_watch_cancelled(const mc_watch *w, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped at step %lld of %lld (%s, %s)", (long long)w->progress.step,
                 (long long)w->progress.n_steps, w->progress.phase, w->progress.task);
}

void mc_watch_broken(void *context, const char *item, const char *message) {
  const moeclip_callbacks *callbacks = context;
  if (callbacks && callbacks->broken) callbacks->broken(callbacks->context, item, message);
}
