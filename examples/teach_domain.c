/*
 * Teaches a domain: a folder with one subfolder of pictures for each class (moeclip/dataset.h lists the other layouts).
 *
 *   teach_domain MODEL STATE FOLDER [ITERATIONS]
 *
 * STATE is made when it is not there; else the folder becomes one more task of it. What was learned before stays.
 */
#include <moeclip/moeclip.h>
#include <stdio.h>
#include <stdlib.h>

/* Called after every step, from the thread that called moeclip_learner_learn. Non-zero would stop. */
static int show_progress(void *context, const moeclip_progress *now) {
  (void)context;
  if (now->step % 50 == 0 || now->step == now->n_steps) {
    fprintf(stderr, "%s: step %lld of %lld, loss %.3f\n", now->phase, (long long)now->step, (long long)now->n_steps,
            now->loss);
  }
  return 0;
}

/* A picture that cannot be read is left out. */
static void show_broken(void *context, const char *item, const char *message) {
  (void)context;
  fprintf(stderr, "left out: %s: %s\n", item, message);
}

static int file_exists(const char *path) {
  FILE *f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 5) {
    fprintf(stderr, "usage: teach_domain MODEL STATE FOLDER [ITERATIONS]\n");
    return 2;
  }
  moeclip_error err;
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_dataset *domain = NULL;
  moeclip_task_options options;
  moeclip_learn_report report;
  moeclip_evaluation right;
  const moeclip_callbacks callbacks = {show_progress, show_broken, NULL};
  int exit_code = 1;

  moeclip_task_options_defaults(&options);
  if (argc == 5) {
    options.iterations = strtol(argv[4], NULL, 10);
    if (options.iterations < 1) {
      fprintf(stderr, "teach_domain: ITERATIONS is \"%s\", which is no number above 0\n", argv[4]);
      return 2;
    }
  }

  if (moeclip_model_load(argv[1], NULL, &model, &err) != MOECLIP_OK) goto failed;
  if (file_exists(argv[2])) {
    if (moeclip_learner_load(model, argv[2], NULL, &learner, &err) != MOECLIP_OK) goto failed;
  } else {
    if (moeclip_learner_create(model, NULL, &learner, &err) != MOECLIP_OK) goto failed;
  }
  if (moeclip_dataset_open(argv[3], NULL, &domain, &err) != MOECLIP_OK) goto failed;

  /* Learns the training split. On failure the learner is as it was before. */
  if (moeclip_learner_learn(learner, domain, &options, &callbacks, &report, &err) != MOECLIP_OK) goto failed;
  if (moeclip_learner_save(learner, argv[2], &err) != MOECLIP_OK) goto failed;
  printf("learned %s as task %d: %lld steps, loss %.3f\n", moeclip_dataset_name(domain), report.task,
         (long long)report.iterations, report.final_loss);

  /* Accuracy on the pictures that were kept for testing. The selector finds the task by itself. */
  if (moeclip_learner_evaluate(learner, domain, NULL, NULL, &right, &err) != MOECLIP_OK) goto failed;
  printf("%lld of %lld test pictures right\n", (long long)right.n_right, (long long)right.n);
  moeclip_evaluation_clear(&right);
  exit_code = 0;
  goto done;

failed:
  fprintf(stderr, "teach_domain: %s\n", err.message);
done:
  moeclip_dataset_destroy(domain);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  return exit_code;
}
