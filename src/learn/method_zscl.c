/* ZSCL: fine-tuning, held near what the untouched CLIP says of reference pictures and sentences, and the average of the weights
 * along the way (docs/METHODS.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/kept.h"
#include "learn/pass.h"
#include "learn/restore.h"
#include "learn/tuned.h"
#include "train/distill.h"

#define AVERAGE "average."
enum { MOST_PICTURES = 1 << 20, MOST_SENTENCES = 16384, REFERENCE_BATCH = 64 };

/* l->own */
typedef struct zscl {
  mc_kept pictures;
  float *features; /* [pictures.n, embed] by the untouched CLIP */
  float *texts;    /* [n_texts, embed] of the sentences, by the untouched CLIP */
  int64_t n_texts;
  mc_clip *average; /* while a task is learned: of the weights so far; else NULL */
} zscl;

/* run->scratch: the reference pictures of a step. */
typedef struct drawing {
  uint32_t *order; /* [pictures.n] of the epoch */
  int64_t epoch;   /* -1: none yet */
  int64_t batch;
  int64_t *begin;         /* [ranks + 1] */
  uint8_t *pixels;        /* of this rank */
  float *images, *before; /* of this rank; [batch, embed] of all */
} drawing;

/* --- options and state ------------------------------------------------------------------------------------------------- */

static bool fits(const moeclip_learner_options *o) {
  return o->zscl_weight >= 0 && isfinite(o->zscl_weight) && o->zscl_temperature > 0 && isfinite(o->zscl_temperature) &&
         o->zscl_every >= 0 && o->zscl_pictures >= 1 && o->zscl_pictures <= MOST_PICTURES;
}

static moeclip_code check(const moeclip_learner_options *o, moeclip_error *err) {
  if (fits(o)) return MOECLIP_OK;
  return mc_fail(
      err, MOECLIP_ERROR_ARGUMENT,
      "ZSCL: weight %g (0 or above), temperature %g (above 0), averaging every %lld steps (0: never), %lld reference "
      "pictures (1 to %d)",
      o->zscl_weight, o->zscl_temperature, (long long)o->zscl_every, (long long)o->zscl_pictures, (int)MOST_PICTURES);
}

static json_t *options_to_json(const moeclip_learner *l) {
  const moeclip_learner_options *o = &l->options;
  return json_pack("{s:f, s:f, s:I, s:I}", "weight", o->zscl_weight, "temperature", o->zscl_temperature, "every",
                   (json_int_t)o->zscl_every, "pictures", (json_int_t)o->zscl_pictures);
}

static void options_of_json(const json_t *own, moeclip_learner_options *o, const char **bad) {
  const json_t *weight = json_object_get(own, "weight"), *temperature = json_object_get(own, "temperature");
  const json_t *every = json_object_get(own, "every"), *pictures = json_object_get(own, "pictures");
  o->zscl_weight = json_number_value(weight);
  o->zscl_temperature = json_number_value(temperature);
  o->zscl_every = json_integer_value(every);
  o->zscl_pictures = json_integer_value(pictures);
  if (!json_is_number(weight) || !json_is_number(temperature) || !json_is_integer(every) || !json_is_integer(pictures) ||
      !fits(o)) {
    *bad = "zscl";
  }
}

static char *run_key(const mc_learning *run) {
  const moeclip_learner_options *o = &run->l->options;
  return mc_format("weight %.9g, temperature %.9g, every %lld, pictures %lld", o->zscl_weight, o->zscl_temperature,
                   (long long)o->zscl_every, (long long)o->zscl_pictures);
}

static void forget_reference(zscl *z) {
  mc_kept_clear(&z->pictures);
  free(z->features);
  free(z->texts);
  z->features = z->texts = NULL;
  z->n_texts = 0;
}

static void clear(moeclip_learner *l) {
  zscl *z = l->own;
  forget_reference(z);
  mc_clip_destroy(z->average);
  free(z);
  l->own = NULL;
}

static moeclip_code create_own(moeclip_learner *l, moeclip_error *err) {
  l->own = calloc(1, sizeof(zscl));
  return l->own ? MOECLIP_OK : mc_fail_memory(err, sizeof(zscl), "a learner");
}

static moeclip_code create(moeclip_learner *l, moeclip_error *err) {
  MC_TRY(create_own(l, err));
  return mc_tuned_create(l, err);
}

