/* `moeclip info` */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "base/json.h"
#include "cli/info.h"
#include "moeclip/convert.h"

typedef struct info_options {
  int tensors, json;
} info_options;

#define AT(field) offsetof(info_options, field)

static void defaults(void *p) { *(info_options *)p = (info_options){0}; }

static const mc_option options[] = {
    {MC_OPT_FLAG, "tensors", NULL, "list the tensors: number type, shape, name", AT(tensors), 1, 0, 0, 0},
    {MC_OPT_FLAG, "json", NULL, "print one JSON object", AT(json), 1, 0, 0, 0},
};

static const char *container_name(moeclip_container c) {
  switch (c) {
    case MOECLIP_SAFETENSORS: return "safetensors";
    case MOECLIP_TORCH_ZIP: return "PyTorch zip checkpoint";
    case MOECLIP_TORCH_LEGACY: return "PyTorch checkpoint from before version 1.6";
    case MOECLIP_TORCHSCRIPT: return "TorchScript archive";
  }
  return "unknown";
}

/* {"F32": {"tensors": n, "bytes": n}} */
static json_t *describe_types(const moeclip_tensors *t) {
  json_t *types = json_object();
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(t, i);
    const char *name = moeclip_dtype_name(tensor->dtype);
    json_t *type = json_object_get(types, name);
    if (!type) {
      mc_json_set(&types, name, json_pack("{s:i, s:i}", "tensors", 0, "bytes", 0));
      type = json_object_get(types, name);
    }
    json_t *n = json_object_get(type, "tensors"), *bytes = json_object_get(type, "bytes");
    json_integer_set(n, json_integer_value(n) + 1);
    json_integer_set(bytes, json_integer_value(bytes) + (json_int_t)tensor->n_bytes);
  }
  return types;
}

static json_t *describe_tensors(const moeclip_tensors *t) {
  json_t *list = json_array();
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(t, i);
    json_t *shape = json_array();
    for (int k = 0; k < tensor->rank; k++) mc_json_append(&shape, json_integer(tensor->shape[k]));
    mc_json_append(&list, json_pack("{s:s, s:s, s:o}", "name", tensor->name, "dtype",
                                          moeclip_dtype_name(tensor->dtype), "shape", shape));
  }
  return list;
}

static json_t *describe_metadata(const moeclip_tensors *t) {
  json_t *object = json_object();
  for (size_t i = 0; i < moeclip_tensors_metadata_count(t); i++) {
    const char *key, *value;
    moeclip_tensors_metadata_at(t, i, &key, &value);
    mc_json_set(&object, key, json_string(value));
  }
  return object;
}

static json_t *colours(const float of[3]) { return json_pack("[f, f, f]", (double)of[0], (double)of[1], (double)of[2]); }

/* The CLIP in the file; NULL when there is none. */
static json_t *describe_clip(const char *path, const moeclip_tensors *t) {
  const char *naming = moeclip_tensors_naming(t, NULL);
  moeclip_model_sizes s;
  moeclip_model *model;
  moeclip_error err;
  if (!naming) return NULL;
  if (moeclip_model_load(path, NULL, &model, &err) != MOECLIP_OK) {
    return json_pack("{s:s, s:s}", "naming", naming, "problem", err.message);
  }
  moeclip_model_get_sizes(model, &s);
  json_t *object =
      json_pack("{s:s, s:s, s:I, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "naming", naming,
                "activation", s.activation == MOECLIP_ACTIVATION_GELU ? "gelu" : "quick-gelu", "parameters",
                (json_int_t)s.n_parameters, "fingerprint", moeclip_model_fingerprint(model), "image_size", s.image_size,
                "patch", s.patch, "visual_layers", s.visual_layers, "visual_width", s.visual_width, "visual_hidden",
                s.visual_hidden, "context", s.context, "vocabulary", s.vocabulary, "text_layers", s.text_layers,
                "text_width", s.text_width, "text_hidden", s.text_hidden, "embed", s.embed, "visual_heads",
                s.visual_heads, "text_heads", s.text_heads);
  moeclip_transform transform;
  moeclip_model_transform(model, &transform);
  mc_json_set(&object, "resize_mode", json_string(transform.squash ? "squash" : "crop"));
  mc_json_set(&object, "image_mean", colours(transform.mean));
  mc_json_set(&object, "image_std", colours(transform.deviation));
  moeclip_model_destroy(model);
  return object;
}

static json_t *describe(const char *path, const moeclip_tensors *t, const info_options *o, moeclip_error *err) {
  json_t *object = json_pack("{s:s, s:s, s:I, s:o}", "path", path, "container",
                             container_name(moeclip_tensors_container(t)), "tensors",
                             (json_int_t)moeclip_tensors_count(t), "types", describe_types(t));
  if (!object) {
    mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the file's path is not UTF-8, which its description must be");
    return NULL;
  }
  json_t *state = mc_info_state(t);
  json_t *clip = state ? NULL : describe_clip(path, t);
  json_t *published = state ? NULL : mc_info_published(t);
  if (state) mc_json_set(&object, "state", state);
  if (clip) mc_json_set(&object, "clip", clip);
  if (published) mc_json_set(&object, "published", published);
  mc_json_set(&object, "metadata", describe_metadata(t));
  if (o->tensors) mc_json_set(&object, "tensor_list", describe_tensors(t));
  if (!object) mc_fail_memory(err, 4096, path);
  return object;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void put_bytes(char *out, size_t n_out, double bytes) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
  snprintf(out, n_out, "%.*f %s", unit == 0 ? 0 : 1, bytes, units[unit]);
}

