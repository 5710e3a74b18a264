/* libnvidia-ml.so.1 as one translation unit. Sizes and numbers are those of nvml.h (API version 12); what NVIDIA's library 550
   answers without a GPU was measured and is copied: see the comments. */
#define _GNU_SOURCE
#include "script.c"

const char *const prefix = "nvml";

typedef struct Handle *Handle;

enum {
  SUCCESS = 0,
  UNINITIALIZED = 1,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7,
  TIMEOUT = 10,
};

static int initializations;
static pthread_mutex_t initializing = PTHREAD_MUTEX_INITIALIZER;

/* ---- handles: the number of a GPU, and of an instance of it; never followed ---- */

static const uintptr_t FIRST_HANDLE = 0x6e7600000000;

typedef struct {
  int gpu, instance;  /* gpu -1: no such device */
} Device;

static Handle handle_of(int gpu, int instance) {
  return (Handle)(FIRST_HANDLE + (uintptr_t)(gpu * 16 + instance + 1) * 64);
}

static Device device_of(Handle handle) {
  uintptr_t number = (uintptr_t)handle - FIRST_HANDLE;
  Device none = {-1, -1};
  if ((uintptr_t)handle < FIRST_HANDLE || number % 64 || number / 64 / 16 >= (uintptr_t)script()->gpu_count) return none;
  Device found = {(int)(number / 64 / 16), (int)(number / 64 % 16) - 1};
  return found.instance < script()->gpus[found.gpu].instance_count ? found : none;
}

/* Everything but the start and nvmlErrorString gives NVML_ERROR_UNINITIALIZED before nvmlInit (measured with 550). */
#define READY                                     \
  do {                                            \
    if (!initializations) return UNINITIALIZED;   \
  } while (0)

#define NEED(pointer)                         \
  do {                                        \
    if (!(pointer)) return INVALID_ARGUMENT;  \
  } while (0)

#define DEVICE(handle)                                      \
  Device device = device_of(handle);                        \
  ENTER(device.gpu);                                        \
  READY;                                                    \
  if (device.gpu < 0) return INVALID_ARGUMENT;              \
  const Gpu *gpu = &script()->gpus[device.gpu];             \
  (void)gpu

/* Questions that NVML answers of whole GPUs alone. */
#define WHOLE(handle) \
  DEVICE(handle);     \
  if (device.instance >= 0) return NOT_SUPPORTED

/* ---- start, versions, errors ---- */

static int initialize(void) {
  pthread_mutex_lock(&initializing);
  initializations++;
  pthread_mutex_unlock(&initializing);
  return SUCCESS;
}

API int nvmlInit_v2(void) {
  ENTER(-1);
  return initialize();
}

API int nvmlInit(void) {
  ENTER(-1);
  return initialize();
}

/* "A variant of nvmlInit()" (nvml.h), and the one that pynvml calls: what the script wants of nvmlInit holds here too. */
API int nvmlInitWithFlags(unsigned flags) {
  ENTER(-1);
  int code = enter("nvmlInit_v2", -1);
  if (code >= 0) return code;
  (void)flags;
  return initialize();
}

API int nvmlShutdown(void) {
  ENTER(-1);
  READY;
  pthread_mutex_lock(&initializing);
  initializations--;
  pthread_mutex_unlock(&initializing);
  return SUCCESS;
}

/* Measured with 550; 999 and all others are "Unknown Error". */
API const char *nvmlErrorString(int code) {
  static const char *const TEXTS[] = {
      "Success",
      "Uninitialized",
      "Invalid Argument",
      "Not Supported",
      "Insufficient Permissions",
      "Already Initialized",
      "Not Found",
      "Insufficient Size",
      "Insufficient External Power",
      "Driver Not Loaded",
      "Timeout",
      "Interrupt Request Issue",
      "NVML Shared Library Not Found",
      "Function Not Found",
      "Corrupted infoROM",
      "GPU is lost",
      "GPU requires reset",
      "GPU access blocked by the operating system",
      "Driver/library version mismatch",
      "In use by another client",
      "Insufficient Memory",
      "No data",
      "vGPU ECC not supported",
      "Insufficient Resources",
      "Invalid Frequency",
      "Argument version mismatch",
      "Requested functionality has been deprecated",
      "System is not in ready state",
      "No supported GPUs were found",
      "Resource not in correct state to perform requested operation",
  };
  return code >= 0 && code < (int)(sizeof TEXTS / sizeof *TEXTS) ? TEXTS[code] : "Unknown Error";
}

