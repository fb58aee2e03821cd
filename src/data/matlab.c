#include "data/matlab.h"

#include <matio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)

/* The variable of an examined file; free with Mat_VarFree. */
static moeclip_code read_variable(const char *path, const char *name, matvar_t **out, moeclip_error *err) {
  uint8_t *data;
  size_t n;
  *out = NULL;
  MC_TRY(mc_file_read(path, MAX_FILE_BYTES, &data, &n, err));
  moeclip_code code = mc_matlab_check(data, n, err);
  free(data);
  if (code != MOECLIP_OK) return mc_fail_prefix(err, path);
  mat_t *file = Mat_Open(path, MAT_ACC_RDONLY);
  if (!file) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: matio cannot open it; download it again", path);
  *out = Mat_VarRead(file, name);
  Mat_Close(file);
  if (*out) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: there is no variable \"%s\"", path, name);
}

/* Number of elements; 0 for what has none. */
static size_t elements(const matvar_t *v) {
  size_t n = 1;
  if (!v || !v->dims || v->rank < 1) return 0;
  for (int i = 0; i < v->rank; i++) {
    if (!mc_mul_size(n, v->dims[i], &n)) return 0;
  }
  return n;
}

/* An array's values as matio keeps them: n elements of the size that is asked for. */
static bool holds(const matvar_t *v, size_t size) {
  size_t n_bytes;
  return v->data && mc_mul_size(elements(v), size, &n_bytes) && v->nbytes >= n_bytes;
}

#define NUMBERS(type)                                                             \
  if (!holds(v, sizeof(type))) return false;                                      \
  for (size_t i = 0; i < n; i++) out[i] = (double)((const type *)v->data)[i];     \
  return true

/* The first n elements as numbers. */
static bool numbers_of(const matvar_t *v, size_t n, double *out) {
  if (!v || elements(v) < n || v->isComplex) return false;
  if (n == 0) return true;
  switch (v->class_type) {
    case MAT_C_DOUBLE: NUMBERS(double);
    case MAT_C_SINGLE: NUMBERS(float);
    case MAT_C_INT8: NUMBERS(int8_t);
    case MAT_C_UINT8: NUMBERS(uint8_t);
    case MAT_C_INT16: NUMBERS(int16_t);
    case MAT_C_UINT16: NUMBERS(uint16_t);
    case MAT_C_INT32: NUMBERS(int32_t);
    case MAT_C_UINT32: NUMBERS(uint32_t);
    case MAT_C_INT64: NUMBERS(int64_t);
    case MAT_C_UINT64: NUMBERS(uint64_t);
    default: return false;
  }
}

/* One row of characters as UTF-8; NULL when it is none, or memory is short. */
static char *text_of(const matvar_t *v) {
  if (!v || v->class_type != MAT_C_CHAR || v->rank != 2 || (elements(v) > 0 && v->dims[0] != 1)) return NULL;
  size_t n = elements(v), at = 0, size = v->data_size == 2 ? 2 : 1;
  if (n > 4096 || (n > 0 && !holds(v, size))) return NULL;
  char *out = mc_alloc(3 * n + 1, 1);
  for (size_t i = 0; out && i < n; i++) {
    unsigned c = size == 2 ? ((const uint16_t *)v->data)[i] : ((const uint8_t *)v->data)[i];
    if (c == 0 || (c >= 0xD800 && c < 0xE000)) { /* surrogates: no name of a benchmark is beyond 16 bits */
      free(out);
      return NULL;
    }
    if (size == 1 || c < 0x80) {
      out[at++] = (char)c;
    } else if (c < 0x800) {
      out[at++] = (char)(0xC0 | c >> 6);
      out[at++] = (char)(0x80 | (c & 0x3F));
    } else {
      out[at++] = (char)(0xE0 | c >> 12);
      out[at++] = (char)(0x80 | (c >> 6 & 0x3F));
      out[at++] = (char)(0x80 | (c & 0x3F));
    }
  }
  if (out) out[at] = 0;
  return out;
}

moeclip_code mc_matlab_numbers(const char *path, const char *name, double **out, size_t *n, moeclip_error *err) {
  matvar_t *v;
  *out = NULL;
  *n = 0;
  MC_TRY(read_variable(path, name, &v, err));
  size_t count = elements(v);
  double *values = mc_alloc(count + 1, sizeof *values);
  moeclip_code code = MOECLIP_OK;
  if (!values) {
    code = mc_fail_memory(err, count * sizeof *values, path);
  } else if (!numbers_of(v, count, values)) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" is not an array of numbers", path, name);
  }
  Mat_VarFree(v);
  if (code != MOECLIP_OK) {
    free(values);
    return code;
  }
  *out = values;
  *n = count;
  return MOECLIP_OK;
}

moeclip_code mc_matlab_texts(const char *path, const char *name, char ***out, size_t *n, moeclip_error *err) {
  matvar_t *v;
  *out = NULL;
  *n = 0;
  MC_TRY(read_variable(path, name, &v, err));
  size_t count = elements(v);
  char **texts = calloc(count + 1, sizeof *texts);
  moeclip_code code = MOECLIP_OK;
  if (!texts) {
    code = mc_fail_memory(err, count * sizeof *texts, path);
  } else if (v->class_type != MAT_C_CELL || count > INT32_MAX) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" is not a cell array of texts", path, name);
  }
  for (size_t i = 0; code == MOECLIP_OK && i < count; i++) {
    texts[i] = text_of(Mat_VarGetCell(v, (int)i));
    if (!texts[i]) {
      code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\": number %zu is not a text", path, name, i + 1);
    }
  }
  Mat_VarFree(v);
  if (code != MOECLIP_OK) {
    mc_names_free(texts, texts ? count : 0);
    return code;
  }
  *out = texts;
  *n = count;
  return MOECLIP_OK;
}

static moeclip_code table_row(const matvar_t *number, const matvar_t *text, double *out_number, char **out_text) {
  if (elements(number) != 1 || !numbers_of(number, 1, out_number)) return MOECLIP_ERROR_FORMAT;
  *out_text = text_of(text);
  return *out_text ? MOECLIP_OK : MOECLIP_ERROR_FORMAT;
}

moeclip_code mc_matlab_table(const char *path, const char *name, const char *number_field, const char *text_field,
                             double **numbers, char ***texts, size_t *n, moeclip_error *err) {
  matvar_t *v;
  *numbers = NULL;
  *texts = NULL;
  *n = 0;
  MC_TRY(read_variable(path, name, &v, err));
  size_t count = elements(v);
  double *values = mc_alloc(count + 1, sizeof *values);
  char **names = calloc(count + 1, sizeof *names);
  moeclip_code code = MOECLIP_OK;
  if (!values || !names) {
    code = mc_fail_memory(err, count * sizeof *values, path);
  } else if (v->class_type != MAT_C_STRUCT) {
    code = mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: \"%s\" is not an array of structs", path, name);
  }
  for (size_t i = 0; code == MOECLIP_OK && i < count; i++) {
    code = table_row(Mat_VarGetStructFieldByName(v, number_field, i), Mat_VarGetStructFieldByName(v, text_field, i),
                     &values[i], &names[i]);
    if (code == MOECLIP_OK) continue;
    mc_fail(err, code, "%s: \"%s\": number %zu has no number \"%s\" and text \"%s\"", path, name, i + 1, number_field,
            text_field);
  }
  Mat_VarFree(v);
  if (code != MOECLIP_OK) {
    mc_names_free(names, names ? count : 0);
    free(values);
    return code;
  }
  *numbers = values;
  *texts = names;
  *n = count;
  return MOECLIP_OK;
}
