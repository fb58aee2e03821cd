/* Evaluation of a data set: its numbers as JSON (for learn and eval) and as text. */
#ifndef MC_REPORT_EVALUATE_H
#define MC_REPORT_EVALUATE_H

#include <stdio.h>

#include "report/report.h"

/* {"accuracy", "n", "right", "broken", "seconds", "routes": [{"to", "n", "right"}]}; "classes" when per_class. */
json_t *mc_evaluation_json(const moeclip_evaluation *e, const moeclip_learner *learner, const moeclip_dataset *dataset,
                           bool per_class);
void mc_evaluation_print(const moeclip_evaluation *e, const moeclip_learner *learner, const moeclip_dataset *dataset,
                         bool per_class, FILE *f);

#endif
