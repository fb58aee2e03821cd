/* Collections, element types (against a plain formula and a search over all halves), safetensors written and read. */
#include <stdint.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "moeclip/tensors.h"

static float bits_to_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* IEEE 754 binary16 by its definition. */
static double half_value(uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double v = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
             : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                            : ldexp(mantissa, -24);
  return h & 0x8000 ? -v : v;
}

static uint16_t to_16(moeclip_dtype dtype, float f) {
  uint16_t h = 0;
  moeclip_error err;
  REQUIRE_OK(moeclip_f32_to(dtype, &f, 1, &h, &err), err);
  return h;
}

static float from_16(moeclip_dtype dtype, uint16_t h) {
  moeclip_tensor t = {.name = "h", .dtype = dtype, .rank = 0, .data = &h, .n_bytes = 2};
  float f;
  moeclip_tensor_to_f32(&t, &f);
  return f;
}

static void test_half(void) {
  size_t n_wrong = 0, n_back = 0;
  for (uint32_t h = 0; h < 65536; h++) {
    float f = from_16(MOECLIP_F16, (uint16_t)h);
    double v = half_value((uint16_t)h);
    n_wrong += isnan(v) ? !isnan(f) : f != v || !signbit(f) != !signbit(v);
    uint16_t back = to_16(MOECLIP_F16, f);
    n_back += isnan(v) ? !((back & 0x7c00) == 0x7c00 && (back & 0x3ff)) : back != h;
  }
  CHECK_MSG(n_wrong == 0 && n_back == 0, "%zu halves wrong, %zu do not come back", n_wrong, n_back);

  /* Between neighbours: the nearer one, the even one in the middle; infinity counts as 65536. */
  n_wrong = 0;
  for (uint32_t h = 0; h < 0x7c00; h++) {
    double low = half_value((uint16_t)h), high = h == 0x7bff ? 65536 : half_value((uint16_t)(h + 1));
    float middle = (float)((low + high) / 2);
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    n_wrong += to_16(MOECLIP_F16, middle) != even || to_16(MOECLIP_F16, -middle) != (even | 0x8000);
    n_wrong += to_16(MOECLIP_F16, nextafterf(middle, 0)) != h;
    n_wrong += to_16(MOECLIP_F16, nextafterf(middle, 1e9f)) != h + 1;
  }
  CHECK_MSG(n_wrong == 0, "%zu roundings to half wrong", n_wrong);
  CHECK(to_16(MOECLIP_F16, 1e30f) == 0x7c00 && to_16(MOECLIP_F16, -INFINITY) == 0xfc00);
  CHECK(to_16(MOECLIP_F16, bits_to_float(1)) == 0 && to_16(MOECLIP_F16, -0.0f) == 0x8000);
  uint16_t nan = to_16(MOECLIP_F16, bits_to_float(0x7f800001));
  CHECK((nan & 0x7c00) == 0x7c00 && (nan & 0x3ff) != 0);
}

static void test_bfloat(void) {
  size_t n_wrong = 0;
  for (uint32_t h = 0; h < 0x7f80; h++) {
    float low = bits_to_float(h << 16), middle = bits_to_float(h << 16 | 0x8000);
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    n_wrong += from_16(MOECLIP_BF16, (uint16_t)h) != low || to_16(MOECLIP_BF16, low) != h;
    n_wrong += to_16(MOECLIP_BF16, middle) != even || to_16(MOECLIP_BF16, -middle) != (even | 0x8000);
    n_wrong += to_16(MOECLIP_BF16, bits_to_float(h << 16 | 0x7fff)) != h;
    n_wrong += to_16(MOECLIP_BF16, bits_to_float(h << 16 | 0x8001)) != h + 1;
  }
  CHECK_MSG(n_wrong == 0, "%zu roundings to bfloat16 wrong", n_wrong);
  uint16_t nan = to_16(MOECLIP_BF16, bits_to_float(0x7f800001));
  CHECK((nan & 0x7f80) == 0x7f80 && (nan & 0x7f) != 0);
  CHECK(to_16(MOECLIP_BF16, INFINITY) == 0x7f80 && isinf(from_16(MOECLIP_BF16, 0xff80)));
}

