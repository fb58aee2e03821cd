/*
 * Times the engine alone, on models of random weights, for bench/compare.py: one JSON object on stdout.
 *
 *   engine WORK [NAME=VALUE ...]
 *
 * WORK: products (a step's matrix products alone), step (a training step), encode (plain, with adapters, with adapters and selector),
 * prompts (class texts), model and alexnet (write random weights to out=FILE, as safetensors).
 * NAME: model=b16|tiny, batch=64, classes=100, experts=22, tasks=1, repeat=1, threads=0, kept=0 (MiB), precision=float32|bfloat16,
 * activation=quick_gelu|gelu (OpenCLIP's), alexnet=FILE (for the selector; none: the image tower's tokens), out=FILE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/random.h"
#include "learn/learner.h"
#include "train/optimizer.h"
#include "train/step.h"

typedef struct setting {
  const char *model, *out, *alexnet, *precision, *activation;
  int64_t batch, classes, experts, tasks, repeat, threads, kept;
} setting;

typedef struct engine {
  setting s;
  mc_compute *cp;
  mc_clip *clip;
  mc_adapters *adapters;
  mc_arena arena;
  float *images, *features;
  int32_t *texts, *labels, *routers, *text_routers;
  moeclip_error err;
} engine;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void need(moeclip_code code, const moeclip_error *err) {
  if (code == MOECLIP_OK) return;
  fprintf(stderr, "engine: %s\n", err->message);
  exit(1);
}

/* Peak resident memory of the process in MiB, as Linux counts it. */
static double peak_mib(void) {
  char line[256];
  long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
  }
  if (f) fclose(f);
  return (double)kib / 1024;
}

static void read_setting(setting *s, int argc, char **argv) {
  *s = (setting){.model = "b16", .precision = "float32", .activation = "quick_gelu", .batch = 64, .classes = 100, .experts = 22, .tasks = 1,
                 .repeat = 1};
  const struct { const char *name; const char **text; int64_t *number; } known[] = {
      {"model", &s->model, NULL},           {"out", &s->out, NULL},         {"precision", &s->precision, NULL},
      {"activation", &s->activation, NULL}, {"alexnet", &s->alexnet, NULL}, {"batch", NULL, &s->batch},
      {"classes", NULL, &s->classes},       {"experts", NULL, &s->experts}, {"tasks", NULL, &s->tasks},
      {"repeat", NULL, &s->repeat},         {"threads", NULL, &s->threads}, {"kept", NULL, &s->kept}};
  for (int i = 2; i < argc; i++) {
    char *equals = strchr(argv[i], '=');
    size_t k = 0, n = sizeof known / sizeof known[0];
    if (equals) *equals = 0;
    while (equals && k < n && strcmp(known[k].name, argv[i]) != 0) k++;
    if (!equals || k == n) {
      fprintf(stderr, "engine: unknown setting %s\n", argv[i]);
      exit(2);
    }
    if (known[k].text) *known[k].text = equals + 1;
    if (known[k].number) *known[k].number = strtoll(equals + 1, NULL, 10);
  }
}

static mc_clip_sizes sizes_of(const char *model) {
  if (strcmp(model, "tiny") == 0) {
    return (mc_clip_sizes){.image_size = 32, .patch = 8, .visual_layers = 2, .visual_width = 64, .visual_hidden = 256, .context = 16,
                           .vocabulary = 1024, .text_layers = 2, .text_width = 64, .text_hidden = 256, .embed = 64};
  }
  return (mc_clip_sizes){.image_size = 224, .patch = 16, .visual_layers = 12, .visual_width = 768, .visual_hidden = 3072, .context = 77,
                         .vocabulary = 49408, .text_layers = 12, .text_width = 512, .text_hidden = 2048, .embed = 512};
}

static void fill(float *x, int64_t n, uint64_t seed) {
  mc_philox p;
  mc_philox_init(&p, seed, MC_STREAM_INIT, 7);
  for (int64_t i = 0; i < n; i++) x[i] = mc_philox_normal(&p);
}

