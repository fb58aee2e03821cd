/*
 * Several processes that share the work of one run.
 *
 * Every process ("rank") runs the same program and makes the same calls in the same order. A model that was loaded with a
 * moeclip_comm (moeclip_model_options.comm) makes moeclip_learner_learn, _learn_reference, _evaluate and _save of its learners
 * collective, and moeclip_pretrain_options.comm does so for moeclip_pretrain: each rank takes its share of every batch, and all end
 * with the same result, which is that of one process with the same batch within float32 rounding. Rank 0 alone writes files. The
 * others must see the same files under the same names (a shared file system, or one machine). docs/SCALING.md explains the rest.
 *
 * NULL is a valid moeclip_comm everywhere: one process, which works alone.
 */
#ifndef MOECLIP_COMM_H
#define MOECLIP_COMM_H

#include <stddef.h>

#include "moeclip/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moeclip_comm moeclip_comm;

/* How many processes mpirun (or srun) has started, as their environment tells: 1 outside of it. Needs no MPI. */
MOECLIP_API int moeclip_comm_launched(void);
/* The number of this process among them, from 0. */
MOECLIP_API int moeclip_comm_launched_rank(void);

/* Joins the processes that mpirun has started: MPI_Init. Once in a process, before any other call that uses MPI. Fails with
 * MOECLIP_ERROR_UNSUPPORTED when this library was built without MPI. */
MOECLIP_API moeclip_code moeclip_comm_mpi(moeclip_comm **out, moeclip_error *err);
/* MPI_Finalize: waits for the others. A process that cannot go on while others may be waiting for it calls moeclip_comm_abort. */
MOECLIP_API void moeclip_comm_destroy(moeclip_comm *comm);
/* Ends all processes at once. Does not return when there are several. */
MOECLIP_API void moeclip_comm_abort(moeclip_comm *comm, int exit_code);

MOECLIP_API int moeclip_comm_rank(const moeclip_comm *comm);
MOECLIP_API int moeclip_comm_size(const moeclip_comm *comm);
/* Threads that this rank may use so that all ranks of its machine together fill the processors they were given. 0: alone. */
MOECLIP_API int moeclip_comm_threads(const moeclip_comm *comm);
/* Processors that this machine has, and those that its ranks may use together: fewer where mpirun has bound them. */
MOECLIP_API void moeclip_comm_processors(const moeclip_comm *comm, int *usable, int *online);

/* --- collective: every rank makes the call ------------------------------------------------------------------------------ */

/* All get rank 0's n_bytes. */
MOECLIP_API void moeclip_comm_broadcast(moeclip_comm *comm, void *data, size_t n_bytes);
/* The largest of all ranks' values, and the bits that are set in any of them. */
MOECLIP_API int moeclip_comm_most(moeclip_comm *comm, int value);
MOECLIP_API int moeclip_comm_any(moeclip_comm *comm, int bits);
/* MOECLIP_OK when every rank gives that. Otherwise all fail alike, with the code and message of the lowest rank that failed:
 * "rank 2 (HOST): MESSAGE". */
MOECLIP_API moeclip_code moeclip_comm_agree(moeclip_comm *comm, moeclip_code code, moeclip_error *err);
/* True after moeclip_comm_agree has failed here: all ranks know of the failure, so that none waits for another. */
MOECLIP_API int moeclip_comm_failed(const moeclip_comm *comm);

#ifdef __cplusplus
}
#endif
#endif
