/* Features of lists of labels, kept for the next time. The least recently used go first. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/learner.h"

struct mc_kept_labels {
  mc_kept_labels *next;
  int task;
  char *key;         /* templates and labels, each with its terminating 0; a further 0 between the two */
  size_t n_key, n_bytes;
  float features[];
};

void mc_label_cache_clear(mc_label_cache *cache) {
  while (cache->first) {
    mc_kept_labels *k = cache->first;
    cache->first = k->next;
    free(k->key);
    free(k);
  }
  cache->n_bytes = 0;
}

void moeclip_learner_keep_labels(moeclip_learner *l, size_t max_bytes) {
  mc_label_cache_clear(&l->labels);
  l->labels.max_bytes = max_bytes;
}

static size_t put(char *at, const char *const *s, size_t n) {
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    size_t length = strlen(s[i]) + 1;
    if (at) memcpy(at + used, s[i], length);
    used += length;
  }
  return used;
}

static char *make_key(const char *const *templates, size_t n_templates, const char *const *labels, size_t n_labels, size_t *n) {
  size_t n_first = put(NULL, templates, n_templates);
  *n = n_first + 1 + sizeof n_templates + put(NULL, labels, n_labels);
  char *key = mc_alloc(*n, 1);
  if (!key) return NULL;
  /* An empty label or template looks like a separator: their number tells the two lists apart. */
  memcpy(key, &n_templates, sizeof n_templates);
  put(key + sizeof n_templates, templates, n_templates);
  key[sizeof n_templates + n_first] = 0;
  put(key + sizeof n_templates + n_first + 1, labels, n_labels);
  return key;
}

/* Takes it out of the list and puts it first. */
static mc_kept_labels *find(mc_label_cache *cache, int task, const char *key, size_t n_key) {
  for (mc_kept_labels **at = &cache->first; *at; at = &(*at)->next) {
    mc_kept_labels *k = *at;
    if (k->task != task || k->n_key != n_key || memcmp(k->key, key, n_key) != 0) continue;
    *at = k->next;
    k->next = cache->first;
    cache->first = k;
    return k;
  }
  return NULL;
}

void mc_label_cache_trim(mc_label_cache *cache) {
  while (cache->first && cache->n_bytes > cache->max_bytes) {
    mc_kept_labels **at = &cache->first;
    while ((*at)->next) at = &(*at)->next;
    cache->n_bytes -= (*at)->n_bytes;
    free((*at)->key);
    free(*at);
    *at = NULL;
  }
}

moeclip_code mc_label_features(moeclip_learner *l, int task, const char *const *templates, size_t n_templates,
                               const char *const *labels, size_t n_labels, const float **out, float **owned,
                               moeclip_error *err) {
  size_t n = n_labels * (size_t)l->model->clip->sizes.embed, n_key = 0;
  *owned = NULL;
  mc_label_cache *cache = &l->labels;
  char *key = cache->max_bytes ? make_key(templates, templates ? n_templates : 0, labels, n_labels, &n_key) : NULL;
  size_t n_bytes = n * sizeof(float) + n_key + sizeof(mc_kept_labels);
  if (!key || n_bytes > cache->max_bytes) {
    free(key);
    *owned = mc_alloc(n, sizeof **owned);
    if (!*owned) return mc_fail_memory(err, n * sizeof **owned, "labels");
    *out = *owned;
    return mc_class_features(l, task, templates, n_templates, labels, n_labels, NULL, *owned, err);
  }
  mc_kept_labels *k = find(cache, task, key, n_key);
  if (k) {
    free(key);
    *out = k->features;
    return MOECLIP_OK;
  }
  k = malloc(sizeof *k + n * sizeof *k->features);
  moeclip_code code = k ? MOECLIP_OK : mc_fail_memory(err, n * sizeof *k->features, "labels");
  if (code == MOECLIP_OK) code = mc_class_features(l, task, templates, n_templates, labels, n_labels, NULL, k->features, err);
  if (code != MOECLIP_OK) {
    free(k);
    free(key);
    return code;
  }
  k->next = cache->first;
  k->task = task;
  k->key = key;
  k->n_key = n_key;
  k->n_bytes = n_bytes;
  cache->first = k;
  cache->n_bytes += n_bytes;
  *out = k->features;
  return MOECLIP_OK;
}
