/* Pictures and texts to answers and features. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "serve/ask.h"
#include "serve/http.h"

enum { MAX_TEXTS = 256 };

/* A request's pictures: the readable ones in a row, and for each file which of them it is or why it is none. */
typedef struct pictures {
  size_t n;                /* files */
  moeclip_image *images;   /* [n_good] */
  int n_good, *place;      /* place [n]: -1 for a broken one */
  char **messages;         /* [n] */
} pictures;

static const char *value_of(const void *request, const char *name) { return mc_body_value(request, name); }

/* --- pictures ----------------------------------------------------------------------------------------------------- */

/* CLIP's view of the picture, as a picture: what waits in the queue is small then, and the engine need not resize. */
static moeclip_code make_small(moeclip_image *image, const moeclip_transform *t, moeclip_error *err) {
  int size = t->size;
  size_t n = (size_t)size * (size_t)size;
  uint8_t *planes = mc_alloc(n, 3), *rgb = mc_alloc(n, 3);
  moeclip_code code = planes && rgb ? MOECLIP_OK : mc_fail_memory(err, 3 * n, "a picture");
  if (code == MOECLIP_OK) code = moeclip_image_transform(image, t, planes, err);
  if (code == MOECLIP_OK) {
    for (size_t i = 0; i < n; i++) {
      for (size_t c = 0; c < 3; c++) rgb[3 * i + c] = planes[c * n + i];
    }
    moeclip_image_clear(image);
    *image = (moeclip_image){size, size, rgb};
  } else {
    free(rgb);
  }
  free(planes);
  return code;
}

static moeclip_code decode(mc_request *r, const uint8_t *data, size_t n, const char *name, moeclip_image *out,
                           moeclip_error *err) {
  mc_server *s = r->s;
  sem_wait(&s->decoders);
  moeclip_code code = moeclip_image_decode_at_most(data, n, name, (uint64_t)(s->o->megapixels * 1e6), out, err);
  if (code == MOECLIP_OK && s->preprocess) code = make_small(out, &s->transform, err);
  sem_post(&s->decoders);
  if (code != MOECLIP_OK) moeclip_image_clear(out);
  size_t held = code == MOECLIP_OK ? 3 * (size_t)out->width * (size_t)out->height : 0;
  if (held && !mc_serve_take_memory(s, held)) {
    moeclip_image_clear(out);
    return mc_fail(err, MOECLIP_ERROR_MEMORY, "too many pictures are being answered at the moment");
  }
  r->memory += held;
  return code;
}

static void pictures_clear(pictures *p) {
  for (int i = 0; i < p->n_good; i++) moeclip_image_clear(&p->images[i]);
  for (size_t i = 0; p->messages && i < p->n; i++) free(p->messages[i]);
  free(p->images);
  free(p->place);
  free(p->messages);
}

static moeclip_code read_one(mc_request *r, pictures *p, size_t i, const uint8_t *data, size_t n, const char *name,
                             moeclip_error *err) {
  moeclip_code code = decode(r, data, n, name, &p->images[p->n_good], err);
  if (code == MOECLIP_ERROR_MEMORY) return code;
  p->place[i] = code == MOECLIP_OK ? p->n_good++ : -1;
  if (code == MOECLIP_OK) return code;
  atomic_fetch_add(&r->s->metrics.broken, 1);
  p->messages[i] = mc_strdup(err->message);
  return p->messages[i] ? MOECLIP_OK : mc_fail_memory(err, 1024, "a message");
}

static bool is_utf8(const char *s) {
  json_t *j = json_string(s);
  json_decref(j);
  return j != NULL;
}

static moeclip_code read_pictures(mc_request *r, pictures *p, moeclip_error *err) {
  bool raw = r->type[0] == 'i';
  size_t n = raw ? r->n_raw > 0 : r->n_parts;
  *p = (pictures){.n = n, .images = calloc(n + 1, sizeof *p->images), .place = calloc(n + 1, sizeof *p->place),
                  .messages = calloc(n + 1, sizeof *p->messages)};
  if (!p->images || !p->place || !p->messages) return mc_fail_memory(err, n * sizeof *p->images, "pictures");
  if (n == 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "there is no picture: send parts named \"image\" with a file name");
  for (size_t i = 0; i < r->n_parts; i++) {
    if (strcmp(r->parts[i].field, "image") != 0) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a file in the part \"%.60s\": pictures are sent as \"image\"",
                     r->parts[i].field);
    }
    if (!is_utf8(r->parts[i].file)) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "the name of picture %zu is not UTF-8", i + 1);
  }
  if (raw) return read_one(r, p, 0, r->raw, r->n_raw, "body", err);
  for (size_t i = 0; i < n; i++) {
    mc_part *part = &r->parts[i];
    MC_TRY(read_one(r, p, i, part->data, part->n, part->file, err));
    /* The file is not needed once its pixels are there. */
    free(part->data);
    mc_serve_give_memory(r->s, part->room);
    r->memory -= part->room;
    part->data = NULL;
    part->n = part->room = 0;
  }
  return MOECLIP_OK;
}

