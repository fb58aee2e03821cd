#include "serve/upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "serve/archive.h"
#include "serve/http.h"
#include "serve/paths.h"

enum { MAX_UPLOADS = 2 };

struct mc_upload {
  mc_server *s;
  char *folder;       /* DATA/incoming/XXXXXX, or where it was moved to */
  char *below;        /* of the class folders, below `folder` */
  int pictures, file; /* folder/pictures; the file that is being written, or -1 */
  bool archive, kept, at_start;
  char *name;         /* the file's, as it was given */
  int n_files, n_pictures, n_unread;
};

void mc_upload_check_free(mc_server *s, mc_request *r) {
  if (mc_jobs_busy(&s->jobs)) {
    mc_refuse(r, 409, "a task is being learned already; GET /v1/jobs tells which");
  } else if (atomic_load(&s->uploads) >= MAX_UPLOADS) {
    mc_refuse(r, 503, "%d tasks are being sent already", MAX_UPLOADS);
  }
}

moeclip_code mc_upload_open(mc_server *s, mc_upload **out, moeclip_error *err) {
  mc_upload *u = calloc(1, sizeof *u);
  *out = NULL;
  if (!u) return mc_fail_memory(err, sizeof *u, "an upload");
  u->s = s;
  u->pictures = u->file = -1;
  atomic_fetch_add(&s->uploads, 1);
  u->folder = mc_format("%s/incoming/XXXXXX", s->data);
  char *pictures = NULL;
  moeclip_code code = MOECLIP_OK;
  if (!u->folder || !mkdtemp(u->folder)) {
    code = mc_fail(err, MOECLIP_ERROR_IO, "%s/incoming: cannot make a folder: %s", s->data, strerror(errno));
    free(u->folder);
    u->folder = NULL;
  } else if (!(pictures = mc_format("%s/pictures", u->folder))) {
    code = mc_fail_memory(err, 256, "a path");
  } else if (mkdir(pictures, 0777) != 0 ||
             (u->pictures = open(pictures, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
    code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot make this folder: %s", pictures, strerror(errno));
  }
  free(pictures);
  if (code != MOECLIP_OK) {
    mc_upload_close(u);
    return code;
  }
  *out = u;
  return MOECLIP_OK;
}

static void end_file(mc_upload *u) {
  if (u->file >= 0) close(u->file);
  u->file = -1;
}

static moeclip_code begin_archive(mc_upload *u, moeclip_error *err) {
  if (u->n_files > 0) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "one \"archive\", or many parts \"file\": not both");
  u->archive = true;
  char *path = mc_format("%s/archive.zip", u->folder);
  if (path) u->file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  free(path);
  return u->file >= 0 ? MOECLIP_OK : mc_fail(err, MOECLIP_ERROR_IO, "the archive cannot be written: %s", strerror(errno));
}

moeclip_code mc_upload_file(mc_upload *u, const char *field, const char *name, moeclip_error *err) {
  end_file(u);
  u->at_start = true;
  free(u->name);
  u->name = mc_strdup(name);
  if (!u->name) return mc_fail_memory(err, strlen(name), "a file's name");
  bool archive = strcmp(field, "archive") == 0;
  if (!archive && strcmp(field, "file") != 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "a file in the part \"%.60s\": send \"archive\" or \"file\"", field);
  }
  if (u->archive) return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "one \"archive\", or many parts \"file\": not both");
  if (archive) return begin_archive(u, err);
  if (++u->n_files > u->s->o->archive_files) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "more than %d files", u->s->o->archive_files);
  }
  MC_TRY(mc_path_check(name, err));
  moeclip_picture_kind kind = mc_path_kind(name);
  u->n_unread += kind == MOECLIP_PICTURE_UNREAD;
  if (kind != MOECLIP_PICTURE) return MOECLIP_OK; /* its bytes go nowhere */
  u->n_pictures++;
  return mc_path_create(u->pictures, name, &u->file, err);
}

