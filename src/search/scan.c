/* Which pictures lie below a folder. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "data/dataset.h"
#include "search/search.h"

enum { MAX_DEPTH = 64 };

typedef struct mc_place {
  dev_t device;
  ino_t number;
} mc_place;

typedef struct walk {
  mc_scan *s;
  bool hidden;
  const moeclip_callbacks *callbacks;
} walk;

typedef struct names {
  char **items;
  size_t n, capacity;
} names;

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* As mc_list_folder, with hidden names where they are wanted, and with the system's own word for a failure: *failed. */
static moeclip_code list(const walk *w, const char *folder, names *out, int *failed, moeclip_error *err) {
  DIR *dir = opendir(folder);
  *failed = dir ? 0 : errno;
  if (!dir && errno == ENOMEM) return mc_fail_memory(err, 0, folder); /* no fault of the folder's, whose pictures would be left out */
  if (!dir) return MOECLIP_OK;
  moeclip_code code = MOECLIP_OK;
  while (code == MOECLIP_OK) {
    errno = 0;
    const struct dirent *e = readdir(dir);
    if (!e) {
      *failed = errno;
      break;
    }
    if (e->d_name[0] == '.' && (!w->hidden || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)) continue;
    if (out->n == out->capacity) {
      size_t capacity = out->capacity ? 2 * out->capacity : 64;
      char **grown = mc_realloc(out->items, capacity, sizeof *grown);
      if (!grown) code = mc_fail_memory(err, capacity * sizeof *grown, "a folder's names");
      if (!grown) break;
      out->items = grown;
      out->capacity = capacity;
    }
    out->items[out->n] = mc_strdup(e->d_name);
    if (!out->items[out->n++]) code = mc_fail_memory(err, strlen(e->d_name), "a file name");
  }
  closedir(dir);
  if (code == MOECLIP_OK && out->n > 1) qsort(out->items, out->n, sizeof *out->items, by_bytes);
  return code;
}

/* Takes path over. */
static moeclip_code keep_link(mc_scan *s, char *path, moeclip_error *err) {
  char **grown = mc_realloc(s->links, s->n_links + 1, sizeof *grown);
  if (!grown) {
    free(path);
    return mc_fail_memory(err, sizeof *grown, "a path");
  }
  s->links = grown;
  s->links[s->n_links++] = path;
  return MOECLIP_OK;
}

