/* Who may ask: the Host and Origin headers, and the token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "serve/http.h"

enum { SHORTEST_TOKEN = 16, LONGEST_TOKEN = 4096 };

static void hash(const char *text, size_t n, char out[65]) {
  mc_sha256 h;
  mc_sha256_init(&h);
  mc_sha256_add(&h, text, n);
  mc_sha256_hex(&h, out);
}

moeclip_code mc_guard_token(const char *file, char out[65], moeclip_error *err) {
  uint8_t *data = NULL;
  size_t n = 0;
  const char *text = getenv("MOECLIP_TOKEN"), *from = "MOECLIP_TOKEN";
  out[0] = 0;
  if (file) {
    MC_TRY(mc_file_read(file, LONGEST_TOKEN, &data, &n, err));
    text = (const char *)data;
    from = file;
  }
  if (!text) return MOECLIP_OK;
  n = strcspn(text, "\r\n");
  moeclip_code code = MOECLIP_OK;
  if (n < SHORTEST_TOKEN) {
    code = mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "%s: the token has %zu characters; at least %d are needed, from a random source", from, n, SHORTEST_TOKEN);
  } else {
    hash(text, n, out);
  }
  free(data);
  return code;
}

/* Both sides are hashes, so that neither their time nor their length tells anything of the token. */
static bool token_fits(const mc_request *r) {
  const char *header = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Authorization");
  char given[65];
  unsigned char difference = 0;
  if (!header || strncasecmp(header, "Bearer ", 7) != 0) return false;
  header += 7 + strspn(header + 7, " ");
  hash(header, strlen(header), given);
  for (int i = 0; i < 64; i++) difference |= (unsigned char)(given[i] ^ r->s->token[i]);
  return difference == 0;
}

/* "host:port" without its port. */
static size_t host_length(const char *host) {
  const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
  if (end) return (size_t)(end - host) + 1;
  return strcspn(host, ":");
}

/* A page from elsewhere whose name was made to point to this machine still sends its own name. */
static bool host_fits(const mc_request *r, const char *host) {
  const char *const names[] = {"localhost", "127.0.0.1", "[::1]", r->s->address};
  size_t n = host_length(host);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0) return true;
  }
  return false;
}

/* A browser names the page that a request comes from: it must be this server's. */
static bool origin_fits(const char *origin, const char *host) {
  const char *after = strncmp(origin, "http://", 7) == 0 ? origin + 7 : strncmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;
  return after && host && strcasecmp(after, host) == 0;
}

unsigned mc_guard(mc_request *r, const char *method) {
  const char *host = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Host");
  const char *origin = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Origin");
  const char *site = MHD_lookup_connection_value(r->c, MHD_HEADER_KIND, "Sec-Fetch-Site");
  bool changes = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
  if (!r->s->token[0] && (!host || !host_fits(r, host))) {
    mc_refuse(r, 421, "this server answers to localhost, 127.0.0.1, [::1] and %s alone", r->s->address);
  } else if (changes && ((origin && !origin_fits(origin, host)) || (site && strcmp(site, "cross-site") == 0))) {
    mc_refuse(r, 403, "requests of other pages are refused");
  } else if (r->s->token[0] && !r->route->open && !token_fits(r)) {
    mc_refuse(r, 401, "this needs the header \"Authorization: Bearer TOKEN\" with the server's token");
  }
  return r->refused;
}
