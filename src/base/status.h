/*
 * base/: errors, checked memory, files, random numbers, hashes. Includes nothing else of the project;
 * everything else may include it.
 */
#ifndef MC_BASE_STATUS_H
#define MC_BASE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "moeclip/error.h"

/* Fills *err (if not NULL) from a printf format and returns code, so that a caller can `return mc_fail(...)`. */
moeclip_code mc_fail(moeclip_error *err, moeclip_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before the message already in *err (used to add the file's name on the way up). Returns err's code. */
moeclip_code mc_fail_prefix(moeclip_error *err, const char *prefix);

/* Out of memory while doing `what`. */
moeclip_code mc_fail_memory(moeclip_error *err, size_t n_bytes, const char *what);

#ifdef __clang_analyzer__
/* What the analyser cannot see: these never return MOECLIP_OK. */
void mc_analysed(const void *err, ...);
#define mc_fail(err, code, ...) (mc_analysed((err), __VA_ARGS__), (code))
#define mc_fail_memory(err, n_bytes, what) (mc_analysed((err), (n_bytes), (what)), MOECLIP_ERROR_MEMORY)
#endif

/* Evaluates an expression that returns moeclip_code; on failure returns that code from the enclosing function.
 * Only where there is nothing to release; elsewhere `goto done`. */
#define MC_TRY(expr)                          \
  do {                                        \
    moeclip_code mc_try_code_ = (expr);       \
    if (mc_try_code_ != MOECLIP_OK) return mc_try_code_; \
  } while (0)

#endif
