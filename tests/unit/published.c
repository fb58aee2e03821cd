/*
 * Published checkpoints: a learner goes into such files and comes back with the same answers to the bit; files that do
 * not fit together, or are no such files, are refused with a sentence that says which and why.
 */
#include "moeclip/published.h"

#include <stdint.h>
#include <unistd.h>

#include "check.h"
#include "learn/learner.h"
#include "model/clip.h"

enum { SIZE = 16, EMBED = 32, N_TASKS = 3, N_IMAGES = 12, HIDDEN = 8, EXPERTS = 4, BOTTLENECK = 8 };

static char folder[] = "/tmp/moeclip-published-XXXXXX";
static moeclip_error err;
static const char *const classes[] = {"a cat", "a dog", "a tree"};
static const char *const templates[] = {"a photo of a {}.", "a drawing of a {}."};
static const char *const names[] = {"first", "second", "third"};

static const char *in_folder(const char *name) {
  static char paths[256][320]; /* more than a test keeps */
  static int next;
  char *path = paths[next++ % 256];
  snprintf(path, 320, "%s/%s", folder, name);
  return path;
}

/* --- fixtures ---------------------------------------------------------------------------------------------------- */

static void write_model(const char *path, uint64_t seed, moeclip_dtype dtype, mc_activation activation, int heads) {
  mc_clip_sizes sizes = {SIZE, 8, 2, 64, 128, 12, 600, 2, 64, 128, EMBED, activation, heads, 0};
  mc_clip *clip;
  moeclip_tensors *t;
  REQUIRE_OK(mc_clip_create(&sizes, seed, &clip, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_clip_store(clip, dtype, t, &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
  mc_clip_destroy(clip);
}

static moeclip_model *open_model(const char *name) {
  moeclip_model *m;
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.precision = MOECLIP_PRECISION_FLOAT32;
  options.n_threads = 1;
  REQUIRE_OK(moeclip_model_load(in_folder(name), &options, &m, &err), err);
  return m;
}

static moeclip_code scramble(void *context, const char *name, mc_param *p, moeclip_error *e) {
  mc_philox *g = context;
  (void)name;
  (void)e;
  mc_param_normal(p, 0.3f, g);
  return MOECLIP_OK;
}

static void add_autoencoder(moeclip_learner *l, int task, double threshold) {
  mc_autoencoder a;
  REQUIRE_OK(mc_autoencoder_create(&a, l->extractor.dim, l->options.selector_hidden, 5, (uint64_t)(task + 1), &err),
             err);
  REQUIRE_OK(mc_selector_add(l->selector, task, &a, threshold, &err), err);
}

/* A learner as if it had learned: random experts, routers and autoencoders. reference: number 0 too, which wins
 * nothing. */
static moeclip_learner *make_learner(moeclip_model *model, const moeclip_learner_options *options, bool reference) {
  moeclip_learner *l;
  mc_philox g;
  REQUIRE_OK(moeclip_learner_create(model, options, &l, &err), err);
  if (reference) add_autoencoder(l, -1, 0);
  for (int t = 0; t < N_TASKS; t++) {
    mc_task task;
    REQUIRE_OK(mc_task_init(&task, names[t], classes, 3, templates, 2, &err), err);
    REQUIRE_OK(mc_learner_add_task(l, &task, &err), err);
    if (l->adapters) REQUIRE_OK(mc_adapters_add_router(l->adapters, &err), err);
    if (l->selector) add_autoencoder(l, t, 10 + t);
  }
  mc_philox_init(&g, 3, MC_STREAM_INIT, 77);
  if (l->adapters) REQUIRE_OK(mc_adapters_each(l->adapters, scramble, &g, &err), err);
  return l;
}

static moeclip_learner_options small_options(void) {
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  o.n_experts = EXPERTS;
  o.bottleneck = BOTTLENECK;
  o.selector = MOECLIP_SELECTOR_AUTOENCODER;
  o.selector_hidden = HIDDEN;
  return o;
}

static moeclip_published_task tasks[N_TASKS];

/* Descriptions of the first n tasks. */
static moeclip_published_options described(const char *autochooser, size_t n) {
  moeclip_published_options o;
  moeclip_published_options_defaults(&o);
  for (size_t t = 0; t < N_TASKS; t++)
    tasks[t] = (moeclip_published_task){names[t], classes, 3, templates, 2, (double)(10 + t)};
  o.autochooser = in_folder(autochooser);
  o.tasks = tasks;
  o.n_tasks = n;
  return o;
}

/* --- round trip -------------------------------------------------------------------------------------------------- */

static uint8_t pixels[N_IMAGES * 3 * SIZE * SIZE];

typedef struct answers {
  int32_t routes[N_IMAGES];
  double scores[N_IMAGES];
  float pictures[N_TASKS + 1][N_IMAGES * EMBED], texts[N_TASKS + 1][3 * EMBED];
} answers;

static void answer(moeclip_learner *l, answers *a, int n_tasks) {
  int32_t through[N_IMAGES];
  REQUIRE_OK(mc_route(l, pixels, N_IMAGES, MOECLIP_SELECT_PER_IMAGE, a->routes, a->scores, NULL, &err), err);
  for (int t = -1; t < n_tasks; t++) {
    for (int i = 0; i < N_IMAGES; i++) through[i] = t;
    REQUIRE_OK(mc_picture_features(l, pixels, N_IMAGES, through, NULL, NULL, a->pictures[t + 1], &err), err);
    REQUIRE_OK(mc_class_features(l, t, templates, 2, classes, 3, NULL, a->texts[t + 1], &err), err);
  }
}

static bool same_tensors(const char *a, const char *b) {
  moeclip_tensors *x, *y;
  REQUIRE_OK(moeclip_tensors_open(a, &x, &err), err);
  REQUIRE_OK(moeclip_tensors_open(b, &y, &err), err);
  bool same = moeclip_tensors_count(x) == moeclip_tensors_count(y);
  for (size_t i = 0; same && i < moeclip_tensors_count(x); i++) {
    const moeclip_tensor *p = moeclip_tensors_at(x, i), *q = moeclip_tensors_find(y, p->name);
    same = q && p->n_bytes == q->n_bytes && memcmp(p->data, q->data, p->n_bytes) == 0;
  }
  moeclip_tensors_destroy(x);
  moeclip_tensors_destroy(y);
  return same;
}

static void test_round_trip(void) {
  static answers before, after, fewer;
  moeclip_model *model = open_model("model.safetensors"), *itself;
  moeclip_learner_options options = small_options();
  moeclip_learner *l = make_learner(model, &options, true), *back, *loaded;
  moeclip_published_options o = described("x_autochooser.pth", N_TASKS);
  moeclip_task_info info;
  answer(l, &before, N_TASKS);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("s.safetensors"), &err), err);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("s.safetensors"), NULL, &loaded, &err), err);
  REQUIRE_OK(moeclip_learner_to_published(loaded, in_folder("x.pth"), in_folder("x_autochooser.pth"), &err), err);
  REQUIRE_OK(moeclip_learner_from_published(model, in_folder("x.pth"), &o, &back, &err), err);
  answer(back, &after, N_TASKS);
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  bool routed = false;
  for (int i = 0; i < N_IMAGES; i++) routed |= before.routes[i] >= 0;
  CHECK(routed);
  REQUIRE_OK(moeclip_learner_task(back, 1, &info, &err), err);
  CHECK(strcmp(info.name, "second") == 0 && info.n_classes == 3 && info.n_templates == 2 && info.threshold == 11);
  CHECK(moeclip_learner_has_reference(back) && mc_adapters_unfrozen(back->adapters) == 0);
  /* A state of it can be saved, loaded, and goes the same way again. */
  REQUIRE_OK(moeclip_learner_save(back, in_folder("s.safetensors"), &err), err);
  moeclip_learner_destroy(loaded);
  moeclip_learner_destroy(back);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("s.safetensors"), NULL, &loaded, &err), err);
  answer(loaded, &after, N_TASKS);
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  REQUIRE_OK(moeclip_learner_to_published(loaded, in_folder("y.pth"), in_folder("y_autochooser.pth"), &err), err);
  CHECK(same_tensors(in_folder("x.pth"), in_folder("y.pth")));
  CHECK(same_tensors(in_folder("x_autochooser.pth"), in_folder("y_autochooser.pth")));
  moeclip_learner_destroy(loaded);
  /* Fewer tasks than routers: the same answers through those. */
  o.n_tasks = 2;
  REQUIRE_OK(moeclip_learner_from_published(model, in_folder("x.pth"), &o, &back, &err), err);
  CHECK(moeclip_learner_tasks(back) == 2);
  answer(back, &fewer, 2);
  for (int t = 0; t < 3; t++) {
    CHECK(memcmp(before.pictures[t], fewer.pictures[t], sizeof before.pictures[t]) == 0);
    CHECK(memcmp(before.texts[t], fewer.texts[t], sizeof before.texts[t]) == 0);
  }
  REQUIRE_OK(moeclip_learner_save(back, in_folder("s.safetensors"), &err), err);
  moeclip_learner_destroy(back);
  /* The file is a model too, the same one. */
  itself = open_model("x.pth");
  CHECK(strcmp(moeclip_model_fingerprint(itself), moeclip_model_fingerprint(model)) == 0);
  REQUIRE_OK(moeclip_learner_load(itself, in_folder("s.safetensors"), NULL, &back, &err), err);
  moeclip_learner_destroy(back);
  moeclip_model_destroy(itself);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* What a published checkpoint holds that nothing uses must be there too. */