/* Text of a given room: NVML_ERROR_INSUFFICIENT_SIZE when it does not fit. */
static int text(char *to, unsigned size, const char *value) {
  NEED(to);
  if (size <= strlen(value)) return INSUFFICIENT_SIZE;
  give_text(to, size, value);
  return SUCCESS;
}

API int nvmlSystemGetDriverVersion(char *version, unsigned size) {
  ENTER(-1);
  READY;
  return text(version, size, script()->driver);
}

/* "12." and the driver's version (measured with 550). */
API int nvmlSystemGetNVMLVersion(char *version, unsigned size) {
  ENTER(-1);
  READY;
  char own[60];
  snprintf(own, sizeof own, "%d.%.40s", script()->cuda / 1000, script()->driver);
  return text(version, size, own);
}

API int nvmlSystemGetCudaDriverVersion(int *version) {
  ENTER(-1);
  READY;
  NEED(version);
  GIVE(version, script()->cuda);
  return SUCCESS;
}

API int nvmlSystemGetCudaDriverVersion_v2(int *version) {
  ENTER(-1);
  READY;
  NEED(version);
  GIVE(version, script()->cuda);
  return SUCCESS;
}

API int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned size) {
  ENTER(-1);
  READY;
  char path[40], own[300];
  snprintf(path, sizeof path, "/proc/%u/comm", pid);
  FILE *file = fopen(path, "re");
  if (!file) return NOT_FOUND;
  if (!fgets(own, sizeof own, file)) own[0] = 0;
  fclose(file);
  return text(name, size, trim(own));
}

/* ---- finding devices; CUDA_VISIBLE_DEVICES is CUDA's alone ---- */

static int count_devices(unsigned *count) {
  NEED(count);
  GIVE(count, (unsigned)script()->nvml_count);
  return SUCCESS;
}

API int nvmlDeviceGetCount(unsigned *count) {
  ENTER(-1);
  READY;
  return count_devices(count);
}

API int nvmlDeviceGetCount_v2(unsigned *count) {
  ENTER(-1);
  READY;
  return count_devices(count);
}

static int by_index(unsigned index, Handle *handle, const char *call) {
  int gpu = index < (unsigned)script()->nvml_count ? script()->nvml_gpus[index] : -1;
  int code = enter(call, gpu);
  if (code >= 0) return code;
  READY;
  if (gpu < 0) return INVALID_ARGUMENT;
  NEED(handle);
  GIVE(handle, handle_of(gpu, -1));
  return SUCCESS;
}

API int nvmlDeviceGetHandleByIndex(unsigned index, Handle *handle) { return by_index(index, handle, __func__); }
API int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle) { return by_index(index, handle, __func__); }

API int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *handle) {
  ENTER(-1);
  READY;
  NEED(uuid);
  NEED(handle);
  for (int i = 0; i < script()->nvml_count; i++) {
    int number = script()->nvml_gpus[i];
    const Gpu *gpu = &script()->gpus[number];
    char own[48];
    write_uuid(own, sizeof own, "GPU-", gpu->uuid);
    if (!strcasecmp(own, uuid)) {
      GIVE(handle, handle_of(number, -1));
      return SUCCESS;
    }
    for (int j = 0; j < gpu->instance_count; j++) {
      write_uuid(own, sizeof own, "MIG-", gpu->instances[j].uuid);
      if (strcasecmp(own, uuid)) continue;
      GIVE(handle, handle_of(number, j));
      return SUCCESS;
    }
  }
  return NOT_FOUND;
}

static int by_address(const char *address, Handle *handle) {
  NEED(address);
  NEED(handle);
  unsigned domain, bus, device;
  if (sscanf(address, "%x:%x:%x", &domain, &bus, &device) != 3) return INVALID_ARGUMENT;
  for (int i = 0; i < script()->nvml_count; i++) {
    const Gpu *gpu = &script()->gpus[script()->nvml_gpus[i]];
    if (gpu->domain != domain || gpu->bus != bus || gpu->device != device) continue;
    GIVE(handle, handle_of(script()->nvml_gpus[i], -1));
    return SUCCESS;
  }
  return NOT_FOUND;
}

