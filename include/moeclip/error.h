/*
 * Errors. Every function of the library that can fail returns a moeclip_code and takes, as its last
 * argument, a moeclip_error that it fills when it fails (NULL: not wanted). The message is one English
 * sentence without a newline that names the file, tensor or option and says what would be right.
 */
#ifndef MOECLIP_ERROR_H
#define MOECLIP_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MOECLIP_STATIC) || !defined(__GNUC__)
#define MOECLIP_API
#else
#define MOECLIP_API __attribute__((visibility("default")))
#endif

typedef enum moeclip_code {
  MOECLIP_OK = 0,
  MOECLIP_ERROR_IO,          /* the system refused to open, read or write something */
  MOECLIP_ERROR_FORMAT,      /* a file is not what it claims to be, or is damaged */
  MOECLIP_ERROR_UNSUPPORTED, /* well-formed, but of a kind that moeclip does not handle */
  MOECLIP_ERROR_MISMATCH,    /* two things do not belong together (a state and another backbone) */
  MOECLIP_ERROR_ARGUMENT,    /* the caller asked for something that makes no sense */
  MOECLIP_ERROR_MEMORY,      /* out of memory, or more than the caller's bound */
  MOECLIP_ERROR_NUMERIC,     /* a loss or gradient is NaN or infinite */
  MOECLIP_ERROR_CANCELLED,   /* the caller's progress callback asked to stop */
  MOECLIP_ERROR_INTERNAL     /* a library below failed unexpectedly */
} moeclip_code;

typedef struct moeclip_error {
  moeclip_code code;
  char message[1024];
} moeclip_error;

/* The code's name in plain words, e.g. "damaged or wrong file". Never NULL; static storage. */
MOECLIP_API const char *moeclip_code_name(moeclip_code code);

#ifdef __cplusplus
}
#endif
#endif
