"""All GPU libraries of an environment: which file each name gives, and which copies that hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpucheck.elf import ElfError, Process, Resolution, read_elf
from gpucheck.elf.search import plain_process
from gpucheck.facts import Choice, Library, Python
from gpucheck.libs.interpreter import Interpreter
from gpucheck.probes.libraries import driver_copies, toolkit
from gpucheck.probes.python import distributions
from gpucheck.record import dataclass, replace
from gpucheck.system import System

DRIVER: Final = ("libcuda.so.1", "libnvidia-ml.so.1")


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that has the name of a GPU library."""

    library: Library
    how: str
    """The list that the search comes by it in, '' when it is in no search path: only a path or an RPATH leads there."""


@dataclass(frozen=True, slots=True)
class Named:
    """A library by its name."""

    soname: str
    plain: Resolution
    """What a program of its own gets."""
    python: Resolution
    """What the environment's interpreter gets through ctypes."""
    copies: tuple[Copy, ...]
    """All that are on disk, what a plain program takes first, then what it hides, then the others."""

    @property
    def hidden(self) -> tuple[Copy, ...]:
        """Those that a plain program would take if the one that it takes were not there."""
        return tuple(each for each in self.copies if each.how and each.library.path != self.plain.path)


@dataclass(frozen=True, slots=True)
class Environment:
    """The GPU libraries that are on disk, and the driver's, whether they are there or not."""

    interpreter: str | None
    linker: str
    libraries: tuple[Named, ...]


def look(system: System, environments: Sequence[Python], interpreter: Interpreter) -> Environment:
    """Look for every name. Raises ``ElfError`` when there is no dynamic linker."""
    plain = plain_process(system)
    caller = interpreter.ctypes()
    installed = distributions(system, tuple(environments))
    on_disk: dict[str, list[Library]] = {}
    for library in toolkit(system, tuple(environments), installed):
        library = _with_version(system, library)
        on_disk.setdefault(_soname(system, library), []).append(library)
    found = []
    for soname in (*DRIVER, *on_disk):
        first = plain.would_open(soname)
        second = interpreter.process.would_open(soname, caller)
        if soname in DRIVER:
            copies = list(driver_copies(system, soname, Choice(soname, first.path, first.how, ())))
        else:
            copies = on_disk[soname]
        found.append(Named(soname, first, second, _sorted(system, plain, first, copies)))
    return Environment(interpreter.path, plain.linker.path, tuple(found))


def _with_version(system: System, library: Library) -> Library:
    """The version of a wheel's file that a variable points to, from the distributions beside it."""
    location, nvidia, _ = library.real.partition("/nvidia/")
    if library.version or not nvidia:
        return library
    beside = Python(location, "", (location,), "")
    known = toolkit(system, (beside,), distributions(system, (beside,)))
    return next(
        (replace(library, version=each.version, owner=each.owner) for each in known if each.real == library.real),
        library,
    )


def _sorted(system: System, plain: Process, first: Resolution, copies: Sequence[Library]) -> tuple[Copy, ...]:
    """The copies in the order in which the search comes by them."""
    reached = {system.resolve(path): (path, how) for path, how in plain.alternatives(first)}
    order = list(reached)
    known = []
    for each in copies:
        path, how = reached.get(each.real, (each.path, ""))
        known.append(Copy(replace(each, path=path), how))
    known.sort(key=lambda each: order.index(each.library.real) if each.library.real in reached else len(order))
    return tuple(known)


def _soname(system: System, library: Library) -> str:
    """The name that programs ask for; where the file cannot be read, its own."""
    try:
        return read_elf(system, library.path).soname or library.soname
    except (ElfError, OSError):
        return library.soname
