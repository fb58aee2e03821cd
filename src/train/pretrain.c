/* moeclip_pretrain: all CLIP weights from (picture, caption) pairs. */
#include "moeclip/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/pairs.h"
#include "files/collection.h"
#include "model/model.h"
#include "model/precision.h"
#include "train/optimizer.h"
#include "train/shared_loader.h"
#include "train/step.h"
#include "train/watch.h"

void moeclip_pretrain_options_defaults(moeclip_pretrain_options *o) {
  *o = (moeclip_pretrain_options){
      .sizes = {.image_size = 64, .patch = 8, .visual_layers = 6, .visual_width = 256, .visual_hidden = 1024,
                .context = 32, .vocabulary = 16384, .text_layers = 4, .text_width = 128, .text_hidden = 512,
                .embed = 128, .activation = MOECLIP_ACTIVATION_QUICK_GELU},
      .dtype = MOECLIP_F32,
      .epochs = 30,
      .batch = 256,
      .learning_rate = 1e-3,
      .weight_decay = 0.1,
      .warmup = 200,
      .scale_min = 0.6,
      .clip_norm = 1.0,
      .checkpoint_seconds = 60,
  };
}

typedef struct pretraining {
  const moeclip_pretrain_options *options;
  char *checkpoint;
  mc_pairs *pairs;
  mc_compute *cp;
  mc_clip *clip;
  moeclip_tokenizer *tokenizer;
  mc_adamw *optimizer;
  mc_shared_loader *loader;
  mc_reduction *reduction; /* NULL: alone */
  mc_step_share share;
  mc_arena arena;
  float *images;
  int32_t *texts;
  int64_t step, n_steps, n_images;
  double tail_loss;
  int64_t tail_steps;
} pretraining;

/* What a run depends on: a checkpoint of another one is refused. */
static char *run_key(const moeclip_pretrain_options *o, size_t n_pairs) {
  const moeclip_model_sizes *s = &o->sizes;
  return mc_format("%zu pairs, init %s, sizes %d %d %d %d %d %d %d %d %d %d %d, epochs %lld, batch %d, lr %.9g, decay %.9g, "
                   "warmup %lld, scale %.9g, clip %.9g, seed %llu",
                   n_pairs, o->init ? o->init : "none", s->image_size, s->patch, s->visual_layers, s->visual_width,
                   s->visual_hidden, s->context, s->vocabulary, s->text_layers, s->text_width, s->text_hidden, s->embed,
                   (long long)o->epochs, o->batch, o->learning_rate, o->weight_decay, (long long)o->warmup, o->scale_min,
                   o->clip_norm, (unsigned long long)o->seed);
}

static moeclip_code unfreeze(void *context, const char *name, mc_param *p, moeclip_error *err) {
  (void)context;
  (void)name;
  return mc_param_unfreeze(p, err);
}

static moeclip_code restore(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const moeclip_tensor *t = moeclip_tensors_find(context, name);
  if (!t || t->dtype != MOECLIP_F32 || (int64_t)moeclip_tensor_elements(t) != p->n) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "the checkpoint has no tensor %s of %lld numbers", name, (long long)p->n);
  }
  moeclip_tensor_to_f32(t, p->value);
  return MOECLIP_OK;
}

