/* Walking what a checkpoint's pickle holds: state dictionaries, lists of them, modules, TorchScript objects. */
#include <stdio.h>
#include <string.h>

#include "files/torch.h"

#define MAX_DEPTH 64

typedef struct walk {
  mc_torch_storages *storages;
  moeclip_tensors *t;
  size_t n_steps; /* left */
  size_t n_name;
  char name[MC_MAX_NAME + 1];
  moeclip_error *err;
} walk;

static moeclip_code visit(walk *w, const mc_value *v, int depth);

/* Pays for looking at n values: whatever is shared in the tree, the walk stays in proportion to the pickle. */
static moeclip_code spend(walk *w, size_t n) {
  if (n > w->n_steps) {
    return mc_fail(w->err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: the same values are held again and again");
  }
  w->n_steps -= n;
  return MOECLIP_OK;
}

/* Visits v under the name so far plus ".part". */
static moeclip_code visit_part(walk *w, const char *part, size_t n, const mc_value *v, int depth) {
  size_t before = w->n_name, dot = before > 0;
  if (n > MC_MAX_NAME || before + dot + n > MC_MAX_NAME) {
    return mc_fail(w->err, MOECLIP_ERROR_FORMAT, "%.100s...: a name is longer than %d bytes", w->name, MC_MAX_NAME);
  }
  if (dot) w->name[before] = '.';
  memcpy(w->name + before + dot, part, n);
  w->n_name = before + dot + n;
  w->name[w->n_name] = 0;
  moeclip_code code = memchr(part, 0, n) ? mc_fail(w->err, MOECLIP_ERROR_FORMAT, "a name holds a zero byte")
                                         : visit(w, v, depth + 1);
  w->n_name = before;
  w->name[before] = 0;
  return code;
}

static moeclip_code visit_number(walk *w, int64_t i, const mc_value *v, int depth) {
  char part[24];
  int n = snprintf(part, sizeof part, "%lld", (long long)i);
  return visit_part(w, part, (size_t)n, v, depth);
}

static moeclip_code visit_dict(walk *w, const mc_value *v, int depth) {
  MC_TRY(spend(w, v->list.n / 2));
  for (uint32_t i = 0; i + 1 < v->list.n; i += 2) {
    const mc_value *key = v->list.items[i], *value = v->list.items[i + 1];
    if (key->kind == MC_VALUE_TEXT) {
      MC_TRY(visit_part(w, key->text.bytes, key->text.n, value, depth));
    } else if (key->kind == MC_VALUE_INT) {
      MC_TRY(visit_number(w, key->integer, value, depth));
    }
  }
  return MOECLIP_OK;
}

/* An object's attributes are its state. Of a torch.nn.Module, the dictionaries of parameters, buffers and submodules
 * add nothing to names, as in state_dict(). */
static moeclip_code visit_object(walk *w, const mc_value *v, int depth) {
  const mc_value *state = v->object.state;
  if (state && state->kind == MC_VALUE_TUPLE && state->list.n > 0) state = state->list.items[0]; /* (dict, slots) */
  if (state && state->kind == MC_VALUE_DICT) MC_TRY(spend(w, state->list.n)); /* for the two searches */
  if (mc_dict_get(state, "_parameters") && mc_dict_get(state, "_modules")) {
    static const char *const parts[] = {"_parameters", "_buffers", "_modules"};
    for (int i = 0; i < 3; i++) {
      const mc_value *part = mc_dict_get(state, parts[i]);
      if (part) MC_TRY(visit(w, part, depth + 1));
    }
  } else if (state) {
    MC_TRY(visit(w, state, depth + 1));
  }
  return v->object.contents ? visit(w, v->object.contents, depth + 1) : MOECLIP_OK;
}

static moeclip_code visit(walk *w, const mc_value *v, int depth) {
  if (depth > MAX_DEPTH) {
    return mc_fail(w->err, MOECLIP_ERROR_FORMAT, "damaged checkpoint: nested more than %d deep", MAX_DEPTH);
  }
  MC_TRY(spend(w, 1));
  if (mc_torch_is_tensor(v)) {
    return mc_torch_put(v, w->n_name ? w->name : "tensor", w->storages, w->t, w->err);
  }
  switch (v->kind) {
    case MC_VALUE_DICT: return visit_dict(w, v, depth);
    case MC_VALUE_OBJECT: return visit_object(w, v, depth);
    case MC_VALUE_LIST:
    case MC_VALUE_TUPLE:
      for (uint32_t i = 0; i < v->list.n; i++) MC_TRY(visit_number(w, i, v->list.items[i], depth));
      return MOECLIP_OK;
    default: return MOECLIP_OK;
  }
}

/* Takes {"state_dict": ...} and {"model": ...} off, also when one holds the other. */
static const mc_value *unwrap(const mc_value *root) {
  for (int i = 0; i < 4; i++) {
    const mc_value *inner = mc_dict_get(root, "state_dict");
    if (!inner) inner = mc_dict_get(root, "model");
    if (!inner || mc_torch_is_tensor(inner) || (inner->kind != MC_VALUE_DICT && inner->kind != MC_VALUE_OBJECT)) break;
    root = inner;
  }
  return root;
}

moeclip_code mc_torch_collect(const mc_pickle *pickle, bool script, mc_torch_storages *storages, moeclip_tensors *t,
                              moeclip_error *err) {
  walk w = {.storages = storages, .t = t, .err = err};
  w.n_steps = 4096 + 8 * pickle->n_values;
  return visit(&w, script ? pickle->root : unwrap(pickle->root), 0);
}
