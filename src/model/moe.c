/*
 * The experts' work. A slot is one sample at one of its experts. Two ways of going about it:
 *
 *   long rows of tokens (pictures): a thread takes a sample and adds its experts' outputs one after the other, in place;
 *   short ones (texts, few patches): slots of an expert are gathered, so that they make one product; a thread takes an expert, or some
 *   of its slots; the outputs go to places of their own, and are then added up sample by sample.
 *
 * Weight gradients are sums over an expert's slots: a thread takes a part of an expert's weights and adds its slots in order. So no two
 * threads add to the same number, and the result does not depend on how many threads there are.
 */
#include "model/moe.h"

#include <string.h>

#include "base/memory.h"
#include "model/dispatch.h"
#include "model/expert_rows.h"

enum { IN_PLACE_TOKENS = 48, CHUNK_ROWS = 256, GRADIENT_ROWS = 512, PAD = 16 };

#define TAKE(pointer, count) MC_ARENA_TAKE(pointer, arena, count, "the experts' work")

/* Some slots of one expert, or, for weight gradients, a part of one expert's weights. */
typedef struct unit {
  int32_t expert, first, count;
} unit;

typedef struct job {
  mc_compute *cp;
  mc_moe *moe;
  const mc_routing *g;
  int block;
  int64_t n, t, d, h, row;   /* row = t * d */
  const float *x, *dout;
  const mc_bfloat16 *dout16; /* dout rounded, or NULL: then it is rounded here, where that is needed */
  float *out, *dx, *dgates;
  const mc_moe_kept *kept;
  unit *units;
  int64_t n_units;
  float *gathered, *result;  /* [n_slots, t, d]; short rows alone */
  float *gradient;           /* dout gathered in the same way */
  float *hidden;             /* [n_slots, t, h] */
  float *dhidden;            /* [n_slots, t, h] */
  float *sums;               /* [n_slots, d]: dout summed over a slot's tokens */
  char *scratch;             /* [threads, scratch_each]: for weights' gradients */
  int64_t scratch_each, product_bytes;
  mc_bfloat16 *rounded;      /* [threads, rounded_each]: rows of a unit of work, then their hidden units; NULL: float32 */
  int64_t rounded_each, rounded_rows;
  bool failed;
} job;

static void need(job *j, bool good) {
  if (good) return;
#pragma omp atomic write
  j->failed = true;
}

static moeclip_code finish(const job *j, moeclip_error *err) {
  return j->failed ? mc_fail(err, MOECLIP_ERROR_INTERNAL, "oneDNN failed to compute an expert's products") : MOECLIP_OK;
}

static bool in_place(const job *j) { return j->t >= IN_PLACE_TOKENS; }

/* For bfloat16: places for what the threads round, and the chosen experts' weights, before any thread reads them. */
static moeclip_code prepare_rounding(job *j, mc_arena *arena, moeclip_error *err) {
  if (mc_compute_precision(j->cp) != MC_BFLOAT16) return MOECLIP_OK;
  j->rounded_rows = in_place(j) ? j->t : (CHUNK_ROWS + j->t - 1) / j->t * j->t;
  j->rounded_each = j->rounded_rows * (j->d + j->h);
  TAKE(j->rounded, mc_compute_threads(j->cp) * j->rounded_each);
  for (int32_t e = 0; e < j->moe->n_experts; e++) {
    if (j->kept->first[e] == j->kept->first[e + 1]) continue;
    MC_TRY(mc_param_half(j->cp, &j->moe->experts[e].down_weight, err));
    MC_TRY(mc_param_half(j->cp, &j->moe->experts[e].up_weight, err));
  }
  return MOECLIP_OK;
}

/* Rows [rows, d] of a unit of work, rounded; NULL where float32 is used. */
static const mc_bfloat16 *round_rows(job *j, int thread, const float *x, int64_t rows) {
  if (!j->rounded) return NULL;
  mc_bfloat16 *to = j->rounded + thread * j->rounded_each;
  mc_to_bfloat16_alone(x, rows * j->d, to);
  return to;
}

