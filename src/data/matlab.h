/*
 * MATLAB 5 files of annotations, read by matio. Every file is examined first (matlab_check.c): matio is only given one
 * whose sizes agree with each other and with the file's.
 */
#ifndef MC_DATA_MATLAB_H
#define MC_DATA_MATLAB_H

#include "base/status.h"

/* The variable `name`: a list of numbers (whatever their type). Freed with free. */
moeclip_code mc_matlab_numbers(const char *path, const char *name, double **out, size_t *n, moeclip_error *err);
/* A cell array of texts, as UTF-8; free with mc_names_free. */
moeclip_code mc_matlab_texts(const char *path, const char *name, char ***out, size_t *n, moeclip_error *err);
/* An array of structs: of each the number in one field and the text in another. */
moeclip_code mc_matlab_table(const char *path, const char *name, const char *number_field, const char *text_field,
                             double **numbers, char ***texts, size_t *n, moeclip_error *err);

/* Is it a well-formed MATLAB 5 file of plain arrays (numbers, text, cells, structs)? err has no path in front. */
moeclip_code mc_matlab_check(const uint8_t *data, size_t n_bytes, moeclip_error *err);

#endif
