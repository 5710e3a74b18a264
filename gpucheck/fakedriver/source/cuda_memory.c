/* Memory: the host's stands in for the device's, so every pointer can be read and written by the program too. */
#include "cuda.h"

typedef struct Allocation {
  CUdeviceptr start;
  size_t size;
  int device;
  enum { ON_DEVICE, PINNED, REGISTERED, MANAGED } type;
  Handle context;
  unsigned long long id;
  Handle pool;
  struct Allocation *next;
} Allocation;

static Allocation *allocations;
static size_t allocated[MAX_GPUS];
static unsigned long long allocation_id;
static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;

static Allocation **allocation_at(CUdeviceptr pointer) {
  Allocation **at = &allocations;
  while (*at && !(pointer >= (*at)->start && pointer - (*at)->start < (*at)->size)) at = &(*at)->next;
  return at;
}

static size_t used_on(CUdevice device) {
  const Gpu *gpu = gpu_of(device);
  size_t used = gpu->used + allocated[device];
  for (int i = 0; i < gpu->process_count; i++) used += gpu->processes[i].memory;
  return used;
}

/* The address space is the system's; how much there is is the GPU's, and it is counted. */
static CUresult allocate(Allocation **made, size_t size, int device, int type) {
  if (!size) return INVALID_VALUE;  /* cuda.h: "if bytesize is 0, cuMemAlloc() returns CUDA_ERROR_INVALID_VALUE" */
  CUresult code = SUCCESS;
  pthread_mutex_lock(&memory_lock);
  size_t total = memory_of(device), used = used_on(device);
  void *memory = MAP_FAILED;
  if (type == ON_DEVICE && (used > total || size > total - used)) code = OUT_OF_MEMORY;
  else memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!code && memory == MAP_FAILED) code = OUT_OF_MEMORY;
  if (!code) {
    *made = calloc(1, sizeof **made);
    if (!*made) {
      munmap(memory, size);
      code = OUT_OF_MEMORY;
    }
  }
  if (!code) {
    **made = (Allocation){(CUdeviceptr)(uintptr_t)memory, size, device, (int)type, current(), ++allocation_id, NULL, allocations};
    allocations = *made;
    if (type == ON_DEVICE) allocated[device] += size;
  }
  pthread_mutex_unlock(&memory_lock);
  return code;
}

static CUresult release(CUdeviceptr pointer, bool host) {
  pthread_mutex_lock(&memory_lock);
  Allocation **at = allocation_at(pointer);
  Allocation *its = *at;
  if (its && (its->start != pointer || host != (its->type == PINNED) || its->type == REGISTERED)) its = NULL;
  if (its) {
    *at = its->next;
    if (its->type == ON_DEVICE) allocated[its->device] -= its->size;
    munmap((void *)(uintptr_t)its->start, its->size);
    free(its);
  }
  pthread_mutex_unlock(&memory_lock);
  return its ? SUCCESS : INVALID_VALUE;
}

API CUresult cuMemGetInfo_v2(size_t *free_memory, size_t *total) {
  IN_CONTEXT;
  NEED(free_memory);
  NEED(total);
  size_t all = memory_of(context->device), used = used_on(context->device);
  GIVE(free_memory, used < all ? all - used : 0);
  GIVE(total, all);
  return SUCCESS;
}

static CUresult allocate_for(CUdeviceptr *pointer, size_t size, int device, int type) {
  NEED(pointer);
  Allocation *made;
  CUresult code = allocate(&made, size, device, type);
  if (!code) GIVE(pointer, made->start);
  return code;
}

API CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
  IN_CONTEXT;
  return allocate_for(pointer, size, context->device, ON_DEVICE);
}

API CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t size, unsigned flags) {
  IN_CONTEXT;
  if (flags != 1 && flags != 2) return INVALID_VALUE;  /* CU_MEM_ATTACH_GLOBAL, CU_MEM_ATTACH_HOST */
  return allocate_for(pointer, size, context->device, MANAGED);
}

API CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height, unsigned element) {
  IN_CONTEXT;
  NEED(pitch);
  if (element != 4 && element != 8 && element != 16) return INVALID_VALUE;
  size_t wide = (width + 511) / 512 * 512;
  size_t size;
  if (wide < width || __builtin_mul_overflow(wide, height, &size)) return INVALID_VALUE;
  CUresult code = allocate_for(pointer, size, context->device, ON_DEVICE);
  if (!code) GIVE(pitch, wide);
  return code;
}

