/*
 * Reading zip archives that lie in memory: the directory, and the place of an entry's bytes. Weights are stored without
 * compression and are used where they lie, which needs an entry's position in the file; libzip keeps that to itself,
 * so the directory is read here and zlib inflates the odd compressed entry.
 */
#ifndef MC_FILES_ZIP_H
#define MC_FILES_ZIP_H

#include "base/status.h"

typedef struct mc_zip_entry {
  const char *name; /* not ended by 0; in the archive */
  size_t n_name;
  uint64_t offset, packed, size; /* of the local header; bytes in the archive; bytes of content */
  uint32_t crc;
  uint16_t method, flags;
} mc_zip_entry;

typedef struct mc_zip {
  const uint8_t *data;
  size_t directory;      /* where the directory begins: entries end before it */
  mc_zip_entry *entries; /* in the directory's order */
  const mc_zip_entry **by_name;
  size_t n_entries;
} mc_zip;

/* data must outlive *out. Refuses damaged directories, entries outside the archive and names that are there twice. */
moeclip_code mc_zip_open(const uint8_t *data, size_t n_bytes, mc_zip *out, moeclip_error *err);
void mc_zip_close(mc_zip *z);

/* NULL when there is none. */
const mc_zip_entry *mc_zip_find(const mc_zip *z, const char *name, size_t n_name);

/* The entry's content: where it lies when it is stored (*owned NULL), else inflated into *owned = *out, which is freed
 * with free. *budget bounds what may be inflated, and is lowered by it. Checks the CRC only of what was inflated. */
moeclip_code mc_zip_content(const mc_zip *z, const mc_zip_entry *e, size_t *budget, const uint8_t **out, void **owned,
                            moeclip_error *err);

#endif
