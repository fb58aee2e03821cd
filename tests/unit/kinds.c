/*
 * The kinds of selector, dynamic experts and pruning, on the learner from end to end.
 */
#include "learner_fixtures.h"

/* Every kind of selector, on early tokens and on the tower's last word: chooses rightly, keeps its kind in the state, gives the same bytes
 * when it was stopped in between, and answers the same whether it looks in passing or in a pass of its own. */
static void test_selectors(void) {
  static const struct {
    moeclip_selector_kind kind, becomes;
    int layer;
  } cases[] = {{MOECLIP_SELECTOR_AUTO, MOECLIP_SELECTOR_GAUSSIAN, -1},    {MOECLIP_SELECTOR_AUTOENCODER, MOECLIP_SELECTOR_AUTOENCODER, 0},
               {MOECLIP_SELECTOR_AUTOENCODER, MOECLIP_SELECTOR_AUTOENCODER, 2}, {MOECLIP_SELECTOR_GAUSSIAN, MOECLIP_SELECTOR_GAUSSIAN, 1},
               {MOECLIP_SELECTOR_GAUSSIAN, MOECLIP_SELECTOR_GAUSSIAN, 2}, {MOECLIP_SELECTOR_PROTOTYPES, MOECLIP_SELECTOR_PROTOTYPES, 0}};
  moeclip_model *model = open_model("model.safetensors");
  moeclip_callbacks stop = {stop_in_training, NULL, NULL};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    moeclip_learner_options options = small_options(MOECLIP_MODE_MOE), is;
    moeclip_task_options task = few_steps();
    moeclip_learner *l, *again;
    options.selector = cases[k].kind;
    options.selector_layer = cases[k].layer;
    for (int broken = 0; broken < 2; broken++) {
      char checkpoint[320];
      snprintf(checkpoint, sizeof checkpoint, "%s/kind.part", folder);
      REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
      for (int i = 0; i < 2; i++) {
        moeclip_dataset *d = open_domain(both[i]);
        task.checkpoint = broken ? checkpoint : NULL;
        stop_at = 9;
        if (broken) CHECK(moeclip_learner_learn(l, d, &task, &stop, NULL, &err) == MOECLIP_ERROR_CANCELLED);
        REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err);
        unlink(checkpoint);
        moeclip_dataset_destroy(d);
      }
      REQUIRE_OK(moeclip_learner_save(l, in_folder(broken ? "kind2.safetensors" : "kind.safetensors"), &err), err);
      moeclip_learner_destroy(l);
    }
    CHECK_MSG(same_files(in_folder("kind.safetensors"), in_folder("kind2.safetensors")), "case %zu: other bytes after a stop", k);
    REQUIRE_OK(moeclip_learner_load(model, in_folder("kind.safetensors"), NULL, &again, &err), err);
    moeclip_learner_get_options(again, &is);
    CHECK(is.selector == cases[k].becomes && (cases[k].layer < 0 || is.selector_layer == cases[k].layer));
    bool in_passing = is.selector != MOECLIP_SELECTOR_AUTOENCODER && is.selector_layer == 0;
    CHECK(mc_routes_in_passing(again) == in_passing);
    uint8_t pixels[N_IMAGES * 3 * 16 * 16];
    moeclip_image images[N_IMAGES];
    moeclip_dataset *d[2] = {open_domain("bars"), open_domain("light")};
    load_images(d[0], images, N_IMAGES / 2);
    load_images(d[1], images + N_IMAGES / 2, N_IMAGES / 2);
    for (int i = 0; i < N_IMAGES; i++) REQUIRE_OK(moeclip_image_preprocess(&images[i], 16, pixels + i * 768, &err), err);
    int32_t tasks[2][N_IMAGES];
    double scores[2][N_IMAGES];
    float errors[2][N_IMAGES * 3], out[2][N_IMAGES * 32];
    mc_chosen chosen = {tasks[1], scores[1], errors[1]};
    REQUIRE_OK(mc_route(again, pixels, N_IMAGES, MOECLIP_SELECT_PER_IMAGE, tasks[0], scores[0], errors[0], &err), err);
    REQUIRE_OK(mc_picture_features(again, pixels, N_IMAGES, tasks[0], NULL, NULL, out[0], &err), err);
    REQUIRE_OK(mc_choose_and_encode(again, pixels, N_IMAGES, &chosen, NULL, NULL, out[1], &err), err);
    CHECK(memcmp(tasks[0], tasks[1], sizeof tasks[0]) == 0 && memcmp(scores[0], scores[1], sizeof scores[0]) == 0);
    CHECK(memcmp(out[0], out[1], sizeof out[0]) == 0);
    for (int i = 0; i < N_IMAGES * 3; i++) CHECK(isnan(errors[0][i]) ? isnan(errors[1][i]) : errors[0][i] == errors[1][i]);
    int right = 0, none = 0;
    for (int i = 0; i < N_IMAGES; i++) right += tasks[0][i] == i / (N_IMAGES / 2);
    /* Thirty steps are too few for an autoencoder of the tower's last word, and for any to know noise when it sees it. */
    bool gaussian = is.selector != MOECLIP_SELECTOR_AUTOENCODER;
    CHECK_MSG(right >= N_IMAGES - 3 || (!gaussian && is.selector_layer == 2), "case %zu: %d of %d pictures were sent to their task", k, right, N_IMAGES);
    /* Noise belongs to nobody, and then the answer is the untouched CLIP's. */
    mc_philox g;
    mc_philox_init(&g, 1, 1, 1);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)mc_philox_next(&g);
    REQUIRE_OK(mc_choose_and_encode(again, pixels, N_IMAGES, &chosen, NULL, NULL, out[1], &err), err);
    for (int i = 0; i < N_IMAGES; i++) none += tasks[1][i] == -1;
    CHECK_MSG(none == N_IMAGES || !gaussian, "case %zu: %d of %d pictures of noise were turned away", k, none, N_IMAGES);
    for (int i = 0; i < N_IMAGES; i++) tasks[0][i] = -1;
    REQUIRE_OK(mc_picture_features(again, pixels, N_IMAGES, tasks[0], NULL, NULL, out[0], &err), err);
    CHECK(none < N_IMAGES || memcmp(out[0], out[1], sizeof out[0]) == 0);
    for (int i = 0; i < N_IMAGES; i++) moeclip_image_clear(&images[i]);
    moeclip_dataset_destroy(d[0]);
    moeclip_dataset_destroy(d[1]);
    moeclip_learner_destroy(again);
  }
  moeclip_model_destroy(model);
}

