/* Start-up, versions, errors, devices and their attributes. */
#include "cuda.h"

/* What CUDA sees: a GPU, or one compute instance of a GPU in MIG mode. */
typedef struct {
  int gpu;       /* in the script */
  int instance;  /* -1: the whole GPU */
} Device;

static Device devices[MAX_GPUS];
static int device_count;
static bool initialized;
static pthread_once_t enumerated = PTHREAD_ONCE_INIT;

static const Gpu *gpu_of(CUdevice device) { return &script()->gpus[devices[device].gpu]; }
static int number_of(CUdevice device) { return device >= 0 && device < device_count ? devices[device].gpu : -1; }

static bool usable(const Gpu *gpu) { return gpu->mig != 1 || gpu->instance_count; }

static bool already(Device device) {
  for (int i = 0; i < device_count; i++)
    if (devices[i].gpu == device.gpu && devices[i].instance == device.instance) return true;
  return false;
}

/* A GPU in MIG mode is not usable itself; its first instance stands for it, without instances nothing does. One process
   gets one instance, and then no other device: as the MIG user guide describes it, not measured. */
static bool put(int gpu, int instance) {
  const Gpu *its = &script()->gpus[gpu];
  if (!usable(its)) return false;
  if (its->mig == 1 && instance < 0) instance = 0;
  Device made = {gpu, instance};
  if (already(made)) return false;
  devices[device_count++] = made;
  return true;
}

/* Without the variable CUDA's order is FASTEST_FIRST by a heuristic of its own: here the order of "cuda.gpus".
   https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html */
static void order(int *list, int count) {
  const char *wanted = getenv("CUDA_DEVICE_ORDER");
  if (!wanted || strcmp(wanted, "PCI_BUS_ID")) return;
  for (int i = 1; i < count; i++)
    for (int j = i; j > 0; j--) {
      const Gpu *a = &script()->gpus[list[j - 1]], *b = &script()->gpus[list[j]];
      uint64_t left = (uint64_t)a->domain << 16 | a->bus << 8 | a->device;
      uint64_t right = (uint64_t)b->domain << 16 | b->bus << 8 | b->device;
      if (left <= right) break;
      int kept = list[j];
      list[j] = list[j - 1];
      list[j - 1] = kept;
    }
}

/* "GPU-8932f937" names the one GPU whose UUID begins so; "MIG-<uuid>" an instance, the older form is
   MIG-GPU-<uuid>/<GPU instance>/<compute instance>. Ambiguous: nothing is visible, as torch's own reading of the variable
   has it (_transform_uuid_to_ordinals in torch/cuda/__init__.py). */
static int find_uuid(const char *entry, const int *list, int count, Device *found) {
  int matches = 0;
  char text[48];
  for (int i = 0; i < count; i++) {
    const Gpu *gpu = &script()->gpus[list[i]];
    write_uuid(text, sizeof text, "GPU-", gpu->uuid);
    if (!strncmp(entry, "GPU-", 4) && !strncasecmp(text, entry, strlen(entry))) {
      *found = (Device){list[i], -1};
      matches++;
    }
    char old[80];
    for (int j = 0; j < gpu->instance_count && gpu->mig == 1; j++) {
      snprintf(old, sizeof old, "MIG-%s/%d/0", text, j + 1);
      char own[48];
      write_uuid(own, sizeof own, "MIG-", gpu->instances[j].uuid);
      if (!strncasecmp(own, entry, strlen(entry)) || !strcasecmp(old, entry)) {
        *found = (Device){list[i], j};
        matches++;
      }
    }
  }
  return matches;
}

/* "If one of the indices is invalid, only the devices whose index precedes the invalid index are visible"; an empty string:
   none (CUDA programming guide, environment variables). Numbers are read as strtoul does, so "1gpu" is 1; a repeated
   entry makes all invisible (_parse_visible_devices in torch/cuda/__init__.py, which copies the driver). */
