/*
 * What is on a picture? Zero-shot with labels of your own, or with what `moeclip learn` or teach_domain has learned.
 *
 *   classify_file MODEL STATE PICTURE [LABEL...]
 *
 * STATE "-" means that nothing was learned: the labels are then needed.
 */
#include <moeclip/moeclip.h>
#include <stdio.h>
#include <string.h>

/* Prints who answered, and the answers. */
static void print_answer(const moeclip_learner *learner, const moeclip_answer *answer) {
  moeclip_task_info task;
  if (answer->task != MOECLIP_TASK_NONE && moeclip_learner_task(learner, answer->task, &task, NULL) == MOECLIP_OK) {
    printf("answered by: %s\n", task.name);
  } else {
    printf("answered by: the untouched CLIP\n");
  }
  for (int i = 0; i < answer->n_labels; i++) {
    printf("%6.2f %%  %s\n", 100 * (double)answer->probability[i], answer->name[i]);
  }
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: classify_file MODEL STATE PICTURE [LABEL...]\n");
    return 2;
  }
  moeclip_error err;
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_image image = {0};
  moeclip_answer answer;
  moeclip_classify_options options;
  int exit_code = 1;

  /* Every call that can fail gives back a code; the message of `err` names the file and says what is wrong. */
  if (moeclip_model_load(argv[1], NULL, &model, &err) != MOECLIP_OK) goto failed;
  if (strcmp(argv[2], "-") == 0) {
    if (moeclip_learner_create(model, NULL, &learner, &err) != MOECLIP_OK) goto failed;
  } else {
    if (moeclip_learner_load(model, argv[2], NULL, &learner, &err) != MOECLIP_OK) goto failed;
  }
  if (moeclip_image_load(argv[3], &image, &err) != MOECLIP_OK) goto failed;

  /* Options begin with their defaults, so that new ones change nothing. */
  moeclip_classify_options_defaults(&options);
  if (argc > 4) {
    options.labels = (const char *const *)(argv + 4);
    options.n_labels = (size_t)(argc - 4);
  }
  if (moeclip_learner_classify(learner, &image, 1, &options, &answer, &err) != MOECLIP_OK) goto failed;
  print_answer(learner, &answer);
  moeclip_answers_clear(&answer, 1);
  exit_code = 0;
  goto done;

failed:
  fprintf(stderr, "classify_file: %s\n", err.message);
done:
  /* Handles may be NULL here. The model goes last: the learner stands on it. */
  moeclip_image_clear(&image);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  return exit_code;
}
