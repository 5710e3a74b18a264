/* The driver API's types and codes as far as the fake needs them: their sizes and numbers are those of cuda.h (CUDA 13.5). */
#ifndef FAKE_DRIVER_CUDA_H
#define FAKE_DRIVER_CUDA_H

#include "script.h"

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
/* Handles are opaque to callers; here each is the number of an object, never an address that would be followed. */
typedef struct Handle *Handle;

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  DEVICE_UNAVAILABLE = 46,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  FILE_NOT_FOUND = 301,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  HOST_MEMORY_NOT_REGISTERED = 713,
  NOT_SUPPORTED = 801,
  SYSTEM_NOT_READY = 802,
};

/* CUdevice_attribute, where the value is that of the GPU and not of its kind. */
enum {
  ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  ATTRIBUTE_COMPUTE_MODE = 20,
  ATTRIBUTE_ECC_ENABLED = 32,
  ATTRIBUTE_PCI_BUS_ID = 33,
  ATTRIBUTE_PCI_DEVICE_ID = 34,
  ATTRIBUTE_PCI_DOMAIN_ID = 50,
  ATTRIBUTE_CAPABILITY_MAJOR = 75,
  ATTRIBUTE_CAPABILITY_MINOR = 76,
  ATTRIBUTE_GPU_PCI_DEVICE_ID = 139,
  ATTRIBUTE_GPU_PCI_SUBSYSTEM_ID = 140,
};

typedef struct {
  int number;
  int since;       /* the first CUDA version that knows it */
  int capability;  /* 10 * major + minor: the value holds from here up */
  int value;
} Attribute;

typedef struct {
  const char *symbol, *lookup;
  int since;
  bool per_thread;
  void *address;
} Call;

typedef struct {
  int code;
  const char *name, *text;
} ErrorText;

/* From the generated tables. */
extern const Attribute attributes[];
extern const int attribute_count;
extern const Call calls[];
extern const ErrorText error_texts[];
extern const int error_text_count;

#endif