static moeclip_code store(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  const zscl *z = l->own;
  int64_t embed = l->model->clip->sizes.embed, features[2] = {z->pictures.n, embed}, texts[2] = {z->n_texts, embed};
  MC_TRY(mc_tuned_store(l, out, err));
  if (z->average) MC_TRY(mc_tuned_store_as(z->average, AVERAGE, out, err));
  if (z->pictures.n == 0) return MOECLIP_OK;
  MC_TRY(mc_kept_store(&z->pictures, "zscl.pictures", out, err));
  MC_TRY(moeclip_tensors_add(out, "zscl.features", MOECLIP_F32, 2, features, z->features, 1, err));
  return moeclip_tensors_add(out, "zscl.texts", MOECLIP_F32, 2, texts, z->texts, 1, err);
}

static moeclip_code restore(moeclip_learner *l, const moeclip_tensors *in, moeclip_error *err) {
  const mc_clip_sizes *sizes = &l->model->clip->sizes;
  MC_TRY(create_own(l, err));
  zscl *z = l->own;
  MC_TRY(mc_tuned_restore(l, in, err));
  MC_TRY(mc_tuned_restore_as(l->model, in, AVERAGE, &z->average, err));
  MC_TRY(mc_kept_restore(&z->pictures, in, "zscl.pictures", sizes->image_size, l->options.zscl_pictures, err));
  if (z->pictures.n == 0) return MOECLIP_OK;
  z->n_texts = -1;
  MC_TRY(mc_rows_restore(in, "zscl.features", &z->pictures.n, sizes->embed, &z->features, err));
  MC_TRY(mc_rows_restore(in, "zscl.texts", &z->n_texts, sizes->embed, &z->texts, err));
  if (z->n_texts <= MOST_SENTENCES) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged state: zscl.texts holds %lld sentences", (long long)z->n_texts);
}

/* --- the reference set ------------------------------------------------------------------------------------------------- */

typedef struct chosen {
  const mc_image_source *of;
  const uint32_t *index;
} chosen;

static moeclip_code load_chosen(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const chosen *c = context;
  return c->of->load(c->of->context, c->index[i], out, err);
}

static moeclip_code name_chosen(void *context, size_t i, char *out, size_t n_out) {
  const chosen *c = context;
  return c->of->item_name(c->of->context, c->index[i], out, n_out);
}

/* The names of the set's classes in its prompts. */
static moeclip_code encode_sentences(moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *o,
                                     moeclip_error *err) {
  zscl *z = l->own;
  moeclip_model *m = l->model;
  size_t n_classes = moeclip_dataset_classes(dataset), n_templates = o->n_templates ? o->n_templates : 1, n;
  const char *const *templates = o->n_templates ? o->templates : mc_default_template;
  size_t embed = (size_t)m->clip->sizes.embed;
  int32_t *rows = NULL;
  if (!mc_mul_size(n_classes, n_templates, &n) || n < 2 || n > MOST_SENTENCES) {
    return mc_fail(
        err, MOECLIP_ERROR_ARGUMENT,
        "%s: the reference sentences are the names of its classes in %zu prompts: there must be 2 to %d, not %zu times %zu",
        moeclip_dataset_path(dataset), n_templates, (int)MOST_SENTENCES, n_classes, n_templates);
  }
  const char **classes = mc_alloc(n_classes, sizeof *classes);
  z->texts = mc_alloc(n, embed * sizeof *z->texts);
  moeclip_code code = classes && z->texts ? MOECLIP_OK : mc_fail_memory(err, n * embed * sizeof *z->texts, "sentences");
  for (size_t c = 0; code == MOECLIP_OK && c < n_classes; c++) classes[c] = moeclip_dataset_class_name(dataset, c);
  if (code == MOECLIP_OK) code = mc_model_prompts(m, templates, n_templates, classes, n_classes, &rows, err);
  if (code == MOECLIP_OK) code = mc_plain_texts(m, m->clip, rows, (int64_t)n, z->texts, err);
  z->n_texts = (int64_t)n;
  free(rows);
  free(classes);
  return code;
}

/* Each rank decodes and encodes its share of a batch, and all keep the whole. */
static moeclip_code keep_batch(void *context, const mc_shared_batch *batch, moeclip_error *err) {
  moeclip_learner *l = context;
  zscl *z = l->own;
  moeclip_comm *comm = l->model->options.comm;
  size_t each = mc_kept_each(&z->pictures), embed = (size_t)l->model->clip->sizes.embed;
  int64_t first = comm ? batch->begin[moeclip_comm_rank(comm)] : 0;
  uint8_t *pixels = z->pictures.pixels + (size_t)z->pictures.n * each;
  float *features = z->features + (size_t)z->pictures.n * embed;
  if (batch->own.n > 0) memcpy(pixels + (size_t)first * each, batch->own.pixels, (size_t)batch->own.n * each);
  /* No task is known yet: these are the untouched weights. */
  moeclip_code code = mc_plain_pictures(l, batch->own.pixels, batch->own.n, features + (size_t)first * embed, err);
  MC_TRY(moeclip_comm_agree(comm, code, err));
  if (comm) {
    mc_comm_gather_rows(comm, pixels, each, batch->begin);
    mc_comm_gather_rows(comm, features, embed * sizeof *features, batch->begin);
  }
  z->pictures.n += batch->n_all;
  return MOECLIP_OK;
}

