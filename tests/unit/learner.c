/*
 * The learner from end to end on a tiny random CLIP and two small domains that the test draws itself: repeatable, resumable,
 * undone on failure, bound to its backbone, and the untouched CLIP for what fits no task.
 */
#include "learner_fixtures.h"

/* Learns domains from nothing into a state file. */
static void learn_all(const char *const *domains, size_t n, moeclip_mode mode, const char *out) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner *l;
  moeclip_learner_options options = small_options(mode);
  moeclip_task_options task = few_steps();
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  for (size_t i = 0; i < n; i++) {
    moeclip_dataset *d = open_domain(domains[i]);
    moeclip_learn_report report;
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, &report, &err), err);
    /* 25 steps of 16 pictures; or one pass over 160 of them. */
    CHECK(report.task == (int)i && report.iterations == (mode == MOECLIP_MODE_ANALYTIC ? 10 : 25) && report.broken == 0 &&
          report.trainable > 0);
    moeclip_dataset_destroy(d);
  }
  REQUIRE_OK(moeclip_learner_save(l, in_folder(out), &err), err);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* --- tests --------------------------------------------------------------------------------------------------------------- */

static void test_repeatable(void) {
  learn_all(both, 2, MOECLIP_MODE_MOE, "a.safetensors");
  learn_all(both, 2, MOECLIP_MODE_MOE, "b.safetensors");
  CHECK(same_files(in_folder("a.safetensors"), in_folder("b.safetensors")));
  learn_all(both, 2, MOECLIP_MODE_FINETUNE, "fa.safetensors");
  learn_all(both, 2, MOECLIP_MODE_FINETUNE, "fb.safetensors");
  CHECK(same_files(in_folder("fa.safetensors"), in_folder("fb.safetensors")));
  learn_all(both, 2, MOECLIP_MODE_ANALYTIC, "ra.safetensors");
}