static void print_types(const json_t *object) {
  const char *key;
  char bytes[32];
  json_t *type;
  bool first = true;
  printf("%lld tensors", (long long)json_integer_value(json_object_get(object, "tensors")));
  json_object_foreach(json_object_get(object, "types"), key, type) {
    put_bytes(bytes, sizeof bytes, (double)json_integer_value(json_object_get(type, "bytes")));
    printf("%s %lld %s (%s)", first ? ":" : ",", (long long)json_integer_value(json_object_get(type, "tensors")), key,
           bytes);
    first = false;
  }
  printf("\n");
}

static long long number(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key) {
  const char *s = json_string_value(json_object_get(object, key));
  return s ? s : "?";
}

static double colour(const json_t *clip, const char *key, size_t i) {
  return json_real_value(json_array_get(json_object_get(clip, key), i));
}

static void print_clip(const json_t *clip) {
  if (!clip) return;
  if (json_object_get(clip, "problem")) {
    printf("CLIP in %s names, which cannot be used: %s\n", text(clip, "naming"), text(clip, "problem"));
    return;
  }
  printf("CLIP in %s names, %s, %lld parameters, fingerprint %s\n", text(clip, "naming"), text(clip, "activation"),
         number(clip, "parameters"), text(clip, "fingerprint"));
  printf("  images %lld x %lld in patches of %lld: %lld blocks of width %lld, %lld heads, MLP %lld\n", number(clip, "image_size"),
         number(clip, "image_size"), number(clip, "patch"), number(clip, "visual_layers"), number(clip, "visual_width"),
         number(clip, "visual_heads"), number(clip, "visual_hidden"));
  printf("    %s; mean %.4g, %.4g, %.4g, deviation %.4g, %.4g, %.4g\n",
         strcmp(text(clip, "resize_mode"), "squash") == 0 ? "both sides resized" : "the short side resized, the centre cut out",
         colour(clip, "image_mean", 0), colour(clip, "image_mean", 1), colour(clip, "image_mean", 2), colour(clip, "image_std", 0),
         colour(clip, "image_std", 1), colour(clip, "image_std", 2));
  printf("  texts of %lld tokens out of %lld: %lld blocks of width %lld, %lld heads, MLP %lld\n", number(clip, "context"),
         number(clip, "vocabulary"), number(clip, "text_layers"), number(clip, "text_width"),
         number(clip, "text_heads"), number(clip, "text_hidden"));
  printf("  features of %lld numbers\n", number(clip, "embed"));
}

/* A state's own entries are shown in plain words; long values are cut. */
static void print_metadata(const json_t *metadata) {
  enum { MOST = 100 };
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
    if (strncmp(key, "moeclip.", 8) == 0) continue;
    const char *s = json_string_value(value);
    size_t n = strcspn(s, "\n"), cut = n > MOST ? MOST : n;
    while (cut > 0 && ((unsigned char)s[cut] & 0xc0) == 0x80) cut--;
    printf("metadata %s: %.*s%s\n", key, (int)cut, s, s[cut] ? " ..." : "");
  }
}

static void print_tensors(const moeclip_tensors *t) {
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(t, i);
    char shape[256] = "";
    for (int k = 0, n = 0; k < tensor->rank; k++) {
      n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%lld", k ? ", " : "", (long long)tensor->shape[k]);
    }
    printf("%-4s [%s]%*s %s\n", moeclip_dtype_name(tensor->dtype), shape,
           strlen(shape) < 22 ? 22 - (int)strlen(shape) : 0, "", tensor->name);
  }
}

static void print_text(const json_t *object, const moeclip_tensors *t, const info_options *o) {
  printf("%s: %s\n", text(object, "path"), text(object, "container"));
  print_types(object);
  mc_info_print_state(json_object_get(object, "state"));
  print_clip(json_object_get(object, "clip"));
  mc_info_print_published(json_object_get(object, "published"));
  print_metadata(json_object_get(object, "metadata"));
  if (o->tensors) print_tensors(t);
}

static int run(const mc_args *args) {
  const info_options *o = args->options;
  moeclip_tensors *t;
  moeclip_error err;
  int exit_code = MC_EXIT_OK;
  if (mc_info_is_index(args->positional[0])) return mc_info_index(args->positional[0], o->json);
  if (moeclip_tensors_open(args->positional[0], &t, &err) != MOECLIP_OK) return mc_report(&err);
  moeclip_code code = moeclip_tensors_verify(t, 0, &err);
  if (code != MOECLIP_OK) mc_fail_prefix(&err, args->positional[0]);
  json_t *object = code == MOECLIP_OK ? describe(args->positional[0], t, o, &err) : NULL;
  if (!object) {
    exit_code = mc_report(&err);
  } else if (o->json) {
    exit_code = mc_json_print(json_incref(object), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  } else {
    print_text(object, t, o);
  }
  json_decref(object);
  moeclip_tensors_destroy(t);
  return exit_code;
}

const mc_command mc_command_info = {
    .name = "info",
    .summary = "what is in a model, a state, an index or another tensor file",
    .usage = "FILE [options]",
    .about =
        "Tells the container, the number types, the metadata; of a CLIP its naming, sizes and fingerprint; of a "
        "learner's state its tasks, experts and selector; of a released checkpoint of the method its experts, routers "
        "or autoencoders; of an index of pictures the tasks and folders. FILE is safetensors, PyTorch's .pth or .pt, "
        "TorchScript, or an index. Nothing in a file is ever executed.",
    .examples =
        "  moeclip info clip.safetensors\n"
        "  moeclip info s.safetensors --tensors\n"
        "  moeclip info s.safetensors --json\n",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .options_size = sizeof(info_options),
    .defaults = defaults,
    .min_positional = 1,
    .max_positional = 1,
    .positional = "a FILE",
    .run = run,
};
