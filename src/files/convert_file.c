/* moeclip_convert: read, rename, convert, write. */
#include "moeclip/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "files/collection.h"
#include "files/config.h"

void moeclip_convert_options_defaults(moeclip_convert_options *options) {
  *options = (moeclip_convert_options){.dtype = -1};
}

const char *moeclip_tensors_naming(const moeclip_tensors *t, moeclip_error *err) {
  moeclip_tensors *named;
  mc_naming naming;
  if (mc_names_normalise(t, &named, &naming, err) != MOECLIP_OK) return NULL;
  moeclip_tensors_destroy(named);
  return mc_naming_name(naming);
}

static moeclip_code container_of(const char *path, moeclip_container *out, moeclip_error *err) {
  const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
  if (dot && strcasecmp(dot, ".safetensors") == 0) {
    *out = MOECLIP_SAFETENSORS;
  } else if (dot && (strcasecmp(dot, ".pth") == 0 || strcasecmp(dot, ".pt") == 0)) {
    *out = MOECLIP_TORCH_ZIP;
  } else {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: its ending must say what to write: .safetensors, .pth or .pt",
                   path);
  }
  return MOECLIP_OK;
}

static size_t count_overflows(const moeclip_tensor *from, const float *values, const moeclip_tensor *to, float *back) {
  size_t n = moeclip_tensor_elements(from), count = 0;
  moeclip_tensor_to_f32(to, back);
  for (size_t i = 0; i < n; i++) {
    double v = (double)values[i];
    if (from->dtype == MOECLIP_F64) memcpy(&v, (const uint8_t *)from->data + i * sizeof v, sizeof v);
    count += isfinite(v) && !isfinite(back[i]);
  }
  return count;
}

/* One tensor in another dtype, into memory that the collection owns. */
static moeclip_code put_converted(const moeclip_tensor *t, moeclip_dtype dtype, moeclip_tensors *out,
                                  size_t *n_overflows, moeclip_error *err) {
  size_t n = moeclip_tensor_elements(t), n_bytes;
  if (!mc_mul_size(n, moeclip_dtype_size(dtype), &n_bytes)) return mc_fail_memory(err, SIZE_MAX, t->name);
  float *values = mc_alloc(n, sizeof *values);
  void *data = mc_aligned_alloc(n_bytes, 1);
  moeclip_code code = values && data ? MOECLIP_OK : mc_fail_memory(err, n_bytes, t->name);
  if (code == MOECLIP_OK) {
    moeclip_tensor_to_f32(t, values);
    code = moeclip_f32_to(dtype, values, n, data, err);
  }
  if (code == MOECLIP_OK) {
    code = mc_tensors_own(out, data, err);
    if (code == MOECLIP_OK) {
      code = mc_tensors_put(out, t->name, strlen(t->name), dtype, t->rank, t->shape, data, MOECLIP_ERROR_FORMAT, err);
    }
    data = NULL; /* the collection's, or freed by it */
  }
  if (code == MOECLIP_OK) {
    moeclip_tensor to = *t;
    to.dtype = dtype;
    to.data = out->items[out->n_items - 1].data;
    float *back = mc_alloc(n, sizeof *back);
    code = back ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *back, t->name);
    if (back) *n_overflows += count_overflows(t, values, &to, back);
    free(back);
  }
  free(values);
  mc_aligned_free(data);
  return code;
}

static moeclip_code put_tensors(const moeclip_tensors *in, int dtype, moeclip_tensors *out,
                                moeclip_convert_report *report, moeclip_error *err) {
  for (size_t i = 0; i < moeclip_tensors_count(in); i++) {
    const moeclip_tensor *t = moeclip_tensors_at(in, i);
    bool convert = dtype >= 0 && t->dtype <= MOECLIP_F64 && t->dtype != (moeclip_dtype)dtype;
    if (convert) {
      MC_TRY(put_converted(t, (moeclip_dtype)dtype, out, &report->n_overflows, err));
    } else {
      MC_TRY(moeclip_tensors_add(out, t->name, t->dtype, t->rank, t->shape, t->data, 0, err));
    }
    report->n_changed += convert;
    report->n_tensors++;
  }
  return MOECLIP_OK;
}

