/* Code: images are looked at for what GPUs they are for, functions have a name, and running one does nothing. */
#include "cuda.h"

/* A fat binary as nvcc makes it: a wrapper points to a header, entries follow; each says what it holds (1 PTX, 2 machine
   code) and for which compute capability. Layout: dark_api/src/fatbin.rs of vosen/ZLUDA; seen the same in libtorch_cuda.so 2.15. */
typedef struct {
  uint32_t magic, version;
  const void *data;
  void *more;
} FatWrapper;

typedef struct {
  uint32_t magic;
  uint16_t version, header_size;
  uint64_t size;
} FatHeader;

typedef struct {
  uint16_t kind, version;
  uint32_t header_size;
  uint64_t size;
  uint32_t compressed_size, options;
  uint16_t minor, major;
  uint32_t capability;
} FatEntry;

enum { FAT_WRAPPER = 0x466243b1 };
static const uint32_t FAT_BINARY = 0xba55ed50;

/* Machine code runs on its own major with the same or a higher minor; PTX on its own capability and all above
   (https://docs.nvidia.com/cuda/cuda-programming-guide, binary compatibility and PTX compatibility). Not told apart: code for
   one architecture alone (sm_90a). An image that is no fat binary is taken as it is. */
static CUresult fits(const void *image, const Gpu *gpu) {
  NEED(image);
  uint32_t magic;
  memcpy(&magic, image, sizeof magic);
  if (magic == FAT_WRAPPER) {
    image = ((const FatWrapper *)image)->data;
    NEED(image);
    memcpy(&magic, image, sizeof magic);
  }
  if (magic != FAT_BINARY) return SUCCESS;
  FatHeader header;
  memcpy(&header, image, sizeof header);
  const uint8_t *at = (const uint8_t *)image + header.header_size, *end = at + header.size;
  unsigned own = (unsigned)(gpu->major * 10 + gpu->minor);
  bool any = false;
  while (end - at >= (ptrdiff_t)sizeof(FatEntry)) {
    FatEntry entry;
    memcpy(&entry, at, sizeof entry);
    if (entry.header_size < sizeof entry || entry.size > (uint64_t)(end - at)) break;
    any = true;
    if (entry.kind == 2 && entry.capability / 10 == own / 10 && entry.capability <= own) return SUCCESS;
    if (entry.kind == 1 && entry.capability <= own) return SUCCESS;
    at += entry.header_size + entry.size;
  }
  return any ? NO_BINARY_FOR_GPU : SUCCESS;
}

static CUresult make(Handle *made, enum Kind kind, int device, Handle of, const char *name) {
  NEED(made);
  Handle handle = create(kind, device);
  if (!handle) return OUT_OF_MEMORY;
  Object *its = object_of(handle, kind);
  its->of = of;
  its->name = name ? strdup(name) : NULL;
  GIVE(made, handle);
  return SUCCESS;
}

static CUresult load_module(Handle *module, const void *image, int device) {
  CUresult code = fits(image, gpu_of(device));
  return code ? code : make(module, MODULE, device, NULL, NULL);
}

API CUresult cuModuleLoadData(Handle *module, const void *image) {
  IN_CONTEXT;
  return load_module(module, image, context->device);
}

API CUresult cuModuleLoadDataEx(Handle *module, const void *image, unsigned count, const int *options, void **values) {
  IN_CONTEXT;
  (void)count;
  (void)options;
  (void)values;
  return load_module(module, image, context->device);
}

API CUresult cuModuleLoadFatBinary(Handle *module, const void *image) {
  IN_CONTEXT;
  return load_module(module, image, context->device);
}

API CUresult cuModuleLoad(Handle *module, const char *path) {
  IN_CONTEXT;
  NEED(path);
  if (access(path, R_OK)) return FILE_NOT_FOUND;
  return make(module, MODULE, context->device, NULL, NULL);
}

API CUresult cuModuleUnload(Handle module) {
  ENTER(current_gpu());
  READY;
  if (!object_of(module, MODULE)) return INVALID_HANDLE;
  destroy(module);
  return SUCCESS;
}

/* CU_MODULE_LAZY_LOADING is 2: the default since 12.2 on Linux, chosen by CUDA_MODULE_LOADING before. */
API CUresult cuModuleGetLoadingMode(int *mode) {
  ENTER(-1);
  READY;
  NEED(mode);
  const char *wanted = getenv("CUDA_MODULE_LOADING");
  GIVE(mode, wanted && !strcmp(wanted, "EAGER") ? 1 : 2);
  return SUCCESS;
}

