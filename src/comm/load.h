/* Finding the module that speaks MPI. */
#ifndef MC_COMM_LOAD_H
#define MC_COMM_LOAD_H

#include "base/status.h"
#include "comm/backend.h"

moeclip_code mc_comm_load(mc_comm_backend *out, moeclip_error *err);

#endif
