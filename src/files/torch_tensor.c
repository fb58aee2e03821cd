/* Tensors as PyTorch pickles them: a storage, an offset, sizes and strides. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/torch.h"

static const struct { const char *storage, *dtype; } types[] = {
    [MOECLIP_F32] = {"FloatStorage", "float32"}, [MOECLIP_F16] = {"HalfStorage", "float16"},
    [MOECLIP_BF16] = {"BFloat16Storage", "bfloat16"}, [MOECLIP_F64] = {"DoubleStorage", "float64"},
    [MOECLIP_I64] = {"LongStorage", "int64"}, [MOECLIP_I32] = {"IntStorage", "int32"},
    [MOECLIP_I16] = {"ShortStorage", "int16"}, [MOECLIP_I8] = {"CharStorage", "int8"},
    [MOECLIP_U8] = {"ByteStorage", "uint8"}, [MOECLIP_BOOL] = {"BoolStorage", "bool"}};

/* A tensor's strides and place, read from the arguments of the call that rebuilds it. */
typedef struct layout {
  moeclip_dtype dtype;
  int rank;
  int64_t shape[MOECLIP_MAX_RANK];
  size_t stride[MOECLIP_MAX_RANK], offset; /* elements */
  size_t n_elements, n_bytes;
} layout;

static moeclip_code bad(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: %s", what);
}

static bool is_int(const mc_value *v) { return v->kind == MC_VALUE_INT && v->integer >= 0; }

size_t mc_torch_copy_budget(size_t n_bytes) {
  size_t room = (size_t)16 << 20, total;
  return mc_mul_size(n_bytes, 4, &total) && mc_add_size(total, room, &total) ? total : SIZE_MAX;
}

moeclip_code mc_torch_storage_id(const mc_value *v, mc_storage_id *out, moeclip_error *err) {
  *out = (mc_storage_id){.typed = true};
  const mc_value *id = v->kind == MC_VALUE_PERSISTENT ? v->id : NULL;
  if (!id || id->kind != MC_VALUE_TUPLE || id->list.n < 5) return bad(err, "a tensor has no storage");
  mc_value **part = id->list.items;
  if (part[0]->kind != MC_VALUE_TEXT || !mc_text_is(part[0]->text, "storage") || part[1]->kind != MC_VALUE_GLOBAL ||
      part[2]->kind != MC_VALUE_TEXT || !is_int(part[4])) {
    return bad(err, "a storage's description is not of the known form");
  }
  out->key = part[2]->text;
  out->n_elements = (uint64_t)part[4]->integer;
  if (id->list.n > 5 && part[5]->kind == MC_VALUE_TUPLE) { /* (key, offset, size) of a view, before PyTorch 0.4 */
    const mc_value *view = part[5];
    if (view->list.n != 3 || !is_int(view->list.items[1]) || !is_int(view->list.items[2])) {
      return bad(err, "a storage's view is not of the known form");
    }
    out->n_skipped = (uint64_t)view->list.items[1]->integer;
  }
  mc_text name = {part[1]->global.name, part[1]->global.n_name};
  if (mc_text_is(name, "UntypedStorage")) {
    out->typed = false;
    return MOECLIP_OK;
  }
  for (int i = MOECLIP_F32; i <= MOECLIP_BOOL; i++) {
    if (mc_text_is(name, types[i].storage)) {
      out->dtype = (moeclip_dtype)i;
      return MOECLIP_OK;
    }
  }
  return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "elements of %.*s are not supported",
                 name.n > 40 ? 40 : (int)name.n, name.bytes);
}

/* The call inside: subclasses of Tensor wrap it as _rebuild_from_type_v2(function, type, arguments, state). */
static void unwrap(const mc_value *v, const mc_value **callable, const mc_value **arguments) {
  *callable = v->object.callable;
  *arguments = v->object.arguments;
  const mc_value *a = *arguments;
  if (mc_is_global(*callable, "torch._tensor", "_rebuild_from_type_v2") && a->list.n >= 3 &&
      a->list.items[2]->kind == MC_VALUE_TUPLE) {
    *callable = a->list.items[0];
    *arguments = a->list.items[2];
  }
}

bool mc_torch_is_tensor(const mc_value *v) {
  if (v->kind != MC_VALUE_OBJECT) return false;
  const mc_value *callable, *arguments;
  unwrap(v, &callable, &arguments);
  if (callable->kind != MC_VALUE_GLOBAL) return false;
  if (!mc_text_is((mc_text){callable->global.module, callable->global.n_module}, "torch._utils")) return false;
  return callable->global.n_name > 9 && memcmp(callable->global.name, "_rebuild_", 9) == 0;
}

static moeclip_code read_shape(const mc_value *sizes, const mc_value *strides, layout *l, moeclip_error *err) {
  bool lists = (sizes->kind == MC_VALUE_TUPLE || sizes->kind == MC_VALUE_LIST) &&
               (strides->kind == MC_VALUE_TUPLE || strides->kind == MC_VALUE_LIST);
  if (!lists || sizes->list.n != strides->list.n) return bad(err, "a tensor's sizes and strides do not match");
  if (sizes->list.n > MOECLIP_MAX_RANK) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "has %u dimensions; at most %d are supported", sizes->list.n,
                   MOECLIP_MAX_RANK);
  }
  l->rank = (int)sizes->list.n;
  for (int i = 0; i < l->rank; i++) {
    const mc_value *size = sizes->list.items[i], *stride = strides->list.items[i];
    if (!is_int(size) || !is_int(stride)) return bad(err, "a tensor's size or stride is not a number");
    l->shape[i] = size->integer;
    l->stride[i] = (size_t)stride->integer;
  }
  if (!mc_tensor_size(l->dtype, l->rank, l->shape, &l->n_elements, &l->n_bytes)) {
    return bad(err, "a tensor's sizes are out of range");
  }
  return MOECLIP_OK;
}

