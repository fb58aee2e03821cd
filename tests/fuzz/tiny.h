/* A CLIP and a learner as small as they get, always the same, for the targets of files that belong to one. */
#ifndef TESTS_FUZZ_TINY_H
#define TESTS_FUZZ_TINY_H

#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "learn/learner.h"
#include "model/clip.h"

/* Where seeds are made (replay.c --make); a target that has such a function says so with FUZZ_MAKES_SEEDS. */
void fuzz_make_seeds(const char *folder);

enum { TINY_IMAGE = 8, TINY_EMBED = 8 };

/* Fine-tuning begins with the file: who makes seeds keeps it, and removes it. */
static bool tiny_keeps_file;

static inline moeclip_model *tiny_model(void) {
  static moeclip_model *m;
  if (m) return m;
  char path[64];
  /* 514 tokens: every byte, and no words. */
  mc_clip_sizes sizes = {TINY_IMAGE, 8, 1, 64, 16, 8, 514, 1, 64, 16, TINY_EMBED, MC_QUICK_GELU, 0, 0};
  mc_clip *clip = NULL;
  moeclip_tensors *t = NULL;
  moeclip_model_options o;
  moeclip_model_options_defaults(&o);
  o.precision = MOECLIP_PRECISION_FLOAT32;
  o.n_threads = 1;
  snprintf(path, sizeof path, "/dev/shm/moeclip-fuzz-model-%ld", (long)getpid());
  if (mc_clip_create(&sizes, 1, &clip, NULL) != MOECLIP_OK || moeclip_tensors_create(&t, NULL) != MOECLIP_OK ||
      mc_clip_store(clip, MOECLIP_F32, t, NULL) != MOECLIP_OK ||
      moeclip_tensors_write_safetensors(t, path, NULL) != MOECLIP_OK ||
      moeclip_model_load(path, &o, &m, NULL) != MOECLIP_OK) {
    abort();
  }
  if (!tiny_keeps_file) unlink(path);
  moeclip_tensors_destroy(t);
  mc_clip_destroy(clip);
  return m;
}

/* One task, with a reference set when asked for. */
static inline moeclip_learner *tiny_learner(int reference) {
  moeclip_learner *l;
  moeclip_learner_options o;
  static const char *const classes[] = {"a", "b"};
  mc_task task;
  moeclip_learner_options_defaults(&o);
  o.n_experts = 3;
  o.bottleneck = 2;
  o.selector_hidden = 2;
  o.selector = MOECLIP_SELECTOR_AUTOENCODER;
  if (moeclip_learner_create(tiny_model(), &o, &l, NULL) != MOECLIP_OK) abort();
  for (int t = reference ? -1 : 0; t < 1; t++) {
    mc_autoencoder a;
    if (mc_autoencoder_create(&a, l->extractor.dim, 2, 1, (uint64_t)(t + 2), NULL) != MOECLIP_OK ||
        mc_selector_add(l->selector, t, &a, 0.5, NULL) != MOECLIP_OK) {
      abort();
    }
  }
  if (mc_task_init(&task, "task", classes, 2, NULL, 0, NULL) != MOECLIP_OK ||
      mc_learner_add_task(l, &task, NULL) != MOECLIP_OK || mc_adapters_add_router(l->adapters, NULL) != MOECLIP_OK) {
    abort();
  }
  /* Routers begin at zero, which in a released file says that the task was not learned. */
  for (int tower = 0; tower < 2; tower++) {
    mc_param *gate = &(tower ? l->adapters->text : l->adapters->visual)[0].routers[0].gate;
    for (int64_t i = 0; i < gate->shape[0] * gate->shape[1]; i++) gate->value[i] = (float)(i % 7 - 3) / 8;
  }
  return l;
}

/* What was loaded can be used: two pictures through whatever task there is. */
static inline void tiny_use(moeclip_learner *l) {
  uint8_t rgb[3 * 64] = {1, 200, 30};
  moeclip_image images[2] = {{8, 8, rgb}, {4, 4, rgb}};
  float out[2 * TINY_EMBED];
  moeclip_error err = {0};
  if (moeclip_learner_encode_images(l, images, 2, MOECLIP_TASK_AUTO, NULL, NULL, out, &err) != MOECLIP_OK &&
      !err.message[0])
    abort();
  if (moeclip_learner_tasks(l) > 0 &&
      moeclip_learner_encode_images(l, images, 2, 0, NULL, NULL, out, &err) != MOECLIP_OK && !err.message[0]) {
    abort();
  }
}

static inline void tiny_write(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0) abort();
}

static inline uint8_t *tiny_read(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  uint8_t *data = malloc(1 << 20);
  if (!f || !data) abort();
  *n = fread(data, 1, 1 << 20, f);
  fclose(f);
  return data;
}

/* The bytes as a file; close the result. */
static inline int tiny_file(const uint8_t *data, size_t n, char path[64]) {
  int fd = memfd_create("input", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, n) != (ssize_t)n) abort();
  snprintf(path, 64, "/proc/self/fd/%d", fd);
  return fd;
}

#endif
