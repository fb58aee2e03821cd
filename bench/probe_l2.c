/*
 * Which --probe-l2 should be the default? Training pictures alone say it: a tenth of those of each domain (at most MAX_HELD),
 * drawn from a seed, are held out, the linear probe is solved on N of each class of the others, and the accuracy on the held-out
 * ones is printed.
 *
 *   bench_probe_l2 MODEL [--max-train N] [--seed N] NAME=DOMAIN...
 *
 * One line for each domain and number of pictures, a column for each L2, and a mean over the lines. No test picture is read.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/loader.h"
#include "learn/learner.h"
#include "learn/probe.h"

enum { BATCH = 64, MAX_HELD = 1000, N_L2 = 9, N_SIZES = 3 };
static const double values[N_L2] = {1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1, 3, 10};
static const int64_t sizes[N_SIZES] = {16, 100, INT64_MAX}; /* pictures a class */
static moeclip_error err;

static void need(moeclip_code code) {
  if (code == MOECLIP_OK) return;
  fprintf(stderr, "%s\n", err.message);
  exit(1);
}

typedef struct pictures {
  int64_t n, embed, n_classes;
  float *features; /* [n, embed], in an order drawn from the seed */
  int64_t *labels; /* [n] */
} pictures;

/* The untouched CLIP's features of all training pictures. */
static pictures encode(moeclip_learner *l, const moeclip_dataset *d, uint64_t seed) {
  mc_dataset_split split = {d, MOECLIP_TRAIN};
  mc_image_source source = mc_dataset_source(&split);
  mc_loader_options o = {.transform = l->model->clip->transform, .batch = BATCH, .n_threads = 1};
  mc_loader *loader;
  mc_philox g;
  pictures p = {.embed = l->model->clip->sizes.embed, .n_classes = (int64_t)moeclip_dataset_classes(d)};
  size_t each = (size_t)p.embed;
  float *features = mc_alloc(source.count, each * sizeof *features), *out = mc_alloc(BATCH, each * sizeof *out);
  uint32_t *order = mc_alloc(source.count, sizeof *order);
  bool *seen = calloc(source.count, sizeof *seen);
  int32_t none[BATCH];
  for (int i = 0; i < BATCH; i++) none[i] = MOECLIP_TASK_NONE;
  need(mc_loader_create(&source, &o, NULL, NULL, &loader, &err));
  for (;;) {
    mc_batch batch;
    bool end;
    need(mc_loader_next(loader, &batch, &end, &err));
    if (end) break;
    need(mc_picture_features(l, batch.pixels, batch.n, none, NULL, NULL, out, &err));
    for (size_t i = 0; i < (size_t)batch.n; i++) {
      memcpy(features + batch.index[i] * each, out + i * each, each * sizeof *out);
      seen[batch.index[i]] = true;
    }
  }
  mc_loader_destroy(loader);
  p.features = mc_alloc(source.count, each * sizeof *p.features);
  p.labels = mc_alloc(source.count, sizeof *p.labels);
  mc_philox_init(&g, seed, MC_STREAM_SPLIT, 0);
  mc_philox_permutation(&g, (uint32_t)source.count, order);
  for (size_t k = 0; k < source.count; k++) {
    if (!seen[order[k]]) continue;
    memcpy(p.features + (size_t)p.n * each, features + order[k] * each, each * sizeof *features);
    p.labels[p.n++] = moeclip_dataset_label(d, MOECLIP_TRAIN, order[k]);
  }
  free(features);
  free(out);
  free(order);
  free(seen);
  return p;
}

