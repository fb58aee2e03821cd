#include "train/step.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "a training step")

/* A side of the step: this rank's pictures or texts, encoded in pieces of at most `piece` samples. */
typedef struct batch_side {
  mc_compute *cp;
  mc_encoder encoder;
  mc_routing routing;
  bool text;
  const float *images;
  const int32_t *texts;
  int64_t n, piece, embed, per_sample; /* per_sample: numbers in one input */
  int64_t first;                       /* number of sample 0 in the step, for the random numbers */
  float *features, *dfeatures;         /* [n, embed] */
  mc_encoded kept;                     /* of the whole, when one piece holds it */
  const mc_block_done *done;           /* told in the last backward pass; or NULL */
} batch_side;

/* The pieces are of one size, as nearly as can be, and a multiple of the threads, each of which takes a sample at a time. */
static int64_t even_piece(int64_t most, int64_t n, int64_t threads) {
  if (most >= n) return n;
  if (most < threads) return most < 1 ? 1 : most;
  most -= most % threads;
  int64_t pieces = (n + most - 1) / most, piece = (n + pieces - 1) / pieces;
  return (piece + threads - 1) / threads * threads;
}

/* Which samples of a side are this rank's, and whether the features of all ranks are wanted. */
typedef struct side_part {
  int64_t n, first;   /* own ones */
  int64_t n_all, row; /* rows of features that are kept, and the place of the own ones among them */
} side_part;

