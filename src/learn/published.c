/* Published checkpoints <-> a learner (include/moeclip/published.h). */
#include "moeclip/published.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/learner.h"

/* TOP_K: what every published model does, and no file says. MOST: no file holds more of anything. */
enum { TOP_K = 2, MOST = 65536 };

void moeclip_published_options_defaults(moeclip_published_options *o) {
  *o = (moeclip_published_options){.selector_layer = -1, .threshold = 0.0655};
}

/* --- looking at a file ------------------------------------------------------------------------------------------- */

static const moeclip_tensor *find(const moeclip_tensors *t, const char *before, int i, const char *after) {
  char name[128];
  snprintf(name, sizeof name, "%s%d%s", before, i, after);
  return moeclip_tensors_find(t, name);
}

static bool is_zero(const moeclip_tensor *t) {
  const uint8_t *bytes = t->data;
  size_t i = 0;
  while (i < t->n_bytes && bytes[i] == 0) i++;
  return i == t->n_bytes;
}

void moeclip_published_look(const moeclip_tensors *file, moeclip_published_info *out) {
  static const char block[] = "visual.transformer.resblocks.0.";
  char experts[64], routers[64];
  const moeclip_tensor *t;
  *out = (moeclip_published_info){0};
  snprintf(experts, sizeof experts, "%sadaptmlp_list.", block);
  snprintf(routers, sizeof routers, "%srouter_list.", block);
  while (out->n_experts < MOST && (t = find(file, experts, out->n_experts, ".down_proj.weight")) != NULL) {
    if (out->n_experts++ == 0 && t->rank == 2 && t->shape[0] <= MOST) out->bottleneck = (int)t->shape[0];
  }
  while (out->n_routers < MOST && (t = find(file, routers, out->n_routers, "")) != NULL) {
    out->n_routers++;
    out->n_learned += !is_zero(t);
  }
  while (out->n_autoencoders < MOST && (t = find(file, "", out->n_autoencoders, ".encoder.0.weight")) != NULL) {
    if (out->n_autoencoders++ > 0 || t->rank != 2) continue;
    out->hidden = t->shape[0];
    out->features = t->shape[1];
  }
}

/* --- from files -------------------------------------------------------------------------------------------------- */

static moeclip_code check_tasks(const moeclip_published_options *o, moeclip_error *err) {
  if (!o->autochooser)
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the file of autoencoders (X_autochooser.pth) is needed too");
  if (!o->tasks || o->n_tasks < 1 || o->n_tasks > MOST) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%zu tasks are described: the files hold at least one", o->n_tasks);
  }
  for (size_t i = 0; i < o->n_tasks; i++) {
    const moeclip_published_task *t = &o->tasks[i];
    double threshold = t->threshold != 0 ? t->threshold : o->threshold;
    if (!t->name || !*t->name || !t->classes || t->n_classes == 0) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %zu has no name or no classes", i);
    }
    if (!(threshold > 0) || !isfinite(threshold)) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %zu (%s): the threshold %g must be above 0", i, t->name,
                     threshold);
    }
    for (size_t k = 0; k < t->n_templates; k++) {
      if (!t->templates[k] || !strstr(t->templates[k], "{}")) {
        return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                       "task %zu (%s): the prompt template \"%s\" has no {} for the class name", i, t->name,
                       t->templates[k] ? t->templates[k] : "");
      }
    }
    for (size_t k = 0; k < i; k++) {
      if (strcmp(o->tasks[k].name, t->name) == 0) {
        return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the tasks %zu and %zu are both called %s", k, i, t->name);
      }
    }
  }
  return MOECLIP_OK;
}

typedef struct comparing {
  const moeclip_tensors *file;
  const char *model;
} comparing;

/* float16's rounding moves a number by half a unit of its last place at most, which is 2^-11 of it, or 2^-25 near 0.
 * The small rest allows for a second rounding. */
static bool near(float a, float b) {
  float difference = fabsf(a - b), larger = fmaxf(fabsf(a), fabsf(b));
  return a == b || difference <= larger * 0x1.02p-11f + 0x1p-25f;
}

