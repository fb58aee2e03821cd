/* Whole files in, whole files out. */
#ifndef MC_BASE_FILE_H
#define MC_BASE_FILE_H

#include "base/status.h"

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
 * Safe writing: the bytes go to a temporary file beside PATH; mc_writer_commit flushes, fsyncs, renames it over PATH
 * and fsyncs the folder. Whatever fails before that leaves the old PATH untouched. After a failed put, further puts do
 * nothing and commit reports the first failure. commit and abort both release the writer.
 */
typedef struct mc_writer mc_writer;
moeclip_code mc_writer_open(const char *path, mc_writer **out, moeclip_error *err);
void mc_writer_put(mc_writer *w, const void *data, size_t n_bytes);
moeclip_code mc_writer_commit(mc_writer *w, moeclip_error *err);
void mc_writer_abort(mc_writer *w);

/* Writes n_bytes to path in that way. */
moeclip_code mc_file_write(const char *path, const void *data, size_t n_bytes, moeclip_error *err);

#endif
