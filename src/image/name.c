#include <string.h>
#include <strings.h>

#include "moeclip/image.h"

static int ends_in_one_of(const char *name, const char *const *endings) {
  const char *slash = strrchr(name, '/'), *dot = strrchr(slash ? slash + 1 : name, '.');
  if (!dot || dot == name || dot[-1] == '/') return 0;
  while (*endings && strcasecmp(dot + 1, *endings) != 0) endings++;
  return *endings != NULL;
}

moeclip_picture_kind moeclip_picture_kind_of(const char *name) {
  static const char *const is_read[] = {"jpg", "jpeg", "jpe", "jfif", "png", "webp", NULL};
  static const char *const is_not[] = {"gif", "bmp", "dib", "tif", "tiff", "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "ppm", "pgm",
                                       "pbm", "pnm", "tga", "cr2", "cr3", "nef",  "arw",  "dng", "orf", "rw2", "raf", NULL};
  return ends_in_one_of(name, is_read) ? MOECLIP_PICTURE : ends_in_one_of(name, is_not) ? MOECLIP_PICTURE_UNREAD : MOECLIP_PICTURE_NONE;
}
