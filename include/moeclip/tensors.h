/*
 * Files of named tensors: safetensors, PyTorch zip checkpoints (.pth, .pt), older PyTorch pickles and TorchScript
 * archives, behind one handle. A file is mapped; tensors point into it. Nothing in a file is ever executed.
 */
#ifndef MOECLIP_TENSORS_H
#define MOECLIP_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MOECLIP_MAX_RANK 8

typedef enum moeclip_dtype {
  MOECLIP_F32, MOECLIP_F16, MOECLIP_BF16, MOECLIP_F64,
  MOECLIP_I64, MOECLIP_I32, MOECLIP_I16, MOECLIP_I8, MOECLIP_U8, MOECLIP_BOOL
} moeclip_dtype;

MOECLIP_API size_t moeclip_dtype_size(moeclip_dtype dtype);
MOECLIP_API const char *moeclip_dtype_name(moeclip_dtype dtype); /* "F32", as safetensors spells it */

typedef struct moeclip_tensor {
  const char *name;
  moeclip_dtype dtype;
  int rank;
  int64_t shape[MOECLIP_MAX_RANK];
  const void *data; /* row-major, n_bytes long, perhaps not aligned to the element */
  size_t n_bytes;
} moeclip_tensor;

typedef enum moeclip_container {
  MOECLIP_SAFETENSORS, MOECLIP_TORCH_ZIP, MOECLIP_TORCH_LEGACY, MOECLIP_TORCHSCRIPT
} moeclip_container;

/* An opened file, or a collection being built for writing. */
typedef struct moeclip_tensors moeclip_tensors;

/* Opens PATH, whichever of the containers it is (told by content, not by name). Tensors keep the file's names, except
 * that the wrappers {"state_dict": ...}, {"model": ...} and the prefix "module." are taken off. Nested dictionaries,
 * lists and modules give dotted names ("0.encoder.0.weight"); a checkpoint that is one tensor calls it "tensor".
 * A model in several files is opened by its index (Hugging Face's model.safetensors.index.json), which names those beside it. */
MOECLIP_API moeclip_code moeclip_tensors_open(const char *path, moeclip_tensors **out, moeclip_error *err);
/* The same from memory, which must outlive the handle; `name` is used in messages. */
MOECLIP_API moeclip_code moeclip_tensors_from_memory(const void *data, size_t n_bytes, const char *name,
                                                     moeclip_tensors **out, moeclip_error *err);
MOECLIP_API void moeclip_tensors_destroy(moeclip_tensors *t);

MOECLIP_API moeclip_container moeclip_tensors_container(const moeclip_tensors *t);
MOECLIP_API size_t moeclip_tensors_count(const moeclip_tensors *t);
/* Tensors in the file's order; NULL outside 0..count-1. Valid until the handle is destroyed or added to. */
MOECLIP_API const moeclip_tensor *moeclip_tensors_at(const moeclip_tensors *t, size_t i);
MOECLIP_API const moeclip_tensor *moeclip_tensors_find(const moeclip_tensors *t, const char *name);

/* Metadata: safetensors' "__metadata__" (text to text). NULL when there is no such key. */
MOECLIP_API const char *moeclip_tensors_metadata(const moeclip_tensors *t, const char *key);
MOECLIP_API size_t moeclip_tensors_metadata_count(const moeclip_tensors *t);
MOECLIP_API void moeclip_tensors_metadata_at(const moeclip_tensors *t, size_t i, const char **key, const char **value);

/* Compares the tensors, and what a learner's state or a checkpoint says beside them, with the checksum in the metadata of files that
 * moeclip wrote for itself: fails with MOECLIP_ERROR_FORMAT when it does not fit. needed: fails too when there is none. The message
 * does not name the file. */
MOECLIP_API moeclip_code moeclip_tensors_verify(const moeclip_tensors *t, int needed, moeclip_error *err);

/* Number of elements (the product of the shape). */
MOECLIP_API size_t moeclip_tensor_elements(const moeclip_tensor *t);
/* Converts all elements to float32 into out[moeclip_tensor_elements(t)]. Any dtype. */
MOECLIP_API void moeclip_tensor_to_f32(const moeclip_tensor *t, float *out);
/* Converts n float32 values to dtype (F32, F16, BF16, F64; rounding to nearest even). */
MOECLIP_API moeclip_code moeclip_f32_to(moeclip_dtype dtype, const float *in, size_t n, void *out, moeclip_error *err);

/* Building: an empty collection; add copies name and shape, and the data too if copy != 0 (else the data must stay
 * until the collection is written and destroyed). A second tensor of the same name is an error. */
MOECLIP_API moeclip_code moeclip_tensors_create(moeclip_tensors **out, moeclip_error *err);
MOECLIP_API moeclip_code moeclip_tensors_add(moeclip_tensors *t, const char *name, moeclip_dtype dtype, int rank,
                                             const int64_t *shape, const void *data, int copy, moeclip_error *err);
/* value NULL removes the key. */
MOECLIP_API moeclip_code moeclip_tensors_set_metadata(moeclip_tensors *t, const char *key, const char *value,
                                                      moeclip_error *err);

/* Writes the collection (temporary file, fsync, rename). The bytes depend on the content alone. */
MOECLIP_API moeclip_code moeclip_tensors_write_safetensors(const moeclip_tensors *t, const char *path,
                                                           moeclip_error *err);
/* As {"state_dict": {name: tensor}}, readable by torch.load(weights_only=True). Metadata is not kept. */
MOECLIP_API moeclip_code moeclip_tensors_write_torch(const moeclip_tensors *t, const char *path, moeclip_error *err);

#ifdef __cplusplus
}
#endif
#endif