/* States from before there were kinds have no word for one: their selectors are autoencoders. */
static void test_old_state(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE), is;
  moeclip_learner *l, *again;
  moeclip_tensors *t;
  moeclip_dataset *d = open_domain("bars");
  moeclip_task_options task = few_steps();
  options.selector = MOECLIP_SELECTOR_AUTOENCODER;
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_state_store(l, t, &err), err);
  char text[4096], *at;
  snprintf(text, sizeof text, "%s", moeclip_tensors_metadata(t, "moeclip.state"));
  at = strstr(text, "\"kind\":\"autoencoder\",");
  CHECK(at != NULL);
  if (at) memmove(at, at + 21, strlen(at + 21) + 1);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "moeclip.state", text, &err), err);
  REQUIRE_OK(mc_state_write(t, in_folder("old.safetensors"), &err), err);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("old.safetensors"), NULL, &again, &err), err);
  moeclip_learner_get_options(again, &is);
  CHECK(is.selector == MOECLIP_SELECTOR_AUTOENCODER && mc_selector_autoencoder(again->selector, 0) != NULL);
  moeclip_learner_destroy(again);
  moeclip_learner_destroy(l);
  moeclip_tensors_destroy(t);
  moeclip_dataset_destroy(d);
  moeclip_model_destroy(model);
}

/* A stated rate of false alarms is the rate on the pictures that were held out; nonsense is refused. */
static void test_false_alarms(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_task_options task = few_steps();
  moeclip_dataset *d = open_domain("bars");
  moeclip_learn_report report;
  double last = INFINITY;
  static const double rates[] = {0.05, 0.25, 0.5};
  for (int k = 0; k < 3; k++) {
    moeclip_learner *l;
    REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
    task.selector_false_alarms = rates[k];
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, &report, &err), err);
    CHECK_MSG(report.threshold < last, "rate %g: threshold %g after %g", rates[k], report.threshold, last);
    last = report.threshold;
    task.threshold = 1;
    CHECK(moeclip_learner_learn(l, d, &task, NULL, &report, &err) == MOECLIP_ERROR_ARGUMENT);
    task.threshold = NAN;
    moeclip_learner_destroy(l);
  }
  moeclip_dataset_destroy(d);
  moeclip_model_destroy(model);
}

