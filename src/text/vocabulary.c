#include "text/text.h"

/* Embeds a file, as data/benchmark_texts.c does. The folder is the source tree's, known when the library is built. */
__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".global mc_vocabulary_begin\n"
    ".hidden mc_vocabulary_begin\n"
    "mc_vocabulary_begin:\n"
    ".incbin \"" MOECLIP_DATA_DIR "/bpe_simple_vocab_16e6.txt.gz\"\n"
    ".global mc_vocabulary_end\n"
    ".hidden mc_vocabulary_end\n"
    "mc_vocabulary_end:\n"
    ".byte 0\n"
    ".popsection\n");

extern const uint8_t mc_vocabulary_begin[] __attribute__((visibility("hidden")));
extern const uint8_t mc_vocabulary_end[] __attribute__((visibility("hidden")));

const uint8_t *mc_vocabulary_gzip(size_t *n_bytes) {
  *n_bytes = (size_t)((uintptr_t)mc_vocabulary_end - (uintptr_t)mc_vocabulary_begin);
  return mc_vocabulary_begin;
}
