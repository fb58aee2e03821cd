/* The benchmarks' data sets: tables, tiny copies in the real formats (scripts/tiny_benchmarks.py), damaged files. */
#include <jansson.h>
#include <stdbool.h>

#include "base/file.h"
#include "base/random.h"
#include "data/matlab.h"
#include "files.h"
#include "moeclip/benchmark_data.h"

static const char *const names[] = {"Aircraft", "Caltech101", "CIFAR10", "CIFAR100",  "DTD",          "EuroSAT", "Flowers",
                                    "Food",     "MNIST",      "OxfordPet", "StanfordCars", "SUN397", "TinyImageNet"};
enum { N_SETS = sizeof names / sizeof *names };

static moeclip_error err;

static void make(const char *arguments) {
  char command[1024];
  snprintf(command, sizeof command, "python3 %s/../../scripts/tiny_benchmarks.py %s %s", MOECLIP_TEST_DATA,
           files_root_, arguments);
  if (system(command) == 0) return;
  fprintf(stderr, "failed: %s\n", command);
  exit(1);
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static void test_tables(void) {
  static const size_t n_templates[] = {2, 34, 18, 18, 8, 3, 1, 1, 1, 1, 9, 2, 1};
  static const size_t n_names[] = {0, 101, 10, 0, 0, 10, 102, 0, 10, 0, 0, 0, 200};
  static const size_t n_classes[] = {100, 101, 10, 100, 47, 10, 102, 101, 10, 37, 196, 397, 200};
  static const size_t n_all[] = {6667,   8677,  60000, 60000, 3760,   27000, 7169,
                                 101000, 70000, 7349,  16185, 108754, 110000};
  static const size_t n_order[] = {0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 200};
  CHECK(moeclip_benchmark_count() == N_SETS);
  CHECK(!moeclip_benchmark_at(N_SETS));
  for (size_t i = 0; i < N_SETS; i++) {
    const moeclip_benchmark_set *s = moeclip_benchmark_at(i);
    moeclip_benchmark_texts t;
    CHECK_MSG(strcmp(s->name, names[i]) == 0, "set %zu is %s", i, s->name);
    CHECK(moeclip_benchmark_by_name(names[i]) == s);
    CHECK_MSG(s->n_train + s->n_test == n_all[i], "%s: %zu pictures", s->name, s->n_train + s->n_test);
    CHECK_MSG(s->n_classes == n_classes[i], "%s: %zu classes", s->name, s->n_classes);
    CHECK(!s->seeded_split || s->n_train == (size_t)(0.8 * (double)n_all[i]));
    CHECK(strncmp(s->url, "http", 4) == 0);
    REQUIRE_OK(moeclip_benchmark_texts_load(names[i], &t, &err), err);
    CHECK_MSG(t.n_templates == n_templates[i], "%s: %zu templates", names[i], t.n_templates);
    for (size_t k = 0; k < t.n_templates; k++) CHECK(strstr(t.templates[k], "{}"));
    CHECK_MSG(t.n_classes == n_names[i], "%s: %zu class names", names[i], t.n_classes);
    CHECK(t.n_classes == 0 || t.n_classes == s->n_classes);
    CHECK(t.n_order == n_order[i]);
    bool *seen = calloc(t.n_order + 1, sizeof *seen);
    for (size_t k = 0; seen && k < t.n_order; k++) {
      bool fresh = t.order[k] >= 0 && (size_t)t.order[k] < t.n_order && !seen[t.order[k]];
      CHECK(fresh);
      if (fresh) seen[t.order[k]] = true;
    }
    free(seen);
    moeclip_benchmark_texts_clear(&t);
  }
  CHECK(moeclip_benchmark_by_name("stanfordcars") == moeclip_benchmark_by_name("StanfordCars"));
  CHECK(!moeclip_benchmark_by_name("Cars"));
  moeclip_benchmark_texts t;
  REQUIRE_OK(moeclip_benchmark_texts_load("tinyimagenet", &t, &err), err);
  CHECK(strcmp(t.ids[0], "n02124075") == 0 && strcmp(t.classes[0], "Egyptian Mau") == 0);
  CHECK(t.order[0] == 131);
  moeclip_benchmark_texts_clear(&t);
  CHECK(moeclip_benchmark_texts_load("Birds", &t, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "Birds"));
}

static void test_missing(void) {
  for (size_t i = 0; i < N_SETS; i++) {
    const moeclip_benchmark_set *s = moeclip_benchmark_at(i);
    moeclip_dataset *d;
    char path[512];
    CHECK(moeclip_benchmark_open(files_path("none"), s->name, NULL, &d, &err) == MOECLIP_ERROR_IO && !d);
    CHECK_MSG(strstr(err.message, s->url) && strstr(err.message, s->folder), "%s", err.message);
    CHECK(moeclip_benchmark_find(files_path("none"), s->name, path, sizeof path, &err) == MOECLIP_ERROR_IO);
  }
  moeclip_dataset *d;
  CHECK(moeclip_benchmark_open(files_root_, "Birds", NULL, &d, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK_MSG(strstr(err.message, "OxfordPet"), "%s", err.message);
}

/* --- tiny copies -------------------------------------------------------------------------------------------------- */

/* The generator's class of a picture, by its mean colour. */
static int class_by_colour(const moeclip_image *image, int n_classes) {
  double mean[3] = {0}, best = 1e9;
  int found = -1;
  size_t n = (size_t)image->width * (size_t)image->height;
  for (size_t p = 0; p < n; p++) {
    for (int c = 0; c < 3; c++) mean[c] += image->rgb[3 * p + (size_t)c] / (double)n;
  }
  for (int k = 0; k < n_classes; k++) {
    double distance = 0;
    for (int c = 0; c < 3; c++) {
      double wanted = 128 + 70 * cos(2 * 3.14159265358979 * (fmod(k * 0.381966, 1) + c / 3.0));
      distance += (mean[c] - wanted) * (mean[c] - wanted);
    }
    if (distance < best) {
      best = distance;
      found = k;
    }
  }
  return found;
}

static void check_labels(const moeclip_dataset *d, int n_classes) {
  size_t n_wrong = 0;
  for (int s = 0; s < 2; s++) {
    for (size_t i = 0; i < moeclip_dataset_count(d, s); i++) {
      moeclip_image image;
      REQUIRE_OK(moeclip_dataset_load(d, s, i, &image, &err), err);
      n_wrong += class_by_colour(&image, n_classes) != moeclip_dataset_label(d, s, i);
      moeclip_image_clear(&image);
    }
  }
  CHECK_MSG(n_wrong == 0, "%s: %zu pictures with another class's colour", moeclip_dataset_name(d), n_wrong);
}

static void check_same(const moeclip_dataset *a, const moeclip_dataset *b) {
  CHECK(moeclip_dataset_classes(a) == moeclip_dataset_classes(b));
  for (int s = 0; s < 2; s++) {
    size_t n = moeclip_dataset_count(a, s);
    CHECK(n > 0 && n == moeclip_dataset_count(b, s));
    for (size_t i = 0; i < n && n == moeclip_dataset_count(b, s); i++) {
      moeclip_image x, y;
      CHECK(moeclip_dataset_label(a, s, i) == moeclip_dataset_label(b, s, i));
      REQUIRE_OK(moeclip_dataset_load(a, s, i, &x, &err), err);
      REQUIRE_OK(moeclip_dataset_load(b, s, i, &y, &err), err);
      CHECK(x.width == y.width && x.height == y.height &&
            memcmp(x.rgb, y.rgb, 3 * (size_t)x.width * (size_t)x.height) == 0);
      moeclip_image_clear(&x);
      moeclip_image_clear(&y);
    }
  }
}

static moeclip_dataset *opened(const char *set) {
  moeclip_dataset *d;
  REQUIRE_OK(moeclip_benchmark_open(files_root_, set, NULL, &d, &err), err);
  return d;
}

static void test_copies(void) {
  /* Names of the first three classes of a copy with three. */
  static const char *const classes[N_SETS][3] = {
      {"707-320", "727-200", "A300B4"}, {"Faces", "Faces easy", "Leopards"}, {"airplane", "automobile", "bird"},
      {"apple", "aquarium fish", "baby"}, {"banded", "blotchy", "braided"},
      {"AnnualCrop", "Forest", "HerbaceousVegetation"},
      {"pink primrose", "hard-leaved pocket orchid", "canterbury bells"},
      {"apple pie", "baby back ribs", "baklava"}, {"0 - zero", "1 - one", "2 - two"},
      {"Abyssinian", "American Bulldog", "American Pit Bull Terrier"},
      {"AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"},
      {"abbey", "airplane cabin", "apartment building/outdoor"},
      {"Egyptian Mau", "fishing casting reel", "volleyball"}};
  make("--classes 3 --images 5");
  for (size_t i = 0; i < N_SETS; i++) {
    const moeclip_benchmark_set *s = moeclip_benchmark_at(i);
    moeclip_dataset *d = opened(s->name);
    size_t n_train = moeclip_dataset_count(d, MOECLIP_TRAIN), n_test = moeclip_dataset_count(d, MOECLIP_TEST);
    CHECK_MSG(n_train == (s->seeded_split ? 24 : 15) && n_test == (s->seeded_split ? 6 : 15),
              "%s: %zu and %zu pictures", s->name, n_train, n_test);
    CHECK(moeclip_dataset_classes(d) == 3);
    CHECK(strcmp(moeclip_dataset_name(d), s->name) == 0 && strcmp(moeclip_dataset_format(d), s->name) == 0);
    for (size_t c = 0; c < 3; c++) {
      const char *name = moeclip_dataset_class_name(d, c);
      CHECK_MSG(name && strcmp(name, classes[i][c]) == 0, "%s: class %zu is \"%s\"", s->name, c, name ? name : "none");
    }
    if (strcmp(s->name, "MNIST") != 0) check_labels(d, 3);
    moeclip_dataset *general;
    char path[512];
    REQUIRE_OK(moeclip_benchmark_find(files_root_, s->name, path, sizeof path, &err), err);
    /* The general entry takes the same folders; where it has another reader, names may differ. */
    REQUIRE_OK(moeclip_dataset_open(path, NULL, &general, &err), err);
    check_same(d, general);
    moeclip_dataset_destroy(general);
    moeclip_dataset_destroy(d);
  }
}

static void test_complete_names(void) {
  make("--classes 10 --images 1 --only EuroSAT,CIFAR10,MNIST");
  moeclip_dataset *d = opened("EuroSAT");
  CHECK(moeclip_dataset_classes(d) == 10 && strcmp(moeclip_dataset_class_name(d, 0), "annual crop land") == 0);
  CHECK(strcmp(moeclip_dataset_class_name(d, 9), "lake or sea") == 0);
  moeclip_dataset_destroy(d);
  /* With as many folders as names, the names are the published ones; the folder of no class does not count. */
  for (int c = 0; c < 101; c++) files_text(files_path("all/caltech101/101_ObjectCategories/%03d/image_0001.jpg", c), "");
  files_text(files_path("all/caltech101/101_ObjectCategories/BACKGROUND_Google/image_0001.jpg"), "");
  REQUIRE_OK(moeclip_benchmark_open(files_path("all"), "Caltech101", NULL, &d, &err), err);
  CHECK(moeclip_dataset_classes(d) == 101);
  CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 80 && moeclip_dataset_count(d, MOECLIP_TEST) == 21);
  CHECK(strcmp(moeclip_dataset_class_name(d, 0), "off-center face") == 0);
  CHECK(strcmp(moeclip_dataset_class_name(d, 100), "yin and yang symbol") == 0);
  moeclip_dataset_destroy(d);
  d = opened("MNIST");
  CHECK(moeclip_dataset_classes(d) == 10 && strcmp(moeclip_dataset_class_name(d, 9), "9 - nine") == 0);
  moeclip_dataset_destroy(d);
  d = opened("CIFAR10");
  CHECK(moeclip_dataset_classes(d) == 10 && strcmp(moeclip_dataset_class_name(d, 9), "truck") == 0);
  check_labels(d, 10);
  moeclip_dataset_destroy(d);
}

/* Food without its .txt lists; cars whose test labels lie in devkit. */
static void test_variants(void) {
  moeclip_dataset *d = opened("Food"), *other;
  files_remove_(files_path("food-101/meta/train.txt"));
  files_remove_(files_path("food-101/meta/test.txt"));
  other = opened("Food");
  check_same(d, other);
  moeclip_dataset_destroy(d);
  moeclip_dataset_destroy(other);
  d = opened("StanfordCars");
  CHECK(rename(files_path("stanford_cars/cars_test_annos_withlabels.mat"),
               files_path("stanford_cars/devkit/cars_test_annos_withlabels.mat")) == 0);
  other = opened("StanfordCars");
  check_same(d, other);
  moeclip_dataset_destroy(d);
  moeclip_dataset_destroy(other);
}

static void test_cifar_forms(void) {
  static const char *const sets[] = {"CIFAR10", "CIFAR100"};
  for (int i = 0; i < 2; i++) {
    moeclip_dataset *pickles = opened(sets[i]), *binary;
    REQUIRE_OK(moeclip_benchmark_open(files_path("binary"), sets[i], NULL, &binary, &err), err);
    check_same(pickles, binary);
    moeclip_dataset_destroy(pickles);
    moeclip_dataset_destroy(binary);
  }
}

/* The same array, as numpy keeps one whose columns lie together. */
static void test_cifar_by_columns(void) {
  uint8_t *data, *turned;
  size_t n, at = 0;
  moeclip_dataset *rows = opened("CIFAR100"), *columns;
  REQUIRE_OK(mc_file_read(files_path("cifar-100-python/test"), 1 << 24, &data, &n, &err), err);
  for (size_t i = 0; i + 8 < n && !at; i++) at = memcmp(data + i, "tb\x89T", 4) == 0 ? i + 4 : 0;
  turned = malloc(n);
  CHECK(at > 0 && turned);
  size_t n_rows = moeclip_dataset_count(rows, MOECLIP_TEST);
  if (at && turned) {
    memcpy(turned, data, n);
    turned[at - 2] = 0x88;
    for (size_t r = 0; r < n_rows; r++) {
      for (size_t i = 0; i < 3072; i++) turned[at + 4 + i * n_rows + r] = data[at + 4 + r * 3072 + i];
    }
    files_write(files_path("cifar-100-python/test"), turned, n);
    columns = opened("CIFAR100");
    check_same(rows, columns);
    moeclip_dataset_destroy(columns);
    files_write(files_path("cifar-100-python/test"), data, n);
  }
  moeclip_dataset_destroy(rows);
  free(turned);
  free(data);
}

/* --- the seeded split --------------------------------------------------------------------------------------------- */

/* The number that a path of the sorted list has. */
static long place_of(const moeclip_dataset *d, int s, size_t i) {
  char name[512];
  moeclip_dataset_item_name(d, s, i, name, sizeof name);
  return strtol(strrchr(name, '_') + 1, NULL, 10);
}

static void test_seeded_split(void) {
  json_error_t wrong;
  json_t *root = json_load_file(MOECLIP_TEST_DATA "/golden/seeded_split.json", 0, &wrong);
  const json_t *of = json_object_get(json_object_get(root, "permutations"), "1000");
  const json_t *first = json_object_get(of, "first"), *last = json_object_get(of, "last");
  static const char *const places[3] = {"one/caltech101/101_ObjectCategories/%s/image_%04d.jpg",
                                        "one/eurosat/2750/%s/x_%04d.jpg", "one/SUN397/%s/sun_%04d.jpg"};
  static const char *const sets[3] = {"Caltech101", "EuroSAT", "SUN397"};
  CHECK(json_array_size(first) > 0 && json_array_size(last) > 0);
  /* Two classes; the list is in the order of the numbers. The class that ClassName.txt names first comes last in it. */
  for (int k = 0; k < 1000; k++) {
    for (int s = 0; s < 2; s++) files_text(files_path(places[s], k < 300 ? "A" : "b", k), "");
    files_text(files_path(places[2], k < 300 ? "a/b" : "c/d", k), "");
  }
  files_text(files_path("one/SUN397/ClassName.txt"), "/c/d\n/a/b\n");
  for (int s = 0; s < 3; s++) {
    moeclip_dataset *d;
    REQUIRE_OK(moeclip_benchmark_open(files_path("one"), sets[s], NULL, &d, &err), err);
    size_t n_wrong = 0, n_test = moeclip_dataset_count(d, MOECLIP_TEST), n_last = json_array_size(last);
    CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 800 && n_test == 200);
    for (size_t i = 0; i < json_array_size(first); i++) {
      long place = place_of(d, MOECLIP_TRAIN, i);
      n_wrong += place != json_integer_value(json_array_get(first, i));
      n_wrong += moeclip_dataset_label(d, MOECLIP_TRAIN, i) != (s == 2 ? place < 300 : place >= 300);
    }
    for (size_t i = 0; i < n_last; i++) {
      n_wrong += place_of(d, MOECLIP_TEST, n_test - n_last + i) != json_integer_value(json_array_get(last, i));
    }
    CHECK_MSG(n_wrong == 0, "%s: %zu places differ from the published permutation", sets[s], n_wrong);
    moeclip_dataset_destroy(d);
  }
  json_decref(root);
}

/* --- damaged files ------------------------------------------------------------------------------------------------ */

/* The set must be refused, and the message must hold all of `parts` (ended by NULL). */
static void refused(const char *set, const char *const *parts) {
  moeclip_dataset *d;
  CHECK_MSG(moeclip_benchmark_open(files_root_, set, NULL, &d, &err) != MOECLIP_OK && !d, "%s is taken", set);
  for (; *parts; parts++) CHECK_MSG(strstr(err.message, *parts), "no \"%s\" in: %s", *parts, err.message);
}
#define REFUSED(set, ...) refused(set, (const char *const[]){__VA_ARGS__, NULL})

/* `file` holds `text` for one refusal; then what it held before. */
#define WITH(file, text, set, ...)                                   \
  do {                                                               \
    uint8_t *before_;                                                \
    size_t n_before_;                                                \
    REQUIRE_OK(mc_file_read(files_path("%s", file), 1 << 24, &before_, &n_before_, &err), err); \
    files_text(files_path("%s", file), text);                        \
    REFUSED(set, __VA_ARGS__);                                       \
    files_write(files_path("%s", file), before_, n_before_);         \
    free(before_);                                                   \
  } while (0)

static void test_bad_lists(void) {
  const char *list = "fgvc-aircraft-2013b/data/images_variant_train.txt";
  WITH(list, "x\n", "Aircraft", "images_variant_train.txt:1: ", "\"x\"");
  WITH(list, "\n\n../variants 707-320\n", "Aircraft", "images_variant_train.txt:3: ", "../variants");
  WITH(list, "/etc/passwd 707-320\n", "Aircraft", ":1: ", "no name of a picture");
  WITH(list, "0000000 707-320\n", "Aircraft", ":1: ", "images/0000000.jpg is missing");
  WITH(list, "0034316 Concorde\n", "Aircraft", ":1: ", "Concorde", "variants.txt");
  WITH("fgvc-aircraft-2013b/data/variants.txt", "A\nB\nA\n", "Aircraft", "variants.txt:3: ", "twice");
  list = "dtd/dtd/labels/test1.txt";
  WITH(list, "banded\n", "DTD", "test1.txt:1: ", "banded");
  WITH(list, "banded/../../labels/test1.txt\n", "DTD", "test1.txt:1: ");
  WITH(list, "woven/woven_0001.jpg\n", "DTD", "test1.txt:1: ", "woven");
  WITH("food-101/meta/train.json", "{\"apple_pie\": [\"../x\"]}", "Food", "train.json: apple_pie, number 0", "../x");
  WITH("food-101/meta/train.json", "[", "Food", "train.json:1: ");
  list = "oxford-iiit-pet/annotations/test.txt";
  WITH(list, "Abyssinian_6 1 1 1\nAbyssinian_7 2 1 1\n", "OxfordPet", "test.txt:2: ", "American Bulldog");
  WITH(list, "Abyssinian_6 0 1 1\n", "OxfordPet", "test.txt:1: ", "label 0");
  WITH(list, "Abyssinian_6 99999999999999999999 1 1\n", "OxfordPet", "test.txt:1: ");
  WITH(list, "Abyssinian_6 one\n", "OxfordPet", "test.txt:1: ");
  WITH(list, "Bombay_6 9 1 1\n", "OxfordPet", "test.txt:1: ", "Bombay_6.jpg is missing");
  list = "SUN397/ClassName.txt";
  WITH(list, "/a/abbey\n/../a/abbey\n", "SUN397", "ClassName.txt:2: ");
  WITH(list, "/a/abbey\n/a/../a/abbey\n", "SUN397", "ClassName.txt:2: ");
  WITH(list, "/a/abbey\n/a/attic\n", "SUN397", "ClassName.txt:2: ", "/a/attic");
  WITH(list, "/a/abbey\n/a/abbey\n", "SUN397", "twice");
  list = "tiny-imagenet-200/val/val_annotations.txt";
  WITH(list, "val_0.JPEG\tn00000000\t0\n", "TinyImageNet", "val_annotations.txt:1: ", "n00000000");
  WITH(list, "../x\tn02124075\n", "TinyImageNet", "val_annotations.txt:1: ", "../x");
  WITH(list, "val_0.JPEG\n", "TinyImageNet", "val_annotations.txt:1: ");
  WITH("tiny-imagenet-200/wnids.txt", "../n02124075\n", "TinyImageNet", "wnids.txt:1: ");
  WITH("tiny-imagenet-200/wnids.txt", "n02124075\nn02124075\n", "TinyImageNet", "wnids.txt", "twice");
}

static void put_u32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static void check_cut(const char *file, const char *set, const char *part) {
  uint8_t *data;
  size_t n, n_taken = 0;
  moeclip_dataset *d;
  REQUIRE_OK(mc_file_read(files_path("%s", file), 1 << 24, &data, &n, &err), err);
  for (size_t cut = 0; cut < n; cut += n > 4000 ? n / 97 : 1) {
    files_write(files_path("%s", file), data, cut);
    n_taken += moeclip_benchmark_open(files_root_, set, NULL, &d, &err) == MOECLIP_OK;
    CHECK_MSG(strstr(err.message, part), "no \"%s\" in: %s", part, err.message);
    if (n_taken) break;
  }
  CHECK_MSG(n_taken == 0, "%s: %s cut short is taken", set, file);
  files_write(files_path("%s", file), data, n);
  free(data);
}

static void test_bad_matlab(void) {
  uint8_t *data, *copy;
  size_t n;
  double *values;
  check_cut("flowers-102/imagelabels.mat", "Flowers", "imagelabels.mat");
  check_cut("flowers-102/setid.mat", "Flowers", "setid.mat");
  check_cut("stanford_cars/devkit/cars_meta.mat", "StanfordCars", "cars_meta.mat");
  check_cut("stanford_cars/devkit/cars_train_annos.mat", "StanfordCars", "cars_train_annos.mat");
  const char *plain = "stanford_cars/devkit/cars_test_annos_withlabels.mat"; /* not packed */
  check_cut(plain, "StanfordCars", "withlabels.mat");
  REQUIRE_OK(mc_file_read(files_path("%s", plain), 1 << 24, &data, &n, &err), err);
  copy = malloc(n);
  CHECK(mc_matlab_check(data, n, &err) == MOECLIP_OK);
  /* Every number of 32 bits made huge: dimensions, sizes, lengths. Nothing may be asked of the system for it. */
  for (size_t at = 128; copy && at + 4 <= n; at += 4) {
    static const uint32_t huge[] = {0x7fffffff, 0xffffffff, 0x10000000, 0};
    for (int h = 0; h < 4; h++) {
      memcpy(copy, data, n);
      put_u32(copy + at, huge[h]);
      if (mc_matlab_check(copy, n, &err) != MOECLIP_OK) continue;
      /* Then it was a value. matio must come through it. */
      if (at % 64) continue;
      double *numbers;
      char **texts;
      size_t n_rows;
      files_write(files_path("changed.mat"), copy, n);
      if (mc_matlab_table(files_path("changed.mat"), "annotations", "class", "fname", &numbers, &texts, &n_rows,
                          &err) == MOECLIP_OK) {
        CHECK(n_rows == 15);
        for (size_t i = 0; i < n_rows; i++) free(texts[i]);
        free(texts);
        free(numbers);
      }
    }
  }
  free(copy);
  free(data);
  CHECK(mc_matlab_numbers(files_path("flowers-102/setid.mat"), "labels", &values, &n, &err) != MOECLIP_OK);
  CHECK_MSG(strstr(err.message, "no variable \"labels\""), "%s", err.message);
  CHECK(mc_matlab_numbers(files_path("stanford_cars/devkit/cars_meta.mat"), "class_names", &values, &n, &err) !=
        MOECLIP_OK);
  REQUIRE_OK(mc_matlab_numbers(files_path("flowers-102/setid.mat"), "trnid", &values, &n, &err), err);
  CHECK(n == 15);
  /* The file without labels, as it is also in devkit, in place of that with labels. */
  CHECK(rename(files_path("%s", plain), files_path("kept.mat")) == 0);
  CHECK(rename(files_path("stanford_cars/devkit/cars_test_annos.mat"), files_path("%s", plain)) == 0);
  REFUSED("StanfordCars", "withlabels.mat", "\"class\"");
  CHECK(rename(files_path("kept.mat"), files_path("%s", plain)) == 0);
  files_remove_(files_path("stanford_cars/cars_test/00003.jpg"));
  REFUSED("StanfordCars", "withlabels.mat: annotation 3", "00003.jpg is missing");
  files_remove_(files_path("flowers-102/jpg/image_%05d.jpg", (int)values[2]));
  REFUSED("Flowers", "setid.mat: trnid, number 3", "is missing");
  free(values);
}

static void test_bad_pickles(void) {
  uint8_t *data;
  size_t n;
  check_cut("cifar-100-python/train", "CIFAR100", "cifar-100-python/train");
  check_cut("cifar-100-python/meta", "CIFAR100", "cifar-100-python/meta");
  REQUIRE_OK(mc_file_read(files_path("cifar-100-python/test"), 1 << 24, &data, &n, &err), err);
  uint8_t *at = NULL;
  for (size_t i = 0; i + 12 < n; i++) at = memcmp(data + i, "fine_labels]", 12) == 0 ? data + i : at;
  CHECK(at != NULL);
  if (at) {
    uint8_t before = at[14];
    at[14] = 100; /* ](K LABEL */
    files_write(files_path("cifar-100-python/test"), data, n);
    REFUSED("CIFAR100", "cifar-100-python/test: row 0", "0 to 99");
    at[14] = before;
    at[0] = 'F';
    files_write(files_path("cifar-100-python/test"), data, n);
    REFUSED("CIFAR100", "fine_labels");
    at[0] = 'f';
  }
  /* A call is never made, whatever it is; only the one that stands for an array is understood. */
  files_text(files_path("cifar-100-python/test"), "cos\nsystem\n(S'touch " "/tmp/moeclip-ran'\ntR.");
  REFUSED("CIFAR100", "cifar-100-python/test", "dictionary");
  CHECK(access("/tmp/moeclip-ran", F_OK) != 0);
  files_write(files_path("cifar-100-python/test"), data, n);
  free(data);
  files_remove_(files_path("cifar-10-batches-py/data_batch_3"));
  REFUSED("CIFAR10", "data_batch_3");
}

int main(void) {
  files_begin();
  test_tables();
  test_missing();
  test_seeded_split();
  test_copies();
  test_variants();
  test_cifar_forms();
  test_cifar_by_columns();
  test_bad_lists();
  test_bad_matlab();
  test_bad_pickles();
  test_complete_names();
  files_end();
  return check_report();
}
