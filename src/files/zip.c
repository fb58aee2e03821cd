#include "files/zip.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "files/collection.h"

enum { END_BYTES = 22, LOCATOR_BYTES = 20, END64_BYTES = 56, CENTRAL_BYTES = 46, LOCAL_BYTES = 30 };
enum { METHOD_STORED = 0, METHOD_DEFLATED = 8 };

static moeclip_code bad(moeclip_error *err, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "damaged zip archive: %s", what);
}

static bool has_signature(const uint8_t *p, char third, char fourth) {
  return p[0] == 'P' && p[1] == 'K' && p[2] == (uint8_t)third && p[3] == (uint8_t)fourth;
}

/* Finds the directory: where it begins, how long it is, how many entries it has. */
static moeclip_code find_directory(const uint8_t *data, size_t n, uint64_t *begin, uint64_t *size, uint64_t *count,
                                   moeclip_error *err) {
  const uint8_t *end = NULL;
  size_t at = n < END_BYTES ? 0 : n - END_BYTES, last = at > UINT16_MAX ? at - UINT16_MAX : 0;
  if (n < END_BYTES) return bad(err, "it is too short");
  for (;; at--) { /* the end record, after which only a comment of known length may stand */
    if (has_signature(data + at, 5, 6) && at + END_BYTES + mc_u16(data + at + 20) == n) {
      end = data + at;
      break;
    }
    if (at == last) return bad(err, "its directory is missing (was the file cut short?)");
  }
  *count = mc_u16(end + 10);
  *size = mc_u32(end + 12);
  *begin = mc_u32(end + 16);
  if (mc_u16(end + 4) || mc_u16(end + 6)) return bad(err, "it is one part of several");
  uint64_t limit = at;
  if (at >= LOCATOR_BYTES && has_signature(end - LOCATOR_BYTES, 6, 7)) {
    uint64_t at64 = mc_u64(end - LOCATOR_BYTES + 8);
    if (at64 > at - LOCATOR_BYTES || at - LOCATOR_BYTES - at64 < END64_BYTES ||
        !has_signature(data + at64, 6, 6)) {
      return bad(err, "its 64-bit directory is missing");
    }
    limit = at64;
    *count = mc_u64(data + at64 + 32);
    *size = mc_u64(data + at64 + 40);
    *begin = mc_u64(data + at64 + 48);
  }
  if (*begin > limit || *size > limit - *begin || *count > *size / CENTRAL_BYTES) {
    return bad(err, "its directory does not lie in the file");
  }
  return MOECLIP_OK;
}

/* Sizes of 0xffffffff stand in the 64-bit extra field, in this order, as far as they are needed. */
static bool read_extra(const uint8_t *extra, size_t n, mc_zip_entry *e) {
  uint64_t *wide[3], **next = wide;
  if (e->size == UINT32_MAX) *next++ = &e->size;
  if (e->packed == UINT32_MAX) *next++ = &e->packed;
  if (e->offset == UINT32_MAX) *next++ = &e->offset;
  size_t n_wide = (size_t)(next - wide);
  while (n_wide > 0 && n >= 4) {
    size_t length = mc_u16(extra + 2);
    if (length > n - 4) return false;
    if (mc_u16(extra) == 1) {
      if (length < 8 * n_wide) return false;
      for (size_t i = 0; i < n_wide; i++) *wide[i] = mc_u64(extra + 4 + 8 * i);
      return true;
    }
    extra += 4 + length;
    n -= 4 + length;
  }
  return n_wide == 0;
}

