/*
 * What several ranks compute together against what one computes of the whole, on every rank, under mpirun.
 *
 * The bound: float32 has 2^-24 = 6e-8 of relative rounding in each operation. A gradient here is a sum of some thousand terms, which
 * the two sides add up in another order, and it has gone through two towers: relative differences (of norms) up to 8e-6 were seen,
 * and 1e-5 is allowed. The load-balance term divides small differences of logits by small spreads, and rounding grows by a hundred:
 * one process that cuts its batch into other micro-batches is 1.5e-4 apart from itself. So four times that is allowed where it is
 * more. A denominator that is off by one picture is off by 2e-2 to 3e-1, and random numbers of other samples by more: the test
 * makes both, and they must be at least twenty times what is allowed.
 */
#include "check.h"
#include "steps.h"
#include "base/arena.h"
#include "comm/comm.h"
#include "train/step.h"

enum { MOST = 13, CONTEXT = 8, IMAGE = 16 };
static const double BOUND = 1e-5;

static moeclip_error err;
static mc_compute *cp;
static mc_arena arena;
static moeclip_comm *comm;
static int rank, size;

/* --- the exchanges themselves ------------------------------------------------------------------------------------------------ */

static void test_exchanges(void) {
  int64_t *begin = calloc((size_t)size + 1, sizeof *begin), values[2] = {rank, 1};
  for (int r = 0; r <= size; r++) begin[r] = mc_comm_share(comm, 11, r);
  double rows[11][2];
  for (int64_t i = begin[rank]; i < begin[rank + 1]; i++) rows[i][0] = (double)i, rows[i][1] = 0.5 * (double)i;
  mc_comm_gather_rows(comm, rows, sizeof rows[0], begin);
  for (int i = 0; i < 11; i++) CHECK(rows[i][0] == i && rows[i][1] == 0.5 * i);
  mc_comm_total(comm, values, 2);
  CHECK(values[0] == size * (size - 1) / 2 && values[1] == size);
  CHECK(moeclip_comm_most(comm, rank * 7) == 7 * (size - 1) && moeclip_comm_any(comm, 1 << rank) == (1 << size) - 1);
  free(begin);
}

/* In the order of the ranks, to the bit: also when sums of several lengths (some shorter than the ranks are many) are in flight. */
static void test_sums(void) {
  enum { SUMS = 4 };
  const int64_t lengths[SUMS] = {1, 3, 1000, 100003};
  mc_comm_sum *sums[SUMS];
  for (int k = 0; k < SUMS; k++) REQUIRE_OK(mc_comm_sum_create(comm, lengths[k], &sums[k], &err), err);
  for (int again = 0; again < 3; again++) {
    for (int k = 0; k < SUMS; k++) {
      float *own = steps_floats(lengths[k], (uint64_t)(100 * rank + k), 1);
      memcpy(mc_comm_sum_data(sums[k]), own, (size_t)lengths[k] * sizeof *own);
      mc_comm_sum_start(sums[k]);
      if ((rank + k) % 2) mc_comm_progress(comm); /* the ranks move on at different times */
      free(own);
    }
    for (int k = SUMS - 1; k >= 0; k--) mc_comm_sum_wait(sums[k]);
    for (int k = 0; k < SUMS; k++) {
      float *wanted = steps_floats(lengths[k], (uint64_t)k, 1);
      for (int r = 1; r < size; r++) {
        float *more = steps_floats(lengths[k], (uint64_t)(100 * r + k), 1);
        for (int64_t i = 0; i < lengths[k]; i++) wanted[i] += more[i];
        free(more);
      }
      CHECK(memcmp(wanted, mc_comm_sum_data(sums[k]), (size_t)lengths[k] * sizeof *wanted) == 0);
      free(wanted);
    }
  }
  for (int k = 0; k < SUMS; k++) mc_comm_sum_destroy(sums[k]);
}

static void test_agreement(void) {
  CHECK(moeclip_comm_agree(comm, MOECLIP_OK, &err) == MOECLIP_OK);
  if (size == 1) return;
  CHECK(!moeclip_comm_failed(comm) && mc_comm_same(comm, 5, "numbers", &err) == MOECLIP_OK);
  moeclip_code code = rank == size - 1 ? mc_fail(&err, MOECLIP_ERROR_NUMERIC, "the loss is strange") : MOECLIP_OK;
  CHECK(moeclip_comm_agree(comm, code, &err) == MOECLIP_ERROR_NUMERIC && moeclip_comm_failed(comm));
  char wanted[32];
  snprintf(wanted, sizeof wanted, "rank %d (", size - 1);
  CHECK_MSG(strncmp(err.message, wanted, strlen(wanted)) == 0 && strstr(err.message, "): the loss is strange"), "%s", err.message);
  CHECK(mc_comm_same(comm, (uint64_t)rank, "numbers", &err) == MOECLIP_ERROR_MISMATCH && strstr(err.message, "other numbers"));
}