static const char *file_name(const mc_request *r, size_t i) { return r->n_parts ? r->parts[i].file : "body"; }

/* --- the engine's part -------------------------------------------------------------------------------------------- */

/* 0: w holds the results. Else the answer was given, and *result is what the handler returns. */
static int ask_engine(mc_request *r, mc_work *w, enum MHD_Result *result) {
  size_t n = (size_t)w->n;
  w->embed = r->s->sizes.embed;
  if (w->kind == MC_WORK_CLASSIFY) {
    w->answers = calloc(n, sizeof *w->answers);
    if (w->explain) w->explanations = calloc(n, sizeof *w->explanations);
  } else {
    w->values = mc_alloc(n, (size_t)w->embed * sizeof *w->values);
    w->tasks = calloc(n, sizeof *w->tasks);
  }
  bool room = w->kind == MC_WORK_CLASSIFY ? w->answers && (w->explanations || !w->explain) : w->values && w->tasks;
  if (!room) {
    *result = mc_reply_error(r, 503, "out of memory");
    return 1;
  }
  r->coming = false;
  mc_engine_outcome outcome = mc_engine_do(&r->s->engine, w, r->began + r->s->o->request_seconds);
  if (outcome == MC_ENGINE_DONE && w->code == MOECLIP_OK) return 0;
  if (outcome == MC_ENGINE_FULL) {
    *result = mc_reply_error(r, 503, "%d pictures wait already", r->s->o->queue);
  } else if (outcome == MC_ENGINE_LATE) {
    *result = mc_reply_error(r, 503, "the request waited for longer than %.0f seconds", r->s->o->request_seconds);
  } else {
    *result = mc_reply_failure(r, &w->error);
  }
  return 1;
}

static json_t *task_json(const mc_generation *g, int task) {
  moeclip_task_info info;
  if (task >= 0 && moeclip_learner_task(g->learner, task, &info, NULL) == MOECLIP_OK) return json_string(info.name);
  return json_null();
}

/* --- classifying -------------------------------------------------------------------------------------------------- */

static json_t *gates_json(const moeclip_explanation *e) {
  json_t *rows = json_array();
  for (int b = 0; b < e->n_blocks; b++) {
    json_t *row = json_array();
    for (int x = 0; x < e->n_experts; x++) mc_json_append(&row, mc_json_real((double)e->gate[b * e->n_experts + x]));
    mc_json_append(&rows, row);
  }
  return rows;
}

static json_t *explanation_json(const mc_generation *g, const moeclip_explanation *e) {
  json_t *errors = json_array();
  for (int t = 0; t < e->n_tasks; t++) {
    mc_json_append(&errors, json_pack("{s:o, s:o, s:o}", "task", task_json(g, t), "error", mc_json_real(e->error[t]),
                                            "threshold", mc_json_real(e->threshold[t])));
  }
  return json_pack("{s:o, s:o, s:o}", "errors", errors, "reference_error", mc_json_real(e->reference_error), "gates",
                   gates_json(e));
}

static json_t *answer_json(const mc_work *w, int i, const char *file) {
  const moeclip_answer *a = &w->answers[i];
  json_t *labels = json_array();
  for (int k = 0; k < a->n_labels; k++) {
    const char *name = w->labels ? w->labels[a->label[k]] : a->name[k];
    mc_json_append(&labels, json_pack("{s:s, s:i, s:o}", "name", name, "index", a->label[k], "probability",
                                            mc_json_real((double)a->probability[k])));
  }
  json_t *o = json_pack("{s:s, s:o, s:o, s:o}", "file", file, "task", task_json(w->generation, a->task), "score",
                        mc_json_real(a->score), "labels", labels);
  if (w->explain) mc_json_set(&o, "explanation", explanation_json(w->generation, &w->explanations[i]));
  return o;
}

static json_t *broken_json(const char *file, const char *message) {
  json_t *o = json_pack("{s:s, s:s}", "file", file, "error", message);
  return o ? o : json_pack("{s:s, s:s}", "file", file, "error", "the picture cannot be read");
}

