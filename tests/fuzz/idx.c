/* IDX files, plain and packed. The low seven bits of the first byte say how many bytes at the end are the labels' file;
 * what is between is the pictures', packed here when the high bit is set. Seeds: seeds/idx. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "look.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void put(const char *path, const uint8_t *data, size_t n, int packed) {
  unlink(path);
  if (packed) {
    gzFile f = gzopen(path, "wb1");
    if (!f || (n && gzwrite(f, data, (unsigned)n) != (int)n) || gzclose(f) != Z_OK) abort();
  } else {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char folder[64], images[128], labels[128];
  if (n_bytes < 1) return 0;
  size_t n_labels = data[0] & 0x7f, packed = data[0] >> 7;
  if (n_labels > n_bytes - 1) n_labels = n_bytes - 1;
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-idx-%ld", (long)getpid());
  mkdir(folder, 0700);
  snprintf(images, sizeof images, "%s/train-images-idx3-ubyte", folder);
  snprintf(labels, sizeof labels, "%s/train-labels-idx1-ubyte", folder);
  /* What the input itself packs is unpacked whatever the name: both ways reach zlib. */
  put(images, data + 1, n_bytes - 1 - n_labels, (int)packed);
  put(labels, data + n_bytes - n_labels, n_labels, 0);
  fuzz_look(folder);
  unlink(images);
  unlink(labels);
  rmdir(folder);
  return 0;
}
