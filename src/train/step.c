#include "train/step.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "compute/kernels.h"
#include "train/distill.h"
#include "train/side.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "a training step")

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
  mc_batch_side pictures, classes;
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
  MC_TRY(mc_side_init(&c->classes, c->cp, c->clip, c->adapters, c->options, true, c->texts + text * c->clip->sizes.context,
                   (mc_side_part){text_end - text, text, c->n_texts, text}, arena, err));
  MC_TRY(mc_side_init(&c->pictures, c->cp, c->clip, c->adapters, c->options, false, c->images,
                   (mc_side_part){c->n, first, c->n, 0}, arena, err));
  c->all_features = c->classes.features - text * c->classes.embed;
  c->all_dfeatures = c->classes.dfeatures - text * c->classes.embed;
  if (c->comm) {
    c->done = mc_reduction_hook(c->reduction);
    c->classes.done = c->pictures.done = &c->done;
  }
  MC_TRY(mc_side_forward(&c->classes, arena, err));
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
  mc_batch_side *p = &c->pictures;
  if (p->n > 0 && (p->piece == p->n || c->balanced)) return mc_side_forward(p, arena, err);
  return MOECLIP_OK;
}

/* Of m pictures from `at` on; logits and dlogits are free again by now. */
static moeclip_code distill(classification *c, int64_t at, int64_t m, const float *features, float scale, moeclip_error *err) {
  const mc_distillation *d = c->options->distillation;
  int64_t k = d->n_texts, embed = c->pictures.embed;
  MC_TRY(mc_similarity(c->cp, features, m, d->texts, k, embed, scale, c->logits, err));
  memset(c->dlogits, 0, (size_t)(m * k) * sizeof *c->dlogits);
  c->loss += mc_soft_cross_entropy(c->logits, d->targets + at * k, m, k, false, d->temperature, d->weight / (double)c->n_all,
                                   c->dlogits);
  MC_TRY(mc_check_loss(c->loss, err));
  mc_scale_backward(c->clip, c->logits, c->dlogits, m * k);
  return mc_similarity_backward(c->cp, c->dlogits, features, c->pictures.dfeatures + at * embed, m, d->texts, NULL, k, embed,
                                scale, err);
}

/* The loss is a sum over pictures: each piece goes forward and at once back. */
static moeclip_code run_piece(classification *c, int64_t at, mc_arena *arena, moeclip_error *err) {
  mc_batch_side *p = &c->pictures;
  int64_t m = p->n - at < p->piece ? p->n - at : p->piece;
  float scale = expf(c->clip->logit_scale.value[0]);
  mc_encoded kept = p->kept;
  const float *features = p->features + at * p->embed;
  if (p->piece < p->n) MC_TRY(mc_side_encode(p, at, m, &kept, !c->balanced, arena, err));
  MC_TRY(mc_similarity(c->cp, features, m, c->all_features, c->n_texts, p->embed, scale, c->logits, err));
  c->loss += mc_cross_entropy(c->logits, c->labels + at, m, c->n_texts, c->options->smoothing, 1.0f / (float)c->n_all, c->dlogits) /
             (double)c->n_all;
  MC_TRY(mc_check_loss(c->loss, err));
  mc_scale_backward(c->clip, c->logits, c->dlogits, m * c->n_texts);
  MC_TRY(mc_similarity_backward(c->cp, c->dlogits, features, p->dfeatures + at * p->embed, m, c->all_features, c->all_dfeatures,
                             c->n_texts, p->embed, scale, err));
  if (c->logits_out) memcpy(c->logits_out + at * c->n_texts, c->logits, (size_t)(m * c->n_texts) * sizeof *c->logits);
  /* The texts' gradients are complete now, and travel while the pictures go back. */
  if (c->comm && at + p->piece >= p->n) mc_reduction_start_texts(c->reduction, c->all_dfeatures);
  if (c->options->distillation) MC_TRY(distill(c, at, m, features, scale, err));
  return mc_side_back(p, at, &kept, arena, err);
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
  if (!c->comm) return code == MOECLIP_OK ? mc_side_backward(&c->classes, arena, err) : code;
  int64_t own = c->rows[moeclip_comm_rank(c->comm)] * c->classes.embed;
  mc_reduction_start_texts(c->reduction, code == MOECLIP_OK ? c->all_dfeatures : NULL);
  const float *sums = mc_reduction_wait_texts(c->reduction);
  memcpy(c->classes.dfeatures, sums + own, (size_t)(c->classes.n * c->classes.embed) * sizeof *sums);
  if (code == MOECLIP_OK) code = mc_side_backward(&c->classes, arena, err);
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
    MC_TRY(mc_check_loss(c->loss, err));
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
  mc_batch_side pictures, captions;
  mc_block_done done;
  float *logits, *dlogits; /* [n_all, n_all] */
  int32_t *all_texts;      /* [n_all, context] */
  int32_t *group, *size;   /* [n_all] */
} contrast;

static moeclip_code prepare_contrast(contrast *c, mc_arena *arena, moeclip_error *err) {
  mc_side_part part = {c->n, c->first, c->n_all, c->first};
  int64_t context = c->clip->sizes.context;
  MC_TRY(mc_side_init(&c->captions, c->cp, c->clip, NULL, c->options, true, c->texts, part, arena, err));
  MC_TRY(mc_side_init(&c->pictures, c->cp, c->clip, NULL, c->options, false, c->images, part, arena, err));
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
  MC_TRY(mc_side_forward(&c->captions, arena, err));
  return mc_side_forward(&c->pictures, arena, err);
}

/* Every rank computes the loss of all pairs, from the features of all, and the gradients of all features: that is little beside the
 * towers, and needs no further exchange. */
static moeclip_code whole_loss(contrast *c, double *loss, moeclip_error *err) {
  int64_t n = c->n_all, embed = c->pictures.embed, row = c->first * embed;
  float scale = expf(c->clip->logit_scale.value[0]);
  float *a = c->pictures.features - row, *b = c->captions.features - row;
  MC_TRY(mc_similarity(c->cp, a, n, b, n, embed, scale, c->logits, err));
  memset(c->dlogits, 0, (size_t)(n * n) * sizeof *c->dlogits);
  same_texts(c->all_texts, n, c->clip->sizes.context, c->group, c->size);
  *loss = 0.5 * (group_cross_entropy(c->logits, c->group, c->size, n, false, c->dlogits) +
                 group_cross_entropy(c->logits, c->group, c->size, n, true, c->dlogits));
  MC_TRY(mc_check_loss(*loss, err));
  if (moeclip_comm_rank(c->comm) == 0) mc_scale_backward(c->clip, c->logits, c->dlogits, n * n);
  return mc_similarity_backward(c->cp, c->dlogits, a, c->pictures.dfeatures - row, n, b, c->captions.dfeatures - row, n, embed,
                                scale, err);
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
  if (code == MOECLIP_OK) code = mc_side_backward(&c->pictures, arena, err);
  if (code == MOECLIP_OK) code = mc_side_backward(&c->captions, arena, err);
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
