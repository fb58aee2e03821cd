/* base/: random numbers against published vectors, SHA-256 against FIPS 180-4, safe writing. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sha256.h"
#include "check.h"

#include <unistd.h>

static void test_random(void) {
  /* Known answers of the Random123 distribution for philox4x32-10. */
  uint32_t key[2] = {0, 0}, counter[4] = {0, 0, 0, 0}, out[4];
  mc_philox_block(key, counter, out);
  CHECK(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
  uint32_t key2[2] = {0xa4093822, 0x299f31d0}, counter2[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  mc_philox_block(key2, counter2, out);
  CHECK(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 && out[3] == 0x24126ea1);

  mc_mt19937 mt;
  mc_mt19937_init(&mt, 5489);
  uint32_t v = 0;
  for (int i = 0; i < 10000; i++) v = mc_mt19937_next(&mt);
  CHECK(v == 4123659995u); /* ISO C++ [rand.predef] */

  uint32_t p[10];
  static const uint32_t published[10] = {2, 6, 1, 8, 4, 5, 0, 9, 3, 7}; /* seeded_split.json */
  mc_mt19937_init(&mt, 42);
  mc_mt19937_permutation(&mt, 10, p);
  CHECK(memcmp(p, published, sizeof p) == 0);

  mc_philox g;
  double sum = 0, squares = 0;
  mc_philox_init(&g, 7, MC_STREAM_NOISE, 0);
  for (int i = 0; i < 20000; i++) {
    double x = mc_philox_normal(&g);
    sum += x;
    squares += x * x;
  }
  CHECK(fabs(sum / 20000) < 0.03 && fabs(squares / 20000 - 1) < 0.05);
  int seen[7] = {0};
  for (int i = 0; i < 7000; i++) seen[mc_philox_below(&g, 7)]++;
  for (int i = 0; i < 7; i++) CHECK(seen[i] > 850 && seen[i] < 1150);
}

/* Both ways of computing it: with the processor's instructions (where it has them) and without. */
static void test_sha256(void) {
  for (int plain = 0; plain < 2; plain++) {
    mc_sha256 h;
    char hex[65];
    mc_sha256_init(&h);
    h.plain |= plain;
    mc_sha256_add(&h, "a", 1);
    mc_sha256_add(&h, "bc", 2);
    mc_sha256_hex(&h, hex);
    CHECK(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
    mc_sha256_init(&h);
    h.plain |= plain;
    for (int i = 0; i < 1000000 / 50; i++) mc_sha256_add(&h, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 50);
    mc_sha256_hex(&h, hex);
    CHECK(strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0);
    /* Pieces that span several blocks. */
    uint8_t text[1000];
    for (int i = 0; i < 1000; i++) text[i] = (uint8_t)(i * 7);
    mc_sha256_init(&h);
    h.plain |= plain;
    mc_sha256_add(&h, text, 1);
    mc_sha256_add(&h, text + 1, 998);
    mc_sha256_add(&h, text + 999, 1);
    mc_sha256_hex(&h, hex);
    CHECK_MSG(strcmp(hex, "89f4ff56a25dd1db06a4ce6033603775d705fb96f30f8693733fef602a1ca532") == 0, "%s", hex);
  }
}

static void test_file(void) {
  char folder[] = "/tmp/moeclip-base-XXXXXX";
  moeclip_error err;
  CHECK(mkdtemp(folder) != NULL);
  char *path = mc_format("%s/file", folder);
  char *big = mc_alloc(200000, 1);
  memset(big, 'x', 200000);
  REQUIRE_OK(mc_file_write(path, "old", 3, &err), err);

  mc_writer *w;
  REQUIRE_OK(mc_writer_open(path, &w, &err), err);
  mc_writer_put(w, "new", 3);
  mc_writer_put(w, big, 200000);
  mc_writer_abort(w); /* what was there stays */
  uint8_t *data;
  size_t n;
  REQUIRE_OK(mc_file_read(path, 100, &data, &n, &err), err);
  CHECK(n == 3 && memcmp(data, "old", 4) == 0);
  free(data);

  REQUIRE_OK(mc_writer_open(path, &w, &err), err);
  mc_writer_put(w, "new", 3);
  mc_writer_put(w, big, 200000);
  REQUIRE_OK(mc_writer_commit(w, &err), err);
  mc_mapping m;
  REQUIRE_OK(mc_mapping_open(path, &m, &err), err);
  CHECK(m.n_bytes == 200003 && memcmp(m.data, "newxxx", 6) == 0 && m.data[200002] == 'x');
  mc_mapping_close(&m);
  CHECK(mc_file_read(path, 100, &data, &n, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, path));
  CHECK(mc_mapping_open(folder, &m, &err) == MOECLIP_ERROR_IO && strstr(err.message, "folder"));
  CHECK(mc_file_write("/nonexistent/x", "", 0, &err) == MOECLIP_ERROR_IO && strstr(err.message, "/nonexistent/x"));
  unlink(path);
  CHECK(rmdir(folder) == 0); /* no temporary file is left behind */
  free(path);
  free(big);
}

/* --- JSON ------------------------------------------------------------------------------------------------------------------ */

static json_t *read_json(const char *text, size_t flags, json_error_t *why) {
  bool no_memory = true;
  json_t *whole = mc_json_read(text, strlen(text), flags, why, &no_memory);
  CHECK_MSG(!no_memory, "%.60s: taken for lack of memory", text);
  return whole;
}

static void test_json(void) {
  static const struct { const char *text; size_t flags; bool good; } cases[] = {
      {"{}", 0, true}, {" [1, 2]\n", 0, true}, {"1", 0, false}, {"1", JSON_DECODE_ANY, true}, {"\"a\"", JSON_DECODE_ANY, true},
      {"", 0, false}, {"1, 2", JSON_DECODE_ANY, false}, {"{}, {}", 0, false}, {"{}]", 0, false}, {"{}], [", 0, false}, {"{} {}", 0, false},
      {"{\"a\": 1, \"a\": 1}", 0, true}, {"{\"a\": 1, \"a\": 1}", JSON_REJECT_DUPLICATES, false}, {"[\"\\\"]", 0, false},
      {"[\"\\\\\", \"\\\"\", 1e5, -0.5, true, null]", 0, true}, {"[\"x", 0, false}, {"{\"a\": tru}", 0, false}};
  json_error_t why, plain;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *is = read_json(cases[i].text, cases[i].flags, &why), *expected = json_loads(cases[i].text, cases[i].flags, &plain);
    CHECK_MSG(!is == !cases[i].good && !expected == !cases[i].good && (!is || json_equal(is, expected)), "%s", cases[i].text);
    if (!is && !expected) CHECK_MSG(strcmp(why.text, plain.text) == 0 && why.line == plain.line, "%s: %s", cases[i].text, why.text);
    json_decref(is);
    json_decref(expected);
  }
  /* Strings of every length around those at which a buffer grows. */
  for (int n = 0; n < 300; n++) {
    char text[320], *at = text;
    at += sprintf(at, "{\"k\": \"");
    memset(at, 'y', (size_t)n);
    strcpy(at + n, "\"}");
    json_t *is = read_json(text, 0, &why);
    CHECK_MSG((int)json_string_length(json_object_get(is, "k")) == n, "a string of %d letters", n);
    json_decref(is);
  }
  /* As deep as goes, and one deeper. */
  enum { DEEPEST = 2047 };
  static char deep[2 * DEEPEST + 3];
  for (int more = 0; more < 2; more++) {
    size_t depth = DEEPEST + (size_t)more;
    memset(deep, '[', depth);
    memset(deep + depth, ']', depth);
    deep[2 * depth] = 0;
    json_t *is = read_json(deep, 0, &why);
    CHECK_MSG((is == NULL) == (more == 1), "depth %zu: %s", depth, why.text);
    json_decref(is);
  }
}

int main(void) {
  test_json();
  test_random();
  test_sha256();
  test_file();
  return check_report();
}
