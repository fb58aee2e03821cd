/*
 * Small pictures to learn from: pictures FOLDER makes
 *   FOLDER/colours/{train,test}/{red,green,blue}/N.png      one colour, some noise
 *   FOLDER/stripes/{train,test}/{across,down,slanted}/N.png light and dark stripes
 *   FOLDER/spots/{few,many}/N.png                            no split of its own
 */
#include <png.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SIZE = 24 };

static uint32_t state = 1;

static int noise(int below) {
  state = state * 1664525u + 1013904223u;
  return (int)((state >> 8) % (uint32_t)below);
}

static void folder(const char *format, const char *a, const char *b, const char *c) {
  char path[512];
  snprintf(path, sizeof path, format, a, b, c);
  mkdir(path, 0777);
}

static void write_png(const char *path, const uint8_t *rgb) {
  png_image image = {.version = PNG_IMAGE_VERSION, .width = SIZE, .height = SIZE, .format = PNG_FORMAT_RGB};
  if (png_image_write_to_file(&image, path, 0, rgb, 0, NULL)) return;
  fprintf(stderr, "%s: %s\n", path, image.message);
  exit(1);
}

static void set(uint8_t *pixel, int r, int g, int b) {
  pixel[0] = (uint8_t)(r + noise(30));
  pixel[1] = (uint8_t)(g + noise(30));
  pixel[2] = (uint8_t)(b + noise(30));
}

static void draw(uint8_t *rgb, const char *what) {
  int shift = noise(8), spots = strcmp(what, "many") == 0 ? 40 : 4;
  for (int y = 0; y < SIZE; y++) {
    for (int x = 0; x < SIZE; x++) {
      uint8_t *p = rgb + 3 * (y * SIZE + x);
      int along = strcmp(what, "across") == 0 ? y : strcmp(what, "down") == 0 ? x : x + y;
      int light = (along + shift) / 4 % 2 ? 200 : 20;
      if (strcmp(what, "red") == 0) set(p, 200, 20, 20);
      else if (strcmp(what, "green") == 0) set(p, 20, 200, 20);
      else if (strcmp(what, "blue") == 0) set(p, 20, 20, 200);
      else if (strcmp(what, "few") == 0 || strcmp(what, "many") == 0) set(p, 100, 100, 20);
      else set(p, light, light, light);
    }
  }
  for (int i = 0; (strcmp(what, "few") == 0 || strcmp(what, "many") == 0) && i < spots; i++) {
    set(rgb + 3 * noise(SIZE * SIZE), 220, 220, 220);
  }
}

static void fill(const char *where, const char *part, const char *what, int n) {
  uint8_t rgb[3 * SIZE * SIZE];
  char path[512];
  folder("%s/%s%s", where, part, "");
  folder("%s/%s/%s", where, part, what);
  for (int i = 0; i < n; i++) {
    draw(rgb, what);
    snprintf(path, sizeof path, "%s/%s/%s/%d.png", where, part, what, i);
    write_png(path, rgb);
  }
}

int main(int argc, char **argv) {
  static const char *const sets[2][3] = {{"red", "green", "blue"}, {"across", "down", "slanted"}};
  static const char *const names[2] = {"colours", "stripes"};
  char where[256];
  if (argc != 2) return 2;
  folder("%s%s%s", argv[1], "", "");
  for (int s = 0; s < 2; s++) {
    snprintf(where, sizeof where, "%s/%s", argv[1], names[s]);
    folder("%s%s%s", where, "", "");
    for (int c = 0; c < 3; c++) {
      fill(where, "train", sets[s][c], 12);
      fill(where, "test", sets[s][c], 6);
    }
  }
  fill(argv[1], "spots", "few", 10);
  fill(argv[1], "spots", "many", 10);
  return 0;
}
