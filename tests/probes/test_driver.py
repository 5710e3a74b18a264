"""A driver that hangs, crashes or prints garbage is described, and never does so to gpucheck."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpucheck.facts import Call, Cuda, Seen, Unseen, Why
from gpucheck.probes import driver
from gpucheck.system import Local
from gpucheck.versions import ComputeCapability, CudaVersion
from tests.libraries import compile_library, cuda_library


def ask(folder: Path, deadline: float = 30.0) -> Seen[Cuda] | Unseen:
    interview = driver.Interview(Local({**os.environ, "LD_LIBRARY_PATH": str(folder)}), deadline)
    interview.ask("cuda", "libcuda.so.1")
    interview.finish()
    return driver.cuda(interview)


def test_a_driver_that_works(tmp_path: Path) -> None:
    cuda_library(tmp_path)
    found = ask(tmp_path)
    assert isinstance(found, Seen)
    answer = found.value
    assert (answer.library, answer.cuda, answer.trouble) == (str(tmp_path / "libcuda.so.1"), CudaVersion(13, 0), "")
    assert Call("cuInit", 0) in answer.calls and not any(call.code for call in answer.calls)
    (gpu,) = answer.gpus
    assert (gpu.name, gpu.capability, gpu.memory) == ("Fake GPU", ComputeCapability(9, 0), 1 << 30)
    assert gpu.uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"


@pytest.mark.parametrize(
    ("init", "trouble"),
    [
        ("sleep(600); return 0;", "no answer within 1 s in cuInit"),
        ("abort();", "killed by SIGABRT in cuInit"),
        ("*(volatile int *)0 = 1; return 0;", "killed by SIGSEGV in cuInit"),
        ("_exit(3);", "ended with status 3 in cuInit"),
    ],
)
def test_a_driver_that_does_not_answer(tmp_path: Path, init: str, trouble: str) -> None:
    cuda_library(tmp_path, init=init)
    found = ask(tmp_path, 1.0)
    assert isinstance(found, Seen)
    assert (found.value.trouble, found.value.cuda, found.value.gpus) == (trouble, CudaVersion(13, 0), ())


def test_a_driver_that_prints_garbage_is_still_understood(tmp_path: Path) -> None:
    cuda_library(tmp_path, init=r'printf("\xff{]\n[1]\nnull\n{\"id\": 5}\n"); fflush(stdout); return 100;')
    found = ask(tmp_path)
    assert isinstance(found, Seen)
    assert found.value.calls[-1] == Call("cuInit", 100)


def test_no_context_is_the_first_failing_call(tmp_path: Path) -> None:
    cuda_library(tmp_path, retain=46)
    found = ask(tmp_path)
    assert isinstance(found, Seen)
    assert found.value.calls[-1] == Call("cuDevicePrimaryCtxRetain", 46)
    assert len(found.value.gpus) == 1


def test_a_library_that_crashes_while_it_is_loaded(tmp_path: Path) -> None:
    compile_library(
        tmp_path / "libcuda.so.1", "__attribute__((constructor)) void f(void) { __builtin_trap(); }", "libcuda.so.1"
    )
    found = ask(tmp_path)
    assert isinstance(found, Unseen)
    assert found.why is Why.UNREADABLE
    assert found.detail.startswith("killed by SIG") and found.detail.endswith("in dlopen libcuda.so.1")


def test_a_library_that_lacks_a_dependency_and_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"\x7fELF" + b"\0" * 100)
    found = ask(tmp_path)
    assert isinstance(found, Unseen)
    assert found.why is Why.ABSENT and "libcuda.so.1" in found.detail


def test_one_question_that_hangs_keeps_no_other_from_its_answer(tmp_path: Path) -> None:
    cuda_library(tmp_path / "hangs", init="sleep(600); return 0;")
    cuda_library(tmp_path / "works", init="return 100;")
    interview = driver.Interview(Local(), 2.0)
    for folder in ("hangs", "works"):
        interview.ask("cuda", str(tmp_path / folder / "libcuda.so.1"))
    interview.finish()
    assert interview.answer("cuda", str(tmp_path / "works/libcuda.so.1")).calls[-1] == Call("cuInit", 100)
    assert interview.answer("cuda", str(tmp_path / "hangs/libcuda.so.1")).trouble == "no answer within 2 s in cuInit"


def test_nvml_is_asked_through_its_binding(tmp_path: Path) -> None:
    source = 'int nvmlInit_v2(void) { return 18; } int nvmlInitWithFlags(unsigned f) { return 18; } const char *nvmlErrorString(int c) { return ""; }'
    compile_library(tmp_path / "libnvidia-ml.so.1", source, "libnvidia-ml.so.1")
    interview = driver.Interview(Local({**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}))
    interview.ask("nvml", "libnvidia-ml.so.1")
    interview.finish()
    found = driver.nvml(interview)
    assert isinstance(found, Seen)
    assert (found.value.calls, found.value.driver) == ((Call("nvmlInit_v2", 18),), None)
