#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "golden.h"

void golden_split(golden *g) {
  if (!golden_has(g, "seeded_split.json")) return;
  json_error_t json_error;
  json_t *root = json_load_file(golden_path(g, "seeded_split.json"), 0, &json_error);
  const char *n_text;
  json_t *entry;
  json_object_foreach(json_object_get(root, "permutations"), n_text, entry) {
    uint32_t n = (uint32_t)strtoul(n_text, NULL, 10);
    uint32_t *p = malloc(n * sizeof *p);
    mc_mt19937 mt;
    mc_mt19937_init(&mt, 42);
    mc_mt19937_permutation(&mt, n, p);
    const json_t *first = json_object_get(entry, "first"), *last = json_object_get(entry, "last");
    size_t n_first = json_array_size(first), n_last = json_array_size(last), n_wrong = 0;
    for (size_t i = 0; i < n_first; i++) n_wrong += p[i] != (uint32_t)json_integer_value(json_array_get(first, i));
    for (size_t i = 0; i < n_last; i++) {
      n_wrong += p[n - n_last + i] != (uint32_t)json_integer_value(json_array_get(last, i));
    }
    const uint64_t modulus = (UINT64_C(1) << 61) - 1;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum = (sum + (uint64_t)(i + 1) * p[i] % modulus) % modulus;
    n_wrong += sum != (uint64_t)json_integer_value(json_object_get(entry, "checksum"));
    char item[64];
    snprintf(item, sizeof item, "seeded split of %u", n);
    golden_exact(g, item, n_wrong == 0 && n_first > 0, "%zu wrong", n_wrong);
    free(p);
  }
  json_decref(root);
}
