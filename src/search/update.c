/* Bringing an index up to date: what changed in the folders and in the learner. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "search/search.h"
#include "train/watch.h"

#define COMMIT_SECONDS 2.0

void moeclip_index_options_defaults(moeclip_index_options *o) { *o = (moeclip_index_options){.batch = 64}; }

/* --- transactions ------------------------------------------------------------------------------------------------- */

moeclip_code mc_update_write(mc_update *u, moeclip_error *err) {
  moeclip_index *x = u->index;
  bool row;
  if (u->open) return MOECLIP_OK;
  MC_TRY(mc_index_exec(x, "BEGIN IMMEDIATE", err));
  u->open = true;
  u->began = mc_now();
  MC_TRY(mc_index_step(x, u->get_run, &row, err));
  const char *run = row ? sqlite3_column_blob(u->get_run, 0) : NULL;
  bool own = run && sqlite3_column_bytes(u->get_run, 0) == 32 && memcmp(run, u->run, 32) == 0;
  sqlite3_reset(u->get_run);
  if (own) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH, "%s: another process has begun to update it; this one stops", x->path);
}

moeclip_code mc_update_commit(mc_update *u, bool now, moeclip_error *err) {
  if (!u->open || (!now && mc_now() - u->began < COMMIT_SECONDS)) return MOECLIP_OK;
  MC_TRY(mc_index_exec(u->index, "COMMIT", err));
  u->open = false;
  return MOECLIP_OK;
}

moeclip_code mc_update_cancelled(mc_update *u, const moeclip_progress *p, moeclip_error *err) {
  if (!u->callbacks || !u->callbacks->progress || !u->callbacks->progress(u->callbacks->context, p)) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_CANCELLED,
                 "stopped; what was indexed is kept: give the same command again to go on");
}

moeclip_code mc_update_picture(mc_update *u, const mc_todo *t, int64_t *id, moeclip_error *err) {
  const moeclip_index *x = u->index;
  sqlite3_stmt *s = u->put_picture;
  bool row;
  char *stored = mc_index_stored_path(x, t->path);
  if (!stored) return mc_fail_memory(err, strlen(t->path), "a path");
  sqlite3_bind_blob(s, 1, stored, (int)strlen(stored), SQLITE_STATIC); /* a copy could fail, and NULL would stay bound */
  sqlite3_bind_int64(s, 2, t->size);
  sqlite3_bind_int64(s, 3, t->mtime_ns);
  sqlite3_bind_blob(s, 4, t->sha256, 32, SQLITE_STATIC);
  if (t->failure) {
    sqlite3_bind_blob(s, 5, t->failure, (int)strlen(t->failure), SQLITE_STATIC);
  } else {
    sqlite3_bind_null(s, 5);
  }
  moeclip_code code = mc_index_step(x, s, &row, err);
  *id = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_reset(s);
  sqlite3_bind_null(s, 1);
  free(stored);
  return code == MOECLIP_OK && !row ? mc_fail(err, MOECLIP_ERROR_INTERNAL, "%s: a row was not written", x->path) : code;
}

static moeclip_code prepare(mc_update *u, moeclip_error *err) {
  const struct {
    sqlite3_stmt **s;
    const char *sql;
  } all[] = {
      {&u->put_picture,
       "INSERT INTO pictures(path, size, mtime_ns, sha256, error) VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(path) DO "
       "UPDATE SET "
       "size = ?2, mtime_ns = ?3, sha256 = ?4, error = ?5 RETURNING id"},
      {&u->put_feature,
       "INSERT OR REPLACE INTO features(id, task, encoder, stale, score, feature, base) VALUES(?1, ?2, ?3, 0, ?4, ?5, "
       "?6)"},
      {&u->drop_feature, "DELETE FROM features WHERE id = ?1"},
      {&u->get_feature,
       "SELECT feature FROM features JOIN pictures USING(id) WHERE id = ?1 AND task = ?2 AND encoder = ?3 AND sha256 = "
       "?4"},
      {&u->keep_feature, "UPDATE features SET stale = 0, score = ?1, base = ?3 WHERE id = ?2"},
      {&u->get_run, "SELECT value FROM meta WHERE key = 'run'"},
      {&u->find,
       "SELECT p.id, p.size, p.mtime_ns, p.sha256, p.error IS NOT NULL, f.stale = 0 FROM pictures p LEFT JOIN features "
       "f USING(id) "
       "WHERE p.path = ?1"},
      {&u->same_size, "SELECT 1 FROM pictures WHERE size = ?1 LIMIT 1"},
      {&u->same_content,
       "SELECT id FROM pictures JOIN features USING(id) WHERE size = ?1 AND sha256 = ?2 AND stale = 0 LIMIT 1"},
      {&u->copy_feature,
       "INSERT OR REPLACE INTO features SELECT ?1, task, encoder, stale, score, base, feature FROM features WHERE id = "
       "?2"},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) MC_TRY(mc_index_prepare(u->index, all[i].sql, all[i].s, err));
  return MOECLIP_OK;
}

