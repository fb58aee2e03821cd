/* The loader: its batches depend on options and number alone, never on threads or where it begins; broken pictures. */
#include "data/loader.h"

#include <time.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"

enum { SIZE = 8, MAX_COUNT = 64 };

/* Pictures made from their index; some are broken, and some take long. */
typedef struct made {
  bool broken[MAX_COUNT];
  bool slow;
} made;

static moeclip_code made_load(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const made *m = context;
  *out = (moeclip_image){.width = 12 + (int)(i % 5), .height = 11, .rgb = malloc((12 + i % 5) * 11 * 3)};
  if (!out->rgb) return mc_fail_memory(err, 1, "a picture");
  if (m->slow) nanosleep(&(struct timespec){.tv_nsec = 20000 * (long)(i * 7 % 11)}, NULL);
  for (size_t p = 0; p < (size_t)out->width * 33; p++) out->rgb[p] = (uint8_t)(p * (i + 3) + i * 37);
  return m->broken[i] ? mc_fail(err, MOECLIP_ERROR_FORMAT, "picture %zu is torn", i) : MOECLIP_OK;
}

static moeclip_code made_name(void *context, size_t i, char *out, size_t n_out) {
  (void)context;
  snprintf(out, n_out, "item-%zu", i);
  return MOECLIP_OK;
}

static mc_image_source source_of(made *m, size_t count) {
  return (mc_image_source){count, m, made_load, made_name};
}

typedef struct reports {
  int n;
  char last[200];
} reports;

static void report(void *context, const char *item, const char *message) {
  reports *r = context;
  r->n++;
  snprintf(r->last, sizeof r->last, "%s: %s", item, message);
}

static const mc_loader_options usual = {.transform = {.size = SIZE}, .batch = 7, .n_threads = 1, .shuffle = true,
                                        .augment = true, .repeat = true, .seed = 5};

static mc_loader *create(const mc_image_source *source, const mc_loader_options *o, reports *r) {
  mc_loader *l;
  moeclip_error err;
  REQUIRE_OK(mc_loader_create(source, o, r ? report : NULL, r, &l, &err), err);
  return l;
}

static bool next(mc_loader *l, mc_batch *batch) {
  bool end;
  moeclip_error err;
  REQUIRE_OK(mc_loader_next(l, batch, &end, &err), err);
  return !end;
}

static uint64_t fingerprint(const void *data, size_t n) {
  uint64_t h = 1469598103934665603u;
  for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)data)[i]) * 1099511628211u;
  return h;
}

/* Everything that a batch holds, as one number. */
static uint64_t print_of(const mc_batch *b) {
  uint64_t parts[3] = {b->number, fingerprint(b->index, (size_t)b->n * sizeof *b->index),
                       fingerprint(b->pixels, (size_t)b->n * 3 * SIZE * SIZE)};
  return fingerprint(parts, sizeof parts);
}

/* The prints of n batches from `first` on. */
static void prints_of(made *m, size_t count, const mc_loader_options *options, uint64_t first, int n,
                      uint64_t *prints) {
  mc_image_source source = source_of(m, count);
  mc_loader_options o = *options;
  mc_batch b;
  o.first_batch = first;
  mc_loader *l = create(&source, &o, NULL);
  for (int i = 0; i < n; i++) {
    CHECK(next(l, &b) && b.number == first + (uint64_t)i);
    prints[i] = print_of(&b);
  }
  mc_loader_destroy(l);
}

