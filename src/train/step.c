#include "train/step.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count)                                                              \
  do {                                                                                    \
    (pointer) = mc_arena_take(arena, (size_t)(count), sizeof *(pointer));                 \
    if (!(pointer)) return mc_fail_memory(err, (size_t)(count) * sizeof *(pointer), "a training step"); \
  } while (0)

/* A side of the step: pictures or texts, encoded in pieces of at most `piece` samples. */
typedef struct batch_side {
  mc_compute *cp;
  mc_encoder encoder;
  mc_routing routing;
  bool text;
  const float *images;
  const int32_t *texts;
  int64_t n, piece, embed, per_sample; /* per_sample: numbers in one input */
  float *features, *dfeatures;         /* [n, embed] */
  mc_encoded kept;                     /* of the whole, when one piece holds it */
} batch_side;

static moeclip_code side_init(batch_side *s, mc_compute *cp, mc_clip *clip, mc_adapters *adapters,
                              const mc_step_options *options, bool text, const void *input, int64_t n, mc_arena *arena,
                              moeclip_error *err) {
  const mc_tower *tower = text ? &clip->text : &clip->visual;
  *s = (batch_side){.cp = cp, .text = text, .n = n, .embed = clip->sizes.embed};
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
  size_t budget = options->kept_bytes ? options->kept_bytes : (size_t)(options->contrastive ? 768 : 240) << 20;
  size_t each = mc_tower_kept_bytes(tower, adapters ? &adapters->sizes : NULL, tokens, tower->blocks[0].in_weight.grad != NULL);
  s->piece = (int64_t)(budget / each);
  if (s->piece < 1) s->piece = 1;
  if (s->piece > n) s->piece = n;
  TAKE(s->features, n * s->embed);
  TAKE(s->dfeatures, n * s->embed);
  memset(s->dfeatures, 0, (size_t)(n * s->embed) * sizeof *s->dfeatures);
  return MOECLIP_OK;
}

/* first: these samples are seen for the first time in this step, and count. */
static moeclip_code encode_piece(batch_side *s, int64_t at, int64_t n, mc_encoded *keep, bool first, mc_arena *arena,
                                 moeclip_error *err) {
  mc_routing routing = s->routing;
  routing.first_sample = (uint64_t)at;
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

static moeclip_code backward_piece(batch_side *s, int64_t at, const mc_encoded *kept, mc_arena *arena,
                                   moeclip_error *err) {
  mc_routing routing = s->routing;
  routing.first_sample = (uint64_t)at;
  if (routing.task) routing.task += at;
  s->encoder.routing = routing.task ? &routing : NULL;
  const float *dfeatures = s->dfeatures + at * s->embed;
  return (s->text ? mc_encode_texts_backward : mc_encode_images_backward)(s->cp, &s->encoder, kept, dfeatures, arena, err);
}

/* Features of all samples. When one piece holds them all, what backward needs is kept; else it will be computed again,
 * piece by piece (the random numbers are drawn by sample, so that the second pass sees the same ones). */
static moeclip_code side_forward(batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->piece == s->n) return encode_piece(s, 0, s->n, &s->kept, true, arena, err);
  for (int64_t at = 0; at < s->n; at += s->piece) {
    int64_t n = s->n - at < s->piece ? s->n - at : s->piece;
    MC_TRY(encode_piece(s, at, n, NULL, true, arena, err));
  }
  return MOECLIP_OK;
}

static moeclip_code side_backward(batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->piece == s->n) return backward_piece(s, 0, &s->kept, arena, err);
  for (int64_t at = 0; at < s->n; at += s->piece) {
    int64_t n = s->n - at < s->piece ? s->n - at : s->piece;
    mc_arena_mark mark = mc_arena_here(arena);
    mc_encoded kept;
    MC_TRY(encode_piece(s, at, n, &kept, false, arena, err));
    MC_TRY(backward_piece(s, at, &kept, arena, err));
    mc_arena_release(arena, mark);
  }
  return MOECLIP_OK;
}

