/* Whole requests, as they come over a connection, through libmicrohttpd: the guard of Host, Origin and token, then bodies:
 * forms with pictures, JSON, and forms whose files go to disk, archives among them. The first byte chooses the route.
 * Seeds: seeds/http_body. */
#define _GNU_SOURCE /* SOCK_NONBLOCK */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/http.h"
#include "serve/paths.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static mc_serve_options options;
static mc_server server;
static struct MHD_Daemon *daemon_;
static const mc_route *route;
static int n_open; /* requests that have begun and not ended */

static void check_refusal(const mc_request *r) {
  if (r->refused && (r->refused < 400 || r->refused > 599 || !r->refusal[0])) abort();
}

/* What a handler would find. */
static void look(mc_request *r) {
  if ((int)r->n_parts > options.max_images || r->memory > options.memory_bytes) abort();
  for (size_t i = 0; i < r->n_fields; i++) {
    if (strlen(r->fields[i].value) != r->fields[i].n) abort();
    if (!mc_body_value(r, r->fields[i].name)) abort();
  }
  for (size_t i = 0; i < r->n_parts; i++) {
    if (!r->parts[i].field || !r->parts[i].file || r->parts[i].data[r->parts[i].n] != 0) abort();
  }
  if (r->upload) {
    char *folder;
    moeclip_error err = {0};
    if (mc_upload_finish(r->upload, &folder, &err) == MOECLIP_OK) {
      /* Nothing leads out of the server's own folder. */
      char *real = realpath(folder, NULL);
      if (!real || strncmp(real, server.data, strlen(server.data)) != 0) abort();
      free(real);
    } else if (!err.message[0]) {
      abort();
    }
    free(folder);
  }
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **of_request) {
  mc_request *r = *of_request;
  (void)context;
  (void)url;
  (void)version;
  if (!r) {
    *of_request = r = calloc(1, sizeof *r);
    if (!r) abort();
    n_open++;
    r->s = &server;
    r->c = c;
    r->route = route;
    r->began = mc_serve_clock();
    if (!mc_guard(r, method)) mc_body_begin(r);
    r->discard = r->refused != 0;
    check_refusal(r);
    return MHD_YES;
  }
  if (*n > 0) {
    if (!r->discard) mc_body_take(r, data, *n);
    check_refusal(r);
    *n = 0;
    return MHD_YES;
  }
  if (!r->refused && mc_body_end(r)) look(r);
  struct MHD_Response *answer = MHD_create_response_from_buffer(2, "{}", MHD_RESPMEM_PERSISTENT);
  enum MHD_Result queued = MHD_queue_response(c, r->refused ? r->refused : 200, answer);
  MHD_destroy_response(answer);
  return queued;
}

static void on_completed(void *context, struct MHD_Connection *c, void **of_request, enum MHD_RequestTerminationCode why) {
  mc_request *r = *of_request;
  (void)context;
  (void)c;
  (void)why;
  if (!r) return;
  mc_body_clear(r);
  free(r);
  n_open--;
  if (atomic_load(&server.memory) != 0 && n_open == 0) abort(); /* what was taken was given back */
}

static void remove_data(void) {
  MHD_stop_daemon(daemon_);
  mc_path_remove(server.data);
}

static void start(void) {
  static char folder[64];
  mc_serve_options_defaults(&options);
  options.body_bytes = options.upload_bytes = 64 << 10;
  options.memory_bytes = 256 << 10;
  options.archive_bytes = 1 << 20;
  options.archive_files = 50;
  options.max_images = 4;
  server.o = &options;
  snprintf(server.address, sizeof server.address, "127.0.0.1");
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-body-%ld", (long)getpid());
  mkdir(folder, 0700);
  server.data = folder;
  char incoming[80];
  snprintf(incoming, sizeof incoming, "%s/incoming", folder);
  mkdir(incoming, 0700);
  daemon_ = MHD_start_daemon(MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                             NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 << 10, MHD_OPTION_END);
  if (!daemon_) abort();
  atexit(remove_data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  int ends[2];
  struct sockaddr_in address = {.sin_family = AF_INET};
  char answer[4096];
  if (!daemon_) start();
  if (n_bytes < 1 || n_bytes > 100000) return 0;
  route = &mc_routes[data[0] % mc_n_routes];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) abort();
  int room = 1 << 20;
  setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  if (MHD_add_connection(daemon_, ends[1], (struct sockaddr *)&address, sizeof address) != MHD_YES) abort();
  /* In pieces, so that a boundary or a header can be cut anywhere. */
  size_t at = 1, piece = 1 + (size_t)(data[0] / 14) * 97;
  for (int idle = 0; idle < 2;) {
    size_t n = n_bytes - at < piece ? n_bytes - at : piece;
    ssize_t sent = n > 0 ? send(ends[0], data + at, n, MSG_NOSIGNAL) : 0;
    if (sent > 0) at += (size_t)sent;
    MHD_run(daemon_);
    ssize_t got = recv(ends[0], answer, sizeof answer, 0);
    if (sent <= 0 && got <= 0) idle++;
    if (got == 0) break;
  }
  close(ends[0]);
  for (int i = 0; i < 3; i++) MHD_run(daemon_);
  if (n_open != 0) abort();
  return 0;
}