static moeclip_code side_init(batch_side *s, mc_compute *cp, mc_clip *clip, mc_adapters *adapters,
                              const mc_step_options *options, bool text, const void *input, side_part part, mc_arena *arena,
                              moeclip_error *err) {
  const mc_tower *tower = text ? &clip->text : &clip->visual;
  int64_t n = part.n;
  *s = (batch_side){.cp = cp, .text = text, .n = n, .first = part.first, .embed = clip->sizes.embed};
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

/* first: these samples are seen for the first time in this step, and count. */
static moeclip_code encode_piece(batch_side *s, int64_t at, int64_t n, mc_encoded *keep, bool first, mc_arena *arena,
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

static moeclip_code backward_piece(batch_side *s, int64_t at, const mc_encoded *kept, mc_arena *arena,
                                   moeclip_error *err) {
  mc_routing routing = s->routing;
  routing.first_sample = (uint64_t)(s->first + at);
  if (routing.task) routing.task += at;
  s->encoder.routing = routing.task ? &routing : NULL;
  s->encoder.done = at + s->piece >= s->n ? s->done : NULL;
  const float *dfeatures = s->dfeatures + at * s->embed;
  return (s->text ? mc_encode_texts_backward : mc_encode_images_backward)(s->cp, &s->encoder, kept, dfeatures, arena, err);
}

/* Features of all samples. When one piece holds them all, what backward needs is kept; else it will be computed again,
 * piece by piece (the random numbers are drawn by sample, so that the second pass sees the same ones). */
static moeclip_code side_forward(batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->n == 0) return MOECLIP_OK;
  if (s->piece == s->n) return encode_piece(s, 0, s->n, &s->kept, true, arena, err);
  for (int64_t at = 0; at < s->n; at += s->piece) {
    int64_t n = s->n - at < s->piece ? s->n - at : s->piece;
    MC_TRY(encode_piece(s, at, n, NULL, true, arena, err));
  }
  return MOECLIP_OK;
}

static moeclip_code side_backward(batch_side *s, mc_arena *arena, moeclip_error *err) {
  if (s->n == 0) return MOECLIP_OK;
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

/* --- classification ------------------------------------------------------------------------------------------------------- */

typedef struct classification {
  mc_compute *cp;
  mc_clip *clip;
  mc_adapters *adapters;
  const mc_step_options *options;
  const float *images;
  const int32_t *labels, *texts;
  int64_t n, n_all, n_texts; /* own pictures, those of all ranks, all texts */
  float *logits_out;
  moeclip_comm *comm; /* NULL: alone */
  mc_reduction *reduction;
  mc_block_done done;
  batch_side pictures, classes;
  float *all_features, *all_dfeatures; /* [n_texts, embed], where the texts of all ranks come together */
  float *logits, *dlogits;             /* [piece, n_texts] */
  int64_t *rows;                       /* [ranks + 1]: rank r has the texts from rows[r] to rows[r + 1] */
  double *sums;                        /* [blocks, 2 * experts], when balanced and not alone */
  int n_blocks;
  bool balanced;
  double loss;
} classification;

static mc_moe *block_of(const mc_adapters *a, int i) {
  return i < a->visual_layers ? &a->visual[i] : &a->text[i - a->visual_layers];
}

/* What the exchanges need is there before the first of them, so that none can fail for want of memory. */
static moeclip_code prepare_exchange(classification *c, mc_arena *arena, moeclip_error *err) {
  int size = moeclip_comm_size(c->comm);
  int64_t n = 0;
  TAKE(c->rows, size + 1);
  for (int r = 0; r <= size; r++) c->rows[r] = mc_comm_share(c->comm, c->n_texts, r);
  c->n_blocks = c->balanced ? c->adapters->visual_layers + c->adapters->text_layers : 0;
  for (int i = 0; i < c->n_blocks; i++) n += 2 * block_of(c->adapters, i)->n_experts;
  TAKE(c->sums, n);
  return MOECLIP_OK;
}

static moeclip_code prepare(classification *c, mc_arena *arena, moeclip_error *err) {
  const mc_step_share *share = c->options->share;
  int rank = moeclip_comm_rank(c->comm);
  int64_t first = share ? share->begin[rank] : 0;
  MC_TRY(prepare_exchange(c, arena, err));
  int64_t text = c->rows[rank], text_end = c->rows[rank + 1];
  for (int64_t i = 0; i < c->n; i++) {
    if (c->labels[i] < 0 || c->labels[i] >= c->n_texts) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "label %d: there are %lld classes", (int)c->labels[i], (long long)c->n_texts);
    }
  }
  if (c->balanced) mc_adapters_clear_tally(c->adapters);
  MC_TRY(side_init(&c->classes, c->cp, c->clip, c->adapters, c->options, true, c->texts + text * c->clip->sizes.context,
                   (side_part){text_end - text, text, c->n_texts, text}, arena, err));
  MC_TRY(side_init(&c->pictures, c->cp, c->clip, c->adapters, c->options, false, c->images,
                   (side_part){c->n, first, c->n, 0}, arena, err));
  c->all_features = c->classes.features - text * c->classes.embed;
  c->all_dfeatures = c->classes.dfeatures - text * c->classes.embed;
  if (c->comm) {
    c->done = mc_reduction_hook(c->reduction);
    c->classes.done = c->pictures.done = &c->done;
  }
  MC_TRY(side_forward(&c->classes, arena, err));
  TAKE(c->logits, c->pictures.piece * c->n_texts);
  TAKE(c->dlogits, c->pictures.piece * c->n_texts);
  return MOECLIP_OK;
}

/* The sums that the load-balance term is made of, over all ranks. */
static moeclip_code share_tally(classification *c, moeclip_error *err) {
  double *at = c->sums;
  for (int i = 0; i < c->n_blocks; i++) {
    const mc_moe *m = block_of(c->adapters, i);
    memcpy(at, m->tally, 2 * (size_t)m->n_experts * sizeof *at);
    at += 2 * m->n_experts;
  }
  MC_TRY(mc_comm_total_f64(c->comm, c->sums, (size_t)(at - c->sums), err));
  at = c->sums;
  for (int i = 0; i < c->n_blocks; i++) {
    const mc_moe *m = block_of(c->adapters, i);
    memcpy(m->tally, at, 2 * (size_t)m->n_experts * sizeof *at);
    at += 2 * m->n_experts;
  }
  return MOECLIP_OK;
}

