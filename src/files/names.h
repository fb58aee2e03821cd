/*
 * The names that CLIP's weights go by. Whatever a file calls them, the model reads OpenAI's names (which the published
 * checkpoints use too): visual.conv1.weight, transformer.resblocks.0.attn.in_proj_weight ...
 */
#ifndef MC_FILES_NAMES_H
#define MC_FILES_NAMES_H

#include "base/status.h"
#include "moeclip/tensors.h"

typedef enum mc_naming {
  MC_NAMES_OPENAI,        /* OpenAI, OpenCLIP's CLIP class, the published checkpoints */
  MC_NAMES_OPENCLIP_TEXT, /* OpenCLIP's CustomTextCLIP: the text tower's names begin with "text." */
  MC_NAMES_HUGGINGFACE    /* CLIPModel: vision_model., text_model., q_proj, k_proj and v_proj apart */
} mc_naming;

/* "openai", "openclip-text", "huggingface". */
const char *mc_naming_name(mc_naming naming);

/*
 * Makes a collection of the same weights in OpenAI's names. Data is borrowed from in, which must outlive *out, except
 * where the layout changes: Hugging Face's q, k, v [d, d] become in_proj [3d, d], its projections [embed, width] become
 * [width, embed]. position_ids is left out; adapters, routers, buffers (mean, std, attn_mask, input_resolution ...) and
 * whatever else is there pass through. *found may be NULL. FORMAT, naming a missing tensor, when the naming is none of
 * these or a tower is incomplete; UNSUPPORTED for an image tower that is no plain vision transformer.
 * Messages do not name the file.
 */
moeclip_code mc_names_normalise(const moeclip_tensors *in, moeclip_tensors **out, mc_naming *found, moeclip_error *err);

#endif
