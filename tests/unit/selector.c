/* The selector: its autoencoders' gradients and Adam against plain arithmetic in double, its choice, and its files. */
#include "select/selector.h"

#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "select/features.h"

enum { DIM = 37, HIDDEN = 9, N = 12, SEED = 77 };
static moeclip_error err;
static mc_compute *cp;
static mc_arena arena;

/* Pictures of one kind: a pattern of its own, with a little noise; all in (0, 1). */
static void fill(float *x, int64_t n, int kind, uint64_t index) {
  mc_philox g;
  mc_philox_init(&g, SEED, MC_STREAM_INIT, index);
  for (int64_t i = 0; i < n * DIM; i++) {
    double pattern = sin(0.7 * (double)(i % DIM) * (kind + 1)) + 0.1 * mc_philox_normal(&g);
    x[i] = (float)(1 / (1 + exp(-2 * pattern)));
  }
}

/* --- gradients: every layer of the autoencoder, element by element ----------------------------------------------------------- */

/* The loss of x [n, DIM] in double. */
static double loss_of(const mc_autoencoder *a, const float *x, int64_t n) {
  double sum = 0;
  for (int64_t r = 0; r < n; r++) {
    double h[HIDDEN];
    for (int j = 0; j < HIDDEN; j++) {
      h[j] = a->encoder_bias.value[j];
      for (int i = 0; i < DIM; i++) h[j] += (double)a->encoder_weight.value[j * DIM + i] * x[r * DIM + i];
      h[j] = h[j] > 0 ? h[j] : 0;
    }
    for (int i = 0; i < DIM; i++) {
      double y = a->decoder_bias.value[i];
      for (int j = 0; j < HIDDEN; j++) y += (double)a->decoder_weight.value[i * HIDDEN + j] * h[j];
      double d = 1 / (1 + exp(-y)) - x[r * DIM + i];
      sum += d * d;
    }
  }
  return sum / (double)(n * DIM);
}

static void check_gradient(const char *name, const mc_autoencoder *a, mc_param *p, const float *x) {
  double largest = 0, worst = 0;
  for (int64_t i = 0; i < p->n; i++) {
    float before = p->value[i], up = before + 1e-3f, down = before - 1e-3f; /* the loss is in double: no rounding to fear */
    p->value[i] = up;
    double above = loss_of(a, x, N);
    p->value[i] = down;
    double below = loss_of(a, x, N);
    p->value[i] = before;
    double measured = (above - below) / ((double)up - down);
    worst = fmax(worst, fabs(measured - p->grad[i]));
    largest = fmax(largest, fabs(measured));
  }
  CHECK_MSG(largest > 1e-6, "%s has no gradient", name);
  CHECK_MSG(worst <= 2e-3 * largest, "%s: off by %g, the largest is %g", name, worst, largest);
}

static void test_gradients(void) {
  mc_autoencoder a;
  mc_autoencoder_trainer *trainer;
  float x[N * DIM], errors[N];
  double loss;
  fill(x, N, 0, 0);
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, HIDDEN, SEED, 0, &err), err);
  REQUIRE_OK(mc_autoencoder_trainer_create(&a, 1e-4f, &trainer, &err), err);
  REQUIRE_OK(mc_autoencoder_gradients(cp, &a, x, N, &loss, &arena, &err), err);
  CHECK(fabs(loss - loss_of(&a, x, N)) <= 1e-5 * loss);
  check_gradient("encoder weight", &a, &a.encoder_weight, x);
  check_gradient("encoder bias", &a, &a.encoder_bias, x);
  check_gradient("decoder weight", &a, &a.decoder_weight, x);
  check_gradient("decoder bias", &a, &a.decoder_bias, x);
  REQUIRE_OK(mc_autoencoder_errors(cp, &a, x, N, errors, &arena, &err), err);
  for (int r = 0; r < N; r++) {
    double one = loss_of(&a, x + r * DIM, 1);
    CHECK_MSG(fabs(errors[r] - one) <= 1e-5 * one, "picture %d: error %g, by hand %g", r, (double)errors[r], one);
  }
  mc_autoencoder_trainer_destroy(trainer);
  mc_autoencoder_clear(&a);
}

