/* `moeclip eval` */
#include <stddef.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/provenance.h"
#include "report/evaluate.h"

typedef struct eval_options {
  mc_model_choice files;
  mc_data_choice data;
  mc_list templates, template_files;
  moeclip_evaluate_options evaluate;
  const char *task;
  int per_class, json, quiet;
} eval_options;

#define AT(field) offsetof(eval_options, field)

static void defaults(void *p) {
  eval_options *o = p;
  o->files.activation = MOECLIP_ACTIVATION_AUTO;
  mc_data_choice_defaults(&o->data);
  moeclip_evaluate_options_defaults(&o->evaluate);
  o->task = "auto";
}

static const mc_option options[] = {
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt. Needed", AT(files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "state", "FILE", "what `moeclip learn` has learned", AT(files.state), 0, 0, 0,
     "none: zero-shot by the untouched CLIP"},
    {MC_OPT_TEXT, "task", "WHICH",
     "who answers: auto (the selector decides), none (the untouched CLIP), a task's name or number", AT(task), 0, 0,
     0, 0},
    {MC_OPT_FLAG, "no-labels", NULL,
     "as `classify` answers without --labels: over the classes of all tasks, or of the task that the selector gives a picture to, and "
     "not over the data set's own; with the tasks' prompts",
     AT(evaluate.no_labels), 1, 0, 0, 0},
    {MC_OPT_FLAG, "batch-routing", NULL,
     "one choice of the selector for a whole batch, by its mean error, as the published code does",
     AT(evaluate.selection), MOECLIP_SELECT_PER_BATCH, 0, 0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(files.alexnet),
     0, 0, 0, 0},
    {MC_OPT_LIST, "template", "TEXT",
     "a prompt with {} for the class name. May be given several times: all are averaged", AT(templates), 0, 0, 0,
     "those of the task of the data set's name, else \"a photo of a {}.\""},
    {MC_OPT_LIST, "templates", "[NAME=]FILE", "prompts, one a line, for all data sets or for the one of that name",
     AT(template_files), 0, 0, 0, 0},
    {MC_OPT_LIST, "classes", "[NAME=]FILE",
     "class names, one a line in order of label, for data sets that have only numbers", AT(data.classes), 0, 0, 0, 0},
    {MC_OPT_LONG, "max-test", "N", "evaluate on at most N pictures of each class", AT(data.max_test), 1, 9e15, 0,
     "all pictures"},
    {MC_OPT_REAL, "train-fraction", "SHARE",
     "of a data set without a split of its own, the share that is for training", AT(data.train_fraction), 0.001,
     0.999, 0, 0},
    {MC_OPT_INT, "split-seed", "N", "of that split", AT(data.split_seed), 0, 2147483647, 0, 0},
    {MC_OPT_SEED, "seed", "N", "of the choice that --max-test makes", AT(data.seed), 0, 0, 0, 0},
    {MC_OPT_INT, "batch", "N", "pictures at once", AT(evaluate.batch), 1, 1048576, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu", AT(files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(evaluate.loader_threads), 1, 4096, 0,
     "as many as compute"},
    {MC_OPT_FLAG, "per-class", NULL, "accuracy of each class too", AT(per_class), 1, 0, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print a JSON object a data set, one a line", AT(json), 1, 0, 0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", AT(quiet), 1, 0, 0, 0},
};

static moeclip_code print_one(const eval_options *o, const moeclip_evaluation *e, const moeclip_learner *learner,
                              const moeclip_dataset *dataset, const json_t *provenance, moeclip_error *err) {
  if (!o->json) {
    mc_evaluation_print(e, learner, dataset, o->per_class, stdout);
    return MOECLIP_OK;
  }
  json_t *made = json_deep_copy(provenance);
  moeclip_code code = made ? mc_provenance_dataset(made, dataset, err) : MOECLIP_OK; /* only rank 0 has one */
  if (code != MOECLIP_OK) {
    json_decref(made);
    return code;
  }
  json_t *object =
      json_pack("{s:s, s:s}", "name", moeclip_dataset_name(dataset), "path", moeclip_dataset_path(dataset));
  json_t *numbers = mc_evaluation_json(e, learner, dataset, o->per_class);
  json_object_update(object, numbers);
  json_decref(numbers);
  json_object_set_new(object, "provenance", made ? made : json_null());
  return mc_json_print(object, false) ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_IO, "standard output: cannot write");
}

