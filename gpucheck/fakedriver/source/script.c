/* Reads the script, keeps the log, acts at calls. Included by both libraries. */
#include "script.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum Deed { CODE, HANG, CRASH, EXIT, SLOW, GARBAGE, MISSING };

typedef struct {
  char call[80];
  bool glob;            /* the name ended in '*' */
  int gpu;              /* -1: any */
  unsigned long from, to;  /* which of the matching calls, from 1 */
  enum Deed deed;
  long argument, code;  /* slow: milliseconds and what to return after them, -1 for what else would happen */
  unsigned long seen;
} Action;

static Script the;
static Action actions[MAX_ACTIONS];
static int action_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t acting = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool garbling;
static _Thread_local uint32_t noise_state;
static int log_file = -1;

/* ---- outputs ---- */

static uint8_t noise(void) {
  noise_state = noise_state * 1664525u + 1013904223u;
  return (uint8_t)(noise_state >> 24 | 1);  /* never zero: text has no end */
}

void give(void *to, const void *value, size_t size) {
  if (!to) return;
  if (!garbling) {
    memcpy(to, value, size);
    return;
  }
  for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = noise();
}

void give_text(char *to, size_t size, const char *text) {
  if (!to || !size) return;
  size_t length = strlen(text);
  if (garbling) {
    give(to, text, size);
    return;
  }
  if (length >= size) length = size - 1;
  memcpy(to, text, length);
  to[length] = 0;
}

/* ---- reading ---- */

static bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (!the.problem[0]) vsnprintf(the.problem, sizeof the.problem, format, arguments);
  va_end(arguments);
  return false;
}

static char *trim(char *text) {
  while (isspace((unsigned char)*text)) text++;
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
  return text;
}

static bool whole(const char *text, long long low, long long high, long long *found) {
  char *end;
  errno = 0;
  *found = strtoll(text, &end, 0);
  if (end == text || *end || errno || *found < low || *found > high)
    return fail("\"%s\" is no whole number from %lld to %lld", text, low, high);
  return true;
}

static bool whole_int(const char *text, int low, int high, int *found) {
  long long value;
  if (!whole(text, low, high, &value)) return false;
  *found = (int)value;
  return true;
}

static bool bytes(const char *text, uint64_t *found) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  int shift = !strcmp(end, "KiB") ? 10 : !strcmp(end, "MiB") ? 20 : !strcmp(end, "GiB") ? 30 : *end ? -1 : 0;
  if (end == text || text[0] == '-' || errno || shift < 0 || value > (1ull << 60) >> shift)
    return fail("\"%s\" is no size: write bytes, or a number and KiB, MiB or GiB, as 80GiB", text);
  *found = value << shift;
  return true;
}

/* 8-4-4-4-12 hexadecimal digits after "GPU-" or "MIG-". */
static bool read_uuid(const char *text, const char *kind, uint8_t uuid[16]) {
  const char *at = strncmp(text, kind, 4) ? text : text + 4;
  for (int i = 0; i < 16; i++) {
    unsigned byte;
    if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-') goto bad;
    if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) || sscanf(at, "%2x", &byte) != 1) goto bad;
    uuid[i] = (uint8_t)byte;
    at += 2;
  }
  if (!*at) return true;
bad:
  return fail("\"%s\" is no UUID: write it as %s3f0e6f2c-1111-2222-3333-444455556666", text, kind);
}

