#include "learn/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MEMORY = 10, MOST_ITERATIONS = 2000, MOST_HALVINGS = 40, PIECE = 1024 };

typedef struct problem {
  mc_compute *cp;
  const float *features;
  const int64_t *labels;
  int64_t n, width, n_classes; /* width: embed + 1 */
  double l2;
  double *x, *p;               /* [PIECE, width], [PIECE, n_classes]: memory does not grow with n */
} problem;

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* Logits of one picture become its probabilities less its target; returns its loss. */
static double to_residual(double *row, int64_t n, int64_t label) {
  double largest = row[0], right = row[label], sum = 0;
  for (int64_t c = 1; c < n; c++) largest = fmax(largest, row[c]);
  for (int64_t c = 0; c < n; c++) sum += row[c] = exp(row[c] - largest);
  for (int64_t c = 0; c < n; c++) row[c] /= sum;
  row[label] -= 1;
  return log(sum) + largest - right;
}

/* *loss: the sum of the losses; gradient [n_classes, width]: of that and the penalty. */
static moeclip_code evaluate(const problem *q, const double *w, double *loss, double *objective, double *gradient,
                             moeclip_error *err) {
  int64_t d = q->width, k = q->n_classes;
  double squares = 0;
  *loss = 0;
  for (int64_t c = 0; c < k; c++) {
    for (int64_t i = 0; i < d; i++) gradient[c * d + i] = i < d - 1 ? q->l2 * w[c * d + i] : 0;
    squares += dot(w + c * d, w + c * d, d - 1);
  }
  for (int64_t at = 0; at < q->n; at += PIECE) {
    int64_t m = q->n - at < PIECE ? q->n - at : PIECE;
    for (int64_t i = 0; i < m; i++) {
      for (int64_t j = 0; j < d - 1; j++) q->x[i * d + j] = q->features[(at + i) * (d - 1) + j];
      q->x[i * d + d - 1] = 1;
    }
    memset(q->p, 0, (size_t)(m * k) * sizeof *q->p);
    mc_gemm64 logits = {.m = m, .n = k, .k = d, .a = q->x, .lda = d, .b = w, .ldb = d, .trans_b = true, .c = q->p, .ldc = k,
                        .alpha = 1};
    MC_TRY(mc_gemm64_run(q->cp, &logits, err));
    for (int64_t i = 0; i < m; i++) *loss += to_residual(q->p + i * k, k, q->labels[at + i]);
    mc_gemm64 back = {.m = k, .n = d, .k = m, .a = q->p, .lda = k, .trans_a = true, .b = q->x, .ldb = d, .c = gradient, .ldc = d,
                      .alpha = 1};
    MC_TRY(mc_gemm64_run(q->cp, &back, err));
  }
  *objective = *loss + q->l2 / 2 * squares;
  return MOECLIP_OK;
}

static double largest_of(const double *x, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
  return largest;
}

typedef struct history {
  double *s[MEMORY], *y[MEMORY], rho[MEMORY]; /* steps, changes of the gradient, 1 over their product; the newest last */
  int n;
} history;

/* The two loops: direction = -(approximate inverse Hessian) gradient. */
static void direction_of(const history *h, const double *gradient, int64_t n, double *direction) {
  double alpha[MEMORY];
  for (int64_t i = 0; i < n; i++) direction[i] = -gradient[i];
  for (int j = h->n - 1; j >= 0; j--) {
    alpha[j] = h->rho[j] * dot(h->s[j], direction, n);
    for (int64_t i = 0; i < n; i++) direction[i] -= alpha[j] * h->y[j][i];
  }
  if (h->n > 0) {
    double scale = 1 / (h->rho[h->n - 1] * dot(h->y[h->n - 1], h->y[h->n - 1], n));
    for (int64_t i = 0; i < n; i++) direction[i] *= scale;
  }
  for (int j = 0; j < h->n; j++) {
    double beta = h->rho[j] * dot(h->y[j], direction, n);
    for (int64_t i = 0; i < n; i++) direction[i] += (alpha[j] - beta) * h->s[j][i];
  }
}

