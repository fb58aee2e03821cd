#include "cli/ranks.h"

#include <stdio.h>

#include "cli/cli.h"

static moeclip_comm *ranks;

moeclip_comm *mc_ranks(void) { return ranks; }

int mc_ranks_check(const mc_command *command) {
  if (moeclip_comm_launched() == 1) return MC_EXIT_OK;
  if (!command->shared) {
    return mc_usage_error(command, "runs in one process only, but %d were started: leave mpirun out", moeclip_comm_launched());
  }
  if (!mc_is_writer() && !freopen("/dev/null", "w", stdout)) return MC_EXIT_FAILURE;
  return MC_EXIT_OK;
}

int mc_ranks_begin(bool quiet) {
  moeclip_error err;
  int usable, online;
  if (moeclip_comm_launched() == 1 || ranks) return MC_EXIT_OK;
  if (moeclip_comm_mpi(&ranks, &err) != MOECLIP_OK) return mc_report(&err);
  moeclip_comm_processors(ranks, &usable, &online);
  if (!quiet && 2 * usable <= online) {
    mc_warn("the processes of this machine may use %d of its %d processors; with `mpirun --bind-to none` they share all", usable,
            online);
  }
  return MC_EXIT_OK;
}

void mc_ranks_end(int exit_code) {
  if (!ranks) return;
  if (exit_code != MC_EXIT_OK && !moeclip_comm_failed(ranks)) moeclip_comm_abort(ranks, exit_code);
  moeclip_comm_destroy(ranks);
  ranks = NULL;
}

bool mc_writer_says(bool value) {
  int says = value;
  moeclip_comm_broadcast(ranks, &says, sizeof says);
  return says != 0;
}

moeclip_code mc_agree(moeclip_code code, moeclip_error *err) { return moeclip_comm_agree(ranks, code, err); }

int mc_stop_signal_of_any(void) {
  int any = moeclip_comm_most(ranks, mc_stop_signal());
  if (any) mc_set_stop_signal(any);
  return any;
}
