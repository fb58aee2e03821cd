/* moeclip --version */
#include "moeclip/version.h"

#include "cli/documents.h"

void mc_write_version(FILE *f) {
  enum { ROOM = 32 };
  moeclip_library libraries[ROOM];
  size_t n = moeclip_libraries(libraries, ROOM);
  fprintf(f, "moeclip %s\nlibraries:", moeclip_version());
  for (size_t i = 0; i < n && i < ROOM; i++) {
    fprintf(f, "%s %s %s", i > 0 ? "," : "", libraries[i].name, libraries[i].version);
  }
  fprintf(f, "\nprocessor: %s\ncompiler: %s\n", moeclip_cpu_features(), moeclip_build());
}
