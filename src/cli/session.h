/*
 * What `learn`, `bench mtil` and `bench xtail` have in common: data sets are learned one after another, each finished task is
 * saved, and every data set is evaluated before the first task and after each one. What was done is not done again.
 */
#ifndef MC_CLI_SESSION_H
#define MC_CLI_SESSION_H

#include "cli/learn_options.h"
#include "report/results.h"

typedef struct mc_domain {
  moeclip_dataset *dataset;
  mc_prompts prompts;           /* what the templates may point into */
  const char *const *templates; /* [n_templates]; none: the default one */
  size_t n_templates;
  const char *name;
  double rate;  /* learning rate */
  bool learned; /* is it one of the tasks, or held out? */
} mc_domain;

typedef struct mc_session mc_session;
struct mc_session {
  const mc_args *args; /* which options were given */
  const mc_learn_options *o;
  size_t n_domains, n_tasks; /* the tasks in order, then held-out sets */
  /* Called once the learner is there: fills dataset, templates and rate of domain i; opens the reference set (*out
   * NULL: there is none). open_reference may be NULL. */
  moeclip_code (*open_domain)(mc_session *s, size_t i, mc_domain *out, moeclip_error *err);
  moeclip_code (*open_reference)(mc_session *s, moeclip_dataset **out, moeclip_error *err);
  bool across; /* X-TAIL: pictures are classified over the classes of all domains, not of their own one */
  void *context;
  json_t *describe; /* added to what the results say of the run (taken over); another one's results are refused. May be
                       NULL */
  /* Its own. */
  moeclip_model *model;
  moeclip_learner *learner;
  moeclip_dataset *reference; /* opened for its hash, and not yet learned */
  bool reference_opened;
  mc_domain *domains;
  const moeclip_dataset **sets; /* [n_tasks] theirs */
  char *checkpoint, *folder;
  moeclip_label_group *groups; /* [n_domains] with across */
  mc_results results;
  mc_progress progress;
  moeclip_callbacks callbacks;
};

/* The exit code. Clear the session in every case. */
int mc_session_run(mc_session *s);
void mc_session_clear(mc_session *s);

#endif
