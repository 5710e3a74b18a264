"""Nothing of a call changes: arguments in registers, on the stack and by address, results of every class, errno, unwinding."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.calls.workshop import build, counts, environment, library, named, plain, watch

#: Functions that no driver has: what is passed and returned is what the ABI can pass and return.
ODD = r"""
#include <complex.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#define P(...) (printf(__VA_ARGS__), fflush(stdout))
struct big { long v[9]; };
struct pair { double x; long y; };
struct handle { char bytes[64]; };
typedef float wide __attribute__((vector_size(64)));

long cuTwelve(long a, int b, short c, signed char d, long e, long f, long g, int h, short i, signed char j, long k, long l) {
    P("twelve %ld %d %d %d %ld %ld %ld %d %d %d %ld %ld\n", a, b, c, d, e, f, g, h, i, j, k, l); return 12; }
int cuSeventy(L70) { long sum = 0, all[] = { A70 }; for (int i = 0; i < 70; i++) sum += (i + 1) * all[i]; P("seventy %ld\n", sum); return 0; }
double cuDoubles(double a, long n, double b, float c, double d, double e, double f, double g, double h, double i, double j, long m) {
    P("doubles %g %ld %g %g %g %g %g %g %g %g %g %ld\n", a, n, b, c, d, e, f, g, h, i, j, m); return a + j; }