API CUresult cuMemFree_v2(CUdeviceptr pointer) {
  ENTER(current_gpu());
  READY;
  return pointer ? release(pointer, false) : SUCCESS;
}

API CUresult cuMemGetAddressRange_v2(CUdeviceptr *start, size_t *size, CUdeviceptr pointer) {
  ENTER(current_gpu());
  READY;
  pthread_mutex_lock(&memory_lock);
  Allocation *its = *allocation_at(pointer);
  if (its && start) GIVE(start, its->start);
  if (its && size) GIVE(size, its->size);
  pthread_mutex_unlock(&memory_lock);
  return its ? SUCCESS : NOT_FOUND;
}

API CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
  IN_CONTEXT;
  (void)flags;
  return allocate_for((CUdeviceptr *)pointer, size, context->device, PINNED);
}

API CUresult cuMemAllocHost_v2(void **pointer, size_t size) {
  IN_CONTEXT;
  return allocate_for((CUdeviceptr *)pointer, size, context->device, PINNED);
}

API CUresult cuMemFreeHost(void *pointer) {
  ENTER(current_gpu());
  READY;
  return release((CUdeviceptr)(uintptr_t)pointer, true);
}

API CUresult cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags) {
  IN_CONTEXT;
  (void)flags;
  if (!pointer || !size) return INVALID_VALUE;
  Allocation *made = calloc(1, sizeof *made);
  if (!made) return OUT_OF_MEMORY;
  pthread_mutex_lock(&memory_lock);
  *made = (Allocation){(CUdeviceptr)(uintptr_t)pointer, size, context->device, REGISTERED, current(), ++allocation_id, NULL, allocations};
  allocations = made;
  pthread_mutex_unlock(&memory_lock);
  return SUCCESS;
}

API CUresult cuMemHostUnregister(void *pointer) {
  ENTER(current_gpu());
  READY;
  pthread_mutex_lock(&memory_lock);
  Allocation **at = allocation_at((CUdeviceptr)(uintptr_t)pointer);
  Allocation *its = *at && (*at)->type == REGISTERED ? *at : NULL;
  if (its) *at = its->next;
  pthread_mutex_unlock(&memory_lock);
  free(its);
  return its ? SUCCESS : HOST_MEMORY_NOT_REGISTERED;
}

API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pointer, void *host, unsigned flags) {
  IN_CONTEXT;
  NEED(pointer);
  if (flags) return INVALID_VALUE;
  GIVE(pointer, (CUdeviceptr)(uintptr_t)host);
  return SUCCESS;
}

API CUresult cuMemHostGetFlags(unsigned *flags, void *host) {
  ENTER(current_gpu());
  READY;
  NEED(flags);
  pthread_mutex_lock(&memory_lock);
  Allocation *its = *allocation_at((CUdeviceptr)(uintptr_t)host);
  bool pinned = its && its->type != ON_DEVICE;
  pthread_mutex_unlock(&memory_lock);
  if (!pinned) return INVALID_VALUE;
  GIVE(flags, 0);
  return SUCCESS;
}

/* ---- copies ---- */

static void move(CUdeviceptr to, CUdeviceptr from, size_t size) {
  if (size) memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, size);
}

/* A null pointer is the one wrong address that can be told from a right one. */
#define COPY(to, from, size)                                        \
  do {                                                              \
    if ((size) && (!(to) || !(from))) return INVALID_VALUE;         \
    move((CUdeviceptr)(uintptr_t)(to), (CUdeviceptr)(uintptr_t)(from), (size)); \
    return SUCCESS;                                                 \
  } while (0)

API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t size) {
  IN_CONTEXT;
  COPY(to, from, size);
}

API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size, Handle handle) {
  IN_STREAM(handle);
  COPY(to, from, size);
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
  IN_CONTEXT;
  COPY(to, from, size);
}

API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
  IN_CONTEXT;
  COPY(to, from, size);
}

API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size) {
  IN_CONTEXT;
  COPY(to, from, size);
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, Handle handle) {
  IN_STREAM(handle);
  COPY(to, from, size);
}