static moeclip_code reference(moeclip_learner *l, const moeclip_dataset *dataset, const moeclip_task_options *options,
                              const moeclip_callbacks *callbacks, moeclip_learn_report *report, moeclip_error *err) {
  zscl *z = l->own;
  mc_dataset_split split = {dataset, MOECLIP_TRAIN};
  mc_image_source all = mc_dataset_source(&split);
  size_t n = all.count < (size_t)l->options.zscl_pictures ? all.count : (size_t)l->options.zscl_pictures;
  size_t embed = (size_t)l->model->clip->sizes.embed;
  uint32_t *order = mc_alloc(all.count, sizeof *order);
  chosen some = {&all, order};
  mc_image_source source = {n, &some, load_chosen, name_chosen};
  moeclip_code code =
      order && all.count <= UINT32_MAX ? MOECLIP_OK : mc_fail_memory(err, all.count * sizeof *order, "pictures");
  if (code == MOECLIP_OK) code = encode_sentences(l, dataset, options, err);
  if (code == MOECLIP_OK) code = mc_kept_create(&z->pictures, (int64_t)n, l->model->clip->sizes.image_size, err);
  if (code == MOECLIP_OK) {
    mc_philox g;
    mc_philox_init(&g, l->options.seed, MC_STREAM_SPLIT, 0);
    mc_philox_permutation(&g, (uint32_t)all.count, order);
    z->pictures.n = 0; /* so many are kept so far */
    z->features = mc_alloc(n, embed * sizeof *z->features);
    if (!z->features) code = mc_fail_memory(err, n * embed * sizeof *z->features, "pictures");
  }
  code = moeclip_comm_agree(l->model->options.comm, code, err);
  if (code == MOECLIP_OK) {
    /* Always the same batch: what is kept does not depend on the task's. */
    mc_pass pass = {&source, REFERENCE_BATCH, options->loader_threads, callbacks, true, "reference", "reference"};
    code = mc_pass_over(l, &pass, keep_batch, l, &report->images, &report->broken, err);
  }
  if (code != MOECLIP_OK) forget_reference(z);
  free(order);
  return code;
}

static bool has_reference(const moeclip_learner *l) { return l->own && ((const zscl *)l->own)->pictures.n > 0; }

/* --- learning ---------------------------------------------------------------------------------------------------------- */

static moeclip_code begin_drawing(mc_learning *run, moeclip_error *err) {
  moeclip_learner *l = run->l;
  const zscl *z = l->own;
  int64_t batch = run->options->batch < z->pictures.n ? run->options->batch : z->pictures.n;
  size_t each = mc_kept_each(&z->pictures), embed = (size_t)l->model->clip->sizes.embed,
         ranks = (size_t)moeclip_comm_size(run->comm);
  drawing *d = run->scratch = calloc(1, sizeof *d);
  if (!d) return mc_fail_memory(err, sizeof *d, "a task");
  *d = (drawing){.epoch = -1,
                 .batch = batch,
                 .order = mc_alloc((size_t)z->pictures.n, sizeof *d->order),
                 .begin = mc_alloc(ranks + 1, sizeof *d->begin),
                 .pixels = mc_alloc((size_t)batch, each),
                 .images = mc_aligned_alloc((size_t)batch, each * sizeof *d->images),
                 .before = mc_alloc((size_t)batch, embed * sizeof *d->before)};
  if (!d->order || !d->begin || !d->pixels || !d->images || !d->before) {
    return mc_fail_memory(err, (size_t)batch * each * sizeof *d->images, "a batch");
  }
  for (size_t r = 0; r <= ranks; r++) d->begin[r] = mc_comm_share(run->comm, batch, (int)r);
  return MOECLIP_OK;
}

