#include "learn/pass.h"

#include <math.h>

#include "train/watch.h"

moeclip_code mc_pass_over(moeclip_learner *l, const mc_pass *p,
                          moeclip_code (*visit)(void *context, const mc_shared_batch *batch, moeclip_error *err), void *context,
                          int64_t *n_images, int64_t *n_broken, moeclip_error *err) {
  moeclip_comm *comm = l->model->options.comm;
  mc_loader_options options = {.transform = l->model->clip->transform,
                               .batch = p->batch,
                               .n_threads = p->n_threads ? p->n_threads : mc_compute_threads(l->model->compute)};
  mc_shared_loader *loader;
  mc_watch watch;
  MC_TRY(mc_shared_loader_create(comm, p->source, &options, p->tells_broken ? p->callbacks : NULL, &loader, err));
  mc_watch_begin(&watch, p->callbacks, p->phase, p->name, (int64_t)mc_shared_loader_batches(loader), 1e9);
  watch.progress.loss = watch.progress.learning_rate = NAN;
  moeclip_code code = MOECLIP_OK;
  for (;;) {
    mc_shared_batch batch;
    bool end = false, stop = false;
    code = mc_shared_loader_next(loader, &batch, &end, err);
    if (end || code != MOECLIP_OK) break;
    code = visit(context, &batch, err);
    if (code != MOECLIP_OK) break;
    watch.progress.step++;
    watch.progress.images += batch.n_all;
    mc_watch_step(&watch, &stop);
    if (moeclip_comm_any(comm, stop)) {
      code = moeclip_comm_agree(comm, mc_watch_cancelled(&watch, err), err);
      break;
    }
  }
  *n_images = watch.progress.images;
  if (n_broken) *n_broken = mc_shared_loader_broken(loader);
  mc_shared_loader_destroy(loader);
  return code;
}
