/* `moeclip data` */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "base/json.h"
#include "moeclip/benchmark_data.h"

typedef struct data_options {
  int json;
} data_options;

#define AT(field) offsetof(data_options, field)

static void defaults(void *p) { *(data_options *)p = (data_options){0}; }

static const mc_option options[] = {
    {MC_OPT_FLAG, "json", NULL, "print one JSON object", AT(json), 1, 0, 0, 0},
};

/* One set below a root. */
typedef struct finding {
  const moeclip_benchmark_set *set;
  moeclip_code code;    /* of finding it, then of opening it */
  bool found;
  char path[4096];
  size_t n_train, n_test, n_classes, n_templates;
  bool complete;        /* the known sizes */
  bool published_names; /* its class names are those that are published, or its own where none are */
  moeclip_error err;
} finding;

static moeclip_code count(const char *root, finding *f) {
  moeclip_benchmark_texts texts;
  moeclip_dataset *d;
  const moeclip_benchmark_set *s = f->set;
  MC_TRY(moeclip_benchmark_texts_load(s->name, &texts, &f->err));
  f->n_templates = texts.n_templates;
  moeclip_code code = moeclip_benchmark_find(root, s->name, f->path, sizeof f->path, &f->err);
  f->found = code == MOECLIP_OK;
  if (code == MOECLIP_OK) code = moeclip_benchmark_open(root, s->name, NULL, &d, &f->err);
  if (code == MOECLIP_OK) {
    f->n_train = moeclip_dataset_count(d, MOECLIP_TRAIN);
    f->n_test = moeclip_dataset_count(d, MOECLIP_TEST);
    f->n_classes = moeclip_dataset_classes(d);
    f->complete = f->n_train == s->n_train && f->n_test == s->n_test && f->n_classes == s->n_classes;
    f->published_names = true;
    for (size_t c = 0; c < f->n_classes && texts.n_classes; c++) {
      f->published_names &= c < texts.n_classes && strcmp(moeclip_dataset_class_name(d, c), texts.classes[c]) == 0;
    }
    moeclip_dataset_destroy(d);
  }
  moeclip_benchmark_texts_clear(&texts);
  return code;
}

static const char *state_of(const finding *f) {
  if (!f->found) return "missing";
  return f->code != MOECLIP_OK ? "damaged" : f->complete ? "complete" : "partial";
}

static void print(const finding *f) {
  const moeclip_benchmark_set *s = f->set;
  printf("%-12s  %-8s  ", s->name, state_of(f));
  if (f->code != MOECLIP_OK) {
    /* The line begins with the name; the message may, too. */
    size_t n = strlen(s->name);
    bool named = strncmp(f->err.message, s->name, n) == 0 && f->err.message[n] == ':';
    printf("%s\n", f->err.message + (named ? n + 2 : 0));
    return;
  }
  printf("%zu train, %zu test, %zu classes, %zu template%s", f->n_train, f->n_test, f->n_classes, f->n_templates,
         f->n_templates == 1 ? "" : "s");
  if (!f->complete) {
    printf(" (the whole set: %zu train, %zu test, %zu classes%s)", s->n_train, s->n_test, s->n_classes,
           f->published_names ? "" : "; class names from its own files");
  }
  printf("  %s\n", f->path);
}

static json_t *describe(const finding *f) {
  const moeclip_benchmark_set *s = f->set;
  json_t *known = json_pack("{s:I, s:I, s:I}", "train", (json_int_t)s->n_train, "test", (json_int_t)s->n_test,
                            "classes", (json_int_t)s->n_classes);
  json_t *object = json_pack("{s:s, s:s, s:I, s:b, s:o}", "name", s->name, "state", state_of(f), "templates",
                             (json_int_t)f->n_templates, "seeded_split", s->seeded_split, "known", known);
  if (f->found) mc_json_set(&object, "path", json_string(f->path));
  if (f->code == MOECLIP_OK) {
    mc_json_set(&object, "train", json_integer((json_int_t)f->n_train));
    mc_json_set(&object, "test", json_integer((json_int_t)f->n_test));
    mc_json_set(&object, "classes", json_integer((json_int_t)f->n_classes));
    mc_json_set(&object, "published_names", json_boolean(f->published_names));
  } else {
    mc_json_set(&object, "message", json_string(f->err.message));
    mc_json_set(&object, "url", json_string(s->url));
    mc_json_set(&object, "unpack_in", json_string(s->unpack_in));
    mc_json_set(&object, "folder", json_string(s->folder));
  }
  return object;
}

static int run(const mc_args *args) {
  const data_options *o = args->options;
  const char *root = args->positional[0];
  size_t n = moeclip_benchmark_count(), n_found = 0, n_complete = 0, n_damaged = 0;
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) {
    finding f = {.set = moeclip_benchmark_at(i)};
    f.code = count(root, &f);
    n_found += f.found;
    n_complete += f.complete;
    n_damaged += f.found && f.code != MOECLIP_OK;
    if (o->json) {
      mc_json_append(&list, describe(&f));
    } else {
      print(&f);
      fflush(stdout); /* counting a large set takes a while */
    }
  }
  if (!o->json) printf("%zu of %zu sets are there, %zu of them complete\n", n_found, n, n_complete);
  bool ok = !o->json || mc_json_print(json_pack("{s:s, s:O}", "root", root, "sets", list), true);
  json_decref(list);
  if (!ok) return MC_EXIT_FAILURE;
  if (n_damaged == 0) return MC_EXIT_OK;
  mc_warn("%zu of the sets in %s cannot be read", n_damaged, root);
  return MC_EXIT_FAILURE;
}

const mc_command mc_command_data = {
    .name = "data",
    .summary = "which of the benchmarks' data sets are there",
    .usage = "[options] DIR",
    .about =
        "Looks for the thirteen data sets of the published benchmarks below DIR, each in the layout in which it is "
        "downloaded and unpacked: counts pictures and classes, and tells whether they are those of the complete set. "
        "For a set that is not there it tells what to download and where to unpack it.\n\nMissing sets are no failure; "
        "a set that is there but cannot be read is one.",
    .examples =
        "  moeclip data /data\n"
        "  moeclip data --json /data\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .options_size = sizeof(data_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 1,
    .positional = "a DIR",
    .run = run,
};
