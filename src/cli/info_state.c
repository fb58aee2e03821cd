#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/info.h"

/* Element i of a tensor of int64, uint8 or float64; 0 outside. */
static double element(const moeclip_tensor *t, size_t i) {
  if (!t || i >= moeclip_tensor_elements(t)) return 0;
  const char *at = (const char *)t->data + i * moeclip_dtype_size(t->dtype);
  int64_t whole;
  double real;
  switch (t->dtype) {
    case MOECLIP_I64: memcpy(&whole, at, sizeof whole); return (double)whole;
    case MOECLIP_U8: return *(const unsigned char *)at;
    case MOECLIP_F64: memcpy(&real, at, sizeof real); return real;
    default: return 0;
  }
}

static const moeclip_tensor *block_tensor(const moeclip_tensors *t, const char *what, const char *tower, int block) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s.%d", what, tower, block);
  return moeclip_tensors_find(t, name);
}

static void describe_tower(const moeclip_tensors *t, const char *tower, json_t **blocks) {
  for (int b = 0; b < 100000; b++) {
    const moeclip_tensor *frozen = block_tensor(t, "frozen", tower, b);
    const moeclip_tensor *counts = block_tensor(t, "counts", tower, b);
    if (!frozen && !counts) break;
    size_t n = moeclip_tensor_elements(frozen ? frozen : counts);
    json_t *which = json_array(), *used = json_array();
    for (size_t e = 0; e < n; e++) {
      if (element(frozen, e) > 0) mc_json_append(&which, json_integer((json_int_t)e));
      if (counts) mc_json_append(&used, json_integer((json_int_t)element(counts, e)));
    }
    mc_json_append(blocks, json_pack("{s:s, s:i, s:I, s:o, s:o}", "tower", tower, "block", b, "experts",
                                            (json_int_t)n, "frozen", which, "counts", used));
  }
}

/* Whose a tensor is: the number behind `part` of its name; -1 when the name has no such part. */
static long number_in(const char *name, const char *part) {
  const char *at = strstr(name, part);
  return at ? strtol(at + strlen(part), NULL, 10) : -1;
}

/* How many experts the router of a task sees; 0 when it has none of its own. */
static long experts_seen(const moeclip_tensors *t, long task) {
  char name[96];
  snprintf(name, sizeof name, "visual.transformer.resblocks.0.router_list.%ld", task);
  const moeclip_tensor *gate = task < 0 ? NULL : moeclip_tensors_find(t, name);
  return gate && gate->rank == 2 ? (long)gate->shape[1] : 0;
}

/* How many numbers came with a task, from the tensors' names and shapes: a router sees the experts of its own time, so those that the
 * one before does not see came with its task. */
static json_t *count_parameters(const moeclip_tensors *t, long task) {
  long long experts = 0, router = 0, selector = 0;
  long now = experts_seen(t, task), before = now > 0 ? experts_seen(t, task - 1) : 0;
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *one = moeclip_tensors_at(t, i);
    long long n = (long long)moeclip_tensor_elements(one);
    if (strncmp(one->name, "optimizer.", 10) == 0) continue;
    long expert = number_in(one->name, ".adaptmlp_list.");
    if (expert >= before && expert < now) experts += n;
    if (number_in(one->name, ".router_list.") == task || number_in(one->name, ".w_noise_list.") == task) router += n;
    if (strncmp(one->name, "selector.", 9) == 0 && number_in(one->name, "selector.") == task + 1) selector += n;
  }
  return json_pack("{s:I, s:I, s:I, s:I}", "new_experts", (json_int_t)(now - before), "experts", (json_int_t)experts, "router",
                   (json_int_t)router, "selector", (json_int_t)selector);
}

json_t *mc_info_state(const moeclip_tensors *t) {
  const char *format = moeclip_tensors_metadata(t, "moeclip.format");
  const char *text = moeclip_tensors_metadata(t, "moeclip.state");
  if (!format || strncmp(format, "state ", 6) != 0 || !text) return NULL;
  json_error_t unused;
  bool no_memory;
  json_t *state = mc_json_read(text, strlen(text), JSON_REJECT_DUPLICATES, &unused, &no_memory);
  if (!json_is_object(state)) {
    json_decref(state);
    return NULL;
  }
  const char *step = moeclip_tensors_metadata(t, "checkpoint.step");
  const char *checksum = moeclip_tensors_metadata(t, "moeclip.checksum");
  const moeclip_tensor *thresholds = moeclip_tensors_find(t, "selector.thresholds");
  const moeclip_tensor *reference = moeclip_tensors_find(t, "selector.reference");
  json_t *list = json_array(), *blocks = json_array();
  for (size_t i = 0; thresholds && i < moeclip_tensor_elements(thresholds); i++) {
    mc_json_append(&list, mc_json_real(element(thresholds, i)));
  }
  describe_tower(t, "visual", &blocks);
  describe_tower(t, "text", &blocks);
  mc_json_set(&state, "format", json_string(format));
  mc_json_set(&state, "checksum", checksum ? json_string(checksum) : json_null());
  mc_json_set(&state, "checkpoint_step", step ? json_integer(strtoll(step, NULL, 10)) : json_null());
  mc_json_set(&state, "thresholds", list);
  mc_json_set(&state, "reference_pictures",
                      json_integer(reference && reference->rank > 0 ? reference->shape[0] : 0));
  mc_json_set(&state, "has_reference",
                      json_boolean(moeclip_tensors_find(t, "selector.0.encoder.0.weight") != NULL ||
                                   moeclip_tensors_find(t, "selector.0.mean") != NULL));
  json_t *parameters = json_array();
  for (size_t i = 0; i < json_array_size(json_object_get(state, "tasks")); i++) {
    mc_json_append(&parameters, count_parameters(t, (long)i));
  }
  mc_json_set(&state, "parameters", parameters);
  mc_json_set(&state, "blocks", blocks);
  return state;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static long long number(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key) {
  const char *s = json_string_value(json_object_get(object, key));
  return s ? s : "?";
}

static void print_strings(const json_t *list, size_t most) {
  size_t i, n = json_array_size(list);
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    if (i == most) {
      printf(" ... (%zu in all)", n);
      break;
    }
    const char *s = json_string_value(item);
    printf("%s%s", i ? ", " : "", s ? s : "?");
  }
}

