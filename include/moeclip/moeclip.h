/* Everything of libmoeclip. */
#ifndef MOECLIP_MOECLIP_H
#define MOECLIP_MOECLIP_H

#include "moeclip/benchmark_data.h"
#include "moeclip/convert.h"
#include "moeclip/dataset.h"
#include "moeclip/error.h"
#include "moeclip/image.h"
#include "moeclip/learner.h"
#include "moeclip/model.h"
#include "moeclip/pretrain.h"
#include "moeclip/published.h"
#include "moeclip/search.h"
#include "moeclip/tensors.h"
#include "moeclip/tokenizer.h"
#include "moeclip/version.h"

#endif
