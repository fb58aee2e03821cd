#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "comm/load.h"

struct moeclip_comm {
  mc_comm_backend b;
  bool failed;
  double *pairs;   /* [size, 2] */
  double seconds;  /* in calls that exchange something, waiting for other ranks included */
  mc_comm_sum *first, *last; /* in flight, whose second half has not begun, in the order of their starts */
};

typedef enum sum_state { IDLE, SCATTERING, SPREADING, COLLECTING } sum_state;

struct mc_comm_sum {
  moeclip_comm *comm;
  int64_t n, *begin;      /* [size + 1] */
  float *data, *received; /* [n]; [size, own slice], or [size, n] of a short sum */
  bool is_short;
  sum_state state;
  void *request;
  mc_comm_sum *next;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A statement whose time counts as exchange. */
#define EXCHANGE(c, statement)         \
  do {                                 \
    double began_ = now();             \
    statement;                         \
    (c)->seconds += now() - began_;    \
  } while (0)

double mc_comm_seconds(const moeclip_comm *c) { return c ? c->seconds : 0; }

int moeclip_comm_rank(const moeclip_comm *c) { return c ? c->b.rank : 0; }
int moeclip_comm_size(const moeclip_comm *c) { return c ? c->b.size : 1; }
int moeclip_comm_threads(const moeclip_comm *c) { return c ? c->b.threads : 0; }
int moeclip_comm_failed(const moeclip_comm *c) { return c && c->failed; }

void moeclip_comm_processors(const moeclip_comm *c, int *usable, int *online) {
  *usable = c ? c->b.usable : 0;
  *online = c ? c->b.online : 0;
}

moeclip_code moeclip_comm_mpi(moeclip_comm **out, moeclip_error *err) {
  *out = NULL;
  moeclip_comm *c = calloc(1, sizeof *c);
  if (!c) return mc_fail_memory(err, sizeof *c, "the processes' connection");
  moeclip_code code = mc_comm_load(&c->b, err);
  if (code != MOECLIP_OK) {
    free(c);
    return code;
  }
  c->pairs = mc_alloc((size_t)c->b.size, 2 * sizeof *c->pairs);
  if (!c->pairs) {
    mc_fail_memory(err, 0, "the processes' connection");
    moeclip_comm_abort(c, 1);
  }
  *out = c;
  return MOECLIP_OK;
}

void moeclip_comm_destroy(moeclip_comm *c) {
  if (!c) return;
  c->b.end(&c->b);
  free(c->pairs);
  free(c);
}

void moeclip_comm_abort(moeclip_comm *c, int exit_code) {
  if (c) c->b.abort(&c->b, exit_code);
}

/* --- small things --------------------------------------------------------------------------------------------------------- */

void mc_comm_gather(moeclip_comm *c, const void *own, size_t n_bytes, void *all) {
  if (c) {
    EXCHANGE(c, c->b.gather(&c->b, own, n_bytes, all));
  } else {
    memcpy(all, own, n_bytes);
  }
}

void mc_comm_gather_rows(moeclip_comm *c, void *all, size_t each, const int64_t *first) {
  if (c && first[c->b.size] > 0) EXCHANGE(c, c->b.gather_rows(&c->b, all, each, first));
}

void moeclip_comm_broadcast(moeclip_comm *c, void *data, size_t n_bytes) {
  if (c) EXCHANGE(c, c->b.broadcast(&c->b, data, n_bytes));
}

void mc_comm_total(moeclip_comm *c, int64_t *values, size_t n) {
  if (c && n) EXCHANGE(c, c->b.total(&c->b, values, n));
}

int moeclip_comm_most(moeclip_comm *c, int value) {
  int64_t most = value;
  if (c) EXCHANGE(c, c->b.most(&c->b, &most, 1));
  return (int)most;
}

int moeclip_comm_any(moeclip_comm *c, int bits) {
  int64_t each[31], any = 0;
  if (!c) return bits;
  for (int i = 0; i < 31; i++) each[i] = bits >> i & 1;
  EXCHANGE(c, c->b.most(&c->b, each, 31));
  for (int i = 0; i < 31; i++) any |= each[i] << i;
  return (int)any;
}

moeclip_code mc_comm_total_f64(moeclip_comm *c, double *values, size_t n, moeclip_error *err) {
  size_t size = (size_t)moeclip_comm_size(c);
  if (!c || n == 0) return MOECLIP_OK;
  double *all = mc_alloc(size, n * sizeof *all);
  /* Without the memory nobody may go on, and the others are about to send. */
  MC_TRY(moeclip_comm_agree(c, all ? MOECLIP_OK : mc_fail_memory(err, size * n * sizeof *all, "a sum"), err));
  mc_comm_gather(c, values, n * sizeof *values, all);
  for (size_t i = 0; i < n; i++) {
    values[i] = 0;
    for (size_t r = 0; r < size; r++) values[i] += all[r * n + i];
  }
  free(all);
  return MOECLIP_OK;
}

moeclip_code moeclip_comm_agree(moeclip_comm *c, moeclip_code code, moeclip_error *err) {
  struct {
    char message[1024];
    char host[64];
    int32_t code;
  } failure = {.message = "", .code = (int32_t)code};
  if (!c) return code;
  int64_t n_failed = code != MOECLIP_OK, lowest = 0;
  EXCHANGE(c, c->b.total(&c->b, &n_failed, 1));
  if (n_failed == 0) return MOECLIP_OK;
  c->failed = true;
  lowest = code != MOECLIP_OK ? -c->b.rank : -c->b.size; /* the largest of these is the lowest rank that failed */
  c->b.most(&c->b, &lowest, 1);
  lowest = -lowest;
  if (c->b.rank == lowest) {
    snprintf(failure.message, sizeof failure.message, "%s", err ? err->message : moeclip_code_name(code));
    snprintf(failure.host, sizeof failure.host, "%s", c->b.host);
  }
  /* Row `lowest` of a table in which the others are empty: a broadcast from there. */
  int64_t *first = calloc((size_t)c->b.size + 1, sizeof *first);
  if (!first) moeclip_comm_abort(c, 1);
  for (int r = 0; first && r <= c->b.size; r++) first[r] = r > lowest;
  if (first) c->b.gather_rows(&c->b, &failure, sizeof failure, first);
  free(first);
  if (failure.code == MOECLIP_ERROR_CANCELLED) return mc_fail(err, MOECLIP_ERROR_CANCELLED, "%s", failure.message);
  return mc_fail(err, (moeclip_code)failure.code, "rank %d (%s): %.900s", (int)lowest, failure.host, failure.message);
}

moeclip_code mc_comm_agree_total(moeclip_comm *c, moeclip_code code, double *value, moeclip_error *err) {
  double own[2] = {*value, code != MOECLIP_OK}, failures = 0;
  if (!c) return code;
  mc_comm_gather(c, own, sizeof own, c->pairs);
  *value = 0;
  for (int r = 0; r < c->b.size; r++) {
    *value += c->pairs[2 * r];
    failures += c->pairs[2 * r + 1];
  }
  return failures > 0 ? moeclip_comm_agree(c, code, err) : MOECLIP_OK;
}

moeclip_code mc_comm_same(moeclip_comm *c, uint64_t hash, const char *what, moeclip_error *err) {
  uint64_t wanted = hash;
  moeclip_comm_broadcast(c, &wanted, sizeof wanted);
  moeclip_code code = MOECLIP_OK;
  if (wanted != hash) code = mc_fail(err, MOECLIP_ERROR_MISMATCH, "this rank has other %s than rank 0", what);
  return moeclip_comm_agree(c, code, err);
}

uint64_t mc_comm_hash(uint64_t hash, const void *data, size_t n_bytes) {
  const uint8_t *at = data;
  uint64_t h = hash ^ UINT64_C(0xcbf29ce484222325), word;
  for (; n_bytes >= sizeof word; n_bytes -= sizeof word, at += sizeof word) {
    memcpy(&word, at, sizeof word);
    h = (h ^ word) * UINT64_C(0x100000001b3);
    h ^= h >> 29;
  }
  for (; n_bytes > 0; n_bytes--, at++) h = (h ^ *at) * UINT64_C(0x100000001b3);
  return h;
}

/* What all ranks have of a short sum. */
enum { SHORT_FLOATS = 1 << 16 };

/* --- sums ----------------------------------------------------------------------------------------------------------------- */

moeclip_code mc_comm_sum_create(moeclip_comm *c, int64_t n, mc_comm_sum **out, moeclip_error *err) {
  int size = moeclip_comm_size(c), rank = moeclip_comm_rank(c);
  mc_comm_sum *s = calloc(1, sizeof *s);
  *out = s;
  if (!s) return mc_fail_memory(err, sizeof *s, "a sum over the ranks");
  s->comm = c;
  s->n = n;
  s->begin = mc_alloc((size_t)size + 1, sizeof *s->begin);
  s->data = mc_zeros((size_t)n, sizeof *s->data);
  if (!s->begin || !s->data) return mc_fail_memory(err, (size_t)n * sizeof *s->data, "a sum over the ranks");
  s->is_short = n <= SHORT_FLOATS / size;
  for (int r = 0; r <= size; r++) s->begin[r] = s->is_short ? n * r : mc_comm_share(c, n, r);
  size_t slice = (size_t)(s->begin[rank + 1] - s->begin[rank]);
  if (c) s->received = mc_aligned_alloc((size_t)size * slice, sizeof *s->received);
  if (c && !s->received) return mc_fail_memory(err, (size_t)size * slice * sizeof *s->received, "a sum over the ranks");
  return MOECLIP_OK;
}

void mc_comm_sum_destroy(mc_comm_sum *s) {
  if (!s) return;
  if (s->comm) mc_comm_sum_wait(s);
  free(s->begin);
  mc_aligned_free(s->data);
  mc_aligned_free(s->received);
  free(s);
}

float *mc_comm_sum_data(mc_comm_sum *s) { return s->data; }

static void start(moeclip_comm *c, mc_comm_sum *s) {
  if (s->is_short) {
    memcpy(s->received + s->begin[c->b.rank], s->data, (size_t)s->n * sizeof *s->data);
    s->request = c->b.collect(&c->b, s->received, s->begin);
    s->state = COLLECTING;
    return;
  }
  s->request = c->b.scatter(&c->b, s->data, s->begin, s->received);
  s->state = SCATTERING;
  s->next = NULL;
  if (c->last) {
    c->last->next = s;
  } else {
    c->first = s;
  }
  c->last = s;
}

void mc_comm_sum_start(mc_comm_sum *s) {
  if (s->comm) EXCHANGE(s->comm, start(s->comm, s));
}

/* What was received, in the order of the ranks. */
static void add_up(const mc_comm_sum *s, int64_t slice, float *restrict to) {
  memcpy(to, s->received, (size_t)slice * sizeof *to);
  for (int r = 1; r < s->comm->b.size; r++) {
    const float *restrict from = s->received + r * slice;
    for (int64_t i = 0; i < slice; i++) to[i] += from[i];
  }
}

/* The first in the queue has received what it needs: it is added up and goes out. */
static void begin_second_half(moeclip_comm *c) {
  mc_comm_sum *s = c->first;
  add_up(s, s->begin[c->b.rank + 1] - s->begin[c->b.rank], s->data + s->begin[c->b.rank]);
  s->request = c->b.spread(&c->b, s->data, s->begin);
  s->state = SPREADING;
  c->first = s->next;
  if (!c->first) c->last = NULL;
}

static void progress(moeclip_comm *c) {
  while (c->first && c->b.done(&c->b, c->first->request)) begin_second_half(c);
}

void mc_comm_progress(moeclip_comm *c) {
  if (c) EXCHANGE(c, progress(c));
}

static void finish(moeclip_comm *c, mc_comm_sum *s) {
  while (s->state == SCATTERING) {
    c->b.wait(&c->b, c->first->request);
    begin_second_half(c);
  }
  c->b.wait(&c->b, s->request);
  if (s->state == COLLECTING) add_up(s, s->n, s->data);
  s->state = IDLE;
}

void mc_comm_sum_wait(mc_comm_sum *s) {
  if (s->comm && s->state != IDLE) EXCHANGE(s->comm, finish(s->comm, s));
}
