/* A tiny CLIP in each naming becomes the same tensors in OpenAI's names. */
#include "base/memory.h"
#include "check.h"
#include "files/names.h"

enum { WIDTH = 2, EMBED = 3, LAYERS = 2 };

static moeclip_error err;

/* Adds a tensor whose values are first, first + 1, ...; *count gives the number of elements. */
static void add(moeclip_tensors *t, const char *name, int rank, int64_t a, int64_t b, float first) {
  float values[64];
  const int64_t shape[2] = {a, b};
  for (int i = 0; i < 64; i++) values[i] = first + (float)i;
  REQUIRE_OK(moeclip_tensors_add(t, name, MOECLIP_F32, rank, shape, values, 1, &err), err);
}

static void add_to(moeclip_tensors *t, const char *prefix, const char *name, int rank, int64_t a, int64_t b,
                   float first) {
  char *whole = mc_format("%s%s", prefix, name);
  add(t, whole, rank, a, b, first);
  free(whole);
}

static moeclip_tensors *fresh(void) {
  moeclip_tensors *t;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  return t;
}

static void add_openai_block(moeclip_tensors *t, const char *tower, int i, float first) {
  char *p = mc_format("%stransformer.resblocks.%d.", tower, i);
  add_to(t, p, "ln_1.weight", 1, WIDTH, 0, first);
  add_to(t, p, "ln_1.bias", 1, WIDTH, 0, first + 1);
  add_to(t, p, "attn.in_proj_weight", 2, 3 * WIDTH, WIDTH, first + 2);
  add_to(t, p, "attn.in_proj_bias", 1, 3 * WIDTH, 0, first + 3);
  add_to(t, p, "attn.out_proj.weight", 2, WIDTH, WIDTH, first + 4);
  add_to(t, p, "attn.out_proj.bias", 1, WIDTH, 0, first + 5);
  add_to(t, p, "ln_2.weight", 1, WIDTH, 0, first + 6);
  add_to(t, p, "ln_2.bias", 1, WIDTH, 0, first + 7);
  add_to(t, p, "mlp.c_fc.weight", 2, 4 * WIDTH, WIDTH, first + 8);
  add_to(t, p, "mlp.c_fc.bias", 1, 4 * WIDTH, 0, first + 9);
  add_to(t, p, "mlp.c_proj.weight", 2, WIDTH, 4 * WIDTH, first + 10);
  add_to(t, p, "mlp.c_proj.bias", 1, WIDTH, 0, first + 11);
  free(p);
}

/* text: "" for OpenAI's names, "text." for OpenCLIP's other class. */
static moeclip_tensors *openai(const char *text) {
  moeclip_tensors *t = fresh();
  add(t, "logit_scale", 0, 0, 0, 1);
  add(t, "visual.conv1.weight", 2, WIDTH, 12, 2);
  add(t, "visual.class_embedding", 1, WIDTH, 0, 3);
  add(t, "visual.positional_embedding", 2, 5, WIDTH, 4);
  add(t, "visual.ln_pre.weight", 1, WIDTH, 0, 5);
  add(t, "visual.ln_pre.bias", 1, WIDTH, 0, 6);
  add(t, "visual.ln_post.weight", 1, WIDTH, 0, 7);
  add(t, "visual.ln_post.bias", 1, WIDTH, 0, 8);
  add(t, "visual.proj", 2, WIDTH, EMBED, 9);
  add_to(t, text, "token_embedding.weight", 2, 7, WIDTH, 10);
  add_to(t, text, "positional_embedding", 2, 4, WIDTH, 11);
  add_to(t, text, "ln_final.weight", 1, WIDTH, 0, 12);
  add_to(t, text, "ln_final.bias", 1, WIDTH, 0, 13);
  add_to(t, text, "text_projection", 2, WIDTH, EMBED, 14);
  for (int i = 0; i < LAYERS; i++) {
    add_openai_block(t, "visual.", i, 100 + 20 * (float)i);
    add_openai_block(t, text, i, 200 + 20 * (float)i);
  }
  return t;
}

/* q, k and v are thirds of in_proj: `first` counts on from one to the next. */
static void add_qkv(moeclip_tensors *t, const char *prefix, float weight, float bias) {
  const char *order = "kvq"; /* as Hugging Face's files have it */
  for (int i = 0; i < 3; i++) {
    float part = order[i] == 'q' ? 0 : order[i] == 'k' ? 1 : 2;
    char *w = mc_format("%sself_attn.%c_proj.weight", prefix, order[i]);
    char *b = mc_format("%sself_attn.%c_proj.bias", prefix, order[i]);
    add(t, w, 2, WIDTH, WIDTH, weight + part * WIDTH * WIDTH);
    add(t, b, 1, WIDTH, 0, bias + part * WIDTH);
    free(w);
    free(b);
  }
}

