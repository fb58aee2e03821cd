/* Bodies: forms through libmicrohttpd's post processor, or bytes as they come; all of it counted. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "serve/http.h"

enum { POST_BUFFER = 32 << 10, MAX_FIELDS = 64, MAX_FIELD_BYTES = 4 << 20, MAX_JSON_BYTES = 4 << 20, MAX_NAME = 1024 };

void mc_refuse(mc_request *r, unsigned status, const char *format, ...) {
  va_list args;
  if (r->refused) return; /* the first reason is the one to tell */
  r->refused = status;
  r->discard = true;
  va_start(args, format);
  vsnprintf(r->refusal, sizeof r->refusal, format, args);
  va_end(args);
}

/* --- before the first byte ---------------------------------------------------------------------------------------- */

static void read_type(mc_request *r) {
  const char *type = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Content-Type");
  size_t n = type ? strcspn(type, "; \t") : 0;
  if (n >= sizeof r->type) n = 0;
  for (size_t i = 0; i < n; i++) r->type[i] = (char)tolower((unsigned char)type[i]);
  r->type[n] = 0;
}

static enum MHD_Result on_piece(void *context, enum MHD_ValueKind kind, const char *name, const char *file, const char *type,
                                const char *encoding, const char *data, uint64_t offset, size_t n);

static unsigned begin_form(mc_request *r) {
  r->post = MHD_create_post_processor(r->c, POST_BUFFER, on_piece, r);
  if (!r->post) mc_refuse(r, MHD_HTTP_BAD_REQUEST, "the Content-Type has no boundary that can be used");
  return r->refused;
}

static bool is_short_enough(mc_request *r) {
  const char *length = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Content-Length");
  if (!r->refused && length && strtoull(length, NULL, 10) > r->limit) {
    mc_refuse(r, 413, "a body of %.20s bytes; at most %zu are taken here", length, r->limit);
  }
  return !r->refused;
}

static unsigned choose_body(mc_request *r) {
  bool form = strcmp(r->type, "multipart/form-data") == 0, json = strcmp(r->type, "application/json") == 0;
  switch (r->route->body) {
    case MC_BODY_NONE:
      is_short_enough(r);
      return r->refused;
    case MC_BODY_JSON:
      if (!json) mc_refuse(r, 415, "the body must be application/json");
      r->limit = MAX_JSON_BYTES;
      is_short_enough(r);
      return r->refused;
    case MC_BODY_PICTURES:
      if (!form && strncmp(r->type, "image/", 6) != 0) mc_refuse(r, 415, "the body must be multipart/form-data or image/...");
      return is_short_enough(r) && form ? begin_form(r) : r->refused;
    case MC_BODY_TASK:
      if (!form && !json) mc_refuse(r, 415, "the body must be multipart/form-data or application/json");
      r->limit = form ? r->s->o->upload_bytes : MAX_JSON_BYTES;
      if (!r->refused) mc_upload_check_free(r->s, r);
      if (is_short_enough(r) && form) {
        moeclip_error err = {0};
        if (mc_upload_open(r->s, &r->upload, &err) != MOECLIP_OK) mc_refuse(r, 503, "%.300s", err.message);
      }
      return form && !r->refused ? begin_form(r) : r->refused;
  }
  return 0;
}

