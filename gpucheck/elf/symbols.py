"""Dynamic symbols and their versions: the gABI's symbol table, and the LSB's "Symbol Versioning" chapter.

https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html
"""

from __future__ import annotations

import struct

from gpucheck.elf.reader import DT_STRTAB, Elf, ElfError, Window, file_offset
from gpucheck.elf.sections import read_headers
from gpucheck.record import dataclass
from gpucheck.system.protocol import Readable

DT_HASH, DT_SYMTAB, DT_STRSZ, DT_GNU_HASH = 4, 6, 10, 0x6FFFFEF5
DT_VERSYM, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = (
    0x6FFFFFF0,
    0x6FFFFFFC,
    0x6FFFFFFD,
    0x6FFFFFFE,
    0x6FFFFFFF,
)
SHT_DYNSYM = 11
VER_FLG_WEAK = 2
STB_LOCAL, STB_WEAK = 0, 2

#: The largest libraries (libtorch_cpu, libtorch_cuda) have some 10^5 symbols with 10^7 bytes of names.
MAX_SYMBOLS = 1 << 20
MAX_NAMES = 1 << 27
MAX_VERSIONS = 1 << 14
MAX_VERSION = 512


@dataclass(frozen=True, slots=True)
class Version:
    """A symbol version that a file needs: ``GLIBC_2.28`` of ``libc.so.6``."""

    file: str
    name: str
    weak: bool
    """ld.so accepts that a weak one is missing."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The version sections of a file."""

    needed: tuple[Version, ...]
    defined: tuple[str, ...]
    """Empty for a library without versions, which satisfies any."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """A symbol that another object must define."""

    name: str
    version: Version | None
    weak: bool


@dataclass(frozen=True, slots=True)
class Symbols:
    """The dynamic symbol table, sorted out."""

    undefined: tuple[Undefined, ...]
    names: frozenset[bytes]
    """Defined, whatever the version."""
    versioned: frozenset[tuple[bytes, str]]
    """Defined with a version."""
    has_versions: bool

    def satisfies(self, wanted: Undefined) -> bool:
        """Whether ld.so binds the symbol to this object: ``check_match`` of glibc's elf/dl-lookup.c."""
        name = wanted.name.encode("utf-8", "surrogateescape")
        if wanted.version is None or not self.has_versions:
            return name in self.names
        return (name, wanted.version.name) in self.versioned


def read_versions(system: Readable, elf: Elf) -> Versions:
    """What versions a file needs and defines. Raises ``ElfError``, ``OSError``."""
    needed, defined = _versions(Window(system, elf.path), elf)
    # Index 1 of the definitions is the file's own name (VER_FLG_BASE).
    return Versions(tuple(needed.values()), tuple(name for index, name in defined.items() if index != 1))


@dataclass(frozen=True, slots=True)
class Tables:
    """The bytes of the dynamic symbol table."""

    symbols: bytes
    names: bytes
    indices: tuple[int, ...]
    """Of the version of each symbol."""


def read_tables(system: Readable, elf: Elf) -> Tables:
    """Read what the dynamic symbols are written in. Raises ``ElfError``, ``OSError``."""
    window = Window(system, elf.path)
    if DT_SYMTAB not in elf.tags:
        return Tables(b"", b"", ())
    count = _count(system, window, elf)
    if count > MAX_SYMBOLS:
        raise ElfError(elf.path, f"{count} dynamic symbols")
    size = elf.tags.get(DT_STRSZ, 0)
    if not 0 <= size <= MAX_NAMES:
        raise ElfError(elf.path, f"{size} bytes of symbol names")
    strings = window.at(_offset(elf, DT_STRTAB), size) if size else b""
    table = window.at(_offset(elf, DT_SYMTAB), count * (16 if elf.bits == 32 else 24)) if count else b""
    indices: tuple[int, ...] = (0,) * count
    if DT_VERSYM in elf.tags and count:
        raw = window.at(_offset(elf, DT_VERSYM), count * 2)
        indices = struct.unpack(f"{elf.order}{count}H", raw)
    return Tables(table, strings, indices)


