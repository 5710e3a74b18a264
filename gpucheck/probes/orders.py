"""Modules that lack something when they are imported after a framework, and have it by themselves. Nothing is imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.symbols import read_versions
from gpucheck.facts import Late
from gpucheck.libs.imports import is_module
from gpucheck.libs.interpreter import Interpreter
from gpucheck.libs.targets import Installed, find_all
from gpucheck.system import System

#: The library that nearly every module shares and that environments bring a newer copy of.
SHARED: Final = "libstdc++.so.6"
#: Big environments have thousands; one that fails is enough.
MAX_MODULES: Final = 500


def late(system: System, target: Installed, after: Interpreter, fresh: Interpreter) -> Iterator[Late]:
    """The first module of each distribution beside ``target`` that needs a newer libstdc++ than its import leaves.

    ``after``: the process in which it was imported; ``fresh``: one in which nothing was. glibc keeps one file for each SONAME, so that a
    library with RUNPATH, for which the interpreter's RPATH does not count, can make the system's libstdc++ the one of all that follow.
    """
    resident = after.process.names.get(SHARED)
    alone = fresh.process.would_open(SHARED, fresh.caller)
    if resident is None or alone.path is None or system.resolve(alone.path) == system.resolve(resident.path):
        return
    try:
        older = _defined(system, resident.path)
        # A library without any versions is let pass: _dl_check_map_versions of glibc's elf/dl-version.c.
        newer = _defined(system, alone.path) - older if older else set()
    except (ElfError, OSError):
        # Of what cannot be read it is not known what it lacks.
        return
    count = 0
    for other in find_all(system, (target.environment,)) if newer else ():
        if other.location != target.location or other.name == target.name:
            continue
        for path in other.libraries:
            if not is_module(path, other):
                continue
            count += 1
            if count > MAX_MODULES:
                return
            try:
                elf = read_elf(system, path)
                # With a search path of its own it may get another copy, of which nothing is known here.
                needed = read_versions(system, elf).needed if not (elf.rpath or elf.runpath) else ()
            except (ElfError, OSError):
                continue
            lacking = next(
                (each.name for each in needed if each.file == SHARED and not each.weak and each.name in newer), ""
            )
            if lacking:
                yield Late(other.name, path, SHARED, resident.path, system.resolve(alone.path) or alone.path, lacking)
                break


def _defined(system: System, path: str) -> set[str]:
    return set(read_versions(system, read_elf(system, path)).defined)