static void test_names(void) {
  static const char *const unused[] = {
      "adaptmlp.down_proj.weight", "adaptmlp.up_proj.bias", "ln_3.weight", "ln_3.bias", "mean", "std"};
  moeclip_published_info info;
  moeclip_tensors *t;
  char name[128];
  REQUIRE_OK(moeclip_tensors_open(in_folder("x.pth"), &t, &err), err);
  for (int i = 0; i < 4; i++) {
    for (size_t k = 0; k < sizeof unused / sizeof *unused; k++) {
      snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s", i < 2 ? "visual." : "", i % 2, unused[k]);
      CHECK_MSG(moeclip_tensors_find(t, name) != NULL, "no %s", name);
    }
  }
  moeclip_published_look(t, &info);
  CHECK(info.n_experts == EXPERTS && info.bottleneck == BOTTLENECK && info.n_routers == N_TASKS &&
        info.n_learned == N_TASKS);
  CHECK(info.n_autoencoders == 0);
  moeclip_tensors_destroy(t);
  REQUIRE_OK(moeclip_tensors_open(in_folder("x_autochooser.pth"), &t, &err), err);
  CHECK(moeclip_tensors_container(t) == MOECLIP_TORCH_ZIP && moeclip_tensors_count(t) == 4 * (N_TASKS + 1));
  moeclip_published_look(t, &info);
  CHECK(info.n_experts == 0 && info.n_autoencoders == N_TASKS + 1 && info.hidden == HIDDEN && info.features == 4 * 64);
  moeclip_tensors_destroy(t);
}

