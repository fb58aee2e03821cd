#include "model/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/block.h"

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "pruning")

/* A logit this near to the last chosen one's, relative to the largest, counts as chosen too. */
static const double MARGIN = 1e-3;

/* chosen [n_experts] += 1 for each expert that the router chooses, or nearly, for the token r. */
static moeclip_code mark(const mc_moe *m, const mc_router *router, const float *r, int top_k, uint8_t *chosen, moeclip_error *err) {
  int n = (int)router->gate.shape[1], k = top_k < n ? top_k : n;
  double *logits = mc_alloc((size_t)n, sizeof *logits), largest = 0, last = 0;
  if (!logits) return mc_fail_memory(err, (size_t)n * sizeof *logits, "pruning");
  for (int e = 0; e < n; e++) {
    logits[e] = 0;
    for (int i = 0; i < m->width; i++) logits[e] += (double)r[i] * router->gate.value[(int64_t)i * n + e];
    largest = fmax(largest, fabs(logits[e]));
  }
  for (int e = 0; e < n; e++) { /* the k-th largest: fewer than k are above it */
    int above = 0, level = 0;
    for (int other = 0; other < n; other++) {
      above += logits[other] > logits[e];
      level += logits[other] >= logits[e];
    }
    if (above < k && level >= k) last = logits[e];
  }
  for (int e = 0; e < n; e++) chosen[e] |= !(logits[e] < last - MARGIN * (1 + largest));
  free(logits);
  return MOECLIP_OK;
}

/* The start-of-text token of every text, through one task's router: what is chosen in each block. */
static moeclip_code follow(mc_compute *cp, mc_clip *clip, mc_adapters *a, int32_t task, int32_t start_of_text, uint8_t *const *chosen,
                           mc_arena *arena, moeclip_error *err) {
  int64_t d = clip->sizes.text_width;
  mc_arena_mark before = mc_arena_here(arena);
  float *x;
  mc_routing routing = {.task = &task, .top_k = a->sizes.top_k, .scale = a->sizes.scale};
  mc_tower_pass pass = {.tower = &clip->text, .moe = a->text, .routing = &routing, .first_block = clip->visual.n_layers, .n = 1, .t = 1};
  TAKE(x, d);
  for (int64_t i = 0; i < d; i++) x[i] = clip->token_embedding.value[start_of_text * d + i] + clip->text_position.value[i];
  for (int l = 0; l < a->text_layers; l++) {
    mc_block_kept kept;
    MC_TRY(mc_block_forward(cp, &pass, l, true, x, &kept, arena, err));
    MC_TRY(mark(&a->text[l], &a->text[l].routers[task], kept.x1, a->sizes.top_k, chosen[l], err));
  }
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}

static moeclip_code prune_block(mc_adapters *a, int block, const uint8_t *chosen, int64_t *n, moeclip_error *err) {
  mc_moe *m = block < a->visual_layers ? &a->visual[block] : &a->text[block - a->visual_layers];
  int widest = 0;
  for (int t = 0; t < m->n_routers; t++) widest = m->routers[t].gate.shape[1] > widest ? (int)m->routers[t].gate.shape[1] : widest;
  for (int e = 1; e < m->n_experts; e++) {
    bool fresh = false, unreachable = e >= widest || (chosen && !chosen[e]);
    if (m->experts[e].dropped) continue;
    if (!unreachable) MC_TRY(mc_adapters_is_fresh(a, block, e, &fresh, err));
    if (!unreachable && !fresh) continue;
    mc_adapters_restart(a, block, e);
    m->experts[e].dropped = true;
    ++*n;
  }
  return MOECLIP_OK;
}

moeclip_code mc_adapters_prune(mc_compute *cp, mc_clip *clip, mc_adapters *a, int32_t start_of_text, mc_arena *arena, int64_t *n,
                               moeclip_error *err) {
  uint8_t **chosen = calloc((size_t)a->text_layers + 1, sizeof *chosen);
  moeclip_code code = chosen ? MOECLIP_OK : mc_fail_memory(err, sizeof *chosen, "pruning");
  *n = 0;
  for (int l = 0; code == MOECLIP_OK && l < a->text_layers; l++) {
    chosen[l] = calloc((size_t)a->text[l].n_experts, 1);
    if (!chosen[l]) code = mc_fail_memory(err, (size_t)a->text[l].n_experts, "pruning");
  }
  for (int32_t t = 0; code == MOECLIP_OK && t < a->n_routers; t++) {
    code = follow(cp, clip, a, t, start_of_text, chosen, arena, err);
  }
  for (int b = 0; code == MOECLIP_OK && b < a->visual_layers + a->text_layers; b++) {
    code = prune_block(a, b, b < a->visual_layers ? NULL : chosen[b - a->visual_layers], n, err);
  }
  for (int l = 0; chosen && l < a->text_layers; l++) free(chosen[l]);
  free(chosen);
  return code;
}
