/*
 * Searching folders of pictures by text or by picture. An index is one SQLite file (docs/SEARCH.md) with a feature of
 * each picture, encoded through the adapters of the task that the picture belongs to; it belongs to one model and one
 * state.
 *
 *   moeclip_index_create or moeclip_index_open -> moeclip_index_update (again whenever pictures change) ->
 * moeclip_index_search
 *
 * One thread may use an index (and the learner that is passed with it) at a time. Several processes may use one file.
 * Paths are bytes without a 0, as the system has them; they need not be UTF-8.
 */
#ifndef MOECLIP_SEARCH_H
#define MOECLIP_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/image.h"
#include "moeclip/learner.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_index moeclip_index;

/* An index that is there; refused when it is no index of moeclip, of a newer version, or damaged. Nothing is written.
 * Whatever is read of it later has its checksum compared: MOECLIP_ERROR_FORMAT. */
MOECLIP_API moeclip_code moeclip_index_open(const char *path, moeclip_index **out, moeclip_error *err);
/* The same, or an empty index when there is no such file (or one of 0 bytes). relative: paths are kept relative to the
 * folder of the index, so that both can be moved together; it must agree with an index that is there (-1: as that is,
 * else absolute). */
MOECLIP_API moeclip_code moeclip_index_create(const char *path, int relative, moeclip_index **out, moeclip_error *err);
MOECLIP_API void moeclip_index_close(moeclip_index *index);

typedef struct moeclip_index_task {
  const char *name; /* NULL: the untouched CLIP */
  int64_t pictures;
} moeclip_index_task;

typedef struct moeclip_index_info {
  const char *backbone; /* moeclip_model_fingerprint of the model; empty: nothing was indexed yet */
  const char *state;    /* SHA-256 of what the learner knows, in hexadecimal */
  const char *model_path, *state_path, *alexnet_path; /* as given to the last update; empty: not given */
  int embed;                                          /* numbers a feature */
  int relative;                                       /* paths are kept relative to the index */
  int checksums; /* every page has one, and a damaged one is refused; 0: made by an earlier version */
  int64_t pictures, broken;                           /* that can be searched; that could not be read */
  int64_t stale;  /* to be encoded again before they can be searched: the state has changed */
  size_t n_tasks; /* the untouched CLIP, then the state's tasks in their order */
  const moeclip_index_task *tasks;
  size_t n_roots;
  const char *const *roots; /* folders that were indexed */
} moeclip_index_info;
/* Everything in *out belongs to the index, until the next call with it. */
MOECLIP_API moeclip_code moeclip_index_get_info(moeclip_index *index, moeclip_index_info *out, moeclip_error *err);

typedef struct moeclip_index_options {
  int hidden;                                         /* 0; 1: files and folders whose names begin with a dot too */
  int keep_missing;                                   /* 0; 1: pictures that are gone stay in the index */
  int batch;                                          /* pictures encoded at once: 64 */
  int loader_threads;                                 /* decoding; 0: as many as compute threads */
  const char *model_path, *state_path, *alexnet_path; /* remembered, for moeclip_index_info; NULL: not */
} moeclip_index_options;
MOECLIP_API void moeclip_index_options_defaults(moeclip_index_options *options);

typedef struct moeclip_index_report {
  int64_t found;     /* pictures in the folders */
  int64_t unchanged; /* same size and time, or the same content */
  int64_t moved;     /* content that was known under another path: not encoded */
  int64_t rerouted;  /* after a change of the state: task and its adapters as before, so the feature was kept */
  int64_t encoded, removed;
  int64_t broken; /* unreadable, those remembered from earlier runs too */
  int64_t stale;  /* as in moeclip_index_info, after the update */
  int64_t unread; /* files in the folders that are pictures by name, of kinds that are not read (moeclip_picture_kind_of) */
  int state_changed;
  double seconds, waited_seconds; /* of the encoding; of those, waiting for decoded pictures */
} moeclip_index_report;

/*
 * Brings the index up to date with the folders (n_roots 0: all that it remembers): new and changed pictures are
 * encoded, moved ones found by their content, and those that are gone removed. When the learner is another than the
 * index's, all remembered folders are gone through again, and what it answers differently is encoded again; with
 * another model, everything. Written in transactions of about 2 seconds: after any interruption the next update goes
 * on. Only the update that began last may write; an earlier one fails (MOECLIP_ERROR_MISMATCH). callbacks->progress:
 * phase "scan" (step: pictures seen) and "index"; broken: each unreadable picture or folder, once.
 */
MOECLIP_API moeclip_code moeclip_index_update(moeclip_index *index, moeclip_learner *learner, const char *const *roots,
                                              size_t n_roots, const moeclip_index_options *options,
                                              const moeclip_callbacks *callbacks, moeclip_index_report *report,
                                              moeclip_error *err);

/* What to look for: a text or a picture. */
typedef struct moeclip_query {
  const char *text;           /* UTF-8 */
  const moeclip_image *image; /* used when text is NULL */
} moeclip_query;

/* How scores of pictures of different tasks are ranked together (docs/SEARCH.md has measurements). */
typedef enum moeclip_ranking {
  MOECLIP_RANK_CALIBRATED =
      0, /* a text: the cosine less what the picture has with words at large, so that above 0 it fits better than
            those; a picture: the cosine, less 1 for pictures of another task than its own */
  MOECLIP_RANK_COSINE /* as it is */
} moeclip_ranking;

typedef struct moeclip_search_options {
  const char *const *templates; /* with {} for the text; all are averaged; NULL: the text as it is */
  size_t n_templates;
  int top;           /* hits a query, at most: 10 */
  const char *task;  /* only pictures of this task ("none": of the untouched CLIP); NULL: all */
  const char *under; /* only pictures below this folder; NULL: all */
  double min_score;  /* NaN: none */
  moeclip_ranking ranking;
} moeclip_search_options;
MOECLIP_API void moeclip_search_options_defaults(moeclip_search_options *options);

typedef struct moeclip_hit {
  char *path;       /* absolute */
  const char *task; /* name; NULL: the untouched CLIP. Belongs to the index until it is updated or closed */
  double score;     /* by which hits are ranked, the highest first */
  double cosine;    /* of the picture's feature and the query's, both through that task */
} moeclip_hit;

typedef struct moeclip_hits {
  moeclip_hit *items; /* [n] */
  size_t n;
} moeclip_hits;

/* Refused (MOECLIP_ERROR_MISMATCH) with another learner than the index's. out [n_queries]: cleared with
 * moeclip_hits_clear, each. The features stay in memory for the next search, and are read again when the file has
 * changed. */
MOECLIP_API moeclip_code moeclip_index_search(moeclip_index *index, moeclip_learner *learner,
                                              const moeclip_query *queries, size_t n_queries,
                                              const moeclip_search_options *options, moeclip_hits *out,
                                              moeclip_error *err);
MOECLIP_API void moeclip_hits_clear(moeclip_hits *hits);

#ifdef __cplusplus
}
#endif
#endif
