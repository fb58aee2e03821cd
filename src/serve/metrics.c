#include "serve/metrics.h"

#include <stdio.h>
#include <unistd.h>

#include "serve/http.h"

static const unsigned statuses[MC_N_STATUS] = {200, 202, 304, 400, 401, 403, 404, 405, 408,
                                                409, 413, 415, 421, 429, 500, 503, 0};
static const double seconds_limits[MC_N_SECONDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                    0.25,  0.5,    1,     2.5,  5,     10,   30};
static const int batch_limits[MC_N_BATCH] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

void mc_metrics_request(mc_metrics *m, int route, unsigned status, double seconds) {
  int s = 0, b = 0;
  while (s < MC_N_STATUS - 1 && statuses[s] != status) s++;
  while (b < MC_N_SECONDS && seconds > seconds_limits[b]) b++;
  atomic_fetch_add(&m->requests[route][s], 1);
  atomic_fetch_add(&m->seconds[route][b], 1);
  atomic_fetch_add(&m->microseconds[route], (unsigned long long)(seconds * 1e6));
}

void mc_metrics_batch(mc_metrics *m, int n, double seconds) {
  int b = 0;
  atomic_fetch_add(&m->engine_microseconds, (unsigned long long)(seconds * 1e6));
  if (n == 0) return;
  while (b < MC_N_BATCH && n > batch_limits[b]) b++;
  atomic_fetch_add(&m->batches[b], 1);
  atomic_fetch_add(&m->pictures, (unsigned long long)n);
}

static void head(FILE *f, const char *name, const char *type, const char *help) {
  fprintf(f, "# HELP moeclip_%s %s\n# TYPE moeclip_%s %s\n", name, help, name, type);
}

static void one(FILE *f, const char *name, const char *type, const char *help, double value) {
  head(f, name, type, help);
  fprintf(f, "moeclip_%s %.17g\n", name, value);
}

static void put_requests(FILE *f, mc_metrics *m) {
  head(f, "requests_total", "counter", "Requests answered, by route and status.");
  for (int r = 0; r <= mc_n_routes; r++) {
    const char *method = r < mc_n_routes ? mc_routes[r].method : "other", *path = r < mc_n_routes ? mc_routes[r].path : "other";
    for (int s = 0; s < MC_N_STATUS; s++) {
      unsigned long long n = atomic_load(&m->requests[r][s]);
      if (n) fprintf(f, "moeclip_requests_total{method=\"%s\",path=\"%s\",status=\"%u\"} %llu\n", method, path, statuses[s], n);
    }
  }
  head(f, "request_seconds", "histogram", "From a request's first line to its answer, by route.");
  for (int r = 0; r <= mc_n_routes; r++) {
    const char *method = r < mc_n_routes ? mc_routes[r].method : "other", *path = r < mc_n_routes ? mc_routes[r].path : "other";
    unsigned long long sum = 0, all = 0, counts[MC_N_SECONDS + 1];
    for (int b = 0; b <= MC_N_SECONDS; b++) all += counts[b] = atomic_load(&m->seconds[r][b]);
    if (!all) continue;
    for (int b = 0; b < MC_N_SECONDS; b++) {
      sum += counts[b];
      fprintf(f, "moeclip_request_seconds_bucket{method=\"%s\",path=\"%s\",le=\"%g\"} %llu\n", method, path, seconds_limits[b],
              sum);
    }
    fprintf(f, "moeclip_request_seconds_bucket{method=\"%s\",path=\"%s\",le=\"+Inf\"} %llu\n", method, path, all);
    fprintf(f, "moeclip_request_seconds_sum{method=\"%s\",path=\"%s\"} %.6f\n", method, path,
            (double)atomic_load(&m->microseconds[r]) / 1e6);
    fprintf(f, "moeclip_request_seconds_count{method=\"%s\",path=\"%s\"} %llu\n", method, path, all);
  }
}

static void put_batches(FILE *f, mc_metrics *m) {
  unsigned long long sum = 0;
  head(f, "batch_pictures", "histogram", "Pictures that the engine took at once.");
  for (int b = 0; b < MC_N_BATCH; b++) {
    sum += atomic_load(&m->batches[b]);
    fprintf(f, "moeclip_batch_pictures_bucket{le=\"%d\"} %llu\n", batch_limits[b], sum);
  }
  sum += atomic_load(&m->batches[MC_N_BATCH]);
  fprintf(f, "moeclip_batch_pictures_bucket{le=\"+Inf\"} %llu\n", sum);
  fprintf(f, "moeclip_batch_pictures_sum %llu\nmoeclip_batch_pictures_count %llu\n", atomic_load(&m->pictures), sum);
}

static double resident_bytes(void) {
  long pages = 0, all;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f) return 0;
  if (fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
  fclose(f);
  return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

enum MHD_Result mc_get_metrics(mc_request *r) {
  mc_server *s = r->s;
  mc_metrics *m = &s->metrics;
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) return mc_reply_error(r, 503, "out of memory");
  mc_generation *g = mc_engine_current(&s->engine);
  put_requests(f, m);
  put_batches(f, m);
  one(f, "texts_total", "counter", "Texts encoded for /v1/embed/text.", (double)atomic_load(&m->texts));
  one(f, "broken_pictures_total", "counter", "Pictures that could not be read.", (double)atomic_load(&m->broken));
  one(f, "engine_seconds_total", "counter", "Time that the engine computed.",
      (double)atomic_load(&m->engine_microseconds) / 1e6);
  pthread_mutex_lock(&s->engine.mutex);
  int queued = s->engine.n_queued;
  pthread_mutex_unlock(&s->engine.mutex);
  one(f, "queued", "gauge", "Pictures and texts that wait for the engine.", queued);
  one(f, "active_requests", "gauge", "Requests that are being received or answered.", atomic_load(&s->active));
  one(f, "request_memory_bytes", "gauge", "Bytes of bodies and pictures that requests hold.", (double)atomic_load(&s->memory));
  one(f, "tasks", "gauge", "Learned tasks that answer.", g->n_tasks);
  one(f, "learning", "gauge", "1 while a task is being learned.", mc_jobs_busy(&s->jobs));
  head(f, "jobs_total", "counter", "Learning jobs that ended, by outcome.");
  fprintf(f, "moeclip_jobs_total{outcome=\"done\"} %llu\nmoeclip_jobs_total{outcome=\"failed\"} %llu\n"
          "moeclip_jobs_total{outcome=\"cancelled\"} %llu\n",
          atomic_load(&m->jobs_done), atomic_load(&m->jobs_failed), atomic_load(&m->jobs_cancelled));
  one(f, "resident_memory_bytes", "gauge", "Memory of the process.", resident_bytes());
  one(f, "uptime_seconds", "gauge", "Time since the server started.", mc_serve_clock() - m->started);
  mc_generation_release(g);
  if (fclose(f) != 0) {
    free(text);
    return mc_reply_error(r, 503, "out of memory");
  }
  return mc_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
}
