/* `moeclip learn`: what is given on the command line becomes a session. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/session.h"

typedef struct learning {
  const mc_args *args;
  const mc_learn_options *o;
  size_t n_tasks;
  double *rates; /* [n_tasks] */
} learning;

/* --- before anything is opened ------------------------------------------------------------------------------------ */

static int parse_rates(learning *s) {
  const char *at = s->o->rates;
  size_t n = 0;
  s->rates = mc_alloc(s->n_tasks, sizeof *s->rates);
  if (!s->rates) return mc_usage_error(s->args->command, "out of memory");
  for (size_t i = 0; i < s->n_tasks; i++) s->rates[i] = s->o->task.learning_rate;
  if (!at) return MC_EXIT_OK;
  for (;; n++) {
    size_t length = strcspn(at, ",");
    char *word = mc_strndup(at, length);
    double rate;
    bool ok = word && mc_parse_real(word, &rate) && rate > 0;
    free(word);
    if (!ok) {
      return mc_usage_error(s->args->command, "--lr: \"%.*s\" is not a number above 0", (int)length, at);
    }
    if (n < s->n_tasks) s->rates[n] = rate;
    at += length;
    if (!*at++) break;
  }
  n++;
  if (n != 1 && n != s->n_tasks) {
    return mc_usage_error(s->args->command, "--lr: %zu learning rates for %zu domains; give one, or one for each", n,
                          s->n_tasks);
  }
  for (size_t i = n; i < s->n_tasks; i++) s->rates[i] = s->rates[0];
  return MC_EXIT_OK;
}

static int check_usage(learning *s) {
  const mc_command *c = s->args->command;
  const mc_learn_options *o = s->o;
  if (!o->files.model) return mc_usage_error(c, "--model is missing: the CLIP to teach");
  if (!o->files.state) return mc_usage_error(c, "--state is missing: the file for what is learned");
  if (o->shots && o->data.max_train) return mc_usage_error(c, "--shots and --max-train exclude each other");
  if (!o->reference && mc_args_given(s->args, "reference-iterations")) {
    return mc_usage_error(c, "--reference-iterations needs --reference");
  }
  if (o->reference && !moeclip_uses_reference(&o->learner)) {
    if (o->learner.mode == MOECLIP_MODE_MOE) {
      return mc_usage_error(c, "--reference is for the selector: not with --no-selector");
    }
    return mc_usage_error(c, "--reference is for the selector, and for zscl: --method %s has no use for it",
                          moeclip_mode_name(o->learner.mode));
  }
  if (o->learner.top_k > o->learner.n_experts) {
    return mc_usage_error(c, "--top-k: %d of %d experts (--experts)", o->learner.top_k, o->learner.n_experts);
  }
  return parse_rates(s);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static moeclip_code differs(const char *option, long long given, long long is, moeclip_error *err) {
  return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                 "--%s %lld: the state was made with %lld; leave the option out, or start another state", option, given,
                 is);
}

static moeclip_code check_ridge(const mc_args *args, const moeclip_learner_options *o, const moeclip_learner_options *is,
                                moeclip_error *err) {
  if (is->mode != MOECLIP_MODE_ANALYTIC) return MOECLIP_OK;
  if (mc_args_given(args, "ridge-form") && o->ridge_form != is->ridge_form) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--ridge-form: the state was made with the other form; leave the option out, or start another state");
  }
  const struct {
    const char *name;
    double given, is;
  } pairs[] = {{"ridge-hidden", o->ridge_hidden, is->ridge_hidden},
               {"ridge", o->ridge, is->ridge},
               {"ridge-gamma", o->ridge_gamma, is->ridge_gamma},
               {"ridge-fusion", o->ridge_fusion, is->ridge_fusion},
               {"ridge-pictures", (double)o->ridge_pictures, (double)is->ridge_pictures}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (!mc_args_given(args, pairs[i].name) || !(fabs(pairs[i].given - pairs[i].is) > 1e-12 * fabs(pairs[i].is))) continue;
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--%s %g: the state was made with %g; leave the option out, or start another state", pairs[i].name,
                   pairs[i].given, pairs[i].is);
  }
  return MOECLIP_OK;
}

