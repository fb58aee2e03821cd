/* The daemon, and a request's way from its first line to its handler. */
#include "serve/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/memory.h"

const mc_route mc_routes[] = {
    {"GET", "/", mc_get_page, MC_BODY_NONE, true, false},
    {"GET", "/assets/{name}", mc_get_asset, MC_BODY_NONE, true, false},
    {"GET", "/openapi.json", mc_get_openapi, MC_BODY_NONE, true, false},
    {"GET", "/healthz", mc_get_health, MC_BODY_NONE, true, false},
    {"GET", "/metrics", mc_get_metrics, MC_BODY_NONE, false, false},
    {"POST", "/v1/classify", mc_post_classify, MC_BODY_PICTURES, false, true},
    {"POST", "/v1/embed/image", mc_post_embed_image, MC_BODY_PICTURES, false, true},
    {"POST", "/v1/embed/text", mc_post_embed_text, MC_BODY_JSON, false, true},
    {"GET", "/v1/tasks", mc_get_tasks, MC_BODY_NONE, false, false},
    {"POST", "/v1/learn", mc_post_learn, MC_BODY_TASK, false, false},
    {"GET", "/v1/jobs", mc_get_jobs, MC_BODY_NONE, false, false},
    {"GET", "/v1/jobs/{id}", mc_get_job, MC_BODY_NONE, false, false},
    {"DELETE", "/v1/jobs/{id}", mc_delete_job, MC_BODY_NONE, false, false},
    {"GET", "/v1/jobs/{id}/events", mc_get_events, MC_BODY_NONE, false, false},
};
const int mc_n_routes = sizeof mc_routes / sizeof mc_routes[0];
_Static_assert(sizeof mc_routes / sizeof mc_routes[0] < MC_MAX_ROUTES, "the metrics have room for all routes");

/* --- routes ------------------------------------------------------------------------------------------------------- */

static bool fits(const char *pattern, const char *url, char *parameter, size_t room) {
  while (*pattern) {
    if (*pattern == '{') {
      size_t n = strcspn(url, "/");
      if (n == 0 || n >= room) return false;
      memcpy(parameter, url, n);
      parameter[n] = 0;
      url += n;
      pattern += strcspn(pattern, "}") + 1;
    } else if (*pattern++ != *url++) {
      return false;
    }
  }
  return *url == 0;
}

