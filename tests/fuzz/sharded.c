/* The index of a model in several files, with two of them beside it, "1" and "2". Seeds: seeds/sharded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "moeclip/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static char folder[64], paths[3][96];

static void clean(void) {
  for (int i = 0; i < 3; i++) remove(paths[i]);
  rmdir(folder);
}

/* Part 1 holds "a" and "b", part 2 holds "b" and "c". */
static void prepare(void) {
  static const int64_t shape[1] = {2};
  static const float values[2] = {1, 2};
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-sharded-%d", (int)getpid());
  mkdir(folder, 0700);
  for (int i = 0; i < 3; i++) snprintf(paths[i], sizeof paths[i], "%s/%s", folder, i == 0 ? "index.json" : i == 1 ? "1" : "2");
  for (int i = 1; i < 3; i++) {
    moeclip_tensors *t;
    if (moeclip_tensors_create(&t, NULL) != MOECLIP_OK ||
        moeclip_tensors_add(t, i == 1 ? "a" : "c", MOECLIP_F32, 1, shape, values, 0, NULL) != MOECLIP_OK ||
        moeclip_tensors_add(t, "b", MOECLIP_F32, 1, shape, values, 0, NULL) != MOECLIP_OK ||
        moeclip_tensors_write_safetensors(t, paths[i], NULL) != MOECLIP_OK) {
      abort();
    }
    moeclip_tensors_destroy(t);
  }
  atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  moeclip_tensors *t = NULL;
  moeclip_error err = {0};
  if (!folder[0]) prepare();
  FILE *f = fopen(paths[0], "wb");
  if (!f || fwrite(data, 1, n_bytes, f) != n_bytes || fclose(f) != 0) abort();
  if (moeclip_tensors_open(paths[0], &t, &err) != MOECLIP_OK) {
    if (t || !strstr(err.message, "index.json")) abort();
    return 0;
  }
  float out[2];
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *x = moeclip_tensors_at(t, i);
    if (moeclip_tensors_find(t, x->name) != x) abort();
    if (moeclip_tensor_elements(x) == 2) moeclip_tensor_to_f32(x, out);
  }
  moeclip_tensors_destroy(t);
  return 0;
}
