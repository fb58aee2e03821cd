/* The module moeclip_mpi.so: processes connected by MPI. MPI's own handling of errors, which ends all processes, stays on. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/backend.h"

/* Operations that overlap must be started in the same order by all ranks of a communicator. The halves of the sums and the rest
 * each have one of their own, because a rank may begin a second half before or after its next first one. */
typedef struct mpi {
  MPI_Comm control, first_half, second_half;
  bool at_once;         /* every sum arrives before anything else goes on */
  int *counts, *places; /* [size], for the call that is being made: MPI keeps no hold on them but in non-blocking calls */
} mpi;

/* A non-blocking call's counts must stay until it is done. */
typedef struct request {
  MPI_Request mpi;
  int *numbers; /* [4 * size] */
} request;

__attribute__((noreturn)) static void no_memory(mc_comm_backend *b) {
  fprintf(stderr, "moeclip: rank %d (%s): out of memory between processes\n", b->rank, b->host);
  b->abort(b, 1);
  abort(); /* MPI_Abort does not come back */
}

static void gather(mc_comm_backend *b, const void *own, size_t n_bytes, void *all) {
  const mpi *m = b->own;
  MPI_Allgather(own, (int)n_bytes, MPI_BYTE, all, (int)n_bytes, MPI_BYTE, m->control);
}

static void gather_rows(mc_comm_backend *b, void *all, size_t each, const int64_t *first) {
  const mpi *m = b->own;
  MPI_Datatype row;
  MPI_Type_contiguous((int)each, MPI_BYTE, &row);
  MPI_Type_commit(&row);
  for (int r = 0; r < b->size; r++) {
    m->counts[r] = (int)(first[r + 1] - first[r]);
    m->places[r] = (int)first[r];
  }
  MPI_Allgatherv(MPI_IN_PLACE, 0, row, all, m->counts, m->places, row, m->control);
  MPI_Type_free(&row);
}

static void broadcast(mc_comm_backend *b, void *data, size_t n_bytes) {
  const mpi *m = b->own;
  MPI_Bcast(data, (int)n_bytes, MPI_BYTE, 0, m->control);
}

static void total(mc_comm_backend *b, int64_t *values, size_t n) {
  const mpi *m = b->own;
  MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_INT64_T, MPI_SUM, m->control);
}

static void most(mc_comm_backend *b, int64_t *values, size_t n) {
  const mpi *m = b->own;
  MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_INT64_T, MPI_MAX, m->control);
}

static request *new_request(mc_comm_backend *b) {
  request *r = calloc(1, sizeof *r);
  if (r) r->numbers = malloc(4 * (size_t)b->size * sizeof *r->numbers);
  if (!r || !r->numbers) no_memory(b);
  return r;
}

static void *scatter(mc_comm_backend *b, const float *data, const int64_t *first, float *received) {
  const mpi *m = b->own;
  request *r = new_request(b);
  int size = b->size, *send = r->numbers, *from = send + size, *receive = from + size, *to = receive + size;
  for (int i = 0; i < size; i++) {
    send[i] = (int)(first[i + 1] - first[i]);
    from[i] = (int)first[i];
    receive[i] = (int)(first[b->rank + 1] - first[b->rank]);
    to[i] = i * receive[i];
  }
  MPI_Ialltoallv(data, send, from, MPI_FLOAT, received, receive, to, MPI_FLOAT, m->first_half, &r->mpi);
  if (m->at_once) MPI_Wait(&r->mpi, MPI_STATUS_IGNORE);
  return r;
}

static void *gather_parts(mc_comm_backend *b, float *data, const int64_t *first, MPI_Comm over) {
  request *r = new_request(b);
  int *counts = r->numbers, *places = counts + b->size;
  for (int i = 0; i < b->size; i++) {
    counts[i] = (int)(first[i + 1] - first[i]);
    places[i] = (int)first[i];
  }
  MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, data, counts, places, MPI_FLOAT, over, &r->mpi);
  if (((const mpi *)b->own)->at_once) MPI_Wait(&r->mpi, MPI_STATUS_IGNORE);
  return r;
}

static void *spread(mc_comm_backend *b, float *data, const int64_t *first) {
  return gather_parts(b, data, first, ((const mpi *)b->own)->second_half);
}