def read_symbols(system: Readable, elf: Elf) -> Symbols:
    """Read the whole dynamic symbol table. Raises ``ElfError``, ``OSError``."""
    if DT_SYMTAB not in elf.tags:
        return Symbols((), frozenset(), frozenset(), False)
    needed, defined_versions = _versions(Window(system, elf.path), elf)
    tables = read_tables(system, elf)
    strings = tables.names
    layout = elf.order + ("IIIBBH" if elf.bits == 32 else "IBBHQQ")
    name_at, info_at, section_at = (0, 3, 5) if elf.bits == 32 else (0, 1, 3)

    undefined: list[Undefined] = []
    names: set[bytes] = set()
    versioned: set[tuple[bytes, str]] = set()
    left = MAX_NAMES
    for symbol, index in zip(struct.iter_unpack(layout, tables.symbols), tables.indices, strict=True):
        start, binding = symbol[name_at], symbol[info_at] >> 4
        if not start or binding == STB_LOCAL:
            continue
        end = strings.find(b"\0", start)
        if end < 0:
            raise ElfError(elf.path, "a symbol's name is cut off")
        # Names may share bytes, so that a small file could ask for any amount of them.
        left -= end - start
        if left < 0:
            raise ElfError(elf.path, f"more than {MAX_NAMES} bytes of symbol names")
        name = strings[start:end]
        # The top bit hides a version from those who ask for none.
        index &= 0x7FFF
        if symbol[section_at] == 0:
            text = name.decode("utf-8", "surrogateescape")
            undefined.append(Undefined(text, needed.get(index), binding == STB_WEAK))
            continue
        names.add(name)
        if index in defined_versions:
            versioned.add((name, defined_versions[index]))
    return Symbols(tuple(undefined), frozenset(names), frozenset(versioned), bool(defined_versions))


def _versions(window: Window, elf: Elf) -> tuple[dict[int, Version], dict[int, str]]:
    """By the index that the version table of the symbols uses."""
    needed: dict[int, Version] = {}
    defined: dict[int, str] = {}
    strings = _offset(elf, DT_STRTAB) if elf.tags.get(DT_VERNEED) or elf.tags.get(DT_VERDEF) else 0
    left = MAX_VERSIONS

    if DT_VERNEED in elf.tags:
        at = _offset(elf, DT_VERNEED)
        for _ in range(min(elf.tags.get(DT_VERNEEDNUM, 0), MAX_VERSIONS)):
            _, count, file_at, aux, following = struct.unpack(elf.order + "HHIII", window.at(at, 16))
            file = window.string(strings + file_at, MAX_VERSION)
            aux += at
            for _ in range(count):
                left -= 1
                if left < 0:
                    raise ElfError(elf.path, f"more than {MAX_VERSIONS} symbol versions")
                _, flags, index, name_at, step = struct.unpack(elf.order + "IHHII", window.at(aux, 16))
                name = window.string(strings + name_at, MAX_VERSION)
                needed[index & 0x7FFF] = Version(file, name, bool(flags & VER_FLG_WEAK))
                if not step:
                    break
                aux += step
            if not following:
                break
            at += following

    if DT_VERDEF in elf.tags:
        at = _offset(elf, DT_VERDEF)
        for _ in range(min(elf.tags.get(DT_VERDEFNUM, 0), MAX_VERSIONS)):
            _, _, index, count, _, aux, following = struct.unpack(elf.order + "HHHHIII", window.at(at, 20))
            if count:
                name_at, _ = struct.unpack(elf.order + "II", window.at(at + aux, 8))
                defined[index & 0x7FFF] = window.string(strings + name_at, MAX_VERSION)
            if not following:
                break
            at += following
    return needed, defined


def _count(system: Readable, window: Window, elf: Elf) -> int:
    """How many dynamic symbols there are; no tag says it, so it comes from the section or from a hash table."""
    for _, kind, _, size, _ in read_headers(system, elf):
        if kind == SHT_DYNSYM:
            return size // (16 if elf.bits == 32 else 24)
    if DT_HASH in elf.tags:
        _, chains = struct.unpack(elf.order + "II", window.at(_offset(elf, DT_HASH), 8))
        return int(chains)
    if DT_GNU_HASH not in elf.tags:
        return 0
    # https://sourceware.org/legacy-ml/binutils/2006-10/msg00377.html: the last chain ends at an odd hash.
    start = _offset(elf, DT_GNU_HASH)
    buckets, first, bloom, _ = struct.unpack(elf.order + "IIII", window.at(start, 16))
    if buckets > MAX_SYMBOLS or bloom > MAX_SYMBOLS:
        raise ElfError(elf.path, f"a hash table of {buckets} buckets")
    start += 16 + bloom * (elf.bits // 8)
    last = max(struct.unpack(f"{elf.order}{buckets}I", window.at(start, buckets * 4)), default=0)
    if last < first:
        return int(first)
    start += buckets * 4
    while last < MAX_SYMBOLS:
        (value,) = struct.unpack(elf.order + "I", window.at(start + (last - first) * 4, 4))
        last += 1
        if value & 1:
            return int(last)
    raise ElfError(elf.path, "a hash chain without end")


def _offset(elf: Elf, tag: int) -> int:
    return file_offset(elf.path, elf.loads, elf.tags.get(tag, -1), f"what dynamic tag {tag:#x} points to")