/* Percent of the first n_held pictures that the heads [n_classes, embed + 1] name rightly. */
static double accuracy(const pictures *p, int64_t n_held, const double *heads) {
  int64_t right = 0, width = p->embed + 1;
  for (int64_t i = 0; i < n_held; i++) {
    int64_t best = 0;
    double most = -INFINITY;
    for (int64_t c = 0; c < p->n_classes; c++) {
      const double *w = heads + c * width;
      double sum = w[p->embed];
      for (int64_t k = 0; k < p->embed; k++) sum += w[k] * (double)p->features[i * p->embed + k];
      if (sum > most) best = c;
      most = fmax(most, sum);
    }
    right += best == p->labels[i];
  }
  return 100 * (double)right / (double)n_held;
}

/* One line: at most `size` pictures of each class of those that are not held out. */
static void line(moeclip_learner *l, const char *name, const pictures *p, int64_t size, double *sums) {
  int64_t n_held = p->n / 10 > MAX_HELD ? MAX_HELD : p->n / 10, n = 0;
  int64_t *of_class = calloc((size_t)p->n_classes, sizeof *of_class), *labels = mc_alloc((size_t)p->n, sizeof *labels);
  float *features = mc_alloc((size_t)p->n, (size_t)p->embed * sizeof *features);
  double *heads = mc_alloc((size_t)p->n_classes, (size_t)(p->embed + 1) * sizeof *heads);
  for (int64_t i = n_held; i < p->n; i++) {
    if (of_class[p->labels[i]]++ >= size) continue;
    memcpy(features + n * p->embed, p->features + i * p->embed, (size_t)p->embed * sizeof *features);
    labels[n++] = p->labels[i];
  }
  printf("| %s | %lld | %lld |", name, (long long)n, (long long)n_held);
  for (int v = 0; v < N_L2; v++) {
    mc_probe_fit fit;
    need(mc_probe_solve(l->model->compute, features, labels, n, p->embed, p->n_classes, values[v], heads, &fit, &err));
    double is = accuracy(p, n_held, heads);
    sums[v] += is;
    printf(" %.1f |", is);
    fflush(stdout);
  }
  printf("\n");
  free(of_class);
  free(labels);
  free(features);
  free(heads);
}

int main(int argc, char **argv) {
  moeclip_dataset_options o;
  moeclip_learner_options learner;
  moeclip_model *model;
  moeclip_learner *l;
  uint64_t seed = 1;
  double sums[N_L2] = {0};
  int n_lines = 0;
  if (argc < 3) return 2;
  moeclip_dataset_options_defaults(&o);
  moeclip_learner_options_defaults(&learner);
  learner.mode = MOECLIP_MODE_ZERO_SHOT;
  need(moeclip_model_load(argv[1], NULL, &model, &err));
  need(moeclip_learner_create(model, &learner, &l, &err));
  printf("| domain | learned from | held out |");
  for (int v = 0; v < N_L2; v++) printf(" %g |", values[v]);
  printf("\n|---|---:|---:|");
  for (int v = 0; v < N_L2; v++) printf("---:|");
  printf("\n");
  for (int i = 2; i < argc; i++) {
    const char *equals = strchr(argv[i], '=');
    char name[64];
    moeclip_dataset *d;
    if (strcmp(argv[i], "--max-train") == 0 && i + 1 < argc) {
      o.max_per_class[MOECLIP_TRAIN] = atoll(argv[++i]);
      continue;
    }
    if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = strtoull(argv[++i], NULL, 10);
      continue;
    }
    if (!equals || (size_t)(equals - argv[i]) >= sizeof name) return 2;
    snprintf(name, sizeof name, "%.*s", (int)(equals - argv[i]), argv[i]);
    need(moeclip_dataset_open(equals + 1, &o, &d, &err));
    pictures p = encode(l, d, seed);
    for (int k = 0; k < N_SIZES; k++, n_lines++) line(l, name, &p, sizes[k], sums);
    moeclip_dataset_destroy(d);
    free(p.features);
    free(p.labels);
  }
  printf("| mean | | |");
  for (int v = 0; v < N_L2; v++) printf(" %.2f |", sums[v] / n_lines);
  printf("\n");
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
  return 0;
}
