/* ddas_autoencoder: the losses of some Adam steps, and the tensors after them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "select/selector.h"

static const char *const parts[4] = {"encoder.0.weight", "encoder.0.bias", "decoder.0.weight", "decoder.0.bias"};

static moeclip_code run(golden *g, mc_compute *cp, mc_autoencoder *a, const moeclip_tensors *file, const json_t *settings,
                        moeclip_error *err) {
  mc_autoencoder_trainer *trainer;
  mc_arena arena = {0};
  const json_t *losses = json_object_get(settings, "losses"), *rates = json_object_get(settings, "lr");
  MC_TRY(mc_autoencoder_trainer_create(a, (float)json_number_value(json_object_get(settings, "weight_decay")), &trainer, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t s = 0; code == MOECLIP_OK && s < json_array_size(losses); s++) {
    char item[64];
    size_t n;
    double loss = 0;
    float expected = (float)json_number_value(json_array_get(losses, s));
    snprintf(item, sizeof item, "step%zu.features", s);
    float *x = golden_floats(g, file, item, &n);
    if (!x) break;
    code = mc_autoencoder_step(cp, trainer, x, (int64_t)n / a->dim, json_number_value(json_array_get(rates, s)), &loss, &arena, err);
    float loss_f = (float)loss;
    snprintf(item, sizeof item, "ddas_autoencoder step %zu loss", s);
    if (code == MOECLIP_OK) golden_item(g, item, golden_error(&loss_f, &expected, 1), 1e-5);
    free(x);
  }
  mc_autoencoder_trainer_destroy(trainer);
  mc_arena_clear(&arena);
  return code;
}

void golden_autoencoder(golden *g) {
  moeclip_error err;
  moeclip_tensors *file = NULL;
  mc_compute *cp = NULL;
  mc_autoencoder a = {0};
  if (!golden_has(g, "ddas_autoencoder.safetensors")) return;
  moeclip_code code = moeclip_tensors_open(golden_path(g, "ddas_autoencoder.safetensors"), &file, &err);
  const moeclip_tensor *weight = file ? moeclip_tensors_find(file, "initial.encoder.0.weight") : NULL;
  if (code == MOECLIP_OK && (!weight || weight->rank != 2)) {
    golden_exact(g, "ddas_autoencoder", false, "initial.encoder.0.weight is missing");
    moeclip_tensors_destroy(file);
    return;
  }
  if (code == MOECLIP_OK) code = mc_compute_create(0, &cp, &err);
  if (code == MOECLIP_OK) code = mc_autoencoder_create(&a, weight->shape[1], weight->shape[0], 0, 0, &err);
  mc_param *params[4] = {&a.encoder_weight, &a.encoder_bias, &a.decoder_weight, &a.decoder_bias};
  for (int i = 0; code == MOECLIP_OK && i < 4; i++) {
    char name[64];
    size_t n = 0;
    snprintf(name, sizeof name, "initial.%s", parts[i]);
    float *values = golden_floats(g, file, name, &n);
    if (values && (int64_t)n == params[i]->n) memcpy(params[i]->value, values, n * sizeof *values);
    free(values);
  }
  if (code == MOECLIP_OK) code = run(g, cp, &a, file, json_object_get(g->json, "ddas_autoencoder"), &err);
  for (int i = 0; code == MOECLIP_OK && i < 4; i++) {
    char name[64], item[96];
    size_t n = 0;
    snprintf(name, sizeof name, "final.%s", parts[i]);
    float *expected = golden_floats(g, file, name, &n);
    snprintf(item, sizeof item, "ddas_autoencoder %s", name);
    if (expected) golden_item(g, item, (int64_t)n == params[i]->n ? golden_error(params[i]->value, expected, n) : 1e9, 1e-4);
    free(expected);
  }
  if (code != MOECLIP_OK) golden_failed(g, "ddas_autoencoder", &err);
  mc_autoencoder_clear(&a);
  mc_compute_destroy(cp);
  moeclip_tensors_destroy(file);
}
