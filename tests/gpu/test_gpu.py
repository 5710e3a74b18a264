"""On a machine with a GPU: it is found healthy, and what is broken on purpose is named. Run with: make gpu-test

Nothing is fetched. What the machine lacks (a C compiler, strace, driver libraries in the cache) is skipped with a line. The outputs
of the healthy machine are written to the folder GPU_CAPABLE_RECORD, where it is set: a snapshot of it is a fixture elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cache import driver_folder
from tests.libraries import compile_library

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]

#: What a program does first, in the words of the driver API; torch need not be installed.
USE = "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(); print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(n)), n.value > 0)"


def gpucheck(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpucheck", *map(str, arguments)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def doctor(*arguments: str | Path, **env: str) -> dict[str, Any]:
    ran = gpucheck("doctor", "--format", "json", *arguments, **env)
    assert ran.returncode in (0, 1, 3), ran.stderr
    return conforming(ran.stdout, "report")


def conforming(text: str, schema: str) -> dict[str, Any]:
    """A document that follows its published schema."""
    document: dict[str, Any] = json.loads(text)
    jsonschema.validate(document, json.loads((ROOT / "docs/schema" / f"{schema}.json").read_text()))
    return document


def in_front(folder: Path) -> str:
    """LD_LIBRARY_PATH with a folder before what this machine needs."""
    return ":".join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Where outputs are kept."""
    folder = Path(os.environ.get("GPU_CAPABLE_RECORD") or tmp_path / "record")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_healthy_machine_is_found_healthy(record: Path) -> None:
    report = doctor()
    (record / "doctor.json").write_text(json.dumps(report, indent=2) + "\n")
    assert (report["verdict"] in ("compatible", "conditional"), report["root_causes"]) == (True, [])
    assert report["snapshot"]["cuda"]["value"]["gpus"]
    assert report["snapshot"]["nvml"]["value"]["driver"]


def test_its_snapshot_is_judged_elsewhere_as_here(record: Path) -> None:
    snapshot = record / "snapshot.json"
    taken = gpucheck("snapshot", "--output", snapshot)
    assert taken.returncode == 0, taken.stderr
    # As on another machine: nothing of this one but the file.
    there = doctor("--snapshot", snapshot, PATH="/nonexistent", LD_LIBRARY_PATH="")
    here = doctor()
    for part in ("verdict", "root_causes", "findings"):
        assert there[part] == here[part]


def test_a_trace_shows_calls_that_succeed(record: Path) -> None:
    ran = gpucheck(
        "trace", "--calls", "--format", "json", "--output", record / "trace.json", "--", sys.executable, "-c", USE
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "0 0 True\n", "")
    trace = conforming((record / "trace.json").read_text(), "trace")
    assert (trace["calls"]["diagnosis"], trace["missing"], trace["differences"]) == (None, [], [])
    (process,) = trace["calls"]["processes"]
    results = {call["function"]: call["result"] for call in process["calls"]}
    assert (results["cuInit"], results["cuDeviceGetCount"]) == (0, 0)
    assert trace["diagnosis"]["root_causes"] == []


def test_the_libraries_are_found_where_a_process_gets_them(record: Path) -> None:
    ran = gpucheck("libs", "--format", "json")
    (record / "libs.json").write_text(ran.stdout)
    found = {library["soname"]: library["path"] for library in conforming(ran.stdout, "libs")["libraries"]}
    for soname in ("libcuda.so.1", "libnvidia-ml.so.1"):
        code = f"import ctypes; ctypes.CDLL('{soname}'); print(open('/proc/self/maps').read())"
        maps = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert found[soname] and os.path.realpath(found[soname]) in maps


@pytest.mark.parametrize("value", ["", "-1", "99", "all", "GPU-00000000", " ", "NoDevFiles"])
def test_hidden_devices_are_named(value: str) -> None:
    assert doctor(CUDA_VISIBLE_DEVICES=value)["root_causes"] == ["visible-devices-hides-gpus"]


def test_visible_devices_are_no_fault() -> None:
    assert doctor(CUDA_VISIBLE_DEVICES="0")["root_causes"] == []


def test_a_stub_that_comes_first_is_named(tmp_path: Path) -> None:
    # The toolkit's stub answers every call with CUDA_ERROR_STUB_LIBRARY: CUDA Driver API, CUresult.
    source = "int cuInit(unsigned f) { return 34; } int cuDriverGetVersion(int *v) { return 34; }"
    compile_library(tmp_path / "stubs" / "libcuda.so.1", source, "libcuda.so.1")
    assert doctor(LD_LIBRARY_PATH=in_front(tmp_path / "stubs"))["root_causes"] == ["libcuda-is-stub"]


@pytest.mark.parametrize("name", ["470", "550"])
def test_a_library_of_another_driver_in_front_is_named(name: str) -> None:
    report = doctor(LD_LIBRARY_PATH=in_front(driver_folder(name)))
    assert report["root_causes"][0] == "driver-version-mismatch"


def test_a_half_installed_driver_in_front_is_named() -> None:
    report = doctor(LD_LIBRARY_PATH=in_front(driver_folder("418-alone")))
    assert report["root_causes"][0] == "libcuda-unloadable"


def test_a_cpu_build_is_named(tmp_path: Path) -> None:
    # As the wheel of https://download.pytorch.org/whl/cpu has it.
    site = tmp_path / "lib/python3.12/site-packages"
    for path, text in {
        "torch/__init__.py": "",
        "torch/version.py": "from typing import Optional\n__version__ = '2.7.1+cpu'\ncuda: Optional[str] = None\n",
        "torch-2.7.1+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.7.1+cpu\n",
    }.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    assert doctor("--python", tmp_path)["root_causes"] == ["framework-is-cpu-build"]
