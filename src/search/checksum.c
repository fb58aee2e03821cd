/*
 * Checksums of an index's pages: a layer between SQLite and its file (a "VFS shim"), which writes 8 bytes behind each
 * page's content and compares them when the page is read. The rule is that of SQLite's
 * write-ahead log; 8 bytes at a page's end are where SQLite's extension cksumvfs has them too (which was not tried on
 * such a file). That extension is not used because systems do not ship it, and because it would be registered for the
 * whole process.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "search/search.h"

enum { PAGE = 4096, SUM = 8, HEADER = 100, SIZE_AT = 16, RESERVED_AT = 20 };

/* What SQLite is given as a file; the system's own lies behind it. */
typedef struct sealed_file {
  sqlite3_file base;
  sqlite3_file *real;
  bool sealed;  /* the header says that its pages have checksums */
  bool foreign; /* it says so with pages of another length, which moeclip never makes */
  bool writing; /* this process may be changing it */
  uint8_t page[PAGE];
} sealed_file;

enum { OWN_BYTES = (sizeof(sealed_file) + 15) / 16 * 16 };

static sealed_file *ours(sqlite3_file *f) { return (sealed_file *)f; }

static sqlite3_file *real_of(sqlite3_file *f) { return ours(f)->real; }

static uint32_t word(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_word(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* Two sums, each of which goes into the other, so that whatever is changed changes all that follows: for each pair of
 * words a += w + b, then b += w + a. Two pairs at once here, multiplied out: each step would otherwise wait for four
 * additions in a row. */
static void checksum(const uint8_t *page, uint8_t out[SUM]) {
  uint32_t a = word(page), b = word(page + 4) + a;
  for (int i = 8; i < PAGE - SUM; i += 16) {
    uint32_t w = word(page + i), x = word(page + i + 4), y = word(page + i + 8), z = word(page + i + 12);
    uint32_t next = 2 * a + 3 * b + (2 * w + x + y);
    b = 3 * a + 5 * b + (3 * w + 2 * x + y + z);
    a = next;
  }
  put_word(out, a);
  put_word(out + 4, b);
}

static bool all_zero(const uint8_t *page) { return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0; }

/* Of a page of zeros the sum is 0. SQLite leaves such ones where a transaction gave back what it had taken, and only who
 * writes meets them again; to a reader they are a hole that a disk made. */
static int check(const sealed_file *f, const uint8_t *page) {
  uint8_t sum[SUM];
  checksum(page, sum);
  bool holds = memcmp(sum, page + PAGE - SUM, SUM) == 0 && (f->writing || !all_zero(page));
  return holds ? SQLITE_OK : SQLITE_IOERR_DATA;
}

/* What the beginning of the file says. */
static void look(sealed_file *f, const uint8_t *header) {
  bool summed = memcmp(header, "SQLite format 3", 16) == 0 && header[RESERVED_AT] == SUM;
  int size = header[SIZE_AT] << 8 | header[SIZE_AT + 1];
  f->sealed = summed && size == PAGE;
  f->foreign = summed && size != PAGE;
}

/* SQLite takes what is missing for zeros. That is right for who writes, and for a file whose creation was taken back;
 * any other has been cut off. */
static int cut_off(sealed_file *f) {
  sqlite3_int64 size = 0;
  int status = f->writing ? SQLITE_OK : f->real->pMethods->xFileSize(f->real, &size);
  return status == SQLITE_OK && size > 0 ? SQLITE_IOERR_DATA : SQLITE_IOERR_SHORT_READ;
}

static int read_at(sqlite3_file *file, void *out, int n, sqlite3_int64 at) {
  sealed_file *f = ours(file);
  int status;
  if (n >= HEADER && at == 0) {
    status = f->real->pMethods->xRead(f->real, out, n, at);
    if (status == SQLITE_IOERR_SHORT_READ && f->sealed && n > HEADER) return cut_off(f);
    if (status != SQLITE_OK) return status;
    /* The header alone is read before there is a lock, and may be half of another process's; its page is read again
     * under one. */
    look(f, out);
    if (n == HEADER) return SQLITE_OK;
    if (f->foreign || (f->sealed && n != PAGE)) return SQLITE_IOERR_DATA;
    return f->sealed ? check(f, out) : SQLITE_OK;
  }
  if (f->foreign) return SQLITE_IOERR_DATA;
  if (!f->sealed) return f->real->pMethods->xRead(f->real, out, n, at);
  /* A part of a page is as good as the page is. */
  sqlite3_int64 in_page = at % PAGE;
  if (n < 0 || in_page + n > PAGE) return SQLITE_IOERR_DATA;
  status = f->real->pMethods->xRead(f->real, f->page, PAGE, at - in_page);
  memcpy(out, f->page + in_page, (size_t)n);
  if (status == SQLITE_OK) return check(f, f->page);
  return status == SQLITE_IOERR_SHORT_READ ? cut_off(f) : status;
}

static int write_at(sqlite3_file *file, const void *data, int n, sqlite3_int64 at) {
  sealed_file *f = ours(file);
  if (n >= HEADER && at == 0) look(f, data);
  if (!f->sealed) return f->real->pMethods->xWrite(f->real, data, n, at);
  if (n != PAGE || at % PAGE != 0) return SQLITE_IOERR_WRITE;
  memcpy(f->page, data, PAGE);
  checksum(f->page, f->page + PAGE - SUM);
  return f->real->pMethods->xWrite(f->real, f->page, PAGE, at);
}

static int lock(sqlite3_file *file, int level) {
  int status = real_of(file)->pMethods->xLock(real_of(file), level);
  if (status == SQLITE_OK && level >= SQLITE_LOCK_RESERVED) ours(file)->writing = true;
  return status;
}

static int unlock(sqlite3_file *file, int level) {
  if (level < SQLITE_LOCK_RESERVED) ours(file)->writing = false;
  return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

/* --- the rest goes through ---------------------------------------------------------------------------------------- */

static int close_file(sqlite3_file *f) { return real_of(f)->pMethods->xClose(real_of(f)); }

static int truncate_to(sqlite3_file *f, sqlite3_int64 n) { return real_of(f)->pMethods->xTruncate(real_of(f), n); }

static int sync_file(sqlite3_file *f, int flags) { return real_of(f)->pMethods->xSync(real_of(f), flags); }

static int size_of(sqlite3_file *f, sqlite3_int64 *n) { return real_of(f)->pMethods->xFileSize(real_of(f), n); }

static int is_reserved(sqlite3_file *f, int *out) { return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out); }

static int control(sqlite3_file *f, int what, void *with) {
  return real_of(f)->pMethods->xFileControl(real_of(f), what, with);
}

static int sector(sqlite3_file *f) { return real_of(f)->pMethods->xSectorSize(real_of(f)); }

static int device(sqlite3_file *f) { return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f)); }

