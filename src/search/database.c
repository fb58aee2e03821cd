/* The file: docs/SEARCH.md tells its tables. SQLite is trusted, what stands in the file is not. */
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "search/search.h"

/* "moec": what `file` and SQLite show as application id. */
/* Version 1 had no checksums (checksum.c); it is read and written on as it is. */
enum { APPLICATION = 0x6d6f6563, VERSION = 2, WITHOUT_CHECKSUMS = 1, BUSY_MS = 10000 };
#define MAX_VALUE (1 << 20) /* bytes of any text or blob: a feature has 128 KiB at most */

/* In the order of their names. The file must hold exactly these: no trigger or view of a stranger is ever run. */
static const struct {
  const char *name, *sql;
} schema[] = {
    {"features",
     "CREATE TABLE features(id INTEGER PRIMARY KEY, task INTEGER NOT NULL, encoder INTEGER NOT NULL, stale INTEGER NOT "
     "NULL, "
     "score REAL, base REAL NOT NULL, feature BLOB NOT NULL)"},
    {"meta", "CREATE TABLE meta(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID"},
    {"pictures",
     "CREATE TABLE pictures(id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER "
     "NOT NULL, "
     "sha256 BLOB NOT NULL, error BLOB)"},
    {"pictures_content", "CREATE INDEX pictures_content ON pictures(size, sha256)"},
    {"roots", "CREATE TABLE roots(path BLOB PRIMARY KEY NOT NULL) WITHOUT ROWID"},
    {"tasks", "CREATE TABLE tasks(id INTEGER PRIMARY KEY, name TEXT NOT NULL)"},
};
enum { N_SCHEMA = sizeof schema / sizeof schema[0] };

/* --- statements --------------------------------------------------------------------------------------------------- */

moeclip_code mc_index_damaged(const moeclip_index *x, const char *what, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: damaged index: %s; delete it and index the folders again", x->path,
                 what);
}

