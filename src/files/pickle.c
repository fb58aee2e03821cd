/* The pickle machine: opcodes, stack, marks and memo. */
#include "files/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files/collection.h"
#include "files/pickle_machine.h"

/* --- input ------------------------------------------------------------------------------------------------------- */

static moeclip_code take(machine *m, uint64_t n, const uint8_t **out) {
  if (n > (size_t)(m->end - m->at)) return mc_pickle_bad(m, "it ends too early");
  *out = m->at;
  m->at += n;
  return MOECLIP_OK;
}

/* An unsigned little-endian number of `width` bytes. */
static moeclip_code take_number(machine *m, int width, uint64_t *out) {
  const uint8_t *p = NULL;
  MC_TRY(take(m, (uint64_t)width, &p));
  *out = 0;
  for (int i = width - 1; i >= 0; i--) *out = *out << 8 | p[i];
  return MOECLIP_OK;
}

/* The rest of the line, without its end. */
static moeclip_code take_line(machine *m, mc_text *out) {
  const uint8_t *end = m->at < m->end ? memchr(m->at, '\n', (size_t)(m->end - m->at)) : NULL;
  if (!end) return mc_pickle_bad(m, "a line does not end");
  *out = (mc_text){(const char *)m->at, (size_t)(end - m->at)};
  m->at = end + 1;
  return MOECLIP_OK;
}

/* A decimal number; false when it is none or does not fit. */
static bool parse_decimal(mc_text t, int64_t *out) {
  bool negative = t.n > 0 && t.bytes[0] == '-';
  size_t i = negative || (t.n > 0 && t.bytes[0] == '+');
  int64_t v = 0;
  if (i == t.n) return false;
  for (; i < t.n; i++) {
    int digit = t.bytes[i] - '0';
    if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v)) return false;
    if (negative ? __builtin_sub_overflow(v, digit, &v) : __builtin_add_overflow(v, digit, &v)) return false;
  }
  *out = v;
  return true;
}

/* --- stack, marks, memo ------------------------------------------------------------------------------------------ */

/* Each entry costs the file at least a byte, so the file's size bounds all three. */
static moeclip_code grow(machine *m, void **items, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return MOECLIP_OK;
  size_t more = n < 128 ? 256 : 2 * n;
  void *p = mc_realloc(*items, more, size);
  if (!p) return mc_fail_memory(m->err, more * size, "a pickle's stack");
  *items = p;
  *cap = more;
  return MOECLIP_OK;
}

static moeclip_code push(machine *m, mc_value *v) {
  void *stack = m->stack;
  MC_TRY(grow(m, &stack, m->n_stack, &m->cap_stack, sizeof *m->stack));
  m->stack = stack;
  m->stack[m->n_stack++] = v;
  return MOECLIP_OK;
}

/* The stack above the last mark is what opcodes may reach. */
static size_t floor_of(const machine *m) { return m->n_marks ? m->marks[m->n_marks - 1] : 0; }

static moeclip_code pop(machine *m, mc_value **out) {
  if (m->n_stack <= floor_of(m)) return mc_pickle_bad(m, "its stack is empty");
  *out = m->stack[--m->n_stack];
  return MOECLIP_OK;
}

static moeclip_code top(machine *m, mc_value **out) {
  if (m->n_stack <= floor_of(m)) return mc_pickle_bad(m, "its stack is empty");
  *out = m->stack[m->n_stack - 1];
  return MOECLIP_OK;
}

static moeclip_code push_mark(machine *m) {
  void *marks = m->marks;
  MC_TRY(grow(m, &marks, m->n_marks, &m->cap_marks, sizeof *m->marks));
  m->marks = marks;
  m->marks[m->n_marks++] = m->n_stack;
  return MOECLIP_OK;
}

/* Takes the last mark and what is above it: stack[*first .. *first + *n), valid until the next push. */
static moeclip_code pop_mark(machine *m, size_t *first, size_t *n) {
  if (m->n_marks == 0) return mc_pickle_bad(m, "a mark is missing");
  *first = m->marks[--m->n_marks];
  *n = m->n_stack - *first;
  m->n_stack = *first;
  return MOECLIP_OK;
}

