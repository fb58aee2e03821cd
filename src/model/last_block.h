/*
 * The last block of a tower of which one token a sample is read (CLIP reads the class token of a picture, the end-of-text token of a
 * text). Keys and values are needed of all tokens; everything else of that token alone, and of token 0, which the routers read. Those
 * are the rows that matter: R = n * mc_last_block_tokens.
 */
#ifndef MC_MODEL_LAST_BLOCK_H
#define MC_MODEL_LAST_BLOCK_H

#include "model/block.h"

/* 1 where token 0 is what is read of every sample; else 2: token 0 and the one that is read. */
int mc_last_block_tokens(const mc_tower_pass *p);

/* x [n, t, d] in; p->read_out [n, d] gets the read tokens' output. */
moeclip_code mc_last_block_forward(mc_compute *cp, const mc_tower_pass *p, bool routed, const float *x, mc_block_kept *kept,
                                   mc_arena *arena, moeclip_error *err);
/* dread [n, d] -> dx [n, t, d], written when `below`. */
moeclip_code mc_last_block_backward(mc_compute *cp, const mc_tower_pass *p, bool below, const float *dread, float *dx, mc_arena *arena,
                                    moeclip_error *err);

#endif
