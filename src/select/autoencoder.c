/* The autoencoder of one task: forward, backward, and Adam as PyTorch has it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/kernels.h"
#include "compute/activation.h"
#include "model/block.h"
#include "select/features.h"
#include "select/selector.h"

moeclip_code mc_autoencoder_create(mc_autoencoder *a, int64_t dim, int64_t hidden, uint64_t seed, uint64_t number,
                                   moeclip_error *err) {
  *a = (mc_autoencoder){.dim = dim, .hidden = hidden};
  moeclip_code code = mc_param_create(&a->encoder_weight, 2, (int64_t[]){hidden, dim}, err);
  if (code == MOECLIP_OK) code = mc_param_create(&a->encoder_bias, 1, (int64_t[]){hidden}, err);
  if (code == MOECLIP_OK) code = mc_param_create(&a->decoder_weight, 2, (int64_t[]){dim, hidden}, err);
  if (code == MOECLIP_OK) code = mc_param_create(&a->decoder_bias, 1, (int64_t[]){dim}, err);
  if (code != MOECLIP_OK) {
    mc_autoencoder_clear(a);
    return code;
  }
  mc_philox g;
  mc_philox_init(&g, seed, MC_STREAM_SELECTOR, number);
  mc_param_uniform(&a->encoder_weight, 1 / sqrtf((float)dim), &g);
  mc_param_uniform(&a->encoder_bias, 1 / sqrtf((float)dim), &g);
  mc_param_uniform(&a->decoder_weight, 1 / sqrtf((float)hidden), &g);
  mc_param_uniform(&a->decoder_bias, 1 / sqrtf((float)hidden), &g);
  return MOECLIP_OK;
}

void mc_autoencoder_clear(mc_autoencoder *a) {
  mc_param_clear(&a->encoder_weight);
  mc_param_clear(&a->encoder_bias);
  mc_param_clear(&a->decoder_weight);
  mc_param_clear(&a->decoder_bias);
  *a = (mc_autoencoder){0};
}

/* hidden [n, hidden] and y [n, dim] before the sigmoid. On the fast path both products' inputs are rounded: their weights are read once for
 * few pictures, so that half the bytes is most of what there is to gain. */
static moeclip_code forward(mc_compute *cp, mc_autoencoder *a, const float *x, int64_t n, float *hidden, float *y, mc_arena *arena,
                            moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  const mc_between *in = NULL, *middle = NULL;
  moeclip_code code = mc_put_between(cp, x, n * a->dim, &in, arena, err);
  if (code == MOECLIP_OK) code = mc_linear(cp, in, n, &a->encoder_weight, &a->encoder_bias, hidden, MC_INTO_FLOAT, err);
  for (int64_t i = 0; code == MOECLIP_OK && i < n * a->hidden; i++) hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
  if (code == MOECLIP_OK) code = mc_put_between(cp, hidden, n * a->hidden, &middle, arena, err);
  if (code == MOECLIP_OK) code = mc_linear(cp, middle, n, &a->decoder_weight, &a->decoder_bias, y, MC_INTO_FLOAT, err);
  mc_arena_release(arena, mark);
  return code;
}

/* The squared error of a row of y before the sigmoid against x, in pieces of at most PIECE, which are added in double. */
enum { PIECE = 256 };

MC_VECTORISED static float squared_error(const float *restrict y, const float *restrict x, int64_t n) {
  float d[PIECE];
  mc_row_sigmoid(y, 1, d, n);
  for (int64_t i = 0; i < n; i++) d[i] -= x[i];
  return mc_row_dot(d, d, n);
}

typedef struct comparing {
  const float *y, *x;
  float *errors;
  int64_t dim;
} comparing;

static void compare_rows(void *context, int64_t begin, int64_t end) {
  const comparing *c = context;
  for (int64_t r = begin; r < end; r++) {
    double sum = 0;
    for (int64_t i = 0; i < c->dim; i += PIECE) {
      int64_t n = c->dim - i < PIECE ? c->dim - i : PIECE;
      sum += squared_error(c->y + r * c->dim + i, c->x + r * c->dim + i, n);
    }
    c->errors[r] = (float)(sum / (double)c->dim);
  }
}

moeclip_code mc_autoencoder_errors(mc_compute *cp, mc_autoencoder *a, const float *x, int64_t n, float *errors,
                                   mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  float *hidden = mc_arena_take(arena, (size_t)(n * a->hidden), sizeof *hidden);
  float *y = mc_arena_take(arena, (size_t)(n * a->dim), sizeof *y);
  if (!hidden || !y) return mc_fail_memory(err, (size_t)(n * a->dim) * sizeof *y, "the selector");
  moeclip_code code = forward(cp, a, x, n, hidden, y, arena, err);
  if (code == MOECLIP_OK) {
    comparing c = {y, x, errors, a->dim};
    mc_parallel_for(cp, n, 1, compare_rows, &c);
  }
  mc_arena_release(arena, mark);
  return code;
}

/* --- training ------------------------------------------------------------------------------------------------------------ */

