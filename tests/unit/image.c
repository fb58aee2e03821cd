/* Pictures: decoding and resizing against Pillow's results, hostile files, the random crop. */
#include "check.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "image/augment.h"
#include "image/decode.h"
#include "moeclip/tensors.h"

#define DATA MOECLIP_TEST_DATA "/image/"

static const char *in_data(const char *name) {
  static char path[2][512];
  static int i;
  i ^= 1;
  snprintf(path[i], sizeof path[i], DATA "%s", name);
  return path[i];
}

static moeclip_image load(const char *name) {
  moeclip_image image;
  moeclip_error err;
  REQUIRE_OK(moeclip_image_load(in_data(name), &image, &err), err);
  return image;
}

static uint8_t *read_file(const char *name, size_t *n) {
  uint8_t *data;
  moeclip_error err;
  REQUIRE_OK(mc_file_read(in_data(name), 1 << 20, &data, n, &err), err);
  return data;
}

static void check_decoded(const moeclip_tensor *t) {
  moeclip_image image = load(t->name);
  bool same_size = t->rank == 3 && t->shape[0] == image.height && t->shape[1] == image.width;
  CHECK_MSG(same_size, "%s: %d x %d pixels", t->name, image.width, image.height);
  size_t n_wrong = 0;
  for (size_t i = 0; same_size && i < t->n_bytes; i++) n_wrong += image.rgb[i] != ((const uint8_t *)t->data)[i];
  CHECK_MSG(n_wrong == 0, "%s: %zu of %zu values differ", t->name, n_wrong, t->n_bytes);
  moeclip_image_clear(&image);
  CHECK(image.rgb == NULL && image.width == 0);
}

static void check_resized(const moeclip_tensor *t) {
  int w, h;
  mc_rect box;
  moeclip_error err;
  CHECK(sscanf(t->name, "resize/%d,%d/%d,%d,%d,%d", &w, &h, &box.x, &box.y, &box.width, &box.height) == 6);
  CHECK(t->n_bytes == (size_t)w * (size_t)h * 3);
  moeclip_image image = load("photo.png");
  uint8_t *out = malloc(t->n_bytes);
  REQUIRE_OK(mc_image_resize(&image, box, w, h, out, &err), err);
  CHECK_MSG(memcmp(out, t->data, t->n_bytes) == 0, "%s differs", t->name);
  free(out);
  moeclip_image_clear(&image);
}

static void check_preprocessed(const moeclip_tensor *t) {
  int size;
  char name[64];
  moeclip_error err;
  CHECK(sscanf(t->name, "preprocess/%d/%63s", &size, name) == 2);
  CHECK(t->n_bytes == (size_t)size * (size_t)size * 3);
  moeclip_image image = load(name);
  uint8_t *out = malloc(t->n_bytes);
  REQUIRE_OK(moeclip_image_preprocess(&image, size, out, &err), err);
  CHECK_MSG(memcmp(out, t->data, t->n_bytes) == 0, "%s differs", t->name);
  free(out);
  moeclip_image_clear(&image);
}

static void test_against_pillow(void) {
  moeclip_tensors *t;
  moeclip_error err;
  size_t n_decoded = 0, n_resized = 0, n_preprocessed = 0;
  REQUIRE_OK(moeclip_tensors_open(DATA "expected.safetensors", &t, &err), err);
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *at = moeclip_tensors_at(t, i);
    if (strncmp(at->name, "resize/", 7) == 0) {
      n_resized++;
      check_resized(at);
    } else if (strncmp(at->name, "preprocess/", 11) == 0) {
      n_preprocessed++;
      check_preprocessed(at);
    } else {
      n_decoded++;
      check_decoded(at);
    }
  }
  CHECK_MSG(n_decoded >= 40 && n_resized >= 10 && n_preprocessed >= 9, "%zu, %zu and %zu fixtures", n_decoded,
            n_resized, n_preprocessed);
  moeclip_tensors_destroy(t);
}

static void test_over_white(void) {
  size_t n = 256 * 256, n_wrong = 0;
  uint8_t *pixels = malloc(n * 4);
  for (size_t i = 0; i < n; i++) {
    uint8_t v = (uint8_t)(i & 255), pixel[4] = {v, (uint8_t)(255 - v), v, (uint8_t)(i >> 8)};
    memcpy(pixels + i * 4, pixel, 4);
  }
  pixels = mc_over_white(pixels, n);
  for (size_t i = 0; i < n; i++) {
    double alpha = (double)(i >> 8) / 255, v = (double)(i & 255);
    n_wrong += pixels[i * 3] != lround(v * alpha + 255 * (1 - alpha));
    n_wrong += pixels[i * 3 + 1] != lround((255 - v) * alpha + 255 * (1 - alpha));
    n_wrong += pixels[i * 3 + 2] != pixels[i * 3];
  }
  CHECK_MSG(n_wrong == 0, "%zu values wrong", n_wrong);
  free(pixels);
}

