/* A growing run of bytes, for headers and pickles that are written. */
#ifndef MC_FILES_BYTES_H
#define MC_FILES_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as {0}; after a failed allocation `failed` stays set and puts do nothing. Release with free(data). */
typedef struct mc_bytes {
  uint8_t *data;
  size_t n, cap;
  bool failed;
} mc_bytes;

void mc_bytes_put(mc_bytes *b, const void *data, size_t n);
void mc_bytes_text(mc_bytes *b, const char *text);
void mc_bytes_u8(mc_bytes *b, uint8_t v);
/* Little-endian. */
void mc_bytes_u16(mc_bytes *b, uint16_t v);
void mc_bytes_u32(mc_bytes *b, uint32_t v);
void mc_bytes_u64(mc_bytes *b, uint64_t v);

#endif