static moeclip_code evaluate_one(const eval_options *o, moeclip_learner *learner, const char *argument, const json_t *provenance,
                                 mc_progress *progress, const moeclip_callbacks *callbacks, moeclip_error *err) {
  moeclip_evaluate_options how = o->evaluate;
  moeclip_evaluation e = {0};
  mc_prompts prompts = {0};
  moeclip_dataset *dataset = NULL;
  moeclip_code code = mc_task_by_name(learner, o->task, &how.task, err);
  if (code == MOECLIP_OK) code = mc_dataset_open_named(argument, &o->data, &dataset, err);
  if (code == MOECLIP_OK) {
    code = mc_prompts_collect(&o->templates, &o->template_files, moeclip_dataset_name(dataset), &prompts, err);
  }
  code = mc_agree(code, err);
  if (code == MOECLIP_OK) {
    how.templates = prompts.n ? prompts.items : NULL;
    how.n_templates = prompts.n;
    code = moeclip_learner_evaluate(learner, dataset, &how, callbacks, &e, err);
  }
  mc_progress_end(progress);
  if (code == MOECLIP_OK) code = print_one(o, &e, learner, dataset, provenance, err);
  fflush(stdout);
  moeclip_evaluation_clear(&e);
  mc_prompts_clear(&prompts);
  moeclip_dataset_destroy(dataset);
  return code;
}

static int run(const mc_args *args) {
  const eval_options *o = args->options;
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_error err = {0};
  mc_progress progress;
  if (!o->files.model) return mc_usage_error(args->command, "--model is missing: the CLIP to evaluate");
  if (o->evaluate.no_labels && (o->templates.n || o->template_files.n)) {
    return mc_usage_error(args->command, "--no-labels takes the prompts that the tasks were learned with: --template and --templates do not go with it");
  }
  int exit_code = mc_ranks_begin(o->quiet);
  if (exit_code != MC_EXIT_OK) return exit_code;
  mc_catch_signals();
  moeclip_callbacks callbacks = mc_progress_begin(&progress, o->quiet);
  moeclip_code code = mc_agree(mc_open_learner(&o->files, &model, &learner, &err), &err);
  json_t *provenance = NULL;
  if (code == MOECLIP_OK && o->json && mc_is_writer()) {
    provenance = mc_provenance(args);
    code = mc_provenance_model(provenance, &o->files, &err);
  }
  code = mc_agree(code, &err);
  for (size_t i = 0; code == MOECLIP_OK && i < args->n_positional; i++) {
    code = evaluate_one(o, learner, args->positional[i], provenance, &progress, &callbacks, &err);
    if (code == MOECLIP_OK && mc_stop_signal_of_any()) {
      code = mc_agree(mc_fail(&err, MOECLIP_ERROR_CANCELLED, "stopped"), &err);
    }
  }
  json_decref(provenance);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  if (code == MOECLIP_OK) return MC_EXIT_OK;
  mc_report(&err);
  return code == MOECLIP_ERROR_CANCELLED && mc_stop_signal_of_any() ? 128 + mc_stop_signal() : MC_EXIT_FAILURE;
}

const mc_command mc_command_eval = {
    .name = "eval",
    .summary = "accuracy on data sets, and which task answered",
    .usage = "--model FILE [--state FILE] [options] DATASET...",
    .about =
        "Classifies the test pictures of each DATASET among its own classes, and tells how many were right, and "
        "which task (or the untouched CLIP) the selector sent them to. With --no-labels nothing tells whose classes a picture has.\n\nDATASET is PATH or NAME=PATH, as for "
        "`moeclip learn`.",
    .examples =
        "  moeclip eval --model clip.safetensors --state s.safetensors digits=mnist/ birds/\n"
        "  moeclip eval --model clip.safetensors --state s.safetensors --no-labels digits=mnist/ birds/\n"
        "  moeclip eval --model clip.safetensors --per-class --template \"a blurry photo of a {}.\" birds/\n"
        "  moeclip eval --model clip.safetensors --state s.safetensors --task digits --json mnist/\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(eval_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 100000,
    .positional = "a DATASET",
    .run = run,
    .shared = 1,
};
