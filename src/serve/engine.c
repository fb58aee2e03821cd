#include "serve/engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "serve/server.h"

/* --- one batch ---------------------------------------------------------------------------------------------------- */

/* Works that are done together, with their pictures or texts one after another. */
typedef struct batch {
  mc_work *first;
  int n;
  int task;
  mc_generation *g;
} batch;

static moeclip_code classify(const mc_engine *e, const batch *b, moeclip_error *err) {
  const mc_work *w = b->first;
  moeclip_classify_options o;
  moeclip_classify_options_defaults(&o);
  o.labels = w->labels;
  o.n_labels = w->n_labels;
  o.templates = w->templates;
  o.n_templates = w->n_templates;
  o.task = b->task;
  o.top = w->top;
  size_t n = (size_t)b->n;
  moeclip_image *images = mc_alloc(n, sizeof *images);
  moeclip_answer *answers = calloc(n, sizeof *answers);
  moeclip_explanation *why = w->explain ? calloc(n, sizeof *why) : NULL;
  bool room = images && answers && (why || !w->explain);
  moeclip_code code = room ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *answers, "answers");
  int at = 0, done = 0;
  for (const mc_work *i = b->first; images && i; i = i->next) {
    memcpy(images + at, i->images, (size_t)i->n * sizeof *images);
    at += i->n;
  }
  for (; code == MOECLIP_OK && done < b->n;) {
    int count = b->n - done < e->o->batch ? b->n - done : e->o->batch;
    code = moeclip_learner_explain(b->g->learner, images + done, count, &o, answers + done, why ? why + done : NULL, err);
    if (code == MOECLIP_OK) done += count;
  }
  if (code == MOECLIP_OK) {
    at = 0;
    for (mc_work *i = b->first; i; i = i->next) {
      memcpy(i->answers, answers + at, (size_t)i->n * sizeof *answers);
      if (why) memcpy(i->explanations, why + at, (size_t)i->n * sizeof *why);
      at += i->n;
    }
  } else {
    if (answers) moeclip_answers_clear(answers, done);
    if (why) moeclip_explanations_clear(why, done);
  }
  free(images);
  free(answers);
  free(why);
  return code;
}

/* Features go work by work: there is nothing to share but the pass, and a request brings a whole piece of its own. */
static moeclip_code encode(const mc_engine *e, const batch *b, moeclip_error *err) {
  const void **items = mc_alloc((size_t)b->n, sizeof(moeclip_image));
  size_t embed = (size_t)b->first->embed;
  float *values = mc_alloc((size_t)b->n, embed * sizeof *values);
  int *tasks = mc_alloc((size_t)b->n, sizeof *tasks);
  moeclip_code code = items && values && tasks ? MOECLIP_OK : mc_fail_memory(err, (size_t)b->n * embed * 4, "features");
  bool text = b->first->kind == MC_WORK_TEXTS;
  size_t each = text ? sizeof(char *) : sizeof(moeclip_image);
  int at = 0;
  for (const mc_work *i = b->first; code == MOECLIP_OK && i; i = i->next) {
    memcpy((char *)items + (size_t)at * each, text ? (const void *)i->texts : (const void *)i->images, (size_t)i->n * each);
    at += i->n;
  }
  for (int done = 0; code == MOECLIP_OK && done < b->n;) {
    int count = b->n - done < e->o->batch ? b->n - done : e->o->batch;
    const void *from = (char *)items + (size_t)done * each;
    float *to = values + (size_t)done * embed;
    code = text ? moeclip_learner_encode_texts(b->g->learner, from, count, b->task, to, err)
                : moeclip_learner_encode_images(b->g->learner, from, count, b->task, tasks + done, NULL, to, err);
    done += count;
  }
  at = 0;
  for (mc_work *i = b->first; code == MOECLIP_OK && i; i = i->next) {
    memcpy(i->values, values + (size_t)at * embed, (size_t)i->n * embed * sizeof *values);
    if (!text) memcpy(i->tasks, tasks + at, (size_t)i->n * sizeof *tasks);
    at += i->n;
  }
  free(items);
  free(values);
  free(tasks);
  return code;
}