API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, Handle handle) {
  IN_STREAM(handle);
  COPY(to, from, size);
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, Handle handle) {
  IN_STREAM(handle);
  COPY(to, from, size);
}

API CUresult cuMemcpyPeer(CUdeviceptr to, Handle to_context, CUdeviceptr from, Handle from_context, size_t size) {
  IN_CONTEXT;
  (void)to_context;
  (void)from_context;
  COPY(to, from, size);
}

API CUresult cuMemcpyPeerAsync(CUdeviceptr to, Handle to_context, CUdeviceptr from, Handle from_context, size_t size, Handle handle) {
  IN_STREAM(handle);
  (void)to_context;
  (void)from_context;
  COPY(to, from, size);
}

/* CUDA_MEMCPY2D and CUDA_MEMCPY3D (the second version) in cuda.h; CUmemorytype: 1 host, 2 device, 3 array, 4 unified. */
typedef struct {
  size_t x, y;
  int type;
  CUdeviceptr host, device;
  Handle array;
  size_t pitch;
} Plane;

typedef struct {
  Plane from, to;
  size_t width, height;
} Copy2D;

typedef struct {
  size_t x, y, z, level;
  int type;
  CUdeviceptr host, device;
  Handle array;
  void *reserved;
  size_t pitch, height;
} Box;

typedef struct {
  Box from, to;
  size_t width, height, depth;
} Copy3D;

static CUresult copy_2d(const Copy2D *copy) {
  NEED(copy);
  if (copy->from.type == 3 || copy->to.type == 3) return NOT_SUPPORTED;
  CUdeviceptr from = copy->from.type == 1 ? copy->from.host : copy->from.device;
  CUdeviceptr to = copy->to.type == 1 ? copy->to.host : copy->to.device;
  size_t from_pitch = copy->from.pitch ? copy->from.pitch : copy->width, to_pitch = copy->to.pitch ? copy->to.pitch : copy->width;
  if (!from || !to) return INVALID_VALUE;
  for (size_t y = 0; y < copy->height; y++)
    move(to + (copy->to.y + y) * to_pitch + copy->to.x, from + (copy->from.y + y) * from_pitch + copy->from.x, copy->width);
  return SUCCESS;
}

static CUresult copy_3d(const Copy3D *copy) {
  NEED(copy);
  if (copy->from.type == 3 || copy->to.type == 3) return NOT_SUPPORTED;
  CUdeviceptr from = copy->from.type == 1 ? copy->from.host : copy->from.device;
  CUdeviceptr to = copy->to.type == 1 ? copy->to.host : copy->to.device;
  if (!from || !to) return INVALID_VALUE;
  for (size_t z = 0; z < copy->depth; z++)
    for (size_t y = 0; y < copy->height; y++)
      move(to + ((copy->to.z + z) * copy->to.height + copy->to.y + y) * copy->to.pitch + copy->to.x,
           from + ((copy->from.z + z) * copy->from.height + copy->from.y + y) * copy->from.pitch + copy->from.x, copy->width);
  return SUCCESS;
}

API CUresult cuMemcpy2D_v2(const Copy2D *copy) {
  IN_CONTEXT;
  return copy_2d(copy);
}

API CUresult cuMemcpy2DUnaligned_v2(const Copy2D *copy) {
  IN_CONTEXT;
  return copy_2d(copy);
}

API CUresult cuMemcpy2DAsync_v2(const Copy2D *copy, Handle handle) {
  IN_STREAM(handle);
  return copy_2d(copy);
}

API CUresult cuMemcpy3D_v2(const Copy3D *copy) {
  IN_CONTEXT;
  return copy_3d(copy);
}

API CUresult cuMemcpy3DAsync_v2(const Copy3D *copy, Handle handle) {
  IN_STREAM(handle);
  return copy_3d(copy);
}

static CUresult fill(CUdeviceptr to, size_t pitch, const void *value, size_t size, size_t count, size_t rows) {
  if (!to && count && rows) return INVALID_VALUE;
  for (size_t y = 0; y < rows; y++) {
    uint8_t *row = (uint8_t *)(uintptr_t)to + y * pitch;
    if (size == 1) memset(row, *(const uint8_t *)value, count);
    else
      for (size_t x = 0; x < count; x++) memcpy(row + x * size, value, size);
  }
  return SUCCESS;
}

