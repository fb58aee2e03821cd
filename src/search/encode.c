/* New features: pictures are read, hashed and decoded by the loader's threads beside the compute. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "data/loader.h"
#include "search/search.h"
#include "train/watch.h"

#define MAX_FILE ((size_t)1 << 30) /* as moeclip_image_load */

/* --- in the loader's threads -------------------------------------------------------------------------------------- */

static moeclip_code read_picture(mc_todo *t, moeclip_image *out, moeclip_error *err) {
  uint8_t *data;
  size_t n;
  mc_sha256 h;
  MC_TRY(mc_file_read(t->path, MAX_FILE, &data, &n, err));
  mc_sha256_init(&h);
  mc_sha256_add(&h, data, n);
  mc_sha256_bytes(&h, t->sha256);
  moeclip_code code = moeclip_image_decode(data, n, t->path, out, err);
  free(data);
  return code;
}

/* Does the selector see other pixels than the model? */
static bool looks_apart(const moeclip_learner *l) {
  return l->selector && !mc_transforms_agree(&l->extractor.transform, &l->model->clip->transform);
}

static moeclip_code selector_pixels(const mc_update *u, mc_todo *t, const moeclip_image *image, moeclip_error *err) {
  const moeclip_transform *own = &u->learner->extractor.transform;
  size_t size = (size_t)own->size;
  if (u->learner->n_tasks == 0 || !looks_apart(u->learner)) return MOECLIP_OK;
  t->selector_pixels = mc_alloc(3 * size, size);
  if (!t->selector_pixels) return mc_fail_memory(err, 3 * size * size, "a picture");
  return moeclip_image_transform(image, own, t->selector_pixels, err);
}

static moeclip_code load(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  mc_update *u = context;
  mc_todo *t = &u->todo[i];
  moeclip_code code = read_picture(t, out, err);
  if (code == MOECLIP_OK) code = selector_pixels(u, t, out, err);
  if (code == MOECLIP_OK) return MOECLIP_OK;
  moeclip_image_clear(out);
  /* A file that may not be opened, or memory that is short, says nothing about the picture. */
  t->passing = code != MOECLIP_ERROR_FORMAT && code != MOECLIP_ERROR_UNSUPPORTED;
  t->failure = mc_strdup(err->message);
  if (!t->failure) t->passing = true;
  return code;
}

static moeclip_code item_name(void *context, size_t i, char *out, size_t n_out) {
  const mc_update *u = context;
  strncpy(out, u->todo[i].path, n_out - 1);
  out[n_out - 1] = 0;
  return MOECLIP_OK;
}

/* --- one batch ---------------------------------------------------------------------------------------------------- */

typedef struct room {
  uint8_t *pixels;               /* [batch, 3, size, size] of those in `which` */
  uint8_t *selector;             /* [batch, 3, s, s], or NULL */
  float *features;               /* [batch, embed] */
  uint16_t *half;                /* [embed] */
  int32_t *tasks;                /* [batch] of those in `which`, in its order, as are the scores */
  double *scores;                /* [batch] */
  size_t *which;                 /* [batch] places in the batch of those that are worked on */
} room;

static void room_clear(room *r) {
  free(r->pixels);
  free(r->selector);
  free(r->features);
  free(r->half);
  free(r->tasks);
  free(r->scores);
  free(r->which);
}

static moeclip_code room_make(const mc_update *u, size_t batch, room *r, moeclip_error *err) {
  const moeclip_learner *l = u->learner;
  size_t size = (size_t)l->model->clip->sizes.image_size, s = (size_t)l->extractor.transform.size,
         embed = (size_t)u->index->embed;
  *r = (room){.pixels = mc_alloc(batch, 3 * size * size),
              .selector = looks_apart(l) ? mc_alloc(batch, 3 * s * s) : NULL,
              .features = mc_alloc(batch, embed * sizeof(float)),
              .half = mc_alloc(embed, sizeof(uint16_t)),
              .tasks = mc_alloc(batch, sizeof(int32_t)),
              .scores = mc_alloc(batch, sizeof(double)),
              .which = mc_alloc(batch, sizeof(size_t))};
  bool ok = r->pixels && r->features && r->half && r->tasks && r->scores && r->which &&
            (r->selector || !looks_apart(l));
  if (ok) return MOECLIP_OK;
  room_clear(r);
  return mc_fail_memory(err, batch * 3 * size * size, "a batch of pictures");
}

/* The selector's choice, in a pass of its own, of the n pictures in r->which and r->pixels. */
static moeclip_code route(mc_update *u, const mc_batch *b, int n, room *r, moeclip_error *err) {
  moeclip_learner *l = u->learner;
  size_t s = (size_t)l->extractor.transform.size, each = 3 * s * s;
  for (int k = 0; k < n; k++) {
    r->tasks[k] = MOECLIP_TASK_NONE;
    r->scores[k] = (double)NAN;
  }
  if (!l->selector || l->n_tasks == 0) return MOECLIP_OK;
  for (int k = 0; r->selector && k < n; k++)
    memcpy(r->selector + (size_t)k * each, u->todo[b->index[r->which[k]]].selector_pixels, each);
  const uint8_t *pixels = r->selector ? r->selector : r->pixels;
  return mc_route(l, pixels, n, MOECLIP_SELECT_PER_IMAGE, r->tasks, r->scores, NULL, err);
}

