/* What no weight tells: the activation and the heads, from the configuration beside the weights. The numbers are those of Hugging Face's
 * and OpenCLIP's own models (data/config/make.py). */
#include <jansson.h>

#include "files.h"
#include "files/config.h"
#include "moeclip/convert.h"
#include "moeclip/model.h"

enum { PICTURES = 2, SIDE = 16, EMBED = 32 };

static moeclip_error err;

/* --- the models of the fixture ------------------------------------------------------------------------------------ */

static uint32_t mixed(const char *name, size_t i) {
  uint32_t h = 0;
  for (; *name; name++) h = h * 31 + (unsigned char)*name;
  return (h + (uint32_t)i * 2654435761u) >> 16;
}

static void add(moeclip_tensors *t, const char *name, const json_t *sides) {
  int64_t shape[4];
  int rank = (int)json_array_size(sides);
  size_t n = 1, length = strlen(name);
  for (int i = 0; i < rank; i++) n *= (size_t)(shape[i] = json_integer_value(json_array_get(sides, (size_t)i)));
  bool norm = rank == 1 && strcmp(name + length - 6, "weight") == 0;
  float *values = malloc(n * sizeof *values);
  for (size_t i = 0; i < n; i++) values[i] = rank ? (float)((mixed(name, i) / 65536.0 - 0.5) * 0.25 + norm) : 2;
  REQUIRE_OK(moeclip_tensors_add(t, name, MOECLIP_F32, rank, shape, values, 1, &err), err);
  free(values);
}

/* The weights of a case, into NAME/FILE. metadata: key, value, ..., NULL. */
static void write_weights(const json_t *one, const char *path, const char *const *metadata) {
  moeclip_tensors *t;
  size_t i;
  json_t *tensor;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  json_array_foreach(json_object_get(one, "tensors"), i, tensor) {
    add(t, json_string_value(json_array_get(tensor, 0)), json_array_get(tensor, 1));
  }
  for (; metadata && *metadata; metadata += 2) {
    REQUIRE_OK(moeclip_tensors_set_metadata(t, metadata[0], metadata[1], &err), err);
  }
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
}

static void write_text(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  fputs(text, f);
  fclose(f);
}

static double apart(const float *is, const json_t *rows, size_t n) {
  double most = 0;
  for (size_t r = 0; r < n; r++) {
    for (size_t k = 0; k < EMBED; k++) {
      most = fmax(most, fabs(is[r * EMBED + k] - json_real_value(json_array_get(json_array_get(rows, r), k))));
    }
  }
  return most;
}

/* How far a model's features are from those of the case. */
static double loaded_apart(const char *path, const moeclip_model_options *options, const json_t *one) {
  moeclip_model *m;
  static uint8_t pixels[PICTURES * 3 * SIDE * SIDE];
  const char *text = "zq";
  float images[PICTURES * EMBED], texts[EMBED];
  for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)mixed("pixels", i);
  REQUIRE_OK(moeclip_model_load(path, options, &m, &err), err);
  REQUIRE_OK(moeclip_encode_images(m, pixels, PICTURES, images, &err), err);
  REQUIRE_OK(moeclip_encode_texts(m, &text, 1, texts, &err), err);
  moeclip_model_destroy(m);
  return fmax(apart(images, json_object_get(one, "images"), PICTURES), apart(texts, json_object_get(one, "texts"), 1));
}

/* The one of the two activations that a case does not have. */
static moeclip_model_options other_activation(const char *name) {
  moeclip_model_options o;
  moeclip_model_options_defaults(&o);
  o.activation = strstr(name, "quick") ? MOECLIP_ACTIVATION_GELU : MOECLIP_ACTIVATION_QUICK_GELU;
  return o;
}