/* The newest pair; the oldest one's memory is used again. */
static void remember(history *h, const double *w, const double *w_new, const double *g, const double *g_new, int64_t n) {
  int at = h->n < MEMORY ? h->n : MEMORY - 1;
  double *s = h->s[h->n < MEMORY ? at : 0], *y = h->y[h->n < MEMORY ? at : 0];
  for (int64_t i = 0; i < n; i++) {
    s[i] = w_new[i] - w[i];
    y[i] = g_new[i] - g[i];
  }
  double product = dot(s, y, n);
  if (h->n == MEMORY) {
    memmove(h->s, h->s + 1, (MEMORY - 1) * sizeof *h->s);
    memmove(h->y, h->y + 1, (MEMORY - 1) * sizeof *h->y);
    memmove(h->rho, h->rho + 1, (MEMORY - 1) * sizeof *h->rho);
    h->s[at] = s;
    h->y[at] = y;
    h->n--;
  }
  if (!(product > 0)) return; /* only rounding makes that: the problem is convex */
  h->rho[at] = 1 / product;
  h->n++;
}

/* One step along the direction, halved until the objective falls enough. *moved false: it does not fall any more. */
static moeclip_code step(const problem *q, double *w, double *g, const double *direction, double first, double *w_new, double *g_new,
                         double *objective, double *loss, bool *moved, moeclip_error *err) {
  int64_t n = q->n_classes * q->width;
  double slope = dot(g, direction, n), length = first, value = 0;
  *moved = false;
  for (int i = 0; i < MOST_HALVINGS && slope < 0; i++) {
    for (int64_t j = 0; j < n; j++) w_new[j] = w[j] + length * direction[j];
    MC_TRY(evaluate(q, w_new, loss, &value, g_new, err));
    if (isfinite(value) && value <= *objective + 1e-4 * length * slope) {
      *objective = value;
      *moved = true;
      return MOECLIP_OK;
    }
    length /= 2;
  }
  return MOECLIP_OK;
}

static moeclip_code minimise(const problem *q, double *w, double *room, history *h, mc_probe_fit *fit, moeclip_error *err) {
  int64_t n = q->n_classes * q->width;
  double *g = room, *w_new = room + n, *g_new = room + 2 * n, *direction = room + 3 * n, objective, loss;
  bool moved = true;
  memset(w, 0, (size_t)n * sizeof *w);
  MC_TRY(evaluate(q, w, &loss, &objective, g, err));
  for (; moved && fit->iterations < MOST_ITERATIONS && largest_of(g, n) > 1e-7 * (double)q->n; fit->iterations += moved) {
    fit->loss = loss / (double)q->n;
    direction_of(h, g, n, direction);
    double first = h->n ? 1 : 1 / fmax(1, sqrt(dot(g, g, n)));
    MC_TRY(step(q, w, g, direction, first, w_new, g_new, &objective, &loss, &moved, err));
    if (!moved) break;
    remember(h, w, w_new, g, g_new, n);
    memcpy(w, w_new, (size_t)n * sizeof *w);
    memcpy(g, g_new, (size_t)n * sizeof *g);
    fit->loss = loss / (double)q->n;
  }
  if (fit->iterations == 0) fit->loss = loss / (double)q->n;
  fit->gradient = largest_of(g, n) / (double)q->n;
  return MOECLIP_OK;
}

moeclip_code mc_probe_solve(mc_compute *cp, const float *features, const int64_t *labels, int64_t n, int64_t embed,
                            int64_t n_classes, double l2, double *weights, mc_probe_fit *fit, moeclip_error *err) {
  problem q = {.cp = cp, .features = features, .labels = labels, .n = n, .width = embed + 1, .n_classes = n_classes, .l2 = l2};
  history h = {0};
  size_t size = (size_t)(n_classes * q.width);
  double *room = mc_alloc(size, (4 + 2 * MEMORY) * sizeof *room);
  q.x = mc_alloc(PIECE, (size_t)q.width * sizeof *q.x);
  q.p = mc_alloc(PIECE, (size_t)n_classes * sizeof *q.p);
  *fit = (mc_probe_fit){0};
  moeclip_code code = room && q.x && q.p ? MOECLIP_OK : mc_fail_memory(err, size * (4 + 2 * MEMORY) * sizeof *room, "a regression");
  for (int j = 0; room && j < MEMORY; j++) {
    h.s[j] = room + (4 + 2 * (size_t)j) * size;
    h.y[j] = h.s[j] + size;
  }
  if (code == MOECLIP_OK) code = minimise(&q, weights, room, &h, fit, err);
  free(room);
  free(q.x);
  free(q.p);
  return code;
}