/* What must be known of all pictures before the first goes back. The load-balance term is not a sum over pictures: it needs the sums
 * over all of them. */
static moeclip_code look_ahead(classification *c, mc_arena *arena, moeclip_error *err) {
  batch_side *p = &c->pictures;
  if (p->n > 0 && (p->piece == p->n || c->balanced)) return side_forward(p, arena, err);
  return MOECLIP_OK;
}

/* Of m pictures from `at` on; logits and dlogits are free again by now. */
static moeclip_code distill(classification *c, int64_t at, int64_t m, const float *features, float scale, moeclip_error *err) {
  const mc_distillation *d = c->options->distillation;
  int64_t k = c->n_texts, embed = c->pictures.embed;
  MC_TRY(similarity(c->cp, features, m, d->texts, k, embed, scale, c->logits, err));
  for (int64_t i = 0; i < m; i++) {
    const float *z = c->logits + i * k, *p = d->targets + (at + i) * k;
    double largest = z[0], sum = 0, entropy = 0, of_all = (double)d->weight * d->temperature / (double)c->n_all;
    for (int64_t j = 1; j < k; j++) largest = z[j] > largest ? z[j] : largest;
    for (int64_t j = 0; j < k; j++) sum += exp((z[j] - largest) / d->temperature);
    for (int64_t j = 0; j < k; j++) {
      double log_q = (z[j] - largest) / d->temperature - log(sum);
      entropy -= p[j] * log_q;
      c->dlogits[i * k + j] = (float)(of_all * (exp(log_q) - p[j]));
    }
    c->loss += of_all * d->temperature * entropy;
  }
  MC_TRY(check_loss(c->loss, err));
  scale_backward(c->clip, c->logits, c->dlogits, m * k);
  mc_gemm g = {.m = m, .n = embed, .k = k, .a = c->dlogits, .lda = k, .b = d->texts, .ldb = embed,
               .c = c->pictures.dfeatures + at * embed, .ldc = embed, .alpha = scale, .accumulate = true};
  return mc_gemm_run(c->cp, &g, err);
}

/* The loss is a sum over pictures: each piece goes forward and at once back. */
static moeclip_code run_piece(classification *c, int64_t at, mc_arena *arena, moeclip_error *err) {
  batch_side *p = &c->pictures;
  int64_t m = p->n - at < p->piece ? p->n - at : p->piece;
  float scale = expf(c->clip->logit_scale.value[0]);
  mc_encoded kept = p->kept;
  const float *features = p->features + at * p->embed;
  if (p->piece < p->n) MC_TRY(encode_piece(p, at, m, &kept, !c->balanced, arena, err));
  MC_TRY(similarity(c->cp, features, m, c->all_features, c->n_texts, p->embed, scale, c->logits, err));
  c->loss += mc_cross_entropy(c->logits, c->labels + at, m, c->n_texts, c->options->smoothing, 1.0f / (float)c->n_all, c->dlogits) /
             (double)c->n_all;
  MC_TRY(check_loss(c->loss, err));
  scale_backward(c->clip, c->logits, c->dlogits, m * c->n_texts);
  MC_TRY(similarity_backward(c->cp, c->dlogits, features, p->dfeatures + at * p->embed, m, c->all_features, c->all_dfeatures,
                             c->n_texts, p->embed, scale, err));
  if (c->logits_out) memcpy(c->logits_out + at * c->n_texts, c->logits, (size_t)(m * c->n_texts) * sizeof *c->logits);
  /* The texts' gradients are complete now, and travel while the pictures go back. */
  if (c->comm && at + p->piece >= p->n) mc_reduction_start_texts(c->reduction, c->all_dfeatures);
  if (c->options->distillation) MC_TRY(distill(c, at, m, features, scale, err));
  return backward_piece(p, at, &kept, arena, err);
}

static moeclip_code run_pictures(classification *c, mc_arena *arena, moeclip_error *err) {
  for (int64_t at = 0; at < c->n; at += c->pictures.piece) {
    mc_arena_mark mark = mc_arena_here(arena);
    MC_TRY(run_piece(c, at, arena, err));
    mc_arena_release(arena, mark);
  }
  return MOECLIP_OK;
}

