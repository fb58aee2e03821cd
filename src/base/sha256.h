/* SHA-256 (FIPS 180-4): checksums of state files, names of backbones. With the processor's own instructions where it has them. */
#ifndef MC_BASE_SHA256_H
#define MC_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mc_sha256 {
  uint32_t state[8];
  uint64_t n_bytes;
  uint8_t block[64];
  bool plain; /* do not use the processor's SHA instructions: set by init, and by tests */
} mc_sha256;

void mc_sha256_init(mc_sha256 *h);
void mc_sha256_add(mc_sha256 *h, const void *data, size_t n_bytes);
/* The hash itself; or 64 lower-case hexadecimal digits and a terminating 0. */
void mc_sha256_bytes(mc_sha256 *h, uint8_t out[32]);
void mc_sha256_hex(mc_sha256 *h, char out[65]);

#endif