#define SETS(bits)                                                                                                        \
  API CUresult cuMemsetD##bits##_v2(CUdeviceptr to, uint##bits##_t value, size_t count) {                                 \
    IN_CONTEXT;                                                                                                           \
    return fill(to, 0, &value, sizeof value, count, 1);                                                                   \
  }                                                                                                                       \
  API CUresult cuMemsetD##bits##Async(CUdeviceptr to, uint##bits##_t value, size_t count, Handle handle) {                \
    IN_STREAM(handle);                                                                                                    \
    return fill(to, 0, &value, sizeof value, count, 1);                                                                   \
  }                                                                                                                       \
  API CUresult cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, uint##bits##_t value, size_t width, size_t height) {  \
    IN_CONTEXT;                                                                                                           \
    return fill(to, pitch, &value, sizeof value, width, height);                                                          \
  }                                                                                                                       \
  API CUresult cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, uint##bits##_t value, size_t width, size_t height,  \
                                        Handle handle) {                                                                  \
    IN_STREAM(handle);                                                                                                    \
    return fill(to, pitch, &value, sizeof value, width, height);                                                          \
  }

SETS(8)
SETS(16)
SETS(32)

/* ---- what a pointer is ---- */

/* CUpointer_attribute in cuda.h. */
static CUresult pointer_attribute(void *data, int attribute, CUdeviceptr pointer, bool lenient) {
  pthread_mutex_lock(&memory_lock);
  Allocation *found = *allocation_at(pointer);
  Allocation its = found ? *found : (Allocation){.device = -2};
  pthread_mutex_unlock(&memory_lock);
  if (!found && !lenient) return INVALID_VALUE;
  switch (attribute) {
    case 1: GIVE((Handle *)data, its.context); break;
    case 2: GIVE((unsigned *)data, !found ? 0u : its.type == PINNED || its.type == REGISTERED ? 1u : 2u); break;
    case 3: GIVE((CUdeviceptr *)data, found ? pointer : 0); break;
    case 4: GIVE((CUdeviceptr *)data, !found || its.type == ON_DEVICE ? 0 : pointer); break;
    case 6: GIVE((int *)data, 0); break;
    case 7: GIVE((unsigned long long *)data, its.id); break;
    case 8: GIVE((int *)data, found && its.type == MANAGED); break;
    case 9: GIVE((int *)data, its.device); break;
    case 10: GIVE((int *)data, found && its.type == ON_DEVICE); break;
    case 11: GIVE((CUdeviceptr *)data, its.start); break;
    case 12: GIVE((size_t *)data, its.size); break;
    case 13: GIVE((int *)data, found != NULL); break;
    case 14: GIVE((uint64_t *)data, 0); break;
    case 15: GIVE((int *)data, 0); break;
    case 16: GIVE((int *)data, found ? 3 : 0); break;
    case 17: GIVE((Handle *)data, its.pool); break;
    case 18: GIVE((size_t *)data, its.size); break;
    case 19: GIVE((CUdeviceptr *)data, its.start); break;
    case 20: GIVE((unsigned long long *)data, its.id); break;
    case 21: GIVE((int *)data, 0); break;
    case 22: GIVE((int *)data, -1); break;
    default: return INVALID_VALUE;
  }
  return SUCCESS;
}

API CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr pointer) {
  ENTER(current_gpu());
  READY;
  NEED(data);
  return pointer_attribute(data, attribute, pointer, false);
}

/* "Unlike cuPointerGetAttribute, this function will not return an error when the ptr encountered is not a valid CUDA
   pointer. Instead, the attributes are assigned default NULL values" (cuda.h). */
API CUresult cuPointerGetAttributes(unsigned count, const int *wanted, void **data, CUdeviceptr pointer) {
  ENTER(current_gpu());
  READY;
  NEED(wanted);
  NEED(data);
  for (unsigned i = 0; i < count; i++) {
    CUresult code = pointer_attribute(data[i], wanted[i], pointer, true);
    if (code) return code;
  }
  return SUCCESS;
}

API CUresult cuPointerSetAttribute(const void *value, int attribute, CUdeviceptr pointer) {
  ENTER(current_gpu());
  READY;
  NEED(value);
  (void)pointer;
  return attribute == 6 ? SUCCESS : INVALID_VALUE;
}

