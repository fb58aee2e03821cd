#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/cil.h"
#include "cli/learn_options.h"
#include "cli/preset.h"
#include "moeclip/benchmark_data.h"

#define AT(field) offsetof(mc_cil_options, field)
#define HUGE_NUMBER 9e15
#define FORMAT "moeclip cil preset 1"

/* --- the published settings (method.md section 6) ---------------------------------------------------------------- */

static const struct {
  const char *name, *set, *order;
  int base, increment, batch;
} built_in[] = {{"cifar100-10", "CIFAR100", "cifar100", 10, 10, 128},
                {"cifar100-20", "CIFAR100", "cifar100", 5, 5, 128},
                {"cifar100-50", "CIFAR100", "cifar100", 2, 2, 64},
                {"tinyimagenet-5", "TinyImageNet", "tinyimagenet", 100, 20, 64},
                {"tinyimagenet-10", "TinyImageNet", "tinyimagenet", 100, 10, 64},
                {"tinyimagenet-20", "TinyImageNet", "tinyimagenet", 100, 5, 64},
                {"imagenet100-10", "imagenet100", "imagenet100", 10, 10, 128}};
#define PRESET_NAMES \
  "cifar100-10, cifar100-20, cifar100-50, tinyimagenet-5, tinyimagenet-10, tinyimagenet-20, imagenet100-10"

static const char *const preset_names[] = {"cifar100-10",     "cifar100-20",     "cifar100-50",    "tinyimagenet-5",
                                           "tinyimagenet-10", "tinyimagenet-20", "imagenet100-10", NULL};

static const mc_preset_field fields[] = {
    {"base", MC_OPT_LONG, "base", AT(base)},
    {"increment", MC_OPT_LONG, "increment", AT(increment)},
    {"epochs", MC_OPT_LONG, "epochs", AT(task.epochs)},
    {"batch", MC_OPT_INT, "batch", AT(task.batch)},
    {"learning_rate", MC_OPT_REAL, "lr", AT(task.learning_rate)},
    {"warmup", MC_OPT_LONG, "warmup", AT(task.warmup)},
    {"weight_decay", MC_OPT_REAL, "weight-decay", AT(task.weight_decay)},
    {"smoothing", MC_OPT_REAL, "smoothing", AT(task.label_smoothing)},
    {"dropout", MC_OPT_REAL, "dropout", AT(task.dropout)},
    {"balance", MC_OPT_REAL, "balance", AT(task.balance)},
    {"experts", MC_OPT_INT, "experts", AT(learner.n_experts)},
    {"top_k", MC_OPT_INT, "top-k", AT(learner.top_k)},
    {"bottleneck", MC_OPT_INT, "bottleneck", AT(learner.bottleneck)},
    {"text_adapters", MC_OPT_FLAG, "image-only", AT(learner.text_adapters)},
    {"gate_noise_at_test", MC_OPT_FLAG, "gate-noise", AT(evaluate.gate_noise)},
    {"training_crop_at_test", MC_OPT_FLAG, "training-crop", AT(evaluate.training_crop)},
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static void published_defaults(mc_cil_options *o) {
  moeclip_learner_options_defaults(&o->learner);
  moeclip_task_options_defaults(&o->task);
  moeclip_evaluate_options_defaults(&o->evaluate);
  o->learner.n_experts = o->learner.top_k = 2;
  o->learner.freeze_per_task = 0;
  o->learner.shared_router = 1;
  o->learner.use_selector = 0;
  o->task.epochs = 1;
  o->task.batch = 128;
  o->task.warmup = 30;
  o->task.label_smoothing = 0;
  o->base = o->increment = 10;
}

static json_t *built_in_json(size_t k) {
  mc_cil_options o = {0};
  published_defaults(&o);
  o.base = built_in[k].base;
  o.increment = built_in[k].increment;
  o.task.batch = built_in[k].batch;
  json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", FORMAT, "name", built_in[k].name, "set",
                           built_in[k].set, "order", built_in[k].order, "template", "a bad photo of a {}.");
  mc_preset_put(&root, fields, N_FIELDS, &o);
  return root;
}

/* --- the plan ---------------------------------------------------------------------------------------------------- */

