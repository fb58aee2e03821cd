/* A search: the query encoded for each task in the index, and one pass over all features. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "search/search.h"

enum { BLOCK = 1024 };

void moeclip_search_options_defaults(moeclip_search_options *o) {
  *o = (moeclip_search_options){.top = 10, .min_score = (double)NAN};
}

typedef struct search {
  moeclip_index *x;
  moeclip_learner *l;
  const moeclip_query *queries;
  size_t n_queries;
  const moeclip_search_options *o;
  uint8_t *present; /* [n_tasks]: are there pictures of it that may be found? */
  uint8_t *allowed; /* [n_rows], or NULL: all */
  float *cosine;    /* [n_queries, n_tasks, stride] the queries as each task encodes them */
  float *bias;      /* [n_queries, n_tasks] subtracted from the cosine */
} search;

static float *vector(const search *s, size_t query, size_t task) {
  return s->cosine + (query * s->x->n_tasks + task) * s->x->stride;
}

/* --- the queries -------------------------------------------------------------------------------------------------- */

static moeclip_code encode_query(const search *s, size_t q, size_t task, float *out, moeclip_error *err) {
  static const char *const as_it_is[] = {"{}"};
  const moeclip_query *query = &s->queries[q];
  int number = (int)task - 1;
  if (!query->text) return moeclip_learner_encode_images(s->l, query->image, 1, number, NULL, NULL, out, err);
  const char *const *templates = s->o->n_templates ? s->o->templates : as_it_is;
  return mc_class_features(s->l, number, templates, s->o->n_templates ? s->o->n_templates : 1, &query->text, 1, NULL,
                           out, err);
}

/* A picture belongs to a task itself: cosines through the adapters of another one say little. */
static moeclip_code prefer_own_task(search *s, size_t q, moeclip_error *err) {
  float *feature = mc_alloc((size_t)s->x->embed, sizeof *feature);
  int own = MOECLIP_TASK_NONE;
  if (!feature) return mc_fail_memory(err, (size_t)s->x->embed * sizeof *feature, "queries");
  moeclip_code code =
      moeclip_learner_encode_images(s->l, s->queries[q].image, 1, MOECLIP_TASK_AUTO, &own, NULL, feature, err);
  free(feature);
  for (size_t t = 0; t < s->x->n_tasks; t++) s->bias[q * s->x->n_tasks + t] = (int)t - 1 == own ? 0 : 1;
  return code;
}

static moeclip_code encode_all(search *s, moeclip_error *err) {
  size_t stride = s->x->stride, n = s->n_queries * s->x->n_tasks;
  s->cosine = mc_zeros(n, stride * sizeof *s->cosine);
  s->bias = calloc(n + 1, sizeof *s->bias);
  if (!s->cosine || !s->bias) return mc_fail_memory(err, n * stride * sizeof *s->cosine, "queries");
  for (size_t q = 0; q < s->n_queries; q++) {
    if (!s->queries[q].text && s->o->ranking == MOECLIP_RANK_CALIBRATED) MC_TRY(prefer_own_task(s, q, err));
    for (size_t t = 0; t < s->x->n_tasks; t++) {
      if (s->present[t]) MC_TRY(encode_query(s, q, t, vector(s, q, t), err));
    }
  }
  return MOECLIP_OK;
}

/* --- what may be found -------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static moeclip_code allow_under(search *s, const char *under, moeclip_error *err) {
  moeclip_index *x = s->x;
  sqlite3_stmt *all;
  bool row;
  /* A folder that is gone may still be in the index. */
  char *folder = realpath(under, NULL);
  if (!folder) folder = mc_strdup(under);
  s->allowed = calloc(x->n_rows + 1, 1);
  if (!folder || !s->allowed) {
    free(folder);
    return mc_fail_memory(err, x->n_rows, "a search");
  }
  moeclip_code code = mc_index_prepare(x, "SELECT id, path FROM pictures", &all, err);
  while (code == MOECLIP_OK) {
    char *path;
    code = mc_index_step(x, all, &row, err);
    if (code != MOECLIP_OK || !row) break;
    code = mc_index_column_path(x, all, 1, &path, err);
    if (code != MOECLIP_OK) break;
    int64_t id = sqlite3_column_int64(all, 0);
    const int64_t *found =
        mc_is_below(path, folder) && x->n_rows ? bsearch(&id, x->ids, x->n_rows, sizeof id, by_id) : NULL;
    if (found) s->allowed[found - x->ids] = 1;
    free(path);
  }
  sqlite3_finalize(all);
  free(folder);
  return code;
}

