/*
 * report/: what was learned and how well, for the command line and the server: results in a folder, the accuracy
 * matrix, evaluations and reports as JSON. Stands on the public headers and base/ alone.
 */
#ifndef MC_REPORT_REPORT_H
#define MC_REPORT_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "moeclip/comm.h"
#include "moeclip/dataset.h"
#include "moeclip/learner.h"

/* Rank 0 of several processes, or alone: the one that writes and prints. */
bool mc_is_writer(void);

/* A sentence on stderr that stops nothing; rank 0's. */
void mc_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes a folder unless it is there. */
moeclip_code mc_make_folder(const char *path, moeclip_error *err);

/* The file names end in "S without its extension" + ending. Freed by the caller; NULL when memory is short. */
char *mc_with_ending(const char *path, const char *ending);

/* --- json.c ------------------------------------------------------------------------------------------------------- */

/* A number, or null for what is not finite (which JSON cannot say). */
json_t *mc_json_real(double v);
json_t *mc_json_strings(const char *const *s, size_t n);
/* One line (or, indented, several) on stdout; gives the object back. False when writing failed. */
bool mc_json_print(json_t *object, bool indented);

/* --- describe.c --------------------------------------------------------------------------------------------------- */

/* What all rows of results depend on: the backbone and the learner's options. */
json_t *mc_describe_run(moeclip_model *model, const moeclip_learner *learner);
/* A column of results. task: its number or null, taken over. templates: those that were given; n_templates 0: none were. */
json_t *mc_describe_column(const moeclip_dataset *dataset, const char *const *templates, size_t n_templates, json_t *task);
/* How the task learned last used the experts: [blocks] of {"counts": [...], "frozen": [...]}. */
json_t *mc_experts_json(const moeclip_learner *learner, int text);
/* "float32" or "bfloat16". */
const char *mc_precision_name(const moeclip_model *model);
json_t *mc_report_json(const moeclip_learner *learner, const moeclip_learn_report *report);
/* The checksum in a state file, into memory that the caller frees; NULL when there is none. */
moeclip_code mc_state_file_checksum(const char *path, char **out, moeclip_error *err);

#endif
