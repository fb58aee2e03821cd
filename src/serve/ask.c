#include "serve/ask.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"

enum { MAX_TEXT = 2000 };

/* --- lists of texts ----------------------------------------------------------------------------------------------- */

/* The array's strings: each of 1 to MAX_TEXT bytes. with: what each must hold, or NULL. */
static moeclip_code take_strings(const json_t *array, const char *what, const char *with, size_t most, const char ***out,
                                 size_t *n, moeclip_error *err) {
  *n = json_array_size(array);
  if (!json_is_array(array) || *n == 0 || *n > most) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" must be a JSON array of 1 to %zu strings", what, most);
  }
  *out = mc_alloc(*n, sizeof **out);
  if (!*out) return mc_fail_memory(err, *n * sizeof **out, what);
  for (size_t i = 0; i < *n; i++) {
    const json_t *item = json_array_get(array, i);
    const char *s = json_string_value(item);
    if (!s || json_string_length(item) == 0 || json_string_length(item) > MAX_TEXT) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\": element %zu is not a string of 1 to %d bytes", what, i, MAX_TEXT);
    }
    if (with && !strstr(s, with)) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\": element %zu has no %s for the class name", what, i, with);
    }
    (*out)[i] = s;
  }
  return MOECLIP_OK;
}

static moeclip_code read_list(const char *text, const char *what, json_t **list, moeclip_error *err) {
  json_error_t where;
  bool no_memory = false;
  *list = mc_json_read(text, strlen(text), 0, &where, &no_memory);
  if (no_memory) return mc_fail_memory(err, strlen(text), what);
  return *list ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" must be a JSON array of strings: %s", what, where.text);
}

static moeclip_code parse_list(const char *text, const char *what, const char *with, size_t most, json_t **list,
                               const char ***out, size_t *n, moeclip_error *err) {
  if (!text) return MOECLIP_OK;
  MC_TRY(read_list(text, what, list, err));
  return take_strings(*list, what, with, most, out, n, err);
}

/* --- questions about pictures ------------------------------------------------------------------------------------- */

static moeclip_code parse_top(const char *text, int *out, moeclip_error *err) {
  char *end;
  if (!text) return MOECLIP_OK;
  errno = 0;
  long v = strtol(text, &end, 10);
  if (end == text || *end || errno || v < 1 || v > 1000000) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"top\" must be a whole number from 1 to 1000000");
  }
  *out = (int)v;
  return MOECLIP_OK;
}

static moeclip_code parse_flag(const char *text, bool *out, moeclip_error *err) {
  if (!text || strcmp(text, "0") == 0 || strcmp(text, "false") == 0 || !*text) return MOECLIP_OK;
  *out = true;
  if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"explain\" must be 1 or 0");
}

static moeclip_code make_key(mc_ask *a, moeclip_error *err) {
  json_t *o = json_pack("{s:O?, s:O?, s:s, s:i, s:b}", "l", a->label_list, "p", a->template_list, "t", a->task, "k", a->top,
                        "e", a->explain);
  a->key = o ? mc_json_text(o, JSON_COMPACT) : NULL;
  json_decref(o);
  /* Only the task's name was not checked to be UTF-8 yet. */
  return a->key ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"task\" is not UTF-8");
}

moeclip_code mc_ask_parse(mc_value_of value, const void *context, int max_prompts, mc_ask *out, moeclip_error *err) {
  size_t most = (size_t)max_prompts;
  *out = (mc_ask){.top = 5, .task = value(context, "task")};
  if (!out->task || !*out->task) out->task = "auto";
  MC_TRY(parse_list(value(context, "labels"), "labels", NULL, most, &out->label_list, &out->labels, &out->n_labels, err));
  MC_TRY(parse_list(value(context, "templates"), "templates", "{}", most, &out->template_list, &out->templates,
                    &out->n_templates, err));
  if (out->n_templates && !out->n_labels) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"templates\" need \"labels\": a task's own classes have their own");
  }
  if (out->n_templates > 0 && out->n_labels > most / out->n_templates) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%zu labels in %zu templates: at most %d prompts are encoded for a request",
                   out->n_labels, out->n_templates, max_prompts);
  }
  MC_TRY(parse_top(value(context, "top"), &out->top, err));
  MC_TRY(parse_flag(value(context, "explain"), &out->explain, err));
  return make_key(out, err);
}

