/* What a way of connecting processes must offer. It ends the process itself when the connection fails. */
#ifndef MC_COMM_BACKEND_H
#define MC_COMM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mc_comm_backend mc_comm_backend;
struct mc_comm_backend {
  int rank, size;
  int threads;         /* this rank's share of the processors */
  int usable, online;  /* processors of this machine */
  char host[64];
  void *own;
  void (*gather)(mc_comm_backend *b, const void *own, size_t n_bytes, void *all);
  void (*gather_rows)(mc_comm_backend *b, void *all, size_t each, const int64_t *first);
  void (*broadcast)(mc_comm_backend *b, void *data, size_t n_bytes);
  void (*total)(mc_comm_backend *b, int64_t *values, size_t n);
  void (*most)(mc_comm_backend *b, int64_t *values, size_t n);
  /* The halves of a sum. Both return a request. scatter: data[first[r] ...] goes to rank r, and what the ranks have for this one
   * comes to received, one after another. spread: this rank's part of data goes to all. */
  void *(*scatter)(mc_comm_backend *b, const float *data, const int64_t *first, float *received);
  void *(*spread)(mc_comm_backend *b, float *data, const int64_t *first);
  /* The same exchange, in the order of the scatters. */
  void *(*collect)(mc_comm_backend *b, float *data, const int64_t *first);
  bool (*done)(mc_comm_backend *b, void *request); /* releases the request when it is */
  void (*wait)(mc_comm_backend *b, void *request);
  void (*abort)(mc_comm_backend *b, int exit_code);
  void (*end)(mc_comm_backend *b);
};

/* Exported by the module moeclip_mpi.so, which alone needs MPI's libraries and is loaded when it is needed. False: message. */
#define MC_COMM_MODULE "moeclip_mpi.so"
#define MC_COMM_ENTRY "mc_comm_mpi_begin"
typedef bool (*mc_comm_entry)(mc_comm_backend *out, char *message, size_t n_message);

#endif
