/* `moeclip serve`: the options of the server. */
#include "serve/serve.h"

#include <stddef.h>

#include "cli/learn_options.h"

#define AT(field) offsetof(mc_serve_options, field)

static void defaults(void *p) {
  mc_serve_options *o = p;
  mc_serve_options_defaults(o);
  o->learner.mode = (moeclip_mode)MC_METHOD_AUTO;
}

static const mc_option options[] = {
    {MC_OPT_HEADING, "Files", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt. Needed", AT(model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "state", "FILE", "what was learned; made by the first task that is learned when it is not there. Needed",
     AT(state), 0, 0, 0, 0},
    {MC_OPT_TEXT, "data", "FOLDER", "for pictures that are sent to be learned, and for unfinished work", AT(data), 0, 0, 0,
     "the state's name with .data after it"},
    {MC_OPT_TEXT, "root", "FOLDER", "below which clients may name folders to learn from", AT(root), 0, 0, 0,
     "none: pictures must be sent"},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(alexnet), 0, 0, 0, 0},
    {MC_OPT_TEXT, "reference", "PATH",
     "of a new state: pictures of no task, for the selector and for zscl, as in `learn`; learned before the first task",
     AT(reference), 0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu",
     AT(activation), -1, 0, "auto|quick-gelu|gelu", 0},

    {MC_OPT_HEADING, "Network", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "host", "ADDRESS", "to listen on; any but this machine's own (127.0.0.1, ::1) needs a token", AT(host), 0, 0,
     0, 0},
    {MC_OPT_INT, "port", "N", "to listen on; 0: a free one, which is printed", AT(port), 0, 65535, 0, 0},
    {MC_OPT_TEXT, "token-file", "FILE", "whose first line every request must carry as a bearer token", AT(token_file), 0, 0, 0,
     "MOECLIP_TOKEN in the environment, else none"},
    {MC_OPT_INT, "connections", "N", "open at once; more are turned away", AT(connections), 1, 65536, 0, 0},

    {MC_OPT_HEADING, "Answering", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_INT, "batch", "N", "pictures of one or several requests that are computed at once", AT(batch), 1, 4096, 0, 0},
    {MC_OPT_REAL, "batch-wait-ms", "MS", "to wait for other requests' pictures while some are on their way", AT(batch_wait_ms),
     0, 10000, 0, 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute answers", AT(n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "decoders", "N", "pictures decoded at the same time", AT(decoders), 1, 4096, 0,
     "as many as there are processors"},
    {MC_OPT_MEBI, "label-cache", "MiB", "for the features of lists of labels that come again", AT(label_bytes), 0, 1048576, 0,
     0},

    {MC_OPT_HEADING, "Limits of a request", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_INT, "queue", "N", "pictures and texts that may wait; beyond, requests are answered with 503", AT(queue), 1,
     1048576, 0, 0},
    {MC_OPT_REAL, "request-seconds", "S",
     "that receiving a body, or waiting for the engine, may take; sixty times that for sending and unpacking a task",
     AT(request_seconds), 1, 3600, 0, 0},
    {MC_OPT_MEBI, "body", "MiB", "of a body with pictures", AT(body_bytes), 1, 65536, 0, 0},
    {MC_OPT_MEBI, "memory", "MiB", "of all bodies and pictures that are being handled", AT(memory_bytes), 1, 1048576, 0, 0},
    {MC_OPT_REAL, "megapixels", "N", "of a picture; larger ones are not decoded", AT(megapixels), 0.01, 178, 0, 0},
    {MC_OPT_INT, "max-images", "N", "pictures in a request", AT(max_images), 1, 4096, 0, 0},
    {MC_OPT_INT, "max-prompts", "N", "labels times templates in a request", AT(max_prompts), 1, 1048576, 0, 0},
    {MC_OPT_INT, "max-streams", "N", "clients that watch a job at once", AT(max_streams), 1, 65536, 0, 0},

    {MC_OPT_HEADING, "Limits of learning", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_MEBI, "upload", "MiB", "of a body with a task's pictures", AT(upload_bytes), 1, 16777216, 0, 0},
    {MC_OPT_MEBI, "archive", "MiB", "that an archive may unpack to", AT(archive_bytes), 1, 16777216, 0, 0},
    {MC_OPT_INT, "archive-files", "N", "files in an archive, or sent one by one", AT(archive_files), 1, 100000000, 0, 0},
    {MC_OPT_REAL, "archive-ratio", "X", "of unpacked to packed bytes", AT(archive_ratio), 1, 1e6, 0, 0},
    {MC_OPT_LONG, "max-iterations", "N", "that a task may ask for", AT(max_iterations), 1, 1e12, 0, 0},
    {MC_OPT_REAL, "learn-seconds", "S", "that learning a task may take; 0: any", AT(learn_seconds), 0, 1e9, 0, 0},
    {MC_OPT_LONG, "eval-images", "N", "test pictures of each task that are evaluated after a task; 0: all", AT(eval_images), 0,
     9e15, 0, 0},

    {MC_OPT_HEADING, "Learning", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_INT, "learn-threads", "N", "that compute while a task is learned", AT(learn_threads), 1, 4096, 0,
     "as many as there are processors"},
    {MC_OPT_REAL, "checkpoint-seconds", "S", "between checkpoints of the unfinished task", AT(checkpoint_seconds), 0, 1e6, 0,
     0},
    {MC_OPT_CHOICE, "method", "auto|" MC_METHODS,
     "of a new state: how it learns; `moeclip learn --help` explains them. auto: analytic, or moe when an option here or in the "
     "request for its first task says how experts are trained, chosen or selected",
     AT(learner.mode), MC_METHOD_AUTO, 0, "auto|" MC_METHODS, 0},
    {MC_OPT_CHOICE, "ridge-form", MC_RIDGE_FORMS, "of a new state, analytic: random projection, or a kernel",
     AT(learner.ridge_form), 0, 0, MC_RIDGE_FORMS, 0},
    {MC_OPT_INT, "ridge-hidden", "N", "of a new state, analytic: width of the projection", AT(learner.ridge_hidden), 1, 32768,
     0, 0},
    MC_BASELINE_OPTIONS(AT(learner)),
    {MC_OPT_INT, "experts", "N", "of a new state: experts of each block at the start", AT(learner.n_experts), 1, 4096, 0, 0},
    {MC_OPT_FLAG, "dynamic-experts", NULL,
     "of a new state: start with top-k experts, and add one at a time when those that there are do not suffice",
     AT(learner.dynamic_experts), 1, 0, 0, 0},
    {MC_OPT_REAL, "dynamic-margin", "SHARE", "of a new state: of the training loss that one more expert must save in a probe",
     AT(learner.dynamic_margin), 0, 0.999, 0, 0},
    {MC_OPT_LONG, "dynamic-probe", "N", "of a new state: steps of a probe", AT(learner.dynamic_probe), 10, 1000000000, 0, 0},
    {MC_OPT_INT, "top-k", "N", "of a new state: experts that work on one picture or text", AT(learner.top_k), 1, 4096, 0, 0},
    {MC_OPT_INT, "bottleneck", "N", "of a new state: hidden units of an expert", AT(learner.bottleneck), 1, 65536, 0, 0},
    {MC_OPT_INT, "freeze", "N", "of a new state: most used experts of each block that a finished task freezes",
     AT(learner.freeze_per_task), 0, 4096, 0, 0},
    {MC_OPT_CHOICE, "selector", "auto|autoencoder|gaussian|prototypes",
     "of a new state: what the task selector models a domain with; auto: autoencoders with --alexnet, else gaussian",
     AT(learner.selector), 0, 0, "auto|autoencoder|gaussian|prototypes", 0},
    {MC_OPT_INT, "selector-hidden", "N",
     "of a new state: hidden units of the selector's autoencoders, or the most directions of its Gaussians",
     AT(learner.selector_hidden), 1, 65536, 0, 0},
    {MC_OPT_SEED, "seed", "N", "of a new state: of everything random", AT(learner.seed), 0, 0, 0, 0},
};