/* A router that has learned something: else every sample would choose the first experts. */
static void spread_routers(engine *e) {
  for (int tower = 0; tower < 2; tower++) {
    mc_moe *moe = tower ? e->adapters->text : e->adapters->visual;
    int layers = tower ? e->adapters->text_layers : e->adapters->visual_layers;
    for (int l = 0; l < layers; l++) {
      for (int r = 0; r < moe[l].n_routers; r++) fill(moe[l].routers[r].gate.value, moe[l].routers[r].gate.n, (uint64_t)(l * 100 + r));
    }
  }
}

static void make_compute(engine *e) {
  bool half = strcmp(e->s.precision, "bfloat16") == 0;
  if (!half && strcmp(e->s.precision, "float32") != 0) {
    fprintf(stderr, "engine: precision=%s: float32 or bfloat16\n", e->s.precision);
    exit(2);
  }
  need(mc_compute_create((int)e->s.threads, &e->cp, &e->err), &e->err);
  need(mc_compute_set_precision(e->cp, half ? MC_BFLOAT16 : MC_FLOAT32, &e->err), &e->err);
}

static void prepare(engine *e) {
  mc_clip_sizes z = sizes_of(e->s.model);
  bool gelu = strcmp(e->s.activation, "gelu") == 0;
  if (!gelu && strcmp(e->s.activation, "quick_gelu") != 0) {
    fprintf(stderr, "engine: activation=%s: quick_gelu or gelu\n", e->s.activation);
    exit(2);
  }
  z.activation = gelu ? MC_GELU : MC_QUICK_GELU;
  make_compute(e);
  need(mc_clip_create(&z, 1, &e->clip, &e->err), &e->err);
  mc_adapter_sizes a = {.n_experts = (int)e->s.experts, .bottleneck = 64, .top_k = 2, .scale = 0.1f, .text = true};
  need(mc_adapters_create(&a, z.visual_layers, z.visual_width, z.text_layers, z.text_width, 2, &e->adapters, &e->err), &e->err);
  for (int64_t t = 0; t < e->s.tasks; t++) need(mc_adapters_add_router(e->adapters, &e->err), &e->err);
  spread_routers(e);
  int64_t each = 3 * (int64_t)z.image_size * z.image_size, n = e->s.batch;
  e->images = mc_aligned_alloc((size_t)(n * each), sizeof *e->images);
  e->features = mc_alloc((size_t)((n > e->s.classes ? n : e->s.classes) * z.embed), sizeof *e->features);
  e->labels = mc_alloc((size_t)n, sizeof *e->labels);
  e->routers = mc_alloc((size_t)n, sizeof *e->routers);
  e->text_routers = mc_alloc((size_t)e->s.classes, sizeof *e->text_routers);
  e->texts = calloc((size_t)(e->s.classes * z.context), sizeof *e->texts);
  fill(e->images, n * each, 3);
  for (int64_t i = 0; i < n; i++) {
    e->labels[i] = (int32_t)(i % e->s.classes);
    e->routers[i] = (int32_t)(i % e->s.tasks);
  }
  /* Prompts of "a photo of a {}.": 8 to 10 tokens with the marks. */
  for (int64_t i = 0; i < e->s.classes; i++) {
    int length = 8 + (int)(i % 3);
    int32_t *row = e->texts + i * z.context;
    e->text_routers[i] = 0;
    row[0] = z.vocabulary - 2;
    for (int j = 1; j < length - 1; j++) row[j] = (int32_t)(1 + (i * 37 + j * 101) % (z.vocabulary - 3));
    row[length - 1] = z.vocabulary - 1;
  }
}

static mc_routing routing(const int32_t *task) { return (mc_routing){.task = task, .top_k = 2, .scale = 0.1f}; }

/* --- a step's matrix products alone --------------------------------------------------------------------------------------------------- */

typedef struct shape {
  int64_t n, k;
  bool trans_b;
} shape;