static const mc_bfloat16 *round_hidden(job *j, int thread, const float *x, int64_t rows) {
  if (!j->rounded) return NULL;
  mc_bfloat16 *to = j->rounded + thread * j->rounded_each + j->rounded_rows * j->d;
  mc_to_bfloat16_alone(x, rows * j->h, to);
  return to;
}

/* A product with a weight as it stands (trans_b) or turned; a16: the same as g->a, rounded, or NULL. */
static void product(job *j, mc_gemm g, const mc_bfloat16 *a16, const mc_param *weight) {
  g.b = weight->value;
  g.ldb = weight->shape[1];
  g.lda = g.k;
  g.ldc = g.n;
  if (!a16) {
    need(j, mc_gemm_alone(&g));
    return;
  }
  mc_gemm16 g16 = {.m = g.m, .n = g.n, .k = g.k, .a = a16, .lda = g.lda, .b = weight->half, .ldb = g.ldb, .trans_b = g.trans_b, .c = g.c,
                   .ldc = g.ldc, .bias = g.bias, .accumulate = g.accumulate};
  need(j, mc_gemm16_alone(j->cp, &g16));
}

static float gate_of(const job *j, int64_t slot) {
  int64_t s = j->kept->sample[slot];
  return j->g->scale * j->kept->gates[s * j->kept->k + j->kept->place[slot]];
}

/* An expert's slots in runs of about CHUNK_ROWS rows. */
static moeclip_code make_units(job *j, mc_arena *arena, moeclip_error *err) {
  int32_t each = (int32_t)((CHUNK_ROWS + j->t - 1) / j->t);
  TAKE(j->units, j->kept->n_slots / each + j->moe->n_experts);
  j->n_units = 0;
  for (int32_t e = 0; e < j->moe->n_experts; e++) {
    int32_t end = j->kept->first[e + 1];
    for (int32_t at = j->kept->first[e]; at < end; at += each) {
      j->units[j->n_units++] = (unit){e, at, end - at < each ? end - at : each};
    }
  }
  return MOECLIP_OK;
}

static void gather(const job *j, const float *from, unit u, float *to) {
  for (int32_t i = 0; i < u.count; i++) {
    int64_t slot = u.first + i;
    memcpy(to + slot * j->row, from + j->kept->sample[slot] * j->row, (size_t)j->row * sizeof *to);
  }
}

/* --- forward ------------------------------------------------------------------------------------------------------------------ */

/* Rows [count * t, d] of slots `first`.. of one expert -> their hidden units, gated. */
static void down(job *j, unit u, const float *from, const mc_bfloat16 *from16) {
  const mc_expert *x_e = &j->moe->experts[u.expert];
  int64_t each = j->t * j->h;
  mc_gemm g = {.m = u.count * j->t, .n = j->h, .k = j->d, .a = from, .trans_b = true, .c = j->hidden + u.first * each,
               .bias = x_e->down_bias.value};
  product(j, g, from16, &x_e->down_weight);
  for (int32_t i = 0; i < u.count; i++) {
    int64_t slot = u.first + i;
    float *own = j->hidden + slot * each, gate = gate_of(j, slot);
    mc_expert_activate(own, each, gate);
    if (j->g->dropout > 0) mc_expert_drop(j->g, j->block, j->kept->sample[slot], u.expert, each, own);
  }
}

static void up(job *j, unit u, int thread, float *to, bool accumulate) {
  const float *hidden = j->hidden + u.first * j->t * j->h;
  mc_gemm g = {.m = u.count * j->t, .n = j->d, .k = j->h, .a = hidden, .trans_b = true, .c = to, .accumulate = accumulate};
  product(j, g, round_hidden(j, thread, hidden, g.m), &j->moe->experts[u.expert].up_weight);
}

