/* Data sets of every form, written by the test itself; and what is wrong with damaged ones. */
#include "data/dataset.h"

#include <sys/resource.h>

#include "base/random.h"
#include "files.h"

static moeclip_dataset *open_with(const char *path, const moeclip_dataset_options *o) {
  moeclip_dataset *d;
  moeclip_error err;
  REQUIRE_OK(moeclip_dataset_open(path, o, &d, &err), err);
  return d;
}

static moeclip_dataset *open_it(const char *path) { return open_with(path, NULL); }

/* It must fail with a message that has both parts. */
static void check_fails_with(const char *path, const moeclip_dataset_options *o, const char *a, const char *b) {
  moeclip_dataset *d;
  moeclip_error err = {0};
  moeclip_code code = moeclip_dataset_open(path, o, &d, &err);
  CHECK_MSG(code != MOECLIP_OK && code == err.code && !d, "%s opens", path);
  CHECK_MSG(strstr(err.message, a) && strstr(err.message, b), "no \"%s\" and \"%s\" in: %s", a, b, err.message);
  moeclip_dataset_destroy(d);
}

static void check_fails(const char *path, const char *a, const char *b) { check_fails_with(path, NULL, a, b); }

static bool class_is(const moeclip_dataset *d, size_t label, const char *name) {
  const char *is = moeclip_dataset_class_name(d, label);
  return is && strcmp(is, name) == 0;
}

/* Red of the first pixel: what files_png was told. */
static int red(const moeclip_dataset *d, moeclip_split split, size_t i) {
  moeclip_image image;
  moeclip_error err;
  REQUIRE_OK(moeclip_dataset_load(d, split, i, &image, &err), err);
  int value = image.rgb[0];
  moeclip_image_clear(&image);
  return value;
}

static bool item_ends(const moeclip_dataset *d, moeclip_split split, size_t i, const char *end) {
  char name[600];
  size_t n;
  if (moeclip_dataset_item_name(d, split, i, name, sizeof name) != MOECLIP_OK) return false;
  return (n = strlen(name)) >= strlen(end) && strcmp(name + n - strlen(end), end) == 0;
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

static void test_folder(void) {
  files_png(files_path("pets/grey_cat/b.png"), 4, 3, 2);
  files_png(files_path("pets/grey_cat/a.PNG"), 4, 3, 1);
  files_png(files_path("pets/grey_cat/.hidden.png"), 4, 3, 99);
  files_png(files_path("pets/dog/deep/er/c.png"), 4, 3, 3);
  files_png(files_path("pets/.git/x.png"), 4, 3, 99);
  files_png(files_path("pets/stray.png"), 4, 3, 99);
  files_text(files_path("pets/dog/notes.txt"), "no picture");
  files_text(files_path("pets/dog/deep/phone.HEIC"), "a picture that cannot be read");
  files_text(files_path("pets/grey_cat/old.gif"), "another");
  files_folder(files_path("pets/empty"));
  CHECK(symlink("..", files_path("pets/dog/back")) == 0 && symlink(".", files_path("pets/dog/self")) == 0);
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.train_fraction = 1;
  moeclip_dataset *d = open_with(files_path("pets//"), &o);
  CHECK(strcmp(moeclip_dataset_format(d), "folder") == 0 && strcmp(moeclip_dataset_name(d), "pets") == 0);
  CHECK(strcmp(moeclip_dataset_path(d), files_path("pets")) == 0);
  CHECK(moeclip_dataset_classes(d) == 2 && class_is(d, 0, "dog") && class_is(d, 1, "grey cat"));
  CHECK(!moeclip_dataset_class_name(d, 2));
  CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 3 && moeclip_dataset_count(d, MOECLIP_TEST) == 0);
  bool seen[4] = {false};
  for (size_t i = 0; i < moeclip_dataset_count(d, MOECLIP_TRAIN); i++) {
    int value = red(d, MOECLIP_TRAIN, i);
    CHECK(value >= 1 && value <= 3 && !seen[value] && moeclip_dataset_label(d, MOECLIP_TRAIN, i) == (value != 3));
    seen[value & 3] = true;
  }
  const char *first;
  CHECK(moeclip_dataset_left_out(d, MOECLIP_LEFT_OUT_KIND, &first) == 2 && strcmp(first, files_path("pets/dog/deep/phone.HEIC")) == 0);
  CHECK(moeclip_dataset_left_out(d, MOECLIP_LEFT_OUT_LOOSE, &first) == 1 && strcmp(first, files_path("pets/stray.png")) == 0);
  moeclip_image image;
  moeclip_error err;
  char name[8];
  CHECK(moeclip_dataset_load(d, MOECLIP_TRAIN, 3, &image, &err) == MOECLIP_ERROR_ARGUMENT && !image.rgb);
  CHECK(moeclip_dataset_label(d, MOECLIP_TEST, 0) == -1);
  CHECK(moeclip_dataset_item_name(d, MOECLIP_TEST, 0, name, sizeof name) == MOECLIP_ERROR_ARGUMENT);
  moeclip_dataset_destroy(d);
}

