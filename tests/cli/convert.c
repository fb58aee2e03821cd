/* moeclip_convert: names, number types, metadata, what is refused. */
#include "moeclip/convert.h"

#include <stdint.h>
#include <unistd.h>

#include "check.h"

static char folder[] = "/tmp/moeclip-convert-XXXXXX";
static moeclip_error err;

static const char *path_of(const char *name) {
  static char paths[16][128];
  static int next;
  char *path = paths[next++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

enum { D = 64, EMBED = 2 };

/* Numbers that tell where they came from: `start` and on. */
static void add(moeclip_tensors *t, const char *name, float start, int rank, int64_t a, int64_t b, int64_t c,
                int64_t d) {
  static float values[4 * D * D * 4];
  int64_t shape[4] = {a, b, c, d};
  size_t n = 1;
  for (int i = 0; i < rank; i++) n *= (size_t)shape[i];
  for (size_t i = 0; i < n; i++) values[i] = start + (float)(i % 512);
  REQUIRE_OK(moeclip_tensors_add(t, name, MOECLIP_F32, rank, shape, values, 1, &err), err);
}

static void add_layer(moeclip_tensors *t, const char *tower) {
  static const char *const squares[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.out_proj"};
  static const char *const norms[] = {"layer_norm1", "layer_norm2"};
  char name[128];
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "%s.encoder.layers.0.%s.weight", tower, squares[i]);
    add(t, name, (float)i, 2, D, D, 0, 0);
    snprintf(name, sizeof name, "%s.encoder.layers.0.%s.bias", tower, squares[i]);
    add(t, name, (float)i, 1, D, 0, 0, 0);
  }
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "%s.encoder.layers.0.%s.%s", tower, norms[i / 2], i % 2 ? "bias" : "weight");
    add(t, name, 0, 1, D, 0, 0, 0);
  }
  snprintf(name, sizeof name, "%s.encoder.layers.0.mlp.fc1.weight", tower);
  add(t, name, 0, 2, 4 * D, D, 0, 0);
  snprintf(name, sizeof name, "%s.encoder.layers.0.mlp.fc1.bias", tower);
  add(t, name, 0, 1, 4 * D, 0, 0, 0);
  snprintf(name, sizeof name, "%s.encoder.layers.0.mlp.fc2.weight", tower);
  add(t, name, 0, 2, D, 4 * D, 0, 0);
  snprintf(name, sizeof name, "%s.encoder.layers.0.mlp.fc2.bias", tower);
  add(t, name, 0, 1, D, 0, 0, 0);
}

/* A CLIP in Hugging Face's names. */
static void write_huggingface(const char *path) {
  moeclip_tensors *t;
  static const char *const norms[] = {"vision_model.pre_layrnorm", "vision_model.post_layernorm",
                                      "text_model.final_layer_norm"};
  char name[128];
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  add(t, "logit_scale", 2, 0, 0, 0, 0, 0);
  add(t, "vision_model.embeddings.class_embedding", 0, 1, D, 0, 0, 0);
  add(t, "vision_model.embeddings.patch_embedding.weight", 0, 4, D, 3, 4, 4);
  add(t, "vision_model.embeddings.position_embedding.weight", 0, 2, 5, D, 0, 0);
  add(t, "text_model.embeddings.token_embedding.weight", 0, 2, 8, D, 0, 0);
  add(t, "text_model.embeddings.position_embedding.weight", 0, 2, 6, D, 0, 0);
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "%s.%s", norms[i / 2], i % 2 ? "bias" : "weight");
    add(t, name, 0, 1, D, 0, 0, 0);
  }
  add_layer(t, "vision_model");
  add_layer(t, "text_model");
  add(t, "visual_projection.weight", 0, 2, EMBED, D, 0, 0);
  add(t, "text_projection.weight", 0, 2, EMBED, D, 0, 0);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "note", "kept", &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
}

static float number(const moeclip_tensors *t, const char *name, size_t i) {
  const moeclip_tensor *tensor = moeclip_tensors_find(t, name);
  float v;
  if (!tensor || tensor->dtype != MOECLIP_F32 || i >= moeclip_tensor_elements(tensor)) return NAN;
  memcpy(&v, (const char *)tensor->data + 4 * i, sizeof v);
  return v;
}

