/* Making, loading, saving and ending a learner; and the reference set. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "learn/method.h"
#include "train/watch.h"

_Static_assert((int)MC_SELECTOR_AUTOENCODER == MOECLIP_SELECTOR_AUTOENCODER && (int)MC_SELECTOR_GAUSSIAN == MOECLIP_SELECTOR_GAUSSIAN &&
                   (int)MC_SELECTOR_PROTOTYPES == MOECLIP_SELECTOR_PROTOTYPES,
               "one numbering of the selector's kinds");

static moeclip_code check_options(const moeclip_learner_options *o, moeclip_error *err) {
  const mc_method *method = mc_method_of(o->mode);
  if (!method) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "mode %d: this version has no such method", (int)o->mode);
  }
  if ((int)o->selector < MOECLIP_SELECTOR_AUTO || o->selector > MOECLIP_SELECTOR_PROTOTYPES) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "selector %d: there is no such kind", (int)o->selector);
  }
  if (o->dynamic_experts && (o->shared_router || !(o->dynamic_margin >= 0 && o->dynamic_margin < 1) || o->dynamic_probe < 10)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "dynamic experts: margin %g (0 to below 1), probes of %lld steps (at least 10), and a "
                   "router for each task", o->dynamic_margin, (long long)o->dynamic_probe);
  }
  if (o->n_experts < 1 || o->top_k < 1 || o->bottleneck < 1 || o->freeze_per_task < 0 || o->selector_hidden < 1 ||
      o->selector_layer < -1) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "experts %d, top-k %d, bottleneck %d and selector width %d must be at least 1, frozen experts a task %d at "
                   "least 0, selector layer %d at least -1",
                   o->n_experts, o->top_k, o->bottleneck, o->selector_hidden, o->freeze_per_task, o->selector_layer);
  }
  return method->check ? method->check(o, err) : MOECLIP_OK;
}

static moeclip_code hash_file(const char *path, char out[65], moeclip_error *err) {
  mc_mapping m;
  mc_sha256 h;
  MC_TRY(mc_mapping_open(path, &m, err));
  mc_sha256_init(&h);
  mc_sha256_add(&h, m.data, m.n_bytes);
  mc_sha256_hex(&h, out);
  mc_mapping_close(&m);
  return MOECLIP_OK;
}

moeclip_code mc_learner_frame(moeclip_model *model, const moeclip_learner_options *options, const char *alexnet,
                              moeclip_learner **out, moeclip_error *err) {
  MC_TRY(check_options(options, err));
  moeclip_learner *l = calloc(1, sizeof *l);
  *out = l;
  if (!l) return mc_fail_memory(err, sizeof *l, "a learner");
  l->model = model;
  l->method = mc_method_of(options->mode);
  l->options = *options;
  l->options.alexnet = NULL;
  if (options->dynamic_experts) l->options.n_experts = options->top_k;
  if (l->options.selector == MOECLIP_SELECTOR_AUTO) {
    l->options.selector = alexnet ? MOECLIP_SELECTOR_AUTOENCODER : MOECLIP_SELECTOR_GAUSSIAN;
  }
  if (!(l->method->traits & MC_METHOD_ADAPTERS)) return MOECLIP_OK; /* nothing for a selector to look at */
  if (alexnet) {
    l->options.alexnet = mc_strdup(alexnet);
    if (!l->options.alexnet) return mc_fail_memory(err, strlen(alexnet), "a file name");
    MC_TRY(hash_file(alexnet, l->alexnet_hash, err));
  }
  MC_TRY(mc_feature_extractor_init(&l->extractor, (mc_selector_kind)l->options.selector, alexnet, model->clip, options->selector_layer, err));
  l->options.selector_layer = l->extractor.layer;
  return MOECLIP_OK;
}

void moeclip_learner_destroy(moeclip_learner *l) {
  if (!l) return;
  mc_learner_clear_knowledge(l);
  mc_feature_extractor_clear(&l->extractor);
  free((char *)(uintptr_t)l->options.alexnet);
  free(l);
}

