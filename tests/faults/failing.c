#include "failing.h"

#include <execinfo.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_long seen, failed, fails_at;
static atomic_bool counting, goes_on, held;

void failing_begin(long at, bool from_then_on) {
  atomic_store(&seen, 0);
  atomic_store(&failed, 0);
  atomic_store(&fails_at, at);
  atomic_store(&goes_on, from_then_on);
  atomic_store(&counting, true);
}

void failing_end(long *n_seen, long *n_failed) {
  atomic_store(&counting, false);
  *n_seen = atomic_load(&seen);
  *n_failed = atomic_load(&failed);
}

/* A place to stop with a debugger: MOECLIP_FAULTS_TRACE=1 stops there by itself. */
static void failing_here(void) {
  void *at[64];
  if (!getenv("MOECLIP_FAULTS_TRACE")) return;
  atomic_store(&counting, false);
  backtrace_symbols_fd(at, backtrace(at, 64), 2);
  atomic_store(&counting, true);
}

void failing_hold(bool hold) { atomic_store(&held, hold); }

bool failing_now(void) {
  if (!atomic_load(&counting) || atomic_load(&held)) return false;
  long number = atomic_fetch_add(&seen, 1) + 1, at = atomic_load(&fails_at);
  if (at == 0 || (number != at && !(number > at && atomic_load(&goes_on)))) return false;
  atomic_fetch_add(&failed, 1);
  if (number == at) failing_here();
  return true;
}
