#include "train/distill.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "compute/kernels.h"
#include "train/side.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "distillation")

moeclip_code mc_soft_targets(mc_compute *cp, const float *features, int64_t n, const float *texts, int64_t k, int64_t embed,
                             float scale, float *targets, moeclip_error *err) {
  if (n == 0 || k == 0) return MOECLIP_OK;
  MC_TRY(mc_similarity(cp, features, n, texts, k, embed, scale, targets, err));
  mc_softmax(targets, n, k);
  return MOECLIP_OK;
}

double mc_soft_cross_entropy(const float *logits, const float *targets, int64_t rows, int64_t d, bool by_column,
                             float temperature, double weight, float *dlogits) {
  int64_t row = by_column ? 1 : d, next = by_column ? rows : 1;
  double loss = 0, of_each = weight * temperature;
  for (int64_t i = 0; i < rows; i++) {
    const float *z = logits + i * row, *p = targets + i * row;
    double largest = z[0], sum = 0, entropy = 0;
    for (int64_t j = 1; j < d; j++) largest = z[j * next] > largest ? z[j * next] : largest;
    for (int64_t j = 0; j < d; j++) sum += exp((z[j * next] - largest) / temperature);
    for (int64_t j = 0; j < d; j++) {
      double log_q = (z[j * next] - largest) / temperature - log(sum);
      entropy -= p[j * next] * log_q;
      dlogits[i * row + j * next] += (float)(of_each * (exp(log_q) - p[j * next]));
    }
    loss += of_each * temperature * entropy;
  }
  return loss;
}

/* Targets of both directions from the teacher's features; by column the softmax is over the pictures. */
static moeclip_code both_targets(mc_compute *cp, const mc_reference_batch *b, int64_t n, int64_t embed, float scale,
                                 float *of_pictures, float *of_texts, moeclip_error *err) {
  int64_t k = b->n_texts;
  MC_TRY(mc_soft_targets(cp, b->before, n, b->texts, k, embed, scale, of_pictures, err));
  return mc_soft_targets(cp, b->texts, k, b->before, n, embed, scale, of_texts, err); /* [k, n] */
}

typedef struct reference_step {
  mc_compute *cp;
  mc_clip *clip;
  const mc_reference_batch *batch;
  moeclip_comm *comm;
  mc_batch_side pictures;
  int64_t n_all, first;
  float *logits, *dlogits, *targets; /* [n_all, n_texts] */
} reference_step;

static moeclip_code prepare(reference_step *r, const mc_step_options *options, mc_arena *arena, moeclip_error *err) {
  mc_side_part part = {r->batch->n, r->first, r->n_all, r->first};
  MC_TRY(mc_side_init(&r->pictures, r->cp, r->clip, NULL, options, false, r->batch->images, part, arena, err));
  TAKE(r->logits, r->n_all * r->batch->n_texts);
  TAKE(r->dlogits, r->n_all * r->batch->n_texts);
  TAKE(r->targets, r->n_all * r->batch->n_texts);
  return mc_side_forward(&r->pictures, arena, err);
}

static moeclip_code run(reference_step *r, double *loss, mc_arena *arena, moeclip_error *err) {
  const mc_reference_batch *b = r->batch;
  int64_t n = r->n_all, k = b->n_texts, embed = r->pictures.embed, row = r->first * embed;
  float t = b->temperature, scale = expf(r->clip->logit_scale.value[0]), *transposed;
  const float *features = r->pictures.features - row;
  TAKE(transposed, n * k);
  MC_TRY(both_targets(r->cp, b, n, embed, b->scale / t, r->targets, transposed, err));
  MC_TRY(mc_similarity(r->cp, features, n, b->texts, k, embed, scale, r->logits, err));
  memset(r->dlogits, 0, (size_t)(n * k) * sizeof *r->dlogits);
  *loss = mc_soft_cross_entropy(r->logits, r->targets, n, k, false, t, b->weight / (double)n, r->dlogits);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < k; j++) r->targets[i * k + j] = transposed[j * n + i];
  }
  *loss += mc_soft_cross_entropy(r->logits, r->targets, k, n, true, t, b->weight / (double)k, r->dlogits);
  MC_TRY(mc_check_loss(*loss, err));
  if (moeclip_comm_rank(r->comm) == 0) mc_scale_backward(r->clip, r->logits, r->dlogits, n * k);
  MC_TRY(mc_similarity_backward(r->cp, r->dlogits, features, r->pictures.dfeatures - row, n, b->texts, NULL, k, embed, scale,
                                err));
  return mc_side_backward(&r->pictures, arena, err);
}

moeclip_code mc_reference_step(mc_compute *cp, mc_clip *clip, const mc_step_options *options, const mc_reference_batch *batch,
                               double *loss, mc_arena *arena, moeclip_error *err) {
  mc_arena_mark before = mc_arena_here(arena);
  reference_step r = {
      .cp = cp, .clip = clip, .batch = batch, .comm = options->share ? options->share->comm : NULL, .n_all = batch->n};
  if (batch->begin) {
    r.first = batch->begin[moeclip_comm_rank(r.comm)];
    r.n_all = batch->begin[moeclip_comm_size(r.comm)];
  }
  *loss = 0;
  moeclip_code code = moeclip_comm_agree(r.comm, prepare(&r, options, arena, err), err);
  if (code == MOECLIP_OK) {
    int64_t embed = r.pictures.embed;
    if (batch->begin)
      mc_comm_gather_rows(r.comm, r.pictures.features - r.first * embed, (size_t)embed * sizeof(float), batch->begin);
    code = moeclip_comm_agree(r.comm, run(&r, loss, arena, err), err);
  }
  mc_arena_release(arena, before);
  return code;
}
