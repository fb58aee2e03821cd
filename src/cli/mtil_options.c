#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/mtil.h"
#include "cli/preset.h"
#include "moeclip/benchmark_data.h"

#define AT(field) offsetof(mc_mtil_options, field)
#define HUGE_NUMBER 9e15
#define FORMAT "moeclip mtil preset 1"

/* --- the published settings (method.md sections 3 to 5) ---------------------------------------------------------- */

static const char *const order_1[] = {"Aircraft", "Caltech101", "CIFAR100",  "DTD",          "EuroSAT", "Flowers",
                                      "Food",     "MNIST",      "OxfordPet", "StanfordCars", "SUN397"};
static const char *const order_2[] = {"StanfordCars", "Food",       "MNIST", "OxfordPet", "Flowers", "SUN397",
                                      "Aircraft",     "Caltech101", "DTD",   "EuroSAT",   "CIFAR100"};
/* By the sets of order I. */
static const double full_rates[] = {5e-3, 1e-3, 5e-3, 1e-3, 1e-4, 1e-3, 1e-3, 1e-4, 1e-3, 1e-3, 1e-3};
static const double few_rates[] = {8e-3, 5e-4, 2e-4, 5e-3, 1e-3, 1e-3, 1e-2, 1e-4, 1e-2, 1e-2, 1e-2};
enum { N_SETS = sizeof order_1 / sizeof order_1[0] };

/* As published for X-TAIL: without CIFAR100, whose classes overlap with other sets'. */
static const char *const order_x[] = {"Aircraft", "Caltech101", "DTD",          "EuroSAT", "Flowers", "Food",
                                      "MNIST",    "OxfordPet",  "StanfordCars", "SUN397",  NULL};

static const struct {
  const char *name;
  const char *const *order; /* of N_SETS, or with a NULL at the end */
  bool few;
  int shots;
} built_in[] = {{"order1-full", order_1, false, 0}, {"order1-few", order_1, true, 5}, {"order2-full", order_2, false, 0},
                {"order2-few", order_2, true, 5},   {"xtail-16", order_x, true, 16},  {"xtail-full", order_x, false, 0}};
#define PRESET_NAMES "order1-full, order1-few, order2-full, order2-few, xtail-16, xtail-full"

static const char *const preset_names[] = {"order1-full", "order1-few", "order2-full", "order2-few",
                                           "xtail-16",    "xtail-full", NULL};

