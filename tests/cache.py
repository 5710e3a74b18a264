"""What ci/setup fetched: real driver libraries, real runtimes, compilers, wheels."""

from __future__ import annotations

import os
from pathlib import Path

from tests.needs import missing


def cache() -> Path:
    """The folder for what takes long to fetch or to build."""
    if chosen := os.environ.get("GPU_CAPABLE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"


def driver_place(name: int | str) -> Path:
    """Where the packages of a driver are unpacked; names are those of ci/setup/drivers.sh."""
    place = cache() / "drivers" / str(name)
    if not (place / "complete").exists():
        missing(f"real libraries of driver {name}", f"on Debian or Ubuntu, run: ci/setup/drivers.sh {name}")
    return place


def driver_folder(name: int | str) -> Path:
    """The folder with a real libcuda.so.1 and libnvidia-ml.so.1 of a driver, mostly a branch."""
    place = driver_place(name)
    (library,) = place.glob("usr/lib/*-linux-gnu/nvidia/*/libcuda.so.1")
    return library.parent


def runtime_environment(version: str) -> Path:
    """An environment folder whose site-packages hold a real libcudart."""
    place = cache() / "runtimes" / version
    if not (place / "complete").exists():
        missing(f"the real CUDA runtime {version}", f"run: ci/setup/runtimes.sh {version}")
    return place


def compiler_programs() -> Path:
    """The folder with nvcc, fatbinary and cuobjdump."""
    marks = sorted((cache() / "nvcc").glob("*/complete"))
    if not marks:
        missing("GPU code as nvcc makes it", "run: ci/setup/nvcc.sh")
    (programs,) = marks[-1].parent.glob("lib/python3*/site-packages/nvidia/cu13/bin")
    return programs


def wheel_packages(name: str) -> Path:
    """The site-packages of an environment with a real GPU library: torch, or a name of ci/setup/wheels.sh."""
    place = cache() / name if name == "torch" else cache() / "wheels" / name
    if not (place / "complete").exists():
        missing(
            f"the real wheels of {name}",
            "run: ci/setup/torch.sh" if name == "torch" else f"run: ci/setup/wheels.sh {name}",
        )
    (packages,) = place.glob("lib/python3*/site-packages")
    return packages
