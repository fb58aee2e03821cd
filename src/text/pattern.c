/*
 * CLIP's split into words: 's 't 're 've 'm 'll 'd, else a run of letters, else one number character, else a run of anything
 * but white space, letters and numbers. The start and end marks are no words here: written in a text, they are text, so that
 * no text can end itself early.
 */
#include <utf8proc.h>

#include "text/text.h"

typedef enum kind { SPACE, LETTER, NUMBER, OTHER } kind;

static kind kind_of(int32_t cp) {
  if (cp < 0x80) {
    if ((cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z')) return LETTER;
    if (cp >= '0' && cp <= '9') return NUMBER;
    return mc_is_space(cp) ? SPACE : OTHER;
  }
  if (cp == 0x345) return SPACE; /* a mark whose capital is a letter: with case ignored it is neither, and drops out */
  switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return LETTER;
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO:
      return NUMBER;
    default:
      return mc_is_space(cp) ? SPACE : OTHER;
  }
}

/* Length of a contraction at in[n]; 0: none. Long s counts as s, for it is one when case is ignored. */
static size_t contraction(const int32_t *in, size_t n) {
  if (n < 2 || in[0] != '\'') return 0;
  int32_t first = in[1], second = n > 2 ? in[2] : 0;
  if (first == 's' || first == 0x17F || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  return first == 'l' && second == 'l' ? 3 : 0;
}

size_t mc_pattern_next(const int32_t *in, size_t n, size_t *from) {
  size_t i = *from;
  while (i < n && kind_of(in[i]) == SPACE) i++;
  *from = i;
  if (i >= n) return 0;
  size_t length = contraction(in + i, n - i);
  if (length > 0) return i + length;
  kind k = kind_of(in[i++]);
  if (k == NUMBER) return i;
  while (i < n && kind_of(in[i]) == k) i++;
  return i;
}
