/*
 * bfloat16 matrix products: oneDNN's matmul primitive, one for each shape, made on first use and kept. Every thread of a parallel region
 * has its own (made and run there, on that thread alone); those that use all threads have a place of their own.
 * Where oneDNN has no bfloat16 for the processor, the same numbers are multiplied in float32: slower than float32 itself, but it lets
 * the fast path's rounding be seen and tested anywhere.
 */
#include <omp.h>
#include <stdlib.h>

#include "base/memory.h"
#include "compute/bfloat16.h"
#include "compute/internal.h"

enum { SLOTS = 512, MOST = 384 };

struct mc_packed16 {
  int64_t k, n;
  dnnl_memory_desc_t desc; /* NULL: plain, [k, n], where oneDNN does not multiply it (is_native) */
  void *data;
};

typedef struct shape {
  int64_t m, n, k, lda, ldb, ldc;
  int kind; /* bits: trans_a, trans_b, c16, bias, accumulate, packed */
} shape;

typedef struct product {
  shape of;
  dnnl_primitive_t primitive; /* NULL: the slot is empty */
  dnnl_memory_t a, b, bias, c, scratch;
  size_t scratch_bytes;
} product;

struct mc_products {
  product slots[SLOTS];
  int n;
  dnnl_stream_t stream;
  void *scratch;
  size_t scratch_bytes;
};

static void clear_product(product *p) {
  dnnl_memory_t all[] = {p->a, p->b, p->bias, p->c, p->scratch};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (all[i]) dnnl_memory_destroy(all[i]);
  }
  if (p->primitive) dnnl_primitive_destroy(p->primitive);
  *p = (product){0};
}

static void clear_all(mc_products *s) {
  for (int i = 0; i < SLOTS; i++) clear_product(&s->slots[i]);
  s->n = 0;
}

void mc_products_destroy(mc_compute *cp) {
  for (int i = 0; cp->products && i <= cp->n_threads; i++) {
    mc_products *s = cp->products[i];
    if (!s) continue;
    clear_all(s);
    if (s->stream) dnnl_stream_destroy(s->stream);
    mc_aligned_free(s->scratch);
    free(s);
  }
  free(cp->products);
  cp->products = NULL;
}

static dnnl_status_t add_memory(const mc_compute *cp, dnnl_data_type_t type, int64_t rows, int64_t columns, int64_t row_stride,
                                int64_t column_stride, dnnl_memory_desc_t *desc, dnnl_memory_t *memory) {
  dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
  dnnl_status_t status = dnnl_memory_desc_create_with_strides(desc, 2, dims, type, strides);
  return status == dnnl_success ? dnnl_memory_create(memory, *desc, cp->engine, DNNL_MEMORY_NONE) : status;
}

static dnnl_status_t add_weights(const mc_compute *cp, const mc_gemm16 *g, dnnl_memory_desc_t *desc, dnnl_memory_t *memory) {
  if (!g->packed) return add_memory(cp, dnnl_bf16, g->k, g->n, g->trans_b ? 1 : g->ldb, g->trans_b ? g->ldb : 1, desc, memory);
  dnnl_status_t status = dnnl_memory_desc_clone(desc, g->packed->desc);
  return status == dnnl_success ? dnnl_memory_create(memory, *desc, cp->engine, DNNL_MEMORY_NONE) : status;
}

static dnnl_status_t make_attributes(bool accumulate, dnnl_primitive_attr_t *out) {
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t status = dnnl_primitive_attr_create(out);
  if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
  if (status == dnnl_success && accumulate) {
    status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) status = dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) dnnl_post_ops_destroy(ops);
  }
  return status;
}

