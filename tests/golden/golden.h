/*
 * tests/golden DIR: holds moeclip against the fixtures in DIR (default $MOECLIP_GOLDEN, else ../shared/golden). One line an
 * item with the largest relative error and its bound; ends in "N passed, N failed". All sizes, hyper-parameters and names
 * come from DIR, so that the same program runs on other fixtures of the same form.
 */
#ifndef TESTS_GOLDEN_GOLDEN_H
#define TESTS_GOLDEN_GOLDEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "moeclip/tensors.h"

typedef struct golden {
  const char *dir;
  const json_t *json; /* DIR/golden.json; NULL when there is none */
  int n_passed, n_failed;
} golden;

/* Joins the fixture's folder and a file name; into a static buffer that the next call overwrites. */
const char *golden_path(const golden *g, const char *file);
/* True when DIR has the file; else prints "skipped" once for it, which counts as neither. */
bool golden_has(golden *g, const char *file);

/* One line: ok or FAILED, the item, its error, its bound. NaN fails. */
void golden_item(golden *g, const char *item, double error, double bound);
/* A yes-or-no item; detail (printf) is shown. */
void golden_exact(golden *g, const char *item, bool ok, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* An item that could not be computed. */
void golden_failed(golden *g, const char *item, const moeclip_error *err);

/* ||a - b|| / ||b|| in double (||a - b|| when b is all zero). */
double golden_error(const float *a, const float *b, size_t n);
/* A tensor as fresh float32 (free with free); NULL and a failed item when the file has no such tensor. *n may be NULL. */
float *golden_floats(golden *g, const moeclip_tensors *t, const char *name, size_t *n);

/* The sections, one file each. */
void golden_containers(golden *g);   /* safetensors, mtil_checkpoint.pth, openai_archive.pt */
void golden_tokenizer(golden *g);
void golden_preprocess(golden *g);
void golden_split(golden *g);
void golden_alexnet(golden *g);
void golden_autoencoder(golden *g);
void golden_eval(golden *g);         /* mtil_eval: blocks, features, logits */
void golden_published(golden *g);    /* mtil_checkpoint.pth as a learner */
void golden_train(golden *g);        /* mtil_train_*, cil_train */

#endif