/* logits [n, m] = scale * a b^T, features [n|m, embed]. */
static moeclip_code similarity(mc_compute *cp, const float *a, int64_t n, const float *b, int64_t m, int64_t embed,
                               float scale, float *logits, moeclip_error *err) {
  mc_gemm g = {.m = n, .n = m, .k = embed, .a = a, .lda = embed, .b = b, .ldb = embed, .trans_b = true, .c = logits,
               .ldc = m, .alpha = scale};
  return mc_gemm_run(cp, &g, err);
}

/* Gradients of both sides' features, added, from dlogits [n, m]. */
static moeclip_code similarity_backward(mc_compute *cp, const float *dlogits, const float *a, float *da, int64_t n,
                                        const float *b, float *db, int64_t m, int64_t embed, float scale,
                                        moeclip_error *err) {
  mc_gemm of_a = {.m = n, .n = embed, .k = m, .a = dlogits, .lda = m, .b = b, .ldb = embed, .c = da, .ldc = embed,
                  .alpha = scale, .accumulate = true};
  mc_gemm of_b = {.m = m, .n = embed, .k = n, .a = dlogits, .lda = m, .trans_a = true, .b = a, .ldb = embed, .c = db,
                  .ldc = embed, .alpha = scale, .accumulate = true};
  MC_TRY(mc_gemm_run(cp, &of_a, err));
  return mc_gemm_run(cp, &of_b, err);
}

/* logits = exp(s) cos: d loss / d s = sum of dlogits * logits. */
static void scale_backward(mc_clip *clip, const float *logits, const float *dlogits, int64_t n) {
  if (!clip->logit_scale.grad) return;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)logits[i] * dlogits[i];
  clip->logit_scale.grad[0] += (float)sum;
  clip->logit_scale.touched = true;
}

static moeclip_code check_loss(double loss, moeclip_error *err) {
  if (isfinite(loss)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_NUMERIC, "the loss is not finite (%g)", loss);
}

moeclip_code mc_classification_step(mc_compute *cp, mc_clip *clip, mc_adapters *adapters, const mc_step_options *options,
                                    const float *images, const int32_t *labels, int64_t n, const int32_t *texts,
                                    int64_t n_texts, double *loss, float *logits_out, mc_arena *arena,
                                    moeclip_error *err) {
  mc_arena_mark before = mc_arena_here(arena);
  batch_side pictures, classes;
  float scale = expf(clip->logit_scale.value[0]), *logits, *dlogits;
  for (int64_t i = 0; i < n; i++) {
    if (labels[i] < 0 || labels[i] >= n_texts) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "label %d: there are %lld classes", (int)labels[i], (long long)n_texts);
    }
  }
  if (options->balance > 0 && adapters) mc_adapters_clear_tally(adapters);
  MC_TRY(side_init(&classes, cp, clip, adapters, options, true, texts, n_texts, arena, err));
  MC_TRY(side_init(&pictures, cp, clip, adapters, options, false, images, n, arena, err));
  MC_TRY(side_forward(&classes, arena, err));
  TAKE(logits, pictures.piece * n_texts);
  TAKE(dlogits, pictures.piece * n_texts);
  /* The loss is a sum over pictures: each piece goes forward and at once back. The load-balance term is not: it needs the sums over
   * all of them first. */
  bool seen = options->balance > 0 && adapters && pictures.piece < n;
  for (int64_t at = 0; seen && at < n; at += pictures.piece) {
    MC_TRY(encode_piece(&pictures, at, n - at < pictures.piece ? n - at : pictures.piece, NULL, true, arena, err));
  }
  *loss = 0;
  for (int64_t at = 0; at < n; at += pictures.piece) {
    int64_t m = n - at < pictures.piece ? n - at : pictures.piece;
    mc_arena_mark mark = mc_arena_here(arena);
    mc_encoded kept;
    const float *features = pictures.features + at * pictures.embed;
    MC_TRY(encode_piece(&pictures, at, m, &kept, !seen, arena, err));
    MC_TRY(similarity(cp, features, m, classes.features, n_texts, classes.embed, scale, logits, err));
    *loss += mc_cross_entropy(logits, labels + at, m, n_texts, options->smoothing, 1.0f / (float)n, dlogits) / (double)n;
    MC_TRY(check_loss(*loss, err));
    scale_backward(clip, logits, dlogits, m * n_texts);
    MC_TRY(similarity_backward(cp, dlogits, features, pictures.dfeatures + at * pictures.embed, m, classes.features,
                               classes.dfeatures, n_texts, classes.embed, scale, err));
    if (logits_out) memcpy(logits_out + at * n_texts, logits, (size_t)(m * n_texts) * sizeof *logits);
    MC_TRY(backward_piece(&pictures, at, &kept, arena, err));
    mc_arena_release(arena, mark);
  }
  MC_TRY(side_backward(&classes, arena, err));
  if (options->balance > 0 && adapters) {
    *loss += mc_adapters_balance(adapters, options->image_routing.task[0], options->balance);
    MC_TRY(check_loss(*loss, err));
  }
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

