/* alexnet_features: every 7th feature of images and weights that come from a formula (the fixtures' README). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "golden.h"
#include "select/selector.h"

static float formula(uint64_t i, uint64_t salt) {
  uint32_t h = (uint32_t)((i + salt * 1000003u) * 2654435761u);
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  return (float)((double)h / 4294967296.0 - 0.5);
}

static float *filled(size_t n, uint64_t salt, float scale) {
  float *v = malloc(n * sizeof *v);
  if (!v) abort();
  for (size_t i = 0; i < n; i++) v[i] = formula(i, salt) * scale;
  return v;
}

static uint64_t salt_at(const json_t *list, size_t i) { return (uint64_t)json_integer_value(json_array_get(list, i)); }

/* The weights go through a file, as a user's do. */
static moeclip_code write_weights(const json_t *settings, const char *path, moeclip_error *err) {
  static const struct { int number; int64_t shape[4]; } layers[5] = {
      {0, {64, 3, 11, 11}}, {3, {192, 64, 5, 5}}, {6, {384, 192, 3, 3}}, {8, {256, 384, 3, 3}}, {10, {256, 256, 3, 3}}};
  moeclip_tensors *t;
  MC_TRY(moeclip_tensors_create(&t, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t j = 0; code == MOECLIP_OK && j < 5; j++) {
    const int64_t *s = layers[j].shape;
    char name[32];
    double fan_in = (double)(s[1] * s[2] * s[3]);
    float *weight = filled((size_t)(s[0] * s[1] * s[2] * s[3]), salt_at(json_object_get(settings, "weight_salts"), j),
                           (float)(2 * sqrt(6 / fan_in)));
    float *bias = filled((size_t)s[0], salt_at(json_object_get(settings, "bias_salts"), j), 0.1f);
    snprintf(name, sizeof name, "features.%d.weight", layers[j].number);
    code = moeclip_tensors_add(t, name, MOECLIP_F32, 4, s, weight, 1, err);
    snprintf(name, sizeof name, "features.%d.bias", layers[j].number);
    if (code == MOECLIP_OK) code = moeclip_tensors_add(t, name, MOECLIP_F32, 1, s, bias, 1, err);
    free(weight);
    free(bias);
  }
  if (code == MOECLIP_OK) code = moeclip_tensors_write_safetensors(t, path, err);
  moeclip_tensors_destroy(t);
  return code;
}

void golden_alexnet(golden *g) {
  moeclip_error err;
  moeclip_tensors *file = NULL;
  mc_compute *cp = NULL;
  mc_alexnet *alexnet = NULL;
  mc_arena arena = {0};
  char path[] = "/tmp/moeclip-alexnet-XXXXXX";
  if (!golden_has(g, "alexnet_features.safetensors")) return;
  const json_t *settings = json_object_get(g->json, "alexnet_features");
  int fd = mkstemp(path);
  if (fd < 0) {
    golden_exact(g, "alexnet_features", false, "cannot write %s", path);
    return;
  }
  close(fd);
  moeclip_code code = moeclip_tensors_open(golden_path(g, "alexnet_features.safetensors"), &file, &err);
  if (code == MOECLIP_OK) code = write_weights(settings, path, &err);
  if (code == MOECLIP_OK) code = mc_alexnet_load(path, &alexnet, &err);
  if (code == MOECLIP_OK) code = mc_compute_create(0, &cp, &err);
  const moeclip_tensor *expected_tensor = file ? moeclip_tensors_find(file, "features_every_7th") : NULL;
  if (code == MOECLIP_OK && expected_tensor && expected_tensor->rank == 2) {
    int64_t n = expected_tensor->shape[0], each = expected_tensor->shape[1];
    float *images = filled((size_t)n * 3 * 224 * 224, (uint64_t)json_integer_value(json_object_get(settings, "image_salt")), 4);
    float *features = malloc((size_t)n * MC_ALEXNET_DIM * sizeof *features);
    float *expected = golden_floats(g, file, "features_every_7th", NULL);
    code = mc_alexnet_features(cp, alexnet, images, n, features, &arena, &err);
    if (code == MOECLIP_OK && each == (MC_ALEXNET_DIM + 6) / 7) {
      for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < each; j++) features[i * each + j] = features[i * MC_ALEXNET_DIM + 7 * j];
      }
      golden_item(g, "alexnet_features", golden_error(features, expected, (size_t)(n * each)), 1e-5);
    } else if (code == MOECLIP_OK) {
      golden_exact(g, "alexnet_features", false, "%lld features a picture", (long long)each);
    }
    free(images);
    free(features);
    free(expected);
  }
  if (code != MOECLIP_OK) golden_failed(g, "alexnet_features", &err);
  unlink(path);
  mc_alexnet_destroy(alexnet);
  mc_compute_destroy(cp);
  mc_arena_clear(&arena);
  moeclip_tensors_destroy(file);
}