static dnnl_status_t make_product(const mc_compute *cp, const mc_gemm16 *g, product *p) {
  dnnl_memory_desc_t a = NULL, b = NULL, c = NULL, bias = NULL;
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_status_t status = add_memory(cp, dnnl_bf16, g->m, g->k, g->trans_a ? 1 : g->lda, g->trans_a ? g->lda : 1, &a, &p->a);
  if (status == dnnl_success) status = add_weights(cp, g, &b, &p->b);
  if (status == dnnl_success) status = add_memory(cp, g->c ? dnnl_f32 : dnnl_bf16, g->m, g->n, g->ldc, 1, &c, &p->c);
  if (status == dnnl_success && g->bias) status = add_memory(cp, dnnl_f32, 1, g->n, g->n, 1, &bias, &p->bias);
  if (status == dnnl_success) status = make_attributes(g->accumulate, &attributes);
  if (status == dnnl_success) status = dnnl_matmul_primitive_desc_create(&desc, cp->engine, a, b, bias, c, attributes);
  if (status == dnnl_success) status = dnnl_primitive_create(&p->primitive, desc);
  if (status == dnnl_success) {
    const_dnnl_memory_desc_t scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (p->scratch_bytes) status = dnnl_memory_create(&p->scratch, scratch, cp->engine, DNNL_MEMORY_NONE);
  }
  dnnl_memory_desc_t descs[] = {a, b, c, bias};
  for (size_t i = 0; i < sizeof descs / sizeof *descs; i++) {
    if (descs[i]) dnnl_memory_desc_destroy(descs[i]);
  }
  if (attributes) dnnl_primitive_attr_destroy(attributes);
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (status != dnnl_success) clear_product(p);
  return status;
}

static shape shape_of(const mc_gemm16 *g) {
  bool packed = g->packed != NULL; /* the order depends on k and n alone */
  return (shape){g->m, g->n, g->k, g->lda, packed ? 0 : g->ldb, g->ldc,
                 g->trans_a | (g->trans_b && !packed) << 1 | (g->c == NULL) << 2 | (g->bias != NULL) << 3 | g->accumulate << 4 | packed << 5};
}

static bool same(const shape *a, const shape *b) {
  return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc && a->kind == b->kind;
}

static uint64_t hash_of(const shape *s) {
  const int64_t parts[] = {s->m, s->n, s->k, s->lda, s->ldb, s->ldc, s->kind};
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) hash = (hash ^ (uint64_t)parts[i]) * 0x9e3779b97f4a7c15u;
  return hash >> 32;
}

static mc_products *own_products(mc_compute *cp) {
  int at = omp_in_parallel() && !cp->is_lane ? omp_get_thread_num() + 1 : 0;
  if (at > cp->n_threads) return NULL;
  if (cp->products[at]) return cp->products[at];
  mc_products *s = calloc(1, sizeof *s);
  if (s && dnnl_stream_create(&s->stream, cp->engine, dnnl_stream_default_flags) != dnnl_success) {
    free(s);
    s = NULL;
  }
  return cp->products[at] = s;
}

static dnnl_status_t find(const mc_compute *cp, mc_products *s, const mc_gemm16 *g, product **out) {
  shape wanted = shape_of(g);
  if (s->n >= MOST) clear_all(s);
  uint64_t at = hash_of(&wanted) % SLOTS;
  while (s->slots[at].primitive && !same(&s->slots[at].of, &wanted)) at = (at + 1) % SLOTS;
  product *p = *out = &s->slots[at];
  if (p->primitive) return dnnl_success;
  dnnl_status_t status = make_product(cp, g, p);
  if (status != dnnl_success) return status;
  p->of = wanted;
  s->n++;
  if (p->scratch_bytes <= s->scratch_bytes) return dnnl_success;
  mc_aligned_free(s->scratch);
  s->scratch = mc_aligned_alloc(p->scratch_bytes, 1);
  s->scratch_bytes = s->scratch ? p->scratch_bytes : 0;
  if (s->scratch) return dnnl_success;
  clear_product(p);
  s->n--;
  return dnnl_out_of_memory;
}