/* Rows with the same text share the target equally. group [n]: the first row with that text; size [n]: how many. */
static void same_texts(const int32_t *texts, int64_t n, int64_t context, int32_t *group, int32_t *size) {
  for (int64_t i = 0; i < n; i++) {
    size[i] = 0;
    group[i] = (int32_t)i;
    for (int64_t j = 0; j < i; j++) {
      if (group[j] == j && memcmp(texts + i * context, texts + j * context, (size_t)context * sizeof *texts) == 0) {
        group[i] = (int32_t)j;
        break;
      }
    }
    size[group[i]]++;
  }
}

/* Cross-entropy of each row of logits [n, n] against the rows of its group; dlogits added, transposed when by_column. */
static double group_cross_entropy(const float *logits, const int32_t *group, const int32_t *size, int64_t n,
                                  bool by_column, float *dlogits) {
  double loss = 0;
  int64_t step = by_column ? n : 1, next = by_column ? 1 : n;
  for (int64_t i = 0; i < n; i++) {
    const float *row = logits + i * next;
    float largest = row[0];
    for (int64_t j = 1; j < n; j++) largest = row[j * step] > largest ? row[j * step] : largest;
    double sum = 0, share = 1.0 / size[group[i]], right = 0;
    for (int64_t j = 0; j < n; j++) {
      sum += exp((double)row[j * step] - largest);
      if (group[j] == group[i]) right += share * ((double)row[j * step] - largest);
    }
    loss += (log(sum) - right) / (double)n;
    for (int64_t j = 0; j < n; j++) {
      double p = exp((double)row[j * step] - largest) / sum, target = group[j] == group[i] ? share : 0;
      dlogits[i * next + j * step] += (float)(0.5 * (p - target) / (double)n);
    }
  }
  return loss;
}

moeclip_code mc_contrastive_step(mc_compute *cp, mc_clip *clip, const mc_step_options *given, const float *images,
                                 const int32_t *texts, int64_t n, double *loss, mc_arena *arena, moeclip_error *err) {
  mc_step_options contrastive = *given, *options = &contrastive;
  contrastive.contrastive = true;
  mc_arena_mark before = mc_arena_here(arena);
  batch_side pictures, captions;
  float scale = expf(clip->logit_scale.value[0]), *logits, *dlogits;
  int32_t *group, *size;
  MC_TRY(side_init(&captions, cp, clip, NULL, options, true, texts, n, arena, err));
  MC_TRY(side_init(&pictures, cp, clip, NULL, options, false, images, n, arena, err));
  TAKE(logits, n * n);
  TAKE(dlogits, n * n);
  TAKE(group, n);
  TAKE(size, n);
  MC_TRY(side_forward(&captions, arena, err));
  MC_TRY(side_forward(&pictures, arena, err));
  MC_TRY(similarity(cp, pictures.features, n, captions.features, n, captions.embed, scale, logits, err));
  memset(dlogits, 0, (size_t)(n * n) * sizeof *dlogits);
  same_texts(texts, n, clip->sizes.context, group, size);
  *loss = 0.5 * (group_cross_entropy(logits, group, size, n, false, dlogits) +
                 group_cross_entropy(logits, group, size, n, true, dlogits));
  MC_TRY(check_loss(*loss, err));
  scale_backward(clip, logits, dlogits, n * n);
  MC_TRY(similarity_backward(cp, dlogits, pictures.features, pictures.dfeatures, n, captions.features,
                             captions.dfeatures, n, captions.embed, scale, err));
  MC_TRY(side_backward(&pictures, arena, err));
  MC_TRY(side_backward(&captions, arena, err));
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}
