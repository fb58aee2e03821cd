/* Convolution through oneDNN, in whatever layouts it finds fastest; max pooling. */
#include <stdlib.h>
#include <string.h>

#include "compute/internal.h"

/* One tensor on its way into or out of the primitive: the caller's plain array, and the same in the primitive's layout. */
typedef struct side {
  dnnl_memory_t plain, own; /* own is plain when the layouts agree */
} side;

static dnnl_status_t side_init(const mc_compute *cp, side *s, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t wanted,
                               const float *data) {
  dnnl_status_t status = dnnl_memory_create(&s->plain, plain, cp->engine, (void *)(uintptr_t)data);
  if (status != dnnl_success) return status;
  if (dnnl_memory_desc_equal(plain, wanted)) {
    s->own = s->plain;
    return dnnl_success;
  }
  return dnnl_memory_create(&s->own, wanted, cp->engine, DNNL_MEMORY_ALLOCATE);
}

static void side_clear(side *s) {
  if (s->own && s->own != s->plain) dnnl_memory_destroy(s->own);
  if (s->plain) dnnl_memory_destroy(s->plain);
}

static dnnl_status_t reorder(const mc_compute *cp, dnnl_memory_t from, dnnl_memory_t to) {
  const_dnnl_memory_desc_t from_md, to_md;
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t primitive = NULL;
  if (from == to) return dnnl_success;
  dnnl_memory_get_memory_desc(from, &from_md);
  dnnl_memory_get_memory_desc(to, &to_md);
  dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, from_md, cp->engine, to_md, cp->engine, NULL);
  if (status == dnnl_success) status = dnnl_primitive_create(&primitive, pd);
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  if (status == dnnl_success) status = dnnl_primitive_execute(primitive, cp->stream, 2, args);
  if (status == dnnl_success) status = dnnl_stream_wait(cp->stream);
  if (primitive) dnnl_primitive_destroy(primitive);
  if (pd) dnnl_primitive_desc_destroy(pd);
  return status;
}

typedef struct layouts {
  dnnl_memory_desc_t plain[3], any[3], bias; /* source, weights, result */
} layouts;

/* half: source and weights are rounded on their way into the primitive's layouts; sums and the result are float32. */
static dnnl_status_t layouts_init(layouts *l, const mc_conv2d *c, int64_t out_h, int64_t out_w, bool half) {
  const dnnl_dims_t dims[3] = {{c->n, c->c_in, c->h, c->w}, {c->c_out, c->c_in, c->k, c->k}, {c->n, c->c_out, out_h, out_w}};
  const dnnl_dims_t bias = {c->c_out};
  dnnl_status_t status = dnnl_memory_desc_create_with_tag(&l->bias, 1, bias, dnnl_f32, dnnl_a);
  for (int i = 0; status == dnnl_success && i < 3; i++) {
    status = dnnl_memory_desc_create_with_tag(&l->plain[i], 4, dims[i], dnnl_f32, dnnl_abcd);
    if (status == dnnl_success) {
      dnnl_data_type_t type = half && i < 2 ? dnnl_bf16 : dnnl_f32;
      status = dnnl_memory_desc_create_with_tag(&l->any[i], 4, dims[i], type, dnnl_format_tag_any);
    }
  }
  return status;
}

static void layouts_clear(layouts *l) {
  for (int i = 0; i < 3; i++) {
    if (l->plain[i]) dnnl_memory_desc_destroy(l->plain[i]);
    if (l->any[i]) dnnl_memory_desc_destroy(l->any[i]);
  }
  if (l->bias) dnnl_memory_desc_destroy(l->bias);
}

static dnnl_status_t describe(const mc_compute *cp, const mc_conv2d *c, const layouts *l, dnnl_primitive_desc_t *pd) {
  const dnnl_dims_t strides = {c->stride, c->stride}, dilates = {0, 0}, pad = {c->pad, c->pad};
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t status = dnnl_primitive_attr_create(&attr);
  if (status == dnnl_success && c->relu) {
    status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) status = dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attr, ops);
  }
  if (status == dnnl_success) {
    status = dnnl_convolution_forward_primitive_desc_create(pd, cp->engine, dnnl_forward_inference, dnnl_convolution_direct,
                                                            l->any[0], l->any[1], l->bias, l->any[2], strides, dilates, pad,
                                                            pad, attr);
  }
  if (ops) dnnl_post_ops_destroy(ops);
  if (attr) dnnl_primitive_attr_destroy(attr);
  return status;
}

