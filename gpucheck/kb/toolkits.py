"""CUDA toolkits: the driver that each was released with, and the PTX that each writes."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.kb.drivers import Implemented, implemented_cuda
from gpucheck.kb.judgement import Judgement
from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit(kb.Row):
    """A minor version of the CUDA toolkit."""

    cuda: CudaVersion
    branch: int
    """The driver branch that implements it and that it is released with."""
    ptx: CudaVersion | None = None
    """The newest PTX ISA version that it writes, such as 8.5; None where that was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(kb.Row):
    """A release of the CUDA toolkit, such as 12.8.1."""

    version: str
    cuda: CudaVersion
    label: str
    """``GA``, ``Update 1``, ..."""
    driver: DriverVersion | None = None
    """The oldest driver with all its features, as the release notes print it."""
    bundled: DriverVersion | None = None
    """The driver in its Linux installer; None where there is none or it is not known."""


@cache
def toolkits() -> dict[CudaVersion, Toolkit]:
    """Toolkits by their CUDA version."""
    rows = kb.load("toolkits", "toolkit", Toolkit, ["cuda"], [("cuda", "branch"), ("cuda", "ptx")])
    return {row.cuda: row for row in rows}


@cache
def releases() -> tuple[Release, ...]:
    """Releases, oldest first."""
    return kb.load("toolkits", "release", Release, ["version"], [("cuda", "driver"), ("cuda", "bundled")])


def exact_driver(cuda: CudaVersion) -> tuple[DriverVersion, str] | None:
    """The oldest driver with all features of a toolkit, and the row's reference; None for an unknown toolkit.

    Where NVIDIA names only a branch (since 13.4), that is the answer: ``615``.
    """
    named = next((row for row in releases() if row.cuda == cuda and row.driver), None)
    if named and named.driver:
        return named.driver, named.reference
    row = toolkits().get(cuda)
    return (DriverVersion(str(row.branch)), row.reference) if row else None


def compiles_ptx(written: CudaVersion, driver: DriverVersion) -> Judgement:
    """Whether a driver can compile PTX that a toolkit wrote: not error 222.

    What counts is the version of the PTX ISA: a driver knows that of the CUDA it implements and all older ones.

    Source: https://docs.nvidia.com/cuda/parallel-thread-execution/index.html#release-notes
    """
    return knows_ptx(written, implemented_cuda(driver), f"driver {driver}")


def knows_ptx(written: CudaVersion, implemented: Implemented, libcuda: str) -> Judgement:
    """The same for a libcuda of which it is known what it implements. ``libcuda``: what it is called."""
    because = f"{libcuda} implements CUDA {implemented}, the PTX is of CUDA {written}"
    if implemented.reaches(written):
        return Judgement(True, because, implemented.reference, implemented.extrapolated)
    mine, theirs = toolkits().get(written), toolkits().get(implemented.at_most) if implemented.at_most else None
    if mine and theirs and mine.ptx and theirs.ptx and mine.ptx <= theirs.ptx and not implemented.extrapolated:
        return Judgement(True, f"CUDA {written} and {implemented} both write PTX {mine.ptx}", mine.reference)
    return Judgement(
        implemented.reaches(written),
        because,
        implemented.reference,
        implemented.extrapolated or written not in toolkits(),
    )