long double cuLong(long double a, int n) { P("long double %Lg %d\n", a, n); return a * n; }
double _Complex cuComplex(double _Complex a) { P("complex %g %g\n", creal(a), cimag(a)); return a * 2; }
__int128 cuWideInteger(__int128 a) { return a + 1; }
struct big cuBig(struct big a, int n) { for (int i = 0; i < 9; i++) a.v[i] *= n; return a; }
struct pair cuPair(struct pair a, struct pair b) { struct pair c = { a.x + b.x, a.y + b.y }; return c; }
int cuIpcOpenMemHandle(void **p, struct handle h, unsigned flags) { P("handle %d %d %u\n", h.bytes[0], h.bytes[63], flags); return 0; }
int cuVariadic(const char *format, ...) { va_list a; va_start(a, format); char s[200]; int n = vsnprintf(s, sizeof s, format, a); va_end(a); P("variadic %s\n", s); return n; }
void cuVoid(void) { P("void\n"); }
wide cuWide(wide a, wide b) { return a * b; }
int cuErrno(void) { return errno; }
int cuSetsErrno(void) { errno = 77; return 0; }
static int real_indirect(int a) { return a + 1; }
static void *choose(void) { return real_indirect; }
int cuIndirect(int) __attribute__((ifunc("choose")));
int cuData = 4711;
int cuCallsBack(int (*f)(void *), void *p) { return f(p); }
int cuNested(int n) { return n; }
unsigned long __cudaNotStatus(void) { return 1; }
"""

CALLER = r"""
#include <complex.h>
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#define P(...) (printf(__VA_ARGS__), fflush(stdout))
struct big { long v[9]; };
struct pair { double x; long y; };
struct handle { char bytes[64]; };
typedef float wide __attribute__((vector_size(64)));
static void *library;
static void *get(const char *n) { void *p = dlsym(library, n); if (!p) { puts(dlerror()); exit(9); } return p; }
static int again(void *p) { return ((int (*)(int))get("cuNested"))(*(int *)p) + 1; }
static jmp_buf out;
static int away(void *p) { longjmp(out, 5); }
int main(void) {
    library = dlopen("libcuda.so.1", RTLD_NOW);
    P("%ld\n", ((long (*)(long, int, short, signed char, long, long, long, int, short, signed char, long, long))get("cuTwelve"))(1L << 40, -2, 3, -4, 5, 6, 7L << 50, -8, 9, -10, 11, -12));
    ((int (*)(L70))get("cuSeventy"))(V70);
    P("%g\n", ((double (*)(double, long, double, float, double, double, double, double, double, double, double, long))get("cuDoubles"))(1.5, 2, 3.5, 4.5f, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12));
    P("%Lg\n", ((long double (*)(long double, int))get("cuLong"))(1.25L, 3));
    double _Complex z = ((double _Complex (*)(double _Complex))get("cuComplex"))(1.0 + 2.0 * I); P("%g %g\n", creal(z), cimag(z));
    __int128 w = ((__int128 (*)(__int128))get("cuWideInteger"))(((__int128)7 << 64) + -1); P("%ld %ld\n", (long)(w >> 64), (long)w);
    struct big b = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}; b = ((struct big (*)(struct big, int))get("cuBig"))(b, 3); P("%ld %ld\n", b.v[0], b.v[8]);
    struct pair p = {1.5, 2}; p = ((struct pair (*)(struct pair, struct pair))get("cuPair"))(p, p); P("%g %ld\n", p.x, p.y);
    struct handle h = {{42, [63] = 24}}; void *q; P("%d\n", ((int (*)(void **, struct handle, unsigned))get("cuIpcOpenMemHandle"))(&q, h, 9));
    P("%d\n", ((int (*)(const char *, ...))get("cuVariadic"))("%d %g %s %g %ld %g %d %d", 1, 2.5, "three", 4.5, 5L, 6.5, 7, 8));
    ((void (*)(void))get("cuVoid"))();
    wide u, v; for (int i = 0; i < 16; i++) u[i] = i, v[i] = i + 1;
    wide r = ((wide (*)(wide, wide))get("cuWide"))(u, v); for (int i = 0; i < 16; i++) P(i ? " %g" : "%g", r[i]); P("\n");
    errno = 33; P("errno %d", ((int (*)(void))get("cuErrno"))()); P(" %d", errno); ((int (*)(void))get("cuSetsErrno"))(); P(" %d\n", errno);
    P("indirect %d\n", ((int (*)(int))get("cuIndirect"))(5));
    P("data %d\n", *(int *)get("cuData"));
    int seven = 7; P("nested %d\n", ((int (*)(int (*)(void *), void *))get("cuCallsBack"))(again, &seven));
    int jumped = setjmp(out); if (!jumped) ((int (*)(int (*)(void *), void *))get("cuCallsBack"))(away, 0); P("jumped %d\n", jumped);
    P("same address %d\n", get("cuVoid") == get("cuVoid"));
    P("not status %lu\n", ((unsigned long (*)(void))get("__cudaNotStatus"))());
    return 3;
}
"""

SAID = """\
twelve 1099511627776 -2 3 -4 5 6 7881299347898368 -8 9 -10 11 -12
12
seventy 114310
doubles 1.5 2 3.5 4.5 5.5 6.5 7.5 8.5 9.5 10.5 11.5 12
13
long double 1.25 3
3.75
complex 1 2
2 4
7 0
3 27
3 4
handle 42 24 9
0
variadic 1 2.5 three 4.5 5 6.5 7 8
25
void
0 2 6 12 20 30 42 56 72 90 110 132 156 182 210 240
errno 33 33 77
indirect 6
data 4711
nested 8
jumped 5
same address 1
not status 1
"""


def seventy(source: str) -> str:
    """L70: parameters, A70: their names, V70: values."""
    return (
        source.replace("L70", ", ".join(f"long a{index}" for index in range(70)))
        .replace("A70", ", ".join(f"a{index}" for index in range(70)))
        .replace("V70", ", ".join(str(index) for index in range(70)))
    )


def vectors() -> tuple[str, ...]:
    """The widest vectors that this processor passes in registers."""
    if platform.machine() != "x86_64":
        return ()
    flags = Path("/proc/cpuinfo").read_text()
    return ("-mavx512f",) if "avx512f" in flags else ("-mavx2",) if "avx2" in flags else ()


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_arguments_and_results_of_every_class_pass_through(tmp_path: Path, level: str) -> None:
    library(tmp_path / "libcuda.so.1", seventy(ODD), level, *vectors())
    caller = build(tmp_path / "caller", seventy(CALLER), level, *vectors(), "-ldl")
    env = environment(tmp_path)
    alone = plain([caller], env)
    assert (alone.returncode, alone.stdout) == (3, SAID)
    watched = watch([caller], env, tmp_path / "log")
    assert (watched.status, watched.stdout, watched.stderr) == (3, SAID, "")
    # cuIndirect: an IFUNC; cuData: no function; __cudaNotStatus: not of an interface; cuErrno returns 33, which is one.
    assert counts(watched.process) == {
        **dict.fromkeys(
            ("cuTwelve", "cuSeventy", "cuDoubles", "cuLong", "cuComplex", "cuWideInteger", "cuBig", "cuPair"), 1
        ),
        **dict.fromkeys(("cuIpcOpenMemHandle", "cuVariadic", "cuVoid", "cuWide", "cuErrno", "cuSetsErrno"), 1),
        **dict.fromkeys(("cuIndirect", "cuNested"), 1),
        "cuCallsBack": 2,
    }
    (twelve,) = named(watched.process, "cuTwelve")
    assert (twelve.result, twelve.depth, twelve.library) == (12, 0, str(tmp_path / "libcuda.so.1"))
    (nested,) = named(watched.process, "cuNested")
    assert (nested.result, nested.depth) == (7, 1)
    back, jumped = named(watched.process, "cuCallsBack")
    assert back.result == 8
    # longjmp went past it: it never returned.
    assert (jumped.duration, jumped.result) == (None, None)
    function = next(function for function in watched.process.functions if function.name == "cuCallsBack")
    assert (function.calls, function.returned) == (2, 1)


def test_a_stack_that_ends_at_the_end_of_a_page(tmp_path: Path) -> None:
    """A stub copies what may be arguments: where the stack's last page ends, there is nothing to read."""
    library(tmp_path / "libcuda.so.1", seventy(ODD))
    caller = build(
        tmp_path / "caller",
        r"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <ucontext.h>
        static ucontext_t here, there;
        static int (*nested)(int);
        static int sum;
        static void fibre(void) { sum += nested(1); }
        int main(void) {
            nested = (int (*)(int))dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuNested");
            char *stack = mmap(0, 3 * 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(stack + 2 * 65536, 65536);
            for (int room = 0; room < 64; room++) {
                getcontext(&there);
                there.uc_stack.ss_sp = stack;
                there.uc_stack.ss_size = 2 * 65536 - 16 * room;
                there.uc_link = &here;
                makecontext(&there, fibre, 0);
                swapcontext(&here, &there);
            }
            printf("%d\n", sum);
        }
        """,
        "-ldl",
    )
    watched = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (watched.status, watched.stdout) == (0, "64\n")
    assert counts(watched.process) == {"cuNested": 64}


def test_an_exception_passes_through_a_call(tmp_path: Path) -> None:
    """With glibc 2.35 and libgcc 12 or newer, which find the frames of all namespaces (_dl_find_object)."""
    library(tmp_path / "libcuda.so.1", "int cuCallsBack(void (*f)(void)) { f(); return 0; }", "-fexceptions")
    caller = build(
        tmp_path / "caller",
        r"""
        #include <cstdio>
        #include <dlfcn.h>
        #include <pthread.h>
        static int (*back)(void (*)());
        static void thrower() { throw 2; }
        static void leaver() { pthread_exit((void *)7); }
        static void *thread(void *) { back(leaver); return nullptr; }
        int main() {
            back = (int (*)(void (*)()))dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuCallsBack");
            // After the catch, locals are found by the frame pointer that the unwinder restored.
            volatile int kept = 40;
            try { back(thrower); } catch (int caught) { std::printf("caught %d\n", caught + kept); }
            pthread_t id; void *result;
            pthread_create(&id, nullptr, thread, nullptr);
            pthread_join(id, &result);
            std::printf("left %ld\n", (long)result);
        }
        """,
        "-ldl",
        "-pthread",
        "-fno-omit-frame-pointer",
        compiler="c++",
    )
    watched = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (watched.status, watched.stdout) == (0, "caught 42\nleft 7\n")
    assert [call.duration for call in named(watched.process, "cuCallsBack")] == [None, None]