/* A model in float16, and experts on the float32 weights that it was rounded from (or the other way round). */
static void test_rounding(void) {
  moeclip_model *half = open_model("half.safetensors");
  moeclip_published_options o = described("x_autochooser.pth", N_TASKS);
  moeclip_learner *l;
  REQUIRE_OK(moeclip_learner_from_published(half, in_folder("x.pth"), &o, &l, &err), err);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(half);
}

/* --- what is refused --------------------------------------------------------------------------------------------- */

static void refused_file(moeclip_model *model, const char *path, const moeclip_published_options *o, moeclip_code code,
                         const char *words) {
  moeclip_learner *l = NULL;
  moeclip_code is = moeclip_learner_from_published(model, path, o, &l, &err);
  CHECK_MSG(is == code && l == NULL, "%s: code %d, not %d: %s", words, (int)is, (int)code,
            is == MOECLIP_OK ? "" : err.message);
  CHECK_MSG(is != MOECLIP_OK && strstr(err.message, words), "no \"%s\" in: %s", words,
            is == MOECLIP_OK ? "" : err.message);
  moeclip_learner_destroy(l);
}

/* A copy of a file with one tensor left out, or with other data or shape. */
typedef struct change {
  const char *name; /* of the tensor */
  bool remove;
  float add;   /* to its first value */
  int64_t cut; /* from the last side */
  bool zero;
} change;

