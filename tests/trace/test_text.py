"""The report as a whole."""

from __future__ import annotations

from gpucheck.elf.resolution import Candidate
from gpucheck.record import replace
from gpucheck.trace.lookup import Device, Lookup, ProcessSeen, Started, Trace
from gpucheck.trace.text import common_folder, render

SITE = "/opt/venv/lib/python3.12/site-packages"
PYTHON = "/opt/venv/bin/python"
CTYPES = "/usr/lib/python3.12/lib-dynload/_ctypes.cpython-312-x86_64-linux-gnu.so"
GLOBAL, CUDART, BLAS = (
    f"{SITE}/torch/lib/libtorch_global_deps.so",
    f"{SITE}/torch/lib/../../nvidia/cu13/lib/libcudart.so.13",
    f"{SITE}/nvidia/cu13/lib/libcublasLt.so.13",
)


def lookup(
    soname: str, requester: str | None, path: str | None, how: str, edge: str = "dlopen", **more: object
) -> Lookup:
    plain = Lookup(soname, requester, path, how, edge, (), None, None, 0, 1, False)
    return replace(plain, **more)  # type: ignore[arg-type]


MISSING = (
    Candidate(f"{SITE}/nvidia/cu13/lib/glibc-hwcaps/x86-64-v3/libcuda.so.1", "no such directory", "RUNPATH"),
    Candidate(f"{SITE}/nvidia/cu13/lib/libcuda.so.1", "not there", "RUNPATH"),
    Candidate("/old/libcuda.so.1", "32-bit", "LD_LIBRARY_PATH"),
    Candidate("/lib/x86_64-linux-gnu/libcuda.so.1", "not there", "default"),
    Candidate("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "not there", "default"),
)
TRACE = Trace(
    ("python", "-c", "import torch"),
    139,
    "SIGSEGV",
    2.345,
    ("ld-debug", "strace"),
    ("strace does not watch: it is not installed (its package is strace)",),
    (ProcessSeen(41, PYTHON, False, None), ProcessSeen(42, PYTHON, True, None), ProcessSeen(43, "/usr/bin/ldconfig", False, None)),
    (
        lookup(GLOBAL, CTYPES, GLOBAL, "path"),
        lookup("libcudart.so.13", GLOBAL, CUDART, "RPATH", "needed", owner=GLOBAL),
        lookup("libcuda.so.1", CUDART, None, "not found", candidates=MISSING[-1:]),
        lookup(BLAS, CTYPES, BLAS, "path"),
        lookup("libcuda.so.1", BLAS, None, "not found", candidates=MISSING, times=3),
        lookup("libcudart.so.13", CTYPES, CUDART, "resident"),
        lookup("libnccl-net.so", BLAS, None, "not found", optional=True),
        lookup("libcufft.so.12", PYTHON, f"{SITE}/nvidia/cu13/lib/libcufft.so.12", "ld.so.cache", process=1, fatal="libcufft.so.12: undefined symbol: __nvJitLink"),
    ),
    (Device("/dev/nvidiactl", "EACCES", 3, "strace"), Device("/proc/driver/nvidia/params", "", 1, "strace")),
    (Started("/sbin/ldconfig", "lists the cache", "", 2),),
)  # fmt: skip


def test_the_whole_report() -> None:
    assert (
        render(TRACE, everything=False, colour=False)
        == f"""\
gpucheck trace: python -c 'import torch'
  killed by SIGSEGV, exit status 139 after 2.3 s; 3 programs seen, watched by LD_DEBUG of the dynamic linker and strace
  strace does not watch: it is not installed (its package is strace)

{PYTHON} (process 41)
… is {SITE}
├── libtorch_global_deps.so (dlopen by _ctypes.so) => …/torch/lib/libtorch_global_deps.so [by its path]
│   └── libcudart.so.13 => …/torch/lib/../../nvidia/cu13/lib/libcudart.so.13 [RPATH of libtorch_global_deps.so]
│       └── libcuda.so.1 (dlopen) => not found, 1 file tried
└── libcublasLt.so.13 (dlopen by _ctypes.so)       => …/nvidia/cu13/lib/libcublasLt.so.13 [by its path]
    └── libcuda.so.1 (dlopen) => not found, 5 files tried

{PYTHON} (process 42, forked)
… is {SITE}
└── libcufft.so.12 (dlopen by python) => …/nvidia/cu13/lib/libcufft.so.12 [ld.so.cache]: could not be loaded

✗ libcuda.so.1 was not found; asked for by libcudart.so.13, libcublasLt.so.13, 4 times
    /old/libcuda.so.1: 32-bit
    looked in …/nvidia/cu13/lib (RUNPATH); /old (LD_LIBRARY_PATH); ld.so.cache;
      /lib/x86_64-linux-gnu, /usr/lib/x86_64-linux-gnu (default directories): 5 files, listed with
      --all
✗ libcufft.so.12 was found and could not be loaded; asked for by python
    {SITE}/nvidia/cu13/lib/libcufft.so.12
    libcufft.so.12: undefined symbol: __nvJitLink

Device nodes that were opened
  /dev/nvidiactl              EACCES  3 times
  /proc/driver/nvidia/params  opens

Programs that were started
  /sbin/ldconfig  lists the cache  2 times
"""
    )


def test_all_unfolds_the_attempts_and_what_is_missing_normally() -> None:
    text = render(TRACE, everything=True, colour=False)
    assert (
        f"""\
✗ libcuda.so.1 was not found; asked for by libcudart.so.13, libcublasLt.so.13, 4 times
      1. RUNPATH: {SITE}/nvidia/cu13/lib/glibc-hwcaps/x86-64-v3/libcuda.so.1: no such directory
      2. RUNPATH: {SITE}/nvidia/cu13/lib/libcuda.so.1: not there
      3. LD_LIBRARY_PATH: /old/libcuda.so.1: 32-bit
      4. default: /lib/x86_64-linux-gnu/libcuda.so.1: not there
      5. default: /usr/lib/x86_64-linux-gnu/libcuda.so.1: not there
"""
        in text
    )
    assert "Looked for and not there, which is normal: libnccl-net.so\n" in text
    assert f"=> {CUDART} [already loaded]" in text


def test_colour_changes_nothing_but_the_colour() -> None:
    import re

    coloured = render(TRACE, everything=False, colour=True)
    assert re.sub(r"\x1b\[\d+m", "", coloured) == render(TRACE, everything=False, colour=False)
    assert coloured != render(TRACE, everything=False, colour=False)


def test_nothing_to_do_with_a_gpu() -> None:
    plain = Trace(("true",), 0, "", 0.01, ("ld-debug",), (), (ProcessSeen(1, "/bin/true", False, None),), (), (), ())
    assert render(plain, everything=False, colour=False) == (
        "gpucheck trace: true\n"
        "  exit status 0 after 0.0 s; 1 program seen, watched by LD_DEBUG of the dynamic linker\n"
        "\n"
        "It looked for no GPU library.\n"
    )


def test_a_library_that_asks_for_itself_ends() -> None:
    loop = lookup("libcuda.so.1", "/x/libcuda.so.1", "/x/libcuda.so.1", "RPATH")
    assert "libcuda.so.1" in render(replace(TRACE, lookups=(loop,)), everything=False, colour=False)


def test_the_common_folder_is_worth_its_line() -> None:
    assert common_folder([f"{SITE}/a/b.so", f"{SITE}/c/d.so", f"{SITE}/e.so", "/usr/lib/x.so"]) == SITE
    assert common_folder(["/usr/lib/a.so", "/usr/lib/b.so", "/usr/lib/c.so"]) is None
    assert common_folder([f"{SITE}/a/b.so"]) is None
