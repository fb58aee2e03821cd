/* The command lines of a compared run: learning, and then evaluating once more. */
#include "cli/compare.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"

/* Takes the text over. */
static void add(mc_words *w, char *text) {
  char **items = text ? mc_realloc(w->items, w->n + 2, sizeof *items) : NULL;
  if (items) w->items = items;
  if (!items) {
    w->failed = true;
    free(text);
    return;
  }
  w->items[w->n++] = text;
  w->items[w->n] = NULL;
}

void mc_words_clear(mc_words *w) {
  for (size_t i = 0; i < w->n; i++) free(w->items[i]);
  free(w->items);
}

bool mc_compare_is_for(const char *text, const char *method, bool all_too, const char **value) {
  size_t n = strlen(method);
  *value = text;
  if (strncmp(text, method, n) == 0 && text[n] == '=') {
    *value = text + n + 1;
    return true;
  }
  return all_too && !strchr(text, '=');
}

static bool uses_reference(const char *method) {
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  return moeclip_mode_find(method, &o.mode) && moeclip_uses_reference(&o);
}

/* Options that were given and are `learn`'s too, with the values that they were given. */
static void add_shared(mc_words *w, const mc_args *args, const char *method) {
  static const char *const own[] = {"out", "methods", "orders", "seeds", "with", "lr", "json"};
  for (size_t i = 0; i < args->command->n_options; i++) {
    const mc_option *o = &args->command->options[i];
    const char *at = (const char *)args->options + o->offset;
    bool mine = o->kind == MC_OPT_HEADING || !args->given[i];
    mine = mine || (strcmp(o->name, "reference") == 0 && !uses_reference(method));
    for (size_t k = 0; !mine && k < sizeof own / sizeof own[0]; k++) mine = strcmp(own[k], o->name) == 0;
    if (mine) continue;
    if (o->kind == MC_OPT_LIST) {
      const mc_list *list = (const mc_list *)(const void *)at;
      for (size_t k = 0; k < list->n; k++) add(w, mc_format("--%s=%s", o->name, list->items[k]));
      continue;
    }
    if (o->kind == MC_OPT_FLAG) {
      add(w, mc_format("--%s", o->name));
    } else if (o->kind == MC_OPT_TEXT) {
      add(w, mc_format("--%s=%s", o->name, *(const char *const *)(const void *)at));
    } else if (o->kind == MC_OPT_LONG) {
      add(w, mc_format("--%s=%lld", o->name, (long long)*(const int64_t *)(const void *)at));
    } else if (o->kind == MC_OPT_INT) {
      add(w, mc_format("--%s=%d", o->name, *(const int *)(const void *)at));
    } else if (o->kind == MC_OPT_REAL) {
      add(w, mc_format("--%s=%.17g", o->name, *(const double *)(const void *)at));
    } else { /* the one choice there is */
      static const char *const precisions[] = {"auto", "float32", "bfloat16"};
      add(w, mc_format("--%s=%s", o->name, precisions[*(const int *)(const void *)at]));
    }
  }
}

static void add_split(mc_words *w, const char *text) {
  while (*(text += strspn(text, " \t"))) {
    size_t n = strcspn(text, " \t");
    add(w, mc_strndup(text, n));
    text += n;
  }
}

moeclip_code mc_compare_learn_words(const mc_args *args, const mc_compare_run *r, mc_words *w, moeclip_error *err) {
  const mc_compare_options *o = args->options;
  const char *rate = NULL, *value;
  add(w, mc_strdup("moeclip"));
  add(w, mc_strdup("learn"));
  add(w, mc_format("--method=%s", r->method));
  add(w, mc_format("--seed=%d", r->seed));
  add(w, mc_format("--state=%s/state.safetensors", r->folder));
  add(w, mc_format("--results=%s", r->folder));
  add_shared(w, args, r->method);
  for (size_t i = 0; i < o->rates.n; i++) { /* the method's own goes before the one for all */
    if (!mc_compare_is_for(o->rates.items[i], r->method, true, &value)) continue;
    if (!rate || value != o->rates.items[i]) rate = value;
  }
  if (rate) add(w, mc_format("--lr=%s", rate));
  for (size_t i = 0; i < o->with.n; i++) {
    if (mc_compare_is_for(o->with.items[i], r->method, false, &value)) add_split(w, value);
  }
  add(w, mc_strdup("--"));
  for (size_t i = 0; i < args->n_positional; i++) {
    add(w, mc_strdup(args->positional[r->reversed ? args->n_positional - 1 - i : i]));
  }
  return w->failed ? mc_fail_memory(err, 4096, "a command") : MOECLIP_OK;
}

/* `eval` of what was learned: of the words of `learn`, those that it knows too, but for the prompts, which the state has. */
moeclip_code mc_compare_eval_words(const mc_words *learn, mc_words *w, moeclip_error *err) {
  size_t i = 2;
  add(w, mc_strdup("moeclip"));
  add(w, mc_strdup("eval"));
  add(w, mc_strdup("--no-labels"));
  add(w, mc_strdup("--json"));
  for (; i < learn->n && strcmp(learn->items[i], "--") != 0; i++) {
    const char *name = learn->items[i] + 2;
    size_t n = strcspn(name, "=");
    const mc_option *o = mc_option_find(&mc_command_learn, name, n);
    bool value_follows = o && o->kind != MC_OPT_FLAG && !name[n];
    bool wanted = mc_option_find(&mc_command_eval, name, n) && strncmp(name, "template", strlen("template")) != 0 && strcmp(name, "json") != 0;
    if (wanted) add(w, mc_strdup(learn->items[i]));
    if (value_follows && i + 1 < learn->n) i++;
    if (wanted && value_follows) add(w, mc_strdup(learn->items[i]));
  }
  for (; i < learn->n; i++) add(w, mc_strdup(learn->items[i]));
  return w->failed ? mc_fail_memory(err, 4096, "a command") : MOECLIP_OK;
}

json_t *mc_words_json(const mc_words *w) {
  json_t *array = json_array();
  for (size_t i = 1; i < w->n; i++) {
    if (strcmp(w->items[i], "--quiet") != 0) mc_json_append(&array, json_string(w->items[i]));
  }
  return array;
}