static void add_bias(const job *j, int64_t slot, int32_t expert, float *to) {
  mc_expert_add_bias(to, j->t, j->d, j->moe->experts[expert].up_bias.value, gate_of(j, slot));
}

static void forward_sample(void *context, int64_t s, int thread) {
  job *j = context;
  const mc_bfloat16 *from16 = round_rows(j, thread, j->x + s * j->row, j->t);
  for (int p = 0; p < j->kept->k; p++) {
    int32_t slot = j->kept->slot[s * j->kept->k + p], e = j->kept->chosen[s * j->kept->k + p];
    if (slot < 0) continue;
    unit u = {e, slot, 1};
    down(j, u, j->x + s * j->row, from16);
    up(j, u, thread, j->out + s * j->row, true);
    add_bias(j, slot, e, j->out + s * j->row);
  }
}

static void forward_unit(void *context, int64_t i, int thread) {
  job *j = context;
  unit u = j->units[i];
  const float *from = j->gathered + u.first * j->row;
  gather(j, j->x, u, j->gathered);
  down(j, u, from, round_rows(j, thread, from, u.count * j->t));
  up(j, u, thread, j->result + u.first * j->row, false);
}

static void add_up_sample(void *context, int64_t begin, int64_t end) {
  job *j = context;
  for (int64_t s = begin; s < end; s++) {
    for (int p = 0; p < j->kept->k; p++) {
      int32_t slot = j->kept->slot[s * j->kept->k + p];
      if (slot < 0) continue;
      const float *add = j->result + slot * j->row;
      float *own = j->out + s * j->row;
      mc_expert_add(own, add, j->row, 1);
      add_bias(j, slot, j->kept->chosen[s * j->kept->k + p], own);
    }
  }
}

moeclip_code mc_moe_forward(mc_compute *cp, mc_moe *moe, const mc_routing *g, int block, int64_t n, int64_t t,
                            const float *x, float *out, mc_moe_kept *kept, mc_arena *arena, moeclip_error *err) {
  mc_moe_kept local;
  mc_arena_mark before = mc_arena_here(arena);
  bool keep = kept != NULL;
  if (!keep) kept = &local;
  MC_TRY(mc_moe_choose(moe, g, block, n, t, x, kept, arena, err));
  job j = {.cp = cp, .moe = moe, .g = g, .block = block, .n = n, .t = t, .d = moe->width, .h = moe->experts[0].down_bias.n,
           .row = t * moe->width, .x = x, .out = out, .kept = kept};
  TAKE(kept->hidden, (int64_t)kept->n_slots * t * j.h);
  j.hidden = kept->hidden;
  mc_arena_mark mark = mc_arena_here(arena);
  MC_TRY(prepare_rounding(&j, arena, err));
  if (in_place(&j)) {
    mc_parallel_units(cp, n, forward_sample, &j);
  } else if (kept->n_slots > 0) {
    MC_TRY(make_units(&j, arena, err));
    TAKE(j.gathered, kept->n_slots * j.row);
    TAKE(j.result, kept->n_slots * j.row);
    mc_parallel_units(cp, j.n_units, forward_unit, &j);
    mc_parallel_for(cp, n, 1, add_up_sample, &j);
  }
  mc_arena_release(arena, keep ? mark : before);
  return finish(&j, err);
}

/* --- backward ----------------------------------------------------------------------------------------------------------------- */

