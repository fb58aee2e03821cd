/* Pieces of the benchmarks' reports: one HTML file with its style and pictures inside, that needs no network and no
 * script. */
#ifndef MC_CLI_HTML_H
#define MC_CLI_HTML_H

#include <jansson.h>
#include <stdio.h>

#include "base/status.h"

/* Text with & < > " escaped. */
void mc_html_text(FILE *f, const char *s);
/* From <!doctype> to the heading; ends with mc_html_end. */
void mc_html_begin(FILE *f, const char *title, const char *subtitle);
void mc_html_end(FILE *f);
/* A JSON object under a heading that opens when clicked. */
void mc_html_json(FILE *f, const char *heading, const json_t *object);

/* A chart of n values (0 to 1; NaN: no point) over 0..n-1. mark: an index that is marked, or -1. reference: a level
 * drawn as a dashed line, or NaN. first, last: what stands below the ends of the axis. */
void mc_html_chart(FILE *f, const char *title, const double *values, int n, int mark, double reference,
                   const char *first, const char *last);

/* How one task used the experts: [{"counts": [...], "frozen": [...]}, ...] of a tower's blocks as a grid, darker for
 * more use. */
void mc_html_experts(FILE *f, const char *title, const json_t *blocks);

/* Writes folder/name with what put prints. */
moeclip_code mc_report_file(const void *report, void (*put)(const void *report, FILE *f), const char *folder,
                            const char *name, moeclip_error *err);

#endif