API int nvmlDeviceGetHandleByPciBusId(const char *address, Handle *handle) {
  ENTER(-1);
  READY;
  return by_address(address, handle);
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *address, Handle *handle) {
  ENTER(-1);
  READY;
  return by_address(address, handle);
}

/* ---- what a device is ---- */

API int nvmlDeviceGetName(Handle handle, char *name, unsigned size) {
  DEVICE(handle);
  char own[MAX_NAME + 40];
  if (device.instance < 0) snprintf(own, sizeof own, "%s", gpu->name);
  else snprintf(own, sizeof own, "%s MIG %s", gpu->name, gpu->instances[device.instance].profile);
  return text(name, size, own);
}

API int nvmlDeviceGetUUID(Handle handle, char *uuid, unsigned size) {
  DEVICE(handle);
  char own[48];
  if (device.instance < 0) write_uuid(own, sizeof own, "GPU-", gpu->uuid);
  else write_uuid(own, sizeof own, "MIG-", gpu->instances[device.instance].uuid);
  return text(uuid, size, own);
}

API int nvmlDeviceGetIndex(Handle handle, unsigned *index) {
  DEVICE(handle);
  NEED(index);
  if (device.instance >= 0) {
    GIVE(index, (unsigned)device.instance);
    return SUCCESS;
  }
  for (int i = 0; i < script()->nvml_count; i++)
    if (script()->nvml_gpus[i] == device.gpu) {
      GIVE(index, (unsigned)i);
      return SUCCESS;
    }
  return INVALID_ARGUMENT;
}

API int nvmlDeviceGetMinorNumber(Handle handle, unsigned *number) {
  WHOLE(handle);
  NEED(number);
  GIVE(number, gpu->minor_number);
  return SUCCESS;
}

API int nvmlDeviceGetBrand(Handle handle, int *brand) {
  WHOLE(handle);
  NEED(brand);
  GIVE(brand, gpu->brand);
  return SUCCESS;
}

API int nvmlDeviceGetSerial(Handle handle, char *serial, unsigned size) {
  WHOLE(handle);
  if (gpu->ecc < 0) return NOT_SUPPORTED;  /* "For all products with an inforom": data-centre boards */
  char own[20];
  snprintf(own, sizeof own, "165002%07d", device.gpu);
  return text(serial, size, own);
}

API int nvmlDeviceGetCudaComputeCapability(Handle handle, int *major, int *minor) {
  DEVICE(handle);
  NEED(major);
  NEED(minor);
  GIVE(major, gpu->major);
  GIVE(minor, gpu->minor);
  return SUCCESS;
}

/* NVML_DEVICE_ARCH_KEPLER 2, MAXWELL 3, PASCAL 4, VOLTA 5, TURING 6, AMPERE 7, ADA 8, HOPPER 9, BLACKWELL 10, RUBIN 13. */
API int nvmlDeviceGetArchitecture(Handle handle, unsigned *architecture) {
  DEVICE(handle);
  NEED(architecture);
  int capability = gpu->major * 10 + gpu->minor;
  unsigned found = capability < 30    ? 0xffffffff
                   : capability < 50  ? 2
                   : capability < 60  ? 3
                   : capability < 70  ? 4
                   : capability < 75  ? 5
                   : capability < 80  ? 6
                   : capability < 89  ? 7
                   : capability < 90  ? 8
                   : capability < 100 ? 9
                   : capability == 107 ? 13
                                       : 10;
  GIVE(architecture, found);
  return SUCCESS;
}

/* nvmlPciInfo_t */
typedef struct {
  char legacy[16];
  unsigned domain, bus, device, pci, subsystem;
  char address[32];
} PciInfo;

static int pci_info(const Gpu *gpu, PciInfo *to) {
  NEED(to);
  PciInfo own = {.domain = gpu->domain, .bus = gpu->bus, .device = gpu->device, .pci = gpu->pci, .subsystem = gpu->subsystem};
  snprintf(own.legacy, sizeof own.legacy, "%04X:%02X:%02X.0", gpu->domain & 0xffff, gpu->bus & 0xff, gpu->device & 0xff);
  snprintf(own.address, sizeof own.address, "%08X:%02X:%02X.0", gpu->domain, gpu->bus, gpu->device);
  give(to, &own, sizeof own);
  return SUCCESS;
}

API int nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo *to) {
  DEVICE(handle);
  return pci_info(gpu, to);
}

