/*
 * serve/: the HTTP server. Stands on the public headers, base/ and report/; only cli/ is above it.
 *
 * Connections have a thread each (libmicrohttpd), which reads, decodes and answers; one engine thread owns the learner
 * that answers and takes the pictures of several requests at once; one job thread learns with a model and a learner of
 * its own. docs/SERVER.md describes what a client sees.
 */
#ifndef MC_SERVE_SERVE_H
#define MC_SERVE_SERVE_H

#include <stdbool.h>

#include "base/status.h"
#include "moeclip/learner.h"

typedef struct mc_serve_options {
  const char *model, *state, *alexnet, *reference;
  int activation, precision, n_threads, learn_threads; /* threads 0: as many as there are processors */
  const char *host, *token_file, *root, *data;
  int port;                                 /* 0: a free one */
  moeclip_learner_options learner;          /* of a state that is not there yet */
  bool asks_choose;                         /* the ask for its first task makes it moe's when it says how to train */
  double checkpoint_seconds;

  int batch, queue, connections, decoders, max_images, max_prompts, max_streams;
  double batch_wait_ms, request_seconds, megapixels;
  size_t body_bytes, upload_bytes, memory_bytes, label_bytes;

  size_t archive_bytes;
  int archive_files;
  double archive_ratio;
  int64_t max_iterations, eval_images;
  double learn_seconds;
} mc_serve_options;
void mc_serve_options_defaults(mc_serve_options *o);

/* Serves until SIGINT or SIGTERM, and finishes what it accepted. Prints the address on stdout when it is ready. */
moeclip_code mc_serve_run(const mc_serve_options *options, moeclip_error *err);

#endif
