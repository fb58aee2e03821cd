#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute/kernels.h"
#include "compute/vector.h"

typedef struct entry {
  char *name;
  mc_param *param;
  float *m, *v;
  int64_t step;
} entry;

struct mc_adamw {
  mc_adamw_options options;
  entry *entries;
  size_t n_entries;
};

mc_adamw_options mc_adamw_defaults(void) { return (mc_adamw_options){0.9f, 0.999f, 1e-8f, 0.0f, false}; }

moeclip_code mc_adamw_create(const mc_adamw_options *options, mc_adamw **out, moeclip_error *err) {
  mc_adamw *o = calloc(1, sizeof *o);
  *out = o;
  if (!o) return mc_fail_memory(err, sizeof *o, "the optimizer");
  o->options = *options;
  return MOECLIP_OK;
}

void mc_adamw_destroy(mc_adamw *o) {
  if (!o) return;
  for (size_t i = 0; i < o->n_entries; i++) {
    free(o->entries[i].name);
    mc_aligned_free(o->entries[i].m);
    mc_aligned_free(o->entries[i].v);
  }
  free(o->entries);
  free(o);
}

moeclip_code mc_adamw_add(void *context, const char *name, mc_param *p, moeclip_error *err) {
  mc_adamw *o = context;
  if (!p->grad) return MOECLIP_OK;
  entry *grown = mc_realloc(o->entries, o->n_entries + 1, sizeof *grown);
  if (!grown) return mc_fail_memory(err, sizeof *grown, "the optimizer");
  o->entries = grown;
  entry *e = &o->entries[o->n_entries++];
  *e = (entry){.name = mc_strdup(name),
               .param = p,
               .m = mc_zeros((size_t)p->n, sizeof(float)),
               .v = mc_zeros((size_t)p->n, sizeof(float))};
  if (!e->name || !e->m || !e->v) return mc_fail_memory(err, (size_t)p->n * 2 * sizeof(float), "the optimizer's moments");
  return MOECLIP_OK;
}

int64_t mc_adamw_trainable(const mc_adamw *o) {
  int64_t n = 0;
  for (size_t i = 0; i < o->n_entries; i++) n += o->entries[i].param->n;
  return n;
}

typedef struct update {
  float *p, *m, *v;
  const float *g;
  float beta1, beta2, epsilon, decay, rate, inverse_root;
} update;

MC_VECTORISED static void update_range(const update *u, int64_t begin, int64_t end) {
  float *restrict p = u->p, *restrict m = u->m, *restrict v = u->v;
  const float *restrict g = u->g;
  for (int64_t i = begin; i < end; i++) {
    m[i] = u->beta1 * m[i] + (1 - u->beta1) * g[i];
    v[i] = u->beta2 * v[i] + (1 - u->beta2) * g[i] * g[i];
    p[i] = p[i] * u->decay - u->rate * m[i] / (sqrtf(v[i]) * u->inverse_root + u->epsilon);
  }
}

static void update_body(void *context, int64_t begin, int64_t end) { update_range(context, begin, end); }

void mc_adamw_step(mc_adamw *o, mc_compute *cp, double lr) {
  const mc_adamw_options *s = &o->options;
  for (size_t i = 0; i < o->n_entries; i++) {
    entry *e = &o->entries[i];
    mc_param *p = e->param;
    if (!p->touched) continue;
    e->step++;
    double correction1 = 1 - pow(s->beta1, (double)e->step), correction2 = 1 - pow(s->beta2, (double)e->step);
    bool decays = !s->decay_matrices_only || p->rank >= 2;
    update u = {.p = p->value, .m = e->m, .v = e->v, .g = p->grad, .beta1 = s->beta1, .beta2 = s->beta2,
                .epsilon = s->epsilon, .decay = decays ? (float)(1 - lr * s->weight_decay) : 1.0f,
                .rate = (float)(lr / correction1), .inverse_root = (float)(1 / sqrt(correction2))};
    mc_parallel_for(cp, p->n, 1 << 13, update_body, &u);
    mc_param_zero_grad(p);
  }
}