static moeclip_code write_checkpoint_alone(pretraining *p, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  char number[32];
  char *key = run_key(p->options, mc_pairs_count(p->pairs));
  snprintf(number, sizeof number, "%lld", (long long)p->step);
  moeclip_code code = key ? moeclip_tensors_create(&t, err) : mc_fail_memory(err, 256, "a checkpoint");
  if (code == MOECLIP_OK) code = mc_clip_store(p->clip, MOECLIP_F32, t, err);
  if (code == MOECLIP_OK) code = mc_adamw_store(p->optimizer, t, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "checkpoint.run", key, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "checkpoint.step", number, err);
  if (code == MOECLIP_OK) code = mc_tensors_seal(t, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_write_safetensors(t, p->checkpoint, err);
  moeclip_tensors_destroy(t);
  free(key);
  return code;
}

/* Nothing infinite is ever written. */
static moeclip_code check_values(pretraining *p, double lr, moeclip_error *err) {
  char where[96];
  moeclip_code code = moeclip_comm_agree(p->options->comm, mc_adamw_check_values(p->optimizer, err), err);
  if (code != MOECLIP_ERROR_NUMERIC) return code;
  snprintf(where, sizeof where, "pretrain, step %lld, learning rate %g", (long long)p->step - 1, lr);
  return mc_fail_prefix(err, where);
}

static moeclip_code write_checkpoint(pretraining *p, moeclip_error *err) {
  moeclip_comm *comm = p->options->comm;
  if (comm) MC_TRY(mc_reduction_check(p->reduction, err));
  moeclip_code code = moeclip_comm_rank(comm) == 0 ? write_checkpoint_alone(p, err) : MOECLIP_OK;
  return moeclip_comm_agree(comm, code, err);
}

static moeclip_code read_checkpoint(pretraining *p, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  MC_TRY(moeclip_tensors_open(p->checkpoint, &t, err));
  char *key = run_key(p->options, mc_pairs_count(p->pairs));
  const char *run = moeclip_tensors_metadata(t, "checkpoint.run"), *step = moeclip_tensors_metadata(t, "checkpoint.step");
  moeclip_code code = key ? moeclip_tensors_verify(t, 1, err) : mc_fail_memory(err, 256, "a checkpoint");
  if (code == MOECLIP_OK && (!run || !step || strcmp(run, key) != 0)) {
    code = mc_fail(err, MOECLIP_ERROR_MISMATCH, "belongs to a run with other options; remove it to start anew");
  }
  if (code == MOECLIP_OK) code = mc_clip_each(p->clip, restore, t, err);
  if (code == MOECLIP_OK) code = mc_adamw_load(p->optimizer, t, err);
  if (code == MOECLIP_OK) p->step = strtoll(step, NULL, 10);
  moeclip_tensors_destroy(t);
  free(key);
  return code == MOECLIP_OK ? code : mc_fail_prefix(err, p->checkpoint);
}

/* What this rank does without the others. */
static moeclip_code prepare(pretraining *p, bool *resumed, moeclip_error *err) {
  const moeclip_pretrain_options *o = p->options;
  if (!o->pairs || !o->out) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "pre-training needs pairs and a file to write");
  if (o->batch < 2 || o->epochs < 1 || !(o->learning_rate > 0) || !(o->scale_min > 0 && o->scale_min <= 1)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "batch %d (at least 2), epochs %lld (at least 1), learning rate %g (above 0), crop scale %g (above 0, at "
                   "most 1)", o->batch, (long long)o->epochs, o->learning_rate, o->scale_min);
  }
  MC_TRY(mc_pairs_open(o->pairs, &p->pairs, err));
  MC_TRY(mc_compute_create(o->n_threads, &p->cp, err));
  if (o->init) {
    moeclip_model *model;
    MC_TRY(moeclip_model_load(o->init, NULL, &model, err));
    moeclip_code code = mc_model_copy_clip(model, &p->clip, err);
    moeclip_model_destroy(model);
    MC_TRY(code);
  } else {
    const moeclip_model_sizes *s = &o->sizes;
    mc_clip_sizes sizes = {s->image_size, s->patch, s->visual_layers, s->visual_width, s->visual_hidden, s->context,
                           s->vocabulary, s->text_layers, s->text_width, s->text_hidden, s->embed,
                           s->activation == MOECLIP_ACTIVATION_GELU ? MC_GELU : MC_QUICK_GELU,
                           s->visual_heads, s->text_heads};
    MC_TRY(mc_clip_create(&sizes, o->seed, &p->clip, err));
  }
  MC_TRY(moeclip_tokenizer_create(p->clip->sizes.vocabulary, &p->tokenizer, err));
  MC_TRY(mc_clip_each(p->clip, unfreeze, NULL, err));
  mc_adamw_options adamw = {0.9f, 0.98f, 1e-6f, (float)o->weight_decay, true};
  MC_TRY(mc_adamw_create(&adamw, &p->optimizer, err));
  MC_TRY(mc_clip_each(p->clip, mc_adamw_add, p->optimizer, err));
  if (*resumed) MC_TRY(read_checkpoint(p, err));
  int size = p->clip->sizes.image_size;
  p->images = mc_aligned_alloc((size_t)o->batch * 3 * (size_t)size * (size_t)size, sizeof *p->images);
  p->texts = mc_alloc((size_t)o->batch * (size_t)p->clip->sizes.context, sizeof *p->texts);
  if (!p->images || !p->texts) return mc_fail_memory(err, (size_t)o->batch * 3 * (size_t)size * (size_t)size * 4, "a batch");
  return MOECLIP_OK;
}

