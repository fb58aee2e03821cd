/* One job from its data set to the learner that answers. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "moeclip/image.h"
#include "serve/paths.h"
#include "serve/server.h"

#define MAX_PICTURE_FILE ((size_t)256 << 20)

typedef struct running {
  mc_jobs *j;
  mc_job *job;
  mc_server *s;
  moeclip_model *model;
  moeclip_learner *learner;
  moeclip_dataset *dataset;
  moeclip_learn_report report;
  bool known;      /* the state holds the task already */
  bool too_long;
  char *checkpoint;
} running;

moeclip_code mc_job_dataset(mc_server *s, const mc_learn_ask *ask, const char *path, bool upload, moeclip_dataset **out,
                            moeclip_error *err) {
  moeclip_dataset_options o = ask->data;
  *out = NULL;
  o.name = ask->name;
  if (ask->shots > 0) o.max_per_class[MOECLIP_TRAIN] = ask->shots;
  if (!upload) MC_TRY(mc_path_check_links(s->root, path, err));
  MC_TRY(moeclip_dataset_open(path, &o, out, err));
  moeclip_code code = MOECLIP_OK;
  if (!upload) code = mc_path_check_dataset(s->root, *out, err);
  if (code == MOECLIP_OK && upload && strcmp(moeclip_dataset_format(*out), "folder") != 0) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the pictures must lie in one folder for each class");
  }
  if (code == MOECLIP_OK && moeclip_dataset_classes(*out) < 2) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a task needs at least 2 classes, each a folder with pictures; there is 1");
  }
  if (code == MOECLIP_OK && moeclip_dataset_count(*out, MOECLIP_TRAIN) == 0) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "there are no training pictures");
  }
  if (code != MOECLIP_OK) {
    moeclip_dataset_destroy(*out);
    *out = NULL;
  }
  return code;
}

/* --- what the library tells while it works ------------------------------------------------------------------------ */

static int on_progress(void *context, const moeclip_progress *p) {
  running *r = context;
  mc_job *job = r->job;
  pthread_mutex_lock(&r->j->mutex);
  snprintf(job->phase, sizeof job->phase, "%s", p->phase);
  job->step = p->step;
  job->n_steps = p->n_steps;
  job->images = p->images;
  job->loss = p->loss;
  job->learning_rate = p->learning_rate;
  job->seconds = p->seconds;
  job->waited_seconds = p->waited_seconds;
  job->revision++;
  bool stop = r->j->stop || job->cancel;
  pthread_cond_broadcast(&r->j->changed);
  pthread_mutex_unlock(&r->j->mutex);
  if (!stop && r->s->o->learn_seconds > 0 && mc_serve_clock() - job->began > r->s->o->learn_seconds) r->too_long = true;
  return stop || r->too_long;
}

static void on_broken(void *context, const char *item, const char *message) {
  (void)context;
  mc_warn("%s: %s (left out)", item, message);
}

/* --- learning ----------------------------------------------------------------------------------------------------- */

/* Pictures of an upload are as small as those of any request. */
static moeclip_code check_pictures(running *r, moeclip_error *err) {
  char name[PATH_MAX];
  for (int split = 0; split < 2; split++) {
    for (size_t i = 0; i < moeclip_dataset_count(r->dataset, (moeclip_split)split); i++) {
      uint8_t *data;
      size_t n;
      moeclip_image image;
      moeclip_error ignored;
      if (mc_job_must_stop(r->j, r->job)) return mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
      MC_TRY(moeclip_dataset_item_name(r->dataset, (moeclip_split)split, i, name, sizeof name));
      if (mc_file_read(name, MAX_PICTURE_FILE, &data, &n, &ignored) != MOECLIP_OK) continue;
      moeclip_code code = moeclip_image_decode_at_most(data, n, name + strlen(r->s->data),
                                                       (uint64_t)(r->s->o->megapixels * 1e6), &image, err);
      free(data);
      if (code == MOECLIP_OK) moeclip_image_clear(&image);
      if (code == MOECLIP_ERROR_UNSUPPORTED || code == MOECLIP_ERROR_MEMORY) return code;
    }
  }
  return MOECLIP_OK;
}

static moeclip_code check_method(const running *r, moeclip_error *err) {
  moeclip_learner_options is;
  moeclip_learner_get_options(r->learner, &is);
  const char *asked = r->job->ask.method, *has = moeclip_mode_name(is.mode);
  if (!asked || strcmp(asked, has) == 0) return MOECLIP_OK;
  return mc_fail(
      err, MOECLIP_ERROR_MISMATCH,
      "the server's state was made with the method \"%s\", not \"%.60s\"; leave \"method\" out, or serve another state", has,
      asked);
}

