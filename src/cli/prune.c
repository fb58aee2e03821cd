/* `moeclip prune` */
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/provenance.h"

typedef struct prune_options {
  mc_model_choice files;
  const char *output;
  int json;
} prune_options;

#define AT(field) offsetof(prune_options, field)

static void defaults(void *p) { ((prune_options *)p)->files.activation = MOECLIP_ACTIVATION_AUTO; }

static const mc_option options[] = {
    {MC_OPT_TEXT, "model", "FILE", "the CLIP that the state was learned on. Needed", AT(files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "output", "FILE", "the smaller state; may be STATE itself. Needed", AT(output), 0, 0, 0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(files.alexnet),
     0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu", AT(files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_FLAG, "json", NULL, "print what was done as a JSON object", AT(json), 1, 0, 0, 0},
};

static long long size_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (long long)s.st_size : 0;
}

static moeclip_code prune(const mc_args *args, const prune_options *o, moeclip_error *err) {
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  int64_t n = 0;
  long long before = size_of(o->files.state);
  json_t *provenance = o->json ? mc_provenance(args) : NULL;
  moeclip_code code = o->json ? mc_provenance_model(provenance, &o->files, err) : MOECLIP_OK; /* before OUTPUT may replace it */
  if (code == MOECLIP_OK) code = mc_open_learner(&o->files, &model, &learner, err);
  if (code == MOECLIP_OK) {
    code = moeclip_learner_prune(learner, &n, err);
    if (code != MOECLIP_OK) mc_fail_prefix(err, o->files.state);
  }
  if (code == MOECLIP_OK) code = moeclip_learner_save(learner, o->output, err);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  if (code != MOECLIP_OK) {
    json_decref(provenance);
    return code;
  }
  long long after = size_of(o->output);
  if (!o->json) {
    printf("%s: %lld experts left out, %lld bytes (%lld before)\n", o->output, (long long)n, after, before);
    return MOECLIP_OK;
  }
  json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:o}", "output", o->output, "experts_left_out", (json_int_t)n, "bytes",
                             (json_int_t)after, "bytes_before", (json_int_t)before, "provenance", provenance);
  return mc_json_print(object, false) ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_IO, "standard output: cannot write");
}

static int run(const mc_args *args) {
  prune_options o = *(const prune_options *)args->options;
  moeclip_error err = {0};
  o.files.state = args->positional[0];
  if (!o.files.model) return mc_usage_error(args->command, "--model is missing: the CLIP that the state was learned on");
  if (!o.output) return mc_usage_error(args->command, "--output is missing: the file for the smaller state");
  return prune(args, &o, &err) == MOECLIP_OK ? MC_EXIT_OK : mc_report(&err);
}

const mc_command mc_command_prune = {
    .name = "prune",
    .summary = "make a state smaller without changing an answer",
    .usage = "--model FILE STATE --output FILE",
    .about =
        "Leaves out of a STATE the experts that no answer depends on: those that were never trained, those that no "
        "router knows, and, in the text tower, those that no router chooses (its choice in each block is the same for "
        "all texts, and is computed). Every answer stays the same, bit for bit. Learning goes on from the smaller "
        "state as well: a later task finds fresh experts in the place of those left out.",
    .examples =
        "  moeclip prune --model clip.safetensors s.safetensors --output small.safetensors\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(prune_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 1,
    .positional = "a STATE",
    .run = run,
};
