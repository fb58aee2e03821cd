/* Checkpoints written by PyTorch itself (data/files/make.py), checkpoints written here, and damaged ones. */
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "files/bytes.h"
#include "files/pickle.h"
#include "moeclip/tensors.h"

#define DATA MOECLIP_TEST_DATA "/files/"

static moeclip_tensors *open_ok(const char *path) {
  moeclip_tensors *t;
  moeclip_error err;
  REQUIRE_OK(moeclip_tensors_open(path, &t, &err), err);
  return t;
}

static void check_same(const char *what, const moeclip_tensors *t, const moeclip_tensors *expected) {
  size_t n = moeclip_tensors_count(expected);
  CHECK_MSG(moeclip_tensors_count(t) == n && n > 0, "%s: %zu tensors, expected %zu", what, moeclip_tensors_count(t), n);
  for (size_t i = 0; i < n; i++) {
    const moeclip_tensor *a = moeclip_tensors_at(expected, i), *b = moeclip_tensors_find(t, a->name);
    CHECK_MSG(b && a->dtype == b->dtype && a->rank == b->rank && a->n_bytes == b->n_bytes &&
                  memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
                  (a->n_bytes == 0 || memcmp(a->data, b->data, a->n_bytes) == 0),
              "%s: tensor %s differs", what, a->name);
  }
}

static void test_pytorch(void) {
  static const struct { const char *file, *expected; moeclip_container container; } cases[] = {
      {"state_dict.pth", "expected", MOECLIP_TORCH_ZIP},  {"protocol5.pth", "expected", MOECLIP_TORCH_ZIP},
      {"deflated.pth", "expected", MOECLIP_TORCH_ZIP},    {"legacy.pth", "expected", MOECLIP_TORCH_LEGACY},
      {"list.pth", "expected_list", MOECLIP_TORCH_ZIP},   {"module.pth", "expected_list", MOECLIP_TORCH_ZIP},
      {"script.pt", "expected_list", MOECLIP_TORCHSCRIPT}, {"sharded.index.json", "expected", MOECLIP_SAFETENSORS}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char *path = mc_format("%s%s", DATA, cases[i].file);
    char *other = mc_format("%s%s.safetensors", DATA, cases[i].expected);
    moeclip_tensors *t = open_ok(path), *expected = open_ok(other);
    CHECK(moeclip_tensors_container(t) == cases[i].container);
    check_same(cases[i].file, t, expected);
    moeclip_tensors_destroy(t);
    moeclip_tensors_destroy(expected);
    free(path);
    free(other);
  }
  moeclip_tensors *t;
  moeclip_error err;
  CHECK(moeclip_tensors_open(DATA "complex.pth", &t, &err) == MOECLIP_ERROR_UNSUPPORTED);
  CHECK(strstr(err.message, "complex.pth: tensor c: ") && strstr(err.message, "ComplexFloatStorage"));
}

static void test_in_place(void) {
  mc_mapping m;
  moeclip_error err;
  moeclip_tensors *t;
  REQUIRE_OK(mc_mapping_open(DATA "state_dict.pth", &m, &err), err);
  REQUIRE_OK(moeclip_tensors_from_memory(m.data, m.n_bytes, "x", &t, &err), err);
  size_t n_inside = 0;
  for (size_t i = 0; i < moeclip_tensors_count(t); i++) {
    const uint8_t *p = moeclip_tensors_at(t, i)->data;
    n_inside += p && p >= m.data && p < m.data + m.n_bytes;
  }
  CHECK(n_inside == moeclip_tensors_count(t) - 5); /* one is empty, four are strided or expanded */
  moeclip_tensors_destroy(t);
  mc_mapping_close(&m);
}