static bool same_picture(const moeclip_image *a, const moeclip_image *b) {
  return a->width == b->width && a->height == b->height &&
         memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

/* A file that is cut anywhere is an error that names it, or (when only what follows the pixels is lost) the same. */
static void check_cuts(const char *name) {
  size_t n, n_wrong = 0, n_read = 0;
  uint8_t *data = read_file(name, &n);
  moeclip_image whole = load(name);
  for (size_t cut = 0; cut < n; cut++) {
    moeclip_image image;
    moeclip_error err;
    /* A block of exactly that size, so that a sanitizer sees every byte read beyond it. */
    uint8_t *part = malloc(cut ? cut : 1);
    memcpy(part, data, cut);
    moeclip_code code = moeclip_image_decode(part, cut, "the cut file", &image, &err);
    if (code == MOECLIP_OK) {
      n_read++;
      n_wrong += !same_picture(&image, &whole);
    } else {
      n_wrong += image.rgb != NULL || err.code != code || strncmp(err.message, "the cut file: ", 14) != 0;
    }
    moeclip_image_clear(&image);
    free(part);
  }
  bool jpeg = data[0] == 0xff;
  CHECK_MSG(n_wrong == 0, "%s: %zu cuts of %zu wrong", name, n_wrong, n);
  CHECK_MSG(jpeg ? n_read == 0 : n_read < 40, "%s: %zu cuts of %zu are read", name, n_read, n);
  free(data);
  moeclip_image_clear(&whole);
}

/* Whatever is in a damaged file: an error or a picture, and the same one each time. */
static void check_damage(const char *name, mc_philox *g) {
  size_t n, n_wrong = 0;
  uint8_t *data = read_file(name, &n);
  for (int attempt = 0; attempt < 200; attempt++) {
    uint8_t *broken = malloc(n);
    memcpy(broken, data, n);
    uint32_t n_changes = 1 + mc_philox_below(g, 4);
    for (uint32_t i = 0; i < n_changes; i++) broken[mc_philox_below(g, (uint32_t)n)] = (uint8_t)mc_philox_next(g);
    moeclip_image a, b;
    moeclip_error err = {0};
    mc_image_file file = {.data = broken, .n_bytes = n, .name = "broken", .max_pixels = 1 << 20};
    moeclip_code code_a = mc_image_decode(&file, &a, &err), code_b = mc_image_decode(&file, &b, &err);
    n_wrong += code_a != code_b || (code_a == MOECLIP_OK ? !same_picture(&a, &b) : a.rgb != NULL || b.rgb != NULL);
    n_wrong += code_a != MOECLIP_OK && strncmp(err.message, "broken: ", 8) != 0;
    moeclip_image_clear(&a);
    moeclip_image_clear(&b);
    free(broken);
  }
  CHECK_MSG(n_wrong == 0, "%s: %zu damages wrong", name, n_wrong);
  free(data);
}

static void test_damage(void) {
  static const char *const names[] = {
      "photo_420.jpg", "progressive.jpg", "restart.jpg", "cmyk.jpg", "gray.jpg", "orient6.jpg", "palette_trns.png",
      "interlaced4.png", "exif.png", "exif_after.png", "alpha16.png", "lossy.webp", "lossless.webp", "lossy_alpha.webp",
      "exif.webp"};
  mc_philox g;
  mc_philox_init(&g, 7, MC_STREAM_AUGMENT, 0);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    /* There, a cut can lose the orientation that comes after the pixels. */
    if (strcmp(names[i], "exif_after.png") != 0) check_cuts(names[i]);
    check_damage(names[i], &g);
  }
}

static void expect_refusal(const uint8_t *data, size_t n, moeclip_code expected, const char *says) {
  moeclip_image image;
  moeclip_error err = {0};
  moeclip_code code = moeclip_image_decode(data, n, "a.bin", &image, &err);
  CHECK_MSG(code == expected && image.rgb == NULL && strstr(err.message, says) && strstr(err.message, "a.bin"),
            "code %d, \"%s\" instead of \"%s\"", (int)code, err.message, says);
}