/* The same on the fast path: its products' inputs are rounded to 8 bits. */
static void test_bfloat16(void) {
  mc_compute *half;
  mc_autoencoder a;
  mc_autoencoder_trainer *trainer;
  float x[N * DIM], exact[HIDDEN * DIM], errors[N];
  double loss, difference = 0, size = 0;
  fill(x, N, 0, 0);
  REQUIRE_OK(mc_compute_create(2, &half, &err), err);
  REQUIRE_OK(mc_compute_set_precision(half, MC_BFLOAT16, &err), err);
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, HIDDEN, SEED, 0, &err), err);
  REQUIRE_OK(mc_autoencoder_trainer_create(&a, 1e-4f, &trainer, &err), err);
  REQUIRE_OK(mc_autoencoder_gradients(cp, &a, x, N, &loss, &arena, &err), err);
  memcpy(exact, a.encoder_weight.grad, sizeof exact);
  REQUIRE_OK(mc_autoencoder_gradients(half, &a, x, N, &loss, &arena, &err), err);
  for (int i = 0; i < HIDDEN * DIM; i++) {
    double d = (double)a.encoder_weight.grad[i] - exact[i];
    difference += d * d;
    size += (double)exact[i] * exact[i];
  }
  CHECK_MSG(difference > 0 && difference <= 1e-4 * size, "the gradient in bfloat16 is off by %g", sqrt(difference / size));
  /* The weights are read anew after a step, and packed once they are frozen. */
  REQUIRE_OK(mc_autoencoder_step(half, trainer, x, N, 0.01, &loss, &arena, &err), err);
  for (int frozen = 0; frozen < 2; frozen++) {
    if (frozen) mc_autoencoder_trainer_destroy(trainer);
    REQUIRE_OK(mc_autoencoder_errors(half, &a, x, N, errors, &arena, &err), err);
    for (int r = 0; r < N; r++) {
      double one = loss_of(&a, x + r * DIM, 1);
      CHECK_MSG(fabs(errors[r] - one) <= 5e-3 * one && errors[r] != (float)one, "picture %d: error %g, by hand %g", r, (double)errors[r], one);
    }
  }
  CHECK(a.encoder_weight.packed[0] && a.decoder_weight.packed[0]);
  mc_autoencoder_clear(&a);
  mc_compute_destroy(half);
}

/* Two steps by hand: the decay is added to the gradient before the moments (PyTorch's Adam, not AdamW). */
static void test_adam(void) {
  mc_autoencoder a;
  mc_autoencoder_trainer *trainer;
  float x[N * DIM];
  double loss, m[HIDDEN * DIM] = {0}, v[HIDDEN * DIM] = {0}, p[HIDDEN * DIM];
  const double lr = 0.01, decay = 0.3;
  fill(x, N, 1, 1);
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, HIDDEN, SEED, 1, &err), err);
  REQUIRE_OK(mc_autoencoder_trainer_create(&a, (float)decay, &trainer, &err), err);
  for (int step = 1; step <= 2; step++) {
    REQUIRE_OK(mc_autoencoder_gradients(cp, &a, x, N, &loss, &arena, &err), err);
    for (int i = 0; i < HIDDEN * DIM; i++) {
      double value = a.encoder_weight.value[i], g = a.encoder_weight.grad[i] + decay * value;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      p[i] = value - lr * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-8);
    }
    REQUIRE_OK(mc_autoencoder_step(cp, trainer, x, N, lr, &loss, &arena, &err), err);
    double worst = 0;
    for (int i = 0; i < HIDDEN * DIM; i++) worst = fmax(worst, fabs(p[i] - a.encoder_weight.value[i]));
    CHECK_MSG(worst <= 2e-6, "step %d: off by %g", step, worst);
  }
  for (int i = 0; i < N * DIM; i++) x[i] = NAN;
  CHECK(mc_autoencoder_step(cp, trainer, x, N, lr, &loss, &arena, &err) == MOECLIP_ERROR_NUMERIC);
  mc_autoencoder_trainer_destroy(trainer);
  mc_autoencoder_clear(&a);
}

/* --- the choice ------------------------------------------------------------------------------------------------------------- */

static mc_autoencoder trained(int kind, uint64_t number) {
  mc_autoencoder a;
  mc_autoencoder_trainer *trainer;
  float x[N * DIM];
  double loss;
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, HIDDEN, SEED, number, &err), err);
  REQUIRE_OK(mc_autoencoder_trainer_create(&a, 1e-4f, &trainer, &err), err);
  for (uint64_t step = 0; step < 200; step++) {
    fill(x, N, kind, 100 + 1000 * number + step);
    REQUIRE_OK(mc_autoencoder_step(cp, trainer, x, N, 0.01, &loss, &arena, &err), err);
  }
  mc_autoencoder_trainer_destroy(trainer);
  return a;
}

