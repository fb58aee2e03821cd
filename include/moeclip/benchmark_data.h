/*
 * The thirteen data sets of the published benchmarks, in the layouts in which they are downloaded and unpacked: eleven
 * of the multi-domain benchmark, CIFAR10, and TinyImageNet (the reference set and the class-incremental benchmark).
 *
 *   moeclip_dataset *cars;
 *   if (moeclip_benchmark_open("/data", "StanfordCars", NULL, &cars, &err) != MOECLIP_OK) puts(err.message);
 */
#ifndef MOECLIP_BENCHMARK_DATA_H
#define MOECLIP_BENCHMARK_DATA_H

#include "moeclip/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_benchmark_set {
  const char *name;      /* "Aircraft" */
  const char *folder;    /* of the set below the root: "fgvc-aircraft-2013b/data" */
  const char *url;       /* what to download */
  const char *unpack_in; /* where below the root; "" is the root itself */
  const char *note;      /* what else must be known of it; NULL: nothing */
  size_t n_train, n_test, n_classes; /* of the complete set */
  int seeded_split;      /* no split of its own: the seeded permutation (moeclip_dataset_options) */
} moeclip_benchmark_set;

/* The sets in the order of their names. NULL outside 0..count-1, and for a name that is none (in any case). */
MOECLIP_API size_t moeclip_benchmark_count(void);
MOECLIP_API const moeclip_benchmark_set *moeclip_benchmark_at(size_t i);
MOECLIP_API const moeclip_benchmark_set *moeclip_benchmark_by_name(const char *name);

/* What is published with a set. Clear it after use. */
typedef struct moeclip_benchmark_texts {
  const char *const *templates; /* [n_templates] prompts with {} for the class name; the first one trains */
  size_t n_templates;
  const char *const *classes;   /* [n_classes] names by label; none where they come from the set's own files */
  size_t n_classes;
  const char *const *ids;       /* [n_classes] TinyImageNet: the WordNet id of each; else NULL */
  const int *order;             /* [n_order] class-incremental benchmark: the original label at each position */
  size_t n_order;
  void *memory;
} moeclip_benchmark_texts;

MOECLIP_API moeclip_code moeclip_benchmark_texts_load(const char *set, moeclip_benchmark_texts *out,
                                                      moeclip_error *err);
MOECLIP_API void moeclip_benchmark_texts_clear(moeclip_benchmark_texts *t);

/* The class-incremental benchmark's order of classes: "cifar100", "tinyimagenet" or "imagenet100". out [n_out]: the label at each
 * position; *n becomes how many there are, which may be more. */
MOECLIP_API moeclip_code moeclip_benchmark_order(const char *name, int *out, size_t n_out, size_t *n, moeclip_error *err);

/* Where a set lies below root, into path. Fails when it is not there; the message says what to download and where to
 * unpack it. Nothing is read but names. */
MOECLIP_API moeclip_code moeclip_benchmark_find(const char *root, const char *set, char *path, size_t n_path,
                                                moeclip_error *err);

/*
 * Opens a set below root. The splits are the published ones: the sets' own (Aircraft, DTD, Flowers: train and test
 * without their validation pictures; OxfordPet: trainval and test; TinyImageNet: train and val), or the seeded
 * permutation of Caltech101, EuroSAT and SUN397. Class names are the published ones, by label. A copy with fewer classes
 * works too: its classes are named by its own folders and lists (in Flowers and MNIST, by number). Pictures that a list
 * names must be there.
 */
MOECLIP_API moeclip_code moeclip_benchmark_open(const char *root, const char *set,
                                                const moeclip_dataset_options *options, moeclip_dataset **out,
                                                moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
