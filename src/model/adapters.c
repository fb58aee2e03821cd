#include "model/adapters.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/balance.h"

static moeclip_code expert_create(mc_expert *x, int width, int bottleneck, moeclip_error *err) {
  MC_TRY(mc_param_create(&x->down_weight, 2, (int64_t[]){bottleneck, width}, err));
  MC_TRY(mc_param_create(&x->down_bias, 1, (int64_t[]){bottleneck}, err));
  MC_TRY(mc_param_create(&x->up_weight, 2, (int64_t[]){width, bottleneck}, err));
  return mc_param_create(&x->up_bias, 1, (int64_t[]){width}, err);
}

/* n more experts; what was made before a failure is cleared with the rest. */
static moeclip_code add_experts(mc_moe *m, int n, int bottleneck, moeclip_error *err) {
  size_t wanted = (size_t)m->n_experts + (size_t)n;
  mc_expert *experts = mc_realloc(m->experts, wanted, sizeof *experts);
  if (experts) m->experts = experts;
  uint64_t *counts = mc_realloc(m->counts, wanted, sizeof *counts);
  if (counts) m->counts = counts;
  double *tally = mc_realloc(m->tally, 2 * wanted, sizeof *tally);
  if (tally) m->tally = tally;
  if (!experts || !counts || !tally) return mc_fail_memory(err, wanted * sizeof *experts, "experts");
  for (int i = 0; i < n; i++) {
    int e = m->n_experts++;
    m->experts[e] = (mc_expert){0};
    m->counts[e] = 0;
    MC_TRY(expert_create(&m->experts[e], m->width, bottleneck, err));
  }
  return MOECLIP_OK;
}

/* Down projection: Kaiming uniform with a = sqrt 5; all else stays 0, so that an adapter starts as nothing. */
static void start_expert(mc_expert *x, int block, int e, int width, uint64_t seed) {
  mc_philox g;
  mc_philox_init(&g, seed, MC_STREAM_INIT, ((uint64_t)(block + 1) << 32) + (uint64_t)e);
  mc_param_uniform(&x->down_weight, 1 / sqrtf((float)width), &g);
}

static void expert_clear(mc_expert *x) {
  mc_param_clear(&x->down_weight);
  mc_param_clear(&x->down_bias);
  mc_param_clear(&x->up_weight);
  mc_param_clear(&x->up_bias);
}

static void moe_clear(mc_moe *m) {
  for (int e = 0; e < m->n_experts; e++) expert_clear(&m->experts[e]);
  for (int t = 0; t < m->n_routers; t++) {
    mc_param_clear(&m->routers[t].gate);
    mc_param_clear(&m->routers[t].noise);
  }
  free(m->experts);
  free(m->routers);
  free(m->counts);
  free(m->tally);
}

/* The i-th block with adapters, image tower first. */
static int n_blocks(const mc_adapters *a) { return a->visual_layers + a->text_layers; }

static mc_moe *block(const mc_adapters *a, int i) {
  return i < a->visual_layers ? &a->visual[i] : &a->text[i - a->visual_layers];
}

/* Experts of zeros. */
static moeclip_code create_blank(const mc_adapter_sizes *s, int visual_layers, int visual_width, int text_layers, int text_width,
                                 mc_adapters **out, moeclip_error *err) {
  *out = NULL;
  if (s->n_experts < 1 || s->n_experts > 65536 || s->bottleneck < 1 || s->bottleneck > 65536 || s->top_k < 1) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "experts %d (1 to 65536), bottleneck %d (1 to 65536) and top-k %d (at least 1) do not make adapters",
                   s->n_experts, s->bottleneck, s->top_k);
  }
  mc_adapters *a = calloc(1, sizeof *a);
  if (!a) return mc_fail_memory(err, sizeof *a, "adapters");
  a->sizes = *s;
  if (!s->text) text_layers = 0;
  a->visual = calloc((size_t)visual_layers + 1, sizeof *a->visual);
  a->text = calloc((size_t)text_layers + 1, sizeof *a->text);
  moeclip_code code = a->visual && a->text ? MOECLIP_OK : mc_fail_memory(err, sizeof *a->visual, "adapters");
  if (code == MOECLIP_OK) {
    a->visual_layers = visual_layers;
    a->text_layers = text_layers;
  }
  for (int i = 0; code == MOECLIP_OK && i < n_blocks(a); i++) {
    block(a, i)->width = i < visual_layers ? visual_width : text_width;
    code = add_experts(block(a, i), s->n_experts, s->bottleneck, err);
  }
  if (code != MOECLIP_OK) {
    mc_adapters_destroy(a);
    return code;
  }
  *out = a;
  return MOECLIP_OK;
}

