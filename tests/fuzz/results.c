/* matrix.json, which `learn` reads back when a run goes on. Seeds: seeds/results, made by fuzz_replay_results --make.
 */
#include "report/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
void fuzz_make_seeds(const char *folder);

static const char *const tasks[] = {"one"};

static moeclip_code open_results(const char *folder, mc_results *r, moeclip_error *err) {
  json_t *run = json_pack("{s:s, s:i}", "backbone", "b", "seed", 1);
  json_t *columns = json_pack("[{s:s, s:i, s:i}, {s:s, s:n, s:i}]", "name", "one", "task", 0, "same", 1, "name",
                              "other", "task", "same", 2);
  return mc_results_open(folder, run, columns, tasks, 1, "sum", r, err);
}

static void measure(mc_results *r) {
  for (int row = 0; row < 2; row++) {
    if (mc_results_add_row(r, row, row ? "one" : NULL, row ? "sum" : NULL, NULL) != MOECLIP_OK) abort();
    for (int c = 0; c < 2; c++) {
      const char *column = c ? "other" : "one";
      if (mc_results_known(r, row, column)) continue;
      json_t *cell = json_pack("{s:f, s:i, s:i}", "accuracy", 0.5, "n", 4, "right", 2);
      if (mc_results_put(r, row, column, cell, NULL) != MOECLIP_OK) abort();
    }
  }
}

static void empty(const char *folder) {
  static const char *const files[] = {"matrix.json", "matrix.txt", "matrix.svg"};
  char path[600];
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, files[i]);
    unlink(path);
  }
}

void fuzz_make_seeds(const char *folder) {
  char from[600], to[600];
  mc_results r;
  if (open_results(folder, &r, NULL) != MOECLIP_OK) abort();
  measure(&r);
  if (mc_results_write(&r, NULL) != MOECLIP_OK) abort();
  mc_results_clear(&r);
  snprintf(from, sizeof from, "%s/matrix.json", folder);
  snprintf(to, sizeof to, "%s/two_rows", folder);
  if (rename(from, to) != 0) abort();
  empty(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char folder[64], path[128];
  mc_results r;
  mc_matrix_of m;
  moeclip_error err = {0};
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-results-%ld", (long)getpid());
  mkdir(folder, 0700);
  snprintf(path, sizeof path, "%s/matrix.json", folder);
  FILE *f = fopen(path, "wb");
  if (!f || (n_bytes && fwrite(data, 1, n_bytes, f) != n_bytes) || fclose(f) != 0) abort();
  if (open_results(folder, &r, &err) == MOECLIP_OK) {
    measure(&r);
    if (mc_matrix_of_results(r.root, &m, &err) == MOECLIP_OK) mc_matrix_of_clear(&m);
    if (mc_results_write(&r, &err) != MOECLIP_OK && !err.message[0]) abort();
    mc_results_clear(&r);
  } else if (!err.message[0]) {
    abort();
  }
  empty(folder);
  rmdir(folder);
  return 0;
}