static dnnl_status_t execute(mc_compute *cp, mc_products *s, const mc_gemm16 *g) {
  product *p;
  dnnl_status_t status = find(cp, s, g, &p);
  if (status != dnnl_success) return status;
  dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
  int n = 3;
  /* oneDNN's handles are not const; it reads these. */
  status = dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)g->a);
  if (status == dnnl_success) status = dnnl_memory_set_data_handle(p->b, g->packed ? g->packed->data : (void *)(uintptr_t)g->b);
  if (status == dnnl_success) status = dnnl_memory_set_data_handle(p->c, g->c ? (void *)g->c : (void *)g->c16);
  if (status == dnnl_success && p->bias) {
    status = dnnl_memory_set_data_handle(p->bias, (void *)(uintptr_t)g->bias);
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, p->bias};
  }
  if (status == dnnl_success && p->scratch) {
    status = dnnl_memory_set_data_handle(p->scratch, s->scratch);
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->scratch};
  }
  if (status == dnnl_success) status = dnnl_primitive_execute(p->primitive, s->stream, n, args);
  return status == dnnl_success ? dnnl_stream_wait(s->stream) : status;
}

static dnnl_status_t run(mc_compute *cp, const mc_gemm16 *g) {
  mc_products *s = own_products(cp);
  if (!s) return dnnl_out_of_memory;
  if (!omp_in_parallel()) return execute(cp, s, g);
  /* oneDNN plans a primitive for as many threads as a region could have, and would leave the work of all but one undone: a thread of
   * a region says that it is alone. */
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  dnnl_status_t status = execute(cp, s, g);
  omp_set_num_threads(threads);
  return status;
}

/* oneDNN's AMX products multiply pairs along k, and its newer versions (seen with 3.12) take for an odd one's last partner whatever stands
 * behind A's row, times 0: not a number, where that is none. */
static bool is_native(const mc_compute *cp, const mc_gemm16 *g) { return cp->native16 && (g->trans_a || g->k % 2 == 0); }

/* --- packed matrices ----------------------------------------------------------------------------------------------------------------- */