static moeclip_code check_baseline(const mc_args *args, const moeclip_learner_options *o, const moeclip_learner_options *is,
                                   moeclip_error *err) {
  const struct {
    const char *name;
    moeclip_mode mode;
    double given, is;
  } pairs[] = {{"probe-l2", MOECLIP_MODE_LINEAR_PROBE, o->probe_l2, is->probe_l2},
               {"wise-alpha", MOECLIP_MODE_WISE_FT, o->wise_alpha, is->wise_alpha},
               {"lwf-weight", MOECLIP_MODE_LWF, o->lwf_weight, is->lwf_weight},
               {"lwf-temperature", MOECLIP_MODE_LWF, o->lwf_temperature, is->lwf_temperature},
               {"zscl-weight", MOECLIP_MODE_ZSCL, o->zscl_weight, is->zscl_weight},
               {"zscl-temperature", MOECLIP_MODE_ZSCL, o->zscl_temperature, is->zscl_temperature},
               {"zscl-every", MOECLIP_MODE_ZSCL, (double)o->zscl_every, (double)is->zscl_every},
               {"zscl-pictures", MOECLIP_MODE_ZSCL, (double)o->zscl_pictures, (double)is->zscl_pictures},
               {"exemplars", MOECLIP_MODE_ICARL, (double)o->exemplars, (double)is->exemplars},
               {"icarl-weight", MOECLIP_MODE_ICARL, o->icarl_weight, is->icarl_weight},
               {"icarl-temperature", MOECLIP_MODE_ICARL, o->icarl_temperature, is->icarl_temperature}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (is->mode != pairs[i].mode || !mc_args_given(args, pairs[i].name) ||
        !(fabs(pairs[i].given - pairs[i].is) > 1e-12 * fabs(pairs[i].is))) {
      continue;
    }
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--%s %g: the state was made with %g; leave the option out, or start another state", pairs[i].name,
                   pairs[i].given, pairs[i].is);
  }
  return MOECLIP_OK;
}

moeclip_code mc_learn_check_state(const mc_args *args, const moeclip_learner *learner, moeclip_error *err) {
  const mc_learn_options *options = args->options;
  const moeclip_learner_options *o = &options->learner;
  moeclip_learner_options is;
  moeclip_learner_get_options(learner, &is);
  const struct {
    const char *name;
    long long given, is;
  } pairs[] = {{"experts", is.dynamic_experts ? is.n_experts : o->n_experts, is.n_experts},
               {"top-k", o->top_k, is.top_k},
               {"bottleneck", o->bottleneck, is.bottleneck},
               {"dynamic-probe", o->dynamic_probe, is.dynamic_probe},
               {"freeze", o->freeze_per_task, is.freeze_per_task},
               {"selector-hidden", o->selector_hidden, is.selector_hidden},
               {"selector-layer", o->selector_layer, is.selector_layer}};
  if (mc_args_given(args, "selector") && o->selector != MOECLIP_SELECTOR_AUTO && o->selector != is.selector) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--selector %s: the state was made with %s; leave the option out, or start another state",
                   moeclip_selector_kind_name(o->selector), moeclip_selector_kind_name(is.selector));
  }
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (!mc_args_given(args, pairs[i].name) || pairs[i].given == pairs[i].is) continue;
    return differs(pairs[i].name, pairs[i].given, pairs[i].is, err);
  }
  if (mc_args_given(args, "dynamic-experts") && !is.dynamic_experts) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--dynamic-experts: the state was made without; leave the option out, or start another state");
  }
  if (mc_args_given(args, "seed") && o->seed != is.seed) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--seed %llu: the state was made with %llu; leave the option out, or "
                   "start another state",
                   (unsigned long long)o->seed, (unsigned long long)is.seed);
  }
  if ((mc_args_given(args, "mode") || mc_args_given(args, "method")) && !options->method_chosen && o->mode != is.mode) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--method %s: the state was made with %s; leave the option out, or start another state",
                   moeclip_mode_name(o->mode), moeclip_mode_name(is.mode));
  }
  MC_TRY(check_ridge(args, o, &is, err));
  MC_TRY(check_baseline(args, o, &is, err));
  if (mc_args_given(args, "alexnet") && !is.alexnet) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--alexnet: the state's selector was made without; leave the option out, "
                   "or start another state");
  }
  if (mc_args_given(args, "image-only") && is.text_adapters) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--image-only: the state has adapters in the text tower too; leave the "
                   "option out, or start another state");
  }
  if (mc_args_given(args, "shared-router") && !is.shared_router) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--shared-router: the state has a router for each task; leave the option out, or "
                   "start another state");
  }
  if (mc_args_given(args, "no-selector") && is.use_selector) {
    return mc_fail(err, MOECLIP_ERROR_MISMATCH,
                   "--no-selector: the state has a selector; leave the option out, or start another "
                   "state");
  }
  return MOECLIP_OK;
}

