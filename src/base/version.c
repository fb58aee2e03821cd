#include "moeclip/version.h"

#include <jansson.h>
#include <matio.h>
#include <oneapi/dnnl/dnnl.h>
#include <png.h>
#include <stdio.h>
#include <jpeglib.h> /* after stdio.h, which it needs */
#include <sqlite3.h>
#include <utf8proc.h>
#include <webp/decode.h>
#include <zlib.h>

#ifndef MOECLIP_BUILD_TYPE
#define MOECLIP_BUILD_TYPE "unknown build type"
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *moeclip_version(void) { return MOECLIP_VERSION; }

static void put_numbers(char *out, size_t n_out, int major, int minor, int patch) {
  snprintf(out, n_out, "%d.%d.%d", major, minor, patch);
}

static void onednn(char *out, size_t n_out) {
  const dnnl_version_t *v = dnnl_version();
  put_numbers(out, n_out, v->major, v->minor, v->patch);
}

/* libjpeg cannot be asked while the program runs. */
static void libjpeg(char *out, size_t n_out) {
#ifdef LIBJPEG_TURBO_VERSION
  snprintf(out, n_out, "%s", TEXT(LIBJPEG_TURBO_VERSION));
#else
  snprintf(out, n_out, "API %d", JPEG_LIB_VERSION);
#endif
}

static void libpng(char *out, size_t n_out) { snprintf(out, n_out, "%s", png_get_libpng_ver(NULL)); }

static void libwebp(char *out, size_t n_out) {
  int v = WebPGetDecoderVersion();
  put_numbers(out, n_out, v >> 16, v >> 8 & 255, v & 255);
}

static void utf8proc(char *out, size_t n_out) { snprintf(out, n_out, "%s", utf8proc_version()); }

static void matio(char *out, size_t n_out) {
  int major, minor, patch;
  Mat_GetLibraryVersion(&major, &minor, &patch);
  put_numbers(out, n_out, major, minor, patch);
}

static void jansson(char *out, size_t n_out) { snprintf(out, n_out, "%s", jansson_version_str()); }

static void sqlite(char *out, size_t n_out) { snprintf(out, n_out, "%s", sqlite3_libversion()); }

static void zlib(char *out, size_t n_out) { snprintf(out, n_out, "%s", zlibVersion()); }

/* A library that libmoeclip comes to stand on gets a line here. */
static const struct {
  const char *name;
  void (*put_version)(char *out, size_t n_out);
} libraries[] = {
    {"oneDNN", onednn},     {"libjpeg-turbo", libjpeg}, {"libpng", libpng},   {"libwebp", libwebp},
    {"utf8proc", utf8proc}, {"matio", matio},           {"jansson", jansson}, {"zlib", zlib},
    {"SQLite", sqlite},
};

size_t moeclip_libraries(moeclip_library *out, size_t n_out) {
  size_t n = sizeof libraries / sizeof *libraries;
  for (size_t i = 0; i < n && i < n_out; i++) {
    out[i].name = libraries[i].name;
    libraries[i].put_version(out[i].version, sizeof out[i].version);
  }
  return n;
}

const char *moeclip_cpu_features(void) {
#if !defined(__x86_64__)
  return "as oneDNN finds them"; /* it names x86's alone */
#else
  /* oneDNN's numbers are sets of bits: a name is right when all of its bits are there. Widest first. */
  static const struct {
    unsigned isa;
    const char *name;
  } names[] = {
      {dnnl_cpu_isa_avx512_core_amx, "AVX-512 with bfloat16 and AMX"},
      {dnnl_cpu_isa_avx512_core_fp16, "AVX-512 with bfloat16 and float16"},
      {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 with bfloat16"},
      {dnnl_cpu_isa_avx512_core_vnni, "AVX-512 with VNNI"},
      {dnnl_cpu_isa_avx512_core, "AVX-512"},
      {dnnl_cpu_isa_avx2_vnni_2, "AVX2 with VNNI and bfloat16"},
      {dnnl_cpu_isa_avx2_vnni, "AVX2 with VNNI"},
      {dnnl_cpu_isa_avx2, "AVX2"},
      {dnnl_cpu_isa_avx, "AVX"},
      {dnnl_cpu_isa_sse41, "SSE4.1"},
  };
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if ((isa & names[i].isa) == names[i].isa) return names[i].name;
  }
  return "none beyond the baseline";
#endif
}

const char *moeclip_build(void) {
#if defined(__clang__)
#define COMPILER "clang " TEXT(__clang_major__) "." TEXT(__clang_minor__) "." TEXT(__clang_patchlevel__)
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown compiler"
#endif
  return COMPILER ", " MOECLIP_BUILD_TYPE;
}
