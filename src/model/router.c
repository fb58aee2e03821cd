/* Routers: which experts a sample goes to, and the way back. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/balance.h"
#include "model/dispatch.h"

#define TAKE(pointer, arena, count) MC_ARENA_TAKE(pointer, arena, count, "the routers' work")

static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

/* A row of x times a [d, n_experts] matrix. */
static void project(const float *r, const float *w, int d, int n_experts, float *out) {
  for (int e = 0; e < n_experts; e++) out[e] = 0;
  for (int i = 0; i < d; i++) {
    for (int e = 0; e < n_experts; e++) out[e] += r[i] * w[(int64_t)i * n_experts + e];
  }
}

/* The k largest logits in falling order; the lower number first on a tie. */
static void top_k(const float *logits, int n_experts, int k, int32_t *chosen) {
  for (int j = 0; j < k; j++) {
    int best = -1;
    for (int e = 0; e < n_experts; e++) {
      bool taken = false;
      for (int i = 0; i < j; i++) taken |= chosen[i] == e;
      /* Not "logits[e] > best", so that a NaN still leaves a valid choice. */
      if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
    }
    chosen[j] = best;
  }
}

/* Gates of one sample from its router; eps is the noise (NULL: none). logits [2 n]: noisy ones, then the raw spread. */
static void route(const mc_moe *moe, const mc_router *router, const float *r, const float *eps, int k, float *logits,
                  float *gates, int32_t *chosen) {
  int n = (int)router->gate.shape[1];
  project(r, router->gate.value, moe->width, n, logits);
  if (eps) {
    float *spread = logits + n;
    project(r, router->noise.value, moe->width, n, spread);
    for (int e = 0; e < n; e++) logits[e] += eps[e] * (softplus(spread[e]) + 0.01f);
  }
  int seen = k < n ? k : n; /* this router may know fewer experts than the block has now */
  top_k(logits, n, seen, chosen);
  float sum = 0, largest = logits[chosen[0]];
  for (int j = 0; j < seen; j++) sum += gates[j] = expf(logits[chosen[j]] - largest);
  for (int j = 0; j < seen; j++) gates[j] /= sum;
}

/* What the load-balance term sums up. logits as route leaves them; without noise the load is a count. */
static void tally(const mc_moe *moe, const mc_router *router, const float *eps, int k, float *logits, const float *gates,
                  const int32_t *chosen) {
  int n = (int)router->gate.shape[1];
  double *importance = moe->tally, *load = moe->tally + moe->n_experts;
  for (int j = 0; j < k; j++) {
    if (chosen[j] < 0) continue;
    importance[chosen[j]] += gates[j];
    if (!eps || k >= n) load[chosen[j]] += 1;
  }
  if (!eps || k >= n) return;
  for (int e = 0; e < n; e++) logits[e] -= eps[e] * (softplus(logits[n + e]) + 0.01f); /* the clean ones again */
  mc_load_forward(&(mc_noisy_logits){n, k, logits, logits + n, eps}, load);
}

static void draw_noise(const mc_routing *g, int block, int64_t sample, int n_experts, float *eps) {
  if (g->fixed_noise) {
    memcpy(eps, g->fixed_noise[block] + ((int64_t)g->first_sample + sample) * n_experts, (size_t)n_experts * sizeof *eps);
    return;
  }
  mc_philox p;
  mc_philox_init(&p, mc_seed_of(g->seed, g->step), MC_STREAM_NOISE + 16u * (uint32_t)block,
                 g->first_sample + (uint64_t)sample);
  for (int e = 0; e < n_experts; e++) eps[e] = mc_philox_normal(&p);
}

moeclip_code mc_moe_choose(mc_moe *moe, const mc_routing *g, int block, int64_t n, int64_t t, const float *x,
                           mc_moe_kept *kept, mc_arena *arena, moeclip_error *err) {
  int n_experts = moe->n_experts, k = g->top_k < n_experts ? g->top_k : n_experts;
  float *logits;
  kept->k = k;
  TAKE(kept->gates, arena, n * k);
  TAKE(kept->chosen, arena, n * k);
  TAKE(kept->first, arena, n_experts + 1);
  TAKE(kept->sample, arena, n * k);
  TAKE(kept->place, arena, n * k);
  TAKE(kept->slot, arena, n * k);
  kept->eps = NULL;
  if (g->noise) TAKE(kept->eps, arena, n * n_experts);
  TAKE(logits, arena, 2 * n_experts);
  memset(kept->first, 0, ((size_t)n_experts + 1) * sizeof *kept->first);
  for (int64_t s = 0; s < n; s++) {
    float *gates = kept->gates + s * k;
    int32_t *chosen = kept->chosen + s * k;
    for (int j = 0; j < k; j++) chosen[j] = -1;
    if (g->task[s] < 0) continue;
    if (g->task[s] >= moe->n_routers) {
      return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: there are only %d routers", (int)g->task[s], moe->n_routers);
    }
    float *eps = kept->eps ? kept->eps + s * n_experts : NULL;
    if (eps) draw_noise(g, block, s, n_experts, eps);
    route(moe, &moe->routers[g->task[s]], x + s * t * moe->width, eps, k, logits, gates, chosen);
    for (int j = 0; j < k; j++) {
      if (chosen[j] >= 0 && !(gates[j] > 0)) chosen[j] = -1; /* underflow: this expert gets nothing and counts for nothing */
      if (chosen[j] >= 0) kept->first[chosen[j] + 1]++;
      if (chosen[j] >= 0 && g->count) moe->counts[chosen[j]]++;
      if (chosen[j] >= 0 && g->gates_out) g->gates_out[block * g->gates_stride + s * g->gates_experts + chosen[j]] = gates[j];
    }
    if (g->tally) tally(moe, &moe->routers[g->task[s]], eps, k, logits, gates, chosen);
  }
  for (int e = 0; e < n_experts; e++) kept->first[e + 1] += kept->first[e];
  kept->n_slots = kept->first[n_experts];
  int32_t *next;
  TAKE(next, arena, n_experts);
  memcpy(next, kept->first, (size_t)n_experts * sizeof *next);
  for (int64_t s = 0; s < n; s++) {
    for (int j = 0; j < k; j++) {
      int32_t e = kept->chosen[s * k + j];
      kept->slot[s * k + j] = e < 0 ? -1 : next[e];
      if (e < 0) continue;
      kept->sample[next[e]] = (int32_t)s;
      kept->place[next[e]++] = j;
    }
  }
  return MOECLIP_OK;
}