/* The order that oneDNN would choose for B in a product of many rows. */
static dnnl_status_t best_order(const mc_compute *cp, int64_t k, int64_t n, dnnl_memory_desc_t *out) {
  enum { MANY = 1024 };
  dnnl_memory_desc_t a = NULL, b = NULL, c = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_dims_t a_dims = {MANY, k}, b_dims = {k, n}, c_dims = {MANY, n};
  dnnl_status_t status = dnnl_memory_desc_create_with_tag(&a, 2, a_dims, dnnl_bf16, dnnl_ab);
  if (status == dnnl_success) status = dnnl_memory_desc_create_with_tag(&b, 2, b_dims, dnnl_bf16, dnnl_format_tag_any);
  if (status == dnnl_success) status = dnnl_memory_desc_create_with_tag(&c, 2, c_dims, dnnl_f32, dnnl_ab);
  if (status == dnnl_success) status = dnnl_matmul_primitive_desc_create(&desc, cp->engine, a, b, NULL, c, NULL);
  if (status == dnnl_success) status = dnnl_memory_desc_clone(out, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
  dnnl_memory_desc_t descs[] = {a, b, c};
  for (size_t i = 0; i < sizeof descs / sizeof *descs; i++) {
    if (descs[i]) dnnl_memory_desc_destroy(descs[i]);
  }
  if (desc) dnnl_primitive_desc_destroy(desc);
  return status;
}

/* from float32 [k, n] as stored -> p->data in p->desc's order. */
static dnnl_status_t reorder(const mc_compute *cp, const float *value, bool trans_b, mc_packed16 *p) {
  dnnl_memory_desc_t from = NULL;
  dnnl_memory_t source = NULL, target = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_primitive_t primitive = NULL;
  dnnl_status_t status = add_memory(cp, dnnl_f32, p->k, p->n, trans_b ? 1 : p->n, trans_b ? p->k : 1, &from, &source);
  if (status == dnnl_success) status = dnnl_memory_set_data_handle(source, (void *)(uintptr_t)value);
  if (status == dnnl_success) status = dnnl_memory_create(&target, p->desc, cp->engine, p->data);
  if (status == dnnl_success) status = dnnl_reorder_primitive_desc_create(&desc, from, cp->engine, p->desc, cp->engine, NULL);
  if (status == dnnl_success) status = dnnl_primitive_create(&primitive, desc);
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
  if (status == dnnl_success) status = dnnl_primitive_execute(primitive, cp->stream, 2, args);
  if (status == dnnl_success) status = dnnl_stream_wait(cp->stream);
  if (primitive) dnnl_primitive_destroy(primitive);
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (target) dnnl_memory_destroy(target);
  if (source) dnnl_memory_destroy(source);
  if (from) dnnl_memory_desc_destroy(from);
  return status;
}

moeclip_code mc_packed16_create(mc_compute *cp, const float *value, int64_t k, int64_t n, bool trans_b, mc_packed16 **out,
                                moeclip_error *err) {
  size_t n_bytes = (size_t)k * (size_t)n * sizeof(mc_bfloat16);
  mc_packed16 *p = *out = calloc(1, sizeof *p);
  if (!p) return mc_fail_memory(err, sizeof *p, "a packed weight");
  *p = (mc_packed16){.k = k, .n = n};
  dnnl_status_t status = dnnl_success;
  bool ordered = is_native(cp, &(mc_gemm16){.k = k});
  mc_use_threads(cp);
  if (ordered) {
    status = best_order(cp, k, n, &p->desc);
    if (status == dnnl_success) n_bytes = dnnl_memory_desc_get_size(p->desc);
  }
  if (status == dnnl_success && !(p->data = mc_aligned_alloc(n_bytes, 1))) status = dnnl_out_of_memory;
  if (status == dnnl_success && ordered) status = reorder(cp, value, trans_b, p);
  if (status == dnnl_success && !ordered) {
    mc_bfloat16 *to = p->data;
    for (int64_t i = 0; i < k; i++) {
      for (int64_t j = 0; j < n; j++) to[i * n + j] = mc_round_bfloat16(trans_b ? value[j * k + i] : value[i * n + j]);
    }
  }
  if (status == dnnl_success) return MOECLIP_OK;
  mc_packed16_destroy(p);
  *out = NULL;
  return status == dnnl_out_of_memory ? mc_fail_memory(err, n_bytes, "a packed weight") : mc_dnnl_fail(err, status, "a weight's packing");
}

void mc_packed16_destroy(mc_packed16 *p) {
  if (!p) return;
  if (p->desc) dnnl_memory_desc_destroy(p->desc);
  mc_aligned_free(p->data);
  free(p);
}

/* --- without bfloat16 arithmetic ---------------------------------------------------------------------------------------------------- */

static float *widen(const mc_bfloat16 *x, int64_t rows, int64_t columns, int64_t ld) {
  float *out = mc_aligned_alloc((size_t)(rows * columns), sizeof *out);
  for (int64_t r = 0; out && r < rows; r++) {
    for (int64_t i = 0; i < columns; i++) out[r * columns + i] = mc_from_bfloat16(x[r * ld + i]);
  }
  return out;
}

static dnnl_status_t emulate(mc_compute *cp, const mc_gemm16 *given, bool alone) {
  mc_gemm16 plain = *given, *g = &plain;
  if (g->packed) {
    g->b = g->packed->data;
    g->ldb = g->n;
    g->trans_b = false;
  }
  int64_t a_columns = g->trans_a ? g->m : g->k, b_columns = g->trans_b ? g->k : g->n;
  float *a = widen(g->a, g->trans_a ? g->k : g->m, a_columns, g->lda), *b = widen(g->b, g->trans_b ? g->n : g->k, b_columns, g->ldb);
  float *c = g->c ? g->c : mc_aligned_alloc((size_t)(g->m * g->n), sizeof *c);
  bool good = a && b && c;
  if (good) {
    mc_gemm f = {.m = g->m, .n = g->n, .k = g->k, .a = a, .lda = a_columns, .trans_a = g->trans_a, .b = b, .ldb = b_columns,
                 .trans_b = g->trans_b, .c = c, .ldc = g->c ? g->ldc : g->n, .bias = g->bias, .accumulate = g->accumulate};
    good = alone ? mc_gemm_alone(&f) : mc_gemm_run(cp, &f, NULL) == MOECLIP_OK;
  }
  for (int64_t r = 0; good && !g->c && r < g->m; r++) mc_to_bfloat16_alone(c + r * g->n, g->n, g->c16 + r * g->ldc);
  mc_aligned_free(a);
  mc_aligned_free(b);
  if (!g->c) mc_aligned_free(c);
  return good ? dnnl_success : dnnl_out_of_memory;
}

moeclip_code mc_gemm16_run(mc_compute *cp, const mc_gemm16 *g, moeclip_error *err) {
  if (g->m == 0 || g->n == 0) return MOECLIP_OK;
  mc_use_threads(cp);
  dnnl_status_t status = is_native(cp, g) ? run(cp, g) : emulate(cp, g, false);
  return status == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, status, "a bfloat16 matrix product");
}

