/*
 * Kinds of task selector on real pictures, as one table: teaches each kind the given domains and sees where test pictures go.
 *
 *   bench_selectors MODEL [--alexnet FILE] [--iterations N] [--max-test N] [--layers N,N...] [--kinds KIND,...] [--times]
 *                         reference=SET NAME=DOMAIN... -- NAME=OTHER...
 *
 * Every number is of the held-out test pictures (at most 100 of a class, or --max-test), with thresholds at which 1 % and 5 % of the training pictures
 * held out for that are turned away. "own": of the domains, sent to their own task. "others": of the OTHERs, sent to the untouched CLIP.
 * "left out": of each domain, when its own task is taken away, sent to the untouched CLIP and not to another task.
 *
 * --times: what choosing and teaching cost, and nothing else, in a short time, so that it can be run above all other work of a machine.
 * Only the first domain is taught in full; the others and the reference get FEW batches, since what they know does not change the times.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "data/loader.h"
#include "learn/learner.h"
#include "learn/select_train.h"

enum { MOST = 16, BATCH = 32, N_RATES = 2, MAX_HELD = 256, FEW = 8, N_TRIES = 12 };
static const double rates[N_RATES] = {0.01, 0.05};
static moeclip_error err;

static void need(moeclip_code code) {
  if (code == MOECLIP_OK) return;
  fprintf(stderr, "%s\n", err.message);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct set {
  const char *path;
  char name[64];
  moeclip_dataset *data;
  int64_t n;     /* test pictures */
  float *errors; /* [n, 1 + tasks] */
} set;

typedef struct bench {
  moeclip_model *model;
  const char *alexnet;
  int64_t iterations, max_test;
  const char *layers, *kinds; /* NULL: all */
  bool times;
  set sets[2 * MOST]; /* domains, then others */
  int n_tasks, n_sets;
} bench;

static void open_set(set *s, const char *argument, int64_t max_test) {
  moeclip_dataset_options o;
  const char *equals = strchr(argument, '=');
  moeclip_dataset_options_defaults(&o);
  o.max_per_class[MOECLIP_TEST] = max_test;
  if (!equals || (size_t)(equals - argument) >= sizeof s->name) exit(2);
  snprintf(s->name, sizeof s->name, "%.*s", (int)(equals - argument), argument);
  s->path = equals + 1;
  need(moeclip_dataset_open(s->path, &o, &s->data, &err));
}

/* A tenth of the training pictures, those that mc_train_selector holds out. */
typedef struct held {
  mc_image_source of;
  uint32_t *order;
} held;

static moeclip_code held_load(void *context, size_t i, moeclip_image *out, moeclip_error *e) {
  const held *h = context;
  return h->of.load(h->of.context, h->order[i], out, e);
}

static moeclip_code held_name(void *context, size_t i, char *out, size_t n_out) {
  const held *h = context;
  return h->of.item_name(h->of.context, h->order[i], out, n_out);
}

