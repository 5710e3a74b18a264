/* Objects behind handles, contexts, streams and events. */
#include "cuda.h"

enum Kind { FREE, CONTEXT, STREAM, EVENT, MODULE, FUNCTION, LIBRARY, KERNEL, POOL, LINK };

typedef struct {
  enum Kind kind;
  int device;
  unsigned flags;
  int priority;
  int references;      /* of a primary context */
  bool primary;
  size_t limits[16];
  struct timespec at;  /* of an event */
  bool recorded;
  Handle of;           /* the module of a function, the library of a kernel */
  char *name;
} Object;

/* Handles are numbers of this table, so that garbage, a freed handle or a handle of another driver is told from a live one
   without following it. */
static Object *objects;
static size_t object_count;
static size_t objects_free;  /* below it there is no free place */
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;
static const uintptr_t FIRST_HANDLE = 0x5fd000000000;

static Object *object_of(Handle handle, enum Kind kind) {
  uintptr_t number = (uintptr_t)handle - FIRST_HANDLE;
  Object *found = NULL;
  pthread_mutex_lock(&objects_lock);
  if ((uintptr_t)handle >= FIRST_HANDLE && number % 64 == 0 && number / 64 < object_count && objects[number / 64].kind == kind)
    found = &objects[number / 64];
  pthread_mutex_unlock(&objects_lock);
  return found;
}

/* The table never moves: its address space is reserved at the first object. */
enum { MAX_OBJECTS = 1 << 20 };