API int nvmlDeviceGetPciInfo_v2(Handle handle, PciInfo *to) {
  DEVICE(handle);
  return pci_info(gpu, to);
}

API int nvmlDeviceGetNumGpuCores(Handle handle, unsigned *cores) {
  WHOLE(handle);
  NEED(cores);
  int capability = gpu->major * 10 + gpu->minor;
  /* Cores of a multiprocessor by compute capability: CUDA programming guide, arithmetic instructions (32-bit float). */
  int each = capability < 50 ? 192 : capability < 60 || capability == 61 || capability == 62 ? 128 : capability <= 80 ? 64 : 128;
  GIVE(cores, (unsigned)(gpu->multiprocessors * each));
  return SUCCESS;
}

static uint64_t used_of(const Gpu *gpu) {
  uint64_t used = gpu->used;
  for (int i = 0; i < gpu->process_count; i++) used += gpu->processes[i].memory;
  return used < gpu->memory ? used : gpu->memory;
}

API int nvmlDeviceGetMemoryInfo(Handle handle, unsigned long long *memory) {
  DEVICE(handle);
  NEED(memory);
  unsigned long long total = device.instance < 0 ? gpu->memory : gpu->instances[device.instance].memory;
  unsigned long long used = device.instance < 0 ? used_of(gpu) : 0;
  unsigned long long own[3] = {total, total - used, used};  /* total, free, used */
  give(memory, own, sizeof own);
  return SUCCESS;
}

/* nvmlMemory_v2_t; its version is checked, as NVML_ERROR_ARGUMENT_VERSION_MISMATCH says. */
typedef struct {
  unsigned version;
  unsigned long long total, reserved, free, used;
} Memory;

API int nvmlDeviceGetMemoryInfo_v2(Handle handle, Memory *memory) {
  DEVICE(handle);
  NEED(memory);
  if (memory->version != (2u << 24 | sizeof *memory)) return 25;
  Memory own = {.version = memory->version, .total = device.instance < 0 ? gpu->memory : gpu->instances[device.instance].memory};
  own.used = device.instance < 0 ? used_of(gpu) : 0;
  own.free = own.total - own.used;
  give(memory, &own, sizeof own);
  return SUCCESS;
}

API int nvmlDeviceGetBAR1MemoryInfo(Handle handle, unsigned long long *memory) {
  WHOLE(handle);
  NEED(memory);
  unsigned long long own[3] = {gpu->memory, gpu->memory - (1 << 20), 1 << 20};  /* total, free, used */
  give(memory, own, sizeof own);
  return SUCCESS;
}

#define ANSWER(call, type, value)                  \
  API int call(Handle handle, type *to) {          \
    WHOLE(handle);                                 \
    NEED(to);                                      \
    GIVE(to, (type)(value));                       \
    return SUCCESS;                                \
  }

ANSWER(nvmlDeviceGetComputeMode, int, gpu->compute_mode)
ANSWER(nvmlDeviceGetPersistenceMode, int, gpu->persistence)
ANSWER(nvmlDeviceGetDisplayMode, int, 0)
ANSWER(nvmlDeviceGetDisplayActive, int, 0)
ANSWER(nvmlDeviceGetBoardId, unsigned, gpu->bus << 8)
ANSWER(nvmlDeviceGetMultiGpuBoard, unsigned, 0)
ANSWER(nvmlDeviceGetPerformanceState, int, 0)
ANSWER(nvmlDeviceGetPowerState, int, 0)
ANSWER(nvmlDeviceGetPowerUsage, unsigned, 70000)
ANSWER(nvmlDeviceGetEnforcedPowerLimit, unsigned, 350000)
ANSWER(nvmlDeviceGetPowerManagementLimit, unsigned, 350000)
ANSWER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, 350000)
ANSWER(nvmlDeviceGetPowerManagementMode, int, 1)
ANSWER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, 1)
ANSWER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 1)
ANSWER(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, 0x1ff)
ANSWER(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, 0x1ff)
ANSWER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, 4)
ANSWER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, 16)
ANSWER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 4)
ANSWER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 16)
ANSWER(nvmlDeviceGetVirtualizationMode, int, 0)
ANSWER(nvmlDeviceGetAccountingMode, int, 0)

API int nvmlDeviceGetTemperature(Handle handle, int sensor, unsigned *degrees) {
  WHOLE(handle);
  NEED(degrees);
  if (sensor) return INVALID_ARGUMENT;
  GIVE(degrees, 35);
  return SUCCESS;
}

