/* matrix.json: rows are kept over runs, and forgotten when they belong to another state. */
#include "report/results.h"

#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char folder[] = "/tmp/moeclip-results-XXXXXX";
static const char *const tasks[] = {"a", "b"};

static json_t *run_of(int seed) {
  return json_pack("{s:s, s:i, s:s}", "backbone", "0123", "seed", seed, "mode", "moe");
}

static json_t *column(const char *name, int task, int pictures) {
  return json_pack("{s:s, s:o, s:{s:i}}", "name", name, "task", task < 0 ? json_null() : json_integer(task), "same",
                   "test_pictures", pictures);
}

static json_t *columns_of(int pictures_of_b) {
  return json_pack("[o, o, o]", column("held", -1, 5), column("a", 0, 10), column("b", 1, pictures_of_b));
}

static json_t *cell(double accuracy) { return json_pack("{s:f}", "accuracy", accuracy); }

static void fill(mc_results *r, int row, double first) {
  moeclip_error err;
  REQUIRE_OK(mc_results_put(r, row, "a", cell(first), &err), err);
  REQUIRE_OK(mc_results_put(r, row, "b", cell(first + 0.1), &err), err);
  REQUIRE_OK(mc_results_put(r, row, "held", cell(0.5), &err), err);
}

/* Both tasks are learned and evaluated. */
static void write_whole(void) {
  moeclip_error err;
  mc_results r;
  REQUIRE_OK(mc_results_open(folder, run_of(0), columns_of(20), tasks, 0, NULL, &r, &err), err);
  CHECK(!mc_results_known(&r, 0, "a"));
  fill(&r, 0, 0.1);
  REQUIRE_OK(mc_results_put_learned(&r, "a", json_pack("{s:i}", "iterations", 11), &err), err);
  REQUIRE_OK(mc_results_add_row(&r, 1, "a", "sum-a", &err), err);
  fill(&r, 1, 0.2);
  REQUIRE_OK(mc_results_add_row(&r, 2, "b", "sum-b", &err), err);
  fill(&r, 2, 0.3);
  CHECK(mc_results_known(&r, 2, "held") && !mc_results_known(&r, 2, "c") && !mc_results_known(&r, 3, "a"));
  REQUIRE_OK(mc_results_write(&r, &err), err);
  mc_results_clear(&r);
}

static int known(int n_tasks, const char *checksum, int pictures_of_b, const char *expected) {
  moeclip_error err;
  mc_results r;
  char is[16] = "";
  REQUIRE_OK(mc_results_open(folder, run_of(0), columns_of(pictures_of_b), tasks, n_tasks, checksum, &r, &err), err);
  for (int row = 0; row <= n_tasks; row++) {
    snprintf(is + strlen(is), sizeof is - strlen(is), "%d%d ", mc_results_known(&r, row, "a"),
             mc_results_known(&r, row, "b"));
  }
  mc_results_clear(&r);
  if (strcmp(is, expected) != 0) fprintf(stderr, "known: %s, not %s\n", is, expected);
  return strcmp(is, expected) == 0;
}

static void test_kept(void) {
  write_whole();
  CHECK(known(2, "sum-b", 20, "11 11 11 "));
  CHECK(known(2, "other", 20, "11 00 00 ")); /* another state: zero-shot alone is still true */
  CHECK(known(1, "sum-a", 20, "11 11 "));
  CHECK(known(0, NULL, 20, "11 "));
  CHECK(known(2, "sum-b", 21, "10 10 10 ")); /* other pictures in b */
}

static void test_written(void) {
  static const char *const files[] = {"matrix.json", "matrix.txt", "matrix.svg"};
  char path[128];
  for (int i = 0; i < 3; i++) {
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, files[i]);
    CHECK(stat(path, &st) == 0 && st.st_size > 200);
  }
  snprintf(path, sizeof path, "%s/matrix.json", folder);
  json_t *root = json_load_file(path, 0, NULL);
  json_t *columns = json_object_get(root, "columns");
  /* In the order of learning, what is never learned last. */
  CHECK(strcmp(json_string_value(json_object_get(json_array_get(columns, 0), "name")), "a") == 0);
  CHECK(strcmp(json_string_value(json_object_get(json_array_get(columns, 2), "name")), "held") == 0);
  /* Transfer: b after a; Average: (0.2 + 0.3 + 0.3 + 0.4) / 4. */
  CHECK(fabs(json_real_value(json_object_get(json_object_get(root, "transfer"), "mean")) - 0.3) < 1e-12);
  CHECK(fabs(json_real_value(json_object_get(json_object_get(root, "average"), "mean")) - 0.3) < 1e-12);
  CHECK(fabs(json_real_value(json_object_get(json_object_get(root, "last"), "mean")) - 0.35) < 1e-12);
  CHECK(json_integer_value(json_object_get(json_object_get(json_object_get(root, "learned"), "a"), "iterations")) ==
        11);
  json_decref(root);
}

static void test_refused(void) {
  moeclip_error err = {0};
  mc_results r;
  CHECK(mc_results_open(folder, run_of(1), columns_of(20), tasks, 2, "sum-b", &r, &err) == MOECLIP_ERROR_MISMATCH);
  CHECK(strstr(err.message, "seed was 0, now 1") && strstr(err.message, "another folder"));
  char path[128];
  static const char *const texts[] = {
      "",
      "{",
      "[]",
      "{\"format\": \"moeclip matrix 1\"}",
      "{\"format\": \"moeclip matrix 1\", \"run\": {}, \"columns\": [1], \"rows\": []}",
      "{\"format\": \"moeclip matrix 1\", \"run\": {}, \"columns\": [], \"rows\": [{}]}"};
  snprintf(path, sizeof path, "%s/matrix.json", folder);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    FILE *f = fopen(path, "w");
    if (!f) exit(1);
    fputs(texts[i], f);
    fclose(f);
    CHECK(mc_results_open(folder, run_of(0), columns_of(20), tasks, 2, "sum-b", &r, &err) == MOECLIP_ERROR_FORMAT);
    CHECK(strstr(err.message, path) != NULL);
  }
}

static void clean(void) {
  static const char *const files[] = {"matrix.json", "matrix.txt", "matrix.svg"};
  char path[128];
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, files[i]);
    unlink(path);
  }
  rmdir(folder);
}

int main(void) {
  if (!mkdtemp(folder)) return 1;
  test_kept();
  test_written();
  test_refused();
  clean();
  return check_report();
}
