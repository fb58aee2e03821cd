/* What eval.c and published.c share. */
#ifndef TESTS_GOLDEN_EVAL_H
#define TESTS_GOLDEN_EVAL_H

#include "golden.h"
#include "model/adapters.h"
#include "model/clip.h"

/* Features and logits of mtil_eval (`file`) through one task's routers, held against those in the file. */
moeclip_code golden_eval_task(golden *g, mc_compute *cp, mc_clip *clip, mc_adapters *adapters, int task, int top_k,
                              const moeclip_tensors *file, moeclip_error *err);

#endif
