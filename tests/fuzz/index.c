/* An index of pictures: what `moeclip info` and a search read of a mutated database file. SQLite is trusted to survive
 * it; the tables, lengths and numbers are ours to check. Seeds: seeds/index, made by fuzz_replay_index --make; those of version 1 have no
 * checksums, so that mutations get past them. */
#include "tiny.h"

#include "moeclip/search.h"
#include "search/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* An index with three pictures, and an empty one. */
void fuzz_make_seeds(const char *folder) {
  char path[512], empty[512], picture[600];
  moeclip_index *x;
  snprintf(path, sizeof path, "%s/three", folder);
  snprintf(empty, sizeof empty, "%s/empty", folder);
  if (moeclip_index_create(empty, 1, &x, NULL) != MOECLIP_OK) abort();
  moeclip_index_close(x);
  if (moeclip_index_create(path, 0, &x, NULL) != MOECLIP_OK) abort();
  const char *sql[] = {"INSERT INTO meta VALUES('backbone', 'x'), ('state', 'y'), ('embed', '8')",
                       "INSERT INTO tasks VALUES(0, 'task')", "INSERT INTO roots VALUES(CAST('/nowhere' AS BLOB))"};
  for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++) {
    if (mc_index_exec(x, sql[i], NULL) != MOECLIP_OK) abort();
  }
  for (int i = 0; i < 3; i++) {
    snprintf(picture, sizeof picture,
             "INSERT INTO pictures VALUES(%d, CAST('/nowhere/%d.png' AS BLOB), 9, 9, zeroblob(32), NULL); INSERT INTO "
             "features "
             "VALUES(%d, %d, 1, 0, 0.5, 0.1, x'00300030003000300030003000300030')",
             i + 1, i, i + 1, i % 2 - 1);
    if (mc_index_exec(x, picture, NULL) != MOECLIP_OK) abort();
  }
  moeclip_index_close(x);
}

static void read_paths(const moeclip_index *x) {
  sqlite3_stmt *s;
  bool row = true;
  if (mc_index_prepare(x, "SELECT path FROM pictures", &s, NULL) != MOECLIP_OK) return;
  while (mc_index_step(x, s, &row, NULL) == MOECLIP_OK && row) {
    char *path, *stored;
    if (mc_index_column_path(x, s, 0, &path, NULL) != MOECLIP_OK) break;
    if (path[0] != '/') abort();
    stored = mc_index_stored_path(x, path);
    if (!stored) abort();
    free(stored);
    free(path);
  }
  sqlite3_finalize(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  char path[64];
  moeclip_index *x;
  moeclip_index_info info;
  moeclip_error err = {0};
  snprintf(path, sizeof path, "/dev/shm/moeclip-fuzz-index-%ld", (long)getpid());
  tiny_write(path, data, n_bytes);
  if (moeclip_index_open(path, &x, &err) == MOECLIP_OK) {
    if (moeclip_index_get_info(x, &info, &err) == MOECLIP_OK && info.n_tasks < 1) abort();
    if (mc_features_load(x, &err) == MOECLIP_OK) {
      for (size_t i = 0; i < x->n_rows; i++) {
        if (x->row_task[i] < 0 || (size_t)x->row_task[i] >= x->n_tasks ||
            !mc_half_bounded(x->features + i * x->stride, x->stride))
          abort();
      }
    }
    read_paths(x);
    moeclip_index_close(x);
  } else if (x || !err.message[0]) {
    abort();
  }
  unlink(path);
  strcat(path, "-journal");
  unlink(path);
  return 0;
}
