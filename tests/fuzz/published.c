/* The method's released checkpoints. They are too large for a seed: the input is a list of changes to those of a tiny
 * learner. Seeds: seeds/published. */
#include "tiny.h"

#include "moeclip/published.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

typedef struct file {
  uint8_t *data;
  size_t n;
} file;

/* X.pth and X_autochooser.pth of a tiny learner. */
static const file *base(void) {
  static file files[2];
  char path[2][64];
  if (files[0].data) return files;
  moeclip_learner *l = tiny_learner(1);
  for (int i = 0; i < 2; i++)
    snprintf(path[i], sizeof path[i], "/dev/shm/moeclip-fuzz-published-%ld-%d", (long)getpid(), i);
  if (moeclip_learner_to_published(l, path[0], path[1], NULL) != MOECLIP_OK) abort();
  for (int i = 0; i < 2; i++) {
    files[i].data = tiny_read(path[i], &files[i].n);
    unlink(path[i]);
  }
  moeclip_learner_destroy(l);
  return files;
}

/* One change: the file and what is done (bits 0 to 2 of the first byte), where (three bytes; from the end when bit 3 is
 * set), how many bytes, and, when bytes are put there, those. The length of the change; 0: there is none. */
static size_t change(file files[2], const uint8_t *data, size_t n) {
  if (n < 5) return 0;
  file *f = &files[data[0] & 1];
  size_t at = data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16, count = data[4], used = 5;
  at = f->n ? at % f->n : 0;
  if (data[0] & 8) at = f->n - at;
  if (count > f->n - at) count = f->n - at;
  switch (data[0] >> 1 & 3) {
    case 0: f->n = at; break;
    case 1:
      memmove(f->data + at, f->data + at + count, f->n - at - count);
      f->n -= count;
      break;
    default:
      if (count > n - 5) count = n - 5;
      memcpy(f->data + at, data + 5, count);
      used += count;
  }
  return used;
}

static void look(const uint8_t *data, size_t n) {
  moeclip_tensors *t;
  moeclip_published_info info;
  if (moeclip_tensors_from_memory(data, n, "input", &t, NULL) != MOECLIP_OK) return;
  moeclip_published_look(t, &info);
  if (info.n_learned > info.n_routers) abort();
  moeclip_tensors_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
  static const char *const classes[] = {"a", "b"};
  moeclip_published_task task = {.name = "task", .classes = classes, .n_classes = 2};
  moeclip_published_options o;
  moeclip_learner *l;
  moeclip_error err = {0};
  char model[64], chooser[64];
  file files[2];
  for (int i = 0; i < 2; i++) {
    files[i] = (file){malloc(base()[i].n), base()[i].n};
    if (!files[i].data) abort();
    memcpy(files[i].data, base()[i].data, files[i].n);
  }
  for (size_t used; (used = change(files, data, n_bytes)) > 0; n_bytes -= used) data += used;
  for (int i = 0; i < 2; i++) look(files[i].data, files[i].n);
  int a = tiny_file(files[0].data, files[0].n, model), b = tiny_file(files[1].data, files[1].n, chooser);
  moeclip_published_options_defaults(&o);
  o.autochooser = chooser;
  o.tasks = &task;
  o.n_tasks = 1;
  if (moeclip_learner_from_published(tiny_model(), model, &o, &l, &err) == MOECLIP_OK) {
    tiny_use(l);
    moeclip_learner_destroy(l);
  } else if (l || !err.message[0]) {
    abort();
  }
  close(a);
  close(b);
  free(files[0].data);
  free(files[1].data);
  return 0;
}
