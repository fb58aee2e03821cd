#include "report/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/sha256.h"

enum { MAX_TEXT = 1 << 20, MAX_DEPTH = 64, MAX_INDEX = 4 << 20 };

static void add_number(mc_sha256 *h, uint64_t v) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (8 * i));
  mc_sha256_add(h, bytes, sizeof bytes);
}

static void add_text(mc_sha256 *h, const char *s) { mc_sha256_add(h, s, strlen(s) + 1); }

static moeclip_code packed(json_t *object, json_t **out, moeclip_error *err) {
  *out = object;
  return object ? MOECLIP_OK : mc_fail_memory(err, 256, "the description of an input");
}

/* Paths need not be UTF-8, which JSON is. */
static json_t *path_text(const char *path) {
  json_t *s = json_string(path);
  return s ? s : json_string("(a path that is not UTF-8)");
}

static moeclip_code describe_one(const char *path, json_t **out, moeclip_error *err) {
  mc_mapping m;
  mc_sha256 h;
  char hex[65];
  *out = NULL;
  MC_TRY(mc_mapping_open(path, &m, err));
  mc_sha256_init(&h);
  mc_sha256_add(&h, m.data, m.n_bytes);
  mc_sha256_hex(&h, hex);
  json_int_t n = (json_int_t)m.n_bytes;
  mc_mapping_close(&m);
  return packed(json_pack("{s:o, s:I, s:s}", "path", path_text(path), "bytes", n, "sha256", hex), out, err);
}

/* The files beside an index, by name. Only called for an index that was opened as a model, so that it is a good one. */
static moeclip_code describe_parts(const char *path, const json_t *map, json_t *whole, moeclip_error *err) {
  const char *tensor, *name;
  json_t *value, *names = json_object(), *parts = json_array();
  moeclip_code code = MOECLIP_OK;
  json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
    if (json_is_string(value)) mc_json_set(&names, json_string_value(value), json_true());
  }
  json_object_foreach(names, name, value) {
    json_t *part = NULL;
    char *file = mc_file_beside(path, name);
    code = file ? describe_one(file, &part, err) : mc_fail_memory(err, strlen(path), "a file name");
    free(file);
    if (code != MOECLIP_OK) break;
    mc_json_append(&parts, part);
  }
  if (code == MOECLIP_OK && (!names || !parts || json_object_set(whole, "parts", parts) != 0)) {
    code = mc_fail_memory(err, 256, "the description of an input");
  }
  json_decref(names);
  json_decref(parts);
  return code;
}

moeclip_code mc_describe_file(const char *path, json_t **out, moeclip_error *err) {
  static const char ending[] = ".index.json";
  size_t n = strlen(path), n_ending = sizeof ending - 1;
  MC_TRY(describe_one(path, out, err));
  if (n < n_ending || strcmp(path + n - n_ending, ending) != 0) return MOECLIP_OK;
  json_t *root = NULL;
  moeclip_code code = mc_json_read_given(path, MAX_INDEX, &root, err);
  const json_t *map = json_object_get(root, "weight_map");
  if (code == MOECLIP_OK && json_is_object(map)) code = describe_parts(path, map, *out, err);
  json_decref(root);
  if (code == MOECLIP_OK) return code;
  json_decref(*out);
  *out = NULL;
  return code;
}

/* --- data sets ---------------------------------------------------------------------------------------------------- */

static const char *relative_to(const char *folder, const char *name) {
  size_t n = strlen(folder);
  while (n > 0 && folder[n - 1] == '/') n--;
  if (n == 0 || strncmp(folder, name, n) != 0 || (name[n] != '/' && name[n] != '#')) return name;
  return name + n + (name[n] == '/');
}

static void add_picture(mc_sha256 *h, const moeclip_dataset *d, moeclip_split split, size_t i) {
  char name[PATH_MAX];
  struct stat st;
  moeclip_image image;
  if (moeclip_dataset_item_name(d, split, i, name, sizeof name) != MOECLIP_OK) name[0] = 0;
  add_text(h, relative_to(moeclip_dataset_path(d), name));
  add_number(h, (uint64_t)moeclip_dataset_label(d, split, i));
  if (stat(name, &st) == 0 && S_ISREG(st.st_mode)) {
    add_number(h, (uint64_t)st.st_size);
    return;
  }
  if (!strrchr(name, '#') || moeclip_dataset_load(d, split, i, &image, NULL) != MOECLIP_OK) {
    add_number(h, UINT64_MAX); /* a listed file that is not there: learning leaves it out and says so */
    return;
  }
  add_number(h, (uint64_t)image.width);
  add_number(h, (uint64_t)image.height);
  mc_sha256_add(h, image.rgb, (size_t)image.width * (size_t)image.height * 3);
  moeclip_image_clear(&image);
}