static const mc_preset_field fields[] = {
    {"iterations", MC_OPT_LONG, "iterations", AT(learn.task.iterations)},
    {"batch", MC_OPT_INT, "batch", AT(learn.task.batch)},
    {"shots", MC_OPT_LONG, "shots", AT(learn.shots)},
    {"weight_decay", MC_OPT_REAL, "weight-decay", AT(learn.task.weight_decay)},
    {"smoothing", MC_OPT_REAL, "smoothing", AT(learn.task.label_smoothing)},
    {"warmup", MC_OPT_LONG, "warmup", AT(learn.task.warmup)},
    {"dropout", MC_OPT_REAL, "dropout", AT(learn.task.dropout)},
    {"balance", MC_OPT_REAL, "balance", AT(learn.task.balance)},
    {"experts", MC_OPT_INT, "experts", AT(learn.learner.n_experts)},
    {"top_k", MC_OPT_INT, "top-k", AT(learn.learner.top_k)},
    {"bottleneck", MC_OPT_INT, "bottleneck", AT(learn.learner.bottleneck)},
    {"freeze", MC_OPT_INT, "freeze", AT(learn.learner.freeze_per_task)},
    {"text_adapters", MC_OPT_FLAG, "image-only", AT(learn.learner.text_adapters)},
    {"shared_router", MC_OPT_FLAG, "shared-router", AT(learn.learner.shared_router)},
    {"selector", MC_OPT_FLAG, "no-selector", AT(learn.learner.use_selector)},
    {"selector_hidden", MC_OPT_INT, "selector-hidden", AT(learn.learner.selector_hidden)},
    {"selector_iterations", MC_OPT_LONG, "selector-iterations", AT(learn.task.selector_iterations)},
    {"selector_learning_rate", MC_OPT_REAL, "selector-lr", AT(learn.task.selector_learning_rate)},
    {"reference_iterations", MC_OPT_LONG, "reference-iterations", AT(learn.reference_iterations)},
    {"threshold", MC_OPT_REAL, "threshold", AT(learn.task.threshold)},
    {"batch_routing", MC_OPT_FLAG, "batch-routing", AT(learn.evaluate.selection)},
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static double published_rate(const char *set, bool few) {
  for (int i = 0; i < N_SETS; i++) {
    if (strcmp(order_1[i], set) == 0) return few ? few_rates[i] : full_rates[i];
  }
  return 1e-3;
}

static json_t *built_in_json(size_t k) {
  mc_mtil_options o = {0};
  bool few = built_in[k].few;
  moeclip_learner_options_defaults(&o.learn.learner);
  moeclip_task_options_defaults(&o.learn.task);
  o.learn.task.iterations = few ? 500 : 1000;
  o.learn.task.warmup = 100;
  o.learn.task.selector_learning_rate = few ? 0.003 : 0.01;
  o.learn.task.threshold = few ? 0.06 : 0.0655;
  o.learn.reference_iterations = 1000;
  o.learn.shots = built_in[k].shots;
  json_t *sets = json_array();
  for (int i = 0; i < N_SETS && built_in[k].order[i]; i++) {
    const char *name = built_in[k].order[i];
    mc_json_append(&sets, json_pack("{s:s, s:f}", "name", name, "learning_rate", published_rate(name, few)));
  }
  json_t *root = json_pack("{s:s, s:s, s:o, s:s}", "format", FORMAT, "name", built_in[k].name, "sets", sets, "reference",
                           "TinyImageNet");
  mc_preset_put(&root, fields, N_FIELDS, &o);
  return root;
}

/* --- the plan ---------------------------------------------------------------------------------------------------- */

static moeclip_code take_sets(mc_mtil_plan *plan, const json_t *root, const char *name, moeclip_error *err) {
  const json_t *sets = json_object_get(root, "sets"), *one;
  size_t i;
  if (!json_is_array(sets) || json_array_size(sets) == 0 || json_array_size(sets) > MC_MTIL_MOST_SETS) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: \"sets\" must be a list of 1 to %d objects with name and learning_rate", name,
                   MC_MTIL_MOST_SETS);
  }
  json_array_foreach(sets, i, one) {
    const char *set = json_string_value(json_object_get(one, "name"));
    const json_t *rate = json_object_get(one, "learning_rate");
    const moeclip_benchmark_set *known = set ? moeclip_benchmark_by_name(set) : NULL;
    if (!known || !json_is_number(rate) || !(json_number_value(rate) > 0) || json_number_value(rate) > 1e6) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: sets[%zu]: %s%s%s", name, i,
                     known ? "learning_rate must be a number above 0" : "\"",
                     known ? ""
                     : set ? set
                           : "",
                     known ? "" : "\" is none of the data sets; `moeclip data` lists them");
    }
    for (size_t k = 0; k < plan->n_sets; k++) {
      if (strcmp(plan->sets[k].name, known->name) == 0) {
        return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: %s is listed twice", name, known->name);
      }
    }
    snprintf(plan->sets[plan->n_sets].name, sizeof plan->sets[0].name, "%s", known->name);
    plan->sets[plan->n_sets++].rate = json_number_value(rate);
  }
  const char *reference = json_string_value(json_object_get(root, "reference"));
  snprintf(plan->reference, sizeof plan->reference, "%s", reference ? reference : "");
  const char *is = json_string_value(json_object_get(root, "name"));
  snprintf(plan->preset_name, sizeof plan->preset_name, "%s", is ? is : name);
  return MOECLIP_OK;
}

/* --set: pictures of the user's own, by the published settings. */
static moeclip_code take_own(mc_mtil_plan *plan, moeclip_error *err) {
  const mc_list *own = &plan->o.own;
  if (own->n > MC_MTIL_MOST_SETS)
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--set: at most %d are possible", MC_MTIL_MOST_SETS);
  for (size_t i = 0; i < own->n; i++) {
    mc_named_path p = mc_named_path_of(own->items[i]);
    const char *name = p.name;
    size_t n = p.n_name;
    if (!name) {
      n = strlen(p.path);
      while (n > 1 && p.path[n - 1] == '/') n--;
      for (name = p.path + n; name > p.path && name[-1] != '/';) name--;
      n -= (size_t)(name - p.path);
    }
    plan->sets[i] = (mc_mtil_set){.own = own->items[i], .rate = 1e-3};
    snprintf(plan->sets[i].name, sizeof plan->sets[i].name, "%.*s", (int)n, name);
  }
  plan->n_sets = own->n;
  snprintf(plan->preset_name, sizeof plan->preset_name, "own pictures");
  if (plan->o.checkpoints) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--set and --checkpoints exclude each other");
  return MOECLIP_OK;
}