static enum MHD_Result classify(mc_request *r, mc_ask *ask, pictures *p) {
  mc_work w = {.kind = MC_WORK_CLASSIFY, .key = ask->key, .task = ask->task, .n = p->n_good, .images = p->images,
               .labels = ask->labels, .n_labels = ask->n_labels, .templates = ask->templates,
               .n_templates = ask->n_templates, .top = ask->top, .explain = ask->explain};
  enum MHD_Result result = MHD_NO;
  if (p->n_good == 0 || !ask_engine(r, &w, &result)) {
    json_t *answers = json_array();
    for (size_t i = 0; i < p->n; i++) {
      mc_json_append(&answers, p->place[i] >= 0 ? answer_json(&w, p->place[i], file_name(r, i))
                                                      : broken_json(file_name(r, i), p->messages[i]));
    }
    result = mc_reply_json(r, 200, json_pack("{s:o}", "answers", answers), 15);
  }
  mc_work_clear(&w);
  return result;
}

enum MHD_Result mc_post_classify(mc_request *r) {
  mc_ask ask;
  pictures p = {0};
  moeclip_error err = {0};
  moeclip_code code = mc_ask_parse(value_of, r, r->s->o->max_prompts, &ask, &err);
  if (code == MOECLIP_OK) code = read_pictures(r, &p, &err);
  enum MHD_Result result = code == MOECLIP_OK ? classify(r, &ask, &p) : mc_reply_failure(r, &err);
  pictures_clear(&p);
  mc_ask_clear(&ask);
  return result;
}

/* --- features ----------------------------------------------------------------------------------------------------- */

static json_t *values_json(const mc_work *w, int i) {
  json_t *values = json_array();
  for (int k = 0; k < w->embed; k++) mc_json_append(&values, json_real((double)w->values[i * w->embed + k]));
  return values;
}

enum MHD_Result mc_post_embed_image(mc_request *r) {
  pictures p = {0};
  moeclip_error err = {0};
  enum MHD_Result result = MHD_NO;
  const char *task = mc_body_value(r, "task");
  if (!task || !*task) task = "auto";
  if (read_pictures(r, &p, &err) != MOECLIP_OK) {
    result = mc_reply_failure(r, &err);
    pictures_clear(&p);
    return result;
  }
  mc_work w = {.kind = MC_WORK_IMAGES, .key = task, .task = task, .n = p.n_good, .images = p.images};
  if (p.n_good == 0 || !ask_engine(r, &w, &result)) {
    json_t *list = json_array();
    for (size_t i = 0; i < p.n; i++) {
      int k = p.place[i];
      /* NOLINTBEGIN(clang-analyzer-*): a picture with a place was asked about */
      mc_json_append(&list, k < 0 ? broken_json(file_name(r, i), p.messages[i])
                                        : json_pack("{s:s, s:o, s:o}", "file", file_name(r, i), "task",
                                                    task_json(w.generation, w.tasks[k]), "values", values_json(&w, k)));
      /* NOLINTEND(clang-analyzer-*) */
    }
    result = mc_reply_json(r, 200, json_pack("{s:i, s:o}", "dim", r->s->sizes.embed, "embeddings", list), 9);
  }
  mc_work_clear(&w);
  pictures_clear(&p);
  return result;
}

enum MHD_Result mc_post_embed_text(mc_request *r) {
  mc_text_ask ask;
  moeclip_error err = {0};
  enum MHD_Result result = MHD_NO;
  size_t most = r->s->o->queue < MAX_TEXTS ? (size_t)r->s->o->queue : MAX_TEXTS;
  if (mc_text_ask_parse(r->raw ? (const char *)r->raw : "", r->n_raw, most, &ask, &err) != MOECLIP_OK) {
    result = mc_reply_failure(r, &err);
    mc_text_ask_clear(&ask);
    return result;
  }
  mc_work w = {.kind = MC_WORK_TEXTS, .key = ask.task, .task = ask.task, .n = (int)ask.n, .texts = ask.texts};
  if (!ask_engine(r, &w, &result)) {
    json_t *list = json_array();
    for (int i = 0; i < w.n; i++) {
      mc_json_append(&list, json_pack("{s:s, s:o}", "text", ask.texts[i], "values", values_json(&w, i)));
    }
    result = mc_reply_json(r, 200, json_pack("{s:i, s:o}", "dim", r->s->sizes.embed, "embeddings", list), 9);
  }
  mc_work_clear(&w);
  mc_text_ask_clear(&ask);
  return result;
}
