/*
 * What ZSCL and iCaRL keep: states that do not fit together are refused, whatever their checksum says; prompts that are the same are one;
 * herding against trying all.
 */
#include "learn/herding.h"
#include "learn/method.h"
#include "learn/rehearsal.h"
#include "learner_fixtures.h"

/* The state once more, with one tensor in place of another: of this type and shape, all 1. shape[0] 0: left out. Loading must fail. */
static void check_refused(moeclip_model *model, const char *name, moeclip_dtype dtype, int rank, const int64_t *shape) {
  moeclip_tensors *in, *out;
  moeclip_learner *l;
  REQUIRE_OK(mc_state_open(in_folder("good.safetensors"), &in, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&out, &err), err);
  static const char *const keys[] = {"moeclip.format", "moeclip.state"};
  for (int k = 0; k < 2; k++) REQUIRE_OK(moeclip_tensors_set_metadata(out, keys[k], moeclip_tensors_metadata(in, keys[k]), &err), err);
  for (size_t i = 0; i < moeclip_tensors_count(in); i++) {
    const moeclip_tensor *t = moeclip_tensors_at(in, i);
    if (strcmp(t->name, name) == 0) continue;
    REQUIRE_OK(moeclip_tensors_add(out, t->name, t->dtype, t->rank, t->shape, t->data, 1, &err), err);
  }
  if (shape[0] > 0) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    double *data = calloc((size_t)n, sizeof *data);
    for (int64_t i = 0; i < n; i++) {
      if (dtype == MOECLIP_F32) ((float *)data)[i] = 1;
      if (dtype == MOECLIP_I64) ((int64_t *)data)[i] = 1;
    }
    REQUIRE_OK(moeclip_tensors_add(out, name, dtype, rank, shape, data, 1, &err), err);
    free(data);
  }
  REQUIRE_OK(mc_state_write(out, in_folder("bad.safetensors"), &err), err);
  CHECK_MSG(moeclip_learner_load(model, in_folder("bad.safetensors"), NULL, &l, &err) == MOECLIP_ERROR_FORMAT, "%s of rank %d with %lld: taken",
            name, rank, (long long)shape[0]);
  CHECK_MSG(strstr(err.message, "damaged state"), "%s", err.message);
  moeclip_tensors_destroy(in);
  moeclip_tensors_destroy(out);
}

static void learn_good(moeclip_model *model, moeclip_mode mode) {
  moeclip_learner_options o = small_options(mode);
  moeclip_task_options task = few_steps();
  moeclip_learner *l;
  o.exemplars = 9;
  o.zscl_pictures = 12;
  task.iterations = 2;
  REQUIRE_OK(moeclip_learner_create(model, &o, &l, &err), err);
  moeclip_dataset *reference = open_domain("light"), *d = open_domain("bars");
  if (mode == MOECLIP_MODE_ZSCL) {
    CHECK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "reference set"));
    REQUIRE_OK(moeclip_learner_learn_reference(l, reference, &task, NULL, NULL, &err), err);
    CHECK(moeclip_learner_has_reference(l));
    CHECK(moeclip_learner_learn_reference(l, reference, &task, NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT);
  }
  REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("good.safetensors"), &err), err);
  moeclip_learner_destroy(l);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("good.safetensors"), NULL, &l, &err), err);
  REQUIRE_OK(moeclip_learner_save(l, in_folder("again.safetensors"), &err), err);
  CHECK(same_files(in_folder("good.safetensors"), in_folder("again.safetensors")));
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(reference);
  moeclip_dataset_destroy(d);
}

