/* A learner's state, and the checkpoint of an unfinished task: everything behind the checksum, which no mutation would
 * pass. Seeds: seeds/state, made by fuzz_replay_state --make. */
#include "tiny.h"

#include "../files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* As learning writes them: one of each method, of each kind of selector, of experts that come as they are needed; and the checkpoints that
 * hold more than a finished state. */
static const struct seed {
  const char *name;
  moeclip_mode mode;
  moeclip_selector_kind selector;
  int dynamic;
  moeclip_ridge_form form;
  bool reference, unfinished;
} seeds[] = {
    {"gaussian", MOECLIP_MODE_MOE, MOECLIP_SELECTOR_GAUSSIAN, 0, 0, true, false},
    {"prototypes", MOECLIP_MODE_MOE, MOECLIP_SELECTOR_PROTOTYPES, 0, 0, false, false},
    {"autoencoder", MOECLIP_MODE_MOE, MOECLIP_SELECTOR_AUTOENCODER, 0, 0, true, false},
    {"dynamic", MOECLIP_MODE_MOE, MOECLIP_SELECTOR_GAUSSIAN, 1, 0, false, false},
    {"moe.part", MOECLIP_MODE_MOE, MOECLIP_SELECTOR_GAUSSIAN, 0, 0, false, true},
    {"finetune", MOECLIP_MODE_FINETUNE, 0, 0, 0, false, false},
    {"wise-ft", MOECLIP_MODE_WISE_FT, 0, 0, 0, false, false},
    {"lwf.part", MOECLIP_MODE_LWF, 0, 0, 0, false, true},
    {"projection", MOECLIP_MODE_ANALYTIC, 0, 0, MOECLIP_RIDGE_PROJECTION, false, false},
    {"projection.part", MOECLIP_MODE_ANALYTIC, 0, 0, MOECLIP_RIDGE_PROJECTION, false, true},
    {"kernel", MOECLIP_MODE_ANALYTIC, 0, 0, MOECLIP_RIDGE_KERNEL, false, false},
    {"linear-probe", MOECLIP_MODE_LINEAR_PROBE, 0, 0, 0, false, false},
    {"linear-probe.part", MOECLIP_MODE_LINEAR_PROBE, 0, 0, 0, false, true},
    {"zero-shot", MOECLIP_MODE_ZERO_SHOT, 0, 0, 0, false, false},
};

static int stop_before_the_end(void *context, const moeclip_progress *p) {
  (void)context;
  return strcmp(p->phase, "train") == 0 && p->step == p->n_steps - 1;
}

static void need(moeclip_code code, const moeclip_error *err) {
  if (code == MOECLIP_OK) return;
  fprintf(stderr, "%s\n", err->message);
  abort();
}

/* Smaller: without the optimizer's numbers, which are read by what goes on with the task and not by this target, and with zeros for CLIP's
 * own weights, whose values say nothing. */
static void shrink(const char *from, const char *to) {
  static const float zeros[514 * 64];
  moeclip_tensors *in, *out;
  moeclip_error err;
  const char *key, *value;
  need(moeclip_tensors_open(from, &in, &err), &err);
  need(moeclip_tensors_create(&out, &err), &err);
  for (size_t i = 0; i < moeclip_tensors_count(in); i++) {
    const moeclip_tensor *t = moeclip_tensors_at(in, i);
    if (strncmp(t->name, "optimizer.", 10) == 0) continue;
    const char *plain = strncmp(t->name, "before.", 7) == 0 ? t->name + 7 : t->name;
    bool own = strcmp(plain, "token_embedding.weight") == 0 || strstr(plain, "in_proj_weight") || strstr(plain, "mlp.");
    need(moeclip_tensors_add(out, t->name, t->dtype, t->rank, t->shape, own ? zeros : t->data, 0, &err), &err);
  }
  for (size_t i = 0; i < moeclip_tensors_metadata_count(in); i++) {
    moeclip_tensors_metadata_at(in, i, &key, &value);
    need(moeclip_tensors_set_metadata(out, key, value, &err), &err);
  }
  need(moeclip_tensors_write_safetensors(out, to, &err), &err);
  moeclip_tensors_destroy(out);
  moeclip_tensors_destroy(in);
}

