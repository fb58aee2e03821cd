#include "cli/provenance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "moeclip/version.h"
#include "report/inputs.h"

static moeclip_code no_memory(moeclip_error *err) { return mc_fail_memory(err, 256, "what made a result"); }

static json_t *program(void) {
  enum { MOST = 64 };
  moeclip_library libraries[MOST];
  size_t n = moeclip_libraries(libraries, MOST);
  json_t *versions = json_object();
  for (size_t i = 0; i < n && i < MOST; i++) {
    json_object_set_new(versions, libraries[i].name, json_string(libraries[i].version));
  }
  return json_pack("{s:s, s:s, s:s, s:o}", "version", moeclip_version(), "build", moeclip_build(), "cpu",
                   moeclip_cpu_features(), "libraries", versions);
}

/* Command lines need not be UTF-8, which JSON is. */
static json_t *text(const char *s) {
  json_t *value = s ? json_string(s) : json_null();
  return value ? value : json_string("(not UTF-8)");
}

static json_t *texts(const char *const *s, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(array, text(s[i]));
  return array;
}

/* The word of a choice; null where the field holds none of them (a default in words: docs of the option). */
static json_t *choice(const mc_option *o, int value) {
  const char *at = o->choices;
  for (int left = value - (int)o->min; left >= 0; left--) {
    size_t n = strcspn(at, "|");
    if (left == 0) return json_stringn(at, n);
    if (!at[n]) break;
    at += n + 1;
  }
  return json_null();
}

static json_t *value_of(const mc_option *o, const void *options) {
  const void *field = (const char *)options + o->offset;
  char seed[32];
  switch (o->kind) {
    case MC_OPT_HEADING: break;
    case MC_OPT_FLAG: return json_boolean(*(const int *)field == (int)o->min);
    case MC_OPT_INT: return json_integer(*(const int *)field);
    case MC_OPT_LONG: return json_integer((json_int_t) * (const int64_t *)field);
    case MC_OPT_SEED: snprintf(seed, sizeof seed, "%" PRIu64, *(const uint64_t *)field); return json_string(seed);
    case MC_OPT_REAL: return mc_json_real(*(const double *)field);
    case MC_OPT_MEBI: return json_integer((json_int_t)(*(const size_t *)field >> 20));
    case MC_OPT_TEXT: return text(*(const char *const *)field);
    case MC_OPT_LIST: return texts(((const mc_list *)field)->items, ((const mc_list *)field)->n);
    case MC_OPT_CHOICE: return choice(o, *(const int *)field);
  }
  return json_null();
}

json_t *mc_provenance(const mc_args *args) {
  const mc_command *c = args->command;
  json_t *options = json_object();
  for (size_t i = 0; i < c->n_options; i++) {
    if (c->options[i].kind != MC_OPT_HEADING) {
      json_object_set_new(options, c->options[i].name, value_of(&c->options[i], args->options));
    }
  }
  json_t *seed = json_incref(json_object_get(options, "seed"));
  json_t *object = json_pack("{s:o, s:s, s:o, s:o, s:{}}", "program", program(), "command", c->name, "options", options,
                             "arguments", texts(args->positional, args->n_positional), "inputs");
  if (seed) json_object_set_new(object, "seed", seed);
  return object;
}

static moeclip_code put(json_t *provenance, const char *what, json_t *input, moeclip_error *err) {
  return json_object_set_new(json_object_get(provenance, "inputs"), what, input) == 0 ? MOECLIP_OK : no_memory(err);
}

moeclip_code mc_provenance_file(json_t *provenance, const char *what, const char *path, moeclip_error *err) {
  json_t *input;
  if (!path) return MOECLIP_OK;
  MC_TRY(mc_describe_file(path, &input, err));
  return put(provenance, what, input, err);
}

moeclip_code mc_provenance_tree(json_t *provenance, const char *what, const char *path, moeclip_error *err) {
  json_t *input;
  if (!path) return MOECLIP_OK;
  MC_TRY(mc_describe_tree(path, &input, err));
  return put(provenance, what, input, err);
}

moeclip_code mc_provenance_dataset(json_t *provenance, const moeclip_dataset *dataset, moeclip_error *err) {
  json_t *input, *inputs = json_object_get(provenance, "inputs");
  MC_TRY(mc_describe_dataset(dataset, &input, err));
  json_t *sets = json_object_get(inputs, "datasets");
  if (!sets && put(provenance, "datasets", sets = json_array(), err) != MOECLIP_OK) {
    json_decref(input);
    return err ? err->code : MOECLIP_ERROR_MEMORY;
  }
  return json_array_append_new(sets, input) == 0 ? MOECLIP_OK : no_memory(err);
}

moeclip_code mc_provenance_model(json_t *provenance, const mc_model_choice *files, moeclip_error *err) {
  MC_TRY(mc_provenance_file(provenance, "model", files->model, err));
  MC_TRY(mc_provenance_file(provenance, "state", files->state, err));
  return mc_provenance_file(provenance, "alexnet", files->alexnet, err);
}

moeclip_code mc_provenance_keep(json_t *results, json_t *provenance, moeclip_error *err) {
  json_t *list = json_object_get(results, "provenance"), *known;
  size_t i;
  if (!json_is_array(list)) {
    list = json_array();
    if (json_object_set_new(results, "provenance", list) != 0) {
      json_decref(provenance);
      return no_memory(err);
    }
  }
  json_array_foreach(list, i, known) {
    if (!json_equal(known, provenance)) continue;
    json_decref(provenance);
    return MOECLIP_OK;
  }
  return json_array_append_new(list, provenance) == 0 ? MOECLIP_OK : no_memory(err);
}
