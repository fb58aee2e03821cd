/* Values of the pickle machine: their memory, and what the known calls stand for. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/pickle_machine.h"

#define MAX_ITEMS ((size_t)8 << 20)
#define CHUNK_BYTES 65536

struct mc_pickle_chunk {
  struct mc_pickle_chunk *next;
  size_t n_used, n_bytes;
  _Alignas(16) uint8_t data[];
};

moeclip_code mc_pickle_bad(const machine *m, const char *what) {
  return mc_fail(m->err, MOECLIP_ERROR_FORMAT, "damaged pickle: %s at byte %zu", what, (size_t)(m->at - m->begin));
}

static void *arena(machine *m, size_t n_bytes) {
  struct mc_pickle_chunk *chunk = m->pickle->chunks;
  n_bytes = (n_bytes + 15) / 16 * 16;
  if (!chunk || chunk->n_bytes - chunk->n_used < n_bytes) {
    size_t room = n_bytes > CHUNK_BYTES ? n_bytes : CHUNK_BYTES;
    chunk = mc_alloc(sizeof *chunk + room, 1);
    if (!chunk) return NULL;
    *chunk = (struct mc_pickle_chunk){.next = m->pickle->chunks, .n_bytes = room};
    m->pickle->chunks = chunk;
  }
  void *p = chunk->data + chunk->n_used;
  chunk->n_used += n_bytes;
  return p;
}

void mc_pickle_clear(mc_pickle *p) {
  while (p->chunks) {
    struct mc_pickle_chunk *next = p->chunks->next;
    free(p->chunks);
    p->chunks = next;
  }
  *p = (mc_pickle){0};
}

moeclip_code mc_pickle_new(machine *m, mc_value_kind kind, mc_value **out) {
  if (m->pickle->n_values >= MC_PICKLE_MAX_VALUES) return mc_pickle_bad(m, "more values than moeclip takes");
  mc_value *v = arena(m, sizeof *v);
  if (!v) return mc_fail_memory(m->err, sizeof *v, "a pickle's values");
  memset(v, 0, sizeof *v);
  v->kind = kind;
  m->pickle->n_values++;
  *out = v;
  return MOECLIP_OK;
}

moeclip_code mc_pickle_append(machine *m, mc_value *list, mc_value *item) {
  if (m->n_items >= MAX_ITEMS) return mc_pickle_bad(m, "more items than moeclip takes");
  if (list->list.n == list->list.cap) {
    uint32_t cap = list->list.cap ? 2 * list->list.cap : 4;
    mc_value **items = arena(m, cap * sizeof(mc_value *));
    if (!items) return mc_fail_memory(m->err, cap * sizeof(mc_value *), "a pickle's lists");
    if (list->list.n) memcpy(items, list->list.items, list->list.n * sizeof(mc_value *));
    list->list.items = items;
    list->list.cap = cap;
  }
  list->list.items[list->list.n++] = item;
  m->n_items++;
  return MOECLIP_OK;
}

bool mc_text_is(mc_text text, const char *s) { return text.n == strlen(s) && memcmp(text.bytes, s, text.n) == 0; }

bool mc_is_global(const mc_value *v, const char *module, const char *name) {
  if (!v || v->kind != MC_VALUE_GLOBAL) return false;
  return mc_text_is((mc_text){v->global.module, v->global.n_module}, module) &&
         mc_text_is((mc_text){v->global.name, v->global.n_name}, name);
}

const mc_value *mc_dict_get(const mc_value *v, const char *key) {
  if (!v || v->kind != MC_VALUE_DICT) return NULL;
  for (uint32_t i = 0; i + 1 < v->list.n; i += 2) {
    const mc_value *k = v->list.items[i];
    if ((k->kind == MC_VALUE_TEXT || k->kind == MC_VALUE_BYTES) && mc_text_is(k->text, key)) return v->list.items[i + 1];
  }
  return NULL;
}

/* dict(source): source is a DICT or a list of pairs; whatever else leaves the dictionary empty. */
static moeclip_code fill_dict(machine *m, mc_value *dict, const mc_value *source) {
  if (source->kind != MC_VALUE_DICT && source->kind != MC_VALUE_LIST && source->kind != MC_VALUE_TUPLE) {
    return MOECLIP_OK;
  }
  for (uint32_t i = 0; i < source->list.n; i++) {
    mc_value *item = source->list.items[i];
    if (source->kind == MC_VALUE_DICT) {
      MC_TRY(mc_pickle_append(m, dict, item));
    } else if ((item->kind == MC_VALUE_LIST || item->kind == MC_VALUE_TUPLE) && item->list.n == 2) {
      MC_TRY(mc_pickle_append(m, dict, item->list.items[0]));
      MC_TRY(mc_pickle_append(m, dict, item->list.items[1]));
    } else {
      return mc_pickle_bad(m, "a dictionary is made from something that is not pairs");
    }
  }
  return MOECLIP_OK;
}

moeclip_code mc_pickle_call(machine *m, mc_value *callable, mc_value *arguments, mc_value **out) {
  if (arguments->kind != MC_VALUE_TUPLE) return mc_pickle_bad(m, "a call's arguments are not a tuple");
  /* Calls that hand on their first argument as it is. */
  static const char *const same[][2] = {
      {"torch._utils", "_rebuild_parameter"},   {"torch._utils", "_rebuild_parameter_with_state"},
      {"torch.jit._pickle", "build_intlist"},   {"torch.jit._pickle", "build_tensorlist"},
      {"torch.jit._pickle", "build_doublelist"}, {"torch.jit._pickle", "build_boollist"},
      {"torch.jit._pickle", "restore_type_tag"}};
  uint32_t n = arguments->list.n;
  for (size_t i = 0; n > 0 && i < sizeof same / sizeof same[0]; i++) {
    if (mc_is_global(callable, same[i][0], same[i][1])) {
      *out = arguments->list.items[0];
      return MOECLIP_OK;
    }
  }
  bool ordered = mc_is_global(callable, "collections", "OrderedDict");
  if (ordered || mc_is_global(callable, "collections", "defaultdict")) {
    uint32_t source = ordered ? 0 : 1;
    MC_TRY(mc_pickle_new(m, MC_VALUE_DICT, out));
    return n > source ? fill_dict(m, *out, arguments->list.items[source]) : MOECLIP_OK;
  }
  MC_TRY(mc_pickle_new(m, MC_VALUE_OBJECT, out));
  (*out)->object.callable = callable;
  (*out)->object.arguments = arguments;
  return MOECLIP_OK;
}

moeclip_code mc_pickle_contents(machine *m, mc_value *v, mc_value_kind kind, mc_value **out) {
  if (v->kind == MC_VALUE_OBJECT) { /* an instance of some list or dictionary class */
    if (!v->object.contents) MC_TRY(mc_pickle_new(m, kind, &v->object.contents));
    v = v->object.contents;
  }
  if (v->kind != kind) return mc_pickle_bad(m, "items are put into what cannot hold them");
  *out = v;
  return MOECLIP_OK;
}
