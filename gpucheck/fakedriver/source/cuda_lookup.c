/* How a program comes to the functions: by name and version, and by the tables that NVIDIA's own libraries ask for. */
#include "cuda.h"

/* ---- cuGetProcAddress ---- */

enum { FOUND = 0, NO_SYMBOL = 1, NOT_IN_VERSION = 2 };
/* CU_GET_PROC_ADDRESS_DEFAULT 0, _LEGACY_STREAM 1, _PER_THREAD_DEFAULT_STREAM 2. */
enum { PER_THREAD = 2 };

/* The newest form of a function that both the version asked for and the driver have; of a function with a form for a thread's
   own stream, that form alone where it is asked for (measured with 550). */
static void *find_call(const char *name, int version, uint64_t flags, int *status) {
  const Call *found = NULL;
  bool threads = false;
  *status = NO_SYMBOL;
  for (const Call *call = calls; call->symbol && flags == PER_THREAD; call++)
    threads |= call->per_thread && call->since <= script()->cuda && !strcmp(call->lookup, name);
  for (const Call *call = calls; call->symbol; call++) {
    if (strcmp(call->lookup, name) || call->since > script()->cuda) continue;
    if (*status == NO_SYMBOL) *status = NOT_IN_VERSION;
    if (call->since > version || call->per_thread != threads) continue;
    if (!found || call->since >= found->since) found = call;
  }
  if (!found) return NULL;
  *status = FOUND;
  return found->address;
}

/* Measured with 550: a name that is not known gives CUDA_SUCCESS, a null pointer and the status; versions of the name
   ("cuMemAlloc_v2") are not known; flags above 2 are CUDA_ERROR_INVALID_VALUE. */
API CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
  ENTER(-1);
  NEED(name);
  NEED(function);
  if (flags > PER_THREAD) return INVALID_VALUE;
  int found;
  void *address = missing(name) ? NULL : find_call(name, version, flags, &found);
  if (missing(name)) found = NO_SYMBOL;
  note("cuGetProcAddress %s %d: %s\n", name, version, address ? "found" : "not found");
  GIVE(function, address);
  if (status) GIVE(status, found);
  return SUCCESS;
}

/* The first form: CUDA_ERROR_NOT_FOUND, and the pointer is left as it was (measured with 550). */
API CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  ENTER(-1);
  NEED(name);
  NEED(function);
  if (flags > PER_THREAD) return INVALID_VALUE;
  int status;
  void *address = missing(name) ? NULL : find_call(name, version, flags, &status);
  note("cuGetProcAddress %s %d: %s\n", name, version, address ? "found" : "not found");
  if (!address) return NOT_FOUND;
  GIVE(function, address);
  return SUCCESS;
}

/* ---- cuGetExportTable ----
   Tables of functions without names that libcudart asks for by UUID. What they are called and what of them is known comes from
   dark_api/src/lib.rs of vosen/ZLUDA (MIT or Apache 2.0); their sizes were measured with libcuda 550.163.01. Most begin with
   their size in bytes. Places that nobody is known to need answer success and do nothing. */

static CUresult nothing(void) {
  note("a private function\n");
  return SUCCESS;
}

#define TABLE(name, count) static void *name[count] = {[0] = (void *)((count) * sizeof(void *)), [1 ... (count) - 1] = (void *)nothing}

/* CUDART_INTERFACE {6BD5FB6C-5BF4-E74A-8987-D93912FD9DF9} */
static CUresult private_load(Handle *module, const void *image) {
  IN_CONTEXT;
  return load_module(module, image, context->device);
}

static CUresult private_load_with(Handle *module, const void *image, void *options, void *values, unsigned count) {
  IN_CONTEXT;
  (void)options;
  (void)values;
  (void)count;
  return load_module(module, image, context->device);
}

static CUresult private_load_image(const void *image, Handle *module, void *options, void *values, unsigned count) {
  IN_CONTEXT;
  (void)options;
  (void)values;
  (void)count;
  return load_module(module, image, context->device);
}

static CUresult private_primary(Handle *context, CUdevice device) {
  if (device < 0 || device >= device_count) return INVALID_DEVICE;
  *context = primary(device);
  return *context ? SUCCESS : OUT_OF_MEMORY;
}

TABLE(cudart_interface, 13);