/* --sets A,B,C: keeps those, in the preset's order. */
static moeclip_code keep_sets(mc_mtil_plan *plan, const char *list, moeclip_error *err) {
  bool keep[MC_MTIL_MOST_SETS] = {false};
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ","), k = 0;
    while (k < plan->n_sets && (strlen(plan->sets[k].name) != n || strncasecmp(plan->sets[k].name, at, n) != 0)) k++;
    if (k == plan->n_sets) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                     "--sets: \"%.*s\" is not among the preset's data sets; --print-preset lists them",
                     (int)(n > 100 ? 100 : n), at);
    }
    keep[k] = true;
    at += n + (at[n] == ',');
  }
  size_t n = 0;
  for (size_t k = 0; k < plan->n_sets; k++) {
    if (keep[k]) plan->sets[n++] = plan->sets[k];
  }
  plan->n_sets = n;
  return n ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--sets names no data set");
}

static moeclip_code make(const mc_args *args, mc_mtil_plan *plan, moeclip_error *err) {
  static const char *const others[] = {"format", "name", "sets", "reference", NULL};
  mc_mtil_options *o = &plan->o;
  json_t *root = NULL;
  MC_TRY(mc_preset_find(o->preset, preset_names, built_in_json, FORMAT, &root, err));
  moeclip_code code = mc_preset_take(root, fields, N_FIELDS, others, args, o, o->preset, err);
  if (code == MOECLIP_OK) code = take_sets(plan, root, o->preset, err);
  json_decref(root);
  memcpy(plan->all, plan->sets, sizeof plan->all);
  plan->n_all = plan->n_sets;
  if (code == MOECLIP_OK && o->own.n) code = take_own(plan, err);
  if (code == MOECLIP_OK && o->sets) code = keep_sets(plan, o->sets, err);
  for (size_t i = 0; !isnan(o->rate) && i < plan->n_sets; i++) plan->sets[i].rate = o->rate;
  /* The published thresholds are for AlexNet's features; with the tower's own tokens they would mean something else. */
  bool calibrated = !o->learn.files.alexnet || mc_args_given(args, "false-alarms");
  if (calibrated && !mc_args_given(args, "threshold")) o->learn.task.threshold = NAN;
  if (o->as_published) o->learn.evaluate.selection = MOECLIP_SELECT_PER_BATCH;
  if (code == MOECLIP_OK && o->learn.learner.top_k > o->learn.learner.n_experts) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT, "top-k %d of %d experts", o->learn.learner.top_k,
                   o->learn.learner.n_experts);
  }
  return code;
}

int mc_mtil_plan_make(const mc_args *args, mc_mtil_plan *plan) {
  const mc_command *c = args->command;
  moeclip_error err = {0};
  *plan = (mc_mtil_plan){.o = *(const mc_mtil_options *)args->options, .across = c == &mc_command_bench_xtail};
  const mc_mtil_options *o = &plan->o;
  if (!o->print_preset) {
    if (!o->data && o->own.n == 0)
      return mc_usage_error(c, "--data is missing: the folder that the data sets were unpacked in; or --set");
    if (!o->learn.files.model) return mc_usage_error(c, "--model is missing: CLIP's weights");
    if (!o->out) return mc_usage_error(c, "--out is missing: a folder for the results");
    if (o->eval_only != (o->checkpoints != NULL)) {
      return mc_usage_error(
          c, o->eval_only ? "--eval-only needs --checkpoints: what to evaluate"
                          : "--checkpoints needs --eval-only: released checkpoints are evaluated, not trained on");
    }
  }
  return make(args, plan, &err) == MOECLIP_OK ? MC_EXIT_OK : mc_report(&err);
}

