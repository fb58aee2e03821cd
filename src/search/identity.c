/* What a picture's feature depends on, as hashes: so that a change of the state costs only what it must. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "search/search.h"

static int by_name(const void *a, const void *b) {
  const moeclip_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static void add_tensor(mc_sha256 *h, const moeclip_tensor *t) {
  mc_sha256_add(h, t->name, strlen(t->name) + 1);
  mc_sha256_add(h, t->shape, (size_t)t->rank * sizeof t->shape[0]);
  mc_sha256_add(h, t->data, t->n_bytes);
}

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* The number after `what` in a name of an expert or a router of the image tower; -1: it is none. */
static int number_after(const char *name, const char *what) {
  const char *at = begins(name, "visual.") ? strstr(name, what) : NULL;
  return at ? atoi(at + strlen(what)) : -1;
}

/* The selector's reference features calibrate later thresholds; they send no picture anywhere. */
static bool routes(const char *name) { return begins(name, "selector.") && strcmp(name, "selector.reference") != 0; }

/* A task's router alone, over the experts' hash; noise is for training. */
static int64_t encoder_of(const moeclip_tensor **t, size_t n, const char *backbone, const char *experts, int router) {
  mc_sha256 h;
  char hex[65];
  mc_sha256_init(&h);
  mc_sha256_add(&h, backbone, strlen(backbone));
  mc_sha256_add(&h, experts, strlen(experts));
  for (size_t i = 0; i < n; i++) {
    if (number_after(t[i]->name, ".router_list.") == router) add_tensor(&h, t[i]);
  }
  mc_sha256_hex(&h, hex);
  hex[15] = 0; /* 60 bits: positive in a 64-bit integer */
  return (int64_t)strtoull(hex, NULL, 16);
}

/* What all pictures that go through adapters share: the experts, and, when fine-tuned, the whole image tower. */
static void shared_parts(const moeclip_learner *l, const moeclip_tensor **t, size_t n, char experts[65],
                         char tuned[65]) {
  mc_sha256 adapted, whole;
  mc_sha256_init(&adapted);
  mc_sha256_init(&whole);
  mc_sha256_add(&adapted, &l->options.top_k, sizeof l->options.top_k);
  for (size_t i = 0; i < n; i++) {
    if (number_after(t[i]->name, ".adaptmlp_list.") >= 0) add_tensor(&adapted, t[i]);
    if (l->tuned && begins(t[i]->name, "visual.")) add_tensor(&whole, t[i]);
  }
  mc_sha256_hex(&adapted, experts);
  mc_sha256_hex(&whole, tuned);
}

static moeclip_code hash(moeclip_learner *l, const moeclip_tensors *state, const moeclip_tensor **t, size_t n,
                         mc_identity *out, moeclip_error *err) {
  const char *text = moeclip_tensors_metadata(state, "moeclip.state"), *backbone = moeclip_model_fingerprint(l->model);
  char experts[65], tuned[65];
  mc_sha256 all, route;
  mc_sha256_init(&all);
  mc_sha256_init(&route);
  mc_sha256_add(&all, text, text ? strlen(text) : 0);
  mc_sha256_add(&route, l->alexnet_hash, sizeof l->alexnet_hash);
  mc_sha256_add(&route, &l->extractor.layer, sizeof l->extractor.layer);
  for (size_t i = 0; i < n; i++) {
    add_tensor(&all, t[i]);
    if (routes(t[i]->name)) add_tensor(&route, t[i]);
  }
  mc_sha256_hex(&all, out->all);
  mc_sha256_hex(&route, out->route);
  out->encoder = mc_alloc((size_t)l->n_tasks + 1, sizeof *out->encoder);
  if (!out->encoder) return mc_fail_memory(err, sizeof *out->encoder, "hashes");
  shared_parts(l, t, n, experts, tuned);
  for (int task = -1; task < l->n_tasks; task++) {
    int router = mc_learner_router(l, task);
    out->encoder[task + 1] =
        task < 0 || !l->adapters ? encoder_of(t, 0, backbone, tuned, 0) : encoder_of(t, n, backbone, experts, router);
  }
  return MOECLIP_OK;
}

moeclip_code mc_identity_of(moeclip_learner *l, mc_identity *out, moeclip_error *err) {
  moeclip_tensors *state = NULL;
  const moeclip_tensor **sorted = NULL;
  *out = (mc_identity){0};
  MC_TRY(moeclip_tensors_create(&state, err));
  moeclip_code code = mc_state_store(l, state, err);
  size_t n = moeclip_tensors_count(state);
  if (code == MOECLIP_OK && !(sorted = mc_alloc(n, sizeof *sorted)))
    code = mc_fail_memory(err, n * sizeof *sorted, "hashes");
  for (size_t i = 0; code == MOECLIP_OK && i < n; i++) sorted[i] = moeclip_tensors_at(state, i);
  if (code == MOECLIP_OK && n > 0) qsort(sorted, n, sizeof *sorted, by_name);
  if (code == MOECLIP_OK) code = hash(l, state, sorted, n, out, err);
  free(sorted);
  moeclip_tensors_destroy(state);
  return code;
}

void mc_identity_clear(mc_identity *i) {
  free(i->encoder);
  i->encoder = NULL;
}
