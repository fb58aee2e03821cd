/* `moeclip search` */
#include "cli/provenance.h"
#include "cli/search.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "moeclip/image.h"

typedef struct search_options {
  mc_model_choice files;
  mc_list images, templates, template_files;
  const char *index, *sheet;
  moeclip_search_options how;
  int ranking, json;
} search_options;

#define AT(field) offsetof(search_options, field)

static void defaults(void *p) {
  search_options *o = p;
  o->files.activation = MOECLIP_ACTIVATION_AUTO;
  moeclip_search_options_defaults(&o->how);
}

static const mc_option options[] = {
    {MC_OPT_TEXT, "index", "FILE", "what `moeclip index` made. Needed", AT(index), 0, 0, 0, 0},
    {MC_OPT_LIST, "image", "FILE", "search for pictures like this one. May be given several times", AT(images), 0, 0, 0,
     0},
    {MC_OPT_INT, "top", "K", "pictures to show for a query", AT(how.top), 1, 1000000, 0, 0},
    {MC_OPT_TEXT, "task", "NAME", "only pictures of this task; none: of no task", AT(how.task), 0, 0, 0, 0},
    {MC_OPT_TEXT, "under", "DIR", "only pictures in this folder and those in it", AT(how.under), 0, 0, 0, 0},
    {MC_OPT_REAL, "min-score", "X", "only pictures with at least this score", AT(how.min_score), -2, 2, 0, "all"},
    {MC_OPT_LIST, "template", "TEXT", "a prompt with {} for the query. May be given several times: all are averaged",
     AT(templates), 0, 0, 0, "the query as it is"},
    {MC_OPT_LIST, "templates", "FILE", "prompts, one a line", AT(template_files), 0, 0, 0, 0},
    {MC_OPT_CHOICE, "ranking", "calibrated|cosine",
     "calibrated: the cosine less what the picture has with words at large, which makes tasks comparable; for --image: "
     "pictures of its own task first; cosine: as it is",
     AT(ranking), 0, 0, "calibrated|cosine", 0},
    {MC_OPT_TEXT, "open-html", "FILE", "write a contact sheet, to be opened in a browser", AT(sheet), 0, 0, 0, 0},
    {MC_OPT_TEXT, "model", "FILE", "CLIP weights", AT(files.model), 0, 0, 0, "that of the index"},
    {MC_OPT_TEXT, "state", "FILE", "what `moeclip learn` has learned", AT(files.state), 0, 0, 0,
     "with --model: none, the untouched CLIP; else that of the index"},
    {MC_OPT_TEXT, "alexnet", "FILE", "the AlexNet weights that the state's selector was made with", AT(files.alexnet),
     0, 0, 0, 0},
    {MC_OPT_CHOICE, "activation", "auto|quick-gelu|gelu",
     "of CLIP's blocks; auto: what the file or the configuration beside it says, else quick-gelu",
     AT(files.activation), -1, 0, "auto|quick-gelu|gelu", 0},
    {MC_OPT_CHOICE, "precision", "auto|float32|bfloat16", MC_PRECISION_HELP, AT(files.precision), 0, 0, "auto|float32|bfloat16", 0},
    {MC_OPT_INT, "threads", "N", "that compute", AT(files.n_threads), 1, 4096, 0, "as many as there are processors"},
    {MC_OPT_FLAG, "json", NULL, "print a JSON object a query, one a line", AT(json), 1, 0, 0, 0},
};

/* --- queries ------------------------------------------------------------------------------------------------------ */

typedef struct job {
  const char **titles;    /* [n] */
  moeclip_query *queries; /* [n]: the texts, then the pictures */
  moeclip_image *images;  /* [n] */
  moeclip_hits *hits;     /* [n] */
  size_t n;
} job;

static void job_clear(job *j) {
  for (size_t i = 0; j->images && i < j->n; i++) moeclip_image_clear(&j->images[i]);
  for (size_t i = 0; j->hits && i < j->n; i++) moeclip_hits_clear(&j->hits[i]);
  free(j->titles);
  free(j->queries);
  free(j->images);
  free(j->hits);
}

