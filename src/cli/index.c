/* `moeclip index` */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/provenance.h"
#include "cli/search.h"

typedef struct index_options {
  mc_model_choice files;
  const char *index;
  moeclip_index_options how;
  int relative, json, quiet;
} index_options;

#define AT(field) offsetof(index_options, field)

static void defaults(void *p) {
  index_options *o = p;
  o->files.activation = MOECLIP_ACTIVATION_AUTO;
  moeclip_index_options_defaults(&o->how);
  o->relative = -1;
}

static const mc_option options[] = {
    {MC_OPT_TEXT, "index", "FILE", "the index, made when it is not there. Needed", AT(index), 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt", AT(files.model), 0, 0, 0,
     "that of the last time"},
    {MC_OPT_TEXT, "state", "FILE", "what `moeclip learn` has learned", AT(files.state), 0, 0, 0,
     "with --model: none, the untouched CLIP; else that of the last time"},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(files.alexnet),
     0, 0, 0, 0},
    {MC_OPT_FLAG, "hidden", NULL, "files and folders whose names begin with a dot too", AT(how.hidden), 1, 0, 0, 0},
    {MC_OPT_FLAG, "keep-missing", NULL, "pictures that are gone stay in the index (a drive that is not connected)",
     AT(how.keep_missing), 1, 0, 0, 0},
    {MC_OPT_FLAG, "relative", NULL,
     "a new index keeps paths relative to its own folder, so that both can be moved together", AT(relative), 1, 0, 0,
     0},
    {MC_OPT_INT, "batch", "N", "pictures at once", AT(how.batch), 1, 65536, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu",
     AT(files.activation), -1, 0, "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_INT, "loader-threads", "N", "that read pictures", AT(how.loader_threads), 1, 4096, 0, "as many as compute"},
    {MC_OPT_FLAG, "json", NULL, "print a JSON object", AT(json), 1, 0, 0, 0},
    {MC_OPT_FLAG, "quiet", NULL, "no progress", AT(quiet), 1, 0, 0, 0},
};

/* The progress of scanning has no end to show. */
typedef struct shown {
  mc_progress progress;
  moeclip_callbacks inner;
} shown;

static int on_progress(void *context, const moeclip_progress *p) {
  const shown *s = context;
  if (strcmp(p->phase, "scan") == 0) return mc_stop_signal() != 0;
  return s->inner.progress(s->inner.context, p);
}

static void on_broken(void *context, const char *item, const char *message) {
  const shown *s = context;
  s->inner.broken(s->inner.context, item, message);
}

moeclip_code mc_remembered_files(moeclip_index *index, mc_model_choice *files, moeclip_error *err) {
  moeclip_index_info info;
  if (files->model) return MOECLIP_OK;
  MC_TRY(moeclip_index_get_info(index, &info, err));
  if (!*info.model_path) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--model is missing: the index knows of none yet");
  files->model = info.model_path;
  if (!files->state && *info.state_path) files->state = info.state_path;
  if (!files->alexnet && *info.alexnet_path) files->alexnet = info.alexnet_path;
  return MOECLIP_OK;
}

static moeclip_code absolute(const char *path, char **out, moeclip_error *err) {
  *out = path ? realpath(path, NULL) : NULL;
  if (path && !*out) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  return MOECLIP_OK;
}

static bool print_report(const index_options *o, const moeclip_index_report *r, json_t *provenance) {
  if (o->json) {
    return mc_json_print(
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:O}", "found", (json_int_t)r->found, "encoded",
                  (json_int_t)r->encoded, "unchanged", (json_int_t)r->unchanged, "moved", (json_int_t)r->moved, "kept",
                  (json_int_t)r->rerouted, "removed", (json_int_t)r->removed, "broken", (json_int_t)r->broken, "stale",
                  (json_int_t)r->stale, "unread", (json_int_t)r->unread, "state_changed", r->state_changed, "seconds", r->seconds, "provenance",
                  provenance),
        false);
  }
  if (r->state_changed) printf("the model or the state is another than the last time: ");
  printf("%lld pictures: %lld encoded", (long long)r->found, (long long)r->encoded);
  if (r->encoded > 0 && r->seconds > 0) {
    printf(" (%.0f a second)", (double)(r->encoded + r->rerouted) / r->seconds);
  }
  printf(", %lld unchanged", (long long)r->unchanged);
  if (r->moved) printf(", %lld known by their content under another path", (long long)r->moved);
  if (r->rerouted) printf(", %lld asked for their task alone", (long long)r->rerouted);
  if (r->removed) printf(", %lld removed", (long long)r->removed);
  if (r->broken) printf(", %lld broken", (long long)r->broken);
  if (r->unread) printf(", %lld of kinds that are not read (GIF, HEIC ...)", (long long)r->unread);
  if (r->stale) printf(", %lld not searchable until they can be read", (long long)r->stale);
  printf("\n");
  return true;
}

