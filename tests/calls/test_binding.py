"""Every way to a function: PLT lazy and at once, dlsym, dlvsym, RTLD_NEXT, an interposer, cuGetProcAddress."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.calls.workshop import build, counts, environment, library, named, watch

#: cuGetProcAddress as the driver has it (cuda.h): it hands out other versions than dlsym does.
LOOKUP = r"""
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 12020; return 0; }
int cuCtxCreate(void **context) { return 1; }
int cuCtxCreate_v2(void **context) { return 2; }
static int private_function(int a, int b) { return a * b; }
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long flags, int *status) {
    *function = 0;
    if (status) *status = 0;
    if (!strcmp(name, "cuInit")) *function = cuInit;
    else if (!strcmp(name, "cuCtxCreate")) *function = version < 3020 ? cuCtxCreate : cuCtxCreate_v2;
    else if (!strcmp(name, "cuPrivate")) *function = private_function;
    else if (!strcmp(name, "cuAlias")) *function = private_function;
    else if (!strcmp(name, "cuGetProcAddress")) *function = cuGetProcAddress_v2;
    else if (!strcmp(name, "cuNull")) { if (status) *status = 1; return 0; }
    else { if (status) *status = 1; return 500; }
    return 0;
}
"""


def test_what_cu_get_proc_address_hands_out_is_watched(tmp_path: Path) -> None:
    library(tmp_path / "libcuda.so.1", LOOKUP)
    caller = build(
        tmp_path / "caller",
        r"""
        #include <dlfcn.h>
        #include <stdio.h>
        typedef int (*lookup)(const char *, void **, int, unsigned long, int *);
        int main(void) {
            void *library = dlopen("libcuda.so.1", RTLD_NOW), *p = 0, *q = 0; int status, sum = 0;
            lookup first = (lookup)dlsym(library, "cuGetProcAddress_v2"), get;
            first("cuGetProcAddress", (void **)&get, 12000, 0, 0);
            printf("%d", get("cuInit", &p, 2000, 0, &status)); printf("%d ", ((int (*)(int))p)(0));
            get("cuCtxCreate", &p, 2000, 0, &status); printf("%d", ((int (*)(void *))p)(0));
            get("cuCtxCreate", &p, 4000, 0, &status); printf("%d ", ((int (*)(void *))p)(0));
            get("cuPrivate", &p, 12000, 0, &status); get("cuAlias", &q, 12000, 0, &status);
            printf("%d %d ", ((int (*)(int, int))p)(6, 7), ((int (*)(int, int))q)(2, 3));
            printf("%d ", get("cuNull", &p, 12000, 0, &status)); printf("%p %d ", p, status);
            printf("%d ", get("cuNone", &p, 99000, 0, &status)); printf("%p %d\n", p, status);
        }
        """,
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "00 12 42 6 0 (nil) 1 500 (nil) 1\n", "")
    assert counts(ran.process) == {
        "cuGetProcAddress_v2": 1,
        "cuGetProcAddress": 7,
        "cuInit": 1,
        "cuCtxCreate": 2,
        "cuPrivate": 1,
        "cuAlias": 1,
    }
    asked = [(call.asked, call.value, call.result) for call in named(ran.process, "cuGetProcAddress")]
    assert asked == [
        ("cuInit", 2000, 0),
        ("cuCtxCreate", 2000, 0),
        ("cuCtxCreate", 4000, 0),
        ("cuPrivate", 12000, 0),
        ("cuAlias", 12000, 0),
        ("cuNull", 12000, 0),
        ("cuNone", 99000, 500),
    ]
    assert [call.result for call in named(ran.process, "cuCtxCreate")] == [1, 2]


RUNTIME = r"""
int cuDriverGetVersion(int *version);
int cudaDriverGetVersion(int *version) { return cuDriverGetVersion(version); }
int cudaGetDeviceCount(int *count) { *count = 3; return 0; }
const char *cudaGetErrorString(int code) { return "text"; }
"""

LINKED = r"""
#include <stdio.h>
int cudaDriverGetVersion(int *); int cudaGetDeviceCount(int *); const char *cudaGetErrorString(int);
int main(void) { int v, n; for (int i = 0; i < 3; i++) cudaDriverGetVersion(&v), cudaGetDeviceCount(&n); printf("%d %d %s\n", v, n, cudaGetErrorString(1)); return 0; }
"""


@pytest.mark.parametrize("binding", ["lazy", "now"])
def test_calls_between_libraries_through_the_plt_are_watched(tmp_path: Path, binding: str) -> None:
    library(tmp_path / "libcuda.so.1", LOOKUP)
    library(tmp_path / "libcudart.so.12", RUNTIME, f"-Wl,-z,{binding}", str(tmp_path / "libcuda.so.1"))
    caller = build(
        tmp_path / "caller",
        LINKED,
        f"-Wl,-z,{binding}",
        str(tmp_path / "libcudart.so.12"),
        f"-Wl,-rpath-link,{tmp_path}",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "12020 3 text\n", "")
    assert counts(ran.process) == {
        "cudaDriverGetVersion": 3,
        "cuDriverGetVersion": 3,
        "cudaGetDeviceCount": 3,
        "cudaGetErrorString": 1,
    }
    assert [(call.function, call.value, call.depth) for call in ran.process.calls][:3] == [
        ("cudaDriverGetVersion", 12020, 0),
        ("cuDriverGetVersion", 12020, 1),
        ("cudaGetDeviceCount", 3, 0),
    ]
    assert [call.result for call in named(ran.process, "cudaGetErrorString")] == [None]
    assert [Path(path).name for path in ran.process.libraries] == ["libcudart.so.12", "libcuda.so.1"]


def test_addresses_that_bypass_the_plt_work_unwatched(tmp_path: Path) -> None:
    library(tmp_path / "libcuda.so.1", LOOKUP)
    library(tmp_path / "libcudart.so.12", RUNTIME, str(tmp_path / "libcuda.so.1"))
    caller = build(
        tmp_path / "caller", LINKED, "-fno-plt", str(tmp_path / "libcudart.so.12"), f"-Wl,-rpath-link,{tmp_path}"
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stdout) == (0, "12020 3 text\n")
    assert set(counts(ran.process)) <= {"cuDriverGetVersion"}


def test_versioned_symbols_and_interposers(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.write_text("OLD { cuVersioned; }; NEW { cuVersioned; };")
    library(
        tmp_path / "libcuda.so.1",
        r"""
        int old(void) { return 1; } int new(void) { return 2; }
        __asm__(".symver old, cuVersioned@OLD"); __asm__(".symver new, cuVersioned@@NEW");
        int cuInit(unsigned flags) { return flags; }
        """,
        f"-Wl,--version-script={versions}",
    )
    interposer = library(
        tmp_path / "libinterposer.so",
        r"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        int cuInit(unsigned flags) { return 10 * ((int (*)(unsigned))dlsym(RTLD_NEXT, "cuInit"))(flags); }
        """,
        "-ldl",
    )
    caller = build(
        tmp_path / "caller",
        r"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        int cuInit(unsigned);
        int main(void) {
            void *library = dlopen("libcuda.so.1", RTLD_NOW);
            int (*a)(void) = (int (*)(void))dlvsym(library, "cuVersioned", "OLD"), (*b)(void) = (int (*)(void))dlsym(library, "cuVersioned");
            printf("%d %d %d %p\n", a(), b(), cuInit(4), dlsym(library, "cuNone"));
        }
        """,
        str(tmp_path / "libcuda.so.1"),
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path, LD_PRELOAD=str(interposer)), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "1 2 40 (nil)\n", "")
    # The interposer's own cuInit is none of the driver's.
    assert counts(ran.process) == {"cuVersioned": 2, "cuInit": 1}
    assert [call.result for call in named(ran.process, "cuInit")] == [4]


def test_a_library_that_is_closed_and_opened_again(tmp_path: Path) -> None:
    library(tmp_path / "libcuda.so.1", "int cuOne(void) { return 1; }")
    library(tmp_path / "libother.so", "int filler[100000] = { 1 };")
    caller = build(
        tmp_path / "caller",
        r"""
        #include <dlfcn.h>
        #include <stdio.h>
        int main(void) {
            int sum = 0;
            for (int i = 0; i < 50; i++) {
                void *library = dlopen("libcuda.so.1", RTLD_NOW);
                sum += ((int (*)(void))dlsym(library, "cuOne"))();
                dlclose(library);
                if (i % 10 == 0) dlopen("libother.so", RTLD_NOW);
            }
            printf("%d\n", sum);
        }
        """,
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stdout) == (0, "50\n")
    assert counts(ran.process) == {"cuOne": 50}


def test_a_function_that_is_nowhere_and_never_called_stops_nothing(tmp_path: Path) -> None:
    """Auditing must not bind at once what the program leaves to the first call."""
    library(
        tmp_path / "libcudart.so.12",
        "int cuNowhere(void); int cudaHere(int a) { return a ? cuNowhere() : 7; }",
        "-Wl,-z,lazy",
    )
    caller = build(
        tmp_path / "caller",
        r"""
        #include <dlfcn.h>
        #include <stdio.h>
        int main(void) {
            void *library = dlopen("libcudart.so.12", RTLD_LAZY);
            if (!library) return puts(dlerror()), 9;
            return ((int (*)(int))dlsym(library, "cudaHere"))(0);
        }
        """,
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (7, "", "")
    assert counts(ran.process) == {"cudaHere": 1}