json_t *mc_mtil_plan_json(const mc_mtil_plan *plan) {
  json_t *sets = json_array();
  for (size_t i = 0; i < plan->n_sets; i++) {
    mc_json_append(&sets, json_pack("{s:s, s:f}", "name", plan->sets[i].name, "learning_rate", plan->sets[i].rate));
  }
  json_t *root = json_pack("{s:s, s:s, s:o, s:s?}", "format", FORMAT, "name", plan->preset_name, "sets", sets, "reference",
                           *plan->reference ? plan->reference : NULL);
  mc_preset_put(&root, fields, N_FIELDS, &plan->o);
  return root;
}

/* What a run's results belong to: a setting's numbers are not the other's. */
json_t *mc_mtil_settings_json(const mc_mtil_plan *plan) {
  json_t *root = mc_mtil_plan_json(plan);
  if (root && plan->across) {
    bool within = plan->o.learn.evaluate.within_task;
    json_object_set_new(root, "setting", json_string(within ? "xtail, within the task" : "xtail"));
  }
  return root;
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static void defaults(void *p) {
  mc_mtil_options *o = p;
  moeclip_model_options model;
  moeclip_model_options_defaults(&model);
  o->learn.files.activation = (int)model.activation;
  moeclip_learner_options_defaults(&o->learn.learner);
  moeclip_task_options_defaults(&o->learn.task);
  moeclip_evaluate_options_defaults(&o->learn.evaluate);
  mc_data_choice_defaults(&o->learn.data);
  o->learn.reference_iterations = 1000;
  o->learn.measure = 1;
  o->preset = "order1-full";
  o->rate = NAN;
}

static void xtail_defaults(void *p) {
  defaults(p);
  ((mc_mtil_options *)p)->preset = "xtail-16";
}

#define PRESET "the preset's"

/* `bench mtil` has all but the first N_OF_XTAIL_ALONE of them, `bench xtail` all but the last N_OF_MTIL_ALONE. */
static const mc_option options[] = {
    {MC_OPT_HEADING, "The setting", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_FLAG, "within-task", NULL,
     "a picture that the selector gives to a task is classified over that task's classes, as `moeclip classify` does "
     "without --labels; else over the union like all others",
     AT(learn.evaluate.within_task), 1, 0, 0, 0},

    {MC_OPT_HEADING, "Files", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "data", "DIR",
     "the folder that the data sets were unpacked in; `moeclip data DIR` tells what is there. Needed, or --set",
     AT(data), 0, 0, 0, 0},
    {MC_OPT_LIST, "set", "[NAME=]PATH",
     "pictures of your own, as for `moeclip learn`, in place of the preset's data sets. May be given several times",
     AT(own), 0, 0, 0, 0},
    {MC_OPT_LIST, "heldout", "[NAME=]PATH",
     "pictures of your own that are evaluated in every row and never learned. May be given several times",
     AT(learn.heldout), 0, 0, 0, 0},
    {MC_OPT_LIST, "template", "TEXT", "a prompt with {} for the class names of --set and --heldout. May be given several times",
     AT(learn.templates), 0, 0, 0, "a photo of a {}."},
    {MC_OPT_LIST, "classes", "[NAME=]FILE",
     "class names, one a line in order of label, for a --set that has only numbers", AT(learn.data.classes), 0, 0, 0,
     0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt. Needed", AT(learn.files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "out", "FOLDER",
     "for state.safetensors, matrix.json, matrix.txt, matrix.svg, results.csv, table.txt and report.html. Needed",
     AT(out), 0, 0, 0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "torchvision's AlexNet weights, for the selector of the paper",
     AT(learn.files.alexnet), 0, 0, 0,
     "the selector looks at the image tower's own tokens, and its thresholds are calibrated"},
    {MC_OPT_TEXT, "reference", "PATH|none", "pictures of no task, for number 0 of the selector, and for zscl", AT(reference),
     0, 0, 0, "TinyImageNet, when it is in --data"},

    {MC_OPT_HEADING, "What is run", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "preset", "NAME|FILE", "the settings: " PRESET_NAMES ", or a file that --print-preset printed",
     AT(preset), 0, 0, 0, 0},
    {MC_OPT_FLAG, "print-preset", NULL, "print the settings that would be used, as JSON, and do nothing else",
     AT(print_preset), 1, 0, 0, 0},
    {MC_OPT_TEXT, "sets", "A,B,...", "of the preset's data sets, only these (in the preset's order)", AT(sets), 0, 0, 0,
     "all"},
    {MC_OPT_FLAG, "as-published", NULL,
     "the selector routes whole batches of 128 by their mean error, as the published code does (a picture's answer "
     "then depends on its "
     "neighbours)",
     AT(as_published), 1, 0, 0, 0},
    {MC_OPT_LONG, "max-train", "N", "learn from at most N pictures of each class", AT(learn.data.max_train), 1,
     HUGE_NUMBER, 0, "all pictures"},
    {MC_OPT_LONG, "max-test", "N", "evaluate on at most N pictures of each class", AT(learn.data.max_test), 1,
     HUGE_NUMBER, 0, "all pictures"},
    {MC_OPT_SEED, "seed", "N", "of everything random", AT(learn.learner.seed), 0, 0, 0, 0},

    {MC_OPT_HEADING, "In place of the preset's settings", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LONG, "iterations", "N", "optimizer steps a task (and one more, as published)", AT(learn.task.iterations),
     1, 1e12, 0, PRESET},
    {MC_OPT_INT, "batch", "N", "pictures a step", AT(learn.task.batch), 1, 1048576, 0, PRESET},
    {MC_OPT_LONG, "shots", "N", "few-shot: pictures of each class; 0: all", AT(learn.shots), 0, HUGE_NUMBER, 0, PRESET},
    {MC_OPT_REAL, "lr", "X", "one learning rate for all data sets", AT(rate), 1e-12, 1e6, 0, PRESET},
    {MC_OPT_REAL, "weight-decay", "X", "of AdamW", AT(learn.task.weight_decay), 0, 1e6, 0, PRESET},
    {MC_OPT_REAL, "smoothing", "X", "label smoothing, below 1", AT(learn.task.label_smoothing), 0, 0.999999, 0, PRESET},
    {MC_OPT_LONG, "warmup", "N", "steps until the learning rate is reached", AT(learn.task.warmup), 0, 1e12, 0, PRESET},
    {MC_OPT_REAL, "dropout", "X", "share of the experts' hidden units left out", AT(learn.task.dropout), 0, 0.999999, 0,
     PRESET},
    {MC_OPT_LONG, "selector-iterations", "N", "steps of a task's autoencoder", AT(learn.task.selector_iterations), 1,
     1e12, 0, PRESET},
    {MC_OPT_REAL, "selector-lr", "X", "learning rate of the autoencoders", AT(learn.task.selector_learning_rate), 1e-12,
     1e6, 0, PRESET},
    {MC_OPT_CHOICE, "selector", "auto|autoencoder|gaussian|prototypes",
     "what the task selector models a domain with: an autoencoder (the paper's), one gaussian, or prototypes: a mean "
     "for each class; auto: autoencoders with --alexnet, else gaussian", AT(learn.learner.selector), 0, 0,
     "auto|autoencoder|gaussian|prototypes", 0},
    {MC_OPT_INT, "selector-layer", "N",
     "block of the image tower whose tokens the selector sees, from 0; the number of blocks: what the tower makes of a "
     "picture in the end", AT(learn.learner.selector_layer), 0, 4096, 0, "chosen by kind and depth"},
    {MC_OPT_REAL, "false-alarms", "SHARE", "of a task's own pictures, that its selector may turn away",
     AT(learn.task.selector_false_alarms), 0, 0.5, 0, "1 % and a margin beyond it"},
    {MC_OPT_INT, "selector-hidden", "N", "hidden units of the autoencoders, or the most directions of the Gaussians", AT(learn.learner.selector_hidden), 1,
     65536, 0, PRESET},
    {MC_OPT_LONG, "reference-iterations", "N", "steps of the reference set's autoencoder",
     AT(learn.reference_iterations), 1, 1e12, 0, PRESET},
    {MC_OPT_REAL, "threshold", "X", "error above which the selector turns a picture away", AT(learn.task.threshold), 0,
     1e6, 0, "the preset's with --alexnet, else calibrated"},
    {MC_OPT_FLAG, "batch-routing", NULL, "as --as-published", AT(learn.evaluate.selection), 1, 0, 0, 0},

    {MC_OPT_HEADING, "Ablations of the paper", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_INT, "experts", "N", "experts of each block; 1 with --top-k 1 and --freeze 0: one plain adapter",
     AT(learn.learner.n_experts), 1, 4096, 0, PRESET},
    {MC_OPT_INT, "top-k", "N", "experts that work on one picture or text", AT(learn.learner.top_k), 1, 4096, 0, PRESET},
    {MC_OPT_INT, "bottleneck", "N", "hidden units of an expert", AT(learn.learner.bottleneck), 1, 65536, 0, PRESET},
    {MC_OPT_INT, "freeze", "N", "most used experts that a finished task freezes; 0: none",
     AT(learn.learner.freeze_per_task), 0, 4096, 0, PRESET},
    {MC_OPT_FLAG, "dynamic-experts", NULL,
     "start with top-k experts whatever --experts says, freeze all that a task trained, and add one at a time when "
     "those that there are do not suffice for a task: short probes of the training loss tell", AT(learn.learner.dynamic_experts), 1,
     0, 0, 0},
    {MC_OPT_REAL, "dynamic-margin", "SHARE", "of the training loss that one more expert must save in a probe",
     AT(learn.learner.dynamic_margin), 0, 0.999, 0, 0},
    {MC_OPT_LONG, "dynamic-probe", "N", "steps of a probe", AT(learn.learner.dynamic_probe), 10, 1000000000, 0, 0},
    {MC_OPT_FLAG, "image-only", NULL, "adapters in the image tower alone", AT(learn.learner.text_adapters), 0, 0, 0, 0},
    {MC_OPT_FLAG, "shared-router", NULL, "one router for all tasks", AT(learn.learner.shared_router), 1, 0, 0, 0},
    {MC_OPT_FLAG, "no-selector", NULL,
     "the task is given: pictures of a learned data set go to its task, others to the untouched CLIP",
     AT(learn.learner.use_selector), 0, 0, 0, 0},
    {MC_OPT_REAL, "balance", "X", "coefficient of the load-balance term in the loss", AT(learn.task.balance), 0, 1e6, 0,
     PRESET},
    {MC_OPT_HEADING, "Other methods than the paper's", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "method", MC_METHODS,
     "finetune: the continual fine-tuning baseline; analytic: ridge regression on the frozen CLIP's features, fused with "
     "zero-shot; `moeclip learn --help` explains the others", AT(learn.learner.mode), 0, 0, MC_METHODS, 0},
    {MC_OPT_CHOICE, "mode", MC_METHODS, "the older name of --method", AT(learn.learner.mode), 0, 0, MC_METHODS, 0},
    {MC_OPT_CHOICE, "ridge-form", MC_RIDGE_FORMS, "of the analytic method: random projection, or a kernel",
     AT(learn.learner.ridge_form), 0, 0, MC_RIDGE_FORMS, 0},
    {MC_OPT_INT, "ridge-hidden", "N", "width of the projection", AT(learn.learner.ridge_hidden), 1, 32768, 0, 0},
    {MC_OPT_REAL, "ridge", "X", "lambda, of the regression", AT(learn.learner.ridge), 1e-12, 1e12, 0,
     "0.1 for the projection, 0.001 for the kernel"},
    {MC_OPT_REAL, "ridge-gamma", "X", "of the kernel exp(-gamma |x - y|^2)", AT(learn.learner.ridge_gamma), 1e-9, 1e9,
     0, 0},
    {MC_OPT_REAL, "ridge-fusion", "X", "weight of the regression in an answer; zero-shot has the rest",
     AT(learn.learner.ridge_fusion), 0, 1, 0, 0},
    {MC_OPT_LONG, "ridge-pictures", "N", "the most pictures that the kernel form keeps",
     AT(learn.learner.ridge_pictures), 1, 65536, 0, 0},
    MC_BASELINE_OPTIONS(AT(learn.learner)),

    {MC_OPT_HEADING, "Running", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu", "of CLIP's blocks", AT(learn.files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(learn.files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(learn.files.n_threads), 1, 4096, 0,
     "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(learn.task.loader_threads), 1, 4096, 0,
     "as many as compute"},
    {MC_OPT_MEBI, "memory", "MiB", "for the activations kept for one backward pass", AT(learn.task.kept_bytes), 1,
     16777216, 0, "automatic"},
    {MC_OPT_REAL, "checkpoint-seconds", "S", "between checkpoints of the unfinished task",
     AT(learn.task.checkpoint_seconds), 0, 1e6, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print what matrix.json holds instead of text, once at the end", AT(learn.json), 1, 0,
     0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", AT(learn.quiet), 1, 0, 0, 0},

    {MC_OPT_HEADING, "Released checkpoints", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "checkpoints", "DIR",
     "released checkpoints: {DataSet}.pth and {DataSet}_autochooser.pth; with --eval-only", AT(checkpoints), 0, 0, 0,
     0},
    {MC_OPT_FLAG, "eval-only", NULL, "evaluate --checkpoints, and train nothing", AT(eval_only), 1, 0, 0, 0},
};
enum { N_OPTIONS = sizeof options / sizeof options[0], N_OF_MTIL_ALONE = 3, N_OF_XTAIL_ALONE = 2 };

static const char about[] =
    "Runs the paper's multi-domain benchmark: learns the data sets one after another (for each first its autoencoder "
    "of the selector, then "
    "the experts and its router), evaluates all of them after each one, and writes the accuracy matrix with Transfer, "
    "Average and Last, "
    "beside the published results.\n\nA run that was stopped or killed goes on when the same command is given again, "
    "from its last "
    "checkpoint within a task, and ends with the same results.\n\nClassifying takes the class of the largest cosine, "
    "so the published "
    "code's fixed logit scale of 100 changes nothing here; `moeclip classify` has --logit-scale for its probabilities.";

const mc_command mc_command_bench_mtil = {
    .name = "bench mtil",
    .summary = "the paper's multi-domain benchmark",
    .usage = "--data DIR --model FILE --out FOLDER [options]",
    .about = about,
    .examples =
        "  moeclip bench mtil --data ~/data --model ViT-B-16.pt --alexnet alexnet.pth --out runs/order1\n"
        "  moeclip bench mtil --preset order1-few --print-preset > mine.json\n"
        "  moeclip bench mtil --data ~/data --model ViT-B-16.pt --out runs/mine --preset mine.json --sets "
        "DTD,Flowers,MNIST\n"
        "  moeclip bench mtil --data ~/data --model ViT-B-16.pt --alexnet alexnet.pth --out runs/released \\\n"
        "    --checkpoints full_shot_order1_1000iters --eval-only --as-published\n",
    .options = options + N_OF_XTAIL_ALONE,
    .n_options = N_OPTIONS - N_OF_XTAIL_ALONE,
    .options_size = sizeof(mc_mtil_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 0,
    .positional = "no argument",
    .run = mc_mtil_run,
    .shared = 1,
};

static const char about_xtail[] =
    "Runs the cross-domain task-agnostic setting of Xu et al. (NeurIPS 2024): data sets are learned one after another as "
    "in bench mtil, and each test picture, of learned data sets and of those still to come, is classified over the union "
    "of all data sets' class names, without a hint of where it is from. Each class has its own data set's prompts; a name "
    "that two data sets share is one class. Writes the accuracy matrix with Transfer, Average and Last.\n\nA run that was "
    "stopped or killed goes on when the same command is given again, and ends with the same results.";

const mc_command mc_command_bench_xtail = {
    .name = "bench xtail",
    .summary = "the cross-domain benchmark: all data sets' classes at once, no hint of the domain",
    .usage = "--data DIR --model FILE --out FOLDER [options]",
    .about = about_xtail,
    .examples =
        "  moeclip bench xtail --data ~/data --model ViT-B-16.pt --method analytic --out runs/xtail-analytic\n"
        "  moeclip bench xtail --data ~/data --model ViT-B-16.pt --alexnet alexnet.pth --out runs/xtail-moe\n"
        "  moeclip bench xtail --set birds/ --set digits=mnist/ --model clip.pt --method analytic --out runs/mine\n",
    .options = options,
    .n_options = N_OPTIONS - N_OF_MTIL_ALONE,
    .options_size = sizeof(mc_mtil_options),
    .defaults = xtail_defaults,
    .min_positional = 0,
    .max_positional = 0,
    .positional = "no argument",
    .run = mc_mtil_run,
    .shared = 1,
};