/* Stopped after some steps (with a checkpoint after each) and started again: the same file as an unbroken run. */
static void test_resume(moeclip_mode mode, const char *unbroken) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(mode);
  moeclip_task_options task = few_steps();
  moeclip_callbacks stop = {stop_in_training, NULL, NULL};
  moeclip_learner *l;
  moeclip_learn_report report;
  char checkpoint[320];
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  for (size_t i = 0; i < 2; i++) {
    moeclip_dataset *d = open_domain(both[i]);
    snprintf(checkpoint, sizeof checkpoint, "%s/run.part", folder);
    task.checkpoint = checkpoint;
    REQUIRE_OK(moeclip_learner_save(l, in_folder("before.safetensors"), &err), err);
    for (stop_at = 7; stop_at < (mode == MOECLIP_MODE_ANALYTIC ? 10 : 20); stop_at += 6) {
      CHECK(moeclip_learner_learn(l, d, &task, &stop, &report, &err) == MOECLIP_ERROR_CANCELLED);
      CHECK(moeclip_learner_tasks(l) == (int)i);
      /* The learner is as it was. */
      REQUIRE_OK(moeclip_learner_save(l, in_folder("after.safetensors"), &err), err);
      CHECK(same_files(in_folder("before.safetensors"), in_folder("after.safetensors")));
    }
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, &report, &err), err);
    CHECK(report.resumed);
    moeclip_dataset_destroy(d);
    unlink(checkpoint);
  }
  REQUIRE_OK(moeclip_learner_save(l, in_folder("resumed.safetensors"), &err), err);
  CHECK(same_files(in_folder(unbroken), in_folder("resumed.safetensors")));
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* A checkpoint of other options is refused, and one that a finished task left behind is not in the way. */
static void test_other_checkpoint(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_task_options task = few_steps();
  moeclip_callbacks stop = {stop_in_training, NULL, NULL};
  moeclip_learner *l;
  moeclip_dataset *bars = open_domain("bars"), *light = open_domain("light");
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  char checkpoint[320];
  snprintf(checkpoint, sizeof checkpoint, "%s/other.part", folder);
  task.checkpoint = checkpoint;
  stop_at = 5;
  CHECK(moeclip_learner_learn(l, bars, &task, &stop, NULL, &err) == MOECLIP_ERROR_CANCELLED);
  task.learning_rate = 1e-3;
  CHECK(moeclip_learner_learn(l, bars, &task, NULL, NULL, &err) == MOECLIP_ERROR_MISMATCH);
  CHECK(strstr(err.message, "other.part") != NULL);
  task = few_steps();
  task.checkpoint = checkpoint;
  REQUIRE_OK(moeclip_learner_learn(l, bars, &task, NULL, NULL, &err), err);
  CHECK(access(task.checkpoint, F_OK) == 0);
  REQUIRE_OK(moeclip_learner_learn(l, light, &task, NULL, NULL, &err), err);
  CHECK(moeclip_learner_learn(l, light, &task, NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT); /* the same name twice */
  CHECK(moeclip_learner_tasks(l) == 2);
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(bars);
  moeclip_dataset_destroy(light);
  moeclip_model_destroy(model);
}


static void classify(moeclip_learner *l, const moeclip_image *images, int n, int task, moeclip_answer *answers) {
  static const char *const labels[] = {"dark bars", "bright bars", "dark", "bright", "a red apple"};
  moeclip_classify_options o;
  moeclip_classify_options_defaults(&o);
  o.labels = labels;
  o.n_labels = 5;
  o.task = task;
  REQUIRE_OK(moeclip_learner_classify(l, images, n, &o, answers, &err), err);
}

static bool same_answers(const moeclip_answer *a, const moeclip_answer *b, int n) {
  for (int i = 0; i < n; i++) {
    if (a[i].task != b[i].task || a[i].n_labels != b[i].n_labels) return false;
    size_t bytes = (size_t)a[i].n_labels * sizeof(float);
    if (memcmp(a[i].label, b[i].label, bytes) != 0 || memcmp(a[i].probability, b[i].probability, bytes) != 0) return false;
  }
  return true;
}


/* A saved state answers like the learner that it came from; the untouched CLIP answers bit for bit as if nothing had been
 * learned, whatever the other pictures of the call. */
static void test_answers(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner *learned, *again, *fresh;
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_dataset *bars = open_domain("bars"), *light = open_domain("light");
  moeclip_image images[N_IMAGES];
  moeclip_answer a[N_IMAGES], b[N_IMAGES], plain[N_IMAGES];
  load_images(bars, images, N_IMAGES / 2);
  load_images(light, images + N_IMAGES / 2, N_IMAGES / 2);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("a.safetensors"), NULL, &learned, &err), err);
  REQUIRE_OK(moeclip_learner_save(learned, in_folder("c.safetensors"), &err), err);
  CHECK(same_files(in_folder("a.safetensors"), in_folder("c.safetensors")));
  REQUIRE_OK(moeclip_learner_load(model, in_folder("c.safetensors"), NULL, &again, &err), err);
  classify(learned, images, N_IMAGES, MOECLIP_TASK_AUTO, a);
  classify(again, images, N_IMAGES, MOECLIP_TASK_AUTO, b);
  CHECK(same_answers(a, b, N_IMAGES));
  moeclip_answers_clear(b, N_IMAGES);
  REQUIRE_OK(moeclip_learner_create(model, &options, &fresh, &err), err);
  classify(fresh, images, N_IMAGES, MOECLIP_TASK_AUTO, plain);
  classify(learned, images, N_IMAGES, MOECLIP_TASK_NONE, b);
  CHECK(same_answers(plain, b, N_IMAGES));
  moeclip_answers_clear(b, N_IMAGES);
  /* One picture in a batch whose others go through a task's experts. */
  int64_t n_right = 0;
  for (int i = 0; i < N_IMAGES; i++) n_right += a[i].task == i / (N_IMAGES / 2);
  CHECK_MSG(n_right >= N_IMAGES - 2, "%d of %d pictures were routed to their task", (int)n_right, N_IMAGES);
  uint8_t pixels[N_IMAGES * 3 * 16 * 16];
  int32_t mixed[N_IMAGES], none[N_IMAGES];
  float out_mixed[N_IMAGES * 32], out_none[N_IMAGES * 32];
  for (int i = 0; i < N_IMAGES; i++) {
    REQUIRE_OK(moeclip_image_preprocess(&images[i], 16, pixels + i * 768, &err), err);
    none[i] = -1;
    mixed[i] = i % 3 - 1;
  }
  REQUIRE_OK(mc_picture_features(learned, pixels, N_IMAGES, mixed, NULL, NULL, out_mixed, &err), err);
  REQUIRE_OK(mc_picture_features(fresh, pixels, N_IMAGES, none, NULL, NULL, out_none, &err), err);
  for (int i = 0; i < N_IMAGES; i++) {
    bool same = memcmp(out_mixed + i * 32, out_none + i * 32, 32 * sizeof(float)) == 0;
    CHECK_MSG(same == (mixed[i] < 0), "picture %d through task %d: %s as by the untouched CLIP", i, (int)mixed[i],
              same ? "the same" : "not the same");
  }
  /* Twice the scale, twice the distance between two labels' log-probabilities. */
  moeclip_classify_options how;
  double distance[2];
  moeclip_classify_options_defaults(&how);
  how.task = 0;
  for (int k = 0; k < 2; k++) {
    moeclip_answer one;
    how.logit_scale = k ? 20 : 10;
    REQUIRE_OK(moeclip_learner_classify(learned, images, 1, &how, &one, &err), err);
    distance[k] = log((double)one.probability[0] / one.probability[1]);
    moeclip_answers_clear(&one, 1);
  }
  CHECK_MSG(distance[0] > 0 && fabs(distance[1] / distance[0] - 2) < 1e-3, "%g and %g", distance[0], distance[1]);
  moeclip_answers_clear(a, N_IMAGES);
  moeclip_answers_clear(plain, N_IMAGES);
  for (int i = 0; i < N_IMAGES; i++) moeclip_image_clear(&images[i]);
  moeclip_learner_destroy(learned);
  moeclip_learner_destroy(again);
  moeclip_learner_destroy(fresh);
  moeclip_dataset_destroy(bars);
  moeclip_dataset_destroy(light);
  moeclip_model_destroy(model);
}

