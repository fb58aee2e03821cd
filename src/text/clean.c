#include "text/text.h"

bool mc_is_space(int32_t cp) {
  return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
         (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

/* Strips white space at both ends and makes each stretch within one space, in place. */
static void collapse_space(mc_codepoints *c) {
  size_t n = 0;
  bool space = false;
  for (size_t i = 0; i < c->n; i++) {
    if (mc_is_space(c->at[i])) {
      space = n > 0;
      continue;
    }
    if (space) c->at[n++] = ' ';
    space = false;
    c->at[n++] = c->at[i];
  }
  c->n = n;
}

moeclip_code mc_clean(const char *text, size_t n_bytes, mc_codepoints *out, moeclip_error *err) {
  if (n_bytes > MC_TEXT_MAX_BYTES) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a text of %zu bytes is too long to tokenize; the most is %zu", n_bytes,
                   MC_TEXT_MAX_BYTES);
  }
  mc_codepoints a;
  mc_codepoints_init(&a);
  mc_utf8_decode(text, n_bytes, &a);
  mc_repair(a.at, a.n, out);
  bool reference = false;
  for (size_t i = 0; i < out->n && !reference; i++) reference = out->at[i] == '&';
  if (reference) {
    a.n = 0;
    mc_html_unescape(out->at, out->n, &a);
    out->n = 0;
    mc_html_unescape(a.at, a.n, out);
  }
  collapse_space(out);
  a.n = 0;
  mc_lower(out->at, out->n, &a);
  out->n = 0;
  mc_codepoints_append(out, a.at, a.n);
  bool failed = a.failed || out->failed;
  mc_codepoints_clear(&a);
  return failed ? mc_fail_memory(err, n_bytes * sizeof *out->at, "cleaning a text") : MOECLIP_OK;
}
