#include <stdio.h>
#include <stdlib.h>

#include "golden.h"
#include "moeclip/image.h"

/* The share of values that need not be equal, and the largest difference allowed in those. */
#define MAX_UNEQUAL 0.01
#define MAX_DIFFERENCE 1

static void hold(golden *g, const moeclip_tensor *t) {
  char item[128], path[256];
  moeclip_error err;
  moeclip_image image = {0};
  snprintf(item, sizeof item, "preprocess %s", t->name);
  snprintf(path, sizeof path, "images/%s", t->name);
  bool square = t->rank == 3 && t->dtype == MOECLIP_U8 && t->shape[0] == 3 && t->shape[1] == t->shape[2];
  if (!square || t->shape[1] < 1 || t->shape[1] > 4096) {
    golden_exact(g, item, false, "the tensor is not uint8 [3, n, n]");
    return;
  }
  const uint8_t *expected = t->data;
  uint8_t *got = malloc(t->n_bytes);
  if (!got || moeclip_image_load(golden_path(g, path), &image, &err) != MOECLIP_OK ||
      moeclip_image_preprocess(&image, (int)t->shape[1], got, &err) != MOECLIP_OK) {
    if (!got) err = (moeclip_error){MOECLIP_ERROR_MEMORY, "out of memory"};
    golden_failed(g, item, &err);
  } else {
    size_t n_unequal = 0;
    int largest = 0;
    for (size_t i = 0; i < t->n_bytes; i++) {
      int difference = abs(got[i] - expected[i]);
      n_unequal += difference > 0;
      if (difference > largest) largest = difference;
    }
    bool ok = largest <= MAX_DIFFERENCE && (double)n_unequal <= MAX_UNEQUAL * (double)t->n_bytes;
    golden_exact(g, item, ok, "%zu of %zu values differ, by at most %d", n_unequal, t->n_bytes, largest);
  }
  moeclip_image_clear(&image);
  free(got);
}

void golden_preprocess(golden *g) {
  if (!golden_has(g, "preprocess_224.safetensors")) return;
  moeclip_error err;
  moeclip_tensors *t = NULL;
  if (moeclip_tensors_open(golden_path(g, "preprocess_224.safetensors"), &t, &err) != MOECLIP_OK) {
    golden_failed(g, "preprocess_224.safetensors", &err);
    return;
  }
  size_t n = moeclip_tensors_count(t);
  if (n == 0) golden_exact(g, "preprocess_224.safetensors", false, "holds no tensor");
  for (size_t i = 0; i < n; i++) hold(g, moeclip_tensors_at(t, i));
  moeclip_tensors_destroy(t);
}
