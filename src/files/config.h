/*
 * What the configuration beside a CLIP's weights says of them that their shapes do not: Hugging Face's config.json and
 * preprocessor_config.json (or processor_config.json) beside weights in its names, OpenCLIP's open_clip_config.json beside others.
 */
#ifndef MC_FILES_CONFIG_H
#define MC_FILES_CONFIG_H

#include <stdbool.h>

#include "files/names.h"

/* The attention heads of a tower that nothing is said of: 64 wide, but for the image towers of the widths that OpenCLIP's ViT-H, ViT-g
 * and ViT-bigG have, which have 16. */
int mc_usual_heads(bool visual, int64_t width);
/* Can a tower of that width have so many? */
bool mc_heads_fit(int64_t heads, int64_t width);

/*
 * Puts what the configuration beside the file `path` says into the metadata of t, the file's tensors in OpenAI's names: "activation"
 * ("gelu" or "quick_gelu"), "visual_heads" and "text_heads" where they are not the usual ones, "image_mean", "image_std" and
 * "resize_mode" where they are not OpenAI's. What the metadata says already stays. No
 * such file: nothing. FORMAT for one that is damaged; UNSUPPORTED, naming the setting, for a model that is computed in another way than
 * the towers here. Messages name the configuration.
 */
moeclip_code mc_config_note(const char *path, mc_naming naming, moeclip_tensors *t, moeclip_error *err);

#endif
