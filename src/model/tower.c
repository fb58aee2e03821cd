#include "model/tower.h"

#include "model/last_block.h"

static bool any_routed(const mc_tower_pass *p) {
  if (!p->moe || !p->routing) return false;
  for (int64_t s = 0; s < p->n; s++) {
    if (p->routing->task[s] >= 0) return true;
  }
  return false;
}

moeclip_code mc_tower_forward(mc_compute *cp, const mc_tower_pass *p, float *x, mc_arena *arena, moeclip_error *err) {
  bool routed = p->choice || any_routed(p); /* block 0 keeps what its experts read until the tasks are chosen */
  for (int l = 0; l < p->tower->n_layers; l++) {
    mc_block_kept *kept = p->kept ? &p->kept[l] : NULL;
    if (p->read && l == p->tower->n_layers - 1) return mc_last_block_forward(cp, p, routed, x, kept, arena, err);
    MC_TRY(mc_block_forward(cp, p, l, routed, x, kept, arena, err));
    if (p->choice && l == 0) routed = any_routed(p);
    if (p->tap) {
      p->tap->call(p->tap->context, l, x, p->n, p->t);
      if (l == p->tap->last_layer) break;
    }
  }
  return MOECLIP_OK;
}

static bool moe_trains(const mc_tower_pass *p, int layer) { return p->moe && p->kept[layer].routed; }

moeclip_code mc_tower_backward(mc_compute *cp, const mc_tower_pass *p, const float *dread, float *dx, bool want_dx, mc_arena *arena,
                               moeclip_error *err) {
  int last = p->tower->n_layers - 1, lowest = p->tower->n_layers;
  for (int l = last; l >= 0; l--) {
    if (want_dx || mc_block_trains(&p->tower->blocks[l]) || moe_trains(p, l)) lowest = l;
  }
  for (int l = last; l >= lowest; l--) {
    bool below = want_dx || l > lowest;
    if (p->read && l == last) {
      MC_TRY(mc_last_block_backward(cp, p, below, dread, dx, arena, err));
    } else {
      MC_TRY(mc_block_backward(cp, p, l, below, dx, arena, err));
    }
    if (p->done) p->done->call(p->done->context, p->first_block + l);
  }
  return MOECLIP_OK;
}

size_t mc_tower_kept_bytes(const mc_tower *tower, const mc_adapter_sizes *adapters, int64_t t, bool trained, mc_precision precision) {
  size_t d = (size_t)tower->width, floats = 2 * d + 8 + (size_t)tower->n_heads, between = 3 * d + (size_t)tower->hidden;
  if (trained) between += d;
  if (adapters) floats += (size_t)adapters->top_k * (size_t)adapters->bottleneck;
  size_t each = precision == MC_BFLOAT16 ? sizeof(mc_bfloat16) : sizeof(float);
  return (floats * sizeof(float) + between * each) * (size_t)t * (size_t)tower->n_layers;
}