/* Seconds of the image tower's frozen products for `pictures` pictures, forward (trans_b) or back. */
static double products(engine *e, const mc_clip_sizes *z, int64_t pictures, bool back, double *flops) {
  int64_t d = z->visual_width, h = z->visual_hidden, t = 1 + (z->image_size / z->patch) * (z->image_size / z->patch), m = pictures * t;
  const shape forward[] = {{3 * d, d, true}, {d, d, true}, {h, d, true}, {d, h, true}};
  const shape backward[] = {{d, 3 * d, false}, {d, d, false}, {d, h, false}, {h, d, false}};
  float *a = mc_aligned_alloc((size_t)(m * h), 4), *b = mc_aligned_alloc((size_t)(h * d), 4), *c = mc_aligned_alloc((size_t)(m * h), 4);
  mc_bfloat16 *a16 = mc_aligned_alloc((size_t)(m * h), 2);
  mc_packed16 *packed[4] = {NULL};
  bool half = mc_compute_precision(e->cp) == MC_BFLOAT16;
  if (!a || !b || !c || !a16) exit(1);
  fill(a, m * h, 4);
  fill(b, h * d, 5);
  mc_to_bfloat16(e->cp, a, m * h, a16);
  for (int i = 0; half && i < 4; i++) {
    const shape *s = back ? &backward[i] : &forward[i];
    need(mc_packed16_create(e->cp, b, s->k, s->n, s->trans_b, &packed[i], &e->err), &e->err);
  }
  double start = now();
  for (int l = 0; l < z->visual_layers; l++) {
    for (int i = 0; i < 4; i++) {
      shape s = back ? backward[i] : forward[i];
      mc_gemm g = {.m = m, .n = s.n, .k = s.k, .a = a, .lda = s.k, .b = b, .ldb = s.trans_b ? s.k : s.n, .trans_b = s.trans_b, .c = c,
                   .ldc = s.n};
      mc_gemm16 g16 = {.m = m, .n = s.n, .k = s.k, .a = a16, .lda = s.k, .packed = packed[i], .c = c, .ldc = s.n};
      need(half ? mc_gemm16_run(e->cp, &g16, &e->err) : mc_gemm_run(e->cp, &g, &e->err), &e->err);
      *flops += 2.0 * (double)m * (double)s.n * (double)s.k;
    }
  }
  double seconds = now() - start;
  mc_aligned_free(a);
  mc_aligned_free(b);
  mc_aligned_free(a16);
  for (int i = 0; i < 4; i++) mc_packed16_destroy(packed[i]);
  mc_aligned_free(c);
  return seconds;
}

static void run_products(engine *e) {
  mc_clip_sizes z = sizes_of(e->s.model);
  make_compute(e);
  double flops[2] = {0, 0}, seconds[2];
  for (int back = 0; back < 2; back++) {
    seconds[back] = 0;
    for (int64_t r = 0; r < e->s.repeat; r++) seconds[back] += products(e, &z, e->s.batch, back, &flops[back]);
  }
  printf("{\"forward_gflops\": %.1f, \"backward_gflops\": %.1f, \"gflops\": %.1f}\n", flops[0] / seconds[0] * 1e-9, flops[1] / seconds[1] * 1e-9,
         (flops[0] + flops[1]) / (seconds[0] + seconds[1]) * 1e-9);
}

/* Floating-point operations of a step's matrix products as the engine does them: all blocks of both towers forward and back (not below
 * the lowest experts; of the last block what the token that is read needs), the patches, and the experts; attention's own, which are few,
 * not counted. */
static double tower_flops(double rows, double samples, double d, double h, double layers, double bottleneck) {
  double block = rows * (4 * d * d + 2 * d * h), last = rows * 2 * d * d + samples * (2 * d * d + 2 * d * h);
  double experts = 2 * 2 * rows * d * bottleneck; /* two of them, down and up */
  return 2 * ((layers - 1) * block + last + (layers - 2) * block + last + 3 * (layers - 1) * experts);
}

static double step_flops(const engine *e) {
  mc_clip_sizes z = sizes_of(e->s.model);
  double n = (double)e->s.batch, grid = z.image_size / z.patch, tokens = 10 * (double)e->s.classes; /* as the longest prompt */
  return tower_flops(n * (grid * grid + 1), n, z.visual_width, z.visual_hidden, z.visual_layers, 64) +
         tower_flops(tokens, 2 * (double)e->s.classes, z.text_width, z.text_hidden, z.text_layers, 64) +
         2 * n * grid * grid * z.visual_width * 3 * z.patch * z.patch;
}