static void test_same_batches(void) {
  enum { N = 17 };
  made m = {.slow = true};
  m.broken[3] = m.broken[4] = m.broken[29] = true;
  for (int form = 0; form < 8; form++) {
    mc_loader_options o = usual;
    uint64_t expected[N], got[N];
    o.augment = form & 1;
    o.shuffle = form & 2;
    o.augment_once = form & 4;
    prints_of(&m, 30, &o, 0, N, expected);
    for (int threads = 1; threads <= 4; threads += 3) {
      for (int ahead = 0; ahead <= 5; ahead += threads) {
        o.n_threads = threads;
        o.n_ahead = ahead;
        prints_of(&m, 30, &o, 0, N, got);
        CHECK_MSG(memcmp(expected, got, sizeof got) == 0, "form %d, %d threads, %d ahead", form, threads, ahead);
      }
    }
    for (int k = 1; k < N; k++) {
      prints_of(&m, 30, &o, (uint64_t)k, N - k, got);
      CHECK_MSG(memcmp(expected + k, got, (size_t)(N - k) * sizeof *got) == 0, "form %d, from batch %d", form, k);
    }
  }
}

/* Several processes: the parts of a batch make up the batch, also where there are more parts than pictures, and whole batches may be
 * taken in turn. Pictures, their crops and what is broken are those of one loader. */
static void test_shares(void) {
  enum { BATCHES = 12 };
  made m = {.slow = true};
  m.broken[3] = m.broken[29] = true;
  mc_image_source source = source_of(&m, 30);
  const size_t each = 3 * SIZE * SIZE;
  for (int parts = 2; parts <= 9; parts += 7) {
    mc_loader *all = create(&source, &usual, NULL), *of[9];
    mc_loader_options o = usual;
    o.n_parts = parts;
    for (o.part = 0; o.part < parts; o.part++) of[o.part] = create(&source, &o, NULL);
    for (int k = 0; k < BATCHES; k++) {
      mc_batch whole, part;
      int at = 0, least = 100, most = 0, n_broken = 0;
      CHECK(next(all, &whole));
      for (int i = 0; i < parts; i++) {
        CHECK(next(of[i], &part) && part.number == whole.number && at + part.n <= whole.n);
        CHECK(memcmp(part.index, whole.index + at, (size_t)part.n * sizeof *part.index) == 0);
        CHECK(memcmp(part.pixels, whole.pixels + (size_t)at * each, (size_t)part.n * each) == 0);
        for (int j = 0; j < part.n_broken; j++) CHECK(m.broken[part.broken[j]]);
        at += part.n;
        n_broken += part.n_broken;
        least = part.n < least ? part.n : least;
        most = part.n > most ? part.n : most;
      }
      CHECK_MSG(at == whole.n && most - least <= 2, "%d parts, batch %d: %d of %d pictures", parts, k, at, whole.n);
      if (k < 5) CHECK(n_broken == whole.n_broken);
    }
    for (int i = 0; i < parts; i++) mc_loader_destroy(of[i]);
    mc_loader_destroy(all);
  }
  for (int stride = 2; stride <= 7; stride += 5) {
    mc_loader_options o = usual;
    int n = 0;
    o.repeat = false;
    uint64_t prints[5];
    mc_loader *all = create(&source, &o, NULL);
    mc_batch b;
    while (next(all, &b)) prints[b.number] = print_of(&b);
    mc_loader_destroy(all);
    o.stride = (uint64_t)stride;
    for (o.first_batch = 0; o.first_batch < o.stride; o.first_batch++) {
      mc_loader *l = create(&source, &o, NULL);
      for (; next(l, &b); n++) CHECK(b.number % o.stride == o.first_batch && print_of(&b) == prints[b.number]);
      mc_loader_destroy(l);
    }
    CHECK(n == 5);
  }
}