static moeclip_code take_order(mc_cil_plan *plan, const json_t *order, const char *name, moeclip_error *err) {
  const json_t *label;
  size_t i, n = json_array_size(order);
  if (json_is_string(order)) {
    snprintf(plan->order_name, sizeof plan->order_name, "%s", json_string_value(order));
    return MOECLIP_OK;
  }
  if (json_is_null(order) || !order) return MOECLIP_OK;
  if (n == 0 || n > MC_CIL_MOST_CLASSES) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: \"order\" must be the name of an order, null, or a list of 1 to %d labels", name,
                   MC_CIL_MOST_CLASSES);
  }
  plan->order = mc_alloc(n, sizeof *plan->order);
  if (!plan->order) return mc_fail_memory(err, n * sizeof *plan->order, "a class order");
  json_array_foreach(order, i, label) {
    if (!json_is_integer(label) || json_integer_value(label) < 0 || json_integer_value(label) >= MC_CIL_MOST_CLASSES) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: order[%zu] is no label", name, i);
    }
    plan->order[i] = (int)json_integer_value(label);
  }
  plan->n_order = n;
  return MOECLIP_OK;
}

static moeclip_code copy_text(const json_t *root, const char *key, bool needed, const char *name, char *out,
                              size_t n_out, moeclip_error *err) {
  const json_t *value = json_object_get(root, key);
  const char *text = json_string_value(value);
  if ((value && !json_is_null(value) && !text) || (needed && !text) || (text && strlen(text) >= n_out)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" must be a text of less than %zu bytes", name, key, n_out);
  }
  if (text) snprintf(out, n_out, "%s", text);
  return MOECLIP_OK;
}

static moeclip_code take(mc_cil_plan *plan, const json_t *root, const mc_args *args, moeclip_error *err) {
  static const char *const others[] = {"format", "name", "set", "order", "template", NULL};
  const char *name = plan->o.preset;
  MC_TRY(mc_preset_take(root, fields, N_FIELDS, others, args, &plan->o, name, err));
  MC_TRY(copy_text(root, "name", false, name, plan->name, sizeof plan->name, err));
  MC_TRY(copy_text(root, "set", false, name, plan->set, sizeof plan->set, err));
  MC_TRY(copy_text(root, "template", true, name, plan->template, sizeof plan->template, err));
  if (plan->o.sets.n == 0) return take_order(plan, json_object_get(root, "order"), name, err);
  *plan->set = 0; /* own pictures have no published order, and no published results */
  snprintf(plan->name, sizeof plan->name, "own pictures");
  return MOECLIP_OK;
}

static moeclip_code make(const mc_args *args, mc_cil_plan *plan, moeclip_error *err) {
  mc_cil_options *o = &plan->o;
  json_t *root = NULL;
  MC_TRY(mc_preset_find(o->preset, preset_names, built_in_json, FORMAT, &root, err));
  moeclip_code code = take(plan, root, args, err);
  json_decref(root);
  MC_TRY(code);
  if (o->template) snprintf(plan->template, sizeof plan->template, "%.500s", o->template);
  if (!strstr(plan->template, "{}")) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the prompt template \"%s\" has no {} for the class name",
                   plan->template);
  }
  if (o->as_published) o->evaluate.gate_noise = o->evaluate.training_crop = 1;
  if (o->learner.top_k > o->learner.n_experts) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "top-k %d of %d experts", o->learner.top_k, o->learner.n_experts);
  }
  return MOECLIP_OK;
}

int mc_cil_plan_make(const mc_args *args, mc_cil_plan *plan) {
  const mc_command *c = args->command;
  moeclip_error err = {0};
  *plan = (mc_cil_plan){.o = *(const mc_cil_options *)args->options};
  const mc_cil_options *o = &plan->o;
  if (!o->print_preset) {
    if (!o->data && o->sets.n == 0)
      return mc_usage_error(c, "--data is missing: the folder that the data set was unpacked in; or --set");
    if (o->data && o->sets.n) return mc_usage_error(c, "--data and --set exclude each other");
    if (!o->files.model) return mc_usage_error(c, "--model is missing: CLIP's weights");
    if (!o->out) return mc_usage_error(c, "--out is missing: a folder for the results");
  }
  return make(args, plan, &err) == MOECLIP_OK ? MC_EXIT_OK : mc_report(&err);
}

void mc_cil_plan_clear(mc_cil_plan *plan) { free(plan->order); }

