/*
 * Would a kernel of our own on AMX's tiles multiply the towers' frozen weights faster than oneDNN? Both in one run, turn by turn, on what a
 * thread of a step multiplies: 2 pictures' rows (394) by the four matrices of a ViT-B/16's block and, backward, two of them turned.
 *
 *   bench_tiles [TURNS [THREADS]]     default: 5 turns, 2 threads; GFLOP/s of all threads together, the best turn of each
 *
 * Before the first turn each is held against oneDNN; 0 turns: that alone. Exit code 1 when one is wrong.
 *
 * The kernels differ in what stays in the first cache and in how far ahead they fetch. They multiply whole strips, 416 rows, of which 394
 * count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/tiles.h"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <immintrin.h>

enum { ROWS = 394, STRIPS = (ROWS + 31) / 32, STRIP = 32, PANEL = 32 };

typedef struct shape {
  const char *name;
  int64_t n, k;
} shape;

static const shape shapes[] = {{"q, k, v", 2304, 768}, {"out", 768, 768}, {"fc", 3072, 768}, {"proj", 768, 3072}, {"q, k, v back", 768, 2304}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* A strip of A (32 rows, k_block columns) stays in the first cache while the panels of B (32 columns) of n_block columns pass; or a panel
 * stays and the strips pass. ahead: steps of 32 along k that are fetched before they are needed. */
typedef struct kernel {
  const char *name;
  bool strip_stays;
  int64_t k_block, n_block, ahead;
} kernel;

static const kernel kernels[] = {{"oneDNN", false, 0, 0, 0},
                                 {"panel stays, k 768, 4 ahead", false, 768, 0, 4},
                                 {"panel stays, k 384, 4 ahead", false, 384, 0, 4},
                                 {"panel stays, k 768, 8 ahead", false, 768, 0, 8},
                                 {"strip stays, k 768, n 384, 4 ahead", true, 768, 384, 4},
                                 {"strip stays, k 384, n 768, 4 ahead", true, 384, 768, 4},
                                 {"strip stays, k 384, n 768, 8 ahead", true, 384, 768, 8},
                                 {"strip stays, k 384, n 768, none ahead", true, 384, 768, 0}};
enum { KERNELS = sizeof kernels / sizeof *kernels };

/* What a thread multiplies. */
typedef struct work {
  mc_bfloat16 *a, *out;
  float *sums; /* of the k blocks before, [STRIPS][panels][32][32] */
} work;

typedef struct job {
  mc_compute *cp;
  const shape *of;
  const kernel *kernel;
  mc_packed16 *packed;
  mc_bfloat16 *b; /* tiles */
  work *works;    /* of each thread */
  int64_t repeat;
} job;

#define AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
#define AMX_INLINE AMX static inline __attribute__((always_inline))

AMX_INLINE void fetch(const mc_bfloat16 *from, int64_t bytes, int first) {
  for (int r = first; r < first + 8; r++) _mm_prefetch((const char *)from + r * bytes, _MM_HINT_T0);
}

AMX_INLINE void load_sums(const float *sums) {
  _tile_loadd(0, sums, 128);
  _tile_loadd(1, sums + 16, 128);
  _tile_loadd(2, sums + 512, 128);
  _tile_loadd(3, sums + 528, 128);
}

AMX_INLINE void store_sums(float *sums) {
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  _tile_stored(2, sums + 512, 128);
  _tile_stored(3, sums + 528, 128);
}

