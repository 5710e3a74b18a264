"""Which of the many files that a process looks for have to do with a GPU: ``kb/traced.toml`` and ``kb/libraries.toml``."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedLibrary(kb.Row):
    """Libraries by a pattern of their file names."""

    pattern: str
    kind: str
    """``driver``, ``toolkit``, ``framework`` or ``plugin``."""
    optional: bool = False
    """Programs look whether it is there: its absence is normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedDevice(kb.Row):
    """Device nodes and the driver's files in /proc and /sys, by a pattern of their paths."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra(kb.Row):
    """Extension modules, by a pattern of their paths, whose import may fail: their package goes on without them."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper(kb.Row):
    """A program that GPU libraries start."""

    name: str
    why: str


@cache
def libraries() -> tuple[TracedLibrary, ...]:
    """The rows of libraries."""
    return kb.load("traced", "library", TracedLibrary)


@cache
def devices() -> tuple[TracedDevice, ...]:
    """The rows of devices."""
    return kb.load("traced", "device", TracedDevice)


@cache
def extras() -> tuple[Extra, ...]:
    """The rows of modules that may fail."""
    return kb.load("traced", "extra", Extra, ["pattern"])


@cache
def helpers() -> dict[str, Helper]:
    """The rows of helper programs by name."""
    return {row.name: row for row in kb.load("traced", "helper", Helper)}


@cache
def _library_pattern() -> re.Pattern[str]:
    patterns = [f"{row.stem}.so*" for row in kb.sonames()] + [row.pattern for row in libraries()]
    return re.compile("|".join(translate(pattern) for pattern in patterns))


@cache
def _device_pattern() -> re.Pattern[str]:
    return re.compile("|".join(translate(row.pattern) for row in devices()))


@cache
def _optional_pattern() -> re.Pattern[str]:
    return re.compile("|".join(translate(row.pattern) for row in libraries() if row.optional))


def is_library(path: str) -> bool:
    """Whether the file name is that of a GPU library."""
    return _library_pattern().match(path.rsplit("/", 1)[-1]) is not None


def is_device(path: str) -> bool:
    """Whether the path is a device node or a file of the driver."""
    return path.startswith(("/dev/", "/proc/driver/", "/sys/module/")) and _device_pattern().match(path) is not None


def helper(path: str) -> Helper | None:
    """The helper that a program is; Debian's and Ubuntu's ldconfig is a script that runs ldconfig.real."""
    return helpers().get(path.rsplit("/", 1)[-1].removesuffix(".real"))


def is_optional(name: str, requester: str | None, edge: str) -> bool:
    """Whether the absence of a library is normal: for one that looks whether it is there, or that may be absent itself."""
    if requester and any(fnmatchcase(requester, row.pattern) for row in extras()):
        return True
    return edge == "dlopen" and _optional_pattern().match(name.rsplit("/", 1)[-1]) is not None
