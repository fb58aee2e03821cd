/* `moeclip bench mtil`: the plan becomes a session, and its results a report. */
#include "cli/mtil.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "moeclip/benchmark_data.h"

typedef struct running {
  const mc_args *args;
  mc_mtil_plan plan;
  char *state;
} running;

/* Published prompts, copied so that they live as long as the domain. */
static moeclip_code copy_templates(const char *set, mc_prompts *out, moeclip_error *err) {
  moeclip_benchmark_texts texts;
  MC_TRY(moeclip_benchmark_texts_load(set, &texts, err));
  size_t n_bytes = 1;
  for (size_t i = 0; i < texts.n_templates; i++) n_bytes += strlen(texts.templates[i]) + 1;
  *out = (mc_prompts){.files = calloc(1, sizeof *out->files),
                      .items = mc_alloc(texts.n_templates + 1, sizeof *out->items)};
  char *at = mc_alloc(n_bytes, 1);
  moeclip_code code = out->files && out->items && at ? MOECLIP_OK : mc_fail_memory(err, n_bytes, "prompts");
  if (code == MOECLIP_OK) {
    out->files[out->n_files++].text = at;
    for (size_t i = 0; i < texts.n_templates; i++) {
      size_t n = strlen(texts.templates[i]) + 1;
      out->items[out->n++] = memcpy(at, texts.templates[i], n);
      at += n;
    }
  } else {
    free(at);
    mc_prompts_clear(out);
  }
  moeclip_benchmark_texts_clear(&texts);
  return code;
}

moeclip_code mc_mtil_open_set(const mc_mtil_plan *plan, size_t i, uint64_t seed, mc_domain *d, moeclip_error *err) {
  const mc_learn_options *o = &plan->o.learn;
  const mc_mtil_set *set = &plan->sets[i];
  static const mc_list no_files;
  mc_data_choice choice = o->data;
  choice.seed = seed;
  if (o->shots) choice.max_train = o->shots;
  if (set->own) {
    MC_TRY(mc_dataset_open_named(set->own, &choice, &d->dataset, err));
    MC_TRY(mc_prompts_collect(&o->templates, &no_files, set->name, &d->prompts, err));
  } else {
    MC_TRY(mc_benchmark_open_chosen(plan->o.data, set->name, &choice, &d->dataset, err));
    MC_TRY(copy_templates(set->name, &d->prompts, err));
  }
  d->templates = d->prompts.items;
  d->n_templates = d->prompts.n;
  d->rate = set->rate;
  return MOECLIP_OK;
}

static moeclip_code open_heldout(const mc_learn_options *o, const char *argument, uint64_t seed, mc_domain *d,
                                 moeclip_error *err) {
  mc_data_choice choice = o->data;
  choice.seed = seed;
  MC_TRY(mc_dataset_open_named(argument, &choice, &d->dataset, err));
  MC_TRY(mc_prompts_collect(&o->templates, &o->template_files, moeclip_dataset_name(d->dataset), &d->prompts, err));
  d->templates = d->prompts.items;
  d->n_templates = d->prompts.n;
  return MOECLIP_OK;
}

static moeclip_code open_domain(mc_session *s, size_t i, mc_domain *d, moeclip_error *err) {
  const running *r = s->context;
  moeclip_learner_options learner;
  moeclip_learner_get_options(s->learner, &learner);
  const mc_learn_options *o = &r->plan.o.learn;
  if (i >= r->plan.n_sets) return open_heldout(o, o->heldout.items[i - r->plan.n_sets], learner.seed, d, err);
  return mc_mtil_open_set(&r->plan, i, learner.seed, d, err);
}

static moeclip_code open_reference(mc_session *s, moeclip_dataset **out, moeclip_error *err) {
  const mc_mtil_plan *plan = &((const running *)s->context)->plan;
  const char *asked = plan->o.reference;
  char path[4096];
  moeclip_error missing;
  mc_data_choice choice;
  *out = NULL;
  if (asked) {
    mc_data_choice_defaults(&choice);
    return mc_dataset_open_named(asked, &choice, out, err);
  }
  if (!*plan->reference || !plan->o.data) return MOECLIP_OK;
  if (moeclip_benchmark_find(plan->o.data, plan->reference, path, sizeof path, &missing) != MOECLIP_OK) {
    if (!plan->o.learn.quiet) mc_warn("without a reference set: %s", missing.message);
    return MOECLIP_OK;
  }
  return moeclip_benchmark_open(plan->o.data, plan->reference, NULL, out, err);
}

