/* The engine: one thread that owns the learner that answers, and the queue in front of it. */
#ifndef MC_SERVE_ENGINE_H
#define MC_SERVE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "moeclip/image.h"
#include "moeclip/learner.h"
#include "serve/metrics.h"
#include "serve/serve.h"

/* A model with what it has learned; never changed once it is made, and destroyed by whoever lets go of it last. */
typedef struct mc_generation {
  atomic_int references;
  moeclip_model *model;
  moeclip_learner *learner; /* only the engine computes with it; names may be read by all who hold the generation */
  int n_tasks;
  char *tasks;              /* the tasks as a JSON array */
} mc_generation;

/* From the files that the options name. */
moeclip_code mc_generation_open(const mc_serve_options *o, mc_generation **out, moeclip_error *err);
mc_generation *mc_generation_hold(mc_generation *g);
void mc_generation_release(mc_generation *g);
/* The number of the task of that name ("auto" and "none" too). */
moeclip_code mc_generation_task(const mc_generation *g, const char *name, int *out, moeclip_error *err);

typedef enum mc_work_kind { MC_WORK_CLASSIFY, MC_WORK_IMAGES, MC_WORK_TEXTS } mc_work_kind;

/* One request's part of the work. Works of the same kind and key may be done together. */
typedef struct mc_work mc_work;
struct mc_work {
  mc_work_kind kind;
  const char *key;
  const char *task;          /* who answers: a name */
  int n;
  const moeclip_image *images; /* [n], or */
  const char *const *texts;    /* [n] */
  const char *const *labels, *const *templates; /* of classifying */
  size_t n_labels, n_templates;
  int top;
  bool explain;
  /* The results. */
  mc_generation *generation; /* that answered: held, to be released; names in the answers belong to it */
  moeclip_answer *answers;   /* [n]; of lists of labels, only the indices are to be used */
  moeclip_explanation *explanations; /* [n], when asked for */
  float *values;             /* [n, embed] */
  int embed, *tasks;         /* tasks [n] */
  moeclip_code code;
  moeclip_error error;
  /* The engine's own. */
  bool taken, done;
  pthread_cond_t finished;
  mc_work *next;
};

typedef struct mc_engine {
  const mc_serve_options *o;
  mc_metrics *metrics;
  pthread_t thread;
  bool running;
  pthread_mutex_t mutex;
  pthread_cond_t arrived;
  mc_generation *current;
  mc_work *first, **last;
  int n_queued;              /* pictures and texts that wait */
  bool stop;
  atomic_int coming;         /* requests that are being read or decoded and will bring work soon */
} mc_engine;

/* Takes the generation over. */
moeclip_code mc_engine_start(mc_engine *e, const mc_serve_options *o, mc_metrics *metrics, mc_generation *first,
                             moeclip_error *err);
/* Finishes what is queued, then ends. */
void mc_engine_stop(mc_engine *e);
/* The next batch is answered by that generation, which is taken over. */
void mc_engine_swap(mc_engine *e, mc_generation *next);
mc_generation *mc_engine_current(mc_engine *e);

typedef enum mc_engine_outcome { MC_ENGINE_DONE, MC_ENGINE_FULL, MC_ENGINE_LATE } mc_engine_outcome;
/* Counts one request that was coming as arrived, queues its work and waits for it, until the deadline (of mc_serve_clock)
 * unless it has begun by then. */
mc_engine_outcome mc_engine_do(mc_engine *e, mc_work *w, double deadline);
void mc_work_clear(mc_work *w);

#endif