static void add_hf_block(moeclip_tensors *t, const char *tower, int i, float first) {
  char *p = mc_format("%s.encoder.layers.%d.", tower, i);
  add_qkv(t, p, first + 2, first + 3);
  add_to(t, p, "self_attn.out_proj.weight", 2, WIDTH, WIDTH, first + 4);
  add_to(t, p, "self_attn.out_proj.bias", 1, WIDTH, 0, first + 5);
  add_to(t, p, "layer_norm1.weight", 1, WIDTH, 0, first);
  add_to(t, p, "layer_norm1.bias", 1, WIDTH, 0, first + 1);
  add_to(t, p, "layer_norm2.weight", 1, WIDTH, 0, first + 6);
  add_to(t, p, "layer_norm2.bias", 1, WIDTH, 0, first + 7);
  add_to(t, p, "mlp.fc1.weight", 2, 4 * WIDTH, WIDTH, first + 8);
  add_to(t, p, "mlp.fc1.bias", 1, 4 * WIDTH, 0, first + 9);
  add_to(t, p, "mlp.fc2.weight", 2, WIDTH, 4 * WIDTH, first + 10);
  add_to(t, p, "mlp.fc2.bias", 1, WIDTH, 0, first + 11);
  free(p);
}

/* The transpose of [WIDTH, EMBED] with values first, first + 1, ... */
static void add_projection(moeclip_tensors *t, const char *name, float first) {
  float values[EMBED * WIDTH];
  const int64_t shape[2] = {EMBED, WIDTH};
  for (int e = 0; e < EMBED; e++) {
    for (int w = 0; w < WIDTH; w++) values[e * WIDTH + w] = first + (float)(w * EMBED + e);
  }
  REQUIRE_OK(moeclip_tensors_add(t, name, MOECLIP_F32, 2, shape, values, 1, &err), err);
}

static moeclip_tensors *huggingface(void) {
  moeclip_tensors *t = fresh();
  add(t, "logit_scale", 0, 0, 0, 1);
  add(t, "vision_model.embeddings.patch_embedding.weight", 2, WIDTH, 12, 2);
  add(t, "vision_model.embeddings.class_embedding", 1, WIDTH, 0, 3);
  add(t, "vision_model.embeddings.position_embedding.weight", 2, 5, WIDTH, 4);
  add(t, "vision_model.embeddings.position_ids", 2, 1, 5, 0);
  add(t, "vision_model.pre_layrnorm.weight", 1, WIDTH, 0, 5);
  add(t, "vision_model.pre_layrnorm.bias", 1, WIDTH, 0, 6);
  add(t, "vision_model.post_layernorm.weight", 1, WIDTH, 0, 7);
  add(t, "vision_model.post_layernorm.bias", 1, WIDTH, 0, 8);
  add_projection(t, "visual_projection.weight", 9);
  add(t, "text_model.embeddings.token_embedding.weight", 2, 7, WIDTH, 10);
  add(t, "text_model.embeddings.position_embedding.weight", 2, 4, WIDTH, 11);
  add(t, "text_model.embeddings.position_ids", 2, 1, 4, 0);
  add(t, "text_model.final_layer_norm.weight", 1, WIDTH, 0, 12);
  add(t, "text_model.final_layer_norm.bias", 1, WIDTH, 0, 13);
  add_projection(t, "text_projection.weight", 14);
  for (int i = 0; i < LAYERS; i++) {
    add_hf_block(t, "vision_model", i, 100 + 20 * (float)i);
    add_hf_block(t, "text_model", i, 200 + 20 * (float)i);
  }
  return t;
}

static void check_same(const char *what, const moeclip_tensors *t, const moeclip_tensors *expected) {
  CHECK_MSG(moeclip_tensors_count(t) == moeclip_tensors_count(expected), "%s: %zu tensors, expected %zu", what,
            moeclip_tensors_count(t), moeclip_tensors_count(expected));
  for (size_t i = 0; i < moeclip_tensors_count(expected); i++) {
    const moeclip_tensor *a = moeclip_tensors_at(expected, i), *b = moeclip_tensors_find(t, a->name);
    CHECK_MSG(b && a->rank == b->rank && a->n_bytes == b->n_bytes && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
                  memcmp(a->data, b->data, a->n_bytes) == 0,
              "%s: tensor %s differs", what, a->name);
  }
}

