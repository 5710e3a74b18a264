"""Who ships a library: wheels and system packages by soname."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel(kb.Row):
    """A wheel on PyPI that ships a library."""

    soname: str
    library: str
    cuda: int
    """The CUDA major that it belongs to."""
    wheel: str
    folder: str
    """Below site-packages."""
    versions: tuple[str, ...]
    """The versions of the wheel that were looked into."""
    beside: tuple[str, ...] = ()
    """Other libraries in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage(kb.Row):
    """A system package that ships a library."""

    soname: str
    """A file name, or a pattern such as ``libcublas.so.*``."""
    package: str
    """``{major}``, ``{minor}`` stand for the CUDA version in it, ``{branch}`` for the driver's."""
    system: str
    """The distribution; ``NVIDIA`` for its apt and dnf repositories."""


@cache
def wheels() -> tuple[Wheel, ...]:
    """All wheels."""
    return kb.load("wheels", "wheel", Wheel, ["soname", "wheel", "folder", "cuda"])


@cache
def system_packages() -> tuple[SystemPackage, ...]:
    """All system packages."""
    return kb.load("wheels", "package", SystemPackage, ["soname", "package", "system"])


def wheels_with(soname: str) -> tuple[Wheel, ...]:
    """The wheels that ship a soname; several, where it belongs to several CUDA majors (libcusparse.so.12: 12 and 13)."""
    return tuple(row for row in wheels() if soname == row.soname or soname in row.beside)