/* Version 1: no memory shared between processes, and no mapping, which would go past the checksums. */
static const sqlite3_io_methods methods = {.iVersion = 1,
                                           .xClose = close_file,
                                           .xRead = read_at,
                                           .xWrite = write_at,
                                           .xTruncate = truncate_to,
                                           .xSync = sync_file,
                                           .xFileSize = size_of,
                                           .xLock = lock,
                                           .xUnlock = unlock,
                                           .xCheckReservedLock = is_reserved,
                                           .xFileControl = control,
                                           .xSectorSize = sector,
                                           .xDeviceCharacteristics = device};

static int open_any(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags) {
  sqlite3_vfs *system = vfs->pAppData;
  if (!(flags & SQLITE_OPEN_MAIN_DB)) return system->xOpen(system, name, file, flags, out_flags);
  sealed_file *f = ours(file);
  memset(f, 0, sizeof *f);
  f->real = (sqlite3_file *)(void *)((uint8_t *)file + OWN_BYTES);
  int status = system->xOpen(system, name, f->real, flags, out_flags);
  if (status == SQLITE_OK) f->base.pMethods = &methods;
  return status;
}

static int delete_file(sqlite3_vfs *v, const char *name, int sync) {
  sqlite3_vfs *system = v->pAppData;
  return system->xDelete(system, name, sync);
}

static int access_file(sqlite3_vfs *v, const char *name, int flags, int *out) {
  sqlite3_vfs *system = v->pAppData;
  return system->xAccess(system, name, flags, out);
}

static int full_name(sqlite3_vfs *v, const char *name, int n, char *out) {
  sqlite3_vfs *system = v->pAppData;
  return system->xFullPathname(system, name, n, out);
}

static int randomness(sqlite3_vfs *v, int n, char *out) {
  sqlite3_vfs *system = v->pAppData;
  return system->xRandomness(system, n, out);
}

static int sleep_for(sqlite3_vfs *v, int microseconds) {
  sqlite3_vfs *system = v->pAppData;
  return system->xSleep(system, microseconds);
}

static int current_time(sqlite3_vfs *v, double *out) {
  sqlite3_vfs *system = v->pAppData;
  return system->xCurrentTime(system, out);
}

static int last_error(sqlite3_vfs *v, int n, char *out) {
  sqlite3_vfs *system = v->pAppData;
  return system->xGetLastError(system, n, out);
}

/* --- for database.c ----------------------------------------------------------------------------------------------- */

int mc_checksum_open(moeclip_index *x, const char *path, int flags) {
  char name[40];
  sqlite3_vfs *system = sqlite3_vfs_find(NULL);
  if (!system) return SQLITE_ERROR;
  /* A name of this index's own, and only while the file is opened: nothing else in the process is to find it. */
  snprintf(name, sizeof name, "moeclip-%p", (void *)x);
  x->vfs = (sqlite3_vfs){.iVersion = 1,
                         .szOsFile = OWN_BYTES + system->szOsFile,
                         .mxPathname = system->mxPathname,
                         .zName = name,
                         .pAppData = system,
                         .xOpen = open_any,
                         .xDelete = delete_file,
                         .xAccess = access_file,
                         .xFullPathname = full_name,
                         .xRandomness = randomness,
                         .xSleep = sleep_for,
                         .xCurrentTime = current_time,
                         .xGetLastError = last_error};
  int status = sqlite3_vfs_register(&x->vfs, 0);
  if (status != SQLITE_OK) return status;
  status = sqlite3_open_v2(path, &x->db, flags, name);
  sqlite3_vfs_unregister(&x->vfs);
  x->vfs.zName = "moeclip";
  return status;
}

int mc_checksum_begin(moeclip_index *x) {
  int reserved = SUM;
  char sql[40];
  snprintf(sql, sizeof sql, "PRAGMA page_size = %d", PAGE);
  int status = sqlite3_exec(x->db, sql, NULL, NULL, NULL);
  return status == SQLITE_OK ? sqlite3_file_control(x->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved) : status;
}

bool mc_checksum_used(moeclip_index *x) {
  sqlite3_file *f = NULL;
  return sqlite3_file_control(x->db, "main", SQLITE_FCNTL_FILE_POINTER, &f) == SQLITE_OK && f && f->pMethods == &methods &&
         ours(f)->sealed;
}