static moeclip_code start(pretraining *p, const moeclip_callbacks *callbacks, bool *resumed, moeclip_error *err) {
  const moeclip_pretrain_options *o = p->options;
  p->checkpoint = o->checkpoint ? mc_strdup(o->checkpoint) : mc_format("%s.part", o->out ? o->out : "");
  moeclip_code code = p->checkpoint ? MOECLIP_OK : mc_fail_memory(err, 256, "a file name");
  *resumed = false;
  if (code == MOECLIP_OK) code = mc_file_exists(p->checkpoint, resumed, err);
  moeclip_comm_broadcast(o->comm, resumed, sizeof *resumed);
  if (code == MOECLIP_OK) code = prepare(p, resumed, err);
  MC_TRY(moeclip_comm_agree(o->comm, code, err));
  MC_TRY(mc_set_precision(p->cp, o->precision, o->comm, err));
  if (o->comm) {
    char *key = run_key(o, mc_pairs_count(p->pairs));
    MC_TRY(mc_comm_same(o->comm, key ? mc_comm_hash(0, key, strlen(key)) : 0, "pairs or options", err));
    free(key);
    MC_TRY(mc_reduction_create(o->comm, NULL, p->clip, 0, &p->reduction, err));
    MC_TRY(mc_reduction_check(p->reduction, err));
    p->share = (mc_step_share){.comm = o->comm, .reduction = p->reduction};
  }
  mc_loader_options loader = {.transform = p->clip->transform, .batch = o->batch, .n_threads = o->loader_threads ? o->loader_threads : mc_compute_threads(p->cp),
                              .shuffle = true, .augment = true, .crop_scale_min = (float)o->scale_min, .repeat = true,
                              .seed = o->seed, .first_batch = (uint64_t)p->step};
  mc_image_source source = mc_pairs_source(p->pairs);
  MC_TRY(mc_shared_loader_create(o->comm, &source, &loader, callbacks, &p->loader, err));
  p->n_steps = o->epochs * (int64_t)mc_shared_loader_batches(p->loader);
  return MOECLIP_OK;
}

/* Each time a picture comes round, one of its captions is drawn. */
static moeclip_code caption_rows(pretraining *p, const mc_batch *batch, int64_t first, moeclip_error *err) {
  int context = p->clip->sizes.context;
  for (int i = 0; i < batch->n; i++) {
    mc_philox g;
    mc_philox_init(&g, mc_seed_of(p->options->seed, batch->number), MC_STREAM_SHUFFLE, (uint64_t)(first + i) + 1);
    uint32_t which = mc_philox_below(&g, (uint32_t)mc_pairs_captions(p->pairs, batch->index[i]));
    MC_TRY(moeclip_tokenizer_row(p->tokenizer, mc_pairs_caption(p->pairs, batch->index[i], which),
                                 p->texts + i * context, context, NULL, err));
  }
  return MOECLIP_OK;
}

/* One step on a batch of at least two pairs. */
static moeclip_code run_step(pretraining *p, const mc_shared_batch *batch, double lr, double *loss, moeclip_error *err) {
  const moeclip_pretrain_options *o = p->options;
  mc_step_options step_options = {.kept_bytes = o->kept_bytes, .share = o->comm ? &p->share : NULL};
  const mc_batch *own = &batch->own;
  moeclip_code code = caption_rows(p, own, batch->begin[moeclip_comm_rank(o->comm)], err);
  MC_TRY(moeclip_comm_agree(o->comm, code, err));
  mc_normalize_pixels(p->cp, own->pixels, own->n, &p->clip->transform, p->images);
  p->share.begin = batch->begin;
  code = mc_contrastive_step(p->cp, p->clip, &step_options, p->images, p->texts, own->n, loss, &p->arena, err);
  if (code == MOECLIP_OK) {
    code = mc_adamw_check(p->optimizer, err);
    if (code != MOECLIP_OK) code = moeclip_comm_agree(o->comm, code, err); /* the sums are the same everywhere */
  }
  if (code == MOECLIP_ERROR_NUMERIC) {
    char where[96];
    snprintf(where, sizeof where, "pretrain, step %lld, learning rate %g", (long long)p->step, lr);
    return mc_fail_prefix(err, where);
  }
  MC_TRY(code);
  if (o->clip_norm > 0) mc_adamw_clip(p->optimizer, p->cp, o->clip_norm);
  mc_adamw_step(p->optimizer, p->cp, lr);
  /* As CLIP's authors do: the logits are never scaled by more than 100. */
  float *scale = p->clip->logit_scale.value;
  if (*scale > 4.6051702f) *scale = 4.6051702f;
  return MOECLIP_OK;
}