static void make_seed(const struct seed *s, const char *path, const moeclip_dataset *d) {
  moeclip_learner *l;
  moeclip_learner_options o;
  moeclip_task_options task;
  moeclip_error err;
  char part[512];
  const moeclip_callbacks stop = {stop_before_the_end, NULL, NULL};
  snprintf(part, sizeof part, "%s", files_path("part"));
  moeclip_learner_options_defaults(&o);
  moeclip_task_options_defaults(&task);
  o.mode = s->mode;
  o.selector = s->selector;
  o.dynamic_experts = s->dynamic;
  o.dynamic_probe = 10;
  o.ridge_form = s->form;
  o.ridge_hidden = 5;
  o.n_experts = 3;
  o.bottleneck = 2;
  o.selector_hidden = 2;
  task.iterations = 2;
  task.batch = 4;
  task.selector_iterations = 2;
  task.loader_threads = 1;
  task.checkpoint = s->unfinished ? part : NULL;
  need(moeclip_learner_create(tiny_model(), &o, &l, &err), &err);
  if (s->reference) need(moeclip_learner_learn_reference(l, d, &task, NULL, NULL, &err), &err);
  moeclip_code code = moeclip_learner_learn(l, d, &task, s->unfinished ? &stop : NULL, NULL, &err);
  if (s->unfinished) {
    if (code != MOECLIP_ERROR_CANCELLED) abort();
  } else {
    need(code, &err);
    need(moeclip_learner_save(l, part, &err), &err);
  }
  shrink(part, path);
  unlink(part);
  moeclip_learner_destroy(l);
}

void fuzz_make_seeds(const char *folder) {
  char path[600], root[512];
  moeclip_dataset *d;
  moeclip_error err;
  files_begin();
  tiny_keeps_file = true;
  for (int i = 0; i < 12; i++) files_png(files_path("pictures/train/%s/%d.png", i % 2 ? "light" : "dark", i), 8, 8, i % 2 ? 200 + i : 10 + i);
  for (int i = 0; i < 2; i++) files_png(files_path("pictures/test/%s/%d.png", i % 2 ? "light" : "dark", i), 8, 8, i % 2 ? 200 : 10);
  snprintf(root, sizeof root, "%s", files_path("pictures"));
  need(moeclip_dataset_open(root, NULL, &d, &err), &err);
  for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, seeds[i].name);
    make_seed(&seeds[i], path, d);
  }
  moeclip_dataset_destroy(d);
  for (int reference = 0; reference < 2; reference++) {
    moeclip_learner *l = tiny_learner(reference);
    snprintf(path, sizeof path, "%s/%s", folder, reference ? "reference" : "plain");
    if (moeclip_learner_save(l, path, NULL) != MOECLIP_OK) abort();
    moeclip_learner_destroy(l);
  }
  unlink(moeclip_model_path(tiny_model()));
  files_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  moeclip_tensors *file;
  moeclip_learner_options options;
  moeclip_learner *l = NULL;
  moeclip_error err = {0};
  char hash[65];
  if (moeclip_tensors_from_memory(data, n_bytes, "input", &file, &err) != MOECLIP_OK) return 0;
  moeclip_code code = mc_state_options(file, &options, hash, &err);
  if (code == MOECLIP_OK) code = mc_learner_frame(tiny_model(), &options, NULL, &l, &err);
  if (code == MOECLIP_OK) code = mc_state_restore(l, file, &err);
  if (code != MOECLIP_OK && !err.message[0]) abort();
  if (code == MOECLIP_OK) {
    moeclip_tensors *again;
    tiny_use(l);
    /* What was taken can be stored again. */
    if (moeclip_tensors_create(&again, NULL) != MOECLIP_OK || mc_state_store(l, again, NULL) != MOECLIP_OK) abort();
    moeclip_tensors_destroy(again);
  }
  moeclip_learner_destroy(l);
  moeclip_tensors_destroy(file);
  return 0;
}