static moeclip_code choose_task(search *s, const char *task, moeclip_error *err) {
  const moeclip_index *x = s->x;
  size_t only = 0;
  if (strcmp(task, "none") != 0) {
    for (only = 1; only < x->n_tasks && strcmp(x->tasks[only].name, task) != 0; only++) continue;
  }
  if (only >= x->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %s: the index %s has no such task; `moeclip info` lists them",
                   task, x->path);
  }
  for (size_t t = 0; t < x->n_tasks; t++) s->present[t] &= t == only;
  return MOECLIP_OK;
}

static moeclip_code choose_rows(search *s, moeclip_error *err) {
  moeclip_index *x = s->x;
  s->present = calloc(x->n_tasks, 1);
  if (!s->present) return mc_fail_memory(err, x->n_tasks, "a search");
  for (size_t i = 0; i < x->n_rows; i++) s->present[x->row_task[i]] = 1;
  if (s->o->task) MC_TRY(choose_task(s, s->o->task, err));
  return s->o->under ? allow_under(s, s->o->under, err) : MOECLIP_OK;
}

/* --- the scan ----------------------------------------------------------------------------------------------------- */

typedef struct scan {
  const search *s;
  size_t query;
  int64_t per_part;
  mc_top *parts; /* [n_parts] */
} scan;

/* Runs of one task are scored together. */
static void scan_rows(const search *s, size_t query, size_t begin, size_t end, mc_top *top) {
  const moeclip_index *x = s->x;
  const float *base = s->queries[query].text && s->o->ranking == MOECLIP_RANK_CALIBRATED ? x->base : NULL;
  float scores[BLOCK];
  for (size_t at = begin; at < end;) {
    int32_t task = x->row_task[at];
    size_t n = 1;
    while (at + n < end && n < BLOCK && x->row_task[at + n] == task) n++;
    float bias = s->bias[query * x->n_tasks + (size_t)task];
    if (s->present[task]) {
      mc_dot_rows(x->features + at * x->stride, vector(s, query, (size_t)task), (int64_t)n, (int64_t)x->stride, scores);
      for (size_t i = 0; i < n; i++) {
        if (s->allowed && !s->allowed[at + i]) continue;
        scores[i] -= base ? base[at + i] : bias;
        if (!isnan(s->o->min_score) && (double)scores[i] < s->o->min_score) continue;
        mc_top_push(top, (mc_best){.score = scores[i], .row = at + i});
      }
    }
    at += n;
  }
}

static void scan_parts(void *context, int64_t begin, int64_t end) {
  scan *c = context;
  for (int64_t p = begin; p < end; p++) {
    size_t first = (size_t)(p * c->per_part), last = first + (size_t)c->per_part;
    if (last > c->s->x->n_rows) last = c->s->x->n_rows;
    if (first < last) scan_rows(c->s, c->query, first, last, &c->parts[p]);
  }
}

static moeclip_code take_path(const search *s, sqlite3_stmt *get, const mc_best *b, moeclip_hit *out,
                              moeclip_error *err) {
  moeclip_index *x = s->x;
  bool row;
  sqlite3_bind_int64(get, 1, x->ids[b->row]);
  moeclip_code code = mc_index_step(x, get, &row, err);
  if (code == MOECLIP_OK && !row) code = mc_index_damaged(x, "a feature without a picture", err);
  if (code == MOECLIP_OK) code = mc_index_column_path(x, get, 0, &out->path, err);
  sqlite3_reset(get);
  out->task = x->tasks[x->row_task[b->row]].name;
  out->score = (double)b->score;
  out->cosine = (double)b->cosine;
  return code;
}

static int by_score_then_path(const void *a, const void *b) {
  const moeclip_hit *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return strcmp(x->path, y->path);
}

static moeclip_code take_hits(const search *s, size_t query, mc_top *top, moeclip_hits *out, moeclip_error *err) {
  const moeclip_index *x = s->x;
  sqlite3_stmt *get = NULL;
  mc_top_sort(top);
  out->items = calloc(top->n + 1, sizeof *out->items);
  if (!out->items) return mc_fail_memory(err, top->n * sizeof *out->items, "hits");
  moeclip_code code = mc_index_prepare(x, "SELECT path FROM pictures WHERE id = ?1", &get, err);
  for (size_t i = 0; code == MOECLIP_OK && i < top->n; i++) {
    mc_best *b = &top->items[i];
    const float *cosine = vector(s, query, (size_t)x->row_task[b->row]);
    mc_dot_rows(x->features + b->row * x->stride, cosine, 1, (int64_t)x->stride, &b->cosine);
    out->n = i + 1;
    code = take_path(s, get, b, &out->items[i], err);
  }
  sqlite3_finalize(get);
  if (code == MOECLIP_OK && out->n > 1) qsort(out->items, out->n, sizeof *out->items, by_score_then_path);
  return code;
}