static moeclip_code update(const mc_args *args, moeclip_index *index, moeclip_learner *learner,
                           const mc_model_choice *files, moeclip_index_report *report, moeclip_error *err) {
  const index_options *o = args->options;
  moeclip_index_options how = o->how;
  char *paths[3] = {NULL, NULL, NULL};
  shown s;
  s.inner = mc_progress_begin(&s.progress, o->quiet);
  moeclip_callbacks callbacks = {on_progress, on_broken, &s};
  moeclip_code code = absolute(files->model, &paths[0], err);
  if (code == MOECLIP_OK) code = absolute(files->state, &paths[1], err);
  if (code == MOECLIP_OK) code = absolute(files->alexnet, &paths[2], err);
  how.model_path = paths[0];
  how.state_path = paths[1];
  how.alexnet_path = paths[2];
  if (code == MOECLIP_OK) {
    code = moeclip_index_update(index, learner, args->positional, args->n_positional, &how, &callbacks, report, err);
  }
  mc_progress_end(&s.progress);
  for (int i = 0; i < 3; i++) free(paths[i]);
  return code;
}

static int run(const mc_args *args) {
  const index_options *o = args->options;
  mc_model_choice files = o->files;
  moeclip_index *index = NULL;
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_index_report report = {0};
  moeclip_error err = {0};
  bool printed = true;
  if (!o->index) return mc_usage_error(args->command, "--index is missing: the file to keep the pictures' features in");
  mc_catch_signals();
  moeclip_code code = MOECLIP_OK;
  /* A model that cannot be opened leaves no empty index behind. */
  if (files.model) code = mc_open_learner(&files, &model, &learner, &err);
  if (code == MOECLIP_OK) {
    code = files.model ? moeclip_index_create(o->index, o->relative, &index, &err)
                       : moeclip_index_open(o->index, &index, &err);
  }
  if (code == MOECLIP_OK && !learner) {
    code = mc_remembered_files(index, &files, &err);
    if (code == MOECLIP_OK) code = mc_open_learner(&files, &model, &learner, &err);
  }
  json_t *provenance = o->json ? mc_provenance(args) : NULL;
  if (code == MOECLIP_OK && o->json) code = mc_provenance_model(provenance, &files, &err);
  if (code == MOECLIP_OK) code = update(args, index, learner, &files, &report, &err);
  if (code == MOECLIP_OK) printed = print_report(o, &report, provenance);
  json_decref(provenance);
  moeclip_index_close(index);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  if (code != MOECLIP_OK) mc_report(&err);
  if (code == MOECLIP_ERROR_CANCELLED && mc_stop_signal()) return 128 + mc_stop_signal();
  return code == MOECLIP_OK && printed ? MC_EXIT_OK : MC_EXIT_FAILURE;
}

const mc_command mc_command_index = {
    .name = "index",
    .summary = "features of all pictures in folders, to search them",
    .usage = "--index FILE [--model FILE] [--state FILE] [options] [DIR...]",
    .about =
        "Goes through each DIR and all folders in it, and keeps a feature of every JPEG, PNG and WebP picture in FILE, "
        "an "
        "SQLite database. Given again, it encodes only what is new or has changed, finds moved pictures by their "
        "content, and removes those that are gone; without a DIR, it goes through all folders of before. A picture "
        "that "
        "cannot be read is reported once and left out until it changes.\n\nAn index belongs to one model and one "
        "state. With another "
        "state, pictures that it answers differently are encoded again; with another model, all.\n\nMay be stopped at "
        "any "
        "moment, and goes on the next time.",
    .examples =
        "  moeclip index --model clip.safetensors --state s.safetensors --index i.sqlite ~/Pictures\n"
        "  moeclip index --index i.sqlite\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(index_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 100000,
    .positional = "a DIR",
    .run = run,
};
