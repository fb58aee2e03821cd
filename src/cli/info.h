/* A learner's state (docs/STATE.md) as JSON and as text, without the model that it belongs to. */
#ifndef MC_CLI_INFO_H
#define MC_CLI_INFO_H

#include "cli/cli.h"

/* NULL when the file is no state. Else the JSON object of its metadata, with "checkpoint" (true for an unfinished
 * task), "thresholds", "reference" (pictures), and "blocks": [{"tower", "block", "experts", "frozen": [e...], "counts":
 * [n...]}]. */
json_t *mc_info_state(const moeclip_tensors *t);
/* state may be NULL. */
void mc_info_print_state(const json_t *state);

/* Experts, routers and autoencoders under the published names: {"experts", "bottleneck", "routers", "routers_learned"} and
 * {"autoencoders", "features", "hidden"}, in one object; NULL when there are none. */
json_t *mc_info_published(const moeclip_tensors *t);
/* published may be NULL. */
void mc_info_print_published(const json_t *published);

/* An index of pictures (moeclip/search.h): is the file an SQLite database? And what is in it, printed; the exit code. */
bool mc_info_is_index(const char *path);
int mc_info_index(const char *path, bool json);

#endif
