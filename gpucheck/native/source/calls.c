/* Watches the calls into the CUDA driver, the CUDA runtime and NVML: an auditing library for the dynamic linker.

   rtld-audit(7): the linker tells la_symbind64 of each symbol that it binds, for PLT entries and for dlsym, and gives the
   address that this returns to whoever asked. Functions of the libraries below get the address of a stub of ours that notes
   the entry, calls the function, notes the result and the time, and returns what it returned. What cuGetProcAddress hands
   out is replaced likewise: CUDA runtimes from 11.3 on ask it for nearly everything.

   Rules that this file keeps:
   - It lives in a link-map namespace of its own and depends on no library, not even libc: a second libc would have its own
     malloc, its own stdio and its own static TLS. It makes its system calls itself, so the program's errno stays as it is.
   - It is compiled without vector and x87 registers (ci/native.py), so those of a call pass through untouched.
   - It takes no lock and allocates nothing per call: it may run in any thread, in a signal handler, between fork and exec.
   - It writes to one file a process, mapped shared and of fixed size: nothing is lost when the process is killed, a million
     calls take no more room than sixty-four, and no atexit handler has to run.
   - Where it cannot do something it hands out the function itself, unwatched. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "calls.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14; not in the headers of older C libraries */
#endif

#define FIRST 64        /* calls of each function that are noted one by one; the rest is counted */
#define RECORDS 16384   /* of all functions together */
#define FAILURES 4096   /* further records: the first failure with each code of a function is always noted */
#define BUCKETS (2 * STUBS)
#define CODES 4         /* different codes of one function that are counted apart */
#define NONE UINT32_MAX
#define EXPORTED __attribute__((visibility("default")))

extern const char stubs[], stubs_end[]; /* these three are assembly */
typedef int clock_function(int, struct timespec *);
int call_clock(int clock, struct timespec *time, clock_function *function);

/* -- the file. gpucheck/trace/calls/log.py reads it ------------------------------------------------------------------ */

enum state { UNUSED, ENTERED, RETURNED };
enum kind { PLAIN, GETS_FUNCTION, GETS_NUMBER };

struct slot { /* a function */
    char name[72];
    uint32_t object, kind;
    uint64_t calls, returned, time, errors;
    struct { uint32_t code, count; } codes[CODES];
};

struct record { /* a call */
    uint64_t start, end; /* CLOCK_MONOTONIC, ns */
    uint32_t slot, thread, result, state;
    int64_t value;  /* what GETS_NUMBER got, the version that GETS_FUNCTION asked for */
    uint32_t asked; /* 1 + the slot of the function that GETS_FUNCTION asked for */
    uint32_t unused;
};

struct log {
    union {
        struct {
            char magic[16];
            uint32_t process, parent, slots, unwatched, records, failures, objects, unused;
            uint64_t opened;
            char command[512];
            char object[16][256];
        };
        char page[8192];
    };
    struct slot slot[STUBS];
    struct record record[RECORDS + FAILURES];
};

/* What this was built from: python -m ci.native --check. */
__attribute__((used)) static const char sources[] = "gpucheck sources: " SOURCES;

static struct log *file; /* always at the same address, in children too */

/* gpucheck writes the folder for the files in here: a program that clears its environment is watched too. */
static const volatile char folder[1024] = "@gpucheck: the folder for the files@";

/* -- private to the process ------------------------------------------------------------------------------------------ */

static void *targets[STUBS];
static uint16_t buckets[BUCKETS]; /* 1 + slot, by name and target */
static uint32_t used, epoch;
static clock_function *vdso_clock;

enum { NEW, OPENING, OPEN, NEVER };
static struct life { uint32_t state, process; } *life; /* a page that a fork wipes: a child starts with NEW */
static int no_wipe;                                    /* before Linux 4.14: compare process ids instead */

/* -- system calls ---------------------------------------------------------------------------------------------------- */

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
#ifdef __x86_64__
    long result;
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}
#define call(number, a, b, c, d) syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define open_file(path, flags, mode) ((int)call(SYS_openat, AT_FDCWD, path, (flags) | O_CLOEXEC, mode))
#define is_error(result) ((unsigned long)(result) > -4096ul)

