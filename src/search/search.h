/*
 * search/: an index of pictures in a SQLite file, and searching it. Includes all of the library's folders; cli/
 * (through moeclip/search.h) is above it.
 *
 * database.c the file; checksum.c its pages' checksums; identity.c what a feature depends on; scan.c folders; update.c
 * what changed; encode.c new features; base.c what makes scores comparable; features.c and kernel.c the exact scan;
 * query.c a search.
 */
#ifndef MC_SEARCH_SEARCH_H
#define MC_SEARCH_SEARCH_H

#include <sqlite3.h>
#include <stdbool.h>

#include "compute/vector.h"
#include "learn/learner.h"
#include "moeclip/search.h"

enum { MC_MAX_EMBED = 65536, MC_MAX_PATH = 65536 };

/* --- database.c --------------------------------------------------------------------------------------------------- */

struct moeclip_index {
  sqlite3 *db;
  sqlite3_vfs vfs; /* checksum.c */
  char *path;
  char *folder; /* absolute folder of the file */
  bool relative;
  int embed;                                                       /* 0: nothing indexed yet */
  char *backbone, *state, *model_path, *state_path, *alexnet_path; /* never NULL once loaded */
  moeclip_index_task *tasks; /* [n_tasks]: the untouched CLIP, then the tasks; names are owned */
  size_t n_tasks;
  char **roots; /* [n_roots], absolute */
  size_t n_roots;
  /* features.c: in memory once searched */
  uint16_t *features; /* [n_rows, stride] float16, padded with 0 to a multiple of MC_LANES */
  int64_t *ids;       /* [n_rows], rising */
  float *base;        /* [n_rows] */
  int32_t *row_task;  /* [n_rows] place in `tasks` */
  size_t n_rows, stride;
  int64_t version; /* of the file when they were read; -1: not read */
};

/* A message of SQLite as ours: "FILE: ..." by its code. */
moeclip_code mc_index_fail(const moeclip_index *x, const char *doing, moeclip_error *err);
/* A statement; SQL is a constant of this folder, values are always bound. */
moeclip_code mc_index_prepare(const moeclip_index *x, const char *sql, sqlite3_stmt **out, moeclip_error *err);
/* One step: *row is true when there is a row. */
moeclip_code mc_index_step(const moeclip_index *x, sqlite3_stmt *s, bool *row, moeclip_error *err);
/* One step that gives no row, and a reset. */
moeclip_code mc_index_run(const moeclip_index *x, sqlite3_stmt *s, moeclip_error *err);
moeclip_code mc_index_exec(const moeclip_index *x, const char *sql, moeclip_error *err);
/* What the file says that it cannot mean. */
moeclip_code mc_index_damaged(const moeclip_index *x, const char *what, moeclip_error *err);
/* meta, tasks and roots from the file, where they may have changed. */
moeclip_code mc_index_reload(moeclip_index *x, moeclip_error *err);
moeclip_code mc_index_set_meta(const moeclip_index *x, const char *key, const void *value, size_t n,
                               moeclip_error *err);
/* Fresh; NULL when there is none (code OK). */
moeclip_code mc_index_get_meta(const moeclip_index *x, const char *key, char **out, moeclip_error *err);

/* Paths as they are kept, and back; fresh memory. stored: n bytes. */
char *mc_index_stored_path(const moeclip_index *x, const char *absolute);
char *mc_index_absolute_path(const moeclip_index *x, const char *stored, size_t n);
/* A path column, checked; fresh. */
moeclip_code mc_index_column_path(const moeclip_index *x, sqlite3_stmt *s, int column, char **out, moeclip_error *err);

/* --- checksum.c --------------------------------------------------------------------------------------------------- */

/* sqlite3_open_v2 into x->db, with checksums where the file has them: a page that does not fit its own is SQLITE_IOERR_DATA. */
int mc_checksum_open(moeclip_index *x, const char *path, int flags);
/* Before anything is written to an empty file: it is to have checksums. */
int mc_checksum_begin(moeclip_index *x);
/* The file, whose first page was read, has checksums. */
bool mc_checksum_used(moeclip_index *x);

/* --- identity.c --------------------------------------------------------------------------------------------------- */

/* What features depend on. */
typedef struct mc_identity {
  char all[65];   /* everything that the learner knows: SHA-256 in hexadecimal */
  char route[65]; /* the selector: which task a picture is sent to */
  int64_t
      *encoder; /* [1 + n_tasks]: of the image tower as the untouched CLIP's and each task's pictures go through it */
} mc_identity;
moeclip_code mc_identity_of(moeclip_learner *l, mc_identity *out, moeclip_error *err);
void mc_identity_clear(mc_identity *i);

/* --- scan.c ------------------------------------------------------------------------------------------------------- */

typedef struct mc_found {
  char *path; /* absolute */
  int64_t size, mtime_ns;
} mc_found;

