/* Pictures with captions: the three forms, and what is wrong with damaged ones. */
#include "data/pairs.h"

#include "files.h"

static mc_pairs *open_it(const char *path) {
  mc_pairs *p;
  moeclip_error err;
  REQUIRE_OK(mc_pairs_open(path, &p, &err), err);
  return p;
}

static void check_fails(const char *path, const char *a, const char *b) {
  mc_pairs *p;
  moeclip_error err = {0};
  moeclip_code code = mc_pairs_open(path, &p, &err);
  CHECK_MSG(code != MOECLIP_OK && code == err.code && !p, "%s opens", path);
  CHECK_MSG(strstr(err.message, a) && strstr(err.message, b), "no \"%s\" and \"%s\" in: %s", a, b, err.message);
  mc_pairs_destroy(p);
}

static bool has(const mc_pairs *p, size_t i, size_t which, const char *caption) {
  return which < mc_pairs_captions(p, i) && strcmp(mc_pairs_caption(p, i, which), caption) == 0;
}

static int red(mc_pairs *p, size_t i) {
  mc_image_source source = mc_pairs_source(p);
  moeclip_image image;
  moeclip_error err;
  CHECK(source.count == mc_pairs_count(p));
  REQUIRE_OK(source.load(source.context, i, &image, &err), err);
  int value = image.rgb[0];
  moeclip_image_clear(&image);
  return value;
}

static void test_csv(void) {
  char text[1200];
  const char *path = files_path("list/captions.csv");
  files_png(files_path("list/p/a.png"), 2, 2, 1);
  files_png(files_path("list/b.png"), 2, 2, 2);
  files_png(files_path("far.png"), 2, 2, 3);
  for (int packed = 0; packed < 2; packed++) {
    snprintf(text, sizeof text, "\xEF\xBB\xBFimage,caption\r\n%s,far away\r\n\r\n"
             "p/a.png,,\"one, \"\"two\"\"\nthree\",,four,\nb.png,path", files_path("far.png"));
    (packed ? files_gzip : files_write)(path, text, strlen(text));
    mc_pairs *p = open_it(path);
    CHECK(mc_pairs_count(p) == 3 && red(p, 0) == 3 && red(p, 1) == 1 && red(p, 2) == 2);
    CHECK(mc_pairs_captions(p, 0) == 1 && has(p, 0, 0, "far away"));
    CHECK(mc_pairs_captions(p, 1) == 2 && has(p, 1, 0, "one, \"two\"\nthree") && has(p, 1, 1, "four"));
    CHECK(mc_pairs_captions(p, 2) == 1 && has(p, 2, 0, "path"));
    char name[600];
    mc_image_source source = mc_pairs_source(p);
    CHECK(source.item_name(source.context, 1, name, sizeof name) == MOECLIP_OK);
    CHECK(strcmp(name, files_path("list/p/a.png")) == 0);
    mc_pairs_destroy(p);
  }
  /* Only the first row can be a header. */
  files_text(path, "b.png,x\npath,y\n");
  mc_pairs *p = open_it(path);
  CHECK(mc_pairs_count(p) == 2);
  mc_pairs_destroy(p);
}

static void test_csv_wrong(void) {
  static const struct { const char *text, *message; } cases[] = {
      {"", "no pictures"},
      {"path,caption\n", "no pictures"},
      {"a.png,x\n\n\nb.png\n", "line 4: path,caption"},
      {"a.png,x\nb.png,,\n", "line 2: path,caption"},
      {"a.png,x\n,y\n", "line 2: path,caption"},
      {"a.png,\"x\ny\"\nb.png\n", "line 3: path,caption"},
      {"a.png,x\n\nb.png,\"y\n", "line 3: a quoted field"}};
  const char *path = files_path("wrong.csv");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    files_text(path, cases[i].text);
    check_fails(path, "wrong.csv: ", cases[i].message);
  }
  files_write(path, "a.png\0,x", 8);
  check_fails(path, "wrong.csv", "not a text file");
  check_fails(files_path("nothing.csv"), "nothing.csv", "cannot open");
}

static void test_texts(void) {
  files_png(files_path("beside/b.png"), 2, 2, 2);
  files_png(files_path("beside/a.x.png"), 2, 2, 1);
  files_png(files_path("beside/.c.png"), 2, 2, 3);
  files_text(files_path("beside/b.txt"), "\xEF\xBB\xBFone\r\n\r\ntwo\n");
  files_text(files_path("beside/a.x.txt"), "\n\nthree\rfour\rfive\rsix"); /* more lines than line feeds */
  mc_pairs *p = open_it(files_path("beside"));
  CHECK(mc_pairs_count(p) == 2 && red(p, 0) == 1 && red(p, 1) == 2);
  CHECK(mc_pairs_captions(p, 0) == 4 && has(p, 0, 0, "three") && has(p, 0, 3, "six"));
  CHECK(mc_pairs_captions(p, 1) == 2 && has(p, 1, 0, "one") && has(p, 1, 1, "two"));
  mc_pairs_destroy(p);
  files_text(files_path("beside/b.txt"), "\n\r\n");
  check_fails(files_path("beside"), "b.png", "no caption");
  files_write(files_path("beside/b.txt"), "a\0b", 3);
  check_fails(files_path("beside"), "b.txt", "not a text file");
  CHECK(unlink(files_path("beside/b.txt")) == 0);
  check_fails(files_path("beside"), "b.png", ".txt");
}

static void test_classes(void) {
  files_png(files_path("kinds/big_dog/deep/b.png"), 2, 2, 2);
  files_png(files_path("kinds/big_dog/a.png"), 2, 2, 1);
  files_png(files_path("kinds/cat/c.png"), 2, 2, 3);
  files_text(files_path("kinds/cat/c.txt"), "my own cat");
  files_folder(files_path("kinds/empty"));
  CHECK(symlink("..", files_path("kinds/cat/back")) == 0);
  mc_pairs *p = open_it(files_path("kinds"));
  CHECK(mc_pairs_count(p) == 3 && red(p, 0) == 1 && red(p, 1) == 2 && red(p, 2) == 3);
  CHECK(has(p, 0, 0, "a picture of a big dog.") && has(p, 1, 0, "a picture of a big dog."));
  CHECK(has(p, 2, 0, "my own cat"));
  CHECK(mc_pairs_captions(p, 0) == 1 && mc_pairs_captions(p, 2) == 1);
  mc_pairs_destroy(p);
  check_fails(files_path("kinds/empty"), "empty", "no pictures");
}

int main(void) {
  files_begin();
  test_csv();
  test_csv_wrong();
  test_texts();
  test_classes();
  files_end();
  return check_report();
}
