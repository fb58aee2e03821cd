/* MATLAB files of annotations: the check, and what matio makes of the files that pass it. Seeds: seeds/matlab. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/matlab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char path[64];
  static const char *const lists[] = {"labels", "trnid", "tstid"};
  moeclip_error err = {0};
  double *numbers;
  char **texts;
  size_t n;
  if (mc_matlab_check(data, n_bytes, &err) != MOECLIP_OK) {
    if (!err.message[0]) abort();
    return 0;
  }
  snprintf(path, sizeof path, "/dev/shm/moeclip-fuzz-matlab-%ld", (long)getpid());
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n_bytes, f) != n_bytes || fclose(f) != 0) abort();
  for (int i = 0; i < 3; i++) {
    if (mc_matlab_numbers(path, lists[i], &numbers, &n, &err) == MOECLIP_OK) free(numbers);
  }
  if (mc_matlab_texts(path, "class_names", &texts, &n, &err) == MOECLIP_OK) mc_names_free(texts, n);
  if (mc_matlab_table(path, "annotations", "class", "fname", &numbers, &texts, &n, &err) == MOECLIP_OK) {
    free(numbers);
    mc_names_free(texts, n);
  }
  unlink(path);
  return 0;
}
