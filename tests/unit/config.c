/* What no weight tells: the activation and the heads, from the configuration beside the weights. The numbers are those of Hugging Face's
 * and OpenCLIP's own models (data/config/make.py). */
#include <jansson.h>

#include "files.h"
#include "files/config.h"
#include "moeclip/convert.h"
#include "moeclip/learner.h"
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
#define PICTURES_AS(how) \
  "{\"model_cfg\": {\"vision_cfg\": {\"width\": 64}, \"text_cfg\": {\"heads\": 1}}, \"preprocess_cfg\": {" how "}}"
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
      {PICTURES_AS("\"mean\": [0.5, 0.5]"), MOECLIP_ERROR_UNSUPPORTED, "\"mean\": [0.5, 0.5]", false},
      {PICTURES_AS("\"mean\": [0.5, 0.5, 1e300]"), MOECLIP_ERROR_UNSUPPORTED, "\"mean\"", false},
      {PICTURES_AS("\"std\": [0.5, 0, 0.5]"), MOECLIP_ERROR_UNSUPPORTED, "\"std\"", false},
      {PICTURES_AS("\"std\": [0.5, \"\", 0.5]"), MOECLIP_ERROR_UNSUPPORTED, "\"std\"", false},
      {PICTURES_AS("\"interpolation\": \"bilinear\""), MOECLIP_ERROR_UNSUPPORTED, "\"interpolation\": \"bilinear\"", false},
      {PICTURES_AS("\"resize_mode\": \"longest\""), MOECLIP_ERROR_UNSUPPORTED, "\"resize_mode\": \"longest\"", false},
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
               {{"text_heads", "2 of them", NULL}, MOECLIP_ERROR_FORMAT},
               {{"resize_mode", "squash", NULL}, MOECLIP_OK},
               {{"resize_mode", "crop", NULL}, MOECLIP_ERROR_UNSUPPORTED},
               {{"image_mean", "[0, 0.5, 1]", NULL}, MOECLIP_OK},
               {{"image_mean", "[0, 0.5]", NULL}, MOECLIP_ERROR_FORMAT},
               {{"image_mean", "[0, 0.5, null]", NULL}, MOECLIP_ERROR_FORMAT},
               {{"image_std", "[1, 1, 0]", NULL}, MOECLIP_ERROR_FORMAT},
               {{"image_std", "[1, 1, 1e99]", NULL}, MOECLIP_ERROR_FORMAT},
               {{"image_std", "[1, 1", NULL}, MOECLIP_ERROR_FORMAT}};
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

/* --- pictures ----------------------------------------------------------------------------------------------------- */

/* How far what the model at `path` takes of the case's pictures is from what Hugging Face's processor makes of them. */
static double pictures_apart(const char *path, const json_t *one) {
  moeclip_model *m;
  moeclip_transform t;
  const char *name;
  json_t *expected;
  double most = 0;
  REQUIRE_OK(moeclip_model_load(path, NULL, &m, &err), err);
  moeclip_model_transform(m, &t);
  moeclip_model_destroy(m);
  CHECK(t.size == SIDE);
  json_object_foreach(json_object_get(one, "pictures"), name, expected) {
    char file[512];
    moeclip_image image;
    uint8_t pixels[3 * SIDE * SIDE];
    float values[3 * SIDE * SIDE];
    snprintf(file, sizeof file, MOECLIP_TEST_DATA "/image/%s", name);
    REQUIRE_OK(moeclip_image_load(file, &image, &err), err);
    REQUIRE_OK(moeclip_image_transform(&image, &t, pixels, &err), err);
    moeclip_image_clear(&image);
    moeclip_transform_normalize(&t, pixels, values);
    for (size_t i = 0; i < 3 * SIDE * SIDE; i++) most = fmax(most, fabs(values[i] - json_number_value(json_array_get(expected, i))));
  }
  return most;
}

static void fingerprint(const char *path, char out[33]) {
  moeclip_model *m;
  REQUIRE_OK(moeclip_model_load(path, NULL, &m, &err), err);
  memcpy(out, moeclip_model_fingerprint(m), 33);
  moeclip_model_destroy(m);
}

/* A picture that the model squashes is answered for as the same picture squashed before. */
static void test_squashed(const char *path) {
  moeclip_model *m;
  moeclip_learner *l;
  moeclip_transform t;
  moeclip_image images[2] = {{0}};
  moeclip_answer answers[2];
  moeclip_classify_options how;
  const char *const labels[] = {"z", "q"};
  static uint8_t pixels[3 * SIDE * SIDE], rgb[3 * SIDE * SIDE];
  REQUIRE_OK(moeclip_image_load(MOECLIP_TEST_DATA "/image/photo.png", &images[0], &err), err);
  REQUIRE_OK(moeclip_model_load(path, NULL, &m, &err), err);
  moeclip_model_transform(m, &t);
  CHECK(t.squash == 1);
  REQUIRE_OK(moeclip_image_transform(&images[0], &t, pixels, &err), err);
  for (size_t i = 0; i < 3 * SIDE * SIDE; i++) rgb[i] = pixels[i % 3 * SIDE * SIDE + i / 3];
  images[1] = (moeclip_image){SIDE, SIDE, rgb};
  REQUIRE_OK(moeclip_learner_create(m, NULL, &l, &err), err);
  moeclip_classify_options_defaults(&how);
  how.labels = labels;
  how.n_labels = 2;
  REQUIRE_OK(moeclip_learner_classify(l, images, 2, &how, answers, &err), err);
  CHECK(answers[0].n_labels == 2 && answers[0].probability[0] == answers[1].probability[0]);
  moeclip_answers_clear(answers, 2);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(m);
  moeclip_image_clear(&images[0]);
}

