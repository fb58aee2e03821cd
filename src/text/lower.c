/* Lower case as Unicode's SpecialCasing has it without a language: one character may become two, and a capital sigma at a
 * word's end becomes the final small one. */
#include <utf8proc.h>

#include "text/text.h"

/* Letters in all but category: Other_Lowercase and Other_Uppercase of PropList. */
static bool is_other_cased(int32_t c) {
  static const int32_t ranges[][2] = {
    {0xAA, 0xAA}, {0xBA, 0xBA}, {0x2B0, 0x2B8}, {0x2C0, 0x2C1}, {0x2E0, 0x2E4}, {0x345, 0x345}, {0x37A, 0x37A},
    {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF}, {0x2071, 0x2071}, {0x207F, 0x207F}, {0x2090, 0x209C},
    {0x2160, 0x217F}, {0x24B6, 0x24E9}, {0x2C7C, 0x2C7D}, {0xA69C, 0xA69D}, {0xA770, 0xA770}, {0xA7F8, 0xA7F9},
    {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA},
    {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
  }
  return false;
}

static bool is_cased(int32_t c) {
  utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT ||
         is_other_cased(c);
}

static bool is_case_ignorable(int32_t c) {
  switch (c) {
    case 0x27: case 0x2E: case 0x3A: case 0xB7: case 0x387: case 0x55F: case 0x5F4: case 0x2018: case 0x2019: case 0x2024:
    case 0x2027: case 0xFE13: case 0xFE52: case 0xFE55: case 0xFF07: case 0xFF0E: case 0xFF1A:
      return true;
    default: break;
  }
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_ME: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default: return false;
  }
}

/* Each stretch of ignorable characters is walked once from either side, so all sigmas together cost linear time. */
static bool is_final_sigma(const int32_t *in, size_t n, size_t i) {
  size_t before = i, after = i + 1;
  while (before > 0 && is_case_ignorable(in[before - 1])) before--;
  if (before == 0 || !is_cased(in[before - 1])) return false;
  while (after < n && is_case_ignorable(in[after])) after++;
  return after == n || !is_cased(in[after]);
}

void mc_lower(const int32_t *in, size_t n, mc_codepoints *out) {
  for (size_t i = 0; i < n; i++) {
    int32_t c = in[i];
    if (c < 0x80) {
      mc_codepoints_push(out, c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {
      mc_codepoints_push(out, 'i');
      mc_codepoints_push(out, 0x307);
    } else if (c == 0x3A3) {
      mc_codepoints_push(out, is_final_sigma(in, n, i) ? 0x3C2 : 0x3C3);
    } else {
      mc_codepoints_push(out, utf8proc_tolower(c));
    }
  }
}