json_t *mc_cil_plan_json(const mc_cil_plan *plan) {
  json_t *order = *plan->order_name ? json_string(plan->order_name) : json_null();
  if (plan->order) {
    order = json_array();
    for (size_t i = 0; i < plan->n_order; i++) mc_json_append(&order, json_integer(plan->order[i]));
  }
  json_t *root = json_pack("{s:s, s:s, s:s?, s:o, s:s}", "format", FORMAT, "name", plan->name, "set",
                           *plan->set ? plan->set : NULL, "order", order, "template", plan->template);
  mc_preset_put(&root, fields, N_FIELDS, &plan->o);
  return root;
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static void defaults(void *p) {
  mc_cil_options *o = p;
  moeclip_model_options model;
  moeclip_model_options_defaults(&model);
  o->files.activation = (int)model.activation;
  published_defaults(o);
  mc_data_choice_defaults(&o->choice);
  o->preset = "cifar100-10";
}

#define PRESET "the preset's"

static const mc_option options[] = {
    {MC_OPT_HEADING, "Files", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "data", "DIR",
     "the folder that the preset's data set was unpacked in (imagenet100: DIR/imagenet100 with train/ and val/). "
     "Needed, or --set",
     AT(data), 0, 0, 0, 0},
    {MC_OPT_LIST, "set", "[NAME=]PATH",
     "pictures of your own, as for `moeclip learn`. May be given several times: all their classes are learned, in this "
     "order",
     AT(sets), 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt. Needed", AT(files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "reference", "PATH", "pictures of no task, for --method zscl", AT(reference), 0, 0, 0, 0},
    {MC_OPT_TEXT, "out", "FOLDER",
     "for state.safetensors, results.json, results.csv, table.txt and report.html. Needed", AT(out), 0, 0, 0, 0},

    {MC_OPT_HEADING, "What is run", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "preset", "NAME|FILE", "the settings: " PRESET_NAMES ", or a file that --print-preset printed",
     AT(preset), 0, 0, 0, 0},
    {MC_OPT_FLAG, "print-preset", NULL, "print the settings that would be used, as JSON, and do nothing else",
     AT(print_preset), 1, 0, 0, 0},
    {MC_OPT_FLAG, "as-published", NULL, "both of the next two, as in the published code", AT(as_published), 1, 0, 0, 0},
    {MC_OPT_FLAG, "gate-noise", NULL, "the routers' noise stays on in the test", AT(evaluate.gate_noise), 1, 0, 0, 0},
    {MC_OPT_FLAG, "training-crop", NULL, "the test sees random crops, as training does", AT(evaluate.training_crop), 1,
     0, 0, 0},
    {MC_OPT_LONG, "max-train", "N", "learn from at most N pictures of each class", AT(choice.max_train), 1, HUGE_NUMBER,
     0, "all pictures"},
    {MC_OPT_LONG, "max-test", "N", "evaluate on at most N pictures of each class", AT(choice.max_test), 1, HUGE_NUMBER,
     0, "all pictures"},
    {MC_OPT_LIST, "classes", "[NAME=]FILE",
     "class names, one a line in order of label, for a --set that has only numbers", AT(choice.classes), 0, 0, 0, 0},
    {MC_OPT_SEED, "seed", "N", "of everything random", AT(learner.seed), 0, 0, 0, 0},

    {MC_OPT_HEADING, "In place of the preset's settings", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LONG, "base", "N", "classes of the first step", AT(base), 2, MC_CIL_MOST_CLASSES, 0, PRESET},
    {MC_OPT_LONG, "increment", "N", "classes of each further step", AT(increment), 2, MC_CIL_MOST_CLASSES, 0, PRESET},
    {MC_OPT_TEXT, "template", "TEXT", "the prompt, with {} for the class name", AT(template), 0, 0, 0, PRESET},
    {MC_OPT_LONG, "epochs", "N", "passes over a step's pictures", AT(task.epochs), 1, 1e9, 0, PRESET},
    {MC_OPT_INT, "batch", "N", "pictures an optimizer step", AT(task.batch), 1, 1048576, 0, PRESET},
    {MC_OPT_REAL, "lr", "X", "learning rate", AT(task.learning_rate), 1e-12, 1e6, 0, PRESET},
    {MC_OPT_LONG, "warmup", "N", "optimizer steps until it is reached", AT(task.warmup), 0, 1e12, 0, PRESET},
    {MC_OPT_REAL, "weight-decay", "X", "of AdamW", AT(task.weight_decay), 0, 1e6, 0, PRESET},
    {MC_OPT_REAL, "smoothing", "X", "label smoothing, below 1", AT(task.label_smoothing), 0, 0.999999, 0, PRESET},
    {MC_OPT_REAL, "dropout", "X", "share of the experts' hidden units left out", AT(task.dropout), 0, 0.999999, 0,
     PRESET},
    {MC_OPT_REAL, "balance", "X", "coefficient of the load-balance term in the loss", AT(task.balance), 0, 1e6, 0,
     PRESET},
    {MC_OPT_INT, "experts", "N", "experts of each block", AT(learner.n_experts), 1, 4096, 0, PRESET},
    {MC_OPT_INT, "top-k", "N", "experts that work on one picture or text", AT(learner.top_k), 1, 4096, 0, PRESET},
    {MC_OPT_INT, "bottleneck", "N", "hidden units of an expert", AT(learner.bottleneck), 1, 65536, 0, PRESET},
    {MC_OPT_FLAG, "image-only", NULL, "adapters in the image tower alone", AT(learner.text_adapters), 0, 0, 0, 0},

    {MC_OPT_HEADING, "Other methods than the paper's", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "method", MC_METHODS,
     "finetune: all of CLIP's weights; analytic: ridge regression on the frozen CLIP's features, fused with zero-shot; "
     "`moeclip learn --help` explains the others",
     AT(learner.mode), 0, 0, MC_METHODS, 0},
    {MC_OPT_CHOICE, "ridge-form", MC_RIDGE_FORMS, "of the analytic method: random projection, or a kernel",
     AT(learner.ridge_form), 0, 0, MC_RIDGE_FORMS, 0},
    {MC_OPT_INT, "ridge-hidden", "N", "width of the projection", AT(learner.ridge_hidden), 1, 32768, 0, 0},
    {MC_OPT_REAL, "ridge", "X", "lambda, of the regression", AT(learner.ridge), 1e-12, 1e12, 0,
     "0.1 for the projection, 0.001 for the kernel"},
    {MC_OPT_REAL, "ridge-gamma", "X", "of the kernel exp(-gamma |x - y|^2)", AT(learner.ridge_gamma), 1e-9, 1e9, 0, 0},
    {MC_OPT_REAL, "ridge-fusion", "X", "weight of the regression in an answer; zero-shot has the rest",
     AT(learner.ridge_fusion), 0, 1, 0, 0},
    {MC_OPT_LONG, "ridge-pictures", "N", "the most pictures that the kernel form keeps", AT(learner.ridge_pictures), 1,
     65536, 0, 0},
    MC_BASELINE_OPTIONS(AT(learner)),

    {MC_OPT_HEADING, "Running", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu", "of CLIP's blocks", AT(files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(task.loader_threads), 1, 4096, 0,
     "as many as compute"},
    {MC_OPT_MEBI, "memory", "MiB", "for the activations kept for one backward pass", AT(task.kept_bytes), 1, 16777216,
     0, "automatic"},
    {MC_OPT_REAL, "checkpoint-seconds", "S", "between checkpoints of the unfinished step", AT(task.checkpoint_seconds),
     0, 1e6, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print what results.json holds instead of text, once at the end", AT(json), 1, 0, 0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", AT(quiet), 1, 0, 0, 0},
};

static const char about[] =
    "Runs the paper's class-incremental benchmark: the classes of one data set are learned a few at a time, with one "
    "router for all steps "
    "and nothing frozen; after each step the pictures of all classes seen so far are classified among those. Reported "
    "are the accuracy after "
    "each step, its mean (Avg), the last (Last), forgetting, backward and forward transfer, the latter as the "
    "continuum package defines "
    "them.\n\nA run that was stopped or killed goes on when the same command is given again, and ends with the same "
    "results.";

const mc_command mc_command_bench_cil = {
    .name = "bench cil",
    .summary = "the paper's class-incremental benchmark",
    .usage = "--data DIR --model FILE --out FOLDER [options]",
    .about = about,
    .examples =
        "  moeclip bench cil --data ~/data --model ViT-B-16.pt --out runs/cifar100\n"
        "  moeclip bench cil --preset tinyimagenet-20 --data ~/data --model ViT-B-16.pt --out runs/tiny "
        "--as-published\n"
        "  moeclip bench cil --set birds/ --set tools/ --base 4 --increment 2 --model clip.safetensors --out "
        "runs/mine\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(mc_cil_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 0,
    .positional = "no argument",
    .run = mc_cil_run,
    .shared = 1,
};
