/* Which task a picture belongs to. */
#include <stdlib.h>

#include "base/memory.h"
#include "learn/learner.h"

moeclip_code mc_selector_features(moeclip_learner *l, const uint8_t *pixels, int64_t n, float *out, moeclip_error *err) {
  const int64_t piece = 64; /* so that memory does not grow with n */
  size_t each = 3 * (size_t)l->extractor.transform.size * (size_t)l->extractor.transform.size;
  for (int64_t at = 0; at < n; at += piece) {
    int64_t count = n - at < piece ? n - at : piece;
    MC_TRY(mc_extract(l->model->compute, &l->extractor, pixels + (size_t)at * each, count, out + at * l->extractor.dim,
                      &l->model->arena, err));
  }
  return MOECLIP_OK;
}

moeclip_code mc_route(moeclip_learner *l, const uint8_t *pixels, int64_t n, moeclip_selection selection, int32_t *tasks,
                      double *scores, float *errors, moeclip_error *err) {
  bool whole = selection == MOECLIP_SELECT_PER_BATCH;
  int64_t piece = whole || n < 64 ? n : 64;
  size_t dim = (size_t)l->extractor.dim, each = 3 * (size_t)l->extractor.transform.size * (size_t)l->extractor.transform.size;
  float *features = mc_alloc((size_t)piece, dim * sizeof *features);
  if (!features) return mc_fail_memory(err, (size_t)piece * dim * sizeof *features, "the selector's features");
  moeclip_code code = MOECLIP_OK;
  for (int64_t at = 0; code == MOECLIP_OK && at < n; at += piece) {
    int64_t count = n - at < piece ? n - at : piece;
    code = mc_selector_features(l, pixels + (size_t)at * each, count, features, err);
    if (code == MOECLIP_OK) {
      code = mc_selector_choose(l->model->compute, l->selector, features, count, whole, tasks + at, scores ? scores + at : NULL,
                                errors ? errors + at * (1 + l->n_tasks) : NULL, &l->model->arena, err);
    }
  }
  free(features);
  return code;
}