/* An explanation says what led to the answer: the nearest task's error over its threshold is the score, the gates of every block add
 * up to 1, and a picture that the untouched CLIP answers has none. */
static void test_explanations(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner *l;
  moeclip_dataset *d[2] = {open_domain("bars"), open_domain("light")};
  moeclip_image images[N_IMAGES];
  moeclip_answer plain[N_IMAGES], a[N_IMAGES];
  moeclip_explanation e[N_IMAGES];
  for (int t = 0; t < 2; t++) load_images(d[t], images + t * N_IMAGES / 2, N_IMAGES / 2);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("a.safetensors"), NULL, &l, &err), err);
  moeclip_classify_options o;
  moeclip_classify_options_defaults(&o);
  REQUIRE_OK(moeclip_learner_classify(l, images, N_IMAGES, &o, plain, &err), err);
  REQUIRE_OK(moeclip_learner_explain(l, images, N_IMAGES, &o, a, e, &err), err);
  CHECK(same_answers(plain, a, N_IMAGES));
  for (int i = 0; i < N_IMAGES; i++) {
    CHECK(e[i].n_tasks == 2 && e[i].n_blocks > 0 && e[i].n_experts > 0);
    if (e[i].n_tasks != 2) continue;
    int near = e[i].error[1] < e[i].error[0];
    CHECK_MSG(fabs(e[i].error[near] / e[i].threshold[near] - a[i].score) < 1e-9, "picture %d: %g over %g, score %g", i,
              e[i].error[near], e[i].threshold[near], a[i].score);
    CHECK(a[i].task == MOECLIP_TASK_NONE || a[i].task == near);
    for (int b = 0; b < e[i].n_blocks; b++) {
      double sum = 0;
      for (int k = 0; k < e[i].n_experts; k++) sum += e[i].gate[b * e[i].n_experts + k];
      CHECK_MSG(fabs(sum - (a[i].task >= 0)) < 1e-5, "picture %d, block %d: the gates add up to %g", i, b, sum);
    }
  }
  moeclip_explanations_clear(e, N_IMAGES);
  moeclip_answers_clear(a, N_IMAGES);
  /* The features behind the answers: the most probable class is the nearest text of the task that answered. */
  float features[N_IMAGES * 32], text[2 * 32];
  int tasks[N_IMAGES];
  double scores[N_IMAGES];
  REQUIRE_OK(moeclip_learner_encode_images(l, images, N_IMAGES, MOECLIP_TASK_AUTO, tasks, scores, features, &err), err);
  for (int i = 0; i < N_IMAGES; i++) {
    moeclip_task_info info;
    CHECK(tasks[i] == plain[i].task && scores[i] == plain[i].score);
    if (tasks[i] < 0) continue;
    REQUIRE_OK(moeclip_learner_task(l, tasks[i], &info, &err), err);
    char prompts[2][64];
    const char *const both_prompts[2] = {prompts[0], prompts[1]};
    for (int c = 0; c < 2; c++) snprintf(prompts[c], sizeof prompts[c], "a photo of a %s.", info.classes[c]);
    REQUIRE_OK(moeclip_learner_encode_texts(l, both_prompts, 2, tasks[i], text, &err), err);
    double cosine[2] = {0, 0};
    for (int c = 0; c < 2; c++) {
      for (int k = 0; k < 32; k++) cosine[c] += (double)features[i * 32 + k] * text[c * 32 + k];
    }
    CHECK_MSG((cosine[1] > cosine[0]) == plain[i].label[0], "picture %d: cosines %g and %g", i, cosine[0], cosine[1]);
  }
  CHECK(moeclip_learner_encode_images(l, images, 1, 2, NULL, NULL, features, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_learner_encode_texts(l, NULL, 1, MOECLIP_TASK_AUTO, text, &err) == MOECLIP_ERROR_ARGUMENT);
  /* No selector was asked when the caller names the task. */
  o.task = MOECLIP_TASK_NONE;
  o.labels = (const char *const[]){"dark", "bright"};
  o.n_labels = 2;
  REQUIRE_OK(moeclip_learner_explain(l, images, 1, &o, a, e, &err), err);
  CHECK(e[0].n_tasks == 0 && isnan(e[0].reference_error) && e[0].gate[0] == 0);
  moeclip_explanations_clear(e, 1);
  moeclip_answers_clear(a, 1);
  moeclip_answers_clear(plain, N_IMAGES);
  for (int i = 0; i < N_IMAGES; i++) moeclip_image_clear(&images[i]);
  moeclip_learner_destroy(l);
  for (int t = 0; t < 2; t++) moeclip_dataset_destroy(d[t]);
  moeclip_model_destroy(model);
}

