/* mtil_checkpoint.pth, as the published system wrote it, becomes a learner that computes what that system computed. */
#include "moeclip/published.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "eval.h"
#include "learn/learner.h"

enum { TASKS = 11, HIDDEN = 4 };

/* Autoencoders for the reference set and all tasks; the fixtures have none. */
static moeclip_code write_chooser(const char *path, int64_t features, moeclip_error *err) {
  mc_selector *s = NULL;
  moeclip_tensors *t = NULL;
  moeclip_code code = mc_selector_create(MC_SELECTOR_AUTOENCODER, features, HIDDEN, &s, err);
  for (int task = -1; code == MOECLIP_OK && task < TASKS; task++) {
    mc_autoencoder a;
    code = mc_autoencoder_create(&a, features, HIDDEN, 1, (uint64_t)(task + 1), err);
    if (code == MOECLIP_OK) code = mc_selector_add(s, task, &a, 1, err);
  }
  if (code == MOECLIP_OK) code = moeclip_tensors_create(&t, err);
  if (code == MOECLIP_OK) code = mc_selector_store_autoencoders(s, "", 0, t, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_write_torch(t, path, err);
  moeclip_tensors_destroy(t);
  mc_selector_destroy(s);
  return code;
}

static moeclip_code from_checkpoint(golden *g, moeclip_model *model, const char *chooser, moeclip_learner **l,
                                    moeclip_error *err) {
  static const char *const classes[] = {"a", "b"};
  char names[TASKS][16];
  moeclip_published_task tasks[TASKS] = {0};
  moeclip_published_options o;
  mc_feature_extractor x;
  for (int t = 0; t < TASKS; t++) {
    snprintf(names[t], sizeof names[t], "task %d", t);
    tasks[t] = (moeclip_published_task){.name = names[t], .classes = classes, .n_classes = 2};
  }
  MC_TRY(mc_feature_extractor_init(&x, MC_SELECTOR_AUTOENCODER, NULL, model->clip, -1, err));
  MC_TRY(write_chooser(chooser, x.dim, err));
  mc_feature_extractor_clear(&x);
  moeclip_published_options_defaults(&o);
  o.autochooser = chooser;
  o.tasks = tasks;
  o.n_tasks = TASKS;
  return moeclip_learner_from_published(model, golden_path(g, "mtil_checkpoint.pth"), &o, l, err);
}

void golden_published(golden *g) {
  moeclip_error err;
  moeclip_model *model = NULL;
  moeclip_learner *l = NULL;
  moeclip_tensors *file = NULL;
  char folder[] = "/tmp/moeclip-golden-XXXXXX", chooser[64];
  if (!golden_has(g, "mtil_checkpoint.pth") || !golden_has(g, "mtil_model.safetensors") ||
      !golden_has(g, "mtil_eval.safetensors") || !mkdtemp(folder)) {
    return;
  }
  snprintf(chooser, sizeof chooser, "%s/x_autochooser.pth", folder);
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.precision = MOECLIP_PRECISION_FLOAT32;
  moeclip_code code = moeclip_model_load(golden_path(g, "mtil_model.safetensors"), &options, &model, &err);
  if (code == MOECLIP_OK) code = from_checkpoint(g, model, chooser, &l, &err);
  if (code == MOECLIP_OK) code = moeclip_tensors_open(golden_path(g, "mtil_eval.safetensors"), &file, &err);
  for (int task = 0; code == MOECLIP_OK && task < moeclip_learner_tasks(l); task++) {
    char name[64];
    snprintf(name, sizeof name, "task%d.image_features", task);
    if (!moeclip_tensors_find(file, name)) continue;
    printf("mtil_checkpoint.pth as a learner, task %d:\n", task);
    code = golden_eval_task(g, model->compute, model->clip, l->adapters, task, l->options.top_k, file, &err);
  }
  if (code != MOECLIP_OK) golden_failed(g, "mtil_checkpoint.pth as a learner", &err);
  moeclip_tensors_destroy(file);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
  unlink(chooser);
  rmdir(folder);
}