static void test_names(void) {
  const char *in = path_of("hf.safetensors"), *out = path_of("openai.safetensors");
  moeclip_convert_options o;
  moeclip_convert_report r;
  moeclip_tensors *t;
  write_huggingface(in);
  moeclip_convert_options_defaults(&o);
  o.openai_names = 1;
  o.activation = "gelu";
  REQUIRE_OK(moeclip_convert(in, out, &o, &r, &err), err);
  CHECK(r.naming && strcmp(r.naming, "huggingface") == 0 && r.n_changed == 0 && r.n_metadata_lost == 0);
  REQUIRE_OK(moeclip_tensors_open(out, &t, &err), err);
  CHECK(moeclip_tensors_count(t) == r.n_tensors && strcmp(moeclip_tensors_naming(t, NULL), "openai") == 0);
  CHECK(strcmp(moeclip_tensors_metadata(t, "note"), "kept") == 0);
  CHECK(strcmp(moeclip_tensors_metadata(t, "activation"), "gelu") == 0);
  const moeclip_tensor *q = moeclip_tensors_find(t, "transformer.resblocks.0.attn.in_proj_weight");
  CHECK(q && q->shape[0] == 3 * D && q->shape[1] == D);
  /* q, k, v begin with 0, 1 and 2; the projection [embed, width] is turned round. */
  for (size_t i = 0; i < 3; i++) {
    CHECK(number(t, "transformer.resblocks.0.attn.in_proj_weight", i * D * D) == (float)i);
    CHECK(number(t, "visual.transformer.resblocks.0.attn.in_proj_bias", i * D + 1) == (float)i + 1);
  }
  CHECK(number(t, "visual.proj", 1) == D && number(t, "visual.proj", 2) == 1);
  moeclip_tensors_destroy(t);
  REQUIRE_OK(moeclip_convert(out, path_of("lost.pth"), NULL, &r, &err), err);
  CHECK(r.n_metadata_lost == 2 && r.container == MOECLIP_TORCH_ZIP && !r.naming);
  CHECK(strcmp(r.lost, "activation: gelu") == 0);
}

static void test_numbers(void) {
  const float values[] = {1, 65519, 65520, -1e6f, INFINITY, NAN, 0.1f};
  const double large[] = {1, 1e300, -1e39, 0.5};
  const int64_t shape[] = {7}, four[] = {4};
  const int32_t whole[] = {1, 2, 3, 4};
  const char *in = path_of("n.safetensors"), *out = path_of("h.safetensors");
  moeclip_tensors *t;
  moeclip_convert_options o;
  moeclip_convert_report r;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "single", MOECLIP_F32, 1, shape, values, 0, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "double", MOECLIP_F64, 1, four, large, 0, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "whole", MOECLIP_I32, 1, four, whole, 0, &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, in, &err), err);
  moeclip_tensors_destroy(t);
  moeclip_convert_options_defaults(&o);
  o.dtype = MOECLIP_F16;
  REQUIRE_OK(moeclip_convert(in, out, &o, &r, &err), err);
  CHECK(r.n_tensors == 3 && r.n_changed == 2);
  CHECK_MSG(r.n_overflows == 4, "%zu overflows", r.n_overflows); /* 65520 rounds to infinity; -1e6; 1e300; -1e39 */
  REQUIRE_OK(moeclip_tensors_open(out, &t, &err), err);
  CHECK(moeclip_tensors_find(t, "single")->dtype == MOECLIP_F16);
  CHECK(moeclip_tensors_find(t, "whole")->dtype == MOECLIP_I32);
  float back[7];
  moeclip_tensor_to_f32(moeclip_tensors_find(t, "single"), back);
  CHECK(back[0] == 1 && back[1] == 65504 && isinf(back[2]) && isinf(back[4]) && isnan(back[5]));
  moeclip_tensors_destroy(t);
  o.dtype = MOECLIP_F32;
  REQUIRE_OK(moeclip_convert(in, out, &o, &r, &err), err);
  CHECK(r.n_changed == 1 && r.n_overflows == 2);
}

static void test_refused(void) {
  const char *in = path_of("state.safetensors");
  moeclip_tensors *t;
  moeclip_convert_options o;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  add(t, "x", 0, 1, 3, 0, 0, 0);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "moeclip.format", "state 1", &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, in, &err), err);
  CHECK(moeclip_tensors_naming(t, &err) == NULL);
  moeclip_tensors_destroy(t);
  moeclip_convert_options_defaults(&o);
  o.dtype = MOECLIP_F16;
  CHECK(moeclip_convert(in, path_of("s.pth"), &o, NULL, &err) == MOECLIP_ERROR_UNSUPPORTED);
  CHECK(strstr(err.message, "state") && strstr(err.message, in));
  o.dtype = MOECLIP_F64;
  CHECK(moeclip_convert(in, path_of("s.pth"), &o, NULL, NULL) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_convert(in, path_of("s.bin"), NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_convert(path_of("none"), path_of("s.pth"), NULL, NULL, &err) == MOECLIP_ERROR_IO);
  o.dtype = -1;
  o.openai_names = 1;
  CHECK(moeclip_convert(in, path_of("s.pth"), &o, NULL, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, in));
  CHECK(access(path_of("s.pth"), F_OK) != 0);
}

int main(void) {
  static const char *const files[] = {"hf.safetensors", "openai.safetensors", "lost.pth",         "n.safetensors",
                                      "h.safetensors",  "state.safetensors"};
  if (!mkdtemp(folder)) return 1;
  test_names();
  test_numbers();
  test_refused();
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) unlink(path_of(files[i]));
  CHECK(rmdir(folder) == 0);
  return check_report();
}