static void expect_refused_file(const char *name, moeclip_code expected, const char *says) {
  size_t n;
  uint8_t *data = read_file(name, &n);
  expect_refusal(data, n, expected, says);
  free(data);
}

static void put16(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v) {
  put16(p, v >> 16);
  put16(p + 2, v & 0xffff);
}

static uint8_t *find(uint8_t *data, size_t n, const char *what, size_t n_what) {
  for (size_t i = 0; i + n_what <= n; i++) {
    if (memcmp(data + i, what, n_what) == 0) return data + i;
  }
  fprintf(stderr, "a fixture lacks what the test changes\n");
  exit(1);
}

static void check_lying_png(uint32_t width, uint32_t height, moeclip_code expected, const char *says) {
  size_t n;
  uint8_t *data = read_file("photo.png", &n);
  put32(data + 16, width);
  put32(data + 20, height);
  expect_refusal(data, n, expected, says);
  free(data);
}

static void check_lying_jpeg(const char *name, uint32_t width, uint32_t height, moeclip_code expected,
                             const char *says) {
  size_t n;
  uint8_t *data = read_file(name, &n);
  uint8_t *frame = find(data, n, strcmp(name, "progressive.jpg") == 0 ? "\xff\xc2" : "\xff\xc0", 2);
  put16(frame + 5, height);
  put16(frame + 7, width);
  expect_refusal(data, n, expected, says);
  free(data);
}

static void test_lying_headers(void) {
  check_lying_png(0, 5, MOECLIP_ERROR_FORMAT, "0 x 5 pixels");
  check_lying_png(32769, 1, MOECLIP_ERROR_UNSUPPORTED, "32769 x 1 pixels");
  check_lying_png(UINT32_MAX, UINT32_MAX, MOECLIP_ERROR_UNSUPPORTED, "4294967295 x 4294967295 pixels");
  check_lying_png(32768, 5462, MOECLIP_ERROR_UNSUPPORTED, "178956970");
  check_lying_png(32768, 5461, MOECLIP_ERROR_FORMAT, "too short for 32768 x 5461 pixels");
  check_lying_png(61, 48, MOECLIP_ERROR_FORMAT, "damaged PNG");
  check_lying_jpeg("photo_420.jpg", 40000, 8, MOECLIP_ERROR_UNSUPPORTED, "40000 x 8 pixels");
  check_lying_jpeg("photo_420.jpg", 32768, 32768, MOECLIP_ERROR_UNSUPPORTED, "178956970");
  check_lying_jpeg("photo_420.jpg", 30000, 5000, MOECLIP_ERROR_FORMAT, "too short for 30000 x 5000 pixels");
  check_lying_jpeg("progressive.jpg", 30000, 5000, MOECLIP_ERROR_FORMAT, "too short for 30000 x 5000 pixels");
  size_t n;
  uint8_t *data = read_file("lossy.webp", &n);
  uint8_t *frame = find(data, n, "\x9d\x01\x2a", 3);
  memcpy(frame + 3, "\xff\x3f\xff\x3f", 4); /* 16383 x 16383 */
  expect_refusal(data, n, MOECLIP_ERROR_UNSUPPORTED, "16383 x 16383 pixels");
  memcpy(frame + 3, "\xff\x0f\xff\x0f", 4);
  expect_refusal(data, n, MOECLIP_ERROR_FORMAT, "damaged WebP");
  free(data);
}

/* A small file that asks for the picture to be walked over again and again. */
static void test_many_scans(void) {
  size_t n;
  uint8_t *data = read_file("progressive.jpg", &n), *last = data;
  for (size_t i = 0; i + 2 <= n; i++) {
    if (data[i] == 0xff && data[i + 1] == 0xda) last = data + i;
  }
  size_t n_head = (size_t)(last - data), n_scan = n - 2 - n_head, at = n_head;
  uint8_t *many = malloc(n_head + 120 * n_scan + 2);
  memcpy(many, data, n_head);
  for (int i = 0; i < 120; i++, at += n_scan) memcpy(many + at, last, n_scan);
  memcpy(many + at, "\xff\xd9", 2);
  expect_refusal(many, at + 2, MOECLIP_ERROR_UNSUPPORTED, "scans");
  free(many);
  free(data);
}