static Handle create(enum Kind kind, int device) {
  Handle made = NULL;
  pthread_mutex_lock(&objects_lock);
  if (!objects) {
    objects = mmap(NULL, sizeof(Object) * MAX_OBJECTS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (objects == MAP_FAILED) objects = NULL;
  }
  size_t i = objects_free;
  while (objects && i < object_count && objects[i].kind != FREE) i++;
  if (objects && i < MAX_OBJECTS) {
    if (i == object_count) object_count++;
    objects_free = i + 1;
    objects[i] = (Object){.kind = kind, .device = device};
    made = (Handle)(FIRST_HANDLE + i * 64);
  }
  pthread_mutex_unlock(&objects_lock);
  return made;
}

static void destroy(Handle handle) {
  pthread_mutex_lock(&objects_lock);
  size_t i = ((uintptr_t)handle - FIRST_HANDLE) / 64;
  free(objects[i].name);
  objects[i] = (Object){.kind = FREE};
  if (i < objects_free) objects_free = i;
  pthread_mutex_unlock(&objects_lock);
}

/* ---- contexts ---- */

enum { MAX_STACK = 64 };
static _Thread_local Handle stack[MAX_STACK];
static _Thread_local int stacked;
static Handle primaries[MAX_GPUS];
static unsigned primary_flags[MAX_GPUS];
static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;

static Handle current(void) { return stacked ? stack[stacked - 1] : NULL; }

static Object *current_context(void) { return stacked ? object_of(stack[stacked - 1], CONTEXT) : NULL; }

static int current_gpu(void) {
  Object *context = current_context();
  return context ? number_of(context->device) : -1;
}

/* A call that needs a current context: CUDA_ERROR_INVALID_CONTEXT without one (cuda.h, at the code). */
#define IN_CONTEXT                                  \
  Object *context = current_context();              \
  ENTER(context ? number_of(context->device) : -1); \
  READY;                                            \
  if (!context) return INVALID_CONTEXT

/* "Devices are often unavailable due to use of CU_COMPUTEMODE_EXCLUSIVE_PROCESS or CU_COMPUTEMODE_PROHIBITED" (cuda.h at
   CUDA_ERROR_DEVICE_UNAVAILABLE). */
static CUresult available(CUdevice device) {
  const Gpu *gpu = gpu_of(device);
  if (gpu->compute_mode == 2) return DEVICE_UNAVAILABLE;
  if ((gpu->compute_mode == 3 || gpu->compute_mode == 1) && gpu->process_count) return DEVICE_UNAVAILABLE;
  return SUCCESS;
}

static void set_limits(Object *context) {
  /* CU_LIMIT_STACK_SIZE, PRINTF_FIFO_SIZE, MALLOC_HEAP_SIZE, DEV_RUNTIME_SYNC_DEPTH, ..PENDING_LAUNCH_COUNT, MAX_L2_FETCH: the
     defaults of the CUDA programming guide (dynamic parallelism, configuration options; device heap). */
  static const size_t DEFAULTS[] = {1024, 1 << 20, 8 << 20, 2, 2048, 64};
  memcpy(context->limits, DEFAULTS, sizeof DEFAULTS);
}

static CUresult make_context(Handle *made, CUdevice device, unsigned flags) {
  CUresult code = available(device);
  if (code) return code;
  *made = create(CONTEXT, device);
  if (!*made) return OUT_OF_MEMORY;
  Object *context = object_of(*made, CONTEXT);
  context->flags = flags;
  set_limits(context);
  return SUCCESS;
}

static void forget_context(Handle handle);  /* what the runtime stored with it: cuda_tables.c */

static void drop_context(Handle handle) {
  forget_context(handle);
  destroy(handle);
  if (current() == handle) stacked--;
}

static CUresult push(Handle context) {
  if (stacked == MAX_STACK) return OUT_OF_MEMORY;
  stack[stacked++] = context;
  return SUCCESS;
}

static CUresult create_context(Handle *context, unsigned flags, CUdevice device) {
  Handle made;
  CUresult code = make_context(&made, device, flags);
  if (!code) code = push(made);
  if (!code) GIVE(context, made);
  return code;
}

API CUresult cuCtxCreate_v2(Handle *context, unsigned flags, CUdevice device) {
  DEVICE(device);
  NEED(context);
  return create_context(context, flags, device);
}

API CUresult cuCtxCreate_v3(Handle *context, void *affinity, int count, unsigned flags, CUdevice device) {
  DEVICE(device);
  NEED(context);
  (void)affinity;
  if (count) return NOT_SUPPORTED;
  return create_context(context, flags, device);
}

API CUresult cuCtxCreate_v4(Handle *context, void *parameters, unsigned flags, CUdevice device) {
  DEVICE(device);
  NEED(context);
  (void)parameters;
  return create_context(context, flags, device);
}

API CUresult cuCtxDestroy_v2(Handle context) {
  Object *its = object_of(context, CONTEXT);
  ENTER(its ? number_of(its->device) : -1);
  READY;
  if (!its || its->primary) return INVALID_CONTEXT;
  drop_context(context);
  return SUCCESS;
}

/* A device's primary context has a handle from the first, but is made when it is first retained: the runtime asks for the
   handle of each device at its start, and a GPU that is not available fails the first call that needs the context. */
static Handle primary(CUdevice device) {
  pthread_mutex_lock(&contexts_lock);
  if (!primaries[device]) {
    primaries[device] = create(CONTEXT, device);
    Object *made = object_of(primaries[device], CONTEXT);
    if (made) made->primary = true;
  }
  Handle found = primaries[device];
  pthread_mutex_unlock(&contexts_lock);
  return found;
}

API CUresult cuDevicePrimaryCtxRetain(Handle *context, CUdevice device) {
  DEVICE(device);
  NEED(context);
  Handle handle = primary(device);
  Object *its = object_of(handle, CONTEXT);
  if (!its) return OUT_OF_MEMORY;
  CUresult code = available(device);
  if (code) return code;
  pthread_mutex_lock(&contexts_lock);
  if (!its->references++) {
    its->flags = primary_flags[device];
    set_limits(its);
  }
  pthread_mutex_unlock(&contexts_lock);
  GIVE(context, handle);
  return SUCCESS;
}

static CUresult end_primary(CUdevice device, bool all) {
  Object *its = object_of(primary(device), CONTEXT);
  if (!its) return OUT_OF_MEMORY;
  pthread_mutex_lock(&contexts_lock);
  bool active = its->references, ends = active && (all || its->references == 1);
  if (active) its->references = all ? 0 : its->references - 1;
  pthread_mutex_unlock(&contexts_lock);
  if (ends) forget_context(primary(device));
  return active || all ? SUCCESS : INVALID_CONTEXT;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  DEVICE(device);
  return end_primary(device, false);
}

API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  DEVICE(device);
  return end_primary(device, true);
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
  DEVICE(device);
  NEED(flags);
  NEED(active);
  GIVE(flags, primary_flags[device]);
  Object *its = object_of(primary(device), CONTEXT);
  GIVE(active, its && its->references);
  return SUCCESS;
}