/* HEAD is answered as GET is; libmicrohttpd leaves the body out. */
static bool same_method(const char *of_route, const char *method) {
  return strcmp(of_route, method) == 0 || (strcmp(of_route, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

static void find_route(mc_request *r, const char *url, const char *method) {
  bool known = false;
  for (int i = 0; i < mc_n_routes && !r->route; i++) {
    if (!fits(mc_routes[i].path, url, r->parameter, sizeof r->parameter)) continue;
    known = true;
    if (same_method(mc_routes[i].method, method)) r->route = &mc_routes[i];
  }
  if (r->route) return;
  if (known) {
    mc_refuse(r, MHD_HTTP_METHOD_NOT_ALLOWED, "this address does not take %.20s", method);
  } else {
    mc_refuse(r, MHD_HTTP_NOT_FOUND, "there is nothing at this address; GET /openapi.json lists what there is");
  }
}

/* The methods that the address takes, for the Allow header. */
static void put_allowed(const char *url, char *out, size_t room) {
  char parameter[128];
  size_t used = 0;
  out[0] = 0;
  for (int i = 0; i < mc_n_routes; i++) {
    if (!fits(mc_routes[i].path, url, parameter, sizeof parameter)) continue;
    const char *more = strcmp(mc_routes[i].method, "GET") == 0 ? "GET, HEAD" : mc_routes[i].method;
    used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "", more);
  }
}

/* --- one request -------------------------------------------------------------------------------------------------- */

enum { DRAIN_AT_MOST = 16 << 20 };

static mc_request *begin(mc_server *s, struct MHD_Connection *c, const char *url, const char *method) {
  mc_request *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->s = s;
  r->c = c;
  r->began = mc_serve_clock();
  atomic_fetch_add(&s->active, 1);
  find_route(r, url, method);
  unsigned refused = 0;
  if (r->route) refused = mc_guard(r, method);
  if (!refused && r->route && atomic_load(&s->stopping)) {
    mc_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "the server is stopping");
  } else if (refused) {
    r->refused = refused;
  } else if (r->route) {
    r->refused = mc_body_begin(r);
  }
  r->discard = r->refused != 0;
  if (!r->refused && r->route && r->route->computes) {
    r->coming = true;
    atomic_fetch_add(&s->engine.coming, 1);
  }
  return r;
}

static enum MHD_Result refuse_now(mc_request *r, const char *url) {
  mc_body_clear(r); /* what it held is free before the client hears of it */
  if (r->refused == MHD_HTTP_METHOD_NOT_ALLOWED) {
    char allowed[64];
    put_allowed(url, allowed, sizeof allowed);
    json_t *o = json_pack("{s:{s:s, s:s}}", "error", "code", "method_not_allowed", "message", r->refusal);
    char *text = mc_json_text(o, JSON_COMPACT);
    json_decref(o);
    if (!text) return MHD_NO;
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    mc_reply_headers(response, "application/json");
    MHD_add_response_header(response, "Allow", allowed);
    return mc_reply_queue(r, r->refused, response);
  }
  return mc_reply_error(r, r->refused, "%s", r->refusal);
}

/* A body that is not too long is read to its end before a refusal, since not all clients listen while they speak. */
static bool worth_draining(mc_request *r) {
  const char *length = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Content-Length");
  const char *expect = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Expect");
  return !expect && (!length || strtoull(length, NULL, 10) <= DRAIN_AT_MOST);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **of_request) {
  mc_request *r = *of_request;
  (void)version;
  if (!r) {
    *of_request = r = begin(context, c, url, method);
    if (!r) return MHD_NO;
    if (r->refused && !worth_draining(r)) return refuse_now(r, url);
    return MHD_YES;
  }
  if (*n > 0) {
    if (r->discard) {
      r->n_received += *n;
      /* Whoever sends on and on is not worth an answer. */
      bool endless = r->n_received > 2 * (size_t)DRAIN_AT_MOST;
      if (endless || mc_serve_clock() - r->began > r->s->o->request_seconds) return MHD_NO;
    } else {
      mc_body_take(r, data, *n);
    }
    *n = 0;
    return MHD_YES;
  }
  if (!r->refused && !mc_body_end(r) && !r->refused) {
    mc_refuse(r, MHD_HTTP_BAD_REQUEST, "the body is not complete multipart/form-data");
  }
  return r->refused ? refuse_now(r, url) : r->route->handle(r);
}

static void on_completed(void *context, struct MHD_Connection *c, void **of_request,
                         enum MHD_RequestTerminationCode why) {
  mc_server *s = context;
  mc_request *r = *of_request;
  (void)c;
  (void)why;
  if (!r) return;
  int route = r->route ? (int)(r->route - mc_routes) : mc_n_routes;
  if (r->coming) atomic_fetch_sub(&s->engine.coming, 1);
  mc_metrics_request(&s->metrics, route, r->status, mc_serve_clock() - r->began);
  mc_body_clear(r);
  free(r);
  *of_request = NULL;
  atomic_fetch_sub(&s->active, 1);
}

/* --- the daemon --------------------------------------------------------------------------------------------------- */

moeclip_code mc_http_start(mc_server *s, struct MHD_Daemon **out, moeclip_error *err) {
  unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC;
  if (s->address[0] == '[') flags |= MHD_USE_IPv6;
  *out = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listening,
                          MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_LIMIT,
                          (unsigned)s->o->connections, MHD_OPTION_CONNECTION_TIMEOUT,
                          (unsigned)s->o->request_seconds + 15, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 << 10,
                          MHD_OPTION_THREAD_STACK_SIZE, (size_t)2 << 20, MHD_OPTION_END);
  if (*out) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_INTERNAL, "the HTTP server could not be started");
}