/* Evaluation counts add up, and both domains are known after both were learned. */
static void test_evaluate(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner *l;
  REQUIRE_OK(moeclip_learner_load(model, in_folder("a.safetensors"), NULL, &l, &err), err);
  for (int t = 0; t < 2; t++) {
    moeclip_dataset *d = open_domain(both[t]);
    moeclip_evaluation e;
    REQUIRE_OK(moeclip_learner_evaluate(l, d, NULL, NULL, &e, &err), err);
    CHECK(e.n == 60 && e.n_routes == 3 && e.n_classes == 2 && e.class_n[0] == 30 && e.class_n[1] == 30);
    CHECK(e.routed[0] + e.routed[1] + e.routed[2] == e.n);
    CHECK(e.routed_right[0] + e.routed_right[1] + e.routed_right[2] == e.n_right);
    CHECK(e.class_right[0] + e.class_right[1] == e.n_right);
    CHECK_MSG(e.accuracy > 0.9, "accuracy on %s: %.3f; routed %d %d %d, right %d %d %d", both[t], e.accuracy,
              (int)e.routed[0], (int)e.routed[1], (int)e.routed[2], (int)e.routed_right[0], (int)e.routed_right[1],
              (int)e.routed_right[2]);
    moeclip_evaluation_clear(&e);
    moeclip_evaluate_options o;
    moeclip_evaluate_options_defaults(&o);
    o.max_images = 17;
    o.batch = 5;
    o.task = t;
    REQUIRE_OK(moeclip_learner_evaluate(l, d, &o, NULL, &e, &err), err);
    CHECK(e.n == 17 && e.routed[t + 1] == 17);
    moeclip_evaluation_clear(&e);
    moeclip_dataset_destroy(d);
  }
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* A state is refused with another backbone, and when any bit of it changed. */
static void test_refused(void) {
  moeclip_model *other = open_model("other.safetensors"), *model = open_model("model.safetensors");
  moeclip_learner *l;
  CHECK(moeclip_learner_load(other, in_folder("a.safetensors"), NULL, &l, &err) == MOECLIP_ERROR_MISMATCH);
  CHECK(strstr(err.message, "another backbone") != NULL);
  CHECK(moeclip_learner_load(model, in_folder("model.safetensors"), NULL, &l, &err) == MOECLIP_ERROR_FORMAT);
  size_t n;
  uint8_t *data = read_all(in_folder("a.safetensors"), &n);
  uint32_t random = 5;
  for (int i = 0; i < 64; i++) {
    random = random * 1664525u + 1013904223u;
    size_t at = (size_t)(((uint64_t)random << 16 ^ (uint64_t)i * 977) % n);
    data[at] ^= (uint8_t)(1u << (i % 8));
    FILE *f = fopen(in_folder("flipped.safetensors"), "wb");
    if (!f || fwrite(data, 1, n, f) != n) exit(1);
    fclose(f);
    moeclip_code code = moeclip_learner_load(model, in_folder("flipped.safetensors"), NULL, &l, &err);
    CHECK_MSG(code != MOECLIP_OK, "bit %d of byte %zu of %zu may change unnoticed", i % 8, at, n);
    if (code == MOECLIP_OK) moeclip_learner_destroy(l);
    data[at] ^= (uint8_t)(1u << (i % 8));
  }
  free(data);
  moeclip_model_destroy(other);
  moeclip_model_destroy(model);
}

/* Two experts of each block are frozen a task; when too few are left, more are added, and old routers keep their width. */
static void test_experts(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner *l;
  REQUIRE_OK(moeclip_learner_load(model, in_folder("a.safetensors"), NULL, &l, &err), err);
  const mc_moe *m = &l->adapters->visual[0];
  int n_frozen = 0;
  uint64_t n_counted = 0;
  for (int e = 0; e < m->n_experts; e++) {
    n_frozen += m->experts[e].frozen;
    n_counted += m->counts[e];
  }
  CHECK_MSG(n_frozen >= 2 && n_frozen <= 4, "%d experts are frozen after 2 tasks", n_frozen);
  CHECK(n_counted == 25 * 2 * 16 || n_counted > 0);
  write_domain(in_folder("third"), 0, 40, 10);
  write_domain(in_folder("fourth"), 1, 40, 10);
  moeclip_task_options task = few_steps();
  static const char *const more[] = {"third", "fourth"};
  int before = m->n_experts;
  for (int i = 0; i < 2; i++) {
    moeclip_dataset *d = open_domain(more[i]);
    REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err);
    moeclip_dataset_destroy(d);
  }
  m = &l->adapters->visual[0];
  CHECK(m->n_experts > before && m->n_routers == 4);
  CHECK(m->routers[0].gate.shape[1] == before && m->routers[3].gate.shape[1] == m->n_experts);
  moeclip_learner *again;
  REQUIRE_OK(moeclip_learner_save(l, in_folder("grown.safetensors"), &err), err);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("grown.safetensors"), NULL, &again, &err), err);
  CHECK(moeclip_learner_tasks(again) == 4);
  moeclip_learner_destroy(again);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(model);
}

