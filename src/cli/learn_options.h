/* The options of `moeclip learn`: learn_options.c holds their table, learn.c what is done with them. */
#ifndef MC_CLI_LEARN_OPTIONS_H
#define MC_CLI_LEARN_OPTIONS_H

#include "cli/cli.h"

typedef struct mc_learn_options {
  mc_model_choice files;
  const char *results, *reference, *rates;
  moeclip_learner_options learner;
  moeclip_task_options task;
  moeclip_evaluate_options evaluate;
  mc_data_choice data;
  mc_list templates, template_files, heldout;
  int64_t shots, reference_iterations;
  int measure, json, quiet;
  bool method_chosen; /* --method was auto; learner.mode is what mc_choose_method said */
} mc_learn_options;

/* Of --method, in the order of moeclip_mode, and of --ridge-form. "auto" stands before the methods and leaves it to mc_choose_method. */
enum { MC_METHOD_AUTO = -1 };
#define MC_METHODS "moe|finetune|analytic|zero-shot|linear-probe|wise-ft|lwf|zscl|icarl|joint"
#define MC_RIDGE_FORMS "projection|kernel"

/* The options of the baselines, for a table whose moeclip_learner_options begin at `base`. */
#define MC_BASELINE_OPTIONS(base)                                                                                       \
  {MC_OPT_REAL, "probe-l2", "X", "linear-probe: half of it times the weights' squares is added to the sum of the losses", \
   (base) + offsetof(moeclip_learner_options, probe_l2), 1e-6, 1e6, 0, 0},                             \
      {MC_OPT_REAL, "wise-alpha", "X", "wise-ft: the fine-tuned weights' share of the average", \
       (base) + offsetof(moeclip_learner_options, wise_alpha), 0, 1, 0, 0}, \
      {MC_OPT_REAL, "lwf-weight", "X", "lwf: of the distillation beside the loss on the labels", \
       (base) + offsetof(moeclip_learner_options, lwf_weight), 0, 1e6, 0, 0}, \
      {MC_OPT_REAL, "lwf-temperature", "X", "lwf: what both sides' logits are divided by", \
       (base) + offsetof(moeclip_learner_options, lwf_temperature), 1e-3, 1e6, 0, 0}, \
      {MC_OPT_REAL, "zscl-weight", "X", "zscl: of the distillation on the reference set beside the loss on the labels", \
       (base) + offsetof(moeclip_learner_options, zscl_weight), 0, 1e6, 0, 0}, \
      {MC_OPT_REAL, "zscl-temperature", "X", "zscl: what both sides' logits are divided by", \
       (base) + offsetof(moeclip_learner_options, zscl_temperature), 1e-3, 1e6, 0, 0}, \
      {MC_OPT_LONG, "zscl-every", "N", "zscl: the weights are averaged every N steps; 0: never", \
       (base) + offsetof(moeclip_learner_options, zscl_every), 0, 1e12, 0, 0}, \
      {MC_OPT_LONG, "zscl-pictures", "N", "zscl: the most pictures of the reference set that the state keeps", \
       (base) + offsetof(moeclip_learner_options, zscl_pictures), 1, 1048576, 0, 0}, \
      {MC_OPT_LONG, "exemplars", "N", "icarl: pictures that the state keeps in all, divided over the classes", \
       (base) + offsetof(moeclip_learner_options, exemplars), 1, 1048576, 0, 0}, \
      {MC_OPT_REAL, "icarl-weight", "X", "icarl: of the distillation of earlier classes beside the loss on the labels", \
       (base) + offsetof(moeclip_learner_options, icarl_weight), 0, 1e6, 0, 0}, \
      {MC_OPT_REAL, "icarl-temperature", "X", "icarl: what both sides' logits are divided by", \
       (base) + offsetof(moeclip_learner_options, icarl_temperature), 1e-3, 1e6, 0, 0}

/* True: --method was auto, and options->mode is now the method of a new state that none was named for: analytic, which teaches a domain in the time of encoding its pictures
 * (docs/METHODS.md has the comparison); moe when an option was given that says how experts are trained, chosen or selected. */
bool mc_choose_method(const mc_args *args, moeclip_learner_options *options);

int mc_learn_run(const mc_args *args);

/* Options of the learner that were given must be those of the state that is there. */
moeclip_code mc_learn_check_state(const mc_args *args, const moeclip_learner *learner, moeclip_error *err);

#endif