static void test_case(const char *name, const json_t *one, int number) {
  const char *file = json_string_value(json_object_get(one, "file"));
  char *path = strdup(files_path("%d-%s", number, file)), *alone = strdup(files_path("alone-%d.safetensors", number));
  const char *config = files_path("%s", json_string_value(json_object_get(one, "config_file")));
  char *text = json_dumps(json_object_get(one, "config"), 0);
  write_weights(one, path, NULL);
  /* Without a word OpenAI's is taken: heads of 64, quick GELU. */
  double before = loaded_apart(path, NULL, one);
  CHECK_MSG(before > 1e-3, "%s: %g apart without its configuration", name, before);
  write_text(config, text);
  double is = loaded_apart(path, NULL, one);
  CHECK_MSG(is < 1e-6, "%s: %g apart", name, is);
  moeclip_model_options other = other_activation(name);
  is = loaded_apart(path, &other, one);
  CHECK_MSG(is > 1e-4, "%s: the option changes nothing (%g)", name, is);
  /* What is converted knows it by itself. */
  for (int names = 0; names < 2; names++) {
    moeclip_convert_options how;
    moeclip_convert_options_defaults(&how);
    how.openai_names = names;
    REQUIRE_OK(moeclip_convert(path, alone, &how, NULL, &err), err);
    CHECK(remove(files_path("%s", json_string_value(json_object_get(one, "config_file")))) == 0);
    is = loaded_apart(alone, NULL, one);
    CHECK_MSG(is < 1e-6, "%s, converted (%d): %g apart", name, names, is);
    write_text(files_path("%s", json_string_value(json_object_get(one, "config_file"))), text);
  }
  CHECK(remove(files_path("%s", json_string_value(json_object_get(one, "config_file")))) == 0);
  free(text);
  free(path);
  free(alone);
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

static void test_refused(const json_t *hf, const json_t *oc) {
#define TOWERS(vision, text) "{\"model_cfg\": {\"vision_cfg\": {" vision "}, \"text_cfg\": {\"width\": 64, \"heads\": 1" text "}}}"
  static const struct {
    const char *text;
    moeclip_code code;
    const char *says;
    bool huggingface;
  } cases[] = {
      {"{", MOECLIP_ERROR_FORMAT, "config.json: line 1", true},
      {"{\"hidden_act\": \"relu\"}", MOECLIP_ERROR_UNSUPPORTED, "\"hidden_act\": \"relu\"", true},
      {"{\"vision_config\": {\"hidden_act\": 3}}", MOECLIP_ERROR_UNSUPPORTED, "\"hidden_act\": 3", true},
      {"{\"vision_config\": {\"hidden_act\": \"gelu\", \"num_attention_heads\": 1}, \"text_config\": {\"num_attention_heads\": 1}}",
       MOECLIP_ERROR_UNSUPPORTED, "is gelu in one tower and quick_gelu in the other", true},
      {"{\"vision_config\": {\"layer_norm_eps\": 1e-6}}", MOECLIP_ERROR_UNSUPPORTED, "layer_norm_eps", true},
      {"{\"vision_config\": {\"num_attention_heads\": 7}}", MOECLIP_ERROR_FORMAT, "7 attention heads", true},
      {"{\"vision_config\": {}}", MOECLIP_ERROR_FORMAT, "12 attention heads do not go with the vision tower's width of 64", true},
      {"{\"text_config\": {\"num_attention_heads\": -9223372036854775808}}", MOECLIP_ERROR_FORMAT, "text tower", true},
      {"{\"text_config\": {\"num_attention_heads\": \"8\"}}", MOECLIP_ERROR_FORMAT, "-1 attention heads", true},
      {"[]", MOECLIP_ERROR_FORMAT, "model_cfg", false},
      {"{\"model_cfg\": {\"vision_cfg\": {}, \"text_cfg\": 1}}", MOECLIP_ERROR_FORMAT, "text_cfg", false},
      {TOWERS("\"width\": 64, \"pool_type\": \"avg\"", ""), MOECLIP_ERROR_UNSUPPORTED, "the vision tower has \"pool_type\": \"avg\"", false},
      {TOWERS("\"width\": 64", ", \"no_causal_mask\": true"), MOECLIP_ERROR_UNSUPPORTED, "no_causal_mask", false},
      {TOWERS("\"width\": 64, \"head_width\": 0", ""), MOECLIP_ERROR_FORMAT, "0 attention heads", false},
      {TOWERS("", ""), MOECLIP_ERROR_FORMAT, "12 attention heads", false},
      {"{\"model_cfg\": {\"vision_cfg\": {\"width\": 64}, \"text_cfg\": {\"heads\": 1}}, \"preprocess_cfg\": {\"mean\": [0.5, 0.5, 0.5]}}",
       MOECLIP_ERROR_UNSUPPORTED, "\"mean\" or \"std\"", false},
  };
#undef TOWERS
  moeclip_model *m;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const json_t *one = cases[i].huggingface ? hf : oc;
    const char *path = files_path("%s", json_string_value(json_object_get(one, "file")));
    write_weights(one, path, NULL);
    write_text(files_path("%s", json_string_value(json_object_get(one, "config_file"))), cases[i].text);
    CHECK_MSG(moeclip_model_load(path, NULL, &m, &err) == cases[i].code && strstr(err.message, cases[i].says) &&
                  strstr(err.message, json_string_value(json_object_get(one, "config_file"))),
              "%s: %s", cases[i].text, err.message);
    CHECK_MSG(moeclip_convert(path, files_path("out.safetensors"), NULL, NULL, &err) == cases[i].code, "%s", cases[i].text);
  }
  /* A configuration that says nothing, or only what is usual. */
  REQUIRE_OK(moeclip_model_load(files_path("%s", json_string_value(json_object_get(hf, "file"))), NULL, &m, (remove(files_path("config.json")), &err)),
             err);
  moeclip_model_destroy(m);
  static const char usual[] =
      "{\"model_cfg\": {\"quick_gelu\": true, \"vision_cfg\": {\"width\": 64, \"pool_type\": \"tok\", \"act_kwargs\": {}, \"ls_init_value\": null, "
      "\"no_ln_pre\": false}, \"text_cfg\": {\"heads\": 1, \"pool_type\": \"argmax\", \"proj_bias\": false}}}";
  write_text(files_path("open_clip_config.json"), usual);
  REQUIRE_OK(moeclip_model_load(files_path("%s", json_string_value(json_object_get(oc, "file"))), NULL, &m, &err), err);
  moeclip_model_sizes s;
  moeclip_model_get_sizes(m, &s);
  CHECK(s.visual_heads == 1 && s.text_heads == 1 && s.activation == MOECLIP_ACTIVATION_QUICK_GELU);
  moeclip_model_destroy(m);
  remove(files_path("open_clip_config.json"));
}

