/* For the targets that open a data set in a folder. */
#ifndef TESTS_FUZZ_LOOK_H
#define TESTS_FUZZ_LOOK_H

#include <stdlib.h>

#include "moeclip/dataset.h"

/* It opens, and every training picture can be had; or it is refused with a message. */
static inline void fuzz_look(const char *folder) {
  moeclip_dataset *d;
  moeclip_error err = {0};
  if (moeclip_dataset_open(folder, NULL, &d, &err) != MOECLIP_OK) {
    if (d || !err.message[0]) abort();
    return;
  }
  for (size_t i = 0; i < moeclip_dataset_count(d, MOECLIP_TRAIN); i++) {
    moeclip_image image;
    if (!moeclip_dataset_class_name(d, (size_t)moeclip_dataset_label(d, MOECLIP_TRAIN, i))) abort();
    if (moeclip_dataset_load(d, MOECLIP_TRAIN, i, &image, &err) != MOECLIP_OK) abort();
    moeclip_image_clear(&image);
  }
  moeclip_dataset_destroy(d);
}

#endif
