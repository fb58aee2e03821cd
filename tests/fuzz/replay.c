/* Feeds files to a fuzz target without libFuzzer: fuzz_replay_NAME FILE|FOLDER... Every one must end without a crash.
 * Or makes the target's seeds: fuzz_replay_NAME --make FOLDER. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
__attribute__((weak)) void fuzz_make_seeds(const char *folder);

static int n_fed;

static void feed(const char *path) {
  FILE *f = fopen(path, "rb");
  struct stat st;
  if (!f || fstat(fileno(f), &st) != 0) {
    perror(path);
    exit(1);
  }
  size_t n = (size_t)st.st_size;
  uint8_t *data = malloc(n ? n : 1); /* of that size exactly, so that a sanitizer sees the end */
  if (!data || fread(data, 1, n, f) != n) exit(1);
  fclose(f);
  printf("%s\n", path);
  fflush(stdout);
  LLVMFuzzerTestOneInput(data, n);
  free(data);
  n_fed++;
}

static void feed_all(const char *path) {
  DIR *d = opendir(path);
  if (!d) {
    feed(path);
    return;
  }
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    char *inner = malloc(strlen(path) + strlen(e->d_name) + 2);
    if (!inner) exit(1);
    sprintf(inner, "%s/%s", path, e->d_name);
    feed_all(inner);
    free(inner);
  }
  closedir(d);
}

int main(int argc, char **argv) {
  struct stat st;
  if (argc == 3 && strcmp(argv[1], "--make") == 0) {
    if (!fuzz_make_seeds) return 2;
    fuzz_make_seeds(argv[2]);
    return 0;
  }
  for (int i = 1; i < argc; i++) {
    if (stat(argv[i], &st) == 0) feed_all(argv[i]); /* not every target has regressions */
  }
  printf("%d inputs\n", n_fed);
  return n_fed > 0 ? 0 : 1;
}
