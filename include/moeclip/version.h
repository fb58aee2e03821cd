/* Which libmoeclip this is, what it stands on, and what it found in this machine. */
#ifndef MOECLIP_VERSION_H
#define MOECLIP_VERSION_H

#include <stddef.h>

#include "moeclip/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of these headers. CMakeLists.txt and pyproject.toml read the version from here. */
#define MOECLIP_VERSION_MAJOR 0
#define MOECLIP_VERSION_MINOR 1
#define MOECLIP_VERSION_PATCH 0
#define MOECLIP_VERSION "0.1.0"

/* Of the library that the program runs with, "0.1.0". Static storage, as for all strings below. */
MOECLIP_API const char *moeclip_version(void);

typedef struct moeclip_library {
  const char *name;  /* "oneDNN" */
  char version[32];  /* "3.2.0"; of what is loaded where the library can tell, else of what was compiled against */
} moeclip_library;

/* The libraries that libmoeclip stands on, into out [n_out]. Gives back how many there are, which may be more. */
MOECLIP_API size_t moeclip_libraries(moeclip_library *out, size_t n_out);

/* The instructions that oneDNN uses on this processor: "SSE4.1", "AVX2", "AVX-512", "AVX-512 with bfloat16",
 * "AVX-512 with bfloat16 and AMX", ...; "as oneDNN finds them" on other kinds of processor. */
MOECLIP_API const char *moeclip_cpu_features(void);

/* What built the library: "gcc 12.2.0, Release". */
MOECLIP_API const char *moeclip_build(void);

#ifdef __cplusplus
}
#endif
#endif
