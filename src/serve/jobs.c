#include "serve/jobs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/paths.h"
#include "serve/server.h"

enum { MAX_ATTEMPTS = 3 };

/* --- a job as JSON ------------------------------------------------------------------------------------------------ */

static bool has_ended(const mc_job *job) { return job->state >= MC_JOB_DONE; }

static json_t *job_json(const mc_job *job) {
  static const char *const states[] = {"queued", "learning", "evaluating", "done", "failed", "cancelled"};
  char id[24];
  snprintf(id, sizeof id, "%lld", (long long)job->id);
  json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:I, s:o, s:I, s:s?, s:O?}", "id", id, "name", job->ask.name,
                        "state", states[job->state], "phase", job->phase, "step", (json_int_t)job->step, "n_steps",
                        (json_int_t)job->n_steps, "loss", mc_json_real(job->loss), "learning_rate",
                        mc_json_real(job->learning_rate), "seconds", mc_json_real(job->seconds), "images",
                        (json_int_t)job->images, "waited_seconds", mc_json_real(job->waited_seconds), "left_out",
                        (json_int_t)job->left_out, "error", job->error[0] ? job->error : NULL, "report", job->report);
  return json_pack("{s:o}", "job", o);
}

static mc_job *find(mc_jobs *j, const char *id) {
  for (int i = 0; i < j->n; i++) {
    char own[24];
    snprintf(own, sizeof own, "%lld", (long long)j->list[i]->id);
    if (strcmp(own, id) == 0) return j->list[i];
  }
  return NULL;
}

/* --- on disk ------------------------------------------------------------------------------------------------------ */

static char *data_path(mc_jobs *j, const char *name) { return mc_format("%s/%s", j->s->data, name); }

moeclip_code mc_job_write(mc_jobs *j, const mc_job *job, moeclip_error *err) {
  json_t *o = json_pack("{s:I, s:s, s:b, s:I, s:i, s:o}", "id", (json_int_t)job->id, "path", job->path, "upload", job->upload,
                        "passed_over", (json_int_t)job->passed_over, "attempts", job->attempts, "ask", mc_learn_ask_json(&job->ask));
  char *text = o ? mc_json_text(o, JSON_INDENT(1)) : NULL, *path = data_path(j, "job.json");
  moeclip_code code = text && path ? mc_file_write(path, text, strlen(text), err) : mc_fail_memory(err, 1024, "a job");
  json_decref(o);
  free(text);
  free(path);
  return code;
}

/* job.json goes first: without it, the checkpoint means nothing. */
void mc_job_forget(mc_jobs *j) {
  static const char *const names[] = {"job.json", "job.part"};
  for (int i = 0; i < 2; i++) {
    char *path = data_path(j, names[i]);
    if (path && unlink(path) != 0 && errno != ENOENT) mc_warn("%s: cannot remove: %s", path, strerror(errno));
    free(path);
  }
}

static void job_destroy(mc_job *job) {
  if (!job) return;
  mc_learn_ask_clear(&job->ask);
  json_decref(job->report);
  free(job->path);
  free(job);
}

static mc_job *job_create(mc_learn_ask *ask, char *path, bool upload) {
  mc_job *job = calloc(1, sizeof *job);
  if (!job) {
    mc_learn_ask_clear(ask);
    free(path);
    return NULL;
  }
  job->ask = *ask;
  job->path = path;
  job->upload = upload;
  job->loss = job->learning_rate = NAN;
  snprintf(job->phase, sizeof job->phase, "queued");
  *ask = (mc_learn_ask){0};
  return job;
}

/* The list keeps the newest; one that runs is never the oldest of so many. */
static void put(mc_jobs *j, mc_job *job) {
  if (j->n == MC_MAX_JOBS) {
    job_destroy(j->list[0]);
    memmove(j->list, j->list + 1, (MC_MAX_JOBS - 1) * sizeof *j->list);
    j->n--;
  }
  j->list[j->n++] = job;
  j->current = job;
}