moeclip_code mc_upload_put(mc_upload *u, const void *data, size_t n, moeclip_error *err) {
  u->at_start = false;
  return u->file >= 0 ? mc_path_write(u->file, data, n, u->archive ? "the archive" : u->name, err) : MOECLIP_OK;
}

bool mc_upload_at_start(const mc_upload *u, const char *name) {
  return u && u->at_start && u->name && name && strcmp(u->name, name) == 0;
}

/* Into the only subfolder, as long as that has subfolders too: an archive of "birds/" holds the classes one level down. */
static moeclip_code descend(mc_upload *u, moeclip_error *err) {
  char *at = mc_format("%s/pictures", u->folder);
  for (int depth = 0; at && depth < 8; depth++) {
    char only[256] = "";
    int n_folders = 0, n_inner = 0;
    DIR *d = opendir(at);
    for (struct dirent *e; d && (e = readdir(d));) {
      if (e->d_name[0] == '.' || e->d_type != DT_DIR) continue;
      snprintf(only, sizeof only, "%s", e->d_name);
      n_folders++;
    }
    if (d) closedir(d);
    if (n_folders != 1) break;
    char *inner = mc_format("%s/%s", at, only);
    d = inner ? opendir(inner) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) n_inner += e->d_name[0] != '.' && e->d_type == DT_DIR;
    if (d) closedir(d);
    if (n_inner == 0) {
      free(inner);
      break;
    }
    free(at);
    at = inner;
  }
  u->below = at ? mc_strdup(at + strlen(u->folder)) : NULL;
  free(at);
  return u->below ? MOECLIP_OK : mc_fail_memory(err, 256, "a path");
}

moeclip_code mc_upload_finish(mc_upload *u, char **folder, moeclip_error *err) {
  *folder = NULL;
  end_file(u);
  if (u->archive) {
    const mc_serve_options *o = u->s->o;
    mc_archive_limits limits = {o->archive_bytes, o->archive_files, o->archive_ratio,
                                mc_serve_clock() + 60 * o->request_seconds};
    char *path = mc_format("%s/archive.zip", u->folder);
    moeclip_code code = path ? mc_archive_extract(path, u->pictures, &limits, &u->n_pictures, &u->n_unread, err)
                             : mc_fail_memory(err, 256, "a path");
    if (path) unlink(path);
    free(path);
    MC_TRY(code);
  }
  if (u->n_pictures == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT,
                   "no picture (.jpg, .png, .webp) was sent: send a zip as \"archive\", or files with their paths as \"file\"");
  }
  MC_TRY(descend(u, err));
  *folder = mc_format("%s%s", u->folder, u->below);
  return *folder ? MOECLIP_OK : mc_fail_memory(err, 256, "a path");
}

int mc_upload_passed_over(const mc_upload *u) { return u->n_unread; }

moeclip_code mc_upload_keep(mc_upload *u, const char *task, char **folder, moeclip_error *err) {
  char *place = mc_format("%s/tasks/%s", u->s->data, task);
  *folder = place ? mc_format("%s%s", place, u->below) : NULL;
  if (!*folder) {
    free(place);
    return mc_fail_memory(err, 256, "a path");
  }
  mc_path_remove(place); /* of a task of that name that was never learned to its end */
  if (rename(u->folder, place) != 0) {
    moeclip_code code = mc_fail(err, MOECLIP_ERROR_IO, "%s: cannot be put into its place: %s", place, strerror(errno));
    free(place);
    free(*folder);
    *folder = NULL;
    return code;
  }
  free(u->folder);
  u->folder = place;
  u->kept = true;
  return MOECLIP_OK;
}

void mc_upload_close(mc_upload *u) {
  if (!u) return;
  end_file(u);
  if (u->pictures >= 0) close(u->pictures);
  if (u->folder && !u->kept) mc_path_remove(u->folder);
  atomic_fetch_sub(&u->s->uploads, 1);
  free(u->folder);
  free(u->below);
  free(u->name);
  free(u);
}
