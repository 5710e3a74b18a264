"""Whether the files that a process gets fit each other: symbol versions and symbols that will be missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gpucheck.elf.objects import Object
from gpucheck.elf.process import Process
from gpucheck.elf.reader import Elf, ElfError
from gpucheck.elf.symbols import Symbols, Versions, read_symbols, read_versions
from gpucheck.record import dataclass
from gpucheck.system.protocol import System

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that one file expects of another and does not get."""

    requester: str
    soname: str | None
    """The library that should have it, by the name that the requester was linked with; None: any."""
    path: str | None
    """The file that the requester gets under that name."""
    version: str | None
    symbol: str | None
    """None: the version as a whole is missing."""

    @property
    def message(self) -> str:
        """What ld.so will say, in its own words."""
        if self.symbol is None:
            return f"{self.path}: version `{self.version}' not found (required by {self.requester})"
        version = f", version {self.version}" if self.version else ""
        return f"{self.requester}: undefined symbol: {self.symbol}{version}"


@dataclass(frozen=True, slots=True)
class Links:
    """How the files of a process fit each other."""

    lacks: tuple[Lack, ...]
    unread: tuple[str, ...]
    """One line for each file whose tables could not be read."""


def check_links(
    process: Process,
    *,
    symbols: bool = False,
    requesters: Iterable[Object] | None = None,
    suspects: Iterable[Object] = (),
    stems: tuple[str, ...] = (),
) -> Links:
    """Look for versions, and with ``symbols`` for single symbols, that are missing in the files that a process gets.

    ``requesters``: whose (default: those of all objects). ``suspects``: whose symbols are looked for in any case, as far as
    they are to come from libraries whose names start with one of ``stems``.
    """
    tables = Tables(process.system)
    asking = process.objects if requesters is None else tuple(requesters)
    lacks = tuple(lacking_versions(process, tables, asking))
    if symbols:
        lacks += tuple(lacking_symbols(process, tables, asking))
    else:
        lacks += tuple(lacking_symbols(process, tables, suspects, stems))
    return Links(lacks, tuple(tables.unread.values()))


class Tables:
    """The version and symbol tables of objects, each read once; one that is broken counts as empty."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.unread: dict[str, str] = {}
        self._versions: dict[str, Versions] = {}
        self._symbols: dict[str, Symbols] = {}

    def versions(self, item: Object) -> Versions:
        if item.path not in self._versions:
            self._versions[item.path] = self._read(item, read_versions, Versions((), ()))
        return self._versions[item.path]

    def symbols(self, item: Object) -> Symbols:
        if item.path not in self._symbols:
            self._symbols[item.path] = self._read(item, read_symbols, Symbols((), frozenset(), frozenset(), False))
        return self._symbols[item.path]

    def _read(self, item: Object, read: Callable[[System, Elf], T], empty: T) -> T:
        try:
            return read(self.system, item.elf)
        except ElfError as error:
            self.unread[item.path] = str(error)
        except OSError as error:
            self.unread[item.path] = f"{item.path}: {error.strerror}"
        return empty


def lacking_versions(process: Process, tables: Tables, requesters: Iterable[Object]) -> Iterator[Lack]:
    """Versions that are needed and not defined by the file found for them; ld.so refuses to start then.

    The rule is ``_dl_check_map_versions`` of glibc's elf/dl-version.c: a library without any versions is let pass, and
    so is a weak need. musl does not look at versions of libraries.
    """
    if process.linker.musl:
        return
    for item in requesters:
        for need in tables.versions(item).needed:
            provider = process.names.get(need.file)
            if provider is None or need.weak:
                continue
            defined = tables.versions(provider).defined
            if defined and need.name not in defined:
                yield Lack(item.path, need.file, provider.path, need.name, None)


def lacking_symbols(
    process: Process, tables: Tables, requesters: Iterable[Object], stems: tuple[str, ...] | None = None
) -> Iterator[Lack]:
    """Symbols that nothing in the process defines.

    A symbol with a version is reported whenever it is missing. One without may come from whatever program loads the
    library (``PyList_New`` from python), so it is reported only when the process is that of a program, and when every
    table could be read. Functions bound lazily fail at their first call only. ``stems``: only those with a version of a
    library whose name starts with one of them.
    """
    a_program = process.main is not None and process.main.elf.interpreter is not None
    for item in requesters:
        for wanted in tables.symbols(item).undefined:
            version = wanted.version
            if wanted.weak or (version is None and not a_program):
                continue
            if stems is not None and (version is None or not version.file.startswith(stems)):
                continue
            likely = process.names.get(version.file) if version else None
            if version is not None and (likely is None or likely.path in tables.unread):
                # The library itself is missing or broken, which says it all.
                continue
            order = [likely, *process.objects] if likely else process.objects
            if any(tables.symbols(other).satisfies(wanted) for other in order) or (tables.unread and not version):
                continue
            path, name = (likely.path if likely else None), (version.name if version else None)
            yield Lack(item.path, version.file if version else None, path, name, wanted.name)


def floors(system: System, elf: Elf) -> dict[str, str]:
    """The newest version of each family that a file needs: ``{"GLIBC": "2.28", "GLIBCXX": "3.4.22"}``.

    A system whose libc or libstdc++ is older cannot load it. Raises ``ElfError``, ``OSError``.
    """
    found: dict[str, tuple[int, ...]] = {}
    for need in read_versions(system, elf).needed:
        family, _, number = need.name.rpartition("_")
        if family and not need.weak and re.fullmatch(r"\d+(\.\d+)*", number):
            found[family] = max(found.get(family, ()), tuple(map(int, number.split("."))))
    return {family: ".".join(map(str, number)) for family, number in sorted(found.items())}