static moeclip_code memo_put(machine *m, uint64_t i) {
  mc_value *v = NULL;
  MC_TRY(top(m, &v));
  /* Picklers count what they note, and that is values. */
  if (i > (size_t)(m->end - m->begin) || i > MC_PICKLE_MAX_VALUES) {
    return mc_pickle_bad(m, "a memo number is out of range");
  }
  void *memo = m->memo;
  MC_TRY(grow(m, &memo, (size_t)i, &m->cap_memo, sizeof *m->memo));
  m->memo = memo;
  while (m->n_memo <= i) m->memo[m->n_memo++] = NULL;
  m->memo[i] = v;
  return MOECLIP_OK;
}

static moeclip_code memo_get(machine *m, uint64_t i) {
  if (i >= m->n_memo || !m->memo[i]) return mc_pickle_bad(m, "an unknown memo number");
  return push(m, m->memo[i]);
}

/* --- values ------------------------------------------------------------------------------------------------------ */

static moeclip_code push_kind(machine *m, mc_value_kind kind) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_new(m, kind, &v));
  return push(m, v);
}

static moeclip_code push_int(machine *m, mc_value_kind kind, int64_t integer) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_new(m, kind, &v));
  v->integer = integer;
  return push(m, v);
}

static moeclip_code push_text(machine *m, mc_value_kind kind, mc_text text) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_new(m, kind, &v));
  v->text = text;
  return push(m, v);
}

/* Text or bytes after a length of `width` bytes. */
static moeclip_code push_counted(machine *m, mc_value_kind kind, int width) {
  uint64_t n = 0;
  const uint8_t *p = NULL;
  MC_TRY(take_number(m, width, &n));
  MC_TRY(take(m, n, &p));
  return push_text(m, kind, (mc_text){(const char *)p, (size_t)n});
}

/* A two's complement number after a length of `width` bytes. */
static moeclip_code push_long(machine *m, int width) {
  uint64_t n = 0, v = 0;
  const uint8_t *p = NULL;
  MC_TRY(take_number(m, width, &n));
  MC_TRY(take(m, n, &p));
  if (n > 8) return push_text(m, MC_VALUE_LONG, (mc_text){(const char *)p, (size_t)n});
  for (uint64_t i = n; i-- > 0;) v = v << 8 | p[i];
  if (n > 0 && n < 8 && p[n - 1] & 0x80) v |= UINT64_MAX << 8 * n;
  return push_int(m, MC_VALUE_INT, (int64_t)v);
}

static moeclip_code push_decimal(machine *m, bool is_long) {
  mc_text line = {0};
  int64_t v = 0;
  MC_TRY(take_line(m, &line));
  if (!is_long && (mc_text_is(line, "00") || mc_text_is(line, "01"))) {
    return push_int(m, MC_VALUE_BOOL, line.bytes[1] == '1');
  }
  if (is_long && line.n > 0 && line.bytes[line.n - 1] == 'L') line.n--;
  if (parse_decimal(line, &v)) return push_int(m, MC_VALUE_INT, v);
  for (size_t i = 0; i < line.n; i++) {
    bool sign = i == 0 && line.n > 1 && (line.bytes[0] == '-' || line.bytes[0] == '+');
    if (!sign && (line.bytes[i] < '0' || line.bytes[i] > '9')) return mc_pickle_bad(m, "a wrong number");
  }
  if (line.n == 0) return mc_pickle_bad(m, "a wrong number");
  return push_text(m, MC_VALUE_LONG, line);
}

/* A quoted string of protocol 0; escapes stay as they are written, which suits the plain names that matter here. */
static moeclip_code push_quoted(machine *m) {
  mc_text line = {0};
  MC_TRY(take_line(m, &line));
  if (line.n < 2 || line.bytes[0] != line.bytes[line.n - 1] || (line.bytes[0] != '\'' && line.bytes[0] != '"')) {
    return mc_pickle_bad(m, "a string lacks its quotes");
  }
  return push_text(m, MC_VALUE_TEXT, (mc_text){line.bytes + 1, line.n - 2});
}

