/* (picture, caption) pairs for pre-training. A picture may have several captions; each visit draws one. */
#ifndef MC_DATA_PAIRS_H
#define MC_DATA_PAIRS_H

#include "data/loader.h"

typedef struct mc_pairs mc_pairs;

/*
 * PATH is one of
 *   a CSV file: rows of path,caption[,caption...] (paths relative to the file; quoted fields are understood; a header
 *     row whose first field is "path", "file" or "image" is passed over; empty captions are left out);
 *   a folder of pictures, each with a .txt file of the same name beside it: one caption a line (a picture without one
 *     is an error);
 *   a folder with one subfolder per class: the caption is "a picture of a CLASS."
 * Rows are kept in the file's order, folders in sorted order, so that a seed means the same run everywhere.
 */
moeclip_code mc_pairs_open(const char *path, mc_pairs **out, moeclip_error *err);
void mc_pairs_destroy(mc_pairs *p);
size_t mc_pairs_count(const mc_pairs *p);
size_t mc_pairs_captions(const mc_pairs *p, size_t i); /* how many picture i has: at least 1 */
const char *mc_pairs_caption(const mc_pairs *p, size_t i, size_t which);
/* The pictures; p must outlive it. */
mc_image_source mc_pairs_source(mc_pairs *p);

#endif