static const char *changed(const char *from, change c) {
  moeclip_tensors *in, *out;
  bool found = false;
  REQUIRE_OK(moeclip_tensors_open(in_folder(from), &in, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&out, &err), err);
  for (size_t i = 0; i < moeclip_tensors_count(in); i++) {
    moeclip_tensor t = *moeclip_tensors_at(in, i);
    size_t n = moeclip_tensor_elements(&t),
           matches = strlen(t.name) >= strlen(c.name) && strcmp(t.name + strlen(t.name) - strlen(c.name), c.name) == 0;
    float *values = malloc(n * sizeof *values);
    if (!values) exit(1);
    moeclip_tensor_to_f32(&t, values);
    found |= matches;
    if (matches) {
      values[0] += c.add;
      if (t.rank > 0) t.shape[t.rank - 1] -= c.cut;
      if (c.zero) memset(values, 0, n * sizeof *values);
    }
    if (!matches || !c.remove)
      REQUIRE_OK(moeclip_tensors_add(out, t.name, MOECLIP_F32, t.rank, t.shape, values, 1, &err), err);
    free(values);
  }
  CHECK_MSG(found, "no tensor %s", c.name);
  REQUIRE_OK(moeclip_tensors_write_torch(out, in_folder("changed.pth"), &err), err);
  moeclip_tensors_destroy(in);
  moeclip_tensors_destroy(out);
  return in_folder("changed.pth");
}

static void test_wrong_models(void) {
  moeclip_model *model = open_model("model.safetensors"), *other = open_model("other.safetensors");
  moeclip_published_options o = described("x_autochooser.pth", N_TASKS);
  const char *x = in_folder("x.pth");
#define REFUSED(change_, code, words) refused_file(model, changed("x.pth", (change)change_), &o, code, words)
#define C(...) {__VA_ARGS__}
  refused_file(other, x, &o, MOECLIP_ERROR_MISMATCH, "visual.conv1.weight is not that of");
  refused_file(other, x, &o, MOECLIP_ERROR_MISMATCH, "x.pth: ");
  REFUSED(C("visual.transformer.resblocks.1.mlp.c_fc.bias", .add = 0.01f), MOECLIP_ERROR_MISMATCH,
          "visual.transformer.resblocks.1.mlp.c_fc.bias is not that of");
  REFUSED(C("ln_final.weight", .add = 0.001f), MOECLIP_ERROR_MISMATCH, "ln_final.weight is not that of");
  REFUSED(C("ln_final.weight", .add = NAN), MOECLIP_ERROR_MISMATCH, "ln_final.weight is not that of");
  REFUSED(C("text_projection", .remove = true), MOECLIP_ERROR_MISMATCH, "there is no tensor text_projection");
  REFUSED(C("token_embedding.weight", .cut = 1), MOECLIP_ERROR_MISMATCH, "token_embedding.weight has the shape");
  REFUSED(C("visual.transformer.resblocks.1.router_list.1", .remove = true), MOECLIP_ERROR_FORMAT,
          "router_list.1 of block 1");
  REFUSED(C("router_list.2", .remove = true), MOECLIP_ERROR_MISMATCH, "routers of 2 tasks, and 3 tasks");
  REFUSED(C("w_noise_list.0", .remove = true), MOECLIP_ERROR_FORMAT, "w_noise_list.0");
  REFUSED(C("router_list.2", .zero = true), MOECLIP_ERROR_MISMATCH, "router_list.2 is zero everywhere");
  REFUSED(C("transformer.resblocks.1.adaptmlp_list.2.up_proj.weight", .remove = true), MOECLIP_ERROR_FORMAT,
          "adaptmlp_list.2");
  REFUSED(C("transformer.resblocks.0.adaptmlp_list.0.down_proj.weight", .remove = true), MOECLIP_ERROR_FORMAT,
          "no adapters");
  refused_file(model, in_folder("model.safetensors"), &o, MOECLIP_ERROR_FORMAT, "no adapters");
  refused_file(model, in_folder("x_autochooser.pth"), &o, MOECLIP_ERROR_FORMAT, "no adapters");
  refused_file(model, in_folder("none.pth"), &o, MOECLIP_ERROR_IO, "none.pth");
#undef REFUSED
  moeclip_model_destroy(other);
  moeclip_model_destroy(model);
}