static moeclip_code push_global(machine *m, mc_text module, mc_text name) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_new(m, MC_VALUE_GLOBAL, &v));
  v->global.module = module.bytes;
  v->global.name = name.bytes;
  v->global.n_module = (uint32_t)module.n; /* a pickle is shorter than 2^32 */
  v->global.n_name = (uint32_t)name.n;
  return push(m, v);
}

static moeclip_code take_global(machine *m) {
  mc_text module = {0}, name = {0};
  MC_TRY(take_line(m, &module));
  MC_TRY(take_line(m, &name));
  return push_global(m, module, name);
}

static moeclip_code stack_global(machine *m) {
  mc_value *module = NULL, *name = NULL;
  MC_TRY(pop(m, &name));
  MC_TRY(pop(m, &module));
  if (module->kind != MC_VALUE_TEXT || name->kind != MC_VALUE_TEXT) {
    return mc_pickle_bad(m, "a class's name is not text");
  }
  return push_global(m, module->text, name->text);
}

/* What is above the mark, or the last `n_last` values when that is not 0, as a new list. */
static moeclip_code collect(machine *m, mc_value_kind kind, size_t n_last, mc_value **out) {
  size_t first = 0, n = n_last;
  if (n_last == 0) {
    MC_TRY(pop_mark(m, &first, &n));
  } else {
    if (m->n_stack < floor_of(m) + n_last) return mc_pickle_bad(m, "its stack is empty");
    first = m->n_stack -= n_last;
  }
  if (kind == MC_VALUE_DICT && n % 2) return mc_pickle_bad(m, "a key without a value");
  MC_TRY(mc_pickle_new(m, kind, out));
  for (size_t i = 0; i < n; i++) MC_TRY(mc_pickle_append(m, *out, m->stack[first + i]));
  return MOECLIP_OK;
}

static moeclip_code push_collected(machine *m, mc_value_kind kind, size_t n_last) {
  mc_value *v = NULL;
  MC_TRY(collect(m, kind, n_last, &v));
  return push(m, v);
}

/* Puts the last n_last values (0: those above the mark) into the list or dictionary below them. */
static moeclip_code extend(machine *m, mc_value_kind kind, size_t n_last) {
  mc_value *items = NULL, *target = NULL, *list = NULL;
  MC_TRY(collect(m, kind, n_last, &items));
  MC_TRY(top(m, &target));
  MC_TRY(mc_pickle_contents(m, target, kind, &list));
  for (uint32_t i = 0; i < items->list.n; i++) MC_TRY(mc_pickle_append(m, list, items->list.items[i]));
  return MOECLIP_OK;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static moeclip_code push_call(machine *m, mc_value *callable, mc_value *arguments) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_call(m, callable, arguments, &v));
  return push(m, v);
}

/* REDUCE, NEWOBJ: callable, arguments. NEWOBJ_EX has keywords too, which no tensor needs. */
static moeclip_code reduce(machine *m, bool keywords) {
  mc_value *callable = NULL, *arguments = NULL;
  if (keywords) MC_TRY(pop(m, &arguments));
  MC_TRY(pop(m, &arguments));
  MC_TRY(pop(m, &callable));
  return push_call(m, callable, arguments);
}

/* INST: the class in two lines, its arguments above the mark. OBJ: the class is the first value above the mark. */
static moeclip_code instance(machine *m, bool obj) {
  mc_value *callable = NULL, *arguments = NULL;
  if (!obj) {
    MC_TRY(take_global(m));
    MC_TRY(pop(m, &callable));
  }
  MC_TRY(collect(m, MC_VALUE_TUPLE, 0, &arguments));
  if (obj) {
    if (arguments->list.n == 0) return mc_pickle_bad(m, "an object without a class");
    callable = arguments->list.items[0];
    arguments->list.items++;
    arguments->list.n--;
    arguments->list.cap--;
  }
  return push_call(m, callable, arguments);
}

static moeclip_code build(machine *m) {
  mc_value *state = NULL, *target = NULL;
  MC_TRY(pop(m, &state));
  MC_TRY(top(m, &target));
  if (target->kind == MC_VALUE_OBJECT) target->object.state = state;
  return MOECLIP_OK;
}