static moeclip_code compare_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  const comparing *c = context;
  mc_param read = {0};
  moeclip_code code = mc_param_read(&read, c->file, name, p->rank, p->shape, false, err);
  int64_t i = 0;
  while (code == MOECLIP_OK && i < p->n && near(p->value[i], read.value[i])) i++;
  if (code == MOECLIP_OK && i < p->n) {
    code = mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "%s is not that of %s (its value %lld is %.9g, not %.9g): the experts were trained on another CLIP; "
                   "give that, or "
                   "this file itself as the model",
                   name, c->model, (long long)i, (double)read.value[i], (double)p->value[i]);
  } else if (code == MOECLIP_ERROR_FORMAT) { /* missing, or of another shape */
    mc_fail_prefix(err, "not the CLIP that the model is");
    code = err->code = MOECLIP_ERROR_MISMATCH;
  }
  mc_param_clear(&read);
  return code;
}

static moeclip_code check_adapters(const mc_adapters *a, const mc_clip *clip, size_t n_tasks, moeclip_error *err) {
  bool text_fits =
      a->text_layers == 0 || (a->text_layers == clip->text.n_layers && a->text[0].width == clip->text.width);
  if (a->visual_layers != clip->visual.n_layers || a->visual[0].width != clip->visual.width || !text_fits) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "its experts stand in %d and %d blocks; the model has %d and %d, of widths %d and %d",
                   a->visual_layers, a->text_layers, clip->visual.n_layers, clip->text.n_layers, clip->visual.width,
                   clip->text.width);
  }
  if ((size_t)a->n_routers < n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "it has the routers of %d tasks, and %zu tasks are described",
                   a->n_routers, n_tasks);
  }
  for (int t = 0; t < (int)n_tasks; t++) {
    if (mc_adapters_router_is_fresh(a, t)) {
      return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                     "router_list.%d is zero everywhere: task %d was not learned yet in this file; describe the tasks "
                     "before it alone",
                     t, t);
    }
  }
  return MOECLIP_OK;
}

/* Sizes of the autoencoders, from the first. */
static moeclip_code chooser_sizes(const moeclip_tensors *file, const moeclip_published_options *o,
                                  moeclip_published_info *info, moeclip_error *err) {
  moeclip_published_look(file, info);
  if (info->n_autoencoders == 0 || info->hidden < 1 || info->hidden > MOST || info->features < 1) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "there are no autoencoders: 0.encoder.0.weight is missing or not a matrix");
  }
  if ((size_t)info->n_autoencoders < o->n_tasks + 1) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "it has %d autoencoders; the reference set and %zu tasks need %zu",
                   info->n_autoencoders, o->n_tasks, o->n_tasks + 1);
  }
  return MOECLIP_OK;
}

static moeclip_code check_features(const moeclip_learner *l, const moeclip_published_info *info, moeclip_error *err) {
  if (info->features == l->extractor.dim) return MOECLIP_OK;
  if (!l->extractor.alexnet && info->features == MC_ALEXNET_DIM) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "its autoencoders look at the %lld features of AlexNet: give AlexNet's weights (torchvision's) too",
                   (long long)info->features);
  }
  return mc_fail(err, MOECLIP_ERROR_MISMATCH, "its autoencoders look at %lld features; %s gives %lld",
                 (long long)info->features, l->extractor.alexnet ? "AlexNet" : "the model's image tower",
                 (long long)l->extractor.dim);
}

static moeclip_code load_selector(moeclip_learner *l, const moeclip_tensors *file, const moeclip_published_options *o,
                                  moeclip_error *err) {
  MC_TRY(mc_selector_create(MC_SELECTOR_AUTOENCODER, l->extractor.dim, l->options.selector_hidden, &l->selector, err));
  MC_TRY(mc_selector_load_autoencoder(l->selector, file, "", -1, 0, err));
  for (size_t t = 0; t < o->n_tasks; t++) {
    double threshold = o->tasks[t].threshold != 0 ? o->tasks[t].threshold : o->threshold;
    MC_TRY(mc_selector_load_autoencoder(l->selector, file, "", (int)t, threshold, err));
  }
  return MOECLIP_OK;
}

static moeclip_code add_tasks(moeclip_learner *l, const moeclip_published_options *o, moeclip_error *err) {
  for (size_t i = 0; i < o->n_tasks; i++) {
    const moeclip_published_task *t = &o->tasks[i];
    mc_task task;
    MC_TRY(
        mc_task_init(&task, t->name, t->classes, t->n_classes, t->templates, t->templates ? t->n_templates : 0, err));
    MC_TRY(mc_learner_add_task(l, &task, err));
  }
  return MOECLIP_OK;
}