bool mc_gemm16_alone(mc_compute *cp, const mc_gemm16 *g) {
  if (g->m == 0 || g->n == 0) return true;
  return (is_native(cp, g) ? run(cp, g) : emulate(cp, g, true)) == dnnl_success;
}

/* --- choosing ----------------------------------------------------------------------------------------------------------------------- */

bool mc_compute_fast_bfloat16(void) { return mc_tiles_best() == MC_TILES_AMX; }

mc_precision mc_compute_precision(const mc_compute *cp) { return cp->precision; }

static moeclip_code make_lanes(mc_compute *cp, moeclip_error *err) {
  cp->lanes = calloc((size_t)cp->n_threads, sizeof *cp->lanes);
  if (!cp->lanes) return mc_fail_memory(err, (size_t)cp->n_threads * sizeof *cp->lanes, "the compute handle");
  for (int t = 0; t < cp->n_threads; t++) {
    mc_compute *lane = cp->lanes[t].cp = calloc(1, sizeof *lane);
    if (!lane) return mc_fail_memory(err, sizeof *lane, "a thread's compute handle");
    *lane = (mc_compute){.engine = cp->engine, .n_threads = 1, .precision = cp->precision, .native16 = cp->native16, .tiles = cp->tiles,
                          .is_lane = true};
    lane->products = calloc(2, sizeof *lane->products);
    if (!lane->products) return mc_fail_memory(err, 2 * sizeof *lane->products, "a thread's compute handle");
    dnnl_status_t status = dnnl_stream_create(&lane->stream, cp->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) return mc_dnnl_fail(err, status, "anything: no stream");
  }
  return MOECLIP_OK;
}

moeclip_code mc_compute_set_precision(mc_compute *cp, mc_precision precision, moeclip_error *err) {
  cp->precision = precision;
  if (precision != MC_BFLOAT16 || cp->products) return MOECLIP_OK;
  cp->products = calloc((size_t)cp->n_threads + 1, sizeof *cp->products);
  if (!cp->products) return mc_fail_memory(err, ((size_t)cp->n_threads + 1) * sizeof *cp->products, "the compute handle");
  product trial = {0};
  mc_gemm16 g = {.m = 32, .n = 32, .k = 32, .lda = 32, .ldb = 32, .ldc = 32};
  cp->native16 = make_product(cp, &g, &trial) == dnnl_success;
  clear_product(&trial);
  cp->tiles = mc_tiles_best();
  return make_lanes(cp, err);
}

mc_lane *mc_compute_lane(mc_compute *cp, int thread) { return &cp->lanes[thread]; }
