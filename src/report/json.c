#include <math.h>
#include <stdio.h>

#include "base/json.h"

#include "report/report.h"

json_t *mc_json_real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

json_t *mc_json_strings(const char *const *s, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; i < n; i++) mc_json_append(&array, json_string(s[i]));
  return array;
}

bool mc_json_print(json_t *object, bool indented) {
  size_t flags =
      JSON_REAL_PRECISION(15) | (indented ? JSON_INDENT(1) : JSON_COMPACT); /* so that 0.1 is not 0.10000000000000001 */
  bool ok = object && json_dumpf(object, stdout, flags) == 0 && putchar('\n') != EOF;
  json_decref(object);
  if (!ok) fprintf(stderr, "moeclip: the results could not be written as JSON\n");
  return ok;
}
