#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang_analyzer__
#undef mc_fail
#undef mc_fail_memory
#endif

const char *moeclip_code_name(moeclip_code code) {
  switch (code) {
    case MOECLIP_OK: return "no error";
    case MOECLIP_ERROR_IO: return "input or output failed";
    case MOECLIP_ERROR_FORMAT: return "damaged or wrong file";
    case MOECLIP_ERROR_UNSUPPORTED: return "not supported";
    case MOECLIP_ERROR_MISMATCH: return "things that do not belong together";
    case MOECLIP_ERROR_ARGUMENT: return "wrong argument";
    case MOECLIP_ERROR_MEMORY: return "out of memory";
    case MOECLIP_ERROR_NUMERIC: return "numbers are not finite";
    case MOECLIP_ERROR_CANCELLED: return "cancelled";
    case MOECLIP_ERROR_INTERNAL: return "internal error";
  }
  return "unknown error";
}

moeclip_code mc_fail(moeclip_error *err, moeclip_code code, const char *format, ...) {
  if (err) {
    va_list args;
    err->code = code;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
  }
  return code;
}

moeclip_code mc_fail_prefix(moeclip_error *err, const char *prefix) {
  if (!err) return MOECLIP_ERROR_INTERNAL;
  char message[sizeof err->message];
  memcpy(message, err->message, sizeof message);
  size_t n = strlen(prefix), room = sizeof err->message - 1;
  if (n > room / 2) n = room / 2;
  memcpy(err->message, prefix, n);
  size_t left = sizeof err->message - n;
  snprintf(err->message + n, left, ": %.*s", (int)(left - 3), message);
  return err->code;
}

moeclip_code mc_fail_memory(moeclip_error *err, size_t n_bytes, const char *what) {
  return mc_fail(err, MOECLIP_ERROR_MEMORY, "out of memory: %zu bytes for %s", n_bytes, what);
}