static void choose(const char *variable, const int *list, int count) {
  char text[2000];
  snprintf(text, sizeof text, "%s", variable);
  char *rest = text;
  bool uuids = !strncmp(text, "GPU-", 4) || !strncmp(text, "MIG-", 4);
  for (char *entry; (entry = strsep(&rest, ","));) {
    Device wanted;
    entry = trim(entry);
    if (uuids) {
      if (strlen(entry) < 5) return;
      int matches = find_uuid(entry, list, count, &wanted);
      if (matches > 1) device_count = 0;
      if (matches != 1) return;
    } else {
      char *end;
      long index = strtol(entry, &end, 10);
      if (end == entry || index < 0 || index >= count) return;
      wanted = (Device){list[index], -1};
    }
    if (script()->gpus[wanted.gpu].mig == 1 && wanted.instance < 0) wanted.instance = 0;
    if (already(wanted)) {
      device_count = 0;
      return;
    }
    if (!put(wanted.gpu, wanted.instance)) return;
    if (wanted.instance >= 0) return;
  }
}

static void enumerate(void) {
  int list[MAX_GPUS], count = 0;
  for (int i = 0; i < script()->cuda_count; i++) list[count++] = script()->cuda_gpus[i];
  order(list, count);
  const char *variable = getenv("CUDA_VISIBLE_DEVICES");
  if (variable) {
    choose(variable, list, count);
    return;
  }
  for (int i = 0; i < count; i++) put(list[i], -1);
  for (int i = 0; i < device_count; i++)
    if (devices[i].instance >= 0) {
      devices[0] = devices[i];
      device_count = 1;
    }
}

/* Measured with libcuda 550.163.01 without a GPU: cuDriverGetVersion, cuGetProcAddress, cuGetErrorName and cuGetExportTable
   work before cuInit; everything else gives CUDA_ERROR_NOT_INITIALIZED, also after a cuInit that failed. */
#define READY                                  \
  do {                                         \
    if (!initialized) return NOT_INITIALIZED;  \
  } while (0)

#define DEVICE(device)                                                      \
  do {                                                                      \
    ENTER(number_of(device));                                               \
    READY;                                                                  \
    if ((device) < 0 || (device) >= device_count) return INVALID_DEVICE;    \
  } while (0)

#define NEED(pointer)                    \
  do {                                   \
    if (!(pointer)) return INVALID_VALUE;  \
  } while (0)

/* CUDA_ERROR_SYSTEM_NOT_READY: "the system is not yet ready to start any CUDA work" (cuda.h); reported on NVSwitch machines until the
   fabric manager has configured the fabric (gpucheck/kb/codes.toml, code 802), not measured. */
API CUresult cuInit(unsigned flags) {
  ENTER(-1);
  if (flags) return INVALID_VALUE;  /* measured, 550 */
  pthread_once(&enumerated, enumerate);
  if (!device_count) return NO_DEVICE;
  for (int i = 0; i < device_count; i++)
    if (gpu_of(i)->fabric == 1 || gpu_of(i)->fabric == 2) return SYSTEM_NOT_READY;
  initialized = true;
  return SUCCESS;
}

API CUresult cuDriverGetVersion(int *version) {
  ENTER(-1);
  NEED(version);
  GIVE(version, script()->cuda);
  return SUCCESS;
}

static const ErrorText *error_text(CUresult code) {
  for (int i = 0; i < error_text_count; i++)
    if (error_texts[i].code == code) return &error_texts[i];
  return NULL;
}

/* An unknown code gives CUDA_ERROR_INVALID_VALUE and a null pointer (measured, 550). */
API CUresult cuGetErrorName(CUresult code, const char **name) {
  ENTER(-1);
  NEED(name);
  const ErrorText *found = error_text(code);
  GIVE(name, found ? found->name : NULL);
  return found ? SUCCESS : INVALID_VALUE;
}

