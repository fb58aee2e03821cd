/* A learner's state, and the checkpoint of an unfinished task: everything behind the checksum, which no mutation would
 * pass. Seeds: seeds/state, made by fuzz_replay_state --make. */
#include "tiny.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

void fuzz_make_seeds(const char *folder) {
  char path[512];
  for (int reference = 0; reference < 2; reference++) {
    moeclip_learner *l = tiny_learner(reference);
    snprintf(path, sizeof path, "%s/%s", folder, reference ? "reference" : "plain");
    if (moeclip_learner_save(l, path, NULL) != MOECLIP_OK) abort();
    moeclip_learner_destroy(l);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  moeclip_tensors *file;
  moeclip_learner_options options;
  moeclip_learner *l = NULL;
  moeclip_error err = {0};
  char hash[65];
  if (moeclip_tensors_from_memory(data, n_bytes, "input", &file, &err) != MOECLIP_OK) return 0;
  moeclip_code code = mc_state_options(file, &options, hash, &err);
  if (code == MOECLIP_OK) code = mc_learner_frame(tiny_model(), &options, NULL, &l, &err);
  if (code == MOECLIP_OK) code = mc_state_restore(l, file, &err);
  if (code != MOECLIP_OK && !err.message[0]) abort();
  if (code == MOECLIP_OK) {
    moeclip_tensors *again;
    tiny_use(l);
    /* What was taken can be stored again. */
    if (moeclip_tensors_create(&again, NULL) != MOECLIP_OK || mc_state_store(l, again, NULL) != MOECLIP_OK) abort();
    moeclip_tensors_destroy(again);
  }
  moeclip_learner_destroy(l);
  moeclip_tensors_destroy(file);
  return 0;
}