/* --- pruning ------------------------------------------------------------------------------------------------------ */

enum { N_TEXTS = 60 };

/* Everything that a learner of two tasks says of ten pictures and sixty texts, through each task and through none. */
typedef struct everything {
  float pictures[3][N_IMAGES * 32], texts[3][N_TEXTS * 32];
  int32_t tasks[N_IMAGES];
} everything;

static char text_of[N_TEXTS][32];

static void ask_everything(moeclip_learner *l, const uint8_t *pixels, everything *out) {
  const char *texts[N_TEXTS];
  mc_chosen chosen = {out->tasks, NULL, NULL};
  float features[N_IMAGES * 32];
  mc_philox g;
  mc_philox_init(&g, 4, 4, 4);
  memset(out, 0, sizeof *out);
  for (int i = 0; i < N_TEXTS; i++) {
    int n = 1 + (int)mc_philox_below(&g, 8);
    for (int k = 0; k < n; k++) text_of[i][k] = (char)('a' + mc_philox_below(&g, 26));
    text_of[i][n] = 0;
    texts[i] = text_of[i];
  }
  for (int t = -1; t < moeclip_learner_tasks(l); t++) {
    int32_t tasks[N_IMAGES];
    for (int i = 0; i < N_IMAGES; i++) tasks[i] = t;
    REQUIRE_OK(mc_picture_features(l, pixels, N_IMAGES, tasks, NULL, NULL, out->pictures[t + 1], &err), err);
    REQUIRE_OK(moeclip_learner_encode_texts(l, texts, N_TEXTS, t, out->texts[t + 1], &err), err);
  }
  REQUIRE_OK(mc_choose_and_encode(l, pixels, N_IMAGES, &chosen, NULL, NULL, features, &err), err);
}

static void read_pixels(uint8_t *pixels) {
  moeclip_image images[N_IMAGES];
  moeclip_dataset *d[2] = {open_domain("bars"), open_domain("light")};
  load_images(d[0], images, N_IMAGES / 2);
  load_images(d[1], images + N_IMAGES / 2, N_IMAGES / 2);
  for (int i = 0; i < N_IMAGES; i++) {
    REQUIRE_OK(moeclip_image_preprocess(&images[i], 16, pixels + i * 768, &err), err);
    moeclip_image_clear(&images[i]);
  }
  moeclip_dataset_destroy(d[0]);
  moeclip_dataset_destroy(d[1]);
}

/* Which experts of the text tower are chosen for many texts, found by asking: used [blocks, experts]. */
static void text_experts(moeclip_learner *l, int n_experts, uint8_t *used) {
  moeclip_model *m = l->model;
  const char *texts[N_TEXTS];
  static const char *const plain[] = {"{}"};
  int32_t *rows, tasks[N_TEXTS];
  int blocks = l->adapters->text_layers;
  float *gates = calloc((size_t)(blocks * N_TEXTS * n_experts), sizeof *gates), out[N_TEXTS * 32];
  for (int i = 0; i < N_TEXTS; i++) texts[i] = text_of[i];
  REQUIRE_OK(mc_model_prompts(m, plain, 1, texts, N_TEXTS, &rows, &err), err);
  for (int t = 0; t < l->n_tasks; t++) {
    for (int i = 0; i < N_TEXTS; i++) tasks[i] = t;
    mc_routing routing = {.task = tasks, .top_k = l->options.top_k, .scale = l->adapters->sizes.scale, .gates_out = gates - m->clip->visual.n_layers * N_TEXTS * n_experts,
                          .gates_experts = n_experts, .gates_stride = N_TEXTS * n_experts};
    mc_encoder e = {.clip = m->clip, .adapters = l->adapters, .routing = &routing};
    REQUIRE_OK(mc_encode_texts(m->compute, &e, rows, N_TEXTS, out, NULL, &m->arena, &err), err);
  }
  for (int i = 0; i < blocks * N_TEXTS * n_experts; i++) used[i / (N_TEXTS * n_experts) * n_experts + i % n_experts] |= gates[i] > 0;
  free(gates);
  free(rows);
}

