/*
 * Searches the pictures of a folder by a text, with the features of the adapted model.
 *
 *   search_folder MODEL STATE FOLDER TEXT
 *
 * A picture of a learned task is encoded through that task's adapters, and is comparable with texts that were encoded for
 * the same task. So the text is encoded once for every task and once for the untouched CLIP, and each picture is compared
 * with the version of its own encoder.
 */
#include <dirent.h>
#include <moeclip/moeclip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hit {
  char name[256];
  float cosine;
  int task;
} hit;

static int more_alike(const void *a, const void *b) {
  float x = ((const hit *)a)->cosine, y = ((const hit *)b)->cosine;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* texts [n_tasks + 1, embed]: row 0 by the untouched CLIP, row t + 1 for task t. */
static moeclip_code encode_text(moeclip_learner *learner, const char *text, int embed, float *texts, moeclip_error *err) {
  for (int task = MOECLIP_TASK_NONE; task < moeclip_learner_tasks(learner); task++) {
    moeclip_code code = moeclip_learner_encode_texts(learner, &text, 1, task, texts + (task + 1) * embed, err);
    if (code != MOECLIP_OK) return code;
  }
  return MOECLIP_OK;
}

/* How alike picture and text are: features are of length 1, so their product is the cosine. */
static moeclip_code compare(moeclip_learner *learner, const char *path, int embed, const float *texts, float *feature,
                            hit *out, moeclip_error *err) {
  moeclip_image image;
  moeclip_code code = moeclip_image_load(path, &image, err);
  if (code != MOECLIP_OK) return code;
  code = moeclip_learner_encode_images(learner, &image, 1, MOECLIP_TASK_AUTO, &out->task, NULL, feature, err);
  moeclip_image_clear(&image);
  if (code != MOECLIP_OK) return code;
  out->cosine = 0;
  for (int k = 0; k < embed; k++) out->cosine += feature[k] * texts[(out->task + 1) * embed + k];
  return MOECLIP_OK;
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: search_folder MODEL STATE FOLDER TEXT\n");
    return 2;
  }
  moeclip_error err = {MOECLIP_ERROR_MEMORY, "out of memory"};
  moeclip_model *model = NULL;
  moeclip_learner *learner = NULL;
  moeclip_model_sizes sizes;
  float *texts = NULL, *feature = NULL;
  hit *hits = NULL;
  size_t n = 0, capacity = 0;
  int exit_code = 1;
  DIR *folder = opendir(argv[3]);

  if (!folder) {
    snprintf(err.message, sizeof err.message, "%s: cannot be opened as a folder", argv[3]);
    goto failed;
  }
  if (moeclip_model_load(argv[1], NULL, &model, &err) != MOECLIP_OK) goto failed;
  if (moeclip_learner_load(model, argv[2], NULL, &learner, &err) != MOECLIP_OK) goto failed;
  moeclip_model_get_sizes(model, &sizes);
  texts = calloc((size_t)moeclip_learner_tasks(learner) + 1, (size_t)sizes.embed * sizeof *texts);
  feature = calloc((size_t)sizes.embed, sizeof *feature);
  if (!texts || !feature) goto failed;
  if (encode_text(learner, argv[4], sizes.embed, texts, &err) != MOECLIP_OK) goto failed;

  for (struct dirent *entry; (entry = readdir(folder));) {
    char path[4096];
    if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof hits->name) continue;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", argv[3], entry->d_name) >= sizeof path) continue;
    if (n == capacity) {
      hit *larger = realloc(hits, (capacity = 2 * capacity + 64) * sizeof *hits);
      if (!larger) {
        snprintf(err.message, sizeof err.message, "out of memory after %zu pictures", n);
        goto failed;
      }
      hits = larger;
    }
    /* What is no picture is told and passed over. */
    if (compare(learner, path, sizes.embed, texts, feature, &hits[n], &err) != MOECLIP_OK) {
      fprintf(stderr, "search_folder: left out: %s\n", err.message);
    } else {
      strcpy(hits[n++].name, entry->d_name);
    }
  }
  if (n > 0) qsort(hits, n, sizeof *hits, more_alike);
  for (size_t i = 0; i < n && i < 10; i++) printf("%.3f  %s\n", (double)hits[i].cosine, hits[i].name);
  exit_code = 0;
  goto done;

failed:
  fprintf(stderr, "search_folder: %s\n", err.message);
done:
  if (folder) closedir(folder);
  free(hits);
  free(texts);
  free(feature);
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  return exit_code;
}
