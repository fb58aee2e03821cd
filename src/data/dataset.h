/*
 * What the readers of data/ share: the list of pictures that a data set is made of. A reader (folder.c, idx.c, cifar.c,
 * csv.c, and those of benchmark.h) adds classes and items; dataset.c then names, splits and limits them.
 */
#ifndef MC_DATA_DATASET_H
#define MC_DATA_DATASET_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"
#include "moeclip/dataset.h"

enum { MC_SPLIT_UNKNOWN = -1 };

typedef struct mc_item {
  const moeclip_dataset *of; /* the set whose file and pixels these are, when not the one that holds the item */
  char *path;            /* owned: a picture file; or NULL: pixels */
  const uint8_t *pixels; /* planes [channels, height, width] in one of the set's blocks */
  int32_t label;
  int32_t split;         /* MOECLIP_TRAIN, MOECLIP_TEST or MC_SPLIT_UNKNOWN */
  uint32_t row;          /* of pixels: number in its file, and which file */
  uint32_t file;
} mc_item;

typedef struct mc_block_of_pixels {
  char *file; /* name for messages */
  uint8_t *data;
} mc_block_of_pixels;

struct moeclip_dataset {
  bool borrowed;               /* the items belong to other sets */
  char *path, *name;
  const char *format;
  char **classes;
  size_t n_classes, cap_classes;
  mc_item *items;
  size_t n_items, cap_items;
  mc_block_of_pixels *blocks;
  size_t n_blocks;
  bool has_names;              /* classes have names of their own, not numbers alone */
  int channels, height, width; /* of items with pixels */
  uint32_t *split[2];          /* [n_split]: numbers of items */
  size_t n_split[2];
  size_t n_left_out[2];        /* by moeclip_left_out, and a path of each */
  char *left_out[2];
};

/* What moeclip_dataset_open does, with one reader: it fills d->items and the like from d->path. */
typedef moeclip_code (*mc_reader)(moeclip_dataset *d, const void *context, moeclip_error *err);
moeclip_code mc_dataset_open_with(const char *path, const moeclip_dataset_options *options, mc_reader read,
                                  const void *context, moeclip_dataset **out, moeclip_error *err);

/* Appends an item; takes over item->path (also when this fails). */
moeclip_code mc_dataset_add(moeclip_dataset *d, const mc_item *item, moeclip_error *err);
/* Counts a picture that is not in the set; takes over path. */
void mc_dataset_leave_out(moeclip_dataset *d, moeclip_left_out why, char *path);
/* Takes over data (from malloc, also when this fails) and copies the file's name; *block is its number. */
moeclip_code mc_dataset_keep(moeclip_dataset *d, const char *file, uint8_t *data, uint32_t *block, moeclip_error *err);
/* Appends a class name (copied). */
moeclip_code mc_dataset_add_class(moeclip_dataset *d, const char *name, size_t n, moeclip_error *err);
void mc_dataset_drop_classes(moeclip_dataset *d);
/* Class names from a file with one name a line beside the data, in place of those so far; *found is false, and nothing
 * changed, when there is no such file. */
moeclip_code mc_dataset_classes_file(moeclip_dataset *d, const char *file, bool *found, moeclip_error *err);

/* The readers. Each fails without classes or items; paths are in the messages. */
moeclip_code mc_read_folder(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_idx(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_cifar(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_csv(moeclip_dataset *d, moeclip_error *err);
/* Does the folder hold such files? */
bool mc_is_idx(const char *folder);
bool mc_is_cifar(const char *folder);

bool mc_is_picture_name(const char *name); /* one that is read */
/* Names in a folder, sorted by byte, without hidden ones; free with mc_names_free. */
moeclip_code mc_list_folder(const char *path, char ***names, size_t *n, moeclip_error *err);
void mc_names_free(char **names, size_t n);
/* For qsort of names. */
int mc_by_bytes(const void *a, const void *b);
bool mc_is_folder(const char *path);
bool mc_is_file(const char *path);
/* FOLDER/NAME. They need no memory: running short of it must not look like a file that is not there. */
bool mc_is_folder_in(const char *folder, const char *name);
bool mc_is_file_in(const char *folder, const char *name);

/* The folders that a walk is in. Links that lead back to one of them would make it endless. */
enum { MC_MAX_DEPTH = 32 };
typedef struct mc_folder {
  dev_t device;
  ino_t number;
  int depth;
  const struct mc_folder *above; /* NULL at the top */
} mc_folder;
/* *again: the walk is inside this folder already and must not enter it. Fails below MC_MAX_DEPTH. */
moeclip_code mc_folder_enter(mc_folder *f, const char *path, const mc_folder *above, bool *again, moeclip_error *err);

/* A whole file, unpacked when it is gzip; at most max_bytes. *data is freed with free and has a 0 after its end. */
moeclip_code mc_read_maybe_gzip(const char *path, size_t max_bytes, uint8_t **data, size_t *n, moeclip_error *err);
/* Its first n_out bytes, or fewer when it is shorter. */
moeclip_code mc_read_start(const char *path, uint8_t *out, size_t n_out, size_t *n, moeclip_error *err);

/* One row of a CSV text (RFC 4180: quotes, doubled quotes, line breaks inside quotes; CRLF or LF). The fields point
 * into the text, which has a 0 after its end and is changed in place. */
typedef struct mc_csv {
  char *at, *end;
  size_t line;     /* of what comes next, from 1 */
  size_t row;      /* the line on which the last row begins */
  char **fields;   /* [n_fields] of the last row */
  size_t n_fields, cap_fields;
} mc_csv;
void mc_csv_init(mc_csv *c, char *text, size_t n);
void mc_csv_clear(mc_csv *c);
/* *more is false at the end. Empty lines are passed over. */
moeclip_code mc_csv_next(mc_csv *c, bool *more, moeclip_error *err);

#endif