API CUresult cuModuleGetFunction(Handle *function, Handle module, const char *name) {
  ENTER(current_gpu());
  READY;
  NEED(name);
  Object *its = object_of(module, MODULE);
  if (!its) return INVALID_HANDLE;
  return make(function, FUNCTION, its->device, module, name);
}

/* The fake does not read an image's symbols: each variable is zeros of this size. */
enum { VARIABLE_SIZE = 1 << 16 };

static CUresult variable(CUdeviceptr *pointer, size_t *size, int device) {
  Allocation *made;
  CUresult code = allocate(&made, VARIABLE_SIZE, device, ON_DEVICE);
  if (code) return code;
  if (pointer) GIVE(pointer, made->start);
  if (size) GIVE(size, VARIABLE_SIZE);
  return SUCCESS;
}

API CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *size, Handle module, const char *name) {
  ENTER(current_gpu());
  READY;
  NEED(name);
  Object *its = object_of(module, MODULE);
  return its ? variable(pointer, size, its->device) : INVALID_HANDLE;
}

/* ---- libraries: modules for all contexts, loaded when a kernel is first used ---- */

API CUresult cuLibraryLoadData(Handle *library, const void *image, const int *jit_options, void **jit_values, unsigned jit_count,
                               const int *options, void **values, unsigned count) {
  ENTER(current_gpu());
  READY;
  (void)jit_options;
  (void)jit_values;
  (void)jit_count;
  (void)options;
  (void)values;
  (void)count;
  Object *context = current_context();
  int device = context ? context->device : 0;
  CUresult code = fits(image, gpu_of(device));
  return code ? code : make(library, LIBRARY, device, NULL, NULL);
}

API CUresult cuLibraryLoadFromFile(Handle *library, const char *path, const int *jit_options, void **jit_values, unsigned jit_count,
                                   const int *options, void **values, unsigned count) {
  ENTER(current_gpu());
  READY;
  NEED(path);
  (void)jit_options;
  (void)jit_values;
  (void)jit_count;
  (void)options;
  (void)values;
  (void)count;
  if (access(path, R_OK)) return FILE_NOT_FOUND;
  return make(library, LIBRARY, 0, NULL, NULL);
}

API CUresult cuLibraryUnload(Handle library) {
  ENTER(current_gpu());
  READY;
  if (!object_of(library, LIBRARY)) return INVALID_HANDLE;
  destroy(library);
  return SUCCESS;
}

API CUresult cuLibraryGetKernel(Handle *kernel, Handle library, const char *name) {
  ENTER(current_gpu());
  READY;
  NEED(name);
  Object *its = object_of(library, LIBRARY);
  if (!its) return INVALID_HANDLE;
  return make(kernel, KERNEL, its->device, library, name);
}

API CUresult cuLibraryGetModule(Handle *module, Handle library) {
  IN_CONTEXT;
  if (!object_of(library, LIBRARY)) return INVALID_HANDLE;
  return make(module, MODULE, context->device, library, NULL);
}

API CUresult cuLibraryGetGlobal(CUdeviceptr *pointer, size_t *size, Handle library, const char *name) {
  IN_CONTEXT;
  NEED(name);
  return object_of(library, LIBRARY) ? variable(pointer, size, context->device) : INVALID_HANDLE;
}

API CUresult cuLibraryGetManaged(CUdeviceptr *pointer, size_t *size, Handle library, const char *name) {
  ENTER(current_gpu());
  READY;
  (void)pointer;
  (void)size;
  NEED(name);
  return object_of(library, LIBRARY) ? NOT_FOUND : INVALID_HANDLE;
}

API CUresult cuLibraryGetKernelCount(unsigned *count, Handle library) {
  ENTER(current_gpu());
  READY;
  NEED(count);
  if (!object_of(library, LIBRARY)) return INVALID_HANDLE;
  GIVE(count, 0);
  return SUCCESS;
}

API CUresult cuKernelGetFunction(Handle *function, Handle kernel) {
  IN_CONTEXT;
  Object *its = object_of(kernel, KERNEL);
  if (!its) return INVALID_HANDLE;
  return make(function, FUNCTION, context->device, kernel, its->name);
}

