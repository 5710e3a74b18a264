/* What both fake libraries share: the script that says what they are to answer, and the actions at their calls. */
#ifndef FAKE_DRIVER_SCRIPT_H
#define FAKE_DRIVER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

enum {
  MAX_GPUS = 64,
  MAX_INSTANCES = 8,   /* compute instances of a GPU: seven slices, and one spare */
  MAX_PROCESSES = 16,
  MAX_ATTRIBUTES = 16,
  MAX_ACTIONS = 128,
  MAX_LINE = 1000,
  MAX_NAME = 96,       /* NVML_DEVICE_NAME_V2_BUFFER_SIZE in nvml.h, with the final zero */
};

typedef struct {
  char profile[24];    /* 1g.10gb */
  uint8_t uuid[16];
  int slices;
  uint64_t memory;
} Instance;

typedef struct {
  unsigned pid;
  uint64_t memory;
} Process;

typedef struct {
  const char *key, *name;
  int major, minor, memory_mib, multiprocessors, brand, mig, ecc;
  unsigned pci;        /* device id << 16 | vendor id, as in nvmlPciInfo_t */
} Model;

typedef struct {
  char name[MAX_NAME];
  int major, minor, multiprocessors, brand;
  uint64_t memory, used;
  uint8_t uuid[16];
  unsigned domain, bus, device, pci, subsystem, minor_number;
  int mig, mig_pending;          /* -1: not supported */
  int instance_count;
  Instance instances[MAX_INSTANCES];
  int compute_mode;              /* nvmlComputeMode_t and CUcomputemode: 0 default, 2 prohibited, 3 exclusive process */
  int persistence;
  int ecc, ecc_pending;          /* -1: not supported */
  uint64_t ecc_errors[2][2];     /* [corrected, uncorrected][volatile, aggregate] */
  int rows;                      /* 0: remapping is not supported */
  unsigned remapped[4];          /* corrected, uncorrected, pending, failed */
  int process_count;
  Process processes[MAX_PROCESSES];
  int fabric;                    /* nvmlGpuFabricState_t */
  int fabric_status;
  int attribute_count;
  int attributes[MAX_ATTRIBUTES][2];
} Gpu;

typedef struct {
  char problem[MAX_LINE + 200];  /* '' when the script could be read */
  char driver[40];
  int cuda;
  int gpu_count;
  Gpu gpus[MAX_GPUS];
  int cuda_count, nvml_count;    /* what each of the two sees, in its order */
  int cuda_gpus[MAX_GPUS], nvml_gpus[MAX_GPUS];
} Script;

/* The script of this process; read once, from the file named by GPUCHECK_FAKE_DRIVER. Without one: one H100. */
const Script *script(void);

/* To be called first in every entry point. Does what the script wants done at this call; the code to return with, or -1 to
   go on. gpu: the number of the GPU in the script that the call is about, or -1. */
int enter(const char *call, int gpu);

/* The same for a call that the fake does not know how to answer. */
int unimplemented(const char *call, int code);

/* Whether cuGetProcAddress is to deny that it knows a name. */
bool missing(const char *call);

/* Writes an output of the call; noise instead, where the script wants garbage. */
void give(void *to, const void *value, size_t size);
void give_text(char *to, size_t size, const char *text);

#define ENTER(gpu)                            \
  do {                                        \
    int code_ = enter(__func__, (gpu));       \
    if (code_ >= 0) return code_;             \
  } while (0)

#define GIVE(to, value)                       \
  do {                                        \
    __typeof__(*(to)) value_ = (value);       \
    give((to), &value_, sizeof value_);       \
  } while (0)

typedef struct {
  int driver, cuda;    /* 580, 13000 */
} Branch;

/* From the generated tables. */
extern const Model models[];
extern const int model_count;
extern const Branch branches[];
extern const int branch_count;
/* The functions of the library that this is, and its first letters: "cu" or "nvml". */
extern const char *const call_names[];
extern const int call_count;
extern const char *const prefix;

#endif
