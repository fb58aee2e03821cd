#include "moeclip/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

/* Texts that ftfy takes for wrongly decoded ones. We undo only UTF-8 read as Windows-1252 or Latin-1, so these are counted
 * apart: `same` says which are expected to be equal all the same. */
static const struct {
  const char *text;
  bool same;
} repaired[] = {
  {"\xC3\xA2\xE2\x82\xAC\xC5\x93mojibake\xC3\xA2\xE2\x82\xAC\xC2\x9D", true},
  {"sch\xC3\x83\xC2\xB6n", true},
  /* ftfy reads L-stroke and currency sign as Windows-1257 for U+0664, an Arabic digit. We leave them. */
  {"quez twinning mpd himachal worshi gow presen \xC3\xB0\xC5\x81\xC2\xA4\xC4\xB3 chard strategist elliott wallpapers",
   false},
};

/* Its place in that list; -1: it is not there. */
static int find_repaired(const char *text) {
  for (int i = 0; i < (int)(sizeof repaired / sizeof *repaired); i++) {
    if (strcmp(text, repaired[i].text) == 0) return i;
  }
  return -1;
}

void golden_tokenizer(golden *g) {
  if (!golden_has(g, "tokenizer.jsonl")) return;
  moeclip_error err;
  moeclip_tokenizer *t = NULL;
  char *line = NULL;
  size_t n_line = 0, n_rows = 0, n_wrong = 0;
  FILE *file = fopen(golden_path(g, "tokenizer.jsonl"), "rb");
  if (!file) {
    golden_exact(g, "tokenizer.jsonl", false, "cannot be opened");
    return;
  }
  if (moeclip_tokenizer_create(49408, &t, &err) != MOECLIP_OK) {
    golden_failed(g, "tokenizer", &err);
    goto done;
  }
  while (getline(&line, &n_line, file) > 0) {
    json_t *row = json_loads(line, 0, NULL);
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *expected = json_object_get(row, "ids");
    if (!text || !json_is_array(expected)) {
      golden_exact(g, "tokenizer.jsonl", false, "a line is not {\"text\", \"ids\"}: %s", line);
      json_decref(row);
      continue;
    }
    int32_t ids[4096];
    int n = 0;
    int repair = find_repaired(text);
    bool same = moeclip_tokenizer_encode(t, text, ids, 4096, &n, &err) == MOECLIP_OK &&
                (size_t)n == json_array_size(expected) && n <= 4096;
    for (int i = 0; same && i < n; i++) same = ids[i] == json_integer_value(json_array_get(expected, (size_t)i));
    if (repair < 0) {
      n_rows++;
      n_wrong += !same;
      if (!same) printf("  ids differ: %s\n", text);
    } else if (repaired[repair].same) {
      golden_exact(g, "token ids of a wrongly decoded text", same, "%s", text);
    } else {
      printf("known    %-58s %s: %s\n", "token ids of a text that only ftfy takes for wrong", same ? "same" : "differ", text);
    }
    json_decref(row);
  }
  golden_exact(g, "token ids", n_wrong == 0 && n_rows > 0, "%zu of %zu texts differ", n_wrong, n_rows);
done:
  moeclip_tokenizer_destroy(t);
  free(line);
  fclose(file);
}
