#include "serve/assets.h"

#include <stdio.h>
#include <string.h>

#include "base/sha256.h"

static const char *type_of(const char *name) {
  static const struct {
    const char *ending, *type;
  } types[] = {{".html", "text/html; charset=utf-8"},
               {".js", "text/javascript; charset=utf-8"},
               {".mjs", "text/javascript; charset=utf-8"},
               {".css", "text/css; charset=utf-8"},
               {".json", "application/json"},
               {".svg", "image/svg+xml"},
               {".png", "image/png"},
               {".jpg", "image/jpeg"},
               {".webp", "image/webp"},
               {".ico", "image/x-icon"},
               {".woff2", "font/woff2"},
               {".webmanifest", "application/manifest+json"},
               {".txt", "text/plain; charset=utf-8"}};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++) {
    if (strcmp(dot, types[i].ending) == 0) return types[i].type;
  }
  return "application/octet-stream";
}

int mc_asset_find(const char *name, mc_asset *out) {
  for (unsigned i = 0; i < mc_n_assets_data; i++) {
    const mc_asset_data *a = &mc_assets_data[i];
    if (strcmp(a->name, name) != 0) continue;
    char sum[65];
    mc_sha256 h;
    *out = (mc_asset){.data = a->begin, .n_bytes = (size_t)((uintptr_t)a->end - (uintptr_t)a->begin), .type = type_of(name)};
    mc_sha256_init(&h);
    mc_sha256_add(&h, out->data, out->n_bytes);
    mc_sha256_hex(&h, sum);
    snprintf(out->tag, sizeof out->tag, "\"%.32s\"", sum);
    return 1;
  }
  return 0;
}
