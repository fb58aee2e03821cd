#include "moeclip/tokenizer.h"

#include <jansson.h>
#include <time.h>

#include "check.h"
#include "text/text.h"

static moeclip_error err;

/* Encodes and compares with a list that ends in -1. */
static bool encodes_to(const moeclip_tokenizer *t, const char *text, const int32_t *expected) {
  int32_t ids[256];
  int n = 0;
  if (moeclip_tokenizer_encode(t, text, ids, 256, &n, &err) != MOECLIP_OK) return false;
  for (int i = 0; i < n; i++) {
    if (expected[i] != ids[i]) return false;
  }
  return expected[n] == -1;
}

static bool same_ids(const moeclip_tokenizer *t, const char *a, const char *b) {
  int32_t x[512], y[512];
  int n_x = 0, n_y = 0;
  REQUIRE_OK(moeclip_tokenizer_encode(t, a, x, 512, &n_x, &err), err);
  REQUIRE_OK(moeclip_tokenizer_encode(t, b, y, 512, &n_y, &err), err);
  return n_x == n_y && n_x <= 512 && memcmp(x, y, (size_t)n_x * sizeof *x) == 0;
}

/* The cleaned text as UTF-8, in a static buffer. */
static const char *clean(const char *text) {
  static char out[4096];
  size_t n = 0;
  mc_codepoints c;
  mc_codepoints_init(&c);
  REQUIRE_OK(mc_clean(text, strlen(text), &c, &err), err);
  for (size_t i = 0; i < c.n && n + 5 < sizeof out; i++) n += (size_t)mc_utf8_encode(c.at[i], (uint8_t *)out + n);
  out[n] = 0;
  mc_codepoints_clear(&c);
  return out;
}

#define CHECK_CLEAN(text, expected) CHECK_MSG(strcmp(clean(text), expected) == 0, "cleaned to \"%s\"", clean(text))

/* Rows made by the published tokenizer. */
static void test_published(const moeclip_tokenizer *t) {
  FILE *file = fopen(MOECLIP_TEST_DATA "/text/tokens.jsonl", "rb");
  CHECK(file != NULL);
  if (!file) return;
  char line[4096];
  int n_rows = 0;
  while (fgets(line, sizeof line, file)) {
    json_t *row = json_loads(line, 0, NULL);
    const json_t *expected = json_object_get(row, "ids");
    const char *text = json_string_value(json_object_get(row, "text"));
    int32_t ids[512];
    int n = 0;
    CHECK(text && json_is_array(expected));
    REQUIRE_OK(moeclip_tokenizer_encode(t, text, ids, 512, &n, &err), err);
    bool same = (size_t)n == json_array_size(expected);
    for (int i = 0; same && i < n; i++) same = ids[i] == json_integer_value(json_array_get(expected, (size_t)i));
    CHECK_MSG(same, "ids of \"%s\" differ", text);
    json_decref(row);
    n_rows++;
  }
  CHECK(n_rows >= 60);
  fclose(file);
}

