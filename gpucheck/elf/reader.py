"""Reading what the dynamic linker reads of an ELF file, and no more.

Formats: elf(5), the System V gABI chapters 4 and 5, and ``<elf.h>``.
"""

from __future__ import annotations

import struct

from gpucheck.record import dataclass
from gpucheck.system.protocol import Readable

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
DT_FLAGS_1, DT_AUXILIARY, DT_FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
DF_1_NOOPEN, DF_1_NODEFLIB, DF_1_PIE = 0x40, 0x800, 0x08000000

#: ``e_machine`` numbers of <elf.h> and the names that ``uname -m`` gives them.
MACHINES = {
    3: "i386",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}

#: Far above anything that a linker writes; what is larger is not believed.
MAX_DYNAMIC = 4096 * 16
MAX_STRING = 1 << 16
BLOCK = 1 << 14
KEPT_BLOCKS = 8


class ElfError(Exception):
    """A file that is not ELF, is cut off, or contradicts itself. ``str()`` is one line for a person."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Window:
    """Random access to a file of a ``System`` by blocks: a library of a gigabyte costs a few of them."""

    __slots__ = ("_blocks", "path", "system")

    def __init__(self, system: Readable, path: str) -> None:
        self.system = system
        self.path = path
        self._blocks: dict[int, bytes] = {}

    def at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ``ElfError`` when the file ends before, ``OSError`` when it cannot be read."""
        first = offset // BLOCK
        if (offset + size - 1) // BLOCK == first:
            start = offset - first * BLOCK
            found = self._block(first)[start : start + size]
        else:
            found = self.read(offset, size)
        if len(found) != size:
            raise ElfError(self.path, f"truncated: ends before byte {offset + size}")
        return found

    def head(self, size: int) -> bytes:
        """The first bytes, fewer when the file is shorter."""
        return self._block(0)[:size]

    def string(self, offset: int, limit: int = MAX_STRING) -> str:
        """The NUL-terminated string at a file offset; bytes that are no UTF-8 are kept as surrogates."""
        index, start = divmod(offset, BLOCK)
        parts: list[bytes] = []
        length = 0
        while True:
            block = self._block(index)
            end = block.find(b"\0", start)
            length += (end if end >= 0 else len(block)) - start
            if length > limit:
                raise ElfError(self.path, f"a string of more than {limit} bytes")
            if end >= 0:
                parts.append(block[start:end])
                return b"".join(parts).decode("utf-8", "surrogateescape")
            parts.append(block[start:])
            if len(block) < BLOCK:
                raise ElfError(self.path, "truncated: a string is cut off")
            index, start = index + 1, 0

    def read(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes, past the block cache."""
        if offset >= 1 << 43:
            raise ElfError(self.path, f"points to byte {offset}")
        return self.system.read(self.path, size, offset)

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            if len(self._blocks) >= KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            block = self._blocks[index] = self.read(index * BLOCK, BLOCK)
        return block


@dataclass(frozen=True, slots=True)
class Header:
    """The ELF header: elf(5), Elf64_Ehdr."""

    bits: int
    little: bool
    machine: int
    type: int
    segments: tuple[int, int]
    """(file offset, count) of the program headers."""
    sections: tuple[int, int, int]
    """(file offset, count, index of the section with their names) of the section headers."""
    abi: int
    """``EI_OSABI``: 0 and 3 are Linux, 9 is FreeBSD, ..."""


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file as the dynamic linker sees it."""

    path: str
    bits: int
    """32 or 64."""
    little: bool
    """Whether numbers are little-endian."""
    machine: int
    """``e_machine``; its name is ``architecture``."""
    type: int
    """``ET_DYN`` (library or position-independent executable) or ``ET_EXEC``."""
    interpreter: str | None
    """The dynamic linker that an executable asks for (PT_INTERP)."""
    dynamic: bool
    """False: no dynamic section; a static program or a file with debugging symbols only."""
    soname: str | None
    needed: tuple[str, ...]
    """DT_NEEDED, in order."""
    rpath: str | None
    """DT_RPATH as written; ld.so ignores it when there is a DT_RUNPATH."""
    runpath: str | None
    filters: tuple[tuple[bool, str], ...]
    """DT_AUXILIARY (False) and DT_FILTER (True) entries."""
    flags_1: int
    """DT_FLAGS_1."""
    loads: tuple[tuple[int, int, int], ...]
    """(address, file offset, size in the file) of each PT_LOAD."""
    tags: dict[int, int]
    """The last value of each tag of the dynamic section."""
    sections: tuple[int, int, int]
    """As in ``Header``."""
    abi: int
    """As in ``Header``."""

    @property
    def architecture(self) -> str:
        """As ``uname -m`` says it."""
        return MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def nodeflib(self) -> bool:
        """Linked with ``-z nodeflib``: the default directories are not for this file."""
        return bool(self.flags_1 & DF_1_NODEFLIB)

    @property
    def pie(self) -> bool:
        """A position-independent executable, marked as such (DF_1_PIE): dlopen refuses it."""
        return bool(self.flags_1 & DF_1_PIE)

    @property
    def end(self) -> int:
        """How long the file must be at least."""
        return max((offset + size for _, offset, size in self.loads), default=0)

    @property
    def order(self) -> str:
        """The byte order in ``struct``'s terms."""
        return "<" if self.little else ">"


def read_elf(system: Readable, path: str) -> Elf:
    """Read a file's header, program headers and dynamic section.

    Raises ``ElfError`` for what is not a sound ELF file, ``OSError`` as ``system.read`` does.
    """
    window = Window(system, path)
    return parse_elf(window, parse_header(window))


def read_header(system: Readable, path: str) -> Header:
    """The header alone. Raises as ``read_elf`` does."""
    return parse_header(Window(system, path))


def parse_header(window: Window) -> Header:
    """Check what ``open_verify`` in glibc's elf/dl-load.c checks, in its words, but accept every class and machine."""
    ident = window.head(64)
    if len(ident) < 52:
        if not ident.startswith(b"\x7fELF"):
            raise ElfError(window.path, "not an ELF file" if ident else "the file is empty")
        raise ElfError(window.path, "truncated: file too short")
    if ident[:4] != b"\x7fELF":
        raise ElfError(window.path, "not an ELF file")
    bits, order = {1: 32, 2: 64}.get(ident[4]), {1: "<", 2: ">"}.get(ident[5])
    if bits is None or order is None:
        raise ElfError(window.path, "invalid ELF header")
    if bits == 64 and len(ident) < 64:
        raise ElfError(window.path, "truncated: file too short")
    layout = order + ("HHIIIIIHHHHHH" if bits == 32 else "HHIQQQIHHHHHH")
    kind, machine, version, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = struct.unpack_from(
        layout, ident, 16
    )
    if version != 1 or ident[6] != 1:
        raise ElfError(window.path, "ELF file version does not match current one")
    if phnum and phentsize != (32 if bits == 32 else 56):
        raise ElfError(window.path, "ELF file's phentsize not the expected size")
    if shentsize != (40 if bits == 32 else 64):
        shoff = shnum = 0
    return Header(bits, order == "<", machine, kind, (phoff, phnum), (shoff, shnum, shstrndx), ident[7])


def read_segments(window: Window, header: Header) -> tuple[tuple[int, int, int, int], ...]:
    """(type, file offset, address, size in the file) of each program header."""
    order = "<" if header.little else ">"
    offset, count = header.segments
    # Elf32_Phdr and Elf64_Phdr have their fields in different orders.
    layout, pick = (order + "IIIIIIII", (0, 1, 2, 4)) if header.bits == 32 else (order + "IIQQQQQQ", (0, 2, 3, 5))
    table = window.at(offset, count * struct.calcsize(layout)) if count else b""
    return tuple((row[pick[0]], row[pick[1]], row[pick[2]], row[pick[3]]) for row in struct.iter_unpack(layout, table))


def parse_elf(window: Window, header: Header) -> Elf:
    """Read program headers and the dynamic section."""
    order = "<" if header.little else ">"
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    interpreter = None
    for kind, start, address, size in read_segments(window, header):
        if kind == PT_LOAD:
            loads.append((address, start, size))
        elif kind == PT_DYNAMIC and size:
            dynamic = (start, size)
        elif kind == PT_INTERP:
            interpreter = window.string(start, 4096)

    tags: dict[int, int] = {}
    strings: list[tuple[int, int]] = []
    if dynamic is not None:
        start, size = dynamic
        if size > MAX_DYNAMIC:
            raise ElfError(window.path, f"a dynamic section of {size} bytes")
        layout = order + ("iI" if header.bits == 32 else "qQ")
        size -= size % struct.calcsize(layout)
        for tag, value in struct.iter_unpack(layout, window.at(start, size)):
            if tag == 0:
                break
            tags[tag] = value
            if tag in (DT_NEEDED, DT_AUXILIARY, DT_FILTER):
                strings.append((tag, value))

    base = 0
    if strings or DT_SONAME in tags or DT_RPATH in tags or DT_RUNPATH in tags:
        base = file_offset(window.path, tuple(loads), tags.get(DT_STRTAB, -1), "the dynamic string table")

    def text(tag: int) -> str | None:
        return window.string(base + tags[tag]) if tag in tags else None

    return Elf(
        path=window.path,
        bits=header.bits,
        little=header.little,
        machine=header.machine,
        type=header.type,
        interpreter=interpreter,
        dynamic=dynamic is not None,
        soname=text(DT_SONAME),
        needed=tuple(window.string(base + value, 4096) for tag, value in strings if tag == DT_NEEDED),
        rpath=text(DT_RPATH),
        runpath=text(DT_RUNPATH),
        filters=tuple((tag == DT_FILTER, window.string(base + at, 4096)) for tag, at in strings if tag != DT_NEEDED),
        flags_1=tags.get(DT_FLAGS_1, 0),
        loads=tuple(loads),
        tags=tags,
        sections=header.sections,
        abi=header.abi,
    )


def file_offset(path: str, loads: tuple[tuple[int, int, int], ...], address: int, what: str) -> int:
    """Where the bytes of a run-time address are in the file. Raises ``ElfError`` when no segment holds them."""
    for start, offset, size in loads:
        if start <= address < start + size:
            return offset + address - start
    raise ElfError(path, f"{what} is in no segment")