/* Slots whose dout stands in dy [count * t, d] -> dhidden before the ReLU, the gates' gradients, dout's sums. */
static void back_up(job *j, unit u, const float *dy, const mc_bfloat16 *dy16) {
  const mc_expert *x_e = &j->moe->experts[u.expert];
  int64_t each = j->t * j->h;
  mc_gemm g = {.m = u.count * j->t, .n = j->h, .k = j->d, .a = dy, .c = j->dhidden + u.first * each};
  product(j, g, dy16, &x_e->up_weight);
  float kept_up = j->g->dropout > 0 ? 1 / (1 - j->g->dropout) : 1;
  for (int32_t i = 0; i < u.count; i++) {
    int64_t slot = u.first + i;
    float gate = gate_of(j, slot), *back = j->dhidden + slot * each, *sum = j->sums + slot * j->d;
    const float *own = j->hidden + slot * each, *dy_own = dy + i * j->row;
    /* d gate = scale * <dout, U hidden + c>; own is hidden times gate (which has the scale in it). */
    mc_expert_sum_rows(dy_own, j->t, j->d, sum);
    double dot = mc_expert_dot(own, back, j->t, j->h), of_bias = mc_expert_dot(sum, x_e->up_bias.value, 1, j->d);
    /* A gate may be so small that, times the scale, it is 0: then so is dot, and what the gate's softmax makes of this. */
    if (gate > 0) dot /= gate;
    j->dgates[j->kept->sample[slot] * j->kept->k + j->kept->place[slot]] = (float)(j->g->scale * (dot + of_bias));
    mc_expert_deactivate(own, each, gate * kept_up, back);
  }
}

static void back_down(job *j, unit u, int thread, float *to, bool accumulate) {
  const float *dhidden = j->dhidden + u.first * j->t * j->h;
  mc_gemm g = {.m = u.count * j->t, .n = j->d, .k = j->h, .a = dhidden, .c = to, .accumulate = accumulate};
  product(j, g, round_hidden(j, thread, dhidden, g.m), &j->moe->experts[u.expert].down_weight);
}

static void backward_sample(void *context, int64_t s, int thread) {
  job *j = context;
  const mc_bfloat16 *dy16 = j->dout16 ? j->dout16 + s * j->row : round_rows(j, thread, j->dout + s * j->row, j->t);
  for (int p = 0; p < j->kept->k; p++) {
    int32_t slot = j->kept->slot[s * j->kept->k + p];
    if (slot < 0) continue;
    unit u = {j->kept->chosen[s * j->kept->k + p], slot, 1};
    back_up(j, u, j->dout + s * j->row, dy16);
    if (j->dx) back_down(j, u, thread, j->dx + s * j->row, true);
  }
}

static void backward_unit(void *context, int64_t i, int thread) {
  job *j = context;
  unit u = j->units[i];
  const float *dy = j->gradient + u.first * j->row;
  gather(j, j->dout, u, j->gradient);
  gather(j, j->x, u, j->gathered);
  back_up(j, u, dy, round_rows(j, thread, dy, u.count * j->t));
  if (j->dx) back_down(j, u, thread, j->result + u.first * j->row, false);
}

static void add_dx_sample(void *context, int64_t begin, int64_t end) {
  job *j = context;
  for (int64_t s = begin; s < end; s++) {
    for (int p = 0; p < j->kept->k; p++) {
      int32_t slot = j->kept->slot[s * j->kept->k + p];
      if (slot < 0) continue;
      mc_expert_add(j->dx + s * j->row, j->result + slot * j->row, j->row, 1);
    }
  }
}

/* A part of the columns of some slots' rows of x or dout: copied to rows PAD further apart, away from powers of two. */
static void copy_columns(const job *j, const float *samples, const float *gathered, int64_t slot, int64_t count, unit u, float *to) {
  for (int64_t i = 0; i < count; i++) {
    const float *source = in_place(j) ? samples + j->kept->sample[slot + i] * j->row : gathered + (slot + i) * j->row;
    for (int64_t r = 0; r < j->t; r++) {
      memcpy(to + (i * j->t + r) * (u.count + PAD), source + r * j->d + u.first, (size_t)u.count * sizeof *to);
    }
  }
}