static void test_wrong_choosers(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_published_options o = described("x_autochooser.pth", N_TASKS);
  const char *x = in_folder("x.pth");
  char changed_path[320];
#define REFUSED(change_, code, words)                                                                 \
  do {                                                                                                \
    snprintf(changed_path, sizeof changed_path, "%s", changed("x_autochooser.pth", (change)change_)); \
    o.autochooser = changed_path;                                                                     \
    refused_file(model, x, &o, code, words);                                                          \
  } while (0)
  REFUSED(C("3.encoder.0.weight", .remove = true), MOECLIP_ERROR_MISMATCH, "it has 3 autoencoders");
  REFUSED(C("0.encoder.0.weight", .remove = true), MOECLIP_ERROR_FORMAT, "0.encoder.0.weight is missing");
  REFUSED(C("2.decoder.0.bias", .remove = true), MOECLIP_ERROR_FORMAT, "there is no tensor 2.decoder.0.bias");
  REFUSED(C("encoder.0.weight", .cut = 1), MOECLIP_ERROR_MISMATCH,
          "look at 255 features; the model's image tower gives 256");
  REFUSED(C("1.encoder.0.weight", .cut = 1), MOECLIP_ERROR_FORMAT, "1.encoder.0.weight has the shape");
  REFUSED(C("1.decoder.0.weight", .cut = 1), MOECLIP_ERROR_FORMAT, "1.decoder.0.weight has the shape");
#undef REFUSED
#undef C
  o.autochooser = x;
  refused_file(model, x, &o, MOECLIP_ERROR_FORMAT, "no autoencoders");
  o = described("x_autochooser.pth", N_TASKS);
  o.alexnet = in_folder("none.pth");
  refused_file(model, x, &o, MOECLIP_ERROR_IO, "none.pth");
  o = described("x_autochooser.pth", N_TASKS);
  o.selector_layer = 3;
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "selector layer 3");
  o = described("x_autochooser.pth", 0);
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "0 tasks");
  o.autochooser = NULL;
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "_autochooser.pth");
  o = described("x_autochooser.pth", N_TASKS);
  tasks[2].name = "first";
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "both called first");
  tasks[2].name = "third";
  tasks[1].n_classes = 0;
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "no classes");
  tasks[1].n_classes = 3;
  tasks[1].threshold = NAN;
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "threshold");
  tasks[1].threshold = 0;
  tasks[0].templates = classes;
  refused_file(model, x, &o, MOECLIP_ERROR_ARGUMENT, "no {}");
  moeclip_model_destroy(model);
}

/* Features of AlexNet's number without AlexNet: the message says what to give. */
static void test_needs_alexnet(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_published_options o = described("wide.pth", 1);
  moeclip_tensors *t;
  const int64_t shape[] = {1, MC_ALEXNET_DIM};
  float *zeros = calloc(MC_ALEXNET_DIM, sizeof *zeros);
  if (!zeros) exit(1);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "0.encoder.0.weight", MOECLIP_F32, 2, shape, zeros, 0, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "1.encoder.0.weight", MOECLIP_F32, 2, shape, zeros, 0, &err), err);
  REQUIRE_OK(moeclip_tensors_write_torch(t, in_folder("wide.pth"), &err), err);
  refused_file(model, in_folder("x.pth"), &o, MOECLIP_ERROR_ARGUMENT, "give AlexNet's weights");
  moeclip_tensors_destroy(t);
  free(zeros);
  moeclip_model_destroy(model);
}