static moeclip_code open_learner(running *r, moeclip_error *err) {
  const mc_serve_options *o = r->s->o;
  moeclip_model_options model;
  moeclip_task_info info;
  moeclip_model_options_defaults(&model);
  model.n_threads = o->learn_threads;
  model.activation = (moeclip_activation)o->activation;
  model.precision = (moeclip_precision)o->precision;
  MC_TRY(moeclip_model_load(o->model, &model, &r->model, err));
  bool there;
  MC_TRY(mc_file_exists(o->state, &there, err));
  if (there) {
    MC_TRY(moeclip_learner_load(r->model, o->state, o->alexnet, &r->learner, err));
    MC_TRY(check_method(r, err));
  } else {
    moeclip_learner_options learner = o->learner;
    learner.alexnet = o->alexnet;
    if (r->job->ask.method) moeclip_mode_find(r->job->ask.method, &learner.mode);
    MC_TRY(moeclip_learner_create(r->model, &learner, &r->learner, err));
  }
  for (int t = 0; t < moeclip_learner_tasks(r->learner); t++) {
    if (moeclip_learner_task(r->learner, t, &info, NULL) == MOECLIP_OK && strcmp(info.name, r->job->ask.name) == 0) {
      r->known = true;
    }
  }
  return MOECLIP_OK;
}

/* Of a new state, where its method has a use for it. */
static moeclip_code learn_reference(running *r, const moeclip_callbacks *callbacks, moeclip_error *err) {
  const char *path = r->s->o->reference;
  moeclip_dataset_options data;
  moeclip_learner_options is;
  moeclip_dataset *d = NULL;
  moeclip_learner_get_options(r->learner, &is);
  if (!path || !moeclip_uses_reference(&is) || moeclip_learner_tasks(r->learner) > 0 ||
      moeclip_learner_has_reference(r->learner)) {
    return MOECLIP_OK;
  }
  moeclip_dataset_options_defaults(&data);
  MC_TRY(moeclip_dataset_open(path, &data, &d, err));
  moeclip_code code = moeclip_learner_learn_reference(r->learner, d, NULL, callbacks, NULL, err);
  moeclip_dataset_destroy(d);
  return code;
}

static bool is_joint(const running *r) {
  moeclip_learner_options is;
  moeclip_learner_get_options(r->learner, &is);
  return is.mode == MOECLIP_MODE_JOINT;
}

static moeclip_code learn_task(running *r, moeclip_error *err) {
  mc_job *job = r->job;
  moeclip_dataset **earlier = NULL;
  moeclip_task_options o = job->ask.task;
  moeclip_callbacks callbacks = {on_progress, on_broken, r};
  const char **templates = NULL;
  size_t n = json_array_size(job->ask.templates);
  if (n > 0) {
    templates = mc_alloc(n, sizeof *templates);
    if (!templates) return mc_fail_memory(err, n * sizeof *templates, "templates");
    for (size_t i = 0; i < n; i++) templates[i] = json_string_value(json_array_get(job->ask.templates, i));
  }
  o.templates = templates;
  o.n_templates = n;
  o.shots_augment_once = job->ask.shots > 0;
  o.checkpoint = r->checkpoint;
  o.checkpoint_seconds = r->s->o->checkpoint_seconds;
  moeclip_code code = learn_reference(r, &callbacks, err);
  if (code == MOECLIP_OK && is_joint(r)) code = mc_measure_earlier(r->s, r->model, r->learner, &earlier, &o.n_earlier, err);
  o.earlier = (const moeclip_dataset *const *)earlier;
  if (code == MOECLIP_OK) code = moeclip_learner_learn(r->learner, r->dataset, &o, &callbacks, &r->report, err);
  for (size_t i = 0; earlier && i < o.n_earlier; i++) moeclip_dataset_destroy(earlier[i]);
  free(earlier);
  free(templates);
  if (code == MOECLIP_OK) code = moeclip_learner_save(r->learner, r->s->o->state, err);
  if (code == MOECLIP_OK) unlink(r->checkpoint);
  return code;
}

/* From the file that was just written, so that what answers is what the next start would answer with. */
static moeclip_code publish(running *r, moeclip_error *err) {
  mc_generation *next;
  MC_TRY(mc_generation_open(r->s->o, &next, err));
  mc_engine_swap(&r->s->engine, next);
  return MOECLIP_OK;
}

/* The test pictures are kept, for the rows of later tasks; of the others their names, so that the split stays the same. Joint
 * training needs all of them again. */
static void drop_training_pictures(running *r) {
  char name[PATH_MAX];
  moeclip_dataset_options o = r->job->ask.data;
  moeclip_dataset *all = NULL;
  o.name = r->job->ask.name;
  o.max_per_class[0] = o.max_per_class[1] = 0;
  if (!r->job->upload || is_joint(r) || moeclip_dataset_open(r->job->path, &o, &all, NULL) != MOECLIP_OK) return;
  for (size_t i = 0; i < moeclip_dataset_count(all, MOECLIP_TRAIN); i++) {
    if (moeclip_dataset_item_name(all, MOECLIP_TRAIN, i, name, sizeof name) != MOECLIP_OK) continue;
    if (truncate(name, 0) != 0) mc_warn("%s: cannot be emptied: %s", name, strerror(errno));
  }
  moeclip_dataset_destroy(all);
}

