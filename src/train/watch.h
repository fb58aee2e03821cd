/* Telling the caller how a run goes, and when to write a checkpoint. */
#ifndef MC_TRAIN_WATCH_H
#define MC_TRAIN_WATCH_H

#include <stdbool.h>

#include "base/status.h"
#include "moeclip/learner.h"

typedef struct mc_watch {
  const moeclip_callbacks *callbacks; /* or NULL */
  moeclip_progress progress;
  double began, last_checkpoint, checkpoint_seconds;
} mc_watch;

double mc_now(void); /* seconds of a clock that only goes forward */
void mc_watch_begin(mc_watch *w, const moeclip_callbacks *callbacks, const char *phase, const char *task,
                    int64_t n_steps, double checkpoint_seconds);
/* Tells the caller. *stop becomes true when it wants to end. Fill the other fields of w->progress before. */
void mc_watch_step(mc_watch *w, bool *stop);
/* True when checkpoint_seconds have passed since the last time this was true. */
bool mc_watch_checkpoint_due(mc_watch *w);
moeclip_code mc_watch_cancelled(const mc_watch *w, moeclip_error *err);
/* A mc_loader report that goes to the callbacks' `broken`; context: the callbacks (may be NULL). */
void mc_watch_broken(void *context, const char *item, const char *message);

#endif