static void test_other_content(void) {
  expect_refused_file("picture.gif", MOECLIP_ERROR_UNSUPPORTED, "seems to be a GIF picture; JPEG, PNG and WebP");
  expect_refused_file("picture.bmp", MOECLIP_ERROR_UNSUPPORTED, "a BMP picture");
  expect_refused_file("picture.tif", MOECLIP_ERROR_UNSUPPORTED, "a TIFF picture");
  expect_refused_file("animated.webp", MOECLIP_ERROR_UNSUPPORTED, "animated");
  static const struct { const char *data; size_t n; moeclip_code code; const char *says; } cases[] = {
      {"\0\0\0\x18" "ftypheic\0\0\0\0mif1heic", 24, MOECLIP_ERROR_UNSUPPORTED, "a HEIC picture"},
      {"\0\0\0\x18" "ftypavif\0\0\0\0mif1avif", 24, MOECLIP_ERROR_UNSUPPORTED, "an AVIF picture"},
      {"<!DOCTYPE html>\n<p>404", 22, MOECLIP_ERROR_UNSUPPORTED, "seems to be text"},
      {"BMW and Audi, a list.", 21, MOECLIP_ERROR_UNSUPPORTED, "seems to be text"},
      {"P6\n2 2\n255\n", 11, MOECLIP_ERROR_UNSUPPORTED, "a PNM picture"},
      {"P6X is a car", 12, MOECLIP_ERROR_UNSUPPORTED, "text"},
      {"RIFF\x04\0\0\0WAVE", 12, MOECLIP_ERROR_UNSUPPORTED, "RIFF"},
      {"", 0, MOECLIP_ERROR_FORMAT, "is empty"},
      {"\x01\x02\x03\x04\x05", 5, MOECLIP_ERROR_FORMAT, "not a picture"},
      {"\xff\xd8\xff", 3, MOECLIP_ERROR_FORMAT, "cut short"},
      {"\xff\xd8\xff\xd9", 4, MOECLIP_ERROR_FORMAT, "damaged JPEG"},
      {"\x89PNG\r\n\x1a\n", 8, MOECLIP_ERROR_FORMAT, "damaged PNG"},
      {"RIFF\x04\0\0\0WEBP", 12, MOECLIP_ERROR_FORMAT, "damaged WebP"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    expect_refusal((const uint8_t *)cases[i].data, cases[i].n, cases[i].code, cases[i].says);
  }
  moeclip_image image;
  moeclip_error err;
  CHECK(moeclip_image_load(DATA "none.jpg", &image, &err) == MOECLIP_ERROR_IO && strstr(err.message, "none.jpg"));
  CHECK(moeclip_image_load(DATA, &image, &err) == MOECLIP_ERROR_IO && image.rgb == NULL);
}

static void test_names(void) {
  static const struct {
    const char *name;
    moeclip_picture_kind kind;
  } cases[] = {{"a.jpg", MOECLIP_PICTURE}, {"x/y.z/A.JPEG", MOECLIP_PICTURE}, {"a.jfif", MOECLIP_PICTURE}, {"a.b.WebP", MOECLIP_PICTURE},
               {"a.HEIC", MOECLIP_PICTURE_UNREAD}, {"a.tif", MOECLIP_PICTURE_UNREAD}, {"a.png.gif", MOECLIP_PICTURE_UNREAD},
               {"", MOECLIP_PICTURE_NONE}, {"jpg", MOECLIP_PICTURE_NONE}, {".jpg", MOECLIP_PICTURE_NONE}, {"x/.jpg", MOECLIP_PICTURE_NONE},
               {"x.jpg/notes", MOECLIP_PICTURE_NONE}, {"a.", MOECLIP_PICTURE_NONE}, {"a.jpg~", MOECLIP_PICTURE_NONE}, {"a.txt", MOECLIP_PICTURE_NONE}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    CHECK_MSG(moeclip_picture_kind_of(cases[i].name) == cases[i].kind, "\"%s\"", cases[i].name);
  }
}

static void test_exif(void) {
  static const uint8_t good[26] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x05\0\0\0\0\0";
  uint8_t data[32];
  memcpy(data, "Exif\0", 6);
  memcpy(data + 6, good, 26);
  CHECK(mc_exif_orientation(data, 32) == 5 && mc_exif_orientation(good, 26) == 5);
  CHECK(mc_exif_orientation(good, 22) == 5 && mc_exif_orientation(NULL, 0) == 1);
  for (size_t n = 0; n < 22; n++) CHECK(mc_exif_orientation(good, n) == 1);
  static const struct { int at; uint8_t value; } changes[] = {
      {0, 'I'}, {3, 43}, {4, 0xff}, {7, 25}, {7, 26}, {7, 27}, {9, 0}, {11, 0x13}, {13, 1}, {17, 2}, {19, 0}, {19, 9}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    memcpy(data, good, 26);
    data[changes[i].at] = changes[i].value;
    CHECK_MSG(mc_exif_orientation(data, 26) == 1, "byte %d = %d", changes[i].at, changes[i].value);
  }
}

static void test_random_crop(void) {
  mc_philox g;
  mc_philox_init(&g, 11, MC_STREAM_AUGMENT, 0);
  size_t n_outside = 0, n_small = 0, n_skewed = 0;
  for (int i = 0; i < 20000; i++) {
    int w = 1 + (int)mc_philox_below(&g, i % 2 ? 40 : 5000), h = 1 + (int)mc_philox_below(&g, i % 3 ? 40 : 32768);
    if (i % 10 == 0) w = 1;
    if (i % 10 == 1) h = 1;
    float scale_min = i % 4 ? 0.9f : 0.08f;
    mc_rect r = mc_random_crop(w, h, scale_min, 1, &g);
    n_outside += r.x < 0 || r.y < 0 || r.width < 1 || r.height < 1 || r.x > w - r.width || r.y > h - r.height;
    double aspect = (double)r.width / r.height, area = (double)r.width * r.height / ((double)w * h);
    if (w < 300 || h < 300) continue;
    /* Rounding moves a side by half a pixel. The fallback, for narrow pictures, keeps the aspect but not the area. */
    n_skewed += aspect < 0.75 * 0.99 || aspect > 4.0 / 3 * 1.01;
    n_small += area < scale_min * 0.99 && (double)w / h > 0.75 / 0.9 && (double)w / h < 4.0 / 3 * 0.9;
  }
  CHECK_MSG(n_outside == 0 && n_small == 0 && n_skewed == 0, "%zu outside, %zu too small, %zu skewed", n_outside,
            n_small, n_skewed);
  /* What torchvision does when no try fits. */
  mc_rect r = mc_random_crop(100, 10, 0.9f, 1, &g);
  CHECK(r.width == 13 && r.height == 10 && r.x == 43 && r.y == 0);
  r = mc_random_crop(30, 400, 0.9f, 1, &g);
  CHECK(r.width == 30 && r.height == 40 && r.x == 0 && r.y == 180);
}

/* The areas and places that are drawn: uniform, and independent of each other. */
static void test_crop_spread(void) {
  mc_philox g;
  mc_philox_init(&g, 5, MC_STREAM_AUGMENT, 1);
  const int n = 20000;
  double area = 0, x = 0, y = 0, log_aspect = 0;
  for (int i = 0; i < n; i++) {
    mc_rect r = mc_random_crop(1000, 1000, 0.2f, 0.5f, &g);
    area += (double)r.width * r.height / 1e6 / n;
    x += (double)r.x / (1000 - r.width) / n;
    y += (double)r.y / (1000 - r.height) / n;
    log_aspect += log((double)r.width / r.height) / n;
  }
  CHECK_MSG(fabs(area - 0.35) < 0.003 && fabs(x - 0.5) < 0.01 && fabs(y - 0.5) < 0.01 && fabs(log_aspect) < 0.006,
            "means: area %g, x %g, y %g, log aspect %g", area, x, y, log_aspect);
}

static void test_augment(void) {
  enum { SIZE = 20, N = SIZE * SIZE * 3 };
  uint8_t a[N], b[N], interleaved[N];
  moeclip_error err;
  moeclip_image image = load("photo.png");
  size_t n_same = 0;
  for (uint64_t i = 0; i < 50; i++) {
    mc_philox g;
    mc_philox_init(&g, 3, MC_STREAM_AUGMENT, i);
    if (i > 0) memcpy(b, a, N);
    REQUIRE_OK(mc_image_augment(&image, SIZE, 0.5f, &g, a, &err), err);
    if (i > 0) n_same += memcmp(a, b, N) == 0;
    mc_philox_init(&g, 3, MC_STREAM_AUGMENT, i);
    mc_rect box = mc_random_crop(image.width, image.height, 0.5f, 1, &g);
    REQUIRE_OK(mc_image_resize(&image, box, SIZE, SIZE, interleaved, &err), err);
    size_t n_wrong = 0;
    for (size_t p = 0; p < N; p++) n_wrong += a[p] != interleaved[p % (SIZE * SIZE) * 3 + p / (SIZE * SIZE)];
    CHECK_MSG(n_wrong == 0, "picture %d: %zu differ", (int)i, n_wrong);
  }
  CHECK_MSG(n_same == 0, "%zu crops repeat", n_same);
  moeclip_image_clear(&image);
}

static void test_arguments(void) {
  uint8_t out[3 * 16];
  moeclip_error err;
  mc_philox g;
  mc_philox_init(&g, 1, MC_STREAM_AUGMENT, 0);
  moeclip_image image = load("photo.png"), empty = {0};
  static const mc_rect outside[] = {{-1, 0, 2, 2}, {0, 0, 0, 2}, {60, 0, 2, 2}, {0, 40, 2, 8}, {62, 0, 1, 1},
                                    {0, 0, INT32_MAX, 1}, {INT32_MAX, 0, INT32_MAX, 1}};
  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
    CHECK(mc_image_resize(&image, outside[i], 4, 4, out, &err) == MOECLIP_ERROR_ARGUMENT);
  }
  CHECK(moeclip_image_preprocess(&image, 0, out, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "32768"));
  CHECK(moeclip_image_preprocess(&image, 32769, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_image_preprocess(&empty, 4, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_image_augment(&image, 4, 0, &g, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_image_augment(&image, 4, NAN, &g, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_image_augment(&image, 4, 1.1f, &g, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_image_augment(&empty, 4, 0.9f, &g, out, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_image_augment(&image, 4, 1, &g, out, NULL) == MOECLIP_OK);
  moeclip_image_clear(&image);
  moeclip_image_clear(NULL);
}

/* A picture of one pixel's width that would be 7.3 million pixels tall: only the crop is computed. */
static void test_extreme_aspect(void) {
  enum { H = 32768, SIZE = 224 };
  uint8_t *rgb = malloc(H * 3), *out = malloc(SIZE * SIZE * 3);
  for (size_t i = 0; i < H * 3; i++) rgb[i] = i / 3 < H / 2 ? 0 : 255;
  moeclip_image image = {.width = 1, .height = H, .rgb = rgb};
  moeclip_error err;
  REQUIRE_OK(moeclip_image_preprocess(&image, SIZE, out, &err), err);
  size_t n_falling = 0;
  for (size_t y = 1; y < SIZE; y++) n_falling += out[y * SIZE] < out[(y - 1) * SIZE];
  /* The middle of the step, seen through the filter. */
  CHECK_MSG(n_falling == 0 && out[0] < 90 && out[(SIZE - 1) * SIZE] > 165, "%zu, %d to %d", n_falling, out[0],
            out[(SIZE - 1) * SIZE]);
  CHECK(out[111 * SIZE] + out[112 * SIZE] == 255 && out[5 * SIZE] == out[5 * SIZE + 223]);
  image = (moeclip_image){.width = H, .height = 1, .rgb = rgb};
  uint8_t *turned = malloc(SIZE * SIZE * 3);
  REQUIRE_OK(moeclip_image_preprocess(&image, SIZE, turned, &err), err);
  size_t n_wrong = 0;
  for (size_t y = 0; y < SIZE; y++) {
    for (size_t x = 0; x < SIZE; x++) n_wrong += out[y * SIZE + x] != turned[x * SIZE + y];
  }
  CHECK_MSG(n_wrong == 0, "%zu differ from the turned picture", n_wrong);
  free(rgb);
  free(out);
  free(turned);
}

static void test_normalize(void) {
  static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};
  enum { SIZE = 16 };
  uint8_t in[3 * SIZE * SIZE];
  float out[3 * SIZE * SIZE];
  for (int i = 0; i < 3 * SIZE * SIZE; i++) in[i] = (uint8_t)i;
  moeclip_image_normalize(in, SIZE, out);
  double largest = 0;
  for (int i = 0; i < 3 * SIZE * SIZE; i++) {
    int c = i / (SIZE * SIZE);
    largest = fmax(largest, fabs(out[i] - (in[i] / 255.0 - mean[c]) / deviation[c]));
  }
  CHECK_MSG(largest < 1e-6, "off by %g", largest);
}

int main(void) {
  test_against_pillow();
  test_names();
  test_over_white();
  test_damage();
  test_lying_headers();
  test_many_scans();
  test_other_content();
  test_exif();
  test_random_crop();
  test_crop_spread();
  test_augment();
  test_arguments();
  test_extreme_aspect();
  test_normalize();
  return check_report();
}