/* TOOLS_TLS {42D85A81-23F6-CB47-8298-F6E78A3AECDC} */
TABLE(tools_tls, 4);

/* TOOLS_RUNTIME_CALLBACK_HOOKS {A094798C-2E74-2E74-93F2-0800200C0A66}: two buffers that a profiler would fill. */
static uint32_t callbacks[1024], more_callbacks[16];

static void callback_buffer(void **buffer, size_t *size) {
  *buffer = callbacks;
  *size = sizeof callbacks / sizeof *callbacks;
}

static void more_callback_buffer(void **buffer, size_t *size) {
  *buffer = more_callbacks;
  *size = 14;
}

TABLE(runtime_callbacks, 7);

/* CONTEXT_LOCAL_STORAGE {C693336E-1121-DF11-A8C3-68F355D89593}: the runtime keeps its state of a context with the context, and
   is called when it ends. This table has no size in front. */
typedef void (*Forgotten)(Handle context, void *key, void *value);

typedef struct Stored {
  Handle context;
  void *key, *value;
  Forgotten forgotten;
  struct Stored *next;
} Stored;

static Stored *storage;
static pthread_mutex_t storage_lock = PTHREAD_MUTEX_INITIALIZER;

static Stored **stored(Handle context, const void *key) {
  Stored **at = &storage;
  while (*at && ((*at)->context != context || (key && (*at)->key != key))) at = &(*at)->next;
  return at;
}

static CUresult store(Handle context, void *key, void *value, Forgotten forgotten) {
  if (!context) context = current();
  if (!object_of(context, CONTEXT)) return INVALID_CONTEXT;
  pthread_mutex_lock(&storage_lock);
  Stored *its = *stored(context, key);
  if (!its && (its = calloc(1, sizeof *its))) {
    its->next = storage;
    storage = its;
  }
  if (its) {
    its->context = context;
    its->key = key;
    its->value = value;
    its->forgotten = forgotten;
  }
  pthread_mutex_unlock(&storage_lock);
  return its ? SUCCESS : OUT_OF_MEMORY;
}

static CUresult unstore(Handle context, void *key) {
  if (!context) context = current();
  pthread_mutex_lock(&storage_lock);
  Stored **at = stored(context, key), *its = *at;
  if (its) *at = its->next;
  pthread_mutex_unlock(&storage_lock);
  free(its);
  return SUCCESS;
}

static CUresult retrieve(void **value, Handle context, void *key) {
  if (!context) context = current();
  pthread_mutex_lock(&storage_lock);
  Stored *its = *stored(context, key);
  if (its) *value = its->value;
  pthread_mutex_unlock(&storage_lock);
  return its ? SUCCESS : INVALID_HANDLE;
}

static void forget_context(Handle context) {
  for (;;) {
    pthread_mutex_lock(&storage_lock);
    Stored **at = stored(context, NULL), *its = *at;
    if (its) *at = its->next;
    pthread_mutex_unlock(&storage_lock);
    if (!its) return;
    if (its->forgotten) its->forgotten(context, its->key, its->value);
    free(its);
  }
}

static void *context_storage[] = {(void *)store, (void *)unstore, (void *)retrieve, (void *)nothing};

/* CTX_CREATE_BYPASS {0CA50B8C-1004-929A-89A7-D0DF10E77286} */
static CUresult create_bypass(Handle *context, unsigned flags, CUdevice device) {
  (void)context;
  (void)flags;
  (void)device;
  return NOT_SUPPORTED;
}

TABLE(context_bypass, 2);

/* DEVICE_EXTENDED_RT {B10541E1-F7C7-C74A-9F64-F223BE99F1E2} */
static CUresult extended_attribute(CUdevice device, unsigned attribute, int unknown, size_t *result) {
  (void)device;
  (void)attribute;
  (void)unknown;
  (void)result;
  return NOT_SUPPORTED;
}

static CUresult extended_flag(uint8_t *flag, CUdevice device) {
  (void)device;
  *flag = 0;
  return SUCCESS;
}

TABLE(extended_runtime, 28);

/* CONTEXT_CHECKS {263E8860-7CD2-6143-92F6-BBD5006DFA7E} */
static CUresult context_check(Handle context, uint32_t *flag, const void **more) {
  (void)context;
  (void)more;
  *flag = 0;
  return SUCCESS;
}

static uint32_t context_flags(void) { return 0; }