static void test_write(void) {
  char folder[] = "/tmp/moeclip-torch-XXXXXX";
  moeclip_error err;
  mc_mapping m[2];
  CHECK(mkdtemp(folder) != NULL);
  char *path[2] = {mc_format("%s/a.pth", folder), mc_format("%s/b.pth", folder)};
  moeclip_tensors *t = open_ok(DATA "expected.safetensors");
  REQUIRE_OK(moeclip_tensors_write_torch(t, path[0], &err), err);
  moeclip_tensors *again = open_ok(path[0]);
  CHECK(moeclip_tensors_container(again) == MOECLIP_TORCH_ZIP);
  check_same("written", again, t);
  REQUIRE_OK(moeclip_tensors_write_torch(again, path[1], &err), err);
  for (size_t i = 0; i < moeclip_tensors_count(again); i++) {
    const moeclip_tensor *tensor = moeclip_tensors_at(again, i);
    CHECK((uintptr_t)tensor->data % 64 == 0);
    CHECK(strcmp(tensor->name, moeclip_tensors_at(t, i)->name) == 0); /* the order stays */
  }
  for (int i = 0; i < 2; i++) REQUIRE_OK(mc_mapping_open(path[i], &m[i], &err), err);
  CHECK(m[0].n_bytes == m[1].n_bytes && memcmp(m[0].data, m[1].data, m[0].n_bytes) == 0);
  moeclip_tensors_destroy(again);
  moeclip_tensors_destroy(t);
  for (int i = 0; i < 2; i++) {
    mc_mapping_close(&m[i]);
    unlink(path[i]);
    free(path[i]);
  }
  CHECK(rmdir(folder) == 0);
}

/* Every cut and many changed bytes of every fixture: an error or tensors, never a crash (run it under sanitizers). */
static void test_damage(void) {
  static const char *const files[] = {"state_dict.pth", "deflated.pth", "legacy.pth", "script.pt", "protocol5.pth"};
  mc_philox g;
  mc_philox_init(&g, 11, 1, 0);
  for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
    char *path = mc_format("%s%s", DATA, files[f]);
    uint8_t *data, *copy;
    size_t n, n_opened = 0;
    moeclip_error err;
    moeclip_tensors *t;
    REQUIRE_OK(mc_file_read(path, 1 << 20, &data, &n, &err), err);
    for (size_t cut = 0; cut < n; cut += 1 + cut / 64) {
      copy = mc_alloc(cut, 1); /* of just that size, so that reading past the end shows */
      memcpy(copy, data, cut);
      moeclip_code code = moeclip_tensors_from_memory(copy, cut, "cut", &t, &err);
      CHECK_MSG(code != MOECLIP_OK && err.message[0], "%s cut to %zu bytes opens", files[f], cut);
      if (code == MOECLIP_OK) moeclip_tensors_destroy(t);
      free(copy);
    }
    for (int i = 0; i < 2000; i++) {
      uint32_t at = mc_philox_below(&g, (uint32_t)n);
      uint8_t before = data[at];
      data[at] = (uint8_t)mc_philox_next(&g);
      if (moeclip_tensors_from_memory(data, n, "changed", &t, &err) == MOECLIP_OK) {
        n_opened++; /* weights, padding and times may change without harm to the form */
        moeclip_tensors_destroy(t);
      }
      data[at] = before;
    }
    CHECK(n_opened < 2000);
    free(data);
    free(path);
  }
}

static moeclip_code unpickle(const char *text, size_t n, mc_pickle *p, moeclip_error *err) {
  return mc_pickle_read((const uint8_t *)text, n, p, err);
}
#define UNPICKLE(text, p, err) unpickle(text, sizeof(text) - 1, p, err)