moeclip_code mc_describe_dataset(const moeclip_dataset *d, json_t **out, moeclip_error *err) {
  mc_sha256 h;
  char hex[65];
  *out = NULL;
  mc_sha256_init(&h);
  mc_sha256_add(&h, "moeclip data set 1\n", 19);
  add_number(&h, moeclip_dataset_classes(d));
  for (size_t c = 0; c < moeclip_dataset_classes(d); c++) add_text(&h, moeclip_dataset_class_name(d, c));
  for (int split = MOECLIP_TRAIN; split <= MOECLIP_TEST; split++) {
    size_t n = moeclip_dataset_count(d, (moeclip_split)split);
    add_number(&h, n);
    for (size_t i = 0; i < n; i++) add_picture(&h, d, (moeclip_split)split, i);
  }
  mc_sha256_hex(&h, hex);
  return packed(json_pack("{s:s, s:o, s:I, s:I, s:I, s:s}", "name", moeclip_dataset_name(d), "path",
                          path_text(moeclip_dataset_path(d)), "classes", (json_int_t)moeclip_dataset_classes(d),
                          "train", (json_int_t)moeclip_dataset_count(d, MOECLIP_TRAIN), "test",
                          (json_int_t)moeclip_dataset_count(d, MOECLIP_TEST), "sha256", hex),
                out, err);
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

typedef struct listing {
  char **paths;
  size_t n, room;
} listing;

static moeclip_code keep(listing *l, char *path, moeclip_error *err) {
  if (l->n == l->room) {
    char **grown = mc_realloc(l->paths, l->room ? 2 * l->room : 64, sizeof *grown);
    if (!grown) {
      free(path);
      return mc_fail_memory(err, l->room * sizeof *grown, "a list of files");
    }
    l->paths = grown;
    l->room = l->room ? 2 * l->room : 64;
  }
  l->paths[l->n++] = path;
  return MOECLIP_OK;
}

static moeclip_code walk(listing *l, const char *folder, int depth, moeclip_error *err) {
  DIR *d = opendir(folder);
  moeclip_code code = MOECLIP_OK;
  if (!d) return mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot open: %s", folder, strerror(errno));
  for (const struct dirent *e; code == MOECLIP_OK && (e = readdir(d));) {
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *path = mc_format("%s/%s", folder, e->d_name);
    if (!path) {
      code = mc_fail_memory(err, PATH_MAX, "a path");
    } else if (stat(path, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
      free(path);
    } else if (S_ISREG(st.st_mode)) {
      code = keep(l, path, err);
    } else {
      if (depth < MAX_DEPTH) code = walk(l, path, depth + 1, err);
      free(path);
    }
  }
  closedir(d);
  return code;
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_text(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (strcmp(dot, ".txt") == 0 || strcmp(dot, ".csv") == 0 || strcmp(dot, ".json") == 0);
}

static moeclip_code add_file(mc_sha256 *h, const char *root, const char *path, moeclip_error *err) {
  struct stat st;
  uint64_t size = stat(path, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
  add_text(h, relative_to(root, path));
  add_number(h, size);
  if (is_text(path) && size <= MAX_TEXT) {
    uint8_t *data;
    size_t n;
    MC_TRY(mc_file_read(path, MAX_TEXT, &data, &n, err));
    mc_sha256_add(h, data, n);
    free(data);
  }
  return MOECLIP_OK;
}

moeclip_code mc_describe_tree(const char *path, json_t **out, moeclip_error *err) {
  struct stat st;
  listing l = {0};
  mc_sha256 h;
  char hex[65];
  *out = NULL;
  if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) return mc_describe_file(path, out, err);
  moeclip_code code = walk(&l, path, 0, err);
  if (l.n > 1) qsort(l.paths, l.n, sizeof *l.paths, by_path);
  mc_sha256_init(&h);
  mc_sha256_add(&h, "moeclip folder 1\n", 17);
  for (size_t i = 0; code == MOECLIP_OK && i < l.n; i++) code = add_file(&h, path, l.paths[i], err);
  mc_sha256_hex(&h, hex);
  if (code == MOECLIP_OK) {
    code = packed(json_pack("{s:o, s:I, s:s}", "path", path_text(path), "files", (json_int_t)l.n, "sha256", hex), out, err);
  }
  for (size_t i = 0; i < l.n; i++) free(l.paths[i]);
  free(l.paths);
  return code;
}