static void finish(mc_update *u) {
  sqlite3_stmt *all[] = {u->put_picture, u->put_feature, u->drop_feature, u->get_feature,  u->keep_feature,
                         u->get_run,     u->find,        u->same_size,    u->same_content, u->copy_feature};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sqlite3_finalize(all[i]);
  if (u->open) sqlite3_exec(u->index->db, "ROLLBACK", NULL, NULL, NULL);
  mc_identity_clear(&u->identity);
  mc_base_clear(&u->base);
  free(u->todo);
}

/* --- the learner -------------------------------------------------------------------------------------------------- */

static moeclip_code set_text(mc_update *u, const char *key, const char *value, moeclip_error *err) {
  return mc_index_set_meta(u->index, key, value ? value : "", value ? strlen(value) : 0, err);
}

static moeclip_code set_run(mc_update *u, moeclip_error *err) {
  uint8_t bytes[16];
  if (getentropy(bytes, sizeof bytes) != 0)
    return mc_fail(err, MOECLIP_ERROR_IO, "no random bytes: %s", strerror(errno));
  for (int i = 0; i < 16; i++) snprintf(u->run + 2 * i, 3, "%02x", bytes[i]);
  return set_text(u, "run", u->run, err);
}

/* With the selector as it was, a feature whose encoder is as it was stays; else every picture's task must be asked for
 * anew. */
static moeclip_code mark_stale(mc_update *u, bool same_route, moeclip_error *err) {
  const moeclip_index *x = u->index;
  sqlite3_stmt *s;
  if (!same_route) return mc_index_exec(x, "UPDATE features SET stale = 1", err);
  MC_TRY(
      mc_index_prepare(x, "UPDATE features SET stale = 1 WHERE (task = ?1 AND encoder <> ?2) OR task >= ?3", &s, err));
  moeclip_code code = MOECLIP_OK;
  sqlite3_bind_int64(s, 3, u->learner->n_tasks);
  for (int t = -1; code == MOECLIP_OK && t < u->learner->n_tasks; t++) {
    sqlite3_bind_int64(s, 1, t);
    sqlite3_bind_int64(s, 2, u->identity.encoder[t + 1]);
    code = mc_index_run(x, s, err);
  }
  sqlite3_finalize(s);
  return code;
}

/* Of features that hold: the words, or how they are encoded, may be others now. */
static moeclip_code renew_bases(mc_update *u, moeclip_error *err) {
  const moeclip_index *x = u->index;
  sqlite3_stmt *get = NULL, *set = NULL;
  bool row = true;
  int64_t id = INT64_MIN;
  moeclip_code code = mc_index_prepare(
      x, "SELECT id, task, feature FROM features WHERE stale = 0 AND id > ?1 ORDER BY id LIMIT 1", &get, err);
  if (code == MOECLIP_OK) code = mc_index_prepare(x, "UPDATE features SET base = ?1 WHERE id = ?2", &set, err);
  while (code == MOECLIP_OK) {
    double base = 0;
    sqlite3_bind_int64(get, 1, id);
    code = mc_index_step(x, get, &row, err);
    if (code != MOECLIP_OK || !row) break;
    id = sqlite3_column_int64(get, 0);
    int64_t task = sqlite3_column_int64(get, 1);
    if (task < -1 || task >= u->learner->n_tasks || sqlite3_column_bytes(get, 2) != (int)(2 * u->base.embed)) {
      code = mc_index_damaged(x, "a feature", err);
    } else {
      code = mc_base_of(&u->base, (int)task, sqlite3_column_blob(get, 2), &base, err);
    }
    sqlite3_reset(get);
    sqlite3_bind_double(set, 1, base);
    sqlite3_bind_int64(set, 2, id);
    if (code == MOECLIP_OK) code = mc_index_run(x, set, err);
  }
  sqlite3_finalize(get);
  sqlite3_finalize(set);
  return code;
}