API int nvmlDeviceGetUtilizationRates(Handle handle, unsigned *rates) {
  WHOLE(handle);
  NEED(rates);
  unsigned own[2] = {0, 0};  /* gpu, memory */
  give(rates, own, sizeof own);
  return SUCCESS;
}

static int clock_of(const Gpu *gpu, int type, unsigned *megahertz) {
  NEED(megahertz);
  if (type < 0 || type > 3) return INVALID_ARGUMENT;
  (void)gpu;
  GIVE(megahertz, type == 2 ? 1593u : 1410u);
  return SUCCESS;
}

API int nvmlDeviceGetClockInfo(Handle handle, int type, unsigned *megahertz) {
  WHOLE(handle);
  return clock_of(gpu, type, megahertz);
}

API int nvmlDeviceGetMaxClockInfo(Handle handle, int type, unsigned *megahertz) {
  WHOLE(handle);
  return clock_of(gpu, type, megahertz);
}

API int nvmlDeviceGetVbiosVersion(Handle handle, char *version, unsigned size) {
  WHOLE(handle);
  return text(version, size, "00.00.00.00.00");
}

/* NVML_TOPOLOGY_SYSTEM is 50: nothing nearer is claimed. */
API int nvmlDeviceGetTopologyCommonAncestor(Handle handle, Handle other, int *level) {
  WHOLE(handle);
  NEED(level);
  if (device_of(other).gpu < 0) return INVALID_ARGUMENT;
  GIVE(level, 50);
  return SUCCESS;
}

API int nvmlDeviceOnSameBoard(Handle handle, Handle other, int *same) {
  WHOLE(handle);
  NEED(same);
  if (device_of(other).gpu < 0) return INVALID_ARGUMENT;
  GIVE(same, device_of(other).gpu == device.gpu);
  return SUCCESS;
}

/* ---- health ---- */

API int nvmlDeviceGetEccMode(Handle handle, int *mode, int *pending) {
  WHOLE(handle);
  NEED(mode);
  NEED(pending);
  if (gpu->ecc < 0) return NOT_SUPPORTED;
  GIVE(mode, gpu->ecc);
  GIVE(pending, gpu->ecc_pending);
  return SUCCESS;
}

/* nvmlMemoryErrorType_t: 0 corrected, 1 uncorrected; nvmlEccCounterType_t: 0 volatile, 1 aggregate. */
static int ecc_errors(const Gpu *gpu, int type, int counter, unsigned long long *count) {
  NEED(count);
  if (type < 0 || type > 1 || counter < 0 || counter > 1) return INVALID_ARGUMENT;
  if (gpu->ecc != 1) return NOT_SUPPORTED;
  GIVE(count, (unsigned long long)gpu->ecc_errors[type][counter]);
  return SUCCESS;
}

API int nvmlDeviceGetTotalEccErrors(Handle handle, int type, int counter, unsigned long long *count) {
  WHOLE(handle);
  return ecc_errors(gpu, type, counter, count);
}

/* All errors are in device memory: nvmlMemoryLocation_t 2 (also called DRAM). */
API int nvmlDeviceGetMemoryErrorCounter(Handle handle, int type, int counter, int location, unsigned long long *count) {
  WHOLE(handle);
  int code = ecc_errors(gpu, type, counter, count);
  if (!code && location != 2) GIVE(count, 0);
  return code;
}

API int nvmlDeviceGetDetailedEccErrors(Handle handle, int type, int counter, unsigned long long *counts) {
  WHOLE(handle);
  unsigned long long own[4] = {0, 0, 0, 0};  /* L1 cache, L2 cache, device memory, register file */
  int code = ecc_errors(gpu, type, counter, &own[2]);
  if (!code) give(counts, own, sizeof own);
  return code;
}

API int nvmlDeviceGetRemappedRows(Handle handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  WHOLE(handle);
  NEED(corrected);
  NEED(uncorrected);
  NEED(pending);
  NEED(failed);
  if (!gpu->rows) return NOT_SUPPORTED;  /* "For Ampere or newer fully supported devices" */
  GIVE(corrected, gpu->remapped[0]);
  GIVE(uncorrected, gpu->remapped[1]);
  GIVE(pending, gpu->remapped[2]);
  GIVE(failed, gpu->remapped[3]);
  return SUCCESS;
}

