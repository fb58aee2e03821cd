/* Whole files in, whole files out. */
#ifndef MC_BASE_FILE_H
#define MC_BASE_FILE_H

#include <stdbool.h>

#include "base/status.h"

/* Whether there is something of that name. Not being able to tell is a failure, and never "no": what is there would be written over. */
moeclip_code mc_file_exists(const char *path, bool *there, moeclip_error *err);

/* The path of what is called `name` in the folder that `path` is in: freed by the caller with free; NULL: no memory. */
char *mc_file_beside(const char *path, const char *name);

/* A file mapped read-only (or, where mmap is refused, read) into memory. */
typedef struct mc_mapping {
  const uint8_t *data; /* NULL when n_bytes is 0 */
  size_t n_bytes;
  int mapped; /* 1: munmap, 0: free */
} mc_mapping;

moeclip_code mc_mapping_open(const char *path, mc_mapping *out, moeclip_error *err);
void mc_mapping_close(mc_mapping *m);

/* Reads a whole file of at most max_bytes; *data is freed by the caller with free and has a 0 after its end. */
moeclip_code mc_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *n_bytes, moeclip_error *err);

/*
 * Safe writing (writer.c): the bytes go to a temporary file beside PATH; mc_writer_commit flushes, fsyncs, renames it over PATH
 * and fsyncs the folder. Whatever fails before that leaves the old PATH untouched. After a failed put, further puts do
 * nothing and commit reports the first failure. commit and abort both release the writer.
 * The temporary file, PATH.NUMBER.tmp, is locked while it is written: those that a killed process left behind are not, and the next
 * writer of PATH removes them.
 */
typedef struct mc_writer mc_writer;
moeclip_code mc_writer_open(const char *path, mc_writer **out, moeclip_error *err);
void mc_writer_put(mc_writer *w, const void *data, size_t n_bytes);
moeclip_code mc_writer_commit(mc_writer *w, moeclip_error *err);
void mc_writer_abort(mc_writer *w);

/* Writes n_bytes to path in that way. */
moeclip_code mc_file_write(const char *path, const void *data, size_t n_bytes, moeclip_error *err);

#endif