API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
  DEVICE(device);
  primary_flags[device] = flags;
  return SUCCESS;
}

/* The first versions of these calls have the same arguments; what they tell apart does not matter here. */
#define ALSO(name, of) extern __typeof__(of) name __attribute__((alias(#of), visibility("default")));

ALSO(cuCtxDestroy, cuCtxDestroy_v2)
ALSO(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2)
ALSO(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2)
ALSO(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2)

API CUresult cuCtxGetCurrent(Handle *context) {
  ENTER(current_gpu());
  READY;
  NEED(context);
  GIVE(context, current());
  return SUCCESS;
}

API CUresult cuCtxSetCurrent(Handle context) {
  Object *its = object_of(context, CONTEXT);
  ENTER(its ? number_of(its->device) : -1);
  READY;
  if (context && !its) return INVALID_CONTEXT;
  if (!context) {
    if (stacked) stacked--;
  } else if (stacked) {
    stack[stacked - 1] = context;
  } else {
    stack[stacked++] = context;
  }
  return SUCCESS;
}

API CUresult cuCtxPushCurrent_v2(Handle context) {
  Object *its = object_of(context, CONTEXT);
  ENTER(its ? number_of(its->device) : -1);
  READY;
  if (!its) return INVALID_CONTEXT;
  return push(context);
}

API CUresult cuCtxPopCurrent_v2(Handle *popped) {
  IN_CONTEXT;
  Handle top = stack[--stacked];
  if (popped) GIVE(popped, top);
  return SUCCESS;
}

ALSO(cuCtxPushCurrent, cuCtxPushCurrent_v2)
ALSO(cuCtxPopCurrent, cuCtxPopCurrent_v2)

API CUresult cuCtxGetDevice(CUdevice *device) {
  IN_CONTEXT;
  NEED(device);
  GIVE(device, context->device);
  return SUCCESS;
}

API CUresult cuCtxGetDevice_v2(CUdevice *device, Handle of) {
  Object *context = of ? object_of(of, CONTEXT) : current_context();
  ENTER(context ? number_of(context->device) : -1);
  READY;
  NEED(device);
  if (!context) return INVALID_CONTEXT;
  GIVE(device, context->device);
  return SUCCESS;
}

API CUresult cuCtxGetFlags(unsigned *flags) {
  IN_CONTEXT;
  NEED(flags);
  GIVE(flags, context->flags);
  return SUCCESS;
}

API CUresult cuCtxSetFlags(unsigned flags) {
  IN_CONTEXT;
  context->flags = flags;
  return SUCCESS;
}

API CUresult cuCtxGetId(Handle of, unsigned long long *id) {
  Object *context = of ? object_of(of, CONTEXT) : current_context();
  ENTER(context ? number_of(context->device) : -1);
  READY;
  NEED(id);
  if (!context) return INVALID_CONTEXT;
  GIVE(id, (unsigned long long)((uintptr_t)(of ? of : current()) - FIRST_HANDLE) / 64 + 1);
  return SUCCESS;
}

/* The version of the API that made the context: 3020 since CUDA 3.2 (cuda.h). */
API CUresult cuCtxGetApiVersion(Handle of, unsigned *version) {
  ENTER(-1);
  READY;
  NEED(version);
  if (of ? !object_of(of, CONTEXT) : !current_context()) return INVALID_CONTEXT;
  GIVE(version, 3020);
  return SUCCESS;
}