static void test_pickle(void) {
  mc_pickle p;
  moeclip_error err;
  /* What would run a command elsewhere is a name and an argument here. */
  REQUIRE_OK(UNPICKLE("\x80\2cos\nsystem\nX\4\0\0\0true\x85R.", &p, &err), err);
  CHECK(p.root->kind == MC_VALUE_OBJECT && mc_is_global(p.root->object.callable, "os", "system"));
  CHECK(p.root->object.arguments->list.n == 1);
  mc_pickle_clear(&p);
  /* Protocol 0: a dictionary with numbers, a list, a memo. */
  REQUIRE_OK(UNPICKLE("(dp0\nS'a'\np1\nI-12\nsg1\n(lp2\nL5L\naI01\nasS'c'\n(I1\nI2\ntsS'd'\nF1.5\ns.", &p, &err), err);
  CHECK(p.root->kind == MC_VALUE_DICT && p.root->list.n == 8);
  CHECK(mc_dict_get(p.root, "a")->integer == -12 && mc_dict_get(p.root, "c")->list.items[1]->integer == 2);
  const mc_value *list = p.root->list.items[3];
  CHECK(list->kind == MC_VALUE_LIST && list->list.items[0]->integer == 5 && list->list.items[1]->kind == MC_VALUE_BOOL);
  mc_pickle_clear(&p);
  /* Protocol 4: frame, memoized text, a class by two texts, long numbers. */
  REQUIRE_OK(UNPICKLE("\x80\4\x95\0\0\0\0\0\0\0\0]\x94(\x8c\6module\x94\x8c\4Name\x93"
                      "\x8a\2\xff\xff\x8a\1\x80\x8a\0h\1N\x88" "e.", &p, &err), err);
  CHECK(p.root->list.n == 7 && mc_is_global(p.root->list.items[0], "module", "Name"));
  CHECK(p.root->list.items[1]->integer == -1 && p.root->list.items[2]->integer == -128);
  CHECK(p.root->list.items[3]->integer == 0 && mc_text_is(p.root->list.items[4]->text, "module"));
  mc_pickle_clear(&p);

  static const struct { const char *text; size_t n; } wrong[] = {
#define WRONG(text) {text, sizeof(text) - 1}
      WRONG(""), WRONG("."), WRONG("N"), WRONG("(."), WRONG("R."), WRONG("NNR."), WRONG("a."), WRONG("]a."),
      WRONG("}Ns."),
      WRONG("(Nd."), WRONG("t."), WRONG("h\1."), WRONG("j\xff\xff\xff\xff."), WRONG("Nr\xff\xff\xff\xff."),
      WRONG("X\4\0\0\0ab."),
      WRONG("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), WRONG("\x8b\xff\xff\xff\xff."), WRONG("cos\nsystem"),
      WRONG("I12."),
      WRONG("Ix\n."), WRONG("S'\n."), WRONG("\x80\6N."), WRONG("\xff."), WRONG("N\x85(s."), WRONG("(o."),
      WRONG("NN\x93.")};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    moeclip_code code = unpickle(wrong[i].text, wrong[i].n, &p, &err);
    CHECK_MSG(code == MOECLIP_ERROR_FORMAT && strstr(err.message, "pickle"), "wrong pickle %zu is read", i);
    mc_pickle_clear(&p);
  }
}

/* Puts a pickle where a checkpoint of before 1.6 has it. */
static moeclip_code open_pickle(const char *text, size_t n, moeclip_error *err) {
  static const char head[] = "\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.\x80\2}.";
  static const char tail[] = "\x80\2].";
  uint8_t *file = mc_alloc(sizeof head + n + sizeof tail, 1);
  moeclip_tensors *t = NULL;
  memcpy(file, head, sizeof head - 1);
  memcpy(file + sizeof head - 1, text, n);
  memcpy(file + sizeof head - 1 + n, tail, sizeof tail - 1);
  moeclip_code code = moeclip_tensors_from_memory(file, sizeof head + n + sizeof tail - 2, "p", &t, err);
  moeclip_tensors_destroy(t);
  free(file);
  return code;
}

static void test_trees(void) {
  moeclip_error err = {0};
  char text[1024];
  size_t n = 0;
  CHECK(open_pickle("\x80\2}.", 4, &err) == MOECLIP_OK);
  CHECK(open_pickle("\x80\2]q\0h\0a.", 9, &err) == MOECLIP_ERROR_FORMAT); /* a list that holds itself */
  CHECK_MSG(strstr(err.message, "deep") != NULL, "%s", err.message);
  /* Each list holds the one before twice: 2^40 paths. */
  text[n++] = ']';
  for (int i = 0; i < 40; i++) n += (size_t)snprintf(text + n, sizeof text - n, "p%d\n0]g%d\nag%d\na", i, i, i);
  text[n++] = '.';
  CHECK(open_pickle(text, n, &err) == MOECLIP_ERROR_FORMAT);
  CHECK_MSG(strstr(err.message, "again and again") != NULL, "%s", err.message);
  /* 2000 objects that share one state of 2000 entries. */
  mc_bytes b = {0};
  mc_bytes_text(&b, "}p0\n(");
  for (int i = 0; i < 2000; i++) mc_bytes_text(&b, "NN");
  mc_bytes_text(&b, "u0](");
  for (int i = 0; i < 2000; i++) mc_bytes_text(&b, "cx\ny\n)\x81g0\nb");
  mc_bytes_text(&b, "e.");
  CHECK(open_pickle((const char *)b.data, b.n, &err) == MOECLIP_ERROR_FORMAT);
  CHECK_MSG(strstr(err.message, "again and again") != NULL, "%s", err.message);
  free(b.data);
  /* 200 lists, one in the other. */
  memset(text, ']', 200);
  memset(text + 200, 'a', 199);
  text[399] = '.';
  CHECK(open_pickle(text, 400, &err) == MOECLIP_ERROR_FORMAT && strstr(err.message, "deep"));
}

int main(void) {
  test_pytorch();
  test_in_place();
  test_write();
  test_damage();
  test_pickle();
  test_trees();
  return check_report();
}
