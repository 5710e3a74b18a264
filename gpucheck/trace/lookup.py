"""What a run showed, as frozen records."""

from __future__ import annotations

from gpucheck.elf.resolution import Candidate
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Lookup:
    """One name that one object asked for in one process: what ``gpucheck.elf.Resolution`` predicts, as it was seen."""

    soname: str
    requester: str | None
    """The path of the object that asked; None when no witness told."""
    path: str | None
    """The file that it got; None: not found, or it could not be loaded."""
    how: str
    """As in ``Resolution``; ``unknown`` when only strace watched."""
    edge: str
    """``needed`` or ``dlopen``."""
    candidates: tuple[Candidate, ...]
    """The files that were tried before, in order, of the last time."""
    owner: str | None
    """Whose RPATH or RUNPATH it was."""
    fatal: str | None
    """Why loading failed although a file was found."""
    process: int
    """Index of the process in ``Trace.processes``."""
    times: int
    """How often it was asked for."""
    optional: bool
    """Its absence is normal."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device node or a driver's file that was opened."""

    path: str
    error: str
    """'' or the errno's name."""
    times: int
    source: str
    """``strace``, or ``gpucheck``: it opened the node itself, afterwards."""


@dataclass(frozen=True, slots=True)
class Started:
    """A helper program that was started."""

    path: str
    why: str
    error: str
    times: int


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A program that a process ran."""

    pid: int
    program: str
    """Its path where it could be found, else argv[0]."""
    forked: bool
    last_error: str | None
    """What the dynamic linker complained of before the end."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A run of a command."""

    command: tuple[str, ...]
    status: int
    """As a shell gives it."""
    signal: str
    seconds: float
    witnesses: tuple[str, ...]
    notes: tuple[str, ...]
    """What could not be watched, and why."""
    processes: tuple[ProcessSeen, ...]
    lookups: tuple[Lookup, ...]
    devices: tuple[Device, ...]
    helpers: tuple[Started, ...]

    @property
    def missing(self) -> tuple[Lookup, ...]:
        """What was not found and matters: nothing in its process got this name, nor another name of the library."""
        found = {(lookup.process, stem(lookup.soname)) for lookup in self.lookups if lookup.path and not lookup.fatal}
        return tuple(
            lookup
            for lookup in self.lookups
            if (lookup.path is None or lookup.fatal)
            and not lookup.optional
            and (lookup.process, stem(lookup.soname)) not in found
        )


def stem(name: str) -> str:
    """``libcuda`` for libcuda.so, libcuda.so.1 and /usr/lib/libcuda.so.1: programs try one name after the other."""
    return name.rsplit("/", 1)[-1].partition(".so")[0]