static moeclip_code job_make(const mc_args *args, job *j, moeclip_error *err) {
  const search_options *o = args->options;
  j->n = args->n_positional + o->images.n;
  j->titles = calloc(j->n, sizeof *j->titles);
  j->queries = calloc(j->n, sizeof *j->queries);
  j->images = calloc(j->n, sizeof *j->images);
  j->hits = calloc(j->n, sizeof *j->hits);
  if (!j->titles || !j->queries || !j->images || !j->hits)
    return mc_fail_memory(err, j->n * sizeof *j->hits, "queries");
  for (size_t i = 0; i < j->n; i++) {
    if (i < args->n_positional) {
      j->titles[i] = j->queries[i].text = args->positional[i];
    } else {
      j->titles[i] = o->images.items[i - args->n_positional];
      MC_TRY(moeclip_image_load(j->titles[i], &j->images[i], err));
      j->queries[i].image = &j->images[i];
    }
  }
  return MOECLIP_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool print_json(const job *j, size_t q, json_t *provenance) {
  json_t *hits = json_array();
  for (size_t i = 0; i < j->hits[q].n; i++) {
    const moeclip_hit *h = &j->hits[q].items[i];
    json_t *hit = json_pack("{s:o, s:o, s:s?}", "score", mc_json_real(h->score), "cosine", mc_json_real(h->cosine),
                            "task", h->task);
    mc_json_path(&hit, h->path);
    mc_json_append(&hits, hit);
  }
  char *title = mc_path_text(j->titles[q]);
  json_t *object = json_pack("{s:s, s:o, s:O}", j->queries[q].text ? "query" : "image", title,
                             "hits", hits, "provenance", provenance);
  free(title);
  return mc_json_print(object, false);
}

/* Names come from the user's folders: whatever would move the cursor becomes a '?'. */
static void print_path(const char *path) {
  for (; *path; path++) putchar((unsigned char)*path < 32 || *path == 127 ? '?' : *path);
}

static void print_text(const job *j, size_t q) {
  if (j->n > 1) {
    printf(q ? "\n" : "");
    print_path(j->titles[q]);
    printf(":\n");
  }
  for (size_t i = 0; i < j->hits[q].n; i++) {
    const moeclip_hit *h = &j->hits[q].items[i];
    printf("%7.4f  %-12s ", h->score, h->task ? h->task : "-");
    print_path(h->path);
    putchar('\n');
  }
  if (j->hits[q].n == 0) fprintf(stderr, "moeclip: nothing was found for \"%s\"\n", j->titles[q]);
}

static int check_usage(const mc_args *args) {
  const search_options *o = args->options;
  if (!o->index) return mc_usage_error(args->command, "--index is missing: what `moeclip index` made");
  if (args->n_positional + o->images.n == 0) {
    return mc_usage_error(args->command, "what is to be found? a QUERY such as \"a red car\", or --image FILE");
  }
  for (size_t i = 0; i < args->n_positional; i++) {
    if (!*args->positional[i]) return mc_usage_error(args->command, "an empty QUERY");
  }
  if (args->n_positional == 0 && (o->templates.n || o->template_files.n)) {
    return mc_usage_error(args->command, "--template and --templates need a QUERY");
  }
  return MC_EXIT_OK;
}

/* The index holds each picture's own hash; beside the files that encode the query, what it was made with names it. */
static moeclip_code describe(const mc_args *args, const mc_model_choice *files, moeclip_index *index, json_t **out,
                             moeclip_error *err) {
  const search_options *o = args->options;
  moeclip_index_info info;
  *out = mc_provenance(args);
  MC_TRY(mc_provenance_model(*out, files, err));
  for (size_t i = 0; i < o->images.n; i++) {
    char what[32];
    snprintf(what, sizeof what, "image %zu", i + 1);
    MC_TRY(mc_provenance_file(*out, what, o->images.items[i], err));
  }
  MC_TRY(moeclip_index_get_info(index, &info, err));
  json_t *of_index = json_pack("{s:s, s:s, s:I}", "backbone", info.backbone, "state", info.state, "pictures", (json_int_t)info.pictures);
  if (json_object_set_new(json_object_get(*out, "inputs"), "index", of_index) == 0) return MOECLIP_OK;
  return mc_fail_memory(err, 256, "the description of the index");
}

static int run(const mc_args *args) {
  const search_options *o = args->options;
  mc_model_choice files = o->files;
  moeclip_search_options how = o->how;
  moeclip_index *index = NULL;
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_error err = {0};
  mc_prompts prompts = {0};
  job j = {0};
  bool printed = true;
  if (check_usage(args) != MC_EXIT_OK) return MC_EXIT_USAGE;
  moeclip_code code = job_make(args, &j, &err);
  if (code == MOECLIP_OK) code = mc_prompts_collect(&o->templates, &o->template_files, NULL, &prompts, &err);
  if (code == MOECLIP_OK) code = moeclip_index_open(o->index, &index, &err);
  if (code == MOECLIP_OK) code = mc_remembered_files(index, &files, &err);
  if (code == MOECLIP_OK) code = mc_open_learner(&files, &model, &learner, &err);
  json_t *provenance = NULL; /* now: the names of remembered files are the index's, until it is asked again */
  if (code == MOECLIP_OK && (o->json || o->sheet)) code = describe(args, &files, index, &provenance, &err);
  how.templates = prompts.items;
  how.n_templates = prompts.n;
  how.ranking = (moeclip_ranking)o->ranking;
  if (code == MOECLIP_OK) code = moeclip_index_search(index, learner, j.queries, j.n, &how, j.hits, &err);
  for (size_t q = 0; code == MOECLIP_OK && q < j.n; q++) {
    if (o->json) {
      printed = print_json(&j, q, provenance) && printed;
    } else {
      print_text(&j, q);
    }
  }
  if (code == MOECLIP_OK && o->sheet) code = mc_search_sheet(o->sheet, j.titles, j.hits, j.n, provenance, &err);
  json_decref(provenance);
  job_clear(&j);
  mc_prompts_clear(&prompts);
  moeclip_index_close(index);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  if (code != MOECLIP_OK) mc_report(&err);
  return code == MOECLIP_OK && printed ? MC_EXIT_OK : MC_EXIT_FAILURE;
}

const mc_command mc_command_search = {
    .name = "search",
    .summary = "finds pictures of an index by a text or a picture",
    .usage = "--index FILE [options] QUERY...",
    .about =
        "Prints the pictures that fit each QUERY best, with score, task and path. A picture of a learned task is "
        "compared "
        "with the query as that task's adapters encode it; one of no task with what the untouched CLIP makes of it. "
        "docs/SEARCH.md tells how scores of different tasks are ranked together.",
    .examples =
        "  moeclip search --index i.sqlite \"a red car\" \"a cat on a sofa\"\n"
        "  moeclip search --index i.sqlite --image car.jpg --top 20 --open-html found.html\n"
        "  moeclip search --index i.sqlite --under ~/Pictures/2024 --template \"a photo of a {}.\" dog\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(search_options),
    .defaults = defaults,
    .min_positional = 0,
    .max_positional = 10000,
    .positional = "a QUERY",
    .run = run,
};
