/* What made a result: this program, the command with every option's value, and its inputs' hashes. docs/RESULTS.md. */
#ifndef MC_CLI_PROVENANCE_H
#define MC_CLI_PROVENANCE_H

#include "cli/cli.h"

/*
 * {"program": {"version", "build", "cpu", "libraries"}, "command", "options": {NAME: value}, "arguments": [...], "seed",
 * "inputs": {}}; NULL when memory is short. "seed" as text, as results have it; left out where a command has none.
 */
json_t *mc_provenance(const mc_args *args);

/* Each adds to "inputs"; path NULL adds nothing. */
moeclip_code mc_provenance_file(json_t *provenance, const char *what, const char *path, moeclip_error *err);
moeclip_code mc_provenance_tree(json_t *provenance, const char *what, const char *path, moeclip_error *err);
moeclip_code mc_provenance_dataset(json_t *provenance, const moeclip_dataset *dataset, moeclip_error *err);
/* Its model, state and AlexNet weights. */
moeclip_code mc_provenance_model(json_t *provenance, const mc_model_choice *files, moeclip_error *err);

/* Adds to the list "provenance" of results; one that is there already is not added again: the same command, gone on with.
 * Takes it over. */
moeclip_code mc_provenance_keep(json_t *results, json_t *provenance, moeclip_error *err);

#endif
