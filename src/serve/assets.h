/* The files that are part of the program: the page, and the description of the interface. */
#ifndef MC_SERVE_ASSETS_H
#define MC_SERVE_ASSETS_H

#include <stddef.h>
#include <stdint.h>

typedef struct mc_asset_data {
  const char *name;
  const unsigned char *begin, *end;
} mc_asset_data;
extern const mc_asset_data mc_assets_data[];
extern const unsigned mc_n_assets_data;

typedef struct mc_asset {
  const uint8_t *data;
  size_t n_bytes;
  const char *type; /* its Content-Type */
  char tag[40];     /* its ETag, with the quotes */
} mc_asset;
/* False when there is none of that name. */
int mc_asset_find(const char *name, mc_asset *out);

#endif
