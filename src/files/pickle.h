/*
 * A pickle reader that runs nothing. It interprets the opcodes of protocols 0 to 5 into a bounded tree of inert values:
 * a class or function is only ever its name, calling one only ever notes that it was called and with what. The few
 * calls that stand for plain containers (collections.OrderedDict and the like) become those containers.
 */
#ifndef MC_FILES_PICKLE_H
#define MC_FILES_PICKLE_H

#include <stdbool.h>

#include "base/status.h"

typedef enum mc_value_kind {
  MC_VALUE_NONE,
  MC_VALUE_BOOL,
  MC_VALUE_INT,
  MC_VALUE_LONG, /* beyond 64 bits; text holds its bytes as the file wrote them */
  MC_VALUE_FLOAT, /* which one is not kept */
  MC_VALUE_TEXT,
  MC_VALUE_BYTES,
  MC_VALUE_TUPLE,
  MC_VALUE_LIST,
  MC_VALUE_SET,
  MC_VALUE_DICT,
  MC_VALUE_GLOBAL,     /* the name of a class or function */
  MC_VALUE_PERSISTENT, /* what the file refers to from outside, by its id */
  MC_VALUE_OBJECT      /* a callable and its arguments, never called */
} mc_value_kind;

typedef struct mc_text { const char *bytes; size_t n; } mc_text; /* not ended by 0; points into the pickle */

/* A tree may share values and may even contain itself: walk it with a limit on depth and on steps. */
typedef struct mc_value mc_value;
struct mc_value {
  mc_value_kind kind;
  union {
    int64_t integer; /* also BOOL */
    mc_text text;    /* TEXT, BYTES, LONG */
    struct { mc_value **items; uint32_t n, cap; } list; /* TUPLE, LIST, SET; DICT: key, value, key, value ... */
    struct { const char *module, *name; uint32_t n_module, n_name; } global;
    mc_value *id; /* PERSISTENT */
    struct {
      mc_value *callable, *arguments;
      mc_value *state;    /* what BUILD gave it, or NULL */
      mc_value *contents; /* a LIST or DICT of what was appended or set, or NULL */
    } object;
  };
};

typedef struct mc_pickle {
  const mc_value *root;
  mc_value *references; /* a LIST of every PERSISTENT value, also of those that the tree does not hold */
  size_t n_used;   /* bytes read, to and with STOP */
  size_t n_values; /* values made: the measure of what a walk may cost */
  struct mc_pickle_chunk *chunks;
} mc_pickle;

/* Reads one pickle at the beginning of data, which must outlive the result; looks at no more than MC_PICKLE_MAX_BYTES.
 * Release with mc_pickle_clear, which a failed read has done already. */
#define MC_PICKLE_MAX_BYTES ((size_t)32 << 20)
moeclip_code mc_pickle_read(const uint8_t *data, size_t n_bytes, mc_pickle *out, moeclip_error *err);
/* The same with another bound: CIFAR's pickles hold their pixels. */
moeclip_code mc_pickle_read_up_to(const uint8_t *data, size_t n_bytes, size_t max_bytes, mc_pickle *out,
                                  moeclip_error *err);
void mc_pickle_clear(mc_pickle *p);

bool mc_text_is(mc_text text, const char *s);
bool mc_is_global(const mc_value *v, const char *module, const char *name);
/* The value of a text or bytes key in a DICT; NULL when v is none or has no such key. */
const mc_value *mc_dict_get(const mc_value *v, const char *key);

#endif