API CUresult cuKernelGetLibrary(Handle *library, Handle kernel) {
  ENTER(current_gpu());
  READY;
  NEED(library);
  Object *its = object_of(kernel, KERNEL);
  if (!its) return INVALID_HANDLE;
  GIVE(library, its->of);
  return SUCCESS;
}

/* A kernel may be given where a function is wanted (cuda.h at cuLaunchKernel). */
static Object *function_of(Handle handle) {
  Object *its = object_of(handle, FUNCTION);
  return its ? its : object_of(handle, KERNEL);
}

static CUresult name_of(const char **name, Handle handle) {
  NEED(name);
  Object *its = function_of(handle);
  if (!its) return INVALID_HANDLE;
  GIVE(name, its->name);
  return SUCCESS;
}

API CUresult cuFuncGetName(const char **name, Handle function) {
  ENTER(current_gpu());
  READY;
  return name_of(name, function);
}

API CUresult cuKernelGetName(const char **name, Handle kernel) {
  ENTER(current_gpu());
  READY;
  return name_of(name, kernel);
}

API CUresult cuFuncGetModule(Handle *module, Handle function) {
  ENTER(current_gpu());
  READY;
  NEED(module);
  Object *its = object_of(function, FUNCTION);
  if (!its) return INVALID_HANDLE;
  GIVE(module, its->of);
  return SUCCESS;
}

API CUresult cuFuncIsLoaded(int *state, Handle function) {
  ENTER(current_gpu());
  READY;
  NEED(state);
  if (!function_of(function)) return INVALID_HANDLE;
  GIVE(state, 1);
  return SUCCESS;
}

API CUresult cuFuncLoad(Handle function) {
  ENTER(current_gpu());
  READY;
  return function_of(function) ? SUCCESS : INVALID_HANDLE;
}

/* CUfunction_attribute: 0 threads in a block, 4 registers, 5 PTX and 6 binary version, 8 and 9 shared memory. */
static CUresult function_attribute(int *value, int attribute, Handle handle, int device) {
  NEED(value);
  if (!function_of(handle)) return INVALID_HANDLE;
  if (attribute < 0 || attribute > 20) return INVALID_VALUE;
  const Gpu *gpu = gpu_of(device);
  int capability = gpu->major * 10 + gpu->minor;
  GIVE(value, attribute == 0 ? 1024 : attribute == 4 ? 32 : attribute == 5 || attribute == 6 ? capability
                                  : attribute == 8 ? 49152 : attribute == 9 ? -1 : 0);
  return SUCCESS;
}

API CUresult cuFuncGetAttribute(int *value, int attribute, Handle function) {
  IN_CONTEXT;
  return function_attribute(value, attribute, function, context->device);
}

API CUresult cuFuncSetAttribute(Handle function, int attribute, int value) {
  ENTER(current_gpu());
  READY;
  (void)attribute;
  (void)value;
  return function_of(function) ? SUCCESS : INVALID_HANDLE;
}

API CUresult cuKernelGetAttribute(int *value, int attribute, Handle kernel, CUdevice device) {
  DEVICE(device);
  return function_attribute(value, attribute, kernel, device);
}

API CUresult cuKernelSetAttribute(int attribute, int value, Handle kernel, CUdevice device) {
  DEVICE(device);
  (void)attribute;
  (void)value;
  return function_of(kernel) ? SUCCESS : INVALID_HANDLE;
}

API CUresult cuFuncSetCacheConfig(Handle function, int configuration) {
  ENTER(current_gpu());
  READY;
  (void)configuration;
  return function_of(function) ? SUCCESS : INVALID_HANDLE;
}

API CUresult cuKernelSetCacheConfig(Handle kernel, int configuration, CUdevice device) {
  DEVICE(device);
  (void)configuration;
  return function_of(kernel) ? SUCCESS : INVALID_HANDLE;
}

API CUresult cuFuncSetSharedMemConfig(Handle function, int configuration) {
  ENTER(current_gpu());
  READY;
  (void)configuration;
  return function_of(function) ? SUCCESS : INVALID_HANDLE;
}

/* ---- running: nothing happens ---- */

static CUresult launch(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz) {
  if (!function_of(function)) return INVALID_HANDLE;
  if (!gx || !gy || !gz || !bx || !by || !bz || (uint64_t)bx * by * bz > 1024) return INVALID_VALUE;
  return SUCCESS;
}