static void test_pictures(const json_t *weights) {
  json_error_t why;
  const char *name;
  json_t *all = json_load_file(MOECLIP_TEST_DATA "/config/pictures.json", 0, &why), *one;
  char *path = strdup(files_path("taken.safetensors")), *alone = strdup(files_path("alone.safetensors")), plain[33], is[33], converted[33];
  CHECK(all != NULL);
  write_weights(weights, path, NULL);
  fingerprint(path, plain);
  json_object_foreach(all, name, one) {
    bool usual = strcmp(name, "usual") == 0;
    double before = pictures_apart(path, one);
    CHECK_MSG(usual ? before < 1e-4 : before > 1e-2, "%s: %g apart without its configuration", name, before);
    char *text = json_dumps(json_object_get(one, "config"), 0);
    write_text(files_path("preprocessor_config.json"), text);
    free(text);
    double apart = pictures_apart(path, one);
    CHECK_MSG(apart < 1e-4, "%s: %g apart", name, apart);
    fingerprint(path, is);
    CHECK((strcmp(is, plain) == 0) == usual);
    if (strstr(name, "squash")) test_squashed(path);
    REQUIRE_OK(moeclip_convert(path, alone, NULL, NULL, &err), err);
    CHECK(remove(files_path("preprocessor_config.json")) == 0);
    apart = pictures_apart(alone, one);
    fingerprint(alone, converted);
    CHECK_MSG(apart < 1e-4 && strcmp(is, converted) == 0, "%s, converted: %g apart", name, apart);
  }
  CHECK(json_object_size(all) == 5);
  json_decref(all);
  free(path);
  free(alone);
}

/* preprocessor_config.json, in its older forms too. */
static void test_processors(const json_t *weights) {
  static const struct {
    const char *text, *says; /* NULL: taken */
    int squash;
  } cases[] = {{"{}", NULL, 0},
               {"{\"size\": 224, \"crop_size\": 224, \"resample\": 3, \"do_center_crop\": true}", NULL, 0},
               {"{\"size\": {\"shortest_edge\": 16}, \"crop_size\": 16}", NULL, 0},
               {"{\"size\": {\"shortest_edge\": 16}}", NULL, 0},
               {"{\"size\": {\"height\": 16, \"width\": 16}, \"do_center_crop\": false, \"crop_size\": 8}", NULL, 1},
               {"{\"size\": {\"height\": 16, \"width\": 8}}", "\"size\"", 0},
               {"{\"size\": {\"longest_edge\": 16}}", "\"size\"", 0},
               {"{\"size\": \"16\"}", "\"size\"", 0},
               {"{\"size\": {\"shortest_edge\": 256}, \"crop_size\": 224}", "\"crop_size\": 224", 0},
               {"{\"size\": 224, \"do_center_crop\": false}", "\"do_center_crop\": false", 0},
               {"{\"resample\": 2}", "\"resample\": 2", 0},
               {"{\"do_normalize\": false}", "\"do_normalize\": false", 0},
               {"{\"rescale_factor\": 1}", "\"rescale_factor\": 1", 0},
               {"{\"image_std\": [0.5, 0.5, -0.5]}", "\"image_std\"", 0},
               {"{\"size\"", "line 1", 0}};
  const char *path = files_path("taken.safetensors"), *config = files_path("preprocessor_config.json");
  write_weights(weights, path, NULL);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    moeclip_model *m = NULL;
    moeclip_transform t = {0};
    write_text(config, cases[i].text);
    moeclip_code code = moeclip_model_load(path, NULL, &m, &err);
    CHECK_MSG((code == MOECLIP_OK) == !cases[i].says, "%s: %s", cases[i].text, code ? err.message : "taken");
    if (cases[i].says && code) CHECK_MSG(strstr(err.message, config) && strstr(err.message, cases[i].says), "%s", err.message);
    if (code == MOECLIP_OK) moeclip_model_transform(m, &t);
    CHECK_MSG(t.squash == cases[i].squash, "%s", cases[i].text);
    moeclip_model_destroy(m);
  }
  /* Inside the processor's own file, which goes first, where it has one. */
  static const char *const processors[] = {"{}", "{\"image_processor\": {\"size\": {\"height\": 16, \"width\": 16}}}"};
  for (int i = 0; i < 2; i++) {
    moeclip_model *m;
    moeclip_transform t;
    write_text(config, "{\"image_mean\": [0, 0, 0]}");
    write_text(files_path("processor_config.json"), processors[i]);
    REQUIRE_OK(moeclip_model_load(path, NULL, &m, &err), err);
    moeclip_model_transform(m, &t);
    CHECK(t.squash == i && (t.mean[0] == 0) == !i);
    moeclip_model_destroy(m);
  }
  remove(files_path("processor_config.json"));
  remove(config);
  write_weights(weights, path, (const char *const[]){"resize_mode", "squash", NULL}); /* the file itself is asked first */
  moeclip_model *m;
  moeclip_transform t;
  REQUIRE_OK(moeclip_model_load(path, NULL, &m, &err), err);
  moeclip_model_transform(m, &t);
  CHECK(t.squash == 1);
  moeclip_model_destroy(m);
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
  test_pictures(json_object_get(all, "huggingface, gelu"));
  test_processors(json_object_get(all, "huggingface, gelu"));
  test_folder(json_object_get(all, "huggingface, gelu"));
  test_usual();
  json_decref(all);
  files_end();
  return check_report();
}
