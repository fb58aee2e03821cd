/* What a result was made from: files by their SHA-256, data sets by a hash of what they list. docs/RESULTS.md. */
#ifndef MC_REPORT_INPUTS_H
#define MC_REPORT_INPUTS_H

#include "report/report.h"

/* {"path", "bytes", "sha256"} of a file, whole. Of the index of a model in several files also "parts": the same of each of those. */
moeclip_code mc_describe_file(const char *path, json_t **out, moeclip_error *err);

/*
 * {"name", "path", "classes", "train", "test", "sha256"}: the hash of, with numbers of 8 bytes, little-endian:
 *   "moeclip data set 1\n"; the number of classes, each name with its terminating 0;
 *   for training, then test pictures: how many, then for each its name with a terminating 0 (relative to the set's
 *   path where it lies in it), its label, and its size: of a picture that is a file of its own, the file's bytes;
 *   of one inside another file, width and height, and then the RGB bytes themselves.
 * The contents of picture files are not read: a folder of millions costs a stat each.
 */
moeclip_code mc_describe_dataset(const moeclip_dataset *dataset, json_t **out, moeclip_error *err);

/*
 * What is no data set (captions for pre-training). A file: as mc_describe_file. A folder: {"path", "files", "sha256"},
 * the hash of "moeclip folder 1\n" and, for every file below it, sorted by path: its path relative to the folder with a
 * terminating 0 and its size; and the contents of those that end in .txt, .csv or .json and have at most 1 MiB.
 */
moeclip_code mc_describe_tree(const char *path, json_t **out, moeclip_error *err);

#endif
