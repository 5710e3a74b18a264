"""Packages whose CUDA part is compiled where they are installed or run, and what packages open beside libcuda."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbuiltRow(kb.Row):
    """A package that installs without its compiled part where no toolkit was found."""

    distribution: str
    module: str
    importer: str
    without: str
    """What a user sees then."""
    install: str
    """Arguments of pip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JitRow(kb.Row):
    """A package that compiles as it runs, unless it was installed with compiled files."""

    distribution: str
    built: str
    """Pattern of those files, below site-packages."""
    refuses: bool = False
    unless: str = ""
    symptom: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow(kb.Row):
    """A part of the driver that a package opens."""

    distribution: str
    part: str
    capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow(kb.Row):
    """A package that takes only numbers in CUDA_VISIBLE_DEVICES."""

    distribution: str
    file: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow(kb.Row):
    """An option of torch's allocator (PYTORCH_CUDA_ALLOC_CONF)."""

    option: str
    first: str
    """The first torch that knows it."""


@cache
def options() -> tuple[OptionRow, ...]:
    """All rows, by option."""
    return kb.load("compiled", "option", OptionRow, ["option"])


@cache
def unbuilt() -> tuple[UnbuiltRow, ...]:
    """All rows, by package and module."""
    return kb.load("compiled", "unbuilt", UnbuiltRow, ["distribution", "module"])


@cache
def jit() -> tuple[JitRow, ...]:
    """All rows, by package."""
    return kb.load("compiled", "jit", JitRow, ["distribution"])


@cache
def parts() -> tuple[PartRow, ...]:
    """All rows, by package and part."""
    return kb.load("compiled", "part", PartRow, ["distribution", "part"])


@cache
def numbers() -> tuple[NumberRow, ...]:
    """All rows, by package and file."""
    return kb.load("compiled", "number", NumberRow, ["distribution", "file"])
