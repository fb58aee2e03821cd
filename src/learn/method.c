/* All methods. */
#include "learn/method.h"

#include <string.h>

static const mc_method *const methods[] = {&mc_method_moe, &mc_method_finetune, &mc_method_analytic,
                                           &mc_method_zero_shot, &mc_method_linear_probe, &mc_method_wise_ft,
                                           &mc_method_lwf, &mc_method_zscl, &mc_method_icarl, &mc_method_joint};

enum { N_METHODS = sizeof methods / sizeof methods[0] };

const mc_method *mc_method_of(moeclip_mode mode) {
  for (int i = 0; i < N_METHODS; i++) {
    if (methods[i]->mode == mode) return methods[i];
  }
  return NULL;
}

const mc_method *mc_method_by_name(const char *name) {
  for (int i = 0; name && i < N_METHODS; i++) {
    if (strcmp(methods[i]->name, name) == 0) return methods[i];
  }
  return NULL;
}

const char *moeclip_mode_name(moeclip_mode mode) {
  const mc_method *m = mc_method_of(mode);
  return m ? m->name : NULL;
}

const char *moeclip_mode_title(moeclip_mode mode) {
  const mc_method *m = mc_method_of(mode);
  return m ? m->title : NULL;
}

int moeclip_mode_find(const char *name, moeclip_mode *mode) {
  const mc_method *m = mc_method_by_name(name);
  if (m) *mode = m->mode;
  return m != NULL;
}

int moeclip_uses_reference(const moeclip_learner_options *o) {
  const mc_method *m = mc_method_of(o->mode);
  return m && m->reference && (m->mode != MOECLIP_MODE_MOE || o->use_selector);
}
