/*
 * Undoes UTF-8 that was read as Windows-1252 or Latin-1. The trace is a run of characters whose bytes are well-formed
 * multi-byte UTF-8. Ordinary text can hold such runs too (a capital A with tilde before a closing quote), so a run is only
 * changed when it also has a sign that it cannot be meant: see is_mojibake.
 */
#include <utf8proc.h>

#include "text/text.h"

/* Windows-1252 for bytes 0x80..0x9F; the five bytes without a character stand for themselves. */
static const uint16_t windows_1252[32] = {
  0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D, 0x017D,
  0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D,
  0x017E, 0x0178,
};

int32_t mc_windows_1252_char(int byte) { return windows_1252[byte & 31]; }

int mc_windows_1252_byte(int32_t cp) {
  if (cp < 0x100) return (int)cp;
  if (cp > 0x2122 || (cp > 0x2DC && cp < 0x2013)) return -1;
  for (int i = 0; i < 32; i++) {
    if (windows_1252[i] == cp) return 0x80 + i;
  }
  return -1;
}

/* Characters that hardly ever follow a letter directly: signs, currencies, fractions, C1 controls. The others of
 * 0x80..0xBF are punctuation that does: quotes, dashes, dots, (c), (r), degree, no-break space. */
static bool is_unusual(int32_t cp) {
  if (cp >= 0x80 && cp <= 0x9F) return true;
  switch (mc_windows_1252_byte(cp)) {
    case 0x80: case 0x83: case 0x86: case 0x87: case 0x88: case 0x89: case 0x8A: case 0x8C: case 0x8E: case 0x98:
    case 0x9A: case 0x9C: case 0x9E: case 0x9F: case 0xA2: case 0xA3: case 0xA4: case 0xA5: case 0xA6: case 0xA7:
    case 0xA8: case 0xAC: case 0xAF: case 0xB1: case 0xB2: case 0xB3: case 0xB4: case 0xB5: case 0xB6: case 0xB8:
    case 0xB9: case 0xBC: case 0xBD: case 0xBE:
      return true;
    default:
      return false;
  }
}

/* A UTF-8 sequence of 2 to 4 bytes at in[n], each written as a character: its length, and what it means in *cp; else 0. */
static size_t sequence_at(const int32_t *in, size_t n, int32_t *cp) {
  static const int32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  int lead = mc_windows_1252_byte(in[0]);
  if (lead < 0xC2 || lead > 0xF4) return 0;
  size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length > n) return 0;
  int32_t value = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; i++) {
    int byte = mc_windows_1252_byte(in[i]);
    if (byte < 0x80 || byte > 0xBF) return 0;
    value = value << 6 | (byte & 0x3F);
  }
  if (value < smallest[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
  *cp = value;
  return length;
}

typedef struct run {
  size_t n_sequences;
  bool unusual;      /* some continuation is an unusual character */
  bool long_unusual; /* that, in a sequence of 3 or 4 bytes */
} run;

/* Whether the run in[from..to) is mojibake:
 * - a sequence of 3 or 4 bytes with an unusual character in it;
 * - two sequences or more, one with an unusual character;
 * - a single one that starts with A-circumflex or A-tilde (U+0080 to U+00FF misread), unless it is a capital word's last
 *   letter with punctuation after it; in a text that is not misread as a whole it must also touch a small letter;
 * - any other single pair, only when it follows a small letter and has an unusual character. */
static bool is_mojibake(const int32_t *in, size_t n, size_t from, size_t to, const run *r, bool whole) {
  if (r->long_unusual || (r->n_sequences >= 2 && r->unusual)) return true;
  if (to - from != 2) return false;
  utf8proc_category_t before = from > 0 ? utf8proc_category(in[from - 1]) : UTF8PROC_CATEGORY_ZS;
  utf8proc_category_t after = to < n ? utf8proc_category(in[to]) : UTF8PROC_CATEGORY_ZS;
  if (in[from] == 0xC2 || in[from] == 0xC3) {
    bool touches = before == UTF8PROC_CATEGORY_LL || after == UTF8PROC_CATEGORY_LL;
    return (whole || touches) && (r->unusual || before != UTF8PROC_CATEGORY_LU || after == UTF8PROC_CATEGORY_LL);
  }
  return in[from] != 0xD7 && r->unusual && before == UTF8PROC_CATEGORY_LL;
}

/* True when every character is ASCII or part of a sequence. */
static bool is_wholly_misread(const int32_t *in, size_t n) {
  int32_t cp;
  for (size_t i = 0, length; i < n; i += length) {
    length = in[i] < 0x80 ? 1 : sequence_at(in + i, n - i, &cp);
    if (length == 0) return false;
  }
  return true;
}

void mc_undo_mojibake(const int32_t *in, size_t n, mc_codepoints *out) {
  bool whole = is_wholly_misread(in, n);
  for (size_t i = 0; i < n;) {
    run r = {0};
    int32_t cp;
    size_t length, to = i, start = out->n;
    while (to < n && (length = sequence_at(in + to, n - to, &cp)) > 0) {
      bool unusual = false;
      for (size_t k = 1; k < length; k++) unusual |= is_unusual(in[to + k]);
      r.n_sequences++;
      r.unusual |= unusual;
      r.long_unusual |= length >= 3 && unusual;
      mc_codepoints_push(out, cp);
      to += length;
    }
    if (to == i) {
      mc_codepoints_push(out, in[i++]);
      continue;
    }
    if (!is_mojibake(in, n, i, to, &r, whole)) {
      out->n = start;
      mc_codepoints_append(out, in + i, to - i);
    }
    i = to;
  }
}