API CUresult cuCtxSynchronize(void) {
  IN_CONTEXT;
  return SUCCESS;
}

API CUresult cuCtxSynchronize_v2(Handle of) {
  Object *context = of ? object_of(of, CONTEXT) : current_context();
  ENTER(context ? number_of(context->device) : -1);
  READY;
  return context ? SUCCESS : INVALID_CONTEXT;
}

API CUresult cuCtxGetLimit(size_t *value, int limit) {
  IN_CONTEXT;
  NEED(value);
  if (limit < 0 || limit > 10) return INVALID_VALUE;
  GIVE(value, context->limits[limit]);
  return SUCCESS;
}

API CUresult cuCtxSetLimit(int limit, size_t value) {
  IN_CONTEXT;
  if (limit < 0 || limit > 10) return INVALID_VALUE;
  context->limits[limit] = value;
  return SUCCESS;
}

API CUresult cuCtxGetCacheConfig(int *configuration) {
  IN_CONTEXT;
  NEED(configuration);
  GIVE(configuration, 0);
  return SUCCESS;
}

API CUresult cuCtxSetCacheConfig(int configuration) {
  IN_CONTEXT;
  return configuration < 0 || configuration > 3 ? INVALID_VALUE : SUCCESS;
}

API CUresult cuCtxGetSharedMemConfig(int *configuration) {
  IN_CONTEXT;
  NEED(configuration);
  GIVE(configuration, 1);  /* four-byte banks */
  return SUCCESS;
}

API CUresult cuCtxSetSharedMemConfig(int configuration) {
  IN_CONTEXT;
  return configuration < 0 || configuration > 2 ? INVALID_VALUE : SUCCESS;
}

API CUresult cuCtxResetPersistingL2Cache(void) {
  IN_CONTEXT;
  return SUCCESS;
}

/* "[greatest, least]" as numbers: 0 and -5 on GPUs since Volta, 0 and -1 before (cudaDeviceGetStreamPriorityRange). */
API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  IN_CONTEXT;
  if (least) GIVE(least, 0);
  if (greatest) GIVE(greatest, gpu_of(context->device)->major >= 7 ? -5 : -1);
  return SUCCESS;
}

API CUresult cuCtxEnablePeerAccess(Handle peer, unsigned flags) {
  IN_CONTEXT;
  if (flags) return INVALID_VALUE;
  Object *other = object_of(peer, CONTEXT);
  if (!other || other == context) return INVALID_CONTEXT;
  return SUCCESS;
}

API CUresult cuCtxDisablePeerAccess(Handle peer) {
  IN_CONTEXT;
  return object_of(peer, CONTEXT) ? SUCCESS : INVALID_CONTEXT;
}

/* ---- streams: everything is done at once, in the call ---- */

/* Null, CU_STREAM_LEGACY (1) and CU_STREAM_PER_THREAD (2) are streams of every context. */
static bool stream(Handle handle) { return (uintptr_t)handle <= 2 || object_of(handle, STREAM); }

#define IN_STREAM(handle)  \
  IN_CONTEXT;              \
  if (!stream(handle)) return INVALID_HANDLE

API CUresult cuStreamCreateWithPriority(Handle *made, unsigned flags, int priority) {
  IN_CONTEXT;
  NEED(made);
  Handle handle = create(STREAM, context->device);
  if (!handle) return OUT_OF_MEMORY;
  Object *its = object_of(handle, STREAM);
  its->flags = flags;
  its->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
  its->of = current();
  GIVE(made, handle);
  return SUCCESS;
}

API CUresult cuStreamCreate(Handle *made, unsigned flags) {
  IN_CONTEXT;
  NEED(made);
  Handle handle = create(STREAM, context->device);
  if (!handle) return OUT_OF_MEMORY;
  object_of(handle, STREAM)->flags = flags;
  object_of(handle, STREAM)->of = current();
  GIVE(made, handle);
  return SUCCESS;
}

