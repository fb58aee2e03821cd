/* What the parts of the server share. */
#ifndef MC_SERVE_SERVER_H
#define MC_SERVE_SERVER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "report/report.h"
#include "serve/engine.h"
#include "serve/jobs.h"
#include "serve/metrics.h"
#include "serve/serve.h"

typedef struct mc_server {
  const mc_serve_options *o;
  char *data;                 /* the folder for pictures and unfinished work; absolute */
  char *root;                 /* real path below which folders may be learned from; NULL: none */
  char token[65];             /* SHA-256 of the token in hexadecimal, or empty: none is needed */
  char address[64];           /* as in an URL: [::1] */
  int port, listening;        /* listening: the socket */
  int lock;                   /* of the data folder, or -1 */
  moeclip_model_sizes sizes;
  moeclip_transform transform; /* how the model takes pictures */
  bool preprocess;            /* the learner sees pictures in the model's size alone: they can be made so beforehand */
  const char *model_name;     /* the file's name, without its folder */
  atomic_bool stopping;
  atomic_size_t memory;       /* bytes of bodies and pictures that requests hold now */
  atomic_int active;          /* requests between their first line and their answer's end */
  atomic_int streams, uploads;
  sem_t decoders;
  mc_metrics metrics;
  mc_engine engine;
  mc_jobs jobs;
} mc_server;

/* Seconds of a clock that only goes forward. */
double mc_serve_clock(void);
/* n more bytes for a request; false when that is more than the server may hold. */
bool mc_serve_take_memory(mc_server *s, size_t n);
void mc_serve_give_memory(mc_server *s, size_t n);

/* --- http.c ------------------------------------------------------------------------------------------------------- */

struct MHD_Daemon;
moeclip_code mc_http_start(mc_server *s, struct MHD_Daemon **out, moeclip_error *err);

#endif