API CUresult cuGetErrorString(CUresult code, const char **text) {
  ENTER(-1);
  NEED(text);
  const ErrorText *found = error_text(code);
  GIVE(text, found ? found->text : NULL);
  return found ? SUCCESS : INVALID_VALUE;
}

API CUresult cuDeviceGetCount(int *count) {
  ENTER(-1);
  READY;
  NEED(count);
  GIVE(count, device_count);
  return SUCCESS;
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  DEVICE(ordinal);
  NEED(device);
  GIVE(device, ordinal);
  return SUCCESS;
}

API CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  DEVICE(device);
  if (!name || size <= 0) return INVALID_VALUE;
  const Gpu *gpu = gpu_of(device);
  char text[MAX_NAME + 40];
  if (devices[device].instance < 0) snprintf(text, sizeof text, "%s", gpu->name);
  else snprintf(text, sizeof text, "%s MIG %s", gpu->name, gpu->instances[devices[device].instance].profile);
  give_text(name, (size_t)size, text);
  return SUCCESS;
}

/* The first version gives the GPU's UUID in MIG mode too; the second "returns its MIG UUID" (cuda.h). */
API CUresult cuDeviceGetUuid(uint8_t *uuid, CUdevice device) {
  DEVICE(device);
  NEED(uuid);
  give(uuid, gpu_of(device)->uuid, 16);
  return SUCCESS;
}

static const uint8_t *uuid_of(CUdevice device) {
  const Gpu *gpu = gpu_of(device);
  return devices[device].instance < 0 ? gpu->uuid : gpu->instances[devices[device].instance].uuid;
}

API CUresult cuDeviceGetUuid_v2(uint8_t *uuid, CUdevice device) {
  DEVICE(device);
  NEED(uuid);
  give(uuid, uuid_of(device), 16);
  return SUCCESS;
}

static size_t memory_of(CUdevice device) {
  const Gpu *gpu = gpu_of(device);
  return devices[device].instance < 0 ? gpu->memory : gpu->instances[devices[device].instance].memory;
}

API CUresult cuDeviceTotalMem_v2(size_t *size, CUdevice device) {
  DEVICE(device);
  NEED(size);
  GIVE(size, memory_of(device));
  return SUCCESS;
}

API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
  DEVICE(device);
  NEED(major);
  NEED(minor);
  GIVE(major, gpu_of(device)->major);
  GIVE(minor, gpu_of(device)->minor);
  return SUCCESS;
}

static bool attribute_of(CUdevice device, int number, int *value) {
  const Gpu *gpu = gpu_of(device);
  for (int i = 0; i < gpu->attribute_count; i++)
    if (gpu->attributes[i][0] == number) {
      *value = gpu->attributes[i][1];
      return true;
    }
  const Attribute *found = NULL;
  for (int i = 0; i < attribute_count; i++)
    if (attributes[i].number == number && attributes[i].since <= script()->cuda &&
        attributes[i].capability <= gpu->major * 10 + gpu->minor)
      found = &attributes[i];
  if (!found) return false;
  *value = found->value;
  switch (number) {
    case ATTRIBUTE_MULTIPROCESSOR_COUNT: {
      const int instance = devices[device].instance;
      *value = instance < 0 ? gpu->multiprocessors : gpu->multiprocessors * gpu->instances[instance].slices / 8;
      break;
    }
    case ATTRIBUTE_COMPUTE_MODE: *value = gpu->compute_mode; break;
    case ATTRIBUTE_ECC_ENABLED: *value = gpu->ecc == 1; break;
    case ATTRIBUTE_PCI_BUS_ID: *value = (int)gpu->bus; break;
    case ATTRIBUTE_PCI_DEVICE_ID: *value = (int)gpu->device; break;
    case ATTRIBUTE_PCI_DOMAIN_ID: *value = (int)gpu->domain; break;
    case ATTRIBUTE_CAPABILITY_MAJOR: *value = gpu->major; break;
    case ATTRIBUTE_CAPABILITY_MINOR: *value = gpu->minor; break;
    case ATTRIBUTE_GPU_PCI_DEVICE_ID: *value = (int)gpu->pci; break;
    case ATTRIBUTE_GPU_PCI_SUBSYSTEM_ID: *value = (int)gpu->subsystem; break;
    default: break;
  }
  return true;
}