static void write_uuid(char *to, size_t size, const char *kind, const uint8_t u[16]) {
  snprintf(to, size, "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", kind, u[0], u[1], u[2],
           u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

static bool word(const char *key, const char *text, const char *const *words, const int *values, int count, int *found) {
  for (int i = 0; i < count; i++)
    if (!strcasecmp(text, words[i])) {
      *found = values[i];
      return true;
    }
  char list[200] = "";
  for (int i = 0; i < count; i++) {
    strcat(list, i ? ", " : "");
    strcat(list, words[i]);
  }
  return fail("%s cannot be \"%s\": one of %s", key, text, list);
}

#define WORD(key, text, found, ...)                                                                        \
  word(key, text, (const char *const[]){__VA_ARGS__}, (const int[]){WORD_VALUES},                          \
       (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)), found)

static int compare_instances(const char *profile, int *slices, int *gigabytes) {
  int read = 0;
  return sscanf(profile, "%dg.%dgb%n", slices, gigabytes, &read) == 2 && !profile[read] && *slices >= 1 && *slices <= 7 &&
         *gigabytes >= 1 && *gigabytes <= 1000;
}

static bool read_instances(char *text, Gpu *gpu) {
  char *rest = text;
  gpu->instance_count = 0;
  if (!strcmp(text, "none")) return true;
  for (char *item; (item = strsep(&rest, ","));) {
    item = trim(item);
    if (gpu->instance_count == MAX_INSTANCES) return fail("more than %d MIG instances", MAX_INSTANCES);
    Instance *made = &gpu->instances[gpu->instance_count];
    int gigabytes;
    if (!compare_instances(item, &made->slices, &gigabytes) || strlen(item) >= sizeof made->profile)
      return fail("\"%s\" is no MIG profile: write it as 1g.10gb", item);
    strcpy(made->profile, item);
    made->memory = (uint64_t)gigabytes << 30;
    memcpy(made->uuid, gpu->uuid, 16);
    made->uuid[0] ^= 0x4d;  /* its own, and the same each time */
    made->uuid[15] = (uint8_t)(made->uuid[15] + gpu->instance_count + 1);
    gpu->instance_count++;
  }
  return true;
}

static bool read_processes(char *text, Gpu *gpu) {
  char *rest = text;
  gpu->process_count = 0;
  if (!strcmp(text, "none")) return true;
  for (char *item; (item = strsep(&rest, ","));) {
    if (gpu->process_count == MAX_PROCESSES) return fail("more than %d processes", MAX_PROCESSES);
    Process *made = &gpu->processes[gpu->process_count];
    char *memory = item;
    char *pid = trim(strsep(&memory, ":"));
    long long number;
    if (!whole(pid, 1, UINT32_MAX, &number)) return false;
    made->pid = (unsigned)number;
    made->memory = 0;
    if (memory && !bytes(trim(memory), &made->memory)) return false;
    gpu->process_count++;
  }
  return true;
}

static bool read_remapped(char *text, Gpu *gpu) {
  char *rest = text;
  for (int i = 0; i < 4; i++) {
    char *item = strsep(&rest, ",");
    long long number;
    if (!item) return fail("remapped needs four numbers: corrected, uncorrected, pending (0 or 1), failed (0 or 1)");
    if (!whole(trim(item), 0, i < 2 ? 100000 : 1, &number)) return false;
    gpu->remapped[i] = (unsigned)number;
  }
  if (rest) return fail("remapped needs four numbers: corrected, uncorrected, pending (0 or 1), failed (0 or 1)");
  gpu->rows = 1;
  return true;
}

static bool read_count(const char *text, uint64_t *found) {
  long long number;
  if (!whole(text, 0, INT64_MAX, &number)) return false;
  *found = (uint64_t)number;
  return true;
}

/* nvmlBrandType_t in nvml.h. */
static const char *const BRANDS[] = {"unknown", "quadro", "tesla", "nvs", "grid", "geforce", "titan", "vapps", "vpc", "vcs",
                                     "vws", "gaming", "quadro-rtx", "nvidia-rtx", "nvidia", "geforce-rtx", "titan-rtx"};

static bool gpu_key(int index, const char *key, char *value) {
  Gpu *gpu = &the.gpus[index];
  const char *at = value;
  if (!strcmp(key, "name")) {
    if (strlen(value) >= MAX_NAME) return fail("the name is longer than %d characters", MAX_NAME - 1);
    strcpy(gpu->name, value);
    return true;
  }
  if (!strcmp(key, "capability")) {
    int read = 0;
    if (sscanf(value, "%2d.%1d%n", &gpu->major, &gpu->minor, &read) == 2 && !value[read] && gpu->major >= 1 &&
        gpu->minor >= 0)
      return true;
    return fail("\"%s\" is no compute capability: write it as 9.0", value);
  }
  if (!strcmp(key, "memory")) return bytes(value, &gpu->memory);
  if (!strcmp(key, "used")) return bytes(value, &gpu->used);
  if (!strcmp(key, "multiprocessors")) return whole_int(value, 1, 1000, &gpu->multiprocessors);
  if (!strcmp(key, "uuid")) return read_uuid(value, "GPU-", gpu->uuid);
  if (!strcmp(key, "pci")) {
    int read = 0;
    if (sscanf(at, "%8x:%2x:%2x.0%n", &gpu->domain, &gpu->bus, &gpu->device, &read) == 3 && !value[read]) return true;
    return fail("\"%s\" is no PCI address: write it as 0000:01:00.0", value);
  }
  if (!strcmp(key, "minor_number")) {
    int number;
    if (!whole_int(value, 0, 255, &number)) return false;
    gpu->minor_number = (unsigned)number;
    return true;
  }
  if (!strcmp(key, "brand")) {
    for (int i = 0; i < (int)(sizeof BRANDS / sizeof *BRANDS); i++)
      if (!strcasecmp(value, BRANDS[i])) {
        gpu->brand = i;
        return true;
      }
    return whole_int(value, 0, 100, &gpu->brand);
  }
#define WORD_VALUES -1, 0, 1
  if (!strcmp(key, "mig")) {
    if (!WORD(key, value, &gpu->mig, "unsupported", "off", "on")) return false;
    gpu->mig_pending = gpu->mig;
    return true;
  }
  if (!strcmp(key, "mig_pending")) return WORD(key, value, &gpu->mig_pending, "unsupported", "off", "on");
  if (!strcmp(key, "ecc")) {
    if (!WORD(key, value, &gpu->ecc, "unsupported", "off", "on")) return false;
    gpu->ecc_pending = gpu->ecc;
    return true;
  }
  if (!strcmp(key, "ecc_pending")) return WORD(key, value, &gpu->ecc_pending, "unsupported", "off", "on");
#undef WORD_VALUES
#define WORD_VALUES 0, 1
  if (!strcmp(key, "persistence")) return WORD(key, value, &gpu->persistence, "off", "on");
#undef WORD_VALUES
#define WORD_VALUES 0, 1, 2, 3
  if (!strcmp(key, "compute_mode"))
    return WORD(key, value, &gpu->compute_mode, "default", "exclusive-thread", "prohibited", "exclusive-process");
  if (!strcmp(key, "fabric"))
    return WORD(key, value, &gpu->fabric, "not-supported", "not-started", "in-progress", "completed");
#undef WORD_VALUES
  if (!strcmp(key, "fabric_status")) return whole_int(value, 0, 999, &gpu->fabric_status);
  if (!strcmp(key, "mig_instances")) return read_instances(value, gpu);
  if (!strcmp(key, "processes")) return read_processes(value, gpu);
  if (!strcmp(key, "remapped")) return read_remapped(value, gpu);
  if (!strcmp(key, "ecc_corrected")) return read_count(value, &gpu->ecc_errors[0][0]);
  if (!strcmp(key, "ecc_uncorrected")) return read_count(value, &gpu->ecc_errors[1][0]);
  if (!strcmp(key, "ecc_corrected_ever")) return read_count(value, &gpu->ecc_errors[0][1]);
  if (!strcmp(key, "ecc_uncorrected_ever")) return read_count(value, &gpu->ecc_errors[1][1]);
  if (!strncmp(key, "attribute.", 10)) {
    int number, found;
    if (!whole_int(key + 10, 1, 1000, &number) || !whole_int(value, INT32_MIN, INT32_MAX, &found)) return false;
    if (gpu->attribute_count == MAX_ATTRIBUTES) return fail("more than %d attributes", MAX_ATTRIBUTES);
    gpu->attributes[gpu->attribute_count][0] = number;
    gpu->attributes[gpu->attribute_count++][1] = found;
    return true;
  }
  return fail("a GPU has no \"%s\"", key);
}

static bool add_gpus(const Model *model, int count) {
  while (count--) {
    if (the.gpu_count == MAX_GPUS) return fail("more than %d GPUs", MAX_GPUS);
    int index = the.gpu_count++;
    Gpu *gpu = &the.gpus[index];
    strcpy(gpu->name, model->name);
    gpu->major = model->major;
    gpu->minor = model->minor;
    gpu->multiprocessors = model->multiprocessors;
    gpu->memory = (uint64_t)model->memory_mib << 20;
    gpu->brand = model->brand;
    gpu->pci = model->pci;
    gpu->subsystem = 0x000010de;
    gpu->mig = gpu->mig_pending = model->mig;
    gpu->ecc = gpu->ecc_pending = model->ecc;
    gpu->rows = gpu->major >= 8 && model->ecc >= 0;
    gpu->bus = (unsigned)(index + 1);
    gpu->minor_number = (unsigned)index;
    for (int i = 0; i < 16; i++) gpu->uuid[i] = (uint8_t)(0x10 + i * 7 + index * 31);
    gpu->uuid[6] = (uint8_t)(0x40 | (gpu->uuid[6] & 15));  /* RFC 9562, version 4 */
    gpu->uuid[8] = (uint8_t)(0x80 | (gpu->uuid[8] & 63));
  }
  return true;
}

static bool read_gpus(char *value) {
  char *rest = value;
  if (!strcmp(value, "none")) return true;
  for (char *item; (item = strsep(&rest, ","));) {
    char *count = item;
    char *key = trim(strsep(&count, ":"));
    int number = 1;
    if (count && !whole_int(trim(count), 1, MAX_GPUS, &number)) return false;
    const Model *found = NULL;
    for (int i = 0; i < model_count; i++)
      if (!strcasecmp(key, models[i].key)) found = &models[i];
    if (!found) return fail("no GPU \"%s\" is known: gpucheck-fake-driver gpus lists those that are", key);
    if (!add_gpus(found, number)) return false;
  }
  return true;
}

static bool read_view(char *value, int *view, int *count) {
  char *rest = value;
  *count = 0;
  if (!strcmp(value, "none")) return true;
  for (char *item; (item = strsep(&rest, ","));) {
    if (*count == MAX_GPUS) return fail("more than %d GPUs", MAX_GPUS);
    if (!whole_int(trim(item), 0, the.gpu_count - 1, &view[*count])) return false;
    (*count)++;
  }
  return true;
}

static bool read_cuda(const char *value) {
  int major, minor, read = 0;
  if (sscanf(value, "%2d.%1d%n", &major, &minor, &read) != 2 || value[read] || major < 1 || minor < 0)
    return fail("\"%s\" is no CUDA version: write it as 13.0", value);
  the.cuda = major * 1000 + minor * 10;
  return true;
}

/* A name without its version and its thread suffix: cuMemAlloc for cuMemAlloc_v2_ptds. */
static size_t stem(const char *name) {
  size_t length = strlen(name);
  if (length > 5 && (!strcmp(name + length - 5, "_ptds") || !strcmp(name + length - 5, "_ptsz"))) length -= 5;
  if (length > 3 && name[length - 3] == '_' && name[length - 2] == 'v' && isdigit((unsigned char)name[length - 1])) length -= 3;
  return length;
}

static bool same_call(const char *wanted, bool glob, const char *name) {
  if (glob) return !strncmp(wanted, name, strlen(wanted));
  if (!strcmp(wanted, name)) return true;
  return strlen(wanted) == stem(name) && !strncmp(wanted, name, stem(name));
}

static bool known_call(const char *wanted, bool glob) {
  for (int i = 0; i < call_count; i++)
    if (same_call(wanted, glob, call_names[i])) return true;
  return false;
}

static bool read_signal(const char *text, long *number) {
  static const struct {
    const char *name;
    int number;
  } SIGNALS[] = {{"SIGSEGV", SIGSEGV}, {"SIGABRT", SIGABRT}, {"SIGBUS", SIGBUS}, {"SIGILL", SIGILL},
                 {"SIGFPE", SIGFPE},   {"SIGKILL", SIGKILL}, {"SIGTERM", SIGTERM}};
  for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
    if (!strcmp(text, SIGNALS[i].name)) {
      *number = SIGNALS[i].number;
      return true;
    }
  return fail("\"%s\" is no signal that the fake can die of: SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGKILL or SIGTERM", text);
}

/* CALL[#N[+]][@GPU] = CODE | hang | crash [SIGNAL] | exit [STATUS] | slow MILLISECONDS [CODE] | garbage | missing */
static bool read_action(char *key, char *value) {
  if (action_count == MAX_ACTIONS) return fail("more than %d actions at calls", MAX_ACTIONS);
  Action made = {.gpu = -1, .from = 1, .to = ~0ul, .code = -1};
  char *gpu = strchr(key, '@');
  if (gpu) *gpu++ = 0;
  char *nth = strchr(key, '#');
  if (nth) *nth++ = 0;
  if (gpu && !whole_int(trim(gpu), 0, MAX_GPUS - 1, &made.gpu)) return false;
  if (nth) {
    nth = trim(nth);
    size_t length = strlen(nth);
    bool on = length && nth[length - 1] == '+';
    if (on) nth[length - 1] = 0;
    long long number;
    if (!whole(nth, 1, 1000000000, &number)) return false;
    made.from = (unsigned long)number;
    if (!on) made.to = made.from;
  }
  key = trim(key);
  size_t length = strlen(key);
  if (length >= sizeof made.call) return fail("no call has so long a name: %.40s...", key);
  made.glob = length && key[length - 1] == '*';
  memcpy(made.call, key, length + 1);
  if (made.glob) made.call[length - 1] = 0;
  bool mine = !strncmp(made.call, prefix, strlen(prefix));
  if (mine && !known_call(made.call, made.glob)) return fail("the library has no call \"%s\"", key);

  char *rest = value;
  char *deed = strsep(&rest, " \t");
  if (rest) rest = trim(rest);
  if (rest && !*rest) rest = NULL;
  long long number;
  if (!strcmp(deed, "hang") && !rest) {
    made.deed = HANG;
  } else if (!strcmp(deed, "garbage") && !rest) {
    made.deed = GARBAGE;
  } else if (!strcmp(deed, "missing") && !rest) {
    made.deed = MISSING;
  } else if (!strcmp(deed, "crash")) {
    made.deed = CRASH;
    made.argument = SIGSEGV;
    if (rest && !read_signal(rest, &made.argument)) return false;
  } else if (!strcmp(deed, "exit")) {
    made.deed = EXIT;
    if (rest && !whole(rest, 0, 255, &number)) return false;
    if (rest) made.argument = (long)number;
  } else if (!strcmp(deed, "slow")) {
    made.deed = SLOW;
    char *milliseconds = strsep(&rest, " \t");
    if (!milliseconds) return fail("slow needs its milliseconds: slow 500");
    if (!whole(milliseconds, 0, 86400000, &number)) return false;
    made.argument = (long)number;
    if (rest && !whole(trim(rest), 0, 100000, &number)) return false;
    if (rest) made.code = (long)number;
  } else {
    char *end;
    errno = 0;
    made.code = strtol(deed, &end, 10);
    if (end == deed || *end || errno || rest || made.code < 0 || made.code > 100000)
      return fail("\"%s\" cannot be done at a call: a result code, hang, crash, exit, slow, garbage or missing", deed);
  }
  if (mine) actions[action_count++] = made;
  return true;
}

static bool read_line(char *key, char *value) {
  if (!strcmp(key, "driver")) {
    if (!*value || strlen(value) >= sizeof the.driver) return fail("\"%.60s\" is no driver version", value);
    strcpy(the.driver, value);
    return true;
  }
  if (!strcmp(key, "cuda")) return read_cuda(value);
  if (!strcmp(key, "gpu")) return read_gpus(value);
  if (!strcmp(key, "cuda.gpus")) return read_view(value, the.cuda_gpus, &the.cuda_count);
  if (!strcmp(key, "nvml.gpus")) return read_view(value, the.nvml_gpus, &the.nvml_count);
  if (!strncmp(key, "gpu", 3) && isdigit((unsigned char)key[3])) {
    char *end;
    long index = strtol(key + 3, &end, 10);
    if (*end != '.') return fail("\"%s\" is no key: write gpu0.name", key);
    if (index < 0 || index >= the.gpu_count) return fail("there is no GPU %ld: a line \"gpu = H100\" above adds one", index);
    return gpu_key((int)index, end + 1, value);
  }
  if (!strncmp(key, "cu", 2) || !strncmp(key, "nvml", 4)) return read_action(key, value);
  return fail("\"%.80s\" is no key", key);
}

static void read_file(FILE *file, const char *path) {
  char line[MAX_LINE + 2];
  int number = 0;
  bool gpus = false;
  the.cuda_count = the.nvml_count = -1;
  the.cuda = 0;
  while (fgets(line, sizeof line, file)) {
    number++;
    size_t length = strlen(line);
    char key_kept[80];
    if ((!length || line[length - 1] != '\n') && !feof(file)) {
      fail("the line is longer than %d characters, or holds a zero byte", MAX_LINE);
    } else {
      for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' && !isspace((unsigned char)line[i])) fail("the line holds a control character");
      char *text = trim(line);
      if (!*text || *text == '#') continue;
      char *comment = strstr(text, " #");
      if (comment) *comment = 0;
      char *equals = strchr(text, '=');
      if (!equals) {
        fail("\"%.80s\" is no line of the form \"key = value\"", text);
      } else {
        *equals = 0;
        char *key = trim(text), *value = trim(equals + 1);
        snprintf(key_kept, sizeof key_kept, "%s", key);
        gpus |= !strcmp(key, "gpu");
        if (!*value) fail("\"%.80s\" has no value", key);
        else read_line(key, value);
      }
    }
    if (the.problem[0]) {
      char whole_problem[sizeof the.problem];
      snprintf(whole_problem, sizeof whole_problem, "%.300s:%d: %.800s", path, number, the.problem);
      strcpy(the.problem, whole_problem);
      return;
    }
  }
  if (ferror(file)) fail("%.300s: %s", path, strerror(errno));
  for (int i = 0; i < branch_count && !the.cuda; i++)
    if (branches[i].driver == atoi(the.driver)) the.cuda = branches[i].cuda;
  if (!the.cuda && !the.problem[0])
    fail("%.300s: which CUDA version driver %s has is not known: add a line \"cuda = 13.0\"", path, the.driver);
  if (!gpus && !the.problem[0]) fail("%.300s: it names no GPU: add a line \"gpu = H100\" or \"gpu = none\"", path);
}

static void load(void) {
  const char *path = getenv("GPUCHECK_FAKE_DRIVER");
  const char *log = getenv("GPUCHECK_FAKE_DRIVER_LOG");
  if (log && *log) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  strcpy(the.driver, "580.95.05");
  the.cuda = 13000;
  if (path && *path) {
    FILE *file = fopen(path, "re");
    if (!file) {
      fail("%.300s: %s", path, strerror(errno));
    } else {
      read_file(file, path);
      fclose(file);
    }
  } else {
    the.cuda_count = the.nvml_count = -1;
    add_gpus(&models[0], 1);
  }
  if (the.cuda_count < 0)
    for (the.cuda_count = 0; the.cuda_count < the.gpu_count; the.cuda_count++) the.cuda_gpus[the.cuda_count] = the.cuda_count;
  if (the.nvml_count < 0)
    for (the.nvml_count = 0; the.nvml_count < the.gpu_count; the.nvml_count++) the.nvml_gpus[the.nvml_count] = the.nvml_count;
  for (int i = 0; i < action_count && !the.problem[0]; i++)
    if (actions[i].gpu >= the.gpu_count)
      fail("%.300s: %s@%d: there is no GPU %d", path ? path : "", actions[i].call, actions[i].gpu, actions[i].gpu);
  if (the.problem[0]) fprintf(stderr, "the fake driver cannot read its script: %s\n", the.problem);
}

const Script *script(void) {
  pthread_once(&once, load);
  return &the;
}

/* ---- acting ---- */

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...) {
  if (log_file < 0) return;
  char line[300];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length > 0) {
    ssize_t written = write(log_file, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
    (void)written;
  }
}

