/* What `moeclip convert` does with the published system's checkpoints (moeclip/published.h). */
#ifndef MC_CLI_CONVERT_H
#define MC_CLI_CONVERT_H

#include "cli/cli.h"

typedef struct mc_published_choice {
  const char *model, *tasks, *autochooser, *alexnet;
  int selector_layer;
  double threshold;
} mc_published_choice;

/* A learner's state into a published checkpoint, or the other way round, as IN is. Returns the exit code. */
int mc_convert_published(const mc_args *args, const mc_published_choice *choice, bool json);

#endif
