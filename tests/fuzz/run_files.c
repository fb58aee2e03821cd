/* What the benchmarks read back when a run goes on. The first byte says which file the rest is: results.json of bench cil, run.json,
 * matrix.json or no-labels.json of a run of bench compare. Seeds: seeds/run_files. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/cil.h"
#include "cli/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { STEPS = 4 };

static void go_on_with_cil(const char *path, const char *folder) {
  json_t *root = NULL;
  moeclip_error err = {0};
  if (mc_cil_results_open(path, json_pack("{s:i}", "seed", 1), STEPS, &root, &err) == MOECLIP_OK) {
    size_t n = mc_cil_results_steps(root);
    if (n > STEPS) abort();
    if (mc_cil_results_add(root, json_pack("{s:f}", "accuracy", 0.5), &err) != MOECLIP_OK || mc_cil_results_steps(root) != n + 1) abort();
    if (mc_cil_summarise(root, &err) != MOECLIP_OK || mc_cil_report(root, "cifar100-10", folder, &err) != MOECLIP_OK) abort();
  } else if (!err.message[0]) {
    abort();
  }
  json_decref(root);
}

static void go_on_with_run(char *folder) {
  bool done = false;
  double peak = 0;
  moeclip_error err = {0};
  json_t *command = json_pack("[s, s]", "learn", "--method=moe");
  moeclip_code code = mc_compare_begin(folder, command, &done, &peak, &err);
  if (code != MOECLIP_OK && !err.message[0]) abort();
  if (code == MOECLIP_OK && mc_compare_note(folder, command, true, peak, &err) == MOECLIP_OK &&
      (mc_compare_begin(folder, command, &done, &peak, &err) != MOECLIP_OK || !done)) {
    abort(); /* what was written is read back */
  }
  json_decref(command);
}

static void take_matrix(char *folder) {
  mc_compare_run r = {.folder = folder};
  moeclip_error err = {0};
  if (mc_compare_gather(&r, 2, &err) != MOECLIP_OK && !err.message[0]) abort();
  json_decref(r.inputs);
}

static void take_no_labels(char *folder) {
  mc_compare_run r = {.folder = folder};
  moeclip_error err = {0};
  if (mc_compare_gather_no_labels(&r, 2, &err) != MOECLIP_OK && !err.message[0]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  static const char *const names[] = {"results.json", "run.json", "matrix.json", MC_COMPARE_NO_LABELS}, *const reports[] = {"table.txt", "results.csv", "report.html"};
  char folder[64], path[128];
  if (n_bytes < 1) return 0;
  int form = data[0] % 4;
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-run-%ld", (long)getpid());
  mkdir(folder, 0700);
  snprintf(path, sizeof path, "%s/%s", folder, names[form]);
  FILE *f = fopen(path, "wb");
  if (!f || (n_bytes > 1 && fwrite(data + 1, 1, n_bytes - 1, f) != n_bytes - 1) || fclose(f) != 0) abort();
  if (form == 0) go_on_with_cil(path, folder);
  if (form == 1) go_on_with_run(folder);
  if (form == 2) take_matrix(folder);
  if (form == 3) take_no_labels(folder);
  unlink(path);
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, reports[i]);
    unlink(path);
  }
  rmdir(folder);
  return 0;
}