/* The reference set is learned once and before the first task; what fits no task goes to the untouched CLIP. */
static void test_reference(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE);
  moeclip_task_options task = few_steps();
  moeclip_learner *l;
  moeclip_dataset *bars = open_domain("bars"), *light = open_domain("light");
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  task.selector_iterations = 100;
  REQUIRE_OK(moeclip_learner_learn_reference(l, light, &task, NULL, NULL, &err), err);
  CHECK(moeclip_learner_has_reference(l));
  CHECK(moeclip_learner_learn_reference(l, light, &task, NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT);
  REQUIRE_OK(moeclip_learner_learn(l, bars, &task, NULL, NULL, &err), err);
  moeclip_evaluation e;
  REQUIRE_OK(moeclip_learner_evaluate(l, light, NULL, NULL, &e, &err), err);
  CHECK_MSG(e.routed[0] >= 57, "%d of 60 pictures like the reference set went to the untouched CLIP", (int)e.routed[0]);
  moeclip_evaluation_clear(&e);
  REQUIRE_OK(moeclip_learner_evaluate(l, bars, NULL, NULL, &e, &err), err);
  CHECK_MSG(e.routed[1] >= 54, "%d of 60 pictures of the task went to it", (int)e.routed[1]);
  moeclip_evaluation_clear(&e);
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(bars);
  moeclip_dataset_destroy(light);
  moeclip_model_destroy(model);
}

