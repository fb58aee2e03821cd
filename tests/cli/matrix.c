/* Transfer, Average and Last against numbers worked out by hand; text and SVG. */
#include "report/matrix.h"

#include "check.h"

static const char *const names[] = {"digits", "birds & <bees>", "cars", "food"};
static const char *const after[] = {NULL, "digits", "birds & <bees>", "cars"};
static const int tasks[] = {0, 1, 2, -1};
static const double accuracy[] = {0.50, 0.40, 0.30, 0.60,  /* zero-shot */
                                  0.90, 0.40, 0.20, 0.50,  /* after digits */
                                  0.80, 0.85, 0.35, 0.40,  /* after birds */
                                  0.70, 0.80, 0.95, 0.30}; /* after cars */

static mc_matrix rows(int n) { return (mc_matrix){n, 4, names, tasks, after, accuracy}; }

static int near(double a, double b) { return fabs(a - b) < 1e-12; }

static void test_whole(void) {
  mc_matrix m = rows(4);
  mc_summary s = mc_matrix_summary(&m);
  CHECK(near(s.transfer, (0.40 + (0.20 + 0.35) / 2) / 2));
  CHECK(near(s.average, (0.80 + (0.40 + 0.85 + 0.80) / 3 + 0.50) / 3));
  CHECK(near(s.last, (0.70 + 0.80 + 0.95) / 3));
  CHECK(near(s.zero_shot, 0.40));
  mc_summary first = mc_matrix_column(&m, 0), heldout = mc_matrix_column(&m, 3);
  CHECK(isnan(first.transfer)); /* nothing comes before the first task but row 0, which does not count */
  CHECK(near(first.average, 0.80));
  CHECK(near(heldout.transfer, 0.40) && near(heldout.average, 0.40) && near(heldout.last, 0.30));
}

static void test_partly(void) {
  mc_matrix m = rows(2); /* one task of three is learned */
  mc_summary s = mc_matrix_summary(&m);
  CHECK(near(s.transfer, (0.40 + 0.20) / 2));
  CHECK(near(s.average, (0.90 + 0.40 + 0.20) / 3));
  CHECK(near(s.last, (0.90 + 0.40 + 0.20) / 3));
  m = rows(1);
  s = mc_matrix_summary(&m);
  CHECK(isnan(s.transfer) && isnan(s.average) && isnan(s.last) && near(s.zero_shot, 0.40));
}

static void test_unknown(void) {
  double holes[16];
  memcpy(holes, accuracy, sizeof holes);
  holes[1 * 4 + 2] = NAN; /* cars after digits */
  mc_matrix m = {4, 4, names, tasks, after, holes};
  mc_summary s = mc_matrix_summary(&m);
  CHECK(isnan(s.transfer) && isnan(s.average));
  CHECK(near(s.last, (0.70 + 0.80 + 0.95) / 3));
  CHECK(near(mc_matrix_column(&m, 1).transfer, 0.40));
}

/* One task alone has no Transfer. */
static void test_single(void) {
  static const double one[] = {0.1, 0.9};
  mc_matrix m = {2, 1, names, tasks, after, one};
  mc_summary s = mc_matrix_summary(&m);
  CHECK(isnan(s.transfer) && near(s.average, 0.9) && near(s.last, 0.9));
}

static char *drawn(const mc_matrix *m, int svg) {
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  if (!f) exit(1);
  if (svg) {
    mc_matrix_svg(m, "A title with \"<&>\"", f);
  } else {
    mc_matrix_text(m, f);
  }
  fclose(f);
  return text;
}

static int count(const char *text, const char *part) {
  int n = 0;
  for (; (text = strstr(text, part)); text += strlen(part)) n++;
  return n;
}

static void test_text(void) {
  mc_matrix m = rows(4);
  char *text = drawn(&m, 0);
  static const char expected[] =
      "accuracy in %         digits  birds & <bees>    cars |    food |    mean\n"
      "zero-shot              50.00           40.00   30.00 |   60.00 |   40.00\n"
      "after digits           90.00           40.00   20.00 |   50.00 |   50.00\n"
      "after birds & <bees>   80.00           85.00   35.00 |   40.00 |   66.67\n"
      "after cars             70.00           80.00   95.00 |   30.00 |   81.67\n"
      "\n"
      "Transfer                   -           40.00   27.50 |   40.00 |   33.75\n"
      "Average                80.00           68.33   50.00 |   40.00 |   66.11\n"
      "Last                   70.00           80.00   95.00 |   30.00 |   81.67\n";
  CHECK_MSG(strcmp(text, expected) == 0, "the text is\n%s", text);
  free(text);
}

static void test_svg(void) {
  mc_matrix m = rows(4);
  char *text = drawn(&m, 1);
  CHECK(strncmp(text, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39) == 0);
  CHECK(strstr(text, "</svg>\n") == text + strlen(text) - 7);
  CHECK(strstr(text, "<title id=\"t\">A title with &quot;&lt;&amp;&gt;&quot;</title>") != NULL);
  CHECK(strstr(text, "<desc id=\"d\">") != NULL && strstr(text, "Transfer 33.75. Average 66.11. Last 81.67.") != NULL);
  CHECK(!strstr(text, "<bees>") && strstr(text, "birds &amp; &lt;bees&gt;, cars: 80.00 %") != NULL);
  CHECK(!strstr(text, "nan") && !strstr(text, "http://www.w3.org/1999") && !strstr(text, "href"));
  /* 16 cells, 12 of the summary and its 3 means; three of them right after their own task. */
  CHECK(count(text, "<g><title>") == 31 && count(text, "</g>") == 31);
  CHECK(count(text, "stroke=\"#d97706\"") == 3);
  free(text);
}

int main(void) {
  test_whole();
  test_partly();
  test_unknown();
  test_single();
  test_text();
  test_svg();
  CHECK(mc_text_width("gr\xc3\xb6\xc3\x9f" "e") == 5);
  return check_report();
}