moeclip_code mc_adapters_create(const mc_adapter_sizes *s, int visual_layers, int visual_width, int text_layers,
                                int text_width, uint64_t seed, mc_adapters **out, moeclip_error *err) {
  MC_TRY(create_blank(s, visual_layers, visual_width, text_layers, text_width, out, err));
  (*out)->sizes.seed = seed;
  for (int i = 0; i < n_blocks(*out); i++) {
    mc_moe *m = block(*out, i);
    for (int e = 0; e < m->n_experts; e++) start_expert(&m->experts[e], i, e, m->width, seed);
  }
  return MOECLIP_OK;
}

void mc_adapters_destroy(mc_adapters *a) {
  if (!a) return;
  for (int i = 0; i < n_blocks(a); i++) moe_clear(block(a, i));
  free(a->visual);
  free(a->text);
  free(a);
}

static moeclip_code moe_add_router(mc_moe *m, int n_experts, moeclip_error *err) {
  mc_router *grown = mc_realloc(m->routers, (size_t)m->n_routers + 1, sizeof *grown);
  if (!grown) return mc_fail_memory(err, sizeof *grown, "a router");
  m->routers = grown;
  mc_router *r = &m->routers[m->n_routers];
  *r = (mc_router){0};
  m->n_routers++; /* cleared with the rest if what follows fails */
  int64_t shape[2] = {m->width, n_experts};
  MC_TRY(mc_param_create(&r->gate, 2, shape, err));
  return mc_param_create(&r->noise, 2, shape, err);
}

moeclip_code mc_adapters_add_router(mc_adapters *a, moeclip_error *err) {
  for (int i = 0; i < n_blocks(a); i++) MC_TRY(moe_add_router(block(a, i), block(a, i)->n_experts, err));
  a->n_routers++;
  return MOECLIP_OK;
}

void mc_adapters_keep_routers(mc_adapters *a, int n) {
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    for (; m->n_routers > n; m->n_routers--) {
      mc_param_clear(&m->routers[m->n_routers - 1].gate);
      mc_param_clear(&m->routers[m->n_routers - 1].noise);
    }
  }
  if (a->n_routers > n) a->n_routers = n;
}

void mc_adapters_freeze_all(mc_adapters *a) {
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    for (int e = 0; e < m->n_experts; e++) {
      m->experts[e].frozen = true;
      m->counts[e] = 0;
    }
  }
}

bool mc_adapters_full_routers(const mc_adapters *a) {
  for (int i = 0; i < n_blocks(a); i++) {
    const mc_moe *m = block(a, i);
    for (int t = 0; t < m->n_routers; t++) {
      if (m->routers[t].gate.shape[1] != m->n_experts) return false;
    }
  }
  return true;
}

static bool is_zero(const mc_param *p) {
  for (int64_t i = 0; i < p->n; i++) {
    if (p->value[i] != 0) return false;
  }
  return true;
}

bool mc_adapters_router_is_fresh(const mc_adapters *a, int task) {
  for (int i = 0; i < n_blocks(a); i++) {
    if (!is_zero(&block(a, i)->routers[task].gate)) return false;
  }
  return true;
}

int mc_adapters_unfrozen(const mc_adapters *a) {
  int least = INT_MAX;
  for (int i = 0; i < n_blocks(a); i++) {
    const mc_moe *m = block(a, i);
    int n = 0;
    for (int e = 0; e < m->n_experts; e++) n += !m->experts[e].frozen;
    if (n < least) least = n;
  }
  return least;
}

moeclip_code mc_adapters_grow(mc_adapters *a, int n, uint64_t seed, moeclip_error *err) {
  if (n < 0 || a->sizes.n_experts + n > 65536) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "%d experts and %d more: at most 65536 are possible", a->sizes.n_experts, n);
  }
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    int first = m->n_experts;
    MC_TRY(add_experts(m, n, a->sizes.bottleneck, err));
    for (int e = first; e < m->n_experts; e++) start_expert(&m->experts[e], i, e, m->width, seed);
  }
  a->sizes.n_experts += n;
  return MOECLIP_OK;
}

void mc_adapters_shrink(mc_adapters *a, int n) {
  for (int i = 0; i < n_blocks(a); i++) {
    for (mc_moe *m = block(a, i); m->n_experts > n; m->n_experts--) expert_clear(&m->experts[m->n_experts - 1]);
  }
  if (a->sizes.n_experts > n) a->sizes.n_experts = n;
}

