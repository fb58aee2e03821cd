#include "base/json.h"

static void keep_if(int failed, json_t **whole) {
  if (!failed) return;
  json_decref(*whole);
  *whole = NULL;
}

void mc_json_append(json_t **array, json_t *value) { keep_if(json_array_append_new(*array, value) != 0, array); }

void mc_json_set(json_t **object, const char *key, json_t *value) {
  keep_if(json_object_set_new(*object, key, value) != 0, object);
}