static moeclip_code open_domain(mc_session *session, size_t i, mc_domain *d, moeclip_error *err) {
  const learning *s = session->context;
  const char *argument = i < s->n_tasks ? s->args->positional[i] : s->o->heldout.items[i - s->n_tasks];
  mc_data_choice choice = s->o->data;
  moeclip_learner_options learner;
  moeclip_learner_get_options(session->learner, &learner);
  choice.seed = learner.seed;
  if (s->o->shots) choice.max_train = s->o->shots;
  MC_TRY(mc_dataset_open_named(argument, &choice, &d->dataset, err));
  d->rate = i < s->n_tasks ? s->rates[i] : 0;
  MC_TRY(
      mc_prompts_collect(&s->o->templates, &s->o->template_files, moeclip_dataset_name(d->dataset), &d->prompts, err));
  d->templates = d->prompts.items;
  d->n_templates = d->prompts.n;
  return MOECLIP_OK;
}

static moeclip_code open_reference(mc_session *session, moeclip_dataset **out, moeclip_error *err) {
  const learning *s = session->context;
  mc_data_choice choice;
  mc_data_choice_defaults(&choice);
  return mc_dataset_open_named(s->o->reference, &choice, out, err);
}

bool mc_choose_method(const mc_args *args, moeclip_learner_options *options) {
  static const char *const of_training[] = {
      "iterations", "lr", "weight-decay", "smoothing", "warmup", "dropout", "balance", "experts", "top-k", "bottleneck", "freeze",
      "dynamic-experts", "dynamic-margin", "dynamic-probe", "image-only", "shared-router", "no-selector", "selector", "selector-hidden",
      "selector-layer", "selector-iterations", "selector-lr", "threshold", "false-alarms", "batch-routing", "alexnet", "reference",
      "reference-iterations"};
  if ((int)options->mode != MC_METHOD_AUTO) return false;
  options->mode = MOECLIP_MODE_ANALYTIC;
  for (size_t i = 0; i < sizeof of_training / sizeof of_training[0]; i++) {
    if (mc_args_given(args, of_training[i])) options->mode = MOECLIP_MODE_MOE;
  }
  return true;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

int mc_learn_run(const mc_args *args) {
  mc_learn_options *o = args->options;
  o->method_chosen = mc_choose_method(args, &o->learner);
  learning l = {.args = args, .o = o, .n_tasks = args->n_positional};
  mc_session session = {.args = args,
                        .o = o,
                        .n_tasks = l.n_tasks,
                        .n_domains = l.n_tasks + o->heldout.n,
                        .open_domain = open_domain,
                        .open_reference = o->reference ? open_reference : NULL,
                        .context = &l};
  int exit_code = check_usage(&l);
  if (exit_code == MC_EXIT_OK) exit_code = mc_session_run(&session);
  mc_session_clear(&session);
  free(l.rates);
  return exit_code;
}
