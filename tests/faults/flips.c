/*
 * Flipped bits and changed bytes in a state, in the checkpoints of learning and pre-training, and in an index: what is damaged is refused
 * with a message that names the file, or (bytes that say nothing, or that this reading needs not) it is read as if it were whole. Never
 * another answer.
 * usage: flips [FLIPS [SEED]]
 */
#include <time.h>

#include "base/random.h"
#include "learn/learner.h"
#include "moeclip/search.h"
#include "small.h"

static moeclip_error err;
static moeclip_model *model;

typedef struct file {
  uint8_t *data;
  size_t n;
} file;

static file read_file(const char *path) {
  file f = {malloc(1 << 22), 0};
  FILE *from = fopen(path, "rb");
  if (!from || !f.data) {
    perror(path);
    exit(1);
  }
  f.n = fread(f.data, 1, 1 << 22, from);
  fclose(from);
  return f;
}

static bool same(const file *a, const char *path) {
  file b = read_file(path);
  bool is = a->n == b.n && memcmp(a->data, b.data, b.n) == 0;
  free(b.data);
  return is;
}

/* --- what is read, and how it is known to be right --------------------------------------------------------------- */

static file whole_state, whole_hits; /* what the undamaged ones give */

/* Loaded, and saved again. */
static moeclip_code use_state(const char *path, bool *right) {
  moeclip_learner *l = NULL;
  moeclip_code code = moeclip_learner_load(model, path, NULL, &l, &err);
  if (code == MOECLIP_OK) REQUIRE_OK(moeclip_learner_save(l, files_path("again"), &err), err);
  if (code == MOECLIP_OK) *right = same(&whole_state, files_path("again"));
  moeclip_learner_destroy(l);
  return code;
}

static file whole_learned, whole_pretrained;

/* Gone on with, to the end of the task. */
static moeclip_code use_checkpoint(const char *path, bool *right) {
  moeclip_learner_options options;
  moeclip_task_options task;
  moeclip_learner *l = NULL;
  moeclip_dataset *d = NULL;
  small_learner_options(&options);
  small_task_options(&task, path);
  task.checkpoint_seconds = 1e9;
  REQUIRE_OK(moeclip_dataset_open(files_path("pictures"), NULL, &d, &err), err);
  REQUIRE_OK(moeclip_learner_create(model, &options, &l, &err), err);
  moeclip_code code = moeclip_learner_learn(l, d, &task, NULL, NULL, &err);
  if (code == MOECLIP_OK) REQUIRE_OK(moeclip_learner_save(l, files_path("again"), &err), err);
  if (code == MOECLIP_OK) *right = same(&whole_learned, files_path("again"));
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(d);
  return code;
}

static moeclip_code pretrain(const char *checkpoint, const char *out, const moeclip_callbacks *callbacks, double seconds) {
  moeclip_pretrain_options o;
  small_pretrain_options(&o, files_path("pictures/train"), out);
  o.checkpoint = checkpoint;
  o.checkpoint_seconds = seconds;
  return moeclip_pretrain(&o, callbacks, NULL, &err);
}

static moeclip_code use_pretrained(const char *path, bool *right) {
  moeclip_code code = pretrain(path, files_path("again"), NULL, 1e9);
  if (code == MOECLIP_OK) *right = same(&whole_pretrained, files_path("again"));
  return code;
}

static moeclip_learner *learner;

/* Hits for a text, as bytes: paths, tasks and scores. */
static moeclip_code search(const char *path, file *out) {
  moeclip_index *x = NULL;
  moeclip_hits hits = {0};
  moeclip_query query = {.text = "light"};
  moeclip_search_options o;
  moeclip_search_options_defaults(&o);
  o.top = 1000;
  *out = (file){calloc(1, 1 << 16), 0};
  if (!out->data) exit(1);
  moeclip_code code = moeclip_index_open(path, &x, &err);
  if (code == MOECLIP_OK) code = moeclip_index_search(x, learner, &query, 1, &o, &hits, &err);
  for (size_t i = 0; code == MOECLIP_OK && i < hits.n; i++) {
    const moeclip_hit *h = &hits.items[i];
    out->n += (size_t)snprintf((char *)out->data + out->n, (1 << 16) - out->n, "%s %s %.17g %.17g\n", h->path,
                               h->task ? h->task : "none", h->score, h->cosine);
  }
  moeclip_hits_clear(&hits);
  moeclip_index_close(x);
  return code;
}

static moeclip_code use_index(const char *path, bool *right) {
  file hits;
  moeclip_code code = search(path, &hits);
  if (code == MOECLIP_OK) *right = hits.n == whole_hits.n && memcmp(hits.data, whole_hits.data, hits.n) == 0;
  free(hits.data);
  return code;
}

/* --- flips -------------------------------------------------------------------------------------------------------- */

typedef struct kind {
  const char *name;
  moeclip_code (*use)(const char *path, bool *right);
  bool header; /* safetensors: its header is damaged as often as all else */
} kind;

static const kind kinds[] = {{"state.safetensors", use_state, true},
                             {"learn.part", use_checkpoint, true},
                             {"pretrain.part", use_pretrained, true},
                             {"index.sqlite", use_index, false}};