#define REFUSED(name, dtype, ...) \
  check_refused(model, name, dtype, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void test_states(void) {
  moeclip_model *model = open_model("model.safetensors");
  learn_good(model, MOECLIP_MODE_ZSCL);
  REFUSED("zscl.pictures", MOECLIP_U8, 13, 3, 16, 16); /* more than the options allow */
  REFUSED("zscl.pictures", MOECLIP_U8, 12, 3, 16, 8);
  REFUSED("zscl.pictures", MOECLIP_F32, 12, 3, 16, 16);
  REFUSED("zscl.pictures", MOECLIP_U8, 11, 3, 16, 16); /* fewer than there are features */
  REFUSED("zscl.features", MOECLIP_F32, 12, 31);
  REFUSED("zscl.features", MOECLIP_F32, 0);
  REFUSED("zscl.texts", MOECLIP_F32, 2, 33);
  REFUSED("zscl.texts", MOECLIP_F32, 64);
  learn_good(model, MOECLIP_MODE_ICARL);
  REFUSED("icarl.pictures", MOECLIP_U8, 10, 3, 16, 16);
  REFUSED("icarl.pictures", MOECLIP_U8, 7, 3, 16, 16); /* 8 labels */
  REFUSED("icarl.pictures", MOECLIP_U8, 8, 1, 16, 16);
  REFUSED("icarl.pictures", MOECLIP_U8, 0);
  REFUSED("icarl.labels", MOECLIP_I64, 9);
  REFUSED("icarl.labels", MOECLIP_I64, 8, 1);
  REFUSED("icarl.labels", MOECLIP_F32, 8);
  REFUSED("icarl.means", MOECLIP_F32, 1, 32); /* neither no class nor all */
  REFUSED("icarl.means", MOECLIP_F32, 2, 31);
  moeclip_model_destroy(model);
}

/* The best of all first ones, then of all that go with it, and so on: herding is greedy by definition. */
static void test_herding(void) {
  enum { ROWS = 12, D = 5, CHOSEN = 7 };
  float x[ROWS * D];
  int64_t rows[ROWS - 2], chosen[CHOSEN];
  uint32_t noise = 3;
  for (int i = 0; i < ROWS * D; i++) {
    noise = noise * 1664525u + 1013904223u;
    x[i] = (float)(noise >> 8) / 16777216.0f;
  }
  for (int i = 0; i < ROWS - 2; i++) rows[i] = i + 1; /* not all of x */
  REQUIRE_OK(mc_herd(x, D, rows, ROWS - 2, CHOSEN, chosen, &err), err);
  for (int at = 0; at < CHOSEN; at++) {
    double of_chosen = 0, least = INFINITY;
    for (int i = 0; i < ROWS - 2; i++) {
      double distance = 0;
      bool before = false;
      for (int k = 0; k < at; k++) before = before || chosen[k] == i;
      if (before) continue;
      for (int k = 0; k < D; k++) {
        double mean = 0, sum = x[rows[i] * D + k];
        for (int j = 0; j < ROWS - 2; j++) mean += x[rows[j] * D + k] / (ROWS - 2.0);
        for (int j = 0; j < at; j++) sum += x[rows[chosen[j]] * D + k];
        distance += pow(mean - sum / (at + 1), 2);
      }
      if (i == chosen[at]) of_chosen = distance;
      least = fmin(least, distance);
    }
    CHECK(fabs(of_chosen - least) < 1e-12);
  }
}

static void test_prompts(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options o = small_options(MOECLIP_MODE_FINETUNE);
  moeclip_learner *l;
  mc_task task;
  mc_rehearsal r;
  static const char *const first[] = {"b", "a", "c"}, *const second[] = {"c", "d", "b"}, *const templates[] = {"a {}.", "{}"};
  static const char *const other[] = {"{} x"};
  REQUIRE_OK(moeclip_learner_create(model, &o, &l, &err), err);
  REQUIRE_OK(mc_task_init(&task, "one", first, 3, templates, 2, &err), err);
  REQUIRE_OK(mc_learner_add_task(l, &task, &err), err);
  REQUIRE_OK(mc_task_init(&task, "two", second, 3, templates, 1, &err), err);
  REQUIRE_OK(mc_learner_add_task(l, &task, &err), err);
  REQUIRE_OK(mc_task_init(&task, "three", first, 3, other, 1, &err), err);
  REQUIRE_OK(mc_learner_add_task(l, &task, &err), err);
  REQUIRE_OK(mc_rehearsal_init(&r, l, &err), err);
  static const char *const prompts[] = {"a b.", "a a.", "a c.", "a d.", "b x", "a x", "c x"};
  static const int32_t of[] = {0, 1, 2, 2, 3, 0, 4, 5, 6};
  CHECK(r.n_classes == 9 && r.n_old == 6 && r.n_prompts == 7 && r.n_before == 4 && memcmp(r.prompt_of, of, sizeof of) == 0);
  for (size_t i = 0; i < 7 && i < r.n_prompts; i++) CHECK(strcmp(r.prompts[i], prompts[i]) == 0);
  mc_rehearsal_clear(&r);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

int main(void) {
  make_fixtures();
  test_herding();
  test_prompts();
  test_states();
  return end_fixtures();
}
