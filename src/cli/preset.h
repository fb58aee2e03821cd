/* A benchmark's settings as a JSON object: printed, edited, and given back. An option on the command line is stronger.
 */
#ifndef MC_CLI_PRESET_H
#define MC_CLI_PRESET_H

#include "cli/cli.h"

/* One setting. kind: MC_OPT_FLAG (true or false), MC_OPT_INT, MC_OPT_LONG, MC_OPT_REAL (null: NaN), as in the options'
 * table. */
typedef struct mc_preset_field {
  const char *key;
  mc_option_kind kind;
  const char
      *option;   /* of the command: its range is the setting's, and when it was given it wins; NULL: there is none */
  size_t offset; /* in the command's options */
} mc_preset_field;

/* Adds every setting to object. */
void mc_preset_put(json_t **object, const mc_preset_field *fields, size_t n, const void *options);

/* Reads the settings that object has into options. Any other key but those in `others` (NULL-ended) is an error, as is
 * a value of the wrong kind or outside the range; `name` is for messages. */
moeclip_code mc_preset_take(const json_t *object, const mc_preset_field *fields, size_t n, const char *const *others,
                            const mc_args *args, void *options, const char *name, moeclip_error *err);

/* The preset that --preset names: make(k) when it is names[k] (NULL-ended), else, when it has a dot or a slash, a file
 * of JSON with the "format" wanted. */
moeclip_code mc_preset_find(const char *name, const char *const *names, json_t *(*make)(size_t k), const char *format,
                            json_t **out, moeclip_error *err);

#endif