API CUresult cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                            unsigned shared, Handle handle, void **parameters, void **extra) {
  IN_STREAM(handle);
  (void)shared;
  (void)parameters;
  (void)extra;
  return launch(function, gx, gy, gz, bx, by, bz);
}

/* CUlaunchConfig in cuda.h. */
typedef struct {
  unsigned gx, gy, gz, bx, by, bz, shared;
  Handle stream;
  void *attributes;
  unsigned count;
} LaunchConfiguration;

API CUresult cuLaunchKernelEx(const LaunchConfiguration *wanted, Handle function, void **parameters, void **extra) {
  IN_CONTEXT;
  NEED(wanted);
  if (!stream(wanted->stream)) return INVALID_HANDLE;
  (void)parameters;
  (void)extra;
  return launch(function, wanted->gx, wanted->gy, wanted->gz, wanted->bx, wanted->by, wanted->bz);
}

API CUresult cuLaunchCooperativeKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                       unsigned shared, Handle handle, void **parameters) {
  IN_STREAM(handle);
  (void)shared;
  (void)parameters;
  return launch(function, gx, gy, gz, bx, by, bz);
}

static CUresult blocks_per_multiprocessor(int *blocks, Handle function, int size, int device) {
  NEED(blocks);
  if (!function_of(function)) return INVALID_HANDLE;
  if (size < 1) return INVALID_VALUE;
  int threads = 0;
  attribute_of(device, 39, &threads);  /* CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR */
  GIVE(blocks, threads / size);
  return SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Handle function, int size, size_t shared) {
  IN_CONTEXT;
  (void)shared;
  return blocks_per_multiprocessor(blocks, function, size, context->device);
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, Handle function, int size, size_t shared, unsigned flags) {
  IN_CONTEXT;
  (void)shared;
  (void)flags;
  return blocks_per_multiprocessor(blocks, function, size, context->device);
}

static CUresult potential(int *grid, int *block, Handle function, int limit, int device) {
  NEED(grid);
  NEED(block);
  if (!function_of(function)) return INVALID_HANDLE;
  int threads = 0, multiprocessors = 0, size = limit > 0 && limit < 1024 ? limit : 1024;
  attribute_of(device, 39, &threads);
  attribute_of(device, ATTRIBUTE_MULTIPROCESSOR_COUNT, &multiprocessors);
  GIVE(grid, multiprocessors * (threads / size));
  GIVE(block, size);
  return SUCCESS;
}

API CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, Handle function, size_t (*shared_of)(int), size_t shared, int limit) {
  IN_CONTEXT;
  (void)shared_of;
  (void)shared;
  return potential(grid, block, function, limit, context->device);
}

API CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, Handle function, size_t (*shared_of)(int), size_t shared,
                                                       int limit, unsigned flags) {
  IN_CONTEXT;
  (void)shared_of;
  (void)shared;
  (void)flags;
  return potential(grid, block, function, limit, context->device);
}

API CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *size, Handle function, int blocks, int block) {
  IN_CONTEXT;
  NEED(size);
  (void)block;
  if (!function_of(function)) return INVALID_HANDLE;
  if (blocks < 1) return INVALID_VALUE;
  GIVE(size, (size_t)49152 / (size_t)blocks);
  return SUCCESS;
}

/* A cluster of up to eight blocks is portable (CUDA programming guide, thread block clusters; since 9.0). */
API CUresult cuOccupancyMaxPotentialClusterSize(int *size, Handle function, const LaunchConfiguration *wanted) {
  IN_CONTEXT;
  NEED(size);
  NEED(wanted);
  if (!function_of(function)) return INVALID_HANDLE;
  GIVE(size, 8);
  return SUCCESS;
}

API CUresult cuOccupancyMaxActiveClusters(int *count, Handle function, const LaunchConfiguration *wanted) {
  IN_CONTEXT;
  NEED(count);
  NEED(wanted);
  if (!function_of(function)) return INVALID_HANDLE;
  GIVE(count, gpu_of(context->device)->multiprocessors / 8);
  return SUCCESS;
}

API CUresult cuProfilerStart(void) {
  ENTER(-1);
  READY;
  return SUCCESS;
}

API CUresult cuProfilerStop(void) {
  ENTER(-1);
  READY;
  return SUCCESS;
}