moeclip_code mc_adapters_is_fresh(const mc_adapters *a, int i, int e, bool *fresh, moeclip_error *err) {
  const mc_moe *m = block(a, i);
  const mc_expert *x = &m->experts[e];
  mc_expert started = {0};
  moeclip_code code = mc_param_create(&started.down_weight, 2, x->down_weight.shape, err);
  if (code == MOECLIP_OK) {
    start_expert(&started, i, e, m->width, a->sizes.seed);
    *fresh = is_zero(&x->down_bias) && is_zero(&x->up_weight) && is_zero(&x->up_bias) &&
             memcmp(started.down_weight.value, x->down_weight.value, (size_t)x->down_weight.n * sizeof(float)) == 0;
  }
  mc_param_clear(&started.down_weight);
  return code;
}

void mc_adapters_restart(mc_adapters *a, int i, int e) {
  mc_moe *m = block(a, i);
  mc_param *zero[] = {&m->experts[e].down_bias, &m->experts[e].up_weight, &m->experts[e].up_bias};
  for (int k = 0; k < 3; k++) memset(zero[k]->value, 0, (size_t)zero[k]->n * sizeof(float));
  start_expert(&m->experts[e], i, e, m->width, a->sizes.seed);
}

int64_t mc_adapters_expert_numbers(const mc_adapters *a, int first, int end) {
  int64_t n = 0;
  for (int i = 0; i < n_blocks(a); i++) {
    const mc_moe *m = block(a, i);
    for (int e = first; e < end && e < m->n_experts; e++) {
      const mc_expert *x = &m->experts[e];
      n += x->down_weight.n + x->down_bias.n + x->up_weight.n + x->up_bias.n;
    }
  }
  return n;
}

int64_t mc_adapters_router_numbers(const mc_adapters *a, int task) {
  int64_t n = 0;
  for (int i = 0; i < n_blocks(a); i++) n += block(a, i)->routers[task].gate.n + block(a, i)->routers[task].noise.n;
  return n;
}

static moeclip_code set_trained(mc_param *p, bool trained, moeclip_error *err) {
  if (trained) return mc_param_unfreeze(p, err);
  mc_param_freeze(p);
  return MOECLIP_OK;
}

moeclip_code mc_adapters_train(mc_adapters *a, int task, bool keep_counts, moeclip_error *err) {
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    if (!keep_counts) memset(m->counts, 0, (size_t)m->n_experts * sizeof *m->counts);
    for (int e = 0; e < m->n_experts; e++) {
      mc_expert *x = &m->experts[e];
      bool trained = task >= 0 && !x->frozen;
      x->dropped &= !trained;
      MC_TRY(set_trained(&x->down_weight, trained, err));
      MC_TRY(set_trained(&x->down_bias, trained, err));
      MC_TRY(set_trained(&x->up_weight, trained, err));
      MC_TRY(set_trained(&x->up_bias, trained, err));
    }
    for (int t = 0; t < m->n_routers; t++) {
      MC_TRY(set_trained(&m->routers[t].gate, t == task, err));
      MC_TRY(set_trained(&m->routers[t].noise, t == task, err));
    }
  }
  return MOECLIP_OK;
}

void mc_adapters_freeze_most_used(mc_adapters *a, int n) {
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    /* An expert is among the n most used when fewer than n come before it in the order (count falling, number rising). */
    for (int e = 0; e < m->n_experts; e++) {
      int before = 0;
      for (int other = 0; other < m->n_experts; other++) {
        before += m->counts[other] > m->counts[e] || (m->counts[other] == m->counts[e] && other < e);
      }
      if (before < n) m->experts[e].frozen = true;
    }
  }
}

void mc_adapters_clear_tally(mc_adapters *a) {
  for (int i = 0; i < n_blocks(a); i++) memset(block(a, i)->tally, 0, 2 * (size_t)block(a, i)->n_experts * sizeof(double));
}

double mc_adapters_balance(const mc_adapters *a, int task, double coefficient) {
  double sum = 0;
  for (int i = 0; i < n_blocks(a); i++) {
    const mc_moe *m = block(a, i);
    int n = (int)m->routers[task].gate.shape[1];
    sum += mc_cv_squared(m->tally, n, NULL) + mc_cv_squared(m->tally + m->n_experts, n, NULL);
  }
  return coefficient * sum;
}