static void test_integers(void) {
  /* One byte further than aligned: data in a file may lie anywhere. */
  uint8_t room[1 + 4 * 8];
  float out[4];
  const int64_t i64[4] = {-3, INT64_MAX, 16777217, 0};
  memcpy(room + 1, i64, sizeof i64);
  moeclip_tensor t = {.name = "x", .dtype = MOECLIP_I64, .rank = 1, .shape = {4}, .data = room + 1, .n_bytes = 32};
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[0] == -3 && out[1] == 0x1p63f && out[2] == 16777216 && out[3] == 0);
  const double f64[4] = {-0.1, 1e300, 1e-320, 3};
  memcpy(room + 1, f64, sizeof f64);
  t.dtype = MOECLIP_F64;
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[0] == -0.1f && isinf(out[1]) && out[2] == 0 && out[3] == 3);
  const uint8_t bytes[4] = {0, 1, 128, 255};
  t = (moeclip_tensor){.name = "x", .dtype = MOECLIP_U8, .rank = 1, .shape = {4}, .data = bytes, .n_bytes = 4};
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[2] == 128 && out[3] == 255);
  t.dtype = MOECLIP_I8;
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[2] == -128 && out[3] == -1);
  t.dtype = MOECLIP_BOOL;
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[0] == 0 && out[1] == 1 && out[3] == 1);
  const int16_t i16[4] = {-32768, 32767, -1, 0};
  t = (moeclip_tensor){.name = "x", .dtype = MOECLIP_I16, .rank = 1, .shape = {4}, .data = i16, .n_bytes = 8};
  moeclip_tensor_to_f32(&t, out);
  CHECK(out[0] == -32768 && out[1] == 32767 && out[2] == -1);
  moeclip_error err;
  CHECK(moeclip_f32_to(MOECLIP_I64, out, 4, room, &err) == MOECLIP_ERROR_ARGUMENT && strstr(err.message, "I64"));
  double wide[2];
  REQUIRE_OK(moeclip_f32_to(MOECLIP_F64, out, 2, wide, &err), err);
  CHECK(wide[0] == -32768 && wide[1] == 32767);
}

static void test_collection(void) {
  moeclip_tensors *t;
  moeclip_error err;
  const float values[6] = {1, 2, 3, 4, 5, 6};
  const int64_t shape[2] = {2, 3}, negative[1] = {-1}, huge[3] = {INT64_MAX, INT64_MAX, 0};
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "a", MOECLIP_F32, 2, shape, values, 1, &err), err);
  REQUIRE_OK(moeclip_tensors_add(t, "b", MOECLIP_F32, 2, shape, values, 0, &err), err);
  CHECK(moeclip_tensors_add(t, "a", MOECLIP_F32, 2, shape, values, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(strstr(err.message, "twice") != NULL);
  CHECK(moeclip_tensors_add(t, "", MOECLIP_F32, 2, shape, values, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_add(t, "\xff", MOECLIP_F32, 2, shape, values, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_add(t, "c", MOECLIP_F32, 9, shape, values, 0, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_add(t, "c", MOECLIP_F32, 1, negative, values, 1, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_add(t, "c", MOECLIP_F32, 3, huge, values, 0, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_add(t, "c", MOECLIP_F32, 2, shape, NULL, 0, &err) == MOECLIP_ERROR_ARGUMENT);
  CHECK(moeclip_tensors_count(t) == 2 && moeclip_tensors_at(t, 2) == NULL && moeclip_tensors_find(t, "c") == NULL);
  const moeclip_tensor *a = moeclip_tensors_find(t, "a"), *b = moeclip_tensors_find(t, "b");
  CHECK(a && a->data != values && a->n_bytes == 24 && memcmp(a->data, values, 24) == 0);
  CHECK(a && moeclip_tensor_elements(a) == 6);
  CHECK(b && b->data == values);
  for (int i = 0; i < 3000; i++) {
    char name[32];
    snprintf(name, sizeof name, "layer.%d", i);
    REQUIRE_OK(moeclip_tensors_add(t, name, MOECLIP_F32, 0, shape, values + i % 6, 1, &err), err);
  }
  const moeclip_tensor *found = moeclip_tensors_find(t, "layer.2999");
  CHECK(found && *(const float *)found->data == values[2999 % 6] && found == moeclip_tensors_at(t, 3001));
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "k", "v", &err), err);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "l", "w", &err), err);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "k", "other", &err), err);
  CHECK(strcmp(moeclip_tensors_metadata(t, "k"), "other") == 0 && moeclip_tensors_metadata_count(t) == 2);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, "k", NULL, &err), err);
  const char *key, *value;
  moeclip_tensors_metadata_at(t, 0, &key, &value);
  CHECK(!moeclip_tensors_metadata(t, "k") && strcmp(key, "l") == 0 && strcmp(value, "w") == 0);
  moeclip_tensors_destroy(t);
}