static void run_batch(mc_engine *e, batch *b) {
  moeclip_error err = {0};
  double began = mc_serve_clock();
  moeclip_code code = mc_generation_task(b->g, b->first->task, &b->task, &err);
  /* NOLINTBEGIN(clang-analyzer-*): a batch has a first piece of work */
  if (code == MOECLIP_OK) code = b->first->kind == MC_WORK_CLASSIFY ? classify(e, b, &err) : encode(e, b, &err);
  for (mc_work *w = b->first; w; w = w->next) {
    w->code = code;
    w->error = err;
    w->generation = mc_generation_hold(b->g);
  }
  mc_metrics_batch(e->metrics, b->first->kind == MC_WORK_TEXTS ? 0 : b->n, mc_serve_clock() - began);
  if (b->first->kind == MC_WORK_TEXTS) atomic_fetch_add(&e->metrics->texts, (unsigned long long)b->n);
  /* NOLINTEND(clang-analyzer-*) */
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

static struct timespec at_time(double seconds) {
  return (struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
}

static bool goes_with(const mc_work *a, const mc_work *b) { return a->kind == b->kind && strcmp(a->key, b->key) == 0; }

static int count_like_first(const mc_engine *e) {
  int n = 0;
  for (const mc_work *w = e->first; w; w = w->next) n += goes_with(w, e->first) ? w->n : 0;
  return n;
}

/* A little patience pays only while others are on their way. */
static void wait_for_more(mc_engine *e) {
  struct timespec until = at_time(mc_serve_clock() + e->o->batch_wait_ms / 1000);
  while (!e->stop && e->first && count_like_first(e) < e->o->batch && atomic_load(&e->coming) > 0) {
    if (pthread_cond_timedwait(&e->arrived, &e->mutex, &until) != 0) return;
  }
}

/* The first of the queue, and those behind it that go with it. */
static void take_batch(mc_engine *e, batch *b) {
  mc_work **from = &e->first, **to = &b->first, *lead = e->first;
  *b = (batch){.g = mc_generation_hold(e->current)};
  while (*from) {
    mc_work *w = *from;
    if (w != lead && (!goes_with(w, lead) || b->n + w->n > e->o->batch)) {
      from = &w->next;
      continue;
    }
    *from = w->next;
    w->next = NULL;
    w->taken = true;
    *to = w;
    to = &w->next;
    b->n += w->n;
  }
  e->last = from;
  e->n_queued -= b->n;
}

static void *engine_thread(void *context) {
  mc_engine *e = context;
  pthread_mutex_lock(&e->mutex);
  for (;;) {
    while (!e->first && !e->stop) pthread_cond_wait(&e->arrived, &e->mutex);
    if (!e->first) break;
    wait_for_more(e);
    if (!e->first) continue; /* it gave up meanwhile */
    batch b;
    take_batch(e, &b);
    pthread_mutex_unlock(&e->mutex);
    run_batch(e, &b);
    mc_generation_release(b.g);
    pthread_mutex_lock(&e->mutex);
    for (mc_work *w = b.first, *next; w; w = next) {
      next = w->next; /* once it is done, the work is its owner's again */
      w->done = true;
      pthread_cond_signal(&w->finished);
    }
  }
  pthread_mutex_unlock(&e->mutex);
  return NULL;
}

static void init_clocked(pthread_cond_t *c) {
  pthread_condattr_t a;
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_cond_init(c, &a);
  pthread_condattr_destroy(&a);
}

static void take_out(mc_engine *e, const mc_work *w) {
  mc_work **at = &e->first;
  while (*at != w) at = &(*at)->next;
  *at = w->next;
  if (e->last == &w->next) e->last = at;
  e->n_queued -= w->n;
}

mc_engine_outcome mc_engine_do(mc_engine *e, mc_work *w, double deadline) {
  struct timespec until = at_time(deadline);
  mc_engine_outcome outcome = MC_ENGINE_DONE;
  init_clocked(&w->finished);
  w->next = NULL;
  w->taken = w->done = false;
  pthread_mutex_lock(&e->mutex);
  atomic_fetch_sub(&e->coming, 1);
  if (e->stop || e->n_queued + w->n > e->o->queue) {
    outcome = MC_ENGINE_FULL;
  } else {
    *e->last = w;
    e->last = &w->next;
    e->n_queued += w->n;
    pthread_cond_signal(&e->arrived);
    while (!w->done) {
      if (w->taken) {
        pthread_cond_wait(&w->finished, &e->mutex);
      } else if (pthread_cond_timedwait(&w->finished, &e->mutex, &until) != 0 && !w->taken && !w->done) {
        take_out(e, w);
        outcome = MC_ENGINE_LATE;
        break;
      }
    }
  }
  pthread_mutex_unlock(&e->mutex);
  pthread_cond_destroy(&w->finished);
  return outcome;
}

void mc_work_clear(mc_work *w) {
  if (w->answers) moeclip_answers_clear(w->answers, w->n);
  if (w->explanations) moeclip_explanations_clear(w->explanations, w->n);
  free(w->answers);
  free(w->explanations);
  free(w->values);
  free(w->tasks);
  mc_generation_release(w->generation);
  w->answers = NULL;
  w->explanations = NULL;
  w->values = NULL;
  w->tasks = NULL;
  w->generation = NULL;
}

/* --- generations, start and end ----------------------------------------------------------------------------------- */

mc_generation *mc_engine_current(mc_engine *e) {
  pthread_mutex_lock(&e->mutex);
  mc_generation *g = mc_generation_hold(e->current);
  pthread_mutex_unlock(&e->mutex);
  return g;
}

void mc_engine_swap(mc_engine *e, mc_generation *next) {
  pthread_mutex_lock(&e->mutex);
  mc_generation *old = e->current;
  e->current = next;
  pthread_mutex_unlock(&e->mutex);
  mc_generation_release(old);
}

moeclip_code mc_engine_start(mc_engine *e, const mc_serve_options *o, mc_metrics *metrics, mc_generation *first,
                             moeclip_error *err) {
  *e = (mc_engine){.o = o, .metrics = metrics, .current = first};
  e->last = &e->first;
  pthread_mutex_init(&e->mutex, NULL);
  init_clocked(&e->arrived);
  if (pthread_create(&e->thread, NULL, engine_thread, e) != 0) {
    return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the thread that answers could not be started");
  }
  e->running = true;
  return MOECLIP_OK;
}

void mc_engine_stop(mc_engine *e) {
  if (!e->o) return;
  pthread_mutex_lock(&e->mutex);
  e->stop = true;
  pthread_cond_broadcast(&e->arrived);
  pthread_mutex_unlock(&e->mutex);
  if (e->running) pthread_join(e->thread, NULL);
  mc_generation_release(e->current);
  pthread_cond_destroy(&e->arrived);
  pthread_mutex_destroy(&e->mutex);
  *e = (mc_engine){0};
}
