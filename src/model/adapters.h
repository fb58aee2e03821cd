/* Mixture-of-experts adapters: the experts and routers of every block (method.md section 2). */
#ifndef MC_MODEL_ADAPTERS_H
#define MC_MODEL_ADAPTERS_H

#include "model/params.h"

typedef struct mc_expert {
  mc_param down_weight, down_bias; /* [bottleneck, d], [bottleneck] */
  mc_param up_weight, up_bias;     /* [d, bottleneck], [d] */
  bool frozen;                     /* for good: a finished task relies on it */
  bool dropped; /* fresh, and not in the state file (model/prune.h); until a task trains it */
} mc_expert;

/* A router chooses among the experts that existed when it was made: the first `experts` of its block. Experts added for
 * later tasks cannot change what it does. */
typedef struct mc_router {
  mc_param gate, noise; /* W_g, W_n: [d, experts] */
} mc_router;

/* The adapters of one block. */
typedef struct mc_moe {
  int width, n_experts, n_routers;
  mc_expert *experts;
  mc_router *routers; /* one a task */
  uint64_t *counts;   /* [n_experts]: samples of the running task that gave each expert a gate > 0 */
  double *tally;      /* [2 * n_experts]: importance, then load, of the running step (model/balance.h) */
} mc_moe;

typedef struct mc_adapter_sizes {
  int n_experts;  /* a block, at least 1 */
  int bottleneck; /* 64 in the paper */
  int top_k;      /* 2 */
  float scale;    /* 0.1 */
  bool text;      /* adapters in the text tower too (else in the image tower alone) */
  uint64_t seed;  /* that fresh experts are drawn from */
} mc_adapter_sizes;

typedef struct mc_adapters {
  mc_adapter_sizes sizes;
  int n_routers;             /* of every block */
  int visual_layers, text_layers;
  mc_moe *visual, *text;     /* [layers] */
} mc_adapters;

/* Experts with fresh weights (drawn from the seed), no router yet. */
moeclip_code mc_adapters_create(const mc_adapter_sizes *sizes, int visual_layers, int visual_width, int text_layers,
                                int text_width, uint64_t seed, mc_adapters **out, moeclip_error *err);
void mc_adapters_destroy(mc_adapters *a);

/* One more router (all zero), over all experts that there are, in every block. */
moeclip_code mc_adapters_add_router(mc_adapters *a, moeclip_error *err);

/* The smallest number of experts that are not frozen in any block. */
int mc_adapters_unfrozen(const mc_adapters *a);
/* n more experts with fresh weights in every block. */
moeclip_code mc_adapters_grow(mc_adapters *a, int n, uint64_t seed, moeclip_error *err);

/* Undoes growing: forgets the experts from n on. */
void mc_adapters_shrink(mc_adapters *a, int n);

/* Expert e of a block (image tower's first, then text tower's): are its weights what the seed makes of a new one? Makes them so. */
moeclip_code mc_adapters_is_fresh(const mc_adapters *a, int block, int e, bool *fresh, moeclip_error *err);
void mc_adapters_restart(mc_adapters *a, int block, int e);

/* How many numbers experts [first, end) of all blocks have, and router `task` of all blocks (its noise included). */
int64_t mc_adapters_expert_numbers(const mc_adapters *a, int first, int end);
int64_t mc_adapters_router_numbers(const mc_adapters *a, int task);

/* Forgets all routers but the first n. */
void mc_adapters_keep_routers(mc_adapters *a, int n);
/* Freezes every expert and sets its count to 0. */
void mc_adapters_freeze_all(mc_adapters *a);
/* Does every router choose among all experts of its block? */
bool mc_adapters_full_routers(const mc_adapters *a);
/* True when router `task` is zero in every block: nothing has been learned with it. */
bool mc_adapters_router_is_fresh(const mc_adapters *a, int task);

/* Which parameters a task trains: all experts that are not frozen, and router `task`. The counts are set to 0 unless
 * keep_counts. task -1: none (gradients are released). */
moeclip_code mc_adapters_train(mc_adapters *a, int task, bool keep_counts, moeclip_error *err);

/* Freezes the n most used experts (by counts; the lower number on a tie) of every block. */
void mc_adapters_freeze_most_used(mc_adapters *a, int n);

/* Before a step: empties the sums of the load-balance term. */
void mc_adapters_clear_tally(mc_adapters *a);
/* After its forward pass: the term, summed over all blocks, for a task's router. */
double mc_adapters_balance(const mc_adapters *a, int task, double coefficient);

/* All experts and routers in a fixed order, under the published names. */
moeclip_code mc_adapters_each(mc_adapters *a, mc_param_visitor visit, void *context, moeclip_error *err);

/* Reads sizes and values from tensors in the published names (any number of experts and routers). scale, top_k and seed are not
 * in a file and are taken from `defaults`. Experts that the file says were dropped ("dropped.visual.{i}", "dropped.text.{i}") are fresh. */
moeclip_code mc_adapters_load(const moeclip_tensors *file, const mc_adapter_sizes *defaults, mc_adapters **out,
                              moeclip_error *err);
/* True when the file has adapter tensors. */
bool mc_adapters_in(const moeclip_tensors *file);
/* Adds all parameters as float32 copies, but those of dropped experts, and which were dropped. */
moeclip_code mc_adapters_store(mc_adapters *a, moeclip_tensors *out, moeclip_error *err);

#endif
