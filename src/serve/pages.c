/* What is only looked up: the page, the description, the server's health, the tasks. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "serve/assets.h"
#include "moeclip/version.h"
#include "serve/http.h"

static enum MHD_Result reply_asset(mc_request *r, const char *name) {
  mc_asset a;
  if (!mc_asset_find(name, &a)) return mc_reply_error(r, 404, "there is no such file");
  const char *known = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "If-None-Match");
  bool same = known && strstr(known, a.tag);
  struct MHD_Response *response =
      MHD_create_response_from_buffer(same ? 0 : a.n_bytes, (void *)(uintptr_t)a.data, MHD_RESPMEM_PERSISTENT);
  if (!response) return MHD_NO;
  mc_reply_headers(response, a.type);
  MHD_add_response_header(response, "ETag", a.tag);
  MHD_add_response_header(response, "Cache-Control", "no-cache"); /* kept, but asked for again each time */
  return mc_reply_queue(r, same ? 304 : 200, response);
}

enum MHD_Result mc_get_page(mc_request *r) { return reply_asset(r, "index.html"); }
enum MHD_Result mc_get_asset(mc_request *r) { return reply_asset(r, r->parameter); }
enum MHD_Result mc_get_openapi(mc_request *r) { return reply_asset(r, "openapi.json"); }

enum MHD_Result mc_get_health(mc_request *r) {
  mc_server *s = r->s;
  mc_generation *g = mc_engine_current(&s->engine);
  json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:b, s:b}", "status", "ok", "version", MOECLIP_VERSION, "model", s->model_name,
                        "tasks", g->n_tasks, "learning", mc_jobs_busy(&s->jobs), "auth", s->token[0] != 0);
  mc_generation_release(g);
  return mc_reply_json(r, 200, o, 15);
}

enum MHD_Result mc_get_tasks(mc_request *r) {
  mc_generation *g = mc_engine_current(&r->s->engine);
  char *matrix = mc_jobs_matrix(&r->s->jobs);
  moeclip_learner_options is;
  moeclip_learner_get_options(g->learner, &is);
  const char *quote = g->n_tasks ? "\"" : "", *method = g->n_tasks ? moeclip_mode_name(is.mode) : "null"; /* a plain word */
  char *text = mc_format("{\"method\":%s%s%s,\"tasks\":%s,\"matrix\":%s}", quote, method, quote, g->tasks, matrix ? matrix : "null");
  mc_generation_release(g);
  free(matrix);
  return text ? mc_reply(r, 200, "application/json", text, strlen(text)) : mc_reply_error(r, 503, "out of memory");
}
