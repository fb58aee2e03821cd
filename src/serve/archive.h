/* Unpacking a zip archive from outside: everything in it is bounded. */
#ifndef MC_SERVE_ARCHIVE_H
#define MC_SERVE_ARCHIVE_H

#include "base/status.h"

typedef struct mc_archive_limits {
  size_t max_bytes;  /* unpacked, in all */
  int max_files;
  double max_ratio;  /* unpacked over packed, of an entry that unpacks to more than a MiB, and of all */
  double deadline;   /* of mc_serve_clock */
} mc_archive_limits;

/* Pictures go below `folder`; other files are passed over. Names that lead elsewhere, links, encrypted or repeated entries
 * make the whole archive refused. *n_pictures: how many there were; *n_unread: pictures of other kinds than those that are read. */
moeclip_code mc_archive_extract(const char *path, int folder, const mc_archive_limits *limits, int *n_pictures, int *n_unread,
                                moeclip_error *err);

#endif
