/* Prompts, class names and class orders that are published with the benchmarks: two JSON files in the library. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "data/benchmark.h"

/* As in text/vocabulary.c: the folder is the source tree's, known when the library is built. */
#define EMBED(name, file)                             \
  __asm__(                                            \
      ".pushsection .rodata\n"                        \
      ".balign 16\n"                                  \
      ".global " name "_begin\n"                      \
      ".hidden " name "_begin\n" name "_begin:\n"     \
      ".incbin \"" MOECLIP_DATA_DIR "/" file "\"\n"   \
      ".global " name "_end\n"                        \
      ".hidden " name "_end\n" name "_end:\n"         \
      ".byte 0\n"                                     \
      ".popsection\n")

EMBED("mc_benchmark_sets", "datasets.json");
EMBED("mc_benchmark_orders", "class_orders.json");

extern const char mc_benchmark_sets_begin[] __attribute__((visibility("hidden")));
extern const char mc_benchmark_sets_end[] __attribute__((visibility("hidden")));
extern const char mc_benchmark_orders_begin[] __attribute__((visibility("hidden")));
extern const char mc_benchmark_orders_end[] __attribute__((visibility("hidden")));

/* The texts stay inside the parsed files. */
typedef struct held {
  json_t *sets, *orders;
  const char **templates, **classes, **ids;
  int *order;
} held;

static moeclip_code parse(const char *begin, const char *end, json_t **out, moeclip_error *err) {
  json_error_t error;
  bool no_memory = false;
  size_t n = (size_t)((uintptr_t)end - (uintptr_t)begin);
  *out = mc_json_read(begin, n, 0, &error, &no_memory);
  if (no_memory) return mc_fail_memory(err, n, "the benchmarks' texts");
  if (*out) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the benchmarks' texts in the library: line %d: %s", error.line,
                 error.text);
}

/* The texts of an array, or, with a key, of its objects. */
static moeclip_code strings(const json_t *array, const char *key, const char ***out, size_t *n, moeclip_error *err) {
  *n = json_array_size(array);
  *out = *n ? mc_alloc(*n, sizeof **out) : NULL;
  if (*n && !*out) return mc_fail_memory(err, *n * sizeof **out, "a benchmark's texts");
  for (size_t i = 0; i < *n; i++) {
    const json_t *item = json_array_get(array, i);
    (*out)[i] = json_string_value(key ? json_object_get(item, key) : item);
    if (!(*out)[i]) return mc_fail(err, MOECLIP_ERROR_INTERNAL, "a text of the benchmarks is none");
  }
  return MOECLIP_OK;
}

static moeclip_code fill(const char *set, held *h, moeclip_benchmark_texts *out, moeclip_error *err) {
  static const char *const digits[] = {"0 - zero", "1 - one", "2 - two",   "3 - three", "4 - four",
                                       "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"};
  /* The class-incremental benchmark has this one prompt. */
  static const char *const incremental[] = {"a bad photo of a {}."};
  bool tiny = strcmp(set, "TinyImageNet") == 0;
  MC_TRY(parse(mc_benchmark_sets_begin, mc_benchmark_sets_end, &h->sets, err));
  MC_TRY(parse(mc_benchmark_orders_begin, mc_benchmark_orders_end, &h->orders, err));
  const json_t *object = json_object_get(h->sets, set), *known = json_object_get(h->orders, "tinyimagenet_classes");
  MC_TRY(strings(json_object_get(object, "templates"), NULL, &h->templates, &out->n_templates, err));
  out->templates = h->templates;
  if (tiny) {
    out->templates = incremental;
    out->n_templates = 1;
    MC_TRY(strings(known, "wnid", &h->ids, &out->n_classes, err));
    MC_TRY(strings(known, "name", &h->classes, &out->n_classes, err));
  } else {
    MC_TRY(strings(json_object_get(object, "class_names"), NULL, &h->classes, &out->n_classes, err));
  }
  out->classes = h->classes;
  out->ids = h->ids;
  if (strcmp(set, "MNIST") == 0) { /* the names that its published evaluation takes from torchvision */
    out->classes = digits;
    out->n_classes = sizeof digits / sizeof *digits;
  }
  const json_t *order = json_object_get(h->orders, tiny ? "tinyimagenet"
                                                        : strcmp(set, "CIFAR100") == 0 ? "cifar100" : "");
  out->n_order = json_array_size(order);
  h->order = mc_alloc(out->n_order + 1, sizeof *h->order);
  if (!h->order) return mc_fail_memory(err, out->n_order * sizeof *h->order, "a class order");
  for (size_t i = 0; i < out->n_order; i++) h->order[i] = (int)json_integer_value(json_array_get(order, i));
  out->order = h->order;
  return MOECLIP_OK;
}

moeclip_code moeclip_benchmark_texts_load(const char *set, moeclip_benchmark_texts *out, moeclip_error *err) {
  const moeclip_benchmark_set *known = moeclip_benchmark_by_name(set);
  *out = (moeclip_benchmark_texts){0};
  if (!known) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" is none of the benchmarks' data sets", set);
  held *h = calloc(1, sizeof *h);
  if (!h) return mc_fail_memory(err, sizeof *h, "a benchmark's texts");
  out->memory = h;
  moeclip_code code = fill(known->name, h, out, err);
  if (code != MOECLIP_OK) moeclip_benchmark_texts_clear(out);
  return code;
}

moeclip_code moeclip_benchmark_order(const char *name, int *out, size_t n_out, size_t *n, moeclip_error *err) {
  json_t *orders;
  *n = 0;
  MC_TRY(parse(mc_benchmark_orders_begin, mc_benchmark_orders_end, &orders, err));
  const json_t *order = json_object_get(orders, name);
  bool known = json_is_integer(json_array_get(order, 0));
  for (; *n < json_array_size(order) && known; (*n)++) {
    if (*n < n_out) out[*n] = (int)json_integer_value(json_array_get(order, *n));
  }
  json_decref(orders);
  if (known) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%.60s\" is none of the class orders: cifar100, tinyimagenet, imagenet100",
                 name);
}

void moeclip_benchmark_texts_clear(moeclip_benchmark_texts *t) {
  held *h = t->memory;
  if (h) {
    json_decref(h->sets);
    json_decref(h->orders);
    free(h->templates);
    free(h->classes);
    free(h->ids);
    free(h->order);
    free(h);
  }
  *t = (moeclip_benchmark_texts){0};
}