/* What a process that ended has left. */
static moeclip_code take_up(mc_jobs *j, moeclip_error *err) {
  static const char advice[] = "remove it to start without the unfinished task";
  json_t *o = NULL;
  mc_learn_ask ask;
  char *path = data_path(j, "job.json");
  moeclip_code code = path ? mc_json_read_file(path, advice, &o, err) : mc_fail_memory(err, 256, "a job");
  if (!o) {
    free(path);
    return code;
  }
  const char *where = json_string_value(json_object_get(o, "path"));
  json_int_t id = json_integer_value(json_object_get(o, "id")), attempts = json_integer_value(json_object_get(o, "attempts"));
  json_int_t passed_over = json_integer_value(json_object_get(o, "passed_over"));
  code = mc_learn_ask_parse(json_object_get(o, "ask"), INT64_MAX, &ask, err);
  if (code != MOECLIP_ERROR_MEMORY && (code != MOECLIP_OK || !where || id < 1 || id == INT64_MAX || attempts < 0 || passed_over < 0 || passed_over > INT32_MAX)) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not what this server wrote; %s", path, advice);
  }
  if (code == MOECLIP_OK) {
    mc_job *job = job_create(&ask, mc_strdup(where), json_is_true(json_object_get(o, "upload")));
    if (!job || !job->path) {
      code = mc_fail_memory(err, strlen(where), "a job");
      job_destroy(job);
    } else {
      job->id = id;
      job->passed_over = job->left_out = passed_over;
      job->attempts = attempts < MAX_ATTEMPTS ? (int)attempts : MAX_ATTEMPTS;
      if (job->id >= j->next_id) j->next_id = job->id + 1;
      put(j, job);
    }
  } else {
    mc_learn_ask_clear(&ask);
  }
  json_decref(o);
  free(path);
  return code;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

void mc_job_set_state(mc_jobs *j, mc_job *job, mc_job_state state, const char *phase) {
  pthread_mutex_lock(&j->mutex);
  job->state = state;
  snprintf(job->phase, sizeof job->phase, "%s", phase);
  job->revision++;
  if (has_ended(job)) j->current = NULL; /* whoever sees its end may ask for the next at once */
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
}

bool mc_job_must_stop(mc_jobs *j, mc_job *job) {
  pthread_mutex_lock(&j->mutex);
  bool stop = j->stop || job->cancel;
  pthread_mutex_unlock(&j->mutex);
  return stop;
}

static void fail_worn_out(mc_jobs *j, mc_job *job) {
  pthread_mutex_lock(&j->mutex);
  snprintf(job->error, sizeof job->error, "the server ended %d times while it learned this task; ask again to try once more",
           job->attempts);
  pthread_mutex_unlock(&j->mutex);
  mc_job_forget(j);
  mc_job_set_state(j, job, MC_JOB_FAILED, "failed");
}

static void *jobs_thread(void *context) {
  mc_jobs *j = context;
  pthread_mutex_lock(&j->mutex);
  while (!j->stop) {
    mc_job *job = j->current;
    if (!job) {
      pthread_cond_wait(&j->changed, &j->mutex);
      continue;
    }
    pthread_mutex_unlock(&j->mutex);
    if (job->attempts >= MAX_ATTEMPTS) {
      fail_worn_out(j, job);
    } else {
      mc_job_run(j, job);
    }
    pthread_mutex_lock(&j->mutex);
    /* What was interrupted stays the current one: only the end of the server does that. */
    if (j->current == job) break;
  }
  pthread_mutex_unlock(&j->mutex);
  return NULL;
}

/* Whatever lies there belongs to requests of a process that has ended. */
static moeclip_code make_folders(mc_jobs *j, moeclip_error *err) {
  static const char *const names[] = {"incoming", "tasks"};
  for (int i = 0; i < 2; i++) {
    char *path = data_path(j, names[i]);
    if (path && i == 0) mc_path_remove(path);
    moeclip_code code = path ? mc_make_folder(path, err) : mc_fail_memory(err, 256, "a path");
    free(path);
    MC_TRY(code);
  }
  return MOECLIP_OK;
}

moeclip_code mc_jobs_start(mc_jobs *j, mc_server *s, mc_generation *first, moeclip_error *err) {
  pthread_condattr_t a;
  *j = (mc_jobs){.s = s, .next_id = 1};
  pthread_mutex_init(&j->mutex, NULL);
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_cond_init(&j->changed, &a);
  pthread_condattr_destroy(&a);
  MC_TRY(make_folders(j, err));
  MC_TRY(take_up(j, err));
  if (first->n_tasks > 0) j->matrix = mc_measure_matrix(s, first->model, first->learner);
  if (j->current) mc_warn("going on with the unfinished task \"%s\"", j->current->ask.name);
  if (pthread_create(&j->thread, NULL, jobs_thread, j) != 0) {
    return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the thread that learns could not be started");
  }
  j->running = true;
  return MOECLIP_OK;
}

void mc_jobs_stop(mc_jobs *j) {
  if (!j->s) return;
  pthread_mutex_lock(&j->mutex);
  j->stop = true;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
  if (j->running) pthread_join(j->thread, NULL);
  j->running = false;
  pthread_mutex_lock(&j->mutex);
  for (int i = 0; i < j->n; i++) j->list[i]->revision++;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
}