static moeclip_code open_header(const char *header, size_t n_data, moeclip_tensors **t, moeclip_error *err) {
  static uint8_t file[4096];
  size_t n = strlen(header);
  for (size_t i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(file + 8, header, n);
  memset(file + 8 + n, 7, n_data);
  return moeclip_tensors_from_memory(file, 8 + n + n_data, "some file", t, err);
}

static void test_safetensors_damage(void) {
  static const struct { const char *header; size_t n_data; moeclip_code code; const char *says; } cases[] = {
      {"{}", 0, MOECLIP_OK, ""},
      {"{\"__metadata__\":{\"a\":\"b\"}}   ", 0, MOECLIP_OK, ""},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MOECLIP_OK, ""},
      {"{ \"a\" : {\"data_offsets\":[0,8], \"shape\":[2,0,1] , \"dtype\":\"F32\"} }", 8, MOECLIP_ERROR_FORMAT, "match"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}}", 0, MOECLIP_OK, ""},
      {"{\"\\u00e9\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, MOECLIP_OK, ""},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, MOECLIP_ERROR_FORMAT, "cut short"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, MOECLIP_ERROR_FORMAT, "unused"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT, "match"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, MOECLIP_ERROR_FORMAT, "tensor a"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
       "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, MOECLIP_ERROR_FORMAT, "overlap"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
       "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5, MOECLIP_ERROR_FORMAT, "unused"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
       "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4, MOECLIP_ERROR_FORMAT, "twice"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],\"data_offsets\":[0,8]}}", 8,
       MOECLIP_ERROR_FORMAT, "match"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT,
       "too large"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT, "whole number"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT,
       "longer"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT, "whole number"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, MOECLIP_ERROR_FORMAT, "lacks"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_FORMAT,
       "twice"},
      {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, MOECLIP_ERROR_UNSUPPORTED, "F8_E4M3"},
      {"{\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, MOECLIP_ERROR_FORMAT, "UTF-8"},
      {"{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, MOECLIP_ERROR_FORMAT, "escape"},
      {"{\"\xc3\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, MOECLIP_ERROR_FORMAT, "UTF-8"},
      {"{\"__metadata__\":{\"a\":1}}", 0, MOECLIP_ERROR_FORMAT, "string"},
      {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, MOECLIP_ERROR_FORMAT, "twice"},
      {"{} x", 0, MOECLIP_ERROR_FORMAT, "follows"},
      {"{\"a\":", 0, MOECLIP_ERROR_FORMAT, "description"},
      {"{\"a", 0, MOECLIP_ERROR_FORMAT, "does not end"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    moeclip_tensors *t = NULL;
    moeclip_error err = {0};
    moeclip_code code = open_header(cases[i].header, cases[i].n_data, &t, &err);
    CHECK_MSG(code == cases[i].code && strstr(err.message, cases[i].says) && (code == MOECLIP_OK) == (t != NULL),
              "%s: code %d, message %s", cases[i].header, code, err.message);
    if (code != MOECLIP_OK) CHECK(strncmp(err.message, "some file: ", 11) == 0 && err.code == code);
    moeclip_tensors_destroy(t);
  }
  moeclip_tensors *t;
  moeclip_error err;
  REQUIRE_OK(open_header(cases[5].header, 1, &t, &err), err);
  CHECK(moeclip_tensors_find(t, "\xc3\xa9\xf0\x9f\x98\x80\n") != NULL);
  moeclip_tensors_destroy(t);
  static const uint8_t large[9] = {0, 0, 0, 0, 0, 0, 0, 0x80, '{'};
  CHECK(moeclip_tensors_from_memory(large, 9, "x", &t, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, "header"));
  CHECK(moeclip_tensors_from_memory(large, 0, "x", &t, &err) == MOECLIP_ERROR_FORMAT);
  CHECK(moeclip_tensors_from_memory("version https://git-lfs.github.com", 34, "x", &t, NULL) == MOECLIP_ERROR_FORMAT);
  CHECK(moeclip_tensors_open("/nonexistent.pt", &t, &err) == MOECLIP_ERROR_IO);
  CHECK(strstr(err.message, "/nonexistent.pt") != NULL);
}

/* Two collections of the same tensors added in opposite orders. */
static moeclip_tensors *some_tensors(int reverse) {
  static const char *const names[] = {"a \"quoted\"\\\t\x01", "b", "m\xc3\xb6\xc3\x9fig", "empty", "scalar"};
  static const moeclip_dtype dtypes[] = {MOECLIP_U8, MOECLIP_F64, MOECLIP_F16, MOECLIP_F32, MOECLIP_I64};
  static const int64_t shapes[][2] = {{3, 1}, {2, 2}, {5, 1}, {0, 7}, {1, 1}};
  static const uint64_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  moeclip_tensors *t;
  moeclip_error err;
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  for (int i = 0; i < 5; i++) {
    int k = reverse ? 4 - i : i;
    REQUIRE_OK(moeclip_tensors_add(t, names[k], dtypes[k], k == 4 ? 0 : 2, shapes[k], data, 0, &err), err);
  }
  REQUIRE_OK(moeclip_tensors_set_metadata(t, reverse ? "x" : "a\n", "1", &err), err);
  REQUIRE_OK(moeclip_tensors_set_metadata(t, reverse ? "a\n" : "x", "1", &err), err);
  return t;
}

static void test_safetensors_write(void) {
  char folder[] = "/tmp/moeclip-tensors-XXXXXX";
  moeclip_error err;
  mc_mapping m[2];
  char *path[2];
  CHECK(mkdtemp(folder) != NULL);
  for (int i = 0; i < 2; i++) {
    moeclip_tensors *t = some_tensors(i);
    path[i] = mc_format("%s/%d", folder, i);
    REQUIRE_OK(moeclip_tensors_write_safetensors(t, path[i], &err), err);
    REQUIRE_OK(mc_mapping_open(path[i], &m[i], &err), err);
    moeclip_tensors_destroy(t);
  }
  CHECK(m[0].n_bytes == m[1].n_bytes && memcmp(m[0].data, m[1].data, m[0].n_bytes) == 0);
  CHECK(m[0].data[0] % 8 == 0);
  moeclip_tensors *t = some_tensors(0), *again;
  REQUIRE_OK(moeclip_tensors_open(path[0], &again, &err), err);
  CHECK(moeclip_tensors_container(again) == MOECLIP_SAFETENSORS && moeclip_tensors_count(again) == 5);
  for (size_t i = 0; i < 5; i++) {
    const moeclip_tensor *a = moeclip_tensors_at(t, i), *b = moeclip_tensors_find(again, a->name);
    CHECK(b && a->dtype == b->dtype && a->rank == b->rank && a->n_bytes == b->n_bytes);
    if (!b) continue;
    CHECK(memcmp(a->shape, b->shape, sizeof a->shape) == 0 && memcmp(a->data, b->data, a->n_bytes) == 0);
    CHECK((uintptr_t)b->data % moeclip_dtype_size(b->dtype) == 0);
  }
  CHECK(moeclip_tensors_metadata(again, "a\n") && moeclip_tensors_metadata_count(again) == 2);
  moeclip_tensors_destroy(again);
  moeclip_tensors_destroy(t);
  for (int i = 0; i < 2; i++) {
    mc_mapping_close(&m[i]);
    unlink(path[i]);
    free(path[i]);
  }
  CHECK(rmdir(folder) == 0);
}

/* --- a model in several files ------------------------------------------------------------------------------------------------ */

static void write_part(const char *folder, const char *name, const char *const *tensors, float value) {
  moeclip_tensors *t;
  moeclip_error err;
  char *path = mc_format("%s/%s", folder, name);
  REQUIRE_OK(moeclip_tensors_create(&t, &err), err);
  for (; *tensors; tensors++) {
    REQUIRE_OK(moeclip_tensors_add(t, *tensors, MOECLIP_F32, 1, (int64_t[]){1}, &value, 1, &err), err);
  }
  REQUIRE_OK(moeclip_tensors_write_safetensors(t, path, &err), err);
  moeclip_tensors_destroy(t);
  free(path);
}

static void test_sharded(void) {
  static const struct { const char *json, *says; } cases[] = {
      {"{\"metadata\": {\"total_size\": 8}, \"weight_map\": {\"a\": \"1-of-2\", \"b\": \"2-of-2\", \"c\": \"1-of-2\"}}", NULL},
      {"{\"weight_map\":{\"a\":\"1-of-2\"}}", NULL}, /* what else the file holds is there too */
      {"{\"weight_map\": {\"a\": \"1-of-2\", \"b\": \"1-of-2\"}}", "1-of-2: tensor b is not in it"},
      {"{\"weight_map\": {\"a\": \"3-of-2\"}}", "3-of-2"},
      {"{\"weight_map\": {\"a\": \"1-of-2\", \"b\": \"twice\"}}", "tensor a: is there twice"},
      {"{\"weight_map\": {\"a\": \"damaged\"}}", "damaged: is neither"},
      {"{\"weight_map\": {\"a\": \"index.json\"}}", "index.json: is neither"}, /* no index of indices */
      {"{\"weight_map\": {\"a\": \"../x\"}}", "no file beside the index for tensor a"},
      {"{\"weight_map\": {\"a\": \"..\"}}", "no file beside the index for tensor a"},
      {"{\"weight_map\": {\"a\": \"\"}}", "no file beside the index for tensor a"},
      {"{\"weight_map\": {\"a\": 7}}", "no file beside the index for tensor a"},
      {"{\"weight_map\": {}}", "is empty"},
      {"{\"weight_map\": []}", "without the \"weight_map\""},
      {"{\"a\": 1}", "without the \"weight_map\""},
      {"{\"weight_map\": {\"a\": \"1-of-2\"", "line 1"},
      {"{\"weight_map\": {\"a\": \"1-of-2\", \"a\": \"1-of-2\"}}", "line 1"}};
  char folder[] = "/tmp/moeclip-sharded-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char *path = mc_format("%s/index.json", folder), *damaged = mc_format("%s/damaged", folder);
  moeclip_error err;
  write_part(folder, "1-of-2", (const char *const[]){"a", "c", NULL}, 1);
  write_part(folder, "2-of-2", (const char *const[]){"b", NULL}, 2);
  write_part(folder, "twice", (const char *const[]){"a", "b", NULL}, 3);
  REQUIRE_OK(mc_file_write(damaged, "?", 1, &err), err);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    moeclip_tensors *t = NULL;
    REQUIRE_OK(mc_file_write(path, cases[i].json, strlen(cases[i].json), &err), err);
    moeclip_code code = moeclip_tensors_open(path, &t, &err);
    if (cases[i].says) {
      CHECK_MSG(code != MOECLIP_OK && !t && strncmp(err.message, path, strlen(path)) == 0 && strstr(err.message, cases[i].says),
                "%s: code %d, message %s", cases[i].json, (int)code, err.message);
      continue;
    }
    REQUIRE_OK(code, err);
    const moeclip_tensor *a = moeclip_tensors_find(t, "a"), *b = moeclip_tensors_find(t, "b");
    CHECK(moeclip_tensors_container(t) == MOECLIP_SAFETENSORS && moeclip_tensors_count(t) == (i == 0 ? 3 : 2));
    CHECK(a && *(const float *)a->data == 1 && (i == 0 ? b && *(const float *)b->data == 2 : !b));
    moeclip_tensors_destroy(t);
  }
  char *remove = mc_format("rm -r '%s'", folder);
  CHECK(system(remove) == 0);
  free(remove);
  free(damaged);
  free(path);
}

int main(void) {
  test_half();
  test_bfloat();
  test_integers();
  test_collection();
  test_safetensors_damage();
  test_safetensors_write();
  test_sharded();
  return check_report();
}