static uint64_t now(void) {
    struct timespec time = {0, 0};
    if (!vdso_clock || call_clock(CLOCK_MONOTONIC, &time, vdso_clock))
        call(SYS_clock_gettime, CLOCK_MONOTONIC, &time, 0, 0);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* -- strings, without libc ------------------------------------------------------------------------------------------- */

static int starts(const char *text, const char *with) {
    while (*with)
        if (*text++ != *with++) return 0;
    return 1;
}

/* Whether two names are the same, as far as a slot keeps them. */
static int same(const char *kept, const char *name) {
    for (unsigned i = 0; i < sizeof file->slot[0].name - 1; i++) {
        if (kept[i] != name[i]) return 0;
        if (!name[i]) return 1;
    }
    return 1;
}

static char *append(char *to, const char *end, const volatile char *from) {
    while (*from && to < end) *to++ = *from++;
    *to = 0;
    return to;
}

static char *append_number(char *to, const char *end, uint32_t number) {
    char digits[12], *digit = digits + sizeof digits - 1;
    *digit = 0;
    do *--digit = (char)('0' + number % 10); while (number /= 10);
    return append(to, end, digit);
}

/* -- the clock: vdso(7) reads it without entering the kernel ----------------------------------------------------------- */

static void find_clock(void) {
    unsigned long pair[2], base = 0, bias = 0;
    int auxv = open_file("/proc/self/auxv", O_RDONLY, 0);
    if (auxv < 0) return;
    while (call(SYS_read, auxv, pair, sizeof pair, 0) == sizeof pair && pair[0] != AT_NULL)
        if (pair[0] == AT_SYSINFO_EHDR) base = pair[1];
    call(SYS_close, auxv, 0, 0, 0);
    if (!base) return;
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = 0;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD && !bias) bias = base + segment[i].p_offset - segment[i].p_vaddr;
        if (segment[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(base + segment[i].p_offset);
    }
    const Elf64_Sym *symbol = 0;
    const char *strings = 0;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbol = (const Elf64_Sym *)(bias + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) strings = (const char *)(bias + dynamic->d_un.d_ptr);
    }
    /* The kernel's linker script puts .dynstr right behind .dynsym; the number of symbols is written nowhere simpler. */
    for (; symbol && (const char *)(symbol + 1) <= strings; symbol++)
        if (symbol->st_shndx != SHN_UNDEF && (starts(strings + symbol->st_name, "__vdso_clock_gettime")
                                              || starts(strings + symbol->st_name, "__kernel_clock_gettime")))
            vdso_clock = (clock_function *)(bias + symbol->st_value);
}

/* -- opening the file of this process ---------------------------------------------------------------------------------- */

static int create(uint32_t process) {
    char path[sizeof folder + 32], *end = path + sizeof path - 1, *tail = append(path, end, folder);
    tail = append_number(append(tail, end, "/"), end, process);
    /* A process id may have a file already: before an exec, or in another PID namespace. */
    for (uint32_t turn = 0; turn < 1000; turn++) {
        append_number(append(tail, end, "."), end, turn);
        int found = open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
        if (found != -EEXIST) return found;
    }
    return -EEXIST;
}

/* Written, not only made long: a page of a sparse file that finds the disk full would be a SIGBUS in the program. */
static int fill(int to, const void *kept, unsigned long size) {
    static char zeros[8192];
    for (unsigned long done = 0; done < sizeof *file;) {
        const char *from = done < size ? (const char *)kept + done : zeros;
        unsigned long left = done < size ? size - done : sizeof *file - done;
        if (done >= size && left > sizeof zeros) left = sizeof zeros;
        long wrote = call(SYS_write, to, from, left, 0);
        if (wrote <= 0) return 0;
        done += (unsigned long)wrote;
    }
    return 1;
}