static moeclip_code add(mc_scan *s, char *path, const struct stat *st, moeclip_error *err) {
  if (s->n == s->capacity) {
    size_t capacity = s->capacity ? 2 * s->capacity : 256;
    mc_found *grown = mc_realloc(s->items, capacity, sizeof *grown);
    if (!grown) {
      free(path);
      return mc_fail_memory(err, capacity * sizeof *grown, "a list of pictures");
    }
    s->items = grown;
    s->capacity = capacity;
  }
  s->items[s->n++] =
      (mc_found){path, (int64_t)st->st_size, (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec};
  return MOECLIP_OK;
}

/* Reports a folder that is passed over, and remembers it. */
static moeclip_code pass_over(const walk *w, const char *folder, const char *why, moeclip_error *err) {
  char **grown = mc_realloc(w->s->unreadable, w->s->n_unreadable + 1, sizeof *grown), *copy = mc_strdup(folder);
  if (grown) w->s->unreadable = grown;
  if (!grown || !copy) {
    free(copy);
    return mc_fail_memory(err, strlen(folder), "a path");
  }
  w->s->unreadable[w->s->n_unreadable++] = copy;
  if (w->callbacks && w->callbacks->broken) w->callbacks->broken(w->callbacks->context, folder, why);
  return MOECLIP_OK;
}

static int compare_places(const void *a, const void *b) {
  const mc_place *x = a, *y = b;
  if (x->device != y->device) return x->device < y->device ? -1 : 1;
  return x->number < y->number ? -1 : x->number > y->number;
}

/* *again: this folder was visited before, perhaps by another way. */
static moeclip_code enter(mc_scan *s, const struct stat *st, bool *again, moeclip_error *err) {
  mc_place *place = mc_alloc(1, sizeof *place);
  mc_place **found = NULL;
  if (place) {
    *place = (mc_place){st->st_dev, st->st_ino};
    found = tsearch(place, &s->visited, compare_places);
  }
  *again = found && *found != place;
  if (!found || *again) free(place);
  return found ? MOECLIP_OK : mc_fail_memory(err, sizeof *place, "a list of folders");
}

static moeclip_code visit(const walk *w, const char *folder, int depth, moeclip_error *err);

static moeclip_code visit_one(const walk *w, const char *folder, const char *name, int depth, moeclip_error *err) {
  struct stat st, own;
  char *path = mc_format("%s%s%s", folder, folder[1] ? "/" : "", name);
  if (!path) return mc_fail_memory(err, strlen(folder), "a path");
  moeclip_code code = MOECLIP_OK;
  /* What cannot be examined (a dangling link, a file that has just gone) is not there. */
  if (strlen(path) < MC_MAX_PATH && lstat(path, &own) == 0 && stat(path, &st) == 0) {
    if (S_ISDIR(st.st_mode) && S_ISLNK(own.st_mode)) return keep_link(w->s, path, err);
    if (S_ISDIR(st.st_mode)) {
      code = visit(w, path, depth, err);
    } else if (S_ISREG(st.st_mode) && mc_is_picture_name(name)) {
      return add(w->s, path, &st, err);
    } else if (S_ISREG(st.st_mode)) {
      w->s->n_unread += moeclip_picture_kind_of(name) == MOECLIP_PICTURE_UNREAD;
    }
  }
  free(path);
  return code;
}

static moeclip_code visit(const walk *w, const char *folder, int depth, moeclip_error *err) {
  names list_of = {0};
  struct stat st;
  bool again = false;
  int failed = 0;
  if (depth > MAX_DEPTH) return pass_over(w, folder, "too many folders inside one another", err);
  if (stat(folder, &st) == 0) MC_TRY(enter(w->s, &st, &again, err));
  if (again) return MOECLIP_OK;
  moeclip_progress p = {
      .phase = "scan", .task = "", .step = (int64_t)w->s->n, .n_steps = INT64_MAX, .loss = (double)NAN};
  if (w->callbacks && w->callbacks->progress && w->callbacks->progress(w->callbacks->context, &p)) {
    return mc_fail(err, MOECLIP_ERROR_CANCELLED, "stopped");
  }
  moeclip_code code = list(w, folder, &list_of, &failed, err);
  if (code == MOECLIP_OK && failed && depth == 0) {
    code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot read the folder: %s", folder, strerror(failed));
  } else if (code == MOECLIP_OK && failed) {
    code = pass_over(w, folder, strerror(failed), err);
  }
  for (size_t i = 0; code == MOECLIP_OK && i < list_of.n; i++)
    code = visit_one(w, folder, list_of.items[i], depth + 1, err);
  mc_names_free(list_of.items, list_of.n);
  return code;
}

moeclip_code mc_scan_folder(mc_scan *s, const char *root, bool hidden, const moeclip_callbacks *callbacks,
                            moeclip_error *err) {
  walk w = {s, hidden, callbacks};
  return visit(&w, root, 0, err);
}

/* A link's own depth starts anew, so a chain of links is bounded by the number of folders alone. */
moeclip_code mc_scan_links(mc_scan *s, bool hidden, const moeclip_callbacks *callbacks, moeclip_error *err) {
  walk w = {s, hidden, callbacks};
  for (size_t i = 0; i < s->n_links; i++) MC_TRY(visit(&w, s->links[i], 1, err));
  return MOECLIP_OK;
}

void mc_scan_clear(mc_scan *s) {
  for (size_t i = 0; i < s->n; i++) free(s->items[i].path);
  mc_names_free(s->unreadable, s->n_unreadable);
  mc_names_free(s->links, s->n_links);
  while (s->visited) {
    void *place = *(void **)s->visited;
    tdelete(place, &s->visited, compare_places);
    free(place);
  }
  free(s->items);
  *s = (mc_scan){0};
}
