/* What the two PyTorch containers share: finding the tensors in an unpickled tree. */
#ifndef MC_FILES_TORCH_H
#define MC_FILES_TORCH_H

#include "files/collection.h"
#include "files/pickle.h"

/* A storage as a pickle refers to it: ('storage', class, key, location, number of elements[, view]). */
typedef struct mc_storage_id {
  mc_text key;
  bool typed;          /* false: UntypedStorage, counted in bytes */
  moeclip_dtype dtype; /* when typed */
  uint64_t n_elements;
  uint64_t n_skipped;  /* elements before this view of the storage */
} mc_storage_id;

/* Reads a PERSISTENT value. UNSUPPORTED for element types that moeclip does not have. */
moeclip_code mc_torch_storage_id(const mc_value *v, mc_storage_id *out, moeclip_error *err);

/* Where storages are. */
typedef struct mc_torch_storages {
  void *context;
  /* The bytes of the storage of that key, at least n_bytes of them; they must stay as long as t. */
  moeclip_code (*find)(void *context, mc_text key, uint64_t n_bytes, moeclip_tensors *t, const uint8_t **data,
                       moeclip_error *err);
  size_t copy_budget; /* bytes that tensors which are not contiguous may take; lowered as they do */
} mc_torch_storages;

/* Puts every tensor of the pickle into t, named by the path to it: dictionary keys, list positions and attributes,
 * joined by dots. What is no tensor is passed over. Wrappers come off unless the tree is a module (script). A lone
 * tensor is called "tensor". */
moeclip_code mc_torch_collect(const mc_pickle *pickle, bool script, mc_torch_storages *storages, moeclip_tensors *t,
                              moeclip_error *err);

/* What copies of strided tensors from a file of n_bytes may take. */
size_t mc_torch_copy_budget(size_t n_bytes);

/* torch_tensor.c: whether v is a call that rebuilds a tensor; and rebuilding it as t's tensor of that name. */
bool mc_torch_is_tensor(const mc_value *v);
moeclip_code mc_torch_put(const mc_value *v, const char *name, mc_torch_storages *storages, moeclip_tensors *t,
                          moeclip_error *err);

#endif