API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  DEVICE(device);
  NEED(value);
  int found;
  if (!attribute_of(device, attribute, &found)) return INVALID_VALUE;
  GIVE(value, found);
  return SUCCESS;
}

/* CUdevprop in cuda.h. */
typedef struct {
  int max_threads_per_block, max_threads_dim[3], max_grid_size[3], shared_memory_per_block, total_constant_memory;
  int warp_size, memory_pitch, registers_per_block, clock_rate, texture_align;
} Properties;

API CUresult cuDeviceGetProperties(Properties *properties, CUdevice device) {
  DEVICE(device);
  NEED(properties);
  static const int NUMBERS[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};  /* the fields are the first attributes */
  int values[14] = {0};
  for (int i = 0; i < 14; i++) attribute_of(device, NUMBERS[i], &values[i]);
  give(properties, values, sizeof *properties);
  return SUCCESS;
}

API CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice device) {
  DEVICE(device);
  if (!text || size <= 0) return INVALID_VALUE;
  const Gpu *gpu = gpu_of(device);
  char address[40];
  snprintf(address, sizeof address, "%04X:%02X:%02X.0", gpu->domain, gpu->bus, gpu->device);
  give_text(text, (size_t)size, address);
  return SUCCESS;
}

API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *text) {
  ENTER(-1);
  READY;
  NEED(device);
  NEED(text);
  unsigned domain = 0, bus, number;
  if (sscanf(text, "%x:%x:%x", &domain, &bus, &number) != 3) {
    domain = 0;
    if (sscanf(text, "%x:%x", &bus, &number) != 2) return INVALID_VALUE;
  }
  for (int i = 0; i < device_count; i++)
    if (gpu_of(i)->domain == domain && gpu_of(i)->bus == bus && gpu_of(i)->device == number) {
      GIVE(device, i);
      return SUCCESS;
    }
  return INVALID_DEVICE;
}

API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  DEVICE(device);
  NEED(can);
  if (peer < 0 || peer >= device_count) return INVALID_DEVICE;
  GIVE(can, device != peer);
  return SUCCESS;
}

/* CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK 1, ACCESS_SUPPORTED 2, NATIVE_ATOMIC_SUPPORTED 3, CUDA_ARRAY_ACCESS_SUPPORTED 4. */
API CUresult cuDeviceGetP2PAttribute(int *value, int attribute, CUdevice device, CUdevice peer) {
  DEVICE(device);
  NEED(value);
  if (peer < 0 || peer >= device_count || peer == device) return INVALID_DEVICE;
  if (attribute < 1 || attribute > 5) return INVALID_VALUE;
  GIVE(value, attribute == 2 || attribute == 4);
  return SUCCESS;
}

/* A LUID is Windows' alone. */
API CUresult cuDeviceGetLuid(char *luid, unsigned *mask, CUdevice device) {
  DEVICE(device);
  (void)luid;
  (void)mask;
  return NOT_SUPPORTED;
}

API CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t *width, int format, unsigned channels, CUdevice device) {
  DEVICE(device);
  NEED(width);
  (void)format;
  (void)channels;
  GIVE(width, (size_t)1 << 28);
  return SUCCESS;
}

API CUresult cuDeviceGetExecAffinitySupport(int *supported, int type, CUdevice device) {
  DEVICE(device);
  NEED(supported);
  (void)type;
  GIVE(supported, 0);
  return SUCCESS;
}

/* CU_FLUSH_GPU_DIRECT_RDMA_WRITES: nothing to flush. */
API CUresult cuFlushGPUDirectRDMAWrites(int target, int scope) {
  ENTER(-1);
  READY;
  (void)target;
  (void)scope;
  return SUCCESS;
}
