/* Building JSON when memory may run out at any value: jansson leaves out what it could not add, and nothing must be left out. */
#ifndef MC_BASE_JSON_H
#define MC_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

/* Add a value (taken over, as jansson's _new functions do). When that fails, or the value is NULL because making it failed, the whole
 * is released and becomes NULL: it stays NULL from there on, json_pack refuses it, json_dumps gives NULL, and whoever wanted it sees
 * that memory was short. */
void mc_json_append(json_t **array, json_t *value);
void mc_json_set(json_t **object, const char *key, json_t *value);

/* As json_dumps, which loses a key that memory runs out for and still gives a text (jansson 2.14). free with free. */
char *mc_json_text(const json_t *whole, size_t flags);

/* As json_loadb, which loses letters of a string or reads past its buffer when memory runs out (jansson 2.14). *no_memory: why there is
 * none. */
json_t *mc_json_read(const char *text, size_t n, size_t flags, json_error_t *error, bool *no_memory);

/* A file that somebody wrote, of at most so many bytes. Keys that stand twice are refused. */
moeclip_code mc_json_read_given(const char *path, size_t most, json_t **out, moeclip_error *err);

/* A file that moeclip wrote (at most 256 MiB), read back. *out: NULL when there is no such file. Keys that stand twice are refused.
 * advice: what to do about one that is damaged, after its name and the reason. */
moeclip_code mc_json_read_file(const char *path, const char *advice, json_t **out, moeclip_error *err);

#endif
