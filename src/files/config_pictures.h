/* How a CLIP takes its pictures, from the configuration beside its weights (files/config.h). `path` names it in messages. */
#ifndef MC_FILES_CONFIG_PICTURES_H
#define MC_FILES_CONFIG_PICTURES_H

#include <jansson.h>
#include <stdbool.h>

#include "moeclip/tensors.h"

/* Is it [red, green, blue], each a number of a size that pictures can have and, where that is wanted, above 0? */
bool mc_config_colours(const json_t *list, bool positive, float out[3]);

/* preprocess: "preprocess_cfg"; NULL where there is none. */
moeclip_code mc_config_openclip_pictures(const char *path, const json_t *preprocess, moeclip_tensors *t, moeclip_error *err);
/* root: preprocessor_config.json, or "image_processor" of processor_config.json. */
moeclip_code mc_config_huggingface_pictures(const char *path, const json_t *root, moeclip_tensors *t, moeclip_error *err);

#endif