static off_t bytes_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? s.st_size : 0;
}

/* The same answers before, after, and from the smaller file; what was dropped is what nobody chooses; and a task can be learned on. */
static void test_prune(void) {
  enum { EXPERTS = 9 };
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_task_options task = few_steps();
  moeclip_learner *l, *small, *again;
  static everything before, after;
  uint8_t pixels[N_IMAGES * 768], used[2 * EXPERTS] = {0};
  int64_t n = 0, twice = 0;
  options.n_experts = EXPERTS;
  read_pixels(pixels);
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  CHECK(moeclip_learner_prune(l, &n, &err) == MOECLIP_ERROR_ARGUMENT);
  for (int i = 0; i < 2; i++) {
    moeclip_dataset *d = open_domain(both[i]);
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err);
    moeclip_dataset_destroy(d);
    REQUIRE_OK(moeclip_learner_save(l, in_folder(i ? "two.safetensors" : "one.safetensors"), &err), err);
  }
  ask_everything(l, pixels, &before);
  CHECK(memcmp(before.texts[0], before.texts[1], sizeof before.texts[0]) != 0); /* the experts do something */
  text_experts(l, EXPERTS, used);
  REQUIRE_OK(moeclip_learner_prune(l, &n, &err), err);
  int dropped = 0;
  for (int b = 0; b < 2; b++) {
    for (int e = 0; e < EXPERTS; e++) {
      dropped += l->adapters->text[b].experts[e].dropped;
      CHECK_MSG(!(l->adapters->text[b].experts[e].dropped && used[b * EXPERTS + e]), "expert %d of text block %d is used", e, b);
    }
  }
  CHECK_MSG(n >= dropped && dropped > EXPERTS, "%d of the text tower's experts were dropped", dropped);
  ask_everything(l, pixels, &after);
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("small.safetensors"), &err), err);
  off_t was = bytes_of(in_folder("two.safetensors")), is = bytes_of(in_folder("small.safetensors"));
  CHECK_MSG(is < was * 9 / 10, "%lld of %lld bytes", (long long)is, (long long)was);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("small.safetensors"), NULL, &small, &err), err);
  ask_everything(small, pixels, &after);
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  REQUIRE_OK(moeclip_learner_prune(small, &twice, &err), err);
  CHECK(twice == 0);
  REQUIRE_OK(moeclip_learner_save(small, in_folder("small2.safetensors"), &err), err);
  CHECK(same_files(in_folder("small.safetensors"), in_folder("small2.safetensors")));
  /* Without the word of what was dropped, or with expert 0 among it, it is a damaged state. */
  moeclip_tensors *t;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_state_store(small, t, &err), err);
  moeclip_tensor *word = (moeclip_tensor *)(uintptr_t)moeclip_tensors_find(t, "dropped.text.0");
  CHECK(word != NULL);
  if (word) ((uint8_t *)(uintptr_t)word->data)[0] = 1;
  CHECK(mc_state_replace(small, t, &err) == MOECLIP_ERROR_FORMAT);
  moeclip_tensors_destroy(t);
  /* From a smaller state, learning goes on; the first task answers as it would. */
  REQUIRE_OK(moeclip_learner_load(model, in_folder("one.safetensors"), NULL, &again, &err), err);
  REQUIRE_OK(moeclip_learner_prune(again, &n, &err), err);
  REQUIRE_OK(moeclip_learner_save(again, in_folder("small1.safetensors"), &err), err);
  moeclip_learner_destroy(again);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("small1.safetensors"), NULL, &again, &err), err);
  moeclip_dataset *d = open_domain(both[1]);
  moeclip_evaluation e;
  REQUIRE_OK(moeclip_learner_learn(again, d, &task, NULL, NULL, &err), err);
  REQUIRE_OK(moeclip_learner_evaluate(again, d, NULL, NULL, &e, &err), err);
  CHECK_MSG(n > 0 && e.accuracy > 0.7, "learned on from a pruned state: accuracy %g", e.accuracy);
  for (int b = 0; b < 2; b++) {
    for (int x = 0; x < EXPERTS; x++) CHECK(!again->adapters->text[b].experts[x].dropped || again->adapters->text[b].experts[x].frozen);
  }
  moeclip_evaluation_clear(&e);
  moeclip_dataset_destroy(d);
  moeclip_learner_destroy(again);
  moeclip_learner_destroy(small);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* --- dynamic experts ------------------------------------------------------------------------------------------------ */