static moeclip_code put_tasks(mc_update *u, moeclip_error *err) {
  const moeclip_index *x = u->index;
  sqlite3_stmt *s;
  MC_TRY(mc_index_exec(x, "DELETE FROM tasks", err));
  MC_TRY(mc_index_prepare(x, "INSERT INTO tasks(id, name) VALUES(?1, ?2)", &s, err));
  moeclip_code code = MOECLIP_OK;
  for (int t = 0; code == MOECLIP_OK && t < u->learner->n_tasks; t++) {
    sqlite3_bind_int64(s, 1, t);
    sqlite3_bind_text(s, 2, u->learner->tasks[t].name, -1, SQLITE_STATIC);
    code = mc_index_run(x, s, err);
  }
  sqlite3_finalize(s);
  return code;
}

static moeclip_code take_learner(mc_update *u, moeclip_error *err) {
  moeclip_index *x = u->index;
  const char *backbone = moeclip_model_fingerprint(u->learner->model);
  char *route = NULL, embed[16];
  bool first = !*x->backbone, other = strcmp(x->backbone, backbone) != 0;
  if (!other && strcmp(x->state, u->identity.all) == 0) return MOECLIP_OK;
  u->report->state_changed = !first;
  MC_TRY(mc_index_get_meta(x, "route", &route, err));
  bool same_route = route && strcmp(route, u->identity.route) == 0;
  free(route);
  snprintf(embed, sizeof embed, "%d", u->learner->model->clip->sizes.embed);
  /* Another model's features may be of another length: they cannot be kept as stale. */
  MC_TRY(other ? mc_index_exec(x, "DELETE FROM features", err) : mark_stale(u, same_route, err));
  MC_TRY(renew_bases(u, err));
  MC_TRY(put_tasks(u, err));
  MC_TRY(set_text(u, "backbone", backbone, err));
  MC_TRY(set_text(u, "state", u->identity.all, err));
  MC_TRY(set_text(u, "route", u->identity.route, err));
  return set_text(u, "embed", embed, err);
}

/* --- the folders -------------------------------------------------------------------------------------------------- */

static moeclip_code remember_root(mc_update *u, const char *given, moeclip_error *err) {
  const moeclip_index *x = u->index;
  sqlite3_stmt *s = NULL;
  char *root = realpath(given, NULL);
  if (!root) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read the folder: %s", given, strerror(errno));
  char *stored = mc_index_stored_path(x, root);
  free(root);
  moeclip_code code = stored ? mc_index_prepare(x, "INSERT OR IGNORE INTO roots(path) VALUES(?1)", &s, err)
                             : mc_fail_memory(err, strlen(given), "a path");
  if (code == MOECLIP_OK) sqlite3_bind_blob(s, 1, stored, (int)strlen(stored), SQLITE_STATIC);
  if (code == MOECLIP_OK) code = mc_index_run(x, s, err);
  sqlite3_finalize(s);
  free(stored);
  return code;
}

static moeclip_code begin(mc_update *u, const char *const *roots, size_t n_roots, moeclip_error *err) {
  const moeclip_index_options *o = u->options;
  MC_TRY(mc_index_exec(u->index, "BEGIN IMMEDIATE", err));
  u->open = true;
  MC_TRY(mc_index_reload(u->index, err));
  MC_TRY(set_run(u, err));
  MC_TRY(take_learner(u, err));
  MC_TRY(set_text(u, "model_path", o->model_path, err));
  MC_TRY(set_text(u, "state_path", o->state_path, err));
  MC_TRY(set_text(u, "alexnet_path", o->alexnet_path, err));
  for (size_t i = 0; i < n_roots; i++) MC_TRY(remember_root(u, roots[i], err));
  MC_TRY(mc_update_commit(u, true, err));
  MC_TRY(mc_index_reload(u->index, err));
  if (u->index->n_roots > 0) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: no folder was indexed yet: name one", u->index->path);
}