static void *collect(mc_comm_backend *b, float *data, const int64_t *first) {
  return gather_parts(b, data, first, ((const mpi *)b->own)->first_half);
}

static void release(request *r) {
  free(r->numbers);
  free(r);
}

static bool done(mc_comm_backend *b, void *of) {
  request *r = of;
  int flag = 0;
  (void)b;
  MPI_Test(&r->mpi, &flag, MPI_STATUS_IGNORE);
  if (flag) release(r);
  return flag != 0;
}

static void wait_for(mc_comm_backend *b, void *of) {
  request *r = of;
  (void)b;
  MPI_Wait(&r->mpi, MPI_STATUS_IGNORE);
  release(r);
}

static void abort_all(mc_comm_backend *b, int exit_code) {
  (void)b;
  fflush(NULL);
  MPI_Abort(MPI_COMM_WORLD, exit_code ? exit_code : 1);
  _exit(exit_code ? exit_code : 1);
}

static void end(mc_comm_backend *b) {
  mpi *m = b->own;
  MPI_Comm_free(&m->second_half);
  MPI_Comm_free(&m->first_half);
  MPI_Comm_free(&m->control);
  free(m->counts);
  free(m);
  MPI_Finalize();
}

/* A processor that several ranks of this machine may use is shared among them. Where there is no other machine, these processors carry
 * the sums too, and computing beside that only makes it slower (docs/SCALING.md). */
static bool look_at_machine(mc_comm_backend *b, mpi *m) {
  MPI_Comm machine;
  int n, rank;
  cpu_set_t own;
  double share = 0;
  MPI_Comm_split_type(m->control, MPI_COMM_TYPE_SHARED, b->rank, MPI_INFO_NULL, &machine);
  MPI_Comm_size(machine, &n);
  MPI_Comm_rank(machine, &rank);
  CPU_ZERO(&own);
  if (sched_getaffinity(0, sizeof own, &own) != 0) CPU_SET(0, &own);
  cpu_set_t *sets = malloc((size_t)n * sizeof *sets);
  if (!sets) return false;
  MPI_Allgather(&own, (int)sizeof own, MPI_BYTE, sets, (int)sizeof own, MPI_BYTE, machine);
  b->usable = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    int users = 0;
    for (int r = 0; r < n; r++) users += CPU_ISSET(cpu, &sets[r]) != 0;
    b->usable += users > 0;
    if (CPU_ISSET(cpu, &own)) share += 1.0 / users;
  }
  free(sets);
  MPI_Comm_free(&machine);
  b->threads = share < 1 ? 1 : (int)(share + 1e-6);
  b->online = (int)sysconf(_SC_NPROCESSORS_ONLN);
  const char *overlap = getenv("MOECLIP_OVERLAP");
  m->at_once = overlap && overlap[0] ? strcmp(overlap, "0") == 0 : n == b->size;
  return true;
}

__attribute__((visibility("default"))) bool mc_comm_mpi_begin(mc_comm_backend *b, char *message, size_t n_message) {
  int given, running = 0;
  MPI_Initialized(&running);
  if (running) {
    snprintf(message, n_message, "it is running already in this process");
    return false;
  }
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS || given < MPI_THREAD_FUNNELED) {
    snprintf(message, n_message, "MPI_Init_thread failed, or this MPI does not allow other threads beside it");
    return false;
  }
  mpi *m = calloc(1, sizeof *m);
  *b = (mc_comm_backend){.own = m, .gather = gather, .gather_rows = gather_rows, .broadcast = broadcast, .total = total, .most = most,
                         .scatter = scatter, .spread = spread, .collect = collect, .done = done, .wait = wait_for, .abort = abort_all, .end = end};
  MPI_Comm_rank(MPI_COMM_WORLD, &b->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &b->size);
  if (gethostname(b->host, sizeof b->host - 1) != 0) snprintf(b->host, sizeof b->host, "?");
  if (m) m->counts = malloc(2 * (size_t)b->size * sizeof *m->counts);
  if (!m || !m->counts) no_memory(b);
  m->places = m->counts + b->size;
  MPI_Comm_dup(MPI_COMM_WORLD, &m->control);
  MPI_Comm_dup(MPI_COMM_WORLD, &m->first_half);
  MPI_Comm_dup(MPI_COMM_WORLD, &m->second_half);
  if (!look_at_machine(b, m)) no_memory(b);
  return true;
}
