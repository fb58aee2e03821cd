/* Labelled pictures: folders, IDX, CIFAR binary, CSV; split into train and test. */
#ifndef MOECLIP_DATASET_H
#define MOECLIP_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/error.h"
#include "moeclip/image.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum moeclip_split { MOECLIP_TRAIN = 0, MOECLIP_TEST = 1 } moeclip_split;

typedef struct moeclip_dataset_options {
  const char *name;           /* NULL: the last part of the path */
  double train_fraction;      /* for sets without a split of their own; default 0.8 */
  uint32_t split_seed;        /* of the seeded permutation; default 42 */
  const char *const *classes; /* names by label, in place of the set's own; NULL: the set's own (folders, CSV, the names
                                 file of CIFAR), or classes.txt (one name a line) beside the data, or the numbers */
  size_t n_classes;
  int64_t max_per_class[2];   /* by split: at most this many pictures of each class, the first met in one pass shuffled
                                 with `seed`; 0: all */
  uint64_t seed;
} moeclip_dataset_options;

MOECLIP_API void moeclip_dataset_options_defaults(moeclip_dataset_options *options);

typedef struct moeclip_dataset moeclip_dataset;

/*
 * PATH is one of
 *   a folder with one subfolder per class, or with train/ and test/ (or val/, valid/, validation/) above those, or with
 *     test/ alone (a set to evaluate on);
 *   a folder with IDX files in the MNIST family's names ({train,t10k}-{images-idx3,labels-idx1}-ubyte, .gz or not);
 *   a folder with CIFAR binary files (data_batch_*.bin + test_batch.bin, or train.bin + test.bin for 100 fine labels);
 *   a folder of one of the benchmarks' sets in its original layout, with its published split and class names: Aircraft,
 *     Caltech101, CIFAR as Python pickles, DTD, Flowers, Food, OxfordPet, StanfordCars, SUN397, TinyImageNet
 *     (benchmark_data.h finds them below a common folder, and the others too);
 *   a CSV file: rows of path,label (paths relative to the file; quoted fields and a header row are understood; an
 *     optional third column says train or test), or rows of numbers: pixels of a square grey picture then the label
 *     (.csv.gz too).
 * Labels are in sorted order of the class folders' names (or first numbers, then names, for a CSV). Underscores in
 * folder names become spaces in class names. Sets without a split: the seeded permutation of the sorted list (of a CSV
 * file: of its rows), the first int(train_fraction * n) for training (method.md section 5).
 * A header row "label,..." of a CSV file of numbers says that the label comes first.
 */
MOECLIP_API moeclip_code moeclip_dataset_open(const char *path, const moeclip_dataset_options *options,
                                              moeclip_dataset **out, moeclip_error *err);
/* The pictures of some classes of one or more sets, as a set with a name of its own: its class k is classes[k]. Pictures keep their
 * split; they come set after set (in order of first mention), each in its own order. The sets must outlive it. A class twice, or
 * one that does not exist, is an error. */
typedef struct moeclip_class_of {
  const moeclip_dataset *dataset;
  int label;
} moeclip_class_of;
MOECLIP_API moeclip_code moeclip_dataset_select(const moeclip_class_of *classes, size_t n, const char *name,
                                                moeclip_dataset **out, moeclip_error *err);
MOECLIP_API void moeclip_dataset_destroy(moeclip_dataset *d);

MOECLIP_API const char *moeclip_dataset_name(const moeclip_dataset *d);
MOECLIP_API const char *moeclip_dataset_path(const moeclip_dataset *d);
/* "folder", "idx", "cifar10", "cifar100", "csv", or the name of a benchmark's set */
MOECLIP_API const char *moeclip_dataset_format(const moeclip_dataset *d);
MOECLIP_API size_t moeclip_dataset_classes(const moeclip_dataset *d);
MOECLIP_API const char *moeclip_dataset_class_name(const moeclip_dataset *d, size_t label);
MOECLIP_API size_t moeclip_dataset_count(const moeclip_dataset *d, moeclip_split split);
/* Pictures that lie in a folder of class folders and are not in the set: how many, and in *first (may be NULL) the path of one, which is the
 * set's; NULL where there is none. Other formats, and a set that was selected from others, have none. */
typedef enum moeclip_left_out {
  MOECLIP_LEFT_OUT_KIND, /* of a kind that is not read (moeclip_picture_kind_of) */
  MOECLIP_LEFT_OUT_LOOSE /* in no class's folder */
} moeclip_left_out;
MOECLIP_API size_t moeclip_dataset_left_out(const moeclip_dataset *d, moeclip_left_out why, const char **first);
/* Label and a name for messages (the file, or FILE#ROW) of picture i of a split. */
MOECLIP_API int moeclip_dataset_label(const moeclip_dataset *d, moeclip_split split, size_t i);
MOECLIP_API moeclip_code moeclip_dataset_item_name(const moeclip_dataset *d, moeclip_split split, size_t i, char *out,
                                                   size_t n_out);
/* Decodes picture i; safe from many threads. */
MOECLIP_API moeclip_code moeclip_dataset_load(const moeclip_dataset *d, moeclip_split split, size_t i,
                                              moeclip_image *out, moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
