/* What requests to the server say: fields, JSON bodies, names, paths, and archives. The first byte chooses.
 * Seeds: seeds/http_fields. */
#define _GNU_SOURCE /* memfd_create */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/archive.h"
#include "serve/ask.h"
#include "serve/paths.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* NAME=VALUE lines. */
typedef struct fields {
  char *text;
} fields;

static const char *value_of(const void *context, const char *name) {
  const fields *f = context;
  size_t n = strlen(name);
  for (const char *line = f->text; *line; line += strlen(line) + 1) {
    if (strncmp(line, name, n) == 0 && line[n] == '=') return line + n + 1;
  }
  return NULL;
}

static void try_ask(char *text) {
  mc_ask ask;
  moeclip_error err = {0};
  fields f = {text};
  for (char *s = text; *s; s++) *s = *s == '\n' ? 0 : *s;
  if (mc_ask_parse(value_of, &f, 100, &ask, &err) != MOECLIP_OK) {
    if (!err.message[0]) abort();
  } else if (!ask.key || ask.top < 1 || (ask.n_templates && !ask.n_labels) || ask.n_labels > 100) {
    abort();
  }
  mc_ask_clear(&ask);
}

static void try_texts(const char *json, size_t n) {
  mc_text_ask ask;
  moeclip_error err = {0};
  if (mc_text_ask_parse(json, n, 10, &ask, &err) != MOECLIP_OK) {
    if (!err.message[0]) abort();
  } else {
    if (ask.n < 1 || ask.n > 10) abort();
    for (size_t i = 0; i < ask.n; i++) {
      if (!ask.texts[i][0]) abort();
    }
  }
  mc_text_ask_clear(&ask);
}

static void try_learn(json_t *o) {
  mc_learn_ask ask, again;
  moeclip_error err = {0};
  mc_learn_ask_defaults(&ask);
  if (mc_learn_ask_parse(o, 1000, &ask, &err) != MOECLIP_OK) {
    if (!err.message[0]) abort();
  } else {
    json_t *kept = mc_learn_ask_json(&ask);
    if (ask.task.iterations > 1000 || strchr(ask.name, '/')) abort();
    if (!kept || mc_learn_ask_parse(kept, 1000, &again, &err) != MOECLIP_OK) abort();
    json_decref(kept);
    mc_learn_ask_clear(&again);
  }
  mc_learn_ask_clear(&ask);
}

static void try_learn_fields(char *text) {
  json_t *o = json_object();
  for (char *line = text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    char *equals = strchr(line, '=');
    moeclip_error err = {0};
    if (!equals) continue;
    *equals = 0;
    if (mc_learn_ask_field(o, line, equals + 1, &err) != MOECLIP_OK && !err.message[0]) abort();
  }
  try_learn(o);
  json_decref(o);
}

static void try_path(const char *path) {
  moeclip_error err = {0};
  if (mc_path_check(path, &err) != MOECLIP_OK) return;
  if (path[0] == '/' || strstr(path, "/../") || strncmp(path, "../", 3) == 0 || strcmp(path, "..") == 0) abort();
  size_t n = strlen(path);
  if (n >= 3 && strcmp(path + n - 3, "/..") == 0) abort();
}

static void try_archive(const uint8_t *data, size_t n) {
  char path[64], folder[] = "/tmp/moeclip-fuzz-XXXXXX";
  moeclip_error err = {0};
  mc_archive_limits limits = {1 << 20, 100, 100, INFINITY};
  int fd = memfd_create("archive", MFD_CLOEXEC), n_pictures, n_unread, here;
  if (fd < 0 || write(fd, data, n) != (ssize_t)n || !mkdtemp(folder)) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  here = open(folder, O_RDONLY | O_DIRECTORY);
  if (mc_archive_extract(path, here, &limits, &n_pictures, &n_unread, &err) != MOECLIP_OK && !err.message[0]) abort();
  close(here);
  close(fd);
  mc_path_remove(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  if (n_bytes < 1) return 0;
  /* Two terminating zeros end a list of lines. */
  size_t n = n_bytes - 1;
  char *text = malloc(n + 2);
  if (!text) abort();
  memcpy(text, data + 1, n);
  text[n] = text[n + 1] = 0;
  json_t *o;
  switch (data[0] % 6) {
    case 0: try_ask(text); break;
    case 1: try_texts(text, n); break;
    case 2:
      o = json_loadb(text, n, 0, NULL);
      if (o) try_learn(o);
      json_decref(o);
      break;
    case 3: try_learn_fields(text); break;
    case 4: try_path(text); break;
    default: try_archive(data + 1, n); break;
  }
  free(text);
  return 0;
}
