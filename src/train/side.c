#include "train/side.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "a training step")

/* The pieces are of one size, as nearly as can be, and a multiple of the threads, each of which takes a sample at a time. */
static int64_t even_piece(int64_t most, int64_t n, int64_t threads) {
  if (most >= n) return n;
  if (most < threads) return most < 1 ? 1 : most;
  most -= most % threads;
  int64_t pieces = (n + most - 1) / most, piece = (n + pieces - 1) / pieces;
  return (piece + threads - 1) / threads * threads;
}

moeclip_code mc_side_init(mc_batch_side *s, mc_compute *cp, mc_clip *clip, mc_adapters *adapters,
                          const mc_step_options *options, bool text, const void *input, mc_side_part part, mc_arena *arena,
                          moeclip_error *err) {
  const mc_tower *tower = text ? &clip->text : &clip->visual;
  int64_t n = part.n;
  *s = (mc_batch_side){.cp = cp, .text = text, .n = n, .first = part.first, .embed = clip->sizes.embed};
  s->routing = text ? options->text_routing : options->image_routing;
  s->routing.balance = adapters ? options->balance : 0;
  s->encoder = (mc_encoder){.clip = clip, .adapters = adapters, .full_context = options->full_context};
  int64_t tokens;
  if (text) {
    s->texts = input;
    s->per_sample = clip->sizes.context;
    tokens = clip->sizes.context;
    if (!options->full_context) {
      /* What will really be computed: up to the longest text. */
      tokens = 1;
      for (int64_t i = 0; i < n; i++) {
        for (int64_t j = tokens; j < clip->sizes.context; j++) {
          if (s->texts[i * s->per_sample + j] != 0) tokens = j + 1;
        }
      }
    }
  } else {
    s->images = input;
    s->per_sample = (int64_t)3 * clip->sizes.image_size * clip->sizes.image_size;
    tokens = clip->n_patches + 1;
  }
  size_t budget = options->kept_bytes ? options->kept_bytes : (size_t)(options->contrastive ? 768 : 336) << 20;
  size_t each = mc_tower_kept_bytes(tower, adapters ? &adapters->sizes : NULL, tokens, tower->blocks[0].in_weight.grad != NULL,
                                    mc_compute_precision(cp));
  s->piece = even_piece((int64_t)(budget / each), n, mc_compute_threads(cp));
  TAKE(s->features, part.n_all * s->embed);
  TAKE(s->dfeatures, part.n_all * s->embed);
  memset(s->dfeatures, 0, (size_t)(part.n_all * s->embed) * sizeof *s->dfeatures);
  s->features += part.row * s->embed;
  s->dfeatures += part.row * s->embed;
  return MOECLIP_OK;
}

moeclip_code mc_side_encode(mc_batch_side *s, int64_t at, int64_t n, mc_encoded *keep, bool first, mc_arena *arena,
                            moeclip_error *err) {
  mc_routing routing = s->routing;
  routing.first_sample = (uint64_t)(s->first + at);
  if (routing.task) routing.task += at;
  routing.count = routing.count && first;
  routing.tally = routing.balance > 0 && first;
  s->encoder.routing = routing.task ? &routing : NULL;
  float *features = s->features + at * s->embed;
  if (s->text) {
    return mc_encode_texts(s->cp, &s->encoder, s->texts + at * s->per_sample, n, features, keep, arena, err);
  }
  return mc_encode_images(s->cp, &s->encoder, s->images + at * s->per_sample, n, features, keep, arena, err);
}

moeclip_code mc_side_back(mc_batch_side *s, int64_t at, const mc_encoded *kept, mc_arena *arena, moeclip_error *err) {
  mc_routing routing = s->routing;
  routing.first_sample = (uint64_t)(s->first + at);
  if (routing.task) routing.task += at;
  s->encoder.routing = routing.task ? &routing : NULL;
  s->encoder.done = at + s->piece >= s->n ? s->done : NULL;
  const float *dfeatures = s->dfeatures + at * s->embed;
  return (s->text ? mc_encode_texts_backward : mc_encode_images_backward)(s->cp, &s->encoder, kept, dfeatures, arena, err);
}

moeclip_code mc_side_forward(mc_batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->n == 0) return MOECLIP_OK;
  if (s->piece == s->n) return mc_side_encode(s, 0, s->n, &s->kept, true, arena, err);
  for (int64_t at = 0; at < s->n; at += s->piece) {
    int64_t n = s->n - at < s->piece ? s->n - at : s->piece;
    MC_TRY(mc_side_encode(s, at, n, NULL, true, arena, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_side_backward(mc_batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->n == 0) return MOECLIP_OK;
  if (s->piece == s->n) return mc_side_back(s, 0, &s->kept, arena, err);
  for (int64_t at = 0; at < s->n; at += s->piece) {
    int64_t n = s->n - at < s->piece ? s->n - at : s->piece;
    mc_arena_mark mark = mc_arena_here(arena);
    mc_encoded kept;
    MC_TRY(mc_side_encode(s, at, n, &kept, false, arena, err));
    MC_TRY(mc_side_back(s, at, &kept, arena, err));
    mc_arena_release(arena, mark);
  }
  return MOECLIP_OK;
}

moeclip_code mc_similarity(mc_compute *cp, const float *a, int64_t n, const float *b, int64_t m, int64_t embed, float scale,
                           float *logits, moeclip_error *err) {
  mc_gemm g = {.m = n,
               .n = m,
               .k = embed,
               .a = a,
               .lda = embed,
               .b = b,
               .ldb = embed,
               .trans_b = true,
               .c = logits,
               .ldc = m,
               .alpha = scale};
  return mc_gemm_run(cp, &g, err);
}

moeclip_code mc_similarity_backward(mc_compute *cp, const float *dlogits, const float *a, float *da, int64_t n, const float *b,
                                    float *db, int64_t m, int64_t embed, float scale, moeclip_error *err) {
  mc_gemm of_a = {.m = n,
                  .n = embed,
                  .k = m,
                  .a = dlogits,
                  .lda = m,
                  .b = b,
                  .ldb = embed,
                  .c = da,
                  .ldc = embed,
                  .alpha = scale,
                  .accumulate = true};
  mc_gemm of_b = {.m = m,
                  .n = embed,
                  .k = n,
                  .a = dlogits,
                  .lda = m,
                  .trans_a = true,
                  .b = a,
                  .ldb = embed,
                  .c = db,
                  .ldc = embed,
                  .alpha = scale,
                  .accumulate = true};
  MC_TRY(mc_gemm_run(cp, &of_a, err));
  return db ? mc_gemm_run(cp, &of_b, err) : MOECLIP_OK;
}

void mc_scale_backward(mc_clip *clip, const float *logits, const float *dlogits, int64_t n) {
  if (!clip->logit_scale.grad) return;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)logits[i] * dlogits[i];
  clip->logit_scale.grad[0] += (float)sum;
  clip->logit_scale.touched = true;
}

moeclip_code mc_check_loss(double loss, moeclip_error *err) {
  if (isfinite(loss)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_NUMERIC, "the loss is not finite (%g)", loss);
}