static moeclip_code count_stale(mc_update *u, int64_t *out, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row;
  MC_TRY(mc_index_prepare(
      u->index, "SELECT count(*) FROM pictures LEFT JOIN features USING(id) WHERE error IS NULL AND stale IS NOT 0", &s,
      err));
  moeclip_code code = mc_index_step(u->index, s, &row, err);
  *out = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  return code;
}

/* Those given, or all when the learner has changed or an earlier update for that was broken off. */
static moeclip_code scan(mc_update *u, const char *const *given, size_t n_given, mc_scan *s, char ***roots,
                         size_t *n_roots, moeclip_error *err) {
  int64_t stale;
  MC_TRY(count_stale(u, &stale, err));
  bool all = n_given == 0 || stale > 0;
  size_t n = all ? u->index->n_roots : n_given;
  *roots = calloc(n, sizeof **roots);
  if (!*roots) return mc_fail_memory(err, n * sizeof **roots, "folders");
  *n_roots = n;
  for (size_t i = 0; i < n; i++) {
    (*roots)[i] = all ? mc_strdup(u->index->roots[i]) : realpath(given[i], NULL);
    if (!(*roots)[i] && (all || errno == ENOMEM)) return mc_fail_memory(err, 0, "a path");
    if (!(*roots)[i])
      return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read the folder: %s", given[i], strerror(errno));
    MC_TRY(mc_scan_folder(s, (*roots)[i], u->options->hidden, u->callbacks, err));
  }
  return mc_scan_links(s, u->options->hidden, u->callbacks, err);
}

/* --- one picture -------------------------------------------------------------------------------------------------- */

static moeclip_code todo(mc_update *u, const mc_todo *t, moeclip_error *err) {
  if (u->n_todo == u->capacity) {
    size_t capacity = u->capacity ? 2 * u->capacity : 256;
    mc_todo *grown = mc_realloc(u->todo, capacity, sizeof *grown);
    if (!grown) return mc_fail_memory(err, capacity * sizeof *grown, "a list of pictures");
    u->todo = grown;
    u->capacity = capacity;
  }
  u->todo[u->n_todo++] = *t;
  return MOECLIP_OK;
}

/* In pieces: only decoding needs a whole file in memory. False: it cannot be read, which encoding will tell. */
static bool hash_file(const char *path, uint8_t out[32]) {
  mc_sha256 h;
  uint8_t piece[1 << 16];
  ssize_t n;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  mc_sha256_init(&h);
  while ((n = read(fd, piece, sizeof piece)) > 0) mc_sha256_add(&h, piece, (size_t)n);
  close(fd);
  mc_sha256_bytes(&h, out);
  return n == 0;
}

static moeclip_code find_same_content(mc_update *u, const mc_todo *t, int64_t *id, moeclip_error *err) {
  bool row;
  sqlite3_bind_int64(u->same_content, 1, t->size);
  sqlite3_bind_blob(u->same_content, 2, t->sha256, 32, SQLITE_STATIC);
  moeclip_code code = mc_index_step(u->index, u->same_content, &row, err);
  *id = row ? sqlite3_column_int64(u->same_content, 0) : 0;
  sqlite3_reset(u->same_content);
  return code;
}

/* A picture whose content is known under another path. */
static moeclip_code take_content(mc_update *u, const mc_todo *t, int64_t from, moeclip_error *err) {
  int64_t id;
  MC_TRY(mc_update_write(u, err));
  MC_TRY(mc_update_picture(u, t, &id, err));
  sqlite3_bind_int64(u->copy_feature, 1, id);
  sqlite3_bind_int64(u->copy_feature, 2, from);
  u->report->moved++;
  return mc_index_run(u->index, u->copy_feature, err);
}

typedef struct known {
  int64_t id, size, mtime_ns; /* id 0: not in the index */
  uint8_t sha256[32];
  bool broken, good; /* good: it has a feature that holds */
} known;