static moeclip_code begin_task(mc_learning *run, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  zscl *z = l->own;
  if (z->pictures.n == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "ZSCL needs a reference set before its first task: --reference PATH (moeclip_learner_learn_reference)");
  }
  if (run->resume && !z->average && l->options.zscl_every > 0) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: the average of the weights is missing");
  }
  if (!run->resume) {
    mc_clip_destroy(z->average);
    z->average = NULL;
    if (l->options.zscl_every > 0) MC_TRY(mc_tuned_copy(l->model, l->tuned, &z->average, err));
  }
  MC_TRY(begin_drawing(run, err));
  MC_TRY(mc_tuned_begin(run, report, err));
  mc_param_freeze(&l->tuned->logit_scale); /* as published */
  return MOECLIP_OK;
}

/* The next pictures of shuffled passes over the reference set, which depend on the step alone: this rank's, and what the
 * untouched CLIP makes of all. */
static mc_reference_batch draw(mc_learning *run, const mc_training_step *s) {
  moeclip_learner *l = run->l;
  const zscl *z = l->own;
  drawing *d = run->scratch;
  int rank = moeclip_comm_rank(run->comm);
  size_t each = mc_kept_each(&z->pictures), embed = (size_t)l->model->clip->sizes.embed;
  int64_t own = d->begin[rank], end = d->begin[rank + 1];
  for (int64_t i = 0; i < d->batch; i++) {
    int64_t position = s->number * d->batch + i, epoch = position / z->pictures.n;
    if (epoch != d->epoch) {
      mc_philox g;
      mc_philox_init(&g, mc_seed_of(l->options.seed ^ UINT64_C(0x25c1), (uint64_t)l->n_tasks), MC_STREAM_SHUFFLE,
                     (uint64_t)epoch);
      mc_philox_permutation(&g, (uint32_t)z->pictures.n, d->order);
      d->epoch = epoch;
    }
    size_t picture = d->order[position % z->pictures.n];
    memcpy(d->before + (size_t)i * embed, z->features + picture * embed, embed * sizeof *d->before);
    if (i >= own && i < end) memcpy(d->pixels + (size_t)(i - own) * each, z->pictures.pixels + picture * each, each);
  }
  mc_normalize_pixels(s->model->compute, d->pixels, end - own, &s->model->clip->transform, d->images);
  return (mc_reference_batch){.images = d->images,
                              .n = end - own,
                              .begin = run->comm ? d->begin : NULL,
                              .before = d->before,
                              .texts = z->texts,
                              .n_texts = z->n_texts,
                              .scale = expf(l->model->clip->logit_scale.value[0]),
                              .weight = (float)l->options.zscl_weight,
                              .temperature = (float)l->options.zscl_temperature};
}

static moeclip_code step(mc_learning *run, mc_training_step *s, double *loss, moeclip_error *err) {
  moeclip_learner *l = run->l;
  zscl *z = l->own;
  int64_t every = l->options.zscl_every;
  double of_labels = NAN, of_reference = 0;
  if (l->options.zscl_weight > 0) {
    mc_reference_batch batch = draw(run, s);
    MC_TRY(mc_reference_step(s->model->compute, s->clip, s->options, &batch, &of_reference, &s->model->arena, err));
  }
  MC_TRY(mc_gradient_step(s, &of_labels, err));
  *loss = of_labels + of_reference;
  if (every == 0 || s->number % every != 0) return MOECLIP_OK;
  /* The mean of the weights that the task began with and of those after steps 0, every, 2 every ... */
  int64_t n = s->number / every + 2;
  return moeclip_comm_agree(run->comm, mc_tuned_mix(z->average, l->tuned, 1.0 / (double)n, err), err);
}

static moeclip_code end_task(mc_learning *run, bool done, moeclip_learn_report *report, moeclip_error *err) {
  moeclip_learner *l = run->l;
  zscl *z = l->own;
  drawing *d = run->scratch;
  if (d) {
    free(d->order);
    free(d->begin);
    free(d->pixels);
    mc_aligned_free(d->images);
    free(d->before);
  }
  free(d);
  run->scratch = NULL;
  if (done && z->average) {
    mc_clip_destroy(l->tuned);
    l->tuned = z->average;
  } else {
    mc_clip_destroy(z->average);
  }
  z->average = NULL;
  return mc_tuned_end(run, done, report, err);
}

const mc_method mc_method_zscl = {
    .mode = MOECLIP_MODE_ZSCL,
    .name = "zscl",
    .title = "fine-tuning held near the untouched CLIP on a reference set, and averaged along the way: a baseline",
    .traits = MC_METHOD_TUNED,
    .check = check,
    .options_to_json = options_to_json,
    .options_of_json = options_of_json,
    .run_key = run_key,
    .create = create,
    .clear = clear,
    .store = store,
    .restore = restore,
    .begin_task = begin_task,
    .step = step,
    .end_task = end_task,
    .reference = reference,
    .has_reference = has_reference,
};
