/* Requests: where they go, what they bring, how they are answered. */
#ifndef MC_SERVE_HTTP_H
#define MC_SERVE_HTTP_H

#include <microhttpd.h>

#include "serve/server.h"
#include "serve/upload.h"

typedef struct mc_request mc_request;

/* What a request's body may be. */
typedef enum mc_body_kind {
  MC_BODY_NONE,
  MC_BODY_PICTURES, /* multipart/form-data with pictures, or one picture as it is (image/...) */
  MC_BODY_JSON,
  MC_BODY_TASK      /* multipart/form-data with an archive or files, which go to disk; or JSON */
} mc_body_kind;

typedef struct mc_route {
  const char *method, *path; /* {id} and {name} stand for one part of a path */
  enum MHD_Result (*handle)(mc_request *r);
  mc_body_kind body;
  bool open;                 /* needs no token */
  bool computes;             /* brings work for the engine */
} mc_route;
extern const mc_route mc_routes[];
extern const int mc_n_routes;

/* A part of a form with a file name. */
typedef struct mc_part {
  char *field, *file;
  uint8_t *data;
  size_t n, room;
} mc_part;

typedef struct mc_field {
  char *name, *value;
  size_t n, room;
} mc_field;

struct mc_request {
  mc_server *s;
  struct MHD_Connection *c;
  const mc_route *route;     /* NULL: none fits */
  char parameter[128];       /* what {id} or {name} stands for */
  double began;
  unsigned status;           /* of the answer, once there is one */
  bool coming, discard;      /* counted as coming; the body is read only to be thrown away */
  unsigned refused;          /* status of a refusal that waits for the end of the body */
  char refusal[320];
  /* The body. */
  struct MHD_PostProcessor *post;
  mc_part *parts;
  size_t n_parts;
  mc_field *fields;
  size_t n_fields, n_field_bytes;
  enum { MC_NOW_NOTHING, MC_NOW_PART, MC_NOW_FIELD, MC_NOW_FILE } now; /* what the form's last piece belonged to */
  uint8_t *raw;
  size_t n_raw, room_raw;
  size_t n_received, limit, memory;
  char type[64];             /* of the content, without its parameters, in lower case */
  mc_upload *upload;         /* of MC_BODY_TASK */
};

/* --- reply.c ------------------------------------------------------------------------------------------------------ */

/* Answers with text, which is given over (free). */
enum MHD_Result mc_reply(mc_request *r, unsigned status, const char *type, char *text, size_t n);
/* Gives the object over. digits: significant ones of its numbers. */
enum MHD_Result mc_reply_json(mc_request *r, unsigned status, json_t *object, int digits);
enum MHD_Result mc_reply_error(mc_request *r, unsigned status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The status that fits a failure of the library. */
enum MHD_Result mc_reply_failure(mc_request *r, const moeclip_error *err);
/* A response with the headers that all have; the caller queues it through mc_reply_queue. */
void mc_reply_headers(struct MHD_Response *response, const char *type);
enum MHD_Result mc_reply_queue(mc_request *r, unsigned status, struct MHD_Response *response);

/* --- guard.c ------------------------------------------------------------------------------------------------------ */

/* 0, or the status of a refusal whose message is put into r->refusal: Host, Origin, token. */
unsigned mc_guard(mc_request *r, const char *method);
moeclip_code mc_guard_token(const char *file, char hash[65], moeclip_error *err);

/* --- body.c ------------------------------------------------------------------------------------------------------- */

/* Gets ready for the body; 0, or the status of a refusal. */
unsigned mc_body_begin(mc_request *r);
/* A piece of it. A failure sets r->refused and r->discard. */
void mc_body_take(mc_request *r, const char *data, size_t n);
/* After the last piece: false when the body was incomplete or malformed. */
bool mc_body_end(mc_request *r);
void mc_body_clear(mc_request *r);
void mc_refuse(mc_request *r, unsigned status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The value of a form's field, or of the query's parameter; NULL when there is none. */
const char *mc_body_value(const mc_request *r, const char *name);

/* --- the handlers -------------------------------------------------------------------------------------------------- */

enum MHD_Result mc_get_page(mc_request *r);
enum MHD_Result mc_get_asset(mc_request *r);
enum MHD_Result mc_get_openapi(mc_request *r);
enum MHD_Result mc_get_health(mc_request *r);
enum MHD_Result mc_get_metrics(mc_request *r);
enum MHD_Result mc_get_tasks(mc_request *r);
enum MHD_Result mc_post_classify(mc_request *r);
enum MHD_Result mc_post_embed_image(mc_request *r);
enum MHD_Result mc_post_embed_text(mc_request *r);
enum MHD_Result mc_post_learn(mc_request *r);
enum MHD_Result mc_get_jobs(mc_request *r);
enum MHD_Result mc_get_job(mc_request *r);
enum MHD_Result mc_get_events(mc_request *r);
enum MHD_Result mc_delete_job(mc_request *r);

#endif
