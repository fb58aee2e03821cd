#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "golden.h"

const char *golden_path(const golden *g, const char *file) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", g->dir, file);
  return path;
}

bool golden_has(golden *g, const char *file) {
  if (access(golden_path(g, file), R_OK) == 0) return true;
  printf("skipped  %s: not in %s\n", file, g->dir);
  return false;
}

static void count(golden *g, bool ok) {
  if (ok) {
    g->n_passed++;
  } else {
    g->n_failed++;
  }
}

void golden_item(golden *g, const char *item, double error, double bound) {
  bool ok = error <= bound;
  count(g, ok);
  printf("%s %-58s error %.3g, bound %.3g\n", ok ? "ok      " : "FAILED  ", item, error, bound);
}

void golden_exact(golden *g, const char *item, bool ok, const char *format, ...) {
  va_list args;
  count(g, ok);
  printf("%s %-58s ", ok ? "ok      " : "FAILED  ", item);
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  putchar('\n');
}

void golden_failed(golden *g, const char *item, const moeclip_error *err) {
  golden_exact(g, item, false, "%s", err->message);
}

double golden_error(const float *a, const float *b, size_t n) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)a[i] - b[i];
    difference += d * d;
    norm += (double)b[i] * b[i];
  }
  return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

float *golden_floats(golden *g, const moeclip_tensors *t, const char *name, size_t *n) {
  const moeclip_tensor *tensor = moeclip_tensors_find(t, name);
  if (!tensor) {
    golden_exact(g, name, false, "no such tensor in the fixture");
    return NULL;
  }
  size_t count_ = moeclip_tensor_elements(tensor);
  float *values = malloc((count_ ? count_ : 1) * sizeof *values);
  if (!values) abort();
  moeclip_tensor_to_f32(tensor, values);
  if (n) *n = count_;
  return values;
}

int main(int argc, char **argv) {
  golden g = {0};
  const char *from_environment = getenv("MOECLIP_GOLDEN");
  g.dir = argc > 1 ? argv[1] : from_environment ? from_environment : "../shared/golden";
  if (access(g.dir, R_OK) != 0) {
    if (argc <= 1 && !from_environment) {
      printf("skipped: there is no %s; set MOECLIP_GOLDEN to the fixtures' folder\n", g.dir);
      return 77; /* ctest's sign for a skipped test */
    }
    fprintf(stderr, "%s: no such folder; give the fixtures' folder as the argument or in MOECLIP_GOLDEN\n", g.dir);
    return 2;
  }
  json_error_t json_error;
  json_t *json = json_load_file(golden_path(&g, "golden.json"), 0, &json_error);
  if (!json) {
    fprintf(stderr, "%s: %s\n", golden_path(&g, "golden.json"), json_error.text);
    return 2;
  }
  g.json = json;
  golden_containers(&g);
  golden_tokenizer(&g);
  golden_preprocess(&g);
  golden_split(&g);
  golden_alexnet(&g);
  golden_autoencoder(&g);
  golden_eval(&g);
  golden_published(&g);
  golden_train(&g);
  json_decref(json);
  printf("%d passed, %d failed\n", g.n_passed, g.n_failed);
  return g.n_failed > 0 || g.n_passed == 0;
}