/* --- a training step -------------------------------------------------------------------------------------------------------------------- */

static void run_step(engine *e) {
  prepare(e);
  mc_adamw_options how = mc_adamw_defaults();
  mc_adamw *optimizer;
  need(mc_adapters_train(e->adapters, 0, false, &e->err), &e->err);
  need(mc_adamw_create(&how, &optimizer, &e->err), &e->err);
  need(mc_adapters_each(e->adapters, mc_adamw_add, optimizer, &e->err), &e->err);
  mc_step_options o = {.image_routing = routing(e->routers), .text_routing = routing(e->text_routers), .smoothing = 0.2f,
                       .kept_bytes = (size_t)e->s.kept << 20};
  o.image_routing.noise = o.text_routing.noise = o.image_routing.count = o.text_routing.count = true;
  o.image_routing.dropout = o.text_routing.dropout = 0.1f;
  double best = 1e30, total = 0, loss = 0, updating = 0;
  /* The first step pays for first touches of memory and is not counted, when there are others. */
  for (int64_t r = 0; r < e->s.repeat + (e->s.repeat > 1); r++) {
    double start = now();
    o.image_routing.step = o.text_routing.step = (uint64_t)r;
    need(mc_classification_step(e->cp, e->clip, e->adapters, &o, e->images, e->labels, e->s.batch, e->texts, e->s.classes, &loss, NULL,
                                &e->arena, &e->err),
         &e->err);
    double update = now();
    mc_adamw_step(optimizer, e->cp, 1e-3);
    double seconds = now() - start;
    if (r == 0 && e->s.repeat > 1) continue;
    updating += now() - update;
    total += seconds;
    best = seconds < best ? seconds : best;
  }
  printf("{\"seconds\": %.4f, \"best_seconds\": %.4f, \"optimizer_seconds\": %.4f, \"loss\": %.6f, \"gflops\": %.1f, \"peak_mib\": %.0f, "
         "\"arena_mib\": %.0f}\n",
         total / (double)e->s.repeat, best, updating / (double)e->s.repeat, loss, step_flops(e) / best * 1e-9, peak_mib(),
         (double)e->arena.n_bytes / 1048576);
  mc_adamw_destroy(optimizer);
}

/* --- encoding --------------------------------------------------------------------------------------------------------------------------- */

static double encode_seconds(engine *e, const mc_routing *r, const mc_choice *choice) {
  mc_encoder encoder = {.clip = e->clip, .adapters = r ? e->adapters : NULL, .routing = r, .choice = choice};
  double start = now();
  need(mc_encode_images(e->cp, &encoder, e->images, e->s.batch, e->features, NULL, &e->arena, &e->err), &e->err);
  return now() - start;
}

/* A selector of the kind, of so many tasks; what it has learned is nothing, which takes as long. */
static mc_selector *make_selector(engine *e, mc_selector_kind kind, const mc_feature_extractor *x) {
  enum { HIDDEN = 100, FITTED = 8 * HIDDEN };
  mc_selector *s;
  mc_moments m = {0};
  need(mc_selector_create(kind, x->dim, HIDDEN, &s, &e->err), &e->err);
  if (kind != MC_SELECTOR_AUTOENCODER) {
    float *seen = mc_alloc((size_t)(FITTED * x->dim), sizeof *seen);
    if (!seen) exit(1);
    fill(seen, FITTED * x->dim, 9);
    need(mc_moments_create(&m, x->dim, 1, &e->err), &e->err);
    need(mc_moments_add(e->cp, &m, seen, NULL, FITTED, &e->err), &e->err);
    free(seen);
  }
  for (int t = 0; t < (int)e->s.tasks; t++) {
    if (kind == MC_SELECTOR_AUTOENCODER) {
      mc_autoencoder a;
      need(mc_autoencoder_create(&a, x->dim, HIDDEN, 1, (uint64_t)t, &e->err), &e->err);
      need(mc_selector_add(s, t, &a, 0.1, &e->err), &e->err);
      continue;
    }
    mc_gaussian g = {0};
    need(mc_gaussian_fit(e->cp, &g, &m, FITTED, HIDDEN, 1, &e->err), &e->err);
    need(mc_selector_add_gaussian(s, t, &g, 1e9, &e->err), &e->err);
  }
  mc_moments_clear(&m);
  return s;
}

