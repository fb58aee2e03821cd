#include <stdlib.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "text/text.h"

/* Sorts a run of combining marks by their class, keeping the order within a class: a merge sort from the bottom up, since a
 * text may be one single run. `spare` has room for n. */
static void sort_marks(int32_t *at, size_t n, int32_t *spare) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t low = 0; low < n; low += 2 * width) {
      size_t middle = low + width < n ? low + width : n, high = middle + width < n ? middle + width : n;
      size_t i = low, j = middle;
      for (size_t k = low; k < high; k++) {
        bool right = i == middle || (j < high && utf8proc_get_property(at[j])->combining_class <
                                                     utf8proc_get_property(at[i])->combining_class);
        spare[k] = right ? at[j++] : at[i++];
      }
    }
    for (size_t k = 0; k < n; k++) at[k] = spare[k];
  }
}

void mc_compose(const int32_t *in, size_t n, mc_codepoints *out) {
  size_t start = out->n, plain = 0;
  /* Nothing below U+0300 ever composes with what follows it there. */
  while (plain < n && in[plain] < 0x300) plain++;
  if (plain == n) {
    mc_codepoints_append(out, in, n);
    return;
  }
  size_t longest = 0, marks = 0;
  for (size_t i = 0; i < n; i++) {
    utf8proc_int32_t parts[32];
    int last = 0;
    utf8proc_ssize_t k = utf8proc_decompose_char(in[i], parts, 32, UTF8PROC_DECOMPOSE, &last);
    if (k < 1 || k > 32) {
      parts[0] = in[i];
      k = 1;
    }
    for (utf8proc_ssize_t p = 0; p < k; p++) {
      mc_codepoints_push(out, parts[p]);
      marks = utf8proc_get_property(parts[p])->combining_class > 0 ? marks + 1 : 0;
      if (marks > longest) longest = marks;
    }
  }
  if (out->failed) return;
  if (longest > 1) {
    int32_t *spare = mc_alloc(longest, sizeof *spare);
    if (!spare) {
      out->failed = true;
      return;
    }
    for (size_t i = start; i < out->n;) {
      size_t from = i;
      while (i < out->n && utf8proc_get_property(out->at[i])->combining_class > 0) i++;
      if (i - from > 1) sort_marks(out->at + from, i - from, spare);
      if (i == from) i++;
    }
    free(spare);
  }
  utf8proc_ssize_t composed = utf8proc_normalize_utf32(out->at + start, (utf8proc_ssize_t)(out->n - start),
                                                       UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (composed >= 0) out->n = start + (size_t)composed;
}