/* Kind 0: the reference; 1 and 2: tasks 0 and 1. */
static mc_selector *three_kinds(void) {
  mc_selector *s;
  REQUIRE_OK(mc_selector_create(MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, &s, &err), err);
  for (int kind = 0; kind < 3; kind++) {
    mc_autoencoder a = trained(kind, (uint64_t)kind);
    REQUIRE_OK(mc_selector_add(s, kind - 1, &a, 0.01, &err), err);
  }
  return s;
}

static void choose(mc_selector *s, const float *x, int64_t n, bool whole_batch, int32_t *tasks, double *scores, float *errors) {
  REQUIRE_OK(mc_selector_choose(cp, s, x, n, whole_batch, tasks, scores, errors, &arena, &err), err);
}

static void test_choice(mc_selector *s) {
  float x[4 * N * DIM], errors[4 * N * 3];
  int32_t tasks[4 * N];
  double scores[4 * N];
  for (int kind = 0; kind < 4; kind++) fill(x + kind * N * DIM, N, kind, 50 + (uint64_t)kind);
  choose(s, x, 4 * N, false, tasks, scores, errors);
  static const int32_t want[4] = {-1, 0, 1, -1}; /* the reference, both tasks, and a kind that nobody knows */
  for (int i = 0; i < 4 * N; i++) {
    CHECK_MSG(tasks[i] == want[i / N], "picture %d of kind %d went to %d", i % N, i / N, tasks[i]);
    float least = fminf(errors[i * 3 + 1], errors[i * 3 + 2]);
    CHECK(fabs(scores[i] - least / 0.01) <= 1e-6 * scores[i]);
  }
  /* A task that wins above its threshold answers nothing; exactly at it, it does. */
  double before = mc_selector_threshold(s, 0);
  float one[3]; /* of a call with one picture: products of other sizes may round otherwise */
  choose(s, x + N * DIM, 1, false, tasks, NULL, one);
  float error = one[1];
  mc_selector_set_threshold(s, 0, (double)error);
  choose(s, x + N * DIM, 1, false, tasks, NULL, NULL);
  CHECK(tasks[0] == 0);
  mc_selector_set_threshold(s, 0, nextafter((double)error, 0));
  choose(s, x + N * DIM, 1, false, tasks, NULL, NULL);
  CHECK(tasks[0] == -1);
  mc_selector_set_threshold(s, 0, before);
  /* One choice for the batch: seven of task 1 outvote one of task 0 by the mean error, unless nobody's mean is low enough. */
  float mixed[8 * DIM];
  memcpy(mixed, x + 2 * N * DIM, 7 * DIM * sizeof *x);
  memcpy(mixed + 7 * DIM, x + N * DIM, DIM * sizeof *x);
  mc_selector_set_threshold(s, 1, 1);
  choose(s, mixed, 8, true, tasks, NULL, NULL);
  for (int i = 0; i < 8; i++) CHECK(tasks[i] == 1);
  mc_selector_set_threshold(s, 1, 1e-9);
  choose(s, mixed, 8, true, tasks, NULL, NULL);
  for (int i = 0; i < 8; i++) CHECK(tasks[i] == -1);
  mc_selector_set_threshold(s, 1, before);
  /* Features that are no numbers belong to nobody. */
  for (int i = 0; i < DIM; i++) mixed[i] = NAN;
  choose(s, mixed, 1, false, tasks, scores, NULL);
  CHECK(tasks[0] == -1 && isinf(scores[0]));
}

