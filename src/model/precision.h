/* Which arithmetic a handle gets: what the caller wants, the environment says, and the processor has. */
#ifndef MC_MODEL_PRECISION_H
#define MC_MODEL_PRECISION_H

#include "compute/compute.h"
#include "moeclip/model.h"

/* Sets it; with other processes, fails on all of them when they would differ. */
moeclip_code mc_set_precision(mc_compute *cp, moeclip_precision wanted, moeclip_comm *comm, moeclip_error *err);
moeclip_precision mc_precision_of(const mc_compute *cp);

#endif