/* --- steps --------------------------------------------------------------------------------------------------------------------- */

typedef struct fixture {
  mc_clip *clip;
  mc_adapters *adapters; /* NULL: all weights are trained */
  mc_step_options options;
  float *images;
  int32_t texts[MOST * CONTEXT], labels[MOST], tasks[MOST];
  int64_t n, n_texts;
  bool contrast;
  mc_param *params[1024];
  const char *names[1024];
  size_t n_params;
} fixture;

static moeclip_code list(void *context, const char *name, mc_param *p, moeclip_error *e) {
  fixture *f = context;
  (void)e;
  if (!p->grad) return MOECLIP_OK;
  f->names[f->n_params] = strdup(name);
  f->params[f->n_params++] = p;
  return MOECLIP_OK;
}

static void fixture_init(fixture *f, bool adapters, bool contrast, int64_t n, int64_t n_texts, size_t kept_bytes, float balance) {
  mc_clip_sizes sizes = {IMAGE, 8, 2, 64, 128, CONTEXT, 40, 2, 64, 96, 16, MC_QUICK_GELU, 0, 0};
  uint64_t index = 0;
  *f = (fixture){.n = n, .n_texts = n_texts, .contrast = contrast,
                 .options = {.smoothing = 0.1f, .kept_bytes = kept_bytes, .balance = balance}};
  REQUIRE_OK(mc_clip_create(&sizes, 3, &f->clip, &err), err);
  REQUIRE_OK(mc_clip_each(f->clip, steps_shake, &index, &err), err);
  f->images = steps_floats(n * 3 * IMAGE * IMAGE, 70, 1);
  steps_texts(f->texts, n_texts, CONTEXT, 40);
  /* Two captions are the same. */
  if (contrast) memcpy(f->texts + (n_texts - 1) * CONTEXT, f->texts, CONTEXT * sizeof *f->texts);
  for (int64_t i = 0; i < n; i++) f->labels[i] = (int32_t)(i * i % n_texts);
  if (adapters) {
    mc_adapter_sizes a = {6, 8, 2, 1.0f, true, 0};
    REQUIRE_OK(mc_adapters_create(&a, 2, 64, 2, 64, 5, &f->adapters, &err), err);
    REQUIRE_OK(mc_adapters_add_router(f->adapters, &err), err);
    REQUIRE_OK(mc_adapters_each(f->adapters, steps_shake, &index, &err), err);
    REQUIRE_OK(mc_adapters_train(f->adapters, 0, false, &err), err);
    mc_routing routing = {.task = f->tasks, .top_k = 2, .scale = 1, .noise = true, .dropout = 0.25f, .count = true, .seed = 8, .step = 3};
    f->options.image_routing = f->options.text_routing = routing;
    REQUIRE_OK(mc_adapters_each(f->adapters, list, f, &err), err);
  } else {
    REQUIRE_OK(mc_clip_each(f->clip, steps_unfreeze, NULL, &err), err);
    REQUIRE_OK(mc_clip_each(f->clip, list, f, &err), err);
  }
}

static void fixture_clear(fixture *f) {
  for (size_t i = 0; i < f->n_params; i++) free((char *)(uintptr_t)f->names[i]);
  mc_adapters_destroy(f->adapters);
  mc_clip_destroy(f->clip);
  free(f->images);
}

static moeclip_code run(fixture *f, int64_t first, int64_t n, const mc_step_share *share, double *loss) {
  const float *images = f->images + first * 3 * IMAGE * IMAGE;
  f->options.share = share;
  if (f->contrast) {
    return mc_contrastive_step(cp, f->clip, &f->options, images, f->texts + first * CONTEXT, n, loss, &arena, &err);
  }
  return mc_classification_step(cp, f->clip, f->adapters, &f->options, images, f->labels + first, n, f->texts, f->n_texts, loss, NULL,
                                &arena, &err);
}

/* Gradients [n_params] into fresh memory; they start from nothing again. */
static float **take_gradients(fixture *f, bool *touched) {
  float **g = malloc(f->n_params * sizeof *g);
  for (size_t i = 0; i < f->n_params; i++) {
    mc_param *p = f->params[i];
    g[i] = malloc((size_t)p->n * sizeof **g);
    memcpy(g[i], p->grad, (size_t)p->n * sizeof **g);
    touched[i] = p->touched;
    mc_param_zero_grad(p);
  }
  return g;
}