/* One bit, one byte, or a run of zeros as a disk leaves them. */
static void damage(file *f, const kind *k, mc_philox *g, char *what, size_t n_what) {
  size_t n_header = 0;
  for (size_t i = 0; k->header && i < 8; i++) n_header |= (size_t)f->data[i] << 8 * i;
  size_t below = k->header && mc_philox_below(g, 2) ? n_header + 8 : f->n;
  size_t at = mc_philox_below(g, (uint32_t)below);
  uint8_t was = f->data[at];
  switch (mc_philox_below(g, 8)) {
    case 0:
      f->data[at] = (uint8_t)mc_philox_below(g, 256);
      snprintf(what, n_what, "byte %zu of %zu: %d, was %d", at, f->n, f->data[at], was);
      break;
    case 1: {
      size_t n = f->n - at < 64 ? f->n - at : 64;
      memset(f->data + at, 0, n);
      snprintf(what, n_what, "bytes %zu to %zu of %zu: 0", at, at + n, f->n);
      break;
    }
    default:
      f->data[at] ^= (uint8_t)(1 << mc_philox_below(g, 8));
      snprintf(what, n_what, "byte %zu of %zu: %d, was %d, one bit", at, f->n, f->data[at], was);
  }
}

static void flip(const kind *k, int n, mc_philox *g) {
  file whole = read_file(files_path("%s", k->name)), f = {malloc(whole.n), whole.n};
  int refused = 0, harmless = 0;
  bool right = false;
  char path[512];
  snprintf(path, sizeof path, "%s", files_path("damaged-%s", k->name));
  files_write(path, whole.data, whole.n);
  REQUIRE_OK(k->use(path, &right), err);
  CHECK_MSG(right, "%s: undamaged, and not right", k->name);
  for (int i = 0; f.data && i < n; i++) {
    char what[96];
    memcpy(f.data, whole.data, whole.n);
    damage(&f, k, g, what, sizeof what);
    if (memcmp(f.data, whole.data, whole.n) == 0) continue;
    files_write(path, f.data, f.n);
    right = false;
    moeclip_code code = k->use(path, &right);
    if (code == MOECLIP_OK) {
      CHECK_MSG(right, "%s, %s: read, and gives something else", k->name, what);
      harmless++;
    } else {
      CHECK_MSG(code == MOECLIP_ERROR_FORMAT || code == MOECLIP_ERROR_UNSUPPORTED, "%s, %s: is %s: %s", k->name, what,
                moeclip_code_name(code), err.message);
      CHECK_MSG(strstr(err.message, path), "%s, %s: does not name the file: %s", k->name, what, err.message);
      refused++;
    }
  }
  printf("%s: %d refused, %d harmless\n", k->name, refused, harmless);
  CHECK_MSG(refused > n / 2, "%s: only %d of %d flips were noticed", k->name, refused, n);
  free(whole.data);
  free(f.data);
}

/* --- the files ---------------------------------------------------------------------------------------------------- */

static int stop_at_last(void *context, const moeclip_progress *p) {
  (void)context;
  return strcmp(p->phase, "train") == 0 && p->step == p->n_steps - 1;
}

static void make(void) {
  moeclip_learner_options options;
  moeclip_task_options task;
  moeclip_dataset *d;
  moeclip_index *x;
  char root[512], checkpoint[512], out[512];
  const char *roots[] = {root};
  moeclip_callbacks stop = {stop_at_last, NULL, NULL};
  snprintf(root, sizeof root, "%s", files_path("pictures"));
  snprintf(checkpoint, sizeof checkpoint, "%s", files_path("learn.part"));
  small_learner_options(&options);
  small_task_options(&task, checkpoint);
  REQUIRE_OK(moeclip_dataset_open(root, NULL, &d, &err), err);
  REQUIRE_OK(moeclip_learner_create(model, &options, &learner, &err), err);
  REQUIRE_OK(moeclip_learner_learn(learner, d, &task, NULL, NULL, &err), err); /* leaves the checkpoint of its last step but one */
  REQUIRE_OK(moeclip_learner_save(learner, files_path("state.safetensors"), &err), err);
  whole_state = read_file(files_path("state.safetensors"));
  whole_learned = read_file(files_path("state.safetensors"));
  snprintf(checkpoint, sizeof checkpoint, "%s", files_path("pretrain.part"));
  snprintf(out, sizeof out, "%s", files_path("pretrained.safetensors"));
  CHECK(pretrain(checkpoint, out, &stop, 0) == MOECLIP_ERROR_CANCELLED);
  file part = read_file(checkpoint);
  REQUIRE_OK(pretrain(checkpoint, out, NULL, 1e9), err);
  whole_pretrained = read_file(out);
  files_write(checkpoint, part.data, part.n);
  free(part.data);
  REQUIRE_OK(moeclip_index_create(files_path("index.sqlite"), 0, &x, &err), err);
  REQUIRE_OK(moeclip_index_update(x, learner, roots, 1, NULL, NULL, NULL, &err), err);
  moeclip_index_close(x);
  REQUIRE_OK(search(files_path("index.sqlite"), &whole_hits), err);
  moeclip_dataset_destroy(d);
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 200;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
  mc_philox g;
  printf("seed %llu\n", (unsigned long long)seed);
  small_begin();
  small_make();
  REQUIRE_OK(small_load(&model, &err), err);
  make();
  mc_philox_init(&g, seed, MC_STREAM_SHUFFLE, 0);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (argc > 3 && strcmp(argv[3], kinds[i].name) != 0) continue;
    flip(&kinds[i], n, &g);
  }
  moeclip_learner_destroy(learner);
  moeclip_model_destroy(model);
  free(whole_state.data);
  free(whole_learned.data);
  free(whole_pretrained.data);
  free(whole_hits.data);
  files_end();
  return check_report();
}
