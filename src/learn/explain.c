/* Why a picture was answered as it was: the selector's errors, and the experts that its routers chose. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "learn/learner.h"

static moeclip_code explain_errors(const moeclip_learner *l, const mc_pictures *p, int64_t i, moeclip_explanation *out,
                                   moeclip_error *err) {
  size_t n = (size_t)l->n_tasks;
  out->error = mc_alloc(n, sizeof *out->error);
  out->threshold = mc_alloc(n, sizeof *out->threshold);
  if (!out->error || !out->threshold) return mc_fail_memory(err, n * sizeof *out->error, "an explanation");
  const float *errors = p->errors + (size_t)i * (n + 1);
  out->n_tasks = l->n_tasks;
  out->reference_error = errors[0];
  for (size_t t = 0; t < n; t++) {
    out->error[t] = errors[t + 1];
    out->threshold[t] = mc_selector_threshold(l->selector, (int)t);
  }
  return MOECLIP_OK;
}

static moeclip_code explain_gates(const moeclip_learner *l, const mc_pictures *p, int64_t i, moeclip_explanation *out,
                                  moeclip_error *err) {
  int blocks = l->adapters->visual_layers, experts = mc_learner_most_experts(l);
  out->gate = mc_alloc((size_t)blocks, (size_t)experts * sizeof *out->gate);
  if (!out->gate) return mc_fail_memory(err, (size_t)blocks * (size_t)experts * sizeof *out->gate, "an explanation");
  out->n_blocks = blocks;
  out->n_experts = experts;
  for (int b = 0; b < blocks; b++) {
    memcpy(out->gate + b * experts, p->gates + (b * p->n + i) * experts, (size_t)experts * sizeof *out->gate);
  }
  return MOECLIP_OK;
}

moeclip_code mc_explain(const moeclip_learner *l, const mc_pictures *p, int64_t i, moeclip_explanation *out, moeclip_error *err) {
  *out = (moeclip_explanation){.reference_error = NAN};
  if (p->errors) MC_TRY(explain_errors(l, p, i, out, err));
  return p->gates ? explain_gates(l, p, i, out, err) : MOECLIP_OK;
}

void moeclip_explanations_clear(moeclip_explanation *explanations, int n) {
  for (int i = 0; i < n; i++) {
    free(explanations[i].error);
    free(explanations[i].threshold);
    free(explanations[i].gate);
    explanations[i] = (moeclip_explanation){.reference_error = NAN};
  }
}
