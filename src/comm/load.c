#define _GNU_SOURCE /* dladdr */
#include "comm/load.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moeclip/comm.h"

static int number_of(const char *variable, int otherwise) {
  const char *s = getenv(variable);
  char *end;
  if (!s || !*s) return otherwise;
  long n = strtol(s, &end, 10);
  return *end || n < 0 || n > 100000000 ? otherwise : (int)n;
}

/* Open MPI's mpirun; MPICH's and Slurm's PMI; PMIx tells the rank alone, and Slurm then the number of a step's tasks. */
int moeclip_comm_launched(void) {
  int n = number_of("OMPI_COMM_WORLD_SIZE", 0);
  if (n < 1) n = number_of("PMI_SIZE", 0);
  if (n < 1 && getenv("PMIX_RANK")) n = number_of("SLURM_STEP_NUM_TASKS", 0);
  return n < 1 ? 1 : n;
}

int moeclip_comm_launched_rank(void) {
  if (moeclip_comm_launched() == 1) return 0;
  return number_of("OMPI_COMM_WORLD_RANK", number_of("PMI_RANK", number_of("PMIX_RANK", 0)));
}

#ifdef MOECLIP_WITH_MPI

/* The folder of the program or library that this code is in. */
static void own_folder(char *out, size_t n_out) {
  Dl_info info;
  ssize_t n = -1;
  if (dladdr((const void *)(uintptr_t)&mc_comm_load, &info) && strstr(info.dli_fname, ".so")) {
    n = snprintf(out, n_out, "%s", info.dli_fname);
  } else {
    n = readlink("/proc/self/exe", out, n_out - 1);
  }
  out[n < 0 || (size_t)n >= n_out ? 0 : n] = 0;
  char *slash = strrchr(out, '/');
  if (slash) {
    *slash = 0;
  } else {
    snprintf(out, n_out, ".");
  }
}

moeclip_code mc_comm_load(mc_comm_backend *out, moeclip_error *err) {
  static const char *const places[] = {"", "/../lib", "/../lib/moeclip"};
  char folder[3072], path[4096], message[512] = "";
  void *module = NULL;
  own_folder(folder, sizeof folder);
  for (size_t i = 0; i < sizeof places / sizeof places[0] && !module; i++) {
    snprintf(path, sizeof path, "%s%s/%s", folder, places[i], MC_COMM_MODULE);
    /* Open MPI's own plug-ins look for its symbols among all. */
    if (access(path, R_OK) == 0) module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!module && access(path, R_OK) == 0) snprintf(message, sizeof message, "%.500s", dlerror());
  }
  if (!module) {
    return mc_fail(err, MOECLIP_ERROR_IO, "the module %s, which connects processes, cannot be loaded: %s", MC_COMM_MODULE,
                   message[0] ? message : "it is not beside the program");
  }
  mc_comm_entry begin;
  void *symbol = dlsym(module, MC_COMM_ENTRY);
  memcpy(&begin, &symbol, sizeof begin);
  if (!symbol || !begin(out, message, sizeof message)) {
    return mc_fail(err, MOECLIP_ERROR_INTERNAL, "MPI could not be started: %s", symbol ? message : "the module is another version's");
  }
  return MOECLIP_OK; /* the module stays: MPI cannot be taken out of a process again */
}

#else

moeclip_code mc_comm_load(mc_comm_backend *out, moeclip_error *err) {
  (void)out;
  return mc_fail(err, MOECLIP_ERROR_UNSUPPORTED,
                 "this moeclip was built without MPI, so that several processes cannot work together: build it with "
                 "-DMOECLIP_MPI=ON, or start it without mpirun");
}

#endif
