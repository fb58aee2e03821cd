/* The pictures of a new task on their way to disk. */
#ifndef MC_SERVE_UPLOAD_H
#define MC_SERVE_UPLOAD_H

#include <stdbool.h>

#include "base/status.h"

struct mc_server;
struct mc_request;

typedef struct mc_upload mc_upload;

/* Refuses the request at once when a task is being learned, or too many are being sent. */
void mc_upload_check_free(struct mc_server *s, struct mc_request *r);
/* Makes a folder for what comes. */
moeclip_code mc_upload_open(struct mc_server *s, mc_upload **out, moeclip_error *err);
/* The next file begins: field "archive", or "file" with its path. */
moeclip_code mc_upload_file(mc_upload *u, const char *field, const char *name, moeclip_error *err);
moeclip_code mc_upload_put(mc_upload *u, const void *data, size_t n, moeclip_error *err);
/* Has the file of that name begun, and nothing of it come yet? */
bool mc_upload_at_start(const mc_upload *u, const char *name);
/* All has come: unpacks an archive. *folder: where the class folders are; freed by the caller. */
moeclip_code mc_upload_finish(mc_upload *u, char **folder, moeclip_error *err);
/* How many pictures were passed over because they are of no kind that is read. */
int mc_upload_passed_over(const mc_upload *u);
/* The folder gets its place among the tasks', and stays. *folder: where the class folders are then. */
moeclip_code mc_upload_keep(mc_upload *u, const char *task, char **folder, moeclip_error *err);
/* What was not kept is removed. u may be NULL. */
void mc_upload_close(mc_upload *u);

#endif