static void test_folder_splits(void) {
  files_png(files_path("two/train/a/1.png"), 2, 2, 1);
  files_png(files_path("two/train/b/2.png"), 2, 2, 2);
  files_png(files_path("two/train/c/3.png"), 2, 2, 3);
  files_png(files_path("two/validation/c/4.png"), 2, 2, 4);
  files_png(files_path("two/validation/a/5.png"), 2, 2, 5);
  moeclip_dataset *d = open_it(files_path("two"));
  CHECK(moeclip_dataset_classes(d) == 3);
  CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 3 && moeclip_dataset_count(d, MOECLIP_TEST) == 2);
  for (size_t i = 0; i < 3; i++) {
    CHECK(red(d, MOECLIP_TRAIN, i) == (int)i + 1 && moeclip_dataset_label(d, MOECLIP_TRAIN, i) == (int)i);
  }
  CHECK(red(d, MOECLIP_TEST, 0) == 5 && moeclip_dataset_label(d, MOECLIP_TEST, 0) == 0);
  CHECK(red(d, MOECLIP_TEST, 1) == 4 && moeclip_dataset_label(d, MOECLIP_TEST, 1) == 2);
  moeclip_dataset_destroy(d);
  files_png(files_path("two/validation/bad/6.png"), 2, 2, 6);
  check_fails(files_path("two"), "\"bad\"", "no training pictures");
  files_png(files_path("lone/train/a/1.png"), 2, 2, 1);
  files_png(files_path("lone/train/b/1.png"), 2, 2, 1);
  check_fails(files_path("lone"), "lone", "no test pictures");
}

static void test_folder_wrong(void) {
  files_png(files_path("twice/grey cat/1.png"), 2, 2, 1);
  files_png(files_path("twice/grey cat 2/1.png"), 2, 2, 1);
  files_png(files_path("twice/grey_cat/2.png"), 2, 2, 1);
  check_fails(files_path("twice"), "twice", "two classes are called \"grey cat\" (_ in");
  check_fails(files_path("nothing"), "nothing", "no such");
  files_folder(files_path("hollow/a"));
  check_fails(files_path("hollow"), "hollow", "no picture");
  files_png(files_path("hollow/loose.png"), 2, 2, 1);
  check_fails(files_path("hollow"), "one subfolder a class", "its pictures lie in none");
  files_text(files_path("hollow/a/x.avif"), "");
  check_fails(files_path("hollow"), "no JPEG, PNG or WebP", "hollow/a/x.avif");
  files_text(files_path("pipe/a/note"), "");
  CHECK(mkfifo(files_path("pipe/a/x.png"), 0600) == 0);
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.train_fraction = 1;
  moeclip_dataset *d = open_with(files_path("pipe"), &o); /* it is a bad picture, not an endless wait */
  moeclip_image image;
  moeclip_error err;
  CHECK(moeclip_dataset_load(d, MOECLIP_TRAIN, 0, &image, &err) == MOECLIP_ERROR_IO);
  moeclip_dataset_destroy(d);
  o.train_fraction = 0;
  check_fails_with(files_path("pipe"), &o, "0", "above 0");
  o.train_fraction = (double)NAN;
  check_fails_with(files_path("pipe"), &o, "nan", "above 0");
  char deep[400] = "deep/a";
  for (int i = 0; i < 40; i++) strcat(deep, "/d");
  files_png(files_path("%s/x.png", deep), 2, 2, 1);
  check_fails(files_path("deep"), "deep", "folders inside");
}

