/* Tensors of a state that is not to be trusted. */
#ifndef MC_LEARN_RESTORE_H
#define MC_LEARN_RESTORE_H

#include "base/status.h"
#include "moeclip/tensors.h"

/* Fails: the tensor of this name is not what it must be. */
moeclip_code mc_damaged_tensor(moeclip_error *err, const char *name);

/* A float32 tensor [n, d] of finite numbers, copied; n < 0: any number, which it then is. *out is the caller's, also after a failure. */
moeclip_code mc_rows_restore(const moeclip_tensors *in, const char *name, int64_t *n, int64_t d, float **out,
                             moeclip_error *err);

#endif
