#include "model/moe.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/balance.h"

#define TAKE(pointer, arena, count)                                                        \
  do {                                                                                     \
    (pointer) = mc_arena_take((arena), (size_t)(count), sizeof *(pointer));                \
    if (!(pointer)) return mc_fail_memory(err, (size_t)(count) * sizeof *(pointer), "the experts' work"); \
  } while (0)

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

/* Drops hidden units of one slot, and scales the others up. Drawn by (step, block, sample, expert), so that the same
 * sample loses the same units however the batch is cut into pieces. */
static void drop(const mc_routing *g, int block, int64_t sample, int expert, int64_t n, float *hidden) {
  mc_philox p;
  uint32_t below = (uint32_t)((double)g->dropout * 4294967296.0);
  float up = 1 / (1 - g->dropout);
  mc_philox_init(&p, mc_seed_of(g->seed, g->step), MC_STREAM_DROPOUT + 16u * (uint32_t)block,
                 (g->first_sample + (uint64_t)sample) * 65536 + (uint64_t)expert);
  uint32_t counter[4], four[4];
  memcpy(counter, p.counter, sizeof counter);
  for (int64_t i = 0; i < n; i += 4) {
    counter[0] = (uint32_t)(i / 4);
    mc_philox_block(p.key, counter, four);
    for (int64_t j = 0; j < 4 && i + j < n; j++) hidden[i + j] = four[j] < below ? 0 : hidden[i + j] * up;
  }
}

static moeclip_code choose(mc_moe *moe, const mc_routing *g, int block, int64_t n, int64_t t, const float *x,
                           mc_moe_kept *kept, mc_arena *arena, moeclip_error *err) {
  int n_experts = moe->n_experts, k = g->top_k < n_experts ? g->top_k : n_experts;
  float *logits;
  kept->k = k;
  TAKE(kept->gates, arena, n * k);
  TAKE(kept->chosen, arena, n * k);
  TAKE(kept->first, arena, n_experts + 1);
  TAKE(kept->sample, arena, n * k);
  TAKE(kept->place, arena, n * k);
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
      if (e < 0) continue;
      kept->sample[next[e]] = (int32_t)s;
      kept->place[next[e]++] = j;
    }
  }
  return MOECLIP_OK;
}

/*
 * Work goes expert by expert in runs of slots. Long rows of tokens (images) are worth a matrix product of their own, in
 * place; short ones (texts) are gathered so that an expert's samples make one product.
 */
enum { IN_PLACE_TOKENS = 48 };

static int run_length(int64_t t, int n_slots) { return t >= IN_PLACE_TOKENS ? 1 : n_slots; }

static void gather(const float *x, const int32_t *sample, int n, int64_t row, float *out) {
  for (int i = 0; i < n; i++) memcpy(out + i * row, x + sample[i] * row, (size_t)row * sizeof *out);
}