moeclip_code mc_index_fail(const moeclip_index *x, const char *doing, moeclip_error *err) {
  int status = sqlite3_errcode(x->db);
  const char *message = sqlite3_errmsg(x->db);
  if (status == SQLITE_IOERR_DATA) return mc_index_damaged(x, "a checksum does not fit", err);
  switch (status & 0xff) {
    case SQLITE_NOTADB: return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: not an index of moeclip", x->path);
    case SQLITE_CORRUPT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE: return mc_index_damaged(x, message, err);
    case SQLITE_NOMEM: return mc_fail_memory(err, 0, x->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return mc_fail(err, MOECLIP_ERROR_IO,
                     "%s: another process has been writing to it for more than %d seconds; try again later", x->path,
                     BUSY_MS / 1000);
    case SQLITE_FULL: return mc_fail(err, MOECLIP_ERROR_IO, "%s: the disk is full; make room there, then try again", x->path);
    case SQLITE_CANTOPEN:
      return mc_fail(err, MOECLIP_ERROR_IO,
                     "%s: %s: its journal cannot be opened, or another program has turned on write-ahead logging in it", x->path, doing);
    case SQLITE_READONLY: return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot be written: %s", x->path, message);
    default: return mc_fail(err, MOECLIP_ERROR_IO, "%s: %s: %s", x->path, doing, message);
  }
}

moeclip_code mc_index_prepare(const moeclip_index *x, const char *sql, sqlite3_stmt **out, moeclip_error *err) {
  *out = NULL;
  if (sqlite3_prepare_v2(x->db, sql, -1, out, NULL) == SQLITE_OK) return MOECLIP_OK;
  return mc_index_fail(x, "cannot be read", err);
}

moeclip_code mc_index_step(const moeclip_index *x, sqlite3_stmt *s, bool *row, moeclip_error *err) {
  int status = sqlite3_step(s);
  *row = status == SQLITE_ROW;
  if (status == SQLITE_ROW || status == SQLITE_DONE) return MOECLIP_OK;
  moeclip_code code = mc_index_fail(x, "cannot be read", err);
  sqlite3_reset(s);
  return code;
}

moeclip_code mc_index_run(const moeclip_index *x, sqlite3_stmt *s, moeclip_error *err) {
  bool row;
  moeclip_code code = mc_index_step(x, s, &row, err);
  sqlite3_reset(s);
  return code;
}

moeclip_code mc_index_exec(const moeclip_index *x, const char *sql, moeclip_error *err) {
  if (sqlite3_exec(x->db, sql, NULL, NULL, NULL) == SQLITE_OK) return MOECLIP_OK;
  return mc_index_fail(x, "cannot be written", err);
}

/* --- meta --------------------------------------------------------------------------------------------------------- */

moeclip_code mc_index_set_meta(const moeclip_index *x, const char *key, const void *value, size_t n,
                               moeclip_error *err) {
  sqlite3_stmt *s;
  MC_TRY(mc_index_prepare(x, "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", &s, err));
  sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
  sqlite3_bind_blob(s, 2, n ? value : "", (int)n, SQLITE_STATIC);
  moeclip_code code = mc_index_run(x, s, err);
  sqlite3_finalize(s);
  return code;
}

moeclip_code mc_index_get_meta(const moeclip_index *x, const char *key, char **out, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row = false;
  *out = NULL;
  MC_TRY(mc_index_prepare(x, "SELECT value FROM meta WHERE key = ?1", &s, err));
  sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
  moeclip_code code = mc_index_step(x, s, &row, err);
  if (code == MOECLIP_OK && row) {
    const char *value = sqlite3_column_blob(s, 0);
    size_t n = (size_t)sqlite3_column_bytes(s, 0);
    if (!value && sqlite3_errcode(x->db) == SQLITE_NOMEM) {
      code = mc_fail_memory(err, n, x->path);
    } else if (value && memchr(value, 0, n)) {
      code = mc_index_damaged(x, key, err);
    } else if (!(*out = mc_strndup(value ? value : "", n))) {
      code = mc_fail_memory(err, n, x->path);
    }
  }
  sqlite3_finalize(s);
  return code;
}

static moeclip_code reload_text(const moeclip_index *x, const char *key, char **field, moeclip_error *err) {
  char *value;
  MC_TRY(mc_index_get_meta(x, key, &value, err));
  if (!value && !(value = mc_strdup(""))) return mc_fail_memory(err, 1, x->path);
  free(*field);
  *field = value;
  return MOECLIP_OK;
}

static void drop_tasks(moeclip_index *x) {
  for (size_t i = 0; i < x->n_tasks; i++) free((char *)(uintptr_t)x->tasks[i].name);
  free(x->tasks);
  x->tasks = NULL;
  x->n_tasks = 0;
}

static void drop_roots(moeclip_index *x) {
  for (size_t i = 0; i < x->n_roots; i++) free(x->roots[i]);
  free(x->roots);
  x->roots = NULL;
  x->n_roots = 0;
}

/* Numbers 0, 1, 2, ... after the untouched CLIP. */
static moeclip_code reload_tasks(moeclip_index *x, sqlite3_stmt *s, moeclip_error *err) {
  bool row = true;
  drop_tasks(x);
  for (int64_t expected = -1; row; expected++) {
    moeclip_index_task *grown = mc_realloc(x->tasks, x->n_tasks + 1, sizeof *grown);
    if (!grown) return mc_fail_memory(err, sizeof *grown, x->path);
    x->tasks = grown;
    if (expected == -1) {
      x->tasks[x->n_tasks++] = (moeclip_index_task){0};
      continue;
    }
    MC_TRY(mc_index_step(x, s, &row, err));
    if (!row) break;
    const char *name = (const char *)sqlite3_column_text(s, 1);
    if (sqlite3_column_int64(s, 0) != expected || !name) return mc_index_damaged(x, "its tasks", err);
    x->tasks[x->n_tasks] = (moeclip_index_task){.name = mc_strdup(name)};
    if (!x->tasks[x->n_tasks++].name) return mc_fail_memory(err, strlen(name), x->path);
  }
  return MOECLIP_OK;
}

static moeclip_code reload_roots(moeclip_index *x, sqlite3_stmt *s, moeclip_error *err) {
  bool row;
  drop_roots(x);
  for (;;) {
    MC_TRY(mc_index_step(x, s, &row, err));
    if (!row) return MOECLIP_OK;
    char **grown = mc_realloc(x->roots, x->n_roots + 1, sizeof *grown);
    if (!grown) return mc_fail_memory(err, sizeof *grown, x->path);
    x->roots = grown;
    MC_TRY(mc_index_column_path(x, s, 0, &x->roots[x->n_roots], err));
    x->n_roots++;
  }
}

moeclip_code mc_index_reload(moeclip_index *x, moeclip_error *err) {
  char *embed = NULL, *relative = NULL;
  sqlite3_stmt *s = NULL;
  MC_TRY(reload_text(x, "backbone", &x->backbone, err));
  MC_TRY(reload_text(x, "state", &x->state, err));
  MC_TRY(reload_text(x, "model_path", &x->model_path, err));
  MC_TRY(reload_text(x, "state_path", &x->state_path, err));
  MC_TRY(reload_text(x, "alexnet_path", &x->alexnet_path, err));
  MC_TRY(reload_text(x, "embed", &embed, err));
  moeclip_code code = reload_text(x, "relative", &relative, err);
  long n = strtol(embed, NULL, 10);
  if (code == MOECLIP_OK && (n < 0 || n > MC_MAX_EMBED)) code = mc_index_damaged(x, "the length of its features", err);
  x->embed = (int)n;
  x->relative = relative && strcmp(relative, "1") == 0;
  free(embed);
  free(relative);
  if (code == MOECLIP_OK) code = mc_index_prepare(x, "SELECT id, name FROM tasks ORDER BY id", &s, err);
  if (code == MOECLIP_OK) code = reload_tasks(x, s, err);
  sqlite3_finalize(s);
  s = NULL;
  if (code == MOECLIP_OK) code = mc_index_prepare(x, "SELECT path FROM roots ORDER BY path", &s, err);
  if (code == MOECLIP_OK) code = reload_roots(x, s, err);
  sqlite3_finalize(s);
  return code;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static moeclip_code pragma(const moeclip_index *x, const char *sql, int64_t *out, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row = false;
  MC_TRY(mc_index_prepare(x, sql, &s, err));
  moeclip_code code = mc_index_step(x, s, &row, err);
  *out = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  return code;
}

static moeclip_code check_schema(moeclip_index *x, moeclip_error *err) {
  int64_t application, version;
  sqlite3_stmt *s;
  bool row = true;
  MC_TRY(pragma(x, "PRAGMA application_id", &application, err));
  MC_TRY(pragma(x, "PRAGMA user_version", &version, err));
  if (application != APPLICATION) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: an SQLite database, but no index of moeclip", x->path);
  }
  if (version > VERSION) {
    return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                   "%s: an index of version %lld, made by a newer moeclip; this one reads version %d", x->path,
                   (long long)version, VERSION);
  }
  if (version != (mc_checksum_used(x) ? VERSION : WITHOUT_CHECKSUMS)) return mc_index_damaged(x, "its version", err);
  MC_TRY(mc_index_prepare(x, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name", &s, err));
  moeclip_code code = MOECLIP_OK;
  for (int i = 0; code == MOECLIP_OK && row; i++) {
    code = mc_index_step(x, s, &row, err);
    if (code != MOECLIP_OK || (!row && i == N_SCHEMA)) break;
    const char *name = row ? (const char *)sqlite3_column_text(s, 0) : NULL;
    const char *sql = row ? (const char *)sqlite3_column_text(s, 1) : NULL;
    if (i >= N_SCHEMA || !name || !sql || strcmp(name, schema[i].name) != 0 || strcmp(sql, schema[i].sql) != 0) {
      code = mc_index_damaged(x, "its tables are not those of an index", err);
    }
  }
  sqlite3_finalize(s);
  return code;
}

static moeclip_code nothing_in(const moeclip_index *x, bool *nothing, moeclip_error *err) {
  int64_t tables, application;
  MC_TRY(pragma(x, "SELECT count(*) FROM sqlite_schema", &tables, err));
  MC_TRY(pragma(x, "PRAGMA application_id", &application, err));
  *nothing = tables == 0 && application == 0;
  return MOECLIP_OK;
}

static moeclip_code create_schema(moeclip_index *x, bool relative, moeclip_error *err) {
  char pragmas[96];
  moeclip_code code = mc_index_exec(x, "BEGIN IMMEDIATE", err);
  if (code != MOECLIP_OK) return code;
  int64_t there;
  /* Another process may have been faster. */
  code = pragma(x, "SELECT count(*) FROM sqlite_schema", &there, err);
  for (int i = 0; code == MOECLIP_OK && !there && i < N_SCHEMA; i++) code = mc_index_exec(x, schema[i].sql, err);
  if (code == MOECLIP_OK && !there) code = mc_index_set_meta(x, "relative", relative ? "1" : "0", 1, err);
  snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION, VERSION);
  if (code == MOECLIP_OK && !there) code = mc_index_exec(x, pragmas, err);
  if (code == MOECLIP_OK) code = mc_index_exec(x, "COMMIT", err);
  if (code != MOECLIP_OK) sqlite3_exec(x->db, "ROLLBACK", NULL, NULL, NULL);
  return code;
}

/* What protects from a hostile file, and how it is written: docs/SEARCH.md says why. */
static moeclip_code configure(moeclip_index *x, moeclip_error *err) {
  sqlite3_extended_result_codes(x->db, 1);
  sqlite3_busy_timeout(x->db, BUSY_MS);
  sqlite3_db_config(x->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config(x->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  sqlite3_limit(x->db, SQLITE_LIMIT_LENGTH, MAX_VALUE);
  return mc_index_exec(
      x,
      "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; "
      "PRAGMA synchronous = FULL",
      err);
}

static moeclip_code folder_of(moeclip_index *x, moeclip_error *err) {
  const char *slash = strrchr(x->path, '/');
  char *folder = slash ? mc_strndup(x->path, slash == x->path ? 1 : (size_t)(slash - x->path)) : mc_strdup(".");
  if (!folder) return mc_fail_memory(err, strlen(x->path), "a path");
  x->folder = realpath(folder, NULL);
  free(folder);
  if (!x->folder) return mc_fail(err, MOECLIP_ERROR_IO, "%s: there is no such folder: %s", x->path, strerror(errno));
  return MOECLIP_OK;
}

static moeclip_code open_file(moeclip_index *x, const char *path, bool create, int relative, moeclip_error *err) {
  struct stat st;
  x->version = -1;
  x->path = mc_strdup(path);
  if (!x->path) return mc_fail_memory(err, strlen(path), "a path");
  bool there = stat(path, &st) == 0, empty = !there || st.st_size == 0;
  if (!there && errno != ENOENT && errno != ENOTDIR) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot examine: %s", path, strerror(errno));
  if (there && !S_ISREG(st.st_mode)) return mc_fail(err, MOECLIP_ERROR_IO, "%s: not a regular file", path);
  if (!there && !create) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  if (empty && !create) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: is empty, not an index of moeclip", path);
  MC_TRY(folder_of(x, err));
  /* A name that begins with "file:" or is ":memory:" must stay a name. */
  char *plain = mc_format("%s%s", path[0] == '/' ? "" : "./", path);
  int status = plain ? mc_checksum_open(x, plain, SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0)) : SQLITE_NOMEM;
  free(plain);
  if (!x->db) return mc_fail_memory(err, 0, path);
  if (status != SQLITE_OK) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", path, sqlite3_errmsg(x->db));
  MC_TRY(configure(x, err));
  /* What a creation that was broken off had written is taken back by now. */
  if (!empty) MC_TRY(nothing_in(x, &empty, err));
  if (empty && !create) return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s: is empty, not an index of moeclip", path);
  if (empty && mc_checksum_begin(x) != SQLITE_OK) return mc_index_fail(x, "cannot be written", err);
  if (empty) MC_TRY(create_schema(x, relative == 1, err));
  MC_TRY(check_schema(x, err));
  MC_TRY(mc_index_reload(x, err));
  if (create && relative >= 0 && x->relative != (relative == 1)) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: keeps paths %s; that is chosen when an index is made", path,
                   x->relative ? "relative to its folder" : "absolute");
  }
  return MOECLIP_OK;
}