API int nvmlDeviceGetRowRemapperHistogram(Handle handle, unsigned *banks) {
  WHOLE(handle);
  NEED(banks);
  if (!gpu->rows) return NOT_SUPPORTED;
  unsigned own[5] = {640, 0, 0, 0, 0};  /* max, high, partial, low, none: banks by what is left to remap */
  if (gpu->remapped[3]) {
    own[0]--;
    own[4]++;
  }
  give(banks, own, sizeof own);
  return SUCCESS;
}

/* Pages are retired before Ampere, rows are remapped since. */
API int nvmlDeviceGetRetiredPages(Handle handle, int cause, unsigned *count, unsigned long long *addresses) {
  WHOLE(handle);
  NEED(count);
  (void)cause;
  (void)addresses;
  if (gpu->rows || gpu->ecc < 0) return NOT_SUPPORTED;
  GIVE(count, 0);
  return SUCCESS;
}

API int nvmlDeviceGetRetiredPagesPendingStatus(Handle handle, int *pending) {
  WHOLE(handle);
  NEED(pending);
  if (gpu->rows || gpu->ecc < 0) return NOT_SUPPORTED;
  GIVE(pending, 0);
  return SUCCESS;
}

/* nvmlGpuFabricInfo_t, and nvmlGpuFabricInfo_v2_t with a version in front and a mask behind. */
typedef struct {
  uint8_t cluster[16];
  int status;
  unsigned clique;
  uint8_t state;
} Fabric;

typedef struct {
  unsigned version;
  uint8_t cluster[16];
  int status;
  unsigned clique;
  uint8_t state;
  unsigned health;
} FabricV;

API int nvmlDeviceGetGpuFabricInfo(Handle handle, Fabric *to) {
  WHOLE(handle);
  NEED(to);
  if (gpu->major < 9) return NOT_SUPPORTED;  /* "For Hopper or newer fully supported devices" */
  Fabric own = {.status = gpu->fabric_status, .state = (uint8_t)gpu->fabric};
  give(to, &own, sizeof own);
  return SUCCESS;
}

API int nvmlDeviceGetGpuFabricInfoV(Handle handle, FabricV *to) {
  WHOLE(handle);
  NEED(to);
  if (gpu->major < 9) return NOT_SUPPORTED;
  if (to->version >> 24 != 2 && to->version >> 24 != 3) return 25;
  FabricV own = {.version = to->version, .status = gpu->fabric_status, .state = (uint8_t)gpu->fabric};
  give(to, &own, sizeof own);
  return SUCCESS;
}

/* ---- MIG ---- */

API int nvmlDeviceGetMigMode(Handle handle, unsigned *mode, unsigned *pending) {
  WHOLE(handle);
  NEED(mode);
  NEED(pending);
  if (gpu->mig < 0) return NOT_SUPPORTED;
  GIVE(mode, (unsigned)gpu->mig);
  GIVE(pending, (unsigned)(gpu->mig_pending > 0));
  return SUCCESS;
}

/* "Returns zero if MIG is not supported or enabled"; else seven, the compute slices of today's GPUs. */
API int nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned *count) {
  WHOLE(handle);
  NEED(count);
  GIVE(count, gpu->mig == 1 ? 7 : 0);
  return SUCCESS;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(Handle handle, unsigned index, Handle *made) {
  WHOLE(handle);
  NEED(made);
  if (gpu->mig != 1) return NOT_SUPPORTED;
  if (index >= (unsigned)gpu->instance_count) return NOT_FOUND;
  GIVE(made, handle_of(device.gpu, (int)index));
  return SUCCESS;
}

API int nvmlDeviceIsMigDeviceHandle(Handle handle, unsigned *is) {
  DEVICE(handle);
  NEED(is);
  GIVE(is, (unsigned)(device.instance >= 0));
  return SUCCESS;
}

API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle handle, Handle *whole) {
  DEVICE(handle);
  NEED(whole);
  if (device.instance < 0) return INVALID_ARGUMENT;
  GIVE(whole, handle_of(device.gpu, -1));
  return SUCCESS;
}

API int nvmlDeviceGetGpuInstanceId(Handle handle, unsigned *id) {
  DEVICE(handle);
  NEED(id);
  if (device.instance < 0) return NOT_SUPPORTED;
  GIVE(id, (unsigned)device.instance + 1);
  return SUCCESS;
}

