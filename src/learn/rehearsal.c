#include "learn/rehearsal.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A prompt and the class that has it. */
typedef struct prompt_of_class {
  char *text;
  size_t at;
} prompt_of_class;

static int by_text(const void *a, const void *b) {
  const prompt_of_class *x = a, *y = b;
  int order = strcmp(x->text, y->text);
  return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* all [n_classes] sorted by text: the first of each text stays, in order of class. */
static void unite(mc_rehearsal *r, prompt_of_class *all) {
  char **first = r->prompts; /* by class, until they are moved together */
  size_t leader = 0;
  for (size_t i = 0; i < r->n_classes; i++) first[i] = NULL;
  for (size_t i = 0; i < r->n_classes; i++) {
    if (i == 0 || strcmp(all[i].text, all[leader].text) != 0) leader = i;
    r->prompt_of[all[i].at] = (int32_t)all[leader].at;
    if (leader == i) first[all[i].at] = all[i].text;
  }
  for (size_t i = 0; i < r->n_classes; i++) {
    if (all[i].text != first[all[i].at]) free(all[i].text);
    all[i].text = NULL;
  }
  for (size_t i = 0; i < r->n_classes; i++) {
    /* A text's first class comes before its others: their number is known by then. */
    size_t of = (size_t)r->prompt_of[i];
    if (of != i) {
      r->prompt_of[i] = r->prompt_of[of];
    } else {
      r->prompts[r->n_prompts] = first[i];
      r->prompt_of[i] = (int32_t)r->n_prompts++;
    }
    if (i + 1 == r->n_old) r->n_before = r->n_prompts;
  }
  for (size_t i = r->n_prompts; i < r->n_classes; i++) r->prompts[i] = NULL;
}

moeclip_code mc_rehearsal_init(mc_rehearsal *r, const moeclip_learner *l, moeclip_error *err) {
  *r = (mc_rehearsal){0};
  r->n_classes = (size_t)mc_class_count(l, l->n_tasks);
  r->n_old = (size_t)mc_class_count(l, l->n_tasks - 1);
  if (r->n_classes > INT32_MAX) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%zu classes are too many", r->n_classes);
  r->prompts = mc_alloc(r->n_classes, sizeof *r->prompts);
  r->prompt_of = mc_alloc(r->n_classes, sizeof *r->prompt_of);
  prompt_of_class *all = calloc(r->n_classes + 1, sizeof *all);
  size_t n = 0;
  moeclip_code code =
      r->prompts && r->prompt_of && all ? MOECLIP_OK : mc_fail_memory(err, r->n_classes * sizeof *all, "prompts");
  for (int t = 0; code == MOECLIP_OK && t < l->n_tasks; t++) {
    const mc_task *task = &l->tasks[t];
    for (size_t c = 0; code == MOECLIP_OK && c < task->n_classes; c++, n++) {
      all[n].at = n;
      code = mc_fill_template(task->templates[0], task->classes[c], &all[n].text, err);
    }
  }
  if (code == MOECLIP_OK) {
    qsort(all, r->n_classes, sizeof *all, by_text);
    unite(r, all);
  }
  for (size_t i = 0; all && code != MOECLIP_OK && i < n; i++) free(all[i].text);
  free(all);
  return code;
}

moeclip_code mc_rehearsal_add(mc_rehearsal *r, const mc_image_source *part, const int32_t *classes, moeclip_error *err) {
  if (part->count == 0) return MOECLIP_OK;
  size_t count = r->count + part->count;
  if (count > UINT32_MAX) return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED, "%zu pictures of all tasks are too many", count);
  mc_image_source *parts = mc_realloc(r->parts, r->n_parts + 1, sizeof *parts);
  if (parts) r->parts = parts;
  int32_t *labels = mc_realloc(r->labels, count, sizeof *labels);
  if (labels) r->labels = labels;
  if (!parts || !labels) return mc_fail_memory(err, count * sizeof *labels, "labels");
  for (size_t i = 0; i < part->count; i++) labels[r->count + i] = r->prompt_of[classes[i]];
  parts[r->n_parts++] = *part;
  r->count = count;
  return MOECLIP_OK;
}

static const mc_image_source *part_of(const mc_rehearsal *r, size_t *i) {
  const mc_image_source *p = r->parts;
  for (; *i >= p->count; p++) *i -= p->count;
  return p;
}

static moeclip_code load_any(void *context, size_t i, moeclip_image *out, moeclip_error *err) {
  const mc_image_source *p = part_of(context, &i);
  return p->load(p->context, i, out, err);
}

static moeclip_code name_any(void *context, size_t i, char *out, size_t n_out) {
  const mc_image_source *p = part_of(context, &i);
  return p->item_name(p->context, i, out, n_out);
}

void mc_rehearsal_use(mc_rehearsal *r, mc_learning *run) {
  run->pictures = (mc_image_source){r->count, r, load_any, name_any};
  run->labels = r->labels;
  run->classes = (const char *const *)r->prompts;
  run->n_classes = r->n_prompts;
  run->template = "{}";
}

void mc_rehearsal_clear(mc_rehearsal *r) {
  for (size_t i = 0; r->prompts && i < r->n_prompts; i++) free(r->prompts[i]);
  free(r->prompts);
  free(r->prompt_of);
  free(r->parts);
  free(r->labels);
  *r = (mc_rehearsal){0};
}
