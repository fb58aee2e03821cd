/* The server from its start to its end. */
#include "serve/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "serve/http.h"
#include "serve/server.h"

#define MEBI ((size_t)1 << 20)

void mc_serve_options_defaults(mc_serve_options *o) {
  *o = (mc_serve_options){.activation = MOECLIP_ACTIVATION_AUTO, .host = "127.0.0.1", .port = 8080, .checkpoint_seconds = 60,
                          .batch = 64, .queue = 1024, .connections = 512, .max_images = 256, .max_prompts = 2000,
                          .max_streams = 32, .batch_wait_ms = 2, .request_seconds = 30, .megapixels = 50,
                          .body_bytes = 64 * MEBI, .upload_bytes = 2048 * MEBI, .memory_bytes = 1024 * MEBI,
                          .label_bytes = 64 * MEBI, .archive_bytes = 4096 * MEBI, .archive_files = 200000,
                          .archive_ratio = 100, .max_iterations = 100000, .eval_images = 2000, .learn_seconds = 86400};
  moeclip_learner_options_defaults(&o->learner);
}

double mc_serve_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool mc_serve_take_memory(mc_server *s, size_t n) {
  size_t before = atomic_fetch_add(&s->memory, n);
  if (before + n <= s->o->memory_bytes) return true;
  atomic_fetch_sub(&s->memory, n);
  return false;
}

void mc_serve_give_memory(mc_server *s, size_t n) { atomic_fetch_sub(&s->memory, n); }

/* --- where it listens --------------------------------------------------------------------------------------------- */

static moeclip_code parse_address(const char *host, int port, struct sockaddr_storage *out, socklen_t *n, bool *loopback,
                                  moeclip_error *err) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
    memcpy(out, &v4, *n = sizeof v4);
    *loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
  } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
    memcpy(out, &v6, *n = sizeof v6);
    *loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
  } else {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--host %.100s: give an address in digits, such as 127.0.0.1 or ::1", host);
  }
  return MOECLIP_OK;
}

static moeclip_code listen_there(mc_server *s, moeclip_error *err) {
  struct sockaddr_storage a;
  socklen_t n;
  bool loopback = false;
  int yes = 1;
  MC_TRY(parse_address(s->o->host, s->o->port, &a, &n, &loopback, err));
  if (!loopback && !s->token[0]) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "--host %.100s: others than this machine could ask, so a token is needed: --token-file FILE, or "
                   "MOECLIP_TOKEN in the environment", s->o->host);
  }
  s->listening = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s->listening < 0) return mc_fail(err, MOECLIP_ERROR_IO, "no socket can be made: %s", strerror(errno));
  setsockopt(s->listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(s->listening, (struct sockaddr *)&a, n) != 0 || listen(s->listening, 1024) != 0) {
    return mc_fail(err, MOECLIP_ERROR_IO, "%s port %d: cannot listen there: %s", s->o->host, s->o->port, strerror(errno));
  }
  n = sizeof a;
  getsockname(s->listening, (struct sockaddr *)&a, &n);
  char text[INET6_ADDRSTRLEN];
  if (a.ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
    s->port = ntohs(v6->sin6_port);
    snprintf(s->address, sizeof s->address, "[%s]", inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text));
  } else {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
    s->port = ntohs(v4->sin_port);
    snprintf(s->address, sizeof s->address, "%s", inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text));
  }
  return MOECLIP_OK;
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

static moeclip_code open_folders(mc_server *s, moeclip_error *err) {
  char *data = s->o->data ? mc_strdup(s->o->data) : mc_format("%s.data", s->o->state), *lock = NULL;
  moeclip_code code = data ? mc_make_folder(data, err) : mc_fail_memory(err, 256, "a path");
  if (code == MOECLIP_OK && !(s->data = realpath(data, NULL))) {
    code = mc_fail(err, MOECLIP_ERROR_IO, "%s: %s", data, strerror(errno));
  }
  if (code == MOECLIP_OK && !(lock = mc_format("%s/lock", s->data))) code = mc_fail_memory(err, 256, "a path");
  if (code == MOECLIP_OK) {
    s->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock < 0) {
      code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot create: %s", lock, strerror(errno));
    } else if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
      code = mc_fail(err, MOECLIP_ERROR_IO, "%s: another server works with this folder; give another one with --data", data);
    }
  }
  if (code == MOECLIP_OK && s->o->root && !(s->root = realpath(s->o->root, NULL))) {
    code = mc_fail(err, MOECLIP_ERROR_IO, "--root %s: %s", s->o->root, strerror(errno));
  }
  free(lock);
  free(data);
  return code;
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

static moeclip_code start(mc_server *s, struct MHD_Daemon **daemon, moeclip_error *err) {
  mc_generation *first;
  const mc_serve_options *o = s->o;
  MC_TRY(mc_guard_token(o->token_file, s->token, err));
  MC_TRY(listen_there(s, err));
  MC_TRY(open_folders(s, err));
  MC_TRY(mc_generation_open(o, &first, err));
  const char *slash = strrchr(o->model, '/');
  s->model_name = slash ? slash + 1 : o->model;
  moeclip_model_get_sizes(first->model, &s->sizes);
  moeclip_model_transform(first->model, &s->transform);
  /* AlexNet sees the centre of pictures, of 224 pixels a side. */
  s->preprocess = !o->alexnet || (s->sizes.image_size == 224 && !s->transform.squash);
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  sem_init(&s->decoders, 0, o->decoders > 0 ? (unsigned)o->decoders : processors > 0 ? (unsigned)processors : 1);
  /* The jobs look at the first generation before the engine has it. */
  mc_generation_hold(first);
  moeclip_code code = mc_engine_start(&s->engine, o, &s->metrics, first, err);
  if (code == MOECLIP_OK) code = mc_jobs_start(&s->jobs, s, first, err);
  mc_generation_release(first);
  return code == MOECLIP_OK ? mc_http_start(s, daemon, err) : code;
}

/* Nothing new is taken; what was taken is finished. */
static void finish(mc_server *s, struct MHD_Daemon *daemon) {
  atomic_store(&s->stopping, true);
  if (daemon) MHD_quiesce_daemon(daemon);
  mc_jobs_stop(&s->jobs);
  double until = mc_serve_clock() + s->o->request_seconds + 10;
  while (atomic_load(&s->active) > 0 && mc_serve_clock() < until) {
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
  }
  if (daemon) MHD_stop_daemon(daemon);
  mc_engine_stop(&s->engine);
  mc_jobs_clear(&s->jobs);
  if (s->listening >= 0) close(s->listening);
  if (s->lock >= 0) close(s->lock);
  free(s->data);
  free(s->root);
}

static void wait_for_signal(const sigset_t *signals) {
  int number;
  while (sigwait(signals, &number) != 0) {
  }
  /* A second one ends the process at once. */
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

moeclip_code mc_serve_run(const mc_serve_options *o, moeclip_error *err) {
  struct MHD_Daemon *daemon = NULL;
  mc_server *s = calloc(1, sizeof *s);
  sigset_t signals;
  if (!s) return mc_fail_memory(err, sizeof *s, "the server");
  s->o = o;
  s->listening = s->lock = -1;
  s->metrics.started = mc_serve_clock();
  /* Blocked before any thread is made, so that all threads leave them to this one. */
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  signal(SIGPIPE, SIG_IGN);
  moeclip_code code = start(s, &daemon, err);
  if (code == MOECLIP_OK) {
    printf("listening on http://%s:%d\n", s->address, s->port);
    fflush(stdout);
    wait_for_signal(&signals);
  }
  finish(s, daemon);
  free(s);
  return code;
}