static moeclip_code look_up(mc_update *u, const char *path, known *k, moeclip_error *err) {
  bool row;
  *k = (known){0};
  char *stored = mc_index_stored_path(u->index, path);
  if (!stored) return mc_fail_memory(err, strlen(path), "a path");
  sqlite3_bind_blob(u->find, 1, stored, (int)strlen(stored), SQLITE_STATIC);
  moeclip_code code = mc_index_step(u->index, u->find, &row, err);
  if (code == MOECLIP_OK && row) {
    *k = (known){.id = sqlite3_column_int64(u->find, 0),
                 .size = sqlite3_column_int64(u->find, 1),
                 .mtime_ns = sqlite3_column_int64(u->find, 2),
                 .broken = sqlite3_column_int(u->find, 4) != 0,
                 .good = sqlite3_column_int(u->find, 5) != 0};
    if (sqlite3_column_bytes(u->find, 3) == 32) memcpy(k->sha256, sqlite3_column_blob(u->find, 3), 32);
  }
  sqlite3_reset(u->find);
  sqlite3_bind_null(u->find, 1);
  free(stored);
  return code;
}

static moeclip_code consider(mc_update *u, const mc_found *f, moeclip_error *err) {
  known k;
  int64_t from = 0, id;
  bool row, hashed = false;
  MC_TRY(look_up(u, f->path, &k, err));
  mc_todo t = {.path = f->path, .size = f->size, .mtime_ns = f->mtime_ns, .id = k.id};
  bool same = k.id && k.size == f->size && k.mtime_ns == f->mtime_ns;
  if (!same) {
    sqlite3_bind_int64(u->same_size, 1, f->size);
    MC_TRY(mc_index_step(u->index, u->same_size, &row, err));
    sqlite3_reset(u->same_size);
    hashed = row && hash_file(f->path, t.sha256);
    if (hashed && k.id && memcmp(k.sha256, t.sha256, 32) == 0) {
      same = true;
      /* Of a broken picture the error stays; of a stale one, encoding writes the time. */
      if (k.good) MC_TRY(mc_update_write(u, err));
      if (k.good) MC_TRY(mc_update_picture(u, &t, &id, err));
    }
  }
  if (same && (k.good || k.broken)) {
    u->report->unchanged++;
    u->report->broken += k.broken;
    return MOECLIP_OK;
  }
  if (hashed) MC_TRY(find_same_content(u, &t, &from, err));
  return from ? take_content(u, &t, from, err) : todo(u, &t, err);
}

static moeclip_code consider_all(mc_update *u, const mc_scan *s, moeclip_error *err) {
  moeclip_progress p = {.phase = "scan", .task = "", .n_steps = (int64_t)s->n, .loss = (double)NAN};
  for (size_t i = 0; i < s->n; i++) {
    MC_TRY(consider(u, &s->items[i], err));
    p.step = (int64_t)i + 1;
    if (i % 64 == 0) MC_TRY(mc_update_cancelled(u, &p, err));
    MC_TRY(mc_update_commit(u, false, err));
  }
  return mc_update_commit(u, true, err);
}

