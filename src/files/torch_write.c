/*
 * Writing torch.save's zip container: stored entries whose data begin at multiples of 64, a pickle of protocol 2, times
 * of zero: the bytes depend on the tensors alone. Offsets and sizes beyond 32 bits use the 64-bit records.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "files/bytes.h"
#include "files/collection.h"

#define ALIGNMENT 64
#define ROOT "archive/"
enum { LOCAL_BYTES = 30, DOS_DATE = 33 /* 1 January 1980, the first there is */, UTF8_NAMES = 0x800 };

static const char *const storage_names[] = {
    [MOECLIP_F32] = "FloatStorage", [MOECLIP_F16] = "HalfStorage", [MOECLIP_BF16] = "BFloat16Storage",
    [MOECLIP_F64] = "DoubleStorage", [MOECLIP_I64] = "LongStorage", [MOECLIP_I32] = "IntStorage",
    [MOECLIP_I16] = "ShortStorage", [MOECLIP_I8] = "CharStorage", [MOECLIP_U8] = "ByteStorage",
    [MOECLIP_BOOL] = "BoolStorage"};

/* --- the pickle -------------------------------------------------------------------------------------------------- */

static void put_text(mc_bytes *b, const char *text) {
  mc_bytes_u8(b, 'X');
  mc_bytes_u32(b, (uint32_t)strlen(text));
  mc_bytes_text(b, text);
}

static void put_int(mc_bytes *b, uint64_t v) {
  if (v < 256) {
    mc_bytes_u8(b, 'K');
    mc_bytes_u8(b, (uint8_t)v);
  } else if (v < 65536) {
    mc_bytes_u8(b, 'M');
    mc_bytes_u16(b, (uint16_t)v);
  } else if (v <= INT32_MAX) {
    mc_bytes_u8(b, 'J');
    mc_bytes_u32(b, (uint32_t)v);
  } else {
    mc_bytes_u8(b, 0x8a); /* LONG1 */
    mc_bytes_u8(b, 8);
    mc_bytes_u64(b, v);
  }
}

/* torch._utils._rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()) */
static void put_tensor(mc_bytes *b, const moeclip_tensor *t, size_t key) {
  char text[24];
  uint64_t stride[MOECLIP_MAX_RANK], step = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    stride[i] = step;
    step *= t->shape[i] > 0 ? (uint64_t)t->shape[i] : 1;
  }
  mc_bytes_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_text(b, "storage");
  mc_bytes_text(b, "ctorch\n");
  mc_bytes_text(b, storage_names[t->dtype]);
  mc_bytes_text(b, "\n");
  snprintf(text, sizeof text, "%zu", key);
  put_text(b, text);
  put_text(b, "cpu");
  put_int(b, moeclip_tensor_elements(t));
  mc_bytes_text(b, "tQ");
  put_int(b, 0);
  mc_bytes_u8(b, '(');
  for (int i = 0; i < t->rank; i++) put_int(b, (uint64_t)t->shape[i]);
  mc_bytes_text(b, "t(");
  for (int i = 0; i < t->rank; i++) put_int(b, stride[i]);
  mc_bytes_u8(b, 't');
  mc_bytes_u8(b, 0x89); /* False */
  mc_bytes_text(b, "ccollections\nOrderedDict\n)RtR");
}

static void put_pickle(mc_bytes *b, const moeclip_tensors *t) {
  mc_bytes_u8(b, 0x80);
  mc_bytes_u8(b, 2);
  mc_bytes_u8(b, '}');
  put_text(b, "state_dict");
  mc_bytes_text(b, "ccollections\nOrderedDict\n)R(");
  for (size_t i = 0; i < t->n_items; i++) {
    put_text(b, t->items[i].name);
    put_tensor(b, &t->items[i], i);
  }
  mc_bytes_text(b, "us.");
}

/* --- the archive ------------------------------------------------------------------------------------------------- */

typedef struct zip_writer {
  mc_writer *file;
  uint64_t at;        /* bytes written */
  uint64_t n_entries;
  mc_bytes directory, head;
} zip_writer;

static void put_sizes(mc_bytes *b, uint32_t crc, uint64_t size) {
  uint32_t narrow = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
  mc_bytes_u32(b, crc);
  mc_bytes_u32(b, narrow);
  mc_bytes_u32(b, narrow);
}

/* What the local header and the directory have in common: flags to checksum, stored, no time. */
static void put_common(mc_bytes *b, bool wide, uint32_t crc, uint64_t size) {
  mc_bytes_u16(b, wide ? 45 : 20);
  mc_bytes_u16(b, UTF8_NAMES);
  mc_bytes_u16(b, 0);
  mc_bytes_u16(b, 0);
  mc_bytes_u16(b, DOS_DATE);
  put_sizes(b, crc, size);
}

