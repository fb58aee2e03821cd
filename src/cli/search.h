/* What `index`, `search` and `info` share about indexes, and the contact sheet. */
#ifndef MC_CLI_SEARCH_H
#define MC_CLI_SEARCH_H

#include "cli/cli.h"
#include "moeclip/search.h"

/* Without --model: the model, and unless given the state, of the index's last update. They belong to the index until
 * the next call with it. */
moeclip_code mc_remembered_files(moeclip_index *index, mc_model_choice *files, moeclip_error *err);

/* Bytes of a path as UTF-8: what is none becomes U+FFFD. Fresh; NULL when memory is short. */
char *mc_path_text(const char *path);
/* Adds "path", and where that is not UTF-8 "path_bytes" in hexadecimal (with "path" null). */
void mc_json_path(json_t **object, const char *path);

/* The hits of all queries as one HTML file, which shows the pictures themselves by relative links, and ends with what made it. */
moeclip_code mc_search_sheet(const char *file, const char *const *titles, const moeclip_hits *hits, size_t n_queries,
                             const json_t *provenance, moeclip_error *err);
/* The link from a file in `folder` (absolute) to `path` (absolute), percent-encoded. Fresh. */
char *mc_relative_link(const char *folder, const char *path);

#endif