/* An epoch holds every picture once, in an order of its own; its last batch is short. */
static void test_epochs(void) {
  made m = {0};
  mc_image_source source = source_of(&m, 30);
  size_t order[3][30];
  mc_loader *l = create(&source, &usual, NULL);
  CHECK(mc_loader_batches(l) == 5);
  for (int epoch = 0; epoch < 3; epoch++) {
    bool seen[30] = {false};
    size_t at = 0;
    for (int i = 0; i < 5; i++) {
      mc_batch b;
      CHECK(next(l, &b) && b.n == (i < 4 ? 7 : 2));
      for (int k = 0; k < b.n && at < 30; k++) {
        CHECK(b.index[k] < 30 && !seen[b.index[k]]);
        seen[b.index[k]] = true;
        order[epoch][at++] = b.index[k];
      }
    }
    CHECK(at == 30);
  }
  CHECK(memcmp(order[0], order[1], sizeof order[0]) != 0 && memcmp(order[1], order[2], sizeof order[0]) != 0);
  mc_loader_destroy(l);
  CHECK(mc_loader_waited(l = create(&source, &usual, NULL)) == 0);
  mc_loader_destroy(l);
}

/* Without augment the pixels are those of the evaluation transform, and without shuffle in the source's order. */
static void test_plain(bool squash) {
  made m = {0};
  mc_image_source source = source_of(&m, 10);
  mc_loader_options o = {.transform = {.size = SIZE, .squash = squash}, .batch = 4, .n_threads = 2};
  moeclip_transform transform;
  moeclip_transform_defaults(&transform, SIZE);
  transform.squash = squash;
  mc_loader *l = create(&source, &o, NULL);
  mc_batch b;
  size_t at = 0;
  while (next(l, &b)) {
    for (int k = 0; k < b.n; k++, at++) {
      uint8_t expected[3 * SIZE * SIZE];
      moeclip_image image;
      moeclip_error err;
      REQUIRE_OK(made_load(&m, at, &image, &err), err);
      REQUIRE_OK(moeclip_image_transform(&image, &transform, expected, &err), err);
      moeclip_image_clear(&image);
      CHECK(b.index[k] == at && memcmp(b.pixels + (size_t)k * sizeof expected, expected, sizeof expected) == 0);
    }
  }
  CHECK(at == 10 && b.n == 0);
  CHECK(!next(l, &b) && !next(l, &b)); /* it stays at its end */
  mc_loader_destroy(l);
  o.first_batch = 3;
  l = create(&source, &o, NULL);
  CHECK(!next(l, &b));
  mc_loader_destroy(l);
  o.first_batch = 2;
  l = create(&source, &o, NULL);
  CHECK(next(l, &b) && b.n == 2 && b.index[1] == 9 && !next(l, &b));
  mc_loader_destroy(l);
}

static void pixels_by_index(mc_loader *l, uint64_t *prints) {
  for (uint64_t i = 0; i < mc_loader_batches(l); i++) {
    mc_batch b;
    CHECK(next(l, &b));
    for (int k = 0; k < b.n; k++) {
      prints[b.index[k]] = fingerprint(b.pixels + (size_t)k * 3 * SIZE * SIZE, 3 * SIZE * SIZE);
    }
  }
}

static void test_augment_once(void) {
  for (int once = 0; once < 2; once++) {
    made m = {0};
    mc_image_source source = source_of(&m, 30);
    mc_loader_options o = usual;
    uint64_t first[30], later[30];
    int n_same = 0;
    o.augment_once = once;
    o.crop_scale_min = 0.3f;
    o.n_threads = 3;
    mc_loader *l = create(&source, &o, NULL);
    pixels_by_index(l, first);
    pixels_by_index(l, later);
    for (int i = 0; i < 30; i++) n_same += first[i] == later[i];
    CHECK_MSG(once ? n_same == 30 : n_same < 15, "once %d: %d of 30 the same", once, n_same);
    mc_loader_destroy(l);
  }
}

