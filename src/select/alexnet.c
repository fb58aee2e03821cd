/* AlexNet up to the fifth convolution (method.md section 4). */
#include <stdio.h>
#include <stdlib.h>

#include "compute/kernels.h"
#include "select/features.h"
#include "select/selector.h"

enum { LAYERS = 5 };
static const struct {
  const char *name;
  int64_t c_out, c_in, k, stride, pad;
  bool pool; /* max-pool 3/2 after the ReLU */
} table[LAYERS] = {
    {"features.0", 64, 3, 11, 4, 2, true},     {"features.3", 192, 64, 5, 1, 2, true},
    {"features.6", 384, 192, 3, 1, 1, false},  {"features.8", 256, 384, 3, 1, 1, false},
    {"features.10", 256, 256, 3, 1, 1, false},
};

struct mc_alexnet {
  mc_param weight[LAYERS], bias[LAYERS];
};

void mc_alexnet_destroy(mc_alexnet *a) {
  if (!a) return;
  for (int i = 0; i < LAYERS; i++) {
    mc_param_clear(&a->weight[i]);
    mc_param_clear(&a->bias[i]);
  }
  free(a);
}

moeclip_code mc_alexnet_load(const char *path, mc_alexnet **out, moeclip_error *err) {
  moeclip_tensors *file = NULL;
  *out = NULL;
  MC_TRY(moeclip_tensors_open(path, &file, err));
  mc_alexnet *a = calloc(1, sizeof *a);
  moeclip_code code = a ? MOECLIP_OK : mc_fail_memory(err, sizeof *a, "AlexNet");
  for (int i = 0; code == MOECLIP_OK && i < LAYERS; i++) {
    char name[32];
    int64_t shape[4] = {table[i].c_out, table[i].c_in, table[i].k, table[i].k};
    snprintf(name, sizeof name, "%s.weight", table[i].name);
    code = mc_param_read(&a->weight[i], file, name, 4, shape, true, err);
    snprintf(name, sizeof name, "%s.bias", table[i].name);
    if (code == MOECLIP_OK) code = mc_param_read(&a->bias[i], file, name, 1, shape, true, err);
  }
  moeclip_tensors_destroy(file);
  if (code != MOECLIP_OK) {
    mc_alexnet_destroy(a);
    mc_fail_prefix(err, path);
    return code;
  }
  *out = a;
  return MOECLIP_OK;
}

/* One convolution, its ReLU and pooling: x [n, c_in, *side, *side] -> *y, which is taken from the arena. */
static moeclip_code layer(mc_compute *cp, const mc_alexnet *a, int i, const float *x, int64_t n, int64_t *side, float *last,
                          float **y, mc_arena *arena, moeclip_error *err) {
  int64_t out = (*side + 2 * table[i].pad - table[i].k) / table[i].stride + 1, pooled = (out - 3) / 2 + 1;
  size_t planes = (size_t)(n * table[i].c_out);
  float *result = last ? last : mc_arena_take(arena, planes, (size_t)(out * out) * sizeof *result);
  if (!result) return mc_fail_memory(err, planes * (size_t)(out * out) * sizeof *result, "AlexNet's features");
  mc_conv2d c = {.n = n, .c_in = table[i].c_in, .h = *side, .w = *side, .c_out = table[i].c_out, .k = table[i].k,
                 .stride = table[i].stride, .pad = table[i].pad, .x = x, .weight = a->weight[i].value,
                 .bias = a->bias[i].value, .y = result, .relu = !last};
  MC_TRY(mc_conv2d_run(cp, &c, err));
  if (table[i].pool) {
    float *small = mc_arena_take(arena, planes, (size_t)(pooled * pooled) * sizeof *small);
    if (!small) return mc_fail_memory(err, planes * (size_t)(pooled * pooled) * sizeof *small, "AlexNet's features");
    mc_maxpool2d(cp, result, (int64_t)planes, out, out, 3, 2, small);
    result = small;
    out = pooled;
  }
  *y = result;
  *side = out;
  return MOECLIP_OK;
}

moeclip_code mc_alexnet_features(mc_compute *cp, const mc_alexnet *a, const float *images, int64_t n, float *out,
                                 mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  int64_t side = MC_ALEXNET_SIZE;
  const float *x = images;
  moeclip_code code = MOECLIP_OK;
  for (int i = 0; code == MOECLIP_OK && i < LAYERS; i++) {
    float *y = NULL;
    code = layer(cp, a, i, x, n, &side, i == LAYERS - 1 ? out : NULL, &y, arena, err);
    x = y;
  }
  mc_arena_release(arena, mark);
  if (code == MOECLIP_OK) mc_sigmoid(cp, out, n * MC_ALEXNET_DIM);
  return code;
}
