/* Pictures with captions. The first byte says in which form the rest comes: a CSV file, a text beside a picture, or the
 * name of a class's folder. Seeds: seeds/pairs. */
#include "data/pairs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void put(const char *path, const uint8_t *data, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0) abort();
}

static void try_pairs(const char *path) {
  mc_pairs *p;
  moeclip_error err = {0};
  if (mc_pairs_open(path, &p, &err) != MOECLIP_OK) {
    if (p || !err.message[0]) abort();
    return;
  }
  mc_image_source source = mc_pairs_source(p);
  if (source.count != mc_pairs_count(p) || source.count == 0) abort();
  for (size_t i = 0; i < source.count; i++) {
    char name[64];
    if (mc_pairs_captions(p, i) == 0 || source.item_name(source.context, i, name, sizeof name) != MOECLIP_OK) abort();
    for (size_t k = 0; k < mc_pairs_captions(p, i); k++) {
      if (!mc_pairs_caption(p, i, k)[0]) abort();
    }
  }
  mc_pairs_destroy(p);
}

/* One folder's name of the input; false when it cannot be one. */
static int class_name(const uint8_t *data, size_t n, char out[128]) {
  if (n == 0 || n > 127 || memchr(data, 0, n) || memchr(data, '/', n) || data[0] == '.') return 0;
  memcpy(out, data, n);
  out[n] = 0;
  return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char folder[64], a[128], b[320], name[128] = "";
  if (n_bytes < 1) return 0;
  int form = data[0] % 3;
  data++;
  n_bytes--;
  if (form == 2 && !class_name(data, n_bytes, name)) return 0;
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-pairs-%ld", (long)getpid());
  mkdir(folder, 0700);
  snprintf(a, sizeof a, "%s/%s", folder, form == 0 ? "pairs.csv" : "a.png");
  snprintf(b, sizeof b, "%s/%s", folder, form == 2 ? name : "a.txt");
  if (form < 2) put(a, data, form == 0 ? n_bytes : 0);
  if (form == 1) put(b, data, n_bytes);
  if (form == 2) {
    char inner[400];
    if (mkdir(b, 0700) != 0) abort();
    snprintf(inner, sizeof inner, "%s/x.png", b);
    put(inner, data, 0);
    try_pairs(folder);
    unlink(inner);
    rmdir(b);
  } else {
    try_pairs(form == 0 ? a : folder);
    unlink(a);
    if (form == 1) unlink(b);
  }
  rmdir(folder);
  return 0;
}
