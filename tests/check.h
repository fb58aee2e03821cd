/* A test program: CHECK what must hold, end main with `return check_report();`. Random inputs print their seed. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moeclip/error.h"

static int check_passed_, check_failed_;

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (condition) {                                                           \
      check_passed_++;                                                         \
    } else {                                                                   \
      check_failed_++;                                                         \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                          \
  } while (0)

/* Like CHECK, with a printf message that shows the values. */
#define CHECK_MSG(condition, ...)                              \
  do {                                                         \
    if (condition) {                                           \
      check_passed_++;                                         \
    } else {                                                   \
      check_failed_++;                                         \
      fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);          \
      fprintf(stderr, __VA_ARGS__);                            \
      fputc('\n', stderr);                                     \
    }                                                          \
  } while (0)

/* The call must succeed; prints the error and stops the program otherwise. */
#define REQUIRE_OK(call, error)                                                            \
  do {                                                                                     \
    if ((call) != MOECLIP_OK) {                                                            \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, (error).message);      \
      exit(1);                                                                             \
    }                                                                                      \
  } while (0)

static inline int check_report(void) {
  printf("%d passed, %d failed\n", check_passed_, check_failed_);
  return check_failed_ > 0;
}

/* ||a - b|| / ||b|| in double. */
static inline double check_relative_error(const float *a, const float *b, size_t n) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)a[i] - b[i];
    difference += d * d;
    norm += (double)b[i] * b[i];
  }
  return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

#endif
