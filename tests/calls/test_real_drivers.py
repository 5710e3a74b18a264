"""Real libcuda and real libcudart, without a GPU: what is seen is what gdb sees, and nothing changes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from gpucheck import kb
from gpucheck.trace.calls import diagnose
from gpucheck.versions import CudaVersion
from tests.cache import cache, driver_folder, runtime_environment
from tests.calls.workshop import counts, environment, named, plain, watch
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


def base(name: str) -> str:
    """cuGetProcAddress("cuCtxCreate") hands out cuCtxCreate_v2 or cuCtxCreate_v2_ptsz."""
    return re.sub(r"(_v\d+)?(_ptsz|_ptds)?$", "", name)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_gdb_sees_the_same_calls(tmp_path: Path, driver: int, runtime: str) -> None:
    if shutil.which("gdb") is None:
        missing("the calls that a second witness sees", "apt install gdb")
    env = environment(driver_folder(driver))
    alone = plain(command(runtime), env)
    ran = watch(command(runtime), env, tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (alone.returncode, alone.stdout, alone.stderr)

    hits = tmp_path / "hits.json"
    script = Path(__file__).with_name("witness.py")
    debugged = plain(["gdb", "-batch", "-nx", "-x", script, "--args", *command(runtime)], {**env, "HITS": str(hits)})
    assert alone.stdout in debugged.stdout, debugged.stderr
    witnessed: Counter[str] = Counter()
    for names, count in json.loads(hits.read_text()).items():
        (name,) = {base(name) for name in names.split()}
        witnessed[name] += count
    ours: Counter[str] = Counter()
    for name, count in counts(ran.process).items():
        ours[base(name)] += count
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


def torch() -> Path:
    """The interpreter of an environment with torch."""
    python = cache() / "torch" / "bin" / "python"
    if not python.exists():
        missing("the calls of torch", "run: ci/setup/torch.sh")
    return python


@pytest.mark.parametrize("driver", DRIVERS)
def test_torch_answers_the_same_and_its_calls_explain_it(tmp_path: Path, driver: int) -> None:
    ask = [
        str(torch()),
        "-W",
        "ignore",
        "-c",
        "import torch; print(torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count())",
    ]
    env = environment(driver_folder(driver))
    alone = plain(ask, env, 300)
    ran = watch(ask, env, tmp_path / "log", 300)
    assert (ran.status, ran.stdout, ran.stderr) == (0, alone.stdout, alone.stderr)
    built = CudaVersion.parse(alone.stdout.split()[0])
    found = diagnose(ran.trace)
    assert built and found
    process = next(process for process in ran.trace.processes if process.id == found.process)
    calls = counts(process)
    assert calls["cuDriverGetVersion"] >= 1
    if kb.branches()[driver].cuda.major < built.major:
        assert (found.kind, found.result, calls["cuInit"]) == ("missing", 35, 0)
    else:
        assert (found.kind, found.function, found.result) == ("failed", "cuInit", 100)