/* One strip times one panel over a k block. next: A or B of the product after this one, which is fetched from the end of this one on. */
AMX_INLINE void strip_by_panel(const job *j, const work *w, int64_t strip, int64_t panel, int64_t k, const mc_bfloat16 *next, int64_t ahead) {
  int64_t k32 = j->of->k / 32, steps = j->kernel->k_block / 32, row = j->of->k * 2;
  const mc_bfloat16 *a = w->a + strip * STRIP * j->of->k + k, *b = j->b + (panel * 2 * k32 + k / 32) * MC_TILE;
  float *sums = w->sums + (strip * (j->of->n / PANEL) + panel) * STRIP * PANEL;
  if (k == 0) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    load_sums(sums);
  }
  for (int64_t s = 0; s < steps; s++) {
    const mc_bfloat16 *b0 = b + s * MC_TILE, *b1 = b0 + k32 * MC_TILE, *a0 = a + s * 32, *a1 = a0 + 16 * j->of->k;
    /* What passes is fetched: a panel's two columns of tiles, or a strip's rows. */
    bool later = s + ahead >= steps;
    int64_t at = later ? s + ahead - steps : s + ahead;
    const mc_bfloat16 *f0, *f1;
    int64_t bytes = j->kernel->strip_stays ? 64 : row;
    if (j->kernel->strip_stays) {
      f0 = (later ? next : b) + at * MC_TILE;
      f1 = f0 + k32 * MC_TILE;
    } else {
      f0 = (later ? next : a) + at * 32;
      f1 = f0 + 16 * j->of->k;
    }
    _tile_loadd(6, b0, 64);
    _tile_loadd(4, a0, row);
    if (ahead) fetch(f0, bytes, 0);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b1, 64);
    if (ahead) fetch(f0, bytes, 8);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a1, row);
    if (ahead) fetch(f1, bytes, 0);
    _tile_dpbf16ps(2, 5, 6);
    if (ahead) fetch(f1, bytes, 8);
    _tile_dpbf16ps(3, 5, 7);
  }
  store_sums(sums);
  if (k + j->kernel->k_block < j->of->k) return;
  for (int r = 0; r < STRIP; r++) {
    mc_bfloat16 *to = w->out + (strip * STRIP + r) * j->of->n + panel * PANEL;
    for (int half = 0; half < PANEL; half += 16) {
      _mm256_storeu_si256((__m256i *)(void *)(to + half), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sums + r * PANEL + half)));
    }
  }
}

AMX_INLINE void multiply(const job *j, const work *w, int64_t ahead) {
  const kernel *x = j->kernel;
  int64_t panels = j->of->n / PANEL, k32 = j->of->k / 32;
  for (int64_t first = 0; first < panels; first += x->strip_stays ? x->n_block / PANEL : 1) {
    int64_t end = x->strip_stays ? first + x->n_block / PANEL : first + 1;
    if (end > panels) end = panels;
    for (int64_t k = 0; k < j->of->k; k += x->k_block) {
      for (int64_t strip = 0; strip < STRIPS; strip++) {
        for (int64_t p = first; p < end; p++) {
          int64_t then = x->strip_stays ? (p + 1 < end ? p + 1 : first) : (strip + 1 < STRIPS ? strip + 1 : 0);
          const mc_bfloat16 *next = x->strip_stays ? j->b + (then * 2 * k32 + k / 32) * MC_TILE : w->a + then * STRIP * j->of->k + k;
          strip_by_panel(j, w, strip, p, k, next, ahead);
        }
      }
    }
  }
}

AMX static void multiply_ours(const job *j, const work *w) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } setting = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    setting.row_bytes[i] = 64;
    setting.rows[i] = 16;
  }
  __asm__ volatile("" : : "r"(&setting) : "memory");
  _tile_loadconfig(&setting);
  if (j->kernel->ahead == 4) {
    multiply(j, w, 4);
  } else if (j->kernel->ahead == 8) {
    multiply(j, w, 8);
  } else {
    multiply(j, w, 0);
  }
  _tile_release();
  __asm__ volatile("" : : : "memory");
}