static void test_classes_given(void) {
  static const char *const three[] = {"red", "green", "blue"};
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.classes = three;
  o.n_classes = 3;
  o.name = "mine";
  files_png(files_path("three/a/1.png"), 2, 2, 1);
  files_png(files_path("three/b/1.png"), 2, 2, 1);
  check_fails_with(files_path("three"), &o, "2 classes", "3 class names");
  static const char *const twice[] = {"red", "red"};
  moeclip_dataset_options same = o;
  same.classes = twice;
  same.n_classes = 2;
  check_fails_with(files_path("three"), &same, "three: two classes", "\"red\"");
  files_png(files_path("three/c/1.png"), 2, 2, 1);
  moeclip_dataset *d = open_with(files_path("three"), &o);
  CHECK(class_is(d, 0, "red") && class_is(d, 2, "blue") && strcmp(moeclip_dataset_name(d), "mine") == 0);
  moeclip_dataset_destroy(d);
}

/* --- IDX ---------------------------------------------------------------------------------------------------------- */

static size_t put_header(uint8_t *p, int rank, const uint32_t *sides) {
  memcpy(p, (uint8_t[]){0, 0, 8, (uint8_t)rank}, 4);
  for (int i = 0; i < rank; i++) {
    for (int k = 0; k < 4; k++) p[4 + 4 * i + k] = (uint8_t)(sides[i] >> (24 - 8 * k));
  }
  return 4 + 4 * (size_t)rank;
}

/* n pictures of 3 x 2 (pixel = number of the picture + place) and their labels, number % 4. */
static void put_idx(const char *folder, const char *prefix, uint32_t n, uint32_t n_labels, bool packed) {
  uint8_t data[1024];
  void (*put)(const char *, const void *, size_t) = packed ? files_gzip : files_write;
  size_t at = put_header(data, 3, (uint32_t[]){n, 2, 3});
  for (uint32_t i = 0; i < 6 * n; i++) data[at++] = (uint8_t)(i / 6 + i % 6);
  put(files_path("%s/%s-images-idx3-ubyte%s", folder, prefix, packed ? ".gz" : ""), data, at);
  at = put_header(data, 1, &n_labels);
  for (uint32_t i = 0; i < n_labels; i++) data[at++] = (uint8_t)(i % 4);
  put(files_path("%s/%s-labels-idx1-ubyte%s", folder, prefix, packed ? ".gz" : ""), data, at);
}

static void test_idx(void) {
  for (int packed = 0; packed < 2; packed++) {
    const char *folder = packed ? "idx-gz/raw" : "idx";
    put_idx(folder, "train", 9, 9, packed);
    put_idx(folder, "t10k", 3, 3, packed);
    moeclip_dataset *d = open_it(files_path(packed ? "idx-gz" : "idx"));
    CHECK(strcmp(moeclip_dataset_format(d), "idx") == 0);
    CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 9 && moeclip_dataset_count(d, MOECLIP_TEST) == 3);
    CHECK(moeclip_dataset_classes(d) == 4 && class_is(d, 3, "3"));
    CHECK(moeclip_dataset_label(d, MOECLIP_TRAIN, 6) == 2 && item_ends(d, MOECLIP_TEST, 2, "#2"));
    moeclip_image image;
    moeclip_error err;
    REQUIRE_OK(moeclip_dataset_load(d, MOECLIP_TRAIN, 7, &image, &err), err);
    CHECK(image.width == 3 && image.height == 2);
    for (int i = 0; i < 18; i++) CHECK(image.rgb[i] == 7 + i / 3);
    moeclip_image_clear(&image);
    moeclip_dataset_destroy(d);
  }
  files_text(files_path("idx/classes.txt"), "\xEF\xBB\xBFzero\r\none\n\ntwo \nthree");
  moeclip_dataset *d = open_it(files_path("idx"));
  CHECK(moeclip_dataset_classes(d) == 4 && class_is(d, 0, "zero") && class_is(d, 2, "two") && class_is(d, 3, "three"));
  moeclip_dataset_destroy(d);
  files_text(files_path("idx/classes.txt"), "zero\none\ntwo\n");
  check_fails(files_path("idx"), "labels up to 3", "3 class names");
}