static void test_broken(void) {
  for (int threads = 1; threads < 5; threads += 3) {
    made m = {0};
    mc_image_source source = source_of(&m, 30);
    mc_loader_options o = usual;
    reports r = {0};
    int total = 0;
    for (int i = 7; i < 15; i++) m.broken[i] = true; /* without shuffle: all of batch 1 and one of batch 2 */
    o.shuffle = false;
    o.n_threads = threads;
    mc_loader *l = create(&source, &o, &r);
    for (int i = 0; i < 15; i++) {
      static const int expected[] = {7, 0, 6, 7, 2};
      mc_batch b;
      CHECK(next(l, &b) && b.n == expected[i % 5]);
      for (int k = 0; k < b.n; k++) {
        CHECK(!m.broken[b.index[k]]);
        total++;
      }
      int reported = i == 0 ? 0 : i == 1 ? 7 : 8;
      CHECK(r.n == reported && mc_loader_broken(l) == (size_t)reported);
    }
    CHECK(total == 66 && strcmp(r.last, "item-14: picture 14 is torn") == 0);
    mc_loader_destroy(l);
  }
}

static void test_all_broken(void) {
  made m = {0};
  mc_image_source source = source_of(&m, 30);
  mc_loader_options o = usual;
  reports r = {0};
  memset(m.broken, 1, sizeof m.broken);
  o.n_threads = 2;
  mc_loader *l = create(&source, &o, &r);
  moeclip_code code = MOECLIP_OK;
  moeclip_error err = {0};
  int n = 0;
  for (mc_batch b; code == MOECLIP_OK && n < 20; n++) {
    bool end;
    code = mc_loader_next(l, &b, &end, &err);
    CHECK(b.n == 0 && !end);
  }
  CHECK(code == MOECLIP_ERROR_FORMAT && n == 5 && strstr(err.message, "30") && r.n == 30);
  mc_loader_destroy(l);
}

/* At any moment, however far it is ahead and whatever it waits for. */
static void test_destroy(void) {
  mc_philox g;
  mc_philox_init(&g, 1, MC_STREAM_NOISE, 0);
  made m = {.slow = true};
  m.broken[5] = true;
  for (int i = 0; i < 300; i++) {
    mc_image_source source = source_of(&m, 1 + mc_philox_below(&g, MAX_COUNT));
    mc_loader_options o = usual;
    o.batch = 1 + (int)mc_philox_below(&g, 9);
    o.n_threads = 1 + (int)mc_philox_below(&g, 6);
    o.n_ahead = (int)mc_philox_below(&g, 4);
    o.repeat = mc_philox_below(&g, 2);
    mc_loader *l = create(&source, &o, NULL);
    mc_batch b;
    for (uint32_t k = mc_philox_below(&g, 5); k > 0 && next(l, &b); k--) {
      if (k & 1) nanosleep(&(struct timespec){.tv_nsec = mc_philox_below(&g, 200000)}, NULL);
    }
    nanosleep(&(struct timespec){.tv_nsec = mc_philox_below(&g, 300000)}, NULL);
    mc_loader_destroy(l);
  }
  mc_loader_destroy(NULL);
  CHECK(true);
}

static void test_arguments(void) {
  made m = {0};
  mc_image_source source = source_of(&m, 0);
  mc_loader_options o = usual;
  mc_loader *l;
  moeclip_error err = {0};
  CHECK(mc_loader_create(&source, &o, NULL, NULL, &l, &err) == MOECLIP_ERROR_ARGUMENT && !l);
  source.count = 3;
  o.batch = 0;
  CHECK(mc_loader_create(&source, &o, NULL, NULL, &l, &err) == MOECLIP_ERROR_ARGUMENT && !l);
  o.batch = 1;
  o.crop_scale_min = 1.5f;
  CHECK(mc_loader_create(&source, &o, NULL, NULL, &l, &err) == MOECLIP_ERROR_ARGUMENT && !l);
  o.crop_scale_min = 0;
  o.transform.size = 1 << 30;
  CHECK(mc_loader_create(&source, &o, NULL, NULL, &l, &err) == MOECLIP_ERROR_ARGUMENT && !l);
}

int main(void) {
  test_same_batches();
  test_shares();
  test_epochs();
  test_plain(false);
  test_plain(true);
  test_augment_once();
  test_broken();
  test_all_broken();
  test_destroy();
  test_arguments();
  return check_report();
}
