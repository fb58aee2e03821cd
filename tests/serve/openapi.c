/* openapi.json and the routes that are served say the same; and the embedded files are there. */
#include <ctype.h>
#include <jansson.h>
#include <string.h>

#include "check.h"
#include "serve/assets.h"
#include "serve/http.h"

static void lower(const char *in, char *out, size_t n) {
  size_t i = 0;
  for (; in[i] && i + 1 < n; i++) out[i] = (char)tolower((unsigned char)in[i]);
  out[i] = 0;
}

static bool is_served(const char *path, const char *method) {
  for (int i = 0; i < mc_n_routes; i++) {
    char of_route[16];
    lower(mc_routes[i].method, of_route, sizeof of_route);
    if (strcmp(mc_routes[i].path, path) == 0 && strcmp(of_route, method) == 0) return true;
  }
  return false;
}

/* Every "$ref" leads to something. */
static void check_references(const json_t *root, json_t *at) {
  const char *key;
  json_t *value;
  size_t i;
  if (json_is_array(at)) {
    json_array_foreach(at, i, value) check_references(root, value);
  }
  json_object_foreach(at, key, value) {
    if (strcmp(key, "$ref") != 0) {
      check_references(root, value);
      continue;
    }
    char path[128];
    snprintf(path, sizeof path, "%s", json_string_value(value) + 2);
    const json_t *target = root;
    for (char *part = strtok(path, "/"); part; part = strtok(NULL, "/")) target = json_object_get(target, part);
    CHECK(target != NULL);
  }
}

int main(void) {
  mc_asset asset;
  json_error_t where;
  CHECK(mc_asset_find("index.html", &asset) && strncmp(asset.type, "text/html", 9) == 0 && asset.tag[0] == '"');
  CHECK(!mc_asset_find("../index.html", &asset) && !mc_asset_find("", &asset));
  CHECK(mc_asset_find("openapi.json", &asset));
  json_t *root = json_loadb((const char *)asset.data, asset.n_bytes, JSON_REJECT_DUPLICATES, &where);
  CHECK(root != NULL);
  json_t *paths = json_object_get(root, "paths"), *methods, *operation;
  const char *path, *method;
  int n = 0;
  json_object_foreach(paths, path, methods) {
    json_object_foreach(methods, method, operation) {
      n++;
      if (!is_served(path, method)) fprintf(stderr, "described, but not served: %s %s\n", method, path);
      CHECK(is_served(path, method));
      CHECK(json_is_object(json_object_get(operation, "responses")));
      /* What needs no token says so, and the other way round. */
      for (int i = 0; i < mc_n_routes; i++) {
        char of_route[16];
        lower(mc_routes[i].method, of_route, sizeof of_route);
        if (strcmp(mc_routes[i].path, path) != 0 || strcmp(of_route, method) != 0) continue;
        const json_t *security = json_object_get(operation, "security");
        CHECK((json_is_array(security) && json_array_size(security) == 0) == mc_routes[i].open);
        CHECK((json_object_get(operation, "requestBody") != NULL) == (mc_routes[i].body != MC_BODY_NONE));
      }
    }
  }
  CHECK(n == mc_n_routes);
  CHECK(strcmp(json_string_value(json_object_get(root, "openapi")), "3.0.3") == 0);
  check_references(root, root);
  json_decref(root);
  return check_report();
}
