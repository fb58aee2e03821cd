/* `moeclip classify` */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/provenance.h"
#include "moeclip/image.h"

typedef struct classify_options {
  mc_model_choice files;
  mc_list templates, template_files;
  const char *labels, *labels_file, *task;
  moeclip_classify_options how;
  int json;
} classify_options;

#define AT(field) offsetof(classify_options, field)

static void defaults(void *p) {
  classify_options *o = p;
  o->files.activation = MOECLIP_ACTIVATION_AUTO;
  moeclip_classify_options_defaults(&o->how);
  o->task = "auto";
}

static const mc_option options[] = {
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights: safetensors, .pth or .pt. Needed", AT(files.model), 0, 0, 0, 0},
    {MC_OPT_TEXT, "state", "FILE", "what `moeclip learn` has learned", AT(files.state), 0, 0, 0,
     "none: zero-shot by the untouched CLIP"},
    {MC_OPT_TEXT, "labels", "\"A,B,C\"", "the candidates, split by commas", AT(labels), 0, 0, 0,
     "the classes of the task that answers"},
    {MC_OPT_TEXT, "labels-file", "FILE", "the candidates, one a line", AT(labels_file), 0, 0, 0, 0},
    {MC_OPT_LIST, "template", "TEXT", "a prompt with {} for the label. May be given several times: all are averaged",
     AT(templates), 0, 0, 0, "a photo of a {}."},
    {MC_OPT_LIST, "templates", "FILE", "prompts, one a line", AT(template_files), 0, 0, 0, 0},
    {MC_OPT_INT, "top", "K", "labels to show for a picture", AT(how.top), 1, 1000000, 0, 0},
    {MC_OPT_REAL, "logit-scale", "X", "what cosines are multiplied with for the probabilities; 100 in the published code",
     AT(how.logit_scale), 0, 1e6, 0, "the model's own"},
    {MC_OPT_TEXT, "task", "WHICH",
     "who answers: auto (the selector decides), none (the untouched CLIP), a task's name or number", AT(task), 0, 0,
     0, 0},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(files.alexnet),
     0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu", AT(files.activation), -1, 0,
     "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_FLAG, "json", NULL, "print a JSON object a picture, one a line; the first says what made them", AT(json), 1, 0, 0, 0},
};

/* --- which pictures ----------------------------------------------------------------------------------------------- */

typedef struct names {
  char **items;
  size_t n, capacity;
} names;

static void names_clear(names *l) {
  for (size_t i = 0; i < l->n; i++) free(l->items[i]);
  free(l->items);
  *l = (names){0};
}

/* Takes s over, also when this fails. */
static moeclip_code names_add(names *l, char *s, moeclip_error *err) {
  if (s && l->n == l->capacity) {
    size_t capacity = l->capacity ? 2 * l->capacity : 64;
    char **items = mc_realloc(l->items, capacity, sizeof *items);
    if (items) {
      l->items = items;
      l->capacity = capacity;
    }
  }
  if (!s || l->n == l->capacity) {
    free(s);
    return mc_fail_memory(err, l->n * sizeof s, "names of pictures");
  }
  l->items[l->n++] = s;
  return MOECLIP_OK;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static moeclip_code add_folder(names *l, const char *folder, moeclip_error *err) {
  DIR *d = opendir(folder);
  size_t first = l->n, n = strlen(folder), n_unread = 0;
  moeclip_code code = MOECLIP_OK;
  if (!d) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", folder, strerror(errno));
  for (struct dirent *e; code == MOECLIP_OK && (e = readdir(d));) {
    moeclip_picture_kind kind = moeclip_picture_kind_of(e->d_name);
    n_unread += kind == MOECLIP_PICTURE_UNREAD;
    if (kind != MOECLIP_PICTURE || e->d_name[0] == '.') continue;
    code = names_add(l, mc_format("%s%s%s", folder, folder[n - 1] == '/' ? "" : "/", e->d_name), err);
  }
  closedir(d);
  if (code == MOECLIP_OK && l->n == first) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: no picture (JPEG, PNG or WebP) lies in this folder itself", folder);
  }
  if (code == MOECLIP_OK && n_unread) {
    mc_warn("%s: %zu picture%s left out: only JPEG, PNG and WebP can be read", folder, n_unread, n_unread == 1 ? "" : "s");
  }
  if (l->n > first) qsort(l->items + first, l->n - first, sizeof *l->items, compare_names);
  return code;
}

static moeclip_code collect(const mc_args *args, names *out, moeclip_error *err) {
  for (size_t i = 0; i < args->n_positional; i++) {
    struct stat st;
    const char *path = args->positional[i];
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
      MC_TRY(add_folder(out, path, err));
    } else {
      MC_TRY(names_add(out, mc_strdup(path), err));
    }
  }
  return MOECLIP_OK;
}

/* --- labels ------------------------------------------------------------------------------------------------------- */

