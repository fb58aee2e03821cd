/*
 * files/: containers of named tensors (safetensors, PyTorch zip and pickle files, TorchScript) and the names that
 * CLIP's weights go by. Includes base/, moeclip/tensors.h and, for OpenAI's transform, moeclip/image.h; model/ and what stands above it may
 * include names.h and the headers of configurations.
 *
 * This header: what the readers share, the collection behind moeclip_tensors.
 */
#ifndef MC_FILES_COLLECTION_H
#define MC_FILES_COLLECTION_H

#include <stdbool.h>

#include "base/file.h"
#include "moeclip/tensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "moeclip reads tensors in place, which are little-endian in every container"
#endif

/* What a hostile file may make us keep, whatever its size. */
#define MC_MAX_TENSORS 262144
#define MC_MAX_NAME 512

struct moeclip_tensors {
  moeclip_container container;
  mc_mapping mapping;    /* of the opened file; empty otherwise */
  moeclip_tensors **parts; /* the files of a model in several, which the tensors lie in; owned */
  size_t n_parts;
  moeclip_tensor *items; /* names are owned */
  size_t n_items, cap_items;
  size_t *slots; /* hash table: 1 + index into items, 0 when free; n_slots is a power of two */
  size_t n_slots;
  void **owned; /* data that the collection frees */
  size_t n_owned, cap_owned;
  char **metadata; /* key, value, key, value ... */
  size_t n_metadata; /* pairs */
};

/* Elements and bytes of a shape; false when rank or a size is out of range or the product does not fit. */
bool mc_tensor_size(moeclip_dtype dtype, int rank, const int64_t *shape, size_t *elements, size_t *n_bytes);

/* True when s[0..n) is UTF-8 without 0. */
bool mc_is_text(const char *s, size_t n);

/* Appends a tensor whose data is borrowed. name need not end in 0. blame: the code for what is wrong with the name or
 * the shape (FORMAT for a file, ARGUMENT for a caller). */
moeclip_code mc_tensors_put(moeclip_tensors *t, const char *name, size_t n_name, moeclip_dtype dtype, int rank,
                            const int64_t *shape, const void *data, moeclip_code blame, moeclip_error *err);

/* Hands p (from mc_aligned_alloc or malloc) to the collection; frees it when that fails. */
moeclip_code mc_tensors_own(moeclip_tensors *t, void *p, moeclip_error *err);

/* Sets the metadata's key, unless it is there. */
moeclip_code mc_tensors_note(moeclip_tensors *t, const char *key, const char *value, moeclip_error *err);

/* Takes prefix off every name, if every name has it and more than it. */
moeclip_code mc_tensors_strip_prefix(moeclip_tensors *t, const char *prefix, moeclip_error *err);

/* Writes the checksum of the tensors, of moeclip.state and of checkpoint.* into the metadata; moeclip_tensors_verify compares. */
moeclip_code mc_tensors_seal(moeclip_tensors *t, moeclip_error *err);

/* The readers: fill the empty collection t from data, which outlives it. Messages do not name the file. */
moeclip_code mc_safetensors_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err);
moeclip_code mc_torch_zip_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err);
moeclip_code mc_torch_legacy_read(const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err);
/* True when data begins as torch.save wrote files before version 1.6. */
bool mc_is_torch_legacy(const uint8_t *data, size_t n_bytes);

/* A file that is not an index of others. The message names it. */
moeclip_code mc_tensors_open_file(const char *path, moeclip_tensors **out, moeclip_error *err);
/* Is it JSON? */
bool mc_is_sharded(const uint8_t *data, size_t n_bytes);
/* data: the index at `path`, which stays in front of what messages say; they name the files beside it. */
moeclip_code mc_sharded_read(const char *path, const uint8_t *data, size_t n_bytes, moeclip_tensors *t, moeclip_error *err);

/* Little-endian numbers at any address. */
static inline uint16_t mc_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t mc_u32(const uint8_t *p) { return mc_u16(p) | (uint32_t)mc_u16(p + 2) << 16; }
static inline uint64_t mc_u64(const uint8_t *p) { return mc_u32(p) | (uint64_t)mc_u32(p + 4) << 32; }

#endif
