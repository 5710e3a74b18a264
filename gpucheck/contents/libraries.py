"""CUDA's libraries in an image: every copy, and which one each requester gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import cache

from gpucheck import kb
from gpucheck.contents.records import Copy, NamedLibrary, Winner
from gpucheck.elf import ElfError, Process, Resolution, read_elf
from gpucheck.elf.linker import find_native_linker
from gpucheck.elf.search import working_directory
from gpucheck.elf.tree import how
from gpucheck.facts import Snapshot
from gpucheck.kb import traced
from gpucheck.libs.imports import import_closure
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.libs.targets import Installed
from gpucheck.probes.libraries import toolkit_folders
from gpucheck.system import System

#: Requesters that are no distribution.
PROGRAM, PYTHON = "a program", "Python"


@cache
def _pattern() -> re.Pattern[str]:
    patterns = [f"{row.stem}.so.*" for row in kb.sonames()]
    patterns += [row.pattern for row in traced.libraries() if row.kind == "toolkit"]
    return re.compile("|".join(translate(pattern) for pattern in patterns))


def is_toolkit_library(path: str) -> bool:
    """Whether the file name is that of a library that NVIDIA ships beside the driver."""
    return _pattern().match(path.rsplit("/", 1)[-1]) is not None


def find_copies(
    system: System, snapshot: Snapshot, owners: Mapping[str, str], layer_of: Callable[[str], int | None]
) -> dict[str, list[Copy]]:
    """Every copy by the name that programs ask for. ``owners``: distributions by the paths of their files."""
    known = {library.real: library for library in snapshot.libraries}
    found: dict[str, Copy] = {}
    by_name: dict[str, list[Copy]] = {}
    for folder, kind in toolkit_folders(system, snapshot.pythons):
        for path in _libraries(system, folder):
            real = system.resolve(path)
            if real is None or real in found:
                continue
            try:
                size = system.status(real).size
            except OSError:
                continue
            library = known.get(real)
            owner = (library.owner if library else "") or owners.get(path, "") or owners.get(real, "")
            copy = Copy(
                path=path,
                real=real,
                version=(library.version if library else "") or owner.rpartition(" ")[2] or _number(real),
                owner=owner,
                kind=kind,
                size=size,
                layer=layer_of(real),
            )
            found[real] = copy
            by_name.setdefault(_soname(system, path), []).append(copy)
    for library in (*snapshot.libcuda_copies, *snapshot.nvml_copies):
        copy = Copy(library.path, library.real, library.version, "", library.kind, library.size, layer_of(library.real))
        by_name.setdefault(library.soname, []).append(copy)
    return by_name


def _libraries(system: System, folder: str) -> Iterator[str]:
    """The CUDA libraries in a folder, the shortest name of each first: libcublas.so.12 before libcublas.so.12.9.1.4."""
    try:
        listed = system.names(folder)
    except OSError:
        return
    for name in sorted(listed, key=lambda name: (len(name), name)):
        # A name without a number is for the linker of a compiler.
        if ".so." in name and is_toolkit_library(name):
            yield f"{folder}/{name}"


def _soname(system: System, path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    try:
        return read_elf(system, path).soname or name
    except (ElfError, OSError):
        return name


def _number(real: str) -> str:
    """``12.9.1.4`` of libcublas.so.12.9.1.4; '' for the number of a soname."""
    number = real.rsplit(".so.", 1)[-1]
    return number if "." in number else ""


def find_winners(
    system: System, snapshot: Snapshot, sonames: Sequence[str], importing: Sequence[Installed]
) -> tuple[dict[str, list[Winner]], list[str]]:
    """Which file each requester gets, and what could not be read."""
    winners: dict[str, list[Winner]] = {soname: [] for soname in sonames}
    unread: list[str] = []
    try:
        plain = Process(system, find_native_linker(system), cwd=working_directory(system))
        for soname in sonames:
            winners[soname].append(_winner(system, PROGRAM, plain.would_open(soname)))
        if snapshot.pythons:
            interpreter = start_interpreter(system, snapshot.pythons[0], snapshot.pythons[1:])
            caller = interpreter.ctypes()
            for soname in sonames:
                winner = _winner(system, PYTHON, interpreter.process.would_open(soname, caller))
                if winner.path != winners[soname][0].path:
                    winners[soname].append(winner)
    except (ElfError, OSError) as error:
        # Who else gets what is not told either: a list with gaps would look like an answer.
        return {soname: [] for soname in sonames}, [f"which copy a program gets: {error}"]
    for target in importing:
        name = f"{target.name} {target.version}".rstrip()
        try:
            loaded = _loaded(system, snapshot, target)
        except (ElfError, OSError) as error:
            unread.append(f"what {name} loads: {error}")
            continue
        for soname, resolution in loaded.items():
            if soname in winners and resolution.path is not None:
                winners[soname].append(_winner(system, name, resolution))
    return winners, unread


def _loaded(system: System, snapshot: Snapshot, target: Installed) -> dict[str, Resolution]:
    """The first file that an import loads under each name."""
    interpreter = start_interpreter(system, target.environment, snapshot.pythons)
    closure = import_closure(system, target, interpreter)
    loaded: dict[str, Resolution] = {}
    for resolution in closure.resolutions:
        if resolution.path is not None and resolution.how != "resident":
            loaded.setdefault(_soname(system, resolution.path), resolution)
    return loaded


def _winner(system: System, requester: str, resolution: Resolution) -> Winner:
    real = system.resolve(resolution.path) if resolution.path else None
    return Winner(requester, resolution.path, real, how(resolution))


def named(copies: Mapping[str, Sequence[Copy]], winners: Mapping[str, Sequence[Winner]]) -> tuple[NamedLibrary, ...]:
    """The libraries by name: the driver's first, then in the order of the knowledge base, then by name."""
    stems = {row.stem: position for position, row in enumerate(kb.sonames())}

    def position(soname: str) -> tuple[bool, int, str]:
        stem = soname.partition(".so")[0]
        return not soname.startswith(("libcuda.so", "libnvidia-ml.so")), stems.get(stem, len(stems)), soname

    return tuple(
        NamedLibrary(
            soname,
            tuple(copies[soname]),
            tuple(winners.get(soname, ())),
            sum(copy.size for copy in copies[soname]) - max(copy.size for copy in copies[soname]),
        )
        for soname in sorted(copies, key=position)
    )