static moeclip_code open_index(const char *path, bool create, int relative, moeclip_index **out, moeclip_error *err) {
  *out = NULL;
  moeclip_index *x = calloc(1, sizeof *x);
  if (!x) return mc_fail_memory(err, sizeof *x, "an index");
  moeclip_code code = open_file(x, path, create, relative, err);
  if (code != MOECLIP_OK) {
    moeclip_index_close(x);
    return code;
  }
  *out = x;
  return MOECLIP_OK;
}

moeclip_code moeclip_index_open(const char *path, moeclip_index **out, moeclip_error *err) {
  return open_index(path, false, -1, out, err);
}

moeclip_code moeclip_index_create(const char *path, int relative, moeclip_index **out, moeclip_error *err) {
  return open_index(path, true, relative, out, err);
}

void moeclip_index_close(moeclip_index *x) {
  if (!x) return;
  mc_features_clear(x);
  drop_tasks(x);
  drop_roots(x);
  sqlite3_close(x->db);
  char *texts[] = {x->path, x->folder, x->backbone, x->state, x->model_path, x->state_path, x->alexnet_path};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) free(texts[i]);
  free(x);
}

/* --- what is in it ------------------------------------------------------------------------------------------------ */

static moeclip_code count_tasks(moeclip_index *x, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row = true;
  MC_TRY(mc_index_prepare(x, "SELECT task, count(*) FROM features WHERE stale = 0 GROUP BY task", &s, err));
  moeclip_code code = mc_index_step(x, s, &row, err);
  for (; code == MOECLIP_OK && row; code = mc_index_step(x, s, &row, err)) {
    int64_t task = sqlite3_column_int64(s, 0);
    if (task < -1 || task + 1 >= (int64_t)x->n_tasks) {
      code = mc_index_damaged(x, "a picture of an unknown task", err);
      break;
    }
    x->tasks[task + 1].pictures = sqlite3_column_int64(s, 1);
  }
  sqlite3_finalize(s);
  return code;
}

moeclip_code moeclip_index_get_info(moeclip_index *x, moeclip_index_info *out, moeclip_error *err) {
  *out = (moeclip_index_info){0};
  MC_TRY(mc_index_reload(x, err));
  MC_TRY(count_tasks(x, err));
  MC_TRY(pragma(x, "SELECT count(*) FROM pictures WHERE error IS NOT NULL", &out->broken, err));
  MC_TRY(pragma(x, "SELECT count(*) FROM features WHERE stale <> 0", &out->stale, err));
  for (size_t i = 0; i < x->n_tasks; i++) out->pictures += x->tasks[i].pictures;
  out->backbone = x->backbone;
  out->state = x->state;
  out->model_path = x->model_path;
  out->state_path = x->state_path;
  out->alexnet_path = x->alexnet_path;
  out->embed = x->embed;
  out->relative = x->relative;
  out->checksums = mc_checksum_used(x);
  out->n_tasks = x->n_tasks;
  out->tasks = x->tasks;
  out->n_roots = x->n_roots;
  out->roots = (const char *const *)x->roots;
  return MOECLIP_OK;
}