/* The choice in passing: what a learner does with block 0's tokens. */
typedef struct passing {
  engine *e;
  const mc_feature_extractor *x;
  mc_selector *selector;
  double best; /* seconds */
} passing;

static moeclip_code choose(void *context, const float *tokens, int64_t n, moeclip_error *err) {
  passing *p = context;
  engine *e = p->e;
  double start = now();
  mc_arena_mark mark = mc_arena_here(&e->arena);
  int32_t *tasks = mc_arena_take(&e->arena, (size_t)n, sizeof *tasks);
  float *seen = mc_arena_take(&e->arena, (size_t)(n * p->x->dim), sizeof *seen);
  if (!seen || !tasks) exit(1);
  mc_extract_moments(e->cp, p->x, tokens, n, seen);
  MC_TRY(mc_selector_choose(e->cp, p->selector, seen, n, false, tasks, NULL, NULL, &e->arena, err));
  mc_arena_release(&e->arena, mark);
  if (now() - start < p->best) p->best = now() - start;
  return MOECLIP_OK;
}

/* The paper's kind, on features of their own pass: seconds for extracting and for choosing. */
static void choose_apart(engine *e, double *extracting, double *choosing) {
  mc_feature_extractor x;
  need(mc_feature_extractor_init(&x, MC_SELECTOR_AUTOENCODER, e->s.alexnet, e->clip, -1, &e->err), &e->err);
  mc_selector *selector = make_selector(e, MC_SELECTOR_AUTOENCODER, &x);
  int64_t n = e->s.batch, pixels_each = 3 * (int64_t)x.transform.size * x.transform.size;
  uint8_t *pixels = calloc((size_t)n, (size_t)pixels_each);
  float *seen = mc_alloc((size_t)(n * x.dim), sizeof *seen);
  if (!pixels || !seen) exit(1);
  for (int64_t i = 0; i < e->s.repeat + 1; i++) {
    double start = now();
    need(mc_extract(e->cp, &x, pixels, n, seen, &e->arena, &e->err), &e->err);
    double middle = now();
    need(mc_selector_choose(e->cp, selector, seen, n, false, e->routers, NULL, NULL, &e->arena, &e->err), &e->err);
    double end = now();
    if (i > 0 && middle - start < *extracting) *extracting = middle - start;
    if (i > 0 && end - middle < *choosing) *choosing = end - middle;
  }
  free(pixels);
  free(seen);
  mc_selector_destroy(selector);
  mc_feature_extractor_clear(&x);
}

/* Plain, with adapters, with adapters and the choice in passing, in turn; and the paper's selector, in a pass of its own. */
static void run_encode(engine *e) {
  prepare(e);
  mc_routing r = routing(e->routers);
  mc_feature_extractor x;
  need(mc_feature_extractor_init(&x, MC_SELECTOR_GAUSSIAN, NULL, e->clip, -1, &e->err), &e->err);
  mc_selector *selector = make_selector(e, MC_SELECTOR_GAUSSIAN, &x);
  passing p = {e, &x, selector, 1e30};
  mc_choice choice = {choose, &p};
  double best[3] = {1e30, 1e30, 1e30}, extracting = 1e30, choosing = 1e30;
  for (int64_t i = 0; i < e->s.repeat + 1; i++) {
    double seconds[3] = {encode_seconds(e, NULL, NULL), encode_seconds(e, &r, NULL), encode_seconds(e, &r, &choice)};
    for (int k = 0; k < 3; k++) {
      if (i > 0 && seconds[k] < best[k]) best[k] = seconds[k];
    }
  }
  double n = (double)e->s.batch, tasks = (double)e->s.tasks;
  printf("{\"plain\": %.3f, \"adapted\": %.3f, \"in_passing\": %.3f, \"in_passing_share_per_task\": %.8f, ", n / best[0], n / best[1],
         n / best[2], p.best / best[0] / tasks);
  mc_selector_destroy(selector);
  mc_feature_extractor_clear(&x);
  choose_apart(e, &extracting, &choosing);
  printf("\"autoencoders\": %.3f, \"extract_seconds\": %.5f, \"choose_seconds\": %.5f, \"choose_share_per_task\": %.6f, \"peak_mib\": %.0f}\n",
         n / (best[1] + extracting + choosing), extracting / n, choosing / n, choosing / best[0] / tasks, peak_mib());
}

