"""Real libcuda of several branches against real libcudart of several versions, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from gpucheck import kb
from gpucheck.versions import CudaVersion, DriverVersion
from tests.cache import driver_folder, runtime_environment

RUNTIMES = ("11.8.89", "12.9.79", "13.5.37")


def doctor(driver: int | None, runtime: str) -> dict[str, Any]:
    """``gpucheck doctor --format json`` in a process of its own."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "NVIDIA_"))
    }
    if driver is not None:
        environment["LD_LIBRARY_PATH"] = str(driver_folder(driver))
    ran = subprocess.run(
        [sys.executable, "-m", "gpucheck", "doctor", "--format", "json", "--python", str(runtime_environment(runtime))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("driver", [None, 470, 535, 550])
def test_the_prediction_is_what_the_real_pair_answers(driver: int | None, runtime: str) -> None:
    report = doctor(driver, runtime)
    (answered,) = report["snapshot"]["runtimes"]
    needs = CudaVersion.parse(runtime)
    assert needs
    # From tables alone: the runtime compares CUDA majors; without libcuda it says the same, with version 0.
    branch = kb.branches()[driver] if driver else None
    accepted = branch is not None and branch.cuda.major >= needs.major
    assert answered["count"]["value"]["code"] == (100 if accepted else 35)
    assert answered["driver"]["value"] == (str(branch.cuda) if branch else None)
    assert answered["cuda"] == str(needs)
    findings = {finding["rule"] for finding in report["findings"]}
    assert ("driver-too-old" in findings) == (driver is not None and not accepted)
    assert ("libcuda-missing" in findings) == (driver is None)


def test_driver_535_with_runtime_13_is_named_and_told_from_no_driver() -> None:
    with_driver = doctor(535, "13.5.37")
    assert with_driver["root_causes"][0] == "driver-too-old"
    finding = with_driver["findings"][0]
    assert (
        finding["summary"]
        == "The driver is too old for libcudart.so.13: it supports CUDA 12.2, the library needs CUDA 13.5 (error 35)"
    )
    assert finding["cause"].startswith("CUDA 13 needs driver 580.65.06 or newer; this is 535.")
    assert "cudaGetDeviceCount = 35 (cudaErrorInsufficientDriver)" in [
        evidence["fact"] for evidence in finding["evidence"]
    ]
    assert finding["consequences"] == ["runtime-refused"]

    without = doctor(None, "13.5.37")
    assert "driver-too-old" not in without["root_causes"]
    refused = next(finding for finding in without["findings"] if finding["rule"] == "runtime-refused")
    assert (
        refused["cause"]
        == "It could load no libcuda.so.1 (cudaDriverGetVersion gives 0); the driver is not too old, it is not there."
    )


def test_the_version_in_the_name_and_the_answer_of_libcuda_agree_with_the_table() -> None:
    for branch in (470, 535, 550):
        report = doctor(branch, "12.9.79")
        (chosen,) = [
            copy
            for copy in report["snapshot"]["libcuda_copies"]
            if copy["path"] == report["snapshot"]["libcuda"]["path"]
        ]
        version = DriverVersion.parse(chosen["version"])
        assert version and version.branch == branch
        assert report["snapshot"]["libcuda"]["how"] == "LD_LIBRARY_PATH"
        assert report["snapshot"]["cuda"]["value"]["library"] == chosen["real"]
        assert report["snapshot"]["cuda"]["value"]["cuda"] == str(kb.branches()[branch].cuda)
        assert report["snapshot"]["nvml"]["value"]["calls"] == [{"name": "nvmlInit_v2", "code": 9}]