TABLE(context_checks, 5);

/* {21318C60-9714-3248-8CA6-41FF7324C8F2}: the runtimes from 13.4 on want it to be there. */
TABLE(runtime_13, 95);

/* INTEGRITY_CHECK {D4082055-BDE6-704B-8D34-BA123C66E1F2}: the runtime asks the driver for a digest over both of them, the
   process, the time and the devices, and goes on only when it finds the same. It is HMAC (RFC 2104) with MD2 (RFC 1319) and the
   key below, over the fields below (zluda/src/impl/driver.rs of vosen/ZLUDA, where it was found out). */
typedef struct {
  uint8_t state[48], checksum[16], block[16], last;
  size_t filled;
} Md2;

/* RFC 1319, section 3.2: "a 256-byte random permutation constructed from the digits of pi". */
static const uint8_t PI[256] = {
    41,  46,  67,  201, 162, 216, 124, 1,   61,  54,  84,  161, 236, 240, 6,   19,  98,  167, 5,   243, 192, 199, 115, 140, 152, 147,
    43,  217, 188, 76,  130, 202, 30,  155, 87,  60,  253, 212, 224, 22,  103, 66,  111, 24,  138, 23,  229, 18,  190, 78,  196, 214,
    218, 158, 222, 73,  160, 251, 245, 142, 187, 47,  238, 122, 169, 104, 121, 145, 21,  178, 7,   63,  148, 194, 16,  137, 11,  34,
    95,  33,  128, 127, 93,  154, 90,  144, 50,  39,  53,  62,  204, 231, 191, 247, 151, 3,   255, 25,  48,  179, 72,  165, 181, 209,
    215, 94,  146, 42,  172, 86,  170, 198, 79,  184, 56,  210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4,   241, 69,  157,
    112, 89,  100, 113, 135, 32,  134, 91,  207, 101, 230, 45,  168, 2,   27,  96,  37,  173, 174, 176, 185, 246, 28,  70,  97,  105,
    52,  64,  126, 15,  85,  71,  163, 35,  221, 81,  175, 58,  195, 92,  249, 206, 186, 197, 234, 38,  44,  83,  13,  110, 133, 40,
    132, 9,   211, 223, 205, 244, 65,  129, 77,  82,  106, 220, 55,  200, 108, 193, 171, 250, 36,  225, 123, 8,   12,  189, 177, 74,
    120, 136, 149, 139, 227, 99,  232, 109, 233, 203, 213, 254, 59,  0,   29,  57,  242, 239, 183, 14,  102, 88,  208, 228, 166, 119,
    114, 248, 235, 117, 75,  10,  49,  68,  80,  180, 143, 237, 31,  26,  219, 153, 141, 51,  159, 17,  131, 20};

static void md2_block(Md2 *md2) {
  for (int i = 0; i < 16; i++) {
    md2->checksum[i] ^= PI[md2->block[i] ^ md2->last];
    md2->last = md2->checksum[i];
  }
}

static void md2_mix(Md2 *md2, const uint8_t block[16]) {
  for (int i = 0; i < 16; i++) {
    md2->state[16 + i] = block[i];
    md2->state[32 + i] = block[i] ^ md2->state[i];
  }
  uint8_t t = 0;
  for (int round = 0; round < 18; round++) {
    for (int i = 0; i < 48; i++) t = md2->state[i] ^= PI[t];
    t = (uint8_t)(t + round);
  }
}

static void md2_add(Md2 *md2, const void *data, size_t size) {
  for (const uint8_t *at = data; size--; at++) {
    md2->block[md2->filled++] = *at;
    if (md2->filled < 16) continue;
    md2_block(md2);
    md2_mix(md2, md2->block);
    md2->filled = 0;
  }
}

static void md2_end(Md2 *md2, uint8_t digest[16]) {
  uint8_t padding[16], checksum[16];
  memset(padding, (int)(16 - md2->filled), sizeof padding);
  md2_add(md2, padding, 16 - md2->filled);
  memcpy(checksum, md2->checksum, sizeof checksum);
  md2_mix(md2, checksum);
  memcpy(digest, md2->state, 16);
}

static void *integrity[3];

