/*
 * Learning: one job at a time, in a thread and with a model and a learner of its own. What a job needs to go on after
 * the process ended is in DATA/job.json (what was asked) and DATA/job.part (the learner's checkpoint).
 */
#ifndef MC_SERVE_JOBS_H
#define MC_SERVE_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "report/report.h"
#include "serve/ask.h"
#include "serve/upload.h"

struct mc_server;

typedef enum mc_job_state {
  MC_JOB_QUEUED,
  MC_JOB_LEARNING,
  MC_JOB_EVALUATING,
  MC_JOB_DONE,
  MC_JOB_FAILED,
  MC_JOB_CANCELLED
} mc_job_state;

typedef struct mc_job {
  int64_t id;
  mc_learn_ask ask;
  char *path;         /* of the data set */
  bool upload;        /* its pictures are the server's own */
  int64_t passed_over; /* pictures of the upload that are of no kind that is read */
  int attempts;       /* how often it was begun and did not come to an end */
  double began;       /* when this run of it did; of mc_serve_clock */
  /* Guarded by the jobs' mutex. */
  mc_job_state state;
  char phase[16];
  int64_t step, n_steps, images;
  int64_t left_out;   /* pictures that are of no kind that is read, or in no class's folder */
  double loss, learning_rate, seconds, waited_seconds;
  char error[1024];
  json_t *report;
  bool cancel;
  uint64_t revision;  /* goes up with every change */
} mc_job;

enum { MC_MAX_JOBS = 64 };

typedef struct mc_jobs {
  struct mc_server *s;
  pthread_t thread;
  bool running, stop;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  mc_job *list[MC_MAX_JOBS]; /* the oldest first */
  int n;
  int64_t next_id;
  mc_job *current;           /* queued or being learned; NULL: none */
  char *matrix;              /* the accuracy matrix as JSON, or NULL */
} mc_jobs;

/* Takes up what an earlier process left unfinished. `first` answers at the start, and is only looked at. */
struct mc_generation;
moeclip_code mc_jobs_start(mc_jobs *j, struct mc_server *s, struct mc_generation *first, moeclip_error *err);
/* The job that is being learned writes its checkpoint and stays to be gone on with. Wakes those who watch. */
void mc_jobs_stop(mc_jobs *j);
void mc_jobs_clear(mc_jobs *j);
bool mc_jobs_busy(mc_jobs *j);

/* A new job. Takes ask and path over, also when this fails. upload: NULL when the pictures are below the root. Returns 202 and
 * *job, or the status of a refusal that *err explains. */
int mc_jobs_add(mc_jobs *j, mc_learn_ask *ask, char *path, mc_upload *upload, json_t **job, moeclip_error *err);
/* The job as JSON, NULL when there is none of that number; all jobs, the newest first. */
json_t *mc_jobs_get(mc_jobs *j, const char *id);
json_t *mc_jobs_list(mc_jobs *j);
/* 202, 404, or 409 for one that has ended. */
int mc_jobs_cancel(mc_jobs *j, const char *id);
/* Waits until the job's revision is another than *revision, or until the time; then gives the job, or NULL when there is none
 * or nothing changed. *ended: nothing more will come. */
json_t *mc_jobs_watch(mc_jobs *j, const char *id, uint64_t *revision, double until, bool *ended);
/* A copy of the matrix's JSON, or NULL. */
char *mc_jobs_matrix(mc_jobs *j);

/* --- between jobs.c, job_run.c and measure.c ------------------------------------------------------------------------ */

/* Opens the data set of a job; below the root, all of its files must lie there. */
moeclip_code mc_job_dataset(struct mc_server *s, const mc_learn_ask *ask, const char *path, bool upload, moeclip_dataset **out,
                            moeclip_error *err);
/* Learns, evaluates and cleans up; sets the job's final state. */
void mc_job_run(mc_jobs *j, mc_job *job);
void mc_job_set_state(mc_jobs *j, mc_job *job, mc_job_state state, const char *phase);
moeclip_code mc_job_write(mc_jobs *j, const mc_job *job, moeclip_error *err);
void mc_job_forget(mc_jobs *j);
bool mc_job_must_stop(mc_jobs *j, mc_job *job);

/* Evaluates the new task and those before it, adds them to the results beside the state, and gives the new row. dataset: the
 * job's. */
moeclip_code mc_measure(mc_jobs *j, mc_job *job, const moeclip_dataset *dataset, moeclip_model *model, moeclip_learner *learner,
                        const moeclip_learn_report *report, const moeclip_callbacks *callbacks, moeclip_error *err);
/* The data sets of the learned tasks, as far as they are still what they were: *out [*n], to be destroyed and freed by the
 * caller, also after a failure. */
moeclip_code mc_measure_earlier(struct mc_server *s, moeclip_model *model, const moeclip_learner *learner,
                                moeclip_dataset ***out, size_t *n, moeclip_error *err);
/* The matrix of the results beside the state as JSON; NULL without one. */
char *mc_measure_matrix(struct mc_server *s, moeclip_model *model, const moeclip_learner *learner);

#endif