static void refused_learner(moeclip_learner *l, bool chooser, const char *words) {
  moeclip_code code =
      moeclip_learner_to_published(l, in_folder("no.pth"), chooser ? in_folder("no_autochooser.pth") : NULL, &err);
  CHECK_MSG(code == MOECLIP_ERROR_UNSUPPORTED && strstr(err.message, words), "no \"%s\" in: %s", words,
            code == MOECLIP_OK ? "" : err.message);
  CHECK(access(in_folder("no.pth"), F_OK) != 0 && access(in_folder("no_autochooser.pth"), F_OK) != 0);
  moeclip_learner_destroy(l);
}

static void test_inexpressible(void) {
  moeclip_model *model = open_model("model.safetensors"), *gelu = open_model("gelu.safetensors"),
                *heads = open_model("heads.safetensors");
  moeclip_learner_options o = small_options();
  moeclip_learner *l;
  REQUIRE_OK(moeclip_learner_create(model, &o, &l, &err), err);
  refused_learner(l, false, "nothing was learned");
  refused_learner(make_learner(model, &o, false), true, "no reference set");
  refused_learner(make_learner(gelu, &o, true), true, "GELU");
  refused_learner(make_learner(heads, &o, true), true, "not 64 wide");
  l = make_learner(model, &o, true);
  REQUIRE_OK(mc_adapters_grow(l->adapters, 2, 1, &err), err);
  refused_learner(l, true, "experts were added");
  o.text_adapters = 0;
  refused_learner(make_learner(model, &o, true), true, "text tower");
  o.text_adapters = 1;
  o.top_k = 3;
  refused_learner(make_learner(model, &o, true), true, "another number");
  o = small_options();
  o.mode = MOECLIP_MODE_FINETUNE;
  refused_learner(make_learner(model, &o, false), false, "fine-tuned");
  /* Without a reference set, the model alone can be written. */
  o = small_options();
  l = make_learner(model, &o, false);
  CHECK(moeclip_learner_to_published(l, in_folder("changed.pth"), NULL, &err) == MOECLIP_OK);
  CHECK(moeclip_learner_to_published(l, in_folder("none/x.pth"), NULL, &err) == MOECLIP_ERROR_IO);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(gelu);
  moeclip_model_destroy(heads);
  moeclip_model_destroy(model);
}

int main(void) {
  static const char *const files[] = {"model.safetensors", "other.safetensors",
                                      "half.safetensors",  "gelu.safetensors",
                                      "s.safetensors",     "x.pth",
                                      "x_autochooser.pth", "y.pth",
                                      "y_autochooser.pth", "changed.pth",
                                      "wide.pth",          "heads.safetensors"};
  if (!mkdtemp(folder)) return 1;
  write_model(in_folder("model.safetensors"), 1, MOECLIP_F32, MC_QUICK_GELU, 1);
  write_model(in_folder("half.safetensors"), 1, MOECLIP_F16, MC_QUICK_GELU, 1);
  write_model(in_folder("other.safetensors"), 2, MOECLIP_F32, MC_QUICK_GELU, 1);
  write_model(in_folder("gelu.safetensors"), 1, MOECLIP_F32, MC_GELU, 1);
  write_model(in_folder("heads.safetensors"), 1, MOECLIP_F32, MC_QUICK_GELU, 4);
  uint32_t noise = 1;
  for (size_t i = 0; i < sizeof pixels; i++) {
    noise = noise * 1664525u + 1013904223u;
    pixels[i] = (uint8_t)(noise >> 24);
  }
  test_round_trip();
  test_names();
  test_rounding();
  test_wrong_models();
  test_wrong_choosers();
  test_needs_alexnet();
  test_inexpressible();
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) unlink(in_folder(files[i]));
  CHECK(rmdir(folder) == 0);
  return check_report();
}