static void run_prompts(engine *e) {
  prepare(e);
  mc_routing r = routing(e->text_routers);
  mc_encoder encoder = {.clip = e->clip, .adapters = e->adapters, .routing = &r};
  double best = 1e30;
  for (int64_t i = 0; i < e->s.repeat + 1; i++) {
    double start = now();
    need(mc_encode_texts(e->cp, &encoder, e->texts, e->s.classes, e->features, NULL, &e->arena, &e->err), &e->err);
    if (i > 0 && now() - start < best) best = now() - start;
  }
  printf("{\"seconds\": %.4f, \"peak_mib\": %.0f}\n", best, peak_mib());
}

static void run_model(engine *e) {
  mc_clip_sizes z = sizes_of(e->s.model);
  moeclip_tensors *t;
  if (!e->s.out) return;
  need(mc_clip_create(&z, 1, &e->clip, &e->err), &e->err);
  need(moeclip_tensors_create(&t, &e->err), &e->err);
  need(mc_clip_store(e->clip, MOECLIP_F32, t, &e->err), &e->err);
  need(moeclip_tensors_write_safetensors(t, e->s.out, &e->err), &e->err);
  moeclip_tensors_destroy(t);
}

static void run_alexnet(engine *e) {
  static const int64_t shapes[5][4] = {{64, 3, 11, 11}, {192, 64, 5, 5}, {384, 192, 3, 3}, {256, 384, 3, 3}, {256, 256, 3, 3}};
  static const int layers[5] = {0, 3, 6, 8, 10};
  moeclip_tensors *t;
  if (!e->s.out) return;
  need(moeclip_tensors_create(&t, &e->err), &e->err);
  for (int i = 0; i < 5; i++) {
    int64_t n = shapes[i][0] * shapes[i][1] * shapes[i][2] * shapes[i][3];
    char name[64];
    float *w = mc_alloc((size_t)n, sizeof *w);
    if (!w) exit(1);
    fill(w, n, (uint64_t)i);
    for (int64_t k = 0; k < n; k++) w[k] *= 0.02f;
    snprintf(name, sizeof name, "features.%d.weight", layers[i]);
    need(moeclip_tensors_add(t, name, MOECLIP_F32, 4, shapes[i], w, 1, &e->err), &e->err);
    snprintf(name, sizeof name, "features.%d.bias", layers[i]);
    need(moeclip_tensors_add(t, name, MOECLIP_F32, 1, shapes[i], w, 1, &e->err), &e->err);
    free(w);
  }
  need(moeclip_tensors_write_safetensors(t, e->s.out, &e->err), &e->err);
  moeclip_tensors_destroy(t);
}

int main(int argc, char **argv) {
  static const struct { const char *name; void (*run)(engine *e); } works[] = {
      {"products", run_products}, {"step", run_step}, {"encode", run_encode}, {"prompts", run_prompts}, {"model", run_model}, {"alexnet", run_alexnet}};
  engine e = {0};
  read_setting(&e.s, argc, argv);
  for (size_t i = 0; i < sizeof works / sizeof works[0] && argc > 1; i++) {
    if (strcmp(argv[1], works[i].name) != 0) continue;
    works[i].run(&e);
    mc_adapters_destroy(e.adapters);
    mc_clip_destroy(e.clip);
    mc_compute_destroy(e.cp);
    mc_arena_clear(&e.arena);
    mc_aligned_free(e.images);
    free(e.features);
    free(e.labels);
    free(e.routers);
    free(e.text_routers);
    free(e.texts);
    return 0;
  }
  fprintf(stderr, "usage: engine products|step|encode|prompts|model|alexnet [NAME=VALUE ...]\n");
  return 2;
}
