/* The pickle machine's insides, shared by pickle.c (opcodes) and pickle_values.c (making values). */
#ifndef MC_FILES_PICKLE_MACHINE_H
#define MC_FILES_PICKLE_MACHINE_H

#include "files/pickle.h"

/* A pickle of a CLIP checkpoint makes about ten thousand values; one of CIFAR-100, a hundred thousand. */
#define MC_PICKLE_MAX_VALUES ((size_t)4 << 20)

typedef struct machine {
  const uint8_t *begin, *at, *end;
  mc_pickle *pickle;
  mc_value **stack, **memo;
  size_t *marks;
  size_t n_stack, cap_stack, n_marks, cap_marks, n_memo, cap_memo, next_memo, n_items;
  moeclip_error *err;
} machine;

moeclip_code mc_pickle_bad(const machine *m, const char *what);
/* A zeroed value of that kind. */
moeclip_code mc_pickle_new(machine *m, mc_value_kind kind, mc_value **out);
/* Appends to the list of a TUPLE, LIST, SET or DICT. */
moeclip_code mc_pickle_append(machine *m, mc_value *list, mc_value *item);
/* What callable(*arguments) is taken for. */
moeclip_code mc_pickle_call(machine *m, mc_value *callable, mc_value *arguments, mc_value **out);
/* The LIST or DICT that items appended to (set in) v go to. */
moeclip_code mc_pickle_contents(machine *m, mc_value *v, mc_value_kind kind, mc_value **out);

#endif
