/* Learning through the interface: a new task, and the jobs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/ask.h"
#include "serve/http.h"
#include "serve/paths.h"

enum { PING_SECONDS = 15 };

/* --- a new task --------------------------------------------------------------------------------------------------- */

static moeclip_code read_options(mc_request *r, json_t **out, moeclip_error *err) {
  if (r->upload) {
    *out = json_object();
    for (size_t i = 0; i < r->n_fields; i++) {
      MC_TRY(mc_learn_ask_field(*out, r->fields[i].name, r->fields[i].value, err));
    }
    return MOECLIP_OK;
  }
  return mc_ask_body(r->raw ? (const char *)r->raw : "", r->n_raw, out, err);
}

/* Where the pictures are, and that they can be learned from. */
static moeclip_code find_pictures(mc_request *r, mc_learn_ask *ask, char **path, moeclip_error *err) {
  mc_server *s = r->s;
  moeclip_dataset *d = NULL;
  if (r->upload && ask->path) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"path\" is for pictures that are not sent");
  if (!r->upload && !ask->path) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"path\" is missing: a folder below the one that --root allows");
  }
  if (!r->upload && !s->root) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "this server was started without --root: send the pictures instead");
  }
  if (r->upload) {
    MC_TRY(mc_upload_finish(r->upload, path, err));
  } else {
    MC_TRY(mc_path_below(s->root, ask->path, path, err));
  }
  MC_TRY(mc_job_dataset(s, ask, *path, r->upload != NULL, &d, err));
  moeclip_dataset_destroy(d);
  return MOECLIP_OK;
}

/* Of a state that this ask begins, where neither it nor the server's options name one. Settled now, and kept with the job. */
static moeclip_code choose_method(const mc_server *s, mc_learn_ask *ask, moeclip_error *err) {
  bool there;
  if (!s->o->asks_choose || ask->method || !ask->trains) return MOECLIP_OK;
  MC_TRY(mc_file_exists(s->o->state, &there, err));
  if (there) return MOECLIP_OK;
  ask->method = mc_strdup(moeclip_mode_name(MOECLIP_MODE_MOE));
  return ask->method ? MOECLIP_OK : mc_fail_memory(err, 16, "a method");
}

enum MHD_Result mc_post_learn(mc_request *r) {
  mc_learn_ask ask;
  moeclip_error err = {0};
  json_t *options = NULL, *job = NULL;
  char *path = NULL;
  mc_learn_ask_defaults(&ask);
  /* Unpacking may take longer than other requests do. */
  MHD_set_connection_option(r->c, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)(60 * r->s->o->request_seconds) + 60);
  moeclip_code code = read_options(r, &options, &err);
  if (code == MOECLIP_OK) code = mc_learn_ask_parse(options, r->s->o->max_iterations, &ask, &err);
  json_decref(options);
  if (code == MOECLIP_OK) code = choose_method(r->s, &ask, &err);
  if (code == MOECLIP_OK) code = find_pictures(r, &ask, &path, &err);
  int status = 0;
  if (code == MOECLIP_OK) {
    status = mc_jobs_add(&r->s->jobs, &ask, path, r->upload, &job, &err);
  } else {
    mc_learn_ask_clear(&ask);
    free(path);
  }
  MHD_set_connection_option(r->c, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)r->s->o->request_seconds + 15);
  mc_body_clear(r); /* before the answer, so that who has it may send the next task at once */
  if (status == 202) return mc_reply_json(r, 202, job, 15);
  return status ? mc_reply_error(r, (unsigned)status, "%s", err.message) : mc_reply_failure(r, &err);
}

/* --- jobs --------------------------------------------------------------------------------------------------------- */

static enum MHD_Result no_job(mc_request *r) { return mc_reply_error(r, 404, "there is no job of that number"); }

enum MHD_Result mc_get_jobs(mc_request *r) { return mc_reply_json(r, 200, mc_jobs_list(&r->s->jobs), 15); }