static void test_idx_wrong(void) {
  uint8_t data[64] = {0};
  put_idx("few", "train", 9, 8, false);
  check_fails(files_path("few"), "8 labels", "9 pictures");
  put_idx("other", "train", 4, 4, false);
  put_header(data, 3, (uint32_t[]){1, 3, 3});
  files_write(files_path("other/t10k-images-idx3-ubyte"), data, 16 + 9);
  put_header(data, 1, (uint32_t[]){1});
  files_write(files_path("other/t10k-labels-idx1-ubyte"), data, 9);
  check_fails(files_path("other"), "t10k-images", "the other split");
  CHECK(unlink(files_path("other/t10k-labels-idx1-ubyte")) == 0);
  check_fails(files_path("other"), "t10k-labels", "missing");

  static const struct { uint32_t sides[3]; size_t n; const char *message; } headers[] = {
      {{2, 2, 3}, 16 + 11, "but there are 27"},        {{2, 2, 3}, 16 + 13, "29"},
      {{2, 2, 3}, 15, "not an IDX file"},              {{2, 2, 3}, 0, "not an IDX file"},
      {{0, 2, 3}, 16, "no pictures"},                  {{1, 0, 3}, 16, "empty, too large"},
      {{1, 0x80000000u, 0}, 16, "empty, too large"}, {{0xffffffffu, 0xffffffffu, 0xffffffffu}, 20, "not an IDX file"},
      {{0xffffffffu, 28, 28}, 20, "2 GiB"},            {{1000000, 28, 28}, 20, "but there are 20"}};
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    put_header(data, 3, headers[i].sides);
    files_write(files_path("bad/train-images-idx3-ubyte"), data, headers[i].n);
    uint8_t labels[16] = {0};
    put_header(labels, 1, headers[i].sides);
    size_t n_labels = headers[i].sides[0] < 3 ? headers[i].sides[0] : 0;
    files_write(files_path("bad/train-labels-idx1-ubyte"), labels, 8 + n_labels);
    check_fails(files_path("bad"), "bad", headers[i].message);
  }
  data[2] = 0xd; /* floats */
  files_write(files_path("bad/train-images-idx3-ubyte"), data, 30);
  check_fails(files_path("bad"), "unsigned bytes", "bad");
}

/* 400 MB of zeros behind a header that says 12 bytes, in a few hundred kB; and a packed file cut short. */
static void test_idx_packed_wrong(void) {
  const char *path = files_path("bomb/train-images-idx3-ubyte.gz");
  uint8_t header[16], *zeros = calloc(1, 1 << 20);
  put_header(header, 3, (uint32_t[]){2, 2, 3});
  put_idx("bomb", "train", 2, 2, true);
  gzFile f = gzopen(path, "wb1");
  if (!f || !zeros) exit(1);
  gzwrite(f, header, 16);
  for (int i = 0; i < 400; i++) gzwrite(f, zeros, 1 << 20);
  gzclose(f);
  free(zeros);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  check_fails(files_path("bomb"), "train-images-idx3-ubyte.gz", "more than the 28 bytes");
  getrusage(RUSAGE_SELF, &after);
  long kilobytes = after.ru_maxrss - before.ru_maxrss;
  CHECK_MSG(kilobytes < 50000, "the bomb took %ld kB", kilobytes);

  put_idx("cut", "train", 9, 9, true);
  path = files_path("cut/train-images-idx3-ubyte.gz");
  struct stat st;
  CHECK(stat(path, &st) == 0);
  for (off_t n = st.st_size - 1; n >= 2; n -= 7) {
    CHECK(truncate(path, n) == 0);
    check_fails(files_path("cut"), "train-images-idx3-ubyte.gz", "gzip");
  }
}

/* Sizes at which the unpacking buffer is exactly full must not be refused; several members are one file. */
static void test_unpacking(void) {
  static const size_t sizes[] = {0, 1, 32766, 32767, 32768, 65533, 65534, 65535, 65536, 65537, 131071, 200000};
  uint8_t *data = malloc(400000), *back;
  moeclip_error err;
  size_t n;
  if (!data) exit(1);
  for (size_t i = 0; i < 400000; i++) data[i] = (uint8_t)(i * 2654435761u >> 13);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const char *path = files_path("packed.gz");
    files_gzip(path, data, sizes[i]);
    REQUIRE_OK(mc_read_maybe_gzip(path, sizes[i], &back, &n, &err), err);
    CHECK(n == sizes[i] && memcmp(back, data, n) == 0 && back[n] == 0);
    free(back);
    CHECK(sizes[i] == 0 || mc_read_maybe_gzip(path, sizes[i] - 1, &back, &n, &err) == MOECLIP_ERROR_FORMAT);
    gzFile f = gzopen(path, "ab");
    CHECK(f && gzwrite(f, data + sizes[i], 1000) == 1000 && gzclose(f) == Z_OK);
    REQUIRE_OK(mc_read_maybe_gzip(path, 1 << 20, &back, &n, &err), err);
    CHECK(n == sizes[i] + 1000 && memcmp(back, data, n) == 0);
    free(back);
  }
  free(data);
}