/* All sets must be there before hours are spent on the first. */
static moeclip_code check_sets(const mc_mtil_plan *plan, moeclip_error *err) {
  char path[4096];
  for (size_t i = 0; i < plan->n_sets && !plan->sets[i].own; i++) {
    MC_TRY(moeclip_benchmark_find(plan->o.data, plan->sets[i].name, path, sizeof path, err));
  }
  return MOECLIP_OK;
}

/* What the command line says about the learner, but the preset decides: a state made with other settings is refused by
 * results.h. */
static int train(const mc_args *args, running *r) {
  const mc_mtil_options *o = &r->plan.o;
  bool reference = moeclip_uses_reference(&o->learn.learner) && !(o->reference && strcmp(o->reference, "none") == 0);
  mc_session session = {.args = args,
                        .o = &o->learn,
                        .n_domains = r->plan.n_sets + o->learn.heldout.n,
                        .n_tasks = r->plan.n_sets,
                        .open_domain = open_domain,
                        .open_reference = reference ? open_reference : NULL,
                        .across = r->plan.across,
                        .context = r};
  session.describe = mc_mtil_settings_json(&r->plan);
  moeclip_error err;
  int exit_code = mc_session_run(&session);
  if (mc_is_writer() && session.results.root && mc_mtil_report(session.results.root, &r->plan, o->out, &err) != MOECLIP_OK &&
      exit_code == MC_EXIT_OK) {
    exit_code = mc_report(&err);
  }
  mc_session_clear(&session);
  return exit_code;
}

static int evaluate_released(running *r) {
  const mc_mtil_options *o = &r->plan.o;
  mc_progress progress;
  mc_results results = {0};
  moeclip_error err = {0};
  int exit_code = mc_ranks_begin(o->learn.quiet);
  if (exit_code != MC_EXIT_OK) return exit_code;
  mc_catch_signals();
  moeclip_callbacks callbacks = mc_progress_begin(&progress, o->learn.quiet);
  moeclip_code code = mc_mtil_evaluate_released(r->args, &r->plan, &progress, &callbacks, &results, &err);
  mc_progress_end(&progress);
  if (code == MOECLIP_OK && mc_is_writer()) code = mc_mtil_report(results.root, &r->plan, o->out, &err);
  if (code == MOECLIP_OK && o->learn.json) mc_json_print(json_incref(results.root), true);
  mc_results_clear(&results);
  if (code == MOECLIP_ERROR_CANCELLED && mc_stop_signal_of_any()) {
    mc_warn("%s; give the same command again to go on", err.message);
    return 128 + mc_stop_signal();
  }
  return code == MOECLIP_OK ? MC_EXIT_OK : mc_report(&err);
}

/* Own sets have no place in a preset: those that they stand in for are printed. */
static int print_preset(const mc_mtil_plan *plan) {
  mc_mtil_plan copy = *plan;
  if (plan->o.own.n > 0) {
    memcpy(copy.sets, plan->all, sizeof copy.sets);
    copy.n_sets = plan->n_all;
  }
  return mc_json_print(mc_mtil_plan_json(&copy), true) ? MC_EXIT_OK : MC_EXIT_FAILURE;
}

int mc_mtil_run(const mc_args *args) {
  running r = {.args = args};
  moeclip_error err = {0};
  int exit_code = mc_mtil_plan_make(args, &r.plan);
  if (exit_code != MC_EXIT_OK) return exit_code;
  mc_mtil_options *o = &r.plan.o;
  if (o->print_preset) return print_preset(&r.plan);
  r.state = mc_format("%s/state.safetensors", o->out);
  if (!r.state) return mc_usage_error(args->command, "out of memory");
  o->learn.files.state = r.state;
  o->learn.results = o->out;
  moeclip_code code = check_sets(&r.plan, &err);
  if (code == MOECLIP_OK) code = mc_make_folder(o->out, &err);
  exit_code = code != MOECLIP_OK ? mc_report(&err) : o->eval_only ? evaluate_released(&r) : train(args, &r);
  free(r.state);
  return exit_code;
}
