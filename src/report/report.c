#include "report/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

char *mc_with_ending(const char *path, const char *ending) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
  size_t n = dot && dot > name ? (size_t)(dot - path) : strlen(path);
  return mc_format("%.*s%s", (int)n, path, ending);
}

moeclip_code mc_make_folder(const char *path, moeclip_error *err) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return MOECLIP_OK;
  return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot make this folder: %s", path, strerror(errno));
}

bool mc_is_writer(void) { return moeclip_comm_launched_rank() == 0; }

void mc_warn(const char *format, ...) {
  va_list args;
  if (!mc_is_writer()) return;
  fprintf(stderr, "moeclip: ");
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
}
