"""The libraries under AddressSanitizer and UndefinedBehaviorSanitizer, with good and with hostile scripts."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpucheck.fakedriver import library
from tests.fakedriver.drivers import PRELUDE
from tests.needs import missing

pytestmark = pytest.mark.xdist_group("sanitizers")

SCRIPTS = (
    "gpu = H100:64\n",
    "gpu = A100\ngpu0.mig = on\ngpu0.mig_instances = 1g.10gb,1g.10gb\ngpu0.processes = 1:1GiB, 2\n",
    "gpu = T4:2\ncu* = garbage\ncuInit = slow 1\nnvmlDevice* = garbage\n",
)

#: Calls every name that can be called with zeros or with junk and must not fall over it.
PROGRAM = """
cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
number, raw, pointer, size = c_int(), create_string_buffer(4096), c_void_p(), c_size_t()
cuda.cuInit(0)
context = c_void_p()
cuda.cuCtxCreate_v2(byref(context), 0, 0)
for device in (-1, 0, 1, 70, 2**31 - 1):
    for length in (0, 1, 5, 4096):
        cuda.cuDeviceGetName(raw, length, device)
        cuda.cuDeviceGetPCIBusId(raw, length, device)
    for attribute in (-5, 0, 16, 75, 139, 1000):
        cuda.cuDeviceGetAttribute(byref(number), attribute, device)
    for name in ("cuDeviceGetUuid", "cuDeviceGetUuid_v2", "cuDeviceTotalMem_v2", "cuDevicePrimaryCtxRetain", "cuDeviceGetProperties",
                 "cuDeviceGetDefaultMemPool"):
        getattr(cuda, name)(raw, device)
        getattr(cuda, name)(None, device)
    cuda.cuDevicePrimaryCtxRelease_v2(device)
    cuda.cuDevicePrimaryCtxReset_v2(device)
for junk in (0, 1, 64, 0x5fd000000000 + 64 * 1000, 0x5fd000000001, 2**64 - 1):
    for name in ("cuCtxSetCurrent", "cuCtxDestroy_v2", "cuStreamDestroy_v2", "cuEventDestroy_v2", "cuEventRecord", "cuModuleUnload",
                 "cuLibraryUnload", "cuKernelGetFunction", "cuStreamQuery", "cuMemPoolDestroy", "cuMemFree_v2", "cuMemFreeHost",
                 "cuMemHostUnregister"):
        getattr(cuda, name)(c_void_p(junk), c_void_p(junk))
    cuda.cuLaunchKernel(c_void_p(junk), 1, 1, 1, 1, 1, 1, 0, c_void_p(junk), None, None)
    cuda.cuEventElapsedTime(raw, c_void_p(junk), c_void_p(junk))
cuda.cuCtxSetCurrent(context)
for wanted in (0, 1, 4096, 2**62):
    pointer = c_void_p()
    if cuda.cuMemAlloc_v2(byref(pointer), c_size_t(wanted)) == 0 and pointer.value:
        cuda.cuPointerGetAttribute(raw, 9, pointer)
        cuda.cuMemFree_v2(pointer)
        cuda.cuMemFree_v2(pointer)
for name in (b"", b"cuInit", b"x" * 3000):
    cuda.cuGetProcAddress_v2(name, byref(pointer), 12000, ctypes.c_uint64(0), byref(number))
cuda.cuGetExportTable(byref(pointer), bytes(16))
for broken in (bytes(64), bytes.fromhex("50ed55ba01001000ffffffffffffff7f") + bytes(64),
               bytes.fromhex("50ed55ba010010004000000000000000") + b"\\xff" * 64):
    cuda.cuModuleLoadData(byref(pointer), broken)
nvml.nvmlInit_v2()
handles = [c_void_p(junk) for junk in (0, 1, 0x6e7600000000, 0x6e7600000040, 2**64 - 1)]
handle = c_void_p()
for index in (0, 1, 63, 64, 2**32 - 1):
    nvml.nvmlDeviceGetHandleByIndex_v2(index, byref(handle))
    handles.append(c_void_p(handle.value))