/* Routers and experts, held against the model. */
static moeclip_code load_adapters(moeclip_model *model, const char *path, size_t n_tasks, mc_adapters **out,
                                  moeclip_error *err) {
  moeclip_tensors *file = NULL;
  mc_adapter_sizes sizes = {.top_k = TOP_K, .scale = MC_EXPERT_SCALE};
  MC_TRY(moeclip_tensors_open(path, &file, err));
  comparing c = {file, model->path};
  moeclip_code code = mc_adapters_load(file, &sizes, out, err);
  if (code == MOECLIP_OK) code = check_adapters(*out, model->clip, n_tasks, err);
  if (code == MOECLIP_OK) code = mc_clip_each(model->clip, compare_param, &c, err);
  if (code == MOECLIP_OK) {
    mc_adapters_keep_routers(*out, (int)n_tasks);
    mc_adapters_freeze_all(*out);
  }
  moeclip_tensors_destroy(file);
  return code == MOECLIP_OK ? code : mc_fail_prefix(err, path);
}

static moeclip_code make_learner(moeclip_model *model, mc_adapters *adapters, const moeclip_tensors *chooser,
                                 const moeclip_published_options *o, moeclip_learner **out, moeclip_error *err) {
  moeclip_learner_options options;
  moeclip_published_info info;
  MC_TRY(chooser_sizes(chooser, o, &info, err));
  moeclip_learner_options_defaults(&options);
  options.n_experts = adapters->sizes.n_experts;
  options.bottleneck = adapters->sizes.bottleneck;
  options.top_k = TOP_K;
  options.text_adapters = adapters->text_layers > 0;
  options.selector = MOECLIP_SELECTOR_AUTOENCODER;
  options.selector_hidden = (int)info.hidden;
  options.selector_layer = o->selector_layer;
  MC_TRY(mc_learner_frame(model, &options, o->alexnet, out, err));
  MC_TRY(check_features(*out, &info, err));
  MC_TRY(load_selector(*out, chooser, o, err));
  return add_tasks(*out, o, err);
}

moeclip_code moeclip_learner_from_published(moeclip_model *model, const char *path, const moeclip_published_options *o,
                                            moeclip_learner **out, moeclip_error *err) {
  mc_adapters *adapters = NULL;
  moeclip_tensors *chooser = NULL;
  moeclip_learner *l = NULL;
  moeclip_error own; /* prefixes need a message to stand before */
  *out = NULL;
  if (!err) err = &own;
  MC_TRY(check_tasks(o, err));
  moeclip_code code = load_adapters(model, path, o->n_tasks, &adapters, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_open(o->autochooser, &chooser, err);
  if (code == MOECLIP_OK) {
    code = make_learner(model, adapters, chooser, o, &l, err);
    if (code != MOECLIP_OK) mc_fail_prefix(err, o->autochooser);
  }
  moeclip_tensors_destroy(chooser);
  if (code != MOECLIP_OK) {
    mc_adapters_destroy(adapters);
    moeclip_learner_destroy(l);
    return code;
  }
  l->adapters = adapters;
  *out = l;
  return MOECLIP_OK;
}

/* --- to files ---------------------------------------------------------------------------------------------------- */

static bool heads_are_64_wide(const mc_clip *clip) {
  return clip->visual.width == 64 * clip->visual.n_heads && clip->text.width == 64 * clip->text.n_heads;
}

static moeclip_code check_expressible(const moeclip_learner *l, bool chooser, moeclip_error *err) {
  const char *why = NULL;
  if (!l->adapters) {
    why = l->tuned ? "a fine-tuned CLIP has no experts" : "its method has no experts";
  } else if (l->n_tasks == 0) {
    why = "nothing was learned yet";
  } else if (l->model->clip->sizes.activation != MC_QUICK_GELU) {
    why = "it stands on a CLIP with GELU, and the published system computes quick GELU";
  } else if (!heads_are_64_wide(l->model->clip)) {
    why = "the attention heads of its CLIP are not 64 wide, as the published system's are";
  } else if (l->adapters->text_layers == 0) {
    why = "its text tower has no experts";
  } else if (l->options.top_k != TOP_K && (l->options.top_k < TOP_K || l->adapters->sizes.n_experts > TOP_K)) {
    why = "the published system has two experts chosen, and this learner another number";
  } else if (!mc_adapters_full_routers(l->adapters)) {
    why =
        "experts were added after its first tasks, whose routers do not know them; a published router chooses among "
        "all experts";
  } else if (l->options.shared_router && l->n_tasks > 1) {
    why = "its tasks share one router, and a published checkpoint has one for each";
  } else if (chooser && !l->selector) {
    why = "it has no selector; leave the autochooser out";
  } else if (chooser && l->extractor.kind != MC_SELECTOR_AUTOENCODER) {
    why = "its selector is not made of autoencoders; leave the autochooser out";
  } else if (chooser && !mc_selector_has_reference(l->selector)) {
    why =
        "its selector has no reference set, which is number 0 of the published autoencoders; leave the autochooser out";
  }
  return why ? mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "this learner cannot become a published checkpoint: %s", why)
             : MOECLIP_OK;
}