/* The same, rounded; samples16: samples as they are when rounded, or NULL. */
static void round_columns(const job *j, const float *samples, const mc_bfloat16 *samples16, const float *gathered, int64_t slot,
                          int64_t count, unit u, mc_bfloat16 *to) {
  for (int64_t i = 0; i < count; i++) {
    int64_t sample = j->kept->sample[slot + i] * j->row;
    const float *source = in_place(j) ? samples + sample : gathered + (slot + i) * j->row;
    for (int64_t r = 0; r < j->t; r++) {
      mc_bfloat16 *own = to + (i * j->t + r) * (u.count + PAD);
      if (samples16 && in_place(j)) {
        memcpy(own, samples16 + sample + r * j->d + u.first, (size_t)u.count * sizeof *own);
      } else {
        mc_to_bfloat16_alone(source + r * j->d + u.first, u.count, own);
      }
    }
  }
}

enum { PARTS = 4 };

/* What slots `slot` on add to columns u of one expert's weights, in float32. */
static void add_gradients(job *j, unit u, int64_t slot, int64_t count, float *part) {
  mc_expert *x_e = &j->moe->experts[u.expert];
  int64_t ld = u.count + PAD, at = slot * j->t * j->h;
  mc_gemm of_up = {.m = u.count, .n = j->h, .k = count * j->t, .a = part, .lda = ld, .trans_a = true, .b = j->hidden + at, .ldb = j->h,
                   .c = x_e->up_weight.grad + u.first * j->h, .ldc = j->h, .accumulate = true};
  mc_gemm of_down = {.m = j->h, .n = u.count, .k = count * j->t, .a = j->dhidden + at, .lda = j->h, .trans_a = true, .b = part, .ldb = ld,
                     .c = x_e->down_weight.grad + u.first, .ldc = j->d, .accumulate = true};
  copy_columns(j, j->dout, j->gradient, slot, count, u, part);
  need(j, mc_gemm_alone(&of_up));
  copy_columns(j, j->x, j->gathered, slot, count, u, part);
  need(j, mc_gemm_alone(&of_down));
}

/* The same of rounded numbers: columns, then hidden units, then what the product needs. */
static void add_gradients16(const job *j, unit u, int64_t slot, int64_t count, char *scratch) {
  mc_expert *x_e = &j->moe->experts[u.expert];
  int64_t ld = u.count + PAD, at = slot * j->t * j->h;
  mc_bfloat16 *units = (mc_bfloat16 *)(scratch + j->product_bytes), *columns = units + count * j->t * j->h;
  mc_gradient16 g = {.m = j->h, .n = u.count, .k = count * j->t, .a = units, .lda = j->h, .b = columns, .ldb = ld,
                     .c = x_e->up_weight.grad + u.first * j->h, .ldc = j->h, .turned = true, .scratch = scratch};
  round_columns(j, j->dout, j->dout16, j->gradient, slot, count, u, columns);
  mc_to_bfloat16_alone(j->hidden + at, g.k * j->h, units);
  mc_gradient16_alone(j->cp, &g);
  g.c = x_e->down_weight.grad + u.first;
  g.ldc = j->d;
  g.turned = false;
  round_columns(j, j->x, NULL, j->gathered, slot, count, u, columns);
  mc_to_bfloat16_alone(j->dhidden + at, g.k * j->h, units);
  mc_gradient16_alone(j->cp, &g);
}

/* Unit u: columns [first, first + count) of the width of one expert: of up_weight its rows, of down_weight its columns. */
static void weights_unit(void *context, int64_t i, int thread) {
  job *j = context;
  unit u = j->units[i];
  mc_expert *x_e = &j->moe->experts[u.expert];
  int32_t end = j->kept->first[u.expert + 1];
  int64_t each = GRADIENT_ROWS / j->t > 0 ? GRADIENT_ROWS / j->t : 1;
  for (int64_t slot = j->kept->first[u.expert]; slot < end; slot += each) {
    int64_t count = end - slot < each ? end - slot : each;
    if (j->rounded) {
      add_gradients16(j, u, slot, count, j->scratch + thread * j->scratch_each);
    } else {
      add_gradients(j, u, slot, count, (float *)(j->scratch + thread * j->scratch_each));
    }
    for (int64_t k = slot; k < slot + count; k++) {
      mc_expert_add(x_e->up_bias.grad + u.first, j->sums + k * j->d + u.first, u.count, gate_of(j, k));
    }
  }
  if (u.first > 0) return;
  const float *rows = j->dhidden + j->kept->first[u.expert] * j->t * j->h;
  for (int64_t r = 0; r < (end - j->kept->first[u.expert]) * j->t; r++) {
    mc_expert_add(x_e->down_bias.grad, rows + r * j->h, j->h, 1);
  }
}

