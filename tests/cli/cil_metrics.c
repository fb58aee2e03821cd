/* The measures of class-incremental learning against those of the continuum package (tests/cli/continuum.py made the numbers). */
#include "cli/cil_metrics.h"

#include "check.h"

int main(int argc, char **argv) {
  FILE *f = fopen(argc > 1 ? argv[1] : MOECLIP_TEST_DATA "/continuum.txt", "r");
  int n, n_cases = 0;
  if (!f) return 1;
  while (fscanf(f, "%d", &n) == 1 && n > 0 && n <= 100) {
    double *r = malloc((size_t)n * (size_t)n * sizeof *r), want[6];
    for (int i = 0; i < n * n; i++) CHECK(fscanf(f, "%lf", &r[i]) == 1);
    for (int k = 0; k < 6; k++) CHECK(fscanf(f, "%lf", &want[k]) == 1);
    mc_cil_measures m = mc_cil_measure(r, n, n);
    const double is[6] = {m.accuracy_a, m.forgetting, m.backward_transfer, m.positive_backward_transfer, m.remembering,
                          m.forward_transfer};
    for (int k = 0; k < 6; k++) CHECK_MSG(fabs(is[k] - want[k]) < 1e-12, "%d steps, measure %d: %.15g, not %.15g", n, k, is[k], want[k]);
    free(r);
    n_cases++;
  }
  fclose(f);
  CHECK(n_cases == 8);
  return check_report();
}