static moeclip_code persistent(machine *m, mc_value *id) {
  mc_value *v = NULL;
  MC_TRY(mc_pickle_new(m, MC_VALUE_PERSISTENT, &v));
  v->id = id;
  MC_TRY(mc_pickle_append(m, m->pickle->references, v));
  return push(m, v);
}

static moeclip_code persistent_line(machine *m) {
  mc_text line = {0};
  mc_value *id = NULL;
  MC_TRY(take_line(m, &line));
  MC_TRY(push_text(m, MC_VALUE_TEXT, line));
  MC_TRY(pop(m, &id));
  return persistent(m, id);
}

static moeclip_code persistent_pop(machine *m) {
  mc_value *id = NULL;
  MC_TRY(pop(m, &id));
  return persistent(m, id);
}

static moeclip_code memo_line(machine *m, bool put) {
  mc_text line = {0};
  int64_t i = 0;
  MC_TRY(take_line(m, &line));
  if (!parse_decimal(line, &i) || i < 0) return mc_pickle_bad(m, "a wrong memo number");
  return put ? memo_put(m, (uint64_t)i) : memo_get(m, (uint64_t)i);
}

static moeclip_code memo_number(machine *m, int width, bool put) {
  uint64_t i = 0;
  MC_TRY(take_number(m, width, &i));
  return put ? memo_put(m, i) : memo_get(m, i);
}

static moeclip_code push_number(machine *m, int width) {
  uint64_t v = 0;
  MC_TRY(take_number(m, width, &v));
  return push_int(m, MC_VALUE_INT, width == 4 ? (int32_t)(uint32_t)v : (int64_t)v);
}

static moeclip_code skip(machine *m, uint64_t n) {
  const uint8_t *p = NULL;
  return take(m, n, &p);
}

static moeclip_code push_float(machine *m, bool binary) {
  mc_text line = {0};
  if (binary) {
    MC_TRY(skip(m, 8));
  } else {
    MC_TRY(take_line(m, &line));
  }
  return push_kind(m, MC_VALUE_FLOAT);
}

static moeclip_code push_line(machine *m) {
  mc_text line = {0};
  MC_TRY(take_line(m, &line));
  return push_text(m, MC_VALUE_TEXT, line);
}

static moeclip_code drop(machine *m) {
  mc_value *v = NULL;
  size_t first = 0, n = 0;
  if (m->n_stack > floor_of(m)) return pop(m, &v);
  return pop_mark(m, &first, &n); /* POP takes a bare mark as well */
}

static moeclip_code drop_mark(machine *m) {
  size_t first = 0, n = 0;
  return pop_mark(m, &first, &n);
}

static moeclip_code duplicate(machine *m) {
  mc_value *v = NULL;
  MC_TRY(top(m, &v));
  return push(m, v);
}

static moeclip_code protocol(machine *m) {
  uint64_t version = 0;
  MC_TRY(take_number(m, 1, &version));
  return version <= 5 ? MOECLIP_OK : mc_pickle_bad(m, "an unknown protocol");
}

