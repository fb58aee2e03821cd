#include "learn/dynamic.h"

#include <math.h>

/* The training loss that `fresh` new experts reach within the probe; all is as before then. */
static moeclip_code probe(moeclip_learner *l, const mc_task_training *training, int fresh, double *loss, moeclip_error *err) {
  mc_task_training t = *training;
  moeclip_task_options o = *training->options;
  moeclip_learn_report report = {0};
  int experts = l->adapters->sizes.n_experts, routers = l->adapters->n_routers;
  o.iterations = l->options.dynamic_probe;
  o.epochs = 0;
  o.warmup = o.iterations / 5;
  t.options = &o;
  t.checkpoint = NULL;
  t.phase = "probe";
  t.router = routers;
  moeclip_code code = mc_adapters_grow(l->adapters, fresh, l->options.seed, err);
  if (code == MOECLIP_OK) code = mc_adapters_add_router(l->adapters, err);
  if (code == MOECLIP_OK) code = mc_adapters_train(l->adapters, t.router, false, err);
  code = moeclip_comm_agree(l->model->options.comm, code, err);
  if (code == MOECLIP_OK) code = mc_train_task(&t, &report, err);
  mc_adapters_train(l->adapters, -1, true, NULL);
  mc_adapters_keep_routers(l->adapters, routers);
  mc_adapters_shrink(l->adapters, experts);
  *loss = report.final_loss;
  return code;
}

moeclip_code mc_open_dynamic(moeclip_learner *l, const mc_task_training *training, moeclip_error *err) {
  int top_k = l->options.top_k, most = top_k > l->options.freeze_per_task ? top_k : l->options.freeze_per_task, fresh = 0;
  double loss, next;
  if (l->n_tasks > 1) {
    MC_TRY(probe(l, training, 0, &loss, err));
    for (; fresh < most; fresh++) {
      MC_TRY(probe(l, training, fresh + 1, &next, err));
      if (!(next < loss * (1 - l->options.dynamic_margin))) break;
      loss = next;
    }
    MC_TRY(mc_adapters_grow(l->adapters, fresh, l->options.seed, err));
  }
  return mc_adapters_add_router(l->adapters, err);
}