/* The paper's ablations: one router for all tasks, no selector, the load-balance term; kept by the state file. */
static void test_ablations(void) {
  moeclip_model *model = open_model("model.safetensors");
  moeclip_dataset *bars = open_domain("bars"), *light = open_domain("light");
  moeclip_learner_options options = small_options(MOECLIP_MODE_MOE), is;
  moeclip_task_options task = few_steps();
  moeclip_learner *l, *again;
  moeclip_evaluation e;
  options.shared_router = 1;
  options.use_selector = 0;
  options.freeze_per_task = 5; /* all experts: the second task has its router alone, and no experts are added */
  task.balance = 0.01;
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  CHECK(moeclip_learner_learn_reference(l, light, &task, NULL, NULL, &err) == MOECLIP_ERROR_ARGUMENT);
  REQUIRE_OK(moeclip_learner_learn(l, bars, &task, NULL, NULL, &err), err);
  REQUIRE_OK(moeclip_learner_evaluate(l, light, NULL, NULL, &e, &err), err);
  CHECK(e.routed[0] == e.n); /* not learned yet */
  moeclip_evaluation_clear(&e);
  moeclip_learn_report report;
  REQUIRE_OK(moeclip_learner_learn(l, light, &task, NULL, &report, &err), err);
  CHECK(l->adapters->n_routers == 1 && l->adapters->visual[0].n_experts == 5 && isnan(report.threshold));
  CHECK(report.trainable == 2 * 5 * 64 * 4); /* W_g and W_n of both towers' two blocks */
  REQUIRE_OK(moeclip_learner_save(l, in_folder("ablation.safetensors"), &err), err);
  REQUIRE_OK(moeclip_learner_load(model, in_folder("ablation.safetensors"), NULL, &again, &err), err);
  moeclip_learner_get_options(again, &is);
  CHECK(is.shared_router == 1 && is.use_selector == 0);
  for (int k = 0; k < 2; k++) {
    REQUIRE_OK(moeclip_learner_evaluate(again, k ? light : bars, NULL, NULL, &e, &err), err);
    CHECK_MSG(e.routed[k + 1] == e.n && e.accuracy > 0.7, "domain %d: %d of %d sent to its task, accuracy %g", k,
              (int)e.routed[k + 1], (int)e.n, e.accuracy);
    moeclip_evaluation_clear(&e);
  }
  moeclip_learner_destroy(again);
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(bars);
  moeclip_dataset_destroy(light);
  moeclip_model_destroy(model);
}

int main(void) {
  make_fixtures();
  test_repeatable();
  test_resume(MOECLIP_MODE_MOE, "a.safetensors");
  test_resume(MOECLIP_MODE_FINETUNE, "fa.safetensors");
  test_resume(MOECLIP_MODE_ANALYTIC, "ra.safetensors");
  test_other_checkpoint();
  test_answers();
  test_explanations();
  test_evaluate();
  test_refused();
  test_experts();
  test_reference();
  test_ablations();
  return end_fixtures();
}