static void test_cleaning(void) {
  CHECK_CLEAN("  A\t\r\n B \xC2\xA0 C\xE3\x80\x80", "a b c");
  CHECK_CLEAN("", "");
  CHECK_CLEAN(" \n ", "");
  /* References: strict while repairing, twice as browsers do, Windows-1252 numbers, no semicolon, longest beginning. */
  CHECK_CLEAN("&amp;amp;lt;", "<");
  CHECK_CLEAN("&#8220;x&#x94; &#146;", "\"x\" '");
  CHECK_CLEAN("a&ampb &notit; &notin; &copy 1", "a&b \xC2\xACit; \xE2\x88\x89 \xC2\xA9 1");
  CHECK_CLEAN("<i>&eacute;&EACUTE;", "<i>\xC3\xA9&eacute;");
  CHECK_CLEAN("&EACUTE;", "\xC3\xA9");
  CHECK_CLEAN("&#xD800; &#x110000; &#99999999999999999999; &#11;|&#0;", "\xEF\xBF\xBD \xEF\xBF\xBD \xEF\xBF\xBD |\xEF\xBF\xBD");
  CHECK_CLEAN("& &; &# &#; &#x; &#xg; &nosuch;", "& &; &# &#; &#x; &#xg; &nosuch;");
  CHECK_CLEAN("&NotEqualTilde;", "\xE2\x89\x82\xCC\xB8");
  /* Quotes, ligatures, width, controls, terminal escapes, line breaks. */
  CHECK_CLEAN("\xE2\x80\x9Cq\xE2\x80\x9D \xE2\x80\x98r\xE2\x80\x99 \xCA\xBCn \xC5\x89", "\"q\" 'r' 'n 'n");
  CHECK_CLEAN("\xEF\xAC\x83 \xEF\xAC\x85 \xEF\xAC\x86 \xC4\xB2 \xC7\x84", "ffi \xC5\xBFt st ij d\xC5\xBE");
  CHECK_CLEAN("\xEF\xBC\xA1\xEF\xBC\x91 \xEF\xBD\xB6\xEF\xBE\x9E", "a1 \xE3\x82\xAC");
  CHECK_CLEAN("\x1B[1;31mred\x1B[0m \x1B[xyz\x1B", "red yz");
  CHECK_CLEAN("a\x01\x08\x0B\x7F" "b\xEF\xBB\xBF" "c\xE2\x81\xAA", "abc");
  CHECK_CLEAN("x\xE2\x80\xA8y\xE2\x80\xA9z", "x y z");
  /* C1 controls are Windows-1252. */
  CHECK_CLEAN("\xC2\x80 5 \xC2\x85", "\xE2\x82\xAC 5 \xE2\x80\xA6");
  /* Composition, also of marks in the wrong order. */
  CHECK_CLEAN("e\xCC\x81 a\xCC\x82\xCC\xA3", "\xC3\xA9 \xE1\xBA\xAD");
  CHECK_CLEAN("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C");
  /* Lower case: final sigma, dotted I. */
  CHECK_CLEAN("\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3 \xCE\xA3 \xCE\xA3\xCE\x91'\xCE\xA3.", "\xCE\xBF\xCE\xB4\xCE\xBF\xCF\x82 \xCF\x83 \xCF\x83\xCE\xB1'\xCF\x82.");
  CHECK_CLEAN("\xC4\xB0", "i\xCC\x87");
  /* What is no UTF-8: one U+FFFD for each maximal part; a surrogate pair written as two is joined, a lone one replaced. */
  CHECK_CLEAN("a\xFF" "b\xC3", "a\xEF\xBF\xBD" "b\xEF\xBF\xBD");
  CHECK_CLEAN("\xE2\x82" "x\xC0\xAF", "\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK_CLEAN("\xED\xA0\xBD\xED\xB8\x80 \xED\xA0\xBD", "\xF0\x9F\x98\x80 \xEF\xBF\xBD");
  CHECK_CLEAN("\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void test_mojibake(void) {
  CHECK_CLEAN("sch\xC3\x83\xC2\xB6n", "sch\xC3\xB6n");
  CHECK_CLEAN("S\xC3\x83\xC2\xA9" "bastien", "s\xC3\xA9" "bastien");
  CHECK_CLEAN("na\xC3\xAFve sch\xC3\x83\xC2\xB6n", "na\xC3\xAFve sch\xC3\xB6n");
  CHECK_CLEAN("it\xC3\xA2\xE2\x82\xAC\xE2\x84\xA2s", "it's");
  /* U+1F600 read as Windows-1252, and e-acute misread twice. */
  CHECK_CLEAN("\xC3\xB0\xC5\xB8\xCB\x9C\xE2\x82\xAC", "\xF0\x9F\x98\x80");
  CHECK_CLEAN("caf\xC3\x83\xC6\x92\xC3\x82\xC2\xA9", "caf\xC3\xA9");
  /* Ordinary text that looks a little like it stays: e-acute and (R), ellipsis and quote, two times a half, n and dashes. */
  CHECK_CLEAN("CAF\xC3\x89\xC2\xAE", "caf\xC3\xA9\xC2\xAE");
  CHECK_CLEAN("voil\xC3\xA9\xE2\x80\xA6\xE2\x80\x9D", "voil\xC3\xA9\xE2\x80\xA6\"");
  CHECK_CLEAN("2\xC3\x97\xC2\xBD", "2\xC3\x97\xC2\xBD");
  CHECK_CLEAN("\xE2\x80\x9CMA\xC3\x87\xC3\x83\xE2\x80\x9D", "\"ma\xC3\xA7\xC3\xA3\"");
  CHECK_CLEAN("Espa\xC3\xB1\xE2\x80\x94\xE2\x80\x94\xE2\x80\xA6", "espa\xC3\xB1\xE2\x80\x94\xE2\x80\x94\xE2\x80\xA6");
}

static void test_rows(const moeclip_tokenizer *t) {
  int32_t row[77];
  int n = 0;
  REQUIRE_OK(moeclip_tokenizer_row(t, "a photo of a cat.", row, 77, &n, &err), err);
  static const int32_t expected[] = {49406, 320, 1125, 539, 320, 2368, 269, 49407};
  CHECK(n == 8 && memcmp(row, expected, sizeof expected) == 0);
  for (int i = 8; i < 77; i++) CHECK(row[i] == 0);
  REQUIRE_OK(moeclip_tokenizer_row(t, "", row, 77, &n, &err), err);
  CHECK(n == 2 && row[0] == 49406 && row[1] == 49407 && row[2] == 0);
  /* Exactly full, and cut. */
  REQUIRE_OK(moeclip_tokenizer_row(t, "a photo of a cat.", row, 8, &n, &err), err);
  CHECK(n == 8 && memcmp(row, expected, sizeof expected) == 0);
  REQUIRE_OK(moeclip_tokenizer_row(t, "a photo of a cat.", row, 5, &n, &err), err);
  CHECK(n == 5 && row[3] == 539 && row[4] == 49407);
  REQUIRE_OK(moeclip_tokenizer_row(t, "a photo", row, 2, NULL, &err), err);
  CHECK(row[0] == 49406 && row[1] == 49407);
  CHECK(moeclip_tokenizer_row(t, "a photo", row, 1, NULL, &err) == MOECLIP_ERROR_ARGUMENT);
  /* All ids are counted, also beyond the room; none is written there. */
  int32_t few[3] = {-7, -7, -7};
  REQUIRE_OK(moeclip_tokenizer_encode(t, "a photo of a cat.", few, 2, &n, &err), err);
  CHECK(n == 6 && few[0] == 320 && few[1] == 1125 && few[2] == -7);
  REQUIRE_OK(moeclip_tokenizer_encode(t, "a photo of a cat.", NULL, 0, &n, &err), err);
  CHECK(n == 6);
  CHECK(moeclip_tokenizer_encode(t, "x", NULL, 4, &n, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tokenizer_encode(t, NULL, few, 3, &n, &err) == MOECLIP_ERROR_ARGUMENT);
  /* A mark written in a text is text: the row's largest id stays its end mark. */
  REQUIRE_OK(moeclip_tokenizer_row(t, "<|endoftext|> x", row, 77, &n, &err), err);
  for (int i = 1; i < n - 1; i++) CHECK(row[i] < 49406);
}

static void test_words(const moeclip_tokenizer *t) {
  CHECK(same_ids(t, "IT'S", "it 's"));
  CHECK(same_ids(t, "we'll've'd", "we 'll 've 'd"));
  CHECK(same_ids(t, "2026", "2 0 2 6"));
  CHECK(same_ids(t, "yin_yang", "yin _ yang"));
  CHECK(!same_ids(t, "yin yang", "yinyang"));
  static const int32_t cat[] = {320, 1125, 539, 320, 2368, 269, -1};
  CHECK(encodes_to(t, "A  photo OF a cat.", cat));
}

/* Merging by the definition: the smallest id first, leftmost first, over and over. */
static size_t slow_merge(const mc_bpe *b, const uint8_t *word, size_t n, int32_t *ids) {
  for (size_t i = 0; i < n; i++) ids[i] = b->bytes[word[i]] + (i + 1 == n ? 256 : 0);
  while (n > 1) {
    uint32_t best = UINT32_MAX;
    size_t at = 0, to = 0;
    for (size_t i = 0; i + 1 < n; i++) {
      uint32_t merged = mc_bpe_merge(b, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
      if (merged < best) {
        best = merged;
        at = i;
      }
    }
    if (best == UINT32_MAX) break;
    int32_t left = ids[at], right = ids[at + 1];
    for (size_t i = 0; i < n; i++) {
      bool pair = i + 1 < n && ids[i] == left && ids[i + 1] == right;
      ids[to++] = pair ? (int32_t)best : ids[i];
      i += pair;
    }
    n = to;
  }
  return n;
}

static void test_merging(void) {
  mc_bpe b;
  mc_bpe_scratch scratch = {0};
  uint64_t seed = 20240601;
  printf("merging words made with seed %llu\n", (unsigned long long)seed);
  REQUIRE_OK(mc_bpe_init(&b, 49408 - 514, &err), err);
  static const char *const alphabets[] = {"etaoinshrdlucmfw", "aaah", "the ing", "\xC3\xA9\xE2\x9C\x93\xF0\x9F", "!?.-"};
  for (int round = 0; round < 600; round++) {
    uint8_t word[400];
    int32_t fast[400], slow[400];
    size_t n_fast = 0;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    size_t n = 1 + (seed >> 33) % (round % 3 == 0 ? 400 : 60);
    const char *alphabet = alphabets[round % 5];
    for (size_t i = 0; i < n; i++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      word[i] = (uint8_t)alphabet[(seed >> 33) % strlen(alphabet)];
    }
    REQUIRE_OK(mc_bpe_word(&b, word, n, &scratch, fast, 400, &n_fast, &err), err);
    size_t n_slow = slow_merge(&b, word, n, slow);
    CHECK_MSG(n_fast == n_slow && memcmp(fast, slow, n_slow * sizeof *slow) == 0, "round %d: ids differ", round);
  }
  mc_bpe_scratch_clear(&scratch);
  mc_bpe_clear(&b);
}

static void test_small_vocabularies(void) {
  static const int sizes[] = {514, 515, 1000, 16384, 49407};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    moeclip_tokenizer *t;
    int32_t row[77];
    int n = 0;
    REQUIRE_OK(moeclip_tokenizer_create(sizes[i], &t, &err), err);
    CHECK(moeclip_tokenizer_start(t) == sizes[i] - 2 && moeclip_tokenizer_end(t) == sizes[i] - 1);
    REQUIRE_OK(moeclip_tokenizer_row(t, "A photo of the \xE6\x97\xA5\xE6\x9C\xAC streetcar!", row, 77, &n, &err), err);
    CHECK(row[0] == sizes[i] - 2 && row[n - 1] == sizes[i] - 1);
    for (int k = 1; k < n - 1; k++) CHECK(row[k] >= 0 && row[k] < sizes[i] - 2);
    if (sizes[i] == 514) CHECK(n == 2 + 1 + 5 + 2 + 3 + 6 + 9 + 1);
    moeclip_tokenizer_destroy(t);
  }
  moeclip_tokenizer *none = (moeclip_tokenizer *)&err;
  CHECK(moeclip_tokenizer_create(513, &none, &err) == MOECLIP_ERROR_ARGUMENT && none == NULL);
  CHECK(moeclip_tokenizer_create(49409, &none, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tokenizer_create(-1, &none, &err) == MOECLIP_ERROR_ARGUMENT);
  moeclip_tokenizer_destroy(NULL);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A megabyte of text made to be slow: a quadratic step anywhere would take minutes or hours. */
static void test_hostile(const moeclip_tokenizer *t) {
  static const char *const parts[] = {
    "a", "!", "the", "\xFF", "\xCC\x81\xCC\xA3", "&amp;", "&", "amp;", "\xC3\x83", "\x1B[", "\xCE\xA3.", "\xE1\x84\x80\xE1\x85\xA1",
    "\xC3\x83\xC6\x92\xC3\x82\xC2", "&#1", " ",
  };
  size_t size = (size_t)1 << 20;
  char *text = malloc(size + 16);
  if (!text) exit(1);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    size_t n = strlen(parts[i]), used = 0;
    while (used + n <= size) {
      memcpy(text + used, parts[i], n);
      used += n;
    }
    text[used] = 0;
    int n_ids = -1;
    double begin = seconds();
    REQUIRE_OK(moeclip_tokenizer_encode(t, text, NULL, 0, &n_ids, &err), err);
    CHECK_MSG(seconds() - begin < 20, "a megabyte of \"%s\" took %.1f s", parts[i], seconds() - begin);
    CHECK(n_ids >= 0);
    printf("a megabyte, case %2zu: %.2f s, %d ids\n", i, seconds() - begin, n_ids);
  }
  free(text);
  text = malloc(MC_TEXT_MAX_BYTES + 2);
  if (!text) exit(1);
  memset(text, 'a', MC_TEXT_MAX_BYTES + 1);
  text[MC_TEXT_MAX_BYTES + 1] = 0;
  int n_ids;
  CHECK(moeclip_tokenizer_encode(t, text, NULL, 0, &n_ids, &err) == MOECLIP_ERROR_ARGUMENT);
  free(text);
}

int main(void) {
  moeclip_tokenizer *t;
  double begin = seconds();
  REQUIRE_OK(moeclip_tokenizer_create(49408, &t, &err), err);
  printf("tokenizer made in %.1f ms\n", (seconds() - begin) * 1e3);
  int32_t row[77];
  begin = seconds();
  for (int i = 0; i < 10000; i++) REQUIRE_OK(moeclip_tokenizer_row(t, "a photo of a hard-leaved pocket orchid.", row, 77, NULL, &err), err);
  printf("%.2f us a prompt\n", (seconds() - begin) * 1e2);
  test_published(t);
  test_cleaning();
  test_mojibake();
  test_rows(t);
  test_words(t);
  test_merging();
  test_small_vocabularies();
  test_hostile(t);
  moeclip_tokenizer_destroy(t);
  return check_report();
}
