/* Answers and the headers that all of them have. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "serve/http.h"

void mc_reply_headers(struct MHD_Response *response, const char *type) {
  static const char *const headers[][2] = {
      {"Content-Security-Policy",
       "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
       "frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"}};
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
    MHD_add_response_header(response, headers[i][0], headers[i][1]);
  }
  MHD_add_response_header(response, "Content-Type", type);
}

enum MHD_Result mc_reply_queue(mc_request *r, unsigned status, struct MHD_Response *response) {
  r->status = status;
  if (atomic_load(&r->s->stopping)) MHD_add_response_header(response, "Connection", "close");
  if (status == MHD_HTTP_SERVICE_UNAVAILABLE) MHD_add_response_header(response, "Retry-After", "1");
  if (status == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"moeclip\"");
  enum MHD_Result result = MHD_queue_response(r->c, status, response);
  MHD_destroy_response(response);
  return result;
}

enum MHD_Result mc_reply(mc_request *r, unsigned status, const char *type, char *text, size_t n) {
  struct MHD_Response *response = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
  if (!response) {
    free(text);
    return MHD_NO;
  }
  mc_reply_headers(response, type);
  MHD_add_response_header(response, "Cache-Control", "no-store");
  return mc_reply_queue(r, status, response);
}

enum MHD_Result mc_reply_json(mc_request *r, unsigned status, json_t *object, int digits) {
  char *text = object ? mc_json_text(object, JSON_COMPACT | JSON_REAL_PRECISION((size_t)digits)) : NULL;
  json_decref(object);
  if (!text) return status == 503 ? MHD_NO : mc_reply_error(r, 503, "out of memory");
  return mc_reply(r, status, "application/json", text, strlen(text));
}

static const char *code_of(unsigned status) {
  switch (status) {
    case 400: return "bad_request";
    case 401: return "unauthorized";
    case 403: return "forbidden";
    case 404: return "not_found";
    case 405: return "method_not_allowed";
    case 408: return "timeout";
    case 409: return "conflict";
    case 413: return "too_large";
    case 415: return "unsupported_media_type";
    case 421: return "misdirected_request";
    case 503: return "overloaded";
    default: return "internal";
  }
}

enum MHD_Result mc_reply_error(mc_request *r, unsigned status, const char *format, ...) {
  char message[1100];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  json_t *o = json_pack("{s:{s:s, s:s}}", "error", "code", code_of(status), "message", message);
  /* What is quoted of a request need not be UTF-8, or may have been cut within a character. */
  if (!o) o = json_pack("{s:{s:s, s:s}}", "error", "code", code_of(status), "message", "the request was refused");
  return mc_reply_json(r, status, o, 15);
}

enum MHD_Result mc_reply_failure(mc_request *r, const moeclip_error *err) {
  switch (err->code) {
    case MOECLIP_ERROR_ARGUMENT:
    case MOECLIP_ERROR_FORMAT:
    case MOECLIP_ERROR_UNSUPPORTED: return mc_reply_error(r, 400, "%s", err->message);
    case MOECLIP_ERROR_MEMORY: return mc_reply_error(r, 503, "%s", err->message);
    default: return mc_reply_error(r, 500, "%s", err->message);
  }
}