API int nvmlDeviceGetComputeInstanceId(Handle handle, unsigned *id) {
  DEVICE(handle);
  NEED(id);
  if (device.instance < 0) return NOT_SUPPORTED;
  GIVE(id, 0);
  return SUCCESS;
}

/* nvmlDeviceAttributes_t */
typedef struct {
  unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, flow, slices, compute_slices;
  unsigned long long megabytes;
} Attributes;

API int nvmlDeviceGetAttributes_v2(Handle handle, Attributes *to) {
  DEVICE(handle);
  NEED(to);
  if (device.instance < 0) return NOT_SUPPORTED;
  const Instance *its = &gpu->instances[device.instance];
  Attributes own = {.multiprocessors = (unsigned)(gpu->multiprocessors * its->slices / 8),
                    .copy_engines = 1,
                    .slices = (unsigned)its->slices,
                    .compute_slices = (unsigned)its->slices,
                    .megabytes = its->memory >> 20};
  give(to, &own, sizeof own);
  return SUCCESS;
}

/* ---- processes ---- */

/* nvmlProcessInfo_v1_t; the later versions add the two ids of an instance, 0xffffffff when there is none. */
typedef struct {
  unsigned pid;
  unsigned long long memory;
} ProcessInfo;

typedef struct {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
} ProcessInfoV;

/* The first call, with a count of 0, is to learn how many: NVML_ERROR_INSUFFICIENT_SIZE and the number. */
static int processes(const Gpu *gpu, unsigned *count, void *to, bool ids) {
  NEED(count);
  unsigned room = *count;
  GIVE(count, (unsigned)gpu->process_count);
  if (!gpu->process_count) return SUCCESS;
  if (room < (unsigned)gpu->process_count) return INSUFFICIENT_SIZE;
  NEED(to);
  for (int i = 0; i < gpu->process_count; i++) {
    ProcessInfo old = {gpu->processes[i].pid, gpu->processes[i].memory};
    ProcessInfoV own = {gpu->processes[i].pid, gpu->processes[i].memory, 0xffffffff, 0xffffffff};
    if (ids) give((ProcessInfoV *)to + i, &own, sizeof own);
    else give((ProcessInfo *)to + i, &old, sizeof old);
  }
  return SUCCESS;
}

#define PROCESSES(call, ids)                                     \
  API int call(Handle handle, unsigned *count, void *to) {       \
    DEVICE(handle);                                              \
    return processes(gpu, count, to, ids);                       \
  }

PROCESSES(nvmlDeviceGetComputeRunningProcesses, false)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, true)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, true)

static const Gpu NOBODY;

#define NO_PROCESSES(call)                                       \
  API int call(Handle handle, unsigned *count, void *to) {       \
    DEVICE(handle);                                              \
    return processes(&NOBODY, count, to, false);                 \
  }

NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

/* ---- events: none ever comes ---- */

API int nvmlEventSetCreate(Handle *set) {
  ENTER(-1);
  READY;
  NEED(set);
  GIVE(set, (Handle)(FIRST_HANDLE - 64));
  return SUCCESS;
}

API int nvmlEventSetFree(Handle set) {
  ENTER(-1);
  READY;
  return set == (Handle)(FIRST_HANDLE - 64) ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetSupportedEventTypes(Handle handle, unsigned long long *types) {
  WHOLE(handle);
  NEED(types);
  GIVE(types, 0x1f);  /* single and double bit ECC error, performance state, critical Xid, clock */
  return SUCCESS;
}

API int nvmlDeviceRegisterEvents(Handle handle, unsigned long long types, Handle set) {
  DEVICE(handle);
  (void)types;
  return set == (Handle)(FIRST_HANDLE - 64) ? SUCCESS : INVALID_ARGUMENT;
}

static int wait_for(Handle set, unsigned milliseconds) {
  if (set != (Handle)(FIRST_HANDLE - 64)) return INVALID_ARGUMENT;
  sleep_for(milliseconds);
  return TIMEOUT;
}

API int nvmlEventSetWait(Handle set, void *event, unsigned milliseconds) {
  ENTER(-1);
  READY;
  (void)event;
  return wait_for(set, milliseconds);
}

API int nvmlEventSetWait_v2(Handle set, void *event, unsigned milliseconds) {
  ENTER(-1);
  READY;
  (void)event;
  return wait_for(set, milliseconds);
}

#include "libnvml_tables.h"
