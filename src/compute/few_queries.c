/* Attention of one or two tokens a sample: matrix products would be vectors, so these are loops. */
#include <math.h>
#include <string.h>

#include "compute/kernels.h"
#include "compute/vector.h"

typedef struct few {
  const mc_few_queries *f;
  const float *q, *kv, *dcontext;
  float *context, *log_sum, *dq, *dkv;
  const float *log_sum_in;
} few;

/* One head of one sample: online softmax, one pass over keys and values. */
MC_VECTORISED static void forward_head(const few *w, int64_t i) {
  const mc_few_queries *f = w->f;
  int64_t s = i / f->heads, head = i % f->heads, d = f->head_width, width = f->heads * d;
  const float *keys = w->kv + s * f->t * 2 * width + head * d, *values = keys + width;
  float scale = 1.0f / sqrtf((float)d);
  for (int64_t r = 0; r < f->queries; r++) {
    int64_t at = (s * f->queries + r) * width + head * d, visible = f->visible[s * f->queries + r];
    const float *q = w->q + at;
    float *context = w->context + at, largest = -INFINITY, sum = 0;
    for (int64_t k = 0; k < d; k++) context[k] = 0;
    for (int64_t j = 0; j < visible; j++) {
      float score = scale * mc_row_dot(q, keys + j * 2 * width, d);
      const float *v = values + j * 2 * width;
      if (score > largest) {
        float shrink = largest == -INFINITY ? 0 : mc_expf(largest - score);
        sum *= shrink;
        for (int64_t k = 0; k < d; k++) context[k] *= shrink;
        largest = score;
      }
      float p = mc_expf(score - largest);
      sum += p;
      for (int64_t k = 0; k < d; k++) context[k] += p * v[k];
    }
    float inverse = 1 / sum;
    for (int64_t k = 0; k < d; k++) context[k] *= inverse;
    if (w->log_sum) w->log_sum[(s * f->heads + head) * f->queries + r] = largest + logf(sum);
  }
}

MC_VECTORISED static void backward_head(const few *w, int64_t i) {
  const mc_few_queries *f = w->f;
  int64_t s = i / f->heads, head = i % f->heads, d = f->head_width, width = f->heads * d;
  int64_t of_sample = s * f->t * 2 * width + head * d;
  const float *keys = w->kv + of_sample, *values = keys + width;
  float *dkeys = w->dkv + of_sample, *dvalues = dkeys + width, scale = 1.0f / sqrtf((float)d);
  for (int64_t j = 0; j < f->t; j++) {
    memset(dkeys + j * 2 * width, 0, (size_t)d * sizeof *dkeys);
    memset(dvalues + j * 2 * width, 0, (size_t)d * sizeof *dvalues);
  }
  for (int64_t r = 0; r < f->queries; r++) {
    int64_t at = (s * f->queries + r) * width + head * d, visible = f->visible[s * f->queries + r];
    const float *q = w->q + at, *dc = w->dcontext + at;
    float *dq = w->dq + at, log_sum = w->log_sum_in[(s * f->heads + head) * f->queries + r], total = 0;
    for (int64_t k = 0; k < d; k++) dq[k] = 0;
    for (int64_t j = 0; j < visible; j++) {
      total += mc_expf(scale * mc_row_dot(q, keys + j * 2 * width, d) - log_sum) * mc_row_dot(dc, values + j * 2 * width, d);
    }
    for (int64_t j = 0; j < visible; j++) {
      const float *key = keys + j * 2 * width;
      float p = mc_expf(scale * mc_row_dot(q, key, d) - log_sum);
      float ds = p * (mc_row_dot(dc, values + j * 2 * width, d) - total) * scale;
      float *dkey = dkeys + j * 2 * width, *dvalue = dvalues + j * 2 * width;
      for (int64_t k = 0; k < d; k++) {
        dq[k] += ds * key[k];
        dkey[k] += ds * q[k];
        dvalue[k] += p * dc[k];
      }
    }
  }
}

static void forward_body(void *context, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) forward_head(context, i);
}

static void backward_body(void *context, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) backward_head(context, i);
}

void mc_few_queries_forward(mc_compute *cp, const mc_few_queries *f, const float *q, const float *kv, float *context, float *log_sum) {
  few w = {.f = f, .q = q, .kv = kv, .context = context, .log_sum = log_sum};
  mc_parallel_for(cp, f->n * f->heads, 4, forward_body, &w);
}

void mc_few_queries_backward(mc_compute *cp, const mc_few_queries *f, const float *q, const float *kv, const float *log_sum,
                             const float *dcontext, float *dq, float *dkv) {
  few w = {.f = f, .q = q, .kv = kv, .log_sum_in = log_sum, .dcontext = dcontext, .dq = dq, .dkv = dkv};
  mc_parallel_for(cp, f->n * f->heads, 4, backward_body, &w);
}