void mc_jobs_clear(mc_jobs *j) {
  if (!j->s) return;
  for (int i = 0; i < j->n; i++) job_destroy(j->list[i]);
  pthread_cond_destroy(&j->changed);
  pthread_mutex_destroy(&j->mutex);
  free(j->matrix);
  *j = (mc_jobs){0};
}

/* --- for the requests --------------------------------------------------------------------------------------------- */

bool mc_jobs_busy(mc_jobs *j) {
  pthread_mutex_lock(&j->mutex);
  bool busy = j->current != NULL;
  pthread_mutex_unlock(&j->mutex);
  return busy;
}

/* With the mutex held. */
static int add(mc_jobs *j, mc_job *job, mc_upload *upload, moeclip_error *err) {
  int task;
  if (j->stop) {
    mc_fail(err, MOECLIP_ERROR_CANCELLED, "the server is stopping");
    return 503;
  }
  if (j->current) {
    mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a task is being learned already: \"%s\"", j->current->ask.name);
    return 409;
  }
  mc_generation *g = mc_engine_current(&j->s->engine);
  bool taken = mc_generation_task(g, job->ask.name, &task, NULL) == MOECLIP_OK;
  mc_generation_release(g);
  if (taken) {
    mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a task named \"%s\" was learned already; give this one another name", job->ask.name);
    return 409;
  }
  mc_job_forget(j); /* a checkpoint of another job must not be taken for this one's */
  if (upload) {
    free(job->path);
    job->path = NULL;
    job->passed_over = job->left_out = mc_upload_passed_over(upload);
    if (mc_upload_keep(upload, job->ask.name, &job->path, err) != MOECLIP_OK) return 503;
  }
  job->id = j->next_id++;
  if (mc_job_write(j, job, err) != MOECLIP_OK) return 503;
  put(j, job);
  pthread_cond_broadcast(&j->changed);
  return 202;
}

int mc_jobs_add(mc_jobs *j, mc_learn_ask *ask, char *path, mc_upload *upload, json_t **out, moeclip_error *err) {
  mc_job *job = job_create(ask, path, upload != NULL);
  if (!job) {
    mc_fail_memory(err, sizeof *job, "a job");
    return 503;
  }
  pthread_mutex_lock(&j->mutex);
  int status = add(j, job, upload, err);
  if (status == 202) *out = job_json(job);
  pthread_mutex_unlock(&j->mutex);
  if (status != 202) job_destroy(job);
  return status;
}

json_t *mc_jobs_get(mc_jobs *j, const char *id) {
  pthread_mutex_lock(&j->mutex);
  mc_job *job = find(j, id);
  json_t *o = job ? job_json(job) : NULL;
  pthread_mutex_unlock(&j->mutex);
  return o;
}

json_t *mc_jobs_list(mc_jobs *j) {
  json_t *list = json_array();
  pthread_mutex_lock(&j->mutex);
  for (int i = j->n - 1; i >= 0; i--) {
    json_t *o = job_json(j->list[i]);
    mc_json_append(&list, json_incref(json_object_get(o, "job")));
    json_decref(o);
  }
  pthread_mutex_unlock(&j->mutex);
  return json_pack("{s:o}", "jobs", list);
}

int mc_jobs_cancel(mc_jobs *j, const char *id) {
  pthread_mutex_lock(&j->mutex);
  mc_job *job = find(j, id);
  int status = !job ? 404 : has_ended(job) ? 409 : 202;
  if (status == 202) job->cancel = true;
  pthread_mutex_unlock(&j->mutex);
  return status;
}

json_t *mc_jobs_watch(mc_jobs *j, const char *id, uint64_t *revision, double until, bool *ended) {
  struct timespec t = {(time_t)until, (long)((until - floor(until)) * 1e9)};
  json_t *o = NULL;
  pthread_mutex_lock(&j->mutex);
  mc_job *job = find(j, id);
  while (job && job->revision == *revision && !has_ended(job) && !(j->stop && !j->running)) {
    if (pthread_cond_timedwait(&j->changed, &j->mutex, &t) != 0) break;
    job = find(j, id); /* it may have been dropped from the list */
  }
  *ended = !job || has_ended(job) || (j->stop && !j->running);
  if (job && (job->revision != *revision || *ended)) {
    *revision = job->revision;
    o = job_json(job);
  }
  pthread_mutex_unlock(&j->mutex);
  return o;
}

char *mc_jobs_matrix(mc_jobs *j) {
  pthread_mutex_lock(&j->mutex);
  char *copy = j->matrix ? mc_strdup(j->matrix) : NULL;
  pthread_mutex_unlock(&j->mutex);
  return copy;
}
