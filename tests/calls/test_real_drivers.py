"""Real libcuda and real libcudart, without a GPU: what is seen is what gdb sees, and nothing changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpucheck import kb
from gpucheck.trace.calls import diagnose
from gpucheck.versions import CudaVersion
from tests.cache import driver_folder, runtime_environment
from tests.calls.workshop import by_base, environment, named, plain, watch, witness
from tests.needs import missing

RUNTIMES = ("11.8.89", "12.9.79", "13.5.37")
DRIVERS = (470, 535, 550)

#: What a program asks first, each call's result and what it gave.
ASK = """
import ctypes, sys
runtime = ctypes.CDLL(sys.argv[1])
number, pointer = ctypes.c_int(-1), ctypes.c_void_p()
runtime.cudaGetErrorString.restype = ctypes.c_char_p
for name in "cudaGetDeviceCount", "cudaDriverGetVersion", "cudaRuntimeGetVersion", "cudaGetDevice":
    print(name, getattr(runtime, name)(ctypes.byref(number)), number.value)
print(runtime.cudaMalloc(ctypes.byref(pointer), 1 << 20), runtime.cudaGetLastError(), runtime.cudaGetErrorString(35))
"""


def libcudart(version: str) -> Path:
    (found,) = runtime_environment(version).glob("lib/python3*/site-packages/nvidia/*/lib/libcudart.so.*")
    return found


def command(version: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", ASK, str(libcudart(version))]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_gdb_sees_the_same_calls(tmp_path: Path, driver: int, runtime: str) -> None:
    env = environment(driver_folder(driver))
    alone = plain(command(runtime), env)
    ran = watch(command(runtime), env, tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (alone.returncode, alone.stdout, alone.stderr)

    output, witnessed = witness(command(runtime), env, tmp_path)
    assert output == alone.stdout
    ours = by_base(ran.process)
    assert ours == witnessed
    assert ours["cudaGetDeviceCount"] == 1 and ours["cuDriverGetVersion"] >= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_call_that_explains_the_end(tmp_path: Path, driver: int, runtime: str) -> None:
    cuda, needs = kb.branches()[driver].cuda, CudaVersion.parse(runtime)
    assert needs
    ran = watch(command(runtime), environment(driver_folder(driver)), tmp_path / "log")
    found = diagnose(ran.trace)
    assert found
    version = named(ran.process, "cuDriverGetVersion")[0]
    assert CudaVersion.from_code(version.value or 0) == cuda
    if cuda.major >= needs.major:
        assert (found.kind, found.function, found.result) == ("failed", "cuInit", 100)
        assert found.summary == "cuInit is the first call that fails: 100 CUDA_ERROR_NO_DEVICE"
        assert found.seen[1] == f"called by cudaGetDeviceCount = 100 cudaErrorNoDevice, in {libcudart(runtime)}"
        return
    soname = libcudart(runtime).name
    assert (found.kind, found.function, found.result) == ("missing", "cuInit", 35)
    assert found.summary == f"cuInit never came: {soname} asked for the driver's version and went no further"
    assert found.because == (
        f"the driver supports CUDA {cuda}, which is too old for {soname}: "
        "cudaGetDeviceCount returns 35 cudaErrorInsufficientDriver without asking the driver for a device"
    )
    assert found.seen[0].startswith(
        f"cuDriverGetVersion = 0 ({version.value}: CUDA {cuda}), in {driver_folder(driver)}/libcuda.so.1"
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_without_a_driver_no_call_is_due(tmp_path: Path, runtime: str) -> None:
    ran = watch(command(runtime), environment(), tmp_path / "log")
    if any(Path(path).name.startswith("libcuda.so") for path in ran.process.libraries):
        missing("a runtime without a driver", "a machine without libcuda.so.1")
    found = diagnose(ran.trace)
    assert found and found.summary == "cuInit never came: no libcuda was loaded, so no driver call was made"