static void print_parameters(const json_t *p) {
  if (!p) return;
  printf("\n       came with it: %lld experts a block, %lld numbers in experts, %lld in routers, %lld in the selector",
         number(p, "new_experts"), number(p, "experts"), number(p, "router"), number(p, "selector"));
}

static void print_tasks(const json_t *state) {
  const json_t *tasks = json_object_get(state, "tasks"), *thresholds = json_object_get(state, "thresholds");
  size_t n = json_array_size(tasks);
  printf("  %zu task%s\n", n, n == 1 ? "" : "s");
  for (size_t t = 0; t < n; t++) {
    const json_t *task = json_array_get(tasks, t), *threshold = json_array_get(thresholds, t);
    printf("  %3zu  %s: %zu classes, %lld pictures, %lld steps", t, text_of(task, "name"),
           json_array_size(json_object_get(task, "classes")), number(task, "images"), number(task, "iterations"));
    if (json_is_real(threshold)) printf(", threshold %.5g", json_real_value(threshold));
    print_parameters(json_array_get(json_object_get(state, "parameters"), t));
    printf("\n       classes: ");
    print_strings(json_object_get(task, "classes"), 12);
    printf("\n       prompts: ");
    print_strings(json_object_get(task, "templates"), 6);
    printf("\n");
  }
}

static void print_block(const json_t *block) {
  size_t i;
  json_t *e;
  printf("  %-6s %2lld: %lld experts, %zu frozen", text_of(block, "tower"), number(block, "block"),
         number(block, "experts"), json_array_size(json_object_get(block, "frozen")));
  json_array_foreach(json_object_get(block, "frozen"), i, e) {
    printf("%s%lld", i ? " " : " (", (long long)json_integer_value(e));
  }
  printf("%s; used in the last task:", json_array_size(json_object_get(block, "frozen")) ? ")" : "");
  json_array_foreach(json_object_get(block, "counts"), i, e) printf(" %lld", (long long)json_integer_value(e));
  printf("\n");
}

void mc_info_print_state(const json_t *state) {
  size_t i;
  json_t *block;
  if (!state) return;
  bool moe = strcmp(text_of(state, "mode"), "moe") == 0;
  printf("state of a learner (%s): mode %s, backbone %s, seed %s\n", text_of(state, "format"), text_of(state, "mode"),
         text_of(state, "backbone"), text_of(state, "seed"));
  if (json_is_integer(json_object_get(state, "checkpoint_step"))) {
    printf("  a checkpoint: the last task is unfinished, %lld steps done\n", number(state, "checkpoint_step"));
  }
  print_tasks(state);
  if (!moe) return;
  const json_t *selector = json_object_get(state, "selector");
  const char *kind = json_string_value(json_object_get(selector, "kind"));
  if (!kind) kind = "autoencoder"; /* all there was when the state was written */
  printf("  selector: %s, %lld %s, ", kind, number(selector, "hidden"),
         strcmp(kind, "autoencoder") == 0 ? "hidden units" : "directions at most");
  if (*text_of(selector, "alexnet") && strcmp(text_of(selector, "alexnet"), "?") != 0) {
    printf("AlexNet %s", text_of(selector, "alexnet"));
  } else {
    printf("tokens after block %lld of the image tower", number(selector, "layer"));
  }
  printf(", %s\n", json_is_true(json_object_get(state, "has_reference")) ? "with a reference set" : "no reference set");
  printf("  experts: %lld at the start, top %lld, bottleneck %lld, a task freezes %lld%s\n", number(state, "experts"),
         number(state, "top_k"), number(state, "bottleneck"), number(state, "freeze_per_task"),
         json_is_false(json_object_get(state, "text_adapters")) ? ", image tower alone" : "");
  json_array_foreach(json_object_get(state, "blocks"), i, block) print_block(block);
}