static void put_entry(zip_writer *z, const char *name, const void *data, uint64_t size) {
  size_t n_name = strlen(name);
  bool wide_size = size >= UINT32_MAX, wide_at = z->at >= UINT32_MAX;
  uint32_t crc = (uint32_t)crc32_z(0, data, (size_t)size);

  mc_bytes *h = &z->head;
  size_t n_wide = wide_size ? 20 : 0;
  uint64_t begin = z->at + LOCAL_BYTES + n_name + n_wide + 4;
  size_t n_pad = (size_t)((ALIGNMENT - begin % ALIGNMENT) % ALIGNMENT);
  h->n = 0;
  mc_bytes_text(h, "PK\3\4");
  put_common(h, wide_size, crc, size);
  mc_bytes_u16(h, (uint16_t)n_name);
  mc_bytes_u16(h, (uint16_t)(n_wide + 4 + n_pad));
  mc_bytes_text(h, name);
  if (wide_size) {
    mc_bytes_u16(h, 1);
    mc_bytes_u16(h, 16);
    mc_bytes_u64(h, size);
    mc_bytes_u64(h, size);
  }
  mc_bytes_text(h, "FB"); /* PyTorch's padding field */
  mc_bytes_u16(h, (uint16_t)n_pad);
  for (size_t i = 0; i < n_pad; i++) mc_bytes_u8(h, 'Z');

  mc_bytes *d = &z->directory;
  mc_bytes_text(d, "PK\1\2");
  mc_bytes_u16(d, wide_size || wide_at ? 45 : 20);
  put_common(d, wide_size || wide_at, crc, size);
  size_t n_extra = 8 * ((wide_size ? 2 : 0) + (wide_at ? 1 : 0));
  mc_bytes_u16(d, (uint16_t)n_name);
  mc_bytes_u16(d, (uint16_t)(n_extra ? n_extra + 4 : 0));
  mc_bytes_u16(d, 0);
  mc_bytes_u16(d, 0);
  mc_bytes_u16(d, 0);
  mc_bytes_u32(d, 0);
  mc_bytes_u32(d, wide_at ? UINT32_MAX : (uint32_t)z->at);
  mc_bytes_text(d, name);
  if (n_extra) {
    mc_bytes_u16(d, 1);
    mc_bytes_u16(d, (uint16_t)n_extra);
    if (wide_size) mc_bytes_u64(d, size);
    if (wide_size) mc_bytes_u64(d, size);
    if (wide_at) mc_bytes_u64(d, z->at);
  }

  if (!h->failed) mc_writer_put(z->file, h->data, h->n);
  if (size) mc_writer_put(z->file, data, (size_t)size);
  z->at += h->n + size;
  z->n_entries++;
}

static void put_end(zip_writer *z) {
  mc_bytes *d = &z->directory;
  uint64_t begin = z->at, size = d->n, end = begin + size;
  bool wide = z->n_entries >= UINT16_MAX || begin >= UINT32_MAX || size >= UINT32_MAX;
  if (wide) {
    mc_bytes_text(d, "PK\6\6");
    mc_bytes_u64(d, 44);
    mc_bytes_u16(d, 45);
    mc_bytes_u16(d, 45);
    mc_bytes_u32(d, 0);
    mc_bytes_u32(d, 0);
    mc_bytes_u64(d, z->n_entries);
    mc_bytes_u64(d, z->n_entries);
    mc_bytes_u64(d, size);
    mc_bytes_u64(d, begin);
    mc_bytes_text(d, "PK\6\7");
    mc_bytes_u32(d, 0);
    mc_bytes_u64(d, end);
    mc_bytes_u32(d, 1);
  }
  uint16_t count = z->n_entries < UINT16_MAX ? (uint16_t)z->n_entries : UINT16_MAX;
  mc_bytes_text(d, "PK\5\6");
  mc_bytes_u16(d, 0);
  mc_bytes_u16(d, 0);
  mc_bytes_u16(d, count);
  mc_bytes_u16(d, count);
  mc_bytes_u32(d, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX);
  mc_bytes_u32(d, begin < UINT32_MAX ? (uint32_t)begin : UINT32_MAX);
  mc_bytes_u16(d, 0);
  if (!d->failed) mc_writer_put(z->file, d->data, d->n);
}

moeclip_code moeclip_tensors_write_torch(const moeclip_tensors *t, const char *path, moeclip_error *err) {
  zip_writer z = {0};
  mc_bytes pickle = {0};
  moeclip_code code;
  put_pickle(&pickle, t);
  if (pickle.failed) {
    code = mc_fail_memory(err, pickle.n, "a checkpoint's pickle");
    goto done;
  }
  code = mc_writer_open(path, &z.file, err);
  if (code != MOECLIP_OK) goto done;
  put_entry(&z, ROOT "data.pkl", pickle.data, pickle.n);
  put_entry(&z, ROOT "byteorder", "little", 6);
  for (size_t i = 0; i < t->n_items; i++) {
    char name[48];
    snprintf(name, sizeof name, ROOT "data/%zu", i);
    put_entry(&z, name, t->items[i].data, t->items[i].n_bytes);
  }
  put_entry(&z, ROOT "version", "3\n", 2);
  put_end(&z);
  if (z.head.failed || z.directory.failed) {
    mc_writer_abort(z.file);
    code = mc_fail_memory(err, z.directory.n, "an archive's directory");
  } else {
    code = mc_writer_commit(z.file, err);
  }

done:
  free(pickle.data);
  free(z.head.data);
  free(z.directory.data);
  return code;
}
