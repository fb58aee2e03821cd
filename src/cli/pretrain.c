/* `moeclip pretrain` */
#include "moeclip/pretrain.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/provenance.h"

typedef struct pretrain_options {
  moeclip_pretrain_options p;
  int json, quiet;
} pretrain_options;

#define AT(field) offsetof(pretrain_options, p.field)

static void defaults(void *p) {
  moeclip_pretrain_options_defaults(&((pretrain_options *)p)->p);
}

static const mc_option options[] = {
    {MC_OPT_HEADING, "Files", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "pairs", "PATH",
     "a CSV file of path,caption[,caption...]; a folder of pictures with a .txt file of captions beside each; or a "
     "folder with one subfolder per class. Needed", AT(pairs), 0, 0, 0, 0},
    {MC_OPT_TEXT, "out", "FILE", "the model to write (safetensors). Needed", AT(out), 0, 0, 0, 0},
    {MC_OPT_TEXT, "init", "FILE", "a CLIP to go on from, whatever its sizes", AT(init), 0, 0, 0,
     "a new one of the sizes below"},
    {MC_OPT_CHOICE, "dtype", "f32|f16", "numbers in FILE", AT(dtype), 0, 0, "f32|f16", 0},
    {MC_OPT_TEXT, "checkpoint", "FILE", "for the unfinished run, which goes on from it when it is there",
     AT(checkpoint), 0, 0, 0, "the model's name with .part behind it"},
    {MC_OPT_REAL, "checkpoint-seconds", "S", "between checkpoints", AT(checkpoint_seconds), 0, 1e6, 0, 0},

    {MC_OPT_HEADING, "Sizes of a new model", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_INT, "image-size", "PIXELS", "side of the pictures", AT(sizes.image_size), 1, 4096, 0, 0},
    {MC_OPT_INT, "patch", "PIXELS", "side of a patch; divides the image size", AT(sizes.patch), 1, 4096, 0, 0},
    {MC_OPT_INT, "visual-layers", "N", "blocks of the image tower", AT(sizes.visual_layers), 1, 256, 0, 0},
    {MC_OPT_INT, "visual-width", "N", "of the image tower; a multiple of 64", AT(sizes.visual_width), 64, 16384, 0,
     0},
    {MC_OPT_INT, "visual-hidden", "N", "hidden units of its MLPs", AT(sizes.visual_hidden), 1, 65536, 0,
     "4 times the width"},
    {MC_OPT_INT, "context", "N", "tokens of a text, marks included", AT(sizes.context), 3, 4096, 0, 0},
    {MC_OPT_INT, "vocabulary", "N", "tokens that there are: the first N of CLIP's", AT(sizes.vocabulary), 514, 49408,
     0, 0},
    {MC_OPT_INT, "text-layers", "N", "blocks of the text tower", AT(sizes.text_layers), 1, 256, 0, 0},
    {MC_OPT_INT, "text-width", "N", "of the text tower; a multiple of 64", AT(sizes.text_width), 64, 16384, 0, 0},
    {MC_OPT_INT, "text-hidden", "N", "hidden units of its MLPs", AT(sizes.text_hidden), 1, 65536, 0,
     "4 times the width"},
    {MC_OPT_INT, "embed", "N", "length of a feature", AT(sizes.embed), 1, 16384, 0, 0},
    {MC_OPT_CHOICE, "activation", "quick-gelu|gelu", "of the blocks", AT(sizes.activation), 0, 0, "quick-gelu|gelu",
     0},

    {MC_OPT_HEADING, "Training", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LONG, "epochs", "N", "times that all pairs are seen", AT(epochs), 1, 1e9, 0, 0},
    {MC_OPT_INT, "batch", "N", "pairs a step", AT(batch), 2, 1048576, 0, 0},
    {MC_OPT_REAL, "lr", "X", "learning rate", AT(learning_rate), 1e-12, 1e6, 0, 0},
    {MC_OPT_REAL, "weight-decay", "X", "of AdamW", AT(weight_decay), 0, 1e6, 0, 0},
    {MC_OPT_LONG, "warmup", "N", "steps until the learning rate is reached", AT(warmup), 0, 1e12, 0, 0},
    {MC_OPT_REAL, "scale-min", "SHARE", "smallest area of the random crop", AT(scale_min), 0.001, 1, 0, 0},
    {MC_OPT_REAL, "clip-norm", "X", "longest gradient; 0: any", AT(clip_norm), 0, 1e9, 0, 0},
    {MC_OPT_SEED, "seed", "N", "of everything random", AT(seed), 0, 0, 0, 0},

    {MC_OPT_HEADING, "Running", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(loader_threads), 1, 4096, 0, "as many as compute"},
    {MC_OPT_MEBI, "memory", "MiB", "for the activations kept for one backward pass", AT(kept_bytes), 1, 16777216, 0,
     "automatic"},
    {MC_OPT_FLAG, "json", NULL, "print the report as JSON", offsetof(pretrain_options, json), 1, 0, 0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", offsetof(pretrain_options, quiet), 1, 0, 0, 0},
};

static int check_usage(const mc_args *args, moeclip_pretrain_options *p) {
  static const char *const sizes[] = {"image-size",  "patch",       "visual-layers", "visual-width", "visual-hidden",
                                      "context",     "vocabulary",  "text-layers",   "text-width",   "text-hidden",
                                      "embed",       "activation"};
  if (!p->pairs) return mc_usage_error(args->command, "--pairs is missing: pictures and their captions");
  if (!p->out) return mc_usage_error(args->command, "--out is missing: the file to write");
  for (size_t i = 0; p->init && i < sizeof sizes / sizeof sizes[0]; i++) {
    if (!mc_args_given(args, sizes[i])) continue;
    return mc_usage_error(args->command, "--%s: --init has its own sizes; leave one of the two out", sizes[i]);
  }
  if (p->sizes.image_size % p->sizes.patch) {
    return mc_usage_error(args->command, "--patch: %d does not divide the image size of %d", p->sizes.patch,
                          p->sizes.image_size);
  }
  if (p->sizes.visual_width % 64 || p->sizes.text_width % 64) {
    return mc_usage_error(args->command, "--visual-width and --text-width: %d and %d are not both multiples of 64",
                          p->sizes.visual_width, p->sizes.text_width);
  }
  if (!mc_args_given(args, "visual-hidden")) p->sizes.visual_hidden = 4 * p->sizes.visual_width;
  if (!mc_args_given(args, "text-hidden")) p->sizes.text_hidden = 4 * p->sizes.text_width;
  return MC_EXIT_OK;
}

static int print_report(const pretrain_options *o, const moeclip_learn_report *r, json_t *provenance) {
  if (o->json) {
    json_t *object =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:O}", "out", o->p.out, "steps", (json_int_t)r->iterations,
                  "images", (json_int_t)r->images, "broken", (json_int_t)r->broken, "trainable",
                  (json_int_t)r->trainable, "final_loss", mc_json_real(r->final_loss), "seconds",
                  mc_json_real(r->seconds), "waited_seconds", mc_json_real(r->waited_seconds), "resumed", r->resumed, "provenance",
                  provenance);
    return mc_json_print(object, false) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  }
  printf("%s: %lld steps%s, %lld pictures, %lld numbers trained, loss %.4f, %.1f s", o->p.out, (long long)r->iterations,
         r->resumed ? " (resumed)" : "", (long long)r->images, (long long)r->trainable, r->final_loss, r->seconds);
  if (r->seconds > 0) printf(", waited %.0f %% for pictures", 100 * r->waited_seconds / r->seconds);
  if (r->broken > 0) printf(", %lld pictures left out", (long long)r->broken);
  printf("\n");
  return MC_EXIT_OK;
}