static Action chosen(const char *call, int gpu) {
  Action found = {.deed = CODE, .code = -1};
  pthread_mutex_lock(&acting);
  for (int i = 0; i < action_count; i++) {
    Action *action = &actions[i];
    if (action->deed == MISSING || (action->gpu >= 0 && action->gpu != gpu)) continue;
    if (!same_call(action->call, action->glob, call)) continue;
    action->seen++;
    if (action->seen >= action->from && action->seen <= action->to) found = *action;  /* of several, the last line */
  }
  pthread_mutex_unlock(&acting);
  return found;
}

static void sleep_for(long milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&left, &left) && errno == EINTR) {
  }
}

int enter(const char *call, int gpu) {
  /* CUDA_ERROR_UNKNOWN and NVML_ERROR_UNKNOWN are both 999. */
  if (script()->problem[0]) return 999;
  Action action = chosen(call, gpu);
  garbling = action.deed == GARBAGE;
  noise_state = 12345;
  if (action.deed == CODE && action.code >= 0) note("%s = %ld\n", call, action.code);
  else note("%s\n", call);
  switch (action.deed) {
    case HANG:
      for (;;) pause();
    case CRASH:
      /* A handler of the program's own must not keep the process alive. */
      signal((int)action.argument, SIG_DFL);
      raise((int)action.argument);
      _exit(128 + (int)action.argument);
    case EXIT:
      _exit((int)action.argument);
    case SLOW:
      sleep_for(action.argument);
      return (int)action.code;
    case CODE:
      return (int)action.code;
    case GARBAGE:
    case MISSING:
      break;
  }
  return -1;
}

int unimplemented(const char *call, int code) {
  int wanted = enter(call, -1);
  if (wanted >= 0) return wanted;
  note("%s: not implemented, %d\n", call, code);
  return code;
}

bool missing(const char *call) {
  script();
  for (int i = 0; i < action_count; i++)
    if (actions[i].deed == MISSING && same_call(actions[i].call, actions[i].glob, call)) return true;
  return false;
}

/* Not NVIDIA's: what gpucheck-fake-driver asks to check a script. '' when it can be read. */
API const char *gpucheckFakeDriverProblem(void) {
  return script()->problem;
}