static int run(const mc_args *args) {
  mc_serve_options *o = args->options;
  o->asks_choose = mc_choose_method(args, &o->learner) && o->learner.mode != MOECLIP_MODE_MOE;
  moeclip_error err = {0};
  if (!o->model) return mc_usage_error(args->command, "--model is missing: the CLIP that answers");
  if (!o->state) return mc_usage_error(args->command, "--state is missing: the file for what is learned");
  if (o->max_images > o->queue) {
    return mc_usage_error(args->command, "--max-images: %d of a queue of %d (--queue)", o->max_images, o->queue);
  }
  if (o->learner.top_k > o->learner.n_experts) {
    return mc_usage_error(args->command, "--top-k: %d of %d experts (--experts)", o->learner.top_k, o->learner.n_experts);
  }
  return mc_serve_run(o, &err) == MOECLIP_OK ? MC_EXIT_OK : mc_report(&err);
}

const mc_command mc_command_serve = {
    .name = "serve",
    .summary = "answer over HTTP, and learn new tasks meanwhile",
    .usage = "--model FILE --state FILE [options]",
    .about =
        "Answers to HTTP requests on this machine: classifies pictures, encodes pictures and texts, and learns new tasks "
        "from archives, files or folders while it goes on answering. GET / is a page to do all this with; "
        "GET /openapi.json describes the interface.\n\nPrints \"listening on http://ADDRESS:PORT\" when it is ready. SIGINT or "
        "SIGTERM makes it finish what it accepted; a task that is being learned is kept as a checkpoint, and the next start "
        "goes on with it. The exit code is then 0.",
    .examples =
        "  moeclip serve --model clip.safetensors --state s.safetensors\n"
        "  moeclip serve --model clip.pt --state s.safetensors --root /srv/pictures --port 0\n"
        "  moeclip serve --model clip.pt --state s.safetensors --host 0.0.0.0 --token-file token.txt\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(mc_serve_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 0,
    .positional = "nothing",
    .run = run,
};