/* --- what is gone ------------------------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b) {
  return strcmp(((const mc_found *)a)->path, ((const mc_found *)b)->path);
}

static bool below_any(const char *path, char *const *folders, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (mc_is_below(path, folders[i])) return true;
  }
  return false;
}

static moeclip_code list_gone(mc_update *u, const mc_scan *s, char *const *roots, size_t n_roots, int64_t **gone,
                              size_t *n, moeclip_error *err) {
  sqlite3_stmt *all;
  bool row = true;
  size_t capacity = 0;
  MC_TRY(mc_index_prepare(u->index, "SELECT id, path FROM pictures", &all, err));
  moeclip_code code = mc_index_step(u->index, all, &row, err);
  while (code == MOECLIP_OK && row) {
    mc_found key = {0};
    code = mc_index_column_path(u->index, all, 1, &key.path, err);
    if (code != MOECLIP_OK) break;
    if (below_any(key.path, roots, n_roots) && !below_any(key.path, s->unreadable, s->n_unreadable) &&
        !(s->n && bsearch(&key, s->items, s->n, sizeof *s->items, by_path))) {
      if (*n == capacity) {
        capacity = capacity ? 2 * capacity : 256;
        int64_t *grown = mc_realloc(*gone, capacity, sizeof *grown);
        if (grown) *gone = grown;
        if (!grown) code = mc_fail_memory(err, capacity * sizeof *grown, "a list of pictures");
      }
      if (code == MOECLIP_OK) (*gone)[(*n)++] = sqlite3_column_int64(all, 0);
    }
    free(key.path);
    if (code == MOECLIP_OK) code = mc_index_step(u->index, all, &row, err);
  }
  sqlite3_finalize(all);
  return code;
}

static moeclip_code remove_gone(mc_update *u, mc_scan *s, char *const *roots, size_t n_roots, moeclip_error *err) {
  int64_t *gone = NULL;
  size_t n = 0;
  sqlite3_stmt *drop = NULL;
  if (u->options->keep_missing) return MOECLIP_OK;
  moeclip_code code = list_gone(u, s, roots, n_roots, &gone, &n, err);
  if (code == MOECLIP_OK) code = mc_index_prepare(u->index, "DELETE FROM pictures WHERE id = ?1", &drop, err);
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) {
    code = mc_update_write(u, err);
    sqlite3_bind_int64(u->drop_feature, 1, gone[i]);
    sqlite3_bind_int64(drop, 1, gone[i]);
    if (code == MOECLIP_OK) code = mc_index_run(u->index, u->drop_feature, err);
    if (code == MOECLIP_OK) code = mc_index_run(u->index, drop, err);
    u->report->removed++;
    if (code == MOECLIP_OK) code = mc_update_commit(u, false, err);
  }
  sqlite3_finalize(drop);
  free(gone);
  return code == MOECLIP_OK ? mc_update_commit(u, true, err) : code;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static moeclip_code update(mc_update *u, const char *const *roots, size_t n_roots, mc_scan *s, char ***visited,
                           size_t *n_visited, moeclip_error *err) {
  MC_TRY(mc_identity_of(u->learner, &u->identity, err));
  MC_TRY(mc_base_init(&u->base, u->learner, err));
  MC_TRY(prepare(u, err));
  MC_TRY(begin(u, roots, n_roots, err));
  MC_TRY(scan(u, roots, n_roots, s, visited, n_visited, err));
  u->report->found = (int64_t)s->n;
  u->report->unread = s->n_unread;
  /* In order of path: so the same pictures are encoded in the same order, whatever the roots, and can be looked up. */
  if (s->n > 1) qsort(s->items, s->n, sizeof *s->items, by_path);
  MC_TRY(consider_all(u, s, err));
  MC_TRY(remove_gone(u, s, *visited, *n_visited, err));
  MC_TRY(mc_update_encode(u, err));
  MC_TRY(mc_update_commit(u, true, err));
  return count_stale(u, &u->report->stale, err);
}

moeclip_code moeclip_index_update(moeclip_index *index, moeclip_learner *learner, const char *const *roots,
                                  size_t n_roots, const moeclip_index_options *options,
                                  const moeclip_callbacks *callbacks, moeclip_index_report *report,
                                  moeclip_error *err) {
  moeclip_index_options defaults;
  moeclip_index_report own;
  mc_scan s = {0};
  char **visited = NULL;
  size_t n_visited = 0;
  moeclip_index_options_defaults(&defaults);
  mc_update u = {.index = index,
                 .learner = learner,
                 .options = options ? options : &defaults,
                 .callbacks = callbacks,
                 .report = report ? report : &own};
  *u.report = (moeclip_index_report){0};
  if (u.options->batch < 1) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a batch of %d pictures", u.options->batch);
  moeclip_code code = update(&u, roots, n_roots, &s, &visited, &n_visited, err);
  /* Stopped: what was done stays. */
  if (code == MOECLIP_ERROR_CANCELLED && u.open) mc_update_commit(&u, true, NULL);
  finish(&u);
  mc_features_clear(index);
  mc_scan_clear(&s);
  for (size_t i = 0; i < n_visited; i++) free(visited[i]);
  free(visited);
  return code;
}