typedef struct mc_scan {
  mc_found *items;
  size_t n, capacity;
  char **unreadable; /* [n_unreadable] folders that could not be read: what is known below them stays */
  size_t n_unreadable;
  char **links; /* [n_links] links to folders, met on the way */
  size_t n_links;
  int64_t n_unread; /* pictures by name, of kinds that are not read */
  void *visited; /* each folder is visited once, whatever leads to it: links may form loops */
} mc_scan;
/* Adds the pictures below an absolute folder, in order of name; links to folders are left for mc_scan_links, which
 * comes last, so that a picture's path is the one without links where there is one. Only a root that cannot be read is
 * an error. */
moeclip_code mc_scan_folder(mc_scan *s, const char *root, bool hidden, const moeclip_callbacks *callbacks,
                            moeclip_error *err);
moeclip_code mc_scan_links(mc_scan *s, bool hidden, const moeclip_callbacks *callbacks, moeclip_error *err);
void mc_scan_clear(mc_scan *s);
/* path is folder or lies below it. */
bool mc_is_below(const char *path, const char *folder);

/* --- base.c ------------------------------------------------------------------------------------------------------- */

typedef struct mc_base {
  moeclip_learner *learner;
  size_t embed, stride, n_words;
  float **words; /* [1 + n_tasks]: [n_words, stride], or NULL */
  uint16_t *row; /* [stride] */
} mc_base;
/* Cleared also when this fails. */
moeclip_code mc_base_init(mc_base *b, moeclip_learner *l, moeclip_error *err);
void mc_base_clear(mc_base *b);
/* The cosines of a feature [embed] (float16) with words at large, taken together: a smooth maximum. */
moeclip_code mc_base_of(mc_base *b, int task, const uint16_t *feature, double *out, moeclip_error *err);

/* --- update.c and encode.c ---------------------------------------------------------------------------------------- */

typedef struct mc_update mc_update;

/* A picture that is to be encoded. */
typedef struct mc_todo {
  const char *path;           /* points into the scan */
  int64_t size, mtime_ns, id; /* id 0: a new one */
  uint8_t sha256[32];
  uint8_t *selector_pixels; /* where the selector's pictures are of another size; else NULL */
  char *failure;            /* why it cannot be read, or NULL */
  bool done;                /* it has a feature */
  bool passing;             /* a failure that may go away by itself: not remembered */
} mc_todo;

struct mc_update {
  moeclip_index *index;
  moeclip_learner *learner;
  const moeclip_index_options *options;
  const moeclip_callbacks *callbacks;
  moeclip_index_report *report;
  mc_identity identity;
  mc_base base;
  char run[33]; /* names this update in the file */
  bool open;    /* a transaction is open since `began` */
  double began;
  sqlite3_stmt *put_picture, *put_feature, *drop_feature, *get_feature, *keep_feature, *get_run, *find, *same_size,
      *same_content, *copy_feature;
  mc_todo *todo;
  size_t n_todo, capacity;
};
/* Before each write: opens a transaction unless one is open, and checks that no later update has begun. */
moeclip_code mc_update_write(mc_update *u, moeclip_error *err);
/* Commits when `now` is set or the transaction is 2 seconds old. */
moeclip_code mc_update_commit(mc_update *u, bool now, moeclip_error *err);
/* Puts (or replaces) a row of pictures; *id is its number. failure NULL: readable. */
moeclip_code mc_update_picture(mc_update *u, const mc_todo *t, int64_t *id, moeclip_error *err);
moeclip_code mc_update_cancelled(mc_update *u, const moeclip_progress *p, moeclip_error *err);
/* Encodes everything in `todo`. */
moeclip_code mc_update_encode(mc_update *u, moeclip_error *err);

/* --- features.c, kernel.c ----------------------------------------------------------------------------------------- */

/* Reads the features unless those in memory are still the file's. */
moeclip_code mc_features_load(moeclip_index *x, moeclip_error *err);
void mc_features_clear(moeclip_index *x);

/* n floats in [-1, 1] to IEEE half precision, to nearest even; below 2^-14 they become 0. */
void mc_to_half(const float *in, size_t n, uint16_t *out);
float mc_from_half(uint16_t h);
/* All n values lie in [-1, 1]. */
bool mc_half_bounded(const uint16_t *h, size_t n);
/* out[i] = rows[i] . query, rows [n, stride] float16, query [stride]. */
void mc_dot_rows(const uint16_t *rows, const float *query, int64_t n, int64_t stride, float *out);

/* The best `capacity` of what is pushed: highest score first, then lowest row. */
typedef struct mc_best {
  float score, cosine;
  size_t row;
} mc_best;
typedef struct mc_top {
  mc_best *items;
  size_t n, capacity;
} mc_top;
void mc_top_push(mc_top *t, mc_best b);
void mc_top_sort(mc_top *t);

#endif