typedef struct output_gradient {
  float *y;           /* in: before the sigmoid; out: d loss / d that */
  const float *x;
  double *row_losses; /* [rows] sums of squares */
  int64_t dim;
  float weight;       /* 2 / (n * dim) */
} output_gradient;

MC_VECTORISED static float gradient_piece(float *restrict y, const float *restrict x, int64_t n, float weight) {
  float s[PIECE], d[PIECE];
  mc_row_sigmoid(y, 1, s, n);
  for (int64_t i = 0; i < n; i++) {
    d[i] = s[i] - x[i];
    y[i] = weight * d[i] * s[i] * (1.0f - s[i]);
  }
  return mc_row_dot(d, d, n);
}

static void gradient_rows(void *context, int64_t begin, int64_t end) {
  const output_gradient *g = context;
  for (int64_t r = begin; r < end; r++) {
    double sum = 0;
    for (int64_t i = 0; i < g->dim; i += PIECE) {
      int64_t n = g->dim - i < PIECE ? g->dim - i : PIECE;
      sum += gradient_piece(g->y + r * g->dim + i, g->x + r * g->dim + i, n, g->weight);
    }
    g->row_losses[r] = sum;
  }
}

/* grad [outputs, inputs] = dy^T x. */
static moeclip_code weight_gradient(mc_compute *cp, const float *dy, int64_t n, int64_t outputs, const float *x, int64_t inputs,
                                    mc_param *p, moeclip_error *err) {
  mc_gemm g = {.m = outputs, .n = inputs, .k = n, .a = dy, .lda = outputs, .trans_a = true, .b = x, .ldb = inputs,
               .c = p->grad, .ldc = inputs};
  return mc_gemm_run(cp, &g, err);
}

static void bias_gradient(mc_compute *cp, const float *dy, int64_t n, int64_t outputs, mc_param *p) {
  for (int64_t i = 0; i < outputs; i++) p->grad[i] = 0;
  mc_column_sums(cp, dy, n, outputs, outputs, p->grad);
}

moeclip_code mc_autoencoder_gradients(mc_compute *cp, mc_autoencoder *a, const float *x, int64_t n, double *loss,
                                      mc_arena *arena, moeclip_error *err) {
  mc_arena_mark mark = mc_arena_here(arena);
  float *hidden = mc_arena_take(arena, (size_t)(n * a->hidden), sizeof *hidden);
  float *dhidden = mc_arena_take(arena, (size_t)(n * a->hidden), sizeof *dhidden);
  float *y = mc_arena_take(arena, (size_t)(n * a->dim), sizeof *y);
  double *row_losses = mc_arena_take(arena, (size_t)n, sizeof *row_losses);
  if (!hidden || !dhidden || !y || !row_losses) return mc_fail_memory(err, (size_t)(n * a->dim) * sizeof *y, "the selector");
  moeclip_code code = forward(cp, a, x, n, hidden, y, arena, err);
  if (code == MOECLIP_OK) {
    double count = (double)n * (double)a->dim;
    output_gradient g = {y, x, row_losses, a->dim, (float)(2 / count)};
    mc_parallel_for(cp, n, 1, gradient_rows, &g);
    *loss = 0;
    for (int64_t r = 0; r < n; r++) *loss += row_losses[r] / count;
    code = weight_gradient(cp, y, n, a->dim, hidden, a->hidden, &a->decoder_weight, err);
    bias_gradient(cp, y, n, a->dim, &a->decoder_bias);
  }
  if (code == MOECLIP_OK) {
    mc_gemm g = {.m = n, .n = a->hidden, .k = a->dim, .a = y, .lda = a->dim, .b = a->decoder_weight.value, .ldb = a->hidden,
                 .c = dhidden, .ldc = a->hidden};
    code = mc_gemm_run(cp, &g, err);
  }
  if (code == MOECLIP_OK) {
    for (int64_t i = 0; i < n * a->hidden; i++) dhidden[i] = hidden[i] > 0 ? dhidden[i] : 0;
    code = weight_gradient(cp, dhidden, n, a->hidden, x, a->dim, &a->encoder_weight, err);
    bias_gradient(cp, dhidden, n, a->hidden, &a->encoder_bias);
  }
  mc_arena_release(arena, mark);
  return code;
}

enum { N_PARAMS = 4 };

struct mc_autoencoder_trainer {
  mc_autoencoder *a;
  mc_param *param[N_PARAMS];
  float *m[N_PARAMS], *v[N_PARAMS];
  float weight_decay;
  int64_t step;
  moeclip_comm *comm; /* NULL: alone */
  mc_comm_sum *sum;   /* all gradients, one after another */
};

