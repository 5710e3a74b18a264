"""What GPU libraries open by name at run time, which no DT_NEEDED entry tells: ``kb/dlopens.toml``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

from gpucheck import kb
from gpucheck.elf.objects import Object
from gpucheck.elf.process import Process
from gpucheck.elf.reader import Elf, ElfError
from gpucheck.elf.resolution import Resolution
from gpucheck.elf.sections import read_sections
from gpucheck.record import dataclass
from gpucheck.system.protocol import NotKept, System

SHT_PROGBITS = 1
#: Device code and machine code hold no names.
DATA_SECTIONS = (".rodata", ".lrodata", ".data", ".ldata")
#: Where a string of ``Dlopen.written`` is: within 2 MB of the start of 130 in cuDNN 8.
NEAR = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Dlopen(kb.Row):
    """A library that another one opens by name."""

    opener: str
    """File name pattern of the library that opens; with a slash, of the end of its path."""
    opens: str
    """The name. ``{number}`` is what follows ``.so.`` in the opener's, ``{origin}`` the opener's directory; a ``*`` at
    the end is written in the opener."""
    when: str
    """``load``, ``first use``, or the feature that needs it."""
    required: bool
    """False: its absence is normal."""
    measured: str = ""
    device_code: bool = False
    """Only when the opener holds device code: builds for CPUs have the same name."""
    written: tuple[str, ...] = ()
    """Only when all of these are written in the opener: some of its versions open the name, others do not."""


@cache
def rows() -> tuple[Dlopen, ...]:
    """The table."""
    return kb.load("dlopens", "dlopen", Dlopen)


@cache
def _by_literal() -> tuple[tuple[Dlopen, str], ...]:
    """The rows with what their patterns begin with, literally: most are ruled out by that."""
    return tuple((row, re.split(r"[*?[]", row.opener)[0]) for row in rows())


def opened_by(system: System, elf: Elf) -> Iterator[tuple[str, Dlopen]]:
    """(name, row) of what a library is known to open. Raises ``ElfError``, ``OSError``."""
    file = elf.path.rsplit("/", 1)[-1]
    has_code: bool | None = None
    for row, literal in _by_literal():
        if literal not in elf.path and literal not in (elf.soname or ""):
            continue
        if "/" in row.opener:
            name = file if fnmatchcase(elf.path, f"*/{row.opener}") else None
        else:
            name = next((each for each in (elf.soname, file) if each and fnmatchcase(each, row.opener)), None)
        if name is None:
            continue
        if row.device_code:
            if has_code is None:
                has_code = any(section.name == ".nv_fatbin" for section in read_sections(system, elf))
            if not has_code:
                continue
        if row.opens.endswith("*"):
            found = written_name(system, elf, row.opens[:-1])
            if found:
                yield found, row
        else:
            number, origin = name.partition(".so.")[2].partition(".")[0], elf.path.rpartition("/")[0]
            path = row.opens.replace("{number}", number).replace("{origin}", origin)
            # A part that lies beside it, or does not in builds without it.
            if "{origin}" in row.opens and system.resolve(path) is None:
                continue
            try:
                if all(written(system, elf, text, limit=NEAR) for text in row.written):
                    yield path, row
            except NotKept:
                # What was not kept of a layer says nothing, and such a row is of some versions only.
                continue


@dataclass(frozen=True, slots=True)
class Followed:
    """What was opened by name, and by which row of the table that is known."""

    opened: tuple[tuple[Resolution, Dlopen], ...]
    unread: tuple[str, ...]
    """One line for each library whose data could not be read."""


def follow(process: Process) -> Followed:
    """Open what the loaded libraries are known to open, and what that opens, as far as it leads."""
    opened: list[tuple[Resolution, Dlopen]] = []
    unread: list[str] = []
    done: set[str] = set()
    todo: list[Object] = list(process.objects)
    for item in todo:
        if item.path in done:
            continue
        done.add(item.path)
        try:
            names = tuple(opened_by(process.system, item.elf))
        except ElfError as error:
            unread.append(str(error))
            continue
        except OSError as error:
            unread.append(f"{item.path}: {error.strerror}")
            continue
        for name, row in names:
            before = len(process.objects)
            opened.append((process.dlopen(name, item), row))
            todo += process.objects[before:]
    return Followed(tuple(opened), tuple(unread))


def written_name(system: System, elf: Elf, start: str) -> str | None:
    """The first string in a file's read-only data that starts so and goes on as a file name: the exact minor version
    that libnvrtc opens its built-ins by is nowhere else.
    """
    return written(system, elf, start, rb"[0-9][0-9.]{0,15}")


def written(system: System, elf: Elf, start: str, rest: bytes = b"", limit: int = sys.maxsize) -> str | None:
    """The first string in a file's read-only data that is ``start`` and what matches ``rest``, in so many bytes of each section.

    Raises ``ElfError``, ``OSError``.
    """
    literal = b"\0" + start.encode()
    pattern = re.compile(rb"\0(" + re.escape(start.encode()) + rest + rb")\0")
    for section in read_sections(system, elf):
        if section.kind == SHT_PROGBITS and section.name.startswith(DATA_SECTIONS):
            if section.offset + section.size > system.status(elf.path).size:
                raise ElfError(elf.path, f"truncated: {section.name} is cut off")
            found = system.search(elf.path, pattern, section.offset, min(section.size, limit), literal)
            if found is not None:
                return found.decode()
    return None