/* --- CIFAR -------------------------------------------------------------------------------------------------------- */

static void put_cifar(const char *path, int n, int n_labels, int label) {
  size_t row = (size_t)n_labels + 3072;
  uint8_t *data = calloc((size_t)n, row);
  if (!data) exit(1);
  for (int i = 0; i < n; i++) {
    uint8_t *p = data + (size_t)i * row;
    p[n_labels - 1] = (uint8_t)(label + i);
    memset(p + n_labels, 10 + i, 1024);
    memset(p + n_labels + 1024, 20 + i, 1024);
    memset(p + n_labels + 2048, 30 + i, 1024);
  }
  files_write(path, data, (size_t)n * row);
  free(data);
}

static void test_cifar(void) {
  put_cifar(files_path("c10/data_batch_1.bin"), 3, 1, 0);
  put_cifar(files_path("c10/data_batch_3.bin"), 2, 1, 8);
  put_cifar(files_path("c10/test_batch.bin"), 1, 1, 9);
  moeclip_dataset *d = open_it(files_path("c10"));
  CHECK(strcmp(moeclip_dataset_format(d), "cifar10") == 0 && moeclip_dataset_classes(d) == 10 && class_is(d, 9, "9"));
  moeclip_dataset_destroy(d);
  files_text(files_path("c10/batches.meta.txt"),
             "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  d = open_it(files_path("c10"));
  CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 5 && moeclip_dataset_count(d, MOECLIP_TEST) == 1);
  CHECK(moeclip_dataset_classes(d) == 10 && class_is(d, 9, "truck") && moeclip_dataset_label(d, MOECLIP_TRAIN, 4) == 9);
  CHECK(item_ends(d, MOECLIP_TRAIN, 4, "data_batch_3.bin#1"));
  moeclip_image image;
  moeclip_error err;
  REQUIRE_OK(moeclip_dataset_load(d, MOECLIP_TRAIN, 2, &image, &err), err);
  CHECK(image.width == 32 && image.height == 32);
  CHECK(image.rgb[0] == 12 && image.rgb[1] == 22 && image.rgb[2] == 32 && image.rgb[3071] == 32);
  moeclip_image_clear(&image);
  moeclip_dataset_destroy(d);

  put_cifar(files_path("c10/data_batch_3.bin"), 2, 1, 9);
  check_fails(files_path("c10"), "data_batch_3.bin: row 1", "label 10");
  files_text(files_path("c10/data_batch_3.bin"), "short");
  check_fails(files_path("c10"), "data_batch_3.bin", "whole rows");

  put_cifar(files_path("c100/train.bin"), 2, 2, 98);
  put_cifar(files_path("c100/test.bin"), 2, 2, 0);
  char names[2000] = "";
  for (int i = 0; i < 99; i++) sprintf(names + strlen(names), "class %d\n", i);
  files_text(files_path("c100/fine_label_names.txt"), names);
  check_fails(files_path("c100"), "labels up to 99", "99 class names");
  strcat(names, "class 99");
  files_text(files_path("c100/fine_label_names.txt"), names);
  d = open_it(files_path("c100"));
  CHECK(strcmp(moeclip_dataset_format(d), "cifar100") == 0 && moeclip_dataset_classes(d) == 100);
  CHECK(class_is(d, (size_t)moeclip_dataset_label(d, MOECLIP_TRAIN, 1), "class 99"));
  CHECK(red(d, MOECLIP_TEST, 1) == 11);
  moeclip_dataset_destroy(d);
}

/* --- CSV ---------------------------------------------------------------------------------------------------------- */

