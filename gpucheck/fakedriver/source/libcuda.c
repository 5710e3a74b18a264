/* libcuda.so.1 as one translation unit: the parts below, then the generated tables with a stub for every other name. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "script.c"

const char *const prefix = "cu";

#include "cuda_device.c"
#include "cuda_context.c"
#include "cuda_memory.c"
#include "cuda_module.c"
#include "cuda_lookup.c"

#include "libcuda_tables.h"