static int open_log(uint32_t process) {
    struct rlimit limit = {0, 0};
    /* setrlimit(2): to write beyond RLIMIT_FSIZE is a SIGXFSZ. */
    if (call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) || limit.rlim_cur < sizeof *file) return 0;
    int from = create(process);
    if (from < 0) return 0;
    /* A forked child keeps the functions that it knows, at the address where its frames and pointers expect them. */
    void *place = (void *)-1l;
    if (fill(from, file, file ? __builtin_offsetof(struct log, record) : 0))
        place = (void *)syscall6(SYS_mmap, (long)file, sizeof *file, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | (file ? MAP_FIXED : 0), from, 0);
    call(SYS_close, from, 0, 0, 0);
    if (is_error(place)) return 0;
    file = place;
    append(file->magic, file->magic + 15, "gpucheck calls1");
    file->process = process;
    file->parent = (uint32_t)call(SYS_getppid, 0, 0, 0, 0);
    file->records = file->failures = file->unwatched = 0;
    file->slots = used; /* the parent may have gone on since the fork */
    file->opened = now();
    for (unsigned i = 0; i < STUBS; i++) {
        struct slot *slot = &file->slot[i];
        slot->calls = slot->returned = slot->time = slot->errors = 0;
        for (unsigned c = 0; c < CODES; c++) slot->codes[c].code = slot->codes[c].count = 0;
    }
    int line = open_file("/proc/self/cmdline", O_RDONLY, 0);
    if (line >= 0) call(SYS_read, line, file->command, sizeof file->command - 1, 0);
    if (line >= 0) call(SYS_close, line, 0, 0, 0);
    return 1;
}