static int compare_names(const char *a, size_t n_a, const char *b, size_t n_b) {
  int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
  return order ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int by_name(const void *a, const void *b) {
  const mc_zip_entry *x = *(const mc_zip_entry *const *)a, *y = *(const mc_zip_entry *const *)b;
  return compare_names(x->name, x->n_name, y->name, y->n_name);
}

static moeclip_code read_directory(const uint8_t *p, size_t n, mc_zip *z, moeclip_error *err) {
  for (size_t i = 0; i < z->n_entries; i++) {
    mc_zip_entry *e = &z->entries[i];
    if (n < CENTRAL_BYTES || !has_signature(p, 1, 2)) return bad(err, "its directory is cut short");
    size_t n_extra = mc_u16(p + 30), n_comment = mc_u16(p + 32);
    *e = (mc_zip_entry){.name = (const char *)p + CENTRAL_BYTES, .n_name = mc_u16(p + 28), .offset = mc_u32(p + 42),
                        .packed = mc_u32(p + 20), .size = mc_u32(p + 24), .crc = mc_u32(p + 16),
                        .method = mc_u16(p + 10), .flags = mc_u16(p + 8)};
    size_t whole = CENTRAL_BYTES + e->n_name + n_extra + n_comment;
    if (whole > n) return bad(err, "its directory is cut short");
    if (!read_extra(p + CENTRAL_BYTES + e->n_name, n_extra, e)) return bad(err, "an entry's sizes are missing");
    if (e->offset > z->directory || z->directory - e->offset < LOCAL_BYTES) {
      return bad(err, "an entry does not lie in the file");
    }
    z->by_name[i] = e;
    p += whole;
    n -= whole;
  }
  if (z->n_entries) qsort(z->by_name, z->n_entries, sizeof *z->by_name, by_name);
  for (size_t i = 1; i < z->n_entries; i++) {
    if (by_name(&z->by_name[i - 1], &z->by_name[i]) == 0) return bad(err, "an entry is there twice");
  }
  return MOECLIP_OK;
}

moeclip_code mc_zip_open(const uint8_t *data, size_t n_bytes, mc_zip *out, moeclip_error *err) {
  uint64_t begin = 0, size = 0, count = 0;
  *out = (mc_zip){0};
  MC_TRY(find_directory(data, n_bytes, &begin, &size, &count, err));
  *out = (mc_zip){.data = data, .directory = (size_t)begin, .n_entries = (size_t)count};
  out->entries = mc_alloc(out->n_entries, sizeof *out->entries);
  out->by_name = mc_alloc(out->n_entries, sizeof *out->by_name);
  moeclip_code code = out->entries && out->by_name
                          ? read_directory(data + begin, (size_t)size, out, err)
                          : mc_fail_memory(err, out->n_entries * sizeof *out->entries, "an archive's directory");
  if (code != MOECLIP_OK) mc_zip_close(out);
  return code;
}

void mc_zip_close(mc_zip *z) {
  free(z->entries);
  free(z->by_name);
  *z = (mc_zip){0};
}

const mc_zip_entry *mc_zip_find(const mc_zip *z, const char *name, size_t n_name) {
  size_t low = 0, high = z->n_entries;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare_names(z->by_name[middle]->name, z->by_name[middle]->n_name, name, n_name);
    if (order == 0) return z->by_name[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

/* The bytes of an entry as they lie in the archive, after its local header. */
static moeclip_code locate(const mc_zip *z, const mc_zip_entry *e, const uint8_t **out, moeclip_error *err) {
  const uint8_t *p = z->data + e->offset;
  size_t room = z->directory - (size_t)e->offset; /* at least a local header: mc_zip_open checked */
  size_t head = (size_t)LOCAL_BYTES + mc_u16(p + 26) + mc_u16(p + 28);
  if (!has_signature(p, 3, 4) || head > room || mc_u16(p + 26) != e->n_name ||
      memcmp(p + LOCAL_BYTES, e->name, e->n_name) != 0) {
    return bad(err, "an entry's header does not match the directory");
  }
  if (e->packed > room - head) return bad(err, "an entry's bytes do not lie in the file");
  *out = p + head;
  return MOECLIP_OK;
}

static moeclip_code inflate_all(const uint8_t *from, uint64_t n_from, uint8_t *to, size_t n_to, uint32_t crc,
                                moeclip_error *err) {
  z_stream s = {0};
  if (inflateInit2(&s, -MAX_WBITS) != Z_OK) return mc_fail_memory(err, (size_t)1 << MAX_WBITS, "inflating");
  size_t done = 0;
  uint8_t beyond; /* room to notice content that goes on after its declared end */
  int status = Z_OK;
  while (status == Z_OK) {
    if (s.avail_in == 0 && n_from > 0) {
      s.next_in = (z_const Bytef *)(uintptr_t)from;
      s.avail_in = n_from > UINT_MAX ? UINT_MAX : (uInt)n_from;
      from += s.avail_in;
      n_from -= s.avail_in;
    }
    size_t left = n_to - done;
    uInt room = left == 0 ? 1 : left > UINT_MAX ? UINT_MAX : (uInt)left;
    s.next_out = left == 0 ? &beyond : to + done;
    s.avail_out = room;
    status = inflate(&s, Z_NO_FLUSH);
    size_t made = room - s.avail_out;
    if (left == 0 && made > 0) break;
    done += made;
  }
  inflateEnd(&s);
  if (status == Z_MEM_ERROR) return mc_fail_memory(err, (size_t)1 << MAX_WBITS, "inflating");
  if (status != Z_STREAM_END || done != n_to) {
    return bad(err, "a compressed entry is damaged or not of its declared size");
  }
  if (crc32_z(0, to, n_to) != crc) return bad(err, "a compressed entry's checksum is wrong");
  return MOECLIP_OK;
}

moeclip_code mc_zip_content(const mc_zip *z, const mc_zip_entry *e, size_t *budget, const uint8_t **out, void **owned,
                            moeclip_error *err) {
  const uint8_t *packed = NULL;
  *owned = NULL;
  if (e->flags & 1) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "the archive is encrypted");
  MC_TRY(locate(z, e, &packed, err));
  if (e->method == METHOD_STORED) {
    if (e->size != e->packed) return bad(err, "a stored entry has two sizes");
    *out = packed;
    return MOECLIP_OK;
  }
  if (e->method != METHOD_DEFLATED) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "the archive is compressed by method %u; store or deflate it",
                   e->method);
  }
  /* No deflated byte makes more than 1032. */
  if (e->size > *budget || e->size / 1032 > e->packed) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "a compressed entry of %llu bytes would unpack to %llu, which is more than is taken",
                   (unsigned long long)e->packed, (unsigned long long)e->size);
  }
  uint8_t *p = mc_aligned_alloc((size_t)e->size, 1);
  if (!p) return mc_fail_memory(err, (size_t)e->size, "a compressed entry");
  moeclip_code code = inflate_all(packed, e->packed, p, (size_t)e->size, e->crc, err);
  if (code != MOECLIP_OK) {
    mc_aligned_free(p);
    return code;
  }
  *budget -= (size_t)e->size;
  *owned = p;
  *out = p;
  return MOECLIP_OK;
}