API CUresult cuStreamDestroy_v2(Handle handle) {
  IN_CONTEXT;
  if (!object_of(handle, STREAM)) return INVALID_HANDLE;
  destroy(handle);
  return SUCCESS;
}

ALSO(cuStreamDestroy, cuStreamDestroy_v2)

API CUresult cuStreamSynchronize(Handle handle) {
  IN_STREAM(handle);
  return SUCCESS;
}

API CUresult cuStreamQuery(Handle handle) {
  IN_STREAM(handle);
  return SUCCESS;
}

API CUresult cuStreamGetFlags(Handle handle, unsigned *flags) {
  IN_STREAM(handle);
  NEED(flags);
  Object *its = object_of(handle, STREAM);
  GIVE(flags, its ? its->flags : 0);
  return SUCCESS;
}

API CUresult cuStreamGetPriority(Handle handle, int *priority) {
  IN_STREAM(handle);
  NEED(priority);
  Object *its = object_of(handle, STREAM);
  GIVE(priority, its ? its->priority : 0);
  return SUCCESS;
}

API CUresult cuStreamGetId(Handle handle, unsigned long long *id) {
  IN_STREAM(handle);
  NEED(id);
  GIVE(id, (unsigned long long)(uintptr_t)handle);
  return SUCCESS;
}

API CUresult cuStreamGetCtx(Handle handle, Handle *of) {
  IN_STREAM(handle);
  NEED(of);
  Object *its = object_of(handle, STREAM);
  GIVE(of, its ? its->of : current());
  return SUCCESS;
}

API CUresult cuStreamGetCtx_v2(Handle handle, Handle *of, Handle *green) {
  IN_STREAM(handle);
  Object *its = object_of(handle, STREAM);
  if (of) GIVE(of, its ? its->of : current());
  if (green) GIVE(green, NULL);
  return SUCCESS;
}

API CUresult cuStreamGetDevice(Handle handle, CUdevice *device) {
  IN_STREAM(handle);
  NEED(device);
  Object *its = object_of(handle, STREAM);
  GIVE(device, its ? its->device : context->device);
  return SUCCESS;
}

API CUresult cuStreamWaitEvent(Handle handle, Handle event, unsigned flags) {
  IN_STREAM(handle);
  (void)flags;
  return object_of(event, EVENT) ? SUCCESS : INVALID_HANDLE;
}

/* CU_STREAM_CAPTURE_STATUS_NONE: nothing is ever captured here. */
API CUresult cuStreamIsCapturing(Handle handle, int *status) {
  IN_STREAM(handle);
  NEED(status);
  GIVE(status, 0);
  return SUCCESS;
}

API CUresult cuStreamGetCaptureInfo(Handle handle, int *status, uint64_t *id) {
  IN_STREAM(handle);
  NEED(status);
  GIVE(status, 0);
  if (id) GIVE(id, 0);
  return SUCCESS;
}

API CUresult cuStreamGetCaptureInfo_v2(Handle handle, int *status, uint64_t *id, Handle *graph, const Handle **nodes, size_t *count) {
  IN_STREAM(handle);
  NEED(status);
  GIVE(status, 0);
  if (id) GIVE(id, 0);
  if (graph) GIVE(graph, NULL);
  if (nodes) GIVE(nodes, NULL);
  if (count) GIVE(count, 0);
  return SUCCESS;
}

API CUresult cuStreamGetCaptureInfo_v3(Handle handle, int *status, uint64_t *id, Handle *graph, const Handle **nodes,
                                       const void **edges, size_t *count) {
  IN_STREAM(handle);
  NEED(status);
  GIVE(status, 0);
  if (id) GIVE(id, 0);
  if (graph) GIVE(graph, NULL);
  if (nodes) GIVE(nodes, NULL);
  if (edges) GIVE(edges, NULL);
  if (count) GIVE(count, 0);
  return SUCCESS;
}