static void test_csv_paths(void) {
  char text[1200];
  const char *path = files_path("csv/list.csv");
  files_png(files_path("csv/p/a.png"), 2, 2, 1);
  files_png(files_path("csv/p/b, \"b\".png"), 2, 2, 2);
  files_png(files_path("elsewhere.png"), 2, 2, 3);
  snprintf(text, sizeof text,
           "\xEF\xBB\xBFpath,label,split\r\np/a.png,\"a \"\"big\"\"\r\ncat\",train\r\n\r\n"
           "\"p/b, \"\"b\"\".png\",10,test\r\n%s,9,TRAIN",
           files_path("elsewhere.png"));
  files_text(path, text);
  moeclip_dataset *d = open_it(path);
  CHECK(strcmp(moeclip_dataset_format(d), "csv") == 0 && strcmp(moeclip_dataset_name(d), "list") == 0);
  CHECK(moeclip_dataset_classes(d) == 3 && class_is(d, 0, "9") && class_is(d, 1, "10"));
  CHECK(class_is(d, 2, "a \"big\"\r\ncat"));
  CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 2 && moeclip_dataset_count(d, MOECLIP_TEST) == 1);
  CHECK(red(d, MOECLIP_TRAIN, 0) == 1 && red(d, MOECLIP_TRAIN, 1) == 3 && red(d, MOECLIP_TEST, 0) == 2);
  CHECK(moeclip_dataset_label(d, MOECLIP_TRAIN, 0) == 2 && moeclip_dataset_label(d, MOECLIP_TRAIN, 1) == 0);
  moeclip_dataset_destroy(d);

  files_text(path, "p/a.png,1\nelsewhere.png,3\n");
  files_text(files_path("csv/classes.txt"), "one\nthree\n");
  d = open_it(path);
  CHECK(moeclip_dataset_classes(d) == 2 && class_is(d, 1, "three"));
  moeclip_dataset_destroy(d);
  files_text(files_path("csv/classes.txt"), "zero\none\ntwo\nthree\n");
  check_fails(path, "2 labels", "4 names");
  CHECK(unlink(files_path("csv/classes.txt")) == 0);
}

static void test_csv_wrong(void) {
  static const struct { const char *text, *message; } cases[] = {
      {"", "no row"},
      {"path,label\n", "no row"},
      {"\n\r\n\n", "no row"},
      {"a.png,x\n\"b.png,x\n\n", "line 2: a quoted field"},
      {"\"a.png", "line 1: a quoted field"},
      {"a.png,x\n\n\"b\"c,x\n", "line 3: text after"},
      {"a.png,x\nb.png\n", "line 2: path,label"},
      {"a.png,x\n,x\n", "line 2: path,label"},
      {"a.png,x\nb.png,\n", "line 2: path,label"},
      {"a.png,x,train\nb.png,y\n", "line 2: either every row"},
      {"a.png,\"x\ny\",train\nb.png,y,later\n", "line 3: the third field"},
      {"label,path\nx,a.png\n", "line 2: the label must"},
      {"1,2,3,4,0\n1,2,3,4\n", "line 2: not as many"},
      {"1,2,3,4,0\n\n1,2,256,4,1\n", "line 3: a pixel"},
      {"1,2,3,4,-1\n", "line 1: the label"},
      {"1,2,3,4,65536\n", "line 1: the label"},
      {"1,2,3,4,1.5\n", "line 1: the label"},
      {"1,2,nan,4,1\n", "line 1: a pixel"},
      {"1,2,3,0\n", "line 1: there are 4 numbers"},
      {"0,1\n0,\n", "line 2: the label"},
      {"pixel0,label\n0x1,1\n", "line 2: a pixel"},
      {"1,2,3,4,0\n\"", "line 2: a quoted field"}};
  const char *path = files_path("wrong.csv");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    files_text(path, cases[i].text);
    check_fails(path, "wrong.csv: ", cases[i].message);
  }
  files_write(path, "a.png\0,x", 8);
  check_fails(path, "wrong.csv", "not a text file");
}

static void test_csv_numbers(void) {
  static const char *const texts[] = {"1,2,3,4,7\n 5,6.0,7,255,12\r\n", "p1,p2,p3,p4,label\n1,2,3,4,7\n5,6,7,255,12",
                                      "label,1x1,1x2,2x1,2x2\n7,1,2,3,4\n12,5,6,7,255\n",
                                      "pixel_1,,,,\n1,2,3,4,7\n5,6,7,255,12"};
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.train_fraction = 1;
  for (size_t i = 0; i < 4; i++) {
    const char *path = files_path(i & 1 ? "digits.csv.gz" : "digits.csv");
    (i & 1 ? files_gzip : files_write)(path, texts[i], strlen(texts[i]));
    moeclip_dataset *d = open_with(path, &o);
    CHECK(strcmp(moeclip_dataset_name(d), "digits") == 0 && moeclip_dataset_classes(d) == 13 && class_is(d, 12, "12"));
    CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == 2);
    size_t second = item_ends(d, MOECLIP_TRAIN, 1, "#1");
    moeclip_image image;
    moeclip_error err;
    REQUIRE_OK(moeclip_dataset_load(d, MOECLIP_TRAIN, second, &image, &err), err);
    CHECK(image.width == 2 && image.height == 2 && image.rgb[0] == 5 && image.rgb[5] == 6 && image.rgb[11] == 255);
    CHECK(moeclip_dataset_label(d, MOECLIP_TRAIN, second) == 12);
    CHECK(moeclip_dataset_label(d, MOECLIP_TRAIN, !second) == 7);
    moeclip_image_clear(&image);
    moeclip_dataset_destroy(d);
  }
  static const char *const few[] = {"a", "b"};
  o.classes = few;
  o.n_classes = 2;
  check_fails_with(files_path("digits.csv"), &o, "labels up to 12", "2 class names");
  o.n_classes = 0;
  check_fails_with(files_path("digits.csv"), &o, "labels up to 12", "0 class names");
  files_text(files_path("named/digits.csv"), "1,0\n2,1\n");
  files_text(files_path("named/classes.txt"), "dark\nbright");
  moeclip_dataset *d = open_it(files_path("named/digits.csv"));
  CHECK(moeclip_dataset_classes(d) == 2 && class_is(d, 1, "bright"));
  moeclip_dataset_destroy(d);
}

