/* What follows decoding, for pictures of every shape: the evaluation transform and the training one. Bytes: width,
 * height (two each), size, smallest crop, then pixels, repeated. Seeds: seeds/preprocess. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "image/augment.h"
#include "moeclip/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 7) return 0;
  int width = 1 + (data[0] | data[1] << 8) % 4096, height = 1 + (data[2] | data[3] << 8) % 4096, size = 1 + data[4];
  float crop = (float)(1 + data[5]) / 256;
  if ((long)width * height > 1 << 18) return 0;
  size_t bytes = 3 * (size_t)width * (size_t)height, each = 3 * (size_t)size * (size_t)size;
  moeclip_image image = {width, height, malloc(bytes)};
  uint8_t *out = malloc(each + 1);
  float *normalized = malloc(each * sizeof *normalized);
  moeclip_error err = {0};
  if (!image.rgb || !out || !normalized) abort();
  int low = 255, high = 0;
  for (size_t i = 0; i < bytes; i++) {
    image.rgb[i] = data[6 + i % (n - 6)];
    low = image.rgb[i] < low ? image.rgb[i] : low;
    high = image.rgb[i] > high ? image.rgb[i] : high;
  }
  out[each] = 0xa5;
  if (moeclip_image_preprocess(&image, size, out, &err) != MOECLIP_OK) abort();
  /* A picture of one tone stays one. */
  for (size_t i = 0; low == high && i < each; i++) {
    if (out[i] != low) abort();
  }
  moeclip_image_normalize(out, size, normalized);
  for (size_t i = 0; i < each; i++) {
    if (!(normalized[i] > -3 && normalized[i] < 3)) abort();
  }
  mc_philox g;
  mc_philox_init(&g, n, MC_STREAM_AUGMENT, data[5]);
  if (mc_image_augment(&image, size, crop, &g, out, &err) != MOECLIP_OK) abort();
  if (out[each] != 0xa5) abort();
  free(image.rgb);
  free(out);
  free(normalized);
  return 0;
}
