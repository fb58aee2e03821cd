/* Paths that come from outside, and folders that are thrown away. */
#ifndef MC_SERVE_PATHS_H
#define MC_SERVE_PATHS_H

#include <stdbool.h>

#include "base/status.h"
#include "moeclip/dataset.h"

/* A path that stays below where it begins: UTF-8, parts split by '/', none of them empty, "." or "..". */
moeclip_code mc_path_check(const char *path, moeclip_error *err);
/* moeclip_picture_kind_of its last part; none where a system's own litter is meant (.name, __MACOSX). */
moeclip_picture_kind mc_path_kind(const char *path);
/* Creates a new file below the folder, and the folders on the way to it; follows no link. *fd is to be closed. */
moeclip_code mc_path_create(int folder, const char *path, int *fd, moeclip_error *err);
moeclip_code mc_path_write(int fd, const void *data, size_t n, const char *name, moeclip_error *err);
/* Removes a folder and what is in it; links are removed, not followed. */
void mc_path_remove(const char *folder);

/* The real path of what `path` names below root (itself a real path), into memory that the caller frees. */
moeclip_code mc_path_below(const char *root, const char *path, char **out, moeclip_error *err);
/* Refuses links below a folder that lead out of root. */
moeclip_code mc_path_check_links(const char *root, const char *folder, moeclip_error *err);
/* Refuses a data set with a file outside root (a CSV file may name any). */
moeclip_code mc_path_check_dataset(const char *root, const moeclip_dataset *d, moeclip_error *err);

#endif