/* The learner outlives the collection, so nothing is copied. */
static moeclip_code put_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  return moeclip_tensors_add(context, name, MOECLIP_F32, p->rank, p->shape, p->value, 0, err);
}

/* Every published block has one more adapter, a third norm and two buffers; nothing reads them, but PyTorch misses
 * them. */
static moeclip_code put_unused(const mc_moe *m, int64_t bottleneck, const char *tower, int i, moeclip_tensors *out,
                               moeclip_error *err) {
  const int64_t d = m->width, one = 1;
  size_t n = (size_t)(bottleneck * d > d ? bottleneck * d : d);
  float *zeros = calloc(n, sizeof *zeros), *ones = mc_alloc((size_t)d, sizeof *ones);
  char name[128];
  moeclip_code code = zeros && ones ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *zeros, "a checkpoint");
  for (int64_t k = 0; ones && k < d; k++) ones[k] = 1;
  const struct {
    const char *name;
    int rank;
    int64_t shape[2];
    const float *data;
  } unused[] = {
      {"adaptmlp.down_proj.weight", 2, {bottleneck, d}, zeros},
      {"adaptmlp.down_proj.bias", 1, {bottleneck}, zeros},
      {"adaptmlp.up_proj.weight", 2, {d, bottleneck}, zeros},
      {"adaptmlp.up_proj.bias", 1, {d}, zeros},
      {"ln_3.weight", 1, {d}, ones},
      {"ln_3.bias", 1, {d}, zeros},
      {"mean", 1, {one}, zeros},
      {"std", 1, {one}, ones},
  };
  for (size_t k = 0; code == MOECLIP_OK && k < sizeof unused / sizeof *unused; k++) {
    snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s", tower, i, unused[k].name);
    code = moeclip_tensors_add(out, name, MOECLIP_F32, unused[k].rank, unused[k].shape, unused[k].data, 1, err);
  }
  free(zeros);
  free(ones);
  return code;
}

static moeclip_code put_model(moeclip_learner *l, moeclip_tensors *out, moeclip_error *err) {
  mc_adapters *a = l->adapters;
  MC_TRY(mc_clip_each(l->model->clip, put_param, out, err));
  MC_TRY(mc_adapters_each(a, put_param, out, err));
  for (int i = 0; i < a->visual_layers; i++)
    MC_TRY(put_unused(&a->visual[i], a->sizes.bottleneck, "visual.", i, out, err));
  for (int i = 0; i < a->text_layers; i++) MC_TRY(put_unused(&a->text[i], a->sizes.bottleneck, "", i, out, err));
  return MOECLIP_OK;
}

moeclip_code moeclip_learner_to_published(moeclip_learner *l, const char *path, const char *autochooser,
                                          moeclip_error *err) {
  moeclip_tensors *model = NULL, *chooser = NULL;
  MC_TRY(check_expressible(l, autochooser != NULL, err));
  if (autochooser && strcmp(path, autochooser) == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: the model and the autochooser need a file each", path);
  }
  moeclip_code code = moeclip_tensors_create(&model, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_create(&chooser, err);
  if (code == MOECLIP_OK) code = put_model(l, model, err);
  if (code == MOECLIP_OK && autochooser) code = mc_selector_store_autoencoders(l->selector, "", 0, chooser, err);
  if (code == MOECLIP_OK && autochooser) code = moeclip_tensors_write_torch(chooser, autochooser, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_write_torch(model, path, err);
  moeclip_tensors_destroy(chooser);
  moeclip_tensors_destroy(model);
  return code;
}
