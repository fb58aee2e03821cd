/* Character references of HTML: &name; and &#number;. */
#include <string.h>
#include <utf8proc.h>

#include "text/text.h"

static const mc_entity *find_entity(const char *name) {
  size_t low = 0, high = mc_n_entities;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, mc_entities[middle].name);
    if (order == 0) return &mc_entities[middle];
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return NULL;
}

/* Copies n code points as a name; false when they cannot be one. */
static bool take_name(const int32_t *in, size_t n, char name[32]) {
  if (n == 0 || n > 31) return false;
  for (size_t i = 0; i < n; i++) {
    bool letter = (in[i] >= 'A' && in[i] <= 'Z') || (in[i] >= 'a' && in[i] <= 'z') || (in[i] >= '0' && in[i] <= '9');
    if (!letter) return false;
    name[i] = (char)in[i];
  }
  name[n] = 0;
  return true;
}

static void push_entity(const mc_entity *e, mc_codepoints *out) {
  mc_codepoints_push(out, e->cp[0]);
  if (e->cp[1]) mc_codepoints_push(out, e->cp[1]);
}

static int digit_of(int32_t cp, int base) {
  if (cp >= '0' && cp <= '9') return cp - '0';
  if (base == 16 && cp >= 'a' && cp <= 'f') return cp - 'a' + 10;
  if (base == 16 && cp >= 'A' && cp <= 'F') return cp - 'A' + 10;
  return -1;
}

/* What a number stands for, by the rules of HTML5; -1: nothing at all. */
static int32_t number_char(int64_t number) {
  if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return 0xFFFD;
  if (number == 0x0D) return 0x0D;
  if (number >= 0x80 && number <= 0x9F) return mc_windows_1252_char((int)number);
  bool invalid = number <= 0x08 || number == 0x0B || (number >= 0x0E && number <= 0x1F) || number == 0x7F ||
                 (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
  return invalid ? -1 : (int32_t)number;
}

/* Reads "#123" or "#x1F" at in[n]; 0: it is none; else its length, without a semicolon. */
static size_t read_number(const int32_t *in, size_t n, int32_t *cp) {
  if (n < 2 || in[0] != '#') return 0;
  int base = in[1] == 'x' || in[1] == 'X' ? 16 : 10;
  size_t first = base == 16 ? 2 : 1, i = first;
  int64_t number = 0;
  for (; i < n; i++) {
    int digit = digit_of(in[i], base);
    if (digit < 0) break;
    if (number <= 0x10FFFF) number = number * base + digit;
  }
  if (i == first) return 0;
  *cp = number_char(number);
  return i;
}

/* The reference after an & at in[n] as browsers read it: pushes what it stands for and returns its length; 0: none. */
static size_t lenient_reference(const int32_t *in, size_t n, mc_codepoints *out) {
  int32_t cp;
  char name[32];
  size_t length = read_number(in, n, &cp);
  if (length > 0) {
    if (cp >= 0) mc_codepoints_push(out, cp);
    return length + (length < n && in[length] == ';');
  }
  while (length < n && length < 32) {
    int32_t c = in[length];
    if (c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' || c == ';') break;
    length++;
  }
  bool semicolon = length < n && in[length] == ';';
  if (take_name(in, length, name)) {
    const mc_entity *e = find_entity(name);
    if (e && (semicolon || e->bare)) {
      push_entity(e, out);
      return length + semicolon;
    }
  }
  /* The longest beginning that is a name which needs no semicolon; these have 2 to 6 letters. */
  for (size_t prefix = length < 6 ? length : 6; prefix >= 2; prefix--) {
    if (!take_name(in, prefix, name)) continue;
    const mc_entity *e = find_entity(name);
    if (e && e->bare) {
      push_entity(e, out);
      return prefix;
    }
  }
  return 0;
}

/* True when browsers would take a beginning of this name for a reference. */
static bool has_bare_prefix(const char *name) {
  char prefix[32];
  for (size_t n = 2; n <= 6 && name[n - 1]; n++) {
    memcpy(prefix, name, n);
    prefix[n] = 0;
    const mc_entity *e = find_entity(prefix);
    if (e && e->bare) return true;
  }
  return false;
}

static size_t strict_reference(const int32_t *in, size_t n, mc_codepoints *out) {
  int32_t cp;
  char name[32];
  size_t length = read_number(in, n, &cp);
  if (length > 0) {
    if (length > 25 || length == n || in[length] != ';' || cp == ';') return 0;
    if (cp >= 0) mc_codepoints_push(out, cp);
    return length + 1;
  }
  while (length < n && length < 25 && in[length] != ';') length++;
  if (length == n || in[length] != ';' || !take_name(in, length, name)) return 0;
  const mc_entity *e = find_entity(name);
  if (e) {
    push_entity(e, out);
    return length + 1;
  }
  /* A name in capitals throughout that only exists in small letters: the capital of what it names. */
  bool letters = false;
  char small[32];
  for (size_t i = 0; i <= length; i++) {
    if (name[i] >= 'a' && name[i] <= 'z') return 0;
    letters |= name[i] >= 'A' && name[i] <= 'Z';
    small[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
  }
  e = letters ? find_entity(small) : NULL;
  if (!e || has_bare_prefix(name)) return 0;
  mc_codepoints_push(out, utf8proc_toupper(e->cp[0]));
  if (e->cp[1]) mc_codepoints_push(out, utf8proc_toupper(e->cp[1]));
  return length + 1;
}

static void unescape(const int32_t *in, size_t n, mc_codepoints *out,
                     size_t (*reference)(const int32_t *, size_t, mc_codepoints *)) {
  for (size_t i = 0; i < n;) {
    size_t length = in[i] == '&' ? reference(in + i + 1, n - i - 1, out) : 0;
    if (length == 0) mc_codepoints_push(out, in[i]);
    i += 1 + length;
  }
}

void mc_html_unescape(const int32_t *in, size_t n, mc_codepoints *out) { unescape(in, n, out, lenient_reference); }

void mc_html_unescape_strict(const int32_t *in, size_t n, mc_codepoints *out) { unescape(in, n, out, strict_reference); }