static void free_gradients(fixture *f, float **g) {
  for (size_t i = 0; i < f->n_params; i++) free(g[i]);
  free(g);
}

static double worst(const fixture *f, float *const *is, float *const *wanted, const char **where) {
  double most = 0;
  *where = "";
  for (size_t i = 0; i < f->n_params; i++) {
    double e = check_relative_error(is[i], wanted[i], (size_t)f->params[i]->n);
    if (e > most) most = e, *where = f->names[i];
  }
  return most;
}

static uint64_t counts_hash(const fixture *f) {
  uint64_t hash = 0;
  for (int i = 0; f->adapters && i < 2; i++) {
    hash = mc_comm_hash(hash, f->adapters->visual[i].counts, (size_t)f->adapters->visual[i].n_experts * sizeof(uint64_t));
    hash = mc_comm_hash(hash, f->adapters->text[i].counts, (size_t)f->adapters->text[i].n_experts * sizeof(uint64_t));
  }
  return hash;
}

static void forget_counts(fixture *f) {
  for (int i = 0; f->adapters && i < 2; i++) {
    memset(f->adapters->visual[i].counts, 0, (size_t)f->adapters->visual[i].n_experts * sizeof(uint64_t));
    memset(f->adapters->text[i].counts, 0, (size_t)f->adapters->text[i].n_experts * sizeof(uint64_t));
  }
}

/* lopsided: all pictures on the last rank. */
static void test_step(const char *what, bool adapters, bool contrast, int64_t n, int64_t n_texts, size_t kept_bytes, float balance,
                      bool lopsided) {
  fixture f;
  fixture_init(&f, adapters, contrast, n, n_texts, kept_bytes, balance);
  int64_t *begin = calloc((size_t)size + 1, sizeof *begin);
  for (int r = 0; r <= size; r++) begin[r] = lopsided ? (r == size ? n : 0) : mc_comm_share(comm, n, r);
  bool touched_whole[1024], touched[1024];
  double loss_whole = 0, loss = 0;
  const char *where;
  REQUIRE_OK(run(&f, 0, n, NULL, &loss_whole), err);
  float **whole = take_gradients(&f, touched_whole);
  uint64_t counts = counts_hash(&f);
  /* What one process has apart when it cuts its batch into pieces. */
  f.options.kept_bytes = kept_bytes == 1 ? 0 : 1;
  REQUIRE_OK(run(&f, 0, n, NULL, &loss), err);
  float **cut = take_gradients(&f, touched);
  double pieces = worst(&f, cut, whole, &where), bound = 4 * pieces > BOUND ? 4 * pieces : BOUND;
  f.options.kept_bytes = kept_bytes;
  free_gradients(&f, cut);
  forget_counts(&f);
  mc_reduction *reduction;
  REQUIRE_OK(mc_reduction_create(comm, f.adapters, f.clip, contrast ? 0 : n_texts * 16, &reduction, &err), err);
  mc_step_share share = {comm, reduction, begin};
  for (int again = 0; again < 2; again++) { /* the buffers are used again */
    forget_counts(&f);
    REQUIRE_OK(run(&f, begin[rank], begin[rank + 1] - begin[rank], &share, &loss), err);
    float **parts = take_gradients(&f, touched);
    double e = worst(&f, parts, whole, &where);
    CHECK_MSG(e <= bound, "%s: %s differs by %.3g, allowed are %.3g", what, where, e, bound);
    CHECK_MSG(fabs(loss - loss_whole) <= 1e-6 * fabs(loss_whole), "%s: loss %.9g, not %.9g", what, loss, loss_whole);
    CHECK_MSG(memcmp(touched, touched_whole, f.n_params * sizeof *touched) == 0, "%s: other parameters were touched", what);
    uint64_t hash = 0;
    for (size_t i = 0; i < f.n_params; i++) hash = mc_comm_hash(hash, parts[i], (size_t)f.params[i]->n * sizeof(float));
    CHECK(mc_comm_same(comm, hash, "gradients", &err) == MOECLIP_OK);
    free_gradients(&f, parts);
    if (again) mc_reduction_counts(reduction);
  }
  CHECK_MSG(counts_hash(&f) == counts, "%s: the experts' counts are not those of the whole batch", what);
  if (!contrast) {
    /* What the bound must catch: a denominator of one picture more, and random numbers of other samples. */
    begin[size]++;
    int64_t own = begin[rank + 1] - begin[rank] - (rank == size - 1);
    REQUIRE_OK(run(&f, begin[rank], own, &share, &loss), err);
    float **wrong = take_gradients(&f, touched);
    double e = worst(&f, wrong, whole, &where);
    CHECK_MSG(e > 20 * bound, "%s: a wrong denominator changes only %.3g (%s)", what, e, where);
    free_gradients(&f, wrong);
    begin[size]--;
    if (adapters && size > 1 && !lopsided) {
      /* Every rank draws for its first picture what belongs to the first of all. */
      int64_t first = begin[rank], n_own = begin[rank + 1] - first;
      int64_t *shifted = calloc((size_t)size + 1, sizeof *shifted);
      shifted[size] = n;
      share.begin = shifted;
      REQUIRE_OK(run(&f, first, n_own, &share, &loss), err);
      wrong = take_gradients(&f, touched);
      e = worst(&f, wrong, whole, &where);
      CHECK_MSG(e > 20 * bound, "%s: other random numbers change only %.3g (%s)", what, e, where);
      free_gradients(&f, wrong);
      free(shifted);
    }
  }
  free_gradients(&f, whole);
  mc_reduction_destroy(reduction);
  fixture_clear(&f);
  free(begin);
}

