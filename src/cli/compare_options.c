#include <stddef.h>

#include "cli/compare.h"

#define AT(field) offsetof(mc_compare_options, field)
#define HUGE_NUMBER 9e15
#define LEARNS "that of `learn`"

static void defaults(void *p) {
  mc_compare_options *o = p;
  o->seeds = 1;
}

static const mc_option options[] = {
    {MC_OPT_HEADING, "What is compared", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights, as `learn` takes them. Needed", AT(model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "out", "FOLDER",
     "for compare.txt, compare.json and compare.svg, and a folder for each run with its state, log and accuracy matrix. Needed",
     AT(out), 0, 0, 0, 0},
    {MC_OPT_TEXT, "methods", "NAME,...", "of --method of `learn`", AT(methods), 0, 0, 0, "all; zscl with --reference alone"},
    {MC_OPT_CHOICE, "orders", "given|both", "the order of the DOMAINs: as given, or that and its reverse", AT(orders), 0, 0,
     "given|both", 0},
    {MC_OPT_INT, "seeds", "N", "runs of each method in each order, with --seed 1 to N", AT(seeds), 1, 1000, 0, 0},
    {MC_OPT_LIST, "with", "METHOD=OPTIONS",
     "further options of `learn` for one method, split at blanks, as in \"analytic=--ridge-form kernel\". May be given several times",
     AT(with), 0, 0, 0, 0},

    {MC_OPT_HEADING, "The same for all methods, handed to `learn`", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_LIST, "lr", "[METHOD=]X",
     "learning rate, of all methods or of one. The methods that change CLIP's own weights need far smaller ones than moe", AT(rates),
     0, 0, 0, LEARNS},
    {MC_OPT_LONG, "iterations", "N", "optimizer steps a task", AT(iterations), 1, 1e12, 0, LEARNS},
    {MC_OPT_INT, "batch", "N", "pictures a step", AT(batch), 1, 1048576, 0, LEARNS},
    {MC_OPT_LONG, "warmup", "N", "steps until the learning rate is reached", AT(warmup), 0, 1e12, 0, LEARNS},
    {MC_OPT_REAL, "smoothing", "X", "label smoothing, below 1", AT(smoothing), 0, 0.999999, 0, LEARNS},
    {MC_OPT_REAL, "weight-decay", "X", "of AdamW", AT(weight_decay), 0, 1e6, 0, LEARNS},
    {MC_OPT_LONG, "shots", "N", "few-shot: learn from N pictures of each class", AT(shots), 1, HUGE_NUMBER, 0, "all pictures"},
    {MC_OPT_LONG, "max-train", "N", "learn from at most N pictures of each class", AT(max_train), 1, HUGE_NUMBER, 0,
     "all pictures"},
    {MC_OPT_LONG, "max-test", "N", "evaluate on at most N pictures of each class", AT(max_test), 1, HUGE_NUMBER, 0,
     "all pictures"},
    {MC_OPT_LIST, "heldout", "[NAME=]PATH", "a data set that is evaluated and never learned. May be given several times",
     AT(heldout), 0, 0, 0, 0},
    {MC_OPT_TEXT, "reference", "PATH", "pictures of no task, for the methods that use them: moe and zscl", AT(reference),
     0, 0, 0, 0},
    {MC_OPT_LIST, "template", "TEXT", "a prompt with {} for the class name. May be given several times", AT(templates), 0, 0, 0,
     LEARNS},
    {MC_OPT_LIST, "templates", "[NAME=]FILE", "prompts, one a line", AT(template_files), 0, 0, 0, 0},
    {MC_OPT_LIST, "classes", "[NAME=]FILE", "class names, one a line in order of label", AT(classes), 0, 0, 0, 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(threads), 1, 4096, 0, LEARNS},

    {MC_OPT_HEADING, "Running", 0, 0, 0, 0, 0, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print what compare.json holds instead of the table", AT(json), 1, 0, 0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress on standard error", AT(quiet), 1, 0, 0, 0},
};

const mc_command mc_command_bench_compare = {
    .name = "bench compare",
    .summary = "several methods on the same domains: one table, one picture",
    .usage = "--model FILE --out FOLDER [options] DOMAIN...",
    .about =
        "Runs `moeclip learn` on the DOMAINs once for each method, order and seed, each run as a process of its own, so that its "
        "peak memory is its own, and gathers Transfer, Average and Last, the last accuracy without labels (`eval --no-labels`), the "
        "parameters trained and the seconds for a task, and the peak memory: means over the runs and their standard deviation. Every "
        "method gets the same pictures, steps and batches; those "
        "that need no steps take each picture once, or none, and joint training takes for each "
        "task the steps of all tasks so far.\n\nA comparison that was stopped goes on when the same command is given "
        "again: finished runs are kept, and an unfinished one goes on where it was. With more methods, seeds or orders only what is new is "
        "run. DOMAIN is as for `learn`.",
    .examples =
        "  moeclip bench compare --model clip.safetensors --out compared --orders both --seeds 3 --iterations 250 \\\n"
        "    --lr 2e-4 --lr moe=5e-3 --with \"analytic=--ridge-form kernel\" digits=mnist/ birds/ cars/\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(mc_compare_options),
    .defaults = defaults,
    .min_positional = 2,
    .max_positional = 1000,
    .positional = "a DOMAIN (at least two)",
    .run = mc_compare_run_all,
};