static void unit(void *context, int64_t i, int thread) {
  const job *j = context;
  const work *w = &j->works[i];
  (void)thread;
  for (int64_t r = 0; r < j->repeat; r++) {
    if (j->kernel->k_block > 0) {
      multiply_ours(j, w);
      continue;
    }
    mc_gemm16 g = {.m = ROWS, .n = j->of->n, .k = j->of->k, .a = w->a, .lda = j->of->k, .packed = j->packed, .c16 = w->out, .ldc = j->of->n};
    if (!mc_gemm16_alone(j->cp, &g)) exit(1);
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *place(size_t bytes) {
  void *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!p) exit(1);
  memset(p, 0, bytes);
  return p;
}

/* All kernels on one shape, GFLOP/s into best. Returns how many are wrong. */
static int measure(mc_compute *cp, const shape *of, int threads, int turns, double *best) {
  int64_t n = of->n, k = of->k, padded = (int64_t)STRIPS * STRIP;
  float *weight = place((size_t)(n * k) * sizeof *weight);
  mc_bfloat16 *half = place((size_t)(n * k) * sizeof *half), *expected = place((size_t)(ROWS * n) * sizeof *expected);
  job j = {.cp = cp, .of = of, .b = place((size_t)(n * k) * sizeof *half), .works = place((size_t)threads * sizeof *j.works)};
  moeclip_error err;
  int wrong = 0;
  for (int64_t i = 0; i < n * k; i++) weight[i] = (float)(i * 7919 % 2001 - 1000) * 1e-3f;
  mc_to_bfloat16(cp, weight, n * k, half);
  mc_tiles_of(half, n, k, n, j.b);
  if (mc_packed16_create(cp, weight, k, n, false, &j.packed, &err) != MOECLIP_OK) exit(1);
  for (int t = 0; t < threads; t++) {
    work *w = &j.works[t];
    *w = (work){place((size_t)(padded * k) * sizeof *w->a), place((size_t)(padded * n) * sizeof *w->out), place((size_t)(padded * n) * sizeof *w->sums)};
    for (int64_t i = 0; i < ROWS * k; i++) w->a[i] = mc_round_bfloat16((float)((i + t) * 104729 % 2001 - 1000) * 1e-3f);
  }
  for (int turn = 0; turn <= turns; turn++) {
    for (int i = 0; i < KERNELS; i++) {
      j.kernel = &kernels[i];
      j.repeat = turn == 0 ? 1 : (int64_t)(1e10 / (2.0 * ROWS * (double)(n * k))) + 1;
      double start = now();
      mc_parallel_units(cp, threads, unit, &j);
      double rate = 2.0 * ROWS * (double)(n * k * j.repeat * threads) / (now() - start) * 1e-9;
      if (turn > 0 && rate > best[i]) best[i] = rate;
      if (turn > 0) continue;
      double worst = 0;
      if (i == 0) memcpy(expected, j.works[0].out, (size_t)(ROWS * n) * sizeof *expected);
      for (int64_t e = 0; e < ROWS * n; e++) {
        double off = (double)mc_from_bfloat16(j.works[0].out[e]) - (double)mc_from_bfloat16(expected[e]);
        if (!(off < worst && off > -worst)) worst = off < 0 ? -off : off;
      }
      if (worst < 0.5) continue;
      printf("%s, %s: wrong by %g\n", kernels[i].name, of->name, worst);
      wrong++;
    }
  }
  mc_packed16_destroy(j.packed);
  for (int t = 0; t < threads; t++) {
    free(j.works[t].a);
    free(j.works[t].out);
    free(j.works[t].sums);
  }
  void *all[] = {weight, half, expected, j.b, j.works};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  return wrong;
}

static void print_rates(double best[SHAPES][KERNELS]) {
  printf("%-40s", "GFLOP/s");
  for (int s = 0; s < SHAPES; s++) printf(" %13s", shapes[s].name);
  printf(" %13s\n", "all");
  for (int i = 0; i < KERNELS; i++) {
    double operations = 0, seconds = 0;
    printf("%-40s", kernels[i].name);
    for (int s = 0; s < SHAPES; s++) {
      double each = (double)(shapes[s].n * shapes[s].k);
      printf(" %13.0f", best[s][i]);
      operations += each;
      seconds += each / best[s][i];
    }
    printf(" %13.0f\n", operations / seconds);
  }
}

int main(int argc, char **argv) {
  int turns = argc > 1 ? atoi(argv[1]) : 5, threads = argc > 2 ? atoi(argv[2]) : 2, wrong = 0;
  double best[SHAPES][KERNELS] = {{0}};
  mc_compute *cp;
  moeclip_error err;
  if (mc_tiles_best() != MC_TILES_AMX) {
    fprintf(stderr, "bench_tiles: this processor has no AMX (or oneDNN may not use it)\n");
    return 2;
  }
  if (turns < 0 || threads < 1 || mc_compute_create(threads, &cp, &err) != MOECLIP_OK) return 2;
  if (mc_compute_set_precision(cp, MC_BFLOAT16, &err) != MOECLIP_OK) return 1;
  for (int s = 0; s < SHAPES; s++) wrong += measure(cp, &shapes[s], threads, turns, best[s]);
  if (turns > 0) print_rates(best);
  mc_compute_destroy(cp);
  return wrong > 0;
}

#else

int main(void) {
  fprintf(stderr, "bench_tiles: this compiler or processor has no AMX\n");
  return 2;
}

#endif
