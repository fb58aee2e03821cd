/* The lists of the benchmarks' sets. The first byte names the set; bytes 0xff split the rest into its files. The
 * pictures a.jpg, b.jpg, x_1.jpg and sun_a.jpg lie wherever lists may look for them. Seeds: seeds/lists. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "moeclip/benchmark_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { N_SETS = 7 };
static const struct {
  const char *set, *folder, *files[3];
} sets[N_SETS] = {
    {"Aircraft", "fgvc-aircraft-2013b/data", {"variants.txt", "images_variant_train.txt", "images_variant_test.txt"}},
    {"DTD", "dtd/dtd", {"labels/train1.txt", "labels/test1.txt", NULL}},
    {"Food", "food-101", {"meta/train.txt", "meta/test.txt", NULL}},
    {"Food", "food-101", {"meta/train.json", "meta/test.json", NULL}},
    {"OxfordPet", "oxford-iiit-pet", {"annotations/trainval.txt", "annotations/test.txt", NULL}},
    {"SUN397", "SUN397", {"ClassName.txt", NULL, NULL}},
    {"TinyImageNet", "tiny-imagenet-200", {"wnids.txt", "words.txt", "val/val_annotations.txt"}},
};
static const char *const folders[N_SETS][4] = {
    {"images"},
    {"images", "images/a", "labels"},
    {"images", "images/a", "meta"},
    {"images", "images/a", "meta"},
    {"images", "annotations"},
    {"a", "a/abbey", "b"},
    {"val/images", "train/n01443537/images", "train/n01629819/images"},
};

static char root[64];

static void make_folders(const char *path) {
  char part[PATH_MAX];
  snprintf(part, sizeof part, "%s", path);
  for (char *s = part + 1; (s = strchr(s, '/')); s++) {
    *s = 0;
    mkdir(part, 0700);
    *s = '/';
  }
  mkdir(part, 0700);
}

static void put(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0) abort();
}

static void remove_all(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  if (system(command) != 0) abort();
}

static void make_tree(void) {
  static const char *const pictures[] = {"a.jpg", "b.jpg", "x_1.jpg", "sun_a.jpg", "a.JPEG"};
  char path[PATH_MAX];
  snprintf(root, sizeof root, "/dev/shm/moeclip-fuzz-lists-%ld", (long)getpid());
  for (int s = 0; s < N_SETS; s++) {
    for (int f = 0; f < 4 && folders[s][f]; f++) {
      snprintf(path, sizeof path, "%s/%d/%s/%s", root, s, sets[s].folder, folders[s][f]);
      make_folders(path);
      for (size_t p = 0; p < sizeof pictures / sizeof pictures[0]; p++) {
        snprintf(path, sizeof path, "%s/%d/%s/%s/%s", root, s, sets[s].folder, folders[s][f], pictures[p]);
        put(path, "", 0);
      }
    }
  }
  atexit(remove_all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char path[PATH_MAX];
  moeclip_dataset *d;
  moeclip_error err = {0};
  if (!root[0]) make_tree();
  if (n_bytes < 1) return 0;
  int s = data[0] % N_SETS;
  data++;
  n_bytes--;
  for (int f = 0; f < 3 && sets[s].files[f]; f++) {
    const uint8_t *end = n_bytes ? memchr(data, 0xff, n_bytes) : NULL;
    size_t n = end ? (size_t)(end - data) : n_bytes;
    snprintf(path, sizeof path, "%s/%d/%s/%s", root, s, sets[s].folder, sets[s].files[f]);
    put(path, data, n);
    data += n + (end != NULL);
    n_bytes -= n + (end != NULL);
  }
  snprintf(path, sizeof path, "%s/%d", root, s);
  if (moeclip_benchmark_open(path, sets[s].set, NULL, &d, &err) != MOECLIP_OK) {
    if (d || !err.message[0]) abort();
    return 0;
  }
  for (int split = 0; split < 2; split++) {
    for (size_t i = 0; i < moeclip_dataset_count(d, split); i++) {
      char name[PATH_MAX];
      if (!moeclip_dataset_class_name(d, (size_t)moeclip_dataset_label(d, split, i))) abort();
      if (moeclip_dataset_item_name(d, split, i, name, sizeof name) != MOECLIP_OK) abort();
      /* A list must not lead out of its set. */
      if (strncmp(name, root, strlen(root)) != 0 || strstr(name, "/../")) abort();
    }
  }
  moeclip_dataset_destroy(d);
  return 0;
}