/* CU_STREAM_CAPTURE_MODE_GLOBAL, RELAXED, ...: exchanged, as the call is defined. */
static _Thread_local int capture_mode;

API CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
  ENTER(-1);
  READY;
  NEED(mode);
  int wanted = *mode;
  if (wanted < 0 || wanted > 2) return INVALID_VALUE;
  GIVE(mode, capture_mode);
  capture_mode = wanted;
  return SUCCESS;
}

/* The real driver calls from a thread of its own; here it is called before the call returns. */
API CUresult cuLaunchHostFunc(Handle handle, void (*function)(void *), void *data) {
  IN_STREAM(handle);
  NEED(function);
  function(data);
  return SUCCESS;
}

API CUresult cuStreamAddCallback(Handle handle, void (*function)(Handle, CUresult, void *), void *data, unsigned flags) {
  IN_STREAM(handle);
  NEED(function);
  (void)flags;
  function(handle, SUCCESS, data);
  return SUCCESS;
}

API CUresult cuStreamAttachMemAsync(Handle handle, CUdeviceptr pointer, size_t length, unsigned flags) {
  IN_STREAM(handle);
  (void)pointer;
  (void)length;
  (void)flags;
  return SUCCESS;
}

/* ---- events ---- */

API CUresult cuEventCreate(Handle *made, unsigned flags) {
  IN_CONTEXT;
  NEED(made);
  Handle handle = create(EVENT, context->device);
  if (!handle) return OUT_OF_MEMORY;
  object_of(handle, EVENT)->flags = flags;
  GIVE(made, handle);
  return SUCCESS;
}

API CUresult cuEventDestroy_v2(Handle handle) {
  ENTER(current_gpu());
  READY;
  if (!object_of(handle, EVENT)) return INVALID_HANDLE;
  destroy(handle);
  return SUCCESS;
}

ALSO(cuEventDestroy, cuEventDestroy_v2)

static CUresult record(Handle event) {
  Object *its = object_of(event, EVENT);
  if (!its) return INVALID_HANDLE;
  clock_gettime(CLOCK_MONOTONIC, &its->at);
  its->recorded = true;
  return SUCCESS;
}

API CUresult cuEventRecord(Handle event, Handle handle) {
  IN_STREAM(handle);
  return record(event);
}

API CUresult cuEventRecordWithFlags(Handle event, Handle handle, unsigned flags) {
  IN_STREAM(handle);
  (void)flags;
  return record(event);
}

API CUresult cuEventQuery(Handle event) {
  ENTER(current_gpu());
  READY;
  return object_of(event, EVENT) ? SUCCESS : INVALID_HANDLE;
}

API CUresult cuEventSynchronize(Handle event) {
  ENTER(current_gpu());
  READY;
  return object_of(event, EVENT) ? SUCCESS : INVALID_HANDLE;
}

/* CU_EVENT_DISABLE_TIMING is 2; without a time, or unrecorded: CUDA_ERROR_INVALID_HANDLE (cuda.h). */
static CUresult elapsed(float *milliseconds, Handle from, Handle to) {
  NEED(milliseconds);
  Object *start = object_of(from, EVENT), *end = object_of(to, EVENT);
  if (!start || !end || !start->recorded || !end->recorded || (start->flags | end->flags) & 2) return INVALID_HANDLE;
  GIVE(milliseconds,
       (float)((double)(end->at.tv_sec - start->at.tv_sec) * 1e3 + (double)(end->at.tv_nsec - start->at.tv_nsec) / 1e6));
  return SUCCESS;
}

API CUresult cuEventElapsedTime(float *milliseconds, Handle from, Handle to) {
  ENTER(current_gpu());
  READY;
  return elapsed(milliseconds, from, to);
}

API CUresult cuEventElapsedTime_v2(float *milliseconds, Handle from, Handle to) {
  ENTER(current_gpu());
  READY;
  return elapsed(milliseconds, from, to);
}
