/* What the tests of the learner share: a tiny random CLIP and two small domains, drawn into a folder of their own. */
#ifndef TESTS_UNIT_LEARNER_FIXTURES_H
#define TESTS_UNIT_LEARNER_FIXTURES_H

#include "moeclip/learner.h"

#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "learn/learner.h"
#include "model/clip.h"

static char folder[200];
static moeclip_error err;

static const char *in_folder(const char *name) {
  static char paths[8][320];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, 320, "%s/%s", folder, name);
  return path;
}

/* --- fixtures ------------------------------------------------------------------------------------------------------------ */

static void write_model(const char *path, uint64_t seed) {
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 12, 600, 2, 64, 128, 32, MC_QUICK_GELU, 0, 0};
  mc_clip *clip;
  moeclip_tensors *t;
  REQUIRE_OK(mc_clip_create(&sizes, seed, &clip, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_clip_store(clip, MOECLIP_F32, t, &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
  mc_clip_destroy(clip);
}

static void put_u32(FILE *f, uint32_t v) {
  uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
  fwrite(b, 1, 4, f);
}

/* An IDX set of 16 x 16 pictures in 2 classes. kind 0: dark or bright bars; kind 1: bright or dark with grain. */
static void write_domain(const char *dir, int kind, int n_train, int n_test) {
  char path[400];
  mkdir(dir, 0700);
  for (int split = 0; split < 2; split++) {
    const char *prefix = split ? "t10k" : "train";
    uint32_t n = (uint32_t)(split ? n_test : n_train), noise = 17u + (uint32_t)split;
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", dir, prefix);
    FILE *images = fopen(path, "wb");
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", dir, prefix);
    FILE *labels = fopen(path, "wb");
    if (!images || !labels) exit(1);
    put_u32(images, 0x803);
    put_u32(images, n);
    put_u32(images, 16);
    put_u32(images, 16);
    put_u32(labels, 0x801);
    put_u32(labels, n);
    for (uint32_t i = 0; i < n; i++) {
      uint8_t label = (uint8_t)(i % 2);
      fputc(label, labels);
      for (int p = 0; p < 256; p++) {
        noise = noise * 1664525u + 1013904223u;
        int grain = (int)(noise >> 27), bar = p % 16 / 2 % 2;
        int value = kind == 0 ? (label ? 150 : 10) + bar * 70 + grain : (label ? 170 : 60) + (int)(noise >> 26);
        fputc(value, images);
      }
    }
    fclose(images);
    fclose(labels);
  }
  snprintf(path, sizeof path, "%s/classes.txt", dir);
  FILE *names = fopen(path, "w");
  if (!names) exit(1);
  fputs(kind == 0 ? "dark bars\nbright bars\n" : "dark\nbright\n", names);
  fclose(names);
}

static moeclip_dataset *open_domain(const char *name) {
  moeclip_dataset *d;
  REQUIRE_OK(moeclip_dataset_open(in_folder(name), NULL, &d, &err), err);
  return d;
}

static moeclip_model *open_model(const char *name) {
  moeclip_model *m;
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.precision = MOECLIP_PRECISION_FLOAT32;
  options.n_threads = 2;
  REQUIRE_OK(moeclip_model_load(in_folder(name), &options, &m, &err), err);
  return m;
}

static moeclip_learner_options small_options(moeclip_mode mode) {
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  o.mode = mode;
  o.n_experts = 5;
  o.bottleneck = 8;
  o.selector_hidden = 8;
  o.seed = 11;
  return o;
}

static moeclip_task_options few_steps(void) {
  moeclip_task_options o;
  moeclip_task_options_defaults(&o);
  o.iterations = 24;
  o.batch = 16;
  o.learning_rate = 5e-3;
  o.selector_iterations = 30;
  o.checkpoint_seconds = 0; /* after every step */
  return o;
}

static uint8_t *read_all(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    exit(1);
  }
  fseek(f, 0, SEEK_END);
  *n = (size_t)ftell(f);
  rewind(f);
  uint8_t *data = malloc(*n + 1);
  if (!data || fread(data, 1, *n, f) != *n) exit(1);
  fclose(f);
  return data;
}

static bool same_files(const char *a, const char *b) {
  size_t n_a, n_b;
  uint8_t *x = read_all(a, &n_a), *y = read_all(b, &n_b);
  bool same = n_a == n_b && memcmp(x, y, n_a) == 0;
  free(x);
  free(y);
  return same;
}

enum { N_IMAGES = 10 };

static inline void load_images(moeclip_dataset *d, moeclip_image *images, int n) {
  for (int i = 0; i < n; i++) REQUIRE_OK(moeclip_dataset_load(d, MOECLIP_TEST, (size_t)i, &images[i], &err), err);
}

static const char *const both[] = {"bars", "light"};

static int stop_at;
static inline int stop_in_training(void *context, const moeclip_progress *p) {
  (void)context;
  return strcmp(p->phase, "train") == 0 && p->step == stop_at;
}

static void make_fixtures(void) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.150s/moeclip-learner-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(folder)) exit(1);
  write_model(in_folder("model.safetensors"), 1);
  write_model(in_folder("other.safetensors"), 2);
  write_domain(in_folder("bars"), 0, 160, 60);
  write_domain(in_folder("light"), 1, 160, 60);
}

static int end_fixtures(void) {
  char command[256];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command) != 0 ? 1 : check_report();
}

#endif