static void test_empty(void) {
  mc_selector *s;
  float x[DIM], errors[1];
  int32_t task = 5;
  double score = 0;
  fill(x, 1, 0, 9);
  REQUIRE_OK(mc_selector_create(MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, &s, &err), err);
  choose(s, x, 1, false, &task, &score, errors);
  CHECK(task == -1 && isinf(score) && isnan(errors[0]));
  CHECK(mc_selector_tasks(s) == 0 && !mc_selector_has_reference(s) && !mc_selector_autoencoder(s, -1));
  /* An autoencoder of another size, or out of turn, is refused. */
  mc_autoencoder a;
  REQUIRE_OK(mc_autoencoder_create(&a, DIM + 1, HIDDEN, 1, 1, &err), err);
  CHECK(mc_selector_add(s, 0, &a, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  REQUIRE_OK(mc_autoencoder_create(&a, DIM, HIDDEN, 1, 1, &err), err);
  CHECK(mc_selector_add(s, 1, &a, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_selector_tasks(s) == 0);
  mc_selector_destroy(s);
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static moeclip_tensors *stored(const mc_selector *s) {
  moeclip_tensors *t;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_selector_store(s, t, &err), err);
  return t;
}

static void test_files(mc_selector *s) {
  float kept[3 * DIM], loaded_kept[3 * DIM];
  for (int i = 0; i < 3 * DIM; i++) kept[i] = (float)(i * 7 % 256) / 255.0f;
  REQUIRE_OK(mc_selector_keep_reference(s, kept, 3, &err), err);
  CHECK(mc_selector_keep_reference(s, kept, 65537, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_selector_keep_reference(s, kept, -1, &err) == MOECLIP_ERROR_ARGUMENT);
  moeclip_tensors *t = stored(s);
  mc_selector *back;
  REQUIRE_OK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, 2, &back, &err), err);
  CHECK(mc_selector_tasks(back) == 2 && mc_selector_has_reference(back));
  CHECK(mc_selector_threshold(back, 1) == mc_selector_threshold(s, 1));
  CHECK(mc_selector_reference(back) == 3);
  mc_selector_reference_features(back, 0, 3, loaded_kept);
  CHECK(memcmp(loaded_kept, kept, sizeof kept) == 0);
  float x[3 * N * DIM], errors[2][3 * N * 3];
  int32_t tasks[2][3 * N];
  for (int kind = 0; kind < 3; kind++) fill(x + kind * N * DIM, N, kind, 60 + (uint64_t)kind);
  choose(s, x, 3 * N, false, tasks[0], NULL, errors[0]);
  choose(back, x, 3 * N, false, tasks[1], NULL, errors[1]);
  CHECK(memcmp(tasks[0], tasks[1], sizeof tasks[0]) == 0 && memcmp(errors[0], errors[1], sizeof errors[0]) == 0);
  mc_selector_destroy(back);
  /* What does not fit is refused: more tasks than there are, other sizes. */
  CHECK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, 3, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, 1, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM + 1, HIDDEN, 2, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  CHECK(mc_selector_load(t, MC_SELECTOR_AUTOENCODER, DIM, HIDDEN + 1, 2, &back, &err) == MOECLIP_ERROR_FORMAT && !back);
  moeclip_tensors_destroy(t);
  /* Without one of its tensors, or with reference features of another width. */
  t = stored(s);
  size_t n = moeclip_tensors_count(t);
  for (size_t leave_out = 0; leave_out < n; leave_out++) {
    moeclip_tensors *part;
    REQUIRE_OK(moeclip_tensors_create(&part, &err), err);
    for (size_t i = 0; i < n; i++) {
      const moeclip_tensor *one = moeclip_tensors_at(t, i);
      if (i != leave_out) {
        REQUIRE_OK(moeclip_tensors_add(part, one->name, one->dtype, one->rank, one->shape, one->data, 1, &err), err);
      }
    }
    const char *name = moeclip_tensors_at(t, leave_out)->name;
    bool optional = strcmp(name, "selector.reference") == 0 || strcmp(name, "selector.0.encoder.0.weight") == 0;
    moeclip_code code = mc_selector_load(part, MC_SELECTOR_AUTOENCODER, DIM, HIDDEN, 2, &back, &err);
    CHECK_MSG(code == (optional ? MOECLIP_OK : MOECLIP_ERROR_FORMAT), "without %s: %d", name, (int)code);
    CHECK(optional || strstr(err.message, name));
    mc_selector_destroy(back);
    moeclip_tensors_destroy(part);
  }
  moeclip_tensors_destroy(t);
}

int main(void) {
  REQUIRE_OK(mc_compute_create(2, &cp, &err), err);
  test_gradients();
  test_bfloat16();
  test_adam();
  test_empty();
  mc_selector *s = three_kinds();
  test_choice(s);
  test_files(s);
  mc_selector_destroy(s);
  mc_arena_clear(&arena);
  mc_compute_destroy(cp);
  return check_report();
}
