"""The versions of this field, each a type of its own, because the commonest mistake is to take one for another.

``nvidia-smi`` prints two numbers in its header::

    NVIDIA-SMI 535.261.03   Driver Version: 535.261.03   CUDA Version: 12.2
                                            ^ DriverVersion            ^ CudaVersion: the newest CUDA that the
                                                                         driver's libcuda supports, not what is
                                                                         installed and not what torch was built with
"""

from __future__ import annotations

import re
from functools import total_ordering

from gpucheck.record import dataclass


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@total_ordering
@dataclass(frozen=True, slots=True)
class DriverVersion:
    """The release of the NVIDIA driver, such as 535.261.03. Not a CUDA version.

    Compared number by number: 550.54 < 550.107, and 580.05 equals 580.5.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> DriverVersion | None:
        """From ``535.261.03``, ``535.43`` or ``535``; None for anything else."""
        return cls(text) if re.fullmatch(r"\d{2,4}(\.\d{1,4}){0,2}", text) else None

    @property
    def branch(self) -> int:
        """The first number: drivers of one branch share a CUDA version and an end of support."""
        return self.numbers[0]

    @property
    def numbers(self) -> tuple[int, ...]:
        """(535, 261, 3), padded with zeros to three."""
        found = _numbers(self.text)
        return found + (0,) * (3 - len(found))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DriverVersion) and self.numbers == other.numbers

    def __hash__(self) -> int:
        return hash(self.numbers)

    def __lt__(self, other: DriverVersion) -> bool:
        return self.numbers < other.numbers

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class CudaVersion:
    """A CUDA version, such as 12.2. Which one (of the driver, of a runtime library, of a build) is in the field's name."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> CudaVersion | None:
        """From ``12.2``, ``12.2.140`` or ``13.4.46rc1``; None for anything else (a major alone does not tell the minor)."""
        match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})(\.\d+)*(rc\d+)?", text)
        return cls(int(match[1]), int(match[2])) if match else None

    @classmethod
    def from_code(cls, code: int) -> CudaVersion | None:
        """From what ``cuDriverGetVersion`` and ``cudaRuntimeGetVersion`` give: 1000 * major + 10 * minor; None for 0.

        Source: CUDA Driver API, cuDriverGetVersion.
        """
        return cls(code // 1000, code % 1000 // 10) if code > 0 else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True, order=True)
class ComputeCapability:
    """What a GPU can execute: 8.0 for an A100, 9.0 for an H100. ``sm_90`` is code for it, ``compute_90`` PTX for it."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ComputeCapability | None:
        """From ``9.0``; None for anything else."""
        match = re.fullmatch(r"(\d{1,2})\.(\d)", text)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"
