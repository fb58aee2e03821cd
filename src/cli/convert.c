/* `moeclip convert` */
#include "moeclip/convert.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/convert.h"
#include "cli/provenance.h"
#include "moeclip/published.h"

typedef struct convert_options {
  int dtype, names, activation, json;
  mc_published_choice published;
} convert_options;

#define AT(field) offsetof(convert_options, field)

static void defaults(void *p) {
  moeclip_published_options published;
  moeclip_published_options_defaults(&published);
  *(convert_options *)p = (convert_options){.dtype = -1, .activation = -1,
                                            .published = {.selector_layer = published.selector_layer,
                                                          .threshold = published.threshold}};
}

static const mc_option options[] = {
    {MC_OPT_HEADING, "Options", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "dtype", "f32|f16|bf16", "number type of all floating tensors", AT(dtype), 0, 0, "f32|f16|bf16",
     "as they are"},
    {MC_OPT_CHOICE, "names", "keep|openai",
     "openai: a CLIP in Hugging Face's or OpenCLIP's names gets OpenAI's, which the published checkpoints use",
     AT(names), 0, 0, "keep|openai", 0},
    {MC_OPT_CHOICE, "activation", "quick-gelu|gelu", "note it in the metadata of OUT", AT(activation), 0, 0,
     "quick-gelu|gelu", "as IN says, or the configuration beside it"},
    {MC_OPT_FLAG, "json", NULL, "print the report as JSON", AT(json), 1, 0, 0, 0},
    {MC_OPT_HEADING, "A published checkpoint of this method into a state, or a state into one", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE",
     "the CLIP that the experts stand on (a published checkpoint holds its own, and may be given here)",
     AT(published.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "tasks", "FILE",
     "JSON: what was learned, in that order: [{\"name\": ..., \"classes\": [...], \"templates\": [...], \"threshold\": "
     "x}]; the last two may be left out. Read for a published checkpoint, which does not say; written from a state",
     AT(published.tasks), 0, 0, 0, 0},
    {MC_OPT_TEXT, "autochooser", "FILE",
     "the selector's autoencoders, X_autochooser.pth: read, or written from a state that has a reference set",
     AT(published.autochooser), 0, 0, 0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "torchvision's AlexNet weights, which published autoencoders look at",
     AT(published.alexnet), 0, 0, 0, "autoencoders that look at the image tower's tokens, as moeclip's own"},
    {MC_OPT_INT, "selector-layer", "N",
     "without --alexnet: the block whose tokens they look at, from 0; -1: chosen by depth",
     AT(published.selector_layer), -1, 1000, 0, 0},
    {MC_OPT_REAL, "threshold", "X",
     "the selector's, for tasks whose description has none; 0.0655 was published for full-shot, 0.06 for few-shot "
     "training",
     AT(published.threshold), 1e-6, 1, 0, 0},
};

static int print_report(const convert_options *o, const char *out, const moeclip_convert_report *r, json_t *provenance) {
  if (r->n_overflows > 0) {
    mc_warn("%s: %zu numbers are too large for this number type and became infinite", out, r->n_overflows);
  }
  if (r->n_metadata_lost > 0) {
    mc_warn("%s: %zu metadata entr%s no place in this container and %s left out (%s)", out, r->n_metadata_lost,
            r->n_metadata_lost == 1 ? "y has" : "ies have", r->n_metadata_lost == 1 ? "is" : "are", r->lost);
  }
  if (o->json) {
    json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:I, s:s?, s:O}", "out", out, "tensors", (json_int_t)r->n_tensors,
                               "changed", (json_int_t)r->n_changed, "overflows", (json_int_t)r->n_overflows,
                               "metadata_lost", (json_int_t)r->n_metadata_lost, "naming", r->naming, "provenance", provenance);
    return mc_json_print(object, false) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  }
  printf("%s: %zu tensors, %zu of them in another number type", out, r->n_tensors, r->n_changed);
  if (r->naming) printf(", names were %s", r->naming);
  printf("\n");
  return MC_EXIT_OK;
}

/* Options of the one kind of conversion mean nothing to the other. */
static int check_options(const mc_args *args, const convert_options *o) {
  static const char *const plain[] = {"dtype", "names", "activation"};
  static const char *const published[] = {"tasks", "autochooser", "alexnet", "selector-layer", "threshold"};
  for (size_t i = 0; o->published.model && i < sizeof plain / sizeof *plain; i++) {
    if (mc_args_given(args, plain[i])) {
      return mc_usage_error(args->command,
                            "--%s does not go with --model: states and published checkpoints keep their numbers",
                            plain[i]);
    }
  }
  for (size_t i = 0; !o->published.model && i < sizeof published / sizeof *published; i++) {
    if (mc_args_given(args, published[i])) {
      return mc_usage_error(args->command, "--%s is for published checkpoints: give --model FILE too", published[i]);
    }
  }
  return MC_EXIT_OK;
}

static int run(const mc_args *args) {
  const convert_options *o = args->options;
  const char *in = args->positional[0], *out = args->positional[1];
  moeclip_convert_options how;
  moeclip_convert_report report;
  moeclip_error err;
  int exit_code = check_options(args, o);
  if (exit_code != MC_EXIT_OK) return exit_code;
  if (o->published.model) return mc_convert_published(args, &o->published, o->json);
  moeclip_convert_options_defaults(&how);
  how.dtype = o->dtype; /* the choices stand in the order of moeclip_dtype */
  how.openai_names = o->names;
  how.activation = o->activation < 0 ? NULL : o->activation ? "gelu" : "quick_gelu";
  json_t *provenance = o->json ? mc_provenance(args) : NULL;
  /* Before OUT is written, which may be IN. */
  moeclip_code code = o->json ? mc_provenance_file(provenance, "in", in, &err) : MOECLIP_OK;
  if (code == MOECLIP_OK) code = moeclip_convert(in, out, &how, &report, &err);
  exit_code = code == MOECLIP_OK ? print_report(o, out, &report, provenance) : mc_report(&err);
  json_decref(provenance);
  return exit_code;
}

const mc_command mc_command_convert = {
    .name = "convert",
    .summary = "change the container, names or number type of a tensor file",
    .usage = "IN OUT [options]",
    .about =
        "Reads the tensors of IN (safetensors, PyTorch's .pth or .pt old and new, TorchScript) and writes them to "
        "OUT, whose ending says what it becomes: .safetensors, .pth or .pt. safetensors' metadata is kept where OUT "
        "has a place for it. IN and OUT may be the same file. Nothing in a file is ever executed.\n\n"
        "With --model, a checkpoint that the method's authors released (X.pth and X_autochooser.pth) becomes a state "
        "for eval, classify and learn, and a state becomes such files. All experts of a released checkpoint count as "
        "frozen: it does not say which are, and further tasks get fresh ones.",
    .examples =
        "  moeclip convert ViT-B-16.pt clip.safetensors --dtype f32\n"
        "  moeclip convert model.safetensors clip.safetensors --names openai\n"
        "  moeclip convert clip.safetensors clip.pth --dtype f16\n"
        "  moeclip convert --model ViT-B-16.pt --tasks tasks.json --alexnet alexnet.pth \\\n"
        "    --autochooser SUN397_autochooser.pth SUN397.pth s.safetensors\n"
        "  moeclip convert --model clip.safetensors s.safetensors s.pth --tasks s.json\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(convert_options),
    .defaults = defaults,
    .min_positional = 2,
    .max_positional = 2,
    .positional = "IN or OUT (both are needed)",
    .run = run,
};
