#include "moeclip/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Any bytes: ids are in range, and the row is the beginning of the ids between its marks. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static moeclip_tokenizer *t;
  int32_t ids[75], row[77];
  int n_ids = 0, n_row = 0;
  if (!t && moeclip_tokenizer_create(49408, &t, NULL) != MOECLIP_OK) abort();
  char *text = malloc(n + 1);
  if (!text) return 0;
  memcpy(text, data, n);
  text[n] = 0;
  if (moeclip_tokenizer_encode(t, text, ids, 75, &n_ids, NULL) != MOECLIP_OK) abort();
  if (moeclip_tokenizer_row(t, text, row, 77, &n_row, NULL) != MOECLIP_OK) abort();
  int n_expected = n_ids < 75 ? n_ids : 75;
  if (n_row != n_expected + 2 || row[0] != 49406 || row[n_row - 1] != 49407) abort();
  for (int i = 0; i < n_expected; i++) {
    if (ids[i] < 0 || ids[i] >= 49406 || row[i + 1] != ids[i]) abort();
  }
  free(text);
  return 0;
}
