/* `moeclip info` of an index of pictures. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/info.h"
#include "base/json.h"
#include "cli/search.h"

bool mc_info_is_index(const char *path) {
  char magic[16];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  bool is = read(fd, magic, sizeof magic) == (ssize_t)sizeof magic && memcmp(magic, "SQLite format 3", 16) == 0;
  close(fd);
  return is;
}

static void set_path(json_t **object, const char *key, const char *path) {
  char *text = *path ? mc_path_text(path) : NULL;
  mc_json_set(object, key, *path ? json_string(text) : json_null());
  free(text);
}

static json_t *describe(const char *path, const moeclip_index_info *info) {
  json_t *tasks = json_array(), *roots = json_array();
  for (size_t t = 0; t < info->n_tasks; t++) {
    mc_json_append(
        &tasks, json_pack("{s:s?, s:I}", "name", info->tasks[t].name, "pictures", (json_int_t)info->tasks[t].pictures));
  }
  for (size_t i = 0; i < info->n_roots; i++) {
    char *text = mc_path_text(info->roots[i]);
    mc_json_append(&roots, json_string(text));
    free(text);
  }
  json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:i, s:b, s:b, s:s, s:s, s:o, s:o}", "container", "index of pictures",
                             "pictures", (json_int_t)info->pictures, "broken", (json_int_t)info->broken, "stale",
                             (json_int_t)info->stale, "embed", info->embed, "relative", info->relative, "checksums",
                             info->checksums, "backbone", info->backbone, "state", info->state, "tasks", tasks, "folders", roots);
  set_path(&object, "path", path);
  set_path(&object, "model_path", info->model_path);
  set_path(&object, "state_path", info->state_path);
  return object;
}

static void print_text(const char *path, const moeclip_index_info *info) {
  printf("%s: index of pictures\n", path);
  printf("%lld pictures, features of %d numbers", (long long)info->pictures, info->embed);
  if (info->broken) printf(", %lld that cannot be read", (long long)info->broken);
  if (info->stale) printf(", %lld to be encoded again", (long long)info->stale);
  printf("\n");
  for (size_t t = 0; t < info->n_tasks; t++) {
    printf("  %-16s %8lld\n", info->tasks[t].name ? info->tasks[t].name : "no task",
           (long long)info->tasks[t].pictures);
  }
  for (size_t i = 0; i < info->n_roots; i++) printf("folder %s\n", info->roots[i]);
  printf("paths are %s\n", info->relative ? "relative to the index" : "absolute");
  if (*info->backbone) printf("model %s (fingerprint %s)\n", info->model_path, info->backbone);
  if (*info->state_path) printf("state %s\n", info->state_path);
  if (!info->checksums) printf("no checksums, as earlier versions made it: delete it and index the folders again to have them\n");
}

int mc_info_index(const char *path, bool json) {
  moeclip_index *index;
  moeclip_index_info info;
  moeclip_error err;
  if (moeclip_index_open(path, &index, &err) != MOECLIP_OK) return mc_report(&err);
  int exit_code = MC_EXIT_OK;
  if (moeclip_index_get_info(index, &info, &err) != MOECLIP_OK) {
    exit_code = mc_report(&err);
  } else if (json) {
    exit_code = mc_json_print(describe(path, &info), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
  } else {
    print_text(path, &info);
  }
  moeclip_index_close(index);
  return exit_code;
}
