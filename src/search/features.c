/* The features of an index in memory: what an exact scan goes through. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "search/search.h"

void mc_features_clear(moeclip_index *x) {
  mc_aligned_free(x->features);
  free(x->ids);
  free(x->row_task);
  free(x->base);
  x->features = NULL;
  x->ids = NULL;
  x->row_task = NULL;
  x->base = NULL;
  x->n_rows = 0;
  x->version = -1;
}

static moeclip_code count_rows(const moeclip_index *x, size_t *out, moeclip_error *err) {
  sqlite3_stmt *s;
  struct stat st;
  bool row;
  MC_TRY(mc_index_prepare(x, "SELECT count(*) FROM features WHERE stale = 0", &s, err));
  moeclip_code code = mc_index_step(x, s, &row, err);
  int64_t n = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  MC_TRY(code);
  if (stat(x->path, &st) != 0) st.st_size = 0;
  /* So many features would not fit into the file: before room is made for them. */
  if (n < 0 || (n > 0 && (x->embed == 0 || n > (int64_t)st.st_size / (2 * (int64_t)x->embed)))) {
    return mc_index_damaged(x, "more features than it has room for", err);
  }
  *out = (size_t)n;
  return MOECLIP_OK;
}

static moeclip_code take_row(moeclip_index *x, sqlite3_stmt *s, size_t i, moeclip_error *err) {
  size_t n = (size_t)x->embed;
  int64_t task = sqlite3_column_int64(s, 1);
  const void *feature = sqlite3_column_blob(s, 2);
  uint16_t *row = x->features + i * x->stride;
  x->ids[i] = sqlite3_column_int64(s, 0);
  if (i > 0 && x->ids[i] <= x->ids[i - 1]) return mc_index_damaged(x, "its rows are not in order", err);
  if (task < -1 || task + 1 >= (int64_t)x->n_tasks) return mc_index_damaged(x, "a picture of an unknown task", err);
  if (!feature || (size_t)sqlite3_column_bytes(s, 2) != n * sizeof *row)
    return mc_index_damaged(x, "a feature's length", err);
  x->row_task[i] = (int32_t)(task + 1);
  x->base[i] = (float)sqlite3_column_double(s, 3);
  if (!(fabsf(x->base[i]) <= 2)) return mc_index_damaged(x, "a feature's base", err);
  memcpy(row, feature, n * sizeof *row);
  memset(row + n, 0, (x->stride - n) * sizeof *row);
  return mc_half_bounded(row, n) ? MOECLIP_OK : mc_index_damaged(x, "a feature's numbers", err);
}

static moeclip_code read_rows(moeclip_index *x, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row = false;
  size_t n = 0;
  MC_TRY(mc_index_reload(x, err));
  MC_TRY(count_rows(x, &n, err));
  x->stride = ((size_t)x->embed + MC_LANES - 1) / MC_LANES * MC_LANES;
  x->features = mc_aligned_alloc(n, x->stride * sizeof *x->features);
  x->ids = mc_alloc(n, sizeof *x->ids);
  x->row_task = mc_alloc(n, sizeof *x->row_task);
  x->base = mc_alloc(n, sizeof *x->base);
  if (!x->features || !x->ids || !x->base || !x->row_task)
    return mc_fail_memory(err, n * x->stride * sizeof *x->features, "the features");
  MC_TRY(mc_index_prepare(x, "SELECT id, task, feature, base FROM features WHERE stale = 0 ORDER BY id", &s, err));
  moeclip_code code = MOECLIP_OK;
  for (size_t i = 0; code == MOECLIP_OK; i++) {
    code = mc_index_step(x, s, &row, err);
    if (code != MOECLIP_OK || (!row && i == n)) break;
    code = !row || i == n ? mc_index_damaged(x, "the number of its rows", err) : take_row(x, s, i, err);
  }
  sqlite3_finalize(s);
  x->n_rows = n;
  return code;
}

moeclip_code mc_features_load(moeclip_index *x, moeclip_error *err) {
  sqlite3_stmt *s;
  bool row;
  MC_TRY(mc_index_prepare(x, "PRAGMA data_version", &s, err));
  moeclip_code code = mc_index_step(x, s, &row, err);
  int64_t version = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  if (code != MOECLIP_OK || version == x->version) return code;
  mc_features_clear(x);
  code = read_rows(x, err);
  if (code != MOECLIP_OK) {
    mc_features_clear(x);
    return code;
  }
  x->version = version;
  return MOECLIP_OK;
}