/* errors [n, 1 + tasks] of a source's pictures. Freed by the caller. */
static float *measure(moeclip_learner *l, const mc_image_source *source, int64_t *n) {
  mc_loader *loader;
  mc_loader_options o = {.transform = l->extractor.transform, .batch = BATCH, .n_threads = 2};
  int64_t stride = 1 + l->n_tasks;
  float *errors = mc_alloc(source->count, (size_t)stride * sizeof *errors);
  int32_t tasks[BATCH];
  *n = 0;
  need(mc_loader_create(source, &o, NULL, NULL, &loader, &err));
  for (;;) {
    mc_batch batch;
    bool end;
    need(mc_loader_next(loader, &batch, &end, &err));
    if (end) break;
    need(mc_route(l, batch.pixels, batch.n, MOECLIP_SELECT_PER_IMAGE, tasks, NULL, errors + *n * stride, &err));
    *n += batch.n;
  }
  mc_loader_destroy(loader);
  return errors;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* The task's threshold at each rate, from the errors of its held-out pictures. */
static void calibrate(moeclip_learner *l, const set *s, int task, double *thresholds) {
  mc_dataset_split split = {s->data, MOECLIP_TRAIN};
  held h = {mc_dataset_source(&split), NULL};
  size_t count = h.of.count, n_held = count / 10 > MAX_HELD ? MAX_HELD : count / 10;
  mc_philox g;
  int64_t n;
  h.order = mc_alloc(count, sizeof *h.order);
  mc_philox_init(&g, mc_seed_of(l->options.seed ^ UINT64_C(0x5e1ec7), (uint64_t)(task + 1)), MC_STREAM_SPLIT, 0);
  mc_philox_permutation(&g, (uint32_t)count, h.order);
  mc_image_source source = {n_held, &h, held_load, held_name};
  float *errors = measure(l, &source, &n), *own = mc_alloc((size_t)n, sizeof *own);
  for (int64_t i = 0; i < n; i++) own[i] = errors[i * (1 + l->n_tasks) + 1 + task];
  qsort(own, (size_t)n, sizeof *own, by_value);
  for (int r = 0; r < N_RATES; r++) {
    size_t rank = (size_t)ceil((1 - rates[r]) * (double)n);
    thresholds[r] = (double)own[rank > 0 ? rank - 1 : 0];
  }
  free(own);
  free(errors);
  free(h.order);
}

/* Where errors [1 + tasks] lead when task `without` is not there. */
static int choose(const float *errors, int n_tasks, const double (*thresholds)[N_RATES], int rate, int without) {
  int best = -1;
  for (int t = 0; t < n_tasks; t++) {
    if (t != without && (best < 0 || errors[t + 1] < errors[best + 1])) best = t;
  }
  return best < 0 || errors[0] < errors[best + 1] || !(errors[best + 1] <= thresholds[best][rate]) ? -1 : best;
}

/* Seconds a picture: what choosing adds to encoding, at its best of some tries. */
static double cost(const bench *b, moeclip_learner *l, double *encoding) {
  size_t size = (size_t)b->model->clip->sizes.image_size, s = (size_t)l->extractor.transform.size, embed = (size_t)b->model->clip->sizes.embed;
  uint8_t *pixels = calloc(BATCH, 3 * size * size), *seen = calloc(BATCH, 3 * s * s);
  float *out = mc_alloc(BATCH, embed * sizeof *out);
  int32_t tasks[BATCH], none[BATCH];
  double with = 1e30, plain = 1e30, apart = 1e30;
  mc_chosen chosen = {tasks, NULL, NULL};
  for (int i = 0; i < BATCH; i++) none[i] = -1;
  for (int i = 0; i < N_TRIES; i++) {
    double t0 = now();
    need(mc_picture_features(l, pixels, BATCH, none, NULL, NULL, out, &err));
    double t1 = now();
    if (mc_routes_in_passing(l)) need(mc_choose_and_encode(l, pixels, BATCH, &chosen, NULL, NULL, out, &err));
    double t2 = now();
    need(mc_route(l, seen, BATCH, MOECLIP_SELECT_PER_IMAGE, tasks, NULL, NULL, &err));
    double t3 = now();
    plain = fmin(plain, t1 - t0);
    with = fmin(with, t2 - t1);
    apart = fmin(apart, t3 - t2);
  }
  free(pixels);
  free(seen);
  free(out);
  *encoding = plain / BATCH;
  return (mc_routes_in_passing(l) ? fmax(with - plain, 0) : apart) / BATCH;
}

static void print_row(const bench *b, moeclip_learner *l, const char *name, const double (*thresholds)[N_RATES], double seconds) {
  double encoding, each = cost(b, l, &encoding);
  for (int r = 0; r < N_RATES; r++) {
    double own = 0, others = 0, left_out = 0;
    printf("| %s | %.0f %% |", name, 100 * rates[r]);
    for (int k = 0; k < b->n_sets; k++) {
      const set *s = &b->sets[k];
      int64_t hit = 0, alone = 0;
      for (int64_t i = 0; i < s->n; i++) {
        const float *e = s->errors + i * (1 + b->n_tasks);
        hit += choose(e, b->n_tasks, thresholds, r, -1) == (k < b->n_tasks ? k : -1);
        alone += k < b->n_tasks && choose(e, b->n_tasks, thresholds, r, k) == -1;
      }
      double share = 100 * (double)hit / (double)s->n;
      if (k < b->n_tasks) own += share / b->n_tasks;
      if (k >= b->n_tasks) others += share / (b->n_sets - b->n_tasks);
      left_out += k < b->n_tasks ? 100 * (double)alone / (double)s->n / b->n_tasks : 0;
      printf(" %.1f |", share);
    }
    printf(" %.1f | %.1f | %.1f | %.3f | %.1f | %lld | %.1f |\n", own, others, left_out, 1e3 * each, 100 * each / encoding,
           (long long)(4 * mc_selector_numbers(l->selector, 0)) / 1000, seconds);
  }
  fflush(stdout);
}

static void print_times(const bench *b, moeclip_learner *l, const char *name, double seconds) {
  double encoding, each = cost(b, l, &encoding);
  printf("| %s | %.3f | %.1f | %lld | %.1f |\n", name, 1e3 * each, 100 * each / encoding,
         (long long)(4 * mc_selector_numbers(l->selector, 0)) / 1000, seconds);
  fflush(stdout);
}

static void run(bench *b, moeclip_selector_kind kind, int layer, const char *alexnet, const char *name, const set *reference) {
  moeclip_learner_options o;
  moeclip_task_options task;
  moeclip_learner *l;
  moeclip_learn_report report = {0};
  double thresholds[MOST][N_RATES];
  moeclip_learner_options_defaults(&o);
  moeclip_task_options_defaults(&task);
  o.n_experts = o.top_k = o.bottleneck = 1;
  o.selector = kind;
  o.selector_layer = layer;
  o.alexnet = alexnet;
  task.batch = BATCH;
  task.selector_iterations = b->iterations;
  need(moeclip_learner_create(b->model, &o, &l, &err));
  double began = now(), taught = 0;
  moeclip_task_options first = task;
  first.selector_iterations = b->times ? FEW : 2 * b->iterations;
  need(moeclip_learner_learn_reference(l, reference->data, &first, NULL, &report, &err));
  for (int t = 0; t < b->n_tasks; t++) {
    set *s = &b->sets[t];
    size_t n = moeclip_dataset_count(s->data, MOECLIP_TRAIN), classes = moeclip_dataset_classes(s->data);
    const char **names = mc_alloc(classes, sizeof *names);
    int32_t *labels = mc_alloc(n, sizeof *labels);
    mc_dataset_split split = {s->data, MOECLIP_TRAIN};
    mc_image_source pictures = mc_dataset_source(&split);
    mc_task made;
    for (size_t c = 0; c < classes; c++) names[c] = moeclip_dataset_class_name(s->data, c);
    for (size_t i = 0; i < n; i++) labels[i] = moeclip_dataset_label(s->data, MOECLIP_TRAIN, i);
    need(mc_task_init(&made, s->name, names, classes, NULL, 0, &err));
    need(mc_learner_add_task(l, &made, &err));
    need(mc_adapters_add_router(l->adapters, &err));
    task.selector_iterations = b->times && t > 0 ? FEW : b->iterations;
    double t0 = now();
    need(mc_train_selector(l, t, &pictures, labels, &task, NULL, &report, &err));
    if (t == 0) taught = now() - t0;
    free(names);
    free(labels);
  }
  double seconds = (now() - began) / (1 + b->n_tasks);
  if (b->times) {
    print_times(b, l, name, taught);
    moeclip_learner_destroy(l);
    return;
  }
  for (int t = 0; t < b->n_tasks; t++) calibrate(l, &b->sets[t], t, thresholds[t]);
  for (int k = 0; k < b->n_sets; k++) {
    mc_dataset_split split = {b->sets[k].data, MOECLIP_TEST};
    mc_image_source source = mc_dataset_source(&split);
    free(b->sets[k].errors);
    b->sets[k].errors = measure(l, &source, &b->sets[k].n);
  }
  print_row(b, l, name, (const double (*)[N_RATES])thresholds, seconds);
  moeclip_learner_destroy(l);
}

int main(int argc, char **argv) {
  static bench b = {.iterations = 300, .max_test = 100};
  set reference = {0};
  bool others = false;
  if (argc < 2) return 2;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--alexnet") == 0 && i + 1 < argc) {
      b.alexnet = argv[++i];
    } else if (strcmp(argv[i], "--iterations") == 0 && i + 1 < argc) {
      b.iterations = atoll(argv[++i]);
    } else if (strcmp(argv[i], "--max-test") == 0 && i + 1 < argc) {
      b.max_test = atoll(argv[++i]);
    } else if (strcmp(argv[i], "--layers") == 0 && i + 1 < argc) {
      b.layers = argv[++i];
    } else if (strcmp(argv[i], "--kinds") == 0 && i + 1 < argc) {
      b.kinds = argv[++i];
    } else if (strcmp(argv[i], "--times") == 0) {
      b.times = true;
    } else if (strcmp(argv[i], "--") == 0) {
      others = true;
    } else if (strncmp(argv[i], "reference=", 10) == 0) {
      open_set(&reference, argv[i], b.max_test);
    } else if (b.n_sets < 2 * MOST && (others || b.n_sets < MOST)) {
      open_set(&b.sets[b.n_sets++], argv[i], b.max_test);
      if (!others) b.n_tasks++;
    }
  }
  if (b.n_tasks < 1 || b.n_sets == b.n_tasks || !reference.data) return 2;
  need(moeclip_model_load(argv[1], NULL, &b.model, &err));
  if (b.times) printf("| selector | ms a picture | %% of encoding | kB a task | s a task |\n|---|---:|---:|---:|---:|");
  if (!b.times) printf("| selector | false alarms |");
  for (int k = 0; !b.times && k < b.n_sets; k++) printf(" %s |", b.sets[k].name);
  if (!b.times) printf(" own | others | left out | ms a picture | %% of encoding | kB a task | s a task |\n|---|---:|");
  for (int k = 0; !b.times && k < b.n_sets + 7; k++) printf("---:|");
  printf("\n");
  fflush(stdout);
  int blocks = b.model->clip->visual.n_layers;
  for (int layer = 0; layer <= blocks; layer++) {
    char name[64], number[16];
    snprintf(number, sizeof number, "%d", layer);
    if (b.layers && !strstr(b.layers, number)) continue;
    static const char *const kinds[] = {"", "autoencoder", "gaussian", "prototypes"};
    for (int kind = MOECLIP_SELECTOR_AUTOENCODER; kind <= MOECLIP_SELECTOR_PROTOTYPES; kind++) {
      if (b.kinds && !strstr(b.kinds, kinds[kind])) continue;
      if (layer == blocks) {
        snprintf(name, sizeof name, "%s, embedding", kinds[kind]);
      } else {
        snprintf(name, sizeof name, "%s, block %d", kinds[kind], layer);
      }
      run(&b, (moeclip_selector_kind)kind, layer, NULL, name, &reference);
    }
  }
  if (b.alexnet) run(&b, MOECLIP_SELECTOR_AUTOENCODER, -1, b.alexnet, "autoencoder, AlexNet", &reference);
  for (int k = 0; k < b.n_sets; k++) {
    moeclip_dataset_destroy(b.sets[k].data);
    free(b.sets[k].errors);
  }
  moeclip_dataset_destroy(reference.data);
  moeclip_model_destroy(b.model);
  return 0;
}
