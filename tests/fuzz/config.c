/* The configuration beside a CLIP's weights. The first byte's lowest bit: Hugging Face's, else OpenCLIP's; the next: of its pictures; the
 * rest is the file. Seeds: seeds/config. */
#include "files/config.h"
#include "model/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "moeclip/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { WIDTH = 768 };

static void check_heads(const char *said) {
  if (said && (atoi(said) < 1 || WIDTH % atoi(said))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  static const float ones[WIDTH];
  static const int64_t shape[1] = {WIDTH};
  char folder[64], path[128], weights[128];
  moeclip_tensors *t;
  moeclip_error err = {0};
  if (n_bytes < 1) return 0;
  mc_naming naming = data[0] & 1 ? MC_NAMES_HUGGINGFACE : MC_NAMES_OPENAI;
  snprintf(folder, sizeof folder, "/dev/shm/moeclip-fuzz-config-%d", (int)getpid());
  snprintf(path, sizeof path, "%s%s", folder,
           naming == MC_NAMES_OPENAI ? "/open_clip_config.json" : data[0] & 2 ? "/preprocessor_config.json" : "/config.json");
  snprintf(weights, sizeof weights, "%s/model.safetensors", folder); /* its folder counts, it is not opened */
  mkdir(folder, 0700);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data + 1, 1, n_bytes - 1, f) != n_bytes - 1 || fclose(f) != 0) abort();
  if (moeclip_tensors_create(&t, NULL) != MOECLIP_OK ||
      moeclip_tensors_add(t, "visual.class_embedding", MOECLIP_F32, 1, shape, ones, 0, NULL) != MOECLIP_OK ||
      moeclip_tensors_add(t, "ln_final.weight", MOECLIP_F32, 1, shape, ones, 0, NULL) != MOECLIP_OK) {
    abort();
  }
  moeclip_code code = mc_config_note(weights, naming, t, &err);
  if (code != MOECLIP_OK && !strstr(err.message, "config.json")) abort();
  moeclip_transform transform;
  if (code == MOECLIP_OK && mc_transform_read(t, 8, &transform, NULL) != MOECLIP_OK) abort();
  const char *activation = moeclip_tensors_metadata(t, "activation");
  if (activation && strcmp(activation, "gelu") != 0 && strcmp(activation, "quick_gelu") != 0) abort();
  check_heads(moeclip_tensors_metadata(t, "visual_heads"));
  check_heads(moeclip_tensors_metadata(t, "text_heads"));
  moeclip_tensors_destroy(t);
  remove(path);
  rmdir(folder);
  return 0;
}
