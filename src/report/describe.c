/* What results say of a run, of a data set and of a learned task. */
#include <string.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "report/report.h"

json_t *mc_describe_run(moeclip_model *model, const moeclip_learner *learner) {
  moeclip_learner_options o;
  char seed[32];
  moeclip_learner_get_options(learner, &o);
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)o.seed);
  json_t *run = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:i, s:i}", "backbone",
                   moeclip_model_fingerprint(model), "seed", seed, "mode", moeclip_mode_name(o.mode),
                   "experts", o.n_experts, "top_k", o.top_k, "bottleneck", o.bottleneck, "freeze_per_task", o.freeze_per_task,
                   "text_adapters", o.text_adapters, "shared_router", o.shared_router, "selector", o.use_selector,
                   "selector_hidden", o.selector_hidden, "selector_layer", o.selector_layer);
  /* Autoencoders are what results without this key were made with. */
  if (run && o.selector != MOECLIP_SELECTOR_AUTOENCODER) {
    mc_json_set(&run, "selector_kind", json_string(moeclip_selector_kind_name(o.selector)));
  }
  if (run && o.dynamic_experts) {
    mc_json_set(&run, "dynamic", json_pack("{s:f, s:I}", "margin", o.dynamic_margin, "probe", (json_int_t)o.dynamic_probe));
  }
  if (run && o.mode == MOECLIP_MODE_ANALYTIC) {
    mc_json_set(&run, "analytic", json_pack("{s:s, s:i, s:f, s:f, s:f, s:I}", "form",
                                                   o.ridge_form == MOECLIP_RIDGE_KERNEL ? "kernel" : "projection", "hidden",
                                                   o.ridge_hidden, "ridge", o.ridge, "gamma", o.ridge_gamma, "fusion",
                                                   o.ridge_fusion, "pictures", (json_int_t)o.ridge_pictures));
  }
  if (run && o.mode == MOECLIP_MODE_WISE_FT) mc_json_set(&run, "wise-ft", json_pack("{s:f}", "alpha", o.wise_alpha));
  if (run && o.mode == MOECLIP_MODE_LWF) {
    mc_json_set(&run, "lwf", json_pack("{s:f, s:f}", "weight", o.lwf_weight, "temperature", o.lwf_temperature));
  }
  if (run && o.mode == MOECLIP_MODE_ZSCL) {
    mc_json_set(&run, "zscl",
                json_pack("{s:f, s:f, s:I, s:I}", "weight", o.zscl_weight, "temperature", o.zscl_temperature, "every",
                          (json_int_t)o.zscl_every, "pictures", (json_int_t)o.zscl_pictures));
  }
  if (run && o.mode == MOECLIP_MODE_ICARL) {
    mc_json_set(&run, "icarl",
                json_pack("{s:I, s:f, s:f}", "exemplars", (json_int_t)o.exemplars, "weight", o.icarl_weight, "temperature",
                          o.icarl_temperature));
  }
  if (run && o.mode == MOECLIP_MODE_LINEAR_PROBE) mc_json_set(&run, "linear-probe", json_pack("{s:f}", "l2", o.probe_l2));
  return run;
}

/* "same" is what the accuracies of a column depend on, beside the run and the state. */
json_t *mc_describe_column(const moeclip_dataset *dataset, const char *const *templates, size_t n_templates, json_t *task) {
  json_t *prompts = n_templates ? mc_json_strings(templates, n_templates) : json_null();
  json_t *classes = json_array();
  for (size_t c = 0; c < moeclip_dataset_classes(dataset); c++) {
    mc_json_append(&classes, json_string(moeclip_dataset_class_name(dataset, c)));
  }
  json_t *same =
      json_pack("{s:I, s:o, s:o}", "test_pictures", (json_int_t)moeclip_dataset_count(dataset, MOECLIP_TEST),
                "classes", classes, "templates", prompts);
  return json_pack("{s:s, s:o, s:s, s:s, s:I, s:o}", "name", moeclip_dataset_name(dataset), "task", task, "path",
                   moeclip_dataset_path(dataset), "format", moeclip_dataset_format(dataset), "train_pictures",
                   (json_int_t)moeclip_dataset_count(dataset, MOECLIP_TRAIN), "same", same);
}

moeclip_code mc_state_file_checksum(const char *path, char **out, moeclip_error *err) {
  moeclip_tensors *t;
  *out = NULL;
  bool there;
  MC_TRY(mc_file_exists(path, &there, err));
  if (!there) return MOECLIP_OK;
  MC_TRY(moeclip_tensors_open(path, &t, err));
  const char *s = moeclip_tensors_metadata(t, "moeclip.checksum");
  moeclip_code code = MOECLIP_OK;
  if (s && !(*out = mc_strdup(s))) code = mc_fail_memory(err, strlen(s), path);
  moeclip_tensors_destroy(t);
  return code;
}

json_t *mc_experts_json(const moeclip_learner *learner, int text) {
  enum { MOST = 4096 };
  json_t *blocks = json_array();
  uint64_t *counts = mc_alloc(MOST, sizeof *counts);
  uint8_t *frozen = mc_alloc(MOST, 1);
  for (int b = 0; counts && frozen && b < moeclip_learner_blocks(learner, text); b++) {
    size_t n = 0;
    json_t *of_counts = json_array(), *of_frozen = json_array();
    if (moeclip_learner_expert_use(learner, text, b, counts, frozen, MOST, &n, NULL) != MOECLIP_OK) n = 0;
    for (size_t e = 0; e < n && e < MOST; e++) {
      mc_json_append(&of_counts, json_integer((json_int_t)counts[e]));
      mc_json_append(&of_frozen, json_boolean(frozen[e]));
    }
    mc_json_append(&blocks, json_pack("{s:o, s:o}", "counts", of_counts, "frozen", of_frozen));
  }
  free(counts);
  free(frozen);
  return blocks;
}

const char *mc_precision_name(const moeclip_model *model) {
  return moeclip_model_precision(model) == MOECLIP_PRECISION_BFLOAT16 ? "bfloat16" : "float32";
}

json_t *mc_report_json(const moeclip_learner *learner, const moeclip_learn_report *r) {
  json_t *object =
      json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b}", "task", r->task, "iterations",
                (json_int_t)r->iterations, "images", (json_int_t)r->images, "broken", (json_int_t)r->broken,
                "trainable", (json_int_t)r->trainable, "final_loss", mc_json_real(r->final_loss), "seconds",
                mc_json_real(r->seconds), "waited_seconds", mc_json_real(r->waited_seconds), "selector_seconds",
                mc_json_real(r->selector_seconds), "threshold", mc_json_real(r->threshold), "resumed", r->resumed);
  const moeclip_task_parameters *p = &r->parameters;
  if (object) {
    mc_json_set(&object, "parameters",
                        json_pack("{s:i, s:I, s:I, s:I}", "new_experts", p->n_experts, "experts", (json_int_t)p->experts, "router",
                                  (json_int_t)p->router, "selector", (json_int_t)p->selector));
    mc_json_set(&object, "probe_seconds", mc_json_real(r->probe_seconds));
  }
  if (object && moeclip_learner_blocks(learner, 0) > 0) {
    mc_json_set(&object, "experts",
                        json_pack("{s:o, s:o}", "image", mc_experts_json(learner, 0), "text", mc_experts_json(learner, 1)));
  }
  return object;
}
