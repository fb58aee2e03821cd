#include "cli/preset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define MAX_PRESET_BYTES ((size_t)1 << 20)

static void *field_at(const mc_preset_field *f, void *options) { return (char *)options + f->offset; }

void mc_preset_put(json_t **object, const mc_preset_field *fields, size_t n, const void *options) {
  for (size_t i = 0; i < n; i++) {
    const void *at = field_at(&fields[i], (void *)(uintptr_t)options);
    json_t *value = NULL;
    switch (fields[i].kind) {
      case MC_OPT_FLAG: value = json_boolean(*(const int *)at); break;
      case MC_OPT_INT: value = json_integer(*(const int *)at); break;
      case MC_OPT_LONG: value = json_integer((json_int_t) * (const int64_t *)at); break;
      default: value = mc_json_real(*(const double *)at);
    }
    mc_json_set(object, fields[i].key, value);
  }
}

static const mc_option *option_of(const mc_args *args, const char *name) {
  for (size_t i = 0; name && i < args->command->n_options; i++) {
    const mc_option *o = &args->command->options[i];
    if (o->kind != MC_OPT_HEADING && strcmp(o->name, name) == 0) return o;
  }
  return NULL;
}

static moeclip_code take_number(const mc_preset_field *f, const json_t *value, const mc_option *option, void *at,
                                const char *name, moeclip_error *err) {
  double v = json_number_value(value), low = option ? option->min : 0, high = option ? option->max : 9e15;
  bool whole = f->kind != MC_OPT_REAL;
  if ((whole ? !json_is_integer(value) : !json_is_number(value)) || v < low || v > high) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" must be a %snumber from %g to %g", name, f->key,
                   whole ? "whole " : "", low, high);
  }
  if (f->kind == MC_OPT_INT) *(int *)at = (int)json_integer_value(value);
  if (f->kind == MC_OPT_LONG) *(int64_t *)at = json_integer_value(value);
  if (f->kind == MC_OPT_REAL) *(double *)at = v;
  return MOECLIP_OK;
}

static moeclip_code take_one(const mc_preset_field *f, const json_t *value, const mc_args *args, void *options,
                             const char *name, moeclip_error *err) {
  void *at = field_at(f, options);
  if (f->option && mc_args_given(args, f->option)) return MOECLIP_OK;
  if (f->kind == MC_OPT_FLAG) {
    if (!json_is_boolean(value))
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" must be true or false", name, f->key);
    *(int *)at = json_is_true(value);
    return MOECLIP_OK;
  }
  if (f->kind == MC_OPT_REAL && json_is_null(value)) {
    *(double *)at = NAN;
    return MOECLIP_OK;
  }
  return take_number(f, value, option_of(args, f->option), at, name, err);
}

moeclip_code mc_preset_take(const json_t *object, const mc_preset_field *fields, size_t n, const char *const *others,
                            const mc_args *args, void *options, const char *name, moeclip_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    size_t i = 0;
    while (i < n && strcmp(fields[i].key, key) != 0) i++;
    if (i < n) {
      MC_TRY(take_one(&fields[i], value, args, options, name, err));
      continue;
    }
    const char *const *other = others;
    while (*other && strcmp(*other, key) != 0) other++;
    if (!*other)
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there is no setting \"%.100s\"; --print-preset shows them all",
                     name, key);
  }
  return MOECLIP_OK;
}

static moeclip_code load(const char *path, const char *format, json_t **out, moeclip_error *err) {
  json_t *root;
  *out = NULL;
  MC_TRY(mc_json_read_given(path, MAX_PRESET_BYTES, &root, err));
  const char *is = json_string_value(json_object_get(root, "format"));
  if (!is || strcmp(is, format) != 0) {
    json_decref(root);
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: \"format\" must be \"%s\"; --print-preset shows what such a file looks like", path, format);
  }
  *out = root;
  return MOECLIP_OK;
}

moeclip_code mc_preset_find(const char *name, const char *const *names, json_t *(*make)(size_t k), const char *format,
                            json_t **out, moeclip_error *err) {
  char list[512] = "";
  for (size_t k = 0, n = 0; names[k]; k++) {
    n += (size_t)snprintf(list + n, sizeof list - n, "%s, ", names[k]);
    if (strcmp(name, names[k]) != 0) continue;
    *out = make(k);
    return *out ? MOECLIP_OK : mc_fail_memory(err, 4096, "a preset");
  }
  if (strchr(name, '/') || strchr(name, '.')) return load(name, format, out, err);
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                 "--preset %s: there is no such preset; there are %sand files (whose name has a dot)", name, list);
}
