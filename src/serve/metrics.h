/* Counters in Prometheus' text format. All are atomic: no lock is held to count. */
#ifndef MC_SERVE_METRICS_H
#define MC_SERVE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>

enum { MC_MAX_ROUTES = 24, MC_N_STATUS = 17, MC_N_SECONDS = 14, MC_N_BATCH = 9 };

typedef struct mc_metrics {
  atomic_ullong requests[MC_MAX_ROUTES][MC_N_STATUS];
  atomic_ullong seconds[MC_MAX_ROUTES][MC_N_SECONDS + 1], microseconds[MC_MAX_ROUTES];
  atomic_ullong batches[MC_N_BATCH + 1], pictures, texts, broken, engine_microseconds;
  atomic_ullong jobs_done, jobs_failed, jobs_cancelled;
  double started;
} mc_metrics;

void mc_metrics_request(mc_metrics *m, int route, unsigned status, double seconds);
void mc_metrics_batch(mc_metrics *m, int n_pictures, double seconds);

#endif
