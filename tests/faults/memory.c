/*
 * Every allocation fails in turn, alone or with all after it, in small pieces of work: each ends with MOECLIP_ERROR_MEMORY and a message,
 * or with exactly what it gives when nothing fails; nothing crashes, hangs or (with the sanitizers) leaks; and the work done once more
 * afterwards is right.
 * usage: memory [--every N] [WORK [NUMBER]]: only each Nth allocation; only that work; only that allocation of it.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include "failing.h"
#include "moeclip/convert.h"
#include "moeclip/image.h"
#include "moeclip/published.h"
#include "moeclip/search.h"
#include "moeclip/tokenizer.h"
#include "small.h"

static moeclip_error err;
static uint64_t digest; /* of what the work gave */

static void give(const void *data, size_t n) {
  for (size_t i = 0; i < n; i++) digest = (digest ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
}

static void give_file(const char *path) {
  uint8_t piece[4096];
  size_t n;
  failing_hold(true);
  FILE *f = fopen(path, "rb");
  while (f && (n = fread(piece, 1, sizeof piece, f)) > 0) give(piece, n);
  if (f) fclose(f);
  failing_hold(false);
}

#define TRY_OR_DONE(expr) \
  do {                    \
    code = (expr);        \
    if (code != MOECLIP_OK) goto done; \
  } while (0)

/* --- the model ---------------------------------------------------------------------------------------------------- */

static moeclip_code encode(void) {
  static const char *const texts[] = {"a photo of a d\303\266g &amp; more", "light"};
  uint8_t pixels[2 * 3 * SMALL_IMAGE * SMALL_IMAGE] = {1, 2, 3, 200};
  float out[2 * SMALL_EMBED];
  moeclip_model *m = NULL;
  moeclip_code code;
  TRY_OR_DONE(small_load(&m, &err));
  const char *fingerprint = moeclip_model_fingerprint(m);
  give(fingerprint, strlen(fingerprint));
  TRY_OR_DONE(moeclip_encode_images(m, pixels, 2, out, &err));
  give(out, sizeof out);
  TRY_OR_DONE(moeclip_encode_texts(m, texts, 2, out, &err));
  give(out, sizeof out);
done:
  moeclip_model_destroy(m);
  return code;
}

static moeclip_code tokenize(void) {
  static const char text[] = "A \303\251l\303\251phant&#39;s na\303\257ve caf\303\203\302\251, twice: &lt;&gt; \360\237\220\230";
  int32_t row[77];
  moeclip_tokenizer *t = NULL;
  int n;
  moeclip_code code = moeclip_tokenizer_create(49408, &t, &err);
  if (code == MOECLIP_OK) code = moeclip_tokenizer_row(t, text, row, 77, &n, &err);
  if (code == MOECLIP_OK) give(row, sizeof row);
  moeclip_tokenizer_destroy(t);
  return code;
}

/* --- the learner -------------------------------------------------------------------------------------------------- */

static moeclip_code open_pictures(moeclip_dataset **out) { return moeclip_dataset_open(files_path("pictures"), NULL, out, &err); }

static moeclip_model *kept_model; /* loaded before anything fails */

static moeclip_code learn_with(moeclip_mode mode) {
  moeclip_learner_options options;
  moeclip_task_options task;
  moeclip_learner *l = NULL;
  moeclip_dataset *d = NULL;
  moeclip_learn_report report;
  char checkpoint[512], state[512];
  moeclip_code code;
  snprintf(checkpoint, sizeof checkpoint, "%s", files_path("learn.part"));
  snprintf(state, sizeof state, "%s", files_path("learned.safetensors"));
  unlink(checkpoint);
  unlink(state);
  small_learner_options(&options);
  options.mode = mode;
  small_task_options(&task, checkpoint);
  TRY_OR_DONE(open_pictures(&d));
  TRY_OR_DONE(moeclip_learner_create(kept_model, &options, &l, &err));
  TRY_OR_DONE(moeclip_learner_learn(l, d, &task, NULL, &report, &err));
  give(&report.broken, sizeof report.broken);
  give_file(checkpoint);
  TRY_OR_DONE(moeclip_learner_save(l, state, &err));
  give_file(state);
done:
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(d);
  return code;
}

static moeclip_code learn(void) { return learn_with(MOECLIP_MODE_MOE); }
static moeclip_code finetune(void) { return learn_with(MOECLIP_MODE_FINETUNE); }

/* What `learn` left: a second task on top, from a checkpoint in the middle of it. */
static moeclip_code resume(void) {
  moeclip_task_options task;
  moeclip_learner *l = NULL;
  moeclip_dataset *d = NULL;
  moeclip_learn_report report = {0};
  moeclip_code code;
  small_task_options(&task, files_path("resume.part"));
  TRY_OR_DONE(open_pictures(&d));
  TRY_OR_DONE(moeclip_learner_load(kept_model, files_path("empty.safetensors"), NULL, &l, &err));
  TRY_OR_DONE(moeclip_learner_learn(l, d, &task, NULL, &report, &err));
  if (!report.resumed) give("not resumed", 11);
  TRY_OR_DONE(moeclip_learner_save(l, files_path("resumed.safetensors"), &err));
  give_file(files_path("resumed.safetensors"));
done:
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(d);
  return code;
}

static void give_answer(const moeclip_answer *a) {
  give(&a->task, sizeof a->task);
  give(a->label, (size_t)a->n_labels * sizeof *a->label);
  give(a->probability, (size_t)a->n_labels * sizeof *a->probability);
  for (int i = 0; i < a->n_labels; i++) give(a->name[i], strlen(a->name[i]));
}

static moeclip_code classify(void) {
  moeclip_learner *l = NULL;
  moeclip_dataset *d = NULL;
  moeclip_image image = {0};
  moeclip_answer answer = {0};
  moeclip_explanation why = {0};
  moeclip_evaluation e = {0};
  moeclip_classify_options o;
  moeclip_code code;
  moeclip_classify_options_defaults(&o);
  TRY_OR_DONE(open_pictures(&d));
  TRY_OR_DONE(moeclip_learner_load(kept_model, files_path("state.safetensors"), NULL, &l, &err));
  moeclip_learner_keep_labels(l, 1 << 20);
  TRY_OR_DONE(moeclip_dataset_load(d, MOECLIP_TEST, 1, &image, &err));
  for (int again = 0; again < 2; again++) {
    TRY_OR_DONE(moeclip_learner_explain(l, &image, 1, &o, &answer, &why, &err));
    give_answer(&answer);
    give(why.error, (size_t)why.n_tasks * sizeof *why.error);
    give(why.gate, (size_t)why.n_blocks * (size_t)why.n_experts * sizeof *why.gate);
    moeclip_answers_clear(&answer, 1);
    moeclip_explanations_clear(&why, 1);
  }
  moeclip_evaluate_options how;
  moeclip_evaluate_options_defaults(&how);
  how.loader_threads = 1;
  TRY_OR_DONE(moeclip_learner_evaluate(l, d, &how, NULL, &e, &err));
  give(&e.n_right, sizeof e.n_right);
  give(&e.n_broken, sizeof e.n_broken);
  give(e.routed, (size_t)e.n_routes * sizeof *e.routed);
done:
  moeclip_evaluation_clear(&e);
  moeclip_answers_clear(&answer, 1);
  moeclip_explanations_clear(&why, 1);
  moeclip_image_clear(&image);
  moeclip_learner_destroy(l);
  moeclip_dataset_destroy(d);
  return code;
}

static moeclip_code pretrain_to(const char *out) {
  moeclip_pretrain_options o;
  small_pretrain_options(&o, files_path("pictures/train"), out);
  moeclip_code code = moeclip_pretrain(&o, NULL, NULL, &err);
  if (code == MOECLIP_OK) give_file(out);
  return code;
}

static moeclip_code pretrain(void) {
  char out[512];
  snprintf(out, sizeof out, "%s", files_path("pretrained.safetensors"));
  unlink(files_path("pretrained.safetensors.part"));
  unlink(out);
  return pretrain_to(out);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static moeclip_code read_tensors(void) {
  static const char *const names[] = {"complex.pth", "deflated.pth", "legacy.pth", "list.pth", "module.pth", "protocol5.pth",
                                      "script.pt",   "state_dict.pth", "expected.safetensors", "sharded.index.json"};
  moeclip_code code = MOECLIP_OK;
  for (size_t k = 0; code == MOECLIP_OK && k < sizeof names / sizeof names[0]; k++) {
    char path[512];
    moeclip_tensors *t = NULL;
    snprintf(path, sizeof path, "%s/files/%s", MOECLIP_TEST_DATA, names[k]);
    code = moeclip_tensors_open(path, &t, &err);
    for (size_t i = 0; code == MOECLIP_OK && i < moeclip_tensors_count(t); i++) {
      const moeclip_tensor *x = moeclip_tensors_at(t, i);
      give(x->name, strlen(x->name));
      give(x->data, x->n_bytes);
    }
    moeclip_tensors_destroy(t);
    /* One of them is refused, whatever happens. */
    if (code == MOECLIP_ERROR_UNSUPPORTED || code == MOECLIP_ERROR_FORMAT) {
      give(&code, sizeof code);
      code = MOECLIP_OK;
    }
  }
  return code;
}

static moeclip_code convert(void) {
  static const char *const outs[] = {"converted.pth", "converted.safetensors"};
  moeclip_code code = MOECLIP_OK;
  for (int k = 0; code == MOECLIP_OK && k < 2; k++) {
    moeclip_convert_options o;
    moeclip_convert_options_defaults(&o);
    o.openai_names = k;
    o.dtype = k ? MOECLIP_F16 : -1;
    unlink(files_path(outs[k]));
    code = moeclip_convert(files_path("model.safetensors"), files_path(outs[k]), &o, NULL, &err);
    if (code == MOECLIP_OK) give_file(files_path(outs[k]));
  }
  return code;
}

static moeclip_code decode(void) {
  static const char *const names[] = {"rgb.jpg",     "cmyk.jpg",   "orient6.jpg",        "progressive.jpg", "photo.png", "interlaced.png",
                                      "palette.png", "alpha16.png", "lossless_alpha.webp", "lossy.webp",      "exif.png",  "exif.webp"};
  moeclip_code code = MOECLIP_OK;
  for (size_t k = 0; code == MOECLIP_OK && k < sizeof names / sizeof names[0]; k++) {
    char path[512];
    moeclip_image image = {0};
    uint8_t pixels[3 * 24 * 24];
    snprintf(path, sizeof path, "%s/image/%s", MOECLIP_TEST_DATA, names[k]);
#ifdef FAULTS_ALL
    /* libwebp 1.2.4 reads a code table that it could not have (docs/FAULTS.md). */
    failing_hold(strcmp(names[k], "lossless_alpha.webp") == 0);
#endif
    code = moeclip_image_load(path, &image, &err);
#ifdef FAULTS_ALL
    failing_hold(false);
#endif
    if (code == MOECLIP_OK) code = moeclip_image_preprocess(&image, 24, pixels, &err);
    if (code == MOECLIP_OK) give(pixels, sizeof pixels);
    moeclip_image_clear(&image);
  }
  return code;
}

/* All pictures of a data set that can be read without a model. */
static moeclip_code read_dataset(const char *path) {
  moeclip_dataset *d = NULL;
  moeclip_code code = moeclip_dataset_open(path, NULL, &d, &err);
  for (int split = 0; code == MOECLIP_OK && split < 2; split++) {
    size_t n = moeclip_dataset_count(d, (moeclip_split)split);
    give(&n, sizeof n);
    for (size_t i = 0; code == MOECLIP_OK && i < n && i < 3; i++) {
      moeclip_image image = {0};
      int label = moeclip_dataset_label(d, (moeclip_split)split, i);
      give(&label, sizeof label);
      code = moeclip_dataset_load(d, (moeclip_split)split, i, &image, &err);
      if (code == MOECLIP_OK) give(image.rgb, (size_t)image.width * (size_t)image.height * 3);
      moeclip_image_clear(&image);
    }
  }
  for (size_t c = 0; code == MOECLIP_OK && c < moeclip_dataset_classes(d); c++) {
    const char *name = moeclip_dataset_class_name(d, c);
    give(name, strlen(name));
  }
  moeclip_dataset_destroy(d);
  return code;
}

static moeclip_code datasets(void) {
  static const char *const names[] = {"pictures", "idx", "cifar", "paths.csv", "numbers.csv"};
  moeclip_code code = MOECLIP_OK;
  for (size_t k = 0; code == MOECLIP_OK && k < sizeof names / sizeof names[0]; k++) code = read_dataset(files_path(names[k]));
  return code;
}

static void make_datasets(void) {
  static uint8_t cifar[3][3073];
  uint8_t images[16 + 2 * 64] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 8}, labels[10] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
  for (int i = 0; i < 128; i++) images[16 + i] = (uint8_t)(3 * i);
  for (int split = 0; split < 2; split++) {
    files_write(files_path("idx/%s-images-idx3-ubyte", split ? "t10k" : "train"), images, sizeof images);
    files_gzip(files_path("idx/%s-labels-idx1-ubyte.gz", split ? "t10k" : "train"), labels, sizeof labels);
  }
  for (int i = 0; i < 3; i++) {
    for (int k = 0; k < 3073; k++) cifar[i][k] = (uint8_t)(k ? k + i : i);
  }
  files_write(files_path("cifar/data_batch_1.bin"), cifar, sizeof cifar);
  files_write(files_path("cifar/test_batch.bin"), cifar, sizeof cifar);
  files_text(files_path("cifar/classes.txt"), "a\nb\nc\n");
  files_text(files_path("paths.csv"), "path,label,split\npictures/train/dark/0.png,\"dark, very\",train\n"
                                      "pictures/train/light/0.png,light,train\npictures/test/light/0.png,light,test\n");
  files_text(files_path("numbers.csv"), "1,2,3,4,0\n5,6,7,8,1\n9,8,7,6,0\n5,4,3,2,1\n");
}

/* --- the index ---------------------------------------------------------------------------------------------------- */

static moeclip_learner *kept_learner;

static moeclip_code index_and_search(void) {
  char root[512];
  const char *roots[] = {root};
  moeclip_index *x = NULL;
  moeclip_hits hits = {0};
  moeclip_index_report report;
  moeclip_index_options o;
  moeclip_code code;
  moeclip_query query = {.text = "light"};
  snprintf(root, sizeof root, "%s", files_path("pictures"));
  unlink(files_path("index.sqlite"));
  unlink(files_path("index.sqlite-journal"));
  moeclip_index_options_defaults(&o);
  o.loader_threads = 1;
  TRY_OR_DONE(moeclip_index_create(files_path("index.sqlite"), 0, &x, &err));
  TRY_OR_DONE(moeclip_index_update(x, kept_learner, roots, 1, &o, NULL, &report, &err));
  give(&report.encoded, sizeof report.encoded);
  give(&report.broken, sizeof report.broken);
  TRY_OR_DONE(moeclip_index_search(x, kept_learner, &query, 1, NULL, &hits, &err));
  for (size_t i = 0; i < hits.n; i++) {
    give(hits.items[i].path, strlen(hits.items[i].path));
    give(&hits.items[i].score, sizeof hits.items[i].score);
  }
done:
  moeclip_hits_clear(&hits);
  moeclip_index_close(x);
  return code;
}

/* --- every allocation in turn ------------------------------------------------------------------------------------- */

typedef struct work {
  const char *name;
  moeclip_code (*run)(void);
} work;

static const work works[] = {{"encode", encode},     {"tokenize", tokenize}, {"learn", learn},     {"finetune", finetune},
                             {"resume", resume},     {"classify", classify}, {"pretrain", pretrain}, {"tensors", read_tensors},
                             {"convert", convert},   {"decode", decode},     {"datasets", datasets}, {"index", index_and_search}};
enum { N_WORKS = sizeof works / sizeof works[0] };

static char running[96]; /* for who looks at a crash */

static void on_signal(int number) {
  static const char after[] = ": crashed, or took longer than a minute\n";
  if (write(2, running, strlen(running)) < 0 || write(2, after, sizeof after - 1) < 0) _exit(1);
  signal(number, SIG_DFL);
  raise(number);
}

/* Files that work begins with, as they were. */
static void restore(void) {
  static uint8_t *part;
  static size_t n;
  if (!part) {
    FILE *f = fopen(files_path("resume.part"), "rb");
    part = malloc(1 << 20);
    if (!f || !part) exit(1);
    n = fread(part, 1, 1 << 20, f);
    fclose(f);
  }
  files_write(files_path("resume.part"), part, n);
}

static void run_one(const work *w, long at, bool from_then_on, uint64_t wanted, long *n_failed) {
  long n_seen;
  snprintf(running, sizeof running, "%s, allocation %ld%s", w->name, at, from_then_on ? " and all after it" : "");
  alarm(60);
  restore();
  digest = UINT64_C(0xcbf29ce484222325);
  err = (moeclip_error){0};
  failing_begin(at, from_then_on);
  moeclip_code code = w->run();
  failing_end(&n_seen, n_failed);
  if (code == MOECLIP_OK) {
    CHECK_MSG(digest == wanted, "%s: said to be good, but is not what it is without failures", running);
  } else {
    /* What the system could not do for lack of memory may be called by its name. */
    bool said = code == MOECLIP_ERROR_MEMORY || (code == MOECLIP_ERROR_IO && strstr(err.message, strerror(ENOMEM)));
    /* libwebp calls some of it damage when nothing can be had at all (docs/FAULTS.md). */
    said |= code == MOECLIP_ERROR_FORMAT && from_then_on && strstr(err.message, "damaged WebP");
    CHECK_MSG(said, "%s: is %s: %s", running, moeclip_code_name(code), err.message);
    CHECK_MSG(err.code == code && err.message[0], "%s: no message", running);
    CHECK_MSG(*n_failed > 0, "%s: failed without a failure", running);
  }
}

static void run_all(const work *w, long every, long only) {
  long n_seen, n_failed;
  digest = UINT64_C(0xcbf29ce484222325);
  restore();
  REQUIRE_OK(w->run(), err); /* what libraries keep from the first use on is made now */
  restore();
  digest = UINT64_C(0xcbf29ce484222325);
  failing_begin(0, false);
  REQUIRE_OK(w->run(), err);
  failing_end(&n_seen, &n_failed);
  uint64_t wanted = digest;
  long first = only ? only : 1, last = only ? only : n_seen;
  for (long at = first; at <= last; at += at < 20 || only ? 1 : every) {
    for (int from_then_on = 0; from_then_on < 2; from_then_on++) run_one(w, at, from_then_on, wanted, &n_failed);
  }
  run_one(w, 0, false, wanted, &n_failed); /* nothing is left behind that spoils the next time */
  printf("%s: %ld allocations\n", w->name, n_seen);
  fflush(stdout);
}

/* The state and the checkpoints that works begin with. */
static void make_states(void) {
  moeclip_learner_options options;
  moeclip_task_options task;
  moeclip_learner *l;
  moeclip_dataset *d;
  small_learner_options(&options);
  small_task_options(&task, files_path("resume.part"));
  REQUIRE_OK(small_load(&kept_model, &err), err);
  REQUIRE_OK(moeclip_learner_create(kept_model, &options, &l, &err), err);
  REQUIRE_OK(moeclip_learner_save(l, files_path("empty.safetensors"), &err), err);
  REQUIRE_OK(open_pictures(&d), err);
  REQUIRE_OK(moeclip_learner_learn(l, d, &task, NULL, NULL, &err), err); /* the checkpoint of its last step but one stays */
  REQUIRE_OK(moeclip_learner_save(l, files_path("state.safetensors"), &err), err);
  REQUIRE_OK(moeclip_learner_load(kept_model, files_path("state.safetensors"), NULL, &kept_learner, &err), err);
  moeclip_dataset_destroy(d);
  moeclip_learner_destroy(l);
}

int main(int argc, char **argv) {
  long every = 1, only = 0;
  const char *name = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--every") == 0 && i + 1 < argc) {
      every = strtol(argv[++i], NULL, 10);
    } else if (!name) {
      name = argv[i];
    } else {
      only = strtol(argv[i], NULL, 10);
    }
  }
#ifndef __SANITIZE_ADDRESS__
  signal(SIGSEGV, on_signal);
  signal(SIGABRT, on_signal);
#endif
  signal(SIGALRM, on_signal);
  small_begin();
  small_make();
  make_datasets();
  make_states();
  bool found = false;
  for (size_t i = 0; i < N_WORKS; i++) {
    if (name && strcmp(name, works[i].name) != 0) continue;
    found = true;
    run_all(&works[i], every > 0 ? every : 1, only);
  }
  CHECK_MSG(found, "%s: no such work", name ? name : "?");
  moeclip_learner_destroy(kept_learner);
  moeclip_model_destroy(kept_model);
  files_end();
  return check_report();
}
