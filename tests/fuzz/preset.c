/* Presets of `moeclip bench`: any JSON gives settings within their ranges, or an error. Seeds: seeds/preset. */
#define _GNU_SOURCE /* memfd_create */
#include "cli/preset.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

typedef struct settings {
  int flag, whole;
  int64_t many;
  double real, free_real;
} settings;

static const mc_option options[] = {
    {MC_OPT_INT, "whole", "N", "", offsetof(settings, whole), 1, 100, 0, 0},
    {MC_OPT_REAL, "real", "X", "", offsetof(settings, real), 0, 1, 0, 0},
};
static const mc_command command = {
    .name = "fuzz", .options = options, .n_options = 2, .options_size = sizeof(settings)};
static const mc_preset_field fields[] = {
    {"flag", MC_OPT_FLAG, NULL, offsetof(settings, flag)},
    {"whole", MC_OPT_INT, "whole", offsetof(settings, whole)},
    {"many", MC_OPT_LONG, NULL, offsetof(settings, many)},
    {"real", MC_OPT_REAL, "real", offsetof(settings, real)},
    {"free", MC_OPT_REAL, NULL, offsetof(settings, free_real)},
};

static json_t *make(size_t k) {
  (void)k;
  return json_object();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  static const char *const names[] = {"paper", NULL}, *const others[] = {"format", "about", NULL};
  unsigned char given[2] = {0, 0};
  char path[64];
  settings s = {.whole = 5, .real = 0.5};
  mc_args args = {.command = &command, .options = &s, .given = given};
  moeclip_error err = {0};
  json_t *root = NULL;
  int fd = memfd_create("input", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  moeclip_code code = mc_preset_find(path, names, make, "moeclip preset 1", &root, &err);
  if (code == MOECLIP_OK) code = mc_preset_take(root, fields, 5, others, &args, &s, path, &err);
  if (code != MOECLIP_OK && !err.message[0]) abort();
  if (s.whole < 1 || s.whole > 100 || (!isnan(s.real) && !(s.real >= 0 && s.real <= 1)) || (s.flag & ~1)) abort();
  if (code == MOECLIP_OK) {
    /* What is printed is taken again, and is the same. */
    settings again = {.whole = 5, .real = 0.5};
    json_t *printed = json_object();
    mc_preset_put(&printed, fields, 5, &s);
    if (mc_preset_take(printed, fields, 5, others, &args, &again, "printed", &err) != MOECLIP_OK) abort();
    if (again.whole != s.whole || again.many != s.many || again.flag != s.flag) abort();
    json_decref(printed);
  }
  json_decref(root);
  close(fd);
  return 0;
}
