/* The benchmarks' data sets: what they are, where they lie, opening one. */
#include "data/benchmark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

/* One of the forms in which a set is found: a folder below the root, and what tells that it is the set. */
typedef struct layout {
  const char *folder, *markers[2];
  moeclip_code (*read)(moeclip_dataset *d, moeclip_error *err);
} layout;

typedef struct known_set {
  moeclip_benchmark_set about;
  layout layouts[3];
  int by_layout; /* a folder of the first so many layouts is this set wherever it lies: no other reader fits it */
} known_set;

#define OXFORD "https://www.robots.ox.ac.uk/~vgg/data/"
#define TORONTO "https://www.cs.toronto.edu/~kriz/"

/* Sorted by name, which is the published order I as well. */
static const known_set sets[] = {
    {{"Aircraft", "fgvc-aircraft-2013b/data", OXFORD "fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz", "", NULL,
      3334, 3333, 100, 0},
     {{"fgvc-aircraft-2013b/data", {"variants.txt", "images"}, mc_read_aircraft}}, 1},
    {{"Caltech101", "caltech101/101_ObjectCategories",
      "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip", "caltech101",
      "unpack the 101_ObjectCategories.tar.gz in it as well", 6941, 1736, 101, 1},
     {{"caltech101/101_ObjectCategories", {NULL, NULL}, mc_read_caltech101}}, 0},
    {{"CIFAR10", "cifar-10-batches-py", TORONTO "cifar-10-python.tar.gz", "", NULL, 50000, 10000, 10, 0},
     {{"cifar-10-batches-py", {"batches.meta", "test_batch"}, mc_read_cifar_pickle},
      {"cifar-10-batches-bin", {"test_batch.bin", NULL}, mc_read_cifar}}, 1},
    {{"CIFAR100", "cifar-100-python", TORONTO "cifar-100-python.tar.gz", "", NULL, 50000, 10000, 100, 0},
     {{"cifar-100-python", {"meta", "test"}, mc_read_cifar_pickle},
      {"cifar-100-binary", {"test.bin", NULL}, mc_read_cifar}}, 1},
    {{"DTD", "dtd/dtd", OXFORD "dtd/download/dtd-r1.0.1.tar.gz", "dtd", NULL, 1880, 1880, 47, 0},
     {{"dtd/dtd", {"labels/train1.txt", "images"}, mc_read_dtd},
      {"dtd", {"labels/train1.txt", "images"}, mc_read_dtd}}, 1},
    {{"EuroSAT", "eurosat/2750", "https://madm.dfki.de/files/sentinel/EuroSAT.zip", "eurosat", NULL, 21600, 5400, 10,
      1},
     {{"eurosat/2750", {NULL, NULL}, mc_read_eurosat}}, 0},
    {{"Flowers", "flowers-102", OXFORD "flowers/102/102flowers.tgz", "flowers-102",
      "put imagelabels.mat and setid.mat of the same address beside its jpg folder", 1020, 6149, 102, 0},
     {{"flowers-102", {"imagelabels.mat", "setid.mat"}, mc_read_flowers}}, 1},
    {{"Food", "food-101", "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "", NULL, 75750, 25250, 101, 0},
     {{"food-101", {"meta/classes.txt", "images"}, mc_read_food},
      {"food-101", {"meta/train.txt", "images"}, mc_read_food},
      {"food-101", {"meta/train.json", "images"}, mc_read_food}}, 3},
    {{"MNIST", "MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz", "MNIST/raw",
      "and train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz; they may stay packed",
      60000, 10000, 10, 0},
     {{"MNIST/raw", {NULL, NULL}, mc_read_idx}, {"MNIST", {NULL, NULL}, mc_read_idx}}, 0},
    {{"OxfordPet", "oxford-iiit-pet", OXFORD "pets/data/images.tar.gz", "oxford-iiit-pet",
      "and annotations.tar.gz of the same address", 3680, 3669, 37, 0},
     {{"oxford-iiit-pet", {"annotations/trainval.txt", "images"}, mc_read_pets}}, 1},
    {{"StanfordCars", "stanford_cars", "https://github.com/pytorch/vision/issues/7545#issuecomment-1631441616",
      "stanford_cars",
      "the makers' own address is gone, that page says where copies are: devkit/, cars_train/, cars_test/ and "
      "cars_test_annos_withlabels.mat",
      8144, 8041, 196, 0},
     {{"stanford_cars", {"devkit/cars_meta.mat", "devkit/cars_train_annos.mat"}, mc_read_cars}}, 1},
    {{"SUN397", "SUN397", "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "", NULL, 87003, 21751, 397,
      1},
     {{"SUN397", {"ClassName.txt", NULL}, mc_read_sun397}}, 1},
    {{"TinyImageNet", "tiny-imagenet-200", "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "", NULL, 100000, 10000,
      200, 0},
     {{"tiny-imagenet-200", {"wnids.txt", "val/val_annotations.txt"}, mc_read_tinyimagenet}}, 1},
};

enum { N_SETS = sizeof sets / sizeof *sets };

size_t moeclip_benchmark_count(void) { return N_SETS; }
const moeclip_benchmark_set *moeclip_benchmark_at(size_t i) { return i < N_SETS ? &sets[i].about : NULL; }

static const known_set *by_name(const char *name) {
  for (size_t i = 0; name && i < N_SETS; i++) {
    if (strcasecmp(name, sets[i].about.name) == 0) return &sets[i];
  }
  return NULL;
}

const moeclip_benchmark_set *moeclip_benchmark_by_name(const char *name) {
  const known_set *s = by_name(name);
  return s ? &s->about : NULL;
}

static moeclip_code unknown(const char *name, moeclip_error *err) {
  char names[256] = "";
  for (size_t i = 0, n = 0; i < N_SETS; i++) {
    n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", sets[i].about.name);
    if (n >= sizeof names) break;
  }
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "\"%s\" is none of the benchmarks' data sets: %s", name, names);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

/* What of a layout is not in the folder: a marker, "" for the folder itself, NULL: nothing. */
static const char *missing(const layout *l, const char *folder) {
  if (!mc_is_folder(folder)) return "";
  if (l->read == mc_read_idx) return mc_is_idx(folder) ? NULL : "train-images-idx3-ubyte";
  for (int i = 0; i < 2 && l->markers[i]; i++) {
    if (!mc_is_file_in(folder, l->markers[i]) && !mc_is_folder_in(folder, l->markers[i])) return l->markers[i];
  }
  return NULL;
}

static moeclip_code not_there(const char *root, const known_set *s, moeclip_error *err) {
  const moeclip_benchmark_set *a = &s->about;
  char *folder = mc_format("%s/%s", root, a->folder);
  const char *lacks = folder ? missing(&s->layouts[0], folder) : "";
  if (!lacks) lacks = "";
  bool in_root = !*a->unpack_in;
  mc_fail(err, MOECLIP_ERROR_IO, "%s: %s/%s%s%s is missing: download %s and unpack it in %s%s%s%s%s%s", a->name, root,
          a->folder, *lacks ? "/" : "", lacks, a->url, root, in_root ? "" : "/", a->unpack_in, a->note ? " (" : "",
          a->note ? a->note : "", a->note ? ")" : "");
  free(folder);
  return MOECLIP_ERROR_IO;
}

/* The first layout that is there; NULL: none. *folder is freed by the caller. */
static moeclip_code find(const char *root, const known_set *s, char **folder, moeclip_error *err) {
  for (size_t i = 0; i < sizeof s->layouts / sizeof *s->layouts && s->layouts[i].folder; i++) {
    *folder = mc_format("%s/%s", root, s->layouts[i].folder);
    if (!*folder) return mc_fail_memory(err, strlen(root), "a file name");
    if (!missing(&s->layouts[i], *folder)) return MOECLIP_OK;
    free(*folder);
    *folder = NULL;
  }
  return not_there(root, s, err);
}

/* root without slashes at its end; freed by the caller. */
static char *trimmed(const char *root) {
  size_t n = strlen(root);
  while (n > 1 && root[n - 1] == '/') n--;
  return mc_strndup(root, n);
}

static moeclip_code find_set(const char *root, const char *name, const known_set **set, char **folder,
                             moeclip_error *err) {
  *folder = NULL;
  *set = by_name(name);
  if (!*set) return unknown(name, err);
  char *top = trimmed(root);
  if (!top) return mc_fail_memory(err, strlen(root), "a file name");
  moeclip_code code = find(top, *set, folder, err);
  free(top);
  return code;
}

moeclip_code moeclip_benchmark_find(const char *root, const char *set, char *path, size_t n_path,
                                    moeclip_error *err) {
  const known_set *s;
  char *folder;
  MC_TRY(find_set(root, set, &s, &folder, err));
  bool fits = strlen(folder) < n_path;
  if (fits) strcpy(path, folder);
  free(folder);
  if (fits) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: the path is longer than %zu bytes", root, n_path);
}

const moeclip_benchmark_set *mc_benchmark_recognise(const char *folder) {
  const char *slash = strrchr(folder, '/'), *last = slash ? slash + 1 : folder;
  for (size_t i = 0; i < N_SETS; i++) {
    for (int l = 0; l < sets[i].by_layout; l++) {
      if (!missing(&sets[i].layouts[l], folder)) return &sets[i].about;
    }
  }
  /* Beside its classes it has a folder of pictures of no class, which tells nothing but by its name. */
  return strcmp(last, "101_ObjectCategories") == 0 ? moeclip_benchmark_by_name("Caltech101") : NULL;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Published names stand in label order: they fit a set with all of its classes, and, where the labels are numbers in
 * the set's own files, also one with fewer. Names that a copy has of its own stay where the counts differ. */
static moeclip_code name_classes(moeclip_dataset *d, const moeclip_benchmark_set *set, moeclip_error *err) {
  moeclip_benchmark_texts texts;
  size_t n = d->n_classes;
  MC_TRY(moeclip_benchmark_texts_load(set->name, &texts, err));
  if (n == 0) {
    for (size_t i = 0; i < d->n_items; i++) n = (size_t)d->items[i].label >= n ? (size_t)d->items[i].label + 1 : n;
  }
  bool fits = d->n_classes == 0 ? n <= texts.n_classes : n == texts.n_classes;
  moeclip_code code = MOECLIP_OK;
  if (fits && texts.n_classes && !texts.ids) {
    mc_dataset_drop_classes(d);
    for (size_t c = 0; c < n && code == MOECLIP_OK; c++) {
      code = mc_dataset_add_class(d, texts.classes[c], strlen(texts.classes[c]), err);
    }
  }
  moeclip_benchmark_texts_clear(&texts);
  for (size_t c = 0; c < d->n_classes; c++) {
    for (char *s = d->classes[c]; *s; s++) *s = *s == '_' ? ' ' : *s;
  }
  d->has_names = d->n_classes > 0;
  return code;
}

moeclip_code mc_benchmark_read(moeclip_dataset *d, const moeclip_benchmark_set *set, moeclip_error *err) {
  const known_set *s = by_name(set->name);
  const layout *l = &s->layouts[0];
  for (size_t i = 0; i < sizeof s->layouts / sizeof *s->layouts && s->layouts[i].folder; i++) {
    if (missing(&s->layouts[i], d->path)) continue;
    l = &s->layouts[i];
    break;
  }
  d->format = set->name;
  MC_TRY(l->read(d, err));
  d->format = set->name;
  if (d->n_items == 0) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there are no pictures", d->path);
  return name_classes(d, set, err);
}

static moeclip_code read_set(moeclip_dataset *d, const void *context, moeclip_error *err) {
  return mc_benchmark_read(d, context, err);
}

moeclip_code moeclip_benchmark_open(const char *root, const char *set, const moeclip_dataset_options *options,
                                    moeclip_dataset **out, moeclip_error *err) {
  moeclip_dataset_options o;
  const known_set *s;
  char *folder;
  *out = NULL;
  MC_TRY(find_set(root, set, &s, &folder, err));
  moeclip_dataset_options_defaults(&o);
  if (options) o = *options;
  if (!o.name) o.name = s->about.name;
  moeclip_code code = mc_dataset_open_with(folder, &o, read_set, &s->about, out, err);
  free(folder);
  return code;
}
