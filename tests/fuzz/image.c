#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "image/augment.h"
#include "image/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Any bytes: a picture within the bounds that every transform takes, or an error that names the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  enum { SIZE = 40 };
  static uint8_t out[3 * SIZE * SIZE];
  static float normalized[3 * SIZE * SIZE];
  /* Small, so that time goes into finding new paths. */
  mc_image_file file = {.data = data, .n_bytes = n, .name = "fuzz", .max_pixels = 1 << 18};
  moeclip_image image;
  moeclip_error err = {0};
  moeclip_code code = mc_image_decode(&file, &image, &err);
  if (code != MOECLIP_OK) {
    if (image.rgb || err.code != code || strncmp(err.message, "fuzz: ", 6) != 0) abort();
    return 0;
  }
  if (image.width < 1 || image.height < 1 || (uint64_t)image.width * (uint64_t)image.height > file.max_pixels) abort();
  mc_philox g;
  mc_philox_init(&g, n, MC_STREAM_AUGMENT, 0);
  if (moeclip_image_preprocess(&image, SIZE, out, NULL) != MOECLIP_OK) abort();
  moeclip_image_normalize(out, SIZE, normalized);
  if (mc_image_augment(&image, SIZE, 0.1f, &g, out, NULL) != MOECLIP_OK) abort();
  moeclip_image_clear(&image);
  return 0;
}