/* Both ways back. From here on a failed rank goes through every exchange that the others make. */
static moeclip_code go_back(classification *c, mc_arena *arena, moeclip_error *err) {
  moeclip_code code = run_pictures(c, arena, err);
  if (!c->comm) return code == MOECLIP_OK ? side_backward(&c->classes, arena, err) : code;
  int64_t own = c->rows[moeclip_comm_rank(c->comm)] * c->classes.embed;
  mc_reduction_start_texts(c->reduction, code == MOECLIP_OK ? c->all_dfeatures : NULL);
  const float *sums = mc_reduction_wait_texts(c->reduction);
  memcpy(c->classes.dfeatures, sums + own, (size_t)(c->classes.n * c->classes.embed) * sizeof *sums);
  if (code == MOECLIP_OK) code = side_backward(&c->classes, arena, err);
  mc_reduction_finish(c->reduction);
  return mc_comm_agree_total(c->comm, code, &c->loss, err);
}

static moeclip_code classify(classification *c, mc_arena *arena, moeclip_error *err) {
  moeclip_code code = prepare(c, arena, err);
  if (code == MOECLIP_OK) code = look_ahead(c, arena, err);
  MC_TRY(moeclip_comm_agree(c->comm, code, err));
  mc_comm_gather_rows(c->comm, c->all_features, (size_t)c->classes.embed * sizeof(float), c->rows);
  if (c->comm && c->balanced) MC_TRY(share_tally(c, err));
  MC_TRY(go_back(c, arena, err));
  if (c->balanced) {
    c->loss += mc_adapters_balance(c->adapters, c->options->image_routing.task[0], c->options->balance);
    MC_TRY(check_loss(c->loss, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_classification_step(mc_compute *cp, mc_clip *clip, mc_adapters *adapters, const mc_step_options *options,
                                    const float *images, const int32_t *labels, int64_t n, const int32_t *texts,
                                    int64_t n_texts, double *loss, float *logits_out, mc_arena *arena,
                                    moeclip_error *err) {
  const mc_step_share *share = options->share;
  mc_arena_mark before = mc_arena_here(arena);
  classification c = {.cp = cp, .clip = clip, .adapters = adapters, .options = options, .images = images, .labels = labels,
                      .texts = texts, .n = n, .n_all = n, .n_texts = n_texts, .logits_out = logits_out,
                      .balanced = options->balance > 0 && adapters};
  if (share) {
    c.comm = share->comm;
    c.reduction = share->reduction;
    c.n_all = share->begin[moeclip_comm_size(share->comm)];
  }
  moeclip_code code = classify(&c, arena, err);
  *loss = c.loss;
  mc_arena_release(arena, before);
  return code;
}

/* --- contrast ------------------------------------------------------------------------------------------------------------- */

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

typedef struct contrast {
  mc_compute *cp;
  mc_clip *clip;
  const mc_step_options *options;
  const float *images;
  const int32_t *texts;
  int64_t n, n_all, first; /* own pairs, those of all ranks, the first own one's number among them */
  moeclip_comm *comm;      /* NULL: alone */
  batch_side pictures, captions;
  mc_block_done done;
  float *logits, *dlogits; /* [n_all, n_all] */
  int32_t *all_texts;      /* [n_all, context] */
  int32_t *group, *size;   /* [n_all] */
} contrast;

static moeclip_code prepare_contrast(contrast *c, mc_arena *arena, moeclip_error *err) {
  side_part part = {c->n, c->first, c->n_all, c->first};
  int64_t context = c->clip->sizes.context;
  MC_TRY(side_init(&c->captions, c->cp, c->clip, NULL, c->options, true, c->texts, part, arena, err));
  MC_TRY(side_init(&c->pictures, c->cp, c->clip, NULL, c->options, false, c->images, part, arena, err));
  TAKE(c->logits, c->n_all * c->n_all);
  TAKE(c->dlogits, c->n_all * c->n_all);
  TAKE(c->group, c->n_all);
  TAKE(c->size, c->n_all);
  TAKE(c->all_texts, c->n_all * context);
  memcpy(c->all_texts + c->first * context, c->texts, (size_t)(c->n * context) * sizeof *c->texts);
  if (c->comm) {
    c->done = mc_reduction_hook(c->options->share->reduction);
    c->captions.done = c->pictures.done = &c->done;
  }
  MC_TRY(side_forward(&c->captions, arena, err));
  return side_forward(&c->pictures, arena, err);
}

/* Every rank computes the loss of all pairs, from the features of all, and the gradients of all features: that is little beside the
 * towers, and needs no further exchange. */
static moeclip_code whole_loss(contrast *c, double *loss, moeclip_error *err) {
  int64_t n = c->n_all, embed = c->pictures.embed, row = c->first * embed;
  float scale = expf(c->clip->logit_scale.value[0]);
  float *a = c->pictures.features - row, *b = c->captions.features - row;
  MC_TRY(similarity(c->cp, a, n, b, n, embed, scale, c->logits, err));
  memset(c->dlogits, 0, (size_t)(n * n) * sizeof *c->dlogits);
  same_texts(c->all_texts, n, c->clip->sizes.context, c->group, c->size);
  *loss = 0.5 * (group_cross_entropy(c->logits, c->group, c->size, n, false, c->dlogits) +
                 group_cross_entropy(c->logits, c->group, c->size, n, true, c->dlogits));
  MC_TRY(check_loss(*loss, err));
  if (moeclip_comm_rank(c->comm) == 0) scale_backward(c->clip, c->logits, c->dlogits, n * n);
  return similarity_backward(c->cp, c->dlogits, a, c->pictures.dfeatures - row, n, b, c->captions.dfeatures - row, n, embed, scale,
                             err);
}

static moeclip_code run_contrast(contrast *c, double *loss, mc_arena *arena, moeclip_error *err) {
  const mc_step_share *share = c->options->share;
  MC_TRY(moeclip_comm_agree(c->comm, prepare_contrast(c, arena, err), err));
  if (c->comm) {
    int64_t embed = c->pictures.embed, context = c->clip->sizes.context;
    mc_comm_gather_rows(c->comm, c->pictures.features - c->first * embed, (size_t)embed * sizeof(float), share->begin);
    mc_comm_gather_rows(c->comm, c->captions.features - c->first * embed, (size_t)embed * sizeof(float), share->begin);
    mc_comm_gather_rows(c->comm, c->all_texts, (size_t)context * sizeof *c->all_texts, share->begin);
  }
  moeclip_code code = whole_loss(c, loss, err);
  if (code == MOECLIP_OK) code = side_backward(&c->pictures, arena, err);
  if (code == MOECLIP_OK) code = side_backward(&c->captions, arena, err);
  if (c->comm) mc_reduction_finish(share->reduction);
  return moeclip_comm_agree(c->comm, code, err);
}

moeclip_code mc_contrastive_step(mc_compute *cp, mc_clip *clip, const mc_step_options *given, const float *images,
                                 const int32_t *texts, int64_t n, double *loss, mc_arena *arena, moeclip_error *err) {
  const mc_step_share *share = given->share;
  mc_step_options contrastive = *given, *options = &contrastive;
  contrastive.contrastive = true;
  mc_arena_mark before = mc_arena_here(arena);
  contrast c = {.cp = cp, .clip = clip, .options = options, .images = images, .texts = texts, .n = n, .n_all = n};
  if (share) {
    c.comm = share->comm;
    c.first = share->begin[moeclip_comm_rank(share->comm)];
    c.n_all = share->begin[moeclip_comm_size(share->comm)];
  }
  *loss = 0;
  moeclip_code code = run_contrast(&c, loss, arena, err);
  mc_arena_release(arena, before);
  return code;
}