void mc_ask_clear(mc_ask *a) {
  json_decref(a->label_list);
  json_decref(a->template_list);
  free(a->labels);
  free(a->templates);
  free(a->key);
  *a = (mc_ask){0};
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

moeclip_code mc_ask_body(const void *json, size_t n_bytes, json_t **out, moeclip_error *err) {
  json_error_t where;
  bool no_memory = false;
  *out = mc_json_read(json, n_bytes, JSON_REJECT_DUPLICATES, &where, &no_memory);
  if (no_memory) return mc_fail_memory(err, n_bytes, "the body");
  return *out ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the body is not JSON: %s (byte %d)", where.text, where.position);
}

moeclip_code mc_text_ask_parse(const void *json, size_t n_bytes, size_t max_texts, mc_text_ask *out, moeclip_error *err) {
  const char *key;
  json_t *value;
  *out = (mc_text_ask){.task = "none"};
  MC_TRY(mc_ask_body(json, n_bytes, &out->root, err));
  if (!json_is_object(out->root)) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the body must be an object with \"texts\"");
  json_object_foreach(out->root, key, value) {
    if (strcmp(key, "texts") == 0) continue;
    if (strcmp(key, "task") != 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "unknown member \"%.60s\"", key);
    out->task = json_string_value(value);
    if (!out->task) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"task\" must be a string");
  }
  if (strcmp(out->task, "auto") == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"task\" of texts must be \"none\" or a task's name: no selector reads texts");
  }
  return take_strings(json_object_get(out->root, "texts"), "texts", NULL, max_texts, &out->texts, &out->n, err);
}

void mc_text_ask_clear(mc_text_ask *a) {
  json_decref(a->root);
  free(a->texts);
  *a = (mc_text_ask){0};
}

/* --- a new task --------------------------------------------------------------------------------------------------- */

typedef enum number_kind { WHOLE_INT, WHOLE_LONG, REAL } number_kind;

static const struct {
  const char *name;
  size_t offset;
  double min, max;
  number_kind kind;
  bool trains; /* says how experts are trained or selected */
} numbers[] = {
    {"iterations", offsetof(mc_learn_ask, task.iterations), 1, 1e9, WHOLE_LONG, true},
    {"epochs", offsetof(mc_learn_ask, task.epochs), 0, 1e6, WHOLE_LONG, true},
    {"batch", offsetof(mc_learn_ask, task.batch), 1, 4096, WHOLE_INT, false},
    {"learning_rate", offsetof(mc_learn_ask, task.learning_rate), 1e-12, 1e3, REAL, true},
    {"weight_decay", offsetof(mc_learn_ask, task.weight_decay), 0, 1e3, REAL, true},
    {"label_smoothing", offsetof(mc_learn_ask, task.label_smoothing), 0, 0.999999, REAL, true},
    {"warmup", offsetof(mc_learn_ask, task.warmup), -1, 1e9, WHOLE_LONG, true},
    {"dropout", offsetof(mc_learn_ask, task.dropout), 0, 0.999999, REAL, true},
    {"balance", offsetof(mc_learn_ask, task.balance), 0, 1e6, REAL, true},
    {"selector_iterations", offsetof(mc_learn_ask, task.selector_iterations), 1, 1e6, WHOLE_LONG, true},
    {"selector_learning_rate", offsetof(mc_learn_ask, task.selector_learning_rate), 1e-12, 1e3, REAL, true},
    {"threshold", offsetof(mc_learn_ask, task.threshold), 0, 1e6, REAL, true},
    {"shots", offsetof(mc_learn_ask, shots), 0, 1e9, WHOLE_LONG, false},
    {"max_train", offsetof(mc_learn_ask, data.max_per_class[0]), 0, 1e9, WHOLE_LONG, false},
    {"max_test", offsetof(mc_learn_ask, data.max_per_class[1]), 0, 1e9, WHOLE_LONG, false},
    {"train_fraction", offsetof(mc_learn_ask, data.train_fraction), 0.001, 0.999, REAL, false},
};
enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };

void mc_learn_ask_defaults(mc_learn_ask *a) {
  *a = (mc_learn_ask){0};
  moeclip_task_options_defaults(&a->task);
  moeclip_dataset_options_defaults(&a->data);
}

static int find_number(const char *name) {
  for (int i = 0; i < N_NUMBERS; i++) {
    if (strcmp(numbers[i].name, name) == 0) return i;
  }
  return -1;
}

static moeclip_code take_number(mc_learn_ask *a, int i, const json_t *value, moeclip_error *err) {
  double v = json_number_value(value);
  bool whole = numbers[i].kind != REAL;
  void *field = (char *)a + numbers[i].offset;
  if (!json_is_number(value) || !(v >= numbers[i].min && v <= numbers[i].max) || (whole && v != floor(v))) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" must be a %snumber from %g to %g", numbers[i].name,
                   whole ? "whole " : "", numbers[i].min, numbers[i].max);
  }
  if (numbers[i].kind == WHOLE_INT) *(int *)field = (int)v;
  if (numbers[i].kind == WHOLE_LONG) *(int64_t *)field = (int64_t)v;
  if (numbers[i].kind == REAL) *(double *)field = v;
  return MOECLIP_OK;
}

static moeclip_code take_text(const json_t *value, const char *name, char **out, moeclip_error *err) {
  const char *s = json_string_value(value);
  if (!s || json_string_length(value) > 4000) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" must be a string of at most 4000 bytes", name);
  }
  free(*out);
  *out = mc_strdup(s);
  return *out ? MOECLIP_OK : mc_fail_memory(err, strlen(s), name);
}