/* The metadata is asked first, and is not trusted. */
static void test_metadata(const json_t *one) {
  static const struct {
    const char *metadata[3];
    moeclip_code code;
  } cases[] = {{{"visual_heads", "16", NULL}, MOECLIP_OK},
               {{"activation", "quick_gelu", NULL}, MOECLIP_OK},
               {{"activation", "relu", NULL}, MOECLIP_ERROR_UNSUPPORTED},
               {{"visual_heads", "", NULL}, MOECLIP_ERROR_FORMAT},
               {{"visual_heads", "7", NULL}, MOECLIP_ERROR_FORMAT},
               {{"text_heads", "128", NULL}, MOECLIP_ERROR_FORMAT},
               {{"text_heads", "99999999999999999999", NULL}, MOECLIP_ERROR_FORMAT},
               {{"text_heads", "2 of them", NULL}, MOECLIP_ERROR_FORMAT}};
  moeclip_model *m;
  moeclip_model_sizes s;
  const char *path = files_path("metadata.safetensors");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    write_weights(one, path, cases[i].metadata);
    moeclip_code code = moeclip_model_load(path, NULL, &m, &err);
    CHECK_MSG(code == cases[i].code, "%s %s: %s", cases[i].metadata[0], cases[i].metadata[1], code == MOECLIP_OK ? "taken" : err.message);
    if (code != MOECLIP_OK) continue;
    moeclip_model_get_sizes(m, &s);
    if (i == 0) CHECK(s.visual_heads == 16 && s.text_heads == 1);
    moeclip_model_destroy(m);
  }
}

static void test_folder(const json_t *one) {
  moeclip_model *m;
  char *folder = strdup(files_path("downloaded"));
  files_folder(folder);
  CHECK(moeclip_model_load(folder, NULL, &m, &err) == MOECLIP_ERROR_IO && strstr(err.message, "is a folder; give the file"));
  write_weights(one, files_path("downloaded/model.safetensors"), NULL);
  CHECK(moeclip_model_load(folder, NULL, &m, &err) == MOECLIP_ERROR_IO && strstr(err.message, "the weights are in ") &&
        strstr(err.message, "downloaded/model.safetensors"));
  free(folder);
}

static void test_usual(void) {
  static const int widths[][2] = {{512, 8}, {768, 12}, {1024, 16}, {1280, 16}, {1408, 16}, {1664, 16}};
  for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) CHECK(mc_usual_heads(true, widths[i][0]) == widths[i][1]);
  CHECK(mc_usual_heads(false, 1280) == 20);
}

int main(void) {
  json_error_t why;
  json_t *all = json_load_file(MOECLIP_TEST_DATA "/config/expected.json", 0, &why), *one;
  const char *name;
  int number = 0;
  if (!all) {
    fprintf(stderr, "%s\n", why.text);
    return 1;
  }
  files_begin();
  json_object_foreach(all, name, one) test_case(name, one, number++);
  CHECK(number == 4);
  test_refused(json_object_get(all, "huggingface, gelu"), json_object_get(all, "openclip, gelu"));
  test_metadata(json_object_get(all, "openclip, gelu"));
  test_folder(json_object_get(all, "huggingface, gelu"));
  test_usual();
  json_decref(all);
  files_end();
  return check_report();
}