/* --- splits ------------------------------------------------------------------------------------------------------- */

/* A set of n pixels, picture i with the label i % n_classes. */
static const char *numbered(size_t n, size_t n_classes) {
  const char *path = files_path("numbered.csv");
  FILE *f = fopen(path, "w");
  if (!f) exit(1);
  for (size_t i = 0; i < n; i++) fprintf(f, "%zu,%zu\n", i % 256, i % n_classes);
  fclose(f);
  return path;
}

static size_t row_of(const moeclip_dataset *d, moeclip_split split, size_t i) {
  char name[600];
  CHECK(moeclip_dataset_item_name(d, split, i, name, sizeof name) == MOECLIP_OK);
  return strtoul(strrchr(name, '#') + 1, NULL, 10);
}

static void test_seeded_split(void) {
  /* The published seeded permutation: its first numbers, its last, and sum((i + 1) * p[i]) modulo 2^61 - 1. */
  static const struct { size_t n; size_t first[10], last[3]; uint64_t checksum; } golden[] = {
      {10, {2, 6, 1, 8, 4, 5, 0, 9, 3, 7}, {9, 3, 7}, 268},
      {1000, {542, 618, 816, 68, 94, 215, 60, 585, 942, 165}, {638, 96, 455}, 251382058},
      {8677, {8512, 5748, 7753, 4345, 5587, 2508, 6996, 1701, 7265, 6578}, {2769, 5349, 1658}, 163182091176}};
  for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
    size_t n = golden[g].n, n_train = (size_t)(0.8 * (double)n);
    moeclip_dataset *d = open_it(numbered(n, 3));
    CHECK(moeclip_dataset_count(d, MOECLIP_TRAIN) == n_train && moeclip_dataset_count(d, MOECLIP_TEST) == n - n_train);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
      moeclip_split split = i < n_train ? MOECLIP_TRAIN : MOECLIP_TEST;
      size_t at = i < n_train ? i : i - n_train, row = row_of(d, split, at);
      sum += (i + 1) * row;
      if (i < 10) CHECK(row == golden[g].first[i]);
      if (i >= n - 3) CHECK(row == golden[g].last[i - (n - 3)]);
      CHECK(moeclip_dataset_label(d, split, at) == (int)(row % 3));
    }
    CHECK(sum == golden[g].checksum);
    moeclip_dataset_destroy(d);
  }
}

static void test_max_per_class(void) {
  moeclip_dataset_options o;
  moeclip_dataset_options_defaults(&o);
  o.max_per_class[MOECLIP_TRAIN] = 5;
  o.max_per_class[MOECLIP_TEST] = 1000;
  moeclip_dataset *all = open_it(numbered(400, 7)), *d[3];
  for (int i = 0; i < 3; i++) {
    o.seed = i == 2;
    d[i] = open_with(files_path("numbered.csv"), &o);
    CHECK(moeclip_dataset_count(d[i], MOECLIP_TRAIN) == 35 && moeclip_dataset_count(d[i], MOECLIP_TEST) == 80);
    int met[7] = {0};
    /* Its order is that of the whole split. */
    size_t at = 0;
    for (size_t k = 0; k < 35; k++) {
      met[moeclip_dataset_label(d[i], MOECLIP_TRAIN, k)]++;
      while (at < 320 && row_of(all, MOECLIP_TRAIN, at) != row_of(d[i], MOECLIP_TRAIN, k)) at++;
    }
    CHECK(at < 320);
    for (int c = 0; c < 7; c++) CHECK(met[c] == 5);
  }
  bool same = true, other = false;
  for (size_t k = 0; k < 35; k++) {
    same &= row_of(d[0], MOECLIP_TRAIN, k) == row_of(d[1], MOECLIP_TRAIN, k);
    other |= row_of(d[0], MOECLIP_TRAIN, k) != row_of(d[2], MOECLIP_TRAIN, k);
  }
  CHECK(same && other);
  for (int i = 0; i < 3; i++) moeclip_dataset_destroy(d[i]);
  moeclip_dataset_destroy(all);
}

