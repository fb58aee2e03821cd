/*
 * Runs each kernel of our own once over a small and once over a large array, for run.sh to count its instructions under callgrind: what
 * the large one costs more, by element, does not depend on how busy the machine is. NAME_small and NAME_large are what it looks for.
 */
#include <stdlib.h>

#include "compute/bfloat16.h"
#include "select/features.h"
#include "search/search.h"
#include "train/optimizer.h"

enum { WIDTH = 768, SMALL = 8 * WIDTH, LARGE = 40 * WIDTH };

static float *x, *y, *z, *mean, *rstd, *weight;
static float *qkv, *dqkv, *context, *log_sum, *scratch;
static mc_bfloat16 *half, *other, *qkv16, *dqkv16, *context16;
static void *scratch16;
static mc_compute *cp;

static void quick_gelu(int64_t n) { mc_activation_forward(cp, MC_QUICK_GELU, x, n, y); }
static void quick_gelu_backward(int64_t n) { mc_activation_backward(cp, MC_QUICK_GELU, x, n, y); }
static void gelu(int64_t n) { mc_activation_forward(cp, MC_GELU, x, n, y); }
static void gelu_backward(int64_t n) { mc_activation_backward(cp, MC_GELU, x, n, y); }
static void layernorm(int64_t n) { mc_layernorm_forward(cp, x, WIDTH, weight, weight, n / WIDTH, WIDTH, y, mean, rstd); }
static void layernorm_backward(int64_t n) {
  mc_layernorm_backward(cp, y, x, WIDTH, mean, rstd, weight, n / WIDTH, WIDTH, z, WIDTH, NULL, NULL);
}
static void sigmoid(int64_t n) { mc_sigmoid(cp, y, n); }
static void rounding(int64_t n) { mc_to_bfloat16(cp, x, n, half); }
static void quick_gelu16(int64_t n) { mc_activation_forward16(cp, MC_QUICK_GELU, half, n, other); }
static void quick_gelu_backward16(int64_t n) { mc_activation_backward16(cp, MC_QUICK_GELU, half, n, other); }
static void gelu16(int64_t n) { mc_activation_forward16(cp, MC_GELU, half, n, other); }
static void gelu_backward16(int64_t n) { mc_activation_backward16(cp, MC_GELU, half, n, other); }
static void layernorm16(int64_t n) { mc_layernorm_forward16(cp, x, WIDTH, weight, weight, n / WIDTH, WIDTH, half, mean, rstd); }
static void dot_rows(int64_t n) { mc_dot_rows(half, weight, n / WIDTH, WIDTH, z); }

/* By score: 6 heads of 64 x 64 more for the large one. oneDNN's products are counted with the rest. */
static mc_attention heads_of(int64_t n) { return (mc_attention){1, 64, n == SMALL ? 6 : 12, 64, false}; }
static void attention(int64_t n) {
  mc_attention a = heads_of(n);
  mc_attention_forward(cp, &a, qkv, context, log_sum, scratch, NULL);
}
static void attention_backward(int64_t n) {
  mc_attention a = heads_of(n);
  mc_attention_backward(cp, &a, qkv, log_sum, context, dqkv, scratch, NULL);
}

/* In plain C, as without AVX-512. */
static void attention16(int64_t n) {
  mc_attention a = heads_of(n);
  mc_attention_forward16(cp, &a, qkv16, context16, log_sum, scratch16);
}
static void attention_backward16(int64_t n) {
  mc_attention a = heads_of(n);
  mc_attention_backward16(cp, &a, qkv16, log_sum, context16, dqkv16, scratch16);
}

/* Functions of their own, which callgrind can name. */
#define KERNELS(X) \
  X(quick_gelu) X(quick_gelu_backward) X(gelu) X(gelu_backward) X(layernorm) X(layernorm_backward) X(sigmoid) X(rounding) \
  X(quick_gelu16) X(quick_gelu_backward16) X(gelu16) X(gelu_backward16) X(layernorm16) X(dot_rows) X(attention) X(attention_backward) \
  X(attention16) X(attention_backward16)
#define DEFINE(name) \
  __attribute__((noinline, noclone)) static void name##_small(void) { name(SMALL); } \
  __attribute__((noinline, noclone)) static void name##_large(void) { name(LARGE); }
KERNELS(DEFINE)

int main(void) {
  mc_attention largest = heads_of(LARGE);
  int64_t tokens = largest.t * largest.heads * largest.head_width;
  moeclip_error err;
  if (mc_compute_create(1, &cp, &err) != MOECLIP_OK) return 1;
  const struct { float **array; int64_t n; } floats[] = {
      {&x, LARGE}, {&y, LARGE}, {&z, LARGE}, {&mean, LARGE / WIDTH}, {&rstd, LARGE / WIDTH}, {&weight, WIDTH}, {&qkv, 3 * tokens},
      {&dqkv, 3 * tokens}, {&context, tokens}, {&log_sum, largest.heads * largest.t}, {&scratch, (int64_t)mc_attention_scratch(cp, &largest)}};
  enum { ARRAYS = sizeof floats / sizeof *floats };
  const struct { mc_bfloat16 **array; int64_t n; } halves[] = {
      {&half, LARGE}, {&other, LARGE}, {&qkv16, 3 * tokens}, {&dqkv16, 3 * tokens}, {&context16, tokens}};
  enum { HALVES = sizeof halves / sizeof *halves };
  for (int a = 0; a < HALVES; a++) {
    if (!(*halves[a].array = calloc((size_t)halves[a].n, sizeof *half))) return 1;
  }
  scratch16 = malloc(mc_attention_scratch16(cp, &largest));
  if (!scratch16) return 1;
  for (int a = 0; a < ARRAYS; a++) {
    float *own = *floats[a].array = malloc((size_t)floats[a].n * sizeof *own);
    if (!own) return 1;
    for (int64_t i = 0; i < floats[a].n; i++) own[i] = (float)(i % 601) / 100 - 3;
  }
  mc_to_bfloat16(cp, qkv, 3 * tokens, qkv16);
  attention(SMALL); /* oneDNN makes its kernels at the first call */
  attention_backward(SMALL);
#define RUN(name) name##_small(); name##_large();
  KERNELS(RUN)
  for (int a = 0; a < ARRAYS; a++) free(*floats[a].array);
  for (int a = 0; a < HALVES; a++) free(*halves[a].array);
  free(scratch16);
  mc_compute_destroy(cp);
  return 0;
}
