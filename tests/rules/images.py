"""Cases of rules about images: (rule, what, snapshot, status)."""

from __future__ import annotations

from gpucheck.facts import Choice, Compat, FalseLabel, Library, Seen, Snapshot
from gpucheck.finding import Status
from gpucheck.versions import CudaVersion
from tests.machines import UNREADABLE, driver_library, healthy, image, torch, with_host

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN


def library(path: str, size: int, version: str = "13.0.2", soname: str = "libcublas.so.13") -> Library:
    kind = "wheel" if "site-packages" in path else "toolkit"
    return Library(soname, f"{path}/{soname}", f"{path}/{soname}.{version}", kind, version, "", size)


WHEELS, TOOLKIT = "/opt/venv/lib/python3.12/site-packages/nvidia/cu13/lib", "/usr/local/cuda-13.0/lib64"
BIG = 500 << 20
COMPAT = driver_library(version="580.82.07", kind="compat", path="/usr/local/cuda-13.0/compat/libcuda.so.1")
NOTE = Compat(COMPAT.path, CudaVersion(13, 0), (535, 550, 570), (2, 14))
UNREADABLE_KERNEL = with_host(image(), kernel=UNREADABLE)


def variables(**found: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(found.items()))


def found_by(how: str) -> Choice:
    return Choice("libcuda.so.1", COMPAT.path, how, ())


CASES: list[tuple[str, str, Snapshot, Status]] = [
    (
        "cuda-twice-in-image",
        "wheels on a toolkit",
        image(libraries=(library(WHEELS, BIG), library(TOOLKIT, BIG))),
        FAIL,
    ),
    ("cuda-twice-in-image", "one copy", image(libraries=(library(TOOLKIT, BIG),)), PASS),
    (
        "cuda-twice-in-image",
        "two majors",
        image(libraries=(library(WHEELS, BIG), library(TOOLKIT, BIG, "12.9.1", "libcublas.so.12"))),
        PASS,
    ),
    ("cuda-twice-in-image", "a megabyte", image(libraries=(library(WHEELS, 1 << 20), library(TOOLKIT, 1 << 20))), PASS),
    ("cuda-twice-in-image", "a host", healthy(libraries=(library(WHEELS, BIG), library(TOOLKIT, BIG))), PASS),
    ("cuda-twice-in-image", "kernel not readable", UNREADABLE_KERNEL, UNKNOWN),
    (
        "compat-always-used",
        "by ld.so.conf.d",
        image(libcuda=found_by("ld.so.cache"), libcuda_copies=(COMPAT,), compat=(NOTE,)),
        FAIL,
    ),
    (
        "compat-always-used",
        "by LD_LIBRARY_PATH",
        image(libcuda=found_by("LD_LIBRARY_PATH"), libcuda_copies=(COMPAT,)),
        FAIL,
    ),
    (
        "compat-always-used",
        "only where the toolkit looks",
        image(libcuda=Choice("libcuda.so.1", None, "not found", ()), libcuda_copies=(COMPAT,), compat=(NOTE,)),
        PASS,
    ),
    ("compat-always-used", "a host", healthy(libcuda=found_by("ld.so.cache"), libcuda_copies=(COMPAT,)), PASS),
    (
        "compat-always-used",
        "no dynamic linker that could be read",
        image(libcuda=Choice("libcuda.so.1", None, "unknown", ("/bin/sh: truncated",)), libcuda_copies=()),
        UNKNOWN,
    ),
    (
        "compute-not-asked-for",
        "utility alone",
        image(environment=variables(NVIDIA_DRIVER_CAPABILITIES="utility"), frameworks=(torch(),)),
        FAIL,
    ),
    (
        "compute-not-asked-for",
        "graphics of an image for CUDA",
        image(environment=variables(NVIDIA_DRIVER_CAPABILITIES="graphics,display"), libraries=(library(TOOLKIT, 1),)),
        FAIL,
    ),
    (
        "compute-not-asked-for",
        "among others",
        image(environment=variables(NVIDIA_DRIVER_CAPABILITIES="compute,utility"), frameworks=(torch(),)),
        PASS,
    ),
    (
        "compute-not-asked-for",
        "all",
        image(environment=variables(NVIDIA_DRIVER_CAPABILITIES="all"), frameworks=(torch(),)),
        PASS,
    ),
    ("compute-not-asked-for", "not set", image(environment=(), frameworks=(torch(),)), PASS),
    (
        "compute-not-asked-for",
        "an image that only watches GPUs",
        image(environment=variables(NVIDIA_DRIVER_CAPABILITIES="utility"), frameworks=(), libraries=(), runtimes=()),
        PASS,
    ),
    ("compute-not-asked-for", "kernel not readable", UNREADABLE_KERNEL, UNKNOWN),
    (
        "label-contradicts-image",
        "inherited",
        image(labels=Seen((FalseLabel("gpu-capable.cuda", "12", "CUDA 13", "/opt/torch"),), "labels")),
        FAIL,
    ),
    ("label-contradicts-image", "all are true", image(labels=Seen((), "labels")), PASS),
    ("label-contradicts-image", "no image", healthy(), PASS),
    ("label-contradicts-image", "not read", image(labels=UNREADABLE), UNKNOWN),
]