moeclip_code mc_adamw_check(const mc_adamw *o, moeclip_error *err) {
  for (size_t i = 0; i < o->n_entries; i++) {
    const mc_param *p = o->entries[i].param;
    if (p->touched && !mc_all_finite(p->grad, p->n)) {
      return mc_fail(err, MOECLIP_ERROR_NUMERIC, "the gradient of %s is not finite", o->entries[i].name);
    }
  }
  return MOECLIP_OK;
}

moeclip_code mc_adamw_check_values(const mc_adamw *o, moeclip_error *err) {
  for (size_t i = 0; i < o->n_entries; i++) {
    const mc_param *p = o->entries[i].param;
    if (!mc_all_finite(p->value, p->n)) {
      return mc_fail(err, MOECLIP_ERROR_NUMERIC, "the last step made %s infinite", o->entries[i].name);
    }
  }
  return MOECLIP_OK;
}

double mc_adamw_clip(mc_adamw *o, mc_compute *cp, double limit) {
  double square = 0;
  for (size_t i = 0; i < o->n_entries; i++) {
    const mc_param *p = o->entries[i].param;
    double own = 0;
    for (int64_t j = 0; p->touched && j < p->n; j++) own += (double)p->grad[j] * p->grad[j];
    square += own;
  }
  double norm = sqrt(square);
  if (norm > limit) {
    for (size_t i = 0; i < o->n_entries; i++) {
      mc_param *p = o->entries[i].param;
      if (p->touched) mc_scale(cp, (float)(limit / norm), p->n, p->grad);
    }
  }
  return norm;
}

moeclip_code mc_adamw_store(const mc_adamw *o, moeclip_tensors *out, moeclip_error *err) {
  char name[256];
  for (size_t i = 0; i < o->n_entries; i++) {
    const entry *e = &o->entries[i];
    snprintf(name, sizeof name, "optimizer.%s.m", e->name);
    MC_TRY(moeclip_tensors_add(out, name, MOECLIP_F32, e->param->rank, e->param->shape, e->m, 1, err));
    snprintf(name, sizeof name, "optimizer.%s.v", e->name);
    MC_TRY(moeclip_tensors_add(out, name, MOECLIP_F32, e->param->rank, e->param->shape, e->v, 1, err));
    snprintf(name, sizeof name, "optimizer.%s.step", e->name);
    MC_TRY(moeclip_tensors_add(out, name, MOECLIP_I64, 0, NULL, &e->step, 1, err));
  }
  return MOECLIP_OK;
}

static moeclip_code load_moment(const moeclip_tensors *in, const char *parameter, const char *what, const mc_param *p,
                                float *to, moeclip_error *err) {
  char name[256];
  snprintf(name, sizeof name, "optimizer.%s.%s", parameter, what);
  const moeclip_tensor *t = moeclip_tensors_find(in, name);
  if (!t || t->dtype != MOECLIP_F32 || (int64_t)moeclip_tensor_elements(t) != p->n) {
    return mc_fail(err, MOECLIP_ERROR_FORMAT, "the checkpoint has no %s of %lld numbers", name, (long long)p->n);
  }
  moeclip_tensor_to_f32(t, to);
  return MOECLIP_OK;
}

moeclip_code mc_adamw_load(mc_adamw *o, const moeclip_tensors *in, moeclip_error *err) {
  char name[256];
  for (size_t i = 0; i < o->n_entries; i++) {
    entry *e = &o->entries[i];
    MC_TRY(load_moment(in, e->name, "m", e->param, e->m, err));
    MC_TRY(load_moment(in, e->name, "v", e->param, e->v, err));
    snprintf(name, sizeof name, "optimizer.%s.step", e->name);
    const moeclip_tensor *t = moeclip_tensors_find(in, name);
    if (!t || t->dtype != MOECLIP_I64 || t->n_bytes != sizeof e->step) {
      return mc_fail(err, MOECLIP_ERROR_FORMAT, "the checkpoint has no %s", name);
    }
    memcpy(&e->step, t->data, sizeof e->step);
  }
  return MOECLIP_OK;
}

double mc_cosine_lr(double base, int64_t warmup, int64_t total, int64_t step) {
  if (step < warmup) return base * (double)(step + 1) / (double)warmup;
  if (total <= warmup) return base;
  return 0.5 * base * (1 + cos(3.14159265358979323846 * (double)(step - warmup) / (double)(total - warmup)));
}