static moeclip_code run_steps(pretraining *p, const moeclip_callbacks *callbacks, mc_watch *watch, moeclip_error *err) {
  const moeclip_pretrain_options *o = p->options;
  mc_watch_begin(watch, callbacks, "train", "pretrain", p->n_steps, o->checkpoint_seconds);
  watch->progress.loss = NAN;
  while (p->step < p->n_steps) {
    mc_shared_batch batch;
    bool end, stop;
    double loss = NAN, lr = mc_cosine_lr(o->learning_rate, o->warmup, p->n_steps, p->step);
    MC_TRY(mc_shared_loader_next(p->loader, &batch, &end, err));
    if (batch.n_all >= 2) MC_TRY(run_step(p, &batch, lr, &loss, err));
    p->step++;
    p->n_images += batch.n_all;
    if (isfinite(loss) && p->step > p->n_steps - p->n_steps / 10 - 1) {
      p->tail_loss += loss;
      p->tail_steps++;
    }
    watch->progress.step = p->step;
    watch->progress.images = p->n_images;
    watch->progress.loss = loss;
    watch->progress.learning_rate = lr;
    watch->progress.waited_seconds = mc_shared_loader_waited(p->loader);
    mc_watch_step(watch, &stop);
    /* The ranks stop at the same step, and rank 0's clock says when a checkpoint is due. */
    int wanted = (stop && p->step < p->n_steps ? 1 : 0) |
                 (moeclip_comm_rank(o->comm) == 0 && mc_watch_checkpoint_due(watch) ? 2 : 0);
    wanted = moeclip_comm_any(o->comm, wanted);
    if (wanted || p->step == p->n_steps) MC_TRY(check_values(p, lr, err));
    if (wanted) MC_TRY(write_checkpoint(p, err));
    if (wanted & 1) return moeclip_comm_agree(o->comm, mc_watch_cancelled(watch, err), err);
  }
  return MOECLIP_OK;
}

static moeclip_code write_model_alone(pretraining *p, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  MC_TRY(moeclip_tensors_create(&t, err));
  moeclip_code code = mc_clip_store(p->clip, p->options->dtype, t, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_set_metadata(t, "format", "pt", err);
  if (code == MOECLIP_OK) code = moeclip_tensors_write_safetensors(t, p->options->out, err);
  moeclip_tensors_destroy(t);
  if (code == MOECLIP_OK) unlink(p->checkpoint);
  return code;
}

static moeclip_code write_model(pretraining *p, moeclip_error *err) {
  moeclip_comm *comm = p->options->comm;
  if (comm) MC_TRY(mc_reduction_check(p->reduction, err));
  moeclip_code code = moeclip_comm_rank(comm) == 0 ? write_model_alone(p, err) : MOECLIP_OK;
  return moeclip_comm_agree(comm, code, err);
}

moeclip_code moeclip_pretrain(const moeclip_pretrain_options *options, const moeclip_callbacks *callbacks,
                              moeclip_learn_report *report, moeclip_error *err) {
  pretraining p = {.options = options};
  mc_watch watch = {0};
  bool resumed = false;
  moeclip_code code = start(&p, callbacks, &resumed, err);
  if (code == MOECLIP_OK) code = run_steps(&p, callbacks, &watch, err);
  if (code == MOECLIP_OK) code = write_model(&p, err);
  if (code == MOECLIP_OK && report) {
    *report = (moeclip_learn_report){.task = -1, .iterations = p.step, .images = p.n_images, .resumed = resumed,
                                     .broken = mc_shared_loader_broken(p.loader),
                                     .trainable = mc_adamw_trainable(p.optimizer),
                                     .final_loss = p.tail_steps ? p.tail_loss / (double)p.tail_steps : NAN,
                                     .seconds = mc_now() - watch.began, .waited_seconds = mc_shared_loader_waited(p.loader)};
  }
  mc_shared_loader_destroy(p.loader);
  mc_reduction_destroy(p.reduction);
  mc_adamw_destroy(p.optimizer);
  mc_clip_destroy(p.clip);
  moeclip_tokenizer_destroy(p.tokenizer);
  mc_pairs_destroy(p.pairs);
  mc_compute_destroy(p.cp);
  mc_arena_clear(&p.arena);
  mc_aligned_free(p.images);
  free(p.texts);
  free(p.checkpoint);
  return code;
}