/* What somebody sent in vain, for the job to tell. */
static void set_left_out(running *r) {
  size_t n = 0;
  for (int why = MOECLIP_LEFT_OUT_KIND; why <= MOECLIP_LEFT_OUT_LOOSE; why++) {
    n += moeclip_dataset_left_out(r->dataset, (moeclip_left_out)why, NULL);
  }
  pthread_mutex_lock(&r->j->mutex);
  r->job->left_out = r->job->passed_over + (int64_t)n;
  pthread_mutex_unlock(&r->j->mutex);
}

static void set_report(running *r) {
  json_t *report = mc_report_json(r->learner, &r->report);
  json_object_del(report, "experts"); /* GET /v1/tasks has them */
  pthread_mutex_lock(&r->j->mutex);
  json_decref(r->job->report);
  r->job->report = report;
  pthread_mutex_unlock(&r->j->mutex);
}

static moeclip_code run(running *r, moeclip_error *err) {
  mc_job *job = r->job;
  moeclip_callbacks callbacks = {on_progress, on_broken, r};
  mc_job_set_state(r->j, job, MC_JOB_LEARNING, "check");
  MC_TRY(mc_job_dataset(r->s, &job->ask, job->path, job->upload, &r->dataset, err));
  set_left_out(r);
  MC_TRY(open_learner(r, err));
  if (!r->known) {
    if (job->upload) MC_TRY(check_pictures(r, err));
    MC_TRY(learn_task(r, err));
    set_report(r);
    MC_TRY(publish(r, err));
    r->known = true;
  }
  mc_job_set_state(r->j, job, MC_JOB_EVALUATING, "evaluate");
  return mc_measure(r->j, job, r->dataset, r->model, r->learner, &r->report, &callbacks, err);
}

/* A failed or cancelled job leaves nothing; one that the server's end interrupted leaves all. */
static void finish(running *r, moeclip_code code, const moeclip_error *err) {
  mc_job *job = r->job;
  mc_metrics *m = &r->s->metrics;
  pthread_mutex_lock(&r->j->mutex);
  bool cancelled = job->cancel && code == MOECLIP_ERROR_CANCELLED, stopped = r->j->stop && !job->cancel;
  if (code != MOECLIP_OK && !cancelled) {
    snprintf(job->error, sizeof job->error, "%.900s%s", err->message,
             r->too_long ? " (longer than --learn-seconds allows)" : "");
  }
  if (code == MOECLIP_ERROR_CANCELLED && stopped && !r->too_long) job->error[0] = 0;
  pthread_mutex_unlock(&r->j->mutex);
  if (code == MOECLIP_ERROR_CANCELLED && stopped && !r->too_long) {
    moeclip_error second;
    job->attempts = 0; /* this end was an orderly one */
    if (mc_job_write(r->j, job, &second) != MOECLIP_OK) mc_warn("%s", second.message);
    mc_warn("\"%s\" is not learned to its end: the next start of the server goes on with it", job->ask.name);
    mc_job_set_state(r->j, job, MC_JOB_QUEUED, "stopped");
    return;
  }
  /* What was learned stays, even when measuring it was cancelled or failed. */
  if (r->known) {
    drop_training_pictures(r);
  } else if (job->upload) {
    char *folder = mc_format("%s/tasks/%s", r->s->data, job->ask.name);
    if (folder) mc_path_remove(folder);
    free(folder);
  }
  mc_job_forget(r->j);
  if (code == MOECLIP_OK || (cancelled && r->known)) {
    atomic_fetch_add(&m->jobs_done, 1);
    mc_job_set_state(r->j, job, MC_JOB_DONE, "done");
  } else if (cancelled) {
    atomic_fetch_add(&m->jobs_cancelled, 1);
    mc_job_set_state(r->j, job, MC_JOB_CANCELLED, "cancelled");
  } else {
    mc_warn("learning \"%s\": %s", job->ask.name, err->message);
    atomic_fetch_add(&m->jobs_failed, 1);
    mc_job_set_state(r->j, job, MC_JOB_FAILED, "failed");
  }
}

void mc_job_run(mc_jobs *j, mc_job *job) {
  moeclip_error err = {0};
  running r = {.j = j, .job = job, .s = j->s, .report = {.task = -1}};
  job->began = mc_serve_clock();
  job->attempts++;
  r.checkpoint = mc_format("%s/job.part", j->s->data);
  moeclip_code code = r.checkpoint ? mc_job_write(j, job, &err) : mc_fail_memory(&err, 256, "a path");
  if (code == MOECLIP_OK) code = run(&r, &err);
  finish(&r, code, &err);
  moeclip_learner_destroy(r.learner);
  moeclip_model_destroy(r.model);
  moeclip_dataset_destroy(r.dataset);
  free(r.checkpoint);
}