moeclip_code moeclip_learner_create(moeclip_model *model, const moeclip_learner_options *options, moeclip_learner **out,
                                    moeclip_error *err) {
  moeclip_learner_options defaults;
  moeclip_learner *l = NULL;
  *out = NULL;
  if (!options) {
    moeclip_learner_options_defaults(&defaults);
    options = &defaults;
  }
  moeclip_code code = mc_learner_frame(model, options, options->alexnet, &l, err);
  if (code == MOECLIP_OK) code = l->method->create(l, err);
  if (code != MOECLIP_OK) {
    moeclip_learner_destroy(l);
    return code;
  }
  *out = l;
  return MOECLIP_OK;
}

static moeclip_code load(moeclip_model *model, const moeclip_tensors *file, const char *alexnet, moeclip_learner **out,
                         moeclip_error *err) {
  moeclip_learner_options options;
  char hash[65];
  MC_TRY(mc_state_options(file, &options, hash, err));
  if (hash[0] && !alexnet) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "its selector was made with AlexNet: give the weights file that was used then");
  }
  if (!hash[0]) alexnet = NULL;
  MC_TRY(mc_learner_frame(model, &options, alexnet, out, err));
  if (strcmp((*out)->alexnet_hash, hash) != 0) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "its selector was made with other AlexNet weights than %s (SHA-256 %s)", alexnet,
                   hash);
  }
  return mc_state_restore(*out, file, err);
}

moeclip_code moeclip_learner_load(moeclip_model *model, const char *path, const char *alexnet, moeclip_learner **out,
                                  moeclip_error *err) {
  moeclip_tensors *file = NULL;
  moeclip_learner *l = NULL;
  *out = NULL;
  MC_TRY(mc_state_open(path, &file, err));
  moeclip_code code = load(model, file, alexnet, &l, err);
  moeclip_tensors_destroy(file);
  if (code != MOECLIP_OK) {
    moeclip_learner_destroy(l);
    return mc_fail_prefix(err, path);
  }
  *out = l;
  return MOECLIP_OK;
}

static moeclip_code save(moeclip_learner *l, const char *path, moeclip_error *err) {
  moeclip_tensors *t = NULL;
  MC_TRY(moeclip_tensors_create(&t, err));
  moeclip_code code = mc_state_store(l, t, err);
  if (code == MOECLIP_OK) code = mc_state_write(t, path, err);
  moeclip_tensors_destroy(t);
  return code;
}

moeclip_code moeclip_learner_save(moeclip_learner *l, const char *path, moeclip_error *err) {
  moeclip_comm *comm = l->model->options.comm;
  return moeclip_comm_agree(comm, moeclip_comm_rank(comm) == 0 ? save(l, path, err) : MOECLIP_OK, err);
}

moeclip_code moeclip_learner_learn_reference(moeclip_learner *l, const moeclip_dataset *dataset,
                                             const moeclip_task_options *options, const moeclip_callbacks *callbacks,
                                             moeclip_learn_report *report, moeclip_error *err) {
  moeclip_task_options defaults;
  moeclip_learn_report own;
  if (!l->method->reference) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the method %s has no use for a reference set", l->method->name);
  }
  if (l->n_tasks > 0 || moeclip_learner_has_reference(l)) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the reference set is learned once, before the first task");
  }
  if (!options) {
    moeclip_task_options_defaults(&defaults);
    defaults.selector_iterations = 1000; /* method.md section 4: number 0 is trained longer */
    options = &defaults;
  }
  if (moeclip_dataset_count(dataset, MOECLIP_TRAIN) == 0 || options->batch < 1 || options->selector_iterations < 1) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: %zu training pictures, batch %d, %lld iterations: each must be at least 1",
                   moeclip_dataset_path(dataset), moeclip_dataset_count(dataset, MOECLIP_TRAIN), options->batch,
                   (long long)options->selector_iterations);
  }
  if (!report) report = &own;
  *report = (moeclip_learn_report){.task = -1};
  double began = mc_now();
  MC_TRY(l->method->reference(l, dataset, options, callbacks, report, err));
  report->seconds = report->selector_seconds = mc_now() - began;
  return MOECLIP_OK;
}

int moeclip_learner_has_reference(const moeclip_learner *l) { return l->method->has_reference && l->method->has_reference(l); }
