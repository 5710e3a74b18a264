"""On a machine with a GPU: it is found healthy, and what is broken on purpose is named. Run with: make gpu-test"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.libraries import compile_library

pytestmark = pytest.mark.gpu


def doctor(**env: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "gpucheck", "doctor", "--format", "json"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1, 3), ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def test_a_healthy_machine_is_found_healthy() -> None:
    report = doctor()
    assert (report["verdict"] in ("compatible", "conditional"), report["root_causes"]) == (True, [])
    assert report["snapshot"]["cuda"]["value"]["gpus"]
    assert report["snapshot"]["nvml"]["value"]["driver"]


@pytest.mark.parametrize("value", ["", "-1", "99", "all"])
def test_hidden_devices_are_named(value: str) -> None:
    assert doctor(CUDA_VISIBLE_DEVICES=value)["root_causes"] == ["visible-devices-hides-gpus"]


def test_a_stub_that_comes_first_is_named(tmp_path: Path) -> None:
    # The toolkit's stub answers every call with CUDA_ERROR_STUB_LIBRARY: CUDA Driver API, CUresult.
    source = "int cuInit(unsigned f) { return 34; } int cuDriverGetVersion(int *v) { return 34; }"
    compile_library(tmp_path / "stubs" / "libcuda.so.1", source, "libcuda.so.1")
    assert doctor(LD_LIBRARY_PATH=str(tmp_path / "stubs"))["root_causes"] == ["libcuda-is-stub"]


def test_an_older_driver_library_in_front_is_named(tmp_path: Path) -> None:
    from tests.cache import driver_folder

    report = doctor(LD_LIBRARY_PATH=str(driver_folder(470)))
    assert report["root_causes"][0] == "driver-version-mismatch"
