"""What the driver says in the kernel log of a GPU that it does not drive, and which GPUs a driver drives."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(kb.Row):
    """A message of the driver about a GPU that it could not start."""

    pattern: str
    problem: str
    """To follow "GPU ...: "."""
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(kb.Row):
    """A code of the driver's resource manager."""

    status: int
    name: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(kb.Row):
    """GPUs from a PCI device id on."""

    first: str
    """The id in hexadecimal."""
    name: str
    open: str
    """Whether the open kernel modules drive them: ``never``, ``may`` or ``must``."""
    first_branch: int | None = None
    last_branch: int | None = None
    """None: the newest driver still drives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol(kb.Row):
    """Symbols of other kernel modules that the nvidia module uses."""

    beginning: str
    module: str
    load: str
    """For modprobe."""
    install: str
    """Where the module is packaged apart; ``{kernel}`` is filled in."""


@cache
def symbols() -> tuple[Symbol, ...]:
    """By the beginning of their names."""
    return kb.load("kernel_log", "symbol", Symbol, ["beginning"])


@cache
def lines() -> tuple[Line, ...]:
    """In the order in which they are asked: the telling ones before what follows from each of them."""
    return kb.load("kernel_log", "line", Line, ["pattern"])


@cache
def statuses() -> dict[int, Status]:
    """Codes by their number."""
    return {row.status: row for row in kb.load("kernel_log", "status", Status, ["status"])}


@cache
def generations() -> tuple[Generation, ...]:
    """By their first device id, rising."""
    return tuple(sorted(kb.load("kernel_log", "generation", Generation, ["first"]), key=lambda row: int(row.first, 16)))


def generation(device: str) -> Generation | None:
    """The generation of a GPU by its PCI device id, ``2330``; None for what is no id."""
    try:
        number = int(device, 16)
    except ValueError:
        return None
    return next((row for row in reversed(generations()) if int(row.first, 16) <= number), None)