/* Learns both domains; broken: stopped within each. */
static moeclip_learner *learn_dynamic(moeclip_model *model, double margin, bool broken, everything *first, const uint8_t *pixels,
                                      moeclip_learn_report *report) {
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_task_options task = few_steps();
  moeclip_callbacks stop = {stop_in_training, NULL, NULL};
  moeclip_learner *l;
  char checkpoint[320];
  options.dynamic_experts = 1;
  options.dynamic_margin = margin;
  options.dynamic_probe = 60;
  snprintf(checkpoint, sizeof checkpoint, "%s/dynamic.part", folder);
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  for (int i = 0; i < 2; i++) {
    moeclip_dataset *d = open_domain(both[i]);
    task.checkpoint = broken ? checkpoint : NULL;
    stop_at = 7;
    if (broken) CHECK(moeclip_learner_learn(l, d, &task, &stop, NULL, &err) == MOECLIP_ERROR_CANCELLED);
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, report, &err), err);
    unlink(checkpoint);
    moeclip_dataset_destroy(d);
    if (i == 0) ask_everything(l, pixels, first);
  }
  return l;
}

static void test_dynamic(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learn_report report;
  moeclip_learner_options is;
  moeclip_task_parameters p;
  static everything first, last;
  uint8_t pixels[N_IMAGES * 768];
  read_pixels(pixels);
  /* No expert saves nine tenths of the loss: the second task does with the first one's, and all are frozen. */
  moeclip_learner *l = learn_dynamic(model, 0.9, false, &first, pixels, &report);
  CHECK(l->adapters->sizes.n_experts == 2 && report.parameters.n_experts == 0 && report.parameters.experts == 0);
  CHECK(report.probe_seconds > 0 && mc_adapters_unfrozen(l->adapters) == 0);
  /* A router of two experts in each of the two blocks of both towers, with its noise, and nothing else. */
  CHECK(report.parameters.router == 4 * 2 * 64 * 2 && report.trainable == report.parameters.router);
  moeclip_learner_destroy(l);
  /* Any gain counts: one is added as long as the probe's loss falls. */
  l = learn_dynamic(model, 0, false, &first, pixels, &report);
  int n = l->adapters->sizes.n_experts;
  CHECK_MSG(n > 2 && n <= 4 && report.parameters.n_experts == n - 2, "%d experts", n);
  REQUIRE_OK(moeclip_learner_parameters(l, 0, &p, &err), err);
  CHECK(p.n_experts == 2 && p.experts == 2 * 4 * (2 * 64 * 8 + 64 + 8) && p.selector == mc_selector_numbers(l->selector, 0));
  CHECK(moeclip_learner_parameters(l, 2, &p, &err) == MOECLIP_ERROR_ARGUMENT);
  /* What the first task says has not changed by a bit, as all its experts were frozen. */
  ask_everything(l, pixels, &last);
  CHECK(memcmp(first.pictures[1], last.pictures[1], sizeof first.pictures[1]) == 0);
  CHECK(memcmp(first.texts[1], last.texts[1], sizeof first.texts[1]) == 0);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("dynamic.safetensors"), &err), err);
  moeclip_learner_destroy(l);
  l = learn_dynamic(model, 0, true, &first, pixels, &report);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("dynamic2.safetensors"), &err), err);
  CHECK(same_files(in_folder("dynamic.safetensors"), in_folder("dynamic2.safetensors")));
  moeclip_learner_destroy(l);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("dynamic.safetensors"), NULL, &l, &err), err);
  moeclip_learner_get_options(l, &is);
  CHECK(is.dynamic_experts == 1 && is.dynamic_margin == 0 && is.dynamic_probe == 60);
  moeclip_learner_destroy(l);
  moeclip_learner_options wrong = small_options(MOECLIP_MODE_MOE);
  wrong.dynamic_experts = wrong.shared_router = 1;
  CHECK(moeclip_learner_create(model, &wrong, &l, &err) == MOECLIP_ERROR_ARGUMENT);
  moeclip_model_destroy(model);
}

int main(void) {
  make_fixtures();
  test_selectors();
  test_old_state();
  test_false_alarms();
  test_prune();
  test_dynamic();
  return end_fixtures();
}