static void test_namings(void) {
  moeclip_tensors *expected = openai("");
  moeclip_tensors *in[3] = {openai(""), openai("text."), huggingface()};
  static const char *const names[3] = {"openai", "openclip-text", "huggingface"};
  for (int i = 0; i < 3; i++) {
    moeclip_tensors *out;
    mc_naming found;
    REQUIRE_OK(mc_names_normalise(in[i], &out, &found, &err), err);
    CHECK(strcmp(mc_naming_name(found), names[i]) == 0);
    check_same(names[i], out, expected);
    /* Where the layout stays, the data is the file's own. */
    const char *same[3] = {"visual.proj", "text.ln_final.bias", "text_model.final_layer_norm.bias"};
    const moeclip_tensor *a = moeclip_tensors_find(in[i], same[i]);
    const moeclip_tensor *b = moeclip_tensors_find(out, i == 0 ? "visual.proj" : "ln_final.bias");
    CHECK(a && b && a->data == b->data);
    moeclip_tensors_destroy(out);
    moeclip_tensors_destroy(in[i]);
  }
  moeclip_tensors_destroy(expected);
}

static void test_passing(void) {
  static const char *const extra[] = {
      "visual.transformer.resblocks.0.adaptmlp_list.0.down_proj.weight", "transformer.resblocks.1.router_list.10",
      "transformer.resblocks.1.w_noise_list.10", "transformer.resblocks.0.mean", "transformer.resblocks.0.ln_3.weight",
      "attn_mask", "input_resolution", "context_length", "vocab_size", "logit_bias"};
  moeclip_tensors *t = openai(""), *out;
  for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) add(t, extra[i], 1, 1, 0, (float)i);
  REQUIRE_OK(mc_names_normalise(t, &out, NULL, &err), err);
  check_same("adapters and buffers", out, t);
  moeclip_tensors_destroy(out);
  moeclip_tensors_destroy(t);
}

/* A copy of t without one tensor, or with it under another name. */
static moeclip_tensors *change(const moeclip_tensors *t, const char *name, const char *other) {
  moeclip_tensors *copy = fresh();
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *a = moeclip_tensors_at(t, i);
    const char *as = strcmp(a->name, name) == 0 ? other : a->name;
    if (as) REQUIRE_OK(moeclip_tensors_add(copy, as, a->dtype, a->rank, a->shape, a->data, 0, &err), err);
  }
  return copy;
}

static void expect_failure(moeclip_tensors *t, moeclip_code code, const char *says) {
  moeclip_tensors *out;
  moeclip_error got = {0};
  CHECK_MSG(mc_names_normalise(t, &out, NULL, &got) == code && strstr(got.message, says) && !out,
            "expected a message with %s, got code %d, %s", says, got.code, got.message);
  moeclip_tensors_destroy(t);
}

static void test_failures(void) {
  moeclip_tensors *a = openai(""), *h = huggingface();
  /* Every single tensor of OpenAI's is needed, and named when it is missing. */
  for (size_t i = 0; i < moeclip_tensors_count(a); i++) {
    const char *name = moeclip_tensors_at(a, i)->name;
    expect_failure(change(a, name, NULL), MOECLIP_ERROR_FORMAT, name);
  }
  expect_failure(change(h, "vision_model.encoder.layers.1.self_attn.k_proj.bias", NULL), MOECLIP_ERROR_FORMAT,
                 "vision_model.encoder.layers.1.self_attn.k_proj.bias");
  expect_failure(change(h, "text_model.encoder.layers.0.self_attn.q_proj.weight", NULL), MOECLIP_ERROR_FORMAT,
                 "transformer.resblocks.0.attn.in_proj_weight");
  expect_failure(change(h, "vision_model.pre_layrnorm.bias", "vision_model.head.probe"), MOECLIP_ERROR_UNSUPPORTED,
                 "vision_model.head.probe");
  moeclip_tensors *uneven = change(h, "vision_model.encoder.layers.1.self_attn.v_proj.weight", NULL);
  add(uneven, "vision_model.encoder.layers.1.self_attn.v_proj.weight", 2, WIDTH + 1, WIDTH, 0);
  expect_failure(uneven, MOECLIP_ERROR_FORMAT, "v_proj.weight");
  expect_failure(fresh(), MOECLIP_ERROR_FORMAT, "visual.conv1.weight");
  moeclip_tensors *gap = openai("");
  add_openai_block(gap, "visual.", LAYERS + 1, 0);
  expect_failure(gap, MOECLIP_ERROR_FORMAT, "visual.transformer.resblocks.2.ln_1.weight");
  moeclip_tensors *resnet = fresh();
  add(resnet, "visual.layer1.0.conv1.weight", 1, 1, 0, 0);
  expect_failure(resnet, MOECLIP_ERROR_UNSUPPORTED, "ViT");
  moeclip_tensors_destroy(a);
  moeclip_tensors_destroy(h);
}

int main(void) {
  test_namings();
  test_passing();
  test_failures();
  return check_report();
}
