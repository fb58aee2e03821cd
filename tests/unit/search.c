/*
 * The index of pictures: the kernel against plain loops, hits against what the encoders say, updates step by step, and
 * the change of state, model and process.
 */
#include "moeclip/search.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "check.h"
#include "files.h"
#include "learn/learner.h"
#include "model/clip.h"
#include "search/search.h"

static moeclip_error err;

/* --- the kernel --------------------------------------------------------------------------------------------------- */

static void test_half(void) {
  int wrong = 0;
  for (unsigned h = 0; h < 0x10000; h++) {
    unsigned magnitude = h & 0x7fff;
    uint16_t back;
    if (magnitude > 0x3c00) continue;
    float f = mc_from_half((uint16_t)h);
    double exponent = (double)(magnitude >> 10), fraction = (double)(magnitude & 0x3ff);
    double is = magnitude < 0x400 ? ldexp(fraction, -24) : ldexp(1 + fraction / 1024, (int)exponent - 15);
    wrong += (double)f != (h & 0x8000 ? -is : is);
    mc_to_half(&f, 1, &back);
    wrong += back != (magnitude < 0x400 ? 0 : h);
  }
  CHECK_MSG(wrong == 0, "%d half-precision numbers", wrong);
  mc_philox g;
  mc_philox_init(&g, 5, MC_STREAM_SHUFFLE, 0);
  for (int i = 0; i < 100000; i++) {
    float f = 2 * mc_philox_uniform(&g) - 1, near[3];
    uint16_t h;
    mc_to_half(&f, 1, &h);
    if (fabsf(f) < 0x1p-14f) continue;
    near[0] = mc_from_half(h);
    near[1] = mc_from_half((uint16_t)(h + 1));
    near[2] = mc_from_half((uint16_t)(h - 1));
    wrong += fabsf(f - near[0]) > fabsf(f - near[1]) || fabsf(f - near[0]) > fabsf(f - near[2]);
  }
  CHECK_MSG(wrong == 0, "%d numbers are not rounded to the nearest", wrong);
  float above = 1.0000001f;
  uint16_t one, bad[3] = {0x3c00, 0xbc00, 0x3c01};
  mc_to_half(&above, 1, &one);
  CHECK(one == 0x3c00);
  CHECK(mc_half_bounded(bad, 2) && !mc_half_bounded(bad, 3));
  bad[0] = 0x7e00; /* NaN */
  CHECK(!mc_half_bounded(bad, 1));
}

static void test_dot(void) {
  enum { N = 37, STRIDE = 48 };
  uint16_t rows[N * STRIDE];
  float query[STRIDE], out[N];
  mc_philox g;
  mc_philox_init(&g, 6, MC_STREAM_SHUFFLE, 0);
  for (int k = 0; k < STRIDE; k++) query[k] = 2 * mc_philox_uniform(&g) - 1;
  for (int i = 0; i < N * STRIDE; i++) {
    float f = 2 * mc_philox_uniform(&g) - 1;
    mc_to_half(&f, 1, &rows[i]);
  }
  mc_dot_rows(rows, query, N, STRIDE, out);
  double worst = 0;
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int k = 0; k < STRIDE; k++) sum += (double)mc_from_half(rows[i * STRIDE + k]) * (double)query[k];
    worst = fmax(worst, fabs(sum - (double)out[i]));
  }
  CHECK_MSG(worst < 1e-5, "largest difference %g", worst);
}