static moeclip_code weights_backward(job *j, mc_arena *arena, moeclip_error *err) {
  int64_t part = (j->d + PARTS - 1) / PARTS, rows = GRADIENT_ROWS > j->t ? GRADIENT_ROWS : j->t;
  TAKE(j->units, (int64_t)j->moe->n_experts * PARTS);
  j->n_units = 0;
  for (int32_t e = 0; e < j->moe->n_experts; e++) {
    mc_expert *x_e = &j->moe->experts[e];
    if (!x_e->down_weight.grad || j->kept->first[e] == j->kept->first[e + 1]) continue;
    x_e->up_weight.touched = x_e->up_bias.touched = x_e->down_weight.touched = x_e->down_bias.touched = true;
    for (int64_t at = 0; at < j->d; at += part) {
      j->units[j->n_units++] = (unit){e, (int32_t)at, (int32_t)(j->d - at < part ? j->d - at : part)};
    }
  }
  j->product_bytes = j->rounded ? (int64_t)mc_gradient16_scratch(j->h, part, rows) : 0;
  j->scratch_each = j->rounded ? j->product_bytes + rows * (part + PAD + j->h) * (int64_t)sizeof(mc_bfloat16)
                               : rows * (part + PAD) * (int64_t)sizeof(float);
  j->scratch_each = (j->scratch_each + 63) / 64 * 64;
  TAKE(j->scratch, mc_compute_threads(j->cp) * j->scratch_each);
  mc_parallel_units(j->cp, j->n_units, weights_unit, j);
  return MOECLIP_OK;
}

moeclip_code mc_moe_backward(mc_compute *cp, mc_moe *moe, const mc_routing *g, int64_t n, int64_t t, const float *x,
                             const float *dout, const mc_bfloat16 *dout16, const mc_moe_kept *kept, float *dx, mc_arena *arena,
                             moeclip_error *err) {
  job j = {.cp = cp, .moe = moe, .g = g, .n = n, .t = t, .d = moe->width, .h = moe->experts[0].down_bias.n, .row = t * moe->width,
           .x = x, .dout = dout, .dout16 = dout16, .dx = dx, .kept = kept, .hidden = kept->hidden};
  mc_arena_mark before = mc_arena_here(arena);
  TAKE(j.dgates, n * kept->k);
  TAKE(j.dhidden, (int64_t)kept->n_slots * t * j.h);
  TAKE(j.sums, (int64_t)kept->n_slots * j.d);
  memset(j.dgates, 0, (size_t)(n * kept->k) * sizeof *j.dgates);
  MC_TRY(prepare_rounding(&j, arena, err));
  if (in_place(&j)) {
    mc_parallel_units(cp, n, backward_sample, &j);
  } else if (kept->n_slots > 0) {
    MC_TRY(make_units(&j, arena, err));
    TAKE(j.gathered, kept->n_slots * j.row);
    TAKE(j.gradient, kept->n_slots * j.row);
    if (dx) TAKE(j.result, kept->n_slots * j.row);
    mc_parallel_units(cp, j.n_units, backward_unit, &j);
    if (dx) mc_parallel_for(cp, n, 1, add_dx_sample, &j);
  }
  MC_TRY(weights_backward(&j, arena, err));
  MC_TRY(mc_moe_routers_backward(moe, g, n, j.row, x, kept, j.dgates, dx, arena, err));
  mc_arena_release(arena, before);
  return finish(&j, err);
}