/* "a, b,c" as lines. */
static moeclip_code split_labels(const char *text, mc_lines *out, moeclip_error *err) {
  size_t n = 1;
  for (const char *at = text; *at; at++) n += *at == ',';
  *out = (mc_lines){.text = mc_strdup(text), .items = mc_alloc(n + 1, sizeof *out->items)};
  if (!out->text || !out->items) {
    mc_lines_clear(out);
    return mc_fail_memory(err, strlen(text), "labels");
  }
  for (char *at = out->text, *next; at; at = next) {
    char *comma = strchr(at, ',');
    next = comma ? comma + 1 : NULL;
    if (comma) *comma = 0;
    at += strspn(at, " \t");
    size_t length = strlen(at);
    while (length > 0 && strchr(" \t", at[length - 1])) at[--length] = 0;
    if (length > 0) out->items[out->n++] = at;
  }
  if (out->n > 0) return MOECLIP_OK;
  mc_lines_clear(out);
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "--labels: \"%s\" holds no label", text);
}

static moeclip_code read_labels(const classify_options *o, mc_lines *out, moeclip_error *err) {
  *out = (mc_lines){0};
  if (o->labels) return split_labels(o->labels, out, err);
  return o->labels_file ? mc_lines_read(o->labels_file, out, err) : MOECLIP_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

typedef struct job {
  const classify_options *o;
  moeclip_learner *learner;
  moeclip_classify_options how;
  int64_t n_broken;
  json_t *provenance; /* goes with the first line of JSON; then NULL */
  bool failed_output;
} job;

static const char *task_name(const moeclip_learner *learner, int task) {
  moeclip_task_info info;
  return task >= 0 && moeclip_learner_task(learner, task, &info, NULL) == MOECLIP_OK ? info.name : NULL;
}

/* Takes the object over; NULL: the path is not UTF-8, which JSON must be. */
static void print_object(job *j, json_t *object) {
  if (!object) object = json_pack("{s:n, s:s}", "image", "error", "the path is not UTF-8");
  if (object && j->provenance) mc_json_set(&object, "provenance", j->provenance);
  j->provenance = NULL;
  if (!mc_json_print(object, false)) j->failed_output = true;
}

static void print_answer(job *j, const char *path, const moeclip_answer *a) {
  const char *task = task_name(j->learner, a->task);
  if (j->o->json) {
    json_t *labels = json_array();
    for (int i = 0; i < a->n_labels; i++) {
      mc_json_append(&labels, json_pack("{s:s, s:i, s:o}", "label", a->name[i], "index", a->label[i],
                                              "probability", mc_json_real((double)a->probability[i])));
    }
    json_t *object = json_pack("{s:s, s:s?, s:o, s:o}", "image", path, "task", task, "score", mc_json_real(a->score),
                               "labels", labels);
    print_object(j, object);
    return;
  }
  printf("%s  (%s%s", path, task ? "task " : "zero-shot", task ? task : "");
  /* Far from every task, how far exactly says nothing. */
  if (isfinite(a->score) && a->score >= 1000) {
    printf(", selector over 1000");
  } else if (isfinite(a->score)) {
    printf(", selector %.3f", a->score);
  }
  printf(")\n");
  for (int i = 0; i < a->n_labels; i++) printf("  %6.2f %%  %s\n", 100 * (double)a->probability[i], a->name[i]);
}

static void print_broken(job *j, const char *path, const moeclip_error *err) {
  j->n_broken++;
  mc_report(err);
  if (!j->o->json) return;
  print_object(j, json_pack("{s:s, s:s}", "image", path, "error", err->message));
}

enum { PIECE = 32 };
#define PIECE_BYTES ((size_t)512 << 20) /* decoded pictures kept at once */
#define KEPT_LABELS ((size_t)256 << 20) /* features of labels */

/* Pictures first..first + *n - 1: fewer when they are large. */
static moeclip_code classify_piece(job *j, char *const *paths, int *n, moeclip_error *err) {
  moeclip_image images[PIECE];
  moeclip_error failures[PIECE];
  moeclip_answer answers[PIECE];
  int n_good = 0, n_seen = 0, good[PIECE];
  size_t bytes = 0;
  memset(answers, 0, sizeof answers);
  for (; n_seen < *n && bytes < PIECE_BYTES; n_seen++) {
    failures[n_seen].code = moeclip_image_load(paths[n_seen], &images[n_good], &failures[n_seen]);
    if (failures[n_seen].code != MOECLIP_OK) continue;
    bytes += 3 * (size_t)images[n_good].width * (size_t)images[n_good].height;
    good[n_good++] = n_seen;
  }
  *n = n_seen;
  moeclip_code code = MOECLIP_OK;
  if (n_good > 0) code = moeclip_learner_classify(j->learner, images, n_good, &j->how, answers, err);
  for (int i = 0, k = 0; code == MOECLIP_OK && i < n_seen; i++) {
    if (k < n_good && good[k] == i) {
      print_answer(j, paths[i], &answers[k++]);
    } else {
      print_broken(j, paths[i], &failures[i]);
    }
  }
  if (code == MOECLIP_OK && n_good > 0) moeclip_answers_clear(answers, n_good);
  for (int i = 0; i < n_good; i++) moeclip_image_clear(&images[i]);
  return code;
}

static moeclip_code classify_all(job *j, const names *pictures, moeclip_error *err) {
  for (size_t at = 0; at < pictures->n && !mc_stop_signal();) {
    int n = pictures->n - at < PIECE ? (int)(pictures->n - at) : PIECE;
    MC_TRY(classify_piece(j, pictures->items + at, &n, err));
    fflush(stdout);
    at += (size_t)n;
  }
  return mc_stop_signal() ? mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped") : MOECLIP_OK;
}

static int check_usage(const mc_args *args) {
  const classify_options *o = args->options;
  if (!o->files.model) return mc_usage_error(args->command, "--model is missing: the CLIP that answers");
  if (o->labels && o->labels_file)
    return mc_usage_error(args->command, "--labels and --labels-file exclude each other");
  bool labels = o->labels || o->labels_file;
  if (!o->files.state && !labels) {
    return mc_usage_error(args->command, "without --state, the candidates are needed: --labels \"cat,dog\"");
  }
  if (!labels && (o->templates.n || o->template_files.n)) {
    return mc_usage_error(args->command, "--template and --templates need --labels or --labels-file");
  }
  return MC_EXIT_OK;
}

/* The pictures are in the lines. */
static moeclip_code what_made_it(const mc_args *args, json_t **out, moeclip_error *err) {
  const classify_options *o = args->options;
  *out = mc_provenance(args);
  if (!*out) return mc_fail_memory(err, 4096, "what made a result");
  json_object_del(*out, "arguments");
  MC_TRY(mc_provenance_model(*out, &o->files, err));
  return mc_provenance_file(*out, "labels", o->labels_file, err);
}

static int run(const mc_args *args) {
  const classify_options *o = args->options;
  moeclip_model *model = NULL;
  moeclip_error err = {0};
  names pictures = {0};
  mc_lines labels = {0};
  mc_prompts prompts = {0};
  job j = {.o = o, .how = o->how};
  if (check_usage(args) != MC_EXIT_OK) return MC_EXIT_USAGE;
  mc_catch_signals();
  moeclip_code code = collect(args, &pictures, &err);
  if (code == MOECLIP_OK) code = read_labels(o, &labels, &err);
  if (code == MOECLIP_OK) code = mc_prompts_collect(&o->templates, &o->template_files, NULL, &prompts, &err);
  if (code == MOECLIP_OK) code = mc_open_learner(&o->files, &model, &j.learner, &err);
  if (code == MOECLIP_OK) code = mc_task_by_name(j.learner, o->task, &j.how.task, &err);
  if (code == MOECLIP_OK && o->json) code = what_made_it(args, &j.provenance, &err);
  if (code == MOECLIP_OK) {
    moeclip_learner_keep_labels(j.learner, KEPT_LABELS); /* the pieces ask for the same ones */
    j.how.labels = labels.n ? labels.items : NULL;
    j.how.n_labels = labels.n;
    j.how.templates = prompts.n ? prompts.items : NULL;
    j.how.n_templates = prompts.n;
    code = classify_all(&j, &pictures, &err);
  }
  json_decref(j.provenance);
  moeclip_learner_destroy(j.learner);
  moeclip_model_destroy(model);
  names_clear(&pictures);
  mc_lines_clear(&labels);
  mc_prompts_clear(&prompts);
  if (code != MOECLIP_OK) mc_report(&err);
  if (code == MOECLIP_ERROR_CANCELLED && mc_stop_signal()) return 128 + mc_stop_signal();
  return code != MOECLIP_OK || j.n_broken > 0 || j.failed_output ? MC_EXIT_FAILURE : MC_EXIT_OK;
}

const mc_command mc_command_classify = {
    .name = "classify",
    .summary = "what is on these pictures",
    .usage = "--model FILE [--state FILE] [options] IMAGE...",
    .about =
        "Prints the most probable labels of each IMAGE (JPEG, PNG or WebP; a folder stands for all pictures in it), "
        "and who answered: a learned task, or the untouched CLIP when the selector takes the picture for none of the "
        "tasks' own. The selector's number is its error over the nearest task's threshold: above 1, that task was "
        "turned down.\n\nA picture that cannot be read is reported and left out; the exit code is then 1.",
    .examples =
        "  moeclip classify --model clip.safetensors --state s.safetensors picture.jpg\n"
        "  moeclip classify --model clip.safetensors --labels \"cat,dog,horse\" --top 1 pictures/\n"
        "  moeclip classify --model clip.safetensors --state s.safetensors --task birds --json *.png\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(classify_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 10000000,
    .positional = "an IMAGE",
    .run = run,
};