API CUresult cuMemAdvise(CUdeviceptr pointer, size_t count, int advice, CUdevice device) {
  ENTER(current_gpu());
  READY;
  (void)pointer;
  (void)count;
  (void)advice;
  (void)device;
  return SUCCESS;
}

API CUresult cuMemPrefetchAsync(CUdeviceptr pointer, size_t count, CUdevice device, Handle handle) {
  IN_STREAM(handle);
  (void)pointer;
  (void)count;
  (void)device;
  return SUCCESS;
}

/* ---- pools: every allocation is made and freed at once ---- */

static Handle default_pools[MAX_GPUS];

static Handle default_pool(CUdevice device) {
  pthread_mutex_lock(&contexts_lock);
  if (!default_pools[device]) default_pools[device] = create(POOL, device);
  Handle found = default_pools[device];
  pthread_mutex_unlock(&contexts_lock);
  return found;
}

API CUresult cuDeviceGetDefaultMemPool(Handle *pool, CUdevice device) {
  DEVICE(device);
  NEED(pool);
  GIVE(pool, default_pool(device));
  return SUCCESS;
}

API CUresult cuDeviceGetMemPool(Handle *pool, CUdevice device) {
  DEVICE(device);
  NEED(pool);
  GIVE(pool, default_pool(device));
  return SUCCESS;
}

API CUresult cuDeviceSetMemPool(CUdevice device, Handle pool) {
  DEVICE(device);
  return object_of(pool, POOL) ? SUCCESS : INVALID_VALUE;
}

/* CUmemPoolProps: its location's type and id follow the allocation and the handle type. */
typedef struct {
  int allocation_type, handle_types;
  struct {
    int type, id;
  } location;
} PoolProperties;

API CUresult cuMemPoolCreate(Handle *pool, const PoolProperties *properties) {
  ENTER(-1);
  READY;
  NEED(pool);
  NEED(properties);
  int device = properties->location.id;
  if (properties->location.type != 1 || device < 0 || device >= device_count) return INVALID_VALUE;
  Handle made = create(POOL, device);
  if (!made) return OUT_OF_MEMORY;
  GIVE(pool, made);
  return SUCCESS;
}

API CUresult cuMemPoolDestroy(Handle pool) {
  ENTER(-1);
  READY;
  if (!object_of(pool, POOL)) return INVALID_VALUE;
  destroy(pool);
  return SUCCESS;
}

API CUresult cuMemPoolTrimTo(Handle pool, size_t keep) {
  ENTER(-1);
  READY;
  (void)keep;
  return object_of(pool, POOL) ? SUCCESS : INVALID_VALUE;
}

API CUresult cuMemPoolSetAttribute(Handle pool, int attribute, void *value) {
  ENTER(-1);
  READY;
  NEED(value);
  (void)attribute;
  return object_of(pool, POOL) ? SUCCESS : INVALID_VALUE;
}

/* CU_MEMPOOL_ATTR_REUSE_... (1 to 3) are ints, the others 64-bit numbers. */
API CUresult cuMemPoolGetAttribute(Handle pool, int attribute, void *value) {
  ENTER(-1);
  READY;
  NEED(value);
  Object *its = object_of(pool, POOL);
  if (!its) return INVALID_VALUE;
  if (attribute >= 1 && attribute <= 3) GIVE((int *)value, 1);
  else GIVE((uint64_t *)value, attribute == 5 || attribute == 7 ? allocated[its->device] : 0);
  return SUCCESS;
}

API CUresult cuMemPoolSetAccess(Handle pool, const void *map, size_t count) {
  ENTER(-1);
  READY;
  (void)map;
  (void)count;
  return object_of(pool, POOL) ? SUCCESS : INVALID_VALUE;
}

API CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t size, Handle handle) {
  IN_STREAM(handle);
  return allocate_for(pointer, size, context->device, ON_DEVICE);
}

API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t size, Handle pool, Handle handle) {
  IN_STREAM(handle);
  Object *its = object_of(pool, POOL);
  if (!its) return INVALID_VALUE;
  return allocate_for(pointer, size, its->device, ON_DEVICE);
}

API CUresult cuMemFreeAsync(CUdeviceptr pointer, Handle handle) {
  IN_STREAM(handle);
  return release(pointer, false);
}