static CUresult integrity_check(uint32_t version, uint64_t seconds, uint8_t digest[16]) {
  static const uint8_t KEY[16] = {0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f};
  /* The first two protocols had fixed answers. */
  static const uint64_t FIXED[2][2] = {{0x3341181c03cb675c, 0x8ed383aa1f4cd1e8}, {0x1841181c03cb675c, 0x8ed383aa1f4cd1e8}};
  if (version % 10 < 2) {
    memcpy(digest, FIXED[version % 10], 16);
    return SUCCESS;
  }
  struct {
    uint32_t driver, runtime, process, thread;
    const void *interface, *table, *function;
    uint64_t seconds;
  } asked = {(uint32_t)script()->cuda, version,   (uint32_t)getpid(), (uint32_t)(uintptr_t)pthread_self(),
             cudart_interface,         integrity, integrity[1],       seconds};
  uint8_t pad[16], inner[16];
  Md2 md2 = {.last = 0};
  for (int i = 0; i < 16; i++) pad[i] = KEY[i] ^ 0x36;
  md2_add(&md2, pad, sizeof pad);
  md2_add(&md2, &asked, sizeof asked);
  for (int i = 0; i < device_count; i++) {
    struct {
      uint8_t uuid[16];
      int32_t domain, bus, device;
    } its;
    memcpy(its.uuid, gpu_of(i)->uuid, 16);  /* of an instance too: with its own, libcudart 13.5 refuses the driver */
    its.domain = (int32_t)gpu_of(i)->domain;
    its.bus = (int32_t)gpu_of(i)->bus;
    its.device = (int32_t)gpu_of(i)->device;
    md2_add(&md2, &its, sizeof its);
  }
  md2_end(&md2, inner);
  md2 = (Md2){.last = 0};
  for (int i = 0; i < 16; i++) pad[i] = KEY[i] ^ 0x5c;
  md2_add(&md2, pad, sizeof pad);
  md2_add(&md2, inner, sizeof inner);
  md2_end(&md2, digest);
  return SUCCESS;
}

static void *integrity[3] = {(void *)sizeof integrity, (void *)integrity_check, (void *)nothing};

static const struct {
  uint8_t uuid[16];
  void **table;
} TABLES[] = {
    {{0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9}, cudart_interface},
    {{0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc}, tools_tls},
    {{0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66}, runtime_callbacks},
    {{0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93}, context_storage},
    {{0x0c, 0xa5, 0x0b, 0x8c, 0x10, 0x04, 0x92, 0x9a, 0x89, 0xa7, 0xd0, 0xdf, 0x10, 0xe7, 0x72, 0x86}, context_bypass},
    {{0xb1, 0x05, 0x41, 0xe1, 0xf7, 0xc7, 0xc7, 0x4a, 0x9f, 0x64, 0xf2, 0x23, 0xbe, 0x99, 0xf1, 0xe2}, extended_runtime},
    {{0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa, 0x7e}, context_checks},
    {{0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2}, integrity},
    {{0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2}, runtime_13},
};

static void fill_tables(void) {
  cudart_interface[1] = (void *)private_load;
  cudart_interface[2] = (void *)private_primary;
  cudart_interface[6] = (void *)private_load_with;
  cudart_interface[8] = (void *)private_load_image;
  runtime_callbacks[2] = (void *)callback_buffer;
  runtime_callbacks[6] = (void *)more_callback_buffer;
  context_bypass[1] = (void *)create_bypass;
  extended_runtime[5] = (void *)extended_attribute;
  extended_runtime[13] = (void *)extended_flag;
  context_checks[2] = (void *)context_check;
  context_checks[3] = (void *)context_flags;
}

/* Works before cuInit; a table that is not known gives CUDA_ERROR_INVALID_VALUE (measured with 550). */
API CUresult cuGetExportTable(const void **table, const uint8_t *uuid) {
  static pthread_once_t filled = PTHREAD_ONCE_INIT;
  ENTER(-1);
  NEED(table);
  NEED(uuid);
  pthread_once(&filled, fill_tables);
  for (size_t i = 0; i < sizeof TABLES / sizeof *TABLES; i++)
    if (!memcmp(TABLES[i].uuid, uuid, 16)) {
      GIVE(table, (const void *)TABLES[i].table);
      return SUCCESS;
    }
  note("cuGetExportTable %02x%02x%02x%02x: not known\n", uuid[0], uuid[1], uuid[2], uuid[3]);
  return INVALID_VALUE;
}