moeclip_code mc_autoencoder_trainer_create(mc_autoencoder *a, float weight_decay, mc_autoencoder_trainer **out,
                                           moeclip_error *err) {
  *out = NULL;
  mc_autoencoder_trainer *t = calloc(1, sizeof *t);
  if (!t) return mc_fail_memory(err, sizeof *t, "the selector's optimizer");
  *t = (mc_autoencoder_trainer){
      .a = a, .param = {&a->encoder_weight, &a->encoder_bias, &a->decoder_weight, &a->decoder_bias}, .weight_decay = weight_decay};
  moeclip_code code = MOECLIP_OK;
  for (int i = 0; code == MOECLIP_OK && i < N_PARAMS; i++) {
    size_t n = (size_t)t->param[i]->n;
    t->m[i] = mc_zeros(n, sizeof(float));
    t->v[i] = mc_zeros(n, sizeof(float));
    code = t->m[i] && t->v[i] ? mc_param_unfreeze(t->param[i], err) : mc_fail_memory(err, n * 8, "the selector's optimizer");
  }
  if (code != MOECLIP_OK) {
    mc_autoencoder_trainer_destroy(t);
    return code;
  }
  *out = t;
  return MOECLIP_OK;
}

void mc_autoencoder_trainer_destroy(mc_autoencoder_trainer *t) {
  if (!t) return;
  mc_comm_sum_destroy(t->sum);
  for (int i = 0; i < N_PARAMS; i++) {
    mc_param_freeze(t->param[i]);
    mc_aligned_free(t->m[i]);
    mc_aligned_free(t->v[i]);
  }
  free(t);
}

typedef struct update {
  float *p, *m, *v;
  const float *g;
  float decay, rate, inverse_root;
} update;

MC_VECTORISED static void update_autoencoder_range(const update *u, int64_t begin, int64_t end) {
  float *restrict p = u->p, *restrict m = u->m, *restrict v = u->v;
  const float *restrict g = u->g;
  for (int64_t i = begin; i < end; i++) {
    float d = g[i] + u->decay * p[i];
    m[i] = 0.9f * m[i] + 0.1f * d;
    v[i] = 0.999f * v[i] + 0.001f * d * d;
    p[i] -= u->rate * m[i] / (sqrtf(v[i]) * u->inverse_root + 1e-8f);
  }
}

static void update_body(void *context, int64_t begin, int64_t end) { update_autoencoder_range(context, begin, end); }

moeclip_code mc_autoencoder_trainer_join(mc_autoencoder_trainer *t, moeclip_comm *comm, moeclip_error *err) {
  int64_t n = 0;
  for (int i = 0; i < N_PARAMS; i++) n += t->param[i]->n;
  t->comm = comm;
  return comm ? moeclip_comm_agree(comm, mc_comm_sum_create(comm, n, &t->sum, err), err) : MOECLIP_OK;
}

/* This rank's means become its share of the means of all. Every rank comes through here, also one that has failed. */
static void sum_gradients(mc_autoencoder_trainer *t, float share) {
  float *at = mc_comm_sum_data(t->sum);
  for (int i = 0; i < N_PARAMS; at += t->param[i++]->n) {
    for (int64_t j = 0; j < t->param[i]->n; j++) at[j] = share > 0 ? share * t->param[i]->grad[j] : 0;
  }
  mc_comm_sum_start(t->sum);
  mc_comm_sum_wait(t->sum);
  at = mc_comm_sum_data(t->sum);
  for (int i = 0; i < N_PARAMS; at += t->param[i++]->n) memcpy(t->param[i]->grad, at, (size_t)t->param[i]->n * sizeof *at);
}

moeclip_code mc_autoencoder_shared_step(mc_compute *cp, mc_autoencoder_trainer *t, const float *x, int64_t n, int64_t n_all, double lr,
                                        double *loss, mc_arena *arena, moeclip_error *err) {
  moeclip_code code = MOECLIP_OK;
  *loss = 0;
  if (n > 0) code = mc_autoencoder_gradients(cp, t->a, x, n, loss, arena, err);
  if (t->comm) {
    sum_gradients(t, (float)((double)n / (double)n_all));
    *loss *= (double)n / (double)n_all;
    MC_TRY(mc_comm_agree_total(t->comm, code, loss, err));
  }
  MC_TRY(code);
  if (!isfinite(*loss)) {
    code = mc_fail(err, MOECLIP_ERROR_NUMERIC, "the loss is not finite (%g)", *loss);
    return moeclip_comm_agree(t->comm, code, err); /* it is the same everywhere */
  }
  t->step++;
  double correction1 = 1 - pow(0.9, (double)t->step), correction2 = 1 - pow(0.999, (double)t->step);
  for (int i = 0; i < N_PARAMS; i++) {
    update u = {t->param[i]->value, t->m[i], t->v[i], t->param[i]->grad, t->weight_decay, (float)(lr / correction1),
                (float)(1 / sqrt(correction2))};
    mc_parallel_for(cp, t->param[i]->n, 1 << 13, update_body, &u);
  }
  return MOECLIP_OK;
}

moeclip_code mc_autoencoder_step(mc_compute *cp, mc_autoencoder_trainer *t, const float *x, int64_t n, double lr, double *loss,
                                 mc_arena *arena, moeclip_error *err) {
  return mc_autoencoder_shared_step(cp, t, x, n, n, lr, loss, arena, err);
}