static void bind_score(sqlite3_stmt *s, int at, double score) {
  if (isfinite(score)) {
    sqlite3_bind_double(s, at, score);
  } else {
    sqlite3_bind_null(s, at);
  }
}

/* A stale feature that came about in the same way is as good as new. */
static moeclip_code keep(mc_update *u, const mc_todo *t, int32_t task, double score, bool *kept, moeclip_error *err) {
  const moeclip_index *x = u->index;
  *kept = false;
  sqlite3_bind_int64(u->get_feature, 1, t->id);
  sqlite3_bind_int64(u->get_feature, 2, task);
  sqlite3_bind_int64(u->get_feature, 3, u->identity.encoder[task + 1]);
  sqlite3_bind_blob(u->get_feature, 4, t->sha256, 32, SQLITE_STATIC);
  MC_TRY(mc_index_step(x, u->get_feature, kept, err));
  double base = 0;
  moeclip_code code = MOECLIP_OK;
  if (*kept && sqlite3_column_bytes(u->get_feature, 0) != (int)(2 * x->embed)) *kept = false;
  if (*kept) code = mc_base_of(&u->base, task, sqlite3_column_blob(u->get_feature, 0), &base, err);
  sqlite3_reset(u->get_feature);
  if (code != MOECLIP_OK || !*kept) return code;
  MC_TRY(mc_update_write(u, err));
  bind_score(u->keep_feature, 1, score);
  sqlite3_bind_int64(u->keep_feature, 2, t->id);
  sqlite3_bind_double(u->keep_feature, 3, base);
  MC_TRY(mc_index_run(x, u->keep_feature, err));
  u->report->rerouted++;
  int64_t id;
  return mc_update_picture(u, t, &id, err);
}

static moeclip_code put(mc_update *u, const mc_todo *t, int32_t task, double score, const float *feature,
                        uint16_t *half, moeclip_error *err) {
  int64_t id;
  double base;
  size_t embed = (size_t)u->index->embed;
  MC_TRY(mc_update_write(u, err));
  MC_TRY(mc_update_picture(u, t, &id, err));
  mc_to_half(feature, embed, half);
  MC_TRY(mc_base_of(&u->base, task, half, &base, err));
  sqlite3_bind_int64(u->put_feature, 1, id);
  sqlite3_bind_int64(u->put_feature, 2, task);
  sqlite3_bind_int64(u->put_feature, 3, u->identity.encoder[task + 1]);
  bind_score(u->put_feature, 4, score);
  sqlite3_bind_blob(u->put_feature, 5, half, (int)(embed * sizeof *half), SQLITE_STATIC);
  sqlite3_bind_double(u->put_feature, 6, base);
  u->report->encoded++;
  return mc_index_run(u->index, u->put_feature, err);
}

static moeclip_code put_broken(mc_update *u, const mc_todo *t, moeclip_error *err) {
  int64_t id;
  u->report->broken++;
  if (u->callbacks && u->callbacks->broken) {
    u->callbacks->broken(u->callbacks->context, t->path, t->failure ? t->failure : "out of memory");
  }
  if (t->passing) return MOECLIP_OK;
  MC_TRY(mc_update_write(u, err));
  MC_TRY(mc_update_picture(u, t, &id, err));
  sqlite3_bind_int64(u->drop_feature, 1, id);
  return mc_index_run(u->index, u->drop_feature, err);
}

/* The features of the n pictures that r->which names, chosen for and encoded, into the file. */
static moeclip_code put_all(mc_update *u, const mc_batch *b, int n, room *r, moeclip_error *err) {
  size_t embed = (size_t)u->index->embed;
  for (int k = 0; k < n; k++) {
    mc_todo *t = &u->todo[b->index[r->which[k]]];
    MC_TRY(put(u, t, r->tasks[k], r->scores[k], r->features + (size_t)k * embed, r->half, err));
  }
  return MOECLIP_OK;
}

/* Puts the batch's new pictures, or those that the file knows, into r->which and r->pixels; how many. */
static int gather(const mc_update *u, const mc_batch *b, bool fresh, room *r) {
  size_t size = (size_t)u->learner->model->clip->sizes.image_size, each = 3 * size * size;
  int n = 0;
  for (int i = 0; i < b->n; i++) {
    if ((u->todo[b->index[i]].id == 0) != fresh) continue;
    memcpy(r->pixels + (size_t)n * each, b->pixels + (size_t)i * each, each);
    r->which[n++] = (size_t)i;
  }
  return n;
}

