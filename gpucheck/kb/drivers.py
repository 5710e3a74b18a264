"""Drivers: which CUDA they implement and which runtimes start on them, branches that are not known included."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.kb.judgement import Judgement
from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrefusing(kb.Row):
    """The runtime of a CUDA version that does not compare the driver's with its own."""

    cuda: CudaVersion


@cache
def unrefusing() -> dict[CudaVersion, Unrefusing]:
    """Runtimes that do not refuse an old driver, by their version."""
    return {row.cuda: row for row in kb.load("drivers", "unrefusing", Unrefusing, ["cuda"])}


@dataclass(frozen=True, slots=True)
class Implemented:
    """The CUDA version that a driver's libcuda implements, as closely as it is known.

    Of a branch that has no row the neighbours tell: newer branches never implement less.
    """

    at_least: CudaVersion | None
    at_most: CudaVersion | None
    """None: no limit is known, the driver is newer than the newest branch that has a row."""
    reference: str

    @property
    def extrapolated(self) -> bool:
        """Whether no row names the branch."""
        return self.at_least is None or self.at_least != self.at_most

    def reaches(self, cuda: CudaVersion) -> bool | None:
        """Whether it implements ``cuda`` or newer; None when that cannot be told."""
        if self.at_least is not None and self.at_least >= cuda:
            return True
        return False if self.at_most is not None and self.at_most < cuda else None

    def __str__(self) -> str:
        """``12.4``, ``13.5 or newer``, ``12.3 to 12.4``, ``6.5 or older``."""
        if self.at_least == self.at_most:
            return str(self.at_least)
        if self.at_most is None:
            return f"{self.at_least} or newer"
        return f"{self.at_most} or older" if self.at_least is None else f"{self.at_least} to {self.at_most}"


def implemented_cuda(driver: DriverVersion) -> Implemented:
    """The CUDA version of a driver of any branch."""
    known = kb.branches()
    if row := known.get(driver.branch):
        return Implemented(row.cuda, row.cuda, row.reference)
    below = max((branch for branch in known if branch < driver.branch), default=None)
    above = min((branch for branch in known if branch > driver.branch), default=None)
    nearest = [known[branch] for branch in (below, above) if branch is not None]
    return Implemented(
        known[below].cuda if below is not None else None,
        known[above].cuda if above is not None else None,
        f"extrapolated from branch {' and '.join(str(row.branch) for row in nearest)}: {nearest[0].reference}",
    )


def runtime_starts(cuda: CudaVersion, driver: DriverVersion) -> Judgement:
    """Whether a CUDA runtime starts on a driver: not error 35.

    CUDA 11 and newer start from their major's floor on (minor-version compatibility), and on the driver that they were
    released with where that is older (only 11.0). Older ones need a driver that implements them. A runtime refuses a
    driver of a lower CUDA major, and no other (measured with libcudart 11.7 to 13.5 over libcuda 340 to 555: docs/grid.md; for
    ``unrefusing`` ones it holds of the calls that follow): whether one starts on a driver of its major below the floor cannot be
    told, NVIDIA does not promise it.

    Source: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    implemented = implemented_cuda(driver)
    spelled = f"driver {driver} implements CUDA {implemented}"
    newest = max(kb.branches().values(), key=lambda row: row.branch)
    new = implemented.extrapolated or cuda > newest.cuda
    family = kb.families().get(cuda.major)
    if family and driver >= family.driver_floor:
        because = f"CUDA {cuda.major} starts from driver {family.driver_floor} on"
        return Judgement(True, because, family.reference, new)
    if implemented.reaches(cuda):
        return Judgement(True, spelled, implemented.reference, new)
    if implemented.at_most is None or (family and implemented.at_most.major >= cuda.major):
        return Judgement(None, spelled, implemented.reference, new)
    if family:
        because = f"CUDA {cuda.major} needs driver {family.driver_floor} or newer"
        return Judgement(False, because, family.reference, new)
    return Judgement(implemented.reaches(cuda), spelled, implemented.reference, new)
