#include "learn/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct named_choice {
  const char *name;
  size_t at;
} named_choice;

static int by_name(const void *a, const void *b) {
  const named_choice *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

moeclip_code mc_find_columns(const moeclip_learner *l, int64_t n_taught, const mc_choices *c, mc_column *columns, int64_t *n,
                             moeclip_error *err) {
  int64_t at = 0;
  *n = 0;
  named_choice *sorted = mc_alloc(c->n, sizeof *sorted);
  if (!sorted) return mc_fail_memory(err, c->n * sizeof *sorted, "labels");
  for (size_t i = 0; i < c->n; i++) sorted[i] = (named_choice){c->name[i], i};
  qsort(sorted, c->n, sizeof *sorted, by_name);
  for (int t = 0; t < l->n_tasks; t++) {
    for (size_t k = 0; k < l->tasks[t].n_classes && at < n_taught; k++, at++) {
      if (c->first_known >= 0) {
        int64_t choice = at - c->first_known;
        if (choice >= 0 && choice < (int64_t)c->n) columns[(*n)++] = (mc_column){at, (size_t)choice, t};
        continue;
      }
      size_t low = 0, high = c->n;
      while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(sorted[middle].name, l->tasks[t].classes[k]) < 0) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      if (low < c->n && strcmp(sorted[low].name, l->tasks[t].classes[k]) == 0)
        columns[(*n)++] = (mc_column){at, sorted[low].at, t};
    }
  }
  free(sorted);
  return MOECLIP_OK;
}

void mc_divide_columns(const mc_column *columns, int64_t n, double *own, size_t n_choices, float *scores, int32_t *task) {
  int asked = *task;
  float top = scores[0]; /* a float: gcc 12 for Arm fails on the double's maximum of floats */
  double sum = 0, taught = 0, most = -INFINITY, parts = 0;
  bool any = false;
  for (size_t i = 1; i < n_choices; i++) top = fmaxf(top, scores[i]);
  double largest = top;
  for (size_t i = 0; i < n_choices; i++) sum += exp(scores[i] - largest);
  for (size_t i = 0; i < n_choices; i++) scores[i] = (float)(exp(scores[i] - largest) / sum);
  for (int64_t j = 0; j < n; j++) {
    if (asked >= 0 && columns[j].task != asked) continue;
    most = fmax(most, own[j]);
    any = true;
  }
  *task = MOECLIP_TASK_NONE;
  if (!any) return;
  for (int64_t j = 0; j < n; j++) {
    if (asked >= 0 && columns[j].task != asked) continue;
    parts += own[j] = exp(own[j] - most);
    taught += scores[columns[j].choice]; /* a candidate that two columns know counts once */
    scores[columns[j].choice] = 0;
  }
  for (int64_t j = 0; j < n; j++) {
    if (asked < 0 || columns[j].task == asked) scores[columns[j].choice] += (float)(taught * own[j] / parts);
  }
  size_t winner = 0;
  double best = -1;
  for (size_t i = 1; i < n_choices; i++) winner = scores[i] > scores[winner] ? i : winner;
  for (int64_t j = 0; j < n; j++) {
    if (columns[j].choice != winner || (asked >= 0 && columns[j].task != asked) || !(own[j] > best)) continue;
    best = own[j];
    *task = columns[j].task;
  }
}