for handle in handles:
    for length in (0, 1, 20, 96):
        for name in ("Name", "UUID", "Serial", "VbiosVersion"):
            getattr(nvml, "nvmlDeviceGet" + name)(handle, raw, length)
    for name in ("MemoryInfo", "MemoryInfo_v2", "PciInfo_v3", "Brand", "ComputeMode", "Attributes_v2", "GpuFabricInfo", "MaxMigDeviceCount",
                 "UtilizationRates", "RowRemapperHistogram", "BAR1MemoryInfo"):
        getattr(nvml, "nvmlDeviceGet" + name)(handle, raw)
        getattr(nvml, "nvmlDeviceGet" + name)(handle, None)
    for count in (0, 1, 16):
        number.value = count
        nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, byref(number), raw)
    nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 3, raw)
say("through")
"""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The libraries with both sanitizers, and the runtime that must be loaded before Python's own code."""
    compiler = shutil.which("gcc")
    found = (
        compiler
        and subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    )
    if not compiler or not found or "/" not in found:
        missing(
            "the fake driver under sanitizers", "install gcc and its sanitizers (apt install gcc libasan8 libubsan1)"
        )
    folder = tmp_path_factory.mktemp("sanitized")
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")
    return library.build(compiler, flags, folder), found.strip()


def run(sanitized: tuple[Path, str], folder: Path, script: bytes, program: str) -> subprocess.CompletedProcess[str]:
    """A program on the libraries; a sanitizer that finds something ends it with 99."""
    built, runtime = sanitized
    path = folder / "script"
    path.write_bytes(script)
    for name in library.LIBRARIES:
        (folder / f"{name}.1").unlink(missing_ok=True)
        (folder / f"{name}.1").symlink_to(built / name)
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "LD_LIBRARY_PATH": str(folder),
        "ASAN_OPTIONS": "exitcode=99:detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "exitcode=99:print_stacktrace=1",
        library.SCRIPT: str(path),
    }
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_junk_arguments_and_handles(sanitized: tuple[Path, str], tmp_path: Path, script: str) -> None:
    ran = run(sanitized, tmp_path, script.encode(), PROGRAM)
    assert (ran.returncode, ran.stdout) == (0, '"through"\n'), ran.stderr[-3000:]


def test_hostile_scripts(sanitized: tuple[Path, str], tmp_path: Path) -> None:
    """Scripts made of pieces of good ones, broken at random: each is read, or refused in one line."""
    random_ = random.Random(20261124)
    pieces = [
        *(
            "gpu",
            "gpu0.",
            "gpu9.",
            "=",
            ":",
            "#",
            "@",
            "+",
            "*",
            ",",
            " ",
            "\n",
            "\0",
            "\xff",
            "-1",
            "0",
            "99999999999999999999",
            "H100",
        ),
        *(
            "name",
            "uuid",
            "GPU-",
            "pci",
            "mig_instances",
            "1g.10gb",
            "processes",
            "remapped",
            "attribute.",
            "memory",
            "GiB",
            "cuInit",
        ),
        *(
            "cuda.gpus",
            "nvml.gpus",
            "slow",
            "crash",
            "SIGSEGV",
            "garbage",
            "driver",
            "cuda",
            "13.0",
            "none",
            "A" * 90,
            "x" * 1100,
        ),
    ]
    for _ in range(150):
        text = "gpu = H100\n" * random_.randint(0, 2) + "".join(
            random_.choice(pieces) for _ in range(random_.randint(1, 40))
        )
        program = """
for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
    library = ctypes.CDLL(name)
    library.gpucheckFakeDriverProblem.restype = c_char_p
    say(library.gpucheckFakeDriverProblem().count(b"\\n"))
"""
        ran = run(sanitized, tmp_path, text.encode("latin-1"), program)
        assert (ran.returncode, ran.stdout) == (0, "0\n0\n"), (text, ran.stderr[-2000:])