static moeclip_code each(mc_adapters *a, bool dropped_too, mc_param_visitor visit, void *context, moeclip_error *err) {
  char name[160];
  for (int i = 0; i < n_blocks(a); i++) {
    mc_moe *m = block(a, i);
    bool visual = i < a->visual_layers;
    int at = snprintf(name, sizeof name, "%stransformer.resblocks.%d.", visual ? "visual." : "",
                      visual ? i : i - a->visual_layers);
    char *rest = name + at;
    size_t left = sizeof name - (size_t)at;
    for (int e = 0; e < m->n_experts; e++) {
      mc_expert *x = &m->experts[e];
      if (x->dropped && !dropped_too) continue;
      struct {
        const char *name;
        mc_param *param;
      } params[] = {{"down_proj.weight", &x->down_weight},
                    {"down_proj.bias", &x->down_bias},
                    {"up_proj.weight", &x->up_weight},
                    {"up_proj.bias", &x->up_bias}};
      for (int k = 0; k < 4; k++) {
        snprintf(rest, left, "adaptmlp_list.%d.%s", e, params[k].name);
        MC_TRY(visit(context, name, params[k].param, err));
      }
    }
    for (int t = 0; t < m->n_routers; t++) {
      snprintf(rest, left, "router_list.%d", t);
      MC_TRY(visit(context, name, &m->routers[t].gate, err));
      snprintf(rest, left, "w_noise_list.%d", t);
      MC_TRY(visit(context, name, &m->routers[t].noise, err));
    }
  }
  return MOECLIP_OK;
}

moeclip_code mc_adapters_each(mc_adapters *a, mc_param_visitor visit, void *context, moeclip_error *err) {
  return each(a, true, visit, context, err);
}

static const moeclip_tensor *find(const moeclip_tensors *file, const char *tower, int layer, const char *what, int i,
                                  const char *rest) {
  char name[160];
  snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s.%d%s", tower, layer, what, i, rest);
  return moeclip_tensors_find(file, name);
}

bool mc_adapters_in(const moeclip_tensors *file) {
  return find(file, "visual.", 0, "adaptmlp_list", 0, ".down_proj.weight") != NULL;
}

static moeclip_code read_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  return mc_param_fill(p, context, name, err);
}

static int count_up(const moeclip_tensors *file, const char *tower, const char *what, const char *rest) {
  int n = 0;
  while (n < 65536 && find(file, tower, 0, what, n, rest)) n++;
  return n;
}

/* Which experts of a block were dropped: [experts] of 0 and 1, or NULL. */
static const moeclip_tensor *dropped_of(const moeclip_tensors *file, bool visual, int layer) {
  char name[64];
  snprintf(name, sizeof name, "dropped.%s.%d", visual ? "visual" : "text", layer);
  const moeclip_tensor *t = moeclip_tensors_find(file, name);
  return t && t->dtype == MOECLIP_U8 && t->rank == 1 && t->n_bytes <= 65536 ? t : NULL;
}

static int count_experts(const moeclip_tensors *file) {
  const moeclip_tensor *dropped = dropped_of(file, true, 0);
  return dropped ? (int)dropped->n_bytes : count_up(file, "visual.", "adaptmlp_list", ".down_proj.weight");
}

static int count_dropped(const moeclip_tensors *file, bool visual, int layer) {
  const moeclip_tensor *t = dropped_of(file, visual, layer);
  int n = 0;
  for (size_t e = 0; t && e < t->n_bytes; e++) n += ((const uint8_t *)t->data)[e] != 0;
  return n;
}

/* Dropped experts are fresh; expert 0 never is, as the sizes are read from it. */
static moeclip_code restore_dropped(mc_adapters *a, const moeclip_tensors *file, moeclip_error *err) {
  for (int i = 0; i < n_blocks(a); i++) {
    bool visual = i < a->visual_layers;
    const moeclip_tensor *t = dropped_of(file, visual, visual ? i : i - a->visual_layers);
    mc_moe *m = block(a, i);
    if (!t) continue;
    const uint8_t *dropped = t->data;
    if (t->n_bytes != (size_t)m->n_experts || dropped[0]) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "%s is not for %d experts", t->name, m->n_experts);
    }
    for (int e = 0; e < m->n_experts; e++) {
      m->experts[e].dropped = dropped[e] != 0;
      if (dropped[e]) start_expert(&m->experts[e], i, e, m->width, a->sizes.seed);
    }
  }
  return MOECLIP_OK;
}

