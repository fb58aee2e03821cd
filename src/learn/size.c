/* How large a learner is, task by task, and making it smaller without changing an answer. */
#include <stdlib.h>

#include "base/memory.h"
#include "learn/learner.h"
#include "model/prune.h"

moeclip_code moeclip_learner_parameters(const moeclip_learner *l, int task, moeclip_task_parameters *out, moeclip_error *err) {
  *out = (moeclip_task_parameters){0};
  if (task < 0 || task >= l->n_tasks) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, "task %d: %d were learned, numbered from 0", task, l->n_tasks);
  }
  if (l->selector) out->selector = mc_selector_numbers(l->selector, task);
  int router = mc_learner_router(l, task);
  if (!l->adapters || (task > 0 && router == 0)) return MOECLIP_OK; /* one router for all: it came with the first task */
  /* A router sees the experts of its own time: those that the one before does not see came with its task. */
  const mc_moe *m = &l->adapters->visual[0];
  int before = task > 0 ? (int)m->routers[router - 1].gate.shape[1] : 0, now = (int)m->routers[router].gate.shape[1];
  out->n_experts = now - before;
  out->experts = mc_adapters_expert_numbers(l->adapters, before, now);
  out->router = mc_adapters_router_numbers(l->adapters, router);
  return MOECLIP_OK;
}

moeclip_code moeclip_learner_prune(moeclip_learner *l, int64_t *n, moeclip_error *err) {
  static const char *const word[] = {"a"};
  int32_t *row = NULL;
  int64_t own;
  if (!n) n = &own;
  *n = 0;
  if (!l->adapters || l->n_tasks == 0) {
    return mc_fail(err, MOECLIP_ERROR_ARGUMENT, l->adapters ? "nothing was learned yet, so there is nothing to prune"
                                                            : "a fine-tuned CLIP has no experts to prune");
  }
  MC_TRY(mc_model_prompts(l->model, mc_default_template, 1, word, 1, &row, err));
  int32_t start_of_text = row[0];
  free(row);
  return mc_adapters_prune(l->model->compute, l->model->clip, l->adapters, start_of_text, &l->model->arena, n, err);
}
