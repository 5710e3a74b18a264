"""Real frameworks over real libcuda, without a GPU: what is seen is what gdb sees, and their answers stay the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpucheck import kb
from gpucheck.record import dataclass
from gpucheck.trace.calls import diagnose
from gpucheck.versions import CudaVersion
from tests.cache import cache, driver_folder
from tests.calls.workshop import by_base, environment, plain, watch, witness
from tests.needs import missing

DRIVERS = (470, 535, 550)

TRY = """
def attempt(use):
    try:
        print(use())
    except Exception as error:
        print(type(error).__name__, error)
"""
TORCH = f"""{TRY}
import torch
print(torch.version.cuda)
attempt(lambda: (torch.cuda.is_available(), torch.cuda.device_count()))
attempt(lambda: torch.zeros(1, device="cuda"))
"""
CUPY = f"""{TRY}
import cupy
runtime = cupy.cuda.runtime
for use in runtime.runtimeGetVersion, runtime.driverGetVersion, runtime.getDeviceCount, lambda: cupy.arange(3):
    attempt(use)
"""
# An ONNX model that hands X on as Y (onnx.proto3: ir_version 8, one node Identity, float[1], opset 13).
MODEL = (
    "08083a370a100a015812015922084964656e746974791201675a0f0a0158120a0a08080112040a020801"
    "620f0a0159120a0a08080112040a02080142040a00100d"
)
ONNXRUNTIME = f"""{TRY}
import onnxruntime
onnxruntime.preload_dlls()
print(onnxruntime.get_available_providers())
attempt(lambda: onnxruntime.InferenceSession(bytes.fromhex("{MODEL}"), providers=["CUDAExecutionProvider"]).get_providers())
"""


@dataclass(frozen=True, slots=True)
class Framework:
    """A library in an environment of the cache, and a program that uses it."""

    setup: str
    environment: str
    code: str
    cuda: int
    """The CUDA major that it is built with."""
    refusal: int | None = 35
    """What the runtime returns when the driver is too old; None: it is linked in, so its calls are not seen."""

    def command(self) -> list[str]:
        folder = cache() / self.environment
        if not (folder / "complete").exists():
            missing(f"the calls of {folder.name}", f"run: ci/setup/{self.setup}")
        return [str(folder / "bin/python"), "-W", "ignore", "-c", self.code]


FRAMEWORKS = {
    "torch": Framework("torch.sh", "torch", TORCH, 13),
    "cupy": Framework("wheels.sh cupy", "wheels/cupy", CUPY, 12, None),
    "onnxruntime-gpu": Framework("wheels.sh onnxruntime-gpu", "wheels/onnxruntime-gpu", ONNXRUNTIME, 13),
}


def timeless(text: str) -> str:
    """Without the times at which onnxruntime says something."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "TIME", text)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_it_answers_the_same_and_gdb_sees_the_same_calls(tmp_path: Path, name: str, driver: int) -> None:
    framework = FRAMEWORKS[name]
    command, env = framework.command(), environment(driver_folder(driver))
    alone = plain(command, env, 300)
    ran = watch(command, env, tmp_path / "log", 300)
    assert (ran.status, ran.stdout) == (alone.returncode, alone.stdout)
    assert timeless(ran.stderr) == timeless(alone.stderr)
    # What was asked really failed, and said why.
    assert re.search("cudaErrorNoDevice|insufficient|too old|Failed to create CUDA", alone.stdout + alone.stderr)

    output, witnessed = witness(command, env, tmp_path)
    assert output == alone.stdout
    (process,) = ran.trace.processes
    calls = by_base(process)
    assert calls == witnessed

    found = diagnose(ran.trace)
    if (name, driver) == ("onnxruntime-gpu", 470):
        # Linked against libcuda itself, its provider is not even loaded: this driver lacks a function that it names.
        assert "undefined symbol: cuTensorMapEncodeTiled" in alone.stderr
        assert (found, calls) == (None, {})
        return
    assert found and calls["cuDriverGetVersion"] >= 1
    if kb.branches()[driver].cuda < CudaVersion(framework.cuda, 0):
        assert (found.kind, found.function, found.result, calls["cuInit"]) == (
            "missing",
            "cuInit",
            framework.refusal,
            0,
        )
    else:
        assert (found.kind, found.function, found.result) == ("failed", "cuInit", 100)