enum MHD_Result mc_get_job(mc_request *r) {
  json_t *job = mc_jobs_get(&r->s->jobs, r->parameter);
  return job ? mc_reply_json(r, 200, job, 15) : no_job(r);
}

enum MHD_Result mc_delete_job(mc_request *r) {
  int status = mc_jobs_cancel(&r->s->jobs, r->parameter);
  if (status == 404) return no_job(r);
  if (status == 409) return mc_reply_error(r, 409, "the job has ended already");
  json_t *job = mc_jobs_get(&r->s->jobs, r->parameter);
  return job ? mc_reply_json(r, 202, job, 15) : no_job(r);
}

/* --- the stream of events ----------------------------------------------------------------------------------------- */

typedef struct stream {
  mc_server *s;
  char id[128];
  uint64_t revision;
  char *text;        /* what is being sent, */
  size_t n, at;      /* and how far */
  double last;
  bool ended;
} stream;

/* The next event, or a comment that keeps the connection alive. */
static bool next_event(stream *t) {
  mc_server *s = t->s;
  double pause = t->last + 0.25 - mc_serve_clock();
  double ping = (s->o->request_seconds + 15) / 3 < PING_SECONDS ? (s->o->request_seconds + 15) / 3 : PING_SECONDS;
  /* A few times a second at most; an end need not wait for that. */
  if (pause > 0) {
    struct timespec rest = {0, (long)(pause * 1e9)};
    if (!atomic_load(&s->stopping)) nanosleep(&rest, NULL);
  }
  json_t *job = mc_jobs_watch(&s->jobs, t->id, &t->revision, mc_serve_clock() + ping, &t->ended);
  free(t->text);
  char *data = job ? mc_json_text(job, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
  if (data && t->ended) {
    /* The last state as progress too, for those who only listen to that. */
    t->text = mc_format("event: progress\ndata: %s\n\nevent: end\ndata: %s\n\n", data, data);
  } else {
    t->text = data ? mc_format("event: progress\ndata: %s\n\n", data) : mc_strdup(": ping\n\n");
  }
  free(data);
  json_decref(job);
  t->n = t->text ? strlen(t->text) : 0;
  t->at = 0;
  t->last = mc_serve_clock();
  return t->text != NULL;
}

static ssize_t read_stream(void *context, uint64_t at, char *out, size_t room) {
  stream *t = context;
  (void)at;
  if (t->at == t->n) {
    if (t->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    if (!next_event(t)) return MHD_CONTENT_READER_END_WITH_ERROR;
  }
  size_t n = t->n - t->at < room ? t->n - t->at : room;
  memcpy(out, t->text + t->at, n);
  t->at += n;
  return (ssize_t)n;
}

static void end_stream(void *context) {
  stream *t = context;
  atomic_fetch_sub(&t->s->streams, 1);
  free(t->text);
  free(t);
}

enum MHD_Result mc_get_events(mc_request *r) {
  json_t *job = mc_jobs_get(&r->s->jobs, r->parameter);
  if (!job) return no_job(r);
  json_decref(job);
  if (atomic_fetch_add(&r->s->streams, 1) >= r->s->o->max_streams) {
    atomic_fetch_sub(&r->s->streams, 1);
    return mc_reply_error(r, 503, "%d streams of events are open already", r->s->o->max_streams);
  }
  stream *t = calloc(1, sizeof *t);
  struct MHD_Response *response = NULL;
  if (t) {
    t->s = r->s;
    t->revision = UINT64_MAX; /* no job's: the first event comes at once */
    memcpy(t->id, r->parameter, sizeof t->id);
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, t, end_stream);
  }
  if (!response) {
    free(t);
    atomic_fetch_sub(&r->s->streams, 1);
    return mc_reply_error(r, 503, "out of memory");
  }
  mc_reply_headers(response, "text/event-stream");
  MHD_add_response_header(response, "Cache-Control", "no-store");
  MHD_add_response_header(response, "X-Accel-Buffering", "no");
  return mc_reply_queue(r, 200, response);
}
