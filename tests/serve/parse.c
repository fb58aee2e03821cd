/* Fields, JSON, names and paths from outside: what is taken, and what is refused with a message. */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "serve/ask.h"
#include "serve/paths.h"

typedef struct pairs {
  const char *item[8][2];
} pairs;

static const char *value_of(const void *context, const char *name) {
  const pairs *p = context;
  for (int i = 0; i < 8 && p->item[i][0]; i++) {
    if (strcmp(p->item[i][0], name) == 0) return p->item[i][1];
  }
  return NULL;
}

static moeclip_code parse(pairs p, mc_ask *ask) {
  moeclip_error err = {0};
  moeclip_code code = mc_ask_parse(value_of, &p, 10, ask, &err);
  CHECK((code == MOECLIP_OK) == (err.message[0] == 0));
  return code;
}

static void test_ask(void) {
  mc_ask a, b;
  CHECK(parse((pairs){{{0}}}, &a) == MOECLIP_OK && strcmp(a.task, "auto") == 0 && a.top == 5 && !a.explain && a.n_labels == 0);
  CHECK(parse((pairs){{{"labels", "[\"a\",\"b\"]"}, {"top", "2"}, {"explain", "1"}}}, &b) == MOECLIP_OK);
  CHECK(b.n_labels == 2 && strcmp(b.labels[1], "b") == 0 && b.top == 2 && b.explain);
  CHECK(strcmp(a.key, b.key) != 0);
  mc_ask_clear(&a);
  CHECK(parse((pairs){{{"explain", "true"}, {"labels", " [ \"a\" , \"b\" ] "}, {"top", "2"}}}, &a) == MOECLIP_OK);
  CHECK(strcmp(a.key, b.key) == 0); /* the same question in other words */
  mc_ask_clear(&a);
  mc_ask_clear(&b);
  static const char *const bad[][2] = {{"labels", "x"}, {"labels", "{}"}, {"labels", "[\"\"]"}, {"labels", "[null]"},
                                       {"top", "0"}, {"top", "1x"}, {"top", "99999999999999999999"}, {"explain", "2"},
                                       {"templates", "[\"a {}\"]"}, {"task", "\xff"},
                                       {"labels", "[1,2,3,4,5,6,7,8,9,10,11]"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_MSG(parse((pairs){{{bad[i][0], bad[i][1]}}}, &a) == MOECLIP_ERROR_ARGUMENT, "%s=%s is taken", bad[i][0], bad[i][1]);
    mc_ask_clear(&a);
  }
}

static void test_learn(void) {
  mc_learn_ask a, b;
  moeclip_error err;
  json_t *o = json_object();
  CHECK(mc_learn_ask_field(o, "name", "birds", &err) == MOECLIP_OK);
  CHECK(mc_learn_ask_field(o, "iterations", "25", &err) == MOECLIP_OK);
  CHECK(mc_learn_ask_field(o, "templates", "[\"a {}.\"]", &err) == MOECLIP_OK);
  CHECK(mc_learn_ask_field(o, "learning_rate", "1e-4", &err) == MOECLIP_OK);
  CHECK(mc_learn_ask_field(o, "name", "twice", &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_learn_ask_field(o, "epochs", "nan", &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(mc_learn_ask_parse(o, 100, &a, &err) == MOECLIP_OK);
  CHECK(strcmp(a.name, "birds") == 0 && a.task.iterations == 25 && a.task.learning_rate == 1e-4);
  CHECK(a.task.batch == 64 && isnan(a.task.threshold));
  /* What is kept for the next start is the same again. */
  json_t *kept = mc_learn_ask_json(&a);
  CHECK(mc_learn_ask_parse(kept, 1000000, &b, &err) == MOECLIP_OK);
  json_t *again = mc_learn_ask_json(&b);
  CHECK(json_equal(kept, again) && json_equal(a.templates, b.templates) && isnan(b.task.threshold));
  json_decref(again);
  json_decref(kept);
  mc_learn_ask_clear(&a);
  mc_learn_ask_clear(&b);
  CHECK(mc_learn_ask_parse(o, 24, &a, &err) == MOECLIP_ERROR_ARGUMENT);
  mc_learn_ask_clear(&a);
  CHECK(mc_learn_ask_field(o, "selector_iterations", "301", &err) == MOECLIP_OK);
  CHECK(mc_learn_ask_parse(o, 100, &a, &err) == MOECLIP_ERROR_ARGUMENT);
  mc_learn_ask_clear(&a);
  json_decref(o);
  static const char *const names[] = {"", ".", "..", ".x", "a/b", "a\\b", "a\nb", "auto", "none", " a", "a ", "\xc3"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    CHECK(mc_check_task_name(names[i], &err) == MOECLIP_ERROR_ARGUMENT);
  }
  CHECK(mc_check_task_name("Vögel 2", &err) == MOECLIP_OK);
}

static void test_paths(void) {
  moeclip_error err;
  static const char *const bad[] = {"",     "/",  "/a",    "..",    "../a", "a/..", "a/../b", ".",
                                    "./a",  "a//b", "a/", "a\\b", "a\tb", "\xff", "a/b/c/d/e/f/g/h/i/j/k"};
  static const char *const good[] = {"a/b.png", "...", "a..b/.c"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_MSG(mc_path_check(bad[i], &err) == MOECLIP_ERROR_ARGUMENT, "%s is taken", bad[i]);
  }
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) CHECK(mc_path_check(good[i], &err) == MOECLIP_OK);
  CHECK(mc_path_kind("a/b.PNG") == MOECLIP_PICTURE && mc_path_kind("a/.b.png") == MOECLIP_PICTURE_NONE);
  CHECK(mc_path_kind("png") == MOECLIP_PICTURE_NONE && mc_path_kind("a.png/b") == MOECLIP_PICTURE_NONE);
  CHECK(mc_path_kind("a/b.heic") == MOECLIP_PICTURE_UNREAD && mc_path_kind("__MACOSX/a/b.heic") == MOECLIP_PICTURE_NONE);
}

static void test_create(void) {
  char folder[] = "/tmp/moeclip-parse-XXXXXX", link[64];
  moeclip_error err = {0};
  int fd, here;
  CHECK(mkdtemp(folder) != NULL);
  here = open(folder, O_RDONLY | O_DIRECTORY);
  snprintf(link, sizeof link, "%s/out", folder);
  CHECK(symlink("/tmp", link) == 0);
  CHECK(mc_path_create(here, "a/b/c.png", &fd, &err) == MOECLIP_OK && fd >= 0);
  CHECK(mc_path_write(fd, "xyz", 3, "c", &err) == MOECLIP_OK);
  close(fd);
  CHECK(mc_path_create(here, "a/b/c.png", &fd, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "twice"));
  CHECK(mc_path_create(here, "out/moeclip-escaped.png", &fd, &err) != MOECLIP_OK && access("/tmp/moeclip-escaped.png", F_OK) != 0);
  CHECK(mc_path_create(here, "a/b", &fd, &err) != MOECLIP_OK);
  CHECK(mc_path_create(here, "a/b/c.png/d.png", &fd, &err) != MOECLIP_OK);
  char *real = realpath(folder, NULL), *out;
  CHECK(mc_path_below(real, "a/b", &out, &err) == MOECLIP_OK && strncmp(out, real, strlen(real)) == 0);
  free(out);
  CHECK(mc_path_below(real, "out", &out, &err) == MOECLIP_ERROR_ARGUMENT && !out);
  CHECK(mc_path_below(real, "a/../..", &out, &err) == MOECLIP_ERROR_ARGUMENT && !out);
  CHECK(mc_path_check_links(real, real, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(unlink(link) == 0 && mc_path_check_links(real, real, &err) == MOECLIP_OK);
  free(real);
  close(here);
  mc_path_remove(folder);
  CHECK(access(folder, F_OK) != 0);
}

int main(void) {
  test_ask();
  test_learn();
  test_paths();
  test_create();
  return check_report();
}