static moeclip_code put_metadata(const moeclip_tensors *in, const moeclip_convert_options *o, moeclip_tensors *out,
                                 moeclip_convert_report *report, moeclip_error *err) {
  for (size_t i = 0; i < moeclip_tensors_metadata_count(in); i++) {
    const char *key, *value;
    moeclip_tensors_metadata_at(in, i, &key, &value);
    if (strcmp(key, "moeclip.checksum") == 0 && (o->dtype >= 0 || o->openai_names)) continue; /* of other numbers or names */
    MC_TRY(moeclip_tensors_set_metadata(out, key, value, err));
  }
  if (o->activation) MC_TRY(moeclip_tensors_set_metadata(out, "activation", o->activation, err));
  /* "format: pt" only says that the file came from PyTorch. */
  for (size_t i = 0; report->container != MOECLIP_SAFETENSORS && i < moeclip_tensors_metadata_count(out); i++) {
    const char *key, *value;
    moeclip_tensors_metadata_at(out, i, &key, &value);
    if (strcmp(key, "format") == 0) continue;
    if (report->n_metadata_lost++ == 0 || strcmp(key, "activation") == 0) {
      snprintf(report->lost, sizeof report->lost, "%.30s: %.30s", key, value);
    }
  }
  return MOECLIP_OK;
}

static moeclip_code check(const char *in, const moeclip_tensors *file, const moeclip_convert_options *o,
                          moeclip_error *err) {
  if (moeclip_tensors_verify(file, 0, err) != MOECLIP_OK) return mc_fail_prefix(err, in);
  if (o->dtype > (int)MOECLIP_BF16) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "numbers are converted to F32, F16 or BF16 only");
  }
  if (moeclip_tensors_metadata(file, "moeclip.format") && o->dtype >= 0) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                   "%s: is the state of a learner, whose numbers must stay as they are: leave the dtype out", in);
  }
  return MOECLIP_OK;
}

static moeclip_code convert(const char *in, const char *out, const moeclip_convert_options *o, moeclip_tensors *file,
                            moeclip_tensors **named, moeclip_tensors *made, moeclip_convert_report *report,
                            moeclip_error *err) {
  MC_TRY(check(in, file, o, err));
  mc_naming naming;
  moeclip_code code = mc_names_normalise(file, named, &naming, err);
  if (code == MOECLIP_OK) {
    MC_TRY(mc_config_note(in, naming, *named, err)); /* OUT may lie elsewhere */
  } else if (o->openai_names || code == MOECLIP_ERROR_MEMORY) {
    return mc_fail_prefix(err, in);
  }
  if (o->openai_names) report->naming = mc_naming_name(naming);
  code = put_tensors(o->openai_names ? *named : file, o->dtype, made, report, err);
  if (code != MOECLIP_OK) return mc_fail_prefix(err, in);
  /* The renamed collection has the file's metadata, and what the configuration said. */
  MC_TRY(put_metadata(*named ? *named : file, o, made, report, err));
  return report->container == MOECLIP_SAFETENSORS ? moeclip_tensors_write_safetensors(made, out, err)
                                                  : moeclip_tensors_write_torch(made, out, err);
}

moeclip_code moeclip_convert(const char *in, const char *out, const moeclip_convert_options *options,
                             moeclip_convert_report *report, moeclip_error *err) {
  moeclip_tensors *file = NULL, *named = NULL, *made = NULL;
  moeclip_convert_options defaults;
  moeclip_convert_report own;
  moeclip_error ours; /* prefixes need a message to stand before */
  if (!options) {
    moeclip_convert_options_defaults(&defaults);
    options = &defaults;
  }
  if (!report) report = &own;
  if (!err) err = &ours;
  *report = (moeclip_convert_report){0};
  moeclip_code code = container_of(out, &report->container, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_open(in, &file, err);
  if (code == MOECLIP_OK) code = moeclip_tensors_create(&made, err);
  if (code == MOECLIP_OK) code = convert(in, out, options, file, &named, made, report, err);
  moeclip_tensors_destroy(made);
  moeclip_tensors_destroy(named);
  moeclip_tensors_destroy(file);
  return code;
}