static moeclip_code step(machine *m, uint8_t opcode) {
  switch (opcode) {
    case 0x80: return protocol(m);
    case 0x95: return skip(m, 8); /* FRAME */
    case '(': return push_mark(m);
    case '0': return drop(m);
    case '1': return drop_mark(m);
    case '2': return duplicate(m);
    case 'N': return push_kind(m, MC_VALUE_NONE);
    case 0x88: return push_int(m, MC_VALUE_BOOL, 1);
    case 0x89: return push_int(m, MC_VALUE_BOOL, 0);
    case 'I': return push_decimal(m, false);
    case 'L': return push_decimal(m, true);
    case 'J': return push_number(m, 4);
    case 'K': return push_number(m, 1);
    case 'M': return push_number(m, 2);
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'F': return push_float(m, false);
    case 'G': return push_float(m, true);
    case 'S': return push_quoted(m);
    case 'T': return push_counted(m, MC_VALUE_TEXT, 4);
    case 'U': return push_counted(m, MC_VALUE_TEXT, 1);
    case 'V': return push_line(m);
    case 'X': return push_counted(m, MC_VALUE_TEXT, 4);
    case 0x8c: return push_counted(m, MC_VALUE_TEXT, 1);
    case 0x8d: return push_counted(m, MC_VALUE_TEXT, 8);
    case 'B': return push_counted(m, MC_VALUE_BYTES, 4);
    case 'C': return push_counted(m, MC_VALUE_BYTES, 1);
    case 0x8e: return push_counted(m, MC_VALUE_BYTES, 8);
    case 0x96: return push_counted(m, MC_VALUE_BYTES, 8); /* BYTEARRAY8 */
    case ')': return push_kind(m, MC_VALUE_TUPLE);
    case 't': return push_collected(m, MC_VALUE_TUPLE, 0);
    case 0x85: return push_collected(m, MC_VALUE_TUPLE, 1);
    case 0x86: return push_collected(m, MC_VALUE_TUPLE, 2);
    case 0x87: return push_collected(m, MC_VALUE_TUPLE, 3);
    case ']': return push_kind(m, MC_VALUE_LIST);
    case 'l': return push_collected(m, MC_VALUE_LIST, 0);
    case 'a': return extend(m, MC_VALUE_LIST, 1);
    case 'e': return extend(m, MC_VALUE_LIST, 0);
    case '}': return push_kind(m, MC_VALUE_DICT);
    case 'd': return push_collected(m, MC_VALUE_DICT, 0);
    case 's': return extend(m, MC_VALUE_DICT, 2);
    case 'u': return extend(m, MC_VALUE_DICT, 0);
    case 0x8f: return push_kind(m, MC_VALUE_SET);
    case 0x90: return extend(m, MC_VALUE_SET, 0);
    case 0x91: return push_collected(m, MC_VALUE_SET, 0); /* FROZENSET */
    case 'c': return take_global(m);
    case 0x93: return stack_global(m);
    case 'i': return instance(m, false);
    case 'o': return instance(m, true);
    case 0x81: return reduce(m, false); /* NEWOBJ */
    case 0x92: return reduce(m, true);  /* NEWOBJ_EX */
    case 'R': return reduce(m, false);
    case 'b': return build(m);
    case 'P': return persistent_line(m);
    case 'Q': return persistent_pop(m);
    case 'p': return memo_line(m, true);
    case 'g': return memo_line(m, false);
    case 'q': return memo_number(m, 1, true);
    case 'r': return memo_number(m, 4, true);
    case 'h': return memo_number(m, 1, false);
    case 'j': return memo_number(m, 4, false);
    case 0x94: return memo_put(m, m->next_memo++); /* MEMOIZE */
    default: return mc_pickle_bad(m, "an unknown opcode");
  }
}

moeclip_code mc_pickle_read_up_to(const uint8_t *data, size_t n_bytes, size_t max_bytes, mc_pickle *out,
                                  moeclip_error *err) {
  *out = (mc_pickle){0};
  size_t n = n_bytes < max_bytes ? n_bytes : max_bytes;
  machine m = {.begin = data, .at = data, .end = data + n, .pickle = out, .err = err};
  moeclip_code code = mc_pickle_new(&m, MC_VALUE_LIST, &out->references);
  bool stopped = false;
  while (code == MOECLIP_OK && !stopped) {
    if (m.at == m.end) {
      code = mc_pickle_bad(&m, "it does not end, or is longer than moeclip takes");
    } else if (*m.at == '.') {
      mc_value *root = NULL;
      m.at++;
      stopped = true;
      code = pop(&m, &root);
      out->root = root;
    } else {
      code = step(&m, *m.at++);
    }
  }
  out->n_used = (size_t)(m.at - m.begin);
  free(m.stack);
  free(m.memo);
  free(m.marks);
  if (code != MOECLIP_OK) mc_pickle_clear(out);
  return code;
}

moeclip_code mc_pickle_read(const uint8_t *data, size_t n_bytes, mc_pickle *out, moeclip_error *err) {
  return mc_pickle_read_up_to(data, n_bytes, MC_PICKLE_MAX_BYTES, out, err);
}
