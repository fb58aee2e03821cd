#include "model/balance.h"

#include <math.h>

double mc_cv_squared(const double *x, int n, double *dx) {
  double sum = 0, square = 0;
  for (int i = 0; dx && i < n; i++) dx[i] = 0;
  if (n < 2) return 0;
  for (int i = 0; i < n; i++) sum += x[i];
  double mean = sum / n;
  for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
  double variance = square / (n - 1), below = mean * mean + 1e-10;
  for (int i = 0; dx && i < n; i++) {
    dx[i] = 2 * (x[i] - mean) / (n - 1) / below - variance * 2 * mean / n / (below * below);
  }
  return variance / below;
}

static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }
static double spread_of(const mc_noisy_logits *x, int e) { return softplus(x->spread[e]) + 0.01; }
static double noisy_of(const mc_noisy_logits *x, int e) { return x->clean[e] + x->eps[e] * spread_of(x, e); }

/* The expert of the rank-th largest noisy logit, from 0; the lower number first on a tie. */
static int ranked(const mc_noisy_logits *x, int rank) {
  for (int e = 0; e < x->n; e++) {
    double own = noisy_of(x, e);
    int before = 0;
    for (int other = 0; other < x->n; other++) {
      double v = noisy_of(x, other);
      before += v > own || (v == own && other < e);
    }
    if (before == rank) return e;
  }
  return x->n - 1; /* only with NaN */
}

/* An expert in the top k stays there while it beats the one that came next; one outside must beat the last inside. */
typedef struct bar {
  int next, last; /* experts of rank k and k - 1 */
  double next_value, last_value;
} bar;

static bar bar_of(const mc_noisy_logits *x) {
  int next = ranked(x, x->k), last = ranked(x, x->k - 1);
  return (bar){next, last, noisy_of(x, next), noisy_of(x, last)};
}

void mc_load_forward(const mc_noisy_logits *x, double *load) {
  bar b = bar_of(x);
  for (int e = 0; e < x->n; e++) {
    double to_beat = noisy_of(x, e) > b.next_value ? b.next_value : b.last_value;
    load[e] += 0.5 * erfc(-(x->clean[e] - to_beat) / spread_of(x, e) * 0.70710678118654752440);
  }
}

/* To the clean logit and the spread of expert e, from the gradient of its noisy logit. */
static void noisy_backward(const mc_noisy_logits *x, int e, double dnoisy, float *dclean, float *dspread) {
  dclean[e] += (float)dnoisy;
  dspread[e] += (float)(dnoisy * x->eps[e] / (1 + exp(-(double)x->spread[e])));
}

void mc_load_backward(const mc_noisy_logits *x, const double *dload, float *dclean, float *dspread) {
  bar b = bar_of(x);
  double dnext = 0, dlast = 0;
  for (int e = 0; e < x->n; e++) {
    bool inside = noisy_of(x, e) > b.next_value;
    double spread = spread_of(x, e), z = (x->clean[e] - (inside ? b.next_value : b.last_value)) / spread;
    double dz = dload[e] * 0.39894228040143267794 * exp(-0.5 * z * z);
    dclean[e] += (float)(dz / spread);
    dspread[e] += (float)(-dz * z / spread / (1 + exp(-(double)x->spread[e])));
    *(inside ? &dnext : &dlast) -= dz / spread;
  }
  noisy_backward(x, b.next, dnext, dclean, dspread);
  noisy_backward(x, b.last, dlast, dclean, dspread);
}
