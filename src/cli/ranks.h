/*
 * The processes that mpirun has started, as the commands see them. Rank 0 writes files and prints; the others are silent, but for an
 * error that they alone have. Without mpirun there is one process, and none of this does anything.
 */
#ifndef MC_CLI_RANKS_H
#define MC_CLI_RANKS_H

#include <stdbool.h>

#include "cli/args.h"
#include "moeclip/comm.h"

/* Before a command runs: whether it can be run by several processes at all, and silence for all ranks but 0. An exit code. */
int mc_ranks_check(const mc_command *command);
/* Joins the others; once the command line has been found in order. An exit code. */
int mc_ranks_begin(bool quiet);
/* After the command: waits for the others, or ends them when this rank fails alone. */
void mc_ranks_end(int exit_code);

/* NULL: alone. */
moeclip_comm *mc_ranks(void);

/* Collective: what rank 0 says. */
bool mc_writer_says(bool value);
/* Collective: every rank fails when one does. */
moeclip_code mc_agree(moeclip_code code, moeclip_error *err);
/* Collective: the signal that any rank was sent, or 0; mc_stop_signal then gives it on every rank. */
int mc_stop_signal_of_any(void);

#endif