/* The elements of the storage up to and with the tensor's last one. */
static bool reach(const layout *l, size_t *out) {
  size_t last = l->offset, step;
  for (int i = 0; i < l->rank; i++) {
    if (!mc_mul_size((size_t)(l->shape[i] - 1), l->stride[i], &step) || !mc_add_size(last, step, &last)) return false;
  }
  return mc_add_size(last, 1, out);
}

static bool is_contiguous(const layout *l) {
  size_t expected = 1;
  for (int i = l->rank - 1; i >= 0; i--) {
    if (l->shape[i] != 1 && l->stride[i] != expected) return false;
    expected *= (size_t)l->shape[i];
  }
  return true;
}

/* Row-major copy. n_elements > 0, and every element was checked to lie in the storage. */
static void gather(const layout *l, const uint8_t *from, uint8_t *to) {
  size_t size = moeclip_dtype_size(l->dtype), at = l->offset;
  int64_t index[MOECLIP_MAX_RANK] = {0};
  for (size_t done = 0; done < l->n_elements; done++) {
    memcpy(to, from + at * size, size);
    to += size;
    for (int i = l->rank - 1; i >= 0; i--) {
      at += l->stride[i];
      if (++index[i] < l->shape[i]) break;
      at -= l->stride[i] * (size_t)l->shape[i];
      index[i] = 0;
    }
  }
}

/* _rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks[, metadata]), and
 * _v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata]). */
static moeclip_code read_layout(const mc_value *v, layout *l, mc_storage_id *id, moeclip_error *err) {
  const mc_value *callable, *arguments;
  unwrap(v, &callable, &arguments);
  bool v3 = mc_is_global(callable, "torch._utils", "_rebuild_tensor_v3");
  if (!v3 && !mc_is_global(callable, "torch._utils", "_rebuild_tensor") &&
      !mc_is_global(callable, "torch._utils", "_rebuild_tensor_v2")) {
    uint32_t n = callable->global.n_name;
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "is of a kind (%.*s) that moeclip does not read; save a dense copy",
                   n > 60 ? 60 : (int)n, callable->global.name);
  }
  mc_value **a = arguments->list.items;
  if (arguments->list.n < (v3 ? 7 : 4)) return bad(err, "a tensor's description is too short");
  MC_TRY(mc_torch_storage_id(a[0], id, err));
  l->dtype = id->dtype;
  if (!id->typed) {
    int i = MOECLIP_F32;
    while (v3 && i <= MOECLIP_BOOL && !mc_is_global(a[6], "torch", types[i].dtype)) i++;
    if (!v3 || i > MOECLIP_BOOL) {
      return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "has elements of a type that moeclip does not read");
    }
    l->dtype = (moeclip_dtype)i;
  }
  if (!is_int(a[1])) return bad(err, "a tensor's offset is not a number");
  if (!mc_add_size((size_t)a[1]->integer, (size_t)id->n_skipped, &l->offset)) return bad(err, "a tensor's offset");
  return read_shape(a[2], a[3], l, err);
}

/* The tensor's layout, and its data: in the storage where it is contiguous, else in a copy that t owns. */
static moeclip_code rebuild(const mc_value *v, mc_torch_storages *storages, moeclip_tensors *t, layout *l,
                            const uint8_t **out, moeclip_error *err) {
  mc_storage_id id;
  const uint8_t *data;
  *out = NULL;
  MC_TRY(read_layout(v, l, &id, err));
  if (l->n_elements == 0) return MOECLIP_OK;
  size_t size = moeclip_dtype_size(l->dtype), needed, stored;
  if (!mc_mul_size((size_t)id.n_elements, id.typed ? moeclip_dtype_size(id.dtype) : 1, &stored) || !reach(l, &needed) ||
      !mc_mul_size(needed, size, &needed) || needed > stored) {
    return bad(err, "a tensor reaches beyond its storage");
  }
  MC_TRY(storages->find(storages->context, id.key, stored, t, &data, err));
  if (is_contiguous(l)) {
    *out = data + l->offset * size;
    return MOECLIP_OK;
  }
  if (l->n_bytes > storages->copy_budget) {
    return bad(err, "its strided or expanded tensors take far more room than the file");
  }
  uint8_t *copy = mc_aligned_alloc(l->n_bytes, 1);
  if (!copy) return mc_fail_memory(err, l->n_bytes, "a strided tensor");
  storages->copy_budget -= l->n_bytes;
  MC_TRY(mc_tensors_own(t, copy, err));
  gather(l, data, copy);
  *out = copy;
  return MOECLIP_OK;
}

moeclip_code mc_torch_put(const mc_value *v, const char *name, mc_torch_storages *storages, moeclip_tensors *t,
                          moeclip_error *err) {
  layout l = {0};
  const uint8_t *data;
  moeclip_code code = rebuild(v, storages, t, &l, &data, err);
  if (code != MOECLIP_OK) {
    char prefix[256] = "tensor ";
    strncat(prefix, name, sizeof prefix - 8);
    mc_fail_prefix(err, prefix);
    return code;
  }
  return mc_tensors_put(t, name, strlen(name), l.dtype, l.rank, l.shape, data, MOECLIP_ERROR_FORMAT, err);
}
