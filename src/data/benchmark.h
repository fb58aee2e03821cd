/* What the readers of the published benchmarks' sets share. */
#ifndef MC_DATA_BENCHMARK_H
#define MC_DATA_BENCHMARK_H

#include "data/dataset.h"
#include "moeclip/benchmark_data.h"

/* No set comes near it; a label beyond it is a damaged file. */
enum { MC_MAX_BENCHMARK_CLASSES = 65536 };

/* The set whose layout the folder has, where no other reader could read it; NULL for all other folders. */
const moeclip_benchmark_set *mc_benchmark_recognise(const char *folder);
/* Reads the set in the folder d->path, and gives its classes their published names. */
moeclip_code mc_benchmark_read(moeclip_dataset *d, const moeclip_benchmark_set *set, moeclip_error *err);

/* --- the readers, by what tells the labels ------------------------------------------------------------------------ */

/* lists.c */
moeclip_code mc_read_aircraft(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_dtd(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_food(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_pets(moeclip_dataset *d, moeclip_error *err);
/* trees.c */
moeclip_code mc_read_caltech101(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_eurosat(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_sun397(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_tinyimagenet(moeclip_dataset *d, moeclip_error *err);
/* annotations.c */
moeclip_code mc_read_flowers(moeclip_dataset *d, moeclip_error *err);
moeclip_code mc_read_cars(moeclip_dataset *d, moeclip_error *err);
/* cifar_pickle.c */
moeclip_code mc_read_cifar_pickle(moeclip_dataset *d, moeclip_error *err);

/* --- lists -------------------------------------------------------------------------------------------------------- */

/* A text file, line by line. */
typedef struct mc_list_file {
  char *path, *text, *next;
  size_t line; /* of the last line handed out, from 1 */
} mc_list_file;

/* Opens FOLDER/NAME; close it also after a failure. */
moeclip_code mc_list_open(mc_list_file *f, const char *folder, const char *name, moeclip_error *err);
void mc_list_close(mc_list_file *f);
/* The next line that is not empty, without spaces at its end; false after the last one. The line may be changed. */
bool mc_list_next(mc_list_file *f, char **line);
/* Fails with "PATH:LINE: ...". */
moeclip_code mc_list_bad(const mc_list_file *f, moeclip_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts PATH:LINE before the message of a failure; returns code. */
moeclip_code mc_list_at(const mc_list_file *f, moeclip_code code, moeclip_error *err);

/* Is it a path that stays below the folder it is put after? */
bool mc_is_inner_path(const char *path);
/* Appends the picture FOLDER/NAME ENDING, which must be there. */
moeclip_code mc_add_picture(moeclip_dataset *d, const char *folder, const char *name, const char *ending,
                            int32_t label, int split, moeclip_error *err);
/* Appends the pictures that lie in a folder, sorted, whose names begin with `prefix` ("": all). */
moeclip_code mc_add_pictures(moeclip_dataset *d, const char *folder, const char *prefix, int32_t label, int split,
                             moeclip_error *err);
/* The place of a class in d's classes, which are sorted from number 0 on; -1 when there is none. */
int32_t mc_sorted_class(const moeclip_dataset *d, const char *name);
/* Sorts d's classes by byte and drops repeated ones. */
void mc_sort_classes(moeclip_dataset *d);

#endif
