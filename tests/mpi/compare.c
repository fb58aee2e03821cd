/*
 * compare A B START: how far two states are apart, against how far A has come from where learning started: the norm of all
 * differences over that of all changes. Prints it; equal names, shapes and whole numbers are required (exit code 1 otherwise).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moeclip/tensors.h"

static moeclip_tensors *open_file(const char *path) {
  moeclip_tensors *t;
  moeclip_error err;
  if (moeclip_tensors_open(path, &t, &err) == MOECLIP_OK) return t;
  fprintf(stderr, "compare: %s\n", err.message);
  exit(1);
}

static float *values(const moeclip_tensor *t) {
  float *v = malloc(moeclip_tensor_elements(t) * sizeof *v + 1);
  if (!v) exit(1);
  moeclip_tensor_to_f32(t, v);
  return v;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  moeclip_tensors *a = open_file(argv[1]), *b = open_file(argv[2]), *start = open_file(argv[3]);
  double difference = 0, change = 0;
  if (moeclip_tensors_count(a) != moeclip_tensors_count(b)) {
    fprintf(stderr, "compare: other tensors\n");
    return 1;
  }
  for (size_t i = 0; i < moeclip_tensors_count(a); i++) {
    const moeclip_tensor *x = moeclip_tensors_at(a, i), *y = moeclip_tensors_find(b, x->name), *from = moeclip_tensors_find(start, x->name);
    if (!y || y->n_bytes != x->n_bytes || y->dtype != x->dtype) {
      fprintf(stderr, "compare: %s: not in both, or of another shape\n", x->name);
      return 1;
    }
    if (x->dtype != MOECLIP_F32) {
      /* Thresholds are numbers with a fraction; counts and flags are not. */
      if (x->dtype != MOECLIP_F64 && memcmp(x->data, y->data, x->n_bytes) != 0) {
        fprintf(stderr, "compare: %s differs\n", x->name);
        return 1;
      }
      continue;
    }
    float *vx = values(x), *vy = values(y), *vf = from && from->n_bytes == x->n_bytes ? values(from) : NULL;
    for (size_t k = 0; k < moeclip_tensor_elements(x); k++) {
      double d = (double)vx[k] - vy[k], c = (double)vx[k] - (vf ? vf[k] : 0);
      difference += d * d;
      change += c * c;
    }
    free(vx);
    free(vy);
    free(vf);
  }
  printf("%.3g\n", sqrt(difference / change));
  moeclip_tensors_destroy(a);
  moeclip_tensors_destroy(b);
  moeclip_tensors_destroy(start);
  return 0;
}