static moeclip_code take_templates(mc_learn_ask *a, const json_t *value, moeclip_error *err) {
  const char **items = NULL;
  size_t n;
  moeclip_code code = take_strings(value, "templates", "{}", 1000, &items, &n, err);
  free(items);
  MC_TRY(code);
  a->templates = json_deep_copy(value);
  return a->templates ? MOECLIP_OK : mc_fail_memory(err, n * 64, "templates");
}

static moeclip_code take_method(mc_learn_ask *a, const json_t *value, moeclip_error *err) {
  moeclip_mode mode;
  MC_TRY(take_text(value, "method", &a->method, err));
  if (moeclip_mode_find(a->method, &mode)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                 "\"method\": there is no method \"%.60s\"; \"moe\", \"finetune\" and \"analytic\" are some", a->method);
}

moeclip_code mc_check_task_name(const char *name, moeclip_error *err) {
  size_t n = strlen(name);
  json_t *utf8 = n <= 100 ? json_string(name) : NULL;
  bool ok = utf8 && n > 0 && name[0] != '.' && name[0] != ' ' && name[n - 1] != ' ' && !strpbrk(name, "/\\");
  for (const char *s = name; ok && *s; s++) ok = (unsigned char)*s >= 32 && *s != 127;
  json_decref(utf8);
  if (!ok) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "\"name\" must be 1 to 100 bytes of UTF-8 without slashes or control characters, not beginning with a dot, "
                   "and without spaces at its ends");
  }
  if (strcmp(name, "auto") == 0 || strcmp(name, "none") == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a task cannot be named \"%s\": that word has a meaning of its own", name);
  }
  return MOECLIP_OK;
}

moeclip_code mc_learn_ask_parse(const json_t *object, int64_t max_iterations, mc_learn_ask *out, moeclip_error *err) {
  const char *key;
  json_t *value;
  mc_learn_ask_defaults(out);
  if (!json_is_object(object)) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the body must be an object with \"name\"");
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    int i = find_number(key);
    if (i >= 0) {
      MC_TRY(take_number(out, i, value, err));
      out->trains = out->trains || numbers[i].trains;
    } else if (strcmp(key, "name") == 0) {
      MC_TRY(take_text(value, key, &out->name, err));
    } else if (strcmp(key, "path") == 0) {
      MC_TRY(take_text(value, key, &out->path, err));
    } else if (strcmp(key, "method") == 0) {
      MC_TRY(take_method(out, value, err));
    } else if (strcmp(key, "templates") == 0) {
      MC_TRY(take_templates(out, value, err));
    } else {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "unknown option \"%.60s\"", key);
    }
  }
  if (!out->name) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"name\" is missing: what the task is to be called");
  MC_TRY(mc_check_task_name(out->name, err));
  moeclip_task_options usual;
  moeclip_task_options_defaults(&usual);
  bool selector = out->task.selector_iterations > max_iterations && out->task.selector_iterations > usual.selector_iterations;
  if (out->task.iterations > max_iterations || selector) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "at most %lld iterations are taken here", (long long)max_iterations);
  }
  if (out->shots > 0 && out->data.max_per_class[0] > 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"shots\" and \"max_train\" exclude each other");
  }
  return MOECLIP_OK;
}

moeclip_code mc_learn_ask_field(json_t *object, const char *name, const char *text, moeclip_error *err) {
  json_t *value = NULL;
  char *end;
  if (json_object_get(object, name)) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%.60s\" is given twice", name);
  if (find_number(name) >= 0) {
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v)) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%.60s\": \"%.60s\" is not a number", name, text);
    }
    value = json_real(v);
  } else if (strcmp(name, "templates") == 0) {
    MC_TRY(read_list(text, name, &value, err));
  } else {
    value = json_string(text);
  }
  if (!value || json_object_set_new(object, name, value) != 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the name or the value of a field is not UTF-8");
  }
  return MOECLIP_OK;
}

json_t *mc_learn_ask_json(const mc_learn_ask *a) {
  json_t *o = json_pack("{s:s, s:s*, s:s*, s:O*}", "name", a->name, "path", a->path, "method", a->method, "templates",
                        a->templates);
  for (int i = 0; o && i < N_NUMBERS; i++) {
    const void *field = (const char *)a + numbers[i].offset;
    json_t *v = NULL;
    if (numbers[i].kind == WHOLE_INT) v = json_integer(*(const int *)field);
    if (numbers[i].kind == WHOLE_LONG) v = json_integer(*(const int64_t *)field);
    if (numbers[i].kind == REAL && isfinite(*(const double *)field)) v = json_real(*(const double *)field);
    if (v) mc_json_set(&o, numbers[i].name, v);
  }
  return o;
}

void mc_learn_ask_clear(mc_learn_ask *a) {
  free(a->name);
  free(a->path);
  free(a->method);
  json_decref(a->templates);
  a->name = a->path = a->method = NULL;
  a->templates = NULL;
}
