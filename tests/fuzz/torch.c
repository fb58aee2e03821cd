/* PyTorch checkpoints (zip and older) and TorchScript: opening, reading and renaming. Seeds: seeds/torch. */
#include <stdint.h>
#include <stdlib.h>

#include "files/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  moeclip_tensors *t, *named;
  moeclip_error err;
  if (moeclip_tensors_from_memory(data, n_bytes, "input", &t, &err) != MOECLIP_OK) return 0;
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(t, i);
    size_t n = moeclip_tensor_elements(tensor);
    float *values = n < 1 << 20 ? malloc((n + 1) * sizeof *values) : NULL;
    if (values) moeclip_tensor_to_f32(tensor, values); /* touches every byte */
    free(values);
    if (moeclip_tensors_find(t, tensor->name) != tensor) abort();
  }
  if (mc_names_normalise(t, &named, NULL, &err) == MOECLIP_OK) moeclip_tensors_destroy(named);
  moeclip_tensors_destroy(t);
  return 0;
}
