/* How a CLIP takes its pictures, which no weight tells: in a file's metadata as "image_mean" and "image_std" (JSON: [r, g, b]) and
 * "resize_mode" ("squash"), each only where it is not OpenAI's. */
#ifndef MC_MODEL_TRANSFORM_H
#define MC_MODEL_TRANSFORM_H

#include <stdbool.h>

#include "moeclip/image.h"
#include "moeclip/tensors.h"

/* *t: OpenAI's for pictures of that side, with what the metadata says. */
moeclip_code mc_transform_read(const moeclip_tensors *file, int size, moeclip_transform *t, moeclip_error *err);
moeclip_code mc_transform_store(const moeclip_transform *t, moeclip_tensors *out, moeclip_error *err);
bool mc_transform_is_usual(const moeclip_transform *t);
/* Do both make the same uint8 pixels of a picture? */
bool mc_transforms_agree(const moeclip_transform *a, const moeclip_transform *b);

#endif