moeclip_code mc_conv2d_run(mc_compute *cp, const mc_conv2d *c, moeclip_error *err) {
  if (c->stride < 1 || c->h + 2 * c->pad < c->k || c->w + 2 * c->pad < c->k) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a convolution of %lld x %lld with kernel %lld and stride %lld", (long long)c->h,
                   (long long)c->w, (long long)c->k, (long long)c->stride);
  }
  int64_t out_h = (c->h + 2 * c->pad - c->k) / c->stride + 1, out_w = (c->w + 2 * c->pad - c->k) / c->stride + 1;
  layouts l = {0};
  side sides[3] = {0};
  dnnl_memory_t bias = NULL;
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t primitive = NULL;
  static const dnnl_query_t queries[3] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md};
  const float *arrays[3] = {c->x, c->weight, c->y};
  mc_use_threads(cp);
  dnnl_status_t status = layouts_init(&l, c, out_h, out_w, cp->precision == MC_BFLOAT16 && cp->native16);
  if (status == dnnl_success) status = describe(cp, c, &l, &pd);
  if (status == dnnl_success) status = dnnl_primitive_create(&primitive, pd);
  if (status == dnnl_success) status = dnnl_memory_create(&bias, l.bias, cp->engine, (void *)(uintptr_t)c->bias);
  for (int i = 0; status == dnnl_success && i < 3; i++) {
    status = side_init(cp, &sides[i], l.plain[i], dnnl_primitive_desc_query_md(pd, queries[i], 0), arrays[i]);
  }
  if (status == dnnl_success) status = reorder(cp, sides[0].plain, sides[0].own);
  if (status == dnnl_success) status = reorder(cp, sides[1].plain, sides[1].own);
  if (status == dnnl_success) {
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, sides[0].own}, {DNNL_ARG_WEIGHTS, sides[1].own}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, sides[2].own}};
    status = dnnl_primitive_execute(primitive, cp->stream, 4, args);
  }
  if (status == dnnl_success) status = dnnl_stream_wait(cp->stream);
  if (status == dnnl_success) status = reorder(cp, sides[2].own, sides[2].plain);
  for (int i = 0; i < 3; i++) side_clear(&sides[i]);
  if (bias) dnnl_memory_destroy(bias);
  if (primitive) dnnl_primitive_destroy(primitive);
  if (pd) dnnl_primitive_desc_destroy(pd);
  layouts_clear(&l);
  return status == dnnl_success ? MOECLIP_OK : mc_dnnl_fail(err, status, "a convolution");
}

typedef struct pooling {
  const float *x;
  float *y;
  int64_t h, w, out_h, out_w;
  int k, stride;
} pooling;

static void pool_planes(void *context, int64_t begin, int64_t end) {
  const pooling *p = context;
  for (int64_t plane = begin; plane < end; plane++) {
    const float *x = p->x + plane * p->h * p->w;
    float *y = p->y + plane * p->out_h * p->out_w;
    for (int64_t i = 0; i < p->out_h; i++) {
      for (int64_t j = 0; j < p->out_w; j++) {
        const float *window = x + i * p->stride * p->w + j * p->stride;
        float largest = window[0];
        for (int a = 0; a < p->k; a++) {
          for (int b = 0; b < p->k; b++) largest = window[a * p->w + b] > largest ? window[a * p->w + b] : largest;
        }
        y[i * p->out_w + j] = largest;
      }
    }
  }
}

void mc_maxpool2d(mc_compute *cp, const float *x, int64_t planes, int64_t h, int64_t w, int k, int stride, float *y) {
  pooling p = {x, y, h, w, (h - k) / stride + 1, (w - k) / stride + 1, k, stride};
  mc_parallel_for(cp, planes, 4, pool_planes, &p);
}