/* Some classes of two sets, in another order, as a set of its own. */
static void test_select(void) {
  static const char *const names[] = {"a", "b", "c", "d"};
  for (int c = 0; c < 4; c++) {
    for (int i = 0; i < 10; i++) files_png(files_path("chosen/%s/%d.png", names[c], i), 4, 4, 10 * c + i);
  }
  put_idx("chosen-idx", "train", 30, 30, false);
  put_idx("chosen-idx", "t10k", 20, 20, false);
  moeclip_dataset *all = open_it(files_path("chosen")), *digits = open_it(files_path("chosen-idx")), *some = NULL;
  moeclip_error err;
  const moeclip_class_of classes[] = {{all, 3}, {digits, 1}, {all, 1}}, twice[] = {{all, 1}, {all, 1}}, outside[] = {{all, 4}},
                         below[] = {{all, -1}};
  REQUIRE_OK(moeclip_dataset_select(classes, 3, "step 1", &some, &err), err);
  CHECK(strcmp(moeclip_dataset_name(some), "step 1") == 0 && moeclip_dataset_classes(some) == 3);
  CHECK(class_is(some, 0, "d") && class_is(some, 2, "b") && class_is(some, 1, moeclip_dataset_class_name(digits, 1)));
  for (int s = 0; s < 2; s++) {
    const moeclip_dataset *const sets[] = {all, digits};
    size_t at = 0;
    for (int k = 0; k < 2; k++) {
      for (size_t i = 0; i < moeclip_dataset_count(sets[k], s); i++) {
        int label = moeclip_dataset_label(sets[k], s, i);
        if (label != 1 && (k == 1 || label != 3)) continue;
        CHECK(moeclip_dataset_label(some, s, at) == (k ? 1 : label == 1 ? 2 : 0));
        CHECK(red(some, s, at) == red(sets[k], s, i));
        char a[600], b[600];
        CHECK(moeclip_dataset_item_name(some, s, at, a, sizeof a) == MOECLIP_OK);
        CHECK(moeclip_dataset_item_name(sets[k], s, i, b, sizeof b) == MOECLIP_OK && strcmp(a, b) == 0);
        at++;
      }
    }
    CHECK(at > 0 && at == moeclip_dataset_count(some, s));
  }
  /* A choice from a choice. */
  const moeclip_class_of again[] = {{some, 2}};
  moeclip_dataset *one = NULL;
  REQUIRE_OK(moeclip_dataset_select(again, 1, "one", &one, &err), err);
  CHECK(class_is(one, 0, "b") && red(one, MOECLIP_TRAIN, 0) / 10 == 1);
  moeclip_dataset_destroy(one);
  moeclip_dataset_destroy(some);
  CHECK(moeclip_dataset_select(twice, 2, "x", &some, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "twice"));
  CHECK(moeclip_dataset_select(outside, 1, "x", &some, &err) == MOECLIP_ERROR_ARGUMENT && !some);
  CHECK(moeclip_dataset_select(below, 1, "x", &some, &err) == MOECLIP_ERROR_ARGUMENT && !some);
  CHECK(moeclip_dataset_select(below, 0, "x", &some, &err) == MOECLIP_ERROR_ARGUMENT && !some);
  moeclip_dataset_destroy(all);
  moeclip_dataset_destroy(digits);
}

int main(void) {
  files_begin();
  test_folder();
  test_folder_splits();
  test_folder_wrong();
  test_classes_given();
  test_idx();
  test_idx_wrong();
  test_idx_packed_wrong();
  test_unpacking();
  test_cifar();
  test_csv_paths();
  test_csv_wrong();
  test_csv_numbers();
  test_seeded_split();
  test_max_per_class();
  test_select();
  files_end();
  return check_report();
}
