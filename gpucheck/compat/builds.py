"""Builds of libraries that run on given nodes: the newest, where it comes from, and the base image that fits it."""

from __future__ import annotations

import re
from functools import cache

from gpucheck.compat import needs
from gpucheck.compat.node import NodeGpu
from gpucheck.compat.remember import remembered
from gpucheck.contract import GpuCode
from gpucheck.finding import Verdict
from gpucheck.kb import frameworks
from gpucheck.kb.frameworks import Build
from gpucheck.markers import satisfies
from gpucheck.project.images import ours
from gpucheck.versions import ComputeCapability

TORCH = "https://download.pytorch.org/whl"


def code_of(row: Build, architecture: str = "x86_64") -> GpuCode:
    """The code of a build as its row tells it; its machine code can differ by architecture."""
    majors = row.cuda_majors
    machine = row.sm_aarch64 if architecture == "aarch64" and row.sm_aarch64 else row.sm
    return GpuCode(
        row.library,
        spelled(row),
        row.cuda_version,
        majors[0] if majors else None,
        tuple([_target("sm", sm) for sm in machine] + [_target("compute", ptx) for ptx in row.ptx]),
        row.reference,
    )


def _target(kind: str, capability: ComputeCapability) -> str:
    return f"{kind}_{capability.major}{capability.minor}"


def spelled(row: Build) -> str:
    """``2.14.1+cu126``; the plain version where the variant is a distribution's name."""
    return f"{row.version}+{row.variant}" if re.fullmatch(r"cu\d+|cpu", row.variant) else row.version


def distribution(row: Build) -> str:
    """What pip installs."""
    return row.variant if row.variant and not re.fullmatch(r"cu\d+|cpu", row.variant) else row.library


def index(row: Build) -> str:
    """Where its wheel is."""
    if row.pypi:
        return "PyPI"
    return (
        f"{TORCH}/{row.variant}" if row.library in ("torch", "torchvision", "torchaudio") else "the project's own index"
    )


def base_image(row: Build) -> str:
    """The base image of ours that its wheel belongs on; a plain one where we have none for its CUDA and Python."""
    tags = pythons(row)
    for image in ours():
        fits = image.gpu and image.cuda and int(image.cuda) in row.cuda_majors
        if fits and (_tag(image.python) in tags if tags else satisfies(image.python, row.python)):
            return f"gpu-capable/{image.name}"
    newest = max(tags, key=_order, default="")
    if not newest:
        return "an image with glibc and a Python that it has wheels for (which, is not known here)"
    return f"python:3.{newest.removeprefix('cp3')}-slim (ours have no image for this CUDA and Python; the wheel brings CUDA)"


def pythons(row: Build) -> tuple[str, ...]:
    """The CPython tags of its wheels, those of its version on PyPI where its own are not known; without free-threaded ones."""
    same = (other for other in frameworks.builds(row.library) if other.version == row.version and other.pythons)
    tags = row.pythons or next((other.pythons for other in same), ())
    return tuple(tag for tag in tags if re.fullmatch(r"cp3\d+", tag))


def _tag(python: str) -> str:
    return f"cp{python.replace('.', '')}"


@cache
def newest_first(library: str) -> tuple[Build, ...]:
    """The GPU builds of a library, the newest version first and of one version the newest CUDA."""
    rows = [row for row in frameworks.builds(library) if row.cuda]
    return tuple(sorted(rows, key=lambda row: (_order(row.version), _order(row.cuda)), reverse=True))


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@remembered
def _of(row: Build, architecture: str) -> tuple[GpuCode, needs.Demand | None]:
    """The code of a build, and what it wants of libcuda; None when its CUDA is not known."""
    code = code_of(row, architecture)
    if code.cuda_major is None:
        return code, None
    return code, needs.Demand((row.library,), code.cuda_major, code.cuda, row.reference)


def runs(row: Build, libcuda: needs.Libcuda, gpus: tuple[NodeGpu, ...], architecture: str) -> bool:
    """Whether a build surely starts and has machine code for each GPU."""
    code, demand = _of(row, architecture)
    if demand is None or (row.driver and libcuda.version and needs.newest_of(libcuda.version) < row.driver):
        return False
    refused = needs.starts(demand, libcuda)
    if refused and refused.verdict in (Verdict.INCOMPATIBLE, Verdict.UNKNOWN):
        return False
    return all(gpu.capability and needs.coverage(code, gpu.capability).how == "sass" for gpu in gpus)


@remembered
def instead(library: str, libcuda: needs.Libcuda, gpus: tuple[NodeGpu, ...], architecture: str) -> str:
    """The newest build that runs on a node, in words: ``torch 2.14.1+cu126 (https://...)``; '' when none is known."""
    row = next((row for row in newest_first(library) if runs(row, libcuda, gpus, architecture)), None)
    return f"{distribution(row)} {spelled(row)} ({index(row)})" if row else ""
