/* Which experts no answer depends on (docs/SELECTORS.md, "Pruning"). */
#ifndef MC_MODEL_PRUNE_H
#define MC_MODEL_PRUNE_H

#include "model/encode.h"

/*
 * Marks experts whose weights need not be kept as dropped, and gives them fresh ones: no text or picture is encoded otherwise by any
 * router, noise being off. These are
 *   - experts that are fresh: their weights are what the seed makes of them;
 *   - experts beyond every router's width;
 *   - in the text tower, experts that no router chooses. A router reads the start-of-text token, which the causal mask keeps from seeing
 *     the text: so its choice in each block is the same for all texts, and is found out here. Experts within a margin of being chosen are
 *     kept, so that rounding does not matter.
 * In the image tower a router reads the picture, and any expert that it has a column for may be chosen by some picture.
 * Expert 0 of each block is always kept. *n: how many were dropped now.
 */
moeclip_code mc_adapters_prune(mc_compute *cp, mc_clip *clip, mc_adapters *a, int32_t start_of_text, mc_arena *arena, int64_t *n,
                               moeclip_error *err);

#endif