static int by_score(const void *a, const void *b) {
  const mc_best *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

static void test_top(void) {
  enum { N = 500 };
  mc_best all[N], kept[N];
  mc_philox g;
  mc_philox_init(&g, 7, MC_STREAM_SHUFFLE, 0);
  for (size_t capacity = 0; capacity <= N; capacity += 1 + capacity / 2) {
    mc_top top = {kept, 0, capacity};
    for (size_t i = 0; i < N; i++) {
      all[i] = (mc_best){.score = (float)(int)(30 * mc_philox_uniform(&g)), .row = i}; /* with ties */
      mc_top_push(&top, all[i]);
    }
    mc_top_sort(&top);
    qsort(all, N, sizeof *all, by_score);
    bool same = top.n == capacity;
    for (size_t i = 0; same && i < top.n; i++) same = kept[i].row == all[i].row;
    CHECK_MSG(same, "the best %zu", capacity);
  }
}

/* --- paths -------------------------------------------------------------------------------------------------------- */

static void test_paths(void) {
  static const struct {
    const char *folder, *path, *stored;
  } cases[] = {
      {"/a/b", "/a/b/c.png", "c.png"},
      {"/a/b", "/a/c.png", "../c.png"},
      {"/a/b", "/x/y.png", "../../x/y.png"},
      {"/a/b", "/a/bc/d.png", "../bc/d.png"},
      {"/a/bc", "/a/b/d.png", "../b/d.png"},
      {"/", "/x.png", "x.png"},
      {"/a", "/a", "."},
      {"/a/b", "/a", ".."},
      {"/a", "/a/..b/c.png", "..b/c.png"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    moeclip_index x = {.folder = (char *)(uintptr_t)cases[i].folder, .relative = true};
    char *stored = mc_index_stored_path(&x, cases[i].path);
    char *back = stored ? mc_index_absolute_path(&x, stored, strlen(stored)) : NULL;
    CHECK_MSG(stored && strcmp(stored, cases[i].stored) == 0, "%s from %s: %s", cases[i].path, cases[i].folder, stored);
    CHECK_MSG(back && strcmp(back, cases[i].path) == 0, "%s from %s and back: %s", cases[i].path, cases[i].folder,
              back);
    free(stored);
    free(back);
  }
  moeclip_index x = {.folder = (char *)(uintptr_t)"/a", .relative = true};
  char *far = mc_index_absolute_path(&x, "../../../../b", 13);
  CHECK(far && strcmp(far, "/b") == 0);
  free(far);
  CHECK(mc_is_below("/a/b", "/a") && mc_is_below("/a", "/a") && mc_is_below("/x", "/") && !mc_is_below("/ab", "/a"));
}

/* --- fixtures ----------------------------------------------------------------------------------------------------- */

static moeclip_model *make_model(const char *path, uint64_t seed) {
  mc_clip_sizes sizes = {16, 8, 2, 64, 128, 12, 600, 2, 64, 128, 40, MC_QUICK_GELU, 0, 0};
  mc_clip *clip;
  moeclip_tensors *t;
  moeclip_model *m;
  moeclip_model_options options;
  moeclip_model_options_defaults(&options);
  options.precision = MOECLIP_PRECISION_FLOAT32;
  options.n_threads = 2;
  REQUIRE_OK(mc_clip_create(&sizes, seed, &clip, &err), err);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(mc_clip_store(clip, MOECLIP_F32, t, &err), err);
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
  mc_clip_destroy(clip);
  REQUIRE_OK(moeclip_model_load(path, &options, &m, &err), err);
  return m;
}

/* Pictures that differ in tone: value 0 to 255. */
static void picture(const char *path, int value) { files_png(path, 20, 16, value); }

static void learn_task(moeclip_learner *l, const char *name, int tone) {
  moeclip_dataset *d;
  moeclip_dataset_options o;
  moeclip_task_options how;
  for (int i = 0; i < 12; i++) {
    picture(files_path("%s/light/%d.png", name, i), tone + i);
    picture(files_path("%s/dark/%d.png", name, i), tone + 40 + i);
  }
  moeclip_dataset_options_defaults(&o);
  o.name = name;
  REQUIRE_OK(moeclip_dataset_open(files_path("%s", name), &o, &d, &err), err);
  moeclip_task_options_defaults(&how);
  how.iterations = 8;
  how.batch = 8;
  how.selector_iterations = 30;
  REQUIRE_OK(moeclip_learner_learn(l, d, &how, NULL, NULL, &err), err);
  moeclip_dataset_destroy(d);
}

static moeclip_learner *make_learner(moeclip_model *m) {
  moeclip_learner *l;
  moeclip_learner_options o;
  moeclip_learner_options_defaults(&o);
  o.n_experts = 6;
  o.bottleneck = 8;
  o.selector_hidden = 8;
  REQUIRE_OK(moeclip_learner_create(m, &o, &l, &err), err);
  return l;
}

static moeclip_index_report update(moeclip_index *x, moeclip_learner *l) {
  moeclip_index_report r;
  char root[512];
  const char *roots[1] = {root};
  snprintf(root, sizeof root, "%s", files_path("all"));
  REQUIRE_OK(moeclip_index_update(x, l, roots, 1, NULL, NULL, &r, &err), err);
  return r;
}

/* --- hits --------------------------------------------------------------------------------------------------------- */

/* Every hit's cosine is that of the encoders, and the order is that of the scores. */
static void test_search(moeclip_index *x, moeclip_learner *l, int n) {
  enum { EMBED = 40 };
  moeclip_search_options o;
  moeclip_hits hits[3];
  moeclip_image image;
  REQUIRE_OK(moeclip_image_load(files_path("all/sub/3.png"), &image, &err), err);
  moeclip_query queries[3] = {{.text = "light"}, {.text = "something else"}, {.image = &image}};
  moeclip_search_options_defaults(&o);
  o.top = 1000;
  o.ranking = MOECLIP_RANK_COSINE;
  REQUIRE_OK(moeclip_index_search(x, l, queries, 3, &o, hits, &err), err);
  double worst = 0;
  for (int q = 0; q < 3; q++) {
    CHECK_MSG(hits[q].n == (size_t)n, "%zu hits of %d", hits[q].n, n);
    for (size_t i = 0; i < hits[q].n; i++) {
      const moeclip_hit *h = &hits[q].items[i];
      float feature[EMBED], query[EMBED];
      double dot = 0;
      int task, number = -1;
      moeclip_image p;
      REQUIRE_OK(moeclip_image_load(h->path, &p, &err), err);
      REQUIRE_OK(moeclip_learner_encode_images(l, &p, 1, MOECLIP_TASK_AUTO, &task, NULL, feature, &err), err);
      for (int t = 0; h->task && t < moeclip_learner_tasks(l); t++) {
        moeclip_task_info info;
        moeclip_learner_task(l, t, &info, NULL);
        if (strcmp(info.name, h->task) == 0) number = t;
      }
      CHECK(task == number);
      if (q < 2) REQUIRE_OK(moeclip_learner_encode_texts(l, &queries[q].text, 1, task, query, &err), err);
      if (q == 2) REQUIRE_OK(moeclip_learner_encode_images(l, &image, 1, task, NULL, NULL, query, &err), err);
      for (int k = 0; k < EMBED; k++) dot += (double)feature[k] * (double)query[k];
      worst = fmax(worst, fabs(dot - h->cosine));
      CHECK(h->score == h->cosine && (i == 0 || hits[q].items[i - 1].score >= h->score));
      moeclip_image_clear(&p);
    }
  }
  CHECK_MSG(worst < 1e-3, "largest difference of a cosine %g", worst);
  /* The best few are the first of all. */
  moeclip_hits few;
  o.top = 4;
  REQUIRE_OK(moeclip_index_search(x, l, queries, 1, &o, &few, &err), err);
  CHECK(few.n == 4);
  for (size_t i = 0; i < few.n; i++) CHECK(few.items[i].score == hits[0].items[i].score);
  moeclip_hits_clear(&few);
  o.min_score = hits[0].items[2].score;
  o.top = 1000;
  REQUIRE_OK(moeclip_index_search(x, l, queries, 1, &o, &few, &err), err);
  CHECK(few.n >= 3 && few.items[few.n - 1].score >= o.min_score && few.n < hits[0].n);
  moeclip_hits_clear(&few);
  /* Calibrated: the cosine less something of the picture alone. */
  moeclip_search_options_defaults(&o);
  o.top = 1000;
  moeclip_hits a[2];
  REQUIRE_OK(moeclip_index_search(x, l, queries, 2, &o, a, &err), err);
  for (size_t i = 0; i < a[0].n; i++) {
    for (size_t k = 0; k < a[1].n; k++) {
      if (strcmp(a[0].items[i].path, a[1].items[k].path) != 0) continue;
      double base0 = a[0].items[i].cosine - a[0].items[i].score, base1 = a[1].items[k].cosine - a[1].items[k].score;
      CHECK_MSG(fabs(base0 - base1) < 1e-5, "%g and %g", base0, base1);
    }
  }
  bool knows_tone = moeclip_learner_tasks(l) > 0;
  o.task = knows_tone ? "tone" : "none";
  o.under = files_path("all/sub");
  REQUIRE_OK(moeclip_index_search(x, l, queries, 1, &o, &few, &err), err);
  for (size_t i = 0; i < few.n; i++) {
    CHECK(strstr(few.items[i].path, "/all/sub/"));
    CHECK(knows_tone ? few.items[i].task && strcmp(few.items[i].task, "tone") == 0 : !few.items[i].task);
  }
  moeclip_hits_clear(&few);
  for (int q = 0; q < 3; q++) moeclip_hits_clear(&hits[q]);
  for (int q = 0; q < 2; q++) moeclip_hits_clear(&a[q]);
  moeclip_image_clear(&image);
}

/* The base, by its definition. */
static void test_base(moeclip_learner *l) {
  mc_base b;
  float feature[40] = {0}, all[40];
  uint16_t half[40];
  double base, again;
  const char *words[] = {"person"};
  REQUIRE_OK(mc_base_init(&b, l, &err), err);
  REQUIRE_OK(moeclip_learner_encode_texts(l, words, 1, 0, feature, &err), err);
  mc_to_half(feature, 40, half);
  REQUIRE_OK(mc_base_of(&b, 0, half, &base, &err), err);
  CHECK(b.n_words == 25 + 2);
  double sum = 0;
  for (size_t i = 0; i < b.n_words; i++) {
    double dot = 0;
    for (int k = 0; k < 40; k++) dot += (double)b.words[1][i * b.stride + (size_t)k] * (double)mc_from_half(half[k]);
    sum += exp(20 * dot);
  }
  CHECK_MSG(fabs(base - log(sum / (double)b.n_words) / 20) < 1e-6, "%g", base);
  /* "person" is the first of the words. */
  for (int k = 0; k < 40; k++) all[k] = b.words[1][k];
  CHECK(memcmp(all, feature, sizeof all) == 0 || fabs((double)(all[0] - feature[0])) < 1e-5);
  REQUIRE_OK(mc_base_of(&b, MOECLIP_TASK_NONE, half, &again, &err), err);
  CHECK(again != base);
  mc_base_clear(&b);
}

/* --- updates ------------------------------------------------------------------------------------------------------ */

static int stop_after(void *context, const moeclip_progress *p) {
  return strcmp(p->phase, "index") == 0 && --*(int *)context < 0;
}

static void test_updates(moeclip_index *x, moeclip_learner *l) {
  moeclip_index_report r = update(x, l);
  CHECK(r.found == 12 && r.encoded == 12 && r.state_changed == 0 && r.stale == 0);
  r = update(x, l);
  CHECK(r.found == 12 && r.encoded == 0 && r.unchanged == 12 && r.removed == 0);
  /* Another time, the same content. */
  struct timespec times[2] = {{1000, 5}, {1000, 6}};
  utimensat(AT_FDCWD, files_path("all/1.png"), times, 0);
  r = update(x, l);
  CHECK(r.encoded == 0 && r.unchanged == 12);
  /* The same size, another content and time. */
  picture(files_path("all/1.png"), 101);
  rename(files_path("all/2.png"), files_path("all/sub/two.png"));
  unlink(files_path("all/4.png"));
  files_text(files_path("all/text.png"), "this is no picture");
  r = update(x, l);
  CHECK_MSG(r.found == 12 && r.encoded == 1 && r.moved == 1 && r.removed == 2 && r.broken == 1,
            "found %d encoded %d moved %d removed %d broken %d", (int)r.found, (int)r.encoded, (int)r.moved,
            (int)r.removed, (int)r.broken);
  r = update(x, l);
  CHECK(r.encoded == 0 && r.broken == 1);
  picture(files_path("all/text.png"), 33);
  r = update(x, l);
  CHECK(r.encoded == 1 && r.broken == 0 && r.found == 12);
}

static void test_stop(moeclip_index *x, moeclip_learner *l) {
  int left = 1;
  moeclip_callbacks callbacks = {.progress = stop_after, .context = &left};
  moeclip_index_options o;
  moeclip_index_report r;
  char root[512];
  const char *roots[1] = {root};
  snprintf(root, sizeof root, "%s", files_path("more"));
  for (int i = 0; i < 8; i++) picture(files_path("more/%d.png", i), 60 + i);
  moeclip_index_options_defaults(&o);
  o.batch = 3;
  CHECK(moeclip_index_update(x, l, roots, 1, &o, &callbacks, &r, &err) == MOECLIP_ERROR_CANCELLED);
  CHECK(r.encoded == 6);
  REQUIRE_OK(moeclip_index_update(x, l, roots, 1, &o, NULL, &r, &err), err);
  CHECK(r.encoded == 2 && r.unchanged == 6);
  /* Two updates: the one that began last goes on. */
  files_remove_(files_path("more"));
  REQUIRE_OK(
      moeclip_index_update(x, l, NULL, 0, &o, NULL, &r, &err) == MOECLIP_ERROR_IO ? MOECLIP_OK : MOECLIP_ERROR_INTERNAL,
      err);
  mkdir(files_path("more"), 0777);
  REQUIRE_OK(moeclip_index_update(x, l, NULL, 0, &o, NULL, &r, &err), err);
  CHECK(r.removed == 8 && r.unchanged == 12);
}

typedef struct second {
  moeclip_learner *l;
  int begun;
} second;

/* While one update runs, another one on the same file. */
static int begin_second(void *context, const moeclip_progress *p) {
  second *s = context;
  moeclip_index *other;
  if (strcmp(p->phase, "scan") != 0 || s->begun++) return 0;
  REQUIRE_OK(moeclip_index_open(files_path("i.sqlite"), &other, &err), err);
  REQUIRE_OK(moeclip_index_update(other, s->l, NULL, 0, NULL, NULL, NULL, &err), err);
  moeclip_index_close(other);
  return 0;
}

static void test_second(moeclip_index *x, moeclip_learner *l) {
  second s = {l, 0};
  moeclip_callbacks callbacks = {.progress = begin_second, .context = &s};
  for (int i = 0; i < 3; i++) picture(files_path("more/%d.png", i), 90 + i);
  moeclip_code code = moeclip_index_update(x, l, NULL, 0, NULL, &callbacks, NULL, &err);
  CHECK_MSG(code == MOECLIP_OK || (code == MOECLIP_ERROR_MISMATCH && strstr(err.message, "another process")), "%s",
            err.message);
  moeclip_index_info info;
  REQUIRE_OK(moeclip_index_get_info(x, &info, &err), err);
  CHECK(info.pictures == 15);
  files_remove_(files_path("more"));
  mkdir(files_path("more"), 0777);
}

/* What a fresh index holds is, bit for bit, what choosing in a pass of its own and then encoding gives. */
static void test_passes(moeclip_learner *l) {
  enum { N = 12, EMBED = 40, EACH = 3 * 16 * 16 };
  moeclip_index *x;
  sqlite3_stmt *s;
  uint8_t pixels[N * EACH];
  uint16_t halves[N][EMBED], half[EMBED];
  int32_t tasks[N], is[N];
  double scores[N], was[N];
  float features[N * EMBED];
  bool row = true;
  int n = 0, chosen = 0, same = 0;
  CHECK(mc_routes_in_passing(l));
  REQUIRE_OK(moeclip_index_create(files_path("passes.sqlite"), 0, &x, &err), err);
  CHECK(update(x, l).encoded == N);
  const char *sql = "SELECT path, task, score, feature FROM features JOIN pictures USING(id) ORDER BY id";
  REQUIRE_OK(mc_index_prepare(x, sql, &s, &err), err);
  for (;;) {
    char *path;
    moeclip_image image;
    REQUIRE_OK(mc_index_step(x, s, &row, &err), err);
    if (!row || n == N) break;
    REQUIRE_OK(mc_index_column_path(x, s, 0, &path, &err), err);
    is[n] = sqlite3_column_int(s, 1);
    was[n] = sqlite3_column_double(s, 2);
    CHECK(sqlite3_column_bytes(s, 3) == sizeof halves[n]);
    memcpy(halves[n], sqlite3_column_blob(s, 3), sizeof halves[n]);
    REQUIRE_OK(moeclip_image_load(path, &image, &err), err);
    REQUIRE_OK(moeclip_image_preprocess(&image, 16, pixels + n++ * EACH, &err), err);
    moeclip_image_clear(&image);
    free(path);
  }
  sqlite3_finalize(s);
  moeclip_index_close(x);
  CHECK(n == N && !row);
  REQUIRE_OK(mc_route(l, pixels, N, MOECLIP_SELECT_PER_IMAGE, tasks, scores, NULL, &err), err);
  REQUIRE_OK(mc_picture_features(l, pixels, N, tasks, NULL, NULL, features, &err), err);
  for (int i = 0; i < N; i++) {
    mc_to_half(features + (size_t)i * EMBED, EMBED, half);
    chosen += tasks[i] >= 0;
    same += tasks[i] == is[i] && scores[i] == was[i] && memcmp(half, halves[i], sizeof half) == 0;
  }
  CHECK_MSG(same == N && chosen > 0 && chosen < N, "%d of %d the same, %d of a task", same, N, chosen);
}

static void test_state(moeclip_index *x, moeclip_learner *l, moeclip_model *other_model) {
  moeclip_index_report r;
  moeclip_index_info info;
  moeclip_hits hits;
  moeclip_query query = {.text = "light"};
  REQUIRE_OK(moeclip_index_update(x, l, NULL, 0, NULL, NULL, &r, &err), err);
  learn_task(l, "second", 150);
  CHECK(moeclip_index_search(x, l, &query, 1, NULL, &hits, &err) == MOECLIP_ERROR_MISMATCH &&
        strstr(err.message, "another state"));
  /* A new picture in the midst of those that the file knows. */
  picture(files_path("all/3new.png"), 222);
  REQUIRE_OK(moeclip_index_update(x, l, NULL, 0, NULL, NULL, &r, &err), err);
  CHECK_MSG(r.state_changed && r.encoded > 0 && r.encoded + r.rerouted == 13 && r.stale == 0, "encoded %d, kept %d",
            (int)r.encoded, (int)r.rerouted);
  test_search(x, l, 13);
  unlink(files_path("all/3new.png"));
  REQUIRE_OK(moeclip_index_update(x, l, NULL, 0, NULL, NULL, &r, &err), err);
  CHECK(r.removed == 1 && r.encoded == 0 && r.unchanged == 12);
  test_search(x, l, 12);
  test_passes(l);
  REQUIRE_OK(moeclip_index_get_info(x, &info, &err), err);
  CHECK(info.n_tasks == 3 && info.embed == 40 && strcmp(info.tasks[2].name, "second") == 0);
  moeclip_learner *other = make_learner(other_model);
  CHECK(moeclip_index_search(x, other, &query, 1, NULL, &hits, &err) == MOECLIP_ERROR_MISMATCH &&
        strstr(err.message, "another model"));
  REQUIRE_OK(moeclip_index_update(x, other, NULL, 0, NULL, NULL, &r, &err), err);
  CHECK(r.state_changed && r.encoded == 12 && r.rerouted == 0);
  test_search(x, other, 12);
  /* A learner that has learned nothing routes nothing: pictures of no task keep their features. */
  learn_task(other, "third", 200);
  REQUIRE_OK(moeclip_index_update(x, other, NULL, 0, NULL, NULL, &r, &err), err);
  int none = 0;
  REQUIRE_OK(moeclip_index_get_info(x, &info, &err), err);
  none = (int)info.tasks[0].pictures;
  CHECK_MSG(r.rerouted == none && r.encoded == 12 - none, "%d of no task, %d kept, %d encoded", none, (int)r.rerouted,
            (int)r.encoded);
  moeclip_learner_destroy(other);
}

static void test_refused(void) {
  moeclip_index *x;
  files_text(files_path("text"), "this is a text, not a database, and longer than a header that SQLite has");
  CHECK(moeclip_index_create(files_path("text"), 0, &x, &err) == MOECLIP_ERROR_FORMAT && !x);
  CHECK(moeclip_index_open(files_path("nothing"), &x, &err) == MOECLIP_ERROR_IO && !x);
  CHECK(access(files_path("nothing"), F_OK) != 0);
  CHECK(moeclip_index_create(files_path("no/folder"), 0, &x, &err) == MOECLIP_ERROR_IO && !x);
  REQUIRE_OK(moeclip_index_create(files_path("fresh"), 1, &x, &err), err);
  moeclip_index_info info;
  REQUIRE_OK(moeclip_index_get_info(x, &info, &err), err);
  CHECK(info.relative == 1 && info.pictures == 0 && info.n_tasks == 1 && !*info.backbone);
  moeclip_index_close(x);
  CHECK(moeclip_index_create(files_path("fresh"), 0, &x, &err) == MOECLIP_ERROR_MISMATCH && !x);
  REQUIRE_OK(moeclip_index_create(files_path("fresh"), -1, &x, &err), err);
  moeclip_index_close(x);
}

int main(void) {
  moeclip_index *x;
  test_half();
  test_dot();
  test_top();
  test_paths();
  files_begin();
  moeclip_model *m = make_model(files_path("model.safetensors"), 1),
                *other = make_model(files_path("other.safetensors"), 2);
  moeclip_learner *l = make_learner(m);
  learn_task(l, "tone", 0);
  for (int i = 0; i < 6; i++) picture(files_path("all/%d.png", i), 7 * i);
  for (int i = 0; i < 6; i++) picture(files_path("all/sub/%d.png", i), 100 + 20 * i);
  symlink("..", files_path("all/sub/loop"));
  REQUIRE_OK(moeclip_index_create(files_path("i.sqlite"), 0, &x, &err), err);
  test_updates(x, l);
  test_search(x, l, 12);
  test_base(l);
  test_stop(x, l);
  test_second(x, l);
  test_state(x, l, other);
  test_refused();
  moeclip_index_close(x);
  moeclip_learner_destroy(l);
  moeclip_model_destroy(m);
  moeclip_model_destroy(other);
  files_end();
  return check_report();
}
