#include "cli/learn_options.h"

#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(mc_learn_options, field)
#define HUGE_NUMBER 9e15

static void defaults(void *p) {
  mc_learn_options *o = p;
  moeclip_model_options model;
  moeclip_model_options_defaults(&model);
  o->files.activation = (int)model.activation;
  moeclip_learner_options_defaults(&o->learner);
  o->learner.mode = (moeclip_mode)MC_METHOD_AUTO;
  moeclip_task_options_defaults(&o->task);
  moeclip_evaluate_options_defaults(&o->evaluate);
  mc_data_choice_defaults(&o->data);
  o->reference_iterations = 1000;
  o->measure = 1;
}

static const mc_option options[] = {
    {MC_OPT_HEADING, "Files", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE",
     "CLIP weights: safetensors, .pth or .pt, in OpenAI's, OpenCLIP's or Hugging Face's names. Needed",
     AT(files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "state", "FILE",
     "what was learned: made when it is not there, else learning goes on from it; FILE.part holds an unfinished "
     "task. Needed", AT(files.state), 0, 0, 0, 0},
    {MC_OPT_TEXT, "results", "FOLDER", "for matrix.txt, matrix.json and matrix.svg", AT(results), 0, 0, 0,
     "the state's name with .results for its ending"},
    {MC_OPT_LIST, "heldout", "[NAME=]PATH",
     "a data set that is evaluated in every row and never learned: shows what becomes of zero-shot ability. May be "
     "given several times", AT(heldout), 0, 0, 0, 0},
    {MC_OPT_TEXT, "reference", "PATH",
     "pictures of no task in particular, if the state has none yet: the selector learns them first as \"none of the tasks\"; "
     "zscl is held to what the untouched CLIP says of them and of the names of their classes", AT(reference), 0, 0, 0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "torchvision's AlexNet weights, for a selector like the paper's",
     AT(files.alexnet), 0, 0, 0, "the selector looks at the image tower's own tokens"},

    {MC_OPT_HEADING, "Pictures and words", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LONG, "shots", "N", "few-shot: learn from N pictures of each class, each cropped once and kept so",
     AT(shots), 1, HUGE_NUMBER, 0, "all pictures"},
    {MC_OPT_LONG, "max-train", "N", "learn from at most N pictures of each class", AT(data.max_train), 1, HUGE_NUMBER,
     0, "all pictures"},
    {MC_OPT_LONG, "max-test", "N", "evaluate on at most N pictures of each class", AT(data.max_test), 1, HUGE_NUMBER,
     0, "all pictures"},
    {MC_OPT_REAL, "train-fraction", "SHARE", "of a data set without a split of its own, the share to learn from",
     AT(data.train_fraction), 0.001, 0.999, 0, 0},
    {MC_OPT_INT, "split-seed", "N", "of that split", AT(data.split_seed), 0, 2147483647, 0, 0},
    {MC_OPT_LIST, "template", "TEXT",
     "a prompt with {} for the class name. May be given several times: the first trains, all are averaged when "
     "classifying", AT(templates), 0, 0, 0, "a photo of a {}."},
    {MC_OPT_LIST, "templates", "[NAME=]FILE", "prompts, one a line, for all data sets or for the one of that name",
     AT(template_files), 0, 0, 0, 0},
    {MC_OPT_LIST, "classes", "[NAME=]FILE",
     "class names, one a line in order of label, for data sets that have only numbers", AT(data.classes), 0, 0, 0, 0},

    {MC_OPT_HEADING, "The learner (fixed once the state exists)", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "method", "auto|" MC_METHODS,
     "auto: analytic, or moe when an option says how experts are trained, chosen or selected; moe: mixture-of-experts adapters; finetune: all of CLIP's weights, the baseline that forgets; analytic: ridge "
     "regression on the frozen CLIP's features, fused with zero-shot: one pass over the pictures, no training; zero-shot: "
     "nothing is learned; linear-probe: logistic regression on the frozen CLIP's features, one a task; wise-ft: the average of "
     "fine-tuned and untouched weights; lwf: fine-tuning with distillation from the weights before the task; zscl: fine-tuning "
     "held near the untouched CLIP on a reference set (--reference), and averaged along the way; icarl: fine-tuning with kept "
     "pictures of earlier classes, answered by the nearest of their means; joint: the upper bound, for each task anew on all tasks' pictures",
     AT(learner.mode), MC_METHOD_AUTO, 0, "auto|" MC_METHODS, 0},
    {MC_OPT_CHOICE, "mode", MC_METHODS, "the older name of --method", AT(learner.mode), 0, 0, MC_METHODS, ""},
    {MC_OPT_INT, "experts", "N", "experts of each block at the start; more are added when too few are left to train",
     AT(learner.n_experts), 1, 4096, 0, 0},
    {MC_OPT_INT, "top-k", "N", "experts that work on one picture or text", AT(learner.top_k), 1, 4096, 0, 0},
    {MC_OPT_INT, "bottleneck", "N", "hidden units of an expert", AT(learner.bottleneck), 1, 65536, 0, 0},
    {MC_OPT_INT, "freeze", "N", "most used experts of each block that a finished task freezes for good",
     AT(learner.freeze_per_task), 0, 4096, 0, 0},
    {MC_OPT_FLAG, "dynamic-experts", NULL,
     "start with top-k experts whatever --experts says, freeze all that a task trained, and add one at a time when "
     "those that there are do not suffice for a task: short probes of the training loss tell", AT(learner.dynamic_experts), 1,
     0, 0, 0},
    {MC_OPT_REAL, "dynamic-margin", "SHARE", "of the training loss that one more expert must save in a probe",
     AT(learner.dynamic_margin), 0, 0.999, 0, 0},
    {MC_OPT_LONG, "dynamic-probe", "N", "steps of a probe", AT(learner.dynamic_probe), 10, 1000000000, 0, 0},
    {MC_OPT_FLAG, "image-only", NULL, "adapters in the image tower alone", AT(learner.text_adapters), 0, 0, 0, 0},
    {MC_OPT_FLAG, "shared-router", NULL, "one router for all tasks instead of one for each",
     AT(learner.shared_router), 1, 0, 0, 0},
    {MC_OPT_FLAG, "no-selector", NULL,
     "no task selector: when evaluating, a data set's pictures go to the task of its name, and to the untouched CLIP "
     "while there is none", AT(learner.use_selector), 0, 0, 0, 0},
    {MC_OPT_CHOICE, "selector", "auto|autoencoder|gaussian|prototypes",
     "what the task selector models a domain with: an autoencoder (the paper's), one gaussian, or prototypes: a mean "
     "for each class; auto: autoencoders with --alexnet, else gaussian", AT(learner.selector), 0, 0,
     "auto|autoencoder|gaussian|prototypes", 0},
    {MC_OPT_INT, "selector-hidden", "N",
     "hidden units of the selector's autoencoders, or the most directions of its Gaussians",
     AT(learner.selector_hidden), 1, 65536, 0, 0},
    {MC_OPT_INT, "selector-layer", "N",
     "block of the image tower whose tokens the selector sees, from 0; the number of blocks: what the tower makes of a "
     "picture in the end", AT(learner.selector_layer), 0, 4096, 0, "chosen by kind and depth"},
    {MC_OPT_SEED, "seed", "N", "of everything random; the same seed gives the same state, bit for bit",
     AT(learner.seed), 0, 0, 0, 0},

    {MC_OPT_HEADING, "The analytic method (fixed once the state exists)", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_CHOICE, "ridge-form", MC_RIDGE_FORMS,
     "projection: features widened at random, of a size that does not depend on the pictures; kernel: every picture's "
     "feature is kept", AT(learner.ridge_form), 0, 0, MC_RIDGE_FORMS, 0},
    {MC_OPT_INT, "ridge-hidden", "N", "width of the projection; the state holds its square", AT(learner.ridge_hidden),
     1, 32768, 0, 0},
    {MC_OPT_REAL, "ridge", "X", "lambda, of the regression", AT(learner.ridge), 1e-12, 1e12, 0,
     "0.1 for the projection, 0.001 for the kernel"},
    {MC_OPT_REAL, "ridge-gamma", "X", "of the kernel exp(-gamma |x - y|^2)", AT(learner.ridge_gamma), 1e-9, 1e9, 0, 0},
    {MC_OPT_REAL, "ridge-fusion", "X", "weight of the regression in an answer, from 0 to 1; zero-shot has the rest",
     AT(learner.ridge_fusion), 0, 1, 0, 0},
    {MC_OPT_LONG, "ridge-pictures", "N", "the most pictures that the kernel form keeps", AT(learner.ridge_pictures), 1,
     65536, 0, 0},

    {MC_OPT_HEADING, "Baselines (fixed once the state exists)", 0, 0, 0, 0, 0, 0, 0},
    MC_BASELINE_OPTIONS(AT(learner)),

    {MC_OPT_HEADING, "Training", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LONG, "iterations", "N", "optimizer steps a task (and one more, as published)", AT(task.iterations), 1,
     1e12, 0, 0},
    {MC_OPT_INT, "batch", "N", "pictures a step", AT(task.batch), 1, 1048576, 0, 0},
    {MC_OPT_TEXT, "lr", "X[,X...]", "learning rate: one, or one for each DOMAIN in order", AT(rates), 0, 0, 0,
     "0.001"},
    {MC_OPT_REAL, "weight-decay", "X", "of AdamW", AT(task.weight_decay), 0, 1e6, 0, 0},
    {MC_OPT_REAL, "smoothing", "X", "label smoothing, below 1", AT(task.label_smoothing), 0, 0.999999, 0, 0},
    {MC_OPT_LONG, "warmup", "N", "steps until the learning rate is reached", AT(task.warmup), 0, 1e12, 0,
     "100, at most a fifth of the iterations"},
    {MC_OPT_REAL, "dropout", "X", "share of the experts' hidden units left out, below 1", AT(task.dropout), 0,
     0.999999, 0, 0},
    {MC_OPT_REAL, "balance", "X", "coefficient of the load-balance term in the loss", AT(task.balance), 0, 1e6, 0, 0},
    {MC_OPT_LONG, "selector-iterations", "N",
     "steps of a task's autoencoder, or the most batches that a Gaussian is fitted to", AT(task.selector_iterations), 1, 1e12,
     0, 0},
    {MC_OPT_REAL, "selector-lr", "X", "learning rate of the autoencoders", AT(task.selector_learning_rate), 1e-12,
     1e6, 0, 0},
    {MC_OPT_LONG, "reference-iterations", "N", "steps of the reference set's autoencoder", AT(reference_iterations),
     1, 1e12, 0, 0},
    {MC_OPT_REAL, "threshold", "X", "error above which the selector turns a picture away", AT(task.threshold), 0, 1e6,
     0, "set by training pictures held out for that"},
    {MC_OPT_REAL, "false-alarms", "SHARE",
     "of a task's own pictures, that its selector may turn away: the threshold is the error that this share of the "
     "held-out training pictures exceeds", AT(task.selector_false_alarms), 0, 0.5, 0,
     "1 % and a margin beyond it"},

    {MC_OPT_HEADING, "Running", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_FLAG, "no-eval", NULL, "do not evaluate; no matrix is written", AT(measure), 0, 0, 0, 0},
    {MC_OPT_FLAG, "batch-routing", NULL,
     "one choice of the selector for all pictures evaluated at once, as the published code does", AT(evaluate.selection), 1, 0, 0, 0},
    {MC_OPT_INT, "eval-batch", "N", "pictures evaluated at once", AT(evaluate.batch), 1, 1048576, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu", AT(files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(task.loader_threads), 1, 4096, 0,
     "as many as compute"},
    {MC_OPT_MEBI, "memory", "MiB", "for the activations kept for one backward pass", AT(task.kept_bytes), 1, 16777216,
     0, "automatic"},
    {MC_OPT_REAL, "checkpoint-seconds", "S", "between checkpoints of the unfinished task",
     AT(task.checkpoint_seconds), 0, 1e6, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print what matrix.json holds instead of text, once at the end", AT(json), 1, 0, 0,
     0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", AT(quiet), 1, 0, 0, 0},
};

static const char about[] =
    "Teaches CLIP one DOMAIN (task) after another and keeps what it knew. Before the first task and after each one, "
    "every DOMAIN and every held-out set is evaluated; the accuracy matrix with Transfer, Average and Last is "
    "printed and written to the results folder.\n\nDOMAIN is PATH or NAME=PATH. PATH is a folder with one subfolder "
    "of pictures per class (perhaps below train/ and test/), a folder with IDX files (MNIST and its family) or "
    "CIFAR's binary files, or a CSV file of path,label.\n\nEach finished task is saved at once; an unfinished one is "
    "kept in STATE.part. A run that was stopped or killed goes on when the same command is given again, and ends "
    "with the same state. Tasks that the state knows already (by name) are not learned again, so that adding a task "
    "means adding a DOMAIN to the command.";

static const char examples[] =
    "  moeclip learn --model clip.safetensors --state s.safetensors digits=mnist/ birds/ flowers.csv\n"
    "  moeclip learn --model clip.pt --state s.safetensors --shots 5 --iterations 500 --lr 1e-3,5e-4 birds/ cars/\n"
    "  moeclip learn --model clip.pt --state s.safetensors --heldout food/ --reference tiny-imagenet/ birds/\n";

const mc_command mc_command_learn = {
    .name = "learn",
    .summary = "learn one domain after another, and keep what was known",
    .usage = "--model FILE --state FILE [options] DOMAIN...",
    .about = about,
    .examples = examples,
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(mc_learn_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 100000,
    .positional = "a DOMAIN",
    .run = mc_learn_run,
    .shared = 1,
};