/* Whether there is a file to write to; opens it at the first need. What comes meanwhile in other threads is not noted. */
static int ready(void) {
    uint32_t state = __atomic_load_n(&life->state, __ATOMIC_ACQUIRE), process = 0;
    if (no_wipe && state != NEW && life->process != (process = (uint32_t)call(SYS_getpid, 0, 0, 0, 0))) {
        life->process = process;
        __atomic_store_n(&life->state, state = NEW, __ATOMIC_RELEASE);
    }
    if (state != NEW) return state == OPEN;
    if (!__atomic_compare_exchange_n(&life->state, &state, OPENING, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return 0;
    life->process = (uint32_t)call(SYS_getpid, 0, 0, 0, 0);
    epoch++;
    state = open_log(life->process) ? OPEN : NEVER;
    if (state == NEVER && file) /* a child that may not write here must not write to its parent's file either */
        syscall6(SYS_mmap, (long)file, sizeof *file, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    __atomic_store_n(&life->state, state, __ATOMIC_RELEASE);
    return state == OPEN;
}

/* -- functions --------------------------------------------------------------------------------------------------------- */

/* Functions whose first argument is where an int goes that tells a person something. */
static enum kind kind_of(const char *name) {
    static const char numbers[] = "cuDriverGetVersion\0cudaDriverGetVersion\0cudaRuntimeGetVersion\0cuDeviceGetCount\0"
                                  "cudaGetDeviceCount\0cudaGetDevice\0nvmlSystemGetCudaDriverVersion\0"
                                  "nvmlSystemGetCudaDriverVersion_v2\0nvmlDeviceGetCount\0nvmlDeviceGetCount_v2\0";
    if (starts(name, "cuGetProcAddress") || starts(name, "cudaGetDriverEntryPoint")) return GETS_FUNCTION;
    for (const char *known = numbers; *known; known++) {
        if (same(known, name)) return GETS_NUMBER;
        while (*known) known++;
    }
    return PLAIN;
}

/* The slot of a function: two names for one address are two slots, or a call would be noted under the other's name. */
static uint32_t slot_of(const char *name, void *target, uint32_t object) {
    uint64_t hash = (uint64_t)target;
    uint32_t mine = NONE;
    for (const char *letter = name; *letter; letter++) hash = (hash ^ (unsigned char)*letter) * 0x100000001b3u; /* FNV-1a */
    for (uint32_t probe = 0; probe < BUCKETS; probe++) {
        uint16_t *bucket = &buckets[(hash + (hash >> 32) + probe) % BUCKETS], known = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
        if (!known) {
            if (mine == NONE) {
                mine = __atomic_load_n(&used, __ATOMIC_RELAXED);
                while (mine < STUBS && !__atomic_compare_exchange_n(&used, &mine, mine + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
                if (mine >= STUBS) {
                    __atomic_fetch_add(&file->unwatched, 1, __ATOMIC_RELAXED);
                    return NONE;
                }
                struct slot *slot = &file->slot[mine];
                append(slot->name, slot->name + sizeof slot->name - 1, name);
                slot->object = object;
                slot->kind = kind_of(name);
                targets[mine] = target;
                __atomic_fetch_add(&file->slots, 1, __ATOMIC_RELEASE);
            }
            if (__atomic_compare_exchange_n(bucket, &known, (uint16_t)(mine + 1), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return mine;
        }
        if (targets[known - 1] == target && same(file->slot[known - 1].name, name)) return known - 1u;
    }
    return NONE;
}

static void *watched(const char *name, void *target, uint32_t object) {
    if ((const char *)target >= stubs && (const char *)target < stubs_end) return target;
    uint32_t slot = ready() ? slot_of(name, target, object) : NONE;
    return slot == NONE ? target : (void *)(stubs + slot * STUB_SIZE);
}

/* -- calls: the stubs come here before and after ------------------------------------------------------------------------ */

struct frame {
    uint64_t result[2];
    void *target;
    uint64_t argument[9];
    uint64_t start;
    uint32_t slot, record, epoch, unused;
};
_Static_assert(__builtin_offsetof(struct frame, target) == TARGET, "calls.h");
_Static_assert(__builtin_offsetof(struct frame, argument) == ARGUMENTS, "calls.h");
_Static_assert(sizeof(struct frame) <= FRAME, "calls.h");

/* How much may be read above the caller's stack pointer: the stack may end at a page's end. rt_sigprocmask(2) reads the set
   before it looks at the first argument, which is wrong here on purpose: EFAULT for an address that is not there, else EINVAL. */
static unsigned long readable(const char *stack) {
    unsigned long room = 4096 - ((unsigned long)stack & 4095);
    if (room >= STACKED || call(SYS_rt_sigprocmask, -1, stack + room, 0, 8) != -EFAULT) return STACKED;
    return room;
}

__attribute__((visibility("hidden"))) unsigned long enter(struct frame *frame, uint32_t number, const char *stack) {
    frame->target = targets[number];
    frame->slot = NONE;
    if (!ready()) return readable(stack);
    struct slot *slot = &file->slot[number];
    frame->slot = number;
    frame->record = NONE;
    frame->epoch = epoch;
    if (__atomic_fetch_add(&slot->calls, 1, __ATOMIC_RELAXED) < FIRST
        && __atomic_load_n(&file->records, __ATOMIC_RELAXED) < RECORDS)
        frame->record = __atomic_fetch_add(&file->records, 1, __ATOMIC_RELAXED);
    if (frame->record >= RECORDS) frame->record = NONE;
    frame->start = now();
    if (frame->record != NONE) {
        struct record *record = &file->record[frame->record];
        record->start = frame->start;
        record->slot = number;
        record->thread = (uint32_t)call(SYS_gettid, 0, 0, 0, 0);
        __atomic_store_n(&record->state, ENTERED, __ATOMIC_RELEASE);
    }
    return readable(stack);
}

/* Counts a failure; true for the first with its code. */
static int count_failure(struct slot *slot, uint32_t code) {
    __atomic_fetch_add(&slot->errors, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CODES; i++) {
        uint32_t known = 0;
        int fresh = __atomic_compare_exchange_n(&slot->codes[i].code, &known, code, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        if (!fresh && known != code) continue;
        __atomic_fetch_add(&slot->codes[i].count, 1, __ATOMIC_RELAXED);
        return fresh;
    }
    return 0;
}

__attribute__((visibility("hidden"))) void leave(struct frame *frame) {
    uint64_t end = now();
    if (frame->slot == NONE || !ready() || frame->epoch != epoch) return; /* forked within the call: the parent's to note */
    struct slot *slot = &file->slot[frame->slot];
    uint32_t code = (uint32_t)frame->result[0]; /* all that CUresult, cudaError_t and nvmlReturn_t have; the rest is undefined */
    __atomic_fetch_add(&slot->returned, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&slot->time, end - frame->start, __ATOMIC_RELAXED);
    if (code && count_failure(slot, code) && frame->record == NONE
        && __atomic_load_n(&file->failures, __ATOMIC_RELAXED) < FAILURES) {
        uint32_t failure = __atomic_fetch_add(&file->failures, 1, __ATOMIC_RELAXED);
        if (failure < FAILURES) frame->record = RECORDS + failure;
    }
    uint32_t asked = 0;
    if (slot->kind == GETS_FUNCTION && frame->argument[0] && frame->argument[1]) {
        const char *name = (const char *)frame->argument[0];
        void **function = (void **)frame->argument[1];
        if (code == 0 && *function) *function = watched(name, *function, slot->object);
        if (frame->record != NONE) asked = slot_of(name, 0, slot->object) + 1;
    }
    if (frame->record == NONE) return;
    struct record *record = &file->record[frame->record];
    if (frame->record >= RECORDS) {
        record->start = frame->start;
        record->slot = frame->slot;
        record->thread = (uint32_t)call(SYS_gettid, 0, 0, 0, 0);
    }
    record->end = end;
    record->result = code;
    record->asked = asked;
    if (slot->kind == GETS_FUNCTION) record->value = (int32_t)frame->argument[2];
    if (slot->kind == GETS_NUMBER && code == 0 && frame->argument[0]) record->value = *(const int32_t *)frame->argument[0];
    __atomic_store_n(&record->state, RETURNED, __ATOMIC_RELEASE);
}

/* -- what the dynamic linker calls: rtld-audit(7) ------------------------------------------------------------------------ */

/* 2 since glibc 2.35; the functions that changed are not used here. More than the linker's own version is refused. */
EXPORTED unsigned la_version(unsigned version) {
    life = (struct life *)syscall6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (is_error(life)) return 0;
    /* qemu-user 7.2 takes any advice and follows none (measured): a wrong one is given first. */
    no_wipe = call(SYS_madvise, life, 4096, -1, 0) == 0 || call(SYS_madvise, life, 4096, MADV_WIPEONFORK, 0) != 0;
    find_clock();
    char path[sizeof folder + 32], line[16], *end = path + sizeof path - 1;
    append(append(path, end, folder), end, "/processes");
    int processes = open_file(path, O_WRONLY | O_APPEND | O_NOFOLLOW, 0);
    if (processes >= 0) {
        char *tail = append_number(line, line + sizeof line - 2, (uint32_t)call(SYS_getpid, 0, 0, 0, 0));
        *tail++ = '\n';
        call(SYS_write, processes, line, tail - line, 0);
        call(SYS_close, processes, 0, 0, 0);
    }
    return version < 2 ? version : 2;
}

/* 1 + the number of an object whose functions are watched goes into its cookie, 0 into all others. */
EXPORTED unsigned la_objopen(struct link_map *map, Lmid_t namespace, uintptr_t *cookie) {
    (void)namespace;
    const char *name = map->l_name;
    for (const char *letter = name; *letter; letter++)
        if (*letter == '/') name = letter + 1;
    *cookie = 0;
    if ((starts(name, "libcuda.so") || starts(name, "libcudart") || starts(name, "libnvidia-ml.so")) && ready()) {
        uint32_t object = __atomic_fetch_add(&file->objects, 1, __ATOMIC_RELAXED);
        if (object < sizeof file->object / sizeof file->object[0])
            append(file->object[object], file->object[object] + sizeof file->object[0] - 1, map->l_name);
        *cookie = object + 1;
        return LA_FLG_BINDTO | LA_FLG_BINDFROM;
    }
    return LA_FLG_BINDFROM;
}

EXPORTED uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags,
                                const char *name) {
    (void)index, (void)from;
    *flags |= LA_SYMB_NOPLTENTER | LA_SYMB_NOPLTEXIT;
    int type = ELF64_ST_TYPE(symbol->st_info);
    /* __cudaRegisterFunction and its like return nothing that says something, and come in tens of thousands. */
    if (!*to || (type != STT_FUNC && type != STT_GNU_IFUNC) || !(starts(name, "cu") || starts(name, "nvml")))
        return symbol->st_value;
    return (uintptr_t)watched(name, (void *)symbol->st_value, (uint32_t)*to - 1);
}