unsigned mc_body_begin(mc_request *r) {
  read_type(r);
  r->limit = r->route->body == MC_BODY_NONE ? 0 : r->s->o->body_bytes;
  return choose_body(r);
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

/* Room for n more bytes and a terminating 0, counted against the server's memory. */
static bool grow(mc_request *r, uint8_t **data, size_t used, size_t *room, size_t n) {
  if (n < *room && used < *room - n) return true;
  size_t wanted = 2 * *room > used + n + 1 ? 2 * *room : used + n + 1;
  if (!mc_serve_take_memory(r->s, wanted - *room)) {
    mc_refuse(r, 503, "too many bytes are being received at the moment");
    return false;
  }
  r->memory += wanted - *room;
  uint8_t *grown = mc_realloc(*data, wanted, 1);
  if (!grown) {
    mc_refuse(r, 503, "out of memory");
    return false;
  }
  *data = grown;
  *room = wanted;
  return true;
}

static bool append(mc_request *r, uint8_t **data, size_t *used, size_t *room, const char *from, size_t n) {
  if (!grow(r, data, *used, room, n)) return false;
  if (n > 0) memcpy(*data + *used, from, n);
  *used += n;
  (*data)[*used] = 0;
  return true;
}

/* A list with one more, zeroed, element; NULL when memory is short. */
static void *one_more(mc_request *r, void *list, size_t n, size_t size) {
  char *grown = mc_realloc(list, n + 1, size);
  if (!grown) {
    mc_refuse(r, 503, "out of memory");
    return NULL;
  }
  memset(grown + n * size, 0, size);
  return grown;
}

static void begin_part(mc_request *r, const char *field, const char *file) {
  if ((int)r->n_parts >= r->s->o->max_images) {
    mc_refuse(r, 413, "more than %d pictures in one request", r->s->o->max_images);
    return;
  }
  mc_part *parts = one_more(r, r->parts, r->n_parts, sizeof *parts);
  if (!parts) return;
  r->parts = parts;
  mc_part *p = &parts[r->n_parts++];
  p->field = mc_strdup(field);
  p->file = mc_strndup(file, strnlen(file, MAX_NAME));
  r->now = MC_NOW_PART;
  if (!p->field || !p->file || !append(r, &p->data, &p->n, &p->room, "", 0)) mc_refuse(r, 503, "out of memory");
}

static void begin_field(mc_request *r, const char *name) {
  if (r->n_fields >= MAX_FIELDS || strlen(name) > MAX_NAME) {
    mc_refuse(r, MHD_HTTP_BAD_REQUEST, "more than %d fields, or a name that is too long", MAX_FIELDS);
    return;
  }
  mc_field *fields = one_more(r, r->fields, r->n_fields, sizeof *fields);
  if (!fields) return;
  r->fields = fields;
  mc_field *f = &fields[r->n_fields++];
  f->name = mc_strdup(name);
  r->now = MC_NOW_FIELD;
  if (!f->name || !append(r, (uint8_t **)&f->value, &f->n, &f->room, "", 0)) mc_refuse(r, 503, "out of memory");
}

static bool same(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

/* The post processor may tell of a part's beginning before it has bytes of it, and then once more with the first. */
static bool goes_on(const mc_request *r, const char *name, const char *file) {
  if (r->now == MC_NOW_PART) {
    const mc_part *p = &r->parts[r->n_parts - 1];
    return p->n == 0 && same(p->field, name) && same(p->file, file);
  }
  if (r->now == MC_NOW_FIELD) return r->fields[r->n_fields - 1].n == 0 && same(r->fields[r->n_fields - 1].name, name) && !file;
  return r->now == MC_NOW_FILE && mc_upload_at_start(r->upload, file);
}

static void begin_piece(mc_request *r, const char *name, const char *file) {
  r->now = MC_NOW_NOTHING;
  if (!file) {
    begin_field(r, name);
  } else if (r->upload) {
    moeclip_error err = {0};
    r->now = MC_NOW_FILE;
    if (mc_upload_file(r->upload, name, file, &err) != MOECLIP_OK) mc_refuse(r, MHD_HTTP_BAD_REQUEST, "%.300s", err.message);
  } else {
    begin_part(r, name, file);
  }
}

static void add_piece(mc_request *r, const char *data, size_t n) {
  if (r->now == MC_NOW_PART) {
    mc_part *p = &r->parts[r->n_parts - 1];
    append(r, &p->data, &p->n, &p->room, data, n);
  } else if (r->now == MC_NOW_FIELD) {
    mc_field *f = &r->fields[r->n_fields - 1];
    r->n_field_bytes += n;
    if (r->n_field_bytes > MAX_FIELD_BYTES) {
      mc_refuse(r, 413, "the form's fields have more than %d bytes", MAX_FIELD_BYTES);
    } else {
      append(r, (uint8_t **)&f->value, &f->n, &f->room, data, n);
    }
  } else if (r->now == MC_NOW_FILE) {
    moeclip_error err = {0};
    if (mc_upload_put(r->upload, data, n, &err) != MOECLIP_OK) mc_refuse(r, 503, "%.300s", err.message);
  }
}

static enum MHD_Result on_piece(void *context, enum MHD_ValueKind kind, const char *name, const char *file, const char *type,
                                const char *encoding, const char *data, uint64_t offset, size_t n) {
  mc_request *r = context;
  (void)kind;
  (void)type;
  (void)encoding;
  if (r->discard) return MHD_NO;
  if (!name) {
    mc_refuse(r, MHD_HTTP_BAD_REQUEST, "a part of the form has no name");
    return MHD_NO;
  }
  if (offset == 0 && !goes_on(r, name, file)) begin_piece(r, name, file);
  if (!r->discard && n > 0) add_piece(r, data, n);
  return r->discard ? MHD_NO : MHD_YES;
}

void mc_body_take(mc_request *r, const char *data, size_t n) {
  double allowed = r->upload ? 60 * r->s->o->request_seconds : r->s->o->request_seconds;
  r->n_received += n;
  if (r->n_received > r->limit) {
    mc_refuse(r, 413, "the body has more than %zu bytes", r->limit);
  } else if (mc_serve_clock() - r->began > allowed) {
    mc_refuse(r, 408, "the body took longer than %.0f seconds", allowed);
  } else if (r->post) {
    if (MHD_post_process(r->post, data, n) != MHD_YES && !r->refused) {
      mc_refuse(r, MHD_HTTP_BAD_REQUEST, "the body is not well-formed multipart/form-data");
    }
  } else {
    append(r, &r->raw, &r->n_raw, &r->room_raw, data, n);
  }
}

/* --- after the last byte ------------------------------------------------------------------------------------------ */

bool mc_body_end(mc_request *r) {
  struct MHD_PostProcessor *post = r->post;
  r->post = NULL;
  if (post && MHD_destroy_post_processor(post) != MHD_YES) return false;
  for (size_t i = 0; i < r->n_fields; i++) {
    if (memchr(r->fields[i].value, 0, r->fields[i].n)) return false;
  }
  return true;
}

void mc_body_clear(mc_request *r) {
  if (r->post) MHD_destroy_post_processor(r->post);
  for (size_t i = 0; i < r->n_parts; i++) {
    free(r->parts[i].field);
    free(r->parts[i].file);
    free(r->parts[i].data);
  }
  for (size_t i = 0; i < r->n_fields; i++) {
    free(r->fields[i].name);
    free(r->fields[i].value);
  }
  free(r->parts);
  free(r->fields);
  free(r->raw);
  mc_upload_close(r->upload);
  mc_serve_give_memory(r->s, r->memory);
  r->post = NULL;
  r->parts = NULL;
  r->fields = NULL;
  r->raw = NULL;
  r->upload = NULL;
  r->n_parts = r->n_fields = r->n_raw = r->memory = 0;
}

const char *mc_body_value(const mc_request *r, const char *name) {
  for (size_t i = 0; i < r->n_fields; i++) {
    if (strcmp(r->fields[i].name, name) == 0) return r->fields[i].value;
  }
  return MHD_lookup_connection_value(r->c, MHD_GET_ARGUMENT_KIND, name);
}