/* The load-balance term's gradient with respect to a block's sums; n: experts that the running task's router knows. */
typedef struct balance_gradient {
  double *importance, *load; /* [n]; NULL: the term is off */
} balance_gradient;

/* Scratch for one sample's router: [n] each. */
typedef struct router_work {
  float *clean, *spread, *dclean, *dspread;
  int32_t *experts; /* whose logits have a gradient */
} router_work;

/* From the gates' gradient to the router's, and to the token that the router read. */
static void route_backward(const mc_moe *moe, mc_router *router, const float *r, const float *eps, int k,
                           const float *gates, const int32_t *chosen, const float *dgates, const balance_gradient *balance,
                           const router_work *w, float *dr) {
  int n = (int)router->gate.shape[1], n_touched = 0;
  float dot = 0;
  for (int j = 0; j < k; j++) dot += chosen[j] >= 0 ? gates[j] * dgates[j] : 0;
  if (eps) project(r, router->noise.value, moe->width, n, w->spread);
  memset(w->dclean, 0, (size_t)n * sizeof *w->dclean);
  memset(w->dspread, 0, (size_t)n * sizeof *w->dspread);
  for (int j = 0; j < k; j++) {
    int e = chosen[j];
    if (e < 0) continue;
    w->dclean[e] = gates[j] * (dgates[j] - dot);
    if (eps) w->dspread[e] = w->dclean[e] * eps[e] * sigmoid(w->spread[e]);
    w->experts[n_touched++] = e;
  }
  if (balance->load && eps && k < n) {
    project(r, router->gate.value, moe->width, n, w->clean);
    mc_load_backward(&(mc_noisy_logits){n, k, w->clean, w->spread, eps}, balance->load, w->dclean, w->dspread);
    for (n_touched = 0; n_touched < n; n_touched++) w->experts[n_touched] = n_touched;
  }
  for (int j = 0; j < n_touched; j++) {
    int e = w->experts[j];
    float dlogit = w->dclean[e], dspread = w->dspread[e];
    for (int64_t i = 0; i < moe->width; i++) {
      int64_t at = i * n + e;
      if (router->gate.grad) router->gate.grad[at] += r[i] * dlogit;
      if (eps && router->noise.grad) router->noise.grad[at] += r[i] * dspread;
      if (dr) dr[i] += dlogit * router->gate.value[at] + dspread * router->noise.value[at];
    }
  }
  router->gate.touched |= router->gate.grad != NULL;
  router->noise.touched |= eps && router->noise.grad;
}

moeclip_code mc_moe_routers_backward(mc_moe *moe, const mc_routing *g, int64_t n, int64_t row, const float *x,
                                     const mc_moe_kept *kept, float *dgates, float *dx, mc_arena *arena, moeclip_error *err) {
  size_t n_experts = (size_t)moe->n_experts;
  balance_gradient balance = {0};
  router_work w;
  TAKE(w.clean, arena, n_experts);
  TAKE(w.spread, arena, n_experts);
  TAKE(w.dclean, arena, n_experts);
  TAKE(w.dspread, arena, n_experts);
  TAKE(w.experts, arena, n_experts);
  for (int64_t s = 0; s < n; s++) {
    if (g->task[s] < 0) continue;
    mc_router *router = &moe->routers[g->task[s]];
    float *own = dgates + s * kept->k;
    const int32_t *chosen = kept->chosen + s * kept->k;
    if (g->balance > 0 && !balance.importance) {
      int known = (int)router->gate.shape[1];
      TAKE(balance.importance, arena, n_experts);
      TAKE(balance.load, arena, n_experts);
      mc_cv_squared(moe->tally, known, balance.importance);
      mc_cv_squared(moe->tally + n_experts, known, balance.load);
      for (int e = 0; e < known; e++) {
        balance.importance[e] *= g->balance;
        balance.load[e] *= g->balance;
      }
    }
    for (int j = 0; balance.importance && j < kept->k; j++) {
      if (chosen[j] >= 0) own[j] += (float)balance.importance[chosen[j]];
    }
    route_backward(moe, router, x + s * row, kept->eps ? kept->eps + s * moe->n_experts : NULL, kept->k,
                   kept->gates + s * kept->k, chosen, own, &balance, &w, dx ? dx + s * row : NULL);
  }
  return MOECLIP_OK;
}
