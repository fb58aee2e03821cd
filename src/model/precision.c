#include "model/precision.h"

#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"

static moeclip_code choose(moeclip_precision wanted, mc_precision *out, moeclip_error *err) {
  static const char name[] = "MOECLIP_PRECISION";
  const char *said = wanted == MOECLIP_PRECISION_AUTO ? getenv(name) : NULL;
  *out = wanted == MOECLIP_PRECISION_BFLOAT16 ? MC_BFLOAT16 : MC_FLOAT32;
  if (wanted != MOECLIP_PRECISION_AUTO) return MOECLIP_OK;
  if (!said || !*said || strcmp(said, "auto") == 0) {
    *out = mc_compute_fast_bfloat16() ? MC_BFLOAT16 : MC_FLOAT32;
  } else if (strcmp(said, "bfloat16") == 0) {
    *out = MC_BFLOAT16;
  } else if (strcmp(said, "float32") != 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%s in the environment is \"%s\": say auto, float32 or bfloat16", name, said);
  }
  return MOECLIP_OK;
}

moeclip_code mc_set_precision(mc_compute *cp, moeclip_precision wanted, moeclip_comm *comm, moeclip_error *err) {
  mc_precision precision = MC_FLOAT32;
  moeclip_code code = choose(wanted, &precision, err);
  if (comm) MC_TRY(moeclip_comm_agree(comm, code, err));
  if (comm) code = mc_comm_same(comm, (uint64_t)precision, "precision (its processor differs; say which with --precision)", err);
  return code == MOECLIP_OK ? mc_compute_set_precision(cp, precision, err) : code;
}

moeclip_precision mc_precision_of(const mc_compute *cp) {
  return mc_compute_precision(cp) == MC_BFLOAT16 ? MOECLIP_PRECISION_BFLOAT16 : MOECLIP_PRECISION_FLOAT32;
}