/* A rank whose pictures are not numbers: all fail, none waits, and the next step is as if nothing had been. */
static void test_nan(void) {
  fixture f;
  fixture_init(&f, true, false, MOST, 5, 0, 0);
  int64_t *begin = calloc((size_t)size + 1, sizeof *begin);
  for (int r = 0; r <= size; r++) begin[r] = mc_comm_share(comm, MOST, r);
  mc_reduction *reduction;
  REQUIRE_OK(mc_reduction_create(comm, f.adapters, f.clip, 5 * 16, &reduction, &err), err);
  mc_step_share share = {comm, reduction, begin};
  double loss, good;
  int64_t n = begin[rank + 1] - begin[rank];
  REQUIRE_OK(run(&f, begin[rank], n, &share, &good), err);
  float keep = f.images[(MOST - 1) * 3 * IMAGE * IMAGE];
  f.images[(MOST - 1) * 3 * IMAGE * IMAGE] = NAN; /* the last rank's */
  CHECK(run(&f, begin[rank], n, &share, &loss) == MOECLIP_ERROR_NUMERIC);
  CHECK_MSG(strstr(err.message, "the loss is not finite"), "%s", err.message);
  f.images[(MOST - 1) * 3 * IMAGE * IMAGE] = keep;
  for (size_t i = 0; i < f.n_params; i++) {
    memset(f.params[i]->grad, 0, (size_t)f.params[i]->n * sizeof(float));
    f.params[i]->touched = false;
  }
  REQUIRE_OK(run(&f, begin[rank], n, &share, &loss), err);
  CHECK(loss == good);
  mc_reduction_destroy(reduction);
  fixture_clear(&f);
  free(begin);
}

int main(void) {
  REQUIRE_OK(moeclip_comm_mpi(&comm, &err), err);
  rank = moeclip_comm_rank(comm);
  size = moeclip_comm_size(comm);
  CHECK(rank == moeclip_comm_launched_rank() && size == moeclip_comm_launched() && moeclip_comm_threads(comm) >= 1);
  REQUIRE_OK(mc_compute_create(1, &cp, &err), err);
  test_exchanges();
  test_sums();
  test_step("experts", true, false, MOST, 5, 0, 0, false);
  test_step("experts, fewer pictures and texts than ranks", true, false, 2, 3, 0, 0, false);
  test_step("experts, all pictures on one rank", true, false, 6, 5, 0, 0, true);
  test_step("experts, micro-batches", true, false, MOST, 5, 1, 0, false);
  test_step("experts, balanced", true, false, MOST, 5, 0, 0.5f, false);
  test_step("experts, balanced, micro-batches", true, false, MOST, 5, 1, 0.5f, false);
  test_step("all weights", false, false, MOST, 5, 0, 0, false);
  test_step("all weights, micro-batches", false, false, 7, 5, 1, 0, false);
  test_step("contrast", false, true, MOST, MOST, 0, 0, false);
  test_step("contrast, micro-batches, few pairs", false, true, 3, 3, 1, 0, false);
  test_agreement();
  test_nan();
  mc_arena_clear(&arena);
  mc_compute_destroy(cp);
  int code = check_report();
  if (code) moeclip_comm_abort(comm, code);
  moeclip_comm_destroy(comm);
  return code;
}