static moeclip_code scan_query(const search *s, size_t query, moeclip_hits *out, moeclip_error *err) {
  mc_compute *cp = s->l->model->compute;
  size_t n_rows = s->x->n_rows, top = (size_t)s->o->top < n_rows ? (size_t)s->o->top : n_rows;
  /* Each part keeps its own best: as many parts as threads, so that memory is threads * top. */
  int64_t n_parts = mc_compute_threads(cp), per_part = ((int64_t)n_rows + n_parts - 1) / n_parts;
  scan c = {s, query, per_part, calloc((size_t)n_parts, sizeof(mc_top))};
  mc_top best = {.items = mc_alloc(top, sizeof(mc_best)), .capacity = top};
  bool ok = c.parts && best.items;
  for (int64_t p = 0; ok && p < n_parts; p++) {
    c.parts[p] = (mc_top){.items = mc_alloc(top, sizeof(mc_best)), .capacity = top};
    ok = c.parts[p].items != NULL;
  }
  moeclip_code code = ok ? MOECLIP_OK : mc_fail_memory(err, top * sizeof(mc_best), "hits");
  if (ok) mc_parallel_for(cp, n_parts, 1, scan_parts, &c);
  for (int64_t p = 0; ok && p < n_parts; p++) {
    for (size_t i = 0; i < c.parts[p].n; i++) mc_top_push(&best, c.parts[p].items[i]);
  }
  if (ok) code = take_hits(s, query, &best, out, err);
  for (int64_t p = 0; c.parts && p < n_parts; p++) free(c.parts[p].items);
  free(c.parts);
  free(best.items);
  return code;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static moeclip_code check_learner(const moeclip_index *x, moeclip_learner *l, moeclip_error *err) {
  const char *backbone = moeclip_model_fingerprint(l->model);
  mc_identity identity;
  if (!*x->backbone) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s: nothing was indexed yet", x->path);
  if (strcmp(x->backbone, backbone) != 0) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "%s: was made with another model (fingerprint %s) than %s (%s); index again, or name the "
                   "model that it was made with",
                   x->path, x->backbone, moeclip_model_path(l->model), backbone);
  }
  MC_TRY(mc_identity_of(l, &identity, err));
  bool same = strcmp(identity.all, x->state) == 0 && x->embed == l->model->clip->sizes.embed &&
              (int)x->n_tasks == l->n_tasks + 1;
  mc_identity_clear(&identity);
  if (same) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                 "%s: was made with another state; index again with this one, or name that one", x->path);
}

static moeclip_code run(search *s, moeclip_hits *out, moeclip_error *err) {
  MC_TRY(mc_features_load(s->x, err));
  MC_TRY(check_learner(s->x, s->l, err));
  MC_TRY(choose_rows(s, err));
  MC_TRY(encode_all(s, err));
  for (size_t q = 0; q < s->n_queries; q++) MC_TRY(scan_query(s, q, &out[q], err));
  return MOECLIP_OK;
}

moeclip_code moeclip_index_search(moeclip_index *index, moeclip_learner *learner, const moeclip_query *queries,
                                  size_t n_queries, const moeclip_search_options *options, moeclip_hits *out,
                                  moeclip_error *err) {
  moeclip_search_options defaults;
  moeclip_search_options_defaults(&defaults);
  search s = {.x = index, .l = learner, .queries = queries, .n_queries = n_queries, .o = options ? options : &defaults};
  for (size_t q = 0; q < n_queries; q++) {
    out[q] = (moeclip_hits){0};
    if (!queries[q].text && !queries[q].image)
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "query %zu is neither a text nor a picture", q);
  }
  if (s.o->top < 1) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the %d best are asked for", s.o->top);
  /* One transaction: the features, the paths, the tasks and the state belong together. */
  MC_TRY(mc_index_exec(index, "BEGIN", err));
  moeclip_code code = run(&s, out, err);
  sqlite3_exec(index->db, "COMMIT", NULL, NULL, NULL);
  for (size_t q = 0; code != MOECLIP_OK && q < n_queries; q++) moeclip_hits_clear(&out[q]);
  free(s.present);
  free(s.allowed);
  mc_aligned_free(s.cosine);
  free(s.bias);
  return code;
}

void moeclip_hits_clear(moeclip_hits *hits) {
  for (size_t i = 0; i < hits->n; i++) free(hits->items[i].path);
  free(hits->items);
  *hits = (moeclip_hits){0};
}