static int report_stop(const char *checkpoint, const moeclip_error *err) {
  if (access(checkpoint, F_OK) == 0) {
    mc_warn("%s; %s keeps the unfinished run: give the same command again to go on", err->message, checkpoint);
  } else {
    mc_warn("%s; nothing is kept", err->message);
  }
  return 128 + mc_stop_signal();
}

static int run(const mc_args *args) {
  pretrain_options *o = args->options;
  moeclip_error err = {0};
  moeclip_learn_report report = {0};
  mc_progress progress;
  if (check_usage(args, &o->p) != MC_EXIT_OK) return MC_EXIT_USAGE;
  char *part = o->p.checkpoint ? mc_strdup(o->p.checkpoint) : mc_format("%s.part", o->p.out);
  if (!part) return mc_usage_error(args->command, "out of memory");
  o->p.checkpoint = part;
  int exit_code = mc_ranks_begin(o->quiet);
  if (exit_code != MC_EXIT_OK) {
    free(part);
    return exit_code;
  }
  o->p.comm = mc_ranks();
  if (!o->p.n_threads) o->p.n_threads = moeclip_comm_threads(mc_ranks());
  mc_catch_signals();
  moeclip_callbacks callbacks = mc_progress_begin(&progress, o->quiet);
  json_t *provenance = o->json && mc_is_writer() ? mc_provenance(args) : json_null();
  moeclip_code code = MOECLIP_OK;
  if (json_is_object(provenance)) {
    code = mc_provenance_tree(provenance, "pairs", o->p.pairs, &err);
    if (code == MOECLIP_OK) code = mc_provenance_file(provenance, "init", o->p.init, &err);
  }
  code = mc_agree(code, &err);
  if (code == MOECLIP_OK) code = moeclip_pretrain(&o->p, &callbacks, &report, &err);
  mc_progress_end(&progress);
  if (code == MOECLIP_OK) {
    exit_code = print_report(o, &report, provenance);
  } else {
    exit_code = code == MOECLIP_ERROR_CANCELLED && mc_stop_signal_of_any() ? report_stop(part, &err) : mc_report(&err);
  }
  json_decref(provenance);
  free(part);
  return exit_code;
}

const mc_command mc_command_pretrain = {
    .name = "pretrain",
    .summary = "train a CLIP of your own from pictures and captions",
    .usage = "--pairs PATH --out FILE [options]",
    .about =
        "Trains all weights of a CLIP with the symmetric contrastive loss: a new one, small enough for a processor, "
        "or one to go on from. A run that was stopped or killed goes on when the same command is given again.",
    .examples =
        "  moeclip pretrain --pairs pictures.csv --out clip.safetensors\n"
        "  moeclip pretrain --pairs pictures/ --out clip.safetensors --image-size 32 --patch 4 --epochs 5\n"
        "  moeclip pretrain --pairs pictures.csv --init ViT-B-32.pt --lr 1e-5 --out tuned.safetensors\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(pretrain_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 0,
    .positional = "",
    .run = run,
    .shared = 1,
};
