"""Real NVIDIA libraries without a GPU: what libcudart opens is what was predicted."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from gpucheck.elf import find, read_elf
from gpucheck.elf.closure import closure
from gpucheck.elf.sections import read_sections
from gpucheck.system import Local
from tests.cache import driver_folder, runtime_environment

ASK = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).cudaGetDeviceCount(ctypes.byref(ctypes.c_int()))"


@pytest.mark.parametrize("version", ["11.8.89", "12.9.79", "13.5.37"])
@pytest.mark.parametrize("branch", [None, 535])
def test_libcudart_opens_the_libcuda_that_was_predicted(version: str, branch: int | None) -> None:
    (runtime,) = runtime_environment(version).rglob("libcudart.so.*")
    env = {"LD_LIBRARY_PATH": str(driver_folder(branch))} if branch else {}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(runtime)],
        env={**os.environ, **env, "LD_DEBUG": "libs"},
        capture_output=True,
        text=True,
        check=True,
    )
    # It is closed again when it finds no GPU.
    loaded = re.findall("calling init: (.*/libcuda.so.*)", done.stderr)
    (opened,) = closure(Local(), str(runtime), env=env).opened
    assert (opened.resolution.soname, opened.resolution.edge) == ("libcuda.so.1", "dlopen")
    assert loaded == ([opened.resolution.path] if opened.resolution.path else [])
    assert (opened.resolution.how == "LD_LIBRARY_PATH") == (branch is not None)


def test_the_driver_loads_as_predicted_and_is_no_compatibility_library() -> None:
    folder = driver_folder(535)
    found = find(Local(), "libcuda.so.1", env={"LD_LIBRARY_PATH": str(folder)})
    assert (found.path, found.fatal) == (str(folder / "libcuda.so.1"), None)
    elf = read_elf(Local(), str(folder / "libcuda.so.1"))
    assert elf.soname == "libcuda.so.1"
    assert ".note.cuda.fwd_compatibility" not in {section.name for section in read_sections(Local(), elf)}