moeclip_code mc_adapters_load(const moeclip_tensors *file, const mc_adapter_sizes *defaults, mc_adapters **out,
                              moeclip_error *err) {
  *out = NULL;
  const moeclip_tensor *visual = find(file, "visual.", 0, "adaptmlp_list", 0, ".down_proj.weight");
  const moeclip_tensor *text = find(file, "", 0, "adaptmlp_list", 0, ".down_proj.weight");
  if (!visual || visual->rank != 2 || (text && text->rank != 2) || visual->shape[0] > 65536 ||
      visual->shape[1] > 65536 || (text && text->shape[1] > 65536)) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT,
                   "there are no adapters: visual.transformer.resblocks.0.adaptmlp_list.0.down_proj.weight is missing or "
                   "not a matrix");
  }
  mc_adapter_sizes sizes = *defaults;
  sizes.n_experts = count_experts(file);
  sizes.bottleneck = (int)visual->shape[0];
  sizes.text = text != NULL;
  int n_routers = count_up(file, "visual.", "router_list", ""), visual_layers = 0, text_layers = 0;
  while (find(file, "visual.", visual_layers, "adaptmlp_list", 0, ".down_proj.weight")) visual_layers++;
  while (find(file, "", text_layers, "adaptmlp_list", 0, ".down_proj.weight")) text_layers++;
  /* Every parameter must be in the file: what the sizes promise is held against it before anything is allocated. */
  double rows = 0;
  for (int i = 0; i < visual_layers; i++) rows += (double)visual->shape[1] * (sizes.n_experts - count_dropped(file, true, i));
  for (int i = 0; text && i < text_layers; i++) rows += (double)text->shape[1] * (sizes.n_experts - count_dropped(file, false, i));
  double promised = rows * 2.0 * sizes.bottleneck;
  /* Dropped experts are made anew, so a small file could ask for a lot of memory. */
  double whole = ((double)visual_layers * (double)visual->shape[1] + (double)text_layers * (double)(text ? text->shape[1] : 0)) *
                 sizes.n_experts * 2.0 * sizes.bottleneck;
  double present = 0;
  for (size_t i = 0; i < moeclip_tensors_count(file); i++) {
    present += (double)moeclip_tensor_elements(moeclip_tensors_at(file, i));
  }
  if (promised > present || whole > 256 * present) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "the adapters are not complete: some experts' tensors are missing");
  }
  MC_TRY(create_blank(&sizes, visual_layers, (int)visual->shape[1], text_layers, text ? (int)text->shape[1] : 64, out, err));
  moeclip_code code = MOECLIP_OK;
  for (int i = 0; code == MOECLIP_OK && i < n_blocks(*out); i++) {
    mc_moe *m = block(*out, i);
    bool of_visual = i < visual_layers;
    for (int t = 0; code == MOECLIP_OK && t < n_routers; t++) {
      const moeclip_tensor *router = find(file, of_visual ? "visual." : "", of_visual ? i : i - visual_layers,
                                          "router_list", t, "");
      if (!router || router->rank != 2 || router->shape[1] < 1 || router->shape[1] > m->n_experts) {
        code = mc_fail(err, MOECLIP_ERROR_FORMAT, "router_list.%d of block %d is missing or not for %d experts", t, i,
                       m->n_experts);
      } else {
        code = moe_add_router(m, (int)router->shape[1], err);
      }
    }
  }
  if (code == MOECLIP_OK) (*out)->n_routers = n_routers;
  if (code == MOECLIP_OK) code = restore_dropped(*out, file, err);
  if (code == MOECLIP_OK) code = each(*out, false, read_param, (void *)(uintptr_t)file, err);
  if (code != MOECLIP_OK) {
    mc_adapters_destroy(*out);
    *out = NULL;
  }
  return code;
}

static moeclip_code store_param(void *context, const char *name, mc_param *p, moeclip_error *err) {
  return moeclip_tensors_add(context, name, MOECLIP_F32, p->rank, p->shape, p->value, 1, err);
}

static moeclip_code store_dropped(const mc_adapters *a, int i, moeclip_tensors *out, moeclip_error *err) {
  const mc_moe *m = block(a, i);
  bool visual = i < a->visual_layers, any = false;
  char name[64];
  int64_t n = m->n_experts;
  uint8_t *dropped = mc_alloc((size_t)n, 1);
  if (!dropped) return mc_fail_memory(err, (size_t)n, "a state");
  for (int e = 0; e < m->n_experts; e++) any |= dropped[e] = m->experts[e].dropped;
  snprintf(name, sizeof name, "dropped.%s.%d", visual ? "visual" : "text", visual ? i : i - a->visual_layers);
  moeclip_code code = any ? moeclip_tensors_add(out, name, MOECLIP_U8, 1, &n, dropped, 1, err) : MOECLIP_OK;
  free(dropped);
  return code;
}

moeclip_code mc_adapters_store(mc_adapters *a, moeclip_tensors *out, moeclip_error *err) {
  for (int i = 0; i < n_blocks(a); i++) MC_TRY(store_dropped(a, i, out, err));
  return each(a, false, store_param, out, err);
}