/* A picture that is new must be encoded whatever the selector says, so that it may choose on the way. */
static moeclip_code encode_fresh(mc_update *u, const mc_batch *b, room *r, moeclip_error *err) {
  int n = gather(u, b, true, r);
  mc_chosen chosen = {r->tasks, r->scores, NULL};
  if (n == 0) return MOECLIP_OK;
  if (mc_routes_in_passing(u->learner)) {
    MC_TRY(mc_choose_and_encode(u->learner, r->pixels, n, &chosen, NULL, NULL, r->features, err));
  } else {
    MC_TRY(route(u, b, n, r, err));
    MC_TRY(mc_picture_features(u->learner, r->pixels, n, r->tasks, NULL, NULL, r->features, err));
  }
  return put_all(u, b, n, r, err);
}

/* Of a picture that the file knows, the choice comes first: often its feature can stay, and nothing is encoded. */
static moeclip_code encode_known(mc_update *u, const mc_batch *b, room *r, moeclip_error *err) {
  size_t size = (size_t)u->learner->model->clip->sizes.image_size, each = 3 * size * size;
  int n_known = gather(u, b, false, r), n = 0;
  if (n_known == 0) return MOECLIP_OK;
  MC_TRY(route(u, b, n_known, r, err));
  for (int k = 0; k < n_known; k++) {
    bool kept;
    MC_TRY(keep(u, &u->todo[b->index[r->which[k]]], r->tasks[k], r->scores[k], &kept, err));
    if (kept) continue;
    if (n != k) memcpy(r->pixels + (size_t)n * each, r->pixels + (size_t)k * each, each);
    r->tasks[n] = r->tasks[k];
    r->scores[n] = r->scores[k];
    r->which[n++] = r->which[k];
  }
  if (n > 0) MC_TRY(mc_picture_features(u->learner, r->pixels, n, r->tasks, NULL, NULL, r->features, err));
  return put_all(u, b, n, r, err);
}

static moeclip_code encode_batch(mc_update *u, const mc_batch *b, room *r, moeclip_error *err) {
  for (int i = 0; i < b->n; i++) u->todo[b->index[i]].done = true;
  MC_TRY(encode_fresh(u, b, r, err));
  return encode_known(u, b, r, err);
}

static void forget(mc_todo *t) {
  free(t->selector_pixels);
  free(t->failure);
  t->selector_pixels = NULL;
  t->failure = NULL;
}

static moeclip_code encode_all(mc_update *u, mc_loader *loader, size_t batch, room *r, moeclip_error *err) {
  double began = mc_now();
  bool end = false;
  size_t done = 0;
  moeclip_code code = MOECLIP_OK;
  while (code == MOECLIP_OK && done < u->n_todo) {
    mc_batch b;
    size_t n = u->n_todo - done < batch ? u->n_todo - done : batch;
    code = mc_loader_next(loader, &b, &end, err);
    /* That all pictures are broken is no reason to stop here: it is what will be remembered. */
    if (code == MOECLIP_ERROR_FORMAT && mc_loader_broken(loader) == u->n_todo) code = MOECLIP_OK;
    if (code == MOECLIP_OK && end) code = mc_fail(err, MOECLIP_ERROR_INTERNAL, "the loader ended too early");
    if (code == MOECLIP_OK && b.n > 0) code = encode_batch(u, &b, r, err);
    for (size_t i = done; code == MOECLIP_OK && i < done + n; i++) {
      if (u->todo[i].done) continue;
      if (!u->todo[i].failure) u->todo[i].passing = true; /* no memory for it, or for a message */
      code = put_broken(u, &u->todo[i], err);
    }
    for (size_t i = done; i < done + n; i++) forget(&u->todo[i]);
    done += n;
    u->report->seconds = mc_now() - began;
    u->report->waited_seconds = mc_loader_waited(loader);
    if (code == MOECLIP_OK) code = mc_update_commit(u, false, err);
    moeclip_progress p = {.phase = "index",
                          .task = "",
                          .step = (int64_t)done,
                          .n_steps = (int64_t)u->n_todo,
                          .images = (int64_t)done,
                          .loss = (double)NAN,
                          .seconds = u->report->seconds,
                          .waited_seconds = u->report->waited_seconds};
    if (code == MOECLIP_OK) code = mc_update_cancelled(u, &p, err);
  }
  return code;
}

moeclip_code mc_update_encode(mc_update *u, moeclip_error *err) {
  int threads = u->options->loader_threads;
  size_t batch = (size_t)u->options->batch;
  mc_loader *loader = NULL;
  room r = {0};
  if (u->n_todo == 0) return MOECLIP_OK;
  if (batch > u->n_todo) batch = u->n_todo;
  mc_image_source source = {.count = u->n_todo, .context = u, .load = load, .item_name = item_name};
  mc_loader_options o = {.transform = u->learner->model->clip->transform,
                         .batch = (int)batch,
                         .n_threads = threads > 0 ? threads : mc_compute_threads(u->learner->model->compute)};
  MC_TRY(room_make(u, batch, &r, err));
  moeclip_code code = mc_loader_create(&source, &o, NULL, NULL, &loader, err);
  if (code == MOECLIP_OK) code = encode_all(u, loader, batch, &r, err);
  mc_loader_destroy(loader);
  for (size_t i = 0; i < u->n_todo; i++) forget(&u->todo[i]);
  room_clear(&r);
  return code;
}
