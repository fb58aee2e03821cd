/* Repair of single characters, and the loop that repeats all repairs until nothing changes. */
#include <string.h>
#include <utf8proc.h>

#include "text/text.h"

/* Each round of repairs is linear. Ordinary text needs two or three (one to see that nothing changes); text made to need
 * more is left as it is then. */
#define MAX_ROUNDS 24

/* Characters that hold two or three Latin letters. */
static const char *ligature(int32_t cp) {
  switch (cp) {
    case 0x0132: return "IJ";
    case 0x0133: return "ij";
    case 0x01C7: return "LJ";
    case 0x01C8: return "Lj";
    case 0x01C9: return "lj";
    case 0x01CA: return "NJ";
    case 0x01CB: return "Nj";
    case 0x01CC: return "nj";
    case 0x01F1: return "DZ";
    case 0x01F2: return "Dz";
    case 0x01F3: return "dz";
    case 0xFB00: return "ff";
    case 0xFB01: return "fi";
    case 0xFB02: return "fl";
    case 0xFB03: return "ffi";
    case 0xFB04: return "ffl";
    case 0xFB06: return "st";
    default: return NULL;
  }
}

static void push_ascii(mc_codepoints *out, const char *s) {
  for (; *s; s++) mc_codepoints_push(out, *s);
}

/* Length of a terminal escape (ESC [ digits and semicolons, a letter) at in[n]; 0: none. */
static size_t terminal_escape(const int32_t *in, size_t n) {
  if (n < 3 || in[0] != 0x1B || in[1] != '[') return 0;
  size_t i = 2;
  while (i < n && ((in[i] >= '0' && in[i] <= '9') || in[i] == ';')) i++;
  return i < n && ((in[i] >= 'A' && in[i] <= 'Z') || (in[i] >= 'a' && in[i] <= 'z')) ? i + 1 : 0;
}

/* Control characters that do nothing in text; white space, joiners and direction marks stay. */
static bool is_removed(int32_t cp) {
  return cp <= 0x08 || cp == 0x0B || (cp >= 0x0E && cp <= 0x1F) || cp == 0x7F || (cp >= 0x206A && cp <= 0x206F) ||
         cp == 0xFEFF || (cp >= 0xFFF9 && cp <= 0xFFFC);
}

static void repair_characters(const int32_t *in, size_t n, mc_codepoints *out) {
  for (size_t i = 0; i < n; i++) {
    int32_t cp = in[i];
    const char *letters = ligature(cp);
    size_t escape = terminal_escape(in + i, n - i);
    if (escape > 0) {
      i += escape - 1;
    } else if (letters) {
      push_ascii(out, letters);
    } else if (is_removed(cp)) {
      continue;
    } else if (cp >= 0x80 && cp <= 0x9F) {
      mc_codepoints_push(out, mc_windows_1252_char((int)cp));
    } else if (cp == 0x02BC || (cp >= 0x2018 && cp <= 0x201B)) {
      mc_codepoints_push(out, '\'');
    } else if (cp >= 0x201C && cp <= 0x201F) {
      mc_codepoints_push(out, '"');
    } else if (cp == '\r' || cp == 0x2028 || cp == 0x2029) {
      mc_codepoints_push(out, '\n');
    } else if (cp == 0x0149 || cp == 0x01C4 || cp == 0x01C5 || cp == 0x01C6 || cp == 0xFB05) {
      /* The ones that are not ASCII: 'n, and DZ with caron, and long s with t. */
      mc_codepoints_push(out, cp == 0x0149 ? '\'' : cp == 0x01C6 ? 'd' : cp == 0xFB05 ? 0x017F : 'D');
      mc_codepoints_push(out, cp == 0x0149 ? 'n' : cp == 0x01C4 ? 0x017D : cp == 0xFB05 ? 't' : 0x017E);
    } else if (cp == 0x3000) {
      mc_codepoints_push(out, ' ');
    } else if (cp >= 0xFF01 && cp <= 0xFFEF) {
      /* Full width and half width forms: their ordinary ones. */
      utf8proc_int32_t ordinary[8];
      int last = 0;
      utf8proc_ssize_t k = utf8proc_decompose_char(cp, ordinary, 8, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &last);
      if (k < 1 || k > 8) {
        mc_codepoints_push(out, cp);
      } else {
        mc_codepoints_append(out, ordinary, (size_t)k);
      }
    } else {
      mc_codepoints_push(out, cp);
    }
  }
}

/* True when no repair can change the text. */
static bool is_plain(const int32_t *in, size_t n) {
  for (size_t i = 0; i < n; i++) {
    bool plain = in[i] == '\t' || in[i] == '\n' || (in[i] >= ' ' && in[i] <= '~' && in[i] != '&');
    if (!plain) return false;
  }
  return true;
}

static void repair_line(const int32_t *in, size_t n, bool unescape, mc_codepoints *out) {
  if (is_plain(in, n)) {
    mc_codepoints_append(out, in, n);
    return;
  }
  mc_codepoints a, b;
  mc_codepoints_init(&a);
  mc_codepoints_init(&b);
  mc_codepoints_append(&a, in, n);
  for (int round = 0; round < MAX_ROUNDS; round++) {
    /* a holds the text before the round; b, then `out` beyond `start`, are the steps in between. */
    size_t start = out->n;
    b.n = 0;
    if (unescape) {
      mc_html_unescape_strict(a.at, a.n, &b);
    } else {
      mc_codepoints_append(&b, a.at, a.n);
    }
    mc_undo_mojibake(b.at, b.n, out);
    if (out->failed) break;
    b.n = 0;
    repair_characters(out->at + start, out->n - start, &b);
    out->n = start;
    mc_compose(b.at, b.n, out);
    if (a.failed || b.failed || out->failed) break;
    bool same = out->n - start == a.n && memcmp(out->at + start, a.at, a.n * sizeof *a.at) == 0;
    if (same || round == MAX_ROUNDS - 1) break;
    a.n = 0;
    mc_codepoints_append(&a, out->at + start, out->n - start);
    out->n = start;
  }
  out->failed |= a.failed || b.failed;
  mc_codepoints_clear(&a);
  mc_codepoints_clear(&b);
}

void mc_repair(const int32_t *in, size_t n, mc_codepoints *out) {
  /* Line by line, so that one odd line does not cost the others their fast path. A "<" says that the text is HTML: from
   * its line on, references are left to the two rounds of unescaping that follow the repair. */
  bool unescape = true;
  for (size_t from = 0, to; from < n; from = to) {
    for (to = from; to < n && in[to] != '\n'; to++) {
      if (in[to] == '<') unescape = false;
    }
    if (to < n) to++;
    repair_line(in + from, to - from, unescape, out);
  }
}