moeclip_code mc_moe_forward(mc_compute *cp, mc_moe *moe, const mc_routing *g, int block, int64_t n, int64_t t,
                            const float *x, float *out, mc_moe_kept *kept, mc_arena *arena, moeclip_error *err) {
  mc_moe_kept local;
  mc_arena_mark before = mc_arena_here(arena);
  bool keep = kept != NULL;
  if (!keep) kept = &local;
  MC_TRY(choose(moe, g, block, n, t, x, kept, arena, err));
  int64_t d = moe->width, h = moe->experts[0].down_bias.n, row = t * d;
  TAKE(kept->hidden, arena, (int64_t)kept->n_slots * t * h);
  mc_arena_mark mark = mc_arena_here(arena);
  int longest = 0;
  for (int e = 0; e < moe->n_experts; e++) {
    int length = kept->first[e + 1] - kept->first[e];
    if (length > 0) length = run_length(t, length);
    longest = length > longest ? length : longest;
  }
  float *in, *scaled, *result;
  TAKE(in, arena, longest > 1 ? longest * row : 1);
  TAKE(scaled, arena, longest * t * h);
  TAKE(result, arena, longest > 1 ? longest * row : 1);
  for (int e = 0; e < moe->n_experts; e++) {
    const mc_expert *expert = &moe->experts[e];
    int end = kept->first[e + 1], length;
    for (int at = kept->first[e]; at < end; at += length) {
      length = run_length(t, end - at);
      const int32_t *sample = kept->sample + at;
      float *hidden = kept->hidden + at * t * h;
      const float *from = x + sample[0] * row;
      if (length > 1) {
        gather(x, sample, length, row, in);
        from = in;
      }
      mc_gemm down = {.m = length * t, .n = h, .k = d, .a = from, .lda = d, .b = expert->down_weight.value, .ldb = d,
                      .trans_b = true, .c = hidden, .ldc = h, .bias = expert->down_bias.value};
      MC_TRY(mc_gemm_run(cp, &down, err));
      for (int i = 0; i < length; i++) {
        float *own = hidden + i * t * h, gate = g->scale * kept->gates[sample[i] * kept->k + kept->place[at + i]];
        for (int64_t j = 0; j < t * h; j++) own[j] = own[j] > 0 ? own[j] : 0;
        if (g->dropout > 0) drop(g, block, sample[i], e, t * h, own);
        for (int64_t j = 0; j < t * h; j++) scaled[i * t * h + j] = gate * own[j];
      }
      float *to = length > 1 ? result : out + sample[0] * row;
      mc_gemm up = {.m = length * t, .n = d, .k = h, .a = scaled, .lda = h, .b = expert->up_weight.value, .ldb = h,
                    .trans_b = true, .c = to, .ldc = d, .accumulate = length == 1};
      MC_TRY(mc_gemm_run(cp, &up, err));
      for (int i = 0; i < length; i++) {
        float gate = g->scale * kept->gates[sample[i] * kept->k + kept->place[at + i]];
        float *own = out + sample[i] * row;
        const float *add = result + i * row, *bias = expert->up_bias.value;
        for (int64_t r = 0; r < t; r++) {
          if (length > 1) {
            for (int64_t j = 0; j < d; j++) own[r * d + j] += add[r * d + j] + gate * bias[j];
          } else {
            for (int64_t j = 0; j < d; j++) own[r * d + j] += gate * bias[j];
          }
        }
      }
    }
  }
  mc_arena_release(arena, keep ? mark : before);
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

/* All samples' routers. */
static moeclip_code routers_backward(mc_moe *moe, const mc_routing *g, int64_t n, int64_t row, const float *x,
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

moeclip_code mc_moe_backward(mc_compute *cp, mc_moe *moe, const mc_routing *g, int64_t n, int64_t t, const float *x,
                             const float *dout, const mc_moe_kept *kept, float *dx, mc_arena *arena,
                             moeclip_error *err) {
  int64_t d = moe->width, h = moe->experts[0].down_bias.n, row = t * d;
  mc_arena_mark before = mc_arena_here(arena);
  int longest = 0;
  for (int e = 0; e < moe->n_experts; e++) {
    int length = kept->first[e + 1] - kept->first[e];
    if (length > 0) length = run_length(t, length);
    longest = length > longest ? length : longest;
  }
  float *in, *gradient, *scaled, *dhidden, *dgates, *sum, *din;
  TAKE(in, arena, longest > 1 ? longest * row : 1);
  TAKE(gradient, arena, longest > 1 ? longest * row : 1);
  TAKE(din, arena, longest > 1 ? longest * row : 1);
  TAKE(scaled, arena, longest * t * h);
  TAKE(dhidden, arena, longest * t * h);
  TAKE(dgates, arena, n * kept->k);
  TAKE(sum, arena, d);
  memset(dgates, 0, (size_t)(n * kept->k) * sizeof *dgates);
  for (int e = 0; e < moe->n_experts; e++) {
    mc_expert *x_e = &moe->experts[e];
    bool trained = x_e->down_weight.grad != NULL;
    int end = kept->first[e + 1], length;
    for (int at = kept->first[e]; at < end; at += length) {
      length = run_length(t, end - at);
      const int32_t *sample = kept->sample + at;
      const float *hidden = kept->hidden + at * t * h;
      const float *from = x + sample[0] * row, *dy = dout + sample[0] * row;
      if (length > 1) {
        gather(x, sample, length, row, in);
        gather(dout, sample, length, row, gradient);
        from = in;
        dy = gradient;
      }
      mc_gemm back_up = {.m = length * t, .n = h, .k = d, .a = dy, .lda = d, .b = x_e->up_weight.value, .ldb = h,
                         .c = dhidden, .ldc = h};
      MC_TRY(mc_gemm_run(cp, &back_up, err));
      float up = g->dropout > 0 ? 1 / (1 - g->dropout) : 1;
      for (int i = 0; i < length; i++) {
        int64_t slot = sample[i] * kept->k + kept->place[at + i];
        float gate = g->scale * kept->gates[slot];
        const float *own = hidden + i * t * h;
        float *down = dhidden + i * t * h;
        /* d gate = scale * <dout, U hidden + c>. */
        double dot = 0;
        for (int64_t j = 0; j < t * h; j++) dot += (double)own[j] * down[j];
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int64_t r = 0; r < t; r++) {
          for (int64_t j = 0; j < d; j++) sum[j] += dy[(i * t + r) * d + j];
        }
        for (int64_t j = 0; j < d; j++) dot += (double)sum[j] * x_e->up_bias.value[j];
        dgates[slot] = (float)(g->scale * dot);
        if (trained) {
          for (int64_t j = 0; j < d; j++) x_e->up_bias.grad[j] += gate * sum[j];
        }
        /* A hidden unit is > 0 exactly when the ReLU passed it and dropout kept it. */
        for (int64_t j = 0; j < t * h; j++) {
          scaled[i * t * h + j] = gate * own[j];
          down[j] = own[j] > 0 ? gate * up * down[j] : 0;
        }
      }
      if (trained) {
        mc_gemm of_up = {.m = d, .n = h, .k = length * t, .a = dy, .lda = d, .trans_a = true, .b = scaled, .ldb = h,
                         .c = x_e->up_weight.grad, .ldc = h, .accumulate = true};
        mc_gemm of_down = {.m = h, .n = d, .k = length * t, .a = dhidden, .lda = h, .trans_a = true, .b = from,
                           .ldb = d, .c = x_e->down_weight.grad, .ldc = d, .accumulate = true};
        MC_TRY(mc_gemm_run(cp, &of_up, err));
        MC_TRY(mc_gemm_run(cp, &of_down, err));
        mc_column_sums(cp, dhidden, length * t, h, h, x_e->down_bias.grad);
        x_e->up_weight.touched = x_e->up_bias.touched = x_e->down_weight.touched = x_e->down_bias.touched = true;
      }
      if (!dx) continue;
      mc_gemm back_down = {.m = length * t, .n = d, .k = h, .a = dhidden, .lda = h, .b = x_e->down_weight.value,
                           .ldb = d, .c = length > 1 ? din : dx + sample[0] * row, .ldc = d, .accumulate = length == 1};
      MC_TRY(mc_gemm_run(cp, &back_down, err));
      for (int i = 0; length > 1 && i < length; i++) {
        float *to = dx + sample[i] * row;
        for (int64_t j = 0; j < row; j++) to[j] += din[i * row + j];
      }
    }
  }
  MC_TRY(routers_backward(moe, g, n, row, x, kept, dgates, dx, arena, err));
  mc_arena_release(arena, before);
  return MOECLIP_OK;
}
