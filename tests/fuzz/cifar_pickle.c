/* CIFAR's pickles: the first two bytes say how long the file of names is; the rest is the file of pictures. Seeds:
 * seeds/cifar_pickle. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "look.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void put(const char *folder, const char *name, const uint8_t *data, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char folder[64];
  static const char *const files[] = {"meta", "train", "test"};
  if (n_bytes < 2) return 0;
  size_t n_meta = data[0] | (size_t)data[1] << 8;
  if (n_meta > n_bytes - 2) n_meta = n_bytes - 2;
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-cifar-%ld", (long)getpid());
  mkdir(folder, 0700);
  put(folder, "meta", data + 2, n_meta);
  for (int i = 1; i < 3; i++) put(folder, files[i], data + 2 + n_meta, n_bytes - 2 - n_meta);
  fuzz_look(folder);
  for (int i = 0; i < 3; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, files[i]);
    unlink(path);
  }
  rmdir(folder);
  return 0;
}
