/* What requests say in words: fields and JSON become options. No sockets here, so that it can be fuzzed. */
#ifndef MC_SERVE_ASK_H
#define MC_SERVE_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "moeclip/dataset.h"
#include "moeclip/learner.h"

/* The value of a field, or NULL. */
typedef const char *(*mc_value_of)(const void *context, const char *name);

/* How pictures are to be classified or encoded. */
typedef struct mc_ask {
  json_t *label_list, *template_list; /* that the arrays point into */
  const char **labels, **templates;
  size_t n_labels, n_templates;
  const char *task; /* points into the fields */
  int top;
  bool explain;
  char *key;        /* equal for equal questions */
} mc_ask;
/* max_prompts: labels times templates. Clear *out also when this fails. */
moeclip_code mc_ask_parse(mc_value_of value, const void *context, int max_prompts, mc_ask *out, moeclip_error *err);
void mc_ask_clear(mc_ask *a);

/* A request's body, which must be JSON. */
moeclip_code mc_ask_body(const void *json, size_t n_bytes, json_t **out, moeclip_error *err);

/* {"texts": [...], "task": ...} */
typedef struct mc_text_ask {
  json_t *root;
  const char **texts; /* [n], pointing into root, as task does */
  size_t n;
  const char *task;
} mc_text_ask;
moeclip_code mc_text_ask_parse(const void *json, size_t n_bytes, size_t max_texts, mc_text_ask *out, moeclip_error *err);
void mc_text_ask_clear(mc_text_ask *a);

/* A new task: its name, where its pictures are, and how it is learned. */
typedef struct mc_learn_ask {
  char *name, *path; /* path: NULL when the pictures were uploaded */
  char *method; /* of a state that this task begins; NULL: the server's. A state that is there must have been made with it */
  json_t *templates; /* array or NULL */
  bool trains; /* a number was given that says how experts are trained or selected. Not kept by mc_learn_ask_json */
  moeclip_task_options task;
  int64_t shots;
  moeclip_dataset_options data;
} mc_learn_ask;
void mc_learn_ask_defaults(mc_learn_ask *a);
/* From an object's members; unknown ones are refused. Clear *out also when this fails. */
moeclip_code mc_learn_ask_parse(const json_t *object, int64_t max_iterations, mc_learn_ask *out, moeclip_error *err);
/* A field's text becomes the member that it stands for. */
moeclip_code mc_learn_ask_field(json_t *object, const char *name, const char *text, moeclip_error *err);
/* An object that parses to the same. */
json_t *mc_learn_ask_json(const mc_learn_ask *a);
void mc_learn_ask_clear(mc_learn_ask *a);

/* UTF-8 of 1 to 100 bytes that can be the name of a folder. */
moeclip_code mc_check_task_name(const char *name, moeclip_error *err);

#endif
