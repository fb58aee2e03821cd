/* The smallest CLIP, pictures and settings that the tests of faults work on. */
#ifndef TESTS_FAULTS_SMALL_H
#define TESTS_FAULTS_SMALL_H

#include "../files.h"
#include "model/clip.h"
#include "moeclip/learner.h"
#include "moeclip/pretrain.h"

enum { SMALL_IMAGE = 16, SMALL_EMBED = 16 };

static const mc_clip_sizes small_sizes_ = {SMALL_IMAGE, 8, 1, 64, 32, 8, 600, 1, 64, 32, SMALL_EMBED, MC_QUICK_GELU, 0, 0};

/* In place of files_begin: in memory where there is such a folder, for what is written thousands of times. */
static inline void small_begin(void) {
  strcpy(files_root_, "/dev/shm/moeclip-test-XXXXXX");
  if (!mkdtemp(files_root_)) files_begin();
}

/* In the test's folder (files.h): model.safetensors and the configuration beside it; pictures/{train,test}/{dark,light}/N.png. */
static inline void small_make(void) {
  static const char config[] =
      "{\"model_cfg\": {\"vision_cfg\": {\"width\": 64, \"head_width\": 32}, \"text_cfg\": {\"heads\": 2, \"proj_type\": \"linear\"}}, "
      "\"preprocess_cfg\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.5, 0.5], \"resize_mode\": \"squash\"}}";
  mc_clip *clip;
  moeclip_tensors *t;
  moeclip_error err;
  REQUIRE_OK(mc_clip_create(&small_sizes_, 1, &clip, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_clip_store(clip, MOECLIP_F32, t, &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, files_path("model.safetensors"), &err), err);
  moeclip_tensors_destroy(t);
  mc_clip_destroy(clip);
  files_text(files_path("open_clip_config.json"), config);
  for (int split = 0; split < 2; split++) {
    for (int i = 0; i < (split ? 2 : 4); i++) {
      files_png(files_path("pictures/%s/dark/%d.png", split ? "test" : "train", i), 16, 16, 10 + i);
      files_png(files_path("pictures/%s/light/%d.png", split ? "test" : "train", i), 16, 16, 200 + i);
    }
  }
}

static inline moeclip_code small_load(moeclip_model **out, moeclip_error *err) {
  moeclip_model_options o;
  moeclip_model_options_defaults(&o);
  o.n_threads = 1;
  return moeclip_model_load(files_path("model.safetensors"), &o, out, err);
}

static inline void small_learner_options(moeclip_learner_options *o) {
  moeclip_learner_options_defaults(o);
  o->n_experts = 3;
  o->bottleneck = 2;
  o->selector_hidden = 2;
  o->freeze_per_task = 1;
}

/* A few steps, with a checkpoint after each in `checkpoint` (NULL: none). */
static inline void small_task_options(moeclip_task_options *o, const char *checkpoint) {
  moeclip_task_options_defaults(o);
  o->iterations = 2;
  o->batch = 4;
  o->selector_iterations = 1;
  o->loader_threads = 1;
  o->checkpoint = checkpoint;
  o->checkpoint_seconds = 0;
}

static inline void small_pretrain_options(moeclip_pretrain_options *o, const char *pairs, const char *out) {
  moeclip_pretrain_options_defaults(o);
  o->pairs = pairs;
  o->out = out;
  o->sizes = (moeclip_model_sizes){.image_size = SMALL_IMAGE, .patch = 8, .visual_layers = 1, .visual_width = 64,
                                   .visual_hidden = 32, .context = 8, .vocabulary = 600, .text_layers = 1, .text_width = 64,
                                   .text_hidden = 32, .embed = SMALL_EMBED, .activation = MOECLIP_ACTIVATION_QUICK_GELU};
  o->epochs = 2;
  o->batch = 4;
  o->warmup = 1;
  o->n_threads = o->loader_threads = 1;
  o->checkpoint_seconds = 0;
}

#endif
