/* What routers (router.c) and the experts' work (moe.c) share. */
#ifndef MC_MODEL_DISPATCH_H
#define MC_MODEL_DISPATCH_H

#include "model/moe.h"

/* Every sample's gates and experts, and the slots grouped by expert: everything of kept but `hidden`. x [n, t, d]: token 0 is read. */
moeclip_code mc_moe_choose(mc_moe *moe, const mc_routing *g, int block, int64_t n, int64_t t, const float *x, mc_moe_kept *kept,
                           mc_arena *arena, moeclip_error *err);

/* dgates [n, k] (spoiled) -> the gradients of the routers, added, and of the token that each read, added to dx (NULL: not wanted). row:
 * floats from a sample to the next. */
moeclip_code mc_moe_routers_backward(mc_moe *moe, const mc_routing *g, int64_t n, int64_t row, const float *x, const mc_moe_kept *kept,
                                     float *dgates, float *dx, mc_arena *arena, moeclip_error *err);

#endif
