/* results.json of `moeclip bench cil`: read back when a run goes on, and what a step adds. */
#include "cli/cil.h"

#include <string.h>

#include "base/json.h"

#define FORMAT "moeclip cil 1"
/* What the step that is under way took, until it stands among the steps. */
#define LEARNING "learning"

static moeclip_code take_older(json_t **root, const char *path, moeclip_error *err) {
  static const char *const kept[] = {"zero_shot", "steps", "provenance", LEARNING};
  json_t *old = NULL;
  MC_TRY(mc_json_read_file(path, "choose another folder with --out", &old, err));
  if (!old) return MOECLIP_OK;
  const char *format = json_string_value(json_object_get(old, "format"));
  moeclip_code code = MOECLIP_OK;
  if (!format || strcmp(format, FORMAT) != 0 || !json_is_array(json_object_get(old, "steps"))) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "%s: not a file that moeclip bench cil has written; choose another folder with --out", path);
  } else if (!json_equal(json_object_get(old, "run"), json_object_get(*root, "run"))) {
    code = mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "%s: holds the results of another run (other settings, data or model); choose another "
                   "folder with --out",
                   path);
  } else {
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
      json_t *value = json_object_get(old, kept[i]);
      if (value) mc_json_set(root, kept[i], json_incref(value));
    }
    if (!*root) code = mc_fail_memory(err, 4096, "results");
  }
  json_decref(old);
  return code;
}

moeclip_code mc_cil_results_open(const char *path, json_t *run, size_t n_learned, json_t **root, moeclip_error *err) {
  *root = json_pack("{s:s, s:o, s:n, s:[]}", "format", FORMAT, "run", run, "zero_shot", "steps");
  if (!*root) return mc_fail_memory(err, 4096, "results");
  MC_TRY(take_older(root, path, err));
  json_t *steps = json_object_get(*root, "steps");
  while (json_array_size(steps) > n_learned) json_array_remove(steps, json_array_size(steps) - 1);
  return MOECLIP_OK;
}

size_t mc_cil_results_steps(const json_t *root) { return json_array_size(json_object_get(root, "steps")); }

moeclip_code mc_cil_results_learned(json_t **root, int step, const moeclip_learn_report *r, moeclip_error *err) {
  mc_json_set(root, LEARNING,
              json_pack("{s:i, s:{s:I, s:I, s:I, s:o, s:o}}", "step", step, "learned", "iterations", (json_int_t)r->iterations, "images",
                        (json_int_t)r->images, "trainable", (json_int_t)r->trainable, "final_loss", mc_json_real(r->final_loss),
                        "seconds", mc_json_real(r->seconds)));
  return *root ? MOECLIP_OK : mc_fail_memory(err, 4096, "results");
}

moeclip_code mc_cil_results_add(json_t *root, json_t *measured, moeclip_error *err) {
  const json_t *learning = json_object_get(root, LEARNING);
  json_t *steps = json_object_get(root, "steps"), *learned = json_object_get(learning, "learned");
  if (learned && json_integer_value(json_object_get(learning, "step")) == (json_int_t)json_array_size(steps) + 1) {
    mc_json_set(&measured, "learned", json_incref(learned));
  }
  if (json_array_append_new(steps, measured) != 0) return mc_fail_memory(err, 4096, "results");
  json_object_del(root, LEARNING);
  return MOECLIP_OK;
}
